"""A graded lab that needs no torch, so that an attack on its marking costs a tenth of a second."""

import json
from pathlib import Path
from typing import Any

from labs.grading.lab import Cell

NAME = "tiny"
POINTS = {"test_double": 2.0, "test_total": 3.0, "test_answer": 1.0}
WRITTEN = 4.0
SECRET = "only the source knows this"

SETUP = """from pathlib import Path

table = Path("table.txt").read_text()"""
SOLVED = {
    "double": """def double(x):
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION""",
    "total": """def total(values):
    ### BEGIN SOLUTION
    return sum(values)
    ### END SOLUTION""",
    "answer": "### BEGIN SOLUTION\nanswer = 42\n### END SOLUTION",
    "written": "### BEGIN SOLUTION\nBecause 6 x 7.\n### END SOLUTION",
}

# What an attacker returns: an object that equals everything.
ALWAYS_EQUAL = """
class Same(int):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
    def __reduce__(self): return (int, (42,))
    def __bool__(self): return True
"""


def _test(visible: str, hidden: str) -> str:
    return f"{visible}\n### BEGIN HIDDEN TESTS\n{hidden}  # {SECRET}\n### END HIDDEN TESTS"


TESTS = {
    "test_double": _test("assert double(3) == 6, 'twice three is six'", "assert double(21) == 42"),
    "test_total": _test("assert total([1, 2]) == 3", "assert total([4, 5, 6.5]) == 15.5"),
    "test_answer": _test("assert answer > 0", "assert answer == int(table)"),
}


def marks(name: str, **words: Any) -> dict[str, Any]:
    """Return nbgrader's metadata of a cell."""
    plain = {"grade": False, "solution": False, "locked": False, "task": False}
    return {"nbgrader": plain | {"grade_id": name, "schema_version": 3} | words}


def cell(kind: str, source: str, metadata: dict[str, Any], name: str) -> dict[str, Any]:
    common = {"cell_type": kind, "id": name, "source": source, "metadata": metadata}
    return common | ({"outputs": [], "execution_count": None} if kind == "code" else {})


def cells(solved: dict[str, str]) -> list[dict[str, Any]]:
    """Return the lab's cells with these solutions."""
    lab = [cell("code", SETUP, marks("setup", locked=True), "setup")]
    for name in ("double", "total", "answer"):
        test = f"test_{name}"
        lab.append(cell("code", solved[name], marks(name, solution=True), name))
        tested = marks(test, grade=True, locked=True, points=POINTS[test])
        lab.append(cell("code", TESTS[test], tested, test))
    written = marks("written", grade=True, solution=True, points=WRITTEN)
    return [*lab, cell("markdown", solved["written"], written, "written")]


def notebook(content: list[dict[str, Any]]) -> str:
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    about = {"metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps({"cells": content} | about)


def write_source(course: Path) -> Path:
    """Write the lab into a course folder; return its notebook."""
    path = course / "source" / NAME / f"{NAME}.ipynb"
    path.parent.mkdir(parents=True)
    (path.parent / "table.txt").write_text("42")
    path.write_text(notebook(cells(SOLVED | {"answer": f"{SOLVED['answer']}  # {SECRET}"})))
    return path


def handed_in(**changed: str) -> list[Cell]:
    """Return a solved lab with some solution cells changed, as the marking reads it."""
    lab = cells(SOLVED | changed)
    return [Cell(c["cell_type"], c["source"], c["metadata"]["nbgrader"]["grade_id"]) for c in lab]
