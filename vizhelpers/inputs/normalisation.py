"""Find and undo what a transform does to colours: x = matrix @ rgb + shift at each pixel."""

import contextlib
import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from vizhelpers.inputs.global_state import replayed

_PROBES = ((0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255))  # black first
_CHECK = (204, 128, 51)  # tests the map that the other four determine
_CLOSE = 0.02  # tolerance, as a share of the range from black to white: five of 255 levels
_FEW = 0.02  # share of values that may differ: resizing a tensor overshoots at edges
# Steps of torchvision and timm whose effect on colours cannot be read from their attributes.
_OPAQUE = ("Lambda", "LinearTransformation", "RandomChannelPermutation", "ToPILImage")
_TO_UNIT_RANGE = ("ToTensor", "MaybeToTensor")


@dataclass(frozen=True)
class Colours:
    """An affine map of each pixel's colour.

    Attributes:
        matrix: (C, 3); column j is the effect of red, green or blue, values 0 to 1.
        shift: the network input for a black picture, (C, 1, 1), or (C, H, W) if it varies by pixel.
    """

    matrix: Tensor
    shift: Tensor

    def apply(self, rgb: Tensor) -> Tensor:
        """Return pictures (N, 3, H, W), values 0 to 1, as network input (N, C, H, W).

        In pictures with another number of channels, every channel gets the mean of the three.
        """
        matrix = self.matrix.to(rgb)
        shift = self.shift.to(rgb).flatten(1).median(1).values
        if rgb.shape[1] == 3:
            return torch.einsum("cj,njhw->nchw", matrix, rgb) + shift.view(1, -1, 1, 1)
        std = 1 / matrix.sum(1)
        return (rgb + (shift * std).mean()) / std.mean()

    def undo(self, x: Tensor) -> Tensor | None:
        """Return a network input (C, H, W) as a picture (3, H, W), values 0 to 1.

        None if more than 2 % of the values are outside that range: then the map is wrong.
        """
        rest = x - self.shift
        strengths = torch.linalg.svdvals(self.matrix)
        if len(strengths) == 3 and strengths[2] > 0.01 * strengths[0]:
            rgb = torch.einsum("jc,chw->jhw", torch.linalg.inv(self.matrix), rest)
        else:  # a grey input
            grey = rest / self.matrix.sum(1).view(-1, 1, 1)
            rgb = grey.mean(0, keepdim=True).expand(3, -1, -1)
        outside = ~((rgb > -_CLOSE) & (rgb < 1 + _CLOSE))
        return None if outside.double().mean() > _FEW else rgb.clamp(0, 1)


def per_channel(mean: Sequence[float], std: Sequence[float]) -> Colours:
    """Return the map (rgb - mean) / std, each of three values."""
    means, scales = torch.tensor([*mean, *std], dtype=torch.double, device="cpu").chunk(2)
    return Colours(torch.diag(1 / scales), (-means / scales).view(-1, 1, 1))


def chain(transform: Any) -> list[Any]:
    """Return the steps of a transform, nested containers flattened; else the transform alone."""
    if type(transform) is nn.Sequential:
        return [step for inner in transform for step in chain(inner)]
    if type(transform).__name__ == "Compose" and _of_a_library(transform):
        return [step for inner in transform.transforms for step in chain(inner)]
    return [transform]


def _of_a_library(step: Any) -> bool:
    return type(step).__module__.startswith(("torchvision.transforms.", "timm.data."))


def read_colours(transform: Any) -> Colours | None:
    """Return the colour map that a transform's steps specify; None if one of them is unknown."""
    scale = torch.full((3,), 255.0, dtype=torch.double, device="cpu")
    shift = torch.zeros_like(scale)
    for step in chain(transform):
        inner = [part for outer in getattr(step, "transforms", ()) for part in chain(outer)]
        if not _is_readable(step) or any(_changes_range(part) for part in inner):
            return None  # such as RandomApply: it may or may not apply its steps
        if _scales(step):
            scale = torch.ones_like(scale)
        if hasattr(step, "mean") and hasattr(step, "std"):
            mean, std = (
                torch.as_tensor(value, dtype=scale.dtype, device="cpu").flatten()
                for value in (step.mean, step.std)
            )
            if len(mean) not in (1, 3) or len(std) not in (1, 3):
                return None
            scale, shift = scale / std, (shift - mean) / std
    return Colours(torch.diag(scale), shift.expand(3).reshape(3, 1, 1))


def _is_readable(step: Any) -> bool:
    dtype = getattr(step, "dtype", torch.float32)
    floats = isinstance(dtype, torch.dtype) and dtype.is_floating_point
    return _of_a_library(step) and floats and type(step).__name__ not in _OPAQUE


def _changes_range(step: Any) -> bool:
    known = _is_readable(step) and not getattr(step, "transforms", ())
    return not known or _scales(step) or hasattr(step, "std")


def _scales(step: Any) -> bool:
    """Return whether a step divides 0..255 by 255, as presets of torchvision's weights also do."""
    name = type(step).__name__
    preset = type(step).__module__ == "torchvision.transforms._presets"
    scales = getattr(step, "scale", None) is True or name == "ConvertImageDtype"
    return preset or scales or name in _TO_UNIT_RANGE


def probe_colours(
    transform: Callable[[Image.Image], Tensor], size: tuple[int, int], states: Any
) -> Colours | None:
    """Return the colour map fitted to a transform's output for uniform pictures; None if none fits.

    Args:
        transform: PIL image -> tensor; called five times, each time with the same random numbers.
        size: width and height of those pictures, equal to the photograph's for the same crop.
        states: ``random_states()`` to start from.
    """
    # The transform may store its inputs or hold a generator. With a lock or a file it has no copy.
    with contextlib.suppress(Exception):
        transform = copy.deepcopy(transform)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            black, *pure, check = (
                _probed(transform, size, colour, states) for colour in (*_PROBES, _CHECK)
            )
        response = torch.stack(pure) - black  # (3, C, H, W)
        differences = check - black
    except Exception:  # user code, which may refuse a uniform picture
        return None
    strength = response.abs().amax((0, 1))
    places = strength > 0.1 * strength.max()  # the other pixels are padded or erased
    if not (response.isfinite().all() and places.any()):
        return None
    matrix = response[:, :, places].median(2).values.T
    shift = torch.where(places, black, black[:, places].median(1).values.view(-1, 1, 1))
    expected = matrix @ matrix.new_tensor(_CHECK).div(255)
    wrong = (differences[:, places] - expected[:, None]).abs() > _CLOSE * matrix.abs().sum(1)[
        :, None
    ]
    return None if wrong.any(0).double().mean() > _FEW else Colours(matrix, shift)


def _probed(
    transform: Callable[[Image.Image], Tensor],
    size: tuple[int, int],
    colour: tuple[int, int, int],
    states: Any,
) -> Tensor:
    with replayed(states):
        return transform(Image.new("RGB", size, colour)).detach().cpu().double()
