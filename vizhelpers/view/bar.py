"""The colour bar beside a montage."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vizhelpers.view.colour import COLOUR_MAPS
from vizhelpers.view.letters import FONT, LINE, usual_width

_LEFT = 0.12  # inches from the tiles to the bar
_WIDTH = 0.12
_NUMBERS = 0.46  # inches for ticks and their numbers
_ABOVE = 0.1  # inches from the title to the bar, and from its label to the lower edge
_LONGEST = 100  # letters of a label's line


@dataclass(frozen=True)
class Bar:
    """What the colour bar says: the scale's name, the values at its ends, and a label.

    Without ``low`` and ``high`` the tiles have different scales; the bar then runs from "lowest"
    to "highest", and the numbers stand in the tiles' titles. With ends that are NaN or infinite it
    says "no numbers".
    """

    scale: str
    label: str
    low: float | None = None
    high: float | None = None

    @property
    def room(self) -> float:
        """Inches that the bar takes to the right of the tiles."""
        return _LEFT + _WIDTH + _NUMBERS + LINE * (self.label.count("\n") + 1)

    @property
    def height(self) -> float:
        """Inches that the bar and its label need at least."""
        return max(1.0, self.length) + 2 * _ABOVE

    @property
    def length(self) -> float:
        """Inches that the label's longest line takes, by its letters' usual width.

        Not measured: fonts are drawn a pixel wider or narrower by other versions of matplotlib,
        and a figure's size has to be the same everywhere.
        """
        return max(map(usual_width, self.text.split("\n"))) * FONT / 72

    @property
    def text(self) -> str:
        """The label, with lines of a length that a figure can hold."""
        lines = self.label.split("\n")
        short = [f"{line[: _LONGEST - 1]}…" if len(line) > _LONGEST else line for line in lines]
        return "\n".join(short)


def draw_bar(figure: Figure, bar: Bar, left: float, top: float, area: float) -> None:
    """Draw a colour bar.

    Args:
        figure: on which.
        bar: what it says.
        left: where the tiles end, in inches from the left.
        top: where they begin, in inches from the top.
        area: how high they are, in inches.
    """
    width, height = figure.get_size_inches()
    long = min(max(area - 2 * _ABOVE, 1.0), 2.6)
    bottom = height - top - _ABOVE - long
    box = (left + _LEFT) / width, bottom / height, _WIDTH / width, long / height
    low, high = (0.0, 1.0) if bar.low is None or bar.high is None else (bar.low, bar.high)
    unknown = not (math.isfinite(low) and math.isfinite(high))
    flat = unknown or high <= low
    axes = figure.add_axes(box)
    start = 0.0 if unknown else low
    colour_bar(axes, COLOUR_MAPS[bar.scale], start, start + 1 if flat else high)
    axes.tick_params(labelsize=FONT - 1)
    # A label that is longer than the bar hangs down from its upper end.
    where: Literal["center", "top"] = "center" if bar.length <= long else "top"
    axes.set_ylabel(bar.text, fontsize=FONT, loc=where)
    if bar.low is None:
        ends = {"sequential": (0.0, 1.0), "diverging": (0.0, 0.5, 1.0)}[bar.scale]
        names = {2: ("low", "high"), 3: ("−max", "0", "+max")}[len(ends)]
        axes.set_yticks(list(ends), labels=list(names))
    elif flat:
        words = "no numbers" if unknown else f"{low + 0:g} everywhere"
        # Along the bar: across, the words would be cut off at the figure's edge.
        axes.set_yticks([start], labels=[words], rotation=90, va="bottom")
    else:
        values = np.linspace(low, high, 5)
        axes.set_yticks(list(values), labels=[f"{value:.3g}" for value in values])


def colour_bar(axes: Axes, cmap: Any, low: float, high: float) -> None:
    """Fill a pair of axes with the colours from ``low`` to ``high``, their values on the right.

    matplotlib's own colour bar has axes and locators of its own and takes twice as long.
    """
    steps = np.linspace(0, 1, 256)[:, None]
    axes.imshow(
        steps, cmap=cmap, aspect="auto", origin="lower", extent=(0, 1, low, high), vmin=0, vmax=1
    )
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.yaxis.set_label_position("right")
