"""Activations and gradients against torchvision's extractor, captum and hooks by hand."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from networks import seeded
from oracles import LAYERS, NEIGHBOURS, PASSES, SEED, attributed, case, equal, unequal
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor

import vizhelpers as viz


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
    if name in NEIGHBOURS:
        before, last = c.layers[-2:]
        unequal(ours[before], theirs[last])


def strongest(gradient: Tensor) -> Tensor:
    return gradient[0].detach().abs().amax(0)


PAIRS = [
    (name, method)
    for name in LAYERS
    for method in ("vanilla", "input_x_gradient", "guided", "integrated_gradients", "smoothgrad")
    # ViT has no ReLU. captum's guided hooks see nn.ReLU alone, where EfficientNet-Lite0 has ReLU6;
    # and of a ResNet's ReLUs, which run twice, only the last run.
    if method != "guided" or name == "squeezenet"
]


@pytest.mark.parametrize(("name", "method"), PAIRS)
def test_saliency_equals_captum(name: str, method: str) -> None:
    c = case(name)
    theirs = attributed(method, c)
    assert theirs.min() < 0 < theirs.max()
    ours, wrong = (
        viz.saliency(c.model, c.x, target=t, method=method, passes=PASSES, seed=SEED).frames[0]
        for t in (c.target, c.other)
    )
    equal(ours, strongest(theirs))
    unequal(wrong, strongest(theirs))
    unequal(theirs[0].amax(0), strongest(theirs))  # FlashTorch's maximum, of the signed values


def test_integrated_gradients_are_complete() -> None:
    """They add up to f(x) - f(0), up to an error that falls with the steps (axiom 1)."""
    with seeded(2):  # no weight is negative, so no attribution is, and the absolute values add up
        net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Sigmoid(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        net.append(nn.Linear(4, 3)).requires_grad_(False)
        net[0].weight.abs_()
        net[4].weight.abs_()
        x = torch.rand(1, 1, 10, 10)
    difference = (net(x) - net(torch.zeros_like(x)))[0, 2].item()
    sums = [
        viz.saliency(net, x, target=2, method="integrated_gradients", passes=n).frames.sum()
        for n in (1, 40)
    ]
    assert sums[1] == pytest.approx(difference, rel=1e-4)
    assert sums[0] != pytest.approx(difference, rel=1e-3)


@pytest.mark.parametrize("name", ["efficientnet", "resnet"])
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
    """Give every ReLU module, in a ``with`` block, a forward pass whose backward pass is guided."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.ReLU, "forward", lambda self, x: GuidedClamp.apply(x, float("inf")))
        patch.setattr(nn.ReLU6, "forward", lambda self, x: GuidedClamp.apply(x, 6.0))
        yield


@pytest.mark.filterwarnings("ignore:The model predicts class")
@pytest.mark.parametrize("name", LAYERS)
def test_flash_backprop_equals_captum(name: str) -> None:
    c = case(name)
    theirs = attributed("vanilla", c)[0]
    flash = viz.flash.Backprop(c.model)
    equal(flash.calculate_gradients(c.x, c.target), theirs)
    unequal(flash.calculate_gradients(c.x, c.other), theirs)
    unequal(-flash.calculate_gradients(c.x, c.target), theirs)
    if name == "squeezenet":
        guided = attributed("guided", c)[0]
        equal(flash.calculate_gradients(c.x, c.target, guided=True), guided)
        unequal(theirs, guided)
