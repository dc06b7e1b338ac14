"""Colours of numbers, from tables of 256 colours that colour-blind readers can tell apart."""

from functools import cache

import numpy as np
from PIL import Image

COLOUR_MAPS = {"sequential": "viridis", "diverging": "bwr"}
# Brown: with every kind of colour blindness it differs from all colours of the scales, from white
# paper and from a dark page (``tests/test_view.py`` measures that). ``view.js`` repeats it.
NO_NUMBER = (105, 30, 0)
NO_NUMBER_NAME = "brown"


@cache
def table(scale: str) -> np.ndarray:
    """Return the colour table of a scale, (256, 3) uint8."""
    import matplotlib  # here, because it is slow to import

    colours = matplotlib.colormaps[COLOUR_MAPS[scale]](np.arange(256))
    return (colours[:, :3] * 255).round().astype(np.uint8)


def colourise(
    frames: np.ndarray, scale: str, low: float | np.ndarray, high: float | np.ndarray
) -> np.ndarray:
    """Return maps of numbers as RGB, (H, W, 3) or (N, H, W, 3) uint8.

    Args:
        frames: (H, W) or (N, H, W) floating point. Values outside the limits take the end colours,
            NaN and infinite values ``NO_NUMBER``.
        scale: "sequential" or "diverging".
        low: the value of the first colour, one number or one for each map, (N,).
        high: the value of the last colour; if it equals ``low``, the map takes the colour of zero.
    """
    low, high = (np.asarray(end, dtype=np.float64)[..., None, None] for end in (low, high))
    flat = high <= low
    if np.max(high - low) > np.finfo(frames.dtype).max:  # a range that float32 cannot hold
        frames = frames.astype(np.float64)
    low, high = low.astype(frames.dtype), high.astype(frames.dtype)
    with np.errstate(invalid="ignore"):  # infinity - infinity; replaced below
        share = (frames - low) / np.where(flat, 1, high - low)
    known = np.isfinite(frames)
    if not known.all():
        share[~known] = 0
    share = np.clip(share, 0, 1, out=share) * 255
    index = np.where(flat, 128 if scale == "diverging" else 0, np.rint(share)).astype(np.uint8)
    colours = np.take(table(scale), index, axis=0)
    if not known.all():
        colours[~known] = NO_NUMBER
    return colours


def gaps_in_words(numbers: np.ndarray) -> str:
    """Return how many numbers are NaN or infinite, as words for a title; "" if none is."""
    nan, infinite = int(np.isnan(numbers).sum()), int(np.isinf(numbers).sum())
    if numbers.size and nan + infinite == numbers.size:
        return " · no numbers"
    counts = {"NaN": nan, "infinite": infinite}
    return "".join(f" · {count} {what}" for what, count in counts.items() if count)


def stretch(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a map bilinearly, (height, width) float32.

    A pixel that is interpolated from a NaN or infinite value is NaN.

    Args:
        frame: (H, W) float32.
        size: (height, width) of the result.
    """
    known = np.isfinite(frame)
    large = _bilinear(np.where(known, frame, 0), size)
    if known.all():
        return large
    large[_bilinear(~known, size) > 1e-6] = np.nan
    return large


def _bilinear(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    image = Image.fromarray(frame.astype(np.float32))
    return np.array(image.resize(size[::-1], Image.Resampling.BILINEAR))


def overlay(base: np.ndarray, colours: np.ndarray, blend: float) -> np.ndarray:
    """Blend coloured maps with a photograph, (H, W, 3) or (N, H, W, 3) uint8.

    Args:
        base: the photograph, (H, W, 3) uint8.
        colours: the maps, (H, W, 3) or (N, H, W, 3) uint8.
        blend: share of the map, 0..1.
    """
    mixed = (1 - blend) * base.astype(np.float32) + blend * colours
    return mixed.round().astype(np.uint8)
