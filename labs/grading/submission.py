"""What a student handed in, read as data: not run here, not followed elsewhere, not believed."""

import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labs.grading.lab import Lab, tidy

LARGEST = 20 << 20
MOST_CELLS = 2000


class BadSubmission(ValueError):
    """A file that cannot be marked; says why."""


@dataclass(frozen=True)
class Cell:
    """A cell as handed in; ``name`` is nbgrader's grade_id, if it has one, which may be forged."""

    kind: str
    source: str
    name: str


def read(folder: Path, *below: str) -> bytes:
    """Return a file's bytes; ``below`` are names of folders under ``folder`` and of the file.

    Raises:
        BadSubmission: it is not there, too large, no ordinary file, or a link lies on the way: a
            link could lead to the solution, or to a neighbour's work.
    """
    way = os.open(folder, os.O_RDONLY)
    try:
        for number, name in enumerate(below, start=1):
            last = number == len(below)
            flags = os.O_RDONLY | os.O_NOFOLLOW | (os.O_NONBLOCK if last else os.O_DIRECTORY)
            inner = os.open(name, flags, dir_fd=way)
            os.close(way)
            way = inner
        found = os.fstat(way)
        if not stat.S_ISREG(found.st_mode):
            raise BadSubmission(f"{below[-1]} is no ordinary file.")
        if found.st_size > LARGEST:
            size = f"{found.st_size >> 20} MB; {LARGEST >> 20} are allowed"
            raise BadSubmission(f"{below[-1]} has {size}.")
        with open(os.dup(way), "rb") as f:
            return f.read(LARGEST + 1)
    except FileNotFoundError:
        raise BadSubmission(f"There is no {'/'.join(below)}.") from None
    except OSError as e:
        way_there = [Path(folder, *below[: n + 1]) for n in range(len(below))]
        link = any(path.is_symlink() for path in way_there)
        what = "a link, not a file" if link else e.strerror
        raise BadSubmission(f"{'/'.join(below)}: {what}.") from None
    finally:
        os.close(way)


def cells(text: bytes) -> list[Cell]:
    """Return a notebook's cells; a BadSubmission if it is none."""
    try:
        notebook = json.loads(text)
    except (ValueError, RecursionError):
        raise BadSubmission("The file is no notebook: it is not JSON.") from None
    try:
        if len(notebook["cells"]) > MOST_CELLS:
            raise BadSubmission(f"The notebook has more than {MOST_CELLS} cells.")
        return [_cell(one) for one in notebook["cells"]]
    except (KeyError, TypeError, AttributeError):
        raise BadSubmission("The file is JSON, but no notebook of version 4.") from None


def _cell(cell: Any) -> Cell:
    source = cell["source"]
    text = source if isinstance(source, str) else "".join(source)
    text = text.encode(errors="replace").decode()  # JSON can hold half a character
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
    ours = {cell.name: cell for cell in lab.cells if cell.name and not cell.solution}
    between = {cell.name for cell in lab.script if not cell.test}
    known = lab.known
    found: list[tuple[str, str]] = []
    for cell in handed_in:
        if cell.kind != "code":
            continue
        if cell.name in between:
            found.append(("course", ours[cell.name].source))
            between.remove(cell.name)
        elif cell.name not in ours and tidy(cell.source) not in known:
            found.append(("student", cell.source))
    return [("course", ours[name].source) for name in sorted(between)] + found
