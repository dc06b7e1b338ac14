"""The calls of Linux that Python 3.11 has no name for. Nothing here is called on other systems."""

import ctypes
import os
from pathlib import Path

NEW_FILES, NEW_HOSTNAME, NEW_IPC = 0x00020000, 0x04000000, 0x08000000
NEW_USERS, NEW_PROCESSES, NEW_NETWORK = 0x10000000, 0x20000000, 0x40000000

READ_ONLY, NO_SETUID, NO_DEVICES, NO_EXEC = 1, 2, 4, 8
REMOUNT, BIND, RECURSIVE, PRIVATE = 0x20, 0x1000, 0x4000, 0x40000
NO_ACCESS_TIMES, NO_FOLDER_TIMES, RELATIVE_TIMES = 0x400, 0x800, 0x200000

_DIE_WITH_PARENT, _DUMPABLE, _DROP_BOUND, _SUBREAPER = 1, 4, 24, 36
_NO_NEW_PRIVILEGES, _AMBIENT, _AMBIENT_CLEAR = 38, 47, 4
_CAPABILITIES_VERSION, _DETACH = 0x20080522, 2

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> int:
    """Call a function of the C library; a failure is an OSError that names it."""
    result = getattr(_libc, name)(*arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def unshare(flags: int) -> None:
    """Leave the namespaces named by ``flags`` for new ones."""
    _call("unshare", flags)


def mount(source: str, target: Path | str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """Mount, bind or remount; see mount(2)."""
    _call(
        "mount",
        source.encode(),
        str(target).encode(),
        kind.encode() or None,
        ctypes.c_ulong(flags),
        data.encode() or None,
    )


def enter_root(new: Path) -> None:
    """Make the folder ``new``, a mount, the root of all files, and let go of the old root."""
    os.chdir(new)
    _call("pivot_root", b".", b".")
    _call("umount2", b".", _DETACH)
    os.chdir("/")


def may_be_read(allowed: bool) -> None:
    """Say whether processes of the same user may look into this one's memory."""
    _call("prctl", _DUMPABLE, int(allowed), 0, 0, 0)


def adopt_orphans() -> None:
    """Become the parent of grandchildren whose parent ends."""
    _call("prctl", _SUBREAPER, 1, 0, 0, 0)


def die_with_parent() -> None:
    """Be killed when the parent ends."""
    _call("prctl", _DIE_WITH_PARENT, 9, 0, 0, 0)


def no_new_privileges() -> None:
    """Gain nothing from setuid programs, for ever."""
    _call("prctl", _NO_NEW_PRIVILEGES, 1, 0, 0, 0)


def bound_capabilities() -> None:
    """Take every capability out of what this process and its children can ever have."""
    for one in range(64):
        if _libc.prctl(_DROP_BOUND, one, 0, 0, 0) < 0:
            break


def drop_capabilities() -> None:
    """Give up all capabilities."""
    _libc.prctl(_AMBIENT, _AMBIENT_CLEAR, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_VERSION, 0)
    _call("capset", header, (ctypes.c_uint32 * 6)())
