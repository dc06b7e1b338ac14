"""Numbers to colours, through tables of 256 entries that colour-blind readers can use."""

from functools import cache

import matplotlib
import numpy as np

COLOUR_MAPS = {"sequential": "viridis", "diverging": "bwr"}


@cache
def table(scale: str) -> np.ndarray:
    """Return the colour table of a scale, (256, 3) uint8."""
    colours = matplotlib.colormaps[COLOUR_MAPS[scale]](np.arange(256))
    return (colours[:, :3] * 255).round().astype(np.uint8)


def colourise(frame: np.ndarray, scale: str, low: float, high: float) -> np.ndarray:
    """Colour a map of numbers.

    Args:
        frame: (H, W) float; values outside the limits take the end colours, NaN the first.
        scale: "sequential" or "diverging".
        low: the value of the first colour.
        high: the value of the last; where it equals ``low`` the whole map takes the colour that
            the scale has for zero.

    Returns:
        (H, W, 3) uint8.
    """
    if high <= low:
        index = np.full(frame.shape, 128 if scale == "diverging" else 0, dtype=np.uint8)
    else:
        share = np.nan_to_num(np.clip((frame - low) / (high - low), 0, 1))
        index = np.round(share * 255).astype(np.uint8)
    return table(scale)[index]


def overlay(base: np.ndarray, colours: np.ndarray, blend: float) -> np.ndarray:
    """Mix a coloured map into a photograph: 0 shows the photograph alone, 1 the map alone.

    Args:
        base: (H, W, 3) uint8.
        colours: (H, W, 3) uint8, same size.
        blend: share of the map, 0..1.

    Returns:
        (H, W, 3) uint8.
    """
    mixed = (1 - blend) * base.astype(np.float32) + blend * colours
    return mixed.round().astype(np.uint8)
