"""The fence around code that nobody vouches for: bubblewrap, with a user for each run, and limits.

bubblewrap gives no network, processes of its own, and a list of files: the interpreter, its
packages, and what the caller hands in. This file says what is on the list, gives each run a user of
its own (as root) and limits, and closes the system calls and sockets that bubblewrap leaves open.
Nothing is written to the disk of this machine.
"""

import errno
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[2]
ROOM = "/room"  # all that can be written to, with /tmp
USERS = range(59000, 60000)  # systemd leaves these to nobody, and few give them to people
SYSTEM = (
    *("/usr/bin", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libexec", "/usr/share/fonts"),
    *("/usr/share/fontconfig", "/usr/share/zoneinfo", "/bin", "/lib", "/lib32", "/lib64"),
    *("/etc/alternatives", "/etc/fonts", "/etc/ld.so.cache", "/etc/localtime", "/nix/store"),
)
# What a fenced process imports of this course: no test, no solution of a lab.
OURS = (
    "vizhelpers",
    "labs/grading/__init__.py",
    "labs/grading/frames.py",
    "labs/grading/worker.py",
)
OUTSIDE = ("PATH", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")  # what systemd-run asks for
TOOLS = ("bwrap", "setpriv", "prlimit")
# One thread: two runs at once would wait for each other's.
THREADS = ("OMP", "OPENBLAS", "MKL", "NUMEXPR")
# Closed calls: new namespaces and mounts, looking into other processes, memory that belongs to no
# process, and those in which holes were found most often.
CLOSED = (
    *("unshare", "setns", "mount", "umount2", "pivot_root", "chroot", "open_tree", "move_mount"),
    *("fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr", "ptrace", "process_vm_readv"),
    *("process_vm_writev", "kcmp", "bpf", "add_key", "request_key", "keyctl", "userfaultfd"),
    *("perf_event_open", "io_uring_setup", "io_uring_enter", "io_uring_register"),
    *("memfd_create", "memfd_secret", "shmget", "msgget", "semget", "mq_open", "open_by_handle_at"),
)
_NEW_USERS = 0x10000000
_CGROUPS = Path("/sys/fs/cgroup")


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
    group: Path | None
    limits: Limits
    open: ExitStack

    def kill(self) -> None:
        """End it and all that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def end(self) -> str:
        """End it and all that it started, and tidy up; return which limit it met, if known."""
        self.kill()
        self.process.wait()
        met = self.group and _killed_for_memory(self.group)
        self.open.close()
        return f"used more than {self.limits.memory >> 20} MB of memory" if met else ""


@dataclass
class Fence:
    """How to start a fenced process.

    Attributes:
        limits: of each run.
        files: name -> content, what lies in the folder in which it runs.
        lacks: what cannot be had here, in words; the fence stands all the same.
    """

    limits: Limits = field(default_factory=Limits)
    files: Mapping[str, bytes] = field(default_factory=dict)
    lacks: list[str] = field(default_factory=list)

    def try_it(self) -> None:
        """Start a fenced process that imports what students' code imports.

        Raises:
            NoFence: it cannot be had; nothing may be marked here.
        """
        if sys.platform != "linux":
            raise NoFence(
                f"{sys.platform} has no bubblewrap. Mark on Linux: WSL2, or a virtual machine."
            )
        missing = [tool for tool in TOOLS if not shutil.which(tool)]
        if missing:
            raise NoFence(
                f"{', '.join(missing)} cannot be found. `apt-get install bubblewrap util-linux` "
                "(Debian, Ubuntu) or `dnf install bubblewrap util-linux` (Fedora) installs them."
            )
        try:
            import pyseccomp  # noqa: F401
        except (ImportError, RuntimeError, OSError) as e:
            raise NoFence(
                f"pyseccomp does not work here ({e}). It needs libseccomp (Debian: libseccomp2), "
                "and `uv sync` installs it."
            ) from e
        if not _memory_group():
            self.lacks.append(
                "no memory limit for a run as a whole (there is no cgroup that may be written to): "
                f"each process may take {self.limits.memory >> 20} MB"
            )
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

    def start(self, program: Sequence[str], keep: int = -1, **popen: Any) -> Run:
        """Start a program behind the fence.

        Args:
            program: its name and arguments; "python" is this environment's.
            keep: a file descriptor that it inherits.
            popen: as ``subprocess.Popen`` takes them; standard streams are closed otherwise.
        """
        with ExitStack() as stack:
            user = stack.enter_context(_user()) if _many_users() else None
            group = stack.enter_context(_in_group(self.limits, user))
            handed = {name: stack.enter_context(_unnamed(text)) for name, text in self._texts(user)}
            calls = stack.enter_context(_closed_calls())
            kept = [calls.fileno(), *(f.fileno() for f in handed.values())]
            command = [*group.prefix, *self._command(user, calls.fileno(), handed), *program]
            standard = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
            process = subprocess.Popen(
                command,
                env={name: os.environ[name] for name in OUTSIDE if name in os.environ},
                pass_fds=[*kept, *([keep] if keep >= 0 else [])],
                start_new_session=True,
                **(standard | popen),
            )
            return Run(process, group.path, self.limits, stack.pop_all())
        raise AssertionError

    def _texts(self, user: int | None) -> Iterator[tuple[str, bytes]]:
        number = USERS[0] if user is None else user
        yield "/etc/passwd", f"student:x:{number}:{number}::{ROOM}:/bin/sh\n".encode()
        yield "/etc/group", f"student:x:{number}:\n".encode()
        yield "/etc/hosts", b"127.0.0.1 localhost\n"
        yield from ((f"/lab/{name}", text) for name, text in self.files.items())

    def _command(self, user: int | None, calls: int, handed: Mapping[str, IO[bytes]]) -> list[str]:
        """Return bubblewrap's command line, up to the program's."""
        limits, number = self.limits, str(USERS[0] if user is None else user)
        own = "--unshare-pid --unshare-net --unshare-ipc --unshare-uts --unshare-cgroup-try"
        line = ["bwrap", *own.split(), "--die-with-parent", "--new-session", "--clearenv"]
        if user is None:
            line += ["--unshare-user", "--uid", number, "--gid", number, "--cap-drop", "ALL"]
        else:  # to become another user, and to give up the rest
            line += ["--cap-drop", "ALL"]
            line += [w for c in ("SETUID", "SETGID", "SETPCAP") for w in ("--cap-add", f"CAP_{c}")]
        for name, value in environment().items():
            line += ["--setenv", name, value]
        for place in ("/tmp", ROOM):
            line += ["--perms", "1777", "--size", str(limits.disk), "--tmpfs", place]
        shown = [*SYSTEM, *python_files(), *(str(ROOT / path) for path in OURS)]
        for parent in sorted({str(p) for path in [*shown, "/lab/x"] for p in Path(path).parents}):
            # bubblewrap makes the missing ones readable for root alone.
            if parent not in ("/", "/tmp") and not os.path.islink(parent):
                line += ["--perms", "0755", "--dir", parent]
        for path in sorted(dict.fromkeys(shown), key=len):
            if os.path.islink(path) and os.path.dirname(path) == "/":  # /bin is a link to usr/bin
                line += ["--symlink", os.readlink(path), path]
            else:
                line += ["--ro-bind-try", path, path]
        for name, text in handed.items():
            line += ["--perms", "0444", "--ro-bind-data", str(text.fileno()), name]
        line += ["--proc", "/proc", "--dev", "/dev", "--perms", "1777"]
        line += ["--size", str(limits.disk), "--tmpfs", "/dev/shm", "--remount-ro", "/dev"]
        line += ["--remount-ro", "/", "--chdir", ROOM, "--seccomp", str(calls), "--"]
        # A process by itself runs out of memory first: a function then raises, and can go on.
        line += ["prlimit", "--core=0", f"--cpu={limits.cpu}", f"--data={limits.memory * 3 // 4}"]
        line += [f"--fsize={limits.file_size}", "--nofile=512", f"--nproc={limits.processes}"]
        if user is not None:
            line += ["setpriv", "--reuid", number, "--regid", number, "--clear-groups"]
            line += ["--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"]
        # If memory ends, this is what the system stops, and not the teacher's programs.
        begin = 'echo 1000 > /proc/self/oom_score_adj; cp -r /lab/. .; exec "$@"'
        return [*line, "sh", "-c", begin, "sh"]


def environment() -> dict[str, str]:
    """Return the whole environment of a fenced process; nothing of the teacher's is in it."""
    threads = {f"{library}_NUM_THREADS": "1" for library in THREADS}
    return threads | {
        "HOME": ROOM,
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "LANG": "C.UTF-8",
    }


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


def _many_users() -> bool:
    """Tell whether this process may become another user: root may, where there are others."""
    rows = [map(int, line.split()) for line in Path("/proc/self/uid_map").read_text().splitlines()]
    return os.geteuid() == 0 and any(first <= USERS[0] < first + n for first, _, n in rows)


@contextmanager
def _user() -> Iterator[int]:
    """Take the number of a user that nobody has and that no other run on this machine has now."""
    taken = {one.pw_uid for one in pwd.getpwall()}
    for number in USERS:
        with socket.socket(socket.AF_UNIX) as lock:  # let go of when this process ends, however
            try:
                lock.bind(f"\0labs-grade-{number}")
            except OSError as e:
                if e.errno != errno.EADDRINUSE:
                    raise
                continue
            if number not in taken:
                yield number
                return
    raise NoFence(f"All users from {USERS[0]} to {USERS[-1]} are taken.")


@contextmanager
def _unnamed(content: bytes) -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as f:
        f.write(content)
        f.seek(0)
        yield f


@contextmanager
def _closed_calls() -> Iterator[IO[bytes]]:
    """Yield the filter of system calls, as bubblewrap reads it; libseccomp makes it."""
    import pyseccomp as seccomp

    refused = seccomp.ERRNO(errno.EPERM)
    rules = seccomp.SyscallFilter(seccomp.ALLOW)
    for name in CLOSED:
        with suppress(ValueError, RuntimeError, OSError):  # libseccomp or this processor lacks it
            rules.add_rule(refused, name)
    rules.add_rule(refused, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, _NEW_USERS, _NEW_USERS))
    # Its flags cannot be read by a filter; then clone is used.
    with suppress(ValueError, RuntimeError, OSError):
        rules.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")
    # Families of sockets. A kernel of Jupyter's asks netlink for this machine's (empty) networks.
    allowed = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK)
    others = [seccomp.Arg(0, seccomp.EQ, n) for n in range(max(allowed)) if n not in allowed]
    for call in ("socket", "socketpair"):
        for family in (*others, seccomp.Arg(0, seccomp.GT, max(allowed))):
            rules.add_rule(seccomp.ERRNO(errno.EAFNOSUPPORT), call, family)
    about_networks = (seccomp.Arg(0, seccomp.EQ, socket.AF_NETLINK), seccomp.Arg(2, seccomp.NE, 0))
    rules.add_rule(refused, "socket", *about_networks)
    with tempfile.TemporaryFile() as f:
        rules.export_bpf(f)
        f.seek(0)
        yield f


