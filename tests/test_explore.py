"""The panels in the kernel: what each control shows, and what a panel leaves behind.

The browser's part, pixels on the canvas, has tests of its own.
"""

import base64
import gc
import io
import re
import sys
import threading
import types
import weakref
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import ipywidgets as widgets
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import models
from torchvision import transforms as v1
from torchvision.transforms import v2

import vizhelpers as viz
from vizhelpers.explore.choices import asked_class, class_names
from vizhelpers.explore.identity import content
from vizhelpers.explore.panels import page_of_stack
from vizhelpers.inputs.errors import nearest
from vizhelpers.passes.copies import private_copy
from vizhelpers.view.charts import Bars
from vizhelpers.view.live import panel as panels
from vizhelpers.view.live.controls import controls_of, dropdown, int_slider, linked_trait, offer
from vizhelpers.view.live.panel import Panel
from vizhelpers.view.live.progress import steps
from vizhelpers.view.live.scene import Scene

WAIT = 60  # seconds; only a test that fails waits so long
# For each panel: the requests, and what they are changed to.
REQUESTS: dict[str, dict[str, object]] = {
    "structure": {"depth": 1, "model": "vgg13"},
    "summary": {"batch": 9, "side": 100, "depth": 2, "model": "vgg13"},
    "kernels": {"network": "EfficientNet-Lite0", "layer": "features.3.expand3x3", "weights": 0},
    "feature_maps": {
        "network": "EfficientNet-Lite0",
        "photograph": "rocket",
        "layer": "features.4",
    },
    "cam": {
        "network": "EfficientNet-Lite0",
        "photograph": "panda",
        "other": "tench",
        "method": "layercam",
    },
    "saliency": {"network": "EfficientNet-Lite0", "photograph": "panda", "other": "tench"},
    "filters": {"network": "EfficientNet-Lite0", "layer": "features.1", "channel": 1},
}
# And the controls that move through what the browser has already.
AXES: dict[str, set[str]] = {
    "structure": set(),
    "summary": set(),
    "kernels": {"output channel", "input channel", "colour scale", "show"},
    "feature_maps": {"channel", "overlay strength", "colour scale", "show"},
    "cam": {"layer", "class", "overlay strength", "colour scale", "show"},
    "saliency": {"method", "class", "overlay strength", "show"},
    "filters": {"iteration", "show"},
}


def build(name: str, model: nn.Module) -> Panel:
    with torch.device("meta"):
        named = {"SqueezeNet": model, "vgg13": models.vgg13()}
    if name in ("structure", "summary"):
        return getattr(viz, f"explore_{name}")(named)
    if name == "filters":
        return viz.explore_filters(model, steps=3)
    return getattr(viz, f"explore_{name}")(model)


def ask(panel: Panel, **requests: object) -> None:
    """Change requests as a reader would, and wait for the answer."""
    for name, value in requests.items():
        panel.requests[name].value = value
    assert panel.wait(WAIT)


def pixels(panel: Panel) -> np.ndarray:
    assert panel.message == ""
    return np.asarray(Image.open(io.BytesIO(panel._png())).convert("RGB"))


def shown(panel: Panel) -> dict[str, object]:
    """What crossed the wire, without what is the same in every scene."""
    return {key: value for key, value in panel.view.scene.items() if key != "lut"}


