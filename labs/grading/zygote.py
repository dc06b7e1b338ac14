"""The handle of a zygote: a process with a lab's setup done, of which all others are forks.

So nobody waits for torch to start. ``forks`` is the process itself.
"""

import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labs.grading.frames import Broken, TooLate, receive, send
from labs.grading.means import Means

ROOT = Path(__file__).resolve().parents[2]
# One thread each: a fork keeps only the thread that forked, and OpenMP's would be waited for.
THREADS = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM")


class SetupFailed(Exception):
    """The lab's own setup cells raised; says what."""


@dataclass
class Zygote:
    """The handle of a zygote: starts and stops processes that are forks of it.

    It is also what a scorer holds of the zygote that it was forked from.
    """

    pipe: socket.socket
    process: subprocess.Popen[bytes] | None = None

    @classmethod
    def start(cls, home: Path, preload: tuple[str, ...] = (), seconds: float = 120) -> "Zygote":
        """Start one as a program of its own, with modules imported and a clean environment."""
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "labs.grading.forks", str(theirs.fileno()), *preload]
        process = subprocess.Popen(
            command,
            cwd=home,
            env=environment(home, str(ROOT)),
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for labs/grade, which then closes the pipe
        )
        theirs.close()
        zygote = cls(ours, process)
        try:
            receive(ours, seconds)
        except (Broken, TooLate):
            zygote.close()
            raise
        return zygote

    def lab(self, setup: list[str], folder: Path, seconds: float = 120) -> "Zygote":
        """Return a zygote that ran ``setup``, the sources of a lab's setup cells, in ``folder``."""
        pipe = self.spawn("lab", {})[1]
        send(pipe, {"setup": setup, "folder": str(folder)})
        told = receive(pipe, seconds)[0]
        if "failed" in told:
            raise SetupFailed(told["failed"])
        return Zygote(pipe)

    @property
    def means(self) -> Means:
        """What the fence is made of here."""
        return Means(**self._ask({"do": "means"}))

    def spawn(self, role: str, plan: dict) -> tuple[int, socket.socket]:
        """Start a process; return its number and the pipe to it."""
        ours, theirs = socket.socketpair()
        with theirs:
            answer = self._ask({"do": "spawn", "role": role, "plan": plan}, theirs.fileno())
        if "failed" in answer:
            ours.close()
            raise RuntimeError(answer["failed"])
        return answer["process"], ours

    def stop(self, process: int) -> str:
        """End a process and all that it started; return why it had ended already, if it had."""
        return self._ask({"do": "stop", "process": process})["why"]

    def __enter__(self) -> "Zygote":
        """Return itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """End it."""
        self.close()

    def close(self) -> None:
        """End it, and with it all that it started."""
        self.pipe.close()
        if self.process:
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def _ask(self, what: dict[str, Any], descriptor: int = -1) -> dict[str, Any]:
        """Send an order, with a file descriptor before it if there is one; return the answer."""
        try:
            if descriptor < 0:
                self.pipe.sendall(b"-")
            else:
                socket.send_fds(self.pipe, [b"+"], [descriptor])
        except OSError as e:
            raise Broken(f"the process that starts all others is gone ({e})") from e
        send(self.pipe, what)
        return receive(self.pipe, 60)[0]


def environment(home: Path | str, path: str) -> dict[str, str]:
    """Return the whole environment of a marking process; nothing of the teacher's is in it."""
    threads = {f"{library}_NUM_THREADS": "1" for library in THREADS}
    return threads | {
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "PYTHONPATH": path,
        "LANG": "C.UTF-8",
        "MPLBACKEND": "Agg",
    }
