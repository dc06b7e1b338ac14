"""Static pictures: many tiles as one montage, with titles and a colour bar."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.image import AxesImage
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D

from vizhelpers.view.canvas import DPI, Canvas, new_figure
from vizhelpers.view.colour import COLOUR_MAPS

_FONT = 8.0  # points
_LINE = 1.25 * _FONT / 72  # inches
_DESCENT = 0.32 * _FONT / 72  # inches from a tile up to the letters' base line
_GAP = 0.05  # inches between tiles
_EDGE = 0.06  # inches to the left of the tiles and above the title
_BAR_ROOM = 1.0  # inches to the right of the tiles


@dataclass(frozen=True)
class Bar:
    """What the colour bar says: the scale's name, the values at its ends, and a label.

    Without ``low`` and ``high`` the tiles have different scales; the bar then runs from "lowest"
    to "highest", and the numbers stand in the tiles' titles.
    """

    scale: str
    label: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class _Grid:
    """Where tiles lie on the canvas, in its pixels."""

    step_x: int
    step_y: int
    title_room: int
    per_inch: float


def montage(
    tiles: np.ndarray,
    titles: Sequence[str],
    *,
    name: str = "",
    bar: Bar | None = None,
    columns: int | None = None,
    width: float = 8.0,
) -> Figure:
    """Draw tiles in rows on one pair of axes, however many there are.

    Args:
        tiles: RGB pictures (N, H, W, 3) uint8.
        titles: one short text for each; left out where tiles are too small to carry them.
        name: the figure's title.
        bar: the colour bar, or None for pictures whose colours are their own.
        columns: tiles in a row; None chooses.
        width: of the figure in inches; a few small tiles may take less.

    Returns:
        A matplotlib ``Figure``.
    """
    columns = min(columns or _good_columns(len(tiles)), len(tiles))
    rows = math.ceil(len(tiles) / columns)
    bar_room = _BAR_ROOM if bar else 0.0
    tile_width = min((width - bar_room - _EDGE) / columns, _widest(*tiles.shape[1:3]))
    lines = _wrapped(titles, _pitch(tiles.shape[2], tile_width))
    title_room = _LINE * max((text.count("\n") + 1 for text in lines if text), default=0)
    canvas, grid = _canvas(tiles, columns, rows, tile_width, title_room)
    per_inch = grid.per_inch

    area = canvas.shape[1] / per_inch, canvas.shape[0] / per_inch
    head_lines = _wrap(name, area[0] + bar_room, _FONT + 2) if name else []
    head = 1.25 * (_FONT + 2) / 72 * len(head_lines) + (0.08 if name else 0.0)
    needed = max(area[1] + head, (head + 1.3) if bar else 0.0)
    figure = new_figure(_EDGE + area[0] + bar_room, _EDGE + needed)
    size = float(figure.get_figwidth()), float(figure.get_figheight())
    axes = figure.add_axes(_box(_EDGE, size[1] - _EDGE - head - area[1], *area, size))
    axes.add_image(Sheet(axes, canvas, per_inch))
    axes.set(xlim=(0, canvas.shape[1]), ylim=(canvas.shape[0], 0))
    axes.set_axis_off()
    if any(lines):
        axes.add_collection(Titles(axes, lines, columns, grid), autolim=False)
    corner = _EDGE / size[0], 1 - _EDGE / size[1]
    figure.text(*corner, "\n".join(head_lines), ha="left", va="top", fontsize=_FONT + 2)
    if bar:
        _draw_bar(figure, bar, area, size, head + _EDGE)
    return figure


def _good_columns(count: int) -> int:
    return count if count <= 4 else math.ceil(math.sqrt(count * 1.5))


def _widest(height: int, width: int) -> float:
    """Return how wide a single tile may become, in inches: a flat one may take more room."""
    return 3.4 * max(1.0, min(width / height, 2.0))


def _wrapped(titles: Sequence[str], tile_width: float) -> list[str]:
    if not any(titles) or not _fits("0000", tile_width, _FONT):
        return [""] * len(titles)
    room = tile_width - _GAP
    return ["\n".join(_wrap(title, room, _FONT)[:4]) if title else "" for title in titles]


def _wrap(text: str, room: float, size: float) -> list[str]:
    """Break a text into lines of at most ``room`` inches; a word that is too long is cut."""
    lines = []
    for paragraph in text.split("\n"):
        line = ""
        for word in paragraph.split():
            longer = f"{line} {word}".lstrip()
            if line and not _fits(longer, room, size):
                lines.append(line)
                longer = word
            while not _fits(longer, room, size):
                head = next(n for n in range(len(longer), 0, -1) if _fits(longer[:n], room, size))
                lines.append(longer[:head])
                longer = longer[head:]
            line = longer
        lines.append(line)
    return lines


def _fits(text: str, room: float, size: float) -> bool:
    """Whether a line of text, as Agg draws it, takes at most ``room`` inches."""
    # Measuring takes a millisecond; no letter is wider than high, so most need none.
    if len(text) <= 1 or len(text) * size / 72 <= room:
        return True
    renderer = RendererAgg(1, 1, DPI)
    width = renderer.get_text_width_height_descent(text, FontProperties(size=size), False)[0]
    return width / DPI <= room


def _canvas(
    tiles: np.ndarray, columns: int, rows: int, tile_width: float, title_room: float
) -> tuple[np.ndarray, _Grid]:
    """Copy all tiles (N, H, W, 3) into one white picture, RGBA.

    Small tiles grow by a whole factor, so that a pixel of a map stays a square.
    """
    count, height, width = tiles.shape[:3]
    factor, gap, per_inch = _magnification(width, tile_width)
    room = round(title_room * per_inch)
    step_y, step_x = height * factor + gap + room, width * factor + gap
    # One cell for each tile, its title above it; then the cells are set side by side.
    cells = np.full((rows * columns, step_y, step_x, 4), 255, dtype=np.uint8)
    large = tiles.repeat(factor, axis=1).repeat(factor, axis=2)
    cells[:count, room : room + height * factor, : width * factor, :3] = large
    side_by_side = cells.reshape(rows, columns, step_y, step_x, 4).swapaxes(1, 2)
    canvas = side_by_side.reshape(rows * step_y, columns * step_x, 4)
    return canvas[:-gap, :-gap], _Grid(step_x, step_y, room, per_inch)


def _magnification(width: int, tile_width: float) -> tuple[int, int, float]:
    """Return by which whole factor a tile grows, the gap in pixels, and pixels per inch.

    Where it costs little size, one pixel of a tile becomes a whole number of the figure's.
    """
    room = tile_width * DPI
    gap = max(1, round(min(_GAP * DPI, room * 0.2)))
    whole = max(1, int((room - gap) // width))
    if 0.75 * room <= whole * width + gap <= max(room, width + gap if width <= 4 else 0):
        return whole, gap, DPI
    factor = max(1, round(room / width))
    per_inch = width * factor / (tile_width - min(_GAP, tile_width * 0.2))
    return factor, max(1, round(min(_GAP, tile_width * 0.2) * per_inch)), per_inch


def _pitch(width: int, tile_width: float) -> float:
    """Return how far apart tiles stand, in inches: at times less than ``tile_width``."""
    factor, gap, per_inch = _magnification(width, tile_width)
    return (width * factor + gap) / per_inch


class Sheet(AxesImage):
    """All tiles as one image, RGBA uint8, that fills its axes."""

    def __init__(self, axes: Axes, canvas: np.ndarray, per_inch: float) -> None:
        """Take the picture and how many of its pixels make an inch of the figure."""
        height, width = canvas.shape[:2]
        smooth = "nearest" if per_inch <= DPI * 1.5 else "antialiased"
        super().__init__(axes, interpolation=smooth, extent=(0, width, height, 0))
        self.set_data(canvas)
        self._per_inch = per_inch

    def make_image(
        self, renderer: Any, magnification: float = 1.0, unsampled: bool = False
    ) -> tuple[Any, float, float, Any]:
        """Return the pixels to draw and where; without resampling where one is one of the figure.

        Resampling would give the same pixels, and would take longer than all other drawing.
        """
        if self._per_inch != self.axes.figure.dpi * magnification or unsampled:
            return super().make_image(renderer, magnification, unsampled)
        left, bottom = self.axes.bbox.min
        return np.asarray(self.get_array())[::-1], round(left), round(bottom), None


class Titles(PathCollection):
    """Short texts, each above its tile, as one artist: a matplotlib ``Text`` takes a millisecond.

    Attributes:
        texts: what is written, a text for each tile.
    """

    def __init__(self, axes: Axes, texts: Sequence[str], columns: int, grid: _Grid) -> None:
        """Lay the lines of each text on top of each other, above its tile."""
        self.texts = list(texts)
        lines = [
            (line, i % columns * grid.step_x, i // columns * grid.step_y + grid.title_room - above)
            for i, text in enumerate(texts)
            for line, above in _lines_above(text, grid.per_inch)
        ]
        font = FontProperties()
        super().__init__(
            [_outline(line, font) for line, _, _ in lines],
            offsets=[place for _, *place in lines],
            offset_transform=axes.transData,
            facecolors="black",
            linewidths=0,
        )
        self.set_transform(Affine2D().scale(1 / 72) + axes.figure.dpi_scale_trans)


def _lines_above(text: str, per_inch: float) -> list[tuple[str, float]]:
    """Return each line with its distance above the tile: the last one stands lowest."""
    lines = text.split("\n") if text else []
    return [(line, (n * _LINE + _DESCENT) * per_inch) for n, line in enumerate(reversed(lines))]


@lru_cache(maxsize=4096)
def _outline(text: str, font: FontProperties) -> Path:
    """Return a line of text as outlines in points: channels have the same numbers in every grid."""
    return TextPath((0, 0), text, size=_FONT, prop=font)


def _box(
    x: float, y: float, w: float, h: float, size: tuple[float, float]
) -> tuple[float, float, float, float]:
    return x / size[0], y / size[1], w / size[0], h / size[1]


def _draw_bar(
    figure: Figure, bar: Bar, area: tuple[float, float], size: tuple[float, float], head: float
) -> None:
    height = min(max(area[1] - 0.2, 1.0), 2.6)
    place = _box(_EDGE + area[0] + 0.12, size[1] - head - height - 0.1, 0.12, height, size)
    low, high = (0.0, 1.0) if bar.low is None or bar.high is None else (bar.low, bar.high)
    flat = high <= low
    axes = figure.add_axes(place)
    colour_bar(axes, COLOUR_MAPS[bar.scale], low, low + 1 if flat else high)
    axes.tick_params(labelsize=_FONT - 1)
    axes.set_ylabel(bar.label, fontsize=_FONT)
    if bar.low is None:
        ends = {"sequential": (0.0, 1.0), "diverging": (0.0, 0.5, 1.0)}[bar.scale]
        names = {2: ("low", "high"), 3: ("−max", "0", "+max")}[len(ends)]
        axes.set_yticks(list(ends), labels=list(names))
    elif flat:
        axes.set_yticks([low], labels=[f"{low:g} everywhere"])
    else:
        values = np.linspace(low, high, 5)
        axes.set_yticks(list(values), labels=[f"{value:.3g}" for value in values])


def colour_bar(axes: Axes, cmap: Any, low: float, high: float) -> None:
    """Fill a pair of axes with the colours from ``low`` to ``high``, their values on the right.

    matplotlib's own colour bar has axes and locators of its own and takes twice as long.
    """
    steps = np.linspace(0, 1, 256)[:, None]
    axes.imshow(
        steps, cmap=cmap, aspect="auto", origin="lower", extent=(0, 1, low, high), vmin=0, vmax=1
    )
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.yaxis.set_label_position("right")


def side_by_side(*figures: Figure, below: bool = False) -> Figure:
    """Return one figure that shows several on white: left to right, or one below the other."""
    pictures = [Canvas(figure).pixels() for figure in figures]
    along, across = (0, 1) if below else (1, 0)
    most = max(picture.shape[across] for picture in pictures)
    padded = []
    for picture in pictures:
        room = [(0, 0), (0, 0), (0, 0)]
        room[across] = (0, most - picture.shape[across])
        padded.append(np.pad(picture, room, constant_values=255))
    joined = np.concatenate(padded, axis=along)
    whole = new_figure(joined.shape[1] / DPI, joined.shape[0] / DPI)
    axes = whole.add_axes((0, 0, 1, 1))
    axes.imshow(joined, interpolation="nearest")
    axes.set_axis_off()
    return whole
