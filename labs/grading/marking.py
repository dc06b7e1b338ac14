"""One student's marks: a scorer is started, it starts a worker, and what it says is the mark."""

import multiprocessing
import re
import subprocess
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from labs.fence.bubblewrap import Fence, Run
from labs.grading.lab import CannotStart, Cell, Lab, NoMark
from labs.grading.scorer import PATIENCE, START, Failure, Start, score
from labs.grading.submission import to_run

BESIDE = 64 << 20  # bytes of files beside a lab's notebook
LONGEST_RUN, LONGEST_LOG = 16 << 20, 1 << 20  # bytes


class NoRun(Exception):
    """A notebook did not run to its end, so that there are no outputs to show; says why."""


@dataclass
class Score:
    """What scoring one submission gave; names of test cells are keys, in the notebook's order."""

    points: dict[str, float] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)  # cells of the student's that raised or hung
    left_out: list[str] = field(default_factory=list)  # lines of the student's that did not run
    whole: bool = False  # whether all lines of the student's own cells ran

    @property
    def total(self) -> float:
        """The sum of all points."""
        return sum(self.points.values())


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
        """Prepare to mark a lab; each call of a student's function may take some seconds.

        ``start`` starts a worker in another way than behind the fence.
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
            "wanted": sorted(lab.functions | lab.answers),
            "whole": whole,
            "seconds": self.seconds,
        }
        patience = int((PATIENCE + 5) * self.seconds + 2 * START)
        found, troubles, left_out = _scored(patience, self._start, lab, job)
        points = {c.name: float(c.points) if found[c.name] is None else 0.0 for c in lab.tests}
        failures = {name: failure for name, failure in found.items() if failure}
        return Score(points, failures, troubles, left_out, whole)

    def execute(self, notebook: str, seconds: float) -> bytes:
        """Run a notebook from top to bottom behind the fence; return it with its outputs.

        A cell that takes a third of the time is interrupted, and the next one runs.

        Args:
            notebook: its JSON; it holds no hidden test, since the student's code can read it.
            seconds: limit of the whole run.

        Raises:
            NoRun: it took too long, or broke.
        """
        settings = (
            f"timeout={max(1, int(seconds / 3))} startup_timeout=120 interrupt_on_timeout=True"
        )
        options = " ".join(f"--ExecutePreprocessor.{one}" for one in settings.split())
        run = f"python -m nbconvert --to notebook --execute --allow-errors --stdin {options}"
        line = f"{run} --output executed >&2 && exec cat executed.ipynb"
        # Files without a name; the fence's limit of a file's size holds for them, too.
        with TemporaryFile() as given, TemporaryFile() as executed, TemporaryFile() as log:
            given.write(notebook.encode())
            given.seek(0)
            run = self.fence.start(["sh", "-c", line], stdin=given, stdout=executed, stderr=log)
            try:
                code = run.process.wait(seconds)
            except subprocess.TimeoutExpired:
                raise NoRun(f"the notebook run was stopped after {seconds:g} s") from None
            finally:
                why = run.end()
            if code:
                log.seek(0)
                why = why or _why(log.read(LONGEST_LOG).decode(errors="replace"))
                raise NoRun(f"the notebook run broke: {why}")
            executed.seek(0)
            return executed.read(LONGEST_RUN)


def beside(folder: Path) -> dict[str, bytes]:
    """Return what lies beside a lab's notebook: photographs and the like."""
    paths = [p for p in sorted(folder.iterdir()) if p.is_file() and not p.name.startswith(".")]
    paths = [p for p in paths if p.suffix != ".ipynb"]
    if sum(path.stat().st_size for path in paths) > BESIDE:
        raise CannotStart(f"{folder} holds more than {BESIDE >> 20} MB beside its notebook.")
    return {path.name: path.read_bytes() for path in paths}


def _worker(fence: Fence, pipe: Connection) -> Run:
    number = pipe.fileno()
    return fence.start(["python", "-m", "labs.grading.worker", str(number)], [number])


def _scored(seconds: int, start: Start, lab: Lab, job: dict[str, Any]) -> tuple:
    """Return what a scorer says: a fork of a process in which torch and the course are imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torchvision", "vizhelpers.exercises", "labs.grading.scorer"])
    with ProcessPoolExecutor(1, context) as process:
        try:
            return process.submit(score, seconds, start, lab, job).result()
        except BrokenProcessPool:
            raise NoMark("the process that scores ended, or took too long") from None


def _why(log: str) -> str:
    """Return the line of a log that says most: the last that names an error."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Killed)\b", line)]
    return [*lines[-1:], *named][-1] if lines else "it said nothing"
