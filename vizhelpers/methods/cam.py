"""Class activation maps of classes at layers (notebook 05).

Maps are raw: in the method's own unit, never divided by their maximum, so two classes can be
compared on one scale. The equations are in ``cam_methods``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vizhelpers.inputs.arguments import as_list, one_of
from vizhelpers.inputs.classes import ClassIndex, ClassName
from vizhelpers.inputs.layers import Layer, path_of, paths_of
from vizhelpers.inputs.subject import HasTensor, Subject, validated
from vizhelpers.methods.cam_layers import layers_for_cam
from vizhelpers.methods.cam_methods import (
    CAM_METHODS,
    METHODS,
    Equation,
    pooled_head,
    signed_weights,
)
from vizhelpers.methods.cam_perturbation import perturbation_cams
from vizhelpers.passes.capture import captured
from vizhelpers.passes.forward import evaluating, without_autocast
from vizhelpers.passes.gradients import activations_and_gradients, logit_of
from vizhelpers.passes.maps import as_maps
from vizhelpers.passes.outputs import (
    Ending,
    Target,
    already_probability,
    class_scores,
    targets_of,
)
from vizhelpers.stack import ImageStack


def cam(
    model: nn.Module,
    sample: HasTensor | Tensor,
    layer: Layer | None = None,
    *,
    target: ClassName | Sequence[ClassName] = None,
    method: str = "gradcam",
    labels: Sequence[str] | None = None,
) -> ImageStack:
    """Return the class activation map of one class at one layer, shape (h, w).

    Args:
        model: a classifier.
        sample: a ``Sample``, or a tensor (N, C, H, W).
        layer: a layer with spatial maps, by its dotted path or as the module itself; a vision
            transformer's tokens are arranged as maps (``maps.as_maps``). None is the last of
            ``cam_layers(model, sample)``.
        target: class index or name, or a list with one for each image; None is each image's
            predicted class.
        method: one of ``CAM_METHODS``, which also lists their costs. "cam" is the original (Zhou
            et al. 2016): sum over k of w_k * a_k, without bias and without ReLU. It requires a head
            of a spatial mean and one linear layer. "scorecam" and "ablationcam" take seconds for
            each map.
        labels: class names, for a module of the user's own.

    Returns:
        A raw map at the layer's own size, drawn over the photograph of a ``Sample``; for several
        images one map each, with an axis ``image``. The title reports a map of zeros: nothing in
        the picture supports the class.

    Raises:
        ValueError: unknown method, layer or class; a layer without spatial maps; "cam" for a
            model whose head does not allow it; or an input that ``capture`` refuses.

    Example:
        >>> import vizhelpers as viz
        >>> model = viz.load_model()
        >>> cam(model, viz.prepare(model, "cat"), target="tabby").frames.shape
        (1, 13, 13)
    """
    subject = _checked(model, sample, method, labels)
    path = _blocks(subject)[-1] if layer is None else path_of(subject.model, layer)
    return _sweep(subject, [path], [target], method)


def cam_sweep(
    model: nn.Module,
    sample: HasTensor | Tensor,
    *,
    layers: Sequence[Layer] | None = None,
    targets: Sequence[ClassName | Sequence[ClassName]] = (None,),
    method: str = "gradcam",
    labels: Sequence[str] | None = None,
) -> ImageStack:
    """Return the class activation map of each (layer, class) pair, shape (h, w).

    With a gradient method, one forward pass and one backward pass for each class serve all layers.
    Perturbation methods need many forward passes for each layer.

    Args:
        model: a classifier.
        sample: a ``Sample``, or a tensor (N, C, H, W).
        layers: their dotted paths, or the modules themselves; None is all of
            ``cam_layers(model, sample)``.
        targets: each as ``target`` in ``cam``.
        method: as in ``cam``.
        labels: class names, for a module of the user's own.

    Returns:
        Raw maps, axes ``layer`` and ``class`` (and ``image`` for several images), one colour scale
        for each layer. If layers differ in size, all maps are resized (bilinear) to the largest.

    Raises:
        ValueError: as ``cam``; or ``layers`` or ``targets`` is empty.

    Example:
        >>> import vizhelpers as viz
        >>> model = viz.load_model()
        >>> cam_sweep(model, viz.prepare(model, "cat"), targets=["tabby", "tiger cat"]).shape
        (9, 2)
    """
    subject = _checked(model, sample, method, labels)
    return _sweep(subject, *_checked_pairs(subject, layers, targets), method)


def cams_by_layer(
    model: nn.Module,
    sample: HasTensor | Tensor,
    *,
    layers: Sequence[Layer],
    targets: Sequence[ClassName | Sequence[ClassName]],
    method: str = "gradcam",
    labels: Sequence[str] | None = None,
) -> list[ImageStack]:
    """Return the maps of ``cam_sweep`` as one stack for each layer, each of its own (h, w)."""
    subject = _checked(model, sample, method, labels)
    return _by_layer(subject, *_checked_pairs(subject, layers, targets), method)


def _checked(
    model: nn.Module,
    sample: HasTensor | Tensor,
    method: str,
    labels: Sequence[str] | None,
) -> Subject:
    one_of("CAM method", method, CAM_METHODS)
    return validated(model, sample, labels=labels)


def _blocks(subject: Subject) -> list[str]:
    return layers_for_cam(subject.model, tuple(subject.x.shape)).blocks


def _checked_pairs(
    subject: Subject,
    layers: Sequence[Layer] | None,
    targets: Sequence[ClassName | Sequence[ClassName]],
) -> tuple[list[str], list[Any]]:
    """Return the dotted paths of the layers, and the targets as a list; neither is empty."""
    paths = _blocks(subject) if layers is None else paths_of(subject.model, layers)
    classes = as_list("targets", targets, "classes")
    if not paths or not classes:
        raise ValueError(
            f"cam_sweep needs a list with at least one layer and one with at least one class, got "
            f"layers={paths!r}, targets={classes!r}."
        )
    return paths, classes


def _sweep(
    subject: Subject, layers: Sequence[str], targets: Sequence[Any], method: str
) -> ImageStack:
    stacks = _by_layer(subject, layers, targets, method)
    if len(stacks) == 1:
        return stacks[0]
    size = max(stack.frames.shape[1:] for stack in stacks)
    rows = {stack.axes["layer"][0]: _stretched(stack.frames, size) for stack in stacks}
    titles = [f"{stack.axes['layer'][0]} · {title}" for stack in stacks for title in stack.titles]
    axes = {**stacks[0].axes, "layer": list(rows)}
    return _stack(subject, method, np.concatenate(list(rows.values())), axes, titles)


@without_autocast()
def _by_layer(
    subject: Subject, layers: Sequence[str], targets: Sequence[Any], method: str
) -> list[ImageStack]:
    class_indices = subject.classes.indices(targets, len(subject.x))
    ending, gradient = Ending(), CAM_METHODS[method] == "gradient"
    by_layer = _gradient_cams if gradient else _other_cams
    cams, classes, output = by_layer(subject, layers, class_indices, method, ending)
    why = already_probability(output, ending.of(output))
    remark = f"of a probability ({why})" if why and CAM_METHODS[method] != "forward" else ""
    return [_layer_stack(subject, method, layer, cams[layer], classes, remark) for layer in layers]


@without_autocast()
def original_cam(
    model: nn.Module,
    sample: HasTensor | Tensor,
    *,
    layers: Sequence[str],
    targets: Sequence[ClassName],
    labels: Sequence[str] | None = None,
) -> ImageStack:
    """Return the original CAM, shape (h, w), at the first of several layers that allows it.

    All layers are tried with one forward pass.

    Args:
        model: a classifier.
        sample: a ``Sample``, or a tensor (N, C, H, W).
        layers: dotted module paths, at least one.
        targets: class indices or names; None is the predicted class.
        labels: class names, for a module of the user's own.

    Raises:
        ValueError: no layer allows it; the text explains why the first does not.
    """
    subject = validated(model, sample, labels=labels)
    class_indices = subject.classes.indices(targets, len(subject.x))
    outputs, output = captured(subject.model, subject.x, layers)
    classes = targets_of(subject, class_indices, output)
    errors = []
    for layer in layers:
        try:
            maps = as_maps(subject.model, layer, outputs[layer], subject.x).float()
            cams = [_Cam(cam) for cam in _by_head(subject.model, layer, maps, classes, output)]
        except ValueError as error:
            errors.append(error)
        else:
            return _layer_stack(subject, "cam", layer, cams, classes)
    raise errors[0]


@dataclass(frozen=True)
class _Cam:
    """The maps of one class at one layer.

    Attributes:
        maps: (N, h, w).
        zero: the meaning of a map that is zero everywhere.
        remarks: a text for the title of each image's map; empty if there is none.
    """

    maps: Tensor
    zero: str = "no support"
    remarks: Sequence[str] = ()


_Cams = tuple[Mapping[str, Sequence[_Cam]], list[Target], Any]
"""{layer: the maps of each class}, the classes, and the model's output."""


