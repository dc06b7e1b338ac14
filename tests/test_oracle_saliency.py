"""Activations and gradients against torchvision's extractor and captum."""

from collections.abc import Callable

import pytest
import torch
from oracles import LAYERS, NEIGHBOURS, PASSES, SEED, attributed, case, equal, strongest, unequal
from torch import nn
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
