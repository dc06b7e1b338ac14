"""A fence around code that nobody vouches for, and how a process enters it.

On Linux, as root or where a user may make namespaces, all of it stands: another user (as root), no
network, own processes, own files (``mounts``), no way to more rights, closed system calls
(``calls``), and limits. Elsewhere ``Means.missing`` names what does not stand.
"""

import contextlib
import os
import re
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

from labs.grading import linux, mounts
from labs.grading.calls import close_calls
from labs.grading.means import NOT_MINE, Means, isolate


@dataclass(frozen=True)
class Limits:
    """What one fenced process may use, in bytes and seconds; memory with all that it starts."""

    cpu: int = 600
    memory: int = 4 << 30
    processes: int = 128
    file_size: int = 64 << 20
    disk: int = 256 << 20

    def plan(self) -> dict[str, int]:
        """Return these as JSON holds them."""
        return asdict(self)


def launch(means: Means, plan: dict, keep: int, body: Callable[[], None]) -> int:
    """Start a process behind the fence, a child of this one, and return its number.

    Args:
        means: what the fence is made of.
        plan: see ``mounts.build``; also "root", an empty folder for it, "limits" and "loopback".
            Without namespaces "room" is a folder to work in.
        keep: the one file descriptor that stays open.
        body: what it does then, as the unprivileged user.

    Raises:
        RuntimeError: the fence could not be built; says why.
    """
    reader, writer = os.pipe()
    helper = os.fork()
    if not helper:
        os.close(reader)
        _help(means, plan, keep, writer, body)
    os.close(writer)
    with open(reader) as f:
        told = f.read()  # ends when the process stands behind the fence
    os.waitpid(helper, 0)
    number, _, trouble = told.partition(" ")
    if trouble or not number:
        raise RuntimeError(f"The fence could not be built: {trouble or 'its process ended'}")
    return int(number)


def _help(means: Means, plan: dict, keep: int, writer: int, body: Callable[[], None]) -> NoReturn:
    """Enter new namespaces, start their first process, and end: it is adopted by the caller."""
    try:
        _close_all_but(keep, writer)
        if means.namespaces:
            isolate(means.user, plan["loopback"])
        ended, ends = os.pipe()
        child = os.fork()
        if child:
            os.write(writer, str(child).encode())
            os._exit(0)
        os.setsid()
        os.close(ends)
        os.read(ended, 1)  # until the helper has ended
        os.close(ended)
        _settle(means, plan)
    except BaseException as e:
        os.write(writer, f" {type(e).__name__}: {e}".encode())
        os._exit(1)
    os.close(writer)
    try:
        body()
    finally:
        os._exit(0)


def _close_all_but(*kept: int) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(nothing, standard)
    last = 2
    for one in sorted(kept):
        os.closerange(last + 1, one)
        last = one
    os.closerange(last + 1, 1 << 20)  # Linux asks its kernel once, and no soft limit hides any


def _settle(means: Means, plan: dict) -> None:
    linux_here = sys.platform == "linux"
    user = NOT_MINE[0] if means.user is None else means.user
    if linux_here:
        linux.may_be_read(True)  # or its own files in /proc belong to root
        # If memory ends, this is what the system stops, and not the teacher's programs.
        Path("/proc/self/oom_score_adj").write_text("1000")
    if means.namespaces:
        mounts.build(Path(plan["root"]), plan, user)
        os.chdir(mounts.HOME)
        os.environ["TMPDIR"] = mounts.TMP
    else:
        os.chdir(plan["room"])
    os.environ["HOME"] = os.getcwd()
    _limit(means, plan["limits"])
    if linux_here and (means.namespaces or means.user is not None):
        linux.bound_capabilities()
    if means.user is not None:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    if linux_here:
        linux.drop_capabilities()
        linux.no_new_privileges()
        linux.may_be_read(True)  # another user's process forgets it
        linux.die_with_parent()
        close_calls()
    if not os.access(os.__file__, os.R_OK):
        raise RuntimeError(
            f"user {user} cannot read {os.__file__}; install Python where everybody can read it"
        )


def _limit(means: Means, limits: dict) -> None:
    processes = limits["processes"]
    if means.user is None and not (means.namespaces and _counts_by_namespace()):
        processes += _running()  # those that the teacher has already are counted as well
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_CPU: limits["cpu"],
        resource.RLIMIT_DATA: limits["memory"],
        resource.RLIMIT_FSIZE: limits["file_size"],
        resource.RLIMIT_NOFILE: 512,
        resource.RLIMIT_NPROC: processes,
    }
    for what, much in wanted.items():
        hard = resource.getrlimit(what)[1]
        much = much if hard == resource.RLIM_INFINITY else min(much, hard)
        resource.setrlimit(what, (much, much))


def _counts_by_namespace() -> bool:
    version = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return version is not None and tuple(map(int, version.groups())) >= (5, 14)


def _running() -> int:
    if sys.platform != "linux":
        return 500
    threads = 0
    for task in Path("/proc").glob("[0-9]*/task"):
        try:
            threads += len(os.listdir(task)) if task.stat().st_uid == os.getuid() else 0
        except OSError:  # it ended meanwhile
            continue
    return threads


def stop(means: Means, process: int) -> None:
    """End a fenced process, a child of this one, and all that it started."""
    if means.namespaces:
        os.kill(process, signal.SIGKILL)  # the first of its processes takes all others along
    else:
        for end in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                end(process, signal.SIGKILL)
        if means.user is not None:
            _stop_all_of(means.user)
    with contextlib.suppress(ChildProcessError):  # only Linux lets a process adopt it
        os.waitpid(process, 0)


def _stop_all_of(user: int) -> None:
    child = os.fork()
    if not child:
        try:
            os.setuid(user)
            os.kill(-1, signal.SIGKILL)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
