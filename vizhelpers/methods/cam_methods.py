"""The equations of class activation maps, each in a few lines, as in its paper.

The original CAM weights a layer's activations ``a`` (C, H, W) by the model's own weights, which
``pooled_head`` finds. The others use the gradient ``g`` (C, H, W) of one class's logit with respect
to ``a``. Each returns a raw map (H, W) in the method's own unit.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn

from vizhelpers.inputs.modules import dtype_of

Equation = Callable[[Tensor, Tensor], Tensor]


def gradcam(a: Tensor, g: Tensor) -> Tensor:
    """Grad-CAM (Selvaraju et al. 2017): the weight of a channel is its mean gradient."""
    weights = g.mean(dim=(1, 2))
    return torch.tensordot(weights, a, dims=1).relu()


def hirescam(a: Tensor, g: Tensor) -> Tensor:
    """HiResCAM (Draelos and Carin 2020): gradient times activation at each position."""
    return (g * a).sum(dim=0).relu()


def xgradcam(a: Tensor, g: Tensor) -> Tensor:
    """XGrad-CAM (Fu et al. 2020): a channel's weight is its activation-weighted mean gradient."""
    total = a.sum(dim=(1, 2))
    weights = (g * a).sum(dim=(1, 2)) / total.where(total != 0, torch.ones_like(total))
    return torch.tensordot(weights, a, dims=1).relu()


def layercam(a: Tensor, g: Tensor) -> Tensor:
    """LayerCAM (Jiang et al. 2021): positive gradient times activation at each position."""
    return (g.relu() * a).sum(dim=0).relu()


def gradcam_plus_plus(a: Tensor, g: Tensor) -> Tensor:
    """Grad-CAM++ (Chattopadhay et al. 2018), with the coefficients of equation 19.

    No epsilon is added: squared gradients are around 1e-8 here, so an absolute epsilon of 1e-6
    would dominate the result. A coefficient is 0 where its denominator is 0.

    Equation 19 is 1 / (2 + g * sum(a)) for the score exp(logit) and a logit that is piecewise
    linear in ``a``. Only positions with a positive gradient count. After a ReLU the sum is not
    negative, so each coefficient lies between 0 and 1/2. If the activations of a channel sum to
    less than -2 / g, its coefficients are negative; near that sum they are unbounded. Then the map
    is not a weighted sum of positive evidence (``signed_weights``).
    """
    weights = _plus_plus_weights(a, g)
    return torch.tensordot(weights, a.double(), dims=1).relu().float()


def _plus_plus_weights(a: Tensor, g: Tensor) -> Tensor:
    # float64: the third power of a small gradient underflows in float32.
    a, g = a.double(), g.double()
    denominator = 2 * g**2 + a.sum(dim=(1, 2), keepdim=True) * g**3
    alpha = torch.where(denominator != 0, g**2 / denominator, torch.zeros_like(g))
    return (alpha * g.relu()).sum(dim=(1, 2))


def signed_weights(a: Tensor, g: Tensor) -> str:
    """Return a remark on how many of Grad-CAM++'s channel weights are negative; "" if none is.

    Args:
        a: a layer's activations (C, H, W).
        g: gradient of a class's logit with respect to them, of the same shape.
    """
    weights = _plus_plus_weights(a, g)
    negative = int((weights < 0).sum())
    if not negative:
        return ""
    return f"{negative} of {len(weights)} weights negative: the layer has negative activations"


def eigencam(a: Tensor, g: Tensor) -> Tensor:
    """EigenCAM (Muhammad and Yeasin 2020): first principal component of ``a``, for any class."""
    return _first_component(a)


def eigengradcam(a: Tensor, g: Tensor) -> Tensor:
    """EigenGradCAM (pytorch-grad-cam): first principal component of gradient times activation."""
    return _first_component(g * a)


def _first_component(maps: Tensor) -> Tensor:
    """Return maps (C, H, W) projected on their first principal component, (H, W).

    The sign of a singular vector is arbitrary; here the entry of largest magnitude is positive.
    The result is pytorch-grad-cam's, whose SVD also computes a vector for each position: 23 s and
    3 GB for the first layer of SqueezeNet, where this takes 0.1 s.
    """
    if not maps.isfinite().all():
        raise ValueError(
            "The layer's maps hold NaN or infinite values, which have no principal component. "
            "viz.feature_maps(model, sample, layer) shows in which layer they begin."
        )
    rows = maps.double().flatten(1).T
    rows = rows - rows.mean(dim=0)
    component = torch.linalg.svd(rows, full_matrices=False).Vh[0]
    projection = (rows @ component).reshape(maps.shape[1:]).float()
    return -projection if projection.min().abs() > projection.max() else projection


