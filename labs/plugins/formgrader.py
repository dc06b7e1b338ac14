"""Formgrader runs no settings file that a student wrote.

The address ``/formgrader?path=FOLDER`` makes formgrader run FOLDER/nbgrader_config.py in the
teacher's account. A link in a submission can lead there, and the folder can be the submission.
"""

import os
import sys
from functools import wraps
from pathlib import Path
from typing import Any

HANDLERS = "nbgrader.server_extensions.formgrader.handlers"


def guard() -> None:
    """Let a running formgrader open no folder of which ``trusted`` says no."""
    handler = getattr(sys.modules.get(HANDLERS), "FormgraderHandler", None)
    if handler is None or hasattr(handler.get, "guarded"):
        return  # not the process of formgrader, or done before
    get = handler.get

    @wraps(get)
    def guarded(self: Any) -> Any:
        path = self.get_argument("path", "")
        if path and not trusted(Path(path), Path(self.coursedir.root)):
            from tornado.web import HTTPError

            raise HTTPError(403, f"formgrader runs no settings from {path}: not your own course")
        return get(self)

    guarded.guarded = True  # type: ignore[attr-defined]
    handler.get = guarded


def trusted(folder: Path, course: Path) -> bool:
    """Tell whether settings in a folder are the teacher's.

    They are in the course that is open, and in a folder of the teacher's own that lies in no other
    course: what students handed in lies in one.
    """
    folder = Path(os.path.abspath(folder))
    if folder == Path(os.path.abspath(course)):
        return True
    real = folder.resolve()
    if any((above / "nbgrader_config.py").exists() for above in (*folder.parents, *real.parents)):
        return False
    files = [real, *real.glob("*_config.*")]
    return real.is_dir() and all(one.stat().st_uid == os.geteuid() for one in files)
