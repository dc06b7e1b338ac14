"""The picture, its colour bar, its readout, the grid and the buttons."""

import re

import numpy as np
import pytest
from expected_pictures import feature_maps, kernels, maps_of, model
from interaction import READS, frame_of, near, point_at, told
from playwright.sync_api import expect
from small_notebooks import Opened

import vizhelpers as viz
from tools import browser
from tools.browser import Panel


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
