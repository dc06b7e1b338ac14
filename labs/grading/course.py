"""The teacher's nbgrader course: whose work is there, and where marks go. Needs nbgrader."""

import contextlib
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.apps import NbGrader
from nbgrader.preprocessors import AssignLatePenalties, OverwriteCells, SaveAutoGrades

from labs.grading.lab import Lab
from labs.grading.marking import Score
from labs.grading.submission import read
from labs.grading.table import number
from labs.plugins import timestamps

STRUCTURE = os.path.join("{nbgrader_step}", "{student_id}", "{assignment_id}")


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
        wanted: dict[str, object] = {c.name: c.points for c in (*lab.tests, *lab.written)}
        wanted |= {f"text of {c.name}": c.source for c in lab.cells if c.locked}
        database = self.folder.db_url.removeprefix("sqlite:///")
        try:
            if database != self.folder.db_url and not Path(database).is_file():
                raise MissingEntry  # to look into it would make it
            with self.gradebook() as book:
                notebook = book.find_notebook(lab.name, lab.name)
                held = {cell.name: cell.max_score for cell in notebook.grade_cells}
                locked = [cell for cell in notebook.source_cells if cell.locked]
                held |= {f"text of {cell.name}": cell.source for cell in locked}
        except MissingEntry:
            held = {}
        if held != wanted:
            why = "holds an older version of it" if held else "does not know it yet"
            how = " --force" if held else ""
            raise BadCourse(
                f"{lab.name}: the gradebook of {self.root} {why}. "
                f"Run `nbgrader generate_assignment {lab.name}{how}` there."
            )

    @contextlib.contextmanager
    def gradebook(self) -> Iterator[Gradebook]:
        """Open the teacher's gradebook."""
        with Gradebook(self.folder.db_url, self.folder.course_id) as book:
            yield book

    def handed_in(self, student: str, lab: str) -> bytes:
        """Return a student's notebook; a BadSubmission if it is a link, a pipe or too large."""
        return read(self.submitted, student, lab, f"{lab}.ipynb")

    def save(self, lab: Lab, student: str, notebook: NotebookNode, score: Score) -> list[str]:
        """Write the marks into the gradebook and the notebook into autograded/.

        nbgrader's own steps do it: they put the hidden tests back, and take the marks from test
        cells that hold an error where the scoring failed. Marks given by hand stay, the written
        question waits, late penalties are what the course set. Then the marks are read again and
        compared.

        Returns:
            What is strange about the time at which the work was handed in.
        """
        when, strange = self._when(student, lab.name)
        about = {"student": student, "assignment": lab.name, "notebook": lab.name}
        resources = {"nbgrader": about | {"db_url": self.folder.db_url}}
        with self.gradebook() as book, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of SQLAlchemy, for nbgrader's authors
            book.update_or_create_student(student)
            book.update_or_create_submission(lab.name, student, timestamp=when)
        for step in (OverwriteCells, SaveAutoGrades, AssignLatePenalties):
            preprocessor = step(config=self.config)
            preprocessor.log.setLevel(logging.ERROR)
            notebook, resources = preprocessor.preprocess(notebook, resources)
        with self.gradebook() as book:
            for name, points in score.points.items():
                grade = book.find_grade(name, lab.name, lab.name, student)
                if grade.auto_score != points:
                    raise RuntimeError(
                        f"the gradebook has {grade.auto_score} for {name}, not {points}"
                    )
        self._land(student, lab.name, notebook, when)
        return strange

    def _when(self, student: str, lab: str) -> tuple[datetime | None, list[str]]:
        folder = self.submitted / student / lab
        # When it came here, which nobody can forge; a course lasts no longer than a year.
        arrived = datetime.fromtimestamp(folder.lstat().st_ctime, UTC).replace(tzinfo=None)
        try:
            return timestamps.read(folder, arrived - timedelta(days=366)), []
        except timestamps.Strange as e:
            return None, [f"{e}; marked without a time"]

    def _land(self, student: str, lab: str, notebook: NotebookNode, when: datetime | None) -> None:
        folder = self.root / self.folder.autograded_directory / student / lab
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        files = {f"{lab}.ipynb": nbformat.writes(notebook)}
        if when:
            files[timestamps.NAME] = f"{when} UTC"
        for name, content in files.items():
            path = folder / name
            path.write_text(content, encoding="utf-8")
            path.chmod(0o660 if self.folder.groupshared else 0o440)

    def rest(self, lab: Lab, student: str) -> tuple[str, str]:
        """Return what the written answer got, and what was taken off for being late, in words."""
        with self.gradebook() as book:
            grades = [book.find_grade(c.name, lab.name, lab.name, student) for c in lab.written]
            penalty = book.find_submission_notebook(
                lab.name, lab.name, student
            ).late_submission_penalty
            waits = any(grade.needs_manual_grade for grade in grades)
            points = number(sum(grade.score for grade in grades))
        written = f"written: {'waits' if waits else points}" if grades else ""
        return written, f"late: -{number(penalty)}" if penalty else ""
