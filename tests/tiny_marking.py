"""Fixtures that mark the tiny lab, and a worker without a fence for marks that need none."""

import contextlib
import os
import signal
from dataclasses import dataclass
from multiprocessing.connection import Connection

import pytest
import tiny_lab

from labs.fence.bubblewrap import Fence, Limits
from labs.grading import worker
from labs.grading.lab import Lab
from labs.grading.marking import Marker


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    course = tmp_path_factory.mktemp("course")
    (course / "gradebook.db").write_text(tiny_lab.SECRET)
    return Lab.read(tiny_lab.write_source(course))


@pytest.fixture(scope="session")
def by(lab: Lab) -> Marker:
    """Return what marks the tiny lab behind the fence; where there is none, tests fail."""
    limits = Limits(memory=500 << 20, processes=24, file_size=8 << 20, disk=16 << 20)
    marker = Marker(lab, fence=Fence(limits), seconds=1)
    marker.fence.try_it()
    return marker


@dataclass
class Forked:
    """A worker that is a fork of the scorer: torch need not start again for each submission."""

    process: int

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process, signal.SIGKILL)

    def end(self) -> str:
        self.kill()
        os.waitpid(self.process, 0)
        return ""


def forked(pipe: Connection) -> Forked:
    """Start a worker without a fence: for submissions of our own, whose marks are in question."""
    process = os.fork()
    if not process:
        try:
            worker.work(pipe)
        finally:
            os._exit(0)
    return Forked(process)
