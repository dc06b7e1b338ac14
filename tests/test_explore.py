"""The panels in the kernel: what each control does to the picture. The browser has its own test."""

import base64
import io
from collections.abc import Iterator

import ipywidgets as widgets
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import models

import vizhelpers as viz
from vizhelpers.explore.panel import Panel, int_slider
from vizhelpers.view.charts import bars

# For each panel: the moves, one control each, that must give another picture.
MOVES: dict[str, dict[str, object]] = {
    "structure": {"depth": 1, "model": "vgg13"},
    "summary": {"batch": 9, "side": 100, "model": "vgg13"},
    "kernels": {"layer": "features.3.expand3x3", "out": 5, "into": 1, "weights": 0},
    "feature_maps": {
        "photograph": "rocket",
        "layer": "features.3",
        "channel": 1,
        "show": "overlay",
    },
    "cam": {
        "photograph": "panda",
        "layer": "features.9",
        "target": 281,
        "other": "tench",
        "method": "layercam",
        "blend": 0.9,
    },
    "saliency": {"photograph": "panda", "target": 281, "other": "tench", "method": "guided"},
    "filters": {"layer": "features.1", "channel": 1, "step": 2},
}


def build(name: str, model: nn.Module) -> Panel:
    with torch.device("meta"):
        named = {"SqueezeNet": model, "vgg13": models.vgg13()}
    if name in ("structure", "summary"):
        return getattr(viz, f"explore_{name}")(named)
    if name == "filters":
        return viz.explore_filters(model, steps=3)
    return getattr(viz, f"explore_{name}")(model)


@pytest.fixture(params=MOVES)
def panel_moves(request: pytest.FixtureRequest, model: nn.Module) -> tuple[Panel, dict]:
    return build(request.param, model), MOVES[request.param]


@pytest.fixture
def counting() -> Iterator[tuple[Panel, list[int]]]:
    """A panel that cannot draw 3, and a list of what it was asked to draw."""
    asked: list[int] = []

    def draw(value: int) -> object:
        asked.append(value)
        if value == 3:
            raise ValueError("Not <3>.")
        return bars(["a"], [value], [str(value)], title="A bar")

    panel = Panel("Counting", {"value": int_slider("value", 1, 0, 9)}, draw)  # type: ignore[arg-type]
    yield panel, asked
    panel.close()


def picture(panel: Panel) -> np.ndarray:
    assert panel.message == ""
    return np.asarray(Image.open(io.BytesIO(panel.picture.value)).convert("RGB"))


def test_every_control_changes_the_picture(panel_moves: tuple[Panel, dict]) -> None:
    panel, moves = panel_moves
    assert set(moves) == set(panel.controls), "a control without a move"
    for name, value in moves.items():
        before, kept = panel.picture.value, panel.controls[name].value
        panel.controls[name].value = value
        assert picture(panel).std() > 0, name
        assert panel.picture.value != before, name
        panel.controls[name].value = kept
        assert panel.picture.value == before, f"{name} does not come back"
    panel.close()


def test_sliders_follow_the_layer(model: nn.Module) -> None:
    panel = viz.explore_feature_maps(model, layer="features.12", channel=500)
    panel.controls["layer"].value = "features.0"
    assert (panel.controls["channel"].max, panel.controls["channel"].value) == (63, 63)
    assert picture(panel).std() > 0
    panel.controls["layer"].value = "classifier.1"
    assert panel.controls["channel"].max == 999


def test_a_layer_of_one_pixel_says_so_and_the_panel_goes_on(model: nn.Module) -> None:
    panel = viz.explore_feature_maps(model, layer="classifier.2")
    before = panel.picture.value
    panel.controls["layer"].value = "classifier.3"
    assert "'classifier.3' puts out shape (1, 1000, 1, 1)" in panel.message
    assert panel.picture.value == b""
    panel.controls["layer"].value = "classifier.2"
    assert picture(panel).std() > 0
    assert panel.picture.value == before


def test_a_cam_of_a_layer_without_places_says_why_and_the_panel_goes_on(model: nn.Module) -> None:
    panel = viz.explore_cam(model)
    before = panel.picture.value
    panel.controls["layer"].value = "classifier.3"
    assert "1" in panel.message
    assert "classifier.3" in panel.message
    assert panel.picture.value == b""
    panel.controls["layer"].value = "features.12"
    assert panel.picture.value == before


