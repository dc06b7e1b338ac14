"""A scene: the position of each frame, its colour scale, and the controls that it needs."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

import vizhelpers as viz
from vizhelpers.view.charts import Bars
from vizhelpers.view.live.controls import Control, adjust, controls_of, widget_for
from vizhelpers.view.live.scene import Scene

BASE = np.full((6, 6, 3), 100, dtype=np.uint8)


def stack(layer: str, side: int, top: float = 1.0, **more: object) -> viz.ImageStack:
    """Two maps of one layer, for the classes cat and cup."""
    frames = np.linspace(0, top, 2 * side * side, dtype=np.float32).reshape(2, side, side)
    axes = {"layer": [layer], "class": ["cat", "cup"]}
    return viz.ImageStack(frames, axes, name=layer, base=BASE, **more)  # type: ignore[arg-type]


@pytest.fixture
def ragged() -> Scene:
    """Two layers with maps of their own size."""
    stacks = [stack("early", 4), stack("late", 2, top=50.0)]
    return Scene(stacks, axes={"layer": ["early", "late"], "class": ["cat", "cup"]}, name="CAM")


def test_every_frame_keeps_its_layers_size_and_scale(ragged: Scene) -> None:
    payload = ragged.payload()
    assert payload["sizes"] == [[4, 4], [4, 4], [2, 2], [2, 2]]
    assert payload["limits"] == [[0, 1], [0, 1], [0, 50], [0, 50]]
    assert payload["group"] == "layer"
    assert payload["titles"] == ["early · cat", "early · cup", "late · cat", "late · cup"]


@pytest.mark.parametrize("chosen", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_a_frame_is_selected_by_an_index_on_each_axis(
    ragged: Scene, chosen: tuple[int, int]
) -> None:
    layer, number = chosen
    frame = ragged.only(ragged.frame_at(chosen))
    np.testing.assert_array_equal(frame.frames[0], ragged.stacks[layer].frames[number])
    assert frame.limits() == ragged.stacks[layer].limits()[:1]


def test_an_index_beyond_the_end_means_the_last(ragged: Scene) -> None:
    assert ragged.frame_at((1, 7)) == 3


def test_a_scene_of_one_stack_has_its_axes_name_and_scale_group() -> None:
    single = stack("early", 4, scale_group="class")
    scene = Scene([single])
    assert scene.axes == single.axes and scene.name == "early" and scene.group == "class"


def test_stacks_of_one_frame_have_scales_of_their_own() -> None:
    single = [stack("early", 4).select(**{"class": c}) for c in ("cat", "cup")]
    scene = Scene(single, axes={"method": ["a"], "class": ["cat", "cup"]})
    assert scene.group == "frame"
    assert "own_scale" not in [control.trait for control in controls_of(scene)]


def test_one_negative_layer_makes_the_scale_diverging_for_all() -> None:
    scene = Scene(
        [stack("a", 2), stack("b", 2, top=-3.0, scale="diverging")],
        axes={"layer": ["a", "b"], "class": ["cat", "cup"]},
    )
    assert scene.payload()["scale"] == "diverging"
    assert scene.payload()["limits"][0] == [-1, 1]


def drawn(scene: Scene, *chosen: int) -> np.ndarray:
    """Return the tile that a scene's figure shows for a choice on its axes."""
    figure = scene.figure(chosen)
    return np.asarray(figure.axes[0].images[0].get_array())[..., :3]


@pytest.mark.parametrize("labels", [[3, 3], ["crane", "crane"]])
def test_where_labels_repeat_the_figure_shows_the_frame_that_was_chosen(labels: list) -> None:
    frames = np.array([[[0.0, 1.0]], [[1.0, 0.0]]])
    scene = Scene([viz.ImageStack(frames, {"class": labels})])
    np.testing.assert_array_equal(scene.only(1).frames[0], frames[1])
    first, second = drawn(scene, 0), drawn(scene, 1)
    np.testing.assert_array_equal(first, second[:, ::-1])
    assert (first != second).any()


def test_a_frame_keeps_the_scale_of_its_group_in_the_figure() -> None:
    frames = np.array([1.0, 10.0, 2.0, 4.0])[:, None, None]
    axes = {"layer": ["a", "b"], "class": ["cat", "cup"]}
    scene = Scene([viz.ImageStack(frames, axes, scale_group="layer")])
    assert [scene.only(i).limits() for i in range(4)] == [[limits] for limits in
                                                        scene.stacks[0].limits()]  # fmt: skip


