"""Still pictures: many tiles in one montage, with titles and a colour bar."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont
from matplotlib.image import AxesImage
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D
from PIL import Image

from vizhelpers.view.bar import Bar, draw_bar
from vizhelpers.view.canvas import (
    DPI,
    FONT,
    HEAD,
    HEAD_LINE,
    LINE,
    Canvas,
    new_figure,
    text_width,
    wrap,
)
from vizhelpers.view.style import default_style

_LINES = 4  # of a tile's title
_DESCENT = 0.32 * FONT / 72  # inches from a tile up to the base line of its title
_GAP = 0.05  # inches between tiles
_EDGE = 0.06  # inches around all
_LONG, _SHORT = 6.8, 3.4  # greatest length of a tile's longer and shorter side, in inches
_TALLEST = 18.0  # height of all rows of tiles, in inches; with its title a figure stays below 20
_LEAST = 0.5  # least length of a tile's shorter side where rows are left out, in inches
_NARROWEST = 0.02  # least width of a tile, in inches
_SLIM = 8  # greatest ratio of a tile's sides
_HEAD_LINES = 8  # of the figure's title
_LEGIBLE = 3.0  # least width of a title that states what was left out, in inches


@dataclass(frozen=True)
class _Rows:
    """Rows that fit on a figure: their number, a tile's width in inches, the wrapped titles."""

    count: int
    tile_width: float
    lines: list[str]

    @property
    def title_room(self) -> float:
        """Height of the longest title, in inches."""
        return LINE * max((text.count("\n") + 1 for text in self.lines if text), default=0)


@dataclass(frozen=True)
class _Grid:
    """Distances between tiles on the canvas, in its pixels."""

    step_x: int
    step_y: int
    title_room: int
    per_inch: float


@default_style()
def montage(
    tiles: np.ndarray,
    titles: Sequence[str],
    *,
    name: str | Callable[[int], str] = "",
    bar: Bar | None = None,
    columns: int | None = None,
    width: float = 8.0,
) -> Figure:
    """Draw tiles in rows on one pair of axes, in a figure at most 20 inches high.

    If the rows are too high, the tiles shrink; if they would shrink below 0.5 inches, the last rows
    are left out. Tiles that are more than eight times as long as wide are drawn with pixels that
    are not square, and the title says so.

    Args:
        tiles: RGB pictures, (N, H, W, 3) uint8.
        titles: N short texts; left out if the tiles are too narrow for them.
        name: the figure's title, or a function that returns it for the number of tiles shown.
        bar: the colour bar; None for RGB pictures.
        columns: tiles in a row; None chooses.
        width: greatest width of the figure, in inches.

    Returns:
        A matplotlib ``Figure``.
    """
    count = len(tiles)
    tiles, remark = _thickened(tiles)
    bar_room = bar.room if bar else 0.0
    room = max(width - bar_room - 2 * _EDGE, _LEAST)
    wanted = columns or _good_columns(count, tiles.shape[1] / tiles.shape[2])
    columns = min(wanted, count, int(room / _NARROWEST))
    rows = _rows(titles, tiles.shape[1:3], columns, room)
    tiles = tiles[: rows.count * columns]
    canvas, grid = _canvas(tiles, columns, rows)

    area = canvas.shape[1] / grid.per_inch, canvas.shape[0] / grid.per_inch
    across = max(area[0] + bar_room, _LEGIBLE if remark or len(tiles) < count else 0.0)
    title = name if isinstance(name, str) else name(len(tiles))
    head_lines = [line for text in (title, remark) if text for line in _head_lines(text, across)]
    head = _EDGE + (HEAD_LINE * len(head_lines) + 0.08 if head_lines else 0.0)
    needed = head + max(area[1], bar.height if bar else 0.0) + _EDGE
    figure = new_figure(_EDGE + across + _EDGE, needed)
    _lay_out(figure, canvas, rows.lines, columns, grid, head)
    size = figure.get_size_inches()
    corner = _EDGE / size[0], 1 - _EDGE / size[1]
    figure.text(*corner, "\n".join(head_lines), ha="left", va="top", fontsize=HEAD)
    if bar:
        draw_bar(figure, bar, _EDGE + area[0], head, area[1])
    return figure


