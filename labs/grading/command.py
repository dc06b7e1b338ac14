"""``labs/grade``: mark a lab."""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from labs.grading import landing
from labs.grading.fence import ROOT, NoFence
from labs.grading.lab import Lab, NoLab
from labs.grading.marking import Marker, NoMark, Score
from labs.grading.submission import BadSubmission, cells, read
from labs.grading.table import Row, line, lost, number, say, write_csv

Reader = Callable[[], bytes]  # of a notebook

ABOUT = """Mark a graded lab. Students' code runs behind a fence; only the tests' own process gives
points. In a course folder of nbgrader, marks go to the gradebook, notebooks to autograded/; with
--files, notebooks from anywhere (Colab, a drive) are marked, without nbgrader."""
AFTER = """examples, in the course folder:
  labs/grade lab3_kernels                        everybody who handed it in
  labs/grade lab3_kernels --student ada          one student again
  labs/grade lab3_kernels --files inbox/*.ipynb --csv marks.csv --feedback pages

Its exit status is 0 if all went well, 1 if a row says LOOK, 2 if it could not start."""


class CannotStart(Exception):
    """Nobody can be marked; says why, and the way on."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    options = parser().parse_args(arguments)
    try:
        return mark_files(options) if options.files else mark_course(options)
    except (CannotStart, NoFence, NoLab, NoMark) as e:
        say(f"labs/grade: {e}", sys.stderr)
    return 2


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
    with contextlib.suppress(ValueError):
        if 0 < (value := float(text)) < 1e6:
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")


@dataclass
class Marked:
    """What marking one submission gave: its row, and, if it could be marked, the rest."""

    row: Row
    score: Score | None = None
    notebook: NotebookNode | None = None


def mark(by: Marker, row: Row, read_it: Reader, seconds: float | None) -> Marked:
    """Score one submission and run its notebook (not if ``seconds`` is None)."""
    done = Marked(row)
    with unless_broken(row):
        handed_in = cells(read_it())
        score = by.score(handed_in)
        done.notebook = landing.clean(by.lab, handed_in)
        if seconds:
            run = by.execute(nbformat.writes(done.notebook), seconds, max(1, int(seconds / 3)))
            if run.trouble or not landing.outputs(run.notebook, done.notebook):
                row.troubles.append(run.trouble or "the notebook run sent back another notebook")
        other = landing.show_score(done.notebook, score)
        if other:
            row.notes.append(f"fails in the notebook run alone: {', '.join(other)}")
        done.score = score
        fill(row, score)
    return done


def mark_all(
    by: Marker, rows: list[Row], readers: list[Reader], options: argparse.Namespace, run: bool
) -> Iterator[Marked]:
    """Mark several students at once; yield them in order."""
    seconds = options.run_seconds if run else None
    with ThreadPoolExecutor(options.jobs) as pool:
        jobs = [
            pool.submit(mark, by, row, reader, seconds)
            for row, reader in zip(rows, readers, strict=True)
        ]
        try:
            for job in jobs:
                yield job.result()
        finally:  # after Ctrl-C, who has not begun does not begin
            pool.shutdown(wait=False, cancel_futures=True)


def mark_files(options: argparse.Namespace) -> int:
    """Mark notebooks that lie anywhere; no gradebook is needed."""
    if options.student:
        raise CannotStart(
            "--student is for a course folder; with --files, name that student's file."
        )
    lab = Lab.find(course_folder(options), options.lab)
    rows = [Row(name) for name in _names(options.files)]
    readers: list[Reader] = [
        partial(read, path.absolute().parent, path.name) for path in options.files
    ]
    by, run = marker(options, lab), bool(options.feedback) and not options.no_run
    for done in mark_all(by, rows, readers, options, run):
        done.row.written = "written: to read" if lab.written and done.score else ""
        if options.feedback and done.notebook and done.score:
            with unless_broken(done.row):
                got, most = number(done.score.total), number(_most(lab))
                title = f"{done.row.student}: {got} of {most} points by tests"
                write_page(options.feedback, done.row.student, title, done.notebook)
        show(done.row, lab, rows, options)
    return finish(rows, lab, options)


def write_page(folder: Path, name: str, title: str, notebook: NotebookNode) -> None:
    """Write a student's feedback page."""
    from labs.plugins.feedback import page

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name.replace('/', '_')}.html"
    path.write_text(page(notebook, title), encoding="utf-8")


