"""Static pictures: many tiles as one montage, with titles and a colour bar."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.transforms import Affine2D
from PIL import Image

from vizhelpers.view.bar import Bar, draw_bar
from vizhelpers.view.canvas import DPI, Canvas, new_figure
from vizhelpers.view.letters import FONT, HEAD, HEAD_LINE, LINE, fits, outlines, wrap
from vizhelpers.view.style import default_style

_LINES = 4  # of a tile's title
_DESCENT = 0.32 * FONT / 72  # inches from a tile up to the letters' base line
_GAP = 0.05  # inches between tiles
_EDGE = 0.06  # inches around all
_LONG, _SHORT = 6.8, 3.4  # inches: the greatest length of a tile's longer and shorter side
_TALLEST = 18.0  # inches of all rows of tiles; with the title a figure stays below 20
_LEAST = 0.5  # inches of a tile's shorter side; smaller ones would only make room for more rows
_NARROWEST = 0.02  # inches of a tile, however many columns are asked for
_SLIM = 8  # a tile is drawn at most so many times as long as wide
_HEAD_LINES = 8
_LEGIBLE = 3.0  # inches for a title that says what was left out


@dataclass(frozen=True)
class _Rows:
    """Rows of tiles that fit on a figure: a tile's width in inches, and the titles in lines."""

    count: int
    tile_width: float
    lines: list[str]

    @property
    def title_room(self) -> float:
        """Inches above each tile for the longest title."""
        return LINE * max((text.count("\n") + 1 for text in self.lines if text), default=0)


@dataclass(frozen=True)
class _Grid:
    """Where tiles lie on the canvas, in its pixels."""

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
    """Draw tiles in rows on one pair of axes, at most about 20 inches high.

    Tiles shrink where their rows would be higher; where they would become too small, the last rows
    are left out. Tiles that are more than eight times as long as wide are drawn with pixels that
    are not square, and the title says so.

    Args:
        tiles: RGB pictures (N, H, W, 3) uint8.
        titles: one short text for each; left out where tiles are too small to carry them.
        name: the figure's title, or a function that returns it for the number of tiles shown.
        bar: the colour bar, or None for pictures whose colours are their own.
        columns: tiles in a row; None chooses.
        width: of the figure in inches; a few small tiles may take less.

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
    """Return tiles at most eight times as long as wide, and what was done to them, in words.

    Of a longer tile, such as the matrix of a 1x1 convolution with one input channel, every n-th
    row is kept where a figure has no pixel for each, and its columns are repeated.
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
    """Return as many rows as fit on a figure, with tiles as wide as that allows.

    Args:
        titles: of all tiles.
        shape: (height, width) of a tile in pixels.
        columns: tiles in a row.
        room: for a row, in inches.
    """
    height, width = shape
    wide = min(room / columns, _widest(height, width))
    least = min(wide, _LEAST * max(1.0, width / height))

    def high(tile_width: float) -> float:
        factor, gap, per_inch = _magnification(width, tile_width)
        return (height * factor + gap) / per_inch

    def laid_out(count: int, tile_width: float) -> _Rows:
        return _Rows(count, tile_width, _wrapped(titles[: count * columns], width, tile_width))

    # Titles take time to measure: only those that may be shown are.
    most = max(1, int(_TALLEST / high(least)))
    rows = laid_out(min(most, math.ceil(len(titles) / columns)), wide)
    if rows.count * (high(wide) + rows.title_room) <= _TALLEST:
        return rows
    smaller = laid_out(rows.count, least)
    count = min(rows.count, max(1, int(_TALLEST / (high(least) + smaller.title_room))))
    free = _TALLEST / count - smaller.title_room - _GAP
    return laid_out(count, min(wide, max(least, free * width / height)))


def _head_lines(text: str, room: float) -> list[str]:
    lines = wrap(text, room, HEAD)
    return lines if len(lines) <= _HEAD_LINES else [*lines[: _HEAD_LINES - 1], "…"]