@pytest.fixture(params=REQUESTS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def number(value: float) -> Scene:
    """A scene that shows one number."""
    return Scene(charts=[[Bars("A bar", [("a",)], [value], [str(value)])]])


@pytest.fixture
def counting() -> Iterator[tuple[Panel, list[int]]]:
    """A panel that cannot show 3, and a list of what it was asked for."""
    asked: list[int] = []

    def compute(value: int) -> Scene:
        asked.append(value)
        if value == 3:
            raise ValueError("Not <3>.")
        return number(value)

    panel = Panel("Counting", compute, {"value": int_slider("value", 1, 0, 9)})
    yield panel, asked
    panel.close()


# ---------------------------------------------------------------- the seven panels


def test_every_request_changes_what_is_shown_and_comes_back(name: str, model: nn.Module) -> None:
    panel = build(name, model)
    assert set(panel.requests) == set(REQUESTS[name]), "a request without a move"
    for request, value in REQUESTS[name].items():
        before, kept = shown(panel), panel.requests[request].value
        ask(panel, **{request: value})
        assert panel.message == "" and panel.view.busy == ""
        assert shown(panel) != before, request
        assert pixels(panel).std() > 0, request
        ask(panel, **{request: kept})
        assert shown(panel) == before, f"{request} does not come back"
    panel.close()


def test_axes_move_in_the_browser_and_their_controls_are_linked(
    name: str, model: nn.Module
) -> None:
    panel = build(name, model)
    names = set(panel.controls) - set(panel.requests)
    assert names == AXES[name]
    for trait, (widget, link) in panel._by_trait.items():
        assert link.source == (widget, linked_trait(widget))
        assert link.target == (panel.view, trait)
    assert len(panel._by_trait) == len(names)
    panel.close()


def test_the_wire_carries_each_frame_of_the_stack(model: nn.Module, cat: viz.Sample) -> None:
    panel = viz.explore_feature_maps(model, "cat", layer="features.4", channel=7)
    stack = viz.feature_maps(model, cat, "features.4")
    scene = panel.view.scene
    assert scene["axes"] == [{"name": "channel", "labels": [str(i) for i in range(128)]}]
    levels = np.frombuffer(scene["data"], np.uint8).reshape(stack.frames.shape)
    low, high = (np.array(scene[key])[:, None, None] for key in ("lo", "hi"))
    back = low + levels / 255 * (high - low)
    assert np.abs(back - stack.frames).max(axis=(1, 2), keepdims=True).max() > 0
    assert (np.abs(back - stack.frames) <= (high - low) / 255 / 2 * 1.001 + 1e-6).all()
    assert panel.view.i0 == 7
    panel.close()


def test_cam_has_maps_of_each_layers_own_size_on_a_scale_for_each_layer(model: nn.Module) -> None:
    panel = viz.explore_cam(model, "cat_coffee")
    layers, classes = panel.scene.axes.values()
    assert layers[-1] == "features.12" and {"tabby", "coffee mug", "espresso"} <= set(classes)
    sizes = [tuple(size) for size in panel.view.scene["sizes"]]
    assert sizes[0] == (55, 55) and sizes[-1] == (13, 13)
    sample = viz.prepare(model, "cat_coffee")
    for at, layer in ((0, layers[0]), (len(layers) - 1, layers[-1])):
        sweep = viz.cam_sweep(model, sample, layers=[layer], targets=classes)
        np.testing.assert_allclose(panel.scene.stacks[at].frames, sweep.frames, rtol=1e-5)
        assert panel.scene.stacks[at].limits() == sweep.limits()
    assert panel.view.scene["group"] == "layer"
    panel.close()


def test_a_class_that_is_typed_is_shown_at_once(model: nn.Module) -> None:
    panel = viz.explore_cam(model)
    panel.controls["class"].index = 2
    ask(panel, other="tench")
    assert panel.controls["class"].value == "tench" and panel.view.i1 == 0
    panel.controls["class"].index = 3
    other_class = panel.controls["class"].value
    ask(panel, method="layercam")
    assert panel.controls["class"].value == other_class, "another method keeps the class"
    panel.close()


def test_bars_mark_the_class_that_is_asked(model: nn.Module) -> None:
    panel = viz.explore_cam(model, target="tench")
    charts = panel.view.scene["charts"]
    assert panel.scene.axes["class"][0] == "tench"
    assert charts[0][0]["marked"] == -1 and "tench: rank" in charts[0][0]["title"]
    assert charts[1][0]["marked"] == 0
    panel.close()


def test_sliders_follow_the_layer(model: nn.Module) -> None:
    panel = viz.explore_feature_maps(model, layer="features.12", channel=500)
    assert panel.controls["channel"].value == 500
    ask(panel, layer="features.0")
    assert (panel.controls["channel"].max, panel.controls["channel"].value) == (63, 63)
    assert panel.view.i0 == 63
    ask(panel, layer="classifier.1")
    assert panel.controls["channel"].max == 999
    panel.close()


def test_a_matrix_of_a_1x1_convolution_hides_the_channel_sliders(model: nn.Module) -> None:
    panel = viz.explore_kernels(model)
    slider = panel.controls["output channel"]
    ask(panel, layer="features.3.squeeze")
    assert slider.layout.display == "none"
    assert panel.view.scene["sizes"] == [[16, 64]]
    assert pixels(panel).std() > 0
    ask(panel, layer="features.0")
    assert slider.layout.display is None
    panel.close()


def test_a_layer_of_one_pixel_is_not_offered(model: nn.Module) -> None:
    panel = viz.explore_feature_maps(model)
    layers = panel.requests["layer"].options
    assert "classifier.2" in layers and "classifier.3" not in layers
    panel.close()


def test_an_unknown_class_says_which_is_meant_and_the_panel_goes_on(model: nn.Module) -> None:
    panel = viz.explore_saliency(model)
    before = shown(panel)
    ask(panel, other="tabbi")
    assert "'tabby'" in panel.message and panel.message.endswith("The picture has not changed.")
    assert shown(panel) == before
    ask(panel, other="")
    assert panel.message == "" and shown(panel) == before
    panel.close()


def test_the_png_is_what_the_function_draws(model: nn.Module, cat: viz.Sample) -> None:
    """The pixels of the panel's picture are those of the stack that the panel claims to show."""
    panel = viz.explore_feature_maps(model, layer="features.0", channel=7)
    stack = viz.feature_maps(model, cat, "features.0").select(channel=7)
    buffer = io.BytesIO()
    stack.plot(photograph=True).savefig(buffer, dpi="figure")
    expected = np.asarray(Image.open(buffer).convert("RGB"))
    np.testing.assert_array_equal(pixels(panel), expected)
    panel.controls["channel"].value = 8
    assert not np.array_equal(pixels(panel), expected)
    panel.close()


def test_your_own_photograph_comes_first(model: nn.Module) -> None:
    own = np.random.default_rng(0).integers(0, 255, (300, 260, 3), dtype=np.uint8)
    panel = viz.explore_cam(model, own)
    assert panel.requests["photograph"].value == "your photograph"
    assert "cat" in panel.requests["photograph"].options
    panel.close()


def uploaded(data: bytes, name: str = "mine.png") -> object:
    """What a FileUpload holds when a file came: a dict in ipywidgets 7, a tuple in 8."""
    if widgets.__version__.startswith("7."):
        return {name: {"metadata": {"name": name}, "content": data}}
    now = datetime.now(UTC)
    entry = {"name": name, "type": "image/png", "size": len(data), "last_modified": now}
    return ({**entry, "content": memoryview(data)},)


def test_an_upload_is_shown_and_a_broken_one_is_not_offered(model: nn.Module) -> None:
    panel = viz.explore_feature_maps(model)
    upload, menu = panel.box.children[0].children[0], panel.requests["photograph"]
    bundled = menu.options
    upload.set_trait("value", uploaded(b"\x8a-garbage" * 9, "holiday.png"))
    assert panel.wait(WAIT) and "'holiday.png' is not an image" in panel.message
    assert "x8a" not in panel.message
    assert (menu.value, menu.options) == ("cat", bundled)
    buffer = io.BytesIO()
    Image.new("RGB", (300, 240), "orange").save(buffer, "PNG")
    upload.set_trait("value", uploaded(buffer.getvalue()))
    assert panel.wait(WAIT) and panel.message == ""
    assert (menu.value, menu.options) == ("your photograph", ("your photograph", *bundled))
    base = np.frombuffer(panel.view.scene["base"], np.uint8).reshape(224, 224, 3)
    assert (base[0, 0] == (255, 165, 0)).all()
    panel.close()


def test_the_same_file_can_be_uploaded_again(model: nn.Module) -> None:
    panel = viz.explore_feature_maps(model)
    upload = panel.box.children[0].children[0]
    page = uploaded(b"<html>", "page.png")
    for _ in range(2):
        upload.set_trait("value", page)
        assert "'page.png'" in panel.message
        ask(panel, photograph="coffee")
        assert panel.message == ""
        ask(panel, photograph="cat")
    panel.close()


# ---------------------------------------------------------------- the class search

CLASSES = ["crate", "oxcart", "castle", "tiger cat", "Persian cat", "golden retriever"]
TWICE = [*CLASSES, "crane", "crane", "Cardigan", "cardigan"]


@pytest.mark.parametrize(
    ("typed", "index"),
    [
        ("golden", 5),
        ("GOLDEN Retriever", 5),
        (" tiger ", 3),
        ("4", 4),
        ("Persian cat (4)", 4),
        ("6", 6),
        ("crane (7)", 7),
        ("Cardigan (8)", 8),
    ],
)
def test_a_class_is_found_by_a_word_or_its_index(typed: str, index: int) -> None:
    assert asked_class(nn.Identity(), typed, TWICE) == index


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("cat", r"2 class names contain 'cat': tiger cat \(3\), Persian cat \(4\)\."),
        ("crane", r"2 classes are called 'crane': crane \(6\), crane \(7\)\. Type the index"),
        ("CARDIGAN", r"Cardigan \(8\), cardigan \(9\)\. Type the index"),
        ("cats", "Did you mean 'tiger cat' or 'Persian cat'"),
        ("retriev", "Did you mean 'golden retriever'"),
    ],
)
def test_a_class_that_is_not_found_is_told_with_what_there_is(typed: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        asked_class(nn.Identity(), typed, TWICE)


def test_the_search_offers_every_class_of_a_shared_name() -> None:
    offered = class_names(nn.Identity(), TWICE)
    assert offered[6:] == ("crane (6)", "crane (7)", "Cardigan (8)", "cardigan (9)")
    assert [asked_class(nn.Identity(), name, TWICE) for name in offered] == list(range(10))


def test_labels_that_are_numbers_are_names_before_they_are_indices() -> None:
    assert asked_class(nn.Identity(), "0", ["7", "0"]) == 1


def test_the_nearest_names_hold_the_word_then_its_beginning_then_its_spelling() -> None:
    assert nearest("cat", CLASSES) == ["tiger cat", "Persian cat"]
    assert nearest("RETRIEV", CLASSES) == ["golden retriever"]
    assert nearest("cats", CLASSES) == ["tiger cat", "Persian cat"]
    assert nearest("oxcar", CLASSES) == ["oxcart"]
    assert nearest("features.111", ["features.1", "features.11"])[0] == "features.11"
    assert nearest("(", CLASSES) == []


# ---------------------------------------------------------------- readers' own models


def test_a_model_of_the_readers_own_can_be_explored() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )

    def transform(image: Image.Image) -> torch.Tensor:
        return torch.from_numpy(np.array(image.resize((32, 32)))).permute(2, 0, 1) / 255

    for panel in (
        viz.explore_kernels(net),
        viz.explore_structure(net),
        viz.explore_filters(net, steps=2),
        viz.explore_feature_maps(net, transform=transform),
        viz.explore_cam(net, transform=transform),
        viz.explore_saliency(net, transform=transform),
    ):
        assert pixels(panel).std() > 0, panel
        panel.close()