def _thickened(tiles: np.ndarray) -> tuple[np.ndarray, str]:
    """Return tiles at most eight times as long as wide, and a sentence on how they were changed.

    In a longer tile, such as the matrix of a 1x1 convolution with one input channel, columns are
    repeated. If the figure has fewer pixels than the tile has rows, only every n-th row is kept.
    """
    long, short = max(tiles.shape[1:3]), min(tiles.shape[1:3])
    if long <= _SLIM * short:
        return tiles, ""
    tall = tiles.shape[1] == long
    every = max(1, min(math.ceil(long / (_LONG * DPI)), long // (_SLIM * short)))
    tiles = tiles[:, ::every] if tall else tiles[:, :, ::every]
    times = math.ceil(long / every / (_SLIM * short))
    tiles = tiles.repeat(times, axis=2 if tall else 1)
    side, shape = ("rows", "wide as high") if tall else ("columns", "high as wide")
    remarks = [
        f"1 of every {every} {side} is shown" if every > 1 else "",
        f"pixels are drawn {times} times as {shape}" if times > 1 else "",
    ]
    return tiles, "; ".join(filter(None, remarks))


def _rows(titles: Sequence[str], shape: Sequence[int], columns: int, room: float) -> _Rows:
    """Return as many rows as fit on a figure, with the widest tiles possible.

    Args:
        titles: titles of all tiles.
        shape: (height, width) of a tile in pixels.
        columns: tiles in a row.
        room: width of a row, in inches.
    """
    height, width = shape
    wide = min(room / columns, _widest(height, width))
    least = min(wide, _LEAST * max(1.0, width / height))

    def high(tile_width: float) -> float:
        factor, gap, per_inch = _magnification(width, tile_width)
        return (height * factor + gap) / per_inch

    def laid_out(count: int, tile_width: float) -> _Rows:
        return _Rows(count, tile_width, _wrapped(titles[: count * columns], width, tile_width))

    # Only titles that can be shown are wrapped, because measuring takes time.
    most = max(1, int(_TALLEST / high(least)))
    rows = laid_out(min(most, math.ceil(len(titles) / columns)), wide)
    if rows.count * (high(wide) + rows.title_room) <= _TALLEST:
        return rows
    smaller = laid_out(rows.count, least)
    count = min(rows.count, max(1, int(_TALLEST / (high(least) + smaller.title_room))))
    free = _TALLEST / count - smaller.title_room - _GAP
    return laid_out(count, min(wide, max(least, free * width / height)))


def _head_lines(text: str, room: float) -> list[str]:
    # Drawn with hinting, letters are up to 3 % wider than their outlines.
    lines = wrap(text, 0.97 * room, HEAD)
    return lines if len(lines) <= _HEAD_LINES else [*lines[: _HEAD_LINES - 1], "…"]


def _lay_out(
    figure: Figure, canvas: np.ndarray, lines: Sequence[str], columns: int, grid: _Grid, head: float
) -> None:
    """Draw the tiles and their titles ``head`` inches below the figure's upper edge."""
    width, height = figure.get_size_inches()
    wide, high = canvas.shape[1] / grid.per_inch, canvas.shape[0] / grid.per_inch
    box = _EDGE / width, (height - head - high) / height, wide / width, high / height
    axes = figure.add_axes(box)
    sheet = _Sheet(axes, extent=(0, canvas.shape[1], canvas.shape[0], 0))
    sheet.set_data(canvas)
    axes.add_image(sheet)
    axes.set(xlim=(0, canvas.shape[1]), ylim=(canvas.shape[0], 0))
    axes.set_axis_off()
    if any(lines):
        _add_titles(axes, lines, columns, grid)


def _add_titles(axes: Axes, titles: Sequence[str], columns: int, grid: _Grid) -> None:
    """Write a title above each tile, all of them as one collection of outlines.

    A ``Text`` for each would take 0.5 ms: almost half of the time of a grid of 100 maps.
    """
    fonts = tuple(findfont(FontProperties(family=[name])) for name in FontProperties().get_family())
    outlines, places = [], []
    for i, title in enumerate(titles):
        bottom = i // columns * grid.step_y + grid.title_room
        for n, line in enumerate(reversed(title.split("\n"))):
            outlines.append(_outline(line, fonts))
            above = (n * LINE + _DESCENT) * grid.per_inch
            places.append((i % columns * grid.step_x, bottom - above))
    collection = PathCollection(
        outlines, offsets=places, offset_transform=axes.transData, color="black", linewidths=0
    )
    collection.set_transform(Affine2D().scale(1 / 72) + axes.figure.dpi_scale_trans)
    collection.set_label("\n\n".join(titles))
    axes.add_collection(collection, autolim=False)


@lru_cache(maxsize=4096)
def _outline(line: str, fonts: tuple[str, ...]) -> Path:
    """Return a line of text as outlines, in points; the font files complete the cache's key."""
    try:
        return TextPath((0, 0), line, size=FONT)
    except AttributeError:  # matplotlib 3.10, where no letter of the line has an outline
        return Path(np.empty((0, 2)))


def _good_columns(count: int, slim: float) -> int:
    """Return the number of tiles in a row; ``slim`` is a tile's height divided by its width."""
    return count if count <= 4 else math.ceil(math.sqrt(count * 1.5 * max(1.0, slim / 2)))


def _widest(height: int, width: int) -> float:
    """Return the greatest width of a tile, in inches."""
    return min(_SHORT * max(1.0, width / height), _LONG * min(1.0, width / height))


def _wrapped(titles: Sequence[str], width: int, tile_width: float) -> list[str]:
    """Return each title, wrapped to the width of its tile; "" where tiles are too narrow."""
    pitch = _pitch(width, tile_width)
    if not any(titles) or text_width("0000", FONT) > pitch:
        return [""] * len(titles)
    lines = [wrap(title, pitch - _GAP, FONT) if title else [""] for title in titles]
    return ["\n".join(row if len(row) <= _LINES else [*row[: _LINES - 1], "…"]) for row in lines]


def _canvas(tiles: np.ndarray, columns: int, rows: _Rows) -> tuple[np.ndarray, _Grid]:
    """Copy all tiles, (N, H, W, 3), into one white RGB picture.

    Small tiles are magnified by a whole factor, so that a pixel of a map stays a square.
    """
    count, height, width = tiles.shape[:3]
    factor, gap, per_inch = _magnification(width, rows.tile_width)
    room = round(rows.title_room * per_inch)
    step_y, step_x = height * factor + gap + room, width * factor + gap
    # One cell for each tile and the space above it; then the cells are arranged in rows.
    cells = np.full((rows.count * columns, step_y, step_x, 3), 255, dtype=np.uint8)
    large = tiles.repeat(factor, axis=1).repeat(factor, axis=2)
    cells[:count, room : room + height * factor, : width * factor] = large
    side_by_side = cells.reshape(rows.count, columns, step_y, step_x, 3).swapaxes(1, 2)
    canvas = side_by_side.reshape(rows.count * step_y, columns * step_x, 3)
    return canvas[:-gap, :-gap], _Grid(step_x, step_y, room, per_inch)


def _magnification(width: int, tile_width: float) -> tuple[int, int, float]:
    """Return a tile's whole magnification, the gap between tiles in pixels, and pixels per inch.

    Pixels per inch are the figure's own if that makes the tile at most a quarter smaller: then
    each pixel of the tile covers a whole number of the figure's pixels.
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
    """Return the distance between neighbouring tiles in inches, at most about ``tile_width``."""
    factor, gap, per_inch = _magnification(width, tile_width)
    return (width * factor + gap) / per_inch


class _Sheet(AxesImage):
    """An RGB uint8 image that Pillow scales: matplotlib takes 30 ms longer for each figure."""

    def make_image(
        self, renderer: Any, magnification: float = 1.0, unsampled: bool = False
    ) -> tuple[Any, float, float, Any]:
        """Return the pixels to draw, and where."""
        box, picture = self.axes.bbox, Image.fromarray(np.asarray(self.get_array()))
        size = round(box.width * magnification), round(box.height * magnification)
        smaller = picture.width > 1.5 * size[0]
        how = Image.Resampling.HAMMING if smaller else Image.Resampling.NEAREST
        pixels = np.asarray(picture.resize(size, how).convert("RGBA"))
        return pixels[::-1], round(box.x0), round(box.y0), None


@default_style()
def side_by_side(*figures: Figure, below: bool = False) -> Figure:
    """Return one figure that shows several, left to right or top to bottom, on white."""
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
