"""Notebook 04: feature maps, the output of a layer for a photograph."""

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor, nn

from vizhelpers.inputs.arguments import whole_numbers
from vizhelpers.inputs.errors import unknown
from vizhelpers.inputs.layers import Layer, layer_name
from vizhelpers.inputs.models import warning_word
from vizhelpers.inputs.request import HasTensor, input_tensor, photograph_of
from vizhelpers.passes.capture import captured
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
    layer = layer_name(model, layer)
    if isinstance(sample, Mapping):
        if not sample:
            raise ValueError("The mapping holds no photograph: give at least one {title: sample}.")
        single = [_single(model, entry, title) for title, entry in sample.items()]
        maps = [_maps(model, x, layer)[0] for x in single]
        axes: dict[str, Sequence[object]] = {"photograph": list(sample)}
    else:
        maps = list(_maps(model, sample, layer))
        axes = {"image": range(len(maps))} if len(maps) > 1 else {}
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
        base=photograph_of(sample),
        name=f"{warning_word(model)}{layer}: {len(maps[0])} channels of {height} x {width}",
        unit="activation",
    )


def _maps(model: nn.Module, sample: HasTensor | Tensor, layer: str) -> np.ndarray:
    """Return (N, C, h, w)."""
    x = input_tensor(model, sample)
    output = captured(model, x, [layer])[0][layer]
    refuse_meta(output)
    return as_maps(model, layer, output, x).float().cpu().numpy()


def _single(model: nn.Module, sample: HasTensor | Tensor, title: object) -> Tensor:
    x = input_tensor(model, sample)
    if len(x) > 1:
        raise ValueError(f"{title!r} holds {len(x)} images; in a mapping each title has one.")
    return x


def _checked(channels: Sequence[int] | None, count: int, layer: str) -> list[int]:
    if channels is None:
        return list(range(count))
    chosen = whole_numbers("channels", channels)
    for channel in chosen:
        if not 0 <= channel < count:
            raise unknown("channel", channel, range(count), f"{layer!r} has {count} channels.")
    if not chosen:
        raise ValueError(f"channels is empty; {layer!r} has channels 0 to {count - 1}.")
    return chosen