def test_wrong_starts_are_refused_at_once(model: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"no nn\.Conv2d"):
        viz.explore_kernels(nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"features\.1"):
        viz.explore_kernels(model, layer="features.1")
    with pytest.raises(ValueError, match="tabby"):
        viz.explore_cam(model, target="tabbi")
    with pytest.raises(ValueError, match="gradcam"):
        viz.explore_cam(model, method="gradcan")
    with pytest.raises(ValueError, match=r"features\.11"):
        viz.explore_feature_maps(model, layer="features.111")


def test_stack_explore_has_a_control_for_each_axis(model: nn.Module) -> None:
    panel = viz.kernels(model, "features.0").select(out=[3, 5]).explore()
    assert {"output channel", "input channel"} <= set(panel.controls)
    before = pixels(panel)
    panel.controls["output channel"].index = 1
    assert not np.array_equal(pixels(panel), before)
    panel.close()


# ---------------------------------------------------------------- one panel's machinery


def test_an_error_leaves_the_picture_and_says_what_it_shows(
    counting: tuple[Panel, list[int]],
) -> None:
    panel, _ = counting
    before, picture = shown(panel), panel._png()
    ask(panel, value=3)
    assert panel.message == "Not <3>. The picture has not changed: it shows value 1."
    assert shown(panel) == before and panel._png() == picture
    assert panel.page().scenes == [panel.view.scene], "a page holds what is seen"
    ask(panel, value=4)
    assert panel.message == ""
    assert panel.view.scene["charts"][0][0]["rows"][0]["text"] == "4"


