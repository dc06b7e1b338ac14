"""Figures whose look, size and PNG file do not depend on the reader's settings, and their text."""

import io
import math
import textwrap
from typing import Any

import matplotlib.figure
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from PIL import Image

from vizhelpers.view.style import default_style

DPI = 100
FONT = 8.0  # points, of a tile's title
LINE = 1.25 * FONT / 72  # inches
HEAD = FONT + 2  # points, of a figure's title
HEAD_LINE = 1.25 * HEAD / 72  # inches
# zlib's fastest level with run-length encoding. As RGB a montage is as small as matplotlib's RGBA
# at level 6, in a third of the time.
COMPRESSION = {"compress_level": 1, "compress_type": 3}


class Figure(matplotlib.figure.Figure):
    """A figure that is drawn and saved with matplotlib's default style, whatever style is set."""

    def draw(self, renderer: Any) -> None:
        """Draw the figure; matplotlib creates the ticks only now."""
        with default_style():
            super().draw(renderer)

    def savefig(self, *args: Any, **kwargs: Any) -> None:
        """Save the figure as matplotlib does, with its own background and size."""
        with default_style():
            super().savefig(*args, **kwargs)


class Canvas(FigureCanvasAgg):
    """An Agg canvas that draws once and compresses fast.

    A notebook requests a "tight" bounding box. To compute it matplotlib draws the figure a second
    time; these figures have no margin that it could remove.
    """

    def print_figure(self, *args: Any, bbox_inches: Any = None, **kwargs: Any) -> Any:
        """Write a file as matplotlib does, but treat a "tight" bounding box as the whole figure."""
        tight = isinstance(bbox_inches, str)
        with default_style():
            return super().print_figure(*args, bbox_inches=None if tight else bbox_inches, **kwargs)

    def print_png(
        self,
        filename_or_obj: Any,
        *,
        metadata: Any = None,
        pil_kwargs: Any = None,
        **kwargs: Any,  # matplotlib passes the options of all formats
    ) -> None:
        """Write a PNG file: as RGB with ``COMPRESSION``, if opaque and without other options."""
        if metadata or pil_kwargs or to_rgba(self.figure.get_facecolor())[3] < 1:
            super().print_png(filename_or_obj, metadata=metadata, pil_kwargs=pil_kwargs)
            return
        picture, dpi = Image.fromarray(self.pixels()), self.figure.dpi
        picture.save(filename_or_obj, format="png", dpi=(dpi, dpi), **COMPRESSION)

    def pixels(self) -> np.ndarray:
        """Draw the figure and return its pixels, (height, width, 3) uint8."""
        self.draw()
        return np.ascontiguousarray(np.asarray(self.buffer_rgba())[..., :3])


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of at least ``width`` x ``height`` inches, a whole number of pixels.

    Whole pixels keep the figure's text form the same in all versions of matplotlib.
    """
    size = math.ceil(width * DPI - 1e-6) / DPI, math.ceil(height * DPI - 1e-6) / DPI
    # Through pyplot, which makes notebooks display figures; closed there, so that this figure is
    # displayed as the value of a cell alone, and not a second time when the cell ends.
    figure = plt.figure(figsize=size, dpi=DPI, FigureClass=Figure)
    plt.close(figure)
    Canvas(figure)
    assert isinstance(figure, Figure)
    return figure


def to_png(figure: matplotlib.figure.Figure) -> bytes:
    """Return a figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    Canvas(figure).print_png(buffer)
    return buffer.getvalue()


def text_width(text: str, size: float) -> float:
    """Return the width of a line of text in inches, in the reader's font at ``size`` points.

    Measured on outlines without hinting, so that it is the same in all versions of matplotlib.
    """
    width, _, _ = text_to_path.get_text_width_height_descent(text, FontProperties(size=size), False)
    return width / 72


def wrap(text: str, width: float, size: float) -> list[str]:
    """Break a text into lines of at most ``width`` inches; a longer word is divided."""

    def too_wide(line: str) -> bool:
        # Measuring is slow, and no letter is wider than its font size.
        return len(line) * size / 72 > width and text_width(line, size) > width

    lines: list[str] = []
    for paragraph in text.split("\n"):
        letters = len(paragraph)
        if too_wide(paragraph):
            letters = max(1, int(letters * width / text_width(paragraph, size)))
        parts = [paragraph.strip()]
        while letters and any(map(too_wide, parts)):
            parts = textwrap.wrap(paragraph, letters, break_on_hyphens=False)
            letters -= 1
        lines += parts
    return lines
