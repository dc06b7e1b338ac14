"""Class activation maps against their papers' equations, grad-cam and torchcam."""

import copy
from functools import cache
from importlib.util import find_spec

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from networks import TINY
from torch import Tensor, nn

import vizhelpers as viz
from vizhelpers.methods.cam_methods import gradcam_plus_plus, signed_weights

if any(find_spec(name) is None for name in ("captum", "torchcam", "timm")):
    pytest.skip("captum, torchcam and timm come with uv sync", allow_module_level=True)
from oracles import CNNS, LAYERS, Case, case, equal, error, unequal, without_inplace

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
