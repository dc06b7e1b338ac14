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
    record = _record(subject, layers, class_indices, method)
    classes = targets_of(subject, class_indices, record.output)
    return [
        _layer_stack(
            subject,
            method,
            _LayerMaps(
                layer,
                maps,
                _meaning_of_zero(subject, layer, maps, record.gradients.get(layer)),
                _notes(subject, layer, record, method, len(maps) * len(subject.x)),
            ),
            classes,
        )
        for layer, maps in _maps_of_layers(subject, record, classes, method).items()
    ]


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
            cams = _by_head(subject.model, layer, maps, classes, output)
        except ValueError as error:
            errors.append(error)
        else:
            of_layer = _LayerMaps(layer, cams, "no support", [""] * (len(cams) * len(maps)))
            return _layer_stack(subject, "cam", of_layer, classes)
    raise errors[0]


@dataclass(frozen=True)
class _Record:
    """Results of the passes that serve all layers.

    Attributes:
        maps: (N, C, h, w) of each layer.
        gradients: of each layer, one for each class, in the layer's own shape; empty if the method
            needs none.
        output: the model's output.
        already_probability: why the output is taken for probabilities, in words; "" for logits.
    """

    maps: Mapping[str, Tensor]
    gradients: Mapping[str, Sequence[Tensor]]
    output: Any
    already_probability: str


@dataclass(frozen=True)
class _LayerMaps:
    """One layer's maps.

    Attributes:
        layer: its dotted path.
        maps: a tensor (N, h, w) for each class.
        zero: the meaning of an all-zero map there.
        notes: a remark for each map, class by class, or "".
    """

    layer: str
    maps: Sequence[Tensor]
    zero: str
    notes: Sequence[str]


def _record(
    subject: Subject, layers: Sequence[str], class_indices: Sequence[ClassIndex], method: str
) -> _Record:
    model, x = subject.model, subject.x

    def maps_of(layer: str, output: Tensor) -> Tensor:
        return as_maps(model, layer, output, x).float()

    gradients: Mapping[str, Sequence[Tensor]] = {}
    ending = Ending()
    if CAM_METHODS[method] == "gradient":
        scores = [logit_of(index) for index in class_indices]
        outputs, gradients, output = activations_and_gradients(
            model, x, layers, scores, check=maps_of, ending=ending
        )
    else:
        with ending:
            outputs, output = captured(model, x, layers)
    maps = {layer: maps_of(layer, outputs[layer]) for layer in layers}
    return _Record(maps, gradients, output, already_probability(output, ending.of(output)))


def _meaning_of_zero(
    subject: Subject, layer: str, maps: Sequence[Tensor], gradients: Sequence[Tensor] | None
) -> str:
    """Return why a map of this layer is zero everywhere, if one is."""
    # Gradients are large, so they are read only if a map is zero.
    if gradients is None or all(cam.any() for of_class in maps for cam in of_class):
        return "no support"
    if any(as_maps(subject.model, layer, g, subject.x).any() for g in gradients):
        return "no support"
    # A transformer's last block: the class token has a gradient, its patches have none.
    if any(g.any() for g in gradients):
        return "after it, only the class token is read"
    return "no support"


def _notes(subject: Subject, layer: str, record: _Record, method: str, count: int) -> list[str]:
    """Return a remark for the title of each of ``count`` maps, or ""."""
    why = record.already_probability
    common = f"of a probability ({why})" if why and CAM_METHODS[method] != "forward" else ""
    if method != "gradcam++":
        return [common] * count
    maps = record.maps[layer]
    gradients = [
        as_maps(subject.model, layer, g, subject.x).float() for g in record.gradients[layer]
    ]
    pairs = [pair for of_class in gradients for pair in zip(maps, of_class, strict=True)]
    return [" · ".join(filter(None, (common, signed_weights(a, g)))) for a, g in pairs]


def _maps_of_layers(
    subject: Subject, record: _Record, classes: Sequence[Target], method: str
) -> dict[str, list[Tensor]]:
    """Return for each layer a map (N, h, w) of each class."""
    model, x = subject.model, subject.x
    equation = METHODS[method].equation
    if CAM_METHODS[method] == "perturbation":
        indices = [target.indices for target in classes]
        return perturbation_cams(model, x, record.maps, indices, record.output, method)
    if equation is None:
        return {
            layer: _by_head(model, layer, maps, classes, record.output)
            for layer, maps in record.maps.items()
        }
    if not record.gradients:  # the same map for all classes
        return {
            layer: [_by_equation(equation, maps, maps)] * len(classes)
            for layer, maps in record.maps.items()
        }
    return {
        layer: [
            _by_equation(equation, maps, as_maps(model, layer, gradient, x).float())
            for gradient in record.gradients[layer]
        ]
        for layer, maps in record.maps.items()
    }


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
    subject: Subject, method: str, of_layer: _LayerMaps, classes: Sequence[Target]
) -> ImageStack:
    frames = torch.cat(list(of_layer.maps)).cpu().numpy()
    images = len(subject.x)
    axes: dict[str, Sequence[object]] = {
        "layer": [of_layer.layer],
        "class": [target.name for target in classes],
    }
    if images > 1:
        axes["image"] = range(images)
    titles = [target.title(n) for target in classes for n in range(images)]
    titles = [
        title + ("" if m.any() else f" · all zero: {of_layer.zero}") + (note and f" · {note}")
        for title, m, note in zip(titles, frames, of_layer.notes, strict=True)
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