def _lay_out(
    figure: Figure, canvas: np.ndarray, lines: Sequence[str], columns: int, grid: _Grid, head: float
) -> None:
    """Draw the tiles and their titles, ``head`` inches below the upper edge."""
    width, height = figure.get_size_inches()
    wide, high = canvas.shape[1] / grid.per_inch, canvas.shape[0] / grid.per_inch
    box = _EDGE / width, (height - head - high) / height, wide / width, high / height
    axes = figure.add_axes(box)
    axes.add_image(Sheet(axes, canvas))
    axes.set(xlim=(0, canvas.shape[1]), ylim=(canvas.shape[0], 0))
    axes.set_axis_off()
    if any(lines):
        axes.add_collection(Titles(axes, lines, columns, grid), autolim=False)


def _good_columns(count: int, slim: float) -> int:
    """Return how many tiles stand in a row; tall ones, ``slim`` times as high as wide, are more."""
    return count if count <= 4 else math.ceil(math.sqrt(count * 1.5 * max(1.0, slim / 2)))


def _widest(height: int, width: int) -> float:
    """Return how wide a single tile may become, in inches: a flat one may take more room."""
    return min(_SHORT * max(1.0, width / height), _LONG * min(1.0, width / height))


def _wrapped(titles: Sequence[str], width: int, tile_width: float) -> list[str]:
    """Return each title in lines that fit above a tile ``width`` pixels wide."""
    pitch = _pitch(width, tile_width)
    if not any(titles) or not fits("0000", pitch, FONT):
        return [""] * len(titles)
    lines = [wrap(title, pitch - _GAP, FONT) if title else [""] for title in titles]
    return ["\n".join(row if len(row) <= _LINES else [*row[: _LINES - 1], "…"]) for row in lines]


def _canvas(tiles: np.ndarray, columns: int, rows: _Rows) -> tuple[np.ndarray, _Grid]:
    """Copy all tiles (N, H, W, 3) into one white picture, RGBA.

    Small tiles grow by a whole factor, so that a pixel of a map stays a square.
    """
    count, height, width = tiles.shape[:3]
    factor, gap, per_inch = _magnification(width, rows.tile_width)
    room = round(rows.title_room * per_inch)
    step_y, step_x = height * factor + gap + room, width * factor + gap
    # One cell for each tile, its title above it; then the cells are set side by side.
    cells = np.full((rows.count * columns, step_y, step_x, 4), 255, dtype=np.uint8)
    large = tiles.repeat(factor, axis=1).repeat(factor, axis=2)
    cells[:count, room : room + height * factor, : width * factor, :3] = large
    side_by_side = cells.reshape(rows.count, columns, step_y, step_x, 4).swapaxes(1, 2)
    canvas = side_by_side.reshape(rows.count * step_y, columns * step_x, 4)
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

    def __init__(self, axes: Axes, canvas: np.ndarray) -> None:
        """Fill the axes with a picture, upright."""
        height, width = canvas.shape[:2]
        super().__init__(axes, extent=(0, width, height, 0))
        self.set_data(canvas)

    def make_image(
        self, renderer: Any, magnification: float = 1.0, unsampled: bool = False
    ) -> tuple[Any, float, float, Any]:
        """Return the pixels to draw and where.

        Where one pixel of the picture is one of the figure's nothing is resampled. Else Pillow
        does it: matplotlib computes in floating point, which takes ten times as long and as much
        memory, longer than all other drawing.
        """
        box, picture = self.axes.bbox, np.asarray(self.get_array())
        size = round(box.width * magnification), round(box.height * magnification)
        if size != picture.shape[1::-1]:
            smaller = picture.shape[1] > 1.5 * size[0]
            how = Image.Resampling.HAMMING if smaller else Image.Resampling.NEAREST
            picture = np.asarray(Image.fromarray(picture).resize(size, how))
        return picture[::-1], round(box.x0), round(box.y0), None


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
        super().__init__(
            outlines(line for line, _, _ in lines),
            offsets=[place for _, *place in lines],
            offset_transform=axes.transData,
            facecolors="black",
            linewidths=0,
        )
        self.set_transform(Affine2D().scale(1 / 72) + axes.figure.dpi_scale_trans)


def _lines_above(text: str, per_inch: float) -> list[tuple[str, float]]:
    """Return each line with its distance above the tile: the last one stands lowest."""
    lines = text.split("\n") if text else []
    return [(line, (n * LINE + _DESCENT) * per_inch) for n, line in enumerate(reversed(lines))]


@default_style()
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