def _gradient_cams(
    subject: Subject,
    layers: Sequence[str],
    class_indices: Sequence[ClassIndex],
    method: str,
    ending: Ending,
) -> _Cams:
    def cam_of(layer: str, activation: Tensor, gradient: Tensor) -> _Cam:
        return _gradient_cam(subject, layer, method, activation, gradient)

    scores = [logit_of(index) for index in class_indices]
    _, cams, output = activations_and_gradients(
        subject.model,
        subject.x,
        layers,
        scores,
        check=lambda layer, output: as_maps(subject.model, layer, output, subject.x),
        reduce=cam_of,
        ending=ending,
    )
    return cams, targets_of(subject, class_indices, output), output


def _gradient_cam(
    subject: Subject, layer: str, method: str, activation: Tensor, gradient: Tensor
) -> _Cam:
    equation = METHODS[method].equation
    assert equation is not None
    a, g = (as_maps(subject.model, layer, t, subject.x).float() for t in (activation, gradient))
    maps = _by_equation(equation, a, g)
    remarks = list(map(signed_weights, a, g)) if method == "gradcam++" else []
    # A transformer's last block: the class token has a gradient, its patches have none.
    only_class_token = not maps.any() and not g.any() and bool(gradient.any())
    zero = "after it, only the class token is read" if only_class_token else "no support"
    return _Cam(maps, zero, remarks)


