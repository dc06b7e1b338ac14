"""FlashTorch itself is the oracle where it is right; captum where it is not."""

import copy
import inspect
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from captum.attr import GuidedBackprop, Saliency
from flashtorch.activmax.gradient_ascent import GradientAscent as TheirAscent
from flashtorch.saliency.backprop import Backprop as TheirBackprop
from matplotlib.figure import Figure
from torch import Tensor, nn

import vizhelpers as viz
from vizhelpers.flash import Backprop, GradientAscent


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
        if name != "lr":  # theirs overrides the constructor's; None keeps it
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


def test_visualize_draws_four_pictures_or_returns_two_tensors(
    model: nn.Module, cat: viz.Sample
) -> None:
    backprop = Backprop(model)
    figure = backprop.visualize(cat.x, 282, figsize=(8, 2))
    assert isinstance(figure, Figure)
    assert sum(bool(axes.images) for axes in figure.axes) == 4
    shown = figure.axes[0].images[0].get_array()
    assert shown is not None
    np.testing.assert_allclose(shown * 255, cat.view, atol=0.51)
    gradients, strongest = backprop.visualize(cat.x, 282, return_output=True)
    assert torch.equal(strongest, gradients.abs().amax(0, keepdim=True))


def test_climb_equals_flashtorchs_from_the_same_start(model: nn.Module, start: Tensor) -> None:
    theirs_model = copy.deepcopy(model.features)
    theirs = TheirAscent(theirs_model).optimize(
        theirs_model[4].expand3x3, 3, start.clone().requires_grad_(), num_iter=4
    )
    ours = GradientAscent(model.features).optimize(
        model.features[4].expand3x3, 3, start, num_iter=4
    )
    assert len(ours) == len(theirs) == 4
    assert not torch.allclose(ours[-1], start, atol=0.1)
    torch.testing.assert_close(ours[-1], theirs[-1].detach(), rtol=1e-3, atol=1e-3)


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
