"""How much memory and processor time students take: from Linux's /proc, shared pages once."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

MB = 1 << 20


@dataclass(frozen=True)
class Held:
    """What processes hold, in MB.

    Attributes:
        pss: pages that n processes share are counted 1/n times for each.
        private: pages that nobody else has: what is gained when they end.
    """

    pss: float = 0.0
    private: float = 0.0

    @property
    def shared(self) -> float:
        """The part of the pages that others have too."""
        return self.pss - self.private

    def __add__(self, other: "Held") -> "Held":
        """Add what other processes hold."""
        return Held(self.pss + other.pss, self.private + other.private)


def held(pid: int) -> Held:
    """Return what one process holds; nothing when it has ended."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return Held()
    kb = {name: int(size) for name, size in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
    private = kb["Private_Clean"] + kb["Private_Dirty"]
    return Held(kb["Pss"] / 1024, private / 1024)


def together(pids: Iterable[int]) -> Held:
    """Return what processes hold together."""
    return sum(map(held, pids), Held())


def marked(mark: str) -> list[psutil.Process]:
    """Return all processes with a text among their variables; it is inherited by all children."""
    found = []
    for process in psutil.process_iter():
        try:
            if mark in Path(f"/proc/{process.pid}/environ").read_text(errors="replace"):
                found.append(process)
        except OSError:
            continue
    return found


def is_kernel(process: psutil.Process) -> bool:
    """Whether a process is a kernel, not a server."""
    try:
        words = process.cmdline()
    except psutil.Error:
        return False
    return any("ipykernel_launcher" in word or word.endswith("kernel.py") for word in words)


def student_of(process: psutil.Process) -> str:
    """Return whose server or kernel it is; "" for the hub and the proxy."""
    try:
        return process.environ().get("JUPYTERHUB_USER", "")
    except (psutil.Error, OSError):
        return ""


def cpu_seconds(processes: Iterable[psutil.Process]) -> float:
    """Return the processor time that processes have taken so far."""
    total = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
    return total


def of_cuda(pid: int) -> float:
    """Return the private MB of a process that lie in libraries for NVIDIA's cards.

    A library's zeroed data is an anonymous mapping that begins where its file's ends.
    """
    mapping = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ \d+\s*(.*)$")
    total, counts, end = 0.0, False, ""
    for line in Path(f"/proc/{pid}/smaps").read_text(encoding="utf-8").splitlines():
        if found := mapping.match(line):
            if found[3]:
                counts = bool(re.search(r"cuda|/nvidia/|triton", found[3]))
            else:
                counts = counts and found[1] == end
            end = found[2]
        elif counts and line.startswith(("Private_Dirty:", "Private_Clean:")):
            total += int(line.split()[1]) / 1024
    return total
