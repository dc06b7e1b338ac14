"""Preprocess photographs for a model."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor, nn

from vizhelpers.inputs.errors import repr_of
from vizhelpers.inputs.global_state import random_states, replayed
from vizhelpers.inputs.models import Transform, card
from vizhelpers.inputs.modules import dtype_of, unwrapped
from vizhelpers.inputs.normalisation import Colours, chain, per_channel, probe_colours, read_colours
from vizhelpers.inputs.photographs.images import load_image

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Sample:
    """A photograph preprocessed for one model.

    Attributes:
        x: network input, (1, 3, H, W) or (1, 1, H, W), of the model's device and dtype.
        view: the crop that the network sees, (H, W, 3) uint8, to overlay maps on.
    """

    x: Tensor
    view: np.ndarray


def prepare(model: nn.Module, image: Any, *, transform: Transform | None = None) -> Sample:
    """Preprocess a photograph for a model; return the input and the crop that the network sees.

    Args:
        model: from ``load_model``, or any module.
        image: anything that ``load_image`` takes.
        transform: PIL image -> tensor (3, H, W) or (1, H, W). Required for a module of the user's
            own, optional for models from ``load_model`` or timm, whose own transform it replaces.
            To obtain ``view``, its normalisation is undone: it is read from the steps of
            torchvision and timm, or else found by calling the transform on pictures of one colour.
            If that fails, a warning follows, and ``view`` is a crop of the photograph itself.

    Returns:
        A ``Sample``: ``x``, (1, 3, H, W) or (1, 1, H, W), and ``view``, (H, W, 3) uint8.

    Raises:
        ImageError: the picture cannot be read.
        ValueError: the model's preprocessing is unknown and ``transform`` is missing, or
            ``transform`` did not return a tensor (3, H, W) or (1, H, W) of finite values.

    Example:
        >>> import vizhelpers as viz
        >>> prepare(viz.load_model(), "cat").x.shape
        torch.Size([1, 3, 224, 224])
    """
    inside = unwrapped(model)
    if transform is not None and not callable(transform):
        raise TypeError(f"transform={repr_of(transform)}: expected a function, image -> tensor.")
    transform = _own_transform(inside) if transform is None else transform
    picture, states = load_image(image), random_states()
    with torch.device("cpu"):  # under another default device some of torchvision's steps fail
        tensor = _checked(transform(picture.copy()))
        view = _view(tensor, transform, picture, states)
    weight = next(inside.parameters(), None)
    x = tensor.float().unsqueeze(0)
    if weight is not None:
        x = x.to(dtype=dtype_of(inside), device=None if weight.is_meta else weight.device)
    return Sample(x, view)


def _checked(tensor: Any) -> Tensor:
    """Return a transform's result, (3, H, W) or (1, H, W), as a plain tensor."""
    if not isinstance(tensor, Tensor) or tensor.ndim != 3 or tensor.shape[0] not in (1, 3):
        raise ValueError(
            f"transform must return a tensor (3, H, W) or (1, H, W); it {_returned(tensor)}"
        )
    if tensor.is_meta or not tensor.numel():
        raise ValueError(f"transform returned no values: {repr_of(tensor)} on {tensor.device}.")
    if not torch.isfinite(tensor).all():
        raise ValueError(
            "transform returned NaN or infinite values. Is one of its standard deviations 0?"
        )
    return tensor.detach().as_subclass(Tensor)  # torchvision's v2 returns a subclass


