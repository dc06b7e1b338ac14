"""Errors, a busy or dead kernel, and panels that are replaced."""

import os
import re
import signal
from pathlib import Path

from expected_pictures import cam, feature_maps, filters, kernels, structure
from PIL import Image
from playwright.sync_api import expect
from small_notebooks import BUSY, EXPLORE, LIVE, PROCESS_ID, Opened

from tools import browser
from tools.browser import Notebook, Panel


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
    # The cell's number comes by another channel than its output, and may come first.
    texts.filter(has_text=re.compile(r"^\s*\d+\s*$")).last.wait_for()
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
    """Stop the kernel, as in front ends that do not report a restart."""
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
    """Leave the notebook without its panel: this must be its last test in this file."""
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
