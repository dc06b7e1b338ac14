"""nbgrader's own autograde of one student, run behind the fence. Its marks count for nothing.

It shows what the notebook does from top to bottom, for the feedback and for a teacher's eye. This
part runs in the fenced process; ``landing`` reads what comes of it, as data.
"""

import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from labs.grading import linux
from labs.grading.frames import send

STUDENT = "student"  # every student's name behind the fence
LOG_KEPT, LARGEST = 4000, 16 << 20
# What is imported before the first student, once for all.
PRELOAD = ("nbgrader.apps.autogradeapp", "nbconvert.exporters.notebook", "nbclient.client")


def run(pipe: socket.socket, plan: dict[str, Any]) -> None:
    """Run autograde, and send back how it ended, the end of its log, and the notebook it wrote."""
    if sys.platform == "linux":
        linux.may_be_read(False)  # what it starts has the same user
    course, lab, log = Path(plan["work"]), plan["lab"], Path("autograde.log")
    options = [lab, "--student", STUDENT, f"--Execute.timeout={plan['cell_seconds']}"]
    code = _ended(_autograde(course, log.absolute(), options), plan["seconds"])
    told = {"code": code, "log": _end_of(log, LOG_KEPT).decode(errors="replace")}
    notebook = _whole(course / "autograded" / STUDENT / lab / f"{lab}.ipynb")
    send(pipe, told, notebook)


def _autograde(course: Path, log: Path, options: list[str]) -> int:
    """Start `nbgrader autograde` in a process of its own, and return its number."""
    process = os.fork()
    if process:
        return process
    try:
        os.setsid()
        out = os.open(log, os.O_WRONLY | os.O_CREAT)
        for standard in (1, 2):
            os.dup2(out, standard)
        os.closerange(3, 512)  # the pipe as well
        if sys.platform == "linux":
            linux.may_be_read(True)
        os.chdir(course)
        del os.environ["MPLBACKEND"]  # the kernel has one of its own, which shows pictures
        from nbgrader.apps.autogradeapp import AutogradeApp

        AutogradeApp.launch_instance(options)
        os._exit(0)
    except SystemExit as e:
        os._exit(e.code if isinstance(e.code, int) else 1)
    finally:
        os._exit(1)


def _ended(process: int, seconds: float) -> int | None:
    """Wait for a process; return its exit status, or None if it was ended because of the time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if (ended := os.waitpid(process, os.WNOHANG))[0]:
            return os.waitstatus_to_exitcode(ended[1])
        time.sleep(0.02)
    os.killpg(process, signal.SIGKILL)
    return None


def _end_of(path: Path, size: int) -> bytes:
    with path.open("rb") as f:
        f.seek(max(0, path.stat().st_size - size))
        return f.read(size)


def _whole(path: Path) -> bytes:
    """Return a file's bytes, or none if it is missing or too large."""
    try:
        with path.open("rb") as f:
            found = f.read(LARGEST + 1)
    except OSError:
        return b""
    return found if len(found) <= LARGEST else b""
