"""A tree as a table with bars: one row for each module."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vizhelpers.view.canvas import Figure, new_figure
from vizhelpers.view.style import default_style

MOST_ROWS = 90  # of a figure 18 inches high
_ROW = 0.19  # inches
_FONT = 8
# Left edges of the columns and width of the bars, in shares of the figure's width.
_KINDS, _BARS, _SPAN = 0.22, 0.52, 0.27


@default_style()
def tree_figure(
    cells: Sequence[Sequence[str]],
    lengths: Sequence[float],
    texts: Sequence[str],
    *,
    title: str,
    width: float = 8.0,
) -> Figure:
    """Draw a table whose rows have a name, a class, a shape, and a bar with its number.

    Args:
        cells: (indented name, class, shape) of each row.
        lengths: the length of each bar, 0..1.
        texts: the text behind each bar.
        title: the figure's title.
        width: width of the figure, in inches.

    Returns:
        A matplotlib ``Figure``.
    """
    count = len(cells)
    height = _ROW * count + 0.7
    figure = new_figure(width, height)
    axes = figure.add_axes((_BARS, 0.05 / height, _SPAN, 1 - 0.45 / height))
    axes.barh(np.arange(count), lengths, color="#31688e", height=0.7)
    axes.set_xlim(0, 1)
    axes.set_ylim(count - 0.5, -0.5)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    transform = axes.get_yaxis_transform()  # x in shares of the axes, y in rows
    rows = zip(cells, lengths, texts, strict=True)
    for row, ((name, kind, shape), length, text) in enumerate(rows):
        style: dict[str, Any] = {"transform": transform, "va": "center", "fontsize": _FONT}
        axes.text(-_BARS / _SPAN + 0.02, row, name, family="monospace", **style)
        axes.text((_KINDS - _BARS) / _SPAN, row, kind, **style)
        axes.text(-0.04, row, shape, ha="right", **style)
        axes.text(length + 0.02, row, text, **style)
    figure.text(0.005, 1 - 0.08 / height, title, va="top", fontsize=_FONT + 2)
    return figure
