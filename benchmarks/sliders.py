"""Key press until the picture is painted, in a browser: ``uv run python -m benchmarks.sliders``.

Four designs show the same 64 maps of 111 x 111, one after the other in one run: three on one
JupyterLab page, the last on a page from disk. Nothing here is a test: a time is a measurement of
this machine; what can be compared are the ratios.
"""

import argparse
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page

import vizhelpers as viz
from tests import browser
from tests.browser import LAB, Notebook, Panel

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
OURS = f"viz.explore_feature_maps(model, 'cat', layer='{LAYER}')"
CELLS = [SETUP, INTERACT, IMAGE, OURS]


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        name: what was done.
        times: how long it took, each time, in milliseconds.
        goal: the median's, in words.
        against: times of what it is compared with.
    """

    name: str
    times: Sequence[float]
    goal: str = ""
    against: Sequence[float] = ()

    def text(self) -> str:
        """Return it as Markdown."""
        median = statistics.median(self.times)
        late = statistics.quantiles(self.times, n=20, method="inclusive")[-1]
        faster = f"{statistics.median(self.against) / median:.1f} x" if self.against else ""
        return f"| {self.name} | {median:.0f} | {late:.0f} | {faster} | {self.goal} |"


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
_PAINTED = """cell => new Promise(resolve => {
    const [old, start] = [document.querySelector(".vz-root"), performance.now()];
    (RUN)(cell);
    const again = () => {
        const now = document.querySelector(".vz-root[data-frame]");
        if (now && now !== old) resolve(performance.now() - start);
        else requestAnimationFrame(() => setTimeout(again));
    };
    again();
})"""


def latency(handle: Locator, key: str, selector: str, look: str) -> float:
    """Press one key and return how long the picture took to change, in milliseconds."""
    handle.focus()
    handle.page.evaluate(_WATCH.replace("LOOK", look), selector)
    handle.page.keyboard.press(key)
    return float(handle.page.evaluate("() => window.measured"))


def latencies(handle: Locator, selector: str, look: str, presses: int) -> list[float]:
    """Move a slider from 0 up and down; the first three keys only warm up."""
    keys = [("ArrowRight", "ArrowLeft")[i // 60 % 2] for i in range(presses + 3)]
    return [latency(handle, key, selector, look) for key in keys][3:]


def in_jupyter(chromium: Browser, folder: Path, presses: int) -> dict[str, list[float]]:
    """Measure three designs on one JupyterLab page, and what our panel takes besides."""
    browser.write_notebook(folder / "sliders.ipynb", CELLS)
    with browser.served(folder, LAB) as address:
        page = chromium.new_page(viewport={"width": 1200, "height": 1600})
        notebook = Notebook(page, LAB, address, "sliders")
        for cell in (0, 1, 2):
            notebook.run(cell)
        found = {}
        for name, at, selector in (
            ("interact", 0, ".widget-output img"),
            ("image", 1, "img.widget-image"),
        ):
            page.locator(selector).wait_for()
            found[name] = latencies(page.locator(LAB.handle).nth(at), selector, _SOURCE, presses)
        painted = _PAINTED.replace("RUN", LAB.run)
        found["first paint"] = [float(page.evaluate(painted, 3)) for _ in range(5)]
        found |= of_the_panel(Panel(page, LAB), presses)
        page.close()
    return found


def of_the_panel(panel: Panel, presses: int) -> dict[str, list[float]]:
    """Measure a panel's slider, and its dropdown of layers, there and back."""
    layer = panel.input("layer")
    return {
        "ours": latencies(panel.input("channel"), ".vz-root", _FRAME, presses),
        "layer": [latency(layer, "ArrowDown", ".vz-root", _NAME) for _ in range(8)],
        "layer again": [latency(layer, "ArrowUp", ".vz-root", _NAME) for _ in range(8)],
    }


def on_a_page(page: Page, folder: Path, presses: int) -> list[float]:
    """Measure our design on a saved page, where no kernel runs."""
    panel = viz.explore_feature_maps(viz.load_model(), "cat", layer=LAYER)
    page.goto(panel.save_html(folder / "panel.html").as_uri())
    page.locator(".vz-root[data-frame]").wait_for()
    return latencies(Panel(page).input("channel"), ".vz-root", _FRAME, presses)


def bytes_sent() -> int:
    """Return how many bytes of frames a panel sends."""
    panel = viz.explore_feature_maps(viz.load_model(), "cat", layer=LAYER)
    assert len(panel.view.scene["titles"]) == COUNT
    return len(panel.view.scene["data"])


def rows(found: Mapping[str, list[float]]) -> list[Row]:
    """Return the table's lines."""
    slow, goal = found["interact"], "34, and 5 x"
    return [
        Row("`interact` + matplotlib inline", slow),
        Row("IntSlider + `Image`, PNG made in the kernel", found["image"], "", slow),
        Row("ours, JupyterLab", found["ours"], goal, slow),
        Row("ours, page from disk", found["page"], goal, slow),
        Row("first paint of a panel, model loaded", found["first paint"], "1000"),
        Row("another layer", found["layer"], "150"),
        Row("a layer seen before", found["layer again"], "150"),
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--presses", type=int, default=200, help="keys for each design")
    presses: int = parser.parse_args().presses
    with browser.launched() as chromium, tempfile.TemporaryDirectory() as folder:
        found = in_jupyter(chromium, Path(folder), presses)
        found["page"] = on_a_page(chromium.new_page(), Path(folder), presses)
    print("| until painted | median, ms | p95, ms | faster | goal, ms |\n|---|---|---|---|---|")
    for row in rows(found):
        print(row.text())
    sent = bytes_sent() / 1e6
    print(f"| sent for {COUNT} maps of 111 x 111 | {sent:.2f} MB | | | 1 MB |")


if __name__ == "__main__":
    main()
