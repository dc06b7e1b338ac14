"""Letters in figures: how wide they are, where a line breaks, and their outlines."""

from collections.abc import Iterable
from functools import lru_cache
from unicodedata import east_asian_width

import numpy as np
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontProperties, findfont
from matplotlib.path import Path
from matplotlib.textpath import TextPath

from vizhelpers.view.canvas import DPI

FONT = 8.0  # points
LINE = 1.25 * FONT / 72  # inches
HEAD = FONT + 2  # points, of a figure's title
HEAD_LINE = 1.25 * HEAD / 72  # inches


def wrap(text: str, room: float, size: float) -> list[str]:
    """Break a text into lines of at most ``room`` inches; a word that is too long is cut."""
    lines = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split():
            longer = f"{line} {word}".lstrip()
            if line and not fits(longer, room, size):
                lines.append(line)
                longer = word
            while not fits(longer, room, size):
                head = next(n for n in range(len(longer), 0, -1) if fits(longer[:n], room, size))
                lines.append(longer[:head])
                longer = longer[head:]
            line = longer
        lines.append(line)
    return lines


def usual_width(text: str) -> float:
    """Return about how wide a line of text is, in multiples of its font size."""
    return sum(1.0 if east_asian_width(letter) in "WF" else 0.58 for letter in text)


def fits(text: str, room: float, size: float) -> bool:
    """Whether a line of text, as Agg draws it, takes at most ``room`` inches."""
    # Measuring takes a millisecond; no letter is wider than high, so most need none.
    if len(text) <= 1 or len(text) * size / 72 <= room:
        return True
    renderer = RendererAgg(1, 1, DPI)
    width = renderer.get_text_width_height_descent(text, FontProperties(size=size), False)[0]
    return width / DPI <= room


def outlines(texts: Iterable[str]) -> list[Path]:
    """Return each line of text as outlines, in points, in the font that is set now."""
    font = FontProperties()
    # Which files a family's name stands for follows rcParams and the fonts that were added.
    files = tuple(findfont(FontProperties(family=[family])) for family in font.get_family())
    return [outline(text, font, files) for text in texts]


@lru_cache(maxsize=4096)
def outline(text: str, font: FontProperties, files: tuple[str, ...]) -> Path:
    """Return a line of text as outlines: kept, since every grid of channels has the same numbers.

    ``files`` are part of the cache's key alone; matplotlib finds them by ``font``.
    """
    try:
        return TextPath((0, 0), text, size=FONT, prop=font)
    except AttributeError:  # matplotlib 3.10, of letters that the font leaves empty
        return Path(np.empty((0, 2)))
