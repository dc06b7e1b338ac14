"""Every picture that rests on numbers, against a computation that we did not write.

Two networks with real weights see photographs; two seeded ones (residual sums; tokens) have weights
of unit variance, so that nothing is equal because it is nothing. Each test first shows that its
reference is not zero, and that a neighbour of the right answer (another class, another layer, the
other sign) would fail. "Equal" is a relative error of 1e-5 of the largest value, unless a reason
stands beside it.

``test_oracle_cam``, ``test_oracle_saliency`` and ``test_oracle_summary`` use this file.
"""

import copy
import warnings
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from networks import seeded, unit_variance
from torch import Tensor, nn

import vizhelpers as viz

if any(find_spec(name) is None for name in ("captum", "torchcam", "timm")):
    pytest.skip("captum, torchcam and timm come with uv sync", allow_module_level=True)
from captum import attr


@dataclass(frozen=True)
class Case:
    """A network, what it looks at, and what is asked of it.

    Attributes:
        model: as a user has it.
        clean: the same without in-place operations, which most oracles cannot bear.
        x: (1, 3, H, W).
        target: the class that is explained.
        other: a wrong answer to the question, which must be told apart.
        layers: from early to late; the last two are neighbours of one size.
    """

    model: nn.Module
    clean: nn.Module
    x: Tensor
    target: int
    other: int
    layers: tuple[str, ...]


LAYERS = {
    "squeezenet": ("features.0", "features.6", "features.11", "features.12"),
    "efficientnet": ("conv_stem", "blocks.2.0", "blocks.6.0", "blocks.5.3"),
    "resnet18": ("conv1", "layer2.0", "layer3.0", "layer3.1"),
    "vit_b_16": ("conv_proj", "encoder.layers.encoder_layer_8", "encoder.layers.encoder_layer_9"),
}


SIDE = 96  # of the seeded networks' input: ViT has 6 x 6 tokens then, and takes a tenth of the time


CNNS = ("squeezenet", "efficientnet", "resnet18")


@cache
def case(name: str) -> Case:
    if name in ("squeezenet", "efficientnet"):
        model = viz.load_model("efficientnet_lite0") if name == "efficientnet" else viz.load_model()
        x = viz.prepare(model, "cat" if name == "squeezenet" else "coffee").x
    else:
        x = F.interpolate(viz.prepare(viz.load_model(), "cat").x, (SIDE, SIDE), mode="bilinear")
        size = {"image_size": SIDE} if name == "vit_b_16" else {}
        with seeded(1):
            model = unit_variance(torchvision.models.get_model(name, weights=None, **size), x)
    target = 281 if name == "squeezenet" else 967
    return Case(model, without_inplace(model), x, target, target + 1, LAYERS[name])


def without_inplace(model: nn.Module) -> nn.Module:
    clean = copy.deepcopy(model)
    for module in clean.modules():
        if getattr(module, "inplace", False) is True:
            module.inplace = False  # type: ignore[assignment]
    return clean


def equal(ours: Tensor | np.ndarray, reference: Tensor | np.ndarray, limit: float = 1e-5) -> None:
    """Fail unless both agree within ``limit`` times the reference's largest value."""
    assert error(ours, reference) <= limit


def unequal(ours: Tensor | np.ndarray, reference: Tensor | np.ndarray) -> None:
    """Fail unless ``ours`` is a wrong answer that the limit sees, with room to spare."""
    assert error(ours, reference) > 1e-3


def error(ours: Tensor | np.ndarray, reference: Tensor | np.ndarray) -> float:
    ours, reference = (torch.as_tensor(a).detach().double().numpy() for a in (ours, reference))
    assert ours.shape == reference.shape
    largest = np.abs(reference).max()
    assert largest > 1e-6, "the reference is zero: nothing would be proved"
    return float(np.abs(ours - reference).max() / largest)


def strongest(gradient: Tensor) -> Tensor:
    return gradient[0].detach().abs().amax(0)


def attributed(method: str, c: Case, target: int) -> Tensor:
    """Return captum's attribution, signed, (1, 3, H, W)."""
    x = c.x.clone().requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # captum says that it sets requires_grad, and hooks
        if method == "vanilla":
            return attr.Saliency(c.clean).attribute(x, target, abs=False)
        if method == "input_x_gradient":
            return attr.InputXGradient(c.clean).attribute(x, target)
        if method == "guided":
            return attr.GuidedBackprop(c.clean).attribute(x, target)
        if method == "integrated_gradients":
            return attr.IntegratedGradients(c.clean).attribute(
                x, target=target, n_steps=PASSES, method="riemann_middle", internal_batch_size=1
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            return attr.NoiseTunnel(attr.Saliency(c.clean)).attribute(
                x.detach(),
                nt_type="smoothgrad",
                nt_samples=PASSES,
                nt_samples_batch_size=1,
                stdevs=0.15 * float(c.x.max() - c.x.min()),
                target=target,
                abs=False,
            )


PASSES, SEED = 3, 4
