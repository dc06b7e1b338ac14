"""The tables of a measured class, and of the plan for a larger one.

The plan takes costs as additive. Memory: each student adds private pages; pages that several share
are paid once. Processor: each student needs so many seconds for the start and for each notebook's
cells; cores are these seconds divided by the time allowed.
"""

import itertools
import math
from collections.abc import Sequence
from statistics import mean

from benchmarks.hub.classroom import Step

STUDENTS = 300
# What the plan assumes; a teacher may assume otherwise.
EARLY = 600  # seconds before the lesson in which all servers and kernels are started
COLD = 120  # seconds in which a class that starts nothing in advance wants to be ready
BURST = 4  # students read, then many run the same cells: this many times the mean
ROOM = 1.25  # for the operating system, its cache of files, and what students load themselves
SERVER_MEMORY, SERVER_CORES = 32, 8  # steps in which servers are sold: GB, cores


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _spread(values: Sequence[float]) -> str:
    """Return the smallest values that 50 and 95 of 100 do not exceed."""
    ordered = sorted(values)
    chosen = (ordered[math.ceil(part * len(ordered)) - 1] for part in (0.5, 0.95))
    return " / ".join(map(_number, chosen))


def _table(*rows: Sequence[str]) -> str:
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cpu(steps: Sequence[Step]) -> list[float]:
    """Return the processor seconds of a student in each step alone."""
    totals = [0.0, *(mean(step.cpu) for step in steps)]
    return [later - earlier for earlier, later in itertools.pairwise(totals)]


def class_table(steps: Sequence[Step]) -> str:
    """Return one row for the start and one for each notebook."""
    students = len(steps[0].waited)
    head = [f"{students} students at once", "page or first picture, s", "cells", "cell, s"]
    head += ["CPU seconds a student", "MB a student", "of them private"]
    rows = []
    for step, cpu in zip(steps, _cpu(steps), strict=True):
        times = [_spread(step.waited), str(len(step.cells) // students), _spread(step.cells)]
        sizes = [_number(size / students) if size else "" for size in (step.pss, step.private)]
        rows.append([step.name, *times, _number(cpu), *sizes])
    return _table(head, *rows)


def plan_table(steps: Sequence[Step], students: int = STUDENTS) -> str:
    """Return what ``students`` need, each number with its origin."""
    largest = max(steps, key=lambda step: step.private)
    private = largest.private / len(largest.waited)
    shared = largest.pss - largest.private + largest.hub
    memory = (students * private + shared) / 1024
    start, *work = _cpu(steps)
    pairs = zip(steps[1:], work, strict=True)
    step, cpu = max(pairs, key=lambda pair: pair[1] / pair[0].minutes)
    early, reading = students * start / EARLY, students * cpu / step.minutes / 60
    cores = SERVER_CORES * math.ceil(max(early, BURST * reading) / SERVER_CORES)
    size = SERVER_MEMORY * math.ceil(ROOM * memory / SERVER_MEMORY)

    def times(cpu: float, rest: str) -> str:
        return f"{students} x {_number(cpu)} CPU seconds {rest}"

    once = f"{students} x {_number(private)} MB private, {_number(shared)} MB once (shared, hub)"
    run_all = f"{_number(students * work[0] / cores)} s"
    of_busiest = f"of {step.name} in {step.minutes} minutes"
    of_first = f"of {steps[1].name} on these cores"
    return _table(
        [f"{students} students", "", "from"],
        ["memory", f"{_number(memory)} GB", once],
        ["memory with room", f"{_number(ROOM * memory)} GB", f"x {ROOM}"],
        ["cores to start all in advance", _number(early), times(start, f"in {EARLY} s")],
        ["cores to start all at once", _number(students * start / COLD), f"the same in {COLD} s"],
        ["cores while a notebook is read", _number(reading), times(cpu, of_busiest)],
        ["the same with bursts", _number(BURST * reading), f"x {BURST}"],
        ["order", f"{cores} cores, {size} GB", "if all is started in advance; rounded up"],
        ["if all press *Run All* at once", run_all, times(work[0], of_first)],
    )
