"""``flash.Backprop``: FlashTorch itself is the oracle where it is right, captum where it is not.

``test_oracle_saliency`` compares its gradients with captum's on four networks.
"""

import copy
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


@pytest.fixture
def clean(tiny: nn.Sequential) -> nn.Sequential:
    """A copy of ``tiny`` without in-place operations, which FlashTorch's hooks cannot take."""
    network = copy.deepcopy(tiny)
    network[1].inplace = False
    return network


@pytest.fixture
def theirs(clean: nn.Sequential) -> TheirBackprop:
    return TheirBackprop(clean)


def leaf(noise: Tensor) -> Tensor:
    return noise.clone().requires_grad_()


def test_vanilla_gradients_equal_flashtorchs(model: nn.Module, cat: viz.Sample) -> None:
    theirs = TheirBackprop(copy.deepcopy(model)).calculate_gradients(leaf(cat.x), 282)
    ours = Backprop(model).calculate_gradients(cat.x, 282)
    assert ours.shape == (3, 224, 224)
    assert theirs.abs().max() > 0
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    drawn = Backprop(model).visualize(cat, None, return_output=True)  # type: ignore[arg-type]
    assert torch.equal(drawn[0], ours), "a Sample is as good as its tensor"  # type: ignore[index]


def test_input_needs_no_requires_grad(
    tiny: nn.Module, noise: Tensor, theirs: TheirBackprop
) -> None:
    with pytest.raises(AttributeError, match="'NoneType' object has no attribute 'shape'"):
        theirs.calculate_gradients(noise)
    plain = Backprop(tiny).calculate_gradients(noise)
    assert plain.abs().max() > 0
    with_it = leaf(noise)
    assert torch.equal(Backprop(tiny).calculate_gradients(with_it), plain)
    assert with_it.grad is None


def test_flashtorch_explains_another_class_than_requested(
    tiny: nn.Module, noise: Tensor, theirs: TheirBackprop
) -> None:
    predicted = int(tiny(noise).argmax())
    other = (predicted + 1) % 5
    with pytest.warns(UserWarning, match="w.r.t. the predicted class"):
        ignored = theirs.calculate_gradients(leaf(noise), other)
    words = f"predicts class {predicted}; this explains class {other}, as requested"
    with pytest.warns(UserWarning, match=words):
        requested = Backprop(tiny).calculate_gradients(noise, other)
    torch.testing.assert_close(ignored, Backprop(tiny).calculate_gradients(noise))
    assert not torch.allclose(requested, ignored, atol=1e-4)


@pytest.mark.filterwarnings("error")
def test_no_class_is_the_predicted_one_and_warns_of_nothing(tiny: nn.Module, noise: Tensor) -> None:
    predicted = int(tiny(noise).argmax())
    expected = Backprop(tiny).calculate_gradients(noise, predicted)
    for same in (
        None, [predicted], (predicted,), np.array([predicted]), torch.tensor([predicted]),
        np.int64(predicted), [None],
    ):  # fmt: skip
        assert torch.equal(Backprop(tiny).calculate_gradients(noise, same), expected)  # type: ignore[arg-type]
    for wrong in (1.5, "tabby", True, [0, 1], []):
        with pytest.raises(TypeError, match=r"target_class=.*expected an integer"):
            Backprop(tiny).calculate_gradients(noise, wrong)  # type: ignore[arg-type]
    figure = Backprop(tiny).visualize(noise, None)
    assert isinstance(figure, Figure)
    assert f"class {predicted}, as predicted" in figure.axes[0].get_title()


class Functional(nn.Module):
    """The same network as its ``Sequential`` twin, with ReLU called as a function."""

    def __init__(self, twin: nn.Sequential) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList([twin[0], twin[2]])
        self.head = twin[4:]

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.relu(self.convolutions[0](x))
        return self.head(self.convolutions[1](x).relu_())


@pytest.mark.filterwarnings("ignore")  # class 2 need not be the predicted one; captum sets hooks
def test_guided_gradients_handle_relu_as_module_in_place_and_as_function(
    tiny: nn.Sequential, clean: nn.Sequential, noise: Tensor
) -> None:
    expected = GuidedBackprop(clean).attribute(leaf(noise), 2)[0]
    vanilla = Saliency(clean).attribute(leaf(noise), 2, abs=False)[0]
    assert not torch.allclose(expected, vanilla, atol=1e-4)
    for network in (tiny, clean, Functional(tiny)):
        ours = Backprop(network).calculate_gradients(noise, 2, guided=True)
        torch.testing.assert_close(ours, expected)
    without = nn.Sequential(nn.Conv2d(3, 2, 12), nn.Flatten())
    with pytest.raises(ValueError, match="uses none"):
        Backprop(without).calculate_gradients(noise, guided=True)


