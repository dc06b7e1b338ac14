"""What the teacher reads: a row for each student, on the screen and as a CSV file."""

import csv
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO


@dataclass
class Row:
    """One student's marks, and what there is to say.

    Attributes:
        points: from the tests; None if there is no mark.
        cells: the points of each test cell.
        written: of the written questions, in words.
        late: what was taken off for being late, in words.
        notes: what is worth knowing.
        troubles: what a person should look at.
        details: what each failed test said; long.
    """

    student: str
    points: float | None = None
    cells: dict[str, float] = field(default_factory=dict)
    written: str = ""
    late: str = ""
    notes: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)

    @property
    def remarks(self) -> str:
        """All remarks in one line."""
        return printable("; ".join([*(f"LOOK: {one}" for one in self.troubles), *self.notes]))


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


def line(row: Row, most: float, wide: int) -> str:
    """Return a row of the table on the screen."""
    name = printable(row.student, 40).ljust(wide)
    points = f"{number(row.points):>5} / {number(most)}"
    return "  ".join(
        part for part in (name, points, row.written, row.late, row.remarks) if part
    ).rstrip()


def lost(rows: Iterable[Row], worth: dict[str, float]) -> list[str]:
    """Return a line for each test that somebody lost, most lost first."""
    marked = [row.cells for row in rows if row.cells]
    counts = {name: sum(cells[name] < points for cells in marked) for name, points in worth.items()}
    found = sorted(
        ((n, name) for name, n in counts.items() if n), key=lambda one: (-one[0], one[1])
    )
    wide = max((len(name) for _, name in found), default=0)
    everybody = [" (everybody: is the test right?)" if n == len(marked) else "" for n, _ in found]
    return [
        f"{name.ljust(wide)}  lost by {n} of {len(marked)}, {number(worth[name])} points{words}"
        for (n, name), words in zip(found, everybody, strict=True)
    ]


def write_csv(path: Path, rows: Iterable[Row], worth: dict[str, float]) -> None:
    """Write all rows; a column for each test cell, with its most points in the heading."""
    # Excel takes a file without the mark for one in the encoding of its country.
    with path.open("w", newline="", encoding="utf-8-sig") as f:
        out = csv.writer(f)
        cells = [f"{name} ({number(points)})" for name, points in worth.items()]
        most = number(sum(worth.values()))
        out.writerow(["student", f"points ({most})", *cells, "written", "late", "remarks"])
        for row in rows:
            marks = [number(row.cells.get(name)) for name in worth]
            values = [printable(row.student), number(row.points), *marks, row.written, row.late]
            values.append(row.remarks)
            out.writerow([_no_formula(value) for value in values])


def _no_formula(value: str) -> str:
    """A spreadsheet computes what begins with an equals sign; a student chooses such a name."""
    return f"'{value}" if value[:1] in ("=", "+", "-", "@") else value