# --- The memory of a run as a whole: a cgroup ------------------------------------------------


@dataclass
class _Group:
    """A command that puts what follows into a cgroup, and the cgroup's folder if it is ours."""

    prefix: list[str] = field(default_factory=list)
    path: Path | None = None


@cache
def _memory_group() -> str:
    """Return which means of a memory limit works here: "systemd", a folder of cgroups, or ""."""
    if Path("/run/systemd/system").is_dir():
        probe = subprocess.run([*_scope(Limits()), "true"], capture_output=True)
        if not probe.returncode:
            return "systemd"
    for folder, limit in ((_CGROUPS, "memory.max"), (_CGROUPS / "memory", _V1)):
        probe = folder / f"labs-grade-{os.getpid()}-probe"
        with suppress(OSError):
            probe.mkdir()
            found = (probe / limit).exists()
            probe.rmdir()
            if found:
                return str(folder)
    return ""


_V1 = "memory.limit_in_bytes"
_count = itertools.count()


def _scope(limits: Limits) -> list[str]:
    user = [] if os.geteuid() == 0 else ["--user"]
    words = ["systemd-run", *user, "--scope", "--quiet", "--collect"]
    for name, value in (("MemoryMax", limits.memory), ("MemorySwapMax", 0)):
        words += ["-p", f"{name}={value}"]
    return words


