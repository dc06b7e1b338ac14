"""Small charts beside a picture: drawn by matplotlib here, or by ``view.js``."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vizhelpers.view.canvas import Figure, new_figure, wrap
from vizhelpers.view.colour import gaps_in_words
from vizhelpers.view.live.wire_types import BarsData, CurveData
from vizhelpers.view.style import default_style
from vizhelpers.view.tree import MOST_ROWS, tree_figure

_BLUE, _ORANGE = "#31688e", "#d55e00"
_MOST_BARS = 60  # of a figure 18 inches high


@dataclass(frozen=True)
class Bars:
    """Horizontal bars with their numbers; a table with bars if the rows have several cells.

    Attributes:
        title: the chart's title.
        cells: the texts of each row, the label first; leading spaces indent it.
        lengths: the length of each row's bar, 0 or more; in a table a share of the whole, 0..1.
        texts: the text behind each bar.
        marked: index of the row emphasised by a colour and an arrow; -1 for none.
    """

    title: str
    cells: Sequence[Sequence[str]]
    lengths: Sequence[float]
    texts: Sequence[str]
    marked: int = -1

    def draw(self, width: float = 4.0) -> Figure:
        """Draw the bars in a figure ``width`` inches wide, a table in one twice as wide.

        The last row states how many rows do not fit on a figure 18 inches high.
        """
        if any(len(cells) > 1 for cells in self.cells):
            bars = self._shortened(MOST_ROWS)._finite()
            return tree_figure(
                bars.cells, bars.lengths, bars.texts, title=self.title, width=2 * width
            )
        return _bar_figure(self._shortened(_MOST_BARS)._finite(), width)

    def wire(self) -> BarsData:
        """Return the bars as ``view.js`` draws them."""
        bars = self._finite()
        rows = zip(bars.cells, bars.lengths, bars.texts, strict=True)
        return {
            "kind": "bars",
            "title": self.title,
            "rows": [
                {"cells": list(cells), "length": float(length), "text": text}
                for cells, length, text in rows
            ],
            "marked": self.marked,
        }

    def _finite(self) -> "Bars":
        """Return the bars; a length that is not finite becomes 0, and its text says so."""
        rows = list(zip(self.lengths, self.texts, strict=True))
        return replace(
            self,
            lengths=[length if math.isfinite(length) else 0.0 for length, _ in rows],
            texts=[text if math.isfinite(x) else _with_gap(text, x) for x, text in rows],
        )

    def _shortened(self, most: int) -> "Bars":
        """Return at most ``most`` rows with the marked one; the last states how many are left."""
        if len(self.cells) <= most:
            return self
        kept = list(range(most - 1))
        if self.marked >= len(kept):
            kept[-1] = self.marked
        rest = f"… {len(self.cells) - len(kept):,} more rows"
        return replace(
            self,
            cells=[*(self.cells[i] for i in kept), (rest, *[""] * (len(self.cells[0]) - 1))],
            lengths=[*(self.lengths[i] for i in kept), 0.0],
            texts=[*(self.texts[i] for i in kept), ""],
            marked=kept.index(self.marked) if self.marked >= 0 else -1,
        )


@dataclass(frozen=True)
class Curve:
    """A curve over 0, 1, 2, … with a marked point and a gap at each value that is not finite."""

    title: str
    values: Sequence[float] | np.ndarray
    marked: int
    xlabel: str
    ylabel: str

    @default_style()
    def draw(self, width: float = 4.0) -> Figure:
        """Draw the curve in a figure ``width`` inches wide."""
        values = np.asarray(self.values, dtype=np.float64)
        values = np.where(np.isfinite(values), values, np.nan)
        figure = new_figure(width, 2.8)
        axes = figure.add_axes((0.17, 0.17, 0.78, 0.68))
        # A line alone would not show a value between two gaps.
        marker = "." if np.isnan(values).any() else None
        axes.plot(range(len(values)), values, color=_BLUE, marker=marker)
        axes.plot([self.marked], [values[self.marked]], "o", color=_ORANGE)
        axes.set_title(self._title(), fontsize=10, loc="left")
        axes.set_xlabel(self.xlabel, fontsize=8)
        axes.set_ylabel(self.ylabel, fontsize=8)
        axes.tick_params(labelsize=8)
        axes.margins(y=0.15)
        return figure

    def wire(self) -> CurveData:
        """Return the curve as ``view.js`` draws it, with the lowest value in place of gaps."""
        values = [float(value) for value in self.values]
        gaps = [i for i, value in enumerate(values) if not math.isfinite(value)]
        lowest = min((value for value in values if math.isfinite(value)), default=0.0)
        return {
            "kind": "curve",
            "title": self._title(),
            "values": [value if math.isfinite(value) else lowest for value in values],
            "marked": self.marked,
            "xlabel": self.xlabel,
            "ylabel": self.ylabel,
            "gaps": gaps,
        }

    def _title(self) -> str:
        """Return the title with the number of NaN and infinite values."""
        return self.title + gaps_in_words(np.asarray(self.values, dtype=np.float64))


Chart = Bars | Curve


def _with_gap(text: str, length: float) -> str:
    """Return a text that says "NaN" or "infinite"; most contain "nan" or "inf" already."""
    what = "NaN" if math.isnan(length) else "infinite"
    return text if re.search(r"\b(nan|inf)\b", text) else f"{text} ({what})".lstrip()


@default_style()
def _bar_figure(bars: Bars, width: float) -> Figure:
    labels, count = [cells[0] for cells in bars.cells], len(bars.cells)
    height = 0.28 * count + 0.6
    figure = new_figure(width, height)
    axes = figure.add_axes((0.4, 0.12 / height, 0.4, 1 - 0.55 / height))
    colours = [_ORANGE if row == bars.marked else _BLUE for row in range(count)]
    axes.barh(range(count), bars.lengths, color=colours, height=0.7)
    marked = [f"▸ {label}" if row == bars.marked else label for row, label in enumerate(labels)]
    lines = [wrap(label, 0.36 * width, 8)[:2] for label in marked]  # two lines fit on a row
    axes.set_yticks(range(count), labels=["\n".join(two) for two in lines], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, max([*bars.lengths, 1e-9]))
    axes.set_xticks([])
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    for row, (length, text) in enumerate(zip(bars.lengths, bars.texts, strict=True)):
        axes.annotate(
            text, (length, row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8
        )
    figure.text(0.02, 1 - 0.06 / height, bars.title, va="top", fontsize=10)
    return figure
