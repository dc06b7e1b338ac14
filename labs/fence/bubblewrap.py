"""Start a program behind the fence: bubblewrap, with a user for each run (as root), and limits.

bubblewrap gives no network, processes of its own, and a list of files: the interpreter, its
packages, and what the caller hands in. Nothing is written to the disk of this machine.
"""

import errno
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from labs.fence import calls, memory

ROOT = Path(__file__).resolve().parents[2]
ROOM = "/room"  # all that can be written to, with /tmp
USERS = range(59000, 60000)  # systemd leaves these to nobody, and few give them to people
SYSTEM = """/usr/bin /usr/lib /usr/lib32 /usr/lib64 /usr/libexec /usr/share/fonts /nix/store
/usr/share/fontconfig /usr/share/zoneinfo /bin /lib /lib32 /lib64 /etc/alternatives /etc/fonts
/etc/ld.so.cache /etc/localtime"""
ISOLATED = """--unshare-pid --unshare-net --unshare-ipc --unshare-uts --unshare-cgroup-try
--die-with-parent --new-session --clearenv --cap-drop ALL"""
# What a fenced process imports of this course: no test, no solution of a lab.
OURS = """vizhelpers labs/fence/__init__.py labs/fence/frames.py labs/grading/__init__.py
labs/grading/worker.py"""
# If memory ends, this is what the system stops, and not the teacher's programs. Said by root who
# may raise limits, it cannot be taken back inside.
FIRST_TO_END = ["sh", "-c", 'echo 1000 > /proc/self/oom_score_adj; exec "$@"', "sh"]
OUTSIDE = ("PATH", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")  # what systemd-run asks for
TOOLS = ("bwrap", "setpriv", "prlimit")
# The whole environment of a fenced process; nothing of the teacher's is in it. One thread for each
# library that makes some: two runs at once would wait for each other's.
THREADS = [f"{library}_NUM_THREADS" for library in ("OMP", "OPENBLAS", "MKL", "NUMEXPR")]
ENVIRONMENT = dict.fromkeys(THREADS, "1") | {
    "HOME": ROOM,
    "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
    "PYTHONPATH": str(ROOT),
    "PYTHONDONTWRITEBYTECODE": "1",
    "LANG": "C.UTF-8",
}


class NoFence(RuntimeError):
    """The fence cannot be had on this machine; says why, and the way on."""


@dataclass(frozen=True)
class Limits:
    """What one fenced run may use, in bytes and seconds."""

    cpu: int = 600
    memory: int = 4 << 30
    processes: int = 128
    file_size: int = 64 << 20
    disk: int = 256 << 20


@dataclass
class Run:
    """A fenced process."""

    process: subprocess.Popen[bytes]
    group: memory.Group
    open: ExitStack

    def kill(self) -> None:
        """End it and all that it started."""
        if self.process.poll() is None:  # else its number may be another's by now
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def end(self) -> str:
        """End it and all that it started, and tidy up; return which limit it met, if known."""
        self.kill()
        self.process.wait()
        why = self.group.overrun()
        self.open.close()
        return why


@dataclass
class Fence:
    """How to start a fenced process."""

    limits: Limits = field(default_factory=Limits)
    files: Mapping[str, bytes] = field(default_factory=dict)  # that lie in the folder it runs in

    @property
    def lacks(self) -> str:
        """What cannot be had here, in words; the fence stands all the same."""
        if memory.means():
            return ""
        return (
            "no memory limit for a run as a whole (there is no cgroup that may be written to): "
            f"each process may take {self.limits.memory >> 20} MB"
        )

    def try_it(self) -> None:
        """Start a fenced process that imports what students' code imports, or raise a NoFence."""
        missing = [tool for tool in TOOLS if not shutil.which(tool)]
        if missing:
            raise NoFence(
                f"{', '.join(missing)} cannot be found. `apt-get install bubblewrap util-linux` "
                "(Debian, Ubuntu) or `dnf install bubblewrap util-linux` (Fedora) installs them. "
                "On macOS and Windows, mark in WSL2 or a virtual machine."
            )
        try:
            import pyseccomp  # noqa: F401
        except (ImportError, RuntimeError, OSError) as e:
            raise NoFence(
                f"pyseccomp does not work here ({e}). It needs libseccomp (Debian: libseccomp2), "
                "and `uv sync` installs it."
            ) from e
        program = ["python", "-c", "import labs.grading.worker, vizhelpers, numpy"]
        run = self.start(program, stderr=subprocess.PIPE)
        words = run.process.communicate(timeout=120)[1].decode(errors="replace").strip()
        code = run.process.returncode
        run.end()
        if code:
            last = words.splitlines()[-1] if words else f"it ended with {code}"
            raise NoFence(
                f"A fenced process cannot be started: {last}. bubblewrap needs namespaces: start "
                "labs/grade as root, or allow them to users; in a container, start it with the "
                "right to make namespaces. What it runs must be readable for all: Python, its "
                f"packages, {ROOT / 'vizhelpers'}."
            )

    def start(self, program: Sequence[str], keep: Sequence[int] = (), **popen: Any) -> Run:
        """Start a program behind the fence.

        Args:
            program: its name and arguments; "python" is this environment's.
            keep: file descriptors that it inherits.
            popen: as ``subprocess.Popen`` takes them; standard streams are closed otherwise.
        """
        with ExitStack() as stack:
            user = stack.enter_context(_user())
            group = stack.enter_context(memory.group(self.limits.memory))
            number = user or USERS[0]
            texts = {
                "/etc/passwd": f"student:x:{number}:{number}::{ROOM}:/bin/sh\n".encode(),
                "/etc/group": f"student:x:{number}:\n".encode(),
                "/etc/hosts": b"127.0.0.1 localhost\n",
            } | {f"/lab/{name}": text for name, text in self.files.items()}
            handed = {name: stack.enter_context(_unnamed(text)) for name, text in texts.items()}
            closed = stack.enter_context(_unnamed(calls.closed()))
            inside = ["--seccomp", str(closed), "--", *_limited(self.limits, user), *program]
            process = subprocess.Popen(
                [
                    *FIRST_TO_END,
                    *group.command,
                    *_bubblewrap(self.limits.disk, user, handed),
                    *inside,
                ],
                env={name: os.environ[name] for name in OUTSIDE if name in os.environ},
                pass_fds=[closed, *handed.values(), *keep],
                start_new_session=True,
                **(dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL) | popen),
            )
            return Run(process, group, stack.pop_all())


