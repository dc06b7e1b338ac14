"""The panels in a real browser: what is painted is what Python computes, and hands find their way.

The front end is JupyterLab where it is installed, else the classic Notebook, as in Colab's
environment. Pictures are read back from the canvas, pixel by pixel.
"""

import os
import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import models

import vizhelpers as viz
from tools import browser
from tools.browser import Expected, Notebook, Oracle, Panel, State

MISSING = "apt-get install chromium, and uv sync, bring what the browser tests need"
if not browser.REQUIRED and (find_spec("playwright") is None or browser.chromium() is None):
    pytest.skip(MISSING, allow_module_level=True)

from playwright.sync_api import Browser, expect  # noqa: E402

FOLDER = Path(__file__).parents[1] / "notebooks"
# 07 has the panel of 05, for a network that its cells load from a file.
NAMES = sorted({path.stem for path in FOLDER.glob("*.ipynb")} - {"07_your_model"})
PRELUDE = """import torch, torchvision
model = viz.load_model()
with torch.device("meta"):
    vgg13 = sketch = torchvision.models.vgg13()"""
SLEEP = "import time\nprint('asleep', flush=True)\ntime.sleep(8)"
COUNT = "import ipywidgets\nlen(ipywidgets.Widget.get_manager_state()['state'])"
PROCESS = "import os\nos.getpid()"
SETUP, PREPARE, EXPLORE, BUSY, LIVE, PROCESS_ID = range(6)


# ---------------------------------------------------------------- what must be seen


@cache
def model(network: str = "SqueezeNet") -> nn.Module:
    return viz.load_model("efficientnet_lite0") if "Efficient" in network else viz.load_model()


@cache
def named(name: str) -> nn.Module:
    if name.startswith(("SqueezeNet", "EfficientNet")):
        return model(name.partition(" ")[0])
    with torch.device("meta"):
        return models.vgg13()


@cache
def photograph(network: str, name: str) -> viz.Sample:
    return viz.prepare(model(network), name)


def drawn(
    stack: viz.ImageStack,
    frame: int,
    state: State,
    *,
    title: str = "",
    words: str = "one scale for all",
) -> Expected:
    """One frame of a stack, as the overlay and the colour scale are set."""
    own = state.text("colour scale") == "each frame its own"
    if own:
        stack = replace(stack, scale_group="frame", vmin=None, vmax=None)
    scale = "each frame its own scale" if own else words
    blend = state.number("overlay strength", 100) / 100
    title = title or stack.long_titles()[frame]
    picture = stack.colours(frame, blend)
    return Expected(picture, tolerance=tolerance(stack, frame), title=title, scale=scale)


def tolerance(stack: viz.ImageStack, frame: int) -> int:
    """The wire has 256 levels of a frame's range; where it is wider than the scale, coarse ones."""
    (low, high), values = stack.limits()[frame], stack.frames[frame]
    levels = 1 + int(0.5 * np.ptp(values) / (high - low)) if high > low else 1
    return browser.ONE_LEVEL * levels


def structure(state: State) -> Expected:
    tree = viz.module_tree(named(state.text("model")), state.number("depth"))
    return Expected(rows=table(tree))


def table(found: object, *how: int) -> list[list[str]]:
    rows = found.bars(*how).wire()["rows"]
    return [[*(cell.strip() for cell in row["cells"]), row["text"]] for row in rows]


def summary(state: State) -> Expected:
    net = named(state.text("model"))
    side = state.number("image side")
    one = viz.summary(net, (1, 3, 224, 224))
    now = viz.summary(net, (state.number("batch size"), 3, side, side))
    units = {"mult_adds": ("{:.2f} G", 1e9), "parameters": ("{:,.0f}", 1)}
    growth = []
    for label, key in [
        ("parameters", "parameters"),
        ("mult-adds", "mult_adds"),
        ("input", "input_bytes"),
        ("forward/backward", "pass_bytes"),
        ("parameters in MB", "parameter_bytes"),
        ("total", "total_bytes"),
    ]:
        form, unit = units.get(key, ("{:.2f} MB", 1e6))
        value = getattr(now, key)
        times = value / getattr(one, key)
        growth.append([label, f"{form.format(value / unit)}  (x {times:.3g})"])
    return Expected(rows=[*growth, *table(now, state.number("depth", 1))])


