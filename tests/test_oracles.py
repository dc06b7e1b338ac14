"""Every picture that rests on numbers, against a computation that we did not write.

Two networks with real weights see photographs; two seeded ones (residual sums; tokens) have weights
of unit variance, so that nothing is equal because it is nothing. Each test first shows that its
reference is not zero, and that a neighbour of the right answer (another class, another layer, the
other sign) would fail. "Equal" is a relative error of 1e-5 of the largest value, unless a reason
stands beside it.

Oracles for the bundled network that need no second network stand in ``test_cam``,
``test_gradients``, ``test_saliency``, ``test_layers``; those of FlashTorch in ``test_flash``.
"""

import copy
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchinfo
import torchvision
from networks import TINY, seeded, unit_variance
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.feature_extraction import create_feature_extractor

import vizhelpers as viz
from vizhelpers.methods.cam_methods import gradcam_plus_plus, signed_weights
from vizhelpers.methods.saliency import integrated_gradients
from vizhelpers.passes.gradients import logit_of

if any(find_spec(name) is None for name in ("captum", "torchcam", "timm")):
    pytest.skip("captum, torchcam and timm come with uv sync", allow_module_level=True)

import timm
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


# --- capture ---------------------------------------------------------------------------------


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


# --- saliency --------------------------------------------------------------------------------


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


# --- class activation maps -------------------------------------------------------------------

CAMS = [
    ("efficientnet", "blocks.5.3"),
    ("resnet18", "layer3.0"),
    ("vit_b_16", "encoder.layers.encoder_layer_8"),
]


@cache
def both_sides(name: str, layer: str, target: int) -> tuple[np.ndarray, np.ndarray]:
    """Return activation and gradient (C, h, w) in float64, by a hook and ``backward``."""
    c, kept = case(name), []

    def keep(module: nn.Module, args: object, output: Tensor) -> None:
        output.retain_grad()
        kept.append(output)

    handle = c.clean.get_submodule(layer).register_forward_hook(keep)
    c.clean(c.x)[0, target].backward()
    handle.remove()
    c.clean.zero_grad()
    found = []
    for value in (kept[0].detach(), kept[0].grad):
        if value.ndim == 3:  # tokens: class token first, then 6 x 6 patches, row by row
            value = value[:, 1:].reshape(1, 6, 6, -1).permute(0, 3, 1, 2)
        found.append(value[0].double().numpy())
    return found[0], found[1]


def paper(method: str, a: np.ndarray, g: np.ndarray) -> np.ndarray:
    """Return a method's raw map by its paper's equation, in float64."""
    sums = a.sum((1, 2))
    if method == "gradcam":  # Selvaraju et al. 2017, equations 1 and 2
        weights = g.mean((1, 2))
    elif method == "xgradcam":  # Fu et al. 2020, equation 8
        weights = np.divide((g * a).sum((1, 2)), sums, out=np.zeros_like(sums), where=sums != 0)
    elif method == "gradcam++":  # Chattopadhay et al. 2018, equations 19 and 7
        bottom = 2 * g**2 + sums[:, None, None] * g**3
        alpha = np.divide(g**2, bottom, out=np.zeros_like(g), where=bottom != 0)
        weights = (alpha * np.maximum(g, 0)).sum((1, 2))
    elif method == "hirescam":  # Draelos and Carin 2020, equation 6
        return np.maximum((g * a).sum(0), 0)
    else:  # LayerCAM, Jiang et al. 2021, equations 6 to 8
        return np.maximum((np.maximum(g, 0) * a).sum(0), 0)
    return np.maximum(np.tensordot(weights, a, 1), 0)


@pytest.mark.parametrize("method", ["gradcam", "hirescam", "xgradcam", "layercam", "gradcam++"])
@pytest.mark.parametrize(("name", "layer"), CAMS)
def test_cam_equals_its_paper(name: str, layer: str, method: str) -> None:
    c = case(name)
    expected = paper(method, *both_sides(name, layer, c.target))
    ours, wrong = viz.cam_sweep(
        c.model, c.x, layers=[layer], targets=[c.target, c.other], method=method
    ).frames
    equal(ours, expected, CAM_LIMITS.get(method, 1e-5))
    unequal(wrong, expected)
    unequal(-ours, expected)


# Channels of signed activations can sum to nearly 0, and the sum stands below a fraction line: the
# rounding of float32's gradients, which we and the reference share up to 1e-7, grows there.
CAM_LIMITS = {"xgradcam": 1e-4, "gradcam++": 1e-4}


