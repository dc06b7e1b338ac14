"""Activations and gradients against torchvision's extractor, captum and hooks by hand."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor

import vizhelpers as viz
from vizhelpers.methods.saliency import integrated_gradients
from vizhelpers.passes.gradients import logit_of

if any(find_spec(name) is None for name in ("captum", "torchcam", "timm")):
    pytest.skip("captum, torchcam and timm come with uv sync", allow_module_level=True)
from oracles import LAYERS, PASSES, SEED, attributed, case, equal, strongest, unequal


def extractor(name: str) -> Callable[..., nn.Module]:
    """Return torchvision's extractor; timm's calls it, and names what it must not trace into."""
    if name != "efficientnet":
        return create_feature_extractor
    from timm.models import create_feature_extractor as with_leaves

    return with_leaves


@pytest.mark.parametrize("name", LAYERS)
def test_capture_equals_torchvisions_feature_extractor(name: str) -> None:
    c = case(name)
    ours = viz.capture(c.model, c.x, c.layers)
    with torch.no_grad():
        theirs = extractor(name)(c.clean, list(c.layers))(c.x)
    for layer in c.layers:
        equal(ours[layer], theirs[layer])
        unequal(-ours[layer], theirs[layer])
    # Neighbours of one shape are told apart: the last layer's output is not the one before it.
    one, other = c.layers[-2:]
    if ours[one].shape == ours[other].shape:
        unequal(ours[one], theirs[other])


def test_neighbours_of_one_shape_are_among_them() -> None:
    for name in ("resnet18", "vit_b_16"):
        c = case(name)
        shapes = [found.shape for found in viz.capture(c.model, c.x, c.layers[-2:]).values()]
        assert shapes[0] == shapes[1]


PAIRS = [
    (name, method)
    for name in LAYERS
    for method in ("vanilla", "input_x_gradient", "guided", "integrated_gradients", "smoothgrad")
    # ViT has no ReLU. captum's guided hooks see nn.ReLU alone, where EfficientNet-Lite0 has ReLU6;
    # and of ResNet-18's ReLUs, which run twice, only the last run.
    if method != "guided" or name == "squeezenet"
    # Many passes of ViT take seconds, and say nothing that one pass does not.
    if name != "vit_b_16" or method in ("vanilla", "input_x_gradient")
]


@pytest.mark.parametrize(("name", "method"), PAIRS)
def test_saliency_equals_captum(name: str, method: str) -> None:
    c = case(name)
    theirs = attributed(method, c, c.target)
    assert (theirs < 0).any()
    assert (theirs > 0).any()
    ours, wrong = (
        viz.saliency(c.model, c.x, target=t, method=method, passes=PASSES, seed=SEED).frames[0]
        for t in (c.target, c.other)
    )
    equal(ours, strongest(theirs))
    unequal(wrong, strongest(theirs))
    unequal(theirs[0].amax(0), strongest(theirs))  # FlashTorch's maximum, of the signed values


@pytest.mark.parametrize("name", ["squeezenet", "efficientnet"])
def test_integrated_gradients_are_complete(name: str) -> None:
    """They add up to f(x) - f(0); the error falls with the number of steps (axiom 1)."""
    c = case(name)
    with torch.no_grad():
        difference = (c.model(c.x) - c.model(torch.zeros_like(c.x)))[0, c.target].item()
    assert abs(difference) > 1
    score = logit_of(c.target)
    errors = [
        abs(integrated_gradients(c.model, c.x, score, passes=n).sum().item() - difference)
        for n in (2, 40)
    ]
    assert errors[1] < 0.1 * abs(difference)
    assert errors[1] < errors[0] / 2


def test_smoothgrad_is_the_mean_over_the_seeds_noise() -> None:
    c = case("squeezenet")
    generator = torch.Generator().manual_seed(7)
    spread = 0.15 * (c.x.max() - c.x.min())
    total = torch.zeros_like(c.x)
    for _ in range(4):
        noisy = c.x + spread * torch.randn(c.x.shape, generator=generator)
        noisy.requires_grad_()
        (gradient,) = torch.autograd.grad(c.clean(noisy)[0, c.target], noisy)
        total += gradient / 4
    ours, wrong = (
        viz.saliency(c.model, c.x, target=c.target, method="smoothgrad", passes=4, seed=seed)
        for seed in (7, 8)
    )
    equal(ours.frames[0], strongest(total))
    unequal(wrong.frames[0], strongest(total))


@pytest.mark.parametrize("name", ["efficientnet", "resnet18"])
def test_guided_equals_hooks_by_hand_where_captum_cannot(name: str) -> None:
    """ReLU6, or one ReLU that runs twice: each ReLU a module of its own, gradients clamped."""
    c = case(name)
    x = c.x.clone().requires_grad_()
    with clamped_relus():
        (reference,) = torch.autograd.grad(c.clean(x)[0, c.target], x)
    ours, wrong, plain = (
        viz.saliency(c.model, c.x, target=t, method=method).frames[0]
        for t, method in ((c.target, "guided"), (c.other, "guided"), (c.target, "vanilla"))
    )
    equal(ours, strongest(reference))
    unequal(wrong, strongest(reference))
    unequal(plain, strongest(reference))


class GuidedClamp(torch.autograd.Function):
    """ReLU or ReLU6 with the backward pass of Springenberg et al. 2014, figure 1."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, top: float) -> Tensor:
        ctx.save_for_backward((x > 0) & (x < top))
        return x.clamp(0, top)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (open_,) = ctx.saved_tensors
        return gradients[0] * open_ * (gradients[0] > 0), None


@contextmanager
def clamped_relus() -> Iterator[None]:
    """Give every ReLU module, for a while, a forward pass whose way back is guided."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.ReLU, "forward", lambda self, x: GuidedClamp.apply(x, float("inf")))
        patch.setattr(nn.ReLU6, "forward", lambda self, x: GuidedClamp.apply(x, 6.0))
        yield


@pytest.mark.filterwarnings("ignore:The model predicts class")
@pytest.mark.parametrize("name", LAYERS)
def test_flash_backprop_equals_captum(name: str) -> None:
    c = case(name)
    theirs = attributed("vanilla", c, c.target)[0]
    flash = viz.flash.Backprop(c.model)
    equal(flash.calculate_gradients(c.x, c.target), theirs)
    unequal(flash.calculate_gradients(c.x, c.other), theirs)
    unequal(-flash.calculate_gradients(c.x, c.target), theirs)
    if name == "squeezenet":
        guided = attributed("guided", c, c.target)[0]
        equal(flash.calculate_gradients(c.x, c.target, guided=True), guided)
        unequal(theirs, guided)
