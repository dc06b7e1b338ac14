"""A tree as a table with bars: one row for each module."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from vizhelpers.view.static import new_figure

_ROW = 0.19  # inches
_FONT = 8
# Where the columns stand, in shares of the figure's width: names begin at 0.
_KINDS, _BARS, _SPAN = 0.22, 0.52, 0.27


def tree_figure(
    labels: Sequence[tuple[str, str]],
    shapes: Sequence[str],
    counts: np.ndarray,
    *,
    title: str,
    total: int,
    width: float = 8.0,
) -> Figure:
    """Draw rows of name, class, shape, and a bar with its number.

    Args:
        labels: (indented name, class) for each row.
        shapes: text for each row.
        counts: (rows,) what the bars show.
        title: the figure's title.
        total: what a full bar would stand for.
        width: of the figure, in inches.

    Returns:
        A matplotlib ``Figure``.
    """
    height = _ROW * len(labels) + 0.7
    figure = new_figure(width, height)
    axes = figure.add_axes((_BARS, 0.05 / height, _SPAN, 1 - 0.45 / height))
    rows = np.arange(len(labels))
    axes.barh(rows, counts, color="#31688e", height=0.7)
    axes.set_xlim(0, max(total, 1))
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    transform = axes.get_yaxis_transform()  # x in shares of the axes, y in rows
    for row, ((name, kind), shape, count) in enumerate(zip(labels, shapes, counts, strict=True)):
        style: dict[str, Any] = {"transform": transform, "va": "center", "fontsize": _FONT}
        axes.text(-_BARS / _SPAN + 0.02, row, name, family="monospace", **style)
        axes.text((_KINDS - _BARS) / _SPAN, row, kind, **style)
        axes.text(-0.04, row, shape, ha="right", **style)
        if count:
            share = count / max(total, 1)
            axes.text(share + 0.02, row, f"{count:,} ({share:.1%})", **style)
    figure.text(0.005, 1 - 0.08 / height, title, va="top", fontsize=_FONT + 2)
    return figure
