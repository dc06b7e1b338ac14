"""A scene: what a panel shows at one time, frames with axes and charts beside them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from matplotlib.figure import Figure

from vizhelpers.stack import ImageStack, named
from vizhelpers.view.charts import Bars, Chart
from vizhelpers.view.live.wire import LARGEST, Payload, pack
from vizhelpers.view.static import side_by_side

_WIDE = 7.0  # inches
_AXES = 3  # that the view can choose on


@dataclass(frozen=True)
class Scene:
    """Stacks whose frames follow each other along ``axes``, and charts.

    Attributes:
        stacks: none, one, or several, such as one for each layer with maps of its own size.
        axes: of all frames together; those of the stack where there is only one. From the third
            on they are joined to one axis, since the view has controls for three.
        charts: for all frames one row of charts, or a row for each frame; none where empty.
        photograph: show the stacks' photograph beside a map that is not laid on it.
        name: what is shown; the stack's own name where there is only one.
    """

    stacks: Sequence[ImageStack] = ()
    axes: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    charts: Sequence[Sequence[Chart]] = ()
    photograph: bool = False
    name: str = ""

    def __post_init__(self) -> None:
        """Take over what a single stack says itself, and check that the axes fit."""
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
        """The colour scale that holds all frames: diverging where one of them needs it."""
        scales = {stack.scale for stack in self.stacks}
        return "diverging" if "diverging" in scales else next(iter(scales), "rgb")

    @property
    def group(self) -> str:
        """Which frames share a scale: "all", "frame", or the name of an axis."""
        if all(len(stack) == 1 for stack in self.stacks):
            return "frame" if len(self.stacks) > 1 else "all"
        return next(iter(self.axes)) if len(self.stacks) > 1 else self.stacks[0].scale_group

    def titles(self) -> list[str]:
        """Return a title for each frame that says where it stands on every axis that varies."""
        if not self.stacks:
            return [""]
        titles = [title for stack in self.stacks for title in stack.long_titles()]
        if len(self.stacks) == 1:
            return titles
        labels = [str(label) for label in next(iter(self.axes.values()))]
        share = len(titles) // len(labels)
        return [f"{labels[i // share]} · {title}" for i, title in enumerate(titles)]

    def frame_at(self, chosen: Sequence[int]) -> int:
        """Return the position of a frame, given one index for each axis."""
        position = 0
        for length, index in zip(self.shape, chosen, strict=True):
            position = position * length + min(index, length - 1)
        return position

    def only(self, frame: int) -> ImageStack:
        """Return one frame as a stack that keeps its place on the colour scale."""
        for stack in self.stacks:
            if frame < len(stack):
                return stack.only(frame)
            frame -= len(stack)
        raise IndexError(frame)

    def figure(self, chosen: Sequence[int] = (), *, blend: int = 100, own: bool = False) -> Figure:
        """Draw what the view shows, for viewers that run no widgets.

        Args:
            chosen: one index for each axis.
            blend: share of the map over the photograph, in percent.
            own: give the frame a scale of its own.
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
        # Charts alone have the page's whole width, a table's numbers included.
        alone = not figures
        figures += [chart.draw(_WIDE if alone and not _is_table(chart) else 4.0) for chart in row]
        return figures[0] if len(figures) == 1 else side_by_side(*figures, below=alone)

    def payload(self, largest: int = LARGEST) -> Payload:
        """Return what crosses the wire: every frame once, and the charts as numbers."""
        stacks = [
            replace(stack, scale=self.scale) if stack.scale != self.scale else stack
            for stack in self.stacks
        ]
        first = stacks[0] if stacks else None
        packed = pack(
            [frame for stack in stacks for frame in stack.frames],
            axes=self.axes,
            titles=self.titles(),
            limits=[limits for stack in stacks for limits in stack.limits()],
            scale=self.scale,
            scale_group=self.group,
            name=self.name,
            unit=first.unit if first else "",
            base=first.base if first else None,
            largest=largest,
        )
        packed["charts"] = [[chart.wire() for chart in row] for row in self.charts]
        packed["photograph"] = self.photograph
        return packed


def _joined(axes: Mapping[str, Sequence[Any]]) -> Mapping[str, Sequence[Any]]:
    """Return at most three axes: the last one has a label for each combination of the others'."""
    names = list(axes)
    if len(names) <= _AXES:
        return axes
    kept, others = names[: _AXES - 1], names[_AXES - 1 :]
    labels = [[named(axis, label) for label in axes[axis]] for axis in others]
    joint = [" · ".join(row) for row in product(*labels)]
    return {**{axis: axes[axis] for axis in kept}, " · ".join(others): joint}


def _is_table(chart: Chart) -> bool:
    return isinstance(chart, Bars) and any(len(cells) > 1 for cells in chart.cells)
