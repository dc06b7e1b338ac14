"""System calls and kinds of sockets that bubblewrap leaves open are closed; libseccomp does it."""

import errno
import socket
import tempfile
from contextlib import suppress
from functools import cache

# New namespaces and mounts, looking into other processes, memory that belongs to no process, and
# the calls in which holes were found most often.
CLOSED = """unshare setns mount umount2 pivot_root chroot open_tree move_mount fsopen fsconfig
fsmount fspick mount_setattr ptrace process_vm_readv process_vm_writev kcmp bpf add_key request_key
keyctl userfaultfd perf_event_open io_uring_setup io_uring_enter io_uring_register memfd_create
memfd_secret shmget msgget semget mq_open open_by_handle_at"""
NEW_USERS = 0x10000000  # a flag of clone
FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK)


@cache
def closed() -> bytes:
    """Return the filter of system calls as bubblewrap reads it."""
    import pyseccomp as seccomp

    refused = seccomp.ERRNO(errno.EPERM)
    rules = seccomp.SyscallFilter(seccomp.ALLOW)
    for name in CLOSED.split():
        with suppress(ValueError, RuntimeError, OSError):  # libseccomp or this processor lacks it
            rules.add_rule(refused, name)
    rules.add_rule(refused, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, NEW_USERS, NEW_USERS))
    # Its flags cannot be read by a filter; then clone is used.
    with suppress(ValueError, RuntimeError, OSError):
        rules.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")
    others = [seccomp.Arg(0, seccomp.GT, max(FAMILIES))]
    others += [seccomp.Arg(0, seccomp.EQ, n) for n in range(max(FAMILIES)) if n not in FAMILIES]
    for call in ("socket", "socketpair"):
        for family in others:
            rules.add_rule(seccomp.ERRNO(errno.EAFNOSUPPORT), call, family)
    # A kernel of Jupyter's asks netlink (protocol 0) for this machine's networks: there are none.
    netlink = seccomp.Arg(0, seccomp.EQ, socket.AF_NETLINK)
    rules.add_rule(refused, "socket", netlink, seccomp.Arg(2, seccomp.NE, 0))
    with tempfile.TemporaryFile() as f:
        rules.export_bpf(f)
        f.seek(0)
        return f.read()
