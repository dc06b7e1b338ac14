"""Class activation maps against their papers' equations, grad-cam and torchcam."""

import copy
from functools import cache

import numpy as np
import pytest
import pytorch_grad_cam
import torch
import torch.nn.functional as F
import torchcam.methods
from networks import TINY
from oracles import case, equal, error, unequal, without_inplace
from pytorch_grad_cam.ablation_layer import AblationLayer
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

import vizhelpers as viz

CAMS = [
    ("efficientnet", "blocks.5.3"),
    ("resnet", "layer3.0"),
    ("vit", "encoder.layers.encoder_layer_1"),
]


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


# Channels of signed activations can sum to nearly 0, and the sum is a divisor: float32's rounding
# of gradients, which we and the reference share up to 1e-7, grows there. The peers also add an
# epsilon to that sum, 1e-7 and 1e-8.
LIMITS = {"xgradcam": 1e-4, "gradcam++": 1e-4}


@pytest.mark.parametrize("method", ["gradcam", "hirescam", "xgradcam", "layercam", "gradcam++"])
@pytest.mark.parametrize(("name", "layer"), CAMS)
def test_cam_equals_its_paper(name: str, layer: str, method: str) -> None:
    expected = paper(method, *both_sides(name, layer))
    ours, wrong = maps(name, layer, method)
    equal(ours, expected, LIMITS.get(method, 1e-5))
    unequal(wrong, expected)
    unequal(-ours, expected)


def precomputed(method: str, name: str, layer: str) -> np.ndarray:
    """Return pytorch-grad-cam's raw map, of activations and gradients that are already there."""
    c = case(name)
    a, g = (side.astype(np.float32)[None] for side in both_sides(name, layer))
    at = c.clean.get_submodule(layer)
    smooth = {} if method in ("GradCAM", "XGradCAM", "GradCAMPlusPlus") else {"eigen_smooth": False}
    with getattr(pytorch_grad_cam, method)(copy.deepcopy(c.clean), [at]) as cam:
        return cam.get_cam_image(c.x, at, None, a, g, **smooth)[0]


def torchcams(method: str, name: str, layer: str) -> np.ndarray:
    """Return torchcam's raw map: its own hooks, its own backward pass, no rescaling."""
    c = case(name)
    model = copy.deepcopy(c.clean)
    with getattr(torchcam.methods, method)(model, layer) as extractor:
        scores = model(c.x.clone().requires_grad_())
        (raw,) = extractor.compute_cams(c.target, scores, normalized=False)
    return raw[0].detach().numpy()


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
    ours, wrong = maps(name, layer, method)
    theirs = [np.maximum(precomputed(grad_cams, name, layer), 0)]
    if torchcams_:
        theirs.append(torchcams(torchcams_, name, layer))
    for reference in theirs:
        equal(ours, reference, LIMITS.get(method, 1e-5))
        unequal(wrong, reference)


def test_gradcam_plus_plus_is_wrong_in_both_peers_and_right_here() -> None:
    at = "squeezenet", "features.12"
    expected = paper("gradcam++", *both_sides(*at))
    equal(maps(*at, "gradcam++")[0], expected)
    for theirs in (
        np.maximum(precomputed("GradCAMPlusPlus", *at), 0), torchcams("GradCAMpp", *at)
    ):  # fmt: skip
        # Even after each map is divided by its own maximum: squared gradients are far below the
        # epsilon that both add to them.
        assert error(theirs / theirs.max(), expected / expected.max()) > 0.1


@pytest.mark.parametrize("layer", ["bn1", "blocks.3", "bn2"])
def test_a_title_counts_the_weights_that_gradcam_plus_plus_makes_negative(layer: str) -> None:
    """Equation 19 shortened by the squared gradient; bn1 and bn2 end in a ReLU6, blocks.3 not."""
    c = case("efficientnet")
    a, g = both_sides("efficientnet", layer)
    coefficients = np.divide(1, 2 + g * a.sum(axis=(1, 2), keepdims=True))
    weights = (coefficients * np.maximum(g, 0)).sum(axis=(1, 2))
    stack = viz.cam(c.model, c.x, layer, target=c.target, method="gradcam++")
    equal(stack.frames[0], np.maximum(np.tensordot(weights, a, axes=1), 0), 1e-4)
    negative = int((weights < 0).sum())
    if layer == "blocks.3":
        assert negative >= 3
        unequal(stack.frames[0], np.maximum(np.tensordot(np.abs(weights), a, axes=1), 0))
        assert f"{negative} of 80 weights negative" in stack.titles[0]
    else:
        assert a.min() == 0
        assert (coefficients[g > 0] <= 0.5).all()
        assert negative == 0 and "negative" not in stack.titles[0]


