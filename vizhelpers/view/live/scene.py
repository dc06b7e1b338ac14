"""A scene: what a panel shows at a time, frames with axes and charts beside them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, ClassVar, Protocol, cast

import numpy as np
from matplotlib.figure import Figure

from vizhelpers.view.charts import Bars, Chart
from vizhelpers.view.labels import named
from vizhelpers.view.live.wire import LARGEST, Contents, pack
from vizhelpers.view.live.wire_types import SceneData
from vizhelpers.view.static import side_by_side

_WIDE = 7.0  # inches
_AXES = 3  # that the view can choose on


class Stack(Protocol):
    """What a scene uses of an ``ImageStack``, a frozen dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def frames(self) -> np.ndarray:
        """(N, H, W) numbers, or (N, H, W, 3) uint8."""

    @property
    def axes(self) -> Mapping[str, Sequence[Any]]:
        """Axis name -> labels, the slowest axis first."""

    @property
    def scale(self) -> str:
        """The colour scale: "sequential", "diverging" or "rgb"."""

    @property
    def scale_group(self) -> str:
        """Which frames share limits: "all", "frame", or an axis."""

    @property
    def base(self) -> np.ndarray | None:
        """The photograph, (H, W, 3) uint8."""

    @property
    def blend(self) -> float:
        """Share of the map over ``base``, 0..1."""

    @property
    def name(self) -> str:
        """What is shown."""

    @property
    def unit(self) -> str:
        """Unit of the values."""

    def __len__(self) -> int:
        """Return the number of frames."""

    def long_titles(self) -> list[str]:
        """Return a title for each frame."""

    def limits(self) -> list[tuple[float, float]]:
        """Return (low, high) of the colour scale for each frame."""

    def only(self, index: int) -> "Stack":
        """Return one frame as a stack."""

    def plot(self, *, photograph: bool, blend: float, width: float) -> Figure:
        """Draw the frames."""


@dataclass(frozen=True)
class Scene:
    """The frames of several stacks along common axes, and charts.

    Attributes:
        stacks: any number of stacks, such as one for each layer with maps of its own size.
        axes: the axes of all frames together; those of the stack if there is only one. The third
            and all further axes become one axis, since the view has controls for three.
        charts: one row of charts for all frames, or a row for each frame.
        photograph: show the stacks' photograph beside a map that is not blended with it.
        name: what is shown; the stack's own name if there is only one.
    """

    stacks: Sequence[Stack] = ()
    axes: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    charts: Sequence[Sequence[Chart]] = ()
    photograph: bool = False
    name: str = ""

    def __post_init__(self) -> None:
        """Take axes and name from a single stack, and check that frames and axes fit."""
        if len(self.stacks) == 1 and not self.axes:
            object.__setattr__(self, "axes", self.stacks[0].axes)
        object.__setattr__(self, "axes", _joined(self.axes))
        if len(self.stacks) == 1 and not self.name:
            object.__setattr__(self, "name", self.stacks[0].name)
        count = sum(map(len, self.stacks))
        assert not count or count == math.prod(self.shape), "axes and frames do not fit"
        assert len(self.charts) in {0, 1, count}, "charts and frames do not fit"

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis, slowest first."""
        return tuple(len(labels) for labels in self.axes.values())

    @property
    def scale(self) -> str:
        """The common colour scale of all frames: diverging if one of the stacks has that."""
        scales = {stack.scale for stack in self.stacks}
        return "diverging" if "diverging" in scales else next(iter(scales), "rgb")

    @property
    def group(self) -> str:
        """Which frames share a scale: "all", "frame", or the name of an axis."""
        if all(len(stack) == 1 for stack in self.stacks):
            return "frame" if len(self.stacks) > 1 else "all"
        return next(iter(self.axes)) if len(self.stacks) > 1 else self.stacks[0].scale_group

    def titles(self) -> list[str]:
        """Return a title for each frame, with its label on each axis that has several."""
        if not self.stacks:
            return [""]
        titles = [title for stack in self.stacks for title in stack.long_titles()]
        if len(self.stacks) == 1:
            return titles
        labels = [str(label) for label in next(iter(self.axes.values()))]
        share = len(titles) // len(labels)
        return [f"{labels[i // share]} · {title}" for i, title in enumerate(titles)]

    def frame_at(self, chosen: Sequence[int]) -> int:
        """Return the position of a frame, given an index on each axis."""
        position = 0
        for length, index in zip(self.shape, chosen, strict=True):
            position = position * length + min(index, length - 1)
        return position

    def only(self, frame: int) -> Stack:
        """Return one frame as a stack with the same colour limits."""
        for stack in self.stacks:
            if frame < len(stack):
                return stack.only(frame)
            frame -= len(stack)
        raise IndexError(frame)

    def figure(self, chosen: Sequence[int] = (), *, blend: int = 100, own: bool = False) -> Figure:
        """Draw what the view shows, for viewers without widgets.

        Args:
            chosen: an index on each axis.
            blend: share of the map over the photograph, in percent.
            own: show the frame on a scale of its own.
        """
        figures = []
        frame = self.frame_at(chosen) if self.stacks else 0
        row = self.charts[frame if len(self.charts) > 1 else 0] if self.charts else ()
        if self.stacks:
            stack = self.only(frame)
            if own and stack.scale != "rgb":
                stack = replace(stack, scale_group="frame", vmin=None, vmax=None)
            beside = self.photograph and blend >= 100 and stack.base is not None
            width = 4.4 if row else 8.0
            figures.append(stack.plot(photograph=beside, blend=blend / 100, width=width))
        # Charts alone take the whole width of the page, the numbers of a table included.
        alone = not figures
        figures += [chart.draw(_WIDE if alone and not _is_table(chart) else 4.0) for chart in row]
        return figures[0] if len(figures) == 1 else side_by_side(*figures, below=alone)

    def payload(self, largest: int = LARGEST) -> SceneData:
        """Return the data from which ``view.js`` draws the scene, every frame once.

        Args:
            largest: bytes of frames above which they are reduced.
        """
        stacks = [
            replace(stack, scale=self.scale) if stack.scale != self.scale else stack
            for stack in self.stacks
        ]
        contents = Contents(
            frames=[frame for stack in stacks for frame in stack.frames],
            axes=self.axes,
            titles=self.titles(),
            limits=[limits for stack in stacks for limits in stack.limits()],
            scale=cast(Any, self.scale),
            group=self.group,
            name=self.name,
            unit=stacks[0].unit if stacks else "",
            base=stacks[0].base if stacks else None,
            charts=[[chart.wire() for chart in row] for row in self.charts],
            photograph=self.photograph,
        )
        return pack(contents, largest)


def _joined(axes: Mapping[str, Sequence[Any]]) -> Mapping[str, Sequence[Any]]:
    """Return at most three axes; the third has a label for each combination of all further ones."""
    names = list(axes)
    if len(names) <= _AXES:
        return axes
    kept, others = names[: _AXES - 1], names[_AXES - 1 :]
    labels = [[named(axis, label) for label in axes[axis]] for axis in others]
    joint = [" · ".join(row) for row in product(*labels)]
    return {**{axis: axes[axis] for axis in kept}, " · ".join(others): joint}


def _is_table(chart: Chart) -> bool:
    return isinstance(chart, Bars) and any(len(cells) > 1 for cells in chart.cells)
