"""``labs/grade``: mark a lab."""

import argparse
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from labs.grading.frames import Broken, TooLate
from labs.grading.lab import Lab, NoLab
from labs.grading.marking import Marker, NoMark, Score
from labs.grading.rerun import PRELOAD
from labs.grading.submission import BadSubmission, cells, read
from labs.grading.table import Row, line, number, say, write_csv
from labs.grading.zygote import ROOT, SetupFailed

ABOUT = """Mark a graded lab. Students' code runs behind a fence; only the tests' own process gives
points. In a course folder of nbgrader, marks go to the gradebook, notebooks to autograded/; with
--files, notebooks from anywhere (Colab, a drive) are marked, without nbgrader."""
AFTER = """examples, in the course folder:
  labs/grade lab3_kernels                        everybody who handed it in
  labs/grade lab3_kernels --student ada          one student again
  labs/grade lab3_kernels --files inbox/*.ipynb --csv marks.csv

Its exit status is 0 if all went well, 1 if a row says LOOK, 2 if it could not start."""


class CannotStart(Exception):
    """Nobody can be marked; says why, and the way on."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    options = parser().parse_args(arguments)
    try:
        return mark_files(options) if options.files else mark_course(options)
    except SetupFailed as e:
        say(f"labs/grade: the setup cells of {options.lab} raised {e}", sys.stderr)
    except (Broken, TooLate) as e:
        why = f"{e}" or "they are too slow"
        say(f"labs/grade: the setup cells of {options.lab} did not end: {why}", sys.stderr)
    except (CannotStart, NoLab, NoMark) as e:
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
    add("--allow-network", action="store_true", help="go on without a fence: see README first")
    return made


def _positive(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < (value := float(text)) < 1e6:
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")


def mark_files(options: argparse.Namespace) -> int:
    """Mark notebooks that lie anywhere, by scoring alone."""
    if options.student:
        raise CannotStart(
            "--student is for a course folder; with --files, name that student's file."
        )
    lab = Lab.find(course_folder(options), options.lab)
    names = _names(options.files)
    rows = []
    with marker(options, lab) as by:
        for path, name in zip(options.files, names, strict=True):
            rows.append(row := Row(name))
            with unless_broken(row):
                fill(row, by.score(cells(read(path.absolute().parent, path.name))))
                row.written = "written: to read" if lab.written else ""
            show(row, lab, names, options)
    return finish(rows, lab, options)


def _names(files: list[Path]) -> list[str]:
    """Return what to call each: the file's name, with its folders where two would be the same."""
    short = [path.stem for path in files]
    return [s if short.count(s) == 1 else f"{p}" for s, p in zip(short, files, strict=True)]


def mark_course(options: argparse.Namespace) -> int:
    """Mark what was collected into a course of nbgrader."""
    try:
        from labs.grading.assignment import Assignment, mark_one
        from labs.grading.course import BadCourse, Course
    except ImportError as e:
        raise CannotStart(
            f"A course folder needs nbgrader ({e}). Install it, or mark notebooks with --files."
        ) from e
    try:
        course = Course(course_folder(options))
        lab = course.lab(options.lab)
        course.check(lab)
        students = chosen(options, course.students(lab.name), course.submitted)
        rows = []
        with marker(options, lab, course.root) as by:
            assignment = Assignment.make(course, lab, by.folder)
            for student in students:
                rows.append(row := Row(student))
                with unless_broken(row):
                    seconds = None if options.no_run else options.run_seconds
                    fill(row, mark_one(row, course, assignment, by, seconds))
                show(row, lab, students, options)
    except BadCourse as e:
        raise CannotStart(f"{e}") from e
    return finish(rows, lab, options)


def fill(row: Row, score: Score) -> None:
    """Put a score into a student's row."""
    row.points, row.cells = score.total, score.points
    if score.failures:
        row.notes.append(f"lost: {', '.join(score.failures)}")
    row.details = [f"{name}: {kind}: {words}" for name, (kind, words, _) in score.failures.items()]
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


@contextlib.contextmanager
def marker(options: argparse.Namespace, lab: Lab, *hide: Path) -> Iterator[Marker]:
    """Start the marking, or raise a CannotStart where students' code could reach the network."""
    preload = () if options.files or options.no_run else PRELOAD
    with Marker(lab, preload=preload, seconds=options.seconds, hide=hide) as by:
        lacks = "; ".join(by.means.missing)
        if lacks and not options.allow_network:
            raise CannotStart(
                f"No fence can be had here. What is missing: {lacks}. A student's code could send "
                "your tests away and read your files. --allow-network goes on all the same."
            )
        fence = f"WARNING, the fence lacks: {lacks}" if lacks else "the fence is whole"
        say(f"{lab.name}: {number(_most(lab))} points by tests; {fence}.", sys.stderr)
        yield by


def _most(lab: Lab) -> float:
    return sum(cell.points for cell in lab.tests)


def show(row: Row, lab: Lab, names: list[str], options: argparse.Namespace) -> None:
    """Print a row as soon as it is known."""
    say(line(row, _most(lab), max(len(name) for name in names)))
    for one in row.details if options.verbose else []:
        say(f"    {one}")


def finish(rows: list[Row], lab: Lab, options: argparse.Namespace) -> int:
    """Write the CSV file; return the exit status."""
    if options.csv:
        write_csv(options.csv, rows, {cell.name: float(cell.points) for cell in lab.tests})
    look = sum(bool(row.troubles) for row in rows)
    if look:
        say(f"{look} of {len(rows)} to look at.", sys.stderr)
    return 1 if look else 0
