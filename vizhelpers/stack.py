"""``ImageStack``, the result of every visualisation method."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from vizhelpers.inputs.arguments import flag, integer, number, one_of, optional, string, strings
from vizhelpers.inputs.errors import repr_of, unknown
from vizhelpers.view.colour import NO_NUMBER_NAME, colourise, gaps_in_words, overlay, stretch
from vizhelpers.view.labels import named

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vizhelpers.view.bar import Bar
    from vizhelpers.view.live.panel import Panel

SCALES = ("sequential", "diverging", "rgb")


@dataclass(frozen=True, eq=False)
class ImageStack:
    """Frames with named axes, and the colour scales that make them comparable.

    Attributes:
        frames: (N, H, W) float32, or (N, H, W, 3) uint8 if ``scale`` is "rgb".
        axes: ``{axis name: labels}``, slowest axis first, such as
            ``{"layer": [...], "class": [...]}``; the product of their lengths is N.
        titles: N strings; the labels of the axes if omitted.
        scale: "sequential", "diverging" (centred on 0), or "rgb" (colours unchanged).
        vmin: value of the first colour; None computes it from the frames.
        vmax: value of the last colour; None computes it too.
        scale_group: the frames that share limits: "all", "frame" (none do), or an axis name (those
            with the same label).
        base: RGB photograph (H, W, 3) uint8, to overlay maps on.
        blend: opacity of the map over ``base``, 0..1; 1 shows the map alone.
        name: the figure's title.
        unit: the colour bar's label.
        values: (N,) a number for each frame, such as the activation that a picture reached; or
            None.
    """

    frames: np.ndarray
    axes: Mapping[str, Sequence[Any]]
    titles: Sequence[str] = ()
    scale: str = "sequential"
    vmin: float | None = None
    vmax: float | None = None
    scale_group: str = "all"
    base: np.ndarray | None = None
    blend: float = 1.0
    name: str = ""
    unit: str = ""
    values: np.ndarray | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Validate every argument, and that frames, axes and titles agree in number."""
        one_of("scale", self.scale, SCALES)
        if not isinstance(self.axes, Mapping) or not self.axes:
            raise TypeError(f"axes={repr_of(self.axes)}: expected {{axis name: its labels, …}}.")
        one_of("scale group", self.scale_group, ["all", "frame", *map(str, self.axes)])
        self._check_scale()
        string("name", self.name)
        string("unit", self.unit)
        object.__setattr__(self, "frames", _as_frames(self.frames, self.scale))
        axes = {string("axis", key): _labels(key, value) for key, value in self.axes.items()}
        object.__setattr__(self, "axes", axes)
        object.__setattr__(self, "titles", strings("titles", self.titles) or self._default_titles())
        count = math.prod(self.shape)
        if count != len(self.frames) or len(self.titles) != count:
            raise ValueError(
                f"{len(self.frames)} frames, {len(self.titles)} titles, and axes "
                f"{ {key: len(value) for key, value in self.axes.items()} } for {count}: "
                "these must agree."
            )
        if self.values is not None and np.shape(self.values) != (count,):
            raise ValueError(f"values={repr_of(self.values)}: expected {count} numbers.")

    def _check_scale(self) -> None:
        low = optional(number, "vmin", self.vmin)
        high = optional(number, "vmax", self.vmax)
        if low is not None and high is not None and low > high:
            raise ValueError(f"vmin={low:g} lies above vmax={high:g}.")
        number("blend", self.blend, 0, 1)
        base = self.base
        if base is None:
            return
        if not isinstance(base, np.ndarray) or base.ndim != 3 or base.shape[2] != 3:
            raise ValueError(f"base={repr_of(base)}: expected a photograph, an array (H, W, 3).")
        if base.dtype != np.uint8 or 0 in base.shape:
            raise ValueError(f"base: {repr_of(base)}, {base.dtype}; expected uint8 with pixels.")

    def _default_titles(self) -> list[str]:
        """Return each frame's labels on the axes that vary; the figure's title has the others."""
        varying = {name: labels for name, labels in self.axes.items() if len(labels) > 1}
        if not varying:
            return [" · ".join(named(axis, labels[0]) for axis, labels in self.axes.items())]
        combinations = product(*([str(label) for label in row] for row in varying.values()))
        return [" · ".join(parts) for parts in combinations]

    def long_titles(self) -> list[str]:
        """Return the titles, with the axes' names if they consist of labels alone.

        Each also reports the NaN and infinite values of its frame.
        """
        return [t + gaps for t, gaps in zip(self._long_titles(), self._gaps, strict=True)]

    def _long_titles(self) -> list[str]:
        if list(self.titles) != self._default_titles():
            return list(self.titles)
        varying = {n: row for n, row in self.axes.items() if len(row) > 1} or self.axes
        combinations = product(*([named(n, label) for label in row] for n, row in varying.items()))
        return [" · ".join(parts) for parts in combinations]

    @cached_property
    def _gaps(self) -> list[str]:
        """A remark on the NaN and infinite values of each frame; "" if it has none."""
        if self.scale == "rgb" or np.isfinite(self.frames).all():
            return [""] * len(self)
        return [gaps_in_words(frame) for frame in self.frames]

    def _figure_name(self, shown: int) -> str:
        labels = [named(axis, row[0]) for axis, row in self.axes.items() if len(row) == 1]
        fixed = [label for label in labels if label not in self.name]
        parts = [self.name, *(fixed if len(self) > 1 else [])]
        left_out = "" if shown == len(self) else f" ({shown} of {len(self)})"
        gaps = f"{NO_NUMBER_NAME}: no number" if any(self._gaps[:shown]) else ""
        title = " · ".join(part for part in parts if part) + left_out
        return " · ".join(part for part in (title.lstrip(), gaps) if part)

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis, slowest first."""
        return tuple(len(values) for values in self.axes.values())

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.frames)

    def __repr__(self) -> str:
        """Return the name, the axes, the size and the scale in one line."""
        axes = ", ".join(f"{name}: {len(values)}" for name, values in self.axes.items())
        height, width = self.frames.shape[1:3]
        return f"ImageStack({self.name!r}, {axes}, {height} x {width}, {self.scale})"

    def __getitem__(self, index: int) -> np.ndarray:
        """Return one frame, (H, W) or (H, W, 3)."""
        return self.frames[index]

    def select(self, **chosen: Any) -> ImageStack:
        """Return a stack of the frames with the chosen labels.

        If all frames share one scale, each frame keeps its colours; for other scale groups, limits
        are computed anew from the chosen frames. A label that an axis repeats, such as "crane" for
        two ImageNet classes, selects all its frames.

        Args:
            chosen: for each axis by name, a label or a list of labels.

        Raises:
            ValueError: no such axis or label.

        Example:
            >>> stack = ImageStack(np.zeros((4, 2, 2)), {"channel": range(4)})
            >>> len(stack.select(channel=[1, 3]))
            2
        """
        for axis in chosen:
            if axis not in self.axes:
                raise unknown("axis", axis, self.axes)
        positions = [
            _positions(axis, chosen[axis], labels) if axis in chosen else list(range(len(labels)))
            for axis, labels in self.axes.items()
        ]
        low, high = self._common_limits() if self.scale_group == "all" else (self.vmin, self.vmax)
        return self._at(positions, vmin=low, vmax=high)

    def only(self, index: int) -> ImageStack:
        """Return one frame as a stack, in the same colours.

        Args:
            index: position of the frame, 0..N-1; unlike labels it is unique.

        Raises:
            ValueError: there is no such frame.
        """
        index = integer("index", index, 0, len(self) - 1)
        positions = [[int(place)] for place in np.unravel_index(index, self.shape)]
        low, high = self._all_limits[index]
        return self._at(positions, vmin=low, vmax=high, scale_group="all")

    def _at(self, positions: Sequence[Sequence[int]], **changes: Any) -> ImageStack:
        """Return the frames at these positions of each axis, the slowest axis first."""
        index = np.arange(len(self)).reshape(self.shape)[np.ix_(*positions)].ravel()
        custom = list(self.titles) != self._default_titles()
        return replace(
            self,
            frames=self.frames[index],
            axes={
                axis: [labels[i] for i in places]
                for (axis, labels), places in zip(self.axes.items(), positions, strict=True)
            },
            titles=[self.titles[int(i)] for i in index] if custom else (),
            values=None if self.values is None else self.values[index],
            **changes,
        )

    def limits(self) -> list[tuple[float, float]]:
        """Return (low, high) of the colour scale for each frame, in the stack's unit."""
        return list(self._all_limits)

    @cached_property
    def _all_limits(self) -> list[tuple[float, float]]:
        """Limits of each frame, cached since each frame that is drawn needs its own."""
        if self.scale == "rgb":
            return [(0.0, 255.0)] * len(self)
        if self.scale_group == "all":
            return [self._common_limits()] * len(self)
        groups = self._groups()
        limits = {group: self._limits_of(self.frames[groups == group]) for group in set(groups)}
        return [limits[group] for group in groups]

    def _groups(self) -> np.ndarray:
        index = np.arange(len(self)).reshape(self.shape)
        if self.scale_group == "frame":
            return index.ravel()
        axis = list(self.axes).index(self.scale_group)
        return np.indices(self.shape)[axis].ravel()

    def _common_limits(self) -> tuple[float, float]:
        low, high = self._limits_of(self.frames)
        # A given limit beyond all values moves the other one too, so that low <= high.
        if self.vmin is not None:
            low, high = float(self.vmin), max(high, float(self.vmin))
        if self.vmax is not None:
            low, high = min(low, float(self.vmax)), float(self.vmax)
        return low, high

    def _limits_of(self, frames: np.ndarray) -> tuple[float, float]:
        finite = frames[np.isfinite(frames)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
        if self.scale == "diverging":
            extent = max(abs(low), abs(high))
            return -extent, extent
        return min(low, 0.0), high

    def colours(self, index: int, blend: float = 1.0) -> np.ndarray:
        """Return one frame in colour, (H, W, 3) uint8.

        Args:
            index: position of the frame.
            blend: opacity of the map over ``base``, 0..1; below 1 the frame is resized (bilinear)
                to the size of ``base`` and mixed with it.
        """
        return self._colours([index], blend)[0]

    def _colours(self, indices: Sequence[int], blend: float) -> np.ndarray:
        """Return several frames in colour, (n, H, W, 3) uint8."""
        frames, base = self.frames[indices], self.base if blend < 1 else None
        if self.scale == "rgb":
            return frames
        if base is not None:
            # Values are resized, since mixed colours would not lie on the colour scale.
            frames = np.stack([stretch(frame, base.shape[:2]) for frame in frames])
        low, high = np.array([self._all_limits[i] for i in indices]).T
        colours = colourise(frames, self.scale, low, high)
        return colours if base is None else overlay(base, colours, blend)

    def plot(
        self,
        *,
        limit: int = 64,
        columns: int | None = None,
        blend: float | None = None,
        photograph: bool = False,
        width: float = 8.0,
    ) -> Figure:
        """Draw the frames as one montage with titles and a colour bar, at most 20 inches high.

        A notebook displays the figure if it is the last value of a cell. In a script, save the
        returned figure: ``stack.plot().savefig("maps.png")``. It is not registered with pyplot, so
        ``plt.savefig`` and ``plt.show`` would write or show another figure, or a blank one.

        Args:
            limit: the maximum number of frames. Fewer are drawn if the figure would become too
                high; the title then gives both numbers.
            columns: frames in a row; None is the length of the last axis if several vary, else as
                many as fit.
            blend: opacity of the map over ``base``, 0..1; None is the stack's ``blend``.
            photograph: draw ``base`` as the first tile.
            width: of the figure, in inches.

        Returns:
            A matplotlib ``Figure``.

        Raises:
            TypeError: an argument of another type.
            ValueError: ``limit`` or ``columns`` below 1, ``blend`` outside 0..1, ``width`` outside
                1..100, or ``photograph`` for a stack that has no ``base``.
        """
        from vizhelpers.view.static import montage

        limit, columns = integer("limit", limit, 1), optional(integer, "columns", columns, 1)
        blend = number("blend", self.blend if blend is None else blend, 0, 1)
        photograph, width = flag("photograph", photograph), number("width", width, 1, 100)
        shown = min(limit, len(self))
        tiles = self._colours(range(shown), blend)
        titles = self.figure_titles()[:shown]
        varying = [length for length in self.shape if length > 1]
        if columns is None and len(varying) > 1 and shown == len(self):
            columns = varying[-1]
        if photograph:
            tiles, titles = self._with_photograph(tiles), ["input", *titles]

        def name(drawn: int) -> str:
            return self._figure_name(drawn - photograph)

        return montage(tiles, titles, name=name, bar=self._bar(), columns=columns, width=width)

    def _with_photograph(self, tiles: np.ndarray) -> np.ndarray:
        if self.base is None:
            raise ValueError("This stack has no photograph: it was computed from a tensor.")
        height, width = self.base.shape[:2]
        large = [
            np.asarray(Image.fromarray(tile).resize((width, height), Image.Resampling.NEAREST))
            for tile in tiles
        ]
        return np.stack([self.base, *large])

    def figure_titles(self) -> list[str]:
        """Return the titles, with each frame's maximum if frames do not share one scale.

        Each also reports the NaN and infinite values of its frame.
        """
        titles = [t + gaps for t, gaps in zip(self.titles, self._gaps, strict=True)]
        if self.scale == "rgb" or self.scale_group == "all" or len(self) == 1:
            return titles
        ends = self.limits()
        return [f"{title}\nmax {high:.3g}" for title, (_, high) in zip(titles, ends, strict=True)]

    def _bar(self) -> Bar | None:
        from vizhelpers.view.bar import Bar

        if self.scale == "rgb":
            return None
        low, high = self._all_limits[0]
        if low == high and not np.isfinite(self.frames).any():
            low = high = math.nan
        if len(self) == 1:
            return Bar(self.scale, self.unit, low, high)
        if self.scale_group == "all":
            return Bar(self.scale, f"{self.unit}\none scale for all".strip(), low, high)
        each = "frame" if self.scale_group == "frame" else self.scale_group
        return Bar(self.scale, f"{self.unit}\neach {each}: its own scale".strip())

    def explore(self, *, photograph: bool = False) -> Panel:
        """Return a panel with a control for each axis; moving a control needs no kernel.

        Args:
            photograph: show ``base`` beside the map.
        """
        from vizhelpers.view.live.panel import panel_of_stack

        return panel_of_stack(self, photograph=photograph)

    def save_html(self, path: str | Path) -> Path:
        """Write one self-contained HTML file with a control for each axis.

        The file needs no internet connection and no kernel. Pointing at a pixel shows its value.

        Args:
            path: file to write.

        Returns:
            The path.

        Raises:
            ValueError: the folder does not exist.
        """
        from vizhelpers.view.live.html import save_html
        from vizhelpers.view.live.pages import page_of_stack

        return save_html(page_of_stack(self), Path(path))


def _as_frames(frames: np.ndarray, scale: str) -> np.ndarray:
    try:
        array = np.asarray(frames)
    except Exception as error:  # a ragged list, or __array__ of any class
        raise ValueError(
            f"frames={repr_of(frames)} are not an array of numbers: {error}"
        ) from error
    if array.dtype.kind not in "fiub":
        raise TypeError(f"frames={repr_of(frames)}: expected numbers, got {array.dtype}.")
    if isinstance(frames, np.ma.MaskedArray):
        array = np.ma.filled(frames.astype(np.float32), np.nan)  # drawn like NaN
    if scale == "rgb":
        if array.ndim != 4 or array.shape[-1] != 3 or array.dtype != np.uint8:
            raise ValueError(
                f"An rgb stack needs frames (N, H, W, 3) of uint8, got {array.shape} {array.dtype}."
            )
    elif array.ndim != 3:
        raise ValueError(f"A {scale} stack needs frames (N, H, W), got {array.shape}.")
    if 0 in array.shape:
        raise ValueError(f"A stack needs at least one frame of one pixel, got {array.shape}.")
    if scale == "rgb":
        return array
    with np.errstate(over="ignore"):  # such values become infinite, which titles report
        return np.ascontiguousarray(array, dtype=np.float32)


def _labels(axis: str, labels: Any) -> list[Any]:
    try:
        return list(labels)
    except (TypeError, NotImplementedError):
        raise TypeError(f"axes: {axis!r} has {repr_of(labels)}; expected its labels.") from None


def _positions(axis: str, chosen: Any, labels: Sequence[Any]) -> list[int]:
    """Return the positions of the chosen labels, in the order chosen."""
    several = isinstance(chosen, (list, tuple, range, np.ndarray)) and np.ndim(chosen) == 1
    chosen = list(chosen) if several else [chosen]
    if not chosen:
        raise ValueError(f"{axis}: the list of labels is empty; name at least one.")
    matches = [_positions_of(axis, label, list(labels)) for label in chosen]
    if all(len(same) == 1 for same in matches):
        return [position for (position,) in matches]
    # A label that repeats on the axis and in the list selects one position each time, the last time
    # all that remain. Thus the labels of an axis select each of its positions once.
    positions: list[int] = []
    for i, same in enumerate(matches):
        remaining = same[matches[:i].count(same) :] or same
        positions += remaining[:1] if same in matches[i + 1 :] else remaining
    return positions


def _positions_of(axis: str, label: Any, labels: list[Any]) -> list[int]:
    try:
        if label in labels:
            return [i for i, other in enumerate(labels) if other is label or other == label]
    except (TypeError, ValueError, RuntimeError):
        pass  # "==" with an array or a tensor is not True or False
    numbered = labels == list(range(len(labels)))
    possible = range(len(labels)) if numbered else labels
    raise unknown(axis, label, possible, "This stack holds no other.")
