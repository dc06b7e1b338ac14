"""FlashTorch itself is the oracle where it is right; captum where it is not."""

import copy
import gc
import inspect
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from captum.attr import GuidedBackprop, Saliency
from flashtorch.activmax.gradient_ascent import GradientAscent as TheirAscent
from flashtorch.saliency.backprop import Backprop as TheirBackprop
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

import vizhelpers as viz
from vizhelpers.flash import Backprop, GradientAscent

# FlashTorch's hooks are of a kind that PyTorch no longer recommends, and it says so each time.
pytestmark = pytest.mark.filterwarnings("ignore:Using a non-full backward hook:FutureWarning")


@pytest.fixture(autouse=True)
def _no_figures_left() -> Iterator[None]:
    yield
    plt.close("all")


class Counter(nn.Module):
    """Counts the passes that go through it, each way."""

    def __init__(self) -> None:
        super().__init__()
        self.forwards = self.backwards = 0

    def forward(self, x: Tensor) -> Tensor:
        self.forwards += 1
        return _Count.apply(x, self)


class _Count(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, counter: Counter) -> Tensor:
        ctx.counter = counter
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        ctx.counter.backwards += 1
        return gradients[0], None


@pytest.fixture
def start() -> Tensor:
    return torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(5))


def test_the_package_offers_the_module() -> None:
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


def test_vanilla_gradients_equal_flashtorchs(model: nn.Module, cat: viz.Sample) -> None:
    theirs = TheirBackprop(copy.deepcopy(model)).calculate_gradients(
        cat.x.clone().requires_grad_(), 282
    )
    ours = Backprop(model).calculate_gradients(cat.x, 282)
    assert ours.shape == (3, 224, 224)
    assert theirs.abs().max() > 0
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_the_class_that_is_asked_for_is_explained(model: nn.Module, cat: viz.Sample) -> None:
    with pytest.warns(UserWarning, match="predicts class 282; this explains class 281"):
        ours = Backprop(model).calculate_gradients(cat.x, 281)
    expected = Saliency(model).attribute(cat.x.clone().requires_grad_(), 281, abs=False)[0]
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)
    predicted = Backprop(model).calculate_gradients(cat.x)
    assert not torch.allclose(ours, predicted, atol=1e-3)


