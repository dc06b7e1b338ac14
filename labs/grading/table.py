"""What the teacher reads: a row for each student, on the screen and as a CSV file."""

import csv
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from nbformat import NotebookNode

from labs.grading.lab import Lab
from labs.grading.marking import Score


@dataclass
class Row:
    """What marking one student gave, and what there is to say."""

    student: str
    score: Score | None = None  # None if there is no mark
    notebook: NotebookNode | None = None  # what the teacher keeps, with the outputs of its run
    alone: list[str] = field(default_factory=list)  # tests that failed in the notebook run only
    written: str = ""  # what the written questions got
    late: str = ""  # what was taken off for being late
    troubles: list[str] = field(default_factory=list)  # what a person should look at

    @property
    def points(self) -> str:
        """The points by tests, or a dash."""
        return number(self.score and self.score.total)

    @property
    def remarks(self) -> str:
        """All remarks in one line."""
        said = [f"LOOK: {one}" for one in self.troubles]
        if self.alone:
            said.append(f"fails in the notebook run alone: {', '.join(self.alone)}")
        if self.score and self.score.failures:
            said.append(f"lost: {', '.join(self.score.failures)}")
            if self.score.left_out:
                said.append(f"left out of their cells: {'; '.join(self.score.left_out[:3])}")
        if self.score and self.score.whole:
            said.append("marked with whole cells")
        return printable("; ".join(said))

    @property
    def details(self) -> list[str]:
        """What each failed test said, and each cell that raised."""
        score = self.score or Score()
        failed = [f"{name}: {f.kind}: {f.words}" for name, f in score.failures.items()]
        return failed + [f"a cell raised {words}" for words in score.troubles]


def say(text: str, to: TextIO | None = None) -> None:
    """Write one line at once."""
    out = to or sys.stdout
    out.write(f"{printable(text, 1000)}\n")
    out.flush()


def printable(text: str, longest: int = 300) -> str:
    """Return text that does nothing to a terminal, in one line."""
    line = "".join(c if c.isprintable() else " " for c in text)
    return line if len(line) <= longest else line[: longest - 1] + "…"


def number(value: float | None) -> str:
    """Return 2 for 2.0, and a dash for none."""
    return "–" if value is None else f"{value:g}"


def line(row: Row, lab: Lab, wide: int) -> str:
    """Return a row of the table on the screen."""
    name = printable(row.student, 40).ljust(wide)
    parts = (name, f"{row.points:>5} / {number(lab.most)}", row.written, row.late, row.remarks)
    return "  ".join(part for part in parts if part).rstrip()


def lost(rows: Iterable[Row], lab: Lab) -> list[str]:
    """Return a line for each test that somebody lost, most lost first."""
    marked = [row.score for row in rows if row.score]
    counts = {cell: sum(cell.name in score.failures for score in marked) for cell in lab.tests}
    found = sorted((-n, cell.name, cell.points) for cell, n in counts.items() if n)
    wide = max((len(name) for _, name, _ in found), default=0)
    return [
        f"{name.ljust(wide)}  lost by {-n} of {len(marked)}, {number(points)} points"
        + (" (everybody: is the test right?)" if -n == len(marked) else "")
        for n, name, points in found
    ]


def write_csv(path: Path, rows: Iterable[Row], lab: Lab) -> None:
    """Write all rows; a column for each test cell, with its most points in the heading."""
    # Excel takes a file without the mark for one in the encoding of its country.
    with path.open("w", newline="", encoding="utf-8-sig") as f:
        out = csv.writer(f)
        cells = [f"{cell.name} ({number(cell.points)})" for cell in lab.tests]
        points = f"points ({number(lab.most)})"
        out.writerow(["student", points, *cells, "written", "late", "remarks"])
        for row in rows:
            marks = row.score.points if row.score else {}
            each = [number(marks.get(cell.name)) for cell in lab.tests]
            values = [printable(row.student), row.points, *each, row.written, row.late, row.remarks]
            out.writerow([_no_formula(value) for value in values])


def _no_formula(value: str) -> str:
    """A spreadsheet computes what begins with an equals sign; a student chooses such a name."""
    return f"'{value}" if value[:1] in ("=", "+", "-", "@") else value
