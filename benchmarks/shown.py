"""A figure as a notebook shows it, without a notebook: IPython's own way from value to bytes."""

import base64
from functools import cache

import matplotlib.pyplot as plt
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.pylabtools import select_figure_formats
from matplotlib.figure import Figure


@cache
def _shell() -> InteractiveShell:
    """Return a shell that shows figures as Jupyter's inline backend does."""
    shell = InteractiveShell.instance()
    select_figure_formats(shell, {"png"}, bbox_inches="tight")
    return shell


def shown(figure: Figure) -> bytes:
    """Return the PNG that a cell with this figure as its value puts out, and close the figure."""
    data, _ = _shell().display_formatter.format(figure)
    plt.close(figure)
    return base64.b64decode(data["image/png"])
