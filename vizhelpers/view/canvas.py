"""Figures that are drawn once and encoded fast, in a notebook and into a file."""

import io
import math
from typing import Any

import matplotlib.figure
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from PIL import Image

from vizhelpers.view.style import default_style

DPI = 100
# Of zlib: runs alone, no search for repetitions. As RGB this is about as small as matplotlib's own
# RGBA at level 6, and takes a third of the time.
COMPRESSION = {"compress_level": 1, "compress_type": 3}


class Figure(matplotlib.figure.Figure):
    """A figure that is drawn and saved with matplotlib's defaults, whatever the reader's style."""

    def draw(self, renderer: Any) -> None:
        """Draw the figure; ticks that are made only now look like the others."""
        with default_style():
            super().draw(renderer)

    def savefig(self, *args: Any, **kwargs: Any) -> None:
        """Save the figure, as matplotlib does, on its own background and at its own size."""
        with default_style():
            super().savefig(*args, **kwargs)


class Canvas(FigureCanvasAgg):
    """Agg for figures that lay out all of their area themselves.

    A notebook asks for a "tight" box around what is drawn. To find it matplotlib draws the figure
    once more, here only to cut off a margin that does not exist.
    """

    def print_figure(self, *args: Any, bbox_inches: Any = None, **kwargs: Any) -> Any:
        """Write a file, as matplotlib does; "tight" is what these figures are."""
        tight = isinstance(bbox_inches, str)
        with default_style():
            return super().print_figure(*args, bbox_inches=None if tight else bbox_inches, **kwargs)

    def print_png(
        self,
        filename_or_obj: Any,
        *,
        metadata: Any = None,
        pil_kwargs: Any = None,
        **other_formats: Any,
    ) -> None:
        """Write a PNG file; where nothing else is asked for and nothing is transparent, as RGB.

        ``other_formats`` are options that matplotlib hands to every format.
        """
        if metadata or pil_kwargs or to_rgba(self.figure.get_facecolor())[3] < 1:
            super().print_png(filename_or_obj, metadata=metadata, pil_kwargs=pil_kwargs)
            return
        Image.fromarray(self.pixels()).save(
            filename_or_obj,
            format="png",
            dpi=(self.figure.dpi, self.figure.dpi),
            **COMPRESSION,
        )

    def pixels(self) -> np.ndarray:
        """Draw the figure and return it on its own background, (height, width, 3) uint8."""
        self.draw()
        return np.ascontiguousarray(np.asarray(self.buffer_rgba())[..., :3])


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure that shows once: as the value of a cell, not by itself as well.

    Its size is a whole number of pixels, so that its text form is the same everywhere.
    """
    size = math.ceil(width * DPI - 1e-6) / DPI, math.ceil(height * DPI - 1e-6) / DPI
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
