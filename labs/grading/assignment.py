"""A lab as nbgrader releases it, and one student's way through: scored, run again, written down."""

import contextlib
import logging
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import nbformat
from nbformat import NotebookNode
from nbgrader.converters import GenerateAssignment
from nbgrader.converters.base import NbGraderException
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import OverwriteCells
from traitlets.config import Config

from labs.grading import landing
from labs.grading.course import BadCourse, Course
from labs.grading.lab import Lab
from labs.grading.marking import Marker, Rerun, Score
from labs.grading.rerun import STUDENT
from labs.grading.submission import cells, read
from labs.grading.table import Row, number


@dataclass
class Assignment:
    """A lab as nbgrader releases it, in a folder to throw away; its gradebook knows cells alone."""

    lab: Lab
    folder: Path
    released: NotebookNode

    @classmethod
    def make(cls, course: Course, lab: Lab, folder: Path) -> "Assignment":
        """Run nbgrader's generate_assignment in ``folder``, with the course's settings."""
        source = folder / "source" / lab.name
        shutil.copytree(lab.path.parent, source, ignore=shutil.ignore_patterns(".*"))
        place = CourseDirectory(root=str(folder), assignment_id=lab.name)
        converter = GenerateAssignment(coursedir=place, config=_settings(course))
        converter.log.setLevel(logging.ERROR)
        try:
            # A new gradebook asks Alembic, a program of five seconds, for a number that only counts
            # when a gradebook outlives its nbgrader.
            with mock.patch("nbgrader.api.get_alembic_version", return_value="none"):
                converter.start()
        except NbGraderException as e:
            raise BadCourse(f"nbgrader cannot generate {lab.name}: {e}") from e
        released = folder / "release" / lab.name / f"{lab.name}.ipynb"
        return cls(lab, folder, nbformat.read(released, as_version=4))

    @contextlib.contextmanager
    def course_of_one(self, notebook: NotebookNode, files: dict[str, bytes]) -> Iterator[Path]:
        """Yield a course that holds one submission, the assignment's cells, and no solution."""
        with tempfile.TemporaryDirectory(dir=self.folder) as made:
            root = Path(made)
            shutil.copy(self.folder / "gradebook.db", root)
            name, no_notebook = self.lab.name, shutil.ignore_patterns("*.ipynb")
            source = self.folder / "source" / name
            shutil.copytree(source, root / "source" / name, ignore=no_notebook)
            place = root / "submitted" / STUDENT / name
            place.mkdir(parents=True)
            for beside, content in files.items():
                (place / beside).write_bytes(content)
            nbformat.write(notebook, place / f"{name}.ipynb")
            yield root

    def with_tests(self, notebook: NotebookNode) -> NotebookNode:
        """Put the source's tests and locked cells into a clean submission; nbgrader's own step."""
        resources = {
            "nbgrader": {
                "assignment": self.lab.name,
                "notebook": self.lab.name,
                "db_url": f"sqlite:///{self.folder / 'gradebook.db'}",
            }
        }
        step = OverwriteCells()
        step.log.setLevel(logging.ERROR)
        return step.preprocess(notebook, resources)[0]


def _settings(course: Course) -> Config:
    """Return the course's settings without its folders: those of the throw-away course differ."""
    settings = course.config.copy()
    settings.pop("CourseDirectory", None)
    return settings


def mark_one(
    row: Row, course: Course, assignment: Assignment, by: Marker, run_seconds: float | None
) -> Score:
    """Mark one student of a course, write the marks down, and remark what is strange in ``row``.

    Args:
        row: whose work.
        course: where marks and the notebook go.
        assignment: what was to be done.
        by: who scores.
        run_seconds: limit of the notebook run, or None for no run.
    """
    lab, student = assignment.lab, row.student
    handed_in = cells(read(course.submitted, student, lab.name, f"{lab.name}.ipynb"))
    files = course.files(student, lab.name)
    score = by.score(handed_in)
    notebook = landing.clean(assignment.released, handed_in)
    run = None
    if run_seconds:
        with assignment.course_of_one(notebook, files) as alone:
            run = by.rerun(alone, run_seconds, max(1, int(run_seconds / 3)))
    notebook = assignment.with_tests(notebook)
    if run:
        row.troubles += _differences(lab, notebook, run, score)
    landing.show_score(notebook, score)
    course.save(lab, student, notebook, score, files)
    given, waits = course.written(lab, student)
    if lab.written:
        row.written = "written: waits" if waits else f"written: {number(given)}"
    return score


def _differences(lab: Lab, notebook: NotebookNode, run: Rerun, score: Score) -> list[str]:
    """Take over what the notebook run put out; return where it says something else."""
    if run.trouble:
        return [run.trouble]
    if not landing.outputs(run.notebook, notebook):
        return ["the notebook run sent back another notebook"]
    passed = landing.passed(notebook)
    said = sum(float(cell.points) for cell in lab.tests if passed.get(cell.name))
    if said == score.total:
        return []
    return [f"the notebook run said {number(said)}, scoring again {number(score.total)}"]
