"""What crosses the wire to a browser: every frame once, as bytes, with its own range.

Quantised over a whole stack, weak channels would keep a few of 256 levels. So each frame is
quantised over its own range and carries that range, and the browser can colour it on any scale
and read the value back to within 1/255 of the frame's range.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vizhelpers.view.colour import table

LARGEST = 16_000_000  # bytes of frames that are sent; more are reduced
Payload = dict[str, Any]


def quantise(frame: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Return a map (H, W) as uint8 over its own range, and that range.

    Values that are not finite count as the lowest.

    Returns:
        ``(levels, low, high)``: level 0 stands for ``low``, level 255 for ``high``.
    """
    clean = np.nan_to_num(frame, nan=np.nan, posinf=np.nan, neginf=np.nan)
    finite = clean[np.isfinite(clean)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if high <= low:
        return np.zeros(frame.shape, dtype=np.uint8), low, high
    share = (np.nan_to_num(clean, nan=low).astype(np.float64) - low) / (high - low)
    return np.round(share * 255).astype(np.uint8), low, high


def pack(
    frames: Sequence[np.ndarray],
    *,
    axes: Mapping[str, Sequence[Any]],
    titles: Sequence[str],
    limits: Sequence[tuple[float, float]],
    scale: str,
    scale_group: str,
    name: str = "",
    unit: str = "",
    base: np.ndarray | None = None,
    largest: int = LARGEST,
) -> Payload:
    """Return what ``view.js`` draws: JSON values, and ``bytes`` for whatever is large.

    Args:
        frames: maps (H, W) of numbers, or pictures (H, W, 3) uint8; sizes may differ.
        axes: axis name -> labels, slowest first; the product of their lengths is ``len(frames)``.
        titles: one for each frame.
        limits: (low, high) of the colour scale for each frame.
        scale: "sequential", "diverging" or "rgb".
        scale_group: which frames share limits: "all", "frame", or the name of an axis.
        name: what is shown.
        unit: what the numbers are.
        base: photograph (H, W, 3) uint8 to lay under the maps.
        largest: bytes of frames above which they are reduced, and ``note`` says so.
    """
    kept, factor = _reduced(frames, largest)
    quantised = [(frame, 0.0, 255.0) if scale == "rgb" else quantise(frame) for frame in kept]
    return {
        "scale": scale,
        "sizes": [list(frame.shape[:2]) for frame in kept],
        "data": b"".join(np.ascontiguousarray(levels).tobytes() for levels, _, _ in quantised),
        "lo": [low for _, low, _ in quantised],
        "hi": [high for _, _, high in quantised],
        "limits": [[float(low), float(high)] for low, high in limits],
        "group": scale_group,
        "axes": [
            {"name": axis, "labels": [str(label) for label in labels]}
            for axis, labels in axes.items()
        ],
        "titles": list(titles),
        "name": name,
        "unit": unit,
        "note": f"Reduced to 1/{factor} of its size to be sent." if factor > 1 else "",
        "factor": factor,
        "lut": b"" if scale == "rgb" else table(scale).tobytes(),
        "base": b"" if base is None else np.ascontiguousarray(base).tobytes(),
        "base_size": [] if base is None else list(base.shape[:2]),
    }


def _reduced(frames: Sequence[np.ndarray], largest: int) -> tuple[list[np.ndarray], int]:
    """Shrink all frames by one whole factor, by means over squares, until they fit."""
    factor = 1
    kept = [np.asarray(frame) for frame in frames]
    while sum(frame.size for frame in kept) > largest:
        smaller = [_halved(frame) for frame in kept]
        if all(a.shape == b.shape for a, b in zip(smaller, kept, strict=True)):
            break  # one pixel each: nothing is left to take away
        kept, factor = smaller, factor * 2
    return kept, factor


def _halved(frame: np.ndarray) -> np.ndarray:
    """Return means over squares of two; an odd side is continued by its last row or column."""
    rows, columns = (min(2, side) for side in frame.shape[:2])
    odd = [(0, frame.shape[0] % rows), (0, frame.shape[1] % columns)]
    even = np.pad(frame, odd + [(0, 0)] * (frame.ndim - 2), mode="edge")
    height, width = even.shape[0] // rows, even.shape[1] // columns
    means = even.reshape(height, rows, width, columns, *frame.shape[2:]).mean(axis=(1, 3))
    return means.round().astype(np.uint8) if frame.dtype == np.uint8 else means
