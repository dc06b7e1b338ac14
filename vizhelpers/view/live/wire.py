"""What crosses the wire to a browser: every frame once, as bytes, with its own range.

Quantised over a whole stack, weak channels would keep a few of 256 levels. So each frame is
quantised over its own range and carries that range, and the browser can colour it on any scale
and read the value back to within 1/255 of the frame's range.

Two kinds of frames need more. Where a scale shows only a part of a frame's range (a saliency map,
whose few strongest pixels are clipped), 256 levels would leave that part too few: all frames then
have a second byte, ``fine``, which suffices for a hundredth of the range. Where a frame holds what
is no number, ``gaps`` says so, and its last three levels stand for minus infinity, infinity and
NaN.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vizhelpers.view.colour import NO_NUMBER_NAME, table

LARGEST = 16_000_000  # bytes of frames that are sent; more are reduced
Payload = dict[str, Any]


def quantise(frame: np.ndarray, levels: int = 256) -> tuple[np.ndarray, float, float]:
    """Return a map (H, W) as levels over its own range, and that range.

    Args:
        frame: (H, W) floating point.
        levels: 256 or 65536.

    Returns:
        ``(quantised, low, high)``, uint8 or uint16: level 0 stands for ``low``, the last one for
        ``high``. Where something is not finite, the last three stand for minus infinity, infinity
        and NaN, and the one before them for ``high``.
    """
    kind = np.uint8 if levels == 256 else np.uint16
    known = np.isfinite(frame)
    finite = frame[known]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    top = levels - 1 if known.all() else levels - 4
    share = np.zeros(frame.shape)
    if high > low:
        share = (np.where(known, frame, low).astype(np.float64) - low) / (high - low)
    quantised = np.round(share * top).astype(kind)
    quantised[np.isneginf(frame)] = levels - 3
    quantised[np.isposinf(frame)] = levels - 2
    quantised[np.isnan(frame)] = levels - 1
    return quantised, low, high


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
    deep = scale != "rgb" and any(map(_clipped, frames, limits))
    kept, factor = _reduced(frames, largest // (1 + deep))
    levels = 65536 if deep else 256
    quantised = [(f, 0.0, 255.0) if scale == "rgb" else quantise(f, levels) for f in kept]
    coarse = [(q >> 8).astype(np.uint8) if deep else q for q, _, _ in quantised]
    gaps = [scale != "rgb" and not bool(np.isfinite(frame).all()) for frame in kept]
    notes = [
        f"Reduced to 1/{factor} of its size to be sent." if factor > 1 else "",
        f"{NO_NUMBER_NAME.capitalize()}: no number." if any(gaps) else "",
    ]
    return {
        "scale": scale,
        "sizes": [list(frame.shape[:2]) for frame in kept],
        "data": b"".join(np.ascontiguousarray(q).tobytes() for q in coarse),
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
        "note": " ".join(filter(None, notes)),
        "factor": factor,
        "lut": b"" if scale == "rgb" else table(scale).tobytes(),
        "base": b"" if base is None else np.ascontiguousarray(base).tobytes(),
        "base_size": [] if base is None else list(base.shape[:2]),
        **({"fine": b"".join(_fine(q) for q, _, _ in quantised)} if deep else {}),
        **({"gaps": gaps} if any(gaps) else {}),
    }


def _fine(quantised: np.ndarray) -> bytes:
    return (quantised & 255).astype(np.uint8).tobytes()


def _clipped(frame: np.ndarray, limits: tuple[float, float]) -> bool:
    """Whether the scale shows less than the frame's range."""
    finite = frame[np.isfinite(frame)]
    if not finite.size or limits[1] <= limits[0]:
        return False
    return bool(finite.min() < limits[0] or finite.max() > limits[1])


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
    with np.errstate(invalid="ignore"):  # a mean over something that is no number is none either
        means = even.reshape(height, rows, width, columns, *frame.shape[2:]).mean(axis=(1, 3))
    return means.round().astype(np.uint8) if frame.dtype == np.uint8 else means
