"""Notebook 05: class activation maps, each a few lines from its paper.

Every method weighs a layer's activations ``a`` (C, H, W) by something made from the gradient
``g`` (C, H, W) of one class's logit. Maps are raw: in the method's own unit, never divided by
their maximum, so two classes can be compared on one scale.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vizhelpers.errors import unknown
from vizhelpers.gradients import activations_and_gradients, logit_of, logits
from vizhelpers.layers import HasTensor, capture, check_spatial, input_tensor, photograph_of
from vizhelpers.models import class_index, class_label, warning_word
from vizhelpers.stack import ImageStack


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
    """EigenCAM (Muhammad and Yeasin 2020), as grad-cam has it: it never looks at the class.

    A singular vector has no sign of its own; here its strongest entry is positive.
    """
    # Here and not at the top: grad-cam takes seconds to import.
    from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection

    projection = get_2d_projection(a.unsqueeze(0).cpu().numpy().astype(np.float64))[0]
    if abs(projection.min()) > projection.max():
        projection = -projection
    return torch.from_numpy(np.ascontiguousarray(projection)).float()


_GRADIENT_METHODS: dict[str, tuple[str, Callable[[Tensor, Tensor], Tensor]]] = {
    "gradcam": ("Grad-CAM", gradcam),
    "hirescam": ("HiResCAM", hirescam),
    "xgradcam": ("XGrad-CAM", xgradcam),
    "layercam": ("LayerCAM", layercam),
    "gradcam++": ("Grad-CAM++", gradcam_plus_plus),
    "eigencam": ("EigenCAM", eigencam),
}
CAM_METHODS: tuple[str, ...] = ("cam", *_GRADIENT_METHODS)


def cam(
    model: nn.Module,
    sample: HasTensor | Tensor,
    layer: str,
    *,
    target: int | str | None = None,
    method: str = "gradcam",
    labels: Sequence[str] | None = None,
) -> ImageStack:
    """Return the class activation map of one class at one layer.

    Args:
        model: a classifier.
        sample: a ``Sample`` or a tensor (1, 3, H, W).
        layer: dotted path of a layer with spatial maps.
        target: class index or name; None asks for the predicted class.
        method: one of ``CAM_METHODS``. "cam" is the original (Zhou et al. 2016), which needs a
            head that is a mean over space and one linear step: sum over k of w_k * a_k, without
            bias and without ReLU.
        labels: class names, for a module of the user's own.

    Returns:
        One raw map at the layer's own size, over the photograph where there is one. A class that
        the picture does not support has a map of zeros, and its title says so.

    Raises:
        ValueError: unknown method, layer or class; a layer without spatial maps; "cam" for a
            model whose head does not allow it; and what ``capture`` refuses.
    """
    return cam_sweep(model, sample, layers=[layer], targets=[target], method=method, labels=labels)


def cam_sweep(
    model: nn.Module,
    sample: HasTensor | Tensor,
    *,
    layers: Sequence[str],
    targets: Sequence[int | str | None],
    method: str = "gradcam",
    labels: Sequence[str] | None = None,
) -> ImageStack:
    """Return the maps of every pair of a layer and a class.

    One forward pass and one backward pass for each class serve all layers.

    Args:
        model: a classifier.
        sample: a ``Sample`` or a tensor (1, 3, H, W).
        layers: dotted module paths.
        targets: class indices or names; None stands for the predicted class.
        method: as in ``cam``.
        labels: class names, for a module of the user's own.

    Returns:
        Raw maps, axes ``layer`` and ``class``, one scale for each layer. Where layers differ in
        size all maps are stretched (bilinear) to the largest.

    Raises:
        ValueError: as ``cam``, or no layer or no class.
    """
    stacks = cams_by_layer(
        model, sample, layers=layers, targets=targets, method=method, labels=labels
    )
    if len(stacks) == 1:
        return stacks[0]
    size = max(stack.frames.shape[1:] for stack in stacks)
    rows = {stack.axes["layer"][0]: [_stretched(m, size) for m in stack.frames] for stack in stacks}
    return _stack(model, sample, method, rows, stacks[0].axes["class"])


def cams_by_layer(
    model: nn.Module,
    sample: HasTensor | Tensor,
    *,
    layers: Sequence[str],
    targets: Sequence[int | str | None],
    method: str = "gradcam",
    labels: Sequence[str] | None = None,
) -> list[ImageStack]:
    """Return what ``cam_sweep`` returns, but each layer's maps as a stack of their own size."""
    if method not in CAM_METHODS:
        raise unknown("CAM method", method, CAM_METHODS)
    if not layers or not targets:
        raise ValueError("cam_sweep needs at least one layer and one class.")
    if len(input_tensor(model, sample)) != 1:
        raise ValueError("A class activation map explains one photograph; take x[i:i + 1].")
    classes = [_resolved(model, sample, target, labels) for target in targets]
    names = [class_label(model, index, labels=labels) for index in classes]
    if method == "cam":
        maps = [_original_cam(model, sample, layer, classes) for layer in layers]
    else:
        maps = _gradient_cams(model, sample, layers, classes, method)
    return [
        _stack(model, sample, method, {layer: row}, names)
        for layer, row in zip(layers, maps, strict=True)
    ]


