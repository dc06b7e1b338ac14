"""Every lab, solved, in a kernel: what `nbgrader validate` says of the source."""

from pathlib import Path

import pytest
from nbgrader.validator import Validator
from traitlets.config import Config

ROOT = Path(__file__).parents[1]
LABS = sorted((ROOT / "labs" / "source").glob("*/*.ipynb"))


@pytest.mark.parametrize("lab", LABS, ids=lambda path: path.stem)
def test_a_solved_lab_passes_every_test_of_its_own(lab: Path) -> None:
    found = Validator(config=Config()).validate(str(lab))
    assert found == {}, found


def test_an_unsolved_part_is_told(tmp_path: Path) -> None:
    """So that the tests above can fail: a tiny lab whose one test does not hold."""
    import nbformat

    text = "assert 1 == 2"
    cell = nbformat.v4.new_code_cell(text)
    cell.metadata.nbgrader = dict(
        grade=True,
        grade_id="t",
        locked=True,
        points=1,
        schema_version=3,
        solution=False,
        task=False,
    )
    notebook = nbformat.v4.new_notebook(cells=[cell])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "", "language": "python"}
    nbformat.write(notebook, tmp_path / "tiny.ipynb")
    found = Validator(config=Config()).validate(str(tmp_path / "tiny.ipynb"))
    assert [one["source"] for one in found["failed"]] == [text]
