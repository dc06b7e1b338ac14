"""The shell of all panels: computing, errors, stop, display and saved pages."""

import base64
import re
import sys
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np
import pytest
from panels import WAIT, ask, number, pixels, shown, uploaded
from torch import nn

import vizhelpers as viz
from vizhelpers.view.live import panel as shell
from vizhelpers.view.live.declaration import Choice, Declaration, Range, Request, Search
from vizhelpers.view.live.pages import page_of_stack
from vizhelpers.view.live.panel import Panel
from vizhelpers.view.live.progress import steps
from vizhelpers.view.live.scene import Scene


@pytest.fixture
def counting() -> Iterator[tuple[Panel, list[int]]]:
    """A panel that cannot show 3, and a list of what it was asked for."""
    asked: list[int] = []

    def compute(value: int) -> Scene:
        asked.append(value)
        if value == 3:
            raise ValueError("Not <3>.")
        return number(value)

    panel = Panel(Declaration("Counting", compute, [Range("value", (0, 9), 1)]))
    yield panel, asked
    panel.close()


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
    for value in range(3 * shell._KEPT):
        panel._scene_for({"value": value + 100})
    assert len(panel._scenes) == shell._KEPT


def test_a_fault_of_the_code_is_told_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    def compute(value: int) -> Scene:
        return number(1 / value)

    panel = Panel(Declaration("Broken", compute, [Range("value", (0, 9), 1)]))
    ask(panel, value=0)
    assert panel.message.startswith("ZeroDivisionError")
    assert "panel 'Broken' failed" in caplog.text
    panel.close()
    with pytest.raises(ZeroDivisionError):
        Panel(Declaration("Broken", compute, [Range("value", (0, 9), 0)]))


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
    panel = Panel(Declaration("Slow", compute, [Range("value", (0, 9), 1)]))
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
    panel._receive(panel.view, {"type": "stop"}, [])
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

    def compute(network: str, layer: str) -> Scene:
        computed.append(layer)
        return slow(2 if network == "B" else 1)

    controls = [Choice("network", ["A", "B"]), Choice("layer", lambda network: layers[network])]
    panel = Panel(Declaration("Following", compute, controls))
    ask(panel, layer="a2")
    panel.requests["network"].value = "B"
    assert slow.reached.wait(WAIT)
    panel.stop()
    slow.go.set()
    assert panel.wait(WAIT)
    assert panel._requests.values() == {"network": "A", "layer": "a2"}
    assert panel.requests["layer"].options == ("a1", "a2")
    assert computed == ["a1", "a2", "b1"]
    panel.close()


def test_stop_after_an_error_goes_back_to_the_picture(counting: tuple[Panel, list[int]]) -> None:
    panel, asked = counting
    ask(panel, value=3)
    panel.stop()
    assert panel.wait(WAIT)
    assert panel.message == "" and panel._requests.values() == {"value": 1} and asked == [1, 3]


