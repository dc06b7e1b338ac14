"""The colour bar beside a montage."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vizhelpers.view.canvas import FONT, LINE, text_width
from vizhelpers.view.colour import COLOUR_MAPS

_LEFT = 0.12  # inches from the tiles to the bar
_WIDTH = 0.12
_NUMBERS = 0.46  # inches for ticks and their numbers
_ABOVE = 0.1  # inches from the title to the bar, and from its label to the lower edge
_LONGEST = 100  # letters in a line of the label


@dataclass(frozen=True)
class Bar:
    """A colour bar: the name of its scale, its label, and the values of its first and last colour.

    Without ``low`` and ``high`` the tiles have different scales: the bar is marked "low" and
    "high", or "−max", "0" and "+max". With a NaN or infinite end it is marked "no numbers".
    """

    scale: str
    label: str
    low: float | None = None
    high: float | None = None

    @property
    def room(self) -> float:
        """Width of the bar with its numbers and its label, in inches."""
        return _LEFT + _WIDTH + _NUMBERS + LINE * (self.label.count("\n") + 1)

    @property
    def height(self) -> float:
        """Least height of the bar and its label, in inches."""
        return max(1.0, self.length) + 2 * _ABOVE

    @property
    def length(self) -> float:
        """Length of the label's longest line, in inches."""
        return max(text_width(line, FONT) for line in self.text.split("\n"))

    @property
    def text(self) -> str:
        """The label, each line shortened to at most 100 letters."""
        lines = self.label.split("\n")
        short = [f"{line[: _LONGEST - 1]}…" if len(line) > _LONGEST else line for line in lines]
        return "\n".join(short)


def draw_bar(figure: Figure, bar: Bar, left: float, top: float, area: float) -> None:
    """Draw a colour bar to the right of the tiles.

    Args:
        figure: figure that holds the tiles.
        bar: scale, label and ends.
        left: right edge of the tiles, in inches from the figure's left edge.
        top: upper edge of the tiles, in inches from the figure's upper edge.
        area: height of the tiles, in inches.
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
    # A label that is longer than the bar begins at the bar's upper end.
    where: Literal["center", "top"] = "center" if bar.length <= long else "top"
    axes.set_ylabel(bar.text, fontsize=FONT, loc=where)
    if bar.low is None:
        ends = {"sequential": (0.0, 1.0), "diverging": (0.0, 0.5, 1.0)}[bar.scale]
        names = {2: ("low", "high"), 3: ("−max", "0", "+max")}[len(ends)]
        axes.set_yticks(list(ends), labels=list(names))
    elif flat:
        words = "no numbers" if unknown else f"{low + 0:g} everywhere"
        # Upright, because horizontal words would be cut off at the figure's edge.
        axes.set_yticks([start], labels=[words], rotation=90, va="bottom")
    else:
        values = np.linspace(low, high, 5)
        axes.set_yticks(list(values), labels=[f"{value:.3g}" for value in values])


def colour_bar(axes: Axes, cmap: Any, low: float, high: float) -> None:
    """Fill axes with the colours from ``low`` to ``high``, ticks on the right.

    ``figure.colorbar`` takes 4 ms longer, a fifth of all drawing of a small montage.
    """
    steps = np.linspace(0, 1, 256)[:, None]
    axes.imshow(
        steps, cmap=cmap, aspect="auto", origin="lower", extent=(0, 1, low, high), vmin=0, vmax=1
    )
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.yaxis.set_label_position("right")