def precomputed(name: str, c: Case, layer: str) -> np.ndarray:
    """Return pytorch-grad-cam's raw map, of activations and gradients that are already there."""
    import pytorch_grad_cam

    a, g = (side.astype(np.float32)[None] for side in both_sides_of(c, layer))
    at = c.clean.get_submodule(layer)
    smooth = {} if name in ("GradCAM", "XGradCAM", "GradCAMPlusPlus") else {"eigen_smooth": False}
    with getattr(pytorch_grad_cam, name)(copy.deepcopy(c.clean), [at]) as cam:
        return cam.get_cam_image(c.x, at, None, a, g, **smooth)[0]


def both_sides_of(c: Case, layer: str) -> tuple[np.ndarray, np.ndarray]:
    return both_sides(next(name for name in LAYERS if case(name) is c), layer, c.target)


def torchcams(name: str, c: Case, layer: str) -> np.ndarray:
    """Return torchcam's raw map: its own hooks, its own backward pass, no rescaling."""
    from torchcam import methods

    model = copy.deepcopy(c.clean)
    with getattr(methods, name)(model, layer) as extractor:
        scores = model(c.x.clone().requires_grad_())
        (found,) = extractor.compute_cams(c.target, scores, normalized=False)
    return found[0].detach().numpy()


PEERS = [
    ("gradcam", "GradCAM", "GradCAM"),
    ("xgradcam", "XGradCAM", "XGradCAM"),
    ("layercam", "LayerCAM", "LayerCAM"),
    ("hirescam", "HiResCAM", None),
]


@pytest.mark.parametrize(("method", "grad_cams", "torchcams_"), PEERS)
@pytest.mark.parametrize(
    ("name", "layer"), [("efficientnet", "blocks.5.3"), ("squeezenet", "features.12")]
)
def test_cam_equals_grad_cam_and_torchcam_where_they_are_right(
    name: str, layer: str, method: str, grad_cams: str, torchcams_: str | None
) -> None:
    c = case(name)
    ours, wrong = viz.cam_sweep(
        c.model, c.x, layers=[layer], targets=[c.target, c.other], method=method
    ).frames
    theirs = [np.maximum(precomputed(grad_cams, c, layer), 0)]
    if torchcams_:
        theirs.append(torchcams(torchcams_, c, layer))
    for reference in theirs:
        equal(ours, reference, PEER_LIMITS.get(method, 1e-5))
        unequal(wrong, reference)


# Both add an epsilon to a sum of activations, 1e-7 and 1e-8, and both sum in float32.
PEER_LIMITS = {"xgradcam": 1e-4}


def test_gradcam_plus_plus_is_wrong_in_both_peers_and_right_here() -> None:
    c, layer = case("squeezenet"), "features.12"
    a, g = both_sides("squeezenet", layer, c.target)
    expected = paper("gradcam++", a, g)
    ours = viz.cam(c.model, c.x, layer, target=c.target, method="gradcam++").frames[0]
    equal(ours, expected)
    grad_cams = np.maximum(precomputed("GradCAMPlusPlus", c, layer), 0)
    torchcams_ = torchcams("GradCAMpp", c, layer)
    for theirs in (grad_cams, torchcams_):
        # Even after each map is divided by its own maximum.
        assert error(theirs / theirs.max(), expected / expected.max()) > 0.1
    # The epsilon is what is wrong in grad-cam: squared gradients are far below it.
    assert np.median(g[g != 0] ** 2) < 1e-6
    large = torch.from_numpy(g * 1e4).float()
    scaled = gradcam_plus_plus(torch.from_numpy(a).float(), large)
    equal(scaled.numpy(), paper("gradcam++", a, g * 1e4))


@pytest.mark.parametrize("layer", ["bn1", "blocks.3", "bn2"])
def test_words_about_gradcam_plus_plus_count_the_weights_that_the_formula_makes_negative(
    layer: str,
) -> None:
    """Equation 19 shortened by the squared gradient; bn1 and bn2 end in a ReLU6, blocks.3 not."""
    c = case("efficientnet")
    a, g = (side.astype(np.float64) for side in both_sides("efficientnet", layer, c.target))
    coefficients = np.divide(1, 2 + g * a.sum(axis=(1, 2), keepdims=True))
    weights = (coefficients * np.maximum(g, 0)).sum(axis=(1, 2))
    ours = gradcam_plus_plus(torch.from_numpy(a), torch.from_numpy(g))
    equal(ours, np.maximum(np.tensordot(weights, a, axes=1), 0))
    words = signed_weights(torch.from_numpy(a), torch.from_numpy(g))
    negative = int((weights < 0).sum())
    if layer == "blocks.3":
        assert negative >= 3
        unequal(ours, np.maximum(np.tensordot(np.abs(weights), a, axes=1), 0))
        assert words == f"{negative} of 80 weights negative: the layer has negative activations"
    else:
        assert a.min() == 0
        assert (coefficients[g > 0] <= 0.5).all()
        assert (negative, words) == (0, "")


