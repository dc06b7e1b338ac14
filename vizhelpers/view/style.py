"""Matplotlib's settings for the package's figures: its defaults, whatever style the reader uses."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from matplotlib import rcParams, rcParamsDefault

# Settings that change how a figure looks. Not among them, so that the reader's values hold: the
# fonts (and the minus sign, which many Chinese fonts lack), and how files are written (dpi, format,
# transparency, the fonts inside a PDF).
_LOOKS = re.compile(
    r"_internal|axes\.(?!unicode_minus)|figure\.(?!max_open_warning)|grid|image|lines|markers|mathtext"
    r"|font\.(size|stretch|style|variant|weight)|patch|path|savefig\.(bbox|edgecolor|facecolor)|text"
    r"|[xy]axis|[xy]tick"
)
_DEFAULTS: dict[str, Any] = {
    name: value for name, value in rcParamsDefault.items() if _LOOKS.match(name)
}


@contextmanager
def default_style() -> Iterator[None]:
    """Reset matplotlib's settings for a figure's looks to its defaults, and restore them on exit.

    Only what differs is set: mostly nothing, which takes a tenth of a millisecond. A figure needs
    this while it is made and while it is drawn, since matplotlib makes ticks only then.
    """
    # Not ``matplotlib.rc_context``: it would also undo what a backend sets when the first figure
    # loads it.
    present: Any = rcParams  # newer versions of matplotlib type each name
    readers = {n: present[n] for n, default in _DEFAULTS.items() if _differ(present[n], default)}
    try:
        present.update({name: _DEFAULTS[name] for name in readers})
        yield
    finally:
        present.update(readers)


def _differ(value: Any, default: Any) -> bool:
    # A colour may be an array, which is equal to nothing as a whole.
    return isinstance(value, np.ndarray) or bool(value != default)
