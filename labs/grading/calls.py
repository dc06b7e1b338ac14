"""System calls that no lab needs, closed for good: new namespaces, and doors into the kernel.

Without privileges most are refused anyway. What is gained: a process cannot make a user namespace,
in which it would be root of sorts and could fill memory with a disk of its own; it cannot hold
memory that is counted nowhere (memfd, shared segments); and it cannot try the calls in which holes
were found most often.
"""

import ctypes
import errno
import os
import struct

# What is closed: number on x86_64, on aarch64.
CLOSED = {
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "mount_setattr": (442, 442),
    "ptrace": (101, 117),
    "bpf": (321, 280),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
    "io_uring_setup": (425, 425),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
}
_CLONE, _CLONE3 = (56, 220), 435
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_LOAD, _EQUAL, _AT_LEAST, _HAS_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _MACHINE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16
_ALLOW, _FAIL_WITH = 0x7FFF0000, 0x00050000
_NEW_USERS, _X32 = 0x10000000, 0x40000000
_SET_SECCOMP, _FILTER = 22, 2


def close_calls() -> None:
    """Close them for this process and all that it starts; needs no privilege, only "no new ones".

    On other machines than these two nothing is done.
    """
    if os.uname().machine not in _MACHINES:
        return
    program = b"".join(_program(*_MACHINES[os.uname().machine]))
    lines = ctypes.create_string_buffer(program)
    header = struct.pack("HL", len(program) // 8, ctypes.addressof(lines))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_SET_SECCOMP, _FILTER, header, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "seccomp: " + os.strerror(ctypes.get_errno()))


def _program(machine: int, audit: int) -> list[bytes]:
    """Return the filter in the kernel's small language: code, skip if true, skip if not, value."""
    refused, unknown = _FAIL_WITH | errno.EPERM, _FAIL_WITH | errno.ENOSYS
    lines = [
        (_LOAD, 0, 0, _MACHINE_AT),
        (_EQUAL, 1, 0, audit),
        (_RETURN, 0, 0, refused),  # the 32-bit calls have other numbers
        (_LOAD, 0, 0, _NUMBER_AT),
    ]
    for code, value, answer in [
        *([(_AT_LEAST, _X32, refused)] if machine == 0 else []),
        *((_EQUAL, numbers[machine], refused) for numbers in CLOSED.values()),
        (_EQUAL, _CLONE3, unknown),  # its flags cannot be read here; then clone is used
    ]:
        lines += [(code, 0, 1, value), (_RETURN, 0, 0, answer)]
    lines += [
        (_EQUAL, 0, 3, _CLONE[machine]),
        (_LOAD, 0, 0, _FIRST_ARGUMENT_AT),
        (_HAS_BIT, 0, 1, _NEW_USERS),
        (_RETURN, 0, 0, refused),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return [struct.pack("HBBI", *line) for line in lines]