def _other_cams(
    subject: Subject,
    layers: Sequence[str],
    class_indices: Sequence[ClassIndex],
    method: str,
    ending: Ending,
) -> _Cams:
    model, x, equation = subject.model, subject.x, METHODS[method].equation
    with ending:
        outputs, output = captured(model, x, layers)
    classes = targets_of(subject, class_indices, output)
    maps = {layer: as_maps(model, layer, outputs[layer], x).float() for layer in layers}
    if CAM_METHODS[method] == "perturbation":
        indices = [target.indices for target in classes]
        cams = perturbation_cams(model, x, maps, indices, output, method)
    elif equation is None:
        cams = {layer: _by_head(model, layer, a, classes, output) for layer, a in maps.items()}
    else:  # the same map for all classes
        cams = {layer: [_by_equation(equation, a, a)] * len(classes) for layer, a in maps.items()}
    return {layer: list(map(_Cam, of_layer)) for layer, of_layer in cams.items()}, classes, output


def _by_equation(equation: Equation, maps: Tensor, gradients: Tensor) -> Tensor:
    return torch.stack([equation(a, g) for a, g in zip(maps, gradients, strict=True)])


def _by_head(
    model: nn.Module, layer: str, maps: Tensor, classes: Sequence[Target], output: Any
) -> list[Tensor]:
    indices = [index for target in classes for index in target.indices]
    scores = class_scores(output, indices, images=len(maps))
    with evaluating(model):  # in train mode, reading a spectrally normalised weight changes it
        weight = pooled_head(model, scores, maps, layer)
    return [torch.einsum("nc,nchw->nhw", weight[target.indices], maps) for target in classes]


def _layer_stack(
    subject: Subject,
    method: str,
    layer: str,
    cams: Sequence[_Cam],
    classes: Sequence[Target],
    remark: str = "",
) -> ImageStack:
    frames = torch.cat([cam.maps for cam in cams]).cpu().numpy()
    images = len(subject.x)
    axes: dict[str, Sequence[object]] = {
        "layer": [layer],
        "class": [target.name for target in classes],
    }
    if images > 1:
        axes["image"] = range(images)
    titles = [
        " · ".join(filter(None, (target.title(n), zero, remark, *cam.remarks[n : n + 1])))
        for target, cam in zip(classes, cams, strict=True)
        for n, of_image in enumerate(cam.maps)
        for zero in ["" if of_image.any() else f"all zero: {cam.zero}"]
    ]
    return _stack(subject, method, frames, axes, titles)


def _stack(
    subject: Subject,
    method: str,
    frames: np.ndarray,
    axes: Mapping[str, Sequence[object]],
    titles: Sequence[str],
) -> ImageStack:
    label, layers = METHODS[method].label, axes["layer"]
    where = f" at {layers[0]}" if len(layers) == 1 else ""
    return ImageStack(
        frames,
        axes=axes,
        titles=titles,
        scale="diverging" if frames.min() < 0 else "sequential",
        scale_group="all" if len(layers) == 1 else "layer",
        base=subject.view,
        blend=1.0 if subject.view is None else 0.5,
        name=f"{subject.warning}{label}{where}",
        unit=f"{label} (raw)",
        values=frames.max(axis=(1, 2)),
    )


def _stretched(frames: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    if frames.shape[1:] == size:
        return frames
    maps = torch.from_numpy(frames)[:, None]
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)[:, 0].numpy()
