"""The files that a fenced process sees: Python and its packages, read-only, and an empty room.

It is a list of what is there, not of what is hidden: the course folder, its solutions, the
gradebook, other students' work, home folders, sockets of other programs are not there at all.
"""

import os
import shutil
from pathlib import Path

from labs.grading import linux

SYSTEM = [
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store"),
    *("/etc/alternatives", "/etc/fonts", "/etc/ld.so.cache", "/etc/localtime"),
]
DEVICES = ["null", "zero", "full", "random", "urandom"]
# All that can be written to. No Python is installed in a folder of this name; in /home and /tmp
# there may be one, which is then shown there.
ROOM = "/room"
HOME, COURSE, TMP = f"{ROOM}/student", f"{ROOM}/course", f"{ROOM}/tmp"
_FLAGS = {
    "ro": linux.READ_ONLY,
    "nosuid": linux.NO_SETUID,
    "nodev": linux.NO_DEVICES,
    "noexec": linux.NO_EXEC,
    "noatime": linux.NO_ACCESS_TIMES,
    "nodiratime": linux.NO_FOLDER_TIMES,
    "relatime": linux.RELATIVE_TIMES,
}


def build(root: Path, plan: dict, user: int) -> None:
    """Build the tree in ``root``, an empty folder, and make it the root of this process.

    Args:
        root: exists; nothing of what is mounted there is seen outside this process's namespace.
        plan: "show" (folders of Python and its packages), "hide" (folders that must not be seen,
            even within these), "home" and "course" (folders to copy in, or None), "limits".
        user: whom the room belongs to.
    """
    linux.mount("none", "/", flags=linux.PRIVATE | linux.RECURSIVE)  # or the teacher sees it, too
    _disk(root, "1m")
    for path in sorted([*SYSTEM, *plan["show"]], key=len):  # parents first
        _show(root, Path(path))
    _make_read_only(root)
    for path in plan["hide"]:
        if _within(root, path).is_dir():
            _disk(_within(root, path), "4k", linux.READ_ONLY)
    _devices(root)
    _accounts(root, user)
    _room(root, plan, user)
    flags = linux.REMOUNT | linux.BIND | linux.READ_ONLY | linux.NO_SETUID | linux.NO_DEVICES
    linux.mount("none", root, flags=flags)
    linux.enter_root(root)


def _disk(place: Path, size: str, flags: int = 0) -> None:
    flags |= linux.NO_SETUID | linux.NO_DEVICES
    linux.mount("tmpfs", place, "tmpfs", flags, f"size={size},nr_inodes=50000,mode=755")


def _within(root: Path, path: Path | str) -> Path:
    return root / str(path).lstrip("/")


def _show(root: Path, path: Path) -> None:
    inside = _within(root, path)
    if not os.path.lexists(path) or os.path.lexists(inside):
        return
    inside.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() and path.parent == Path("/"):  # /bin is a link to usr/bin
        inside.symlink_to(os.readlink(path))
        return
    if path.is_dir():
        inside.mkdir()
    else:
        inside.touch()
    linux.mount(str(path), inside, flags=linux.BIND | linux.RECURSIVE)


def _make_read_only(root: Path) -> None:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        place, options = line.split()[4:6]
        place = place.encode().decode("unicode_escape")  # a blank is written as \040
        if place.startswith(f"{root}/"):
            # In a user's namespace, options that stand already must be named again.
            kept = sum(_FLAGS.get(option, 0) for option in set(options.split(",")) - {"ro"})
            flags = linux.REMOUNT | linux.BIND | linux.READ_ONLY
            flags |= linux.NO_SETUID | linux.NO_DEVICES | kept
            linux.mount("none", place, flags=flags)


def _devices(root: Path) -> None:
    folder = root / "dev"
    folder.mkdir()
    for name in DEVICES:
        (folder / name).touch()
        linux.mount(f"/dev/{name}", folder / name, flags=linux.BIND)
    (folder / "fd").symlink_to("/proc/self/fd")
    (root / "proc").mkdir()
    try:
        # Read-only: /proc/sys obeys whoever is root outside, whatever he is called in here.
        flags = linux.READ_ONLY | linux.NO_SETUID | linux.NO_DEVICES | linux.NO_EXEC
        linux.mount("proc", root / "proc", "proc", flags)
    except OSError:  # within some containers; then there is none
        pass


def _accounts(root: Path, user: int) -> None:
    etc = root / "etc"
    etc.mkdir(exist_ok=True)
    (etc / "passwd").write_text(f"student:x:{user}:{user}::{HOME}:/bin/sh\n")
    (etc / "group").write_text(f"student:x:{user}:\n")
    (etc / "hosts").write_text("127.0.0.1 localhost\n")


def _room(root: Path, plan: dict, user: int) -> None:
    room = _within(root, ROOM)
    room.mkdir()
    _disk(room, f"{plan['limits']['disk']}")
    for name, link in (("tmp", root / "tmp"), ("shared", root / "dev/shm")):
        (room / name).mkdir()
        (room / name).chmod(0o1777)
        if not os.path.lexists(link):
            link.symlink_to(f"{ROOM}/{name}")
    for source, place in ((plan["home"], HOME), (plan["course"], COURSE)):
        inside = _within(root, place)
        if source:
            shutil.copytree(source, inside, symlinks=True)
        else:
            inside.mkdir()
        for path in (inside, *inside.rglob("*")):
            os.chown(path, user, user, follow_symlinks=False)
