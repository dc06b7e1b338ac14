"""Small charts that stand beside a picture: each is drawn by matplotlib here, or by ``view.js``."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from vizhelpers.view.canvas import new_figure
from vizhelpers.view.tree import tree_figure

_BLUE, _ORANGE = "#31688e", "#d55e00"


@dataclass(frozen=True)
class Bars:
    """Horizontal bars with their numbers; a table with bars where a row has several cells.

    Attributes:
        title: the chart's title.
        cells: for each row its texts, the label first; leading spaces indent it.
        lengths: for each row its bar, 0 or more; in rows of several cells a share of the whole.
        texts: for each row what stands behind the bar.
        marked: the row that is set off, by colour and by an arrow before its name; -1 for none.
    """

    title: str
    cells: Sequence[Sequence[str]]
    lengths: Sequence[float]
    texts: Sequence[str]
    marked: int = -1

    def draw(self, width: float = 4.0) -> Figure:
        """Draw the bars; ``width`` is the figure's in inches, a table takes twice as much."""
        if any(len(cells) > 1 for cells in self.cells):
            return tree_figure(
                self.cells, self.lengths, self.texts, title=self.title, width=2 * width
            )
        return _bar_figure(self, width)

    def wire(self) -> dict[str, Any]:
        """Return what ``view.js`` draws."""
        rows = zip(self.cells, self.lengths, self.texts, strict=True)
        return {
            "kind": "bars",
            "title": self.title,
            "rows": [
                {"cells": list(cells), "length": float(length), "text": text}
                for cells, length, text in rows
            ],
            "marked": self.marked,
        }


@dataclass(frozen=True)
class Curve:
    """One curve over 0, 1, 2, …, with a point marked on it."""

    title: str
    values: Sequence[float] | np.ndarray
    marked: int
    xlabel: str
    ylabel: str

    def draw(self, width: float = 4.0) -> Figure:
        """Draw the curve; ``width`` is the figure's, in inches."""
        figure = new_figure(width, 2.8)
        axes = figure.add_axes((0.17, 0.17, 0.78, 0.68))
        axes.plot(range(len(self.values)), self.values, color=_BLUE)
        axes.plot([self.marked], [self.values[self.marked]], "o", color=_ORANGE)
        axes.set_title(self.title, fontsize=10, loc="left")
        axes.set_xlabel(self.xlabel, fontsize=8)
        axes.set_ylabel(self.ylabel, fontsize=8)
        axes.tick_params(labelsize=8)
        axes.margins(y=0.15)
        return figure

    def wire(self) -> dict[str, Any]:
        """Return what ``view.js`` draws."""
        return {
            "kind": "curve",
            "title": self.title,
            "values": [float(value) for value in self.values],
            "marked": self.marked,
            "xlabel": self.xlabel,
            "ylabel": self.ylabel,
        }


Chart = Bars | Curve


def _bar_figure(bars: Bars, width: float) -> Figure:
    labels, count = [cells[0] for cells in bars.cells], len(bars.cells)
    height = 0.28 * count + 0.6
    figure = new_figure(width, height)
    axes = figure.add_axes((0.4, 0.12 / height, 0.4, 1 - 0.55 / height))
    colours = [_ORANGE if row == bars.marked else _BLUE for row in range(count)]
    axes.barh(range(count), bars.lengths, color=colours, height=0.7)
    shown = [f"▸ {label}" if row == bars.marked else label for row, label in enumerate(labels)]
    axes.set_yticks(range(count), labels=shown, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, max(*bars.lengths, 1e-9))
    axes.set_xticks([])
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    for row, (length, text) in enumerate(zip(bars.lengths, bars.texts, strict=True)):
        axes.annotate(
            text, (length, row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8
        )
    figure.text(0.02, 1 - 0.06 / height, bars.title, va="top", fontsize=10)
    return figure
