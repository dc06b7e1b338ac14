"""The teacher's nbgrader course: whose work is there, and where marks go. Needs nbgrader."""

import contextlib
import logging
import os
import shutil
import stat
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.apps import NbGrader
from nbgrader.preprocessors import AssignLatePenalties, SaveAutoGrades
from nbgrader.utils import parse_utc

from labs.grading.lab import Lab
from labs.grading.marking import Score
from labs.grading.submission import LARGEST, BadSubmission, read

STRUCTURE = os.path.join("{nbgrader_step}", "{student_id}", "{assignment_id}")
MOST_FILES = 100


class BadCourse(ValueError):
    """The course folder is not ready to mark this lab; says what to do."""


class Course:
    """A course folder with its settings, as nbgrader itself reads them."""

    def __init__(self, root: Path) -> None:
        """Read the settings of the course in ``root``."""
        # nbgrader starts Alembic by its name, which must be found also outside an activated venv.
        programs = os.path.dirname(sys.executable)
        os.environ["PATH"] = os.pathsep.join([programs, os.environ.get("PATH", os.defpath)])
        app = NbGrader()
        with contextlib.chdir(root):
            app.initialize(["--log-level=ERROR"], root=str(root))
        logging.getLogger("traitlets").setLevel(logging.ERROR)
        self.config, self.folder = app.config, app.coursedir
        self.root = Path(self.folder.root)
        if self.folder.directory_structure != STRUCTURE:
            raise BadCourse(
                f"The course sets directory_structure to {self.folder.directory_structure!r}. "
                f"labs/grade knows only nbgrader's own, {STRUCTURE!r}."
            )

    @property
    def submitted(self) -> Path:
        """Where work lies that was collected."""
        return self.root / self.folder.submitted_directory

    def lab(self, name: str) -> Lab:
        """Return a lab of this course."""
        return Lab.find(self.root, name, self.folder.source_directory)

    def students(self, lab: str) -> list[str]:
        """Return who handed in this lab."""
        if not self.submitted.is_dir():
            return []
        found = sorted(path.name for path in self.submitted.iterdir())
        return [name for name in found if os.path.lexists(self.submitted / name / lab)]

    def check(self, lab: Lab) -> None:
        """Raise a BadCourse if the gradebook does not hold this lab as its source is now."""
        wanted = {c.name: float(c.points) for c in (*lab.tests, *lab.written)}
        database = self.folder.db_url.removeprefix("sqlite:///")
        try:
            if database != self.folder.db_url and not Path(database).is_file():
                raise MissingEntry  # to look into it would make it
            with self.gradebook() as book:
                notebook = book.find_notebook(lab.name, lab.name)
                held = {cell.name: cell.max_score for cell in notebook.grade_cells}
        except MissingEntry:
            held = {}
        if held != wanted:
            why = "holds other cells of it" if held else "does not know it yet"
            raise BadCourse(
                f"{lab.name}: the gradebook of {self.root} {why}. "
                f"Run `nbgrader generate_assignment {lab.name}` there."
            )

    @contextlib.contextmanager
    def gradebook(self) -> Iterator[Gradebook]:
        """Open the teacher's gradebook."""
        with Gradebook(self.folder.db_url, self.folder.course_id) as book:
            yield book

    def files(self, student: str, lab: str) -> dict[str, bytes]:
        """Return what lies beside a student's notebook: timestamp.txt and the like."""
        found: dict[str, bytes] = {}
        folder = self.submitted / student / lab
        for name in sorted(os.listdir(folder)):
            kind = os.lstat(folder / name).st_mode
            if stat.S_ISREG(kind) and not name.endswith(".ipynb"):
                with contextlib.suppress(BadSubmission):
                    found[name] = read(self.submitted, student, lab, name)
            if len(found) > MOST_FILES or sum(map(len, found.values())) > LARGEST:
                raise BadSubmission("Too many or too large files lie beside the notebook.")
        return found

    def save(
        self, lab: Lab, student: str, notebook: NotebookNode, score: Score, files: dict[str, bytes]
    ) -> None:
        """Write the marks into the gradebook and the notebook into autograded/.

        nbgrader's own steps do it, from a notebook whose test cells hold an error where the scoring
        failed: manual marks stay, the written question waits, late penalties are what the course
        set. Then the marks are read again and compared.
        """
        resources = {
            "nbgrader": {
                "student": student,
                "assignment": lab.name,
                "notebook": lab.name,
                "db_url": self.folder.db_url,
            }
        }
        with self.gradebook() as book, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of SQLAlchemy, for nbgrader's authors
            book.update_or_create_student(student)
            book.update_or_create_submission(lab.name, student, **_timestamp(files))
        for step in (SaveAutoGrades, AssignLatePenalties):
            notebook, resources = step(config=self.config).preprocess(notebook, resources)
        with self.gradebook() as book:
            for name, points in score.points.items():
                grade = book.find_grade(name, lab.name, lab.name, student)
                if grade.auto_score != points:
                    raise RuntimeError(
                        f"the gradebook has {grade.auto_score} for {name}, not {points}"
                    )
        self._land(student, lab.name, notebook, files)

    def _land(self, student: str, lab: str, notebook: NotebookNode, files: dict) -> None:
        folder = self.root / self.folder.autograded_directory / student / lab
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        files = files | {f"{lab}.ipynb": nbformat.writes(notebook).encode()}
        for name, content in files.items():
            path = folder / name
            path.write_bytes(content)
            path.chmod(0o664 if self.folder.groupshared else 0o444)

    def written(self, lab: Lab, student: str) -> tuple[float, bool]:
        """Return the points a person gave, and whether some question still waits for a person."""
        given, waits = 0.0, False
        with self.gradebook() as book:
            for cell in lab.written:
                grade = book.find_grade(cell.name, lab.name, lab.name, student)
                given, waits = given + grade.score, waits or grade.needs_manual_grade
        return given, waits


def _timestamp(files: dict[str, bytes]) -> dict:
    try:
        text = files.get("timestamp.txt", b"")[:100].decode().strip()
        return {"timestamp": parse_utc(text)} if text else {}
    except (ValueError, OverflowError):
        return {}
