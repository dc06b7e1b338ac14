"""Small charts that stand beside a picture: bars of a prediction, a curve, growth."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from vizhelpers.view.static import new_figure

_BLUE, _ORANGE = "#31688e", "#d55e00"


def bars(
    labels: Sequence[str],
    lengths: Sequence[float],
    texts: Sequence[str],
    *,
    title: str,
    marked: str | None = None,
    log: bool = False,
    width: float = 4.0,
) -> Figure:
    """Draw horizontal bars with their numbers.

    Args:
        labels: one for each bar, the first on top.
        lengths: bar lengths, 0 or more; with ``log`` above 0.
        texts: what stands behind each bar.
        title: the figure's title.
        marked: the label of a bar that is set off, by colour and by an arrow before its name.
        log: a logarithmic axis.
        width: of the figure, in inches.
    """
    height = 0.28 * len(labels) + 0.6
    figure = new_figure(width, height)
    axes = figure.add_axes((0.4, 0.12 / height, 0.4, 1 - 0.55 / height))
    colours = [_ORANGE if label == marked else _BLUE for label in labels]
    axes.barh(range(len(labels)), lengths, color=colours, height=0.7)
    axes.set_yticks(
        range(len(labels)),
        labels=[f"▸ {label}" if label == marked else label for label in labels],
        fontsize=8,
    )
    axes.invert_yaxis()
    if log:
        axes.set_xscale("log")
    else:
        axes.set_xlim(0, max(max(lengths), 1e-9))
    axes.set_xticks([])
    axes.minorticks_off()
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    for row, (length, text) in enumerate(zip(lengths, texts, strict=True)):
        axes.annotate(
            text, (length, row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8
        )
    figure.text(0.02, 1 - 0.06 / height, title, va="top", fontsize=10)
    return figure


def curve(
    values: Sequence[float] | np.ndarray, *, marked: int, title: str, xlabel: str, ylabel: str
) -> Figure:
    """Draw one curve over 0, 1, 2, … and mark a point on it."""
    figure = new_figure(4.0, 2.8)
    axes = figure.add_axes((0.17, 0.17, 0.78, 0.68))
    axes.plot(range(len(values)), values, color=_BLUE)
    axes.plot([marked], [values[marked]], "o", color=_ORANGE)
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlabel(xlabel, fontsize=8)
    axes.set_ylabel(ylabel, fontsize=8)
    axes.tick_params(labelsize=8)
    axes.margins(y=0.15)
    return figure