@contextmanager
def _in_group(limits: Limits, user: int | None) -> Iterator[_Group]:
    means = _memory_group()
    if means in ("", "systemd"):
        yield _Group(_scope(limits) if means else [])
        return
    for old in Path(means).glob("labs-grade-*"):  # of a run that was killed
        with suppress(OSError):
            if not Path("/proc", old.name.split("-")[2]).exists():
                old.rmdir()
    path = Path(means, f"labs-grade-{os.getpid()}-{user}-{next(_count)}")
    path.mkdir()
    try:
        for name, value in (
            ("memory.max", limits.memory),
            ("memory.swap.max", 0),
            (_V1, limits.memory),
            ("memory.memsw.limit_in_bytes", limits.memory),
        ):
            if (path / name).exists():
                (path / name).write_text(str(value))
        join = 'echo $$ > "$0"/cgroup.procs && exec "$@"'
        yield _Group(["sh", "-c", join, str(path)], path)
    finally:
        for _ in range(100):  # until the last of its processes has ended
            with suppress(OSError):
                path.rmdir()
                break
            time.sleep(0.01)


def _killed_for_memory(group: Path) -> bool:
    for name in ("memory.events", "memory.oom_control"):
        with suppress(OSError):
            lines = (group / name).read_text().splitlines()
            return any(line.startswith("oom_kill ") and line.split()[1] != "0" for line in lines)
    return False
