"""What a process and all that it started hold together. Linux counts it in /proc."""

import sys
from pathlib import Path


def used(process: int) -> tuple[int, int]:
    """Return the bytes that a process and its descendants hold, and how many of them live."""
    if sys.platform != "linux":
        return 0, 0
    children: dict[int, list[int]] = {}
    held: dict[int, int] = {}
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        except (OSError, ValueError):  # it ended meanwhile
            continue
        number = int(lines["Pid"])
        children.setdefault(int(lines["PPid"]), []).append(number)
        kinds = (lines.get("RssAnon", "0"), lines.get("RssShmem", "0"))
        held[number] = sum(int(kind.split()[0]) << 10 for kind in kinds)
    total, living, waiting = 0, 0, [process]
    while waiting:
        one = waiting.pop()
        total, living = total + held.get(one, 0), living + (one in held)
        waiting += children.get(one, [])
    return total, living