def test_a_panel_answers_its_view_that_the_kernel_runs(
    counting: tuple[Panel, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    panel, asked = counting
    sent: list[object] = []
    monkeypatch.setattr(panel.view, "send", sent.append)
    panel._receive(panel.view, {"type": "ping"}, [])
    assert sent == [{"type": "pong"}] and asked == [1]


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


def test_stack_explore_has_a_control_for_each_axis(model: nn.Module) -> None:
    panel = viz.kernels(model, "features.0").select(out=[3, 5]).explore()
    assert {"output channel", "input channel"} <= set(panel.controls)
    before = pixels(panel)
    panel.controls["output channel"].index = 1
    assert not np.array_equal(pixels(panel), before)
    panel.close()


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


# ---------------------------------------------------------------- what a declaration can say


def declared(*controls: Request, compute: Callable[..., Scene] | None = None, **more: Any) -> Panel:
    """Return a panel whose scene shows the number of its controls, or what ``compute`` returns."""
    compute = compute or (lambda **values: number(len(values)))
    return Panel(Declaration("P", compute, controls, **more))


def test_options_and_bounds_follow_the_controls_before_them() -> None:
    tops = {"a": 3, "b": 0}
    panel = declared(
        Choice("letter", ["a", "b"]),
        Range("height", lambda letter: (0, tops[letter]), 3),
        Choice("pair", lambda letter, height: [f"{letter}{height}", letter], lambda letter: letter),
    )
    slider, pair = panel.requests["height"], panel.requests["pair"]
    assert (slider.value, slider.max, slider.disabled, pair.value) == (3, 3, False, "a")
    pair.value = "a3"
    ask(panel, height=2)
    assert pair.options == ("a2", "a") and pair.value == "a", "the start, as a3 is gone"
    ask(panel, letter="b")
    assert (slider.value, slider.max, slider.disabled) == (0, 0, True)
    assert pair.options == ("b0", "b") and pair.value == "b"
    ask(panel, letter="a")
    assert not slider.disabled and slider.value == 0
    panel.close()


def test_a_parameter_that_is_no_control_before_is_named() -> None:
    with pytest.raises(
        TypeError, match=r"letters is no control before this one\. Possible: letter"
    ):
        declared(Choice("letter", ["a"]), Choice("other", lambda letters: [letters]))


def test_a_panel_that_cannot_be_made_leaves_no_widget() -> None:
    before = set(widgets.Widget.get_manager_state()["state"])
    with pytest.raises(TypeError, match="unexpected keyword argument 'letter'"):
        declared(Choice("letter", ["a"]), compute=lambda lettre: number(1))
    assert set(widgets.Widget.get_manager_state()["state"]) == before


def test_a_menu_with_one_option_can_be_hidden() -> None:
    panel = declared(
        Choice("a", ["x"], hide_single=True),
        Choice("b", ["x"]),
        Choice("c", ["x", "y"], hide_single=True),
    )
    hidden = {name: control.layout.display for name, control in panel.requests.items()}
    assert hidden == {"a": "none", "b": None, "c": None}
    panel.close()


def test_an_axis_jumps_only_when_its_control_changes() -> None:
    stack = viz.ImageStack(np.zeros((3, 2, 2)), {"layer": ["a", "b", "c"]})
    panel = declared(
        Range("jumper", (0, 9), jump={"layer": -1}),
        Range("other", (0, 9)),
        compute=lambda jumper, other: Scene([stack], name=f"{jumper}{other}"),
        start={"layer": 1},
    )
    assert panel.view.i0 == 1
    ask(panel, other=1)
    assert panel.view.i0 == 1
    ask(panel, jumper=1)
    assert panel.view.i0 == 2 and panel.controls["layer"].value == "c"
    panel.close()


def test_a_page_has_the_offline_values_of_the_controls_as_they_are() -> None:
    panel = declared(
        Choice("letter", ["a", "b"]),
        Range(
            "height", (0, 9), label="how high", offline=lambda letter: {"a": [1], "b": [7]}[letter]
        ),
    )
    assert panel.page().requests == {"letter": ["a"], "how high": ["0", "1"]}
    ask(panel, letter="b")
    assert panel.page().requests == {"letter": ["b"], "how high": ["0", "7"]}
    panel.close()


def test_an_upload_chooses_the_option_that_it_returns() -> None:
    names = ["x"]

    def add(upload: object) -> str:
        names.append(f"upload {len(names)}")
        return names[-1]

    panel = declared(Choice("letter", lambda: names, upload=add))
    button = panel.box.children[0].children[0]
    button.set_trait("value", uploaded(b"data"))
    assert panel.wait(WAIT) and panel.message == ""
    assert panel.requests["letter"].value == "upload 1"
    panel.close()


def test_a_text_that_failed_is_cleared_by_the_next_change_of_another_control() -> None:
    def compute(word: str, height: int) -> Scene:
        if word not in ("", "known"):
            raise ValueError(f"No {word}.")
        return number(height)

    search = Search("word", ["known"], lambda word: word == "known")
    panel = declared(Range("height", (0, 9)), search, compute=compute)
    ask(panel, word="typo")
    assert panel.message.startswith("No typo.") and panel.requests["word"].value == "typo"
    ask(panel, height=1)
    assert panel.message == "" and panel.requests["word"].value == ""
    ask(panel, word="known", height=2)
    assert panel.requests["word"].value == "known"
    panel.close()


def test_closing_runs_each_callback_once() -> None:
    calls: list[str] = []
    panel = declared()
    panel.on_close(lambda: calls.append("closed"))
    panel.close()
    panel.close()
    assert calls == ["closed"]
