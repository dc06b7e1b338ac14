"""The equations of class activation maps, each a few lines from its paper.

Each weighs a layer's activations ``a`` (C, H, W) by something made from the gradient ``g``
(C, H, W) of one class's logit, and returns a raw map (H, W) in the method's own unit.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

Equation = Callable[[Tensor, Tensor], Tensor]


def gradcam(a: Tensor, g: Tensor) -> Tensor:
    """Grad-CAM (Selvaraju et al. 2017): each channel weighs its mean gradient."""
    weights = g.mean(dim=(1, 2))
    return torch.einsum("c,chw->hw", weights, a).relu()


def hirescam(a: Tensor, g: Tensor) -> Tensor:
    """HiResCAM (Draelos and Carin 2020): gradient times activation, place by place."""
    return (g * a).sum(dim=0).relu()


def xgradcam(a: Tensor, g: Tensor) -> Tensor:
    """XGrad-CAM (Fu et al. 2020): the mean gradient, weighted by where the channel is active."""
    total = a.sum(dim=(1, 2))
    weights = (g * a).sum(dim=(1, 2)) / total.where(total != 0, torch.ones_like(total))
    return torch.einsum("c,chw->hw", weights, a).relu()


def layercam(a: Tensor, g: Tensor) -> Tensor:
    """LayerCAM (Jiang et al. 2021): the positive gradient times activation, place by place."""
    return (g.relu() * a).sum(dim=0).relu()


def gradcam_plus_plus(a: Tensor, g: Tensor) -> Tensor:
    """Grad-CAM++ (Chattopadhay et al. 2018), equation 19 for the coefficients.

    No epsilon is added: squared gradients are around 1e-8 here, so an absolute epsilon of 1e-6
    would decide the result. A coefficient is 0 where its denominator is.
    """
    # In float64: the third power of a small gradient leaves float32's range.
    a, g = a.double(), g.double()
    denominator = 2 * g**2 + a.sum(dim=(1, 2), keepdim=True) * g**3
    alpha = torch.where(denominator != 0, g**2 / denominator, torch.zeros_like(g))
    weights = (alpha * g.relu()).sum(dim=(1, 2))
    return torch.einsum("c,chw->hw", weights, a).relu().float()


def eigencam(a: Tensor, g: Tensor) -> Tensor:
    """EigenCAM (Muhammad and Yeasin 2020): the strongest pattern in ``a``, whatever the class."""
    return _first_component(a)


def eigengradcam(a: Tensor, g: Tensor) -> Tensor:
    """EigenGradCAM, of pytorch-grad-cam: the strongest pattern in gradient times activation."""
    return _first_component(g * a)


def _first_component(maps: Tensor) -> Tensor:
    """Project (C, H, W) on its first principal component over the places, (H, W).

    A singular vector has no sign of its own; here the strongest entry is positive. The numbers are
    pytorch-grad-cam's, but its SVD also computes one vector for each place: 23 s and 3 GB for the
    first layer of SqueezeNet, where this takes 0.1 s.
    """
    rows = maps.double().flatten(1).T
    rows = rows - rows.mean(dim=0)
    component = torch.linalg.svd(rows, full_matrices=False).Vh[0]
    projection = (rows @ component).reshape(maps.shape[1:]).float()
    return -projection if projection.min().abs() > projection.max() else projection


EQUATIONS: Mapping[str, Equation] = MappingProxyType(
    {
        "gradcam": gradcam,
        "hirescam": hirescam,
        "xgradcam": xgradcam,
        "layercam": layercam,
        "gradcam++": gradcam_plus_plus,
        "eigencam": eigencam,
        "eigengradcam": eigengradcam,
    }
)
LABELS: Mapping[str, str] = MappingProxyType(
    {
        "cam": "CAM",
        "gradcam": "Grad-CAM",
        "hirescam": "HiResCAM",
        "xgradcam": "XGrad-CAM",
        "layercam": "LayerCAM",
        "gradcam++": "Grad-CAM++",
        "eigencam": "EigenCAM",
        "eigengradcam": "EigenGradCAM",
        "scorecam": "Score-CAM",
        "ablationcam": "Ablation-CAM",
    }
)
_OTHER_COSTS = {
    "cam": "forward",
    "eigencam": "forward",
    "scorecam": "perturbation",
    "ablationcam": "perturbation",
}
CAM_METHODS: Mapping[str, str] = MappingProxyType(
    {name: _OTHER_COSTS.get(name, "gradient") for name in LABELS}
)
"""``{method: its cost}``. "forward" is one pass in all. "gradient" is one backward pass more for
each class, whatever the number of layers. "perturbation" is a pass for every few channels, again
for each pair of a layer and a class.
"""