def test_what_was_computed_once_is_kept(counting: tuple[Panel, list[int]]) -> None:
    panel, asked = counting
    for value in (5, 1, 5, 5):
        ask(panel, value=value)
    assert asked == [1, 5]


def test_the_cache_is_bounded(counting: tuple[Panel, list[int]]) -> None:
    panel, _ = counting
    for value in range(3 * panels._KEPT):
        panel._scene_for({"value": value + 100})
    assert len(panel._scenes) == panels._KEPT


def test_a_fault_of_the_code_is_told_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    def compute(value: int) -> Scene:
        return number(1 / value)

    panel = Panel("Broken", compute, {"value": int_slider("value", 1, 0, 9)})
    ask(panel, value=0)
    assert panel.message.startswith("ZeroDivisionError")
    assert "panel 'Broken' failed" in caplog.text
    panel.close()
    with pytest.raises(ZeroDivisionError):
        Panel("Broken", compute, {"value": int_slider("value", 0, 0, 9)})


class Slow:
    """A computation of 100 steps that waits at step 3 until it is let go."""

    def __init__(self) -> None:
        self.reached, self.go = threading.Event(), threading.Event()
        self.computed: list[int] = []

    def __call__(self, value: int) -> Scene:
        for step in steps(range(100), "step"):
            if step == 3 and value == 2:
                self.reached.set()
                assert self.go.wait(WAIT)
        self.computed.append(value)
        return number(value)