def pooled_head(model: nn.Module, scores: Tensor, maps: Tensor, layer: str) -> Tensor:
    """Return the weights (classes, C) from a layer's mean activations to the logits, verified.

    A weight matrix of the model is accepted only if it reproduces the logits: as
    ``W mean(a) + b``, the head of CAM's paper (Zhou et al. 2016), or as ``mean(relu(W a + b))``,
    SqueezeNet's. The tolerance is relative to what the maps add to the bias: with logits that are
    nearly the bias alone, any layer would pass.

    Args:
        model: a classifier.
        scores: its logits (N, classes).
        maps: the layer's output, (N, C, h, w).
        layer: dotted module path, for the error text.

    Returns:
        The weights W, (classes, C).
    """
    precision = max(torch.finfo(dtype).eps for dtype in (dtype_of(model), scores.dtype))
    scores = scores.float()
    close, rounding = max(1e-3, 4 * precision), 4 * precision * float(scores.abs().max())
    for matrix, bias in _linear_steps(model, scores.shape[1], maps.shape[1]):
        places = torch.einsum("kc,nchw->nkhw", matrix, maps) + bias[:, None, None]
        for pooled, alone in (
            (places.mean(dim=(2, 3)), bias),
            (places.relu().mean(dim=(2, 3)), bias.relu()),
        ):
            added = float((scores - alone).abs().max())
            if torch.allclose(pooled, scores, rtol=0, atol=close * added + rounding):
                return matrix
    raise ValueError(
        f"The original CAM needs a spatial mean of {layer!r} and one linear layer to the logits; "
        f"{type(model).__name__} has no such head there. Choose the last layer with maps, or "
        "method='gradcam', which needs no such head."
    )


def _linear_steps(model: nn.Module, rows: int, columns: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield weights (rows, columns) and biases (rows,), the model's last layer first."""
    for module in reversed(list(model.modules())):
        weight = getattr(module, "weight", None)
        if not isinstance(module, (nn.Linear, nn.Conv2d)) or not isinstance(weight, Tensor):
            continue
        if weight[0].numel() == columns and len(weight) == rows:
            matrix = weight.detach().float().flatten(1)
            bias = matrix.new_zeros(rows) if module.bias is None else module.bias.detach().float()
            yield matrix, bias


@dataclass(frozen=True)
class CamMethod:
    """A method of class activation maps.

    Attributes:
        label: its name in titles.
        equation: returns a map (H, W) from activations and gradients (C, H, W); None if the method
            needs more than these.
        cost: as in ``CAM_METHODS``.
    """

    label: str
    equation: Equation | None = None
    cost: str = "gradient"


# In the order of the panel's menu.
METHODS: Mapping[str, CamMethod] = MappingProxyType(
    {
        "cam": CamMethod("CAM", cost="forward"),
        "gradcam": CamMethod("Grad-CAM", gradcam),
        "hirescam": CamMethod("HiResCAM", hirescam),
        "xgradcam": CamMethod("XGrad-CAM", xgradcam),
        "layercam": CamMethod("LayerCAM", layercam),
        "gradcam++": CamMethod("Grad-CAM++", gradcam_plus_plus),
        "eigencam": CamMethod("EigenCAM", eigencam, cost="forward"),
        "eigengradcam": CamMethod("EigenGradCAM", eigengradcam),
        "scorecam": CamMethod("Score-CAM", cost="perturbation"),
        "ablationcam": CamMethod("Ablation-CAM", cost="perturbation"),
    }
)
CAM_METHODS: Mapping[str, str] = MappingProxyType(
    {name: method.cost for name, method in METHODS.items()}
)
"""``{method: cost}``. "forward" is one forward pass in all. "gradient" adds one backward pass for
each class, for any number of layers. "perturbation" is a forward pass for each batch of channels,
at each layer; Score-CAM repeats them for each class.
"""
