"""The teacher's nbgrader course: whose work is there, and where marks go. Needs nbgrader."""

import contextlib
import logging
import os
import re
import shutil
import sys
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.apps import NbGrader
from nbgrader.preprocessors import AssignLatePenalties, OverwriteCells, SaveAutoGrades

from labs.grading.lab import CannotStart, Lab, NoMark
from labs.grading.submission import read
from labs.grading.table import Row, number, say
from labs.plugins import timestamps

NAME = re.compile(r"[\w.,@+ -]+")
STRUCTURE = os.path.join("{nbgrader_step}", "{student_id}", "{assignment_id}")


class Course:
    """A lab in a course folder with its settings, as nbgrader itself reads them."""

    def __init__(self, root: Path, lab: str) -> None:
        """Read the settings of the course in ``root``, and who handed the lab in.

        Raises:
            CannotStart: the course is not ready to mark it.
        """
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
            raise CannotStart(
                f"The course sets directory_structure to {self.folder.directory_structure!r}. "
                f"labs/grade knows only nbgrader's own, {STRUCTURE!r}."
            )
        self.lab = Lab.find(self.root, lab, self.folder.source_directory)
        self._check()
        self.submitted = self.root / self.folder.submitted_directory
        folders = sorted(self.submitted.glob("*"))
        self.students = [one.name for one in folders if os.path.lexists(one / lab)]
        if not self.folder.groupshared:
            os.umask(0o077)  # what is written from here on is the teacher's alone
        if self.root.stat().st_mode & 0o077:
            say(
                f"Other accounts of this computer can look into the course: chmod 700 {self.root}",
                sys.stderr,
            )
        if not self.students:
            raise CannotStart(
                f"Nobody handed in {lab}: there is no {self.submitted}/*/{lab}. "
                "Run `nbgrader zip_collect` or `collect` first, or mark notebooks with --files."
            )

    def _check(self) -> None:
        """Raise a CannotStart if the gradebook does not hold the lab as its source is now."""
        lab = self.lab
        wanted: dict[str, object] = {c.name: c.points for c in (*lab.tests, *lab.written)}
        wanted |= {f"text of {c.name}": c.source for c in lab.cells if c.locked}
        database = self.folder.db_url.removeprefix("sqlite:///")
        held: dict[str, object] = {}
        # To look into a gradebook that is not there would make it.
        if database == self.folder.db_url or Path(database).is_file():
            with self.gradebook() as book, contextlib.suppress(MissingEntry):
                notebook = book.find_notebook(lab.name, lab.name)
                held = {cell.name: cell.max_score for cell in notebook.grade_cells}
                locked = [cell for cell in notebook.source_cells if cell.locked]
                held |= {f"text of {cell.name}": cell.source for cell in locked}
        if held != wanted:
            why = "holds an older version of it" if held else "does not know it yet"
            how = " --force" if held else ""
            raise CannotStart(
                f"{lab.name}: the gradebook of {self.root} {why}. "
                f"Run `../.uv/bin/uv run nbgrader generate_assignment {lab.name}{how}` there."
            )

    def gradebook(self) -> Gradebook:
        """Open the teacher's gradebook."""
        return Gradebook(self.folder.db_url, self.folder.course_id)

    def read(self, student: str) -> bytes:
        """Return a student's notebook; a NoMark if it is a link, a pipe or too large."""
        if not NAME.fullmatch(student):  # nbgrader's pages write it into their HTML as it stands
            raise NoMark("rename the folder: a student's name has letters, digits and . , _ @ + -")
        return read(self.submitted, student, self.lab.name, f"{self.lab.name}.ipynb")

    def save(self, row: Row) -> None:
        """Write the marks into the gradebook and the notebook into autograded/.

        nbgrader's own steps do it: they put the hidden tests back, and take the marks from test
        cells that hold an error where the scoring failed. Marks given by hand stay, the written
        question waits, late penalties are what the course set. Then the marks are read again and
        compared. The row gets what is strange about the time at which the work was handed in.
        """
        lab, student, notebook, points = self.lab.name, row.student, row.notebook, row.score.points
        when = self._when(row)
        about = {"student": student, "assignment": lab, "notebook": lab}
        resources = {"nbgrader": about | {"db_url": self.folder.db_url}}
        with self.gradebook() as book, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of SQLAlchemy, for nbgrader's authors
            book.update_or_create_student(student)
            book.update_or_create_submission(lab, student, timestamp=when)
            read = self._read_before(book, student, notebook)
        for step in (OverwriteCells, SaveAutoGrades, AssignLatePenalties):
            preprocessor = step(config=self.config)
            preprocessor.log.setLevel(logging.ERROR)
            notebook, resources = preprocessor.preprocess(notebook, resources)
        with self.gradebook() as book:
            marked = book.find_submission_notebook(lab, lab, student)
            held = {grade.name: grade.auto_score for grade in marked.grades}
            wrong = {name: held[name] for name in points if held[name] != points[name]}
            if wrong:
                raise RuntimeError(f"the gradebook has {wrong}, not {points}")
            for (
                grade
            ) in marked.grades:  # nbgrader asks for it to be read again, though nothing changed
                if grade.name in read:
                    grade.needs_manual_grade = False
            book.db.commit()
            penalty = marked.late_submission_penalty
            row.late = f"late: -{number(penalty)}" if penalty else ""
            if written := [g for g in marked.grades if g.name not in points]:
                waits = any(grade.needs_manual_grade for grade in written)
                got = "waits" if waits else number(sum(grade.score for grade in written))
                row.written = f"written: {got}"
        self._land(student, notebook, when)

    def _read_before(self, book: Gradebook, student: str, notebook: NotebookNode) -> set[str]:
        """Return the written answers that a person has given points to, and that are unchanged."""
        lab, now = self.lab.name, _texts(notebook)
        path = self.root / self.folder.autograded_directory / student / lab / f"{lab}.ipynb"
        if not path.is_file():
            return set()
        before = _texts(nbformat.read(path, as_version=4))
        return {
            grade.name
            for grade in book.find_submission_notebook(lab, lab, student).grades
            if grade.manual_score is not None
            and not grade.needs_manual_grade
            and grade.name in now
            and before.get(grade.name) == now[grade.name]
        }

    def _when(self, row: Row) -> datetime | None:
        folder = self.submitted / row.student / self.lab.name
        # When it came here, which nobody can forge; a course lasts no longer than a year.
        arrived = datetime.fromtimestamp(folder.lstat().st_ctime, UTC).replace(tzinfo=None)
        try:
            return timestamps.read(folder, arrived - timedelta(days=366))
        except timestamps.Strange as e:
            row.troubles.append(f"{e}; marked without a time")
            return None

    def _land(self, student: str, notebook: NotebookNode, when: datetime | None) -> None:
        lab = self.lab.name
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


def _texts(notebook: NotebookNode) -> dict[str, tuple[str, float]]:
    """Return name -> text and most points, of each cell that gives points."""
    marks = [(cell.metadata.get("nbgrader", {}), cell.source) for cell in notebook.cells]
    return {m["grade_id"]: (text, m["points"]) for m, text in marks if m.get("grade")}
