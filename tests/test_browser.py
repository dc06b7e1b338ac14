"""A panel in a real browser: a key moves its slider, and the picture changes."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

playwright = pytest.importorskip("playwright.sync_api", reason="the dev group is not installed")

CODE = "import vizhelpers as viz\nviz.explore_feature_maps(viz.load_model(), 'cat')"
# The front ends' own ways to say that a kernel is there, and to run a notebook.
LAB_READY = (
    "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
)
CLASSIC_READY = "window.Jupyter?.notebook?.kernel?.widget_manager"
# `void`: to wait for the promise of a run has no time limit, to wait for its picture has.
LAB = "void window.jupyterapp.commands.execute('notebook:run-all-cells')"
CLASSIC = "void Jupyter.notebook.execute_all_cells()"


def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
    if found is None and os.environ.get("VIZHELPERS_BROWSER") == "required":
        pytest.fail("VIZHELPERS_BROWSER=required, and there is no Chromium on the PATH.")
    if found is None:
        pytest.skip("no Chromium on the PATH; .ci/run installs one and requires it")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Serve a folder with one notebook; yields the address of its page."""
    lab = find_spec("jupyterlab") is not None
    notebook = new_notebook(cells=[new_code_cell(CODE)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, tmp_path / "panel.ipynb")
    port = free_port()
    app, page = ("lab", "lab/tree") if lab else ("notebook", "notebooks")
    command = [sys.executable, "-m", "jupyter", app, "--no-browser", "--allow-root"]
    settings = [f"--port={port}", "--ip=127.0.0.1", "--ServerApp.token=", "--ServerApp.password="]
    if lab:
        settings.append("--LabApp.expose_app_in_browser=True")
    else:
        settings += ["--NotebookApp.token=", "--NotebookApp.password="]
    log = (tmp_path / "server.log").open("w")
    process = subprocess.Popen(
        [*command, *settings], cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT
    )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{address}/api", process, tmp_path / "server.log")
        yield f"{address}/{page}/panel.ipynb"
    finally:
        process.terminate()
        process.wait(10)
        log.close()


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        assert process.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(address, timeout=1)
            return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"the server did not answer:\n{log.read_text()}")


def test_a_key_moves_the_slider_and_the_picture_follows(server: str) -> None:
    lab = "/lab/" in server
    handle = ".noUi-handle" if lab else ".ui-slider-handle"
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(30_000)
        page.goto(server)
        page.wait_for_function(LAB_READY if lab else CLASSIC_READY)
        picture = page.locator("img.widget-image")
        run_until_shown(page, LAB if lab else CLASSIC, picture)
        first = digest(picture)
        page.locator(handle).first.focus()
        page.keyboard.press("ArrowRight")
        page.wait_for_function(
            "old => document.querySelector('img.widget-image').src !== old",
            arg=picture.get_attribute("src"),
        )
        assert digest(picture) != first
        browser.close()


def run_until_shown(page: "playwright.Page", run: str, picture: "playwright.Locator") -> None:
    """Run all cells; a second time where the front end was not ready for a widget yet.

    The classic notebook draws all outputs anew once its widget manager has started, and loses a
    view that was drawn before.
    """
    for patience in (10_000, 10_000, 30_000):
        page.evaluate(run)
        try:
            picture.wait_for(timeout=patience)
            return
        except playwright.TimeoutError:
            if patience == 30_000:
                raise


def digest(picture: "playwright.Locator") -> list[int]:
    """Return the SHA-256 of the PNG that an ``img`` shows; its address is a blob of the page."""
    return picture.evaluate(
        """async image => {
            const png = await (await fetch(image.src)).arrayBuffer();
            return Array.from(new Uint8Array(await crypto.subtle.digest("SHA-256", png)));
        }"""
    )