def test_guided_gradients_equal_captums(
    model: nn.Module, clean_model: nn.Module, cat: viz.Sample
) -> None:
    ours = Backprop(model).calculate_gradients(cat.x, 282, guided=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        images = cat.x.clone().requires_grad_()
        theirs = GuidedBackprop(clean_model).attribute(images, 282)[0]
    assert ours.isfinite().all()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_maximum_is_of_absolute_values(model: nn.Module, cat: viz.Sample) -> None:
    backprop = Backprop(model)
    signed = backprop.calculate_gradients(cat.x)
    strongest = backprop.calculate_gradients(cat.x, take_max=True)
    assert torch.equal(strongest[0], signed.abs().amax(0))
    assert (strongest[0] > signed.amax(0)).any()


def test_nothing_stays_behind(tiny: nn.Module, noise: Tensor) -> None:
    tiny.train()
    backprop = Backprop(tiny)
    first = backprop.calculate_gradients(noise)
    backprop.calculate_gradients(noise, guided=True)
    GradientAscent(tiny, img_size=16).optimize(tiny[0], 1, num_iter=2)
    for module in tiny.modules():
        assert module.training
        assert not module._forward_hooks
        assert not module._backward_hooks
    assert all(p.grad is None for p in tiny.parameters())
    assert not noise.requires_grad
    assert torch.equal(backprop.calculate_gradients(noise), first)


def test_input_needs_no_requires_grad(tiny: nn.Module, noise: Tensor) -> None:
    with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'shape'"):
        TheirBackprop(copy.deepcopy(tiny)).calculate_gradients(noise)
    plain = Backprop(tiny).calculate_gradients(noise)
    assert plain.abs().max() > 0
    with_it = noise.clone().requires_grad_()
    assert torch.equal(Backprop(tiny).calculate_gradients(with_it), plain)
    assert with_it.grad is None


def test_flashtorch_explains_another_class_than_asked(tiny: nn.Module, noise: Tensor) -> None:
    predicted = int(tiny(noise).argmax())
    other = (predicted + 1) % 5
    their = TheirBackprop(copy.deepcopy(tiny))
    with pytest.warns(UserWarning, match="w.r.t. the predicted class"):
        ignored = their.calculate_gradients(noise.clone().requires_grad_(), other)
    with pytest.warns(UserWarning, match=f"this explains class {other}, as asked"):
        asked = Backprop(tiny).calculate_gradients(noise, other)
    torch.testing.assert_close(ignored, Backprop(tiny).calculate_gradients(noise))
    assert not torch.allclose(asked, ignored, atol=1e-4)


def test_no_class_is_the_predicted_one_and_warns_of_nothing(tiny: nn.Module, noise: Tensor) -> None:
    predicted = int(tiny(noise).argmax())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        by_default = Backprop(tiny).calculate_gradients(noise, None)
        assert torch.equal(by_default, Backprop(tiny).calculate_gradients(noise, predicted))
        figure = Backprop(tiny).visualize(noise, None)
    assert isinstance(figure, Figure)
    assert f"class {predicted}, as predicted" in figure.axes[0].get_title()


def test_flashtorchs_guided_gradients_are_no_numbers(
    model: nn.Module, clean_model: nn.Module, cat: viz.Sample
) -> None:
    for network in (model, clean_model):
        theirs = TheirBackprop(copy.deepcopy(network)).calculate_gradients(
            cat.x.clone().requires_grad_(), 282, guided=True
        )
        assert not theirs.isfinite().all()
        assert Backprop(network).calculate_gradients(cat.x, 282, guided=True).isfinite().all()


class Functional(nn.Module):
    """The same network as its ``Sequential`` twin, with ReLU called as a function."""

    def __init__(self, twin: nn.Sequential) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList([twin[0], twin[2]])
        self.head = twin[4:]

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.relu(self.convolutions[0](x))
        return self.head(self.convolutions[1](x).relu_())


def test_guided_gradients_see_relu_as_module_in_place_and_as_function(
    tiny: nn.Sequential, noise: Tensor
) -> None:
    clean = copy.deepcopy(tiny)
    clean[1].inplace = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = GuidedBackprop(clean).attribute(noise.clone().requires_grad_(), 2)[0]
    vanilla = Saliency(clean).attribute(noise.clone().requires_grad_(), 2, abs=False)[0]
    assert not torch.allclose(expected, vanilla, atol=1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # class 2 need not be the predicted one
        for network in (tiny, clean, Functional(tiny)):
            found = Backprop(network).calculate_gradients(noise, 2, guided=True)
            torch.testing.assert_close(found, expected)
    with pytest.raises(ValueError, match="uses none"):
        Backprop(nn.Sequential(nn.Conv2d(3, 2, 12), nn.Flatten())).calculate_gradients(
            noise, guided=True
        )


def test_flashtorch_leaves_hooks_that_spoil_its_next_answer(tiny: nn.Module, noise: Tensor) -> None:
    theirs = TheirBackprop(copy.deepcopy(tiny))
    theirs.model[1].inplace = False  # their hooks cannot bear in-place
    first = theirs.calculate_gradients(noise.clone().requires_grad_())
    theirs.calculate_gradients(noise.clone().requires_grad_(), guided=True)
    assert any(m._forward_hooks or m._backward_hooks for m in theirs.model.modules())
    again = theirs.calculate_gradients(noise.clone().requires_grad_())
    assert not torch.allclose(again, first)


def test_flashtorchs_maximum_is_signed(tiny: nn.Module, noise: Tensor) -> None:
    theirs = TheirBackprop(copy.deepcopy(tiny)).calculate_gradients(
        noise.clone().requires_grad_(), take_max=True
    )
    ours = Backprop(tiny).calculate_gradients(noise, take_max=True)
    assert theirs.shape == ours.shape == (1, 12, 12)
    assert (theirs < 0).any()
    assert (ours >= theirs.abs()).all()


def test_flashtorch_changes_the_models_mode_and_gradients(tiny: nn.Module, noise: Tensor) -> None:
    theirs = copy.deepcopy(tiny).train()
    TheirBackprop(theirs).calculate_gradients(noise.clone().requires_grad_())
    assert not theirs.training
    assert any(p.grad is not None for p in theirs.parameters())
    tiny.train()
    Backprop(tiny).calculate_gradients(noise)
    assert tiny.training
    assert all(p.grad is None for p in tiny.parameters())


def test_one_figure_costs_one_forward_and_one_backward_pass(tiny: nn.Module, noise: Tensor) -> None:
    counter, theirs = Counter(), Counter()
    their_input = noise.clone().requires_grad_()
    with pytest.raises(RuntimeError, match="view"):  # theirs fails when it comes to drawing
        TheirBackprop(nn.Sequential(theirs, copy.deepcopy(tiny))).visualize(their_input, None)
    assert (theirs.forwards, theirs.backwards) == (2, 2)
    for return_output in (False, True):
        counter.forwards = counter.backwards = 0
        network = nn.Sequential(counter, tiny)
        Backprop(network).visualize(noise, None, return_output=return_output)
        assert (counter.forwards, counter.backwards) == (1, 1)


def test_a_binary_classifiers_single_score_is_explained(tiny: nn.Module, noise: Tensor) -> None:
    binary = nn.Sequential(tiny[0], nn.ReLU(), nn.Flatten(0))
    binary = nn.Sequential(*binary, _Mean())
    theirs = TheirBackprop(copy.deepcopy(binary)).calculate_gradients(
        noise.clone().requires_grad_()
    )
    assert theirs.abs().max() > 0
    torch.testing.assert_close(Backprop(binary).calculate_gradients(noise), theirs)
    with pytest.raises(ValueError, match="no class 1"):
        Backprop(binary).calculate_gradients(noise, 1)


class _Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean().reshape(1)


def test_visualize_draws_four_pictures_or_returns_two_tensors(
    model: nn.Module, cat: viz.Sample
) -> None:
    backprop = Backprop(model)
    figure = backprop.visualize(cat.x, 282, figsize=(8, 2))
    assert isinstance(figure, Figure)
    pictures = [axes for axes in figure.axes if axes.get_title()]
    assert len(pictures) == 4
    shown = pictures[0].images[0].get_array()
    assert shown is not None
    np.testing.assert_allclose(shown * 255, cat.view, atol=0.51)
    (bar,) = (axes for axes in figure.axes if axes not in pictures)
    assert bar.get_ylim() == pictures[2].images[0].get_clim()
    assert bar.images[0].get_cmap() == pictures[2].images[0].get_cmap()
    assert len(bar.get_yticks()) > 2
    gradients, strongest = backprop.visualize(cat.x, 282, return_output=True)
    assert gradients.shape == (3, 224, 224)
    assert torch.equal(strongest, gradients.abs().amax(0, keepdim=True))
    coloured = pictures[2].images[0].get_array()
    np.testing.assert_array_equal(coloured, strongest[0])
    middle = pictures[1].images[0].get_array()
    assert middle is not None
    np.testing.assert_array_equal(middle > 0.5, gradients.permute(1, 2, 0) > 0)


def test_figures_belong_to_pyplot_as_flashtorchs_do_but_never_pile_up(
    tiny: nn.Module, noise: Tensor
) -> None:
    figure = Backprop(tiny).visualize(noise, None)
    assert plt.gcf() is figure
    Backprop(tiny).visualize(noise, None, return_output=True)
    assert plt.gcf() is not figure
    assert len(plt.gcf().axes) == 5
    others = plt.figure()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(12):
            Backprop(tiny).visualize(noise, None, figsize=(2, 1))
    assert len(plt.get_fignums()) == 11
    assert plt.fignum_exists(others.number)


def test_a_notebook_shows_a_figure_once(tiny: nn.Module, noise: Tensor, monkeypatch: Any) -> None:
    """The inline backend shows what pyplot holds at a cell's end: not what the cell's value is."""
    figure = Backprop(tiny).visualize(noise, None)
    assert figure._repr_mimebundle_() == {}  # type: ignore[union-attr]
    assert plt.gcf() is figure
    monkeypatch.setattr("matplotlib.get_backend", lambda: "inline")
    figure._repr_mimebundle_()  # type: ignore[union-attr]
    assert not plt.get_fignums()


@pytest.mark.parametrize(
    ("layer", "filter_idx"),
    [("0", 47), ("4.expand3x3", 3), ("9.expand3x3", 1), ("12.expand3x3", 2)],
)
def test_climb_is_flashtorchs_own_trajectory(
    model: nn.Module, start: Tensor, layer: str, filter_idx: int
) -> None:
    """From the same start: the activation before each of ten steps, and the first pictures."""
    theirs, curve = _their_climb(model.features, layer, filter_idx, start, 10)
    ascent = GradientAscent(model.features)
    ours = ascent.optimize(model.features.get_submodule(layer), filter_idx, start, num_iter=10)
    assert len(ours) == len(theirs) == len(curve) == 10
    assert abs(curve[-1] - curve[0]) > 0.1 * abs(curve[-1])
    assert ours[0].shape == theirs[0].shape == start.shape
    assert not torch.allclose(theirs[2], start, atol=0.1)
    # Rounding grows from step to step, most through many ReLUs.
    np.testing.assert_allclose(ascent.activations, curve, rtol=1e-2)
    np.testing.assert_allclose(ascent.activations[:4], curve[:4], rtol=1e-4)
    difference = (ours[2] - theirs[2]).norm() / (theirs[2] - start).norm()
    assert difference < 1e-2
    ascent.optimize(model.features.get_submodule(layer), filter_idx + 1, start, num_iter=10)
    assert not np.allclose(ascent.activations, curve, rtol=0.05)


def _their_climb(
    features: nn.Module, layer: str, filter_idx: int, start: Tensor, steps: int
) -> tuple[list[Tensor], list[float]]:
    """FlashTorch's pictures, and the activation that its hook saw before each step."""
    ascent = TheirAscent(copy.deepcopy(features).eval())
    curve: list[float] = []
    target = ascent.model.get_submodule(layer)
    target.register_forward_hook(
        lambda module, args, output: curve.append(output[:, filter_idx].mean().item())
    )
    pictures = ascent.optimize(target, filter_idx, start.clone().requires_grad_(), num_iter=steps)
    return [picture.detach() for picture in pictures], curve


def test_several_filters_climb_in_one_batch_as_each_would_alone(
    model: nn.Module, start: Tensor
) -> None:
    layer, filters = model.features[6].expand3x3, [1, 5, 8]
    ascent = GradientAscent(model.features, img_size=64)
    together = ascent.visualize(layer, filters, num_iter=4, return_output=True)
    curves = ascent.activations
    for index, pictures, curve in zip(filters, together, curves, strict=True):
        alone = ascent.visualize(layer, index, num_iter=4, return_output=True)
        np.testing.assert_allclose(ascent.activations, curve, rtol=1e-4)
        assert [p.shape for p in pictures] == [p.shape for p in alone] == [(1, 3, 64, 64)] * 4
        moved = (alone[0] - alone[-1]).norm()
        assert (pictures[-1] - alone[-1]).norm() < 1e-2 * moved
    assert (together[0][-1] - together[1][-1]).norm() > 0.5 * moved


def test_the_network_runs_once_a_step_and_only_to_the_layer(tiny: nn.Sequential) -> None:
    before, behind, theirs = Counter(), Counter(), Counter()
    layers = list(tiny)
    ascent = GradientAscent(nn.Sequential(before, *layers[:3], behind, *layers[3:]), img_size=16)
    ascent.visualize(tiny[2], [0, 1, 2, 3], num_iter=5)
    assert (before.forwards, before.backwards, behind.forwards) == (5, 5, 0)
    network = nn.Sequential(*copy.deepcopy(layers[:3]), theirs, *copy.deepcopy(layers[3:]))
    TheirAscent(network, img_size=16).optimize(network[2], 0, num_iter=5)
    assert theirs.forwards == 5


def test_no_graph_is_kept(tiny: nn.Sequential) -> None:
    """FlashTorch's last picture still holds every picture before it, as a graph."""
    theirs = TheirAscent(copy.deepcopy(tiny), img_size=16)
    theirs.model[1].inplace = False
    assert theirs.optimize(theirs.model[2], 0, num_iter=3)[-1].grad_fn is not None
    for picture in GradientAscent(tiny, img_size=16).optimize(tiny[2], 0, num_iter=3):
        assert picture.grad_fn is None
        assert not picture.requires_grad


def test_a_step_keeps_its_pictures_and_nothing_else(tiny: nn.Sequential) -> None:
    """The most bytes of pictures that are alive at one time, seen from inside the network."""

    def most_alive(steps: int) -> int:
        sizes = []

        class Look(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                alive = (o for o in gc.get_objects() if type(o) is Tensor and o.shape == x.shape)
                sizes.append(sum(o.nbytes for o in alive))
                return x.clone()

        ascent = GradientAscent(nn.Sequential(Look(), tiny), img_size=24)
        ascent.visualize(tiny[2], [0, 1], num_iter=steps)
        return max(sizes[2:])

    one_batch = 2 * 3 * 24 * 24 * 4
    assert most_alive(7) - most_alive(3) == 4 * one_batch


def _named(thing: object) -> set[str]:
    return {name for name in dir(thing) if not name.startswith("_")}


def test_every_public_name_of_flashtorchs_objects_is_there(tiny: nn.Module, noise: Tensor) -> None:
    their_backprop, backprop = TheirBackprop(copy.deepcopy(tiny)), Backprop(tiny)
    their_backprop.model[1].inplace = False  # their hooks cannot bear in-place
    their_backprop.calculate_gradients(noise.clone().requires_grad_(), guided=True)
    backprop.calculate_gradients(noise, guided=True)
    assert {"gradients", "relu_outputs"} <= _named(their_backprop) <= _named(backprop)
    their_ascent, ascent = TheirAscent(their_backprop.model), GradientAscent(tiny)
    assert {"output", "activation", "handlers"} <= _named(their_ascent) <= _named(ascent)
    assert ascent.num_layers == their_ascent.num_layers == 7


def test_backprops_attributes_are_flashtorchs(tiny: nn.Module, noise: Tensor) -> None:
    theirs, ours = TheirBackprop(copy.deepcopy(tiny)), Backprop(tiny)
    assert theirs.gradients is ours.gradients is None
    returned = theirs.calculate_gradients(noise.clone().requires_grad_())
    assert torch.equal(ours.calculate_gradients(noise), returned)
    assert ours.gradients is not None
    assert ours.gradients.shape == noise.shape
    torch.testing.assert_close(ours.gradients, theirs.gradients)
    ours.calculate_gradients(noise, guided=True, take_max=True)
    assert ours.gradients.shape == noise.shape
    assert not ours.gradients.requires_grad
    assert ours.relu_outputs == []


def _ascents(tiny: nn.Sequential) -> tuple[TheirAscent, GradientAscent]:
    theirs = TheirAscent(copy.deepcopy(tiny), img_size=16)
    theirs.model[1].inplace = False
    return theirs, GradientAscent(tiny, img_size=16)


def test_optimize_leaves_the_attributes_that_flashtorchs_leaves(tiny: nn.Sequential) -> None:
    theirs, ours = _ascents(tiny)
    for ascent in (theirs, ours):
        assert (ascent.output, ascent.activation, ascent.gradients) == (None, None, None)
        assert ascent.handlers == []
    start = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(4))
    theirs.optimize(theirs.model[2], 1, start.clone().requires_grad_(), num_iter=3)
    pictures = ours.optimize(tiny[2], 1, start, num_iter=3)
    assert theirs.output is ours.output is None  # only visualize stores it
    assert ours.activation is not None
    assert ours.gradients is not None
    torch.testing.assert_close(ours.activation, theirs.activation.detach())
    torch.testing.assert_close(ours.gradients, theirs.gradients)
    assert torch.equal(pictures[1] + ours.gradients, pictures[2])
    assert not ours.activation.requires_grad
    assert not ours.gradients.requires_grad
    assert ours.handlers == []


@pytest.mark.parametrize(("filters", "nested"), [(2, False), ([0, 2], True), (None, True)])
def test_visualize_stores_every_picture_with_or_without_return_output(
    tiny: nn.Sequential, filters: Any, nested: bool
) -> None:
    theirs, ours = _ascents(tiny)
    theirs.visualize(theirs.model[2], filters, num_iter=2, num_subplots=3)
    ours.visualize(tiny[2], filters, num_iter=2, num_subplots=3)
    assert ours.output is not None
    assert len(ours.output) == len(theirs.output)
    kept, their_kept = (
        (ours.output[-1], theirs.output[-1]) if nested else (ours.output, theirs.output)
    )
    assert [p.shape for p in kept] == [p.shape for p in their_kept] == [(1, 3, 16, 16)] * 2
    assert all(p.grad_fn is None for p in kept)
    assert ours.gradients is not None
    assert torch.equal(kept[0] + ours.gradients, kept[1])  # both are the last filter's
    activations = ours.activations[-1] if nested else ours.activations
    assert float(ours.activation or 0) == activations[-1]
    stored = ours.output
    assert ours.visualize(tiny[2], filters, num_iter=2, return_output=True) is ours.output
    assert ours.output is not stored


def test_flashtorchs_lr_is_overridden_by_visualize(tiny: nn.Sequential) -> None:
    theirs = TheirAscent(copy.deepcopy(tiny), img_size=16, lr=0.25)
    theirs.visualize(theirs.model[0], 0, num_iter=1)
    assert theirs.lr == 1.0


def test_flashtorch_accepts_a_filter_too_many(tiny: nn.Sequential) -> None:
    theirs = TheirAscent(copy.deepcopy(tiny), img_size=16)
    with pytest.raises(IndexError):  # from deep inside, not from its own check
        theirs.optimize(theirs.model[0], 4, num_iter=1)
    with pytest.raises(ValueError, match=r"filter 4.*0 to 3"):
        GradientAscent(tiny, img_size=16).optimize(tiny[0], 4)


def test_the_climb_is_in_eval_mode_and_begins_with_the_seeds_noise(tiny: nn.Sequential) -> None:
    network = nn.Sequential(nn.Dropout(0.5), tiny).train()
    np.random.seed(0)
    state = np.random.get_state()[1].copy()  # type: ignore[union-attr]
    first, again, other = (
        GradientAscent(network, img_size=16, seed=seed).optimize(tiny[2], 1, num_iter=2)[-1]
        for seed in (0, 0, 1)
    )
    assert network.training
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert (np.random.get_state()[1] == state).all()
    theirs = TheirAscent(copy.deepcopy(network), img_size=16)
    theirs.model[1][1].inplace = False
    start = torch.zeros(1, 3, 16, 16)
    pictures = [
        theirs.optimize(theirs.model[1][2], 1, start.clone().requires_grad_(), num_iter=2)[-1]
        for _ in range(2)
    ]
    assert not torch.equal(*pictures)  # dropout draws anew


def test_climb_rises_and_repeats_itself(model: nn.Module) -> None:
    ascent = GradientAscent(model.features, img_size=32)
    first = ascent.optimize(model.features[0], 47, num_iter=5)
    assert np.all(np.diff(ascent.activations) > 0)
    assert torch.equal(ascent.optimize(model.features[0], 47, num_iter=5)[-1], first[-1])


def test_constructors_lr_is_kept_and_a_calls_own_lasts_one_call(model: nn.Module) -> None:
    ascent = GradientAscent(model.features, img_size=16, lr=0.25)
    layer = model.features[0]
    own = ascent.visualize(layer, 3, num_iter=1, return_output=True)
    other = ascent.visualize(layer, 3, lr=2.0, num_iter=1, return_output=True)
    assert ascent.lr == 0.25
    again = ascent.visualize(layer, 3, num_iter=1, return_output=True)
    assert torch.equal(own[0], again[0])
    assert not torch.allclose(own[0], other[0])


def test_visualize_one_several_or_random_filters(model: nn.Module) -> None:
    ascent = GradientAscent(model.features, img_size=16)
    layer = model.features[0]
    assert isinstance(ascent.visualize(layer, 3, num_iter=1), Figure)
    assert isinstance(ascent.visualize(layer, np.int64(3), num_iter=1), Figure)
    several = ascent.visualize(layer, [3, 4, 5], num_iter=2, return_output=True)
    assert [len(climb) for climb in several] == [2, 2, 2]
    random = ascent.visualize(layer, num_iter=1, num_subplots=2, return_output=True)
    assert len(random) == 2


def test_deepdream_climbs_from_a_photograph(model: nn.Module, tmp_path: Path) -> None:
    path = str(tmp_path / "cat.png")
    viz.load_image("cat").save(path)
    ascent = GradientAscent(model.features, img_size=64)
    climb = ascent.deepdream(path, model.features[4].expand3x3, 1, num_iter=2, return_output=True)
    assert climb[-1].shape == (1, 3, 64, 64)
    assert np.all(np.diff(ascent.activations) > 0)
    figure = ascent.deepdream(path, model.features[4].expand3x3, 1, num_iter=1)
    assert isinstance(figure, Figure)


def test_bad_input_is_refused_in_words(tiny: nn.Module, noise: Tensor, tmp_path: Path) -> None:
    ascent = GradientAscent(tiny, img_size=16)
    with pytest.raises(TypeError, match=r"nn\.Conv2d, got ReLU"):
        ascent.optimize(tiny[1], 0)
    with pytest.raises(TypeError, match="whole number, not a float"):
        ascent.optimize(tiny[0], 1.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"filter 4.*0 to 3"):
        ascent.optimize(tiny[0], 4)
    with pytest.raises(ValueError, match="not in this model"):
        ascent.optimize(nn.Conv2d(3, 4, 3), 0)
    with pytest.raises(viz.ImageError, match="nowhere"):
        ascent.deepdream(str(tmp_path / "nowhere.jpg"), tiny[0], 0)
    with pytest.raises(ValueError, match="one image"):
        Backprop(tiny).calculate_gradients(noise.expand(2, -1, -1, -1))
    with pytest.raises(ValueError, match="classes begin at 0"):
        Backprop(tiny).calculate_gradients(noise, -1)


# Models of every kind.


class Inception3(nn.Sequential):
    """FlashTorch knows an Inception network by its class's name."""


@pytest.mark.parametrize("wrap", [lambda m: m, nn.DataParallel])
@pytest.mark.parametrize("shape", [(1, 3, 224, 224), (2, 3, 224, 224), (1, 1, 299, 299)])
def test_inceptions_size_is_demanded_in_flashtorchs_words(
    wrap: Any, shape: tuple[int, ...]
) -> None:
    network = Inception3(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    x = torch.zeros(shape)
    words = r"Image must be 299x299 for Inception models\."
    with pytest.raises(ValueError, match=words):
        TheirBackprop(copy.deepcopy(network)).calculate_gradients(x)
    with pytest.raises(ValueError, match=words):
        Backprop(wrap(network)).calculate_gradients(x)
    right = Backprop(wrap(network)).calculate_gradients(torch.zeros(1, 3, 299, 299))
    assert right.shape == (3, 299, 299)


class Constant(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Parameter(torch.tensor([0.8]))

    def forward(self, x: Tensor) -> Tensor:
        return self.score


def test_a_constant_output_has_gradient_zero(noise: Tensor) -> None:
    assert torch.equal(Backprop(Constant()).calculate_gradients(noise, 0), torch.zeros(3, 12, 12))


class Frozen(nn.Module):
    """Fine-tuning as it is often written: the backbone runs without gradients."""

    def __init__(self, tiny: nn.Sequential) -> None:
        super().__init__()
        self.backbone, self.head = tiny[:5], tiny[5:]

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            maps = self.backbone(x)
        return self.head(maps)


def test_a_forward_that_lets_no_gradient_through_is_explained(
    tiny: nn.Sequential, noise: Tensor
) -> None:
    network = Frozen(tiny)
    for guided in (False, True):
        with pytest.raises(ValueError, match=r"No gradient reaches the pixels: Frozen .*no_grad"):
            Backprop(network).calculate_gradients(noise, guided=guided)
    with pytest.raises(ValueError, match="No gradient reaches the pixels"):
        GradientAscent(network, img_size=16).optimize(tiny[2], 0, num_iter=2)


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


def test_a_convolution_may_be_the_model_itself(tiny: nn.Sequential) -> None:
    convolution = tiny[0]
    expected = GradientAscent(tiny, img_size=16).optimize(convolution, 1, num_iter=2)[-1]
    picture = GradientAscent(convolution, img_size=16).optimize(convolution, 1, num_iter=2)[-1]
    assert torch.equal(picture, expected)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_works_or_says_what_to_do(tiny: nn.Sequential, noise: Tensor) -> None:
    expected = Backprop(tiny).calculate_gradients(noise)
    part = nn.Sequential(torch.jit.script(tiny[:4]), *tiny[4:])
    for network in (torch.jit.script(tiny), torch.jit.trace(tiny, noise), part):
        found = Backprop(network).calculate_gradients(noise)
        torch.testing.assert_close(found, expected)
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


def network_of(channels: int) -> nn.Sequential:
    generator = torch.Generator().manual_seed(channels)
    network = nn.Sequential(
        nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.AdaptiveAvgPool2d(1)
    )
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return network.append(nn.Flatten())


@pytest.mark.parametrize("channels", [1, 2, 4, 5])
def test_networks_of_any_number_of_channels(channels: int, tmp_path: Path) -> None:
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


def test_a_grey_networks_dream_begins_with_the_grey_photograph() -> None:
    network = network_of(1)
    (picture,) = GradientAscent(network, img_size=32).deepdream(
        "cat", network[0], 0, lr=0.0, num_iter=1, return_output=True
    )
    pixels = viz.flash.utils.denormalize(picture)[0, 0]
    colours = viz.flash.utils.denormalize(viz.flash.utils.apply_transforms("cat", 32)).detach()
    photograph = viz.flash.utils.format_for_plotting(colours).mul(255).round().byte().numpy()
    grey = np.asarray(Image.fromarray(photograph).convert("L")) / 255
    np.testing.assert_allclose(pixels, grey, atol=0.01)
    assert grey.std() > 0.05


class Repeated(nn.Module):
    """Takes three channels, although its first convolution in the order of definition takes 12."""

    def __init__(self) -> None:
        super().__init__()
        self.late = nn.Conv2d(12, 4, 3)
        self.early = nn.Conv2d(3, 12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.late(self.early(x))


def test_the_order_of_definition_does_not_matter() -> None:
    network = Repeated()
    assert GradientAscent(network, 16).optimize(network.late, 0, num_iter=1)[0].shape[1] == 3


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
    found = Backprop(tiny).calculate_gradients(noise, use_gpu=True)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found.float(), expected)
    picture = ascent.optimize(tiny[2], 1, num_iter=2)[-1]
    assert picture.dtype == torch.float64
    torch.testing.assert_close(picture.float(), climb, rtol=1e-3, atol=1e-3)
    assert {p.dtype for p in tiny.parameters()} == {torch.float32}


def test_the_default_device_and_autocast_change_nothing(tiny: nn.Sequential, noise: Tensor) -> None:
    def everything() -> tuple[Tensor, ...]:
        backprop, ascent = Backprop(tiny), GradientAscent(tiny, img_size=16)
        backprop.visualize(noise, None)
        return (
            backprop.calculate_gradients(noise),
            backprop.calculate_gradients(noise, guided=True),
            ascent.optimize(tiny[2], 1, num_iter=2)[-1],
            ascent.deepdream("cat", tiny[2], 1, num_iter=2, return_output=True)[-1],
            ascent.visualize(tiny[2], [1, 3], num_iter=2, return_output=True)[0][-1],
        )

    expected = everything()
    with torch.device("meta"):
        on_meta = everything()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert tiny[0](noise).dtype == torch.bfloat16
        in_autocast = everything()
    for found in (on_meta, in_autocast):
        assert all(map(torch.equal, found, expected))


def test_a_photograph_climbs_in_the_models_own_precision(tiny: nn.Sequential) -> None:
    half = copy.deepcopy(tiny).bfloat16()
    ascent = GradientAscent(half, img_size=16)
    pictures = ascent.deepdream("cat", half[2], 1, num_iter=2, return_output=True)
    assert pictures[-1].dtype == torch.bfloat16


def test_nan_weights_are_named_as_the_cause(tiny: nn.Sequential, noise: Tensor) -> None:
    with torch.no_grad():
        tiny[0].weight[0] = float("nan")
    backprop, ascent = Backprop(tiny), GradientAscent(tiny, img_size=16)
    for call in (
        lambda: backprop.calculate_gradients(noise),
        lambda: backprop.visualize(noise, 2, guided=True),
        lambda: ascent.optimize(tiny[2], 0, num_iter=2),
        lambda: ascent.visualize(tiny[0], [1, 0], num_iter=1),
        lambda: ascent.deepdream("cat", tiny[2], 0, num_iter=1),
    ):
        with pytest.raises(ValueError, match=r"NaN.*diverged"):
            call()


class Root(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x * 0).sqrt().sum(dim=(2, 3))


def test_a_gradient_that_is_no_number_is_returned_but_not_drawn(noise: Tensor) -> None:
    assert Backprop(Root()).calculate_gradients(noise).isnan().any()
    with pytest.raises(ValueError, match="gradient holds NaN"):
        Backprop(Root()).visualize(noise, None)


def test_a_class_is_a_whole_number_or_a_list_of_one(tiny: nn.Module, noise: Tensor) -> None:
    backprop = Backprop(tiny)
    top = int(tiny(noise).argmax())
    expected = backprop.calculate_gradients(noise, top)
    for same in ([top], (top,), np.array([top]), torch.tensor([top]), np.int64(top), [None]):
        assert torch.equal(backprop.calculate_gradients(noise, same), expected)  # type: ignore[arg-type]
    for wrong in (1.5, "tabby", True, [0, 1], []):
        with pytest.raises(TypeError, match=r"target_class=.*expected a whole number"):
            backprop.calculate_gradients(noise, wrong)  # type: ignore[arg-type]


def test_visualize_takes_a_sample_as_well(model: nn.Module, cat: viz.Sample) -> None:
    ours = Backprop(model).visualize(cat, None, return_output=True)  # type: ignore[arg-type]
    assert torch.equal(ours[0], Backprop(model).calculate_gradients(cat.x))


def test_no_modules_are_refused_where_they_are_given() -> None:
    for kind in (Backprop, GradientAscent):
        with pytest.raises(TypeError, match=r"Expected a torch\.nn\.Module, got str"):
            kind("alexnet")  # type: ignore[arg-type]


# What FlashTorch's README and its example notebooks show, with only the import changed.


@pytest.fixture
def owl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A photograph where the examples look for one."""
    (tmp_path / "images").mkdir()
    viz.load_image("cat").save(tmp_path / "images" / "great_grey_owl.jpg")
    monkeypatch.chdir(tmp_path)
    return "./images/great_grey_owl.jpg"


@pytest.fixture
def vgg16() -> nn.Module:
    return viz.load_model("vgg16", weights=None)


def test_example_image_handling(owl: str) -> None:
    from vizhelpers.flash.utils import (
        apply_transforms,
        denormalize,
        format_for_plotting,
        load_image,
    )

    image = load_image(owl)
    plt.imshow(image)
    plt.title("Original image")
    input_ = apply_transforms(image)
    plt.imshow(format_for_plotting(input_))
    plt.imshow(format_for_plotting(denormalize(input_)))
    shown = plt.gca().images[-1].get_array()
    assert shown is not None
    assert shown.shape == (224, 224, 3)


def test_example_saliency_maps(owl: str, model: nn.Module) -> None:
    from vizhelpers.flash.saliency import Backprop
    from vizhelpers.flash.utils import ImageNetIndex, apply_transforms, load_image

    backprop = Backprop(model)
    imagenet = ImageNetIndex()
    target_class = imagenet["great grey owl"]
    assert target_class == 24
    owl_ = apply_transforms(load_image(owl))
    with pytest.warns(UserWarning, match="explains class 24"):
        backprop.visualize(owl_, target_class, guided=True, use_gpu=True)
    plt.savefig("saliency.png")
    assert Path("saliency.png").stat().st_size > 20_000
    with pytest.warns(UserWarning):
        gradients = backprop.calculate_gradients(owl_, target_class)
        max_gradients = backprop.calculate_gradients(owl_, target_class, take_max=True)
    assert gradients.shape == (3, 224, 224)
    assert max_gradients.shape == (1, 224, 224)


def test_example_activation_maximization(vgg16: nn.Module) -> None:
    from vizhelpers.flash.activmax import GradientAscent

    model = vgg16
    g_ascent = GradientAscent(model.features, img_size=32)  # 224 takes too long for a test
    conv5_1 = model.features[24]
    conv5_1_filters = [45, 271, 363, 489]
    g_ascent.visualize(conv5_1, conv5_1_filters, title="VGG16: conv5_1", num_iter=2)
    assert [axes.get_title() for axes in plt.gcf().axes] == [f"filter {i}" for i in conv5_1_filters]
    assert plt.gcf().get_suptitle() == "VGG16: conv5_1"
    output = g_ascent.visualize(conv5_1, 45, num_iter=2, title="conv5_1 45", return_output=True)
    assert len(output) == 2
    assert output[-1].shape == (1, 3, 32, 32)


def test_example_deepdream(owl: str, model: nn.Module) -> None:
    from vizhelpers.flash.activmax import GradientAscent

    g_ascent = GradientAscent(model.features, img_size=64)
    g_ascent.deepdream(owl, model.features[9].expand3x3, 33, num_iter=2)
    plt.savefig("dream.png")
    assert Path("dream.png").stat().st_size > 5_000


def test_the_module_paths_are_flashtorchs() -> None:
    """README's API guide names four modules."""
    from vizhelpers.flash.activmax.gradient_ascent import GradientAscent as Ascent
    from vizhelpers.flash.saliency.backprop import Backprop as Gradients
    from vizhelpers.flash.utils import ImageNetIndex
    from vizhelpers.flash.utils.imagenet import ImageNetIndex as Index

    assert (Ascent, Gradients, Index) == (GradientAscent, Backprop, ImageNetIndex)
