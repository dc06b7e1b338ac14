"""Pixels of the pictures: what a reader would measure with a ruler."""

import io
import json
from unittest import mock

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

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


def test_as_many_tiles_as_wanted_stand_on_one_axes() -> None:
    figure = montage(tiles_of(RED, 500), [""] * 500)
    assert len(figure.axes) == 1


def test_titles_are_not_cut_off() -> None:
    long = "features.9.expand3x3 with a name as long as this\nand a second line"
    picture = pixels(montage(tiles_of(RED, 3), [long] * 3, name=long * 2, columns=3, width=6))
    assert (picture[:2] == 255).all()
    assert (picture[:, :2] == 255).all()
    # A tile may reach the right edge; dark text may not.
    assert (picture[:, -2:].max(axis=-1) == 255).all()


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


@pytest.mark.parametrize("scale", COLOUR_MAPS)
def test_the_bar_tells_both_ends(scale: str) -> None:
    figure = montage(tile(RED)[None], [""], bar=Bar(scale, "unit", -1.5, 1.5))
    labels = [text.get_text() for text in figure.axes[1].get_yticklabels()]
    assert (labels[0], labels[-1]) == ("-1.5", "1.5")
    assert figure.axes[1].get_ylabel() == "unit"


def test_the_bar_of_a_flat_map_says_so() -> None:
    figure = montage(tile(RED)[None], [""], bar=Bar("sequential", "unit", 0.0, 0.0))
    assert [text.get_text() for text in figure.axes[1].get_yticklabels()] == ["0 everywhere"]


def test_the_bar_of_tiles_with_their_own_scales_gives_no_numbers() -> None:
    figure = montage(tile(RED)[None], [""], bar=Bar("diverging", "unit"))
    labels = [text.get_text() for text in figure.axes[1].get_yticklabels()]
    assert labels == ["−max", "0", "+max"]


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


def test_bars_of_nothing_can_be_drawn() -> None:
    assert pixels(Bars("Nothing", [("a",)], [0.0], ["0"]).draw()).std() > 0


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
