"""Class activation maps against grad-cam and torchcam; ``test_cam`` has the papers' equations."""

import copy

import numpy as np
import pytest
import pytorch_grad_cam
import torchcam.methods
from networks import TINY
from oracles import (
    LIMITS,
    both_sides,
    case,
    equal,
    error,
    maps,
    paper,
    unequal,
    without_inplace,
)
from pytorch_grad_cam.ablation_layer import AblationLayer
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor

import vizhelpers as viz


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
