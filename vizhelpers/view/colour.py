"""Numbers to colours, through tables of 256 entries that colour-blind readers can use."""

from functools import cache

import numpy as np
from PIL import Image

COLOUR_MAPS = {"sequential": "viridis", "diverging": "bwr"}
# Brown: no scale has it, and no kind of colour blindness takes it for a colour of one, for white
# paper or for a dark page (``tests/test_view.py`` measures that). ``view.js`` has it too.
NO_NUMBER = (105, 30, 0)
NO_NUMBER_NAME = "brown"


@cache
def table(scale: str) -> np.ndarray:
    """Return the colour table of a scale, (256, 3) uint8."""
    import matplotlib  # here: only what is drawn pays for it

    colours = matplotlib.colormaps[COLOUR_MAPS[scale]](np.arange(256))
    return (colours[:, :3] * 255).round().astype(np.uint8)


def colourise(
    frames: np.ndarray, scale: str, low: float | np.ndarray, high: float | np.ndarray
) -> np.ndarray:
    """Colour one map of numbers or many, with one look-up for all.

    Args:
        frames: (H, W) or (N, H, W) floating point; values outside the limits take the end colours.
            What is NaN or infinite takes ``NO_NUMBER``, which no scale has.
        scale: "sequential" or "diverging".
        low: the value of the first colour; of many maps one number, or one for each, (N,).
        high: the value of the last; where it equals ``low`` the whole map takes the colour that
            the scale has for zero.

    Returns:
        (H, W, 3) or (N, H, W, 3) uint8.
    """
    low, high = (np.asarray(end, dtype=np.float64)[..., None, None] for end in (low, high))
    flat = high <= low
    if np.max(high - low) > np.finfo(frames.dtype).max:  # a range that float32 cannot hold
        frames = frames.astype(np.float64)
    low, high = low.astype(frames.dtype), high.astype(frames.dtype)
    with np.errstate(invalid="ignore"):  # infinity less infinity; it is told apart below
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
    """Return what a title says of numbers that are NaN or infinite; "" where none is."""
    nan, infinite = int(np.isnan(numbers).sum()), int(np.isinf(numbers).sum())
    if numbers.size and nan + infinite == numbers.size:
        return " · no numbers"
    said = [f"{count} {what}" for count, what in ((nan, "NaN"), (infinite, "infinite")) if count]
    return "".join(f" · {part}" for part in said)


def stretch(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Stretch a map bilinearly; a place that touches something that is no number is NaN.

    Args:
        frame: (H, W) float32.
        size: (height, width) of the result.

    Returns:
        (height, width) float32.
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
    """Mix a coloured map into a photograph: 0 shows the photograph alone, 1 the map alone.

    Args:
        base: (H, W, 3) uint8.
        colours: (H, W, 3), or (N, H, W, 3), uint8, same size.
        blend: share of the map, 0..1.

    Returns:
        (H, W, 3) uint8.
    """
    mixed = (1 - blend) * base.astype(np.float32) + blend * colours
    return mixed.round().astype(np.uint8)
