"""What a student handed in, read as data: not run here, not followed elsewhere, not believed."""

import json
import os
import stat
from pathlib import Path
from typing import Any

from labs.grading.lab import Cell, Lab, NoMark, visible

LARGEST = 20 << 20
MOST_CELLS = 400  # the text of one may take a tenth of a second to look through


def read(folder: Path, *below: str) -> bytes:
    """Return a file's bytes; ``below`` are names of folders under ``folder`` and of the file.

    Raises:
        NoMark: it is not there, too large, no ordinary file, or a link lies on the way: a
            link could lead to the solution, or to a neighbour's work.
    """
    name = "/".join(below)
    path = Path(folder.resolve(), *below)
    try:
        if Path(os.path.realpath(path)) != path:
            raise NoMark(f"{name}: a link, not a file.")
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as f:
            about = os.fstat(f.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise NoMark(f"{name} is no ordinary file.")
            if about.st_size > LARGEST:
                size = f"{about.st_size >> 20} MB; {LARGEST >> 20} are allowed"
                raise NoMark(f"{name} has {size}.")
            return f.read(LARGEST + 1)
    except FileNotFoundError:
        raise NoMark(f"There is no {name}.") from None
    except OSError as e:
        raise NoMark(f"{name}: {e.strerror}.") from None


def cells(text: bytes) -> list[Cell]:
    """Return a notebook's cells; a NoMark if it is none."""
    try:
        notebook = json.loads(text)
    except (ValueError, RecursionError):
        raise NoMark("The file is no notebook: it is not JSON.") from None
    try:
        if len(notebook["cells"]) > MOST_CELLS:
            raise NoMark(f"The notebook has more than {MOST_CELLS} cells.")
        return [_cell(one) for one in notebook["cells"]]
    except (KeyError, TypeError, AttributeError):
        raise NoMark("The file is JSON, but no notebook of version 4.") from None


def _cell(cell: Any) -> Cell:
    """Return kind, text and name of a cell; what else its metadata says is not taken."""
    text = (
        "".join(cell["source"]).encode(errors="replace").decode()
    )  # JSON can hold half a character
    words = cell.get("metadata", {}).get("nbgrader", {})
    name = words.get("grade_id", "") if isinstance(words, dict) else ""
    kind = cell["cell_type"] if cell["cell_type"] in ("code", "markdown") else "raw"
    return Cell(kind, text, name if isinstance(name, str) else "")


def to_run(lab: Lab, handed_in: list[Cell]) -> list[tuple[str, str]]:
    """Return what a worker loads, in the notebook's order: ("course" | "student", source).

    Cells of the course, changed or not, are left out: the setup ran before, the tests run
    elsewhere. Locked cells between them come from the source. In a notebook that lost nbgrader's
    metadata, cells are known by their text.
    """
    ours = {cell.name: cell.source for cell in lab.cells if cell.name and not cell.solution}
    known = {visible(c.source) for c in lab.cells if c.kind == "code" and not c.solution}
    between = {cell.name for cell in lab.script if not cell.test}
    found: list[tuple[str, str]] = []
    for cell in handed_in:
        if cell.kind != "code":
            continue
        if cell.name in between:
            found.append(("course", ours[cell.name]))
            between.remove(cell.name)
        elif cell.name not in ours and visible(cell.source) not in known:
            found.append(("student", cell.source))
    return [("course", ours[name]) for name in sorted(between)] + found