def test_flashtorchs_guided_gradients_are_no_numbers(model: nn.Module, cat: viz.Sample) -> None:
    theirs = TheirBackprop(copy.deepcopy(model))
    assert not theirs.calculate_gradients(leaf(cat.x), 282, guided=True).isfinite().all()
    assert Backprop(model).calculate_gradients(cat.x, 282, guided=True).isfinite().all()


def test_flashtorch_leaves_its_mode_gradients_and_hooks_that_spoil_the_next_answer(
    tiny: nn.Module, clean: nn.Sequential, noise: Tensor
) -> None:
    """What ours leaves on a model is tested for every function in ``test_untouched``."""
    theirs = TheirBackprop(clean.train())
    first = theirs.calculate_gradients(leaf(noise))
    assert not theirs.model.training
    assert any(p.grad is not None for p in theirs.model.parameters())
    theirs.calculate_gradients(leaf(noise), guided=True)
    assert any(m._forward_hooks or m._backward_hooks for m in theirs.model.modules())
    assert not torch.allclose(theirs.calculate_gradients(leaf(noise)), first)
    ours = Backprop(tiny.train())
    before = ours.calculate_gradients(noise)
    ours.calculate_gradients(noise, guided=True)
    assert torch.equal(ours.calculate_gradients(noise), before) and tiny.training


def test_the_maximum_is_of_absolute_values_and_flashtorchs_is_signed(
    tiny: nn.Module, noise: Tensor, theirs: TheirBackprop
) -> None:
    signed = theirs.calculate_gradients(leaf(noise), take_max=True)
    ours = Backprop(tiny).calculate_gradients(noise, take_max=True)
    assert signed.shape == ours.shape == (1, 12, 12)
    assert (signed < 0).any()
    assert torch.equal(ours[0], Backprop(tiny).calculate_gradients(noise).abs().amax(0))


def test_one_figure_costs_one_forward_and_one_backward_pass(
    tiny: nn.Module, clean: nn.Sequential, noise: Tensor
) -> None:
    counter, their_counter = Counter(), Counter()
    with pytest.raises(RuntimeError, match="view"):  # theirs fails when it comes to drawing
        TheirBackprop(nn.Sequential(their_counter, clean)).visualize(leaf(noise), None)
    assert (their_counter.forwards, their_counter.backwards) == (2, 2)
    for passes, return_output in ((1, False), (2, True)):
        Backprop(nn.Sequential(counter, tiny)).visualize(noise, None, return_output=return_output)
        assert (counter.forwards, counter.backwards) == (passes, passes)


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean().reshape(1)


def test_a_binary_classifiers_single_score_is_explained(tiny: nn.Module, noise: Tensor) -> None:
    binary = nn.Sequential(tiny[0], nn.ReLU(), Mean())
    expected = TheirBackprop(copy.deepcopy(binary)).calculate_gradients(leaf(noise))
    assert expected.abs().max() > 0
    torch.testing.assert_close(Backprop(binary).calculate_gradients(noise), expected)
    with pytest.raises(ValueError, match="no class 1"):
        Backprop(binary).calculate_gradients(noise, 1)


def test_backprops_attributes_are_flashtorchs(
    tiny: nn.Module, noise: Tensor, theirs: TheirBackprop
) -> None:
    ours = Backprop(tiny)
    assert theirs.gradients is ours.gradients is None
    returned = theirs.calculate_gradients(leaf(noise))
    torch.testing.assert_close(ours.calculate_gradients(noise), returned)
    assert ours.gradients is not None
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
    words = r"Image must be 299x299 for Inception models\."
    with pytest.raises(ValueError, match=words):
        TheirBackprop(copy.deepcopy(network)).calculate_gradients(torch.zeros(shape))
    with pytest.raises(ValueError, match=words):
        Backprop(wrap(network)).calculate_gradients(torch.zeros(shape))
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