def _stack(
    model: nn.Module,
    sample: HasTensor | Tensor,
    method: str,
    maps: Mapping[str, Sequence[np.ndarray]],
    names: Sequence[str],
) -> ImageStack:
    """Put maps of one size into a stack: ``{layer: one map for each name}``."""
    frames = np.stack([m for row in maps.values() for m in row])
    view = photograph_of(sample)
    label = "CAM" if method == "cam" else _GRADIENT_METHODS[method][0]
    where = f" at {next(iter(maps))}" if len(maps) == 1 else ""
    return ImageStack(
        frames,
        axes={"layer": list(maps), "class": names},
        titles=[
            (name if len(maps) == 1 else f"{layer} · {name}")
            + (" · all zero: no support" if not m.any() else "")
            for layer, row in maps.items()
            for name, m in zip(names, row, strict=True)
        ],
        scale="diverging" if frames.min() < 0 else "sequential",
        scale_group="all" if len(maps) == 1 else "layer",
        base=view,
        blend=1.0 if view is None else 0.5,
        name=f"{warning_word(model)}{label}{where}",
        unit=f"{label} (raw)",
        values=frames.max(axis=(1, 2)),
    )


def _resolved(
    model: nn.Module,
    sample: HasTensor | Tensor,
    target: int | str | None,
    labels: Sequence[str] | None,
) -> int:
    if target is None:
        return int(logits(model, sample)[0].argmax())
    return class_index(model, target, labels=labels)


def _gradient_cams(
    model: nn.Module,
    sample: HasTensor | Tensor,
    layers: Sequence[str],
    classes: Sequence[int],
    method: str,
) -> list[list[np.ndarray]]:
    combine = _GRADIENT_METHODS[method][1]
    scores = [logit_of(index) for index in classes]
    activations, gradients = activations_and_gradients(model, sample, layers, scores)
    for layer in layers:
        check_spatial(layer, activations[layer])
    asked = 1 if method == "eigencam" else len(classes)  # it gives all classes one map
    maps = [
        [
            combine(activations[layer][0].float(), gradient[0].float()).cpu().numpy()
            for gradient in gradients[layer][:asked]
        ]
        for layer in layers
    ]
    return [row * (len(classes) // asked) for row in maps]


def _original_cam(
    model: nn.Module, sample: HasTensor | Tensor, layer: str, classes: Sequence[int]
) -> list[np.ndarray]:
    activation = capture(model, sample, layer)[layer]
    check_spatial(layer, activation)
    weight = _pooled_head(model, logits(model, sample)[0], activation[0], layer)
    return [
        torch.einsum("c,chw->hw", weight[index], activation[0]).float().cpu().numpy()
        for index in classes
    ]


def _pooled_head(model: nn.Module, scores: Tensor, activation: Tensor, layer: str) -> Tensor:
    """Find the linear step from mean activations to logits, (classes, C), and prove it.

    A candidate counts only if it reproduces the logits: as ``W mean(a) + b``, the head of the
    paper, or as ``mean(relu(W a + b))``, SqueezeNet's.
    """
    for module in reversed(list(model.modules())):
        weight = getattr(module, "weight", None)
        if not isinstance(module, (nn.Linear, nn.Conv2d)) or not isinstance(weight, Tensor):
            continue
        if weight[0].numel() != len(activation) or len(weight) != len(scores):
            continue
        matrix = weight.detach().reshape(len(scores), len(activation))
        places = torch.einsum("kc,chw->khw", matrix, activation)
        if module.bias is not None:
            places = places + module.bias.detach()[:, None, None]
        for pooled in (places.mean(dim=(1, 2)), places.relu().mean(dim=(1, 2))):
            if torch.allclose(pooled, scores, rtol=1e-3, atol=1e-3 * float(scores.abs().max())):
                return matrix
    raise ValueError(
        f"The original CAM needs a mean over {layer!r} and one linear step to the logits; "
        f"{type(model).__name__} has no such head there. Grad-CAM was made for that: "
        "method='gradcam'. Or choose the last layer with maps."
    )


def _stretched(m: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    if m.shape == size:
        return m
    large = F.interpolate(
        torch.from_numpy(m)[None, None], size, mode="bilinear", align_corners=False
    )
    return large[0, 0].numpy()