def kernels(state: State) -> Expected:
    seed = 0 if "random" in state.text("weights") else None
    stack = viz.kernels(model(state.text("network")), state.text("layer"), random_seed=seed)
    places = [state.number("output channel"), state.number("input channel")]
    frame = np.ravel_multi_index(places[: len(stack.shape)], stack.shape) if len(stack) > 1 else 0
    return drawn(stack, int(frame), state)


@cache
def maps_of(photo: str, layer: str, network: str = "SqueezeNet") -> viz.ImageStack:
    return viz.feature_maps(model(network), photograph(network, photo), layer)


def feature_maps(state: State) -> Expected:
    photo, layer = state.text("photograph", "cat"), state.text("layer")
    stack = maps_of(photo, layer, state.text("network", "SqueezeNet"))
    return drawn(stack, state.number("channel"), state)


@cache
def cams(
    network: str, photo: str, layer: str, targets: tuple[str, ...], method: str
) -> viz.ImageStack:
    net, sample = model(network), photograph(network, photo)
    return viz.cam_sweep(net, sample, layers=[layer], targets=targets, method=method)


def cam(state: State) -> Expected:
    """All layers have the diverging scale where the map of one has a negative value."""
    photo, method = state.text("photograph", "cat_coffee"), state.text("method")
    network = state.text("network", "SqueezeNet")
    layers = state["layer"].options if "layer" in state else ("features.12",)
    layer, asked = state.text("layer", layers[-1]), state.text("class")
    offered = state["class"].options
    stack = cams(network, photo, layer, offered, method)
    signed = layers if method in ("cam", "eigencam", "eigengradcam") else ()
    stacks = [cams(network, photo, other, offered, method) for other in signed]
    if any(other.scale == "diverging" for other in stacks):
        stack = replace(stack, scale="diverging")
    title = f"{layer} · {asked}" if len(layers) > 1 else asked
    answer = viz.predict(model(network), photograph(network, photo))
    rows = [["▸ " * (p.label == asked) + p.label, f"{p.probability:.3f}"] for p in answer]
    words = "one scale for each layer" if len(layers) > 1 else "one scale for all"
    shown = drawn(stack, offered.index(asked), state, title=title, words=words)
    return replace(shown, rows=rows)


@cache
def salient(photo: str, target: str, method: str) -> viz.ImageStack:
    return viz.saliency(model(), photograph("SqueezeNet", photo), target=target, method=method)


def saliency(state: State) -> Expected:
    stack = salient("cat", state.text("class"), state.text("method"))
    title = f"{state.text('method')} · {state.text('class')}"
    return drawn(stack, 0, state, title=title, words="each frame its own scale")


@cache
def climb(network: str, layer: str, channel: int) -> viz.ImageStack:
    steps = range(31)
    return viz.activation_maximization(
        model(network), layer, channels=[channel], steps=30, keep=steps, size=96
    )


def filters(state: State) -> Expected:
    layer, network = state.text("layer", "features.0"), state.text("network")
    stack, at = climb(network, layer, state.number("filter")), state.number("iteration")
    return Expected(stack.frames[at], tolerance=0, curve=float(stack.values[at]))


ORACLES: dict[str, Oracle] = {
    "01_print": structure,
    "02_torchinfo": summary,
    "03_kernels": kernels,
    "04_hooks": feature_maps,
    "05_cam": cam,
    "06_flashtorch": filters,
}
TYPED = {"another class": "tench"}
ELSEWHERE = {"show"}  # changes what is below the picture, not the picture


