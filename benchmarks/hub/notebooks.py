"""Notebooks that the students of a load test run."""

import re
from dataclasses import dataclass
from pathlib import Path

import nbformat

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Notebook:
    """A notebook without outputs, and the minutes that a student takes to read it."""

    name: str
    content: nbformat.NotebookNode
    minutes: int

    @property
    def cells(self) -> list[str]:
        """Return the source of every code cell."""
        return [cell.source for cell in self.content.cells if cell.cell_type == "code"]


def read_notebook(name: str) -> Notebook:
    """Return a notebook of the course; ``name`` is its file's name without ``.ipynb``."""
    content = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    for cell in content.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    row = re.search(rf"^\| \[{re.escape(name)}\].*\| (\d+) \|$", text, re.MULTILINE)
    if row is None:
        raise ValueError(f"README.md's table does not say how long {name} takes.")
    return Notebook(name, content, int(row[1]))