def _names(files: list[Path]) -> list[str]:
    """Return what to call each: the file's name, with its folders where two would be the same."""
    short = [path.stem for path in files]
    return [s if short.count(s) == 1 else f"{p}" for s, p in zip(short, files, strict=True)]


def mark_course(options: argparse.Namespace) -> int:
    """Mark what was collected into a course of nbgrader."""
    if options.feedback:
        raise CannotStart("--feedback goes with --files. In a course: nbgrader generate_feedback.")
    try:
        from labs.grading.course import BadCourse, Course
    except ImportError as e:
        raise CannotStart(
            f"A course folder needs nbgrader ({e}). Install it, or mark notebooks with --files."
        ) from e
    try:
        course = Course(course_folder(options))
        lab = course.lab(options.lab)
        course.check(lab)
        rows = [Row(s) for s in chosen(options, course.students(lab.name), course.submitted)]
    except BadCourse as e:
        raise CannotStart(f"{e}") from e
    readers: list[Reader] = [partial(course.handed_in, row.student, lab.name) for row in rows]
    for done in mark_all(marker(options, lab), rows, readers, options, not options.no_run):
        row = done.row
        if done.score and done.notebook:
            with unless_broken(row):
                row.troubles += course.save(lab, row.student, done.notebook, done.score)
                row.written, row.late = course.rest(lab, row.student)
        show(row, lab, rows, options)
    return finish(rows, lab, options)


def fill(row: Row, score: Score) -> None:
    """Put a score into a student's row."""
    row.points, row.cells = score.total, score.points
    if score.failures:
        row.notes.append(f"lost: {', '.join(score.failures)}")
        if score.left_out:
            row.notes.append(f"left out of their cells: {'; '.join(score.left_out[:3])}")
    if score.whole:
        row.notes.append("marked with whole cells")
    row.details = [f"{name}: {f.kind}: {f.words}" for name, f in score.failures.items()]
    row.details += [f"a cell raised {words}" for words in score.troubles]


@contextlib.contextmanager
def unless_broken(row: Row) -> Iterator[None]:
    """What breaks with one student is that student's row; the others go on."""
    try:
        yield
    except (BadSubmission, NoMark) as e:
        row.troubles.append(f"no mark: {e}")
    except Exception as e:
        row.troubles.append(f"no mark: {type(e).__name__}: {e}")


def course_folder(options: argparse.Namespace) -> Path:
    """Return the folder that holds source/: the given one, this one, or the one of this program."""
    if options.course:
        return options.course.absolute()
    here = Path.cwd()
    ours = (here / "source").is_dir() or (here / "nbgrader_config.py").is_file()
    return here if ours else ROOT / "labs"


def chosen(options: argparse.Namespace, there: list[str], folder: Path) -> list[str]:
    """Return whom to mark; a CannotStart names who is there."""
    if not there:
        raise CannotStart(
            f"Nobody handed in {options.lab}: there is no {folder}/*/{options.lab}. "
            "Run `nbgrader collect` first, or mark notebooks with --files."
        )
    unknown = sorted(set(options.student or []) - set(there))
    if unknown:
        known = ", ".join(there)
        raise CannotStart(f"No {options.lab} of {', '.join(unknown)}. There are: {known}.")
    return options.student or there


def marker(options: argparse.Namespace, lab: Lab) -> Marker:
    """Return what marks, after the fence was tried; a NoFence says why nothing can be marked."""
    by = Marker(lab, seconds=options.seconds)
    by.fence.try_it()
    fence = f"the fence stands, with {'; '.join(by.fence.lacks) or 'all its limits'}"
    say(f"{lab.name}: {number(_most(lab))} points by tests; {fence}.", sys.stderr)
    return by


def _most(lab: Lab) -> float:
    return sum(cell.points for cell in lab.tests)


def show(row: Row, lab: Lab, rows: list[Row], options: argparse.Namespace) -> None:
    """Print a row as soon as it is known."""
    say(line(row, _most(lab), max(len(one.student) for one in rows)))
    for one in row.details if options.verbose else []:
        say(f"    {one}")


def finish(rows: list[Row], lab: Lab, options: argparse.Namespace) -> int:
    """Say what many lost, write the CSV file; return the exit status."""
    worth = {cell.name: float(cell.points) for cell in lab.tests}
    if len(rows) > 1:
        for words in lost(rows, worth):
            say(words, sys.stderr)
    if options.csv:
        write_csv(options.csv, rows, worth)
    look = sum(bool(row.troubles) for row in rows)
    if look:
        say(f"{look} of {len(rows)} to look at.", sys.stderr)
    return 1 if look else 0
