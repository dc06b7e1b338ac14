"""Saved pages and the site: panels without a kernel."""

from pathlib import Path

import pytest
from expected_pictures import (
    cam,
    feature_maps,
    filters,
    kernels,
    model,
    named,
    saliency,
    structure,
    summary,
)
from interaction import READS, frame_of, move_everything, near, point_at, told
from playwright.sync_api import Browser, expect

import vizhelpers as viz
from tools import browser
from tools.browser import Oracle, Panel


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