@pytest.mark.parametrize(
    ("method", "name"), [("eigencam", "EigenCAM"), ("eigengradcam", "EigenGradCAM")]
)
@pytest.mark.parametrize(
    ("network", "layer"), [("squeezenet", "features.12"), ("efficientnet", "blocks.5.3")]
)
def test_eigencams_are_grad_cams_up_to_their_sign(
    network: str, layer: str, method: str, name: str
) -> None:
    c = case(network)
    theirs = precomputed(name, c, layer)
    assert theirs.min() < 0 < theirs.max()
    sign = -1 if abs(theirs.min()) > theirs.max() else 1
    ours, wrong = viz.cam_sweep(
        c.model, c.x, layers=[layer], targets=[c.target, c.other], method=method
    ).frames
    equal(ours, sign * theirs)
    unequal(ours, -sign * theirs)
    if method == "eigengradcam":
        unequal(wrong, sign * theirs)


@pytest.mark.parametrize(
    ("method", "name"), [("scorecam", "ScoreCAM"), ("ablationcam", "AblationCAM")]
)
@pytest.mark.parametrize("network", ["plain", "residual"])
def test_perturbation_cams_are_grad_cams_own_call(network: str, method: str, name: str) -> None:
    """On networks of a few channels: SqueezeNet's would take 8 s for each map.

    Not on one with a functional in-place ReLU: grad-cam keeps a reference, which that rewrites.
    Its ablation is the paper's, zero; where activations are negative, grad-cam's default is -1e7.
    """
    import pytorch_grad_cam
    from pytorch_grad_cam.ablation_layer import AblationLayer
    from pytorch_grad_cam.utils.image import scale_cam_image
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model, x = TINY[network].built(), TINY[network].x()

    class Zeros(AblationLayer):
        def __call__(self, x: Tensor) -> Tensor:
            for row, channel in zip(self.activations, self.indices, strict=False):
                row[int(channel)] = 0
            return self.activations

    layer = TINY[network].layers[-1]
    own = without_inplace(copy.deepcopy(model))
    extra = {"ablation_layer": Zeros()} if method == "ablationcam" else {}
    maps = {}
    for target in range(3):
        with getattr(pytorch_grad_cam, name)(own, [own.get_submodule(layer)], **extra) as cam:
            theirs = cam(x, [ClassifierOutputTarget(target)])[0]
        ours = viz.cam(model, x, layer, target=target, method=method).frames
        if ours.any():
            maps[target] = theirs
            scaled = scale_cam_image(ours, x.shape[:1:-1])  # (width, height)
            equal(scale_cam_image(scaled)[0], theirs)
        else:
            assert not theirs.any()
    assert len(maps) >= 2, "too few maps that are not zero"
    one, other, *_ = maps.values()
    unequal(one, other)


def test_the_original_cam_is_the_heads_weighted_sum() -> None:
    """Zhou et al. 2016: the map's mean plus the bias is the logit."""
    c = case("efficientnet")
    with torch.no_grad():
        head, logit = c.clean.classifier, c.clean(c.x)[0]
        a = c.clean.forward_features(c.x)[0]
        expected = torch.einsum("c,chw->hw", head.weight[c.target], a)
    equal(expected.mean() + head.bias[c.target], logit[c.target])
    ours, wrong = viz.cam_sweep(
        c.model, c.x, layers=["bn2"], targets=[c.target, c.other], method="cam"
    ).frames
    equal(ours, expected)
    unequal(wrong, expected)


@pytest.mark.parametrize("name", CNNS)
@pytest.mark.parametrize("method", ["gradcam", "gradcam++", "eigengradcam"])
def test_a_sweep_is_one_call_for_each_pair(name: str, method: str) -> None:
    """Layers of several sizes: maps are stretched to the largest, bilinearly."""
    c = case(name)
    layers, targets = c.layers[1:], [c.target, c.other]
    sweep = viz.cam_sweep(c.model, c.x, layers=layers, targets=targets, method=method).frames
    size = sweep.shape[1:]
    pairs = [(layer, target) for layer in layers for target in targets]
    for one, (layer, target) in zip(sweep, pairs, strict=True):
        single = viz.cam(c.model, c.x, layer, target=target, method=method).frames
        stretched = F.interpolate(torch.from_numpy(single)[None], size, mode="bilinear")[0, 0]
        if single.any():
            equal(one, stretched)
        else:
            assert not one.any()
    unequal(sweep[0], sweep[1])
    unequal(sweep[0], sweep[2])
    assert sum(one.any() for one in sweep) >= 4


