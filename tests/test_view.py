"""Pixels of the pictures: what a reader would measure with a ruler."""

import io
import json
import math
from unittest import mock

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from vizhelpers.flash import figures
from vizhelpers.view.bar import Bar
from vizhelpers.view.canvas import to_png
from vizhelpers.view.charts import Bars, Curve
from vizhelpers.view.colour import COLOUR_MAPS, NO_NUMBER, colourise, overlay, stretch, table
from vizhelpers.view.static import montage, side_by_side

RED, GREEN, BLUE = (255, 0, 0), (0, 200, 0), (0, 0, 255)


def tile(colour: tuple[int, int, int], side: int = 8) -> np.ndarray:
    return np.full((side, side, 3), colour, dtype=np.uint8)


def tiles_of(colour: tuple[int, int, int], count: int) -> np.ndarray:
    return np.stack([tile(colour)] * count)


def pixels(figure: Figure) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(to_png(figure))).convert("RGB"))


def box_of(picture: np.ndarray, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Return (top, left, height, width) of one colour's pixels, which must form a rectangle."""
    rows, columns = np.nonzero((picture == colour).all(axis=-1))
    assert len(rows), "the colour is not there"
    height, width = int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1
    assert len(rows) == height * width, "it is no rectangle"
    return int(rows.min()), int(columns.min()), height, width


@pytest.mark.parametrize("side", [1, 3, 8, 13, 55, 224])
def test_tiles_are_square_and_keep_their_colours(side: int) -> None:
    tiles = [tile(RED, side), tile(GREEN, side), tile(BLUE, side)]
    picture = pixels(montage(np.stack(tiles), ["", "", ""], columns=2, width=5))
    red, green, blue = (box_of(picture, colour) for colour in (RED, GREEN, BLUE))
    for _, _, height, width in (red, green, blue):
        assert abs(height - width) <= 2
    assert red[0] == green[0] < blue[0]
    assert red[1] == blue[1] < green[1]


def test_a_pixel_of_a_small_map_becomes_a_square_of_one_colour() -> None:
    checks = np.zeros((3, 3, 3), dtype=np.uint8)
    checks[1, 1] = RED
    _, _, height, width = box_of(pixels(montage(checks[None], [""])), RED)
    assert height == width > 20


def test_titles_are_not_cut_off() -> None:
    long = "features.9.expand3x3 with a name as long as this\nand a second line"
    picture = pixels(montage(tiles_of(RED, 3), [long] * 3, name=long * 2, columns=3, width=6))
    assert (picture[:2] == 255).all()
    assert (picture[:, :2] == 255).all()
    # A tile may reach the right edge; dark text may not.
    assert (picture[:, -2:].max(axis=-1) == 255).all()


# ------------------------------------------------------------ tall, thin, and many


def rows_of(height: int, width: int) -> np.ndarray:
    """Return a tile whose rows have colours of their own, (H, W, 3)."""
    row = np.arange(height)
    colours = np.stack([row % 251, row // 251, np.full(height, 199)], axis=-1)
    return np.repeat(colours[:, None], width, axis=1).astype(np.uint8)


def runs_of(picture: np.ndarray) -> tuple[np.ndarray, int, int]:
    """Return the rows of ``rows_of`` that are drawn, and how high and wide each is at least."""
    tile_ = (picture[..., 2] == 199) & (picture != 199).any(axis=-1)  # letters are grey
    column = np.flatnonzero(tile_.any(axis=0))
    line = picture[tile_.any(axis=1), column[0]].astype(int)
    rows, counts = np.unique(line[:, 0] + 251 * line[:, 1], return_counts=True)
    return rows, int(counts.min()), len(column)


SHAPES = [(96, 4), (2048, 1), (1, 2048), (1152, 48), (7, 1), (1, 7), (500, 20), (13, 13), (1, 1)]


@pytest.mark.parametrize("columns", [None, 1, 5000])
@pytest.mark.parametrize("count", [1, 64])
@pytest.mark.parametrize("shape", [*SHAPES, (3000, 4), (600, 100)])
def test_no_montage_is_higher_than_20_inches(
    shape: tuple[int, int], count: int, columns: int | None
) -> None:
    tiles = np.zeros((count, *shape, 3), np.uint8)
    figure = montage(tiles, [f"{i}" for i in range(count)], name="maps", columns=columns)
    assert figure.get_figheight() <= 20 and figure.get_figwidth() <= 20


def test_a_row_of_very_many_columns_is_not_wider_than_20_inches() -> None:
    tiles = np.zeros((6000, 3, 3, 3), np.uint8)
    assert montage(tiles, [""] * 6000, columns=6000).get_figwidth() <= 20


@pytest.mark.parametrize("shape", SHAPES)
def test_a_single_tile_is_neither_very_tall_nor_very_thin(shape: tuple[int, int]) -> None:
    picture = pixels(montage(np.broadcast_to(RED, (1, *shape, 3)).astype(np.uint8), [""]))
    _, _, height, width = box_of(picture, RED)
    assert max(height, width) <= 700
    assert min(height, width) >= 40


def test_every_row_of_a_tall_matrix_is_drawn_with_pixels_that_are_wider_than_high() -> None:
    figure = montage(rows_of(96, 4)[None], ["weights"], name="fc2")
    rows, height, width = runs_of(pixels(figure))
    np.testing.assert_array_equal(rows, np.arange(96))
    assert (height, width) == (6, 3 * 4 * 6)
    assert [text.get_text() for text in figure.texts] == [
        "fc2\npixels are drawn 3 times as wide as high"
    ]


def test_of_more_rows_than_a_figure_has_pixels_some_are_drawn_in_their_own_colours() -> None:
    figure = montage(rows_of(2048, 1)[None], ["weights"])
    rows, height, _ = runs_of(pixels(figure))
    np.testing.assert_array_equal(rows, np.arange(0, 2048, 4))
    assert height == 1
    assert "1 of every 4 rows is shown" in " ".join(figure.texts[0].get_text().split())


def test_a_flat_matrix_is_the_tall_one_lying_down() -> None:
    tall = montage(rows_of(2048, 1)[None], [""])
    flat = montage(rows_of(2048, 1).swapaxes(0, 1)[None], [""])
    size = runs_of(pixels(tall)), runs_of(pixels(flat).swapaxes(0, 1))
    np.testing.assert_array_equal(size[0][0], size[1][0])
    assert size[0][1:] == size[1][1:]
    assert "1 of every 4 columns is shown; pixels are drawn 64 times as high as wide" in " ".join(
        flat.texts[0].get_text().split()
    )


def test_a_tile_that_is_not_extreme_keeps_square_pixels_and_a_figure_that_says_nothing() -> None:
    for shape in ((7, 1), (64, 16), (1, 7), (300, 200)):
        figure = montage(np.broadcast_to(RED, (1, *shape, 3)).astype(np.uint8), [""])
        _, _, height, width = box_of(pixels(figure), RED)
        assert height / width == pytest.approx(shape[0] / shape[1], rel=0.02)
        assert [text.get_text() for text in figure.texts] == [""]


def test_rows_that_do_not_fit_are_left_out_and_the_title_is_asked_for_the_number_shown() -> None:
    tiles = np.stack([tile((i, 0, 199)) for i in range(64)])
    figure = montage(tiles, [str(i) for i in range(64)], name="{} of 64".format, columns=1)
    (title,) = (text.get_text() for text in figure.texts)
    shown = int(title.removesuffix(" of 64"))
    assert 20 < shown < 64
    picture = pixels(figure)
    sides = [box_of(picture, (i, 0, 199))[2] for i in range(shown)]
    assert min(sides) >= 40, "they are too small to be seen"
    assert not (picture == (shown, 0, 199)).all(axis=-1).any()


def test_tiles_shrink_before_rows_are_left_out() -> None:
    figure = montage(tiles_of(RED, 12), [str(i) for i in range(12)], name=str, columns=1)
    assert figure.texts[0].get_text() == "12"
    assert 17 < figure.get_figheight() <= 20


def test_a_long_title_or_label_does_not_make_a_figure_high() -> None:
    figure = montage(tile(RED)[None], [""], name="word " * 999, bar=Bar("sequential", "u" * 9999))
    assert figure.get_figheight() < 12
    assert figure.texts[0].get_text().endswith("…")


@pytest.mark.parametrize("cells", [["name"], ["name", "Conv2d", "8 x 6 x 6"]])
def test_rows_of_bars_that_do_not_fit_are_counted(cells: list[str]) -> None:
    count = 1000
    rows = [[f"{cells[0]} {i}", *cells[1:]] for i in range(count)]
    bars = Bars("Bars", rows, [i / count for i in range(count)], ["x"] * count, marked=700)
    figure = bars.draw()
    assert 15 < figure.get_figheight() <= 20
    axes = figure.axes[0]
    words = [t.get_text() for t in (axes.get_yticklabels() if len(cells) == 1 else axes.texts)]
    labels = [word for word in words if word.removeprefix("▸ ").startswith(("name", "…"))]
    shown = len(labels) - 1
    assert labels[-1] == f"… {count - shown} more rows"
    assert labels[:2] == ["name 0", "name 1"] and labels[-2].endswith("name 700")
    assert len(axes.patches) == shown + 1 and axes.patches[-1].get_width() == 0
    assert axes.patches[-2].get_width() == 0.7


def test_bars_that_fit_are_all_drawn() -> None:
    bars = Bars("Bars", [(str(i),) for i in range(60)], [1.0] * 60, ["x"] * 60)
    assert len(bars.draw().axes[0].patches) == 60


@pytest.mark.parametrize(("count", "shown"), [(20, 20), (21, 21), (30, 25)])
def test_flashtorchs_pictures_of_many_filters_fit_on_one_figure(
    count: int, shown: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "_MOST", 5)  # 256 pictures take seconds
    pictures = [torch.rand(1, 3, 2, 2)] * count
    figure = figures.pictures_figure(pictures, [str(i) for i in range(count)], "conv", (4, 4))
    assert figure.get_figheight() <= 20 and figure.get_figwidth() <= 20
    assert len([axes for axes in figure.axes if axes.images]) == shown
    name = "conv" if shown == count else f"conv ({shown} of {count})"
    assert name in [text.get_text() for text in figure.texts]


# ------------------------------------------------------------ files


@pytest.mark.parametrize("times", [0.5, 1, 2, 3])
def test_a_finer_file_shows_the_same_picture_larger(times: float) -> None:
    figure = montage(np.stack([tile(RED, 55), tile(BLUE, 55)]), ["", ""], width=5)
    plain, buffer = box_of(pixels(figure), BLUE), io.BytesIO()
    figure.savefig(buffer, dpi=100 * times)
    finer = box_of(np.asarray(Image.open(buffer).convert("RGB")), BLUE)
    # Both places are rounded to whole pixels, of which the plain figure's are so much larger.
    np.testing.assert_allclose(finer, np.multiply(plain, times), atol=1 + times)


def test_a_notebook_draws_a_figure_once_though_it_asks_for_a_tight_box() -> None:
    figure, buffer = montage(tile(RED)[None], ["red"]), io.BytesIO()
    with mock.patch.object(Figure, "draw", autospec=True, side_effect=Figure.draw) as draw:
        figure.canvas.print_figure(buffer, format="png", bbox_inches="tight")
    assert draw.call_count == 1
    assert Image.open(buffer).size == tuple(figure.get_size_inches() * figure.dpi)


def test_a_transparent_figure_stays_transparent() -> None:
    figure, buffer = montage(tile(RED)[None], ["red"]), io.BytesIO()
    figure.savefig(buffer, transparent=True)
    assert np.asarray(Image.open(buffer))[0, 0].tolist()[3] == 0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", COLOUR_MAPS)
@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        ((-1.5, 1.5), ["-1.5", "1.5"]),
        ((-0.0, 0.0), ["0 everywhere"]),
        ((math.nan, math.nan), ["no numbers"]),
        ((0.0, math.inf), ["no numbers"]),
        ((-math.inf, 1.0), ["no numbers"]),
    ],
)
def test_the_bar_gives_both_ends_or_says_why_not(
    scale: str, ends: tuple[float, ...], expected: list[str]
) -> None:
    figure = montage(tile(RED)[None], [""], bar=Bar(scale, "unit", *ends))
    figure.canvas.draw()
    labels = figure.axes[1].get_yticklabels()
    words = [text.get_text() for text in labels]
    assert (words if len(expected) == 1 else [words[0], words[-1]]) == expected
    assert figure.axes[1].get_ylabel() == "unit"
    for box in (text.get_window_extent() for text in labels):
        assert box.x1 < figure.bbox.x1 and box.y0 >= figure.bbox.y0, "a label is cut off"


@pytest.mark.parametrize("scale", COLOUR_MAPS)
def test_the_bar_of_tiles_with_their_own_scales_gives_no_numbers(scale: str) -> None:
    figure = montage(tile(RED)[None], [""], bar=Bar(scale, "unit"))
    labels = [text.get_text() for text in figure.axes[1].get_yticklabels()]
    assert labels == {"sequential": ["low", "high"], "diverging": ["−max", "0", "+max"]}[scale]


def test_zero_is_white_between_red_and_blue() -> None:
    colours = colourise(np.array([[-2.0, 0.0, 2.0]]), "diverging", -2, 2)[0]
    assert (colours[1] >= 254).all()
    assert colours[0].tolist() == [0, 0, 255]
    assert colours[2].tolist() == [255, 0, 0]


def test_values_beyond_the_limits_take_the_end_colours() -> None:
    colours = colourise(np.array([[-9.0, 9.0]]), "sequential", 0, 1)[0]
    np.testing.assert_array_equal(colours, table("sequential")[[0, 255]])


def test_sequential_colours_grow_lighter_step_by_step() -> None:
    """Readers who see no hue still see the order."""
    light = table("sequential") @ np.array([0.2126, 0.7152, 0.0722])
    assert np.all(np.diff(light) > -0.5)
    assert light[-1] - light[0] > 150


# How colours look to readers who lack one kind of cone (Machado, Oliveira and Fernandes 2009,
# severity 1), in linear RGB.
EYES = {
    "all three": np.eye(3),
    "no long-wave cones": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "no middle-wave cones": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "no short-wave cones": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def cielab(rgb: np.ndarray, eye: np.ndarray) -> np.ndarray:
    share = np.asarray(rgb) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.asarray(eye).T, 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = seen @ np.array(to_xyz).T / [0.9505, 1, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def nearest_colour(rgb: tuple[int, int, int], eye: np.ndarray) -> float:
    """Return how far a colour is from all that it may lie beside, in CIELAB."""
    pages = [[255, 255, 255], [17, 17, 17], [30, 30, 30], [0, 0, 0]]
    others = np.concatenate([*map(table, COLOUR_MAPS), pages])
    return float(np.linalg.norm(cielab(others, eye) - cielab(rgb, eye), axis=1).min())


@pytest.mark.parametrize("eye", EYES)
def test_every_reader_tells_what_is_no_number_from_each_colour_of_each_scale(eye: str) -> None:
    assert nearest_colour(NO_NUMBER, EYES[eye]) > 20  # 2.3 is just noticeable


def test_magenta_and_grey_would_fail_that_test() -> None:
    for colour in ((255, 0, 255), (128, 128, 128), (0, 0, 0)):
        assert min(nearest_colour(colour, eye) for eye in EYES.values()) < 5


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", COLOUR_MAPS)
@pytest.mark.parametrize("low", [0.0, 1.0])
def test_what_is_no_number_has_a_colour_of_its_own(scale: str, low: float) -> None:
    row = np.array([[np.nan, np.inf, -np.inf, 0.5]], dtype=np.float32)
    colours = colourise(row, scale, low, 1.0)[0].tolist()
    assert colours[:3] == [list(NO_NUMBER)] * 3
    assert colours[3] != list(NO_NUMBER)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", COLOUR_MAPS)
def test_the_greatest_range_of_float32_has_all_colours(scale: str) -> None:
    greatest = float(np.finfo(np.float32).max)
    row = np.array([[-greatest, 0, greatest]], dtype=np.float32)
    colours = colourise(row, scale, -greatest, greatest)[0]
    np.testing.assert_array_equal(colours, table(scale)[[0, 128, 255]])


@pytest.mark.filterwarnings("error")
def test_stretched_a_gap_spreads_as_far_as_it_would_count_and_no_further() -> None:
    frame = np.array([[1, np.inf, 3, 4]], dtype=np.float32)
    large = stretch(frame, (1, 8))[0]
    np.testing.assert_array_equal(np.isnan(large), [False, True, True, True, True, False, False,
                                                    False])  # fmt: skip
    np.testing.assert_allclose(large[[0, 5, 6, 7]], [1, 3.25, 3.75, 4])


def test_overlay_mixes_by_its_share() -> None:
    base, map_ = tile((100, 100, 100)), tile((200, 0, 100))
    np.testing.assert_array_equal(overlay(base, map_, 0.0), base)
    np.testing.assert_array_equal(overlay(base, map_, 1.0), map_)
    assert overlay(base, map_, 0.25)[0, 0].tolist() == [125, 75, 100]


def test_side_by_side_keeps_every_pixel() -> None:
    left, right = (
        montage(tile(RED)[None], [""]),
        montage(tiles_of(BLUE, 4), [""] * 4, columns=1),
    )
    picture = pixels(side_by_side(left, right))
    first, second = pixels(left), pixels(right)
    assert picture.shape == (
        max(len(first), len(second)),
        first.shape[1] + second.shape[1],
        3,
    )
    np.testing.assert_array_equal(picture[: len(first), : first.shape[1]], first)
    np.testing.assert_array_equal(picture[: len(second), first.shape[1] :], second)


def test_bars_are_as_long_as_their_numbers() -> None:
    figure = Bars("Bars", [("a",), ("b",)], [1.0, 0.25], ["1", "1/4"], marked=1).draw()
    widths = [patch.get_width() for patch in figure.axes[0].patches]
    assert widths == [1.0, 0.25]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["a", "▸ b"]
    assert figure.axes[0].patches[0].get_facecolor() != figure.axes[0].patches[1].get_facecolor()


def test_a_long_label_of_a_bar_is_broken_into_lines_and_not_cut_off() -> None:
    figure = Bars(
        "Bars", [("Egyptian cat with a long name",), ("tabby",)], [1.0, 0.5], ["", ""]
    ).draw()
    labels = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert labels == ["Egyptian cat with a long\nname", "tabby"]
    assert (pixels(figure)[:, :2] == 255).all()


@pytest.mark.parametrize("rows", [[], [("a",)]])
def test_bars_of_nothing_can_be_drawn(rows: list[tuple[str]]) -> None:
    assert pixels(Bars("Nothing", rows, [0.0] * len(rows), ["0"] * len(rows)).draw()).std() > 0


NO_NUMBERS = [math.nan, math.inf, -math.inf]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("wrong", NO_NUMBERS)
@pytest.mark.parametrize("more", [[], ["Conv2d", ""]])
def test_a_bar_that_is_no_number_has_no_length_and_says_what_it_is(
    more: list[str], wrong: float
) -> None:
    rows = [["cat", *more], ["dog", *more], ["cup", *more]]
    bars = Bars("B", rows, [0.5, wrong, wrong], ["0.5", f"{wrong:.3f}", "12 MB"], marked=1)
    axes = bars.draw().axes[0]
    assert [patch.get_width() for patch in axes.patches] == [0.5, 0, 0]
    what = "NaN" if math.isnan(wrong) else "infinite"
    assert {f"{wrong:.3f}", f"12 MB ({what})"} <= {text.get_text() for text in axes.texts}
    pixels(bars.draw())
    wire = json.loads(json.dumps(bars.wire(), allow_nan=False))
    assert [row["length"] for row in wire["rows"]] == [0.5, 0, 0]
    assert [row["text"] for row in wire["rows"]] == ["0.5", f"{wrong:.3f}", f"12 MB ({what})"]


def test_a_word_that_only_contains_nan_is_no_number() -> None:
    (row,) = Bars("B", [["fruit"]], [math.nan], ["banana"]).wire()["rows"]
    assert row["text"] == "banana (NaN)"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("marked", [0, 1])
def test_a_curve_has_a_gap_where_a_value_is_no_number_and_says_how_many(marked: int) -> None:
    curve = Curve("Climb", [1.0, math.nan, 4.0, math.inf, 9.0], marked, "step", "value")
    figure = curve.draw()
    pixels(figure)
    line, _ = figure.axes[0].lines
    np.testing.assert_array_equal(line.get_ydata(), [1, math.nan, 4, math.nan, 9])
    assert line.get_marker() == ".", "a value between two gaps is not seen"
    assert figure.axes[0].get_title(loc="left") == "Climb · 1 NaN · 1 infinite"
    wire = json.loads(json.dumps(curve.wire(), allow_nan=False))
    assert (wire["values"], wire["gaps"]) == ([1, 1, 4, 1, 9], [1, 3])
    assert wire["title"] == "Climb · 1 NaN · 1 infinite"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("wrong", NO_NUMBERS)
def test_a_curve_without_any_number_can_be_drawn_and_sent(wrong: float) -> None:
    curve = Curve("Climb", [wrong] * 3, 1, "step", "value")
    figure = curve.draw()
    pixels(figure)
    assert figure.axes[0].get_title(loc="left") == "Climb · no numbers"
    json.dumps(curve.wire(), allow_nan=False)


def test_a_whole_curve_says_nothing_of_gaps() -> None:
    curve = Curve("Climb", [1.0, 4.0], 1, "step", "value")
    assert curve.draw().axes[0].lines[0].get_marker() == "None"
    assert (curve.wire()["gaps"], curve.wire()["title"]) == ([], "Climb")


def test_curve_marks_its_step() -> None:
    figure = Curve("Climb", [1.0, 4.0, 9.0], marked=1, xlabel="step", ylabel="value").draw()
    line, point = figure.axes[0].lines
    assert list(line.get_ydata()) == [1.0, 4.0, 9.0]
    assert (list(point.get_xdata()), list(point.get_ydata())) == ([1], [4.0])


def test_a_table_of_bars_shows_shares_of_the_whole() -> None:
    rows = [("0", "Conv2d", "8 x 6 x 6"), ("1", "ReLU", "")]
    axes = Bars("T", rows, [0.75, 0.0], ["30 (75.0%)", ""]).draw().axes[0]
    assert [patch.get_width() for patch in axes.patches] == [0.75, 0]
    assert axes.get_xlim()[1] == 1
    assert {"30 (75.0%)", "Conv2d", "8 x 6 x 6"} <= {text.get_text() for text in axes.texts}


def test_charts_cross_the_wire_as_json() -> None:
    bars = Bars("B", [("a", "x")], [0.5], ["half"], marked=0).wire()
    curve = Curve("C", np.array([1, 2]), 1, "step", "value").wire()
    assert json.loads(json.dumps([bars, curve])) == [bars, curve]
    assert bars["rows"] == [{"cells": ["a", "x"], "length": 0.5, "text": "half"}]
    assert (curve["values"], curve["marked"]) == ([1.0, 2.0], 1)
