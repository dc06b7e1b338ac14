"""That `pytest` really compares a notebook's outputs: a false one must fail."""

import base64
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

# Stands for a panel: its widget has a new name in every run, its text stays.
PANEL = """
import uuid
class Panel:
    def _repr_mimebundle_(self, **kwargs):
        view = {"model_id": uuid.uuid4().hex, "version_major": 2, "version_minor": 0}
        return {"text/plain": "Panel", "image/png": "AAAA",
                "application/vnd.jupyter.widget-view+json": view}
Panel()
"""


def write(path: Path, answer: str, panel: str) -> None:
    """Write a notebook of two cells whose saved outputs are ``answer`` and ``panel``."""
    picture = base64.b64encode(b"another picture").decode()
    saved = [{"text/plain": answer}, {"text/plain": panel, "image/png": picture}]
    cells = [
        new_code_cell(
            source,
            execution_count=count,
            outputs=[new_output("execute_result", data, execution_count=count)],
        )
        for count, (source, data) in enumerate(zip(["6 * 7", PANEL], saved, strict=True), start=1)
    ]
    nbformat.write(new_notebook(cells=cells), path)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("nbval")
    write(folder / "right.ipynb", "42", "Panel")
    write(folder / "wrong.ipynb", "43", "Canvas")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "-rA", "--color=no"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout


def test_right_outputs_pass_whatever_widget_and_picture(report: str) -> None:
    assert "PASSED right.ipynb::Cell 0" in report, report
    assert "PASSED right.ipynb::Cell 1" in report, report


def test_a_changed_number_and_a_changed_panel_fail(report: str) -> None:
    assert "FAILED wrong.ipynb::Cell 0" in report, report
    assert "FAILED wrong.ipynb::Cell 1" in report, report


def test_pytest_is_told_to_run_every_notebook(request: pytest.FixtureRequest) -> None:
    assert "notebooks" in request.config.getini("testpaths")
    assert request.config.option.nbval and not request.config.option.nbval_lax
    assert request.config.option.nbval_current_env
