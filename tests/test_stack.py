"""ImageStack: axes, scales, colours, the montage, and the HTML file."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image

import vizhelpers as viz
from vizhelpers.view.canvas import to_png
from vizhelpers.view.colour import NO_NUMBER


def ramp(count: int = 6, scale: str = "sequential", **more: object) -> viz.ImageStack:
    """Frames whose values are 0, 1, 2, … times their number."""
    frames = np.arange(4, dtype=np.float32).reshape(2, 2) * np.arange(count)[:, None, None]
    return viz.ImageStack(frames, axes={"channel": range(count)}, scale=scale, **more)


def texts(figure: Figure) -> list[str]:
    return [*titles(figure), *(text.get_text() for text in figure.texts)]


def titles(figure: Figure) -> list[str]:
    """Return the titles of the tiles, which are drawn as one artist."""
    artists = [artist for axes in figure.axes for artist in axes.collections]
    return [title for artist in artists for title in artist.get_label().split("\n\n")]


def test_axes_and_frames_must_agree() -> None:
    with pytest.raises(ValueError, match="6 frames"):
        viz.ImageStack(np.zeros((6, 2, 2)), axes={"layer": "ab", "class": "cd"})


@pytest.mark.parametrize(
    ("frames", "scale"),
    [
        (np.zeros((2, 4, 4)), "rgb"),
        (np.zeros((2, 4, 4, 3)), "sequential"),
        (np.zeros((0, 4, 4)), "sequential"),
    ],
)
def test_frames_of_the_wrong_kind_are_refused(frames: np.ndarray, scale: str) -> None:
    with pytest.raises(ValueError, match=r"frames|at least one frame"):
        viz.ImageStack(frames, axes={"i": range(len(frames))}, scale=scale)


def test_an_unknown_scale_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="sequential"):
        ramp(scale="sequental")


def test_select_keeps_frames_and_colours_of_the_full_stack() -> None:
    stack = ramp()
    small = stack.select(channel=[1, 5])
    np.testing.assert_array_equal(small.frames, stack.frames[[1, 5]])
    assert small.axes == {"channel": [1, 5]}
    np.testing.assert_array_equal(small.colours(0), stack.colours(1))


def test_select_of_a_missing_label_or_axis_names_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"channel .*This stack holds"):
        ramp().select(channel=9)
    with pytest.raises(ValueError, match="'channel'"):
        ramp().select(chanel=1)


def test_select_returns_all_frames_that_carry_a_label() -> None:
    frames = np.arange(6, dtype=np.float32)[:, None, None]
    axes = {"layer": ["a", "b"], "class": ["crane", "cat", "crane"]}
    stack = viz.ImageStack(frames, axes)
    cranes = stack.select(**{"class": "crane"})
    assert cranes.frames.ravel().tolist() == [0, 2, 3, 5]
    assert cranes.axes == {"layer": ["a", "b"], "class": ["crane", "crane"]}
    assert stack.select(layer="b").frames.ravel().tolist() == [3, 4, 5]
    assert stack.select(**stack.axes).frames.ravel().tolist() == [0, 1, 2, 3, 4, 5]
    swapped = stack.select(layer="a", **{"class": ["cat", "crane"]})
    assert swapped.frames.ravel().tolist() == [1, 0, 2]


def test_a_label_that_does_not_repeat_may_be_asked_for_twice() -> None:
    assert ramp().select(channel=[1, 1]).axes == {"channel": [1, 1]}


def test_one_frame_is_chosen_by_its_position_and_keeps_its_colours() -> None:
    frames = np.arange(6, dtype=np.float32)[:, None, None] * np.ones((1, 2, 2), np.float32)
    frames[:, 0, 0] *= 2
    axes = {"layer": ["a", "b"], "class": ["crane", "cat", "crane"]}
    for group in ("all", "frame", "layer", "class"):
        stack = viz.ImageStack(frames, axes, scale_group=group, values=np.arange(6))
        for i in range(6):
            only = stack.only(i)
            np.testing.assert_array_equal(only.frames[0], frames[i])
            np.testing.assert_array_equal(only.colours(0), stack.colours(i))
            assert [row[0] for row in only.axes.values()] == ["ab"[i // 3], axes["class"][i % 3]]
            assert only.values.tolist() == [i]
    with pytest.raises(ValueError, match="index=6"):
        stack.only(6)


def test_one_picture_of_an_rgb_stack_is_chosen_by_its_position_too() -> None:
    frames = np.arange(2 * 2 * 2 * 3, dtype=np.uint8).reshape(2, 2, 2, 3)
    only = viz.ImageStack(frames, {"i": "aa"}, ["one", "two"], scale="rgb").only(1)
    np.testing.assert_array_equal(only.frames, frames[1:])
    assert only.titles == ["two"]


def test_one_scale_for_all_or_for_each_frame() -> None:
    assert ramp().limits() == [(0.0, 15.0)] * 6
    assert ramp(scale_group="frame").limits() == [(0.0, 3.0 * i) for i in range(6)]


def test_a_group_is_an_axis() -> None:
    frames = np.arange(4, dtype=np.float32)[:, None, None] * np.ones((1, 2, 2))
    axes = {"layer": ["a", "b"], "class": ["x", "y"]}
    stack = viz.ImageStack(frames, axes=axes, scale_group="layer")
    assert stack.limits() == [(0.0, 1.0), (0.0, 1.0), (0.0, 3.0), (0.0, 3.0)]


def test_a_diverging_scale_is_centred_on_zero() -> None:
    stack = viz.ImageStack(
        np.array([[[-1.0, 0.0], [0.0, 4.0]]]), axes={"i": [0]}, scale="diverging"
    )
    assert stack.limits() == [(-4.0, 4.0)]
    assert stack.colours(0)[0, 1].min() >= 252, "zero is not white"


def test_colours_are_the_colour_maps_own() -> None:
    stack = viz.ImageStack(np.array([[[0.0, 1.0], [2.0, 4.0]]]), axes={"i": [0]})
    expected = (colormaps["viridis"](np.array([0, 0.25, 0.5, 1.0]))[:, :3] * 255).round()
    np.testing.assert_allclose(stack.colours(0).reshape(4, 3), expected, atol=1)
    assert not np.array_equal(stack.colours(0)[0, 0], stack.colours(0)[1, 1])


def test_an_overlay_mixes_map_and_photograph_at_the_photographs_size() -> None:
    base = np.full((8, 8, 3), 200, dtype=np.uint8)
    stack = ramp(base=base)
    assert stack.colours(5, blend=1.0).shape == (2, 2, 3)
    half = stack.colours(0, blend=0.5)
    assert half.shape == (8, 8, 3)
    pure = stack.colours(0)[0, 0].astype(float)
    np.testing.assert_allclose(half[0, 0], (pure + 200) / 2, atol=1)
    np.testing.assert_array_equal(stack.colours(3, blend=0.0), base)


def test_plot_draws_one_montage_and_one_colour_bar_however_many_frames() -> None:
    assert len(ramp(4).plot().axes) == len(ramp(60).plot().axes) == 2


def test_the_title_says_how_many_frames_are_shown() -> None:
    shown = texts(ramp(70, name="maps").plot(limit=64))
    assert "maps (64 of 70)" in shown
    assert "(64 of 70)" not in " ".join(texts(ramp(64, name="maps").plot(limit=64)))


def test_the_title_says_how_many_fit_where_rows_were_left_out() -> None:
    base = np.zeros((8, 8, 3), dtype=np.uint8)
    for photograph in (False, True):
        figure = ramp(70, name="maps", base=base).plot(columns=1, photograph=photograph)
        (title,) = (text for text in texts(figure) if text.startswith("maps"))
        shown = int(re.fullmatch(r"maps \((\d+) of 70\)", title).group(1))
        assert len(titles(figure)) == shown + photograph
        assert titles(figure)[-1] == str(shown - 1)


def test_titles_and_numbers_of_the_colour_bar_are_written() -> None:
    figure = ramp(3, unit="activation").plot()
    assert {"0", "1", "2"} <= set(texts(figure))
    bar = figure.axes[1]
    labels = [label.get_text() for label in bar.get_yticklabels()]
    assert (labels[0], labels[-1]) == ("0", "6")
    assert "activation" in bar.get_ylabel() and "one scale" in bar.get_ylabel()


def test_frames_with_scales_of_their_own_say_their_maximum() -> None:
    figure = ramp(3, scale_group="frame").plot()
    assert "2\nmax 6" in texts(figure)
    assert "its own scale" in figure.axes[1].get_ylabel()


def test_the_photograph_stands_beside_the_frames() -> None:
    base = np.zeros((8, 8, 3), dtype=np.uint8)
    assert "input" in texts(ramp(2, base=base).plot(photograph=True))
    with pytest.raises(ValueError, match="no photograph"):
        ramp(2).plot(photograph=True)


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"columns": 0}, {"blend": 1.5}])
def test_plot_refuses_impossible_settings(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ramp().plot(**wrong)


def test_figures_have_whole_pixels_so_their_text_is_the_same_everywhere() -> None:
    for count in (1, 3, 17, 64):
        figure = ramp(count).plot()
        size = figure.get_size_inches() * figure.dpi
        np.testing.assert_allclose(size, size.round(), atol=1e-6)


def test_pixels_of_small_tiles_stay_whole() -> None:
    frames = np.zeros((48, 3, 3), dtype=np.float32)
    frames[:, 1, 1] = 1
    stack = viz.ImageStack(frames, axes={"slice": range(48)})
    png = np.asarray(Image.open(io.BytesIO(to_png(stack.plot(columns=16)))).convert("RGB"))
    yellow = (np.abs(png.astype(int) - stack.colours(0)[1, 1]).sum(axis=2) == 0)[
        :, :660
    ]  # without the bar
    runs = {
        len(run) for row in yellow for run in re.findall("1+", "".join(str(int(v)) for v in row))
    }
    assert len(runs) == 1, f"the middle pixels are {sorted(runs)} pixels wide"


def test_the_html_file_holds_all_frames_and_loads_nothing(tmp_path: Path) -> None:
    path = ramp(5, name="<maps>").save_html(tmp_path / "maps.html")
    page = path.read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="page">(.*?)</script>', page).group(1))
    (scene,) = data["scenes"]
    assert scene["sizes"] == [[2, 2]] * 5
    assert len(base64.b64decode(data["blobs"][scene["data"]["blob"]])) == 5 * 2 * 2
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", page)
    assert "<maps>" not in page and "&lt;maps&gt;" in page


def test_a_value_that_is_not_finite_spoils_no_scale(tmp_path: Path) -> None:
    frames = np.array([[[0.0, np.nan], [1.0, 2.0]], [[np.inf, 3.0], [4.0, -np.inf]]])
    stack = viz.ImageStack(frames, {"channel": range(2)})
    assert stack.limits() == [(0.0, 4.0)] * 2
    page = stack.save_html(tmp_path / "page.html").read_text(encoding="utf-8")
    json.loads(re.search(r'id="page">(.*?)</script>', page).group(1), parse_constant=pytest.fail)


def gaps(**more: object) -> viz.ImageStack:
    """Four frames: whole, with one NaN, with NaN and infinite values, without any number."""
    frames = np.ones((4, 2, 3), dtype=np.float32)
    frames[1, 0, 0] = np.nan
    frames[2, 0] = np.nan, np.inf, -np.inf
    frames[3] = np.nan
    return viz.ImageStack(frames, {"channel": range(4)}, **more)


SAID = ["", " · 1 NaN", " · 1 NaN · 2 infinite", " · no numbers"]


@pytest.mark.filterwarnings("error")
def test_the_title_of_a_frame_says_what_of_it_is_no_number() -> None:
    figure = gaps(name="maps").plot()
    for i, words in enumerate(SAID):
        assert f"{i}{words}" in [" ".join(text.split()) for text in texts(figure)]
    assert "maps · brown: no number" in texts(figure)
    assert gaps().long_titles() == [f"channel {i}{words}" for i, words in enumerate(SAID)]
    assert gaps().figure_titles() == [f"{i}{words}" for i, words in enumerate(SAID)]
    assert gaps().titles == ["0", "1", "2", "3"], "a stack's own titles are the caller's"


@pytest.mark.filterwarnings("error")
def test_a_stack_without_any_number_says_so_beside_its_bar() -> None:
    frames = np.full((2, 2, 2), np.nan)
    for one in (frames, frames[:1]):
        figure = viz.ImageStack(one, {"i": range(len(one))}).plot()
        to_png(figure)
        labels = [label.get_text() for label in figure.axes[1].get_yticklabels()]
        assert labels == ["no numbers"]
        assert "brown: no number" in texts(figure)


def test_a_title_keeps_to_its_frame_through_select() -> None:
    assert gaps().select(channel=[2]).long_titles() == ["channel 2 · 1 NaN · 2 infinite"]
    whole = gaps().select(channel=0)
    assert whole.long_titles() == ["channel 0"]
    assert not any("no number" in text for text in texts(whole.plot()))


def test_where_tiles_are_too_small_for_titles_the_figures_name_says_it() -> None:
    frames = np.zeros((900, 2, 2), dtype=np.float32)
    frames[7] = np.nan
    figure = viz.ImageStack(frames, {"i": range(900)}, name="many").plot(limit=900)
    assert texts(figure) == ["many · brown: no number"]


@pytest.mark.parametrize("blend", [1.0, 0.5])
def test_what_is_no_number_is_drawn_in_a_colour_of_its_own(blend: float) -> None:
    base = np.full((4, 6, 3), 201, dtype=np.uint8)
    lost = np.array(NO_NUMBER) if blend == 1 else (np.array(NO_NUMBER) + 201.0) / 2
    drawn = gaps(base=base).colours(3, blend)
    np.testing.assert_allclose(drawn, np.broadcast_to(lost, drawn.shape), atol=0.51)
    drawn = gaps(base=base).colours(0, blend).astype(float)
    assert np.abs(drawn - lost).sum(axis=-1).min() > 60


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_the_saved_page_says_so_too(tmp_path: Path) -> None:
    page = gaps().save_html(tmp_path / "page.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="page">(.*?)</script>', page).group(1))
    (scene,) = data["scenes"]
    assert scene["gaps"] == [False, True, True, True]
    assert scene["titles"] == [f"channel {i}{words}" for i, words in enumerate(SAID)]
    assert "Brown: no number." in scene["note"]


def test_long_titles_name_the_axes_that_vary() -> None:
    assert ramp(2).long_titles() == ["channel 0", "channel 1"]
    assert ramp(2, titles=["a", "b"]).long_titles() == ["a", "b"]
    assert ramp(3).select(channel=2).long_titles() == ["channel 2"]


def test_html_into_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no folder"):
        ramp().save_html(tmp_path / "missing" / "maps.html")


def test_a_single_limit_beyond_all_values_turns_no_scale_round() -> None:
    frames = np.arange(16, dtype=np.float32).reshape(1, 4, 4)
    assert viz.ImageStack(frames, {"n": [0]}, vmin=50).limits() == [(50.0, 50.0)]
    assert viz.ImageStack(frames - 20, {"n": [0]}, vmax=-50).limits() == [(-50.0, -50.0)]
