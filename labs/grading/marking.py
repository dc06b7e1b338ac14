"""One student's marks: a scorer and a worker are started, and what the scorer says is the mark."""

import contextlib
import os
import re
import shutil
import socket
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labs.grading import mounts
from labs.grading.fence import Limits
from labs.grading.frames import Broken, TooLate, receive, send
from labs.grading.lab import Lab
from labs.grading.means import Means
from labs.grading.scorer import PATIENCE
from labs.grading.submission import Cell, to_run
from labs.grading.zygote import ROOT, Zygote


class NoMark(Exception):
    """Something broke that is not the student's fault, so that there is no mark; says what."""


@dataclass
class Score:
    """What scoring one submission gave.

    Attributes:
        points: of each test cell, in the notebook's order.
        failures: of each test cell that failed: the kind of error, its words, the line of the test.
        troubles: cells of the student's that raised or hung, in words.
    """

    points: dict[str, float] = field(default_factory=dict)
    failures: dict[str, list[str]] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)

    @property
    def total(self) -> float:
        """The sum of all points."""
        return sum(self.points.values())


@dataclass
class Rerun:
    """What nbgrader's own run gave: the notebook's bytes (none if it broke), and why not."""

    notebook: bytes = b""
    trouble: str = ""


class Marker:
    """Marks submissions of one lab, one at a time. A context: it ends all processes on exit."""

    def __init__(
        self,
        lab: Lab,
        *,
        base: Zygote | None = None,
        preload: tuple[str, ...] = (),
        seconds: float = 20,
        limits: Limits | None = None,
        hide: tuple[Path, ...] = (),
    ) -> None:
        """Prepare to mark.

        Args:
            lab: what is marked.
            base: a zygote to fork from, which goes on afterwards; without one, one is started.
            preload: modules that this one imports first: ``rerun.PRELOAD`` if there will be reruns.
            seconds: limit of each call of a student's function.
            limits: of memory, processes, files.
            hide: folders that no student's process may see.
        """
        self.lab, self.seconds, self.limits = lab, seconds, limits or Limits()
        self.hide = [str(path) for path in (*hide, ROOT / "labs", lab.path.parent)]
        self._given, self._preload = base, preload

    def __enter__(self) -> "Marker":
        """Start the first process, which runs the lab's setup once for all students."""
        with contextlib.ExitStack() as stack:
            made = tempfile.TemporaryDirectory(prefix="labs-grade-", ignore_cleanup_errors=True)
            self.folder = Path(stack.enter_context(made))
            self.folder.chmod(0o711)
            (self.folder / "root").mkdir(mode=0o700)
            beside = shutil.ignore_patterns("*.ipynb", ".*")  # photographs and the like
            shutil.copytree(self.lab.path.parent, self.folder / "home", ignore=beside)
            self._base = self._given or stack.enter_context(
                Zygote.start(self.folder / "home", self._preload)
            )
            self.means: Means = self._base.means
            self._lab = stack.enter_context(self._base.lab(self.lab.setup, self.folder / "home"))
            self._open = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        """End all processes, remove all files."""
        self._open.close()

    def score(self, handed_in: list[Cell]) -> Score:
        """Score one submission.

        Raises:
            NoMark: the marking itself broke.
        """
        lab = self.lab
        found = Score(points={cell.name: 0.0 for cell in lab.tests})
        tests = [{"source": c.source} | ({"name": c.name} if c.test else {}) for c in lab.script]
        with self._plan() as plan, self._process(self._lab, "scorer", {}) as pipe:
            job = {
                "plan": plan,
                "cells": to_run(lab, handed_in),
                "functions": sorted(lab.functions),
                "answers": sorted(lab.answers),
                "wanted": sorted(lab.functions | lab.answers),
                "tests": tests,
                "seconds": self.seconds,
            }
            send(pipe, job)
            until = time.monotonic() + (PATIENCE + 5) * self.seconds + 60
            while not (told := self._next(pipe, until)).get("end"):
                if told["failure"] is None:
                    found.points[told["cell"]] = self._worth(told["cell"])
                else:
                    found.failures[told["cell"]] = told["failure"]
            found.troubles = [words for _, words in told["troubles"]]
        return found

    def _worth(self, name: str) -> float:
        return next(float(cell.points) for cell in self.lab.tests if cell.name == name)

    def _next(self, pipe: socket.socket, until: float) -> dict[str, Any]:
        told = receive(pipe, max(0, until - time.monotonic()))[0]
        if "unfair" in told:
            raise NoMark(told["unfair"])
        return told

    def rerun(self, course: Path, seconds: float, cell_seconds: int) -> Rerun:
        """Let nbgrader run the notebook from top to bottom, fenced.

        Args:
            course: a throw-away nbgrader course with one submission, of ``rerun.STUDENT``.
            seconds: limit of the whole run.
            cell_seconds: limit of each cell, after which the next one runs.
        """
        with self._plan(course) as plan:
            plan |= {"seconds": seconds, "cell_seconds": cell_seconds, "lab": self.lab.name}
            plan["work"] = mounts.COURSE if self.means.namespaces else str(course)
            with self._process(self._base, "rerun", plan) as pipe:
                try:
                    told, notebook = receive(pipe, seconds + 30)
                except (Broken, TooLate) as e:
                    return Rerun(trouble=f"the notebook run broke: {e or 'it took too long'}")
        if told.get("code") is None:
            return Rerun(trouble=f"the notebook run was stopped after {seconds:g} s")
        if not notebook:
            return Rerun(trouble=f"the notebook run broke: {_why(str(told.get('log')))}")
        return Rerun(notebook)

    @contextlib.contextmanager
    def _process(self, parent: Zygote, role: str, plan: dict) -> Iterator[socket.socket]:
        try:
            process, pipe = parent.spawn(role, plan)
            try:
                yield pipe
            finally:
                pipe.close()
                parent.stop(process)
        except (Broken, TooLate, RuntimeError) as e:
            raise NoMark(f"{e}" or "the marking took too long") from e

    @contextlib.contextmanager
    def _plan(self, course: Path | None = None) -> Iterator[dict[str, Any]]:
        """Yield what the fence of one student is built from; without namespaces, with a folder."""
        with tempfile.TemporaryDirectory(dir=self.folder) as room:
            plan = {
                "limits": self.limits.plan(),
                "loopback": course is not None,
                "show": python_folders(),
                "hide": self.hide,
                "root": str(self.folder / "root"),
                "home": str(self.folder / "home"),
                "course": str(course) if course else None,
                "room": room,
            }
            if not self.means.namespaces:
                shutil.copytree(self.folder / "home", room, dirs_exist_ok=True)
                for folder in (Path(room), *([course] if course else [])):
                    for path in (folder, *folder.rglob("*")):
                        os.chown(path, -1 if self.means.user is None else self.means.user, -1)
            yield plan


def _why(log: str) -> str:
    """Return the line of nbgrader's log that says most: the last that names an error."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Killed)\b", line)]
    return [*lines[-1:], *named][-1] if lines else "it said nothing"


def python_folders() -> list[str]:
    """Return the folders that Python needs, this one and the one that it was installed from."""
    places = {sys.prefix, sys.base_prefix, sys.exec_prefix, *sysconfig.get_paths().values()}
    places |= {str(ROOT / "vizhelpers")}
    return sorted(places | {os.path.realpath(place) for place in places})
