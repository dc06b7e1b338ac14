"""Photographs made ready for a model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vizhelpers.errors import said
from vizhelpers.images import load_image
from vizhelpers.inputs import bare
from vizhelpers.models import Transform, card

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Sample:
    """A photograph made ready for one model.

    Attributes:
        x: network input, (1, 3, H, W), on the model's device and of its dtype (float32 mostly).
        view: the crop that the network sees, (H, W, 3) uint8, to be laid under a map.
    """

    x: Tensor
    view: np.ndarray


def prepare(model: nn.Module, image: Any, *, transform: Transform | None = None) -> Sample:
    """Make a photograph ready for a model, and keep the crop that the network sees.

    Args:
        model: from ``load_model``, or any module.
        image: anything that ``load_image`` takes.
        transform: PIL image -> tensor (3, H, W); for a module of the user's own, or instead of
            the weights' own transforms; a model of timm knows its own. Its normalisation is found
            by its ``mean`` and ``std`` (also inside a ``Compose``) and undone for ``view``;
            without any, values 0..1 are shown as they are.

    Returns:
        A ``Sample``: ``x`` (1, 3, H, W) as the model wants it, and ``view``.

    Raises:
        ImageError: the picture cannot be read.
        ValueError: a model without a card and no ``transform``, or one that returns no (3, H, W).

    Example:
        >>> import vizhelpers as viz
        >>> prepare(viz.load_model(), "cat").x.shape
        torch.Size([1, 3, 224, 224])
    """
    inside = bare(model)
    if transform is not None and not callable(transform):
        raise TypeError(f"transform={said(transform)}: expected a function, PIL image to tensor.")
    transform = _own_transform(model) if transform is None else transform
    tensor = transform(load_image(image))
    if not isinstance(tensor, Tensor) or tensor.ndim != 3 or tensor.shape[0] not in (1, 3):
        got = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
        raise ValueError(f"transform must return a tensor (3, H, W), this one returned {got}.")
    if not torch.isfinite(tensor).all():
        raise ValueError("transform returned NaN or infinite values; is a std of it 0?")
    weight = next(inside.parameters(), None)
    x = tensor.float().unsqueeze(0)
    if weight is not None and weight.is_floating_point():
        x = x.to(dtype=weight.dtype, device=None if weight.is_meta else weight.device)
    return Sample(x, _view(tensor.float(), transform))


def _own_transform(model: nn.Module) -> Transform:
    """Return what a model says of its preprocessing: its card's, or timm's of a model of timm."""
    known = card(model)
    if known and known.transform:
        return known.transform
    inside = bare(model)
    if isinstance(getattr(inside, "pretrained_cfg", None), dict):
        from timm.data import create_transform, resolve_data_config

        return create_transform(**resolve_data_config({}, model=inside))
    raise ValueError(
        f"{type(inside).__name__} did not come from viz.load_model, so its preprocessing is "
        "unknown. Pass transform=, such as "
        "torchvision.models.ResNet18_Weights.DEFAULT.transforms()."
    )


def normalise_for(model: nn.Module, rgb: Tensor) -> Tensor:
    """Return pictures (N, 3, H, W), values 0 to 1, normalised as a model wants them.

    A model that says nothing of its preprocessing gets ImageNet's mean and spread.
    """
    try:
        mean, std = _normalisation(_own_transform(model))
    except ValueError:
        mean, std = IMAGENET_MEAN, IMAGENET_STD
    shift, scale = (rgb.new_tensor(list(values)).view(1, -1, 1, 1) for values in (mean, std))
    return (rgb - shift) / scale


def _view(tensor: Tensor, transform: Transform) -> np.ndarray:
    mean, std = _normalisation(transform)
    rgb = tensor.cpu() * torch.as_tensor(std).view(-1, 1, 1) + torch.as_tensor(mean).view(-1, 1, 1)
    rgb = rgb.expand(3, -1, -1).clamp(0, 1).mul(255).round()
    return np.ascontiguousarray(rgb.to(torch.uint8).permute(1, 2, 0).numpy())


def _normalisation(transform: Any) -> tuple[Sequence[float], Sequence[float]]:
    for step in (transform, *getattr(transform, "transforms", ())):
        if hasattr(step, "mean") and hasattr(step, "std"):
            return step.mean, step.std
    return [0.0], [1.0]
