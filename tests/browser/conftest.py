"""The panels in a real browser: a front end, its notebooks, and their panels.

The front end is JupyterLab where it is installed, else the classic Notebook, as in Colab's
environment. Each file of tests opens a notebook once and leaves its controls as they were; an open
browser would slow down the tests after them.
"""

from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec

import pytest
import torch
from expected_pictures import cam, feature_maps
from small_notebooks import EXPLORE, NAMES, PREPARE, SETUP, Opened, cells_of

from tools import browser
from tools.browser import Notebook, Panel

MISSING = "apt-get install chromium, and uv sync, bring what the browser tests need"
if find_spec("playwright") is None and not browser.REQUIRED:
    collect_ignore_glob = ["test_*.py"]
else:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Compute with one thread, as the notebooks' kernels do, so that sums have the same digits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def chrome() -> Iterator[Browser]:
    if browser.chromium() is None and not browser.REQUIRED:
        pytest.skip(MISSING)
    assert browser.chromium() is not None, f"VIZHELPERS_BROWSER=required: {MISSING}"
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


@pytest.fixture(scope="module")
def opened(
    chrome: Browser, tmp_path_factory: pytest.TempPathFactory, errors: list[str]
) -> Iterator[Opened]:
    """Return a function that opens a notebook once and runs it up to its panel."""
    folder = tmp_path_factory.mktemp("notebooks")
    for name in NAMES:
        browser.write_notebook(folder / f"{name}.ipynb", cells_of(name))
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


@pytest.fixture
def maps(opened: Opened) -> Panel:
    """The panel of feature maps, as its controls were left."""
    _, panel = opened("04_hooks")
    panel.settle(feature_maps)
    return panel


@pytest.fixture
def cams_panel(opened: Opened) -> Panel:
    """The panel of class activation maps, as its controls were left."""
    _, panel = opened("05_cam")
    panel.settle(cam)
    return panel