@pytest.fixture
def slow() -> Iterator[tuple[Panel, Slow]]:
    compute = Slow()
    panel = Panel("Slow", compute, {"value": int_slider("value", 1, 0, 9)})
    yield panel, compute
    compute.go.set()
    panel.close()


def test_work_says_that_it_goes_on_and_how_far(slow: tuple[Panel, Slow]) -> None:
    panel, compute = slow
    panel.requests["value"].value = 2
    assert compute.reached.wait(WAIT)
    assert panel.view.busy == "Computing: Slow …"
    assert panel.view.progress == pytest.approx(0.03)
    compute.go.set()
    assert panel.wait(WAIT) and panel.view.busy == ""


def test_the_newest_request_replaces_what_runs(slow: tuple[Panel, Slow]) -> None:
    panel, compute = slow
    panel.requests["value"].value = 2
    assert compute.reached.wait(WAIT)
    for value in (5, 6, 7):
        panel.requests["value"].value = value
    compute.go.set()
    assert panel.wait(WAIT)
    assert compute.computed == [1, 7], "2 was given up, 5 and 6 were never begun"
    assert panel.view.scene["charts"][0][0]["rows"][0]["text"] == "7"
    assert panel.view.busy == ""


def test_stop_keeps_the_picture_and_the_controls_return_to_it(slow: tuple[Panel, Slow]) -> None:
    panel, compute = slow
    before = panel.view.scene
    panel.requests["value"].value = 2
    assert compute.reached.wait(WAIT)
    panel._told(panel.view, {"type": "stop"}, [])
    assert panel.view.busy == "" and panel.requests["value"].value == 1
    compute.go.set()
    assert panel.wait(WAIT)
    assert panel.view.scene == before and compute.computed == [1]
    assert panel.requests["value"].value == 1 and panel.view.busy == ""
    ask(panel, value=5)
    assert compute.computed == [1, 5], "the panel goes on"


def test_stop_takes_back_the_options_that_followed_a_control() -> None:
    layers = {"A": ["a1", "a2"], "B": ["b1"]}
    slow, computed = Slow(), []

    def adapt(controls: panels.Controls) -> None:
        found = layers[controls["network"].value]
        offer(controls["layer"], found, found[0])

    def compute(network: str, layer: str) -> Scene:
        computed.append(layer)
        return slow(2 if network == "B" else 1)

    requests = {"network": dropdown("network", ["A", "B"]), "layer": dropdown("layer", ["a1"])}
    panel = Panel("Following", compute, requests, adapt=adapt)
    ask(panel, layer="a2")
    panel.requests["network"].value = "B"
    assert slow.reached.wait(WAIT)
    panel.stop()
    slow.go.set()
    assert panel.wait(WAIT)
    assert panel._values() == {"network": "A", "layer": "a2"}
    assert panel.requests["layer"].options == ("a1", "a2")
    assert computed == ["a1", "a2", "b1"]
    panel.close()


