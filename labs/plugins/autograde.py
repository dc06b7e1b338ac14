"""The step that makes ``nbgrader autograde`` refuse: as a command, a button, or a call from Python.

Autograde runs a student's notebook in the teacher's account, where it can change its own marks.
"""

from typing import Any

from nbconvert.exporters import NotebookExporter
from nbgrader.converters.base import NbGraderException

WORDS = (
    "This course does not use `nbgrader autograde`: it would run students' code in your account, "
    "where it can change marks and files. Nothing was run. In a terminal, in the folder labs/, "
    "run instead: ../.uv/bin/uv run ./grade {}"
)


class Refusal(NotebookExporter):  # type: ignore[misc]
    """Takes the place of Autograde's exporter.

    Autograde creates its exporter before it removes a file, writes one, or runs a cell. A step
    among its preprocessors comes too late: by then ``--force`` has removed the marked notebook.
    """

    def __init__(self, parent: Any = None, **settings: Any) -> None:
        """Refuse, in the log that formgrader shows, and by an error."""
        super().__init__(parent=parent, **settings)
        coursedir = getattr(parent, "coursedir", None)
        words = WORDS.format(getattr(coursedir, "assignment_id", None) or "LAB")
        self.log.error(words)
        raise NbGraderException(words)