def move_everything(panel: Panel, oracle: Oracle) -> list[str]:
    """Move each control there and back; each time the picture is another, and the right one."""
    state, before = panel.settle(oracle)
    for name in list(state):
        control = state[name]
        there, back = keys_for(control)
        panel.move(control, there)
        moved, after = panel.settle(oracle)
        assert moved[name].value != control.value, f"{name} did not move"
        assert name in ELSEWHERE or differ(before, after), f"{name} changed nothing"
        panel.move(moved[name], back)
        state, before = panel.settle(oracle)
        assert state[name].value == control.value, f"{name} did not come back"
    return list(state)


def keys_for(control: browser.Control) -> tuple[str, str]:
    if control.kind == "text":
        return TYPED[control.name], ""
    forth, back = ("Down", "Up") if control.kind == "choice" else ("Right", "Left")
    keys = f"Arrow{forth}", f"Arrow{back}"
    return keys[::-1] if control.last else keys


def differ(one: Expected, other: Expected) -> bool:
    told = [(found.rows, found.scale) for found in (one, other)]
    return told[0] != told[1] or not np.array_equal(one.picture, other.picture)


# ---------------------------------------------------------------- where it is seen


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As the kernels of the tests have it: sums have the same digits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    if browser.chromium() is None:
        pytest.fail(f"VIZHELPERS_BROWSER=required, and there is no Chromium: {MISSING}")
    with browser.launched() as found:
        yield found


@pytest.fixture(scope="module")
def errors() -> list[str]:
    return []


@pytest.fixture(autouse=True)
def quiet(errors: list[str]) -> Iterator[None]:
    """No test leaves an error in a page or on its console."""
    yield
    found, errors[:] = list(errors), []
    assert found == []


def explore_cell(name: str) -> list[str]:
    """The cells of a small notebook with the setup and the explorer of a real one."""
    cells = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4).cells
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    (explore,) = [source for source in code if "viz.explore_" in source]
    return [code[0], PRELUDE, explore, SLEEP, COUNT, PROCESS]


@pytest.fixture(scope="module")
def opened(
    chrome: Browser, tmp_path_factory: pytest.TempPathFactory, errors: list[str]
) -> Iterator[Callable[[str], tuple[Notebook, Panel]]]:
    """Open a notebook, once, and run it up to its panel."""
    folder = tmp_path_factory.mktemp("notebooks")
    for name in NAMES:
        browser.write_notebook(folder / f"{name}.ipynb", explore_cell(name))
    context = chrome.new_context(viewport={"width": 1200, "height": 2200})
    browser.complaints(context, errors)
    browser.count_buffers(context)
    where = browser.front()
    with browser.served(folder, where) as address:

        @cache
        def open_one(name: str) -> tuple[Notebook, Panel]:
            notebook = Notebook(context.new_page(), where, address, name)
            notebook.run(SETUP)
            notebook.run(PREPARE)
            return notebook, notebook.run_until_shown(EXPLORE)

        def in_front(name: str) -> tuple[Notebook, Panel]:
            notebook, panel = open_one(name)
            notebook.page.bring_to_front()  # pages behind others draw once in a second
            return notebook, panel

        yield in_front
        context.close()


Opened = Callable[[str], tuple[Notebook, Panel]]


@pytest.fixture
def maps(opened: Opened) -> Panel:
    """The panel of feature maps, as its controls were left."""
    _, panel = opened("04_hooks")
    panel.settle(feature_maps)
    return panel


@pytest.mark.parametrize("name", NAMES)
def test_every_control_shows_the_picture_that_python_computes(opened: Opened, name: str) -> None:
    _, panel = opened(name)
    assert len(move_everything(panel, ORACLES[name])) >= 2


# ---------------------------------------------------------------- around the picture


