"""Matplotlib's default style for the package's figures, whatever style the reader sets."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from matplotlib import rcParams, rcParamsDefault

# Settings of a figure's look. The reader's own values hold for the fonts (and the minus sign, which
# many Chinese fonts lack) and for files (dpi, format, transparency, the fonts inside a PDF).
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
    """Set matplotlib's default style, and restore the reader's on exit.

    A figure needs this while it is created and while it is drawn, when matplotlib creates ticks.
    """
    # ``matplotlib.rc_context`` would also undo the settings of a backend that is loaded meanwhile.
    present: Any = rcParams  # newer versions of matplotlib type each name
    readers = {n: present[n] for n, default in _DEFAULTS.items() if _differ(present[n], default)}
    try:
        present.update({name: _DEFAULTS[name] for name in readers})
        yield
    finally:
        present.update(readers)


def _differ(value: Any, default: Any) -> bool:
    # A colour may be an array, which has no truth value.
    return isinstance(value, np.ndarray) or bool(value != default)
