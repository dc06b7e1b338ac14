"""``flash.Backprop``: FlashTorch itself is the oracle where it is right, captum where it is not."""

import copy
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import GuidedBackprop, Saliency
from flashtorch.saliency.backprop import Backprop as TheirBackprop
from matplotlib.figure import Figure
from networks import Counter
from torch import Tensor, nn

import vizhelpers as viz
from vizhelpers.flash import Backprop

pytestmark = [
    # FlashTorch's hooks are of a kind that PyTorch no longer recommends, and it says so each time.
    pytest.mark.filterwarnings("ignore:Using a non-full backward hook:FutureWarning"),
    pytest.mark.usefixtures("no_figures_left"),
]


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
