"""Build the graded labs from their sources: ``uv run python -m tools.build_labs [NAMES]``.

``labs/md/NAME.md`` (MyST Markdown) is the source, solutions and hidden tests included. This tool
puts the cell that finds vizhelpers behind its title and writes ``labs/source/NAME/NAME.ipynb``,
where nbgrader looks for it. Nothing is executed, and there are no outputs. ``--check`` writes
nothing and lists the notebooks that differ from their sources.
"""

import argparse
import hashlib
import sys
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbformat import NotebookNode

from tools.build_notebooks import KERNEL, ROOT, setup_source

LABS = ROOT / "labs"
SOURCES = LABS / "md"
FINDER = {"grade": False, "grade_id": "find_vizhelpers", "locked": True, "solution": False}
SCHEMA = {"schema_version": 3, "task": False}


def names() -> list[str]:
    """Return the labs' names in order."""
    return sorted(path.stem for path in SOURCES.glob("*.md"))


def path_of(name: str) -> Path:
    """Return where nbgrader expects the teacher's version of a lab."""
    return LABS / "source" / name / f"{name}.ipynb"


def finder() -> NotebookNode:
    """Return the locked cell that finds vizhelpers, the same as in the notebooks."""
    return nbformat.v4.new_code_cell(setup_source(), metadata={"nbgrader": FINDER | SCHEMA})


def read_source(name: str) -> NotebookNode:
    """Return the notebook built from a source, with reproducible cell ids."""
    notebook = jupytext.read(SOURCES / f"{name}.md", fmt="md:myst")
    notebook.cells.insert(1, finder())
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for i, cell in enumerate(notebook.cells):
        cell["id"] = cell_id(i, cell)
        marks = cell.metadata.get("nbgrader")
        cell.metadata = nbformat.from_dict({"nbgrader": marks} if marks else {})
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.validate(notebook)
    return notebook


def cell_id(i: int, cell: NotebookNode) -> str:
    """Return nbgrader's id of a cell, or an id from its position and text."""
    marks: dict[str, Any] = cell.metadata.get("nbgrader", {})
    digest = hashlib.sha1(cell.source.encode()).hexdigest()[:8]
    return marks.get("grade_id", f"{i:02d}-{digest}")


def build(name: str) -> list[str]:
    """Write one lab's notebook."""
    path = path_of(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(nbformat.writes(read_source(name)) + "\n", encoding="utf-8")
    print(f"{name}: {path.stat().st_size / 1e3:.0f} kB", flush=True)
    return []


def differences(name: str) -> list[str]:
    """Return a line if a lab's notebook differs from its source."""
    path = path_of(name)
    if not path.exists():
        return [f"{name}: not built yet"]
    ours, theirs = read_source(name), nbformat.read(path, as_version=4)
    if ours == theirs:
        return []
    for i, (a, b) in enumerate(zip(ours.cells, theirs.cells, strict=False)):
        if a != b:
            return [f"{name}, cell {i}: ipynb has {b.source[:80]!r}, md has {a.source[:80]!r}"]
    return [f"{name}: {len(ours.cells)} cells in md, {len(theirs.cells)} in ipynb, or other heads"]


def main() -> None:
    """Build or check the labs that are named, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="such as lab3_kernels; all where none is named")
    parser.add_argument("--check", action="store_true", help="compare only")
    options = parser.parse_args()
    step = differences if options.check else build
    lines = [line for name in options.names or names() for line in step(name)]
    sys.exit("\n".join(lines) or 0)


if __name__ == "__main__":
    main()