def test_an_unknown_class_says_which_is_meant_and_the_panel_goes_on(model: nn.Module) -> None:
    panel = viz.explore_saliency(model)
    before = panel.picture.value
    panel.controls["other"].value = "tabbi"
    assert "tabby" in panel.message
    panel.controls["other"].value = ""
    assert picture(panel).std() > 0
    assert panel.picture.value == before


def test_the_picture_is_what_the_function_draws(model: nn.Module, cat: viz.Sample) -> None:
    """The pixels of the panel's map are those of the stack that the panel claims to show."""
    panel = viz.explore_feature_maps(model, layer="features.0", channel=7)
    stack = viz.feature_maps(model, cat, "features.0").select(channel=7)
    buffer = io.BytesIO()
    stack.plot(photograph=True).savefig(buffer, dpi="figure")
    expected = np.asarray(Image.open(buffer).convert("RGB"))
    np.testing.assert_array_equal(picture(panel), expected)


def test_your_own_photograph_comes_first(model: nn.Module) -> None:
    own = np.random.default_rng(0).integers(0, 255, (300, 260, 3), dtype=np.uint8)
    panel = viz.explore_cam(model, own)
    assert panel.controls["photograph"].value == "your photograph"
    assert "cat" in panel.controls["photograph"].options
    assert picture(panel).std() > 0


def test_both_halves_of_the_composite_are_offered(model: nn.Module) -> None:
    panel = viz.explore_cam(model, "cat_coffee")
    offered = {text for text, _ in panel.controls["target"].options}
    assert {"tabby", "coffee mug", "espresso"} <= offered


def test_a_model_of_the_readers_own_can_be_explored() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    assert picture(viz.explore_kernels(net)).std() > 0
    assert picture(viz.explore_structure(net)).std() > 0
    assert picture(viz.explore_filters(net, steps=2)).std() > 0


def test_wrong_starts_are_refused_at_once(model: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"no nn\.Conv2d"):
        viz.explore_kernels(nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"features\.1"):
        viz.explore_kernels(model, layer="features.1")
    with pytest.raises(ValueError, match="tabby"):
        viz.explore_cam(model, target="tabbi")


def test_stack_explore_has_a_slider_for_each_axis(model: nn.Module) -> None:
    panel = viz.kernels(model, "features.0").select(out=[3, 5]).explore()
    before = panel.picture.value
    panel.controls["out"].value = 5
    assert picture(panel).std() > 0
    assert panel.picture.value != before


def test_a_message_takes_the_pictures_place_and_leaves_again(
    counting: tuple[Panel, list[int]],
) -> None:
    panel, _ = counting
    note = panel.box.children[-2]
    panel.controls["value"].value = 3
    assert panel.message == "Not <3>."
    assert "&lt;3&gt;" in note.value
    assert 'role="alert"' in note.value
    assert panel.picture.layout.display == "none"
    panel.controls["value"].value = 4
    assert panel.message == note.value == ""
    assert picture(panel).std() > 0
    assert not panel.picture.layout.display


def test_one_move_draws_once(counting: tuple[Panel, list[int]]) -> None:
    panel, asked = counting
    panel.controls["value"].value = 5
    panel.controls["value"].value = 5
    assert asked == [1, 5]


def test_a_fault_of_the_code_is_not_passed_off_as_the_readers() -> None:
    def draw(value: int) -> object:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Panel("Broken", {"value": int_slider("value", 1, 0, 9)}, draw)  # type: ignore[arg-type]


def test_display_carries_widget_picture_and_a_line_that_stays(
    counting: tuple[Panel, list[int]],
) -> None:
    panel, _ = counting
    bundle = panel._repr_mimebundle_()
    assert bundle["text/plain"] == repr(panel) == "Counting [value]"
    assert base64.b64decode(bundle["image/png"]) == panel.picture.value
    view = bundle["application/vnd.jupyter.widget-view+json"]
    assert view["model_id"] == panel.box.model_id
    panel.controls["value"].value = 7
    assert repr(panel) == "Counting [value]"
    panel.controls["value"].value = 3
    assert "image/png" not in panel._repr_mimebundle_()


def test_close_frees_every_widget(counting: tuple[Panel, list[int]]) -> None:
    panel, _ = counting
    alive = len(widgets.Widget.get_manager_state()["state"])
    extra = Panel("Second", {"value": int_slider("value", 1, 0, 9)}, panel._draw)
    assert len(widgets.Widget.get_manager_state()["state"]) > alive
    extra.close()
    assert len(widgets.Widget.get_manager_state()["state"]) == alive
