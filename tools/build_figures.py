"""Draw the figures of README into ``images/``: ``uv run python -m tools.build_figures``.

Those of the panels are taken from their saved pages in headless Chromium, which must be on the
PATH; they show what a reader sees, in a light and a dark theme.
"""

import io
import sys
import tempfile
from pathlib import Path

import torch
import torchvision
from matplotlib.figure import Figure
from PIL import Image
from playwright.sync_api import Browser, Page

import vizhelpers as viz
from tools import browser
from vizhelpers.view.canvas import to_png
from vizhelpers.view.live.panel import Panel

IMAGES = Path(__file__).parents[1] / "images"
WIDTH = 820  # css pixels of a page
MOVES = 14  # of the slider in the moving picture


def asked_twice(model: torch.nn.Module) -> Figure:
    """Return one picture of two things, asked for each."""
    sample = viz.prepare(model, viz.composite("cat", "coffee"))
    targets = ["Egyptian cat", "coffee mug"]
    sweep = viz.cam_sweep(model, sample, layers=["features.12"], targets=targets)
    return sweep.plot(photograph=True)


def panels(model: torch.nn.Module) -> dict[str, Panel]:
    """Return the panels in telling states, by the name of their picture."""
    with torch.device("meta"):
        vgg13 = torchvision.models.vgg13()
    both = {"SqueezeNet 1.1": model, "VGG13": vgg13}
    return {
        "structure": viz.explore_module_tree(both),
        "summary": viz.explore_summary({"VGG13": vgg13, "SqueezeNet 1.1": model}),
        "kernels": viz.explore_kernels(model, out=47),
        "feature_maps": viz.explore_feature_maps(model, layer="features.11", channel=131),
        "cam": viz.explore_cam(model, "cat_coffee", target="coffee mug"),
        "saliency": viz.explore_saliency(model, method="guided"),
        "filters": viz.explore_activation_maximization(
            model, layer="features.4.expand3x3", channel=2
        ),
    }


def opened(browser: Browser, page: Path, scheme: str) -> Page:
    """Open a saved panel, and wait for its first picture."""
    tab = browser.new_page(viewport={"width": WIDTH, "height": 700}, color_scheme=scheme)  # type: ignore[arg-type]
    tab.goto(page.as_uri())
    tab.wait_for_selector(".vz-root[data-frame]")
    return tab


def shot(tab: Page) -> Image.Image:
    """Return what a panel shows, without the page around it."""
    return Image.open(io.BytesIO(tab.locator("#panel").screenshot())).convert("RGB")


def picture_of(browser: Browser, panel: Panel, name: str, folder: Path) -> Image.Image:
    """Return a panel in the light theme on the left, and in the dark one on the right."""
    page = panel.save_html(folder / f"{name}.html")
    light, dark = (shot(opened(browser, page, scheme)) for scheme in ("light", "dark"))
    both = Image.new("RGB", (light.width + dark.width, max(light.height, dark.height)), "white")
    both.paste(light, (0, 0))
    both.paste(dark, (light.width, 0))
    return both


def moving_slider(browser: Browser, folder: Path) -> list[Image.Image]:
    """Return what a reader sees while the channel slider moves: one picture for each key."""
    model = viz.load_model()
    panel = viz.explore_feature_maps(model, layer="features.6", channel=20, keep=True)
    tab = opened(browser, panel.save_html(folder / "moving.html"), "light")
    tab.locator("input[type=range]").first.focus()
    frames = []
    for _ in range(MOVES):
        frames.append(shot(tab).quantize(96))
        before = tab.locator(".vz-root").get_attribute("data-frame")
        tab.keyboard.press("ArrowRight")
        tab.wait_for_function(
            "old => document.querySelector('.vz-root').dataset.frame !== old", arg=before
        )
    return frames


def main() -> None:
    """Write all figures."""
    IMAGES.mkdir(exist_ok=True)
    model = viz.load_model()
    cat = viz.prepare(model, "cat")
    (IMAGES / "asked_twice.png").write_bytes(to_png(asked_twice(model)))
    kernels = viz.kernels(model, "features.0", colour=True).plot(columns=16)
    (IMAGES / "kernels.png").write_bytes(to_png(kernels))
    guided = viz.saliency(model, cat, target="tiger cat", method="guided").plot(photograph=True)
    (IMAGES / "guided.png").write_bytes(to_png(guided))
    if browser.chromium() is None:
        sys.exit("No Chromium on the PATH; Debian's package is called chromium.")
    with browser.launched() as chromium, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for title, panel in panels(model).items():
            picture = picture_of(chromium, panel, title, folder)
            picture.save(IMAGES / f"panel_{title}.png", optimize=True)
        frames = moving_slider(chromium, folder)
    frames[0].save(
        IMAGES / "slider.gif", save_all=True, append_images=frames[1:], duration=400, loop=0
    )
    for path in sorted(IMAGES.iterdir()):
        print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