# --- summary ---------------------------------------------------------------------------------


def beside_multiplication(model: nn.Module, x: Tensor) -> int:
    """Return what torchinfo counts beside the multiply-adds of convolutions and linear layers.

    A convolution's bias once for each place, every other parameter (a linear layer's bias,
    BatchNorm's scale and shift) once for each image.
    """
    shapes: dict[nn.Module, torch.Size] = {}
    handles = [
        m.register_forward_hook(lambda m, args, out: shapes.update({m: out.shape}))
        for m in model.modules()
        if not list(m.children())
    ]
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    total = 0
    for module, shape in shapes.items():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            bias = 0 if module.bias is None else module.bias.numel()
            total += bias * (shape[2:].numel() if isinstance(module, nn.Conv2d) else 1)
        else:
            total += sum(p.numel() for p in module.parameters())
    return total * len(x)


def flops(model: nn.Module, x: Tensor) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(x)
    return counter.get_total_flops()


@pytest.mark.parametrize("name", CNNS)
def test_mult_adds_are_half_of_torchs_flops_and_torchinfo_adds_biases_and_scales(name: str) -> None:
    c = case(name)
    found = viz.summary(c.model, tuple(c.x.shape))
    assert found.mult_adds > found.parameters
    assert found.mult_adds == flops(c.clean, c.x) // 2
    beside = beside_multiplication(c.clean, c.x)
    assert found.torchinfo_mult_adds == found.mult_adds + beside


# Linear layers that see many places or tokens, and attention; with the side of the input.
TOKENS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "convnext_tiny": (torchvision.models.convnext_tiny, 64),
    "swin_t": (torchvision.models.swin_t, 64),
    "vit_b_16": (lambda: torchvision.models.vit_b_16(image_size=64), 64),
    "maxvit_t": (torchvision.models.maxvit_t, 224),
    "edgenext_xx_small": (lambda: timm.create_model("edgenext_xx_small"), 64),
    "mobilevit_xxs": (lambda: timm.create_model("mobilevit_xxs"), 64),
    "deit_tiny": (lambda: timm.create_model("deit_tiny_patch16_224", img_size=64), 64),
}


@pytest.mark.parametrize("name", TOKENS)
def test_mult_adds_of_linear_layers_and_attention_are_half_of_torchs_flops(name: str) -> None:
    """The oracle sees a real forward pass with gradients; without them torch fuses attention."""
    build, side = TOKENS[name]
    with seeded(0):
        model, x = build().eval(), torch.rand(1, 3, side, side)
        theirs = torchinfo.summary(model, input_data=x, device="cpu", mode="eval", verbose=0)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model(x)
    work = counter.get_total_flops() // 2
    assert 0 < theirs.total_mult_adds < 0.75 * work
    found = viz.summary(model, tuple(x.shape))
    assert found.mult_adds == work
    assert found.torchinfo_mult_adds == theirs.total_mult_adds
    assert "too few" in repr(found)

    parts = {text.partition(":")[0]: done for depth, text, _, done in found.layers if depth == 1}
    called = {
        path.partition(".")[2]: sum(counts.values()) // 2
        for path, counts in counter.get_flop_counts().items()
        if path.count(".") == 1
    }
    assert called.keys() <= parts.keys()
    assert all(parts[part] == done for part, done in called.items())
    assert sum(parts.values()) == work


@pytest.mark.parametrize("name", LAYERS)
def test_totals_are_torchinfos_and_parameters_are_all_of_them(name: str) -> None:
    c = case(name)
    found = viz.summary(c.model, tuple(c.x.shape))
    with seeded(0):
        theirs = torchinfo.summary(c.clean, tuple(c.x.shape), device="cpu", mode="eval", verbose=0)
    assert found.parameters == sum(p.numel() for p in c.model.parameters()) > 1e6
    assert found.parameters == theirs.total_params
    assert found.torchinfo_mult_adds == theirs.total_mult_adds
    assert found.pass_bytes == theirs.total_output_bytes
    assert found.parameter_bytes == theirs.total_param_bytes


# --- FlashTorch's door -----------------------------------------------------------------------


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
