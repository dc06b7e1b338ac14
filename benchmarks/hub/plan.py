"""What a larger class needs, computed from the measurement: no number here is one of a machine.

The arithmetic is that of additive costs. Memory: each student adds what is private to him; pages
that all share are paid once. Processor: each student needs so many processor seconds for his server
and imports, and so many for a notebook's cells; cores are seconds divided by the time allowed.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.hub.classroom import percentile

STUDENTS = 300
# What the plan assumes, and a teacher may assume otherwise.
EARLY = 600  # seconds before the bell in which everything is started in advance
COLD = 120  # seconds in which a class that starts nothing in advance wants to be ready
BURST = 4  # students read, then many run the same cells: this many times the mean
ROOM = 1.25  # for the operating system, its cache of files, and what students load themselves
SERVER_MEMORY, SERVER_CORES = 32, 8  # steps in which servers are sold: GB, cores

Data = Mapping[str, Any]


@dataclass(frozen=True)
class PerStudent:
    """What one student of a class adds.

    Attributes:
        memory: private MB, of the server and of the open notebook's kernel, at the worst notebook.
        server: the server's part of it.
        shared: MB that all together have once.
        start: processor seconds until everything is open and imported.
        work: processor seconds for the cells, by notebook.
    """

    memory: float
    server: float
    shared: float
    start: float
    work: tuple[float, ...]


def per_student(one: Data) -> PerStudent:
    """Return what a student adds in a measured class.

    Where all was started at the bell, the start and the first notebook's cells were computed
    together; then both are in ``work``, and ``start`` is 0.
    """
    students = one["students"]

    def both(moment: Data, what: str) -> float:
        return moment["servers"][what] + moment["kernels"][what]

    moments = one["moments"]
    worst = max(moments, key=lambda moment: both(moment, "private"))
    points = [one["before"], *(moment["students_cpu"] for moment in moments)]
    work = [later - earlier for earlier, later in itertools.pairwise(points)]
    return PerStudent(
        both(worst, "private") / students,
        worst["servers"]["private"] / students,
        both(worst, "pss") - both(worst, "private"),
        one["before"] / students,
        tuple(seconds / students for seconds in work),
    )


def seen(one: Data) -> dict[str, float]:
    """Return what the students of a class saw, in seconds, and the number of errors."""
    seats = one["seats"]
    cells = [took for seat in seats for took in seat["cells"]]
    first = [seat["first_picture"][0] for seat in seats if seat["first_picture"]]
    spawn = [seat["spawn"] for seat in seats]
    return {
        "spawn_50": percentile(spawn, 50),
        "spawn_95": percentile(spawn, 95),
        "picture_50": percentile(first, 50),
        "picture_95": percentile(first, 95),
        "cell_50": percentile(cells, 50),
        "cell_95": percentile(cells, 95),
        "cells": len(cells),
        "errors": sum(len(seat["errors"]) for seat in seats),
    }


def memory_of(one: PerStudent, hub: float, students: int, saved: float = 0.0) -> float:
    """Return GB for a class; ``saved`` MB less for each student."""
    return (one.shared + students * (one.memory - saved) + hub) / 1024


@dataclass(frozen=True)
class Plan:
    """What a class of ``students`` needs; all from one measurement.

    Attributes:
        memory: GB that students and hub hold.
        with_room: the same with room for the system.
        early: cores that start everything in the ten minutes before the bell.
        cold: cores that start everything within two minutes of the bell.
        reading: cores, on average, while a notebook is read at the pace that README says.
        busy: the same, with bursts.
        cores: what to take, when everything is started in advance.
        first_notebook: seconds in which these cores do the first notebook's cells of all, if all
            press "Run All" at once.
        server: the cores and GB to order.
    """

    students: int
    memory: float
    with_room: float
    early: float
    cold: float
    reading: float
    busy: float
    cores: int
    first_notebook: float
    server: tuple[int, int]


def planned(data: Data, students: int = STUDENTS) -> Plan:
    """Compute the plan from a measurement's JSON."""
    course = per_student(data["classes"]["course"])
    ahead = per_student(data["classes"]["in advance"])
    hub = data["classes"]["course"]["moments"][-1]["hub"]["pss"]
    memory = memory_of(course, hub, students)
    # The later notebooks' kernels are started while the class goes on: that is in their work.
    minutes = data["classes"]["course"]["minutes"]
    work = (ahead.work[0], *course.work[1:])
    rates = [seconds / (60 * long) for seconds, long in zip(work, minutes, strict=True)]
    reading = students * max(rates)
    early, cold = students * ahead.start / EARLY, students * ahead.start / COLD
    cores = math.ceil(max(early, BURST * reading))
    order = (
        SERVER_CORES * math.ceil(cores / SERVER_CORES),
        SERVER_MEMORY * math.ceil(memory * ROOM / SERVER_MEMORY),
    )
    return Plan(
        students,
        memory,
        memory * ROOM,
        early,
        cold,
        reading,
        BURST * reading,
        cores,
        students * ahead.work[0] / order[0],
        order,
    )


def alternatives(data: Data, students: int = STUDENTS) -> dict[str, float]:
    """Return GB for a class, by how it is run."""
    classes = data["classes"]
    hub = classes["course"]["moments"][-1]["hub"]["pss"]
    course = per_student(classes["course"])
    kernel = course.memory - course.server
    forked = data["forked"]
    return {
        "the course's notebooks, with the course's settings": memory_of(course, hub, students),
        "the same, with the CPU build of torch": memory_of(
            course, hub, students, saved=data["kernels"]["cuda"]
        ),
        "the first notebook, JupyterHub as installed": memory_of(
            per_student(classes["as installed"]), hub, students
        ),
        "the document's code": memory_of(per_student(classes["document"]), hub, students),
        "the same pictures by vizhelpers": memory_of(
            per_student(classes["vizhelpers"]), hub, students
        ),
        "if kernels were forked from one that has imported all (an experiment)": memory_of(
            course, hub + forked["parent"], students, saved=kernel - forked["private"]
        ),
    }