def _returned(result: Any) -> str:
    """Return what a transform returned instead of a tensor (3, H, W), and what to change."""
    kind, entry = f"a {type(result).__name__}", "transform=lambda image: yours(image)"
    remedy = "Is its return missing?"
    if isinstance(result, Tensor):
        kind = f"a tensor {tuple(result.shape)}"
        remedy = "A colour picture has 3 channels, a grey one 1."
        if result.ndim == 4:
            remedy = f"It is a batch: {entry}[0] takes its first picture."
        elif result.ndim == 2:
            remedy = "tensor.unsqueeze(0) adds the channel axis."
        elif result.ndim == 3 and result.shape[2] in (1, 3):
            remedy = "tensor.permute(2, 0, 1) moves the channels to the front."
    elif isinstance(result, np.ndarray):
        kind = f"an array {result.shape}"
        permuted = ".permute(2, 0, 1)" if result.shape[-1:] in ((1,), (3,)) else ""
        remedy = f"torch.from_numpy(array){permuted} makes it a tensor."
    elif isinstance(result, Image.Image):
        kind, remedy = "a PIL image", "Add transforms.ToTensor() as its last step."
    elif isinstance(result, Mapping) and result:
        kind += f" with the keys {', '.join(map(repr, result))}"
        remedy = f"{entry}[{next(iter(result))!r}] takes one entry of it."
        if "pixel_values" in result:  # an image processor of Hugging Face
            remedy = f"{entry[:-1]}, return_tensors='pt')['pixel_values'][0] takes the picture."
    elif isinstance(result, (tuple, list)):
        kind, remedy = f"{kind} of {len(result)}", f"{entry}[0] takes its first entry."
    elif result is None:
        kind = "None"
    return f"returned {kind}. {remedy}"


def _own_transform(model: nn.Module) -> Transform:
    """Return a model's own transform: from ``load_model``, or from its timm configuration."""
    known = card(model)
    if known and known.transform:
        return known.transform
    if isinstance(getattr(model, "pretrained_cfg", None), dict):
        from timm.data import create_transform, resolve_data_config

        with torch.device("cpu"):  # the transform stores its mean as a tensor
            return create_transform(**resolve_data_config({}, model=model))
    raise ValueError(
        f"{type(model).__name__} did not come from viz.load_model, so its preprocessing is "
        "unknown. Pass transform=, a function from a PIL image to a tensor (C, H, W), as in "
        "training, such as torchvision.models.ResNet18_Weights.DEFAULT.transforms()."
    )


def model_colours(model: nn.Module) -> Colours:
    """Return the colour map of a model's own transform; ImageNet's normalisation if unknown.

    ``Colours.apply`` then normalises pictures (N, C, H, W), values 0 to 1. If C is not 3, as in
    grey pictures, every channel gets the mean of the three channels' values.
    """
    imagenet = per_channel(IMAGENET_MEAN, IMAGENET_STD)
    try:
        transform = _own_transform(model)
    except ValueError:
        return imagenet
    with torch.device("cpu"):
        colours = read_colours(transform) or probe_colours(transform, (224, 224), random_states())
    return colours or imagenet


def _view(x: Tensor, transform: Transform, picture: Image.Image, states: Any) -> np.ndarray:
    """Return the crop that ``x`` (C, H, W) shows, (H, W, 3) uint8, in the photograph's colours."""
    x = x.cpu().double()
    colours = read_colours(transform)
    rgb = colours.undo(x) if colours else None
    if rgb is None:
        colours = probe_colours(transform, picture.size, states)
        rgb = colours.undo(x) if colours and colours.shift.shape == x.shape else None
    if rgb is None:
        return _untouched(transform, picture, (x.shape[2], x.shape[1]), states)
    return np.ascontiguousarray(rgb.mul(255).round().to(torch.uint8).permute(1, 2, 0).numpy())


def _untouched(
    transform: Transform, picture: Image.Image, size: tuple[int, int], states: Any
) -> np.ndarray:
    """Return the last PIL image in a transform if it has the input's size, else a centre crop."""
    last, origin = picture, "centre crop"
    with replayed(states):
        for step in chain(transform):
            result = step(last.copy()) if len(chain(transform)) > 1 else None
            if not isinstance(result, Image.Image):
                break
            last, origin = result, "crop before normalisation"
    if last.size != size:
        last, origin = ImageOps.fit(picture, size, Image.Resampling.BICUBIC), "centre crop"
    warnings.warn(
        "The normalisation of transform= cannot be undone, so "
        f"Sample.view is the photograph's own {origin}"
        f"{'; the network may see another part of it' if origin == 'centre crop' else ''}.",
        stacklevel=4,
    )
    return np.array(last.convert("RGB"))
