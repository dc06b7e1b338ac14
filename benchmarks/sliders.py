"""Key press until the picture is painted, in a browser.

Designs show the same 64 maps of 111 x 111, one after the other on one JupyterLab page, and ours
once more on a page from disk.
"""

import statistics
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import vizhelpers as viz
from benchmarks.measure import FLOOR, OURS, Budget, Result, Spread
from tools import browser
from tools.browser import LAB, Notebook, Panel

if TYPE_CHECKING:
    from playwright.sync_api import Locator

LAYER, COUNT = "features.0", 64
SETUP = f"""import io
import ipywidgets as widgets, matplotlib.pyplot as plt
import vizhelpers as viz
from PIL import Image
model = viz.load_model()
stack = viz.feature_maps(model, viz.prepare(model, "cat"), "{LAYER}")"""
INTERACT = f"""def draw(channel):
    plt.imshow(stack[channel])
    plt.axis("off")
    plt.show()
once = widgets.interact(draw, channel=widgets.IntSlider(0, 0, {COUNT - 1}))"""
IMAGE = f"""def png(channel):
    buffer = io.BytesIO()
    Image.fromarray(stack.colours(channel)).save(buffer, "PNG")
    return buffer.getvalue()
slider, image = widgets.IntSlider(0, 0, {COUNT - 1}), widgets.Image(value=png(0))
slider.observe(lambda change: setattr(image, "value", png(change["new"])), "value")
widgets.VBox([slider, image])"""
PANEL = f"viz.explore_feature_maps(model, 'cat', layer='{LAYER}')"
CELLS = [SETUP, INTERACT, IMAGE, PANEL]


# What is looked at: another value means another picture.
_SOURCE = "picture => picture.complete ? picture.src : null"
_FRAME = "view => view.dataset.frame"
_NAME = "view => view.querySelector('.vz-name').textContent"

# A promise of the milliseconds from the next key until a display frame with another picture was
# drawn: what is set for later in the frame's callback runs when the frame is done.
_WATCH = """selector => {
    const look = LOOK;
    const seen = () => {
        const found = document.querySelector(selector);
        return found && look(found);
    };
    const old = seen();
    window.measured = new Promise((resolve, reject) => {
        setTimeout(reject, 20000, new Error(`no other picture in 20 s: ${selector}`));
        let pressed = 0;
        const press = event => { pressed = event.timeStamp; };
        addEventListener("keydown", press, { capture: true, once: true });
        const again = () => {
            const now = seen();
            if (pressed && now && now !== old) resolve(performance.now() - pressed);
            else requestAnimationFrame(() => setTimeout(again));
        };
        again();
    });
}"""

# The same, from the start of a cell to a new view.
_PAINTED = """([cell, selector]) => new Promise(resolve => {
    const [old, start] = [new Set(document.querySelectorAll(selector)), performance.now()];
    (RUN)(cell);
    const again = () => {
        const now = [...document.querySelectorAll(selector)].find(found => !old.has(found));
        if (now) resolve(performance.now() - start);
        else requestAnimationFrame(() => setTimeout(again));
    };
    again();
})"""


def latency(handle: "Locator", key: str, selector: str, look: str) -> float:
    """Press one key and return how long the picture took to change, in milliseconds."""
    handle.focus()
    handle.page.evaluate(_WATCH.replace("LOOK", look), selector)
    handle.page.keyboard.press(key)
    return float(handle.page.evaluate("() => window.measured"))