def test_stop_after_an_error_goes_back_to_the_picture(counting: tuple[Panel, list[int]]) -> None:
    panel, asked = counting
    ask(panel, value=3)
    panel.stop()
    assert panel.wait(WAIT)
    assert panel.message == "" and panel._values() == {"value": 1} and asked == [1, 3]


def test_a_panel_answers_its_view_that_the_kernel_runs(
    counting: tuple[Panel, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    panel, asked = counting
    sent: list[object] = []
    monkeypatch.setattr(panel.view, "send", sent.append)
    panel._told(panel.view, {"type": "ping"}, [])
    assert sent == [{"type": "pong"}] and asked == [1]


def test_a_concurrent_pass_never_gets_into_a_panels_maps(model: nn.Module) -> None:
    """FACTS: on one shared model, 15 of 100 captures held the other thread's picture."""
    own = private_copy(model)
    samples = {name: viz.prepare(model, name) for name in ("cat", "panda")}
    expected = {name: viz.capture(model, s, "features.4") for name, s in samples.items()}
    stop = threading.Event()

    def other_readers_passes() -> None:
        while not stop.is_set():
            viz.capture(model, samples["panda"], "features.4")

    thread = threading.Thread(target=other_readers_passes)
    thread.start()
    try:
        for _ in range(25):
            found = viz.capture(own, samples["cat"], "features.4")["features.4"]
            assert torch.allclose(found, expected["cat"]["features.4"], atol=1e-3)
            assert not torch.allclose(found, expected["panda"]["features.4"], atol=1.0)
    finally:
        stop.set()
        thread.join()


def test_a_private_copy_shares_weights_but_no_hooks(tiny: nn.Module, noise: torch.Tensor) -> None:
    own, expected = private_copy(tiny), tiny(noise)
    assert own is not tiny
    assert all(a is b for a, b in zip(own.parameters(), tiny.parameters(), strict=True))
    calls: list[str] = []
    own[0].register_forward_hook(lambda *args: calls.append("own"))
    torch.testing.assert_close(tiny(noise), expected)
    assert calls == []
    torch.testing.assert_close(own(noise), expected)
    assert calls == ["own"]


# ---------------------------------------------------------------- display and closing


def test_display_carries_widget_picture_and_a_line_that_stays(
    counting: tuple[Panel, list[int]],
) -> None:
    panel, _ = counting
    bundle, metadata = panel._repr_mimebundle_()
    assert bundle["text/plain"] == repr(panel) == "Counting [value]"
    assert base64.b64decode(bundle["image/png"]) == panel._png()
    view = bundle["application/vnd.jupyter.widget-view+json"]
    assert view["model_id"] == panel.box.model_id
    assert metadata == {}
    ask(panel, value=7)
    assert repr(panel) == "Counting [value]"


def test_colabs_display_metadata_is_kept(
    counting: tuple[Panel, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = types.ModuleType("google.colab.output")
    output.enable_custom_widget_manager = lambda: None  # type: ignore[attr-defined]
    output._widgets = types.SimpleNamespace(_installed_url="https://example.org/manager.js")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "google.colab.output", output)
    _, metadata = counting[0]._repr_mimebundle_()
    kind = "application/vnd.jupyter.widget-view+json"
    manager = metadata[kind]["colab"]["custom_widget_manager"]
    assert manager == {"url": "https://example.org/manager.js"}


def alive() -> int:
    return len(widgets.Widget.get_manager_state()["state"])


def test_close_frees_every_widget(name: str, model: nn.Module) -> None:
    before = alive()
    panel = build(name, model)
    assert alive() > before
    panel.close()
    assert alive() == before
    assert panel not in panels._open.values()


def test_running_a_cell_again_closes_its_predecessor(model: nn.Module) -> None:
    viz.explore_kernels(model)
    once = alive()
    for _ in range(50):
        newest = viz.explore_kernels(model)
    assert alive() == once
    assert [p for p in panels._open.values() if p.title == newest.title] == [newest]
    for other in (
        viz.explore_kernels(model, keep=True),
        viz.explore_kernels(model, layer="features.3.expand3x3"),
    ):
        assert alive() > once, "keep=True, and other arguments, leave the first one open"
        other.close()
    newest.close()


def is_open(panel: Panel) -> bool:
    return panel in panels._open.values() and panel.box.comm is not None


def close_all(opened: list[Panel]) -> None:
    for panel in opened:
        panel.close()


def small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def test_models_made_in_a_loop_have_panels_that_all_stay() -> None:
    opened = []
    for _ in range(8):
        opened.append(viz.explore_kernels(small()))
        gc.collect()  # an id that is free is given to the next model
    assert all(map(is_open, opened))
    close_all(opened)


@pytest.mark.parametrize("kind", ["array", "PIL", "bytes", "tensor"])
def test_photographs_made_in_a_loop_have_panels_that_all_stay(kind: str, tiny: nn.Module) -> None:
    def made(level: int) -> object:
        array = np.full((16, 16, 3), level, np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(array).save(buffer, "PNG")
        return {
            "array": array,
            "PIL": Image.fromarray(array),
            "bytes": buffer.getvalue(),
            "tensor": torch.from_numpy(array),
        }[kind]

    opened = []
    for level in range(0, 250, 50):
        opened.append(viz.explore_feature_maps(tiny, made(level), transform=TO_12))
        gc.collect()
    assert all(map(is_open, opened))
    newest = viz.explore_feature_maps(tiny, made(0), transform=TO_12)
    assert [is_open(panel) for panel in opened] == [False, True, True, True, True]
    close_all([newest, *opened[1:]])


TO_12 = v1.Compose([v1.Resize((12, 12)), v1.ToTensor()])


def test_other_arguments_leave_a_panel_open_and_the_same_ones_made_anew_do_not(
    tiny: nn.Module,
) -> None:
    def cell(side: int = 12, first: str = "a") -> Panel:
        transform = v1.Compose([v1.Resize((side, side)), v1.ToTensor()])
        picture = Image.new("RGB", (20, 20), "teal")
        labels = [first, *"bcde"]
        return viz.explore_cam(tiny, picture, transform=transform, labels=labels)

    opened = [cell(), cell(side=14), cell(first="z")]
    assert all(map(is_open, opened))
    again = cell()
    assert [is_open(panel) for panel in opened] == [False, True, True]
    close_all([again, *opened[1:]])


def test_an_argument_counts_however_it_is_passed(tiny: nn.Module) -> None:
    first = viz.explore_kernels(tiny, layer="0")
    second = viz.explore_kernels(layer="0", out=0, model=tiny)
    assert not is_open(first) and is_open(second)
    second.close()


def test_a_closed_panel_lets_go_of_model_and_photograph(tiny: nn.Module) -> None:
    net, picture = small(), Image.new("RGB", (20, 20))
    kept = [weakref.ref(net), weakref.ref(net[0].weight), weakref.ref(picture)]
    panel = viz.explore_feature_maps(net, picture, transform=TO_12)
    panel.close()
    del net, picture
    gc.collect()
    assert [one() for one in kept] == [None, None, None]
    with pytest.raises(ValueError, match="closed"):
        panel._scene_for(panel._shown_values)


def arguments(level: int) -> dict[str, object]:
    """Arguments as a cell makes them: anew each time, equal for an equal level."""
    array = np.full((4, 5), level, np.float32)
    return {
        "number": level,
        "text": f"{level}",
        "list": [str(level), "b"],
        "dict": {"a": (level, None)},
        "bytes": bytes([level]) * 99,
        "array": array,
        "view of an array": array[::2, ::-1],
        "tensor": torch.full((3,), level, dtype=torch.bfloat16),
        "PIL": Image.new("L", (9, 9), level),
        "upload": uploaded(bytes([level]) * 99)[0]["content"] if V8 else bytes([level]),
        "path": Path(f"{level}.png"),
        "v1": v1.Compose([v1.Resize(level), v1.ToTensor(), v1.Normalize([0.5], [level])]),
        "v2": v2.Compose([v2.Resize((level, level)), v2.ToImage()]),
        "Sequential": nn.Sequential(v1.Resize(level), v1.CenterCrop(3)),
        "preset": models.SqueezeNet1_1_Weights.DEFAULT.transforms(crop_size=level),
        "Lambda": v1.Lambda(lambda image: image.resize((level, level))),
        "function": lambda image: image.resize((level, level)),
    }


V8 = not widgets.__version__.startswith("7.")


@pytest.mark.parametrize("kind", arguments(1))
def test_arguments_are_compared_by_content(kind: str) -> None:
    first, same, other = (content(arguments(level)[kind]) for level in (32, 32, 48))
    assert first == same and hash(first) == hash(same)
    assert first != other


def test_what_has_no_content_to_compare_is_compared_by_identity() -> None:
    class Own:
        def __init__(self) -> None:
            self.lock = threading.Lock()

    for make in (Own, small, nn.ReLU, lambda: (i for i in range(2))):
        first, second = make(), make()
        assert content(first) == content(first) and content(first) != content(second)


def test_a_key_keeps_what_it_compares_by_identity() -> None:
    """The id of an object that is gone is given to another one."""
    net = small()
    alive, key = weakref.ref(net), content(net)
    del net
    gc.collect()
    assert alive() is not None
    del key
    gc.collect()
    assert alive() is None


def test_a_value_that_holds_itself_is_compared() -> None:
    def around() -> list[object]:
        found: list[object] = [1]
        found.append(found)
        return found

    assert content(around()) == content(around()) != content([1, [1]])


def test_no_hook_stays_on_the_readers_model(name: str, model: nn.Module) -> None:
    panel = build(name, model)
    ask(panel, **dict([next(iter(REQUESTS[name].items()))]))
    assert not any(m._forward_hooks or m._backward_hooks for m in model.modules())
    panel.close()


# ---------------------------------------------------------------- pages


def test_a_page_holds_every_scene_and_escapes_what_it_is_given(tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)></script>"
    frames = np.arange(18, dtype=np.float32).reshape(2, 3, 3)
    stack = viz.ImageStack(frames, {evil: ["a", "b"]}, titles=[evil, "b"], name=evil)
    text = stack.save_html(tmp_path / "page.html").read_text(encoding="utf-8")
    assert evil not in text and "<img src=x" not in text
    assert "default-src 'none'" in text
    links = set(re.findall(r"\w+://[^\"'\s]+", text))
    assert links == {"http://www.w3.org/2000/svg"}, "a name space, which nobody loads"


@pytest.mark.parametrize("blend", [0.5, 1.0])
@pytest.mark.parametrize("base", [None, np.full((6, 6, 3), 90, np.uint8)])
@pytest.mark.parametrize("kind", ["maps", "colours"])
def test_a_stacks_page_is_its_panels_page(kind: str, base: np.ndarray | None, blend: float) -> None:
    axes = {"layer": ["a"], "channel": range(4)}
    if kind == "maps":
        frames = np.arange(36, dtype=np.float32).reshape(4, 3, 3)
        stack = viz.ImageStack(frames, axes, base=base, blend=blend, name="maps")
    else:
        colours = np.arange(108, dtype=np.uint8).reshape(4, 3, 3, 3)
        stack = viz.ImageStack(colours, axes, scale="rgb", base=base, blend=blend)
    panel = stack.explore()
    assert page_of_stack(stack) == panel.page()
    panel.close()


def test_a_panels_page_covers_what_it_promises(model: nn.Module) -> None:
    panel = viz.explore_feature_maps(model, "cat", layer="features.11", channel=131)
    page = panel.page()
    layers = page.requests["layer"]
    assert page.requests["photograph"] == ["cat", "coffee", "astronaut"]
    assert len(layers) == 8 and "features.12" in layers and len(page.scenes) == 3 * 8
    first = page.scenes[page.state["scene"]]
    assert first["name"].startswith("features.11") and page.state["i0"] == 131
    panel.close()


def test_a_pages_size_is_bounded(model: nn.Module) -> None:
    panel = viz.explore_feature_maps(model, "cat")
    page = panel.page(largest=200_000)
    assert sum(len(scene["data"]) for scene in page.scenes) <= 200_000
    assert any("Reduced to 1/" in scene["note"] for scene in page.scenes)
    panel.close()


def test_the_same_controls_stand_in_notebook_and_page(
    name: str, model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = build(name, model)
    panel._offline = {}
    page = panel.page()
    assert [c["trait"] for c in page.controls[0]] == [c.trait for c in controls_of(panel.scene)]
    for control, made in zip(page.controls[0], panel._by_trait.values(), strict=True):
        assert made[0].description == control["name"]
    panel.close()
