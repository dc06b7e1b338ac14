"""Networks, photographs and references for ``test_oracle_*``: computations that we did not write.

Two networks with real weights see photographs; two seeded ones (residual sums; tokens) have weights
of unit variance, so that nothing is equal because it is nothing. Each test first shows that its
reference is not zero, and that a neighbour of the right answer (another class, another layer, the
other sign) would fail. "Equal" is a relative error of 1e-5 of the largest value, unless a reason
stands beside it.
"""

import copy
import warnings
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from captum import attr
from networks import seeded, unit_variance
from torch import Tensor, nn
from torchvision.models import ResNet, VisionTransformer
from torchvision.models.resnet import BasicBlock

import vizhelpers as viz


class Case(NamedTuple):
    """A network, a copy without in-place operations, which most oracles cannot take, and an input.

    The explanation of class ``other`` must differ from that of ``target``; layers are given from
    early to late.
    """

    model: nn.Module
    clean: nn.Module
    x: Tensor  # (1, 3, H, W)
    target: int
    other: int
    layers: tuple[str, ...]


LAYERS = {
    "squeezenet": ("features.0", "features.6", "features.11", "features.12"),
    "efficientnet": ("conv_stem", "blocks.2.0", "blocks.6.0", "blocks.5.3"),
    "resnet": ("conv1", "layer2.0", "layer3.0", "layer3.1"),
    "vit": ("conv_proj", "encoder.layers.encoder_layer_1", "encoder.layers.encoder_layer_2"),
}
CNNS = ("squeezenet", "efficientnet", "resnet")
NEIGHBOURS = ("resnet", "vit")  # whose last two layers have outputs of one shape
PASSES, SEED = 3, 4
SIDE = 96  # of the seeded networks' input: 6 x 6 tokens


def tiny_vit(side: int, layers: int) -> nn.Module:
    """Return torchvision's ViT with patches of 16 pixels, narrow enough for milliseconds."""
    return VisionTransformer(side, 16, layers, num_heads=4, hidden_dim=64, mlp_dim=128)


@cache
def case(name: str) -> Case:
    if name in ("squeezenet", "efficientnet"):
        model = viz.load_model("efficientnet_lite0") if name == "efficientnet" else viz.load_model()
        x = viz.prepare(model, "cat" if name == "squeezenet" else "coffee").x
    else:
        x = F.interpolate(viz.prepare(viz.load_model(), "cat").x, (SIDE, SIDE), mode="bilinear")
        with seeded(5):  # with which no Grad-CAM of both classes is zero
            made = tiny_vit(SIDE, 4) if name == "vit" else ResNet(BasicBlock, [1, 1, 2, 1])
            model = unit_variance(made, x)
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


def attributed(method: str, c: Case) -> Tensor:
    """Return captum's attribution for the case's target, signed, (1, 3, H, W)."""
    x, target = c.x.clone().requires_grad_(), c.target
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")  # captum says that it sets requires_grad, and hooks
        torch.manual_seed(SEED)
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
        return attr.NoiseTunnel(attr.Saliency(c.clean)).attribute(
            x.detach(),
            nt_type="smoothgrad",
            nt_samples=PASSES,
            nt_samples_batch_size=1,
            stdevs=0.15 * float(c.x.max() - c.x.min()),
            target=target,
            abs=False,
        )