@pytest.mark.parametrize(
    ("method", "grad_cams"), [("eigencam", "EigenCAM"), ("eigengradcam", "EigenGradCAM")]
)
@pytest.mark.parametrize(
    ("name", "layer"), [("squeezenet", "features.12"), ("efficientnet", "blocks.5.3")]
)
def test_eigencams_are_grad_cams_up_to_their_sign(
    name: str, layer: str, method: str, grad_cams: str
) -> None:
    theirs = precomputed(grad_cams, name, layer)
    assert theirs.min() < 0 < theirs.max()
    sign = -1 if abs(theirs.min()) > theirs.max() else 1
    ours, wrong = maps(name, layer, method)
    equal(ours, sign * theirs)
    unequal(ours, -sign * theirs)
    if method == "eigengradcam":
        unequal(wrong, sign * theirs)


class Zeros(AblationLayer):
    """The paper's ablation; where activations are negative, grad-cam's default is -1e7."""

    def __call__(self, x: Tensor) -> Tensor:
        for row, channel in zip(self.activations, self.indices, strict=False):
            row[int(channel)] = 0
        return self.activations


@pytest.mark.parametrize(
    ("method", "grad_cams", "extra"),
    [("scorecam", "ScoreCAM", {}), ("ablationcam", "AblationCAM", {"ablation_layer": Zeros()})],
)
@pytest.mark.parametrize("network", ["plain", "residual"])
def test_perturbation_cams_are_grad_cams_own_call(
    network: str, method: str, grad_cams: str, extra: dict[str, AblationLayer]
) -> None:
    """On networks of a few channels: SqueezeNet's would take 8 s for each map.

    Networks with a functional in-place ReLU overwrite the reference that grad-cam keeps.
    """
    model, x = TINY[network].built(), TINY[network].x()
    layer = TINY[network].layers[-1]
    own = without_inplace(model)
    nonzero = []
    for target in range(3):
        with getattr(pytorch_grad_cam, grad_cams)(own, [own.get_submodule(layer)], **extra) as cam:
            theirs = cam(x, [ClassifierOutputTarget(target)])[0]
        ours = viz.cam(model, x, layer, target=target, method=method).frames
        if ours.any():
            nonzero.append(theirs)
            scaled = scale_cam_image(ours, x.shape[:1:-1])  # (width, height)
            equal(scale_cam_image(scaled)[0], theirs)
        else:
            assert not theirs.any()
    assert len(nonzero) >= 2, "too few maps that are not zero"
    unequal(nonzero[0], nonzero[1])


def test_the_original_cam_is_the_heads_weighted_sum() -> None:
    """Zhou et al. 2016: the map's mean plus the bias is the logit."""
    c = case("efficientnet")
    with torch.no_grad():
        head, logit = c.clean.classifier, c.clean(c.x)[0]
        a = c.clean.forward_features(c.x)[0]
        expected = torch.einsum("c,chw->hw", head.weight[c.target], a)
    equal(expected.mean() + head.bias[c.target], logit[c.target])
    ours, wrong = maps("efficientnet", "bn2", "cam")
    equal(ours, expected)
    unequal(wrong, expected)


@pytest.mark.parametrize(
    ("name", "method"),
    [("squeezenet", "gradcam"), ("efficientnet", "eigengradcam"), ("resnet", "gradcam++")],
)
def test_a_sweep_is_one_call_for_each_pair(name: str, method: str) -> None:
    """Layers of several sizes: maps are stretched to the largest, bilinearly."""
    c = case(name)
    layers, targets = c.layers[1:], [c.target, c.other]
    sweep = viz.cam_sweep(c.model, c.x, layers=layers, targets=targets, method=method).frames
    pairs = [(layer, target) for layer in layers for target in targets]
    for frame, (layer, target) in zip(sweep, pairs, strict=True):
        single = viz.cam(c.model, c.x, layer, target=target, method=method).frames
        size = sweep.shape[1:]
        stretched = F.interpolate(torch.from_numpy(single)[None], size, mode="bilinear")[0, 0]
        if single.any():
            equal(frame, stretched)
        else:
            assert not frame.any()
    unequal(sweep[0], sweep[1])
    unequal(sweep[0], sweep[2])
    assert sum(frame.any() for frame in sweep) >= 4
