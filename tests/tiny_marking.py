"""Fixtures that mark the tiny lab: one zygote and one fence for all tests of a process."""

from collections.abc import Iterator

import pytest
import tiny_lab

from labs.grading.fence import Limits
from labs.grading.lab import Lab
from labs.grading.marking import Marker
from labs.grading.rerun import PRELOAD
from labs.grading.zygote import Zygote


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    course = tmp_path_factory.mktemp("course")
    (course / "gradebook.db").write_text(tiny_lab.SECRET)
    return Lab.read(tiny_lab.write_source(course))


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    with Zygote.start(tmp_path_factory.mktemp("home"), PRELOAD) as zygote:
        yield zygote


@pytest.fixture(scope="session")
def by(lab: Lab, base: Zygote) -> Iterator[Marker]:
    limits = Limits(memory=500 << 20, processes=24, file_size=8 << 20, disk=16 << 20)
    with Marker(lab, base=base, seconds=1, limits=limits) as marker:
        yield marker


@pytest.fixture
def fenced(by: Marker) -> None:
    """For what only a whole fence can hold."""
    if not by.means.namespaces:
        pytest.skip(f"no namespaces on this machine: {by.means.missing}")