def _bubblewrap(disk: int, user: int | None, handed: Mapping[str, int]) -> list[str]:
    """Return bubblewrap's command line; ``handed``: name of a file -> descriptor of its content."""
    line = ["bwrap", *ISOLATED.split()]
    if user is None:
        line += f"--unshare-user --uid {USERS[0]} --gid {USERS[0]}".split()
    else:  # to become another user, and to give up the rest
        for right in ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP"):
            line += ["--cap-add", right]
    for name, value in ENVIRONMENT.items():
        line += ["--setenv", name, value]
    for place in ("/tmp", ROOM):
        line += ["--perms", "1777", "--size", str(disk), "--tmpfs", place]
    shown = [*SYSTEM.split(), *python_files(), *(f"{ROOT}/{path}" for path in OURS.split())]
    for parent in sorted({str(p) for path in [*shown, "/lab/x"] for p in Path(path).parents}):
        # bubblewrap makes the missing ones readable for root alone.
        if parent not in ("/", "/tmp") and not os.path.islink(parent):
            line += ["--perms", "0755", "--dir", parent]
    for path in sorted(dict.fromkeys(shown), key=len):
        if os.path.islink(path) and os.path.dirname(path) == "/":  # /bin is a link to usr/bin
            line += ["--symlink", os.readlink(path), path]
        else:
            line += ["--ro-bind-try", path, path]
    for name, content in handed.items():
        line += ["--perms", "0444", "--ro-bind-data", str(content), name]
    line += ["--proc", "/proc", "--dev", "/dev", "--perms", "1777"]
    line += ["--size", str(disk), "--tmpfs", "/dev/shm", "--remount-ro", "/dev"]
    return [*line, "--remount-ro", "/", "--chdir", ROOM]


def _limited(limits: Limits, user: int | None) -> list[str]:
    """Return the command inside bubblewrap that sets limits, becomes the user, and copies files."""
    # A process by itself runs out of memory first: a function then raises, and can go on.
    line = ["prlimit", "--core=0", f"--cpu={limits.cpu}", f"--data={limits.memory * 3 // 4}"]
    line += [f"--fsize={limits.file_size}", "--nofile=512", f"--nproc={limits.processes}"]
    if user is not None:
        line += f"setpriv --reuid {user} --regid {user} --clear-groups".split()
        line += ["--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"]
    return [*line, "sh", "-c", 'cp -r /lab/. .; exec "$@"', "sh"]


@cache
def python_files() -> list[str]:
    """Return where Python and its packages are, and Jupyter's kernels; no more of their prefix.

    A prefix may be ``/usr/local``, below which nbgrader keeps what others have handed in.
    """
    places = set(sysconfig.get_paths().values()) - {sysconfig.get_path("data")}
    for prefix in {sys.prefix, sys.base_prefix, sys.exec_prefix}:
        for part in ("bin", "lib", "lib64", "pyvenv.cfg", "share/jupyter/kernels"):
            places.add(f"{prefix}/{part}")
    places |= {os.path.dirname(os.path.realpath(sys.executable))}
    places |= {os.path.realpath(place) for place in places}
    return sorted(place for place in places if os.path.exists(place))


@contextmanager
def _user() -> Iterator[int | None]:
    """Take the number of a user that nobody has and that no other run on this machine has now.

    None if this process may not become another user: root may, where there are others.
    """
    rows = [map(int, line.split()) for line in Path("/proc/self/uid_map").read_text().splitlines()]
    if os.geteuid() or not any(first <= USERS[0] < first + n for first, _, n in rows):
        yield None
        return
    taken = {one.pw_uid for one in pwd.getpwall()}
    for number in (number for number in USERS if number not in taken):
        with socket.socket(socket.AF_UNIX) as lock:  # let go of when this process ends, however
            try:
                lock.bind(f"\0labs-grade-{number}")
            except OSError as e:
                if e.errno != errno.EADDRINUSE:
                    raise
                continue
            yield number
            return
    raise NoFence(f"All users from {USERS[0]} to {USERS[-1]} are taken.")


@contextmanager
def _unnamed(content: bytes) -> Iterator[int]:
    """Hold the descriptor of a file that has a content and no name."""
    with tempfile.TemporaryFile() as f:
        f.write(content)
        f.seek(0)
        yield f.fileno()
