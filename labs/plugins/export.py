"""Write marks as tables that Moodle and Canvas import: ``nbgrader export --exporter=…``."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from nbgrader.api import Assignment, Gradebook, MissingEntry, Student, SubmittedAssignment
from nbgrader.plugins import ExportPlugin
from traitlets import Bool, Dict, Unicode

# A spreadsheet computes a cell that begins so; in some countries a semicolon begins a cell.
FORMULA = re.compile(r"(^|[;\t\r\n])(\s*)(?=[=+\-@＝＋－＠])")


class Table(ExportPlugin):
    """A table with a row for each student and columns for each lab that somebody handed in."""

    columns = Dict(
        value_trait=Unicode(),
        help="The platform's title for a lab, where it is not the lab's name.",
    ).tag(config=True)
    unread = Bool(
        False, help="Export also the marks of work whose written answer nobody has read."
    ).tag(config=True)

    file = "grades.csv"

    def rows(
        self, students: list[Student], labs: list[Assignment], book: Gradebook
    ) -> Iterator[list[str]]:
        """Yield the table, its heading first."""
        raise NotImplementedError

    def export(self, gradebook: Gradebook) -> None:
        """Write the table in UTF-8 with a byte order mark, which Excel needs."""
        students = [s for s in gradebook.students if not self.student or s.id in self.student]
        labs = [
            a for a in gradebook.assignments if not self.assignment or a.name in self.assignment
        ]
        labs = [a for a in labs if a.num_submissions]
        path = Path(self.to or self.file)
        self._unread: list[str] = []
        with path.open("w", encoding="utf-8-sig", newline="") as f:
            writer = csv.writer(f, quoting=csv.QUOTE_ALL)
            writer.writerows(
                [harmless(cell) for cell in row] for row in self.rows(students, labs, gradebook)
            )
        if self._unread:
            done = "exported without them" if self.unread else "left empty"
            self.log.warning(f"Written answers are unread, marks {done}: {', '.join(self._unread)}")
        self.log.info(
            f"{path}: {len(students)} students, {', '.join(a.name for a in labs) or 'no lab'}"
        )

    def submission(self, book: Gradebook, lab: str, student: str) -> SubmittedAssignment | None:
        """Return marked work; None where nothing was handed in, or the written answer is unread."""
        try:
            work = book.find_submission(lab, student)
        except MissingEntry:
            return None
        if work.needs_manual_grade:
            self._unread.append(f"{student} {lab}")
        return work if self.unread or not work.needs_manual_grade else None


class Moodle(Table):
    """The CSV of Moodle's gradebook import ("Grades", "Import", "CSV file")."""

    file = "moodle.csv"

    def rows(
        self, students: list[Student], labs: list[Assignment], book: Gradebook
    ) -> Iterator[list[str]]:
        """Yield names, three keys that Moodle can map from, points and feedback of each lab."""
        titles = [self.columns.get(lab.name, lab.name) for lab in labs]
        both = [title for one in titles for title in (one, f"{one} feedback")]
        yield ["First name", "Last name", "Username", "ID number", "Email address", *both]
        for student in students:
            email = student.email or (student.id if "@" in student.id else "")
            row = [student.first_name, student.last_name, student.id, student.lms_user_id, email]
            for lab in labs:
                work = self.submission(book, lab.name, student.id)
                row += [points(work), feedback(work)] if work else ["", ""]
            yield [value or "" for value in row]


class Canvas(Table):
    """The CSV of Canvas's gradebook import ("Grades", "Import")."""

    file = "canvas.csv"

    def rows(
        self, students: list[Student], labs: list[Assignment], book: Gradebook
    ) -> Iterator[list[str]]:
        """Yield Canvas's five columns, then points of each lab; the most points come first."""
        titles = [self.columns.get(lab.name, lab.name) for lab in labs]
        yield ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", *titles]
        yield ["    Points Possible", "", "", "", "", *(f"{lab.max_score:g}" for lab in labs)]
        for student in students:
            name = ", ".join(part for part in (student.last_name, student.first_name) if part)
            collected = re.search(r"_([0-9]+)$", student.id)
            number = student.lms_user_id or (collected[1] if collected else "")
            login = "" if collected else student.id
            works = [self.submission(book, lab.name, student.id) for lab in labs]
            keys = [number, ""] if number.isdecimal() else ["", number]
            yield [name or student.id, *keys, login, "", *(points(w) if w else "" for w in works)]


def points(work: SubmittedAssignment) -> str:
    """Return the points of all tests and written answers, less the penalty for being late."""
    return f"{round(max(0.0, work.score - (work.late_submission_penalty or 0.0)), 2):g}"


def feedback(work: SubmittedAssignment) -> str:
    """Return in one line where the points come from, and the teacher's comments."""
    parts = [f"tests {work.code_score:g} of {work.max_code_score:g}"]
    if work.max_written_score:
        parts.append(f"written answer {work.written_score:g} of {work.max_written_score:g}")
    if work.late_submission_penalty:
        parts.append(f"late: {work.late_submission_penalty:g} less")
    # An automatic comment only says that an answer is missing, which the points show.
    comments = (comment.manual_comment for book in work.notebooks for comment in book.comments)
    return "; ".join([*parts, *(" ".join(text.split()) for text in comments if text)])


def harmless(cell: str) -> str:
    """Return a cell that a spreadsheet does not compute: a student chooses such a name."""
    return FORMULA.sub(r"\1\2'", cell)
