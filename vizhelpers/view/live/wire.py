"""Frames as bytes: every frame is sent to the browser once, quantised over its own range.

A common range for all frames would leave weak channels only a few of 256 levels. So each frame is
quantised over its own range, which is sent with it: the browser can colour the frame on any scale
and recover each value to within 1/255 of the frame's range.

Two cases need more. If a colour scale shows only a part of a frame's range, as for saliency maps,
whose few strongest pixels are clipped, 256 levels are too few for that part: all frames then have
a second byte in ``fine``. If a frame holds NaN or infinite values, its entry in ``gaps`` is true
and its last three levels stand for minus infinity, infinity and NaN.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from vizhelpers.view.colour import NO_NUMBER_NAME, table
from vizhelpers.view.live.wire_types import ChartData, SceneData

LARGEST = 16_000_000  # bytes of frames; larger scenes are reduced


@dataclass(frozen=True)
class Contents:
    """The contents of a scene.

    Attributes:
        frames: maps (H, W) of numbers, or pictures (H, W, 3) uint8; sizes may differ.
        axes: axis name -> labels, slowest first; the product of their lengths is ``len(frames)``.
        titles: a title for each frame.
        limits: (low, high) of the colour scale for each frame.
        scale: "sequential", "diverging" or "rgb".
        group: the frames that share limits: "all", "frame", or the name of an axis.
        name: what is shown.
        unit: the unit of the values.
        base: photograph (H, W, 3) uint8 under the maps.
        charts: one row of charts for all frames, or a row for each frame.
        photograph: show the photograph beside a map that is not blended with it.
    """

    frames: Sequence[np.ndarray]
    axes: Mapping[str, Sequence[Any]]
    titles: Sequence[str]
    limits: Sequence[tuple[float, float]]
    scale: Literal["sequential", "diverging", "rgb"]
    group: str
    name: str = ""
    unit: str = ""
    base: np.ndarray | None = None
    charts: Sequence[Sequence[ChartData]] = field(default_factory=list)
    photograph: bool = False


def quantise(frame: np.ndarray, levels: int = 256) -> tuple[np.ndarray, float, float]:
    """Return a map (H, W) as integer levels over its own range, and that range.

    Args:
        frame: (H, W) floating point.
        levels: 256 or 65536.

    Returns:
        ``(quantised, low, high)``, (H, W) uint8 or uint16: level 0 stands for ``low``, the last
        level for ``high``. In a frame with values that are not finite the last three levels stand
        for minus infinity, infinity and NaN, and the level before them for ``high``.
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


def pack(contents: Contents, largest: int = LARGEST) -> SceneData:
    """Return a scene as ``view.js`` draws it: JSON values, and ``bytes`` for pixels.

    Args:
        contents: frames and charts.
        largest: bytes of frames above which the frames are reduced; the scene's ``note`` says so.
    """
    rgb, base = contents.scale == "rgb", contents.base
    deep = not rgb and any(map(_clipped, contents.frames, contents.limits))
    frames, factor = _reduced(contents.frames, largest // (1 + deep))
    levels = 65536 if deep else 256
    quantised = [(f, 0.0, 255.0) if rgb else quantise(f, levels) for f in frames]
    gaps = [not rgb and not bool(np.isfinite(frame).all()) for frame in frames]
    notes = [
        f"Reduced to 1/{factor} of its size to be sent." if factor > 1 else "",
        f"{NO_NUMBER_NAME.capitalize()}: no number." if any(gaps) else "",
    ]
    return {
        "scale": contents.scale,
        "sizes": [list(frame.shape[:2]) for frame in frames],
        "data": b"".join(_byte(q, 8 if deep else 0) for q, _, _ in quantised),
        "fine": b"".join(_byte(q, 0) for q, _, _ in quantised) if deep else b"",
        "lo": [low for _, low, _ in quantised],
        "hi": [high for _, _, high in quantised],
        "gaps": gaps,
        "limits": [[float(low), float(high)] for low, high in contents.limits],
        "group": contents.group,
        "axes": [
            {"name": axis, "labels": [str(label) for label in labels]}
            for axis, labels in contents.axes.items()
        ],
        "titles": list(contents.titles),
        "name": contents.name,
        "unit": contents.unit,
        "note": " ".join(filter(None, notes)),
        "factor": factor,
        "lut": b"" if rgb else table(contents.scale).tobytes(),
        "base": b"" if base is None else base.tobytes(),
        "base_size": [] if base is None else list(base.shape[:2]),
        "charts": [list(row) for row in contents.charts],
        "photograph": contents.photograph,
    }


def _byte(quantised: np.ndarray, shift: int) -> bytes:
    """Return one byte of each level, row by row: the low one, or with a shift of 8 the high one."""
    return (quantised >> shift).astype(np.uint8).tobytes()


def _clipped(frame: np.ndarray, limits: tuple[float, float]) -> bool:
    """Return whether a frame has values outside the limits of its colour scale."""
    finite = frame[np.isfinite(frame)]
    if not finite.size or limits[1] <= limits[0]:
        return False
    return bool(finite.min() < limits[0] or finite.max() > limits[1])


def _reduced(frames: Sequence[np.ndarray], largest: int) -> tuple[list[np.ndarray], int]:
    """Return frames of at most ``largest`` pixels, and by which factor their sides were reduced."""
    factor = 1
    kept = [np.asarray(frame) for frame in frames]
    while sum(frame.size for frame in kept) > largest:
        smaller = [_halved(frame) for frame in kept]
        if all(a.shape == b.shape for a, b in zip(smaller, kept, strict=True)):
            break  # each frame is a single pixel
        kept, factor = smaller, factor * 2
    return kept, factor


def _halved(frame: np.ndarray) -> np.ndarray:
    """Return means over 2 x 2 pixels; at an odd side the last row or column is repeated."""
    rows, columns = (min(2, side) for side in frame.shape[:2])
    odd = [(0, frame.shape[0] % rows), (0, frame.shape[1] % columns)]
    even = np.pad(frame, odd + [(0, 0)] * (frame.ndim - 2), mode="edge")
    height, width = even.shape[0] // rows, even.shape[1] // columns
    with np.errstate(invalid="ignore"):  # infinity - infinity is NaN
        means = even.reshape(height, rows, width, columns, *frame.shape[2:]).mean(axis=(1, 3))
    return means.round().astype(np.uint8) if frame.dtype == np.uint8 else means
