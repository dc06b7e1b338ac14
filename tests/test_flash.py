"""Both classes of ``vizhelpers.flash``: names, odd models, devices and errors."""

import copy
import inspect
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import Saliency
from flashtorch.activmax.gradient_ascent import GradientAscent as TheirAscent
from flashtorch.saliency.backprop import Backprop as TheirBackprop
from matplotlib.figure import Figure
from networks import network_of
from torch import Tensor, nn

import vizhelpers as viz
from vizhelpers.flash import Backprop, GradientAscent

pytestmark = [
    # FlashTorch's hooks are of a kind that PyTorch no longer recommends, and it says so each time.
    pytest.mark.filterwarnings("ignore:Using a non-full backward hook:FutureWarning"),
    pytest.mark.usefixtures("no_figures_left"),
]


def test_the_module_paths_are_flashtorchs() -> None:
    """README's API guide names four modules."""
    from vizhelpers.flash.activmax.gradient_ascent import GradientAscent as Ascent
    from vizhelpers.flash.saliency.backprop import Backprop as Gradients
    from vizhelpers.flash.utils import ImageNetIndex
    from vizhelpers.flash.utils.imagenet import ImageNetIndex as Index

    assert (Ascent, Gradients, Index) == (GradientAscent, Backprop, ImageNetIndex)
    assert viz.flash.Backprop is Backprop


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Backprop.__init__, TheirBackprop.__init__),
        (Backprop.calculate_gradients, TheirBackprop.calculate_gradients),
        (Backprop.visualize, TheirBackprop.visualize),
        (GradientAscent.__init__, TheirAscent.__init__),
        (GradientAscent.optimize, TheirAscent.optimize),
        (GradientAscent.visualize, TheirAscent.visualize),
        (GradientAscent.deepdream, TheirAscent.deepdream),
    ],
)
def test_signatures_are_flashtorchs(ours: object, theirs: object) -> None:
    mine = inspect.signature(ours).parameters  # type: ignore[arg-type]
    for position, (name, parameter) in enumerate(inspect.signature(theirs).parameters.items()):  # type: ignore[arg-type]
        assert list(mine)[position] == name
        if (ours, name) == (GradientAscent.visualize, "lr"):
            assert mine[name].default is None  # their 1.0 overrides the constructor's
        else:
            assert mine[name].default == parameter.default
        assert mine[name].kind == parameter.kind


def names_of(thing: object) -> set[str]:
    return {name for name in dir(thing) if not name.startswith("_")}


def test_every_public_name_of_flashtorchs_objects_is_there(tiny: nn.Module, noise: Tensor) -> None:
    their_backprop, backprop = TheirBackprop(copy.deepcopy(tiny)), Backprop(tiny)
    their_backprop.model[1].inplace = False  # their hooks cannot take in-place
    their_backprop.calculate_gradients(noise.clone().requires_grad_(), guided=True)
    backprop.calculate_gradients(noise, guided=True)
    assert {"gradients", "relu_outputs"} <= names_of(their_backprop) <= names_of(backprop)
    their_ascent, ascent = TheirAscent(their_backprop.model), GradientAscent(tiny)
    assert {"output", "activation", "handlers"} <= names_of(their_ascent) <= names_of(ascent)
    assert ascent.num_layers == their_ascent.num_layers == 7