def test_the_colour_bar_says_its_numbers_and_its_scale(maps: Panel) -> None:
    state, _ = maps.settle(feature_maps)
    stack = maps_of(state.text("photograph"), state.text("layer"))
    low, high = stack.limits()[0]
    assert numbers_on_the_bar(maps) == pytest.approx(np.linspace(high, low, 5), rel=6e-3)
    assert maps.text("scale") == "activation · one scale for all"
    maps.press("colour scale", "ArrowDown")
    maps.settle(feature_maps)
    own = stack.frames[state.number("channel")]
    ends = [own.max(), min(own.min(), 0)]
    assert numbers_on_the_bar(maps)[:: len(ends) * 2] == pytest.approx(ends, rel=6e-3)
    assert maps.text("scale") == "activation · each frame its own scale"
    maps.press("colour scale", "ArrowUp")
    maps.settle(feature_maps)


def numbers_on_the_bar(panel: Panel) -> list[float]:
    return [float(text) for text in panel.page.locator(".vz-tick").all_inner_texts()]


def test_pointing_at_a_pixel_tells_its_true_value(maps: Panel) -> None:
    state, _ = maps.settle(feature_maps)
    frame = frame_of(state)
    for row, column in [(3, 9), np.unravel_index(frame.argmax(), frame.shape)]:
        point_at(maps, int(row), int(column), frame.shape)
        maps.wait(READS, f"row {row}, column {column}:")
        assert told(maps) == (row, column, near(frame, row, column))
    maps.page.mouse.move(0, 0)
    maps.wait(READS, "Point at a pixel")


READS = "text => document.querySelector('.vz-readout').textContent.startsWith(text)"


def frame_of(state: State) -> np.ndarray:
    stack = maps_of(state.text("photograph", "cat"), state.text("layer"))
    return stack.frames[state.number("channel")]


def point_at(panel: Panel, row: int, column: int, shape: tuple[int, ...]) -> None:
    """Move the mouse to the middle of one pixel of the map."""
    panel.map.scroll_into_view_if_needed()
    box = panel.map.bounding_box()
    x = box["x"] + (column + 0.5) / shape[1] * box["width"]
    y = box["y"] + (row + 0.5) / shape[0] * box["height"]
    panel.map.page.mouse.move(x, y)


def told(panel: Panel) -> tuple[int, int, float]:
    found = re.match(r"row (\d+), column (\d+): (\S+) \(activation\)", panel.text("readout"))
    assert found, panel.text("readout")
    return int(found[1]), int(found[2]), float(found[3])


def near(frame: np.ndarray, row: int, column: int) -> object:
    """A value, to 1/255 of the frame's range and the four digits that are told."""
    return pytest.approx(float(frame[row, column]), abs=float(np.ptp(frame)) / 255, rel=5e-4)