def latencies(handle: "Locator", selector: str, look: str, presses: int) -> list[float]:
    """Move a slider from 0 up and down; the first three keys only warm up."""
    keys = [("ArrowRight", "ArrowLeft")[i // 60 % 2] for i in range(presses + 3)]
    return [latency(handle, key, selector, look) for key in keys][3:]


INTERACT_NAME, IMAGE_NAME = "`interact`", "Image widget"
_DISPLAY = """() => new Promise(resolve => {
    const times = [];
    const again = now => {
        times.push(now);
        if (times.length > 30) resolve((times.at(-1) - times[0]) / (times.length - 1));
        else requestAnimationFrame(again);
    };
    requestAnimationFrame(again);
})"""


def possible() -> bool:
    """Whether there is a browser that can be driven."""
    return browser.chromium() is not None and find_spec("playwright") is not None


@cache
def in_jupyter(presses: int) -> dict[str, list[float]]:
    """Measure all designs on one JupyterLab page, and what our panel takes besides.

    Returns:
        What was measured -> milliseconds, each time.
    """
    with tempfile.TemporaryDirectory() as folder, browser.launched() as chromium:
        browser.write_notebook(Path(folder) / "sliders.ipynb", CELLS)
        with browser.served(Path(folder), LAB) as address:
            page = chromium.new_page(viewport={"width": 1200, "height": 1600})
            notebook = Notebook(page, LAB, address, "sliders")
            for cell in (0, 1, 2):
                notebook.run(cell)
            found = {"frame": [float(page.evaluate(_DISPLAY)) for _ in range(3)]}
            for name, at, selector in (
                (INTERACT_NAME, 0, ".widget-output img"),
                (IMAGE_NAME, 1, "img.widget-image"),
            ):
                page.locator(selector).wait_for()
                handle = page.locator(LAB.handle).nth(at)
                found[name] = latencies(handle, selector, _SOURCE, presses)
            painted = _PAINTED.replace("RUN", LAB.run)
            for name, cell, selector in (
                ("first interact", 1, ".widget-output img"),
                ("first panel", 3, ".vz-root[data-frame]"),
            ):
                times = range(5 if presses > 10 else 1)
                found[name] = [float(page.evaluate(painted, [cell, selector])) for _ in times]
            return found | of_the_panel(Panel(page, LAB), presses)


def of_the_panel(panel: Panel, presses: int) -> dict[str, list[float]]:
    """Measure a panel's slider, and its dropdown of layers, there and back."""
    layer, times = panel.input("layer"), min(8, presses)
    return {
        "panel": latencies(panel.input("channel"), ".vz-root", _FRAME, presses),
        "layer": [latency(layer, "ArrowDown", ".vz-root", _NAME) for _ in range(times)],
        "layer again": [latency(layer, "ArrowUp", ".vz-root", _NAME) for _ in range(times)],
    }


def on_a_page(presses: int) -> list[float]:
    """Measure our design on a saved page, where no kernel runs."""
    panel = viz.explore_feature_maps(viz.load_model(), "cat", layer=LAYER)
    with tempfile.TemporaryDirectory() as folder, browser.launched() as chromium:
        page = chromium.new_page()
        page.goto(panel.save_html(Path(folder) / "panel.html").as_uri())
        page.locator(".vz-root[data-frame]").wait_for()
        return latencies(Panel(page).input("channel"), ".vz-root", _FRAME, presses)


def _presses(budget: Budget) -> int:
    return 10 if budget.quick else 40


def _late(times: list[float]) -> str:
    return f"95 of 100 within {statistics.quantiles(times, n=20, method='inclusive')[-1]:.0f} ms"


def slider(budget: Budget) -> Result:
    """A key on a slider of a live notebook."""
    found = in_jupyter(_presses(budget))
    sides = {OURS: "panel", INTERACT_NAME: INTERACT_NAME, IMAGE_NAME: IMAGE_NAME, FLOOR: "frame"}
    return Result(
        "slider in JupyterLab, key to picture",
        {side: Spread.of(found[name]) for side, name in sides.items()},
        unit="ms",
        goals={INTERACT_NAME: 5},
        floor="one display frame",
        note=f"ours: {_late(found['panel'])}",
    )


def saved_page(budget: Budget) -> Result:
    """A key on a slider of a saved page, against `interact` in a live notebook."""
    found, page = in_jupyter(_presses(budget)), on_a_page(_presses(budget))
    sides = {OURS: page, INTERACT_NAME: found[INTERACT_NAME], FLOOR: found["frame"]}
    return Result(
        "slider on a saved page, key to picture",
        {side: Spread.of(times) for side, times in sides.items()},
        unit="ms",
        goals={INTERACT_NAME: 5},
        floor="one display frame",
        note=f"ours: {_late(page)}; the page needs no kernel",
    )


def panel(budget: Budget) -> Result:
    """From running a cell to its first picture."""
    found = in_jupyter(_presses(budget))
    return Result(
        "first paint of a widget, model loaded",
        {
            OURS: Spread.of(found["first panel"]),
            INTERACT_NAME: Spread.of(found["first interact"]),
            FLOOR: Spread.of(found["frame"]),
        },
        unit="ms",
        limit=1000,
        floor="one display frame",
        note="ours computes all 64 maps, sends them and builds its controls, `interact` draws one "
        "map that is there; "
        f"another layer takes {statistics.median(found['layer']):.0f} ms, one seen before "
        f"{statistics.median(found['layer again']):.0f} ms",
    )


ROWS = {"slider": slider, "slider-page": saved_page, "first-paint": panel}
