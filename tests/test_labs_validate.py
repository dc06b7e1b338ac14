"""A lab, solved, in a kernel: what `nbgrader validate` says of the source.

One lab, for the way of working: in Colab's environment CI executes all six, and
test_labs_grading runs all their tests.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from nbgrader.preprocessors import CheckCellMetadata, ClearOutput, Execute
from nbgrader.validator import Validator
from traitlets.config import Config

ROOT = Path(__file__).parents[1]
LAB = ROOT / "labs" / "source" / "lab3_kernels" / "lab3_kernels.ipynb"


@pytest.fixture(scope="module")
def validator() -> Iterator[Validator]:
    """Return nbgrader's validator, which runs all notebooks in one kernel.

    Torch is imported once. Each notebook begins with an empty namespace, in its own folder.
    """
    manager = AsyncKernelManager(kernel_name="python3")

    class InOneKernel(Execute):
        def preprocess(self, nb: Any, resources: Any, km: Any = None) -> Any:
            fresh = f"%reset -f\n__import__('os').chdir({os.getcwd()!r})"
            nb.cells.insert(0, nbformat.v4.new_code_cell(fresh))
            nb, resources = super().preprocess(nb, resources, km=manager)
            assert nb.cells.pop(0).outputs == []
            return nb, resources

    yield Validator(preprocessors=[CheckCellMetadata, ClearOutput, InOneKernel], config=Config())
    run_sync(manager.shutdown_kernel)(now=True)


def test_a_solved_lab_passes_every_test_of_its_own(validator: Validator) -> None:
    assert validator.validate(str(LAB)) == {}


def _lab(folder: Path, *cells: str) -> str:
    """Write a notebook with test cells only; return its path."""
    notebook = nbformat.v4.new_notebook()
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "", "language": "python"}
    for i, text in enumerate(cells):
        mark = dict(grade=True, grade_id=f"test_{i}", locked=True, points=1, solution=False)
        cell = nbformat.v4.new_code_cell(text)
        cell.metadata.nbgrader = mark | {"schema_version": 3, "task": False}
        notebook.cells.append(cell)
    path = folder / "tiny.ipynb"
    nbformat.write(notebook, path)
    return str(path)


def test_a_test_that_fails_is_reported(validator: Validator, tmp_path: Path) -> None:
    """So that the tests above can fail."""
    path = _lab(tmp_path, "assert 1 == 2", "assert 1 == 1")
    assert [cell["source"] for cell in validator.validate(path)["failed"]] == ["assert 1 == 2"]


def test_no_lab_finds_names_or_files_of_another(validator: Validator, tmp_path: Path) -> None:
    """So that one kernel proves as much as six."""
    names = _lab(tmp_path, "name = 1", "import os; folder = os.getcwd()")
    assert validator.validate(names) == {}
    (tmp_path / "next").mkdir()
    folder = str(tmp_path / "next")
    texts = ["assert 'name' not in dir()", f"import os; assert os.getcwd() == {folder!r}"]
    assert validator.validate(_lab(tmp_path / "next", *texts)) == {}


def test_a_plain_kernel_of_its_own_says_the_same(tmp_path: Path) -> None:
    """The validator that a student uses, without the kernel above."""
    path = _lab(tmp_path, "assert 1 == 2", "assert 1 == 1")
    found = Validator(config=Config()).validate(path)
    assert [cell["source"] for cell in found["failed"]] == ["assert 1 == 2"]
