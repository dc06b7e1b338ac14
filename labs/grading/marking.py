"""One student's marks: a scorer is started, it starts a worker, and what it says is the mark."""

import multiprocessing
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from labs.grading.fence import Fence, Run
from labs.grading.lab import Lab
from labs.grading.scorer import PATIENCE, START, Failure, Start, score
from labs.grading.submission import Cell, to_run

BESIDE = 64 << 20  # bytes of files beside a lab's notebook
LONGEST_RUN, LONGEST_LOG = 16 << 20, 1 << 20  # bytes


class NoMark(Exception):
    """Something broke that is not the student's fault, so that there is no mark; says what."""


@dataclass
class Score:
    """What scoring one submission gave.

    Attributes:
        points: of each test cell, in the notebook's order.
        failures: of each test cell that failed.
        troubles: cells of the student's that raised or hung, in words.
        left_out: lines of the student's own cells that did not run.
        whole: whether all lines of the student's own cells ran.
    """

    points: dict[str, float] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    whole: bool = False

    @property
    def total(self) -> float:
        """The sum of all points."""
        return sum(self.points.values())


@dataclass
class Execution:
    """A notebook that ran from top to bottom (no bytes if it broke), and why not."""

    notebook: bytes = b""
    trouble: str = ""


class Marker:
    """Marks submissions of one lab; its methods may be called in several threads at once."""

    def __init__(
        self,
        lab: Lab,
        *,
        fence: Fence | None = None,
        seconds: float = 20,
        start: Start | None = None,
    ) -> None:
        """Prepare to mark.

        Args:
            lab: what is marked.
            fence: for students' code; without one, a fence with the limits of ``Limits``.
            seconds: limit of each call of a student's function.
            start: starts a worker in another way than behind the fence.
        """
        self.lab, self.seconds = lab, seconds
        self.fence = replace(fence or Fence(), files=beside(lab.path.parent))
        self._start = start or partial(_worker, self.fence)

    def score(self, handed_in: list[Cell]) -> Score:
        """Score one submission, with whole cells if it fails and something was left out.

        Raises:
            NoMark: the marking itself broke.
        """
        found = self._score(handed_in, whole=False)
        if found.failures and found.left_out:
            again = self._score(handed_in, whole=True)
            if again.total > found.total:
                return again
        return found

    def _score(self, handed_in: list[Cell], whole: bool) -> Score:
        lab = self.lab
        job = {
            "setup": lab.setup,
            "cells": to_run(lab, handed_in),
            "functions": sorted(lab.functions),
            "answers": sorted(lab.answers),
            "wanted": sorted(lab.functions | lab.answers),
            "tests": [
                {"source": c.source} | ({"name": c.name} if c.test else {}) for c in lab.script
            ],
            "seconds": self.seconds,
            "whole": whole,
        }
        worth = {cell.name: float(cell.points) for cell in lab.tests}
        found = Score(points=dict.fromkeys(worth, 0.0), whole=whole)
        with _scorer(self._start, lab.path.parent, job) as told:
            until = time.monotonic() + (PATIENCE + 5) * self.seconds + 2 * START
            while (said := _next(told, until))[0]:
                name, failure = said
                if failure is None:
                    found.points[name] = worth[name]
                else:
                    found.failures[name] = failure
        _, found.troubles, found.left_out = said
        return found

    def execute(self, notebook: str, seconds: float, cell_seconds: int) -> Execution:
        """Run a notebook from top to bottom behind the fence.

        Args:
            notebook: its JSON; it holds no hidden test, since the student's code can read it.
            seconds: limit of the whole run.
            cell_seconds: limit of each cell, after which the next one runs.
        """
        words = ["--to notebook --execute --allow-errors --stdin --output executed"]
        for name, value in (
            ("timeout", cell_seconds),
            ("startup_timeout", 120),
            ("interrupt_on_timeout", True),
        ):
            words.append(f"--ExecutePreprocessor.{name}={value}")
        line = f"python -m nbconvert {' '.join(words)} >&2 && exec cat executed.ipynb"
        # Files without a name; the fence's limit of a file's size holds for them, too.
        with TemporaryFile() as given, TemporaryFile() as executed, TemporaryFile() as log:
            given.write(notebook.encode())
            given.seek(0)
            run = self.fence.start(["sh", "-c", line], stdin=given, stdout=executed, stderr=log)
            try:
                code = run.process.wait(seconds)
            except subprocess.TimeoutExpired:
                return Execution(trouble=f"the notebook run was stopped after {seconds:g} s")
            finally:
                why = run.end()
            if code:
                log.seek(0)
                why = why or _why(log.read(LONGEST_LOG).decode(errors="replace"))
                return Execution(trouble=f"the notebook run broke: {why}")
            executed.seek(0)
            return Execution(executed.read(LONGEST_RUN))


def beside(folder: Path) -> dict[str, bytes]:
    """Return what lies beside a lab's notebook: photographs and the like."""
    paths = [p for p in sorted(folder.iterdir()) if p.is_file() and not p.name.startswith(".")]
    paths = [p for p in paths if p.suffix != ".ipynb"]
    if sum(path.stat().st_size for path in paths) > BESIDE:
        raise NoMark(f"{folder} holds more than {BESIDE >> 20} MB of files beside its notebook.")
    return {path.name: path.read_bytes() for path in paths}


def _worker(fence: Fence, pipe: Connection) -> Run:
    return fence.start(["python", "-m", "labs.grading.worker", str(pipe.fileno())], pipe.fileno())


@contextmanager
def _scorer(start: Start, folder: Path, job: dict[str, Any]) -> Iterator[Any]:
    """Start a scorer, a fork of a process in which torch and the course are imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torchvision", "vizhelpers.exercises", "labs.grading.scorer"])
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=score, args=(theirs, start, folder, job), daemon=True)
    with _starting:  # one at a time: a fork server is started by the first
        process.start()
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        process.join(5)  # until it has ended its worker
        process.kill()
        process.join()


_starting = threading.Lock()


def _next(told: Any, until: float) -> Any:
    if not told.poll(max(0, until - time.monotonic())):
        raise NoMark("the marking took too long")
    try:
        said = told.recv()
    except EOFError:
        raise NoMark("the process that scores ended") from None
    if isinstance(said, str):
        raise NoMark(said)
    return said


def _why(log: str) -> str:
    """Return the line of a log that says most: the last that names an error."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Killed)\b", line)]
    return [*lines[-1:], *named][-1] if lines else "it said nothing"
