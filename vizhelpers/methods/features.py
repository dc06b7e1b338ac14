"""Notebook 04: feature maps, the output of a layer for a photograph."""

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor, nn

from vizhelpers.inputs.arguments import integers
from vizhelpers.inputs.errors import unknown
from vizhelpers.inputs.layers import Layer, path_of
from vizhelpers.inputs.subject import HasTensor, Subject, validated
from vizhelpers.passes.capture import layer_outputs
from vizhelpers.passes.hooks import refuse_meta
from vizhelpers.passes.maps import as_maps
from vizhelpers.stack import ImageStack

Samples = HasTensor | Tensor | Mapping[str, HasTensor | Tensor]


def feature_maps(
    model: nn.Module,
    sample: Samples,
    layer: Layer,
    *,
    channels: Sequence[int] | None = None,
) -> ImageStack:
    """Return the feature maps of one layer, shape (h, w), for one photograph or several.

    Args:
        model: any module that takes one tensor.
        sample: a ``Sample`` or a tensor (N, C, H, W); or ``{title: sample}``, each of one image,
            which adds an axis ``photograph``, so that one channel can be compared on one scale.
        layer: its dotted path, or the module itself. A vision transformer's tokens are arranged as
            maps (``maps.as_maps``).
        channels: channel indices; None is all of them.

    Returns:
        Maps in the layer's own unit and size, axis ``channel``, one colour scale for all:
        sequential if no value is negative, else diverging. A tensor of several images adds an axis
        ``image``. For one ``Sample``, ``base`` is its photograph.

    Raises:
        ValueError: unknown layer or channel; a layer without spatial maps; or an input that
            ``capture`` refuses.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3))
        >>> import torch
        >>> feature_maps(net, torch.zeros(1, 3, 9, 9), "0").frames.shape
        (8, 7, 7)
    """
    subjects = _subjects(model, sample)
    layer = path_of(subjects[0].model, layer)
    maps = [image for subject in subjects for image in _maps(subject, layer)]
    axes: dict[str, Sequence[object]] = {"image": range(len(maps))} if len(maps) > 1 else {}
    if isinstance(sample, Mapping):
        axes = {"photograph": list(sample)}
    if len({m.shape for m in maps}) > 1:
        raise ValueError(
            f"The photographs give maps of different sizes at {layer!r}: "
            f"{[m.shape for m in maps]}. Prepare them with the same transform."
        )
    chosen = _checked(channels, len(maps[0]), layer)
    frames = np.concatenate([m[chosen] for m in maps])
    height, width = frames.shape[1:]
    return ImageStack(
        frames,
        axes={**axes, "channel": chosen},
        scale="diverging" if frames.min() < 0 else "sequential",
        base=None if isinstance(sample, Mapping) else subjects[0].view,
        name=f"{subjects[0].warning}{layer}: {len(maps[0])} channels of {height} x {width}",
        unit="activation",
    )


def _subjects(model: nn.Module, sample: Samples) -> list[Subject]:
    """Return a validated subject for the sample, or for each entry of a mapping."""
    if not isinstance(sample, Mapping):
        return [validated(model, sample)]
    if not sample:
        raise ValueError("The mapping holds no photograph: give at least one {title: sample}.")
    first, *rest = sample.values()
    subject = validated(model, first)
    subjects = [subject, *map(subject.with_sample, rest)]
    for title, subject in zip(sample, subjects, strict=True):
        if len(subject.x) > 1:
            raise ValueError(
                f"{title!r} holds {len(subject.x)} images; in a mapping each title has one."
            )
    return subjects


def _maps(subject: Subject, layer: str) -> np.ndarray:
    """Return (N, C, h, w)."""
    output = layer_outputs(subject.model, subject.x, [layer])[layer]
    refuse_meta(output)
    return as_maps(subject.model, layer, output, subject.x).float().cpu().numpy()


def _checked(channels: Sequence[int] | None, count: int, layer: str) -> list[int]:
    if channels is None:
        return list(range(count))
    chosen = integers("channels", channels)
    for channel in chosen:
        if not 0 <= channel < count:
            raise unknown("channel", channel, range(count), f"{layer!r} has {count} channels.")
    if not chosen:
        raise ValueError(f"channels is empty; {layer!r} has channels 0 to {count - 1}.")
    return chosen