def test_bad_input_is_refused_in_words(tiny: nn.Module, noise: Tensor, tmp_path: Path) -> None:
    ascent = GradientAscent(tiny, img_size=16)
    with pytest.raises(TypeError, match=r"nn\.Conv2d, got ReLU"):
        ascent.optimize(tiny[1], 0)
    with pytest.raises(TypeError, match=r"filter_idx=1\.0.*integer"):
        ascent.optimize(tiny[0], 1.0)  # type: ignore[arg-type]
    theirs = TheirAscent(copy.deepcopy(tiny), img_size=16)
    with pytest.raises(IndexError):  # from deep inside: their own check lets it pass
        theirs.optimize(theirs.model[0], 4, num_iter=1)
    with pytest.raises(ValueError, match="filter_idx=4: it must be between 0 and 3"):
        ascent.optimize(tiny[0], 4)
    with pytest.raises(ValueError, match="filter_idxs is empty"):
        ascent.visualize(tiny[0], [])
    with pytest.raises(ValueError, match="num_iter=0: it must be at least 1"):
        ascent.optimize(tiny[0], 0, num_iter=0)
    with pytest.raises(ValueError, match="not in this model"):
        ascent.optimize(nn.Conv2d(3, 4, 3), 0)
    with pytest.raises(viz.ImageError, match="nowhere"):
        ascent.deepdream(str(tmp_path / "nowhere.jpg"), tiny[0], 0)
    with pytest.raises(ValueError, match="one image"):
        Backprop(tiny).calculate_gradients(noise.expand(2, -1, -1, -1))
    with pytest.raises(ValueError, match="target_class=-1: it must be at least 0"):
        Backprop(tiny).calculate_gradients(noise, -1)
    for kind in (Backprop, GradientAscent):
        with pytest.raises(TypeError, match=r"Expected a torch\.nn\.Module, got str"):
            kind("alexnet")  # type: ignore[arg-type]


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def test_compiled_and_parallel_models_give_what_the_module_inside_gives(
    tiny: nn.Sequential, noise: Tensor, fresh_compiler: None
) -> None:
    expected = GradientAscent(tiny, img_size=16).optimize(tiny[2], 1, num_iter=3)[-1]
    guided = Backprop(tiny).calculate_gradients(noise, guided=True)
    compiled: Any = torch.compile(copy.deepcopy(tiny), backend="eager")
    inside = compiled._orig_mod
    parallel = nn.DataParallel(tiny)
    layer = copy.deepcopy(tiny)
    layer[2] = torch.compile(layer[2], backend="eager")
    part = nn.Sequential(torch.compile(copy.deepcopy(tiny[:4]), backend="eager"), *tiny[4:])
    in_place = copy.deepcopy(tiny)
    in_place.compile(backend="eager")
    for network in (compiled, part, layer, in_place):
        network(noise)  # now the compiled program exists, and knows no hooks
    for network, convolution in (
        (compiled, inside[2]),
        (inside, inside[2]),
        (nn.DataParallel(compiled), inside[2]),
        (parallel, parallel.module[2]),
        (layer, layer[2]),
        (part, part[0]._orig_mod[2]),
        (part[0], part[0]._orig_mod[2]),
        (in_place, in_place[2]),
    ):
        picture = GradientAscent(network, img_size=16).optimize(convolution, 1, num_iter=3)[-1]
        assert torch.equal(picture, expected)
        if network is not part[0]:
            assert torch.equal(Backprop(network).calculate_gradients(noise, guided=True), guided)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_works_or_says_what_to_do(tiny: nn.Sequential, noise: Tensor) -> None:
    expected = Backprop(tiny).calculate_gradients(noise)
    part = nn.Sequential(torch.jit.script(tiny[:4]), *tiny[4:])
    for network in (torch.jit.script(tiny), torch.jit.trace(tiny, noise), part):
        ours = Backprop(network).calculate_gradients(noise)
        torch.testing.assert_close(ours, expected)
        with pytest.raises(ValueError, match=r"TorchScript.*Use the Python module.*guided=False"):
            Backprop(network).calculate_gradients(noise, guided=True)
    with pytest.raises(TypeError, match="Use the Python module that was scripted"):
        GradientAscent(torch.jit.script(tiny))
    with pytest.raises(TypeError, match="Use the Python module that was scripted"):
        GradientAscent(part).optimize(next(part[0].children()), 0)
    behind = nn.Sequential(torch.jit.script(tiny[:2]), tiny[2])
    picture = GradientAscent(behind, img_size=16).optimize(tiny[2], 1, num_iter=2)[-1]
    together = GradientAscent(tiny, img_size=16).optimize(tiny[2], 1, num_iter=2)[-1]
    torch.testing.assert_close(picture, together)


@pytest.mark.parametrize("channels", [1, 2, 4, 5])
def test_networks_of_any_number_of_channels(channels: int) -> None:
    network = network_of(channels)
    x = torch.rand(1, channels, 14, 10, generator=torch.Generator().manual_seed(0))
    expected = Saliency(network).attribute(x.clone().requires_grad_(), 2, abs=False)[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # class 2 need not be the predicted one
        torch.testing.assert_close(Backprop(network).calculate_gradients(x, 2), expected)
        figure = Backprop(network).visualize(x, 2)
    assert isinstance(figure, Figure)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert "RGB" not in "".join(titles)
    assert ("mean of" in titles[0]) == ("mean of" in titles[1]) == (channels > 1)
    shown = figure.axes[1].images[0].get_array()
    assert shown is not None
    np.testing.assert_array_equal(shown > 0.5, expected.mean(0) > 0)
    ascent = GradientAscent(network, img_size=12, lr=0.01)
    figure = ascent.visualize(network[2], [0, 3], num_iter=3)
    assert isinstance(figure, Figure)
    assert figure.get_suptitle() == "Conv2d" + f", mean of {channels} channels" * (channels > 1)
    assert ascent.output is not None
    assert ascent.output[0][0].shape == (1, channels, 12, 12)
    assert np.all(np.diff(ascent.activations) > 0)
    if channels > 1:
        with pytest.raises(ValueError, match=f"takes {channels} channels, a photograph has 3"):
            ascent.deepdream("cat", network[2], 0, num_iter=1)
    else:
        ascent.deepdream("cat", network[2], 0, num_iter=1)
        assert ascent.gradients is not None
        assert ascent.gradients.shape == (1, 1, 12, 12)


def test_use_gpu_runs_a_copy_of_any_model(
    tiny: nn.Sequential, noise: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """float64 stands for CUDA, which the machine need not have."""
    expected = Backprop(tiny).calculate_gradients(noise)
    ascent = GradientAscent(tiny, img_size=16, use_gpu=True)
    climb = ascent.optimize(tiny[2], 1, num_iter=2)[-1]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(Tensor, "cuda", lambda tensor: tensor.double())
    tiny[4].lock = threading.Lock()  # copy.deepcopy fails for it
    ours = Backprop(tiny).calculate_gradients(noise, use_gpu=True)
    assert ours.dtype == torch.float64
    torch.testing.assert_close(ours.float(), expected)
    picture = ascent.optimize(tiny[2], 1, num_iter=2)[-1]
    assert picture.dtype == torch.float64
    torch.testing.assert_close(picture.float(), climb, rtol=1e-3, atol=1e-3)
    assert {p.dtype for p in tiny.parameters()} == {torch.float32}