FOUR = {"layer": ["a", "b"], "class": ["cat", "cup"], "seed": [0, 5], "step": range(3)}


def test_more_than_three_axes_are_joined_to_the_three_that_the_view_has() -> None:
    stack = viz.ImageStack(np.arange(24.0)[:, None, None], FOUR, name="runs")
    scene = Scene([stack])
    assert scene.shape == (2, 2, 6)
    last = scene.axes["seed · step"]
    assert (last[0], last[4]) == ("seed 0 · step 0", "seed 5 · step 1")
    assert scene.only(scene.frame_at((1, 0, 4))).frames.ravel().tolist() == [16]
    assert scene.titles()[16] == "b · cat · seed 5 · step 1"
    assert [control.trait for control in controls_of(scene)][:3] == ["i0", "i1", "i2"]


def test_three_axes_stay_as_they_are() -> None:
    axes = {"layer": ["a", "b"], "class": ["cat", "cup"], "seed": [0, 5]}
    assert Scene([viz.ImageStack(np.zeros((8, 1, 1)), axes)]).axes == axes


@pytest.mark.parametrize("more", [{}, {"size": [8]}])
def test_a_stack_of_four_axes_or_five_can_be_plotted_explored_and_saved(
    more: dict, tmp_path: Path
) -> None:
    frames = np.arange(24, dtype=np.float32)[:, None, None] * np.ones((1, 2, 2), np.float32)
    stack = viz.ImageStack(frames, FOUR | more, name="runs")
    assert stack.plot().axes
    panel = stack.explore()
    panel.controls["seed · step" + "".join(f" · {name}" for name in more)].index = 4
    assert "seed 5 · step 1" in panel.scene.titles()[4]
    assert panel.figure().axes
    page = stack.save_html(tmp_path / "page.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r'id="page">(.*?)</script>', page).group(1))
    assert [len(axis["labels"]) for axis in data["scenes"][0]["axes"]] == [2, 2, 6]


def test_axes_frames_and_charts_must_fit() -> None:
    with pytest.raises(AssertionError):
        Scene([stack("a", 2)], axes={"layer": ["a", "b"], "class": ["cat", "cup"]})
    with pytest.raises(AssertionError):
        Scene([stack("a", 2)], charts=[[], [], []])


def test_charts_alone_stand_below_each_other() -> None:
    bars = Bars("B", [("a",)], [1.0], ["1"])
    single = Scene(charts=[[bars]]).figure()
    two = Scene(charts=[[bars, bars]]).figure()
    assert two.get_figheight() == pytest.approx(2 * single.get_figheight(), abs=0.02)
    assert two.get_figwidth() == pytest.approx(single.get_figwidth(), abs=0.02)


def test_a_scene_needs_a_control_for_each_axis_that_varies_and_for_its_colours(
    ragged: Scene,
) -> None:
    controls = {control.trait: control for control in controls_of(ragged)}
    assert list(controls) == ["i0", "i1", "blend", "own_scale", "grid"]
    assert (controls["i0"].name, list(controls["i0"].labels)) == ("layer", ["early", "late"])
    assert controls_of(Scene(charts=[[Bars("B", [("a",)], [1.0], ["1"])]])) == []


def test_numbered_labels_get_a_slider() -> None:
    maps = viz.ImageStack(np.zeros((5, 2, 2)), {"channel": range(5)})
    (channel, *_) = controls_of(Scene([maps]))
    assert channel == Control("i0", "channel", "range", high=4)
    slider = widget_for(channel, 9)
    assert (slider.max, slider.value) == (4, 4)
    adjust(slider, Control("i0", "channel", "range", high=2))
    assert (slider.max, slider.value) == (2, 2)


def test_a_dropdown_keeps_its_label_when_the_options_change() -> None:
    dropdown = widget_for(Control("i1", "class", "choice", ["cat", "cup", "dog"]), 1)
    adjust(dropdown, Control("i1", "class", "choice", ["tench", "cat", "cup"]))
    assert (dropdown.value, dropdown.index) == ("cup", 2)
