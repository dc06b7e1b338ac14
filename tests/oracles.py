"""Networks, photographs and references: libraries' computations, and CAM papers' equations.

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


def strongest(gradient: Tensor) -> Tensor:
    """Return the largest absolute value over the channels, (H, W)."""
    return gradient[0].detach().abs().amax(0)


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
        if method == "smoothgrad":
            return attr.NoiseTunnel(attr.Saliency(c.clean)).attribute(
                x.detach(),
                nt_type="smoothgrad",
                nt_samples=PASSES,
                nt_samples_batch_size=1,
                stdevs=0.15 * float(c.x.max() - c.x.min()),
                target=target,
                abs=False,
            )
    raise ValueError(method)


@cache
def both_sides(name: str, layer: str) -> tuple[np.ndarray, np.ndarray]:
    """Return activation and gradient (C, h, w) in float64, by a hook and ``backward``."""
    c, kept = case(name), []

    def keep(module: nn.Module, args: object, output: Tensor) -> None:
        output.retain_grad()
        kept.append(output)

    handle = c.clean.get_submodule(layer).register_forward_hook(keep)
    c.clean(c.x)[0, c.target].backward()
    handle.remove()
    c.clean.zero_grad()
    sides = []
    for value in (kept[0].detach(), kept[0].grad):
        if value.ndim == 3:  # tokens: class token first, then 6 x 6 patches, row by row
            value = value[:, 1:].reshape(1, 6, 6, -1).permute(0, 3, 1, 2)
        sides.append(value[0].double().numpy())
    return sides[0], sides[1]


def maps(name: str, layer: str, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Return our maps for the case's target and for another class, (h, w) each."""
    c = case(name)
    ours, wrong = viz.cam_sweep(
        c.model, c.x, layers=[layer], targets=[c.target, c.other], method=method
    ).frames
    return ours, wrong


# Channels of signed activations can sum to nearly 0, and the sum is a divisor: float32's rounding
# of gradients, which we and the reference share up to 1e-7, grows there. The peers also add an
# epsilon to that sum, 1e-7 and 1e-8.
LIMITS = {"xgradcam": 1e-4, "gradcam++": 1e-4}


def paper(method: str, a: np.ndarray, g: np.ndarray) -> np.ndarray:
    """Return a method's raw map by its paper's equation, in float64."""
    sums = a.sum((1, 2), keepdims=True)
    if method == "gradcam":  # Selvaraju et al. 2017, equations 1 and 2
        weights = g.mean((1, 2), keepdims=True)
    elif method == "xgradcam":  # Fu et al. 2020, equation 8
        weighted = (g * a).sum((1, 2), keepdims=True)
        weights = np.divide(weighted, sums, out=np.zeros_like(sums), where=sums != 0)
    elif method == "gradcam++":  # Chattopadhay et al. 2018, equations 19 and 7
        bottom = 2 * g**2 + sums * g**3
        alpha = np.divide(g**2, bottom, out=np.zeros_like(g), where=bottom != 0)
        weights = (alpha * np.maximum(g, 0)).sum((1, 2), keepdims=True)
    elif method == "hirescam":  # Draelos and Carin 2020, equation 6
        weights = g
    elif method == "layercam":  # Jiang et al. 2021, equations 6 to 8
        weights = np.maximum(g, 0)
    else:
        raise ValueError(method)
    return np.maximum((weights * a).sum(0), 0)
