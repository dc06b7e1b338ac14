"""The time at which work was handed in, read from the timestamp.txt that lies beside it.

With nbgrader's exchange the student's own ``submit`` writes this file; in an archive it is a file
of the student's as any other. It may be a pipe that nobody writes to, and it may say 1999.
"""

import os
import stat
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

NAME, LONGEST = "timestamp.txt", 100


class Strange(ValueError):
    """A timestamp.txt is no file, says no time, or one that cannot be; says what to do."""


def read(folder: str | Path, released: datetime | None = None) -> datetime | None:
    """Return the time in a folder's timestamp.txt, in UTC without a zone; None without the file.

    Args:
        folder: a submission.
        released: when students got the assignment, in UTC without a zone.

    Raises:
        Strange: it is a link, a pipe, or the like, which is not opened; or what it says is no
            time, or lies before ``released``, or more than a day ahead.
    """
    from nbgrader.utils import parse_utc

    path = Path(folder, NAME)
    if not os.path.lexists(path):
        return None
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise Strange(f"{NAME} is no ordinary file: delete {path}")
            text = file.read(LONGEST).decode().strip()
    except UnicodeDecodeError:
        text = "bytes that are no text"
    except OSError as e:
        raise Strange(f"{NAME} cannot be read ({e.strerror}): delete {path}") from None
    try:
        time: datetime | None = parse_utc(text) if text else None
    except (ValueError, OverflowError, TypeError):
        raise Strange(f"{NAME} says {text!r}, which is no time: correct {path}") from None
    if time and released and time < released:
        raise Strange(f"{NAME} says {text}, but the lab was made on {released:%Y-%m-%d %H:%M} UTC")
    if time and time > datetime.now(UTC).replace(tzinfo=None) + timedelta(days=1):
        raise Strange(f"{NAME} says {text}, which is still to come")
    return time


def guard() -> None:
    """Let nbgrader, and formgrader, read timestamps by ``read``; one that is strange is none."""
    from nbgrader.coursedir import CourseDirectory

    def existing(self: Any, dest_path: str) -> datetime | None:
        try:
            return read(dest_path)
        except Strange as e:
            self.log.warning("%s", e)
            return None

    def submitted(self: Any, assignment_id: str, student_id: str) -> datetime | None:
        place = self.coursedir
        folder = place.format_path(place.submitted_directory, student_id, assignment_id)
        return existing(self, os.path.abspath(folder))

    CourseDirectory.get_existing_timestamp = existing
    if api := sys.modules.get("nbgrader.apps.api"):
        api.NbGraderAPI.get_submitted_timestamp = submitted