def test_arrow_keys_read_the_pixels_of_the_focused_picture(maps: Panel) -> None:
    state, _ = maps.settle(feature_maps)
    frame = frame_of(state)
    maps.page.mouse.move(0, 0)
    maps.wait(READS, "Point at a pixel")
    maps.map.focus()
    row, column = (side // 2 for side in frame.shape)
    for key, down, right in [
        ("ArrowRight", 0, 1),
        ("ArrowDown", 1, 0),
        ("ArrowLeft", 0, -1),
        ("ArrowUp", -1, 0),
        ("End", 0, 10**6),
        ("Home", 0, -(10**6)),
    ]:
        maps.page.keyboard.press(key)
        row = row + down
        column = min(max(column + right, 0), frame.shape[1] - 1)
        maps.wait(READS, f"row {row}, column {column}:")
        assert told(maps) == (row, column, near(frame, row, column))
    assert maps.state() == state, "a key that reads pixels moved a control"
    expect(maps.map).to_be_focused()


def test_the_grid_shows_all_frames_and_choosing_one_moves_the_sliders(opened: Opened) -> None:
    _, panel = opened("03_kernels")
    panel.press("show", "ArrowDown")
    state, _ = panel.settle(kernels)
    panel.grid.wait_for()
    columns = columns_of(panel)
    stack = viz.kernels(model(state.text("network")), state.text("layer"))
    assert thumbnails(panel, stack, columns) == 0
    box = panel.grid.bounding_box()
    side = box["width"] / columns
    at = {"x": 2.5 * side, "y": 1.5 * side}
    panel.grid.click(position=at)
    frame = columns + 2
    shows_frame(panel, frame, stack)
    for key, step in [("ArrowRight", 1), ("ArrowDown", columns), ("ArrowLeft", -1)]:
        panel.page.keyboard.press(key)
        frame += step
        shows_frame(panel, frame, stack)
    for key, frame in [("End", len(stack) - 1), ("Home", 0), ("ArrowLeft", 0)]:
        panel.page.keyboard.press(key)
        shows_frame(panel, frame, stack)
    expect(panel.grid).to_be_focused()
    panel.press("show", "ArrowUp")
    panel.settle(kernels)
    expect(panel.grid).to_be_hidden()


def columns_of(panel: Panel) -> int:
    """How many thumbnails stand in a row: the mark is as wide as one."""
    return panel.grid.evaluate(
        "grid => Math.round(grid.clientWidth / parseFloat(grid.nextSibling.style.width))"
    )


def thumbnails(panel: Panel, stack: viz.ImageStack, columns: int) -> int:
    """The largest difference of the middles of all thumbnails from the middles of the frames."""
    middles = panel.grid.evaluate(
        """(grid, [columns, count]) => {
            const cell = grid.width / columns;
            const context = grid.getContext("2d");
            return Array.from({ length: count }, (_, i) => {
                const at = [i % columns, Math.floor(i / columns)].map(n => (n + 0.5) * cell);
                return [...context.getImageData(...at.map(Math.floor), 1, 1).data.slice(0, 3)];
            });
        }""",
        [columns, len(stack)],
    )
    right = [stack.colours(i)[1, 1].astype(int) for i in range(len(stack))]
    worst = int(np.abs(np.array(middles) - right).max())
    return max(0, worst - browser.ONE_LEVEL)


def shows_frame(panel: Panel, frame: int, stack: viz.ImageStack) -> None:
    """The picture is this frame, and the sliders stand on it."""
    panel.wait("frame => document.querySelector('.vz-root').dataset.frame === frame", str(frame))
    state, _ = panel.settle(kernels)
    places = np.unravel_index(frame, stack.shape)
    assert (state.number("output channel"), state.number("input channel")) == places


def test_play_moves_the_slider_until_pause(maps: Panel) -> None:
    state, _ = maps.settle(feature_maps)
    play = maps.page.get_by_role("button", name="Play")
    expect(play).to_have_attribute("aria-pressed", "false")
    play.click()
    passed = "least => Number(document.querySelector('.vz-root').dataset.frame) >= least"
    maps.wait(passed, state.number("channel") + 3)
    pause = maps.page.get_by_role("button", name="Pause")
    expect(pause).to_have_attribute("aria-pressed", "true")
    pause.click()
    stopped, _ = maps.settle(feature_maps)
    assert stopped.number("channel") >= state.number("channel") + 3
    maps.page.evaluate("window.since = performance.now()")
    maps.wait("() => performance.now() > window.since + 600")  # more than two beats
    assert maps.state() == stopped


def test_zoom_enlarges_the_picture_and_keeps_its_pixels(maps: Panel) -> None:
    widths = "() => document.querySelector('.vz-map canvas').getBoundingClientRect().width"
    before = maps.page.evaluate(widths)
    maps.page.get_by_role("button", name="larger").click()
    maps.wait(f"old => ({widths})() > 1.9 * old", before)
    maps.settle(feature_maps)
    maps.page.get_by_role("button", name="smaller").click()
    maps.wait(f"old => ({widths})() === old", before)
    maps.settle(feature_maps)


def test_each_part_has_a_role_and_a_name(maps: Panel) -> None:
    state, _ = maps.settle(feature_maps)
    picture = re.compile(rf"{re.escape(state.text('layer'))}.*channel {state.number('channel')}\b")
    expect(maps.page.get_by_role("img", name=picture)).to_be_visible()
    expect(maps.page.get_by_role("img", name="the photograph")).to_be_visible()
    expect(maps.page.get_by_role("img", name="colour bar")).to_be_visible()
    for live in ("title", "readout"):
        expect(maps.page.locator(f".vz-{live}")).to_have_attribute("aria-live", "polite")
    expect(maps.page.get_by_role("toolbar", name="picture")).to_be_visible()
    maps.press("show", "ArrowDown")
    grid = maps.page.get_by_role("slider", name="all frames")
    expect(grid).to_have_attribute("aria-valuenow", str(state.number("channel")))
    expect(grid).to_have_attribute("aria-valuetext", re.compile(r"\w"))
    expect(grid).to_have_attribute("tabindex", "0")
    maps.press("show", "ArrowUp")
    maps.settle(feature_maps)


# ---------------------------------------------------------------- what goes wrong


@pytest.fixture
def cams_panel(opened: Opened) -> Panel:
    """The panel of class activation maps, as its controls were left."""
    _, panel = opened("05_cam")
    panel.settle(cam)
    return panel


def type_class(panel: Panel, text: str) -> None:
    field = panel.input("another class")
    field.fill(text)
    field.press("Enter")


def test_the_search_suggests_classes_that_hold_the_word(cams_panel: Panel) -> None:
    """Chromium lists the options that contain the text, in their order."""
    field = cams_panel.input("another class")
    for typed, first in [
        ("cat", ["tiger cat", "Persian cat", "Siamese cat", "Egyptian cat", "Madagascar cat"]),
        ("golden", ["golden retriever"]),
        ("281", ["281"]),
    ]:
        field.fill("")
        field.press_sequentially(typed)
        assert field.evaluate(SUGGESTED)[: len(first)] == first
        assert not {"crate", "oxcart", "castle"} & set(field.evaluate(SUGGESTED))
    field.fill("")
    assert len(field.evaluate(SUGGESTED)) == 1000


SUGGESTED = "input => [...input.list.options].map(option => option.value)"


def test_a_class_is_found_by_one_of_its_words(cams_panel: Panel) -> None:
    for typed, name in [("golden", "golden retriever"), ("281", "tabby")]:
        type_class(cams_panel, typed)
        shows = "name => document.querySelector('.vz-title').textContent.includes(name)"
        cams_panel.wait(shows, name)
        state, _ = cams_panel.settle(cam)
        assert state.text("class") == name
    type_class(cams_panel, "")
    cams_panel.settle(cam)


def test_an_error_stands_above_the_picture_that_stays(cams_panel: Panel) -> None:
    before, _ = cams_panel.settle(cam)
    picture = cams_panel.map.evaluate("canvas => canvas.toDataURL()")
    type_class(cams_panel, "cat")
    alert = cams_panel.root.get_by_role("alert").filter(visible=True)
    expect(alert).to_contain_text("5 class names contain 'cat': tiger cat (282)")
    expect(alert).to_contain_text("The picture has not changed.")
    assert cams_panel.map.evaluate("canvas => canvas.toDataURL()") == picture
    assert alert.bounding_box()["y"] < cams_panel.map.bounding_box()["y"]
    expect(cams_panel.page.get_by_role("button", name="Play")).to_be_visible()
    cams_panel.press("overlay strength", "ArrowRight")
    moved = "old => document.querySelector('.vz-map canvas').toDataURL() !== old"
    cams_panel.wait(moved, picture)
    cams_panel.press("overlay strength", "ArrowLeft")
    type_class(cams_panel, "")
    expect(alert).to_have_count(0)
    assert cams_panel.settle(cam)[0] == before


def test_a_broken_upload_is_named_and_not_offered(cams_panel: Panel, tmp_path: Path) -> None:
    before = cams_panel.state()
    broken, good = tmp_path / "holiday.png", tmp_path / "mine.png"
    broken.write_bytes(b"\x8a-garbage" * 99)
    Image.new("RGB", (300, 240), "orange").save(good)
    alert = cams_panel.root.get_by_role("alert").filter(visible=True)
    for _ in range(2):
        upload(cams_panel, broken)
        expect(alert).to_contain_text("'holiday.png' is not an image")
        expect(alert).not_to_contain_text("x8a")
        assert cams_panel.state() == before
        upload(cams_panel, good)
        expect(alert).to_have_count(0)
        assert cams_panel.state().text("photograph").startswith("your photograph")
        cams_panel.input("photograph").select_option(before.text("photograph"))
        cams_panel.settle(cam)
        before = cams_panel.state()


def upload(panel: Panel, path: Path) -> None:
    with panel.page.expect_file_chooser() as chooser:
        panel.page.get_by_role("button", name="Your own").click()
    chooser.value.set_files(path)


def test_stop_gives_up_a_slow_picture_and_the_panel_goes_on(opened: Opened) -> None:
    _, panel = opened("06_flashtorch")
    before, _ = panel.settle(filters)
    picture = panel.map.evaluate("canvas => canvas.toDataURL()")
    panel.press("layer", "End")
    expect(panel.root).to_have_attribute("aria-busy", "true")
    expect(panel.page.get_by_role("status").filter(has_text="Computing")).to_be_visible()
    panel.page.get_by_role("button", name="Stop").click()
    expect(panel.root).to_have_attribute("aria-busy", "false")
    assert panel.settle(filters)[0] == before, "the menus say what is shown"
    assert panel.map.evaluate("canvas => canvas.toDataURL()") == picture
    panel.press("filter", "ArrowRight")
    state, _ = panel.settle(filters)
    assert state.number("filter") == before.number("filter") + 1


def test_an_axis_moves_while_the_kernel_is_busy(opened: Opened) -> None:
    notebook, panel = opened("04_hooks")
    before, _ = panel.settle(feature_maps)
    notebook.start(BUSY)
    panel.page.get_by_text("asleep", exact=True).wait_for()
    panel.press("channel", "ArrowLeft")
    after, _ = panel.settle(feature_maps)
    assert not isinstance(notebook.number(BUSY), int), "the long cell was over too early"
    assert after.number("channel") == before.number("channel") - 1


def printed(notebook: Notebook, cell: int) -> int:
    """Run a cell; return the number that is its output."""
    notebook.run(cell)
    texts = notebook.page.locator(".jp-OutputArea-output pre, .output_subarea pre")
    return int(next(text for text in reversed(texts.all_inner_texts()) if text.strip().isdigit()))


def test_running_a_panels_cell_again_and_again_frees_the_old_ones(opened: Opened) -> None:
    notebook, panel = opened("03_kernels")

    def rerun(times: int) -> dict[str, int]:
        for _ in range(times):
            notebook.run(EXPLORE)
        panel.settle(kernels)
        return {"widgets": printed(notebook, LIVE), **browser.kept_by(notebook.page)}

    before = rerun(2)
    after = rerun(48)
    assert after["widgets"] <= before["widgets"] + 2
    assert after["canvases"] <= before["canvases"]
    assert after["detached"] <= before["detached"], "parts of views outlive them"
    assert after["buffers"] <= before["buffers"] + 5, "frames outlive their view"
    # JupyterLab keeps the nodes of closed sliders and dropdowns, of plain ones as well.
    assert after["nodes"] <= before["nodes"] + 48 * 400


def test_a_view_says_that_its_kernel_does_not_answer(opened: Opened) -> None:
    """As where a front end does not tell that its kernel was restarted."""
    notebook, panel = opened("01_print")
    kernel = printed(notebook, PROCESS_ID)
    alert = panel.root.get_by_role("alert").filter(visible=True)
    os.kill(kernel, signal.SIGSTOP)
    try:
        field = panel.input("depth")
        field.press("ArrowRight")
        expect(alert).to_contain_text("The kernel does not answer", timeout=20_000)
        field.press("ArrowLeft")
    finally:
        os.kill(kernel, signal.SIGCONT)
    expect(alert).to_have_count(0)
    panel.settle(structure)


def test_a_view_says_that_its_kernel_was_restarted_and_its_axes_still_move(opened: Opened) -> None:
    """The last of the tests with this notebook."""
    notebook, panel = opened("06_flashtorch")
    before, _ = panel.settle(filters)
    panel.input("layer").select_option("classifier.1")  # slow: the kernel dies over it
    expect(panel.root).to_have_attribute("aria-busy", "true")
    notebook.restart()
    alert = panel.root.get_by_role("alert").filter(visible=True)
    expect(alert).to_have_text("⚠ The kernel was restarted; run the cell again.")
    expect(panel.page.get_by_role("button", name="Stop")).to_be_hidden()
    frame = "frame => document.querySelector('.vz-root').dataset.frame === frame"
    panel.press("iteration", "ArrowLeft")
    panel.wait(frame, str(before.number("iteration") - 1))
    notebook.page.get_by_role("button", name="Play").click()
    panel.wait(frame, "0")  # from the last one
    notebook.page.get_by_role("button", name="Pause").click()


# ---------------------------------------------------------------- without a kernel


def panel_of(kind: str) -> object:
    """A panel as its notebook has it, and the saliency panel, which has none."""
    both = {name: named(name) for name in ("SqueezeNet 1.1", "VGG13")}
    return {
        "structure": lambda: viz.explore_module_tree(both),
        "summary": lambda: viz.explore_summary(both),
        "kernels": lambda: viz.explore_kernels(model(), out=3),
        "feature_maps": lambda: viz.explore_feature_maps(model(), "cat", layer="features.11"),
        "cam": lambda: viz.explore_cam(model(), "cat_coffee", target="coffee mug"),
        "saliency": lambda: viz.explore_saliency(model(), "cat"),
        "filters": lambda: viz.explore_activation_maximization(model(), channel=3),
    }[kind]()


PAGES: dict[str, Oracle] = {
    "structure": structure,
    "summary": summary,
    "kernels": kernels,
    "feature_maps": feature_maps,
    "cam": cam,
    "saliency": saliency,
    "filters": filters,
}


@pytest.fixture(scope="module", params=PAGES)
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    panel = panel_of(request.param)
    path = panel.save_html(tmp_path_factory.mktemp("pages") / f"{request.param}.html")
    panel.close()
    return path


def test_a_saved_page_shows_every_picture_without_a_network(
    chrome: Browser, saved: Path, errors: list[str]
) -> None:
    context = chrome.new_context(viewport={"width": 1200, "height": 900}, offline=True)
    browser.complaints(context, errors)
    page = context.new_page()
    page.goto(saved.as_uri())
    panel = Panel(page)
    assert move_everything(panel, PAGES[saved.stem])
    if saved.stem == "feature_maps":
        frame = frame_of(panel.state())
        point_at(panel, 4, 7, frame.shape)
        panel.wait(READS, "row 4, column 7:")
        assert told(panel) == (4, 7, near(frame, 4, 7))
    context.close()


def test_a_saved_page_without_javascript_shows_its_first_picture(
    chrome: Browser, saved: Path
) -> None:
    context = chrome.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto(saved.as_uri())
    expect(page.get_by_role("img")).to_be_visible()
    box = page.get_by_role("img").bounding_box()
    assert min(box["width"], box["height"]) > 100
    expect(page.locator("noscript p")).to_contain_text("need JavaScript")
    context.close()


def test_the_site_has_explorers_that_move(
    chrome: Browser, tmp_path: Path, errors: list[str]
) -> None:
    from tools.build_site import build

    build(tmp_path / "site", ["04_hooks"])
    context = chrome.new_context(viewport={"width": 1200, "height": 900}, offline=True)
    browser.complaints(context, errors)
    page = context.new_page()
    page.goto((tmp_path / "site" / "04_hooks.html").as_uri())
    page.locator("iframe").first.scroll_into_view_if_needed()
    frame = page.locator("iframe").first.element_handle().content_frame()
    panel = Panel(frame)
    before, _ = panel.settle(feature_maps)
    panel.press("channel", "ArrowRight")
    after, _ = panel.settle(feature_maps)
    assert after.number("channel") == before.number("channel") + 1
    context.close()
