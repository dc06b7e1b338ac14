"""The panels in the kernel: what each control shows.

The browser's part, pixels on the canvas, has tests of its own.
"""

import io
import threading

import numpy as np
import pytest
import torch
from panels import AXES, REQUESTS, WAIT, ask, build, pixels, shown, uploaded
from PIL import Image
from torch import nn

import vizhelpers as viz
from vizhelpers.passes.copies import private_copy
from vizhelpers.view.live.controls import controls_of, linked_trait

each_panel = pytest.mark.parametrize("name", REQUESTS)


@each_panel
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


@each_panel
def test_axes_move_in_the_browser_and_their_controls_are_linked(
    name: str, model: nn.Module
) -> None:
    panel = build(name, model)
    names = set(panel.controls) - set(panel.requests)
    assert names == AXES[name]
    for trait, (_, widget, link) in panel._axes.linked.items():
        assert link.source == (widget, linked_trait(widget))
        assert link.target == (panel.view, trait)
    assert len(panel._axes.linked) == len(names)
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


def test_a_model_of_the_readers_own_can_be_explored() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )

    def transform(image: Image.Image) -> torch.Tensor:
        return torch.from_numpy(np.array(image.resize((32, 32)))).permute(2, 0, 1) / 255

    for panel in (
        viz.explore_kernels(net),
        viz.explore_module_tree(net),
        viz.explore_activation_maximization(net, steps=2),
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


@each_panel
def test_no_hook_stays_on_the_readers_model(name: str, model: nn.Module) -> None:
    panel = build(name, model)
    ask(panel, **dict([next(iter(REQUESTS[name].items()))]))
    assert not any(m._forward_hooks or m._backward_hooks for m in model.modules())
    panel.close()


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


@each_panel
def test_the_same_controls_stand_in_notebook_and_page(
    name: str, model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = build(name, model)
    now = panel._requests.values()
    monkeypatch.setattr(panel._requests, "offline", lambda _: {k: [(k, v)] for k, v in now.items()})
    page = panel.page()
    assert [c["trait"] for c in page.controls[0]] == [c.trait for c in controls_of(panel.scene)]
    for control, linked in zip(page.controls[0], panel._axes.linked.values(), strict=True):
        assert linked.widget.description == control["name"]
    panel.close()
