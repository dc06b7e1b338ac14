"""``labs/grade``: mark a lab."""

import argparse
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat

from labs.fence.bubblewrap import ROOT, NoFence
from labs.grading import landing, table
from labs.grading.lab import CannotStart, Lab, NoMark
from labs.grading.marking import Marker, NoRun
from labs.grading.submission import cells, read
from labs.grading.table import Row, number, say

if TYPE_CHECKING:  # it needs nbgrader
    from labs.grading.course import Course

ABOUT = """Mark a graded lab. Students' code runs behind a fence; only the tests' own process gives
points. In a course folder of nbgrader, marks go to the gradebook, notebooks to autograded/; with
--files, notebooks from anywhere (Colab, a drive) are marked, without nbgrader."""
AFTER = """examples, in the course folder:
  labs/grade lab3_kernels                        everybody who handed it in
  labs/grade lab3_kernels --student ada          one student again
  labs/grade lab3_kernels --files inbox/*.ipynb --csv marks.csv --feedback pages

Its exit status is 0 if all went well, 1 if a row says LOOK, 2 if it could not start."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    options = parser().parse_args(arguments)
    try:
        place = Files(options) if options.files else course(options)
        rows = [Row(student) for student in chosen(options.student, place)]
        by = Marker(place.lab, seconds=options.seconds)
        by.fence.try_it()
    except (CannotStart, NoFence) as e:
        say(f"labs/grade: {e}", sys.stderr)
        return 2
    lab, fence = place.lab, f"the fence stands, with {by.fence.lacks or 'all its limits'}"
    say(f"{lab.name}: {number(lab.most)} points by tests; {fence}.", sys.stderr)
    wide = max(len(row.student) for row in rows)
    for row in mark_all(by, place, rows, options):
        say(table.line(row, lab, wide))
        for words in row.details if options.verbose else []:
            say(f"    {words}")
    for words in table.lost(rows, lab) if len(rows) > 1 else []:
        say(words, sys.stderr)
    if options.csv:
        table.write_csv(options.csv, rows, lab)
    look = sum(bool(row.troubles) for row in rows)
    if look:
        say(f"{look} of {len(rows)} to look at.", sys.stderr)
    return 1 if look else 0


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    made = argparse.ArgumentParser(
        "labs/grade",
        description=ABOUT,
        epilog=AFTER,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add("lab", help="its name, as in source/NAME/NAME.ipynb")
    add("--course", type=Path, metavar="FOLDER", help="the course; else this folder, else labs/")
    add("--student", action="append", metavar="NAME", help="only this student; may be repeated")
    add("--files", nargs="+", type=Path, metavar="NOTEBOOK", help="mark these; no gradebook")
    add("--csv", type=Path, metavar="FILE", help="write the table, with the points of each test")
    add("--verbose", action="store_true", help="say what each failed test said")
    add("--seconds", type=_positive, default=20, help="limit of each call of a function (20)")
    add("--run-seconds", type=_positive, default=180, help="limit of the whole notebook run (180)")
    add("--no-run", action="store_true", help="score only; autograded/ then has no outputs")
    add("--feedback", type=Path, metavar="FOLDER", help="with --files: a page for each student")
    add("--jobs", type=_count, default=os.cpu_count() or 1, help="students at once (a core each)")
    return made


def _count(text: str) -> int:
    if text.isdecimal() and 0 < int(text) <= 1000:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no number of students from 1 to 1000")


def _positive(text: str) -> float:
    with suppress(ValueError):
        if 0 < (value := float(text)) < 1e6:
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")


class Files:
    """Notebooks that lie anywhere; no gradebook is needed. A ``Course`` has the same methods."""

    def __init__(self, options: argparse.Namespace) -> None:
        """Name each notebook as its file, with its folders where two would be the same."""
        if options.student:
            raise CannotStart(
                "--student is for a course folder; with --files, name that student's file."
            )
        self.lab = Lab.find(course_folder(options), options.lab)
        self.pages = options.feedback
        stems = [path.stem for path in options.files]
        self.paths = {p.stem if stems.count(p.stem) == 1 else f"{p}": p for p in options.files}
        self.students = list(self.paths)

    def read(self, student: str) -> bytes:
        """Return a student's notebook, or raise a NoMark."""
        path = self.paths[student].absolute()
        return read(path.parent, path.name)

    def save(self, row: Row) -> None:
        """Write a student's feedback page, if one is wanted."""
        row.written = "written: to read" if self.lab.written else ""
        if self.pages:
            from labs.plugins.feedback import page

            self.pages.mkdir(parents=True, exist_ok=True)
            title = f"{row.student}: {row.points} of {number(self.lab.most)} points by tests"
            path = self.pages / f"{row.student.replace('/', '_')}.html"
            path.write_text(page(row.notebook, title), encoding="utf-8")


def course(options: argparse.Namespace) -> "Course":
    """Return the course of nbgrader that the options name."""
    if options.feedback:
        raise CannotStart("--feedback goes with --files. In a course: nbgrader generate_feedback.")
    try:
        from labs.grading.course import Course
    except ImportError as e:
        raise CannotStart(
            f"A course folder needs nbgrader ({e}). Install it, or mark notebooks with --files."
        ) from e
    return Course(course_folder(options), options.lab)


def course_folder(options: argparse.Namespace) -> Path:
    """Return the folder that holds source/: the given one, this one, or the one of this program."""
    if options.course:
        return options.course.absolute()
    here = Path.cwd()
    ours = (here / "source").is_dir() or (here / "nbgrader_config.py").is_file()
    return here if ours else ROOT / "labs"


def chosen(wanted: list[str] | None, place: "Files | Course") -> list[str]:
    """Return whom to mark; a CannotStart names who is there."""
    if unknown := sorted(set(wanted or []) - set(place.students)):
        known = ", ".join(place.students)
        raise CannotStart(f"No {place.lab.name} of {', '.join(unknown)}. There are: {known}.")
    return wanted or place.students


def mark_all(
    by: Marker, place: "Files | Course", rows: list[Row], options: argparse.Namespace
) -> Iterator[Row]:
    """Mark several students at once, but save one by one; yield them in order."""
    run = not options.no_run and (options.feedback or not options.files)
    job = partial(mark, by, place, options.run_seconds if run else None)
    # After Ctrl-C, who has not begun does not begin: closing cancels them.
    with ThreadPoolExecutor(options.jobs) as pool, closing(pool.map(job, rows)) as marked:
        for row in marked:
            if row.score:
                with unless_broken(row):
                    place.save(row)
            yield row


def mark(by: Marker, place: "Files | Course", seconds: float | None, row: Row) -> Row:
    """Score one submission and run its notebook (not if ``seconds`` is None)."""
    with unless_broken(row):
        handed_in = cells(place.read(row.student))
        score = by.score(handed_in)
        row.notebook = landing.clean(by.lab, handed_in)
        if seconds:
            try:
                landing.outputs(by.execute(nbformat.writes(row.notebook), seconds), row.notebook)
            except NoRun as e:
                row.troubles.append(f"{e}")
        row.alone = landing.show_score(row.notebook, score)
        row.score = score
    return row


@contextmanager
def unless_broken(row: Row) -> Iterator[None]:
    """What breaks with one student is that student's row; the others go on."""
    try:
        yield
    except Exception as e:
        kind = "" if isinstance(e, NoMark) else f"{type(e).__name__}: "
        row.troubles.append(f"no mark: {kind}{e}")
