"""One class at a real hub: all press the button at the same moment, and run the same notebooks."""

import asyncio
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.hub import lessons, memory
from benchmarks.hub.lessons import Lesson, Notebook
from labs.hub.client import Browser, Kernel, Outcome
from labs.hub.run import CONFIG, LOOPBACK, LocalHub

LONGEST = 600  # seconds that a class may take; it is ended then

# JupyterHub as it is installed: its own command, no course's settings, all that is installed for
# the students. What only developers of this project have is left out.
STOCK = """
load_subconfig({config!r})
c.Spawner.cmd = [{python!r}, "-m", "jupyterhub.singleuser"]
c.Spawner.mem_limit = None
c.Spawner.environment = {{"JUPYTER_CONFIG_PATH": {settings!r}}}
"""
NOT_STUDENTS = """{"ServerApp": {"jpserver_extensions": {
    "jupyterlab_jupytext": false,
    "nbgrader.server_extensions.assignment_list": false,
    "nbgrader.server_extensions.course_list": false,
    "nbgrader.server_extensions.formgrader": false,
    "nbgrader.server_extensions.validate_assignment": false}}}
"""


@dataclass
class Seat:
    """What one student saw.

    Attributes:
        spawn: seconds from the bell until JupyterLab's page came.
        first_picture: seconds from the bell to the first picture, by notebook.
        finished: seconds from the bell to the end of the last cell, by notebook.
        cells: seconds of every cell.
        errors: what went wrong.
    """

    spawn: float = 0.0
    first_picture: list[float] = field(default_factory=list)
    finished: list[float] = field(default_factory=list)
    cells: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@dataclass
class Moment:
    """What all students together held, and had computed, when a notebook was done."""

    servers: memory.Held
    kernels: memory.Held
    kernel_count: int
    students_cpu: float
    hub_cpu: float
    hub: memory.Held


@dataclass
class Measured:
    """A class.

    Attributes:
        name: of the class.
        students: how many.
        at_once: whether they pressed the button at the bell; otherwise all was started before.
        notebooks: what they ran.
        seats: what each saw.
        moments: after each notebook.
        before: what was computed before the bell, in processor seconds of students.
        seconds: how long it all took.
    """

    name: str
    students: int
    at_once: bool
    notebooks: list[str]
    minutes: list[int]
    cell_counts: list[int]
    seats: list[Seat]
    moments: list[Moment]
    before: float
    seconds: float

    def errors(self) -> list[str]:
        """Return everything that went wrong."""
        return [error for seat in self.seats for error in seat.errors]


def percentile(values: Sequence[float], part: int) -> float:
    """Return the value that ``part`` of a hundred stay below."""
    if len(values) < 2:
        return values[0] if values else 0.0
    return statistics.quantiles(values, n=100, method="inclusive")[part - 1]


def stock_config(state: Path) -> Path:
    """Write the configuration of a hub without the course's settings."""
    settings = state / "stock"
    settings.mkdir(parents=True, exist_ok=True)
    (settings / "jupyter_server_config.json").write_text(NOT_STUDENTS, encoding="utf-8")
    config = settings / "jupyterhub_config.py"
    words = {"config": str(CONFIG), "settings": str(settings), "python": sys.executable}
    config.write_text(STOCK.format(**words), encoding="utf-8")
    return config


def hold(
    lesson: Lesson,
    students: int,
    state: Path,
    *,
    name: str = "",
    at_once: bool = True,
    stock: bool = False,
) -> Measured:
    """Hold one class, with a hub of its own, and stop everything.

    Args:
        lesson: what is run.
        students: how many.
        state: an empty folder for the hub.
        name: of the class; the lesson's without it.
        at_once: press the button at the bell; otherwise servers, kernels and imports are ready.
        stock: without the course's settings.
    """
    names = [f"student{number:03}" for number in range(1, students + 1)]
    lesson.write(state / "material")
    if stock:  # its servers copy nothing
        for one in names:
            lesson.write(state / "home" / one / "course")
    config = stock_config(state) if stock else CONFIG
    start = time.monotonic()
    with LocalHub(state, names, config=config) as hub:
        running = _Class(hub, lesson, at_once)
        try:
            seats, moments, before = asyncio.run(running.whole(names))
        finally:
            (state / "driver.log").write_text(hub.log("hub"), encoding="utf-8")
    return Measured(
        name or lesson.name,
        students,
        at_once,
        [notebook.path for notebook in lesson.notebooks],
        [notebook.minutes for notebook in lesson.notebooks],
        [len(notebook.cells) for notebook in lesson.notebooks],
        seats,
        moments,
        before,
        time.monotonic() - start,
    )


@contextmanager
def noted(seat: Seat, what: str) -> Iterator[None]:
    """Write an error down: the class goes on without this student."""
    try:
        yield
    except Exception as error:
        seat.errors.append(f"{what}: {type(error).__name__} {error}")


class _Class:
    """The students of one class, and the teacher who measures between two notebooks."""

    def __init__(self, hub: LocalHub, lesson: Lesson, at_once: bool) -> None:
        self.hub, self.lesson, self.at_once = hub, lesson, at_once
        # The address of this hub, which all its processes and all students' have as a variable.
        self.mark = f"{LOOPBACK}:{hub.hub_port}"
        self.bell = 0.0

    async def whole(self, names: Sequence[str]) -> tuple[list[Seat], list[Moment], float]:
        self.ready = asyncio.Barrier(len(names) + 1)
        async with asyncio.timeout(LONGEST), asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.student(name, Seat())) for name in names]
            await self.ready.wait()  # all are logged in, or have everything open
            before = self.moment().students_cpu
            self.bell = time.monotonic()
            await self.ready.wait()
            moments = []
            for _ in self.lesson.notebooks:
                await self.ready.wait()
                moments.append(self.moment())
                self.bell = time.monotonic()
                await self.ready.wait()
        return [task.result() for task in tasks], moments, before

    async def student(self, name: str, seat: Seat) -> Seat:
        async with Browser(self.hub.address, name) as browser:
            await browser.log_in(self.hub.password)
            first = None if self.at_once else await self.early(browser)
            await self.ready.wait()
            await self.ready.wait()  # the bell
            if self.at_once:
                with noted(seat, "spawn"):
                    await browser.start_server()
                seat.spawn = time.monotonic() - self.bell
            for notebook in self.lesson.notebooks:
                with noted(seat, notebook.path):
                    await self.work(browser, notebook, seat, first)
                first = None
                await self.ready.wait()  # the teacher measures
                await self.ready.wait()
                with noted(seat, notebook.path):
                    # As JupyterLab does here when a notebook's tab is closed.
                    await browser.close_notebook(f"course/{notebook.path}")
        return seat

    async def early(self, browser: Browser) -> Kernel:
        """Start what ``labs.hub.before_class`` starts."""
        await browser.start_server()
        kernel = await browser.open_notebook(f"course/{self.lesson.notebooks[0].path}")
        await kernel.run(lessons.IMPORTS)
        return kernel

    async def work(
        self, browser: Browser, notebook: Notebook, seat: Seat, kernel: Kernel | None
    ) -> None:
        """Open a notebook, run its cells one by one, and save it."""
        path = f"course/{notebook.path}"
        kernel = kernel or await browser.open_notebook(path)
        seen: float | None = None
        for number, cell in enumerate(notebook.cells):
            done: Outcome = await kernel.run(cell, timeout=LONGEST)
            seat.cells.append(done.seconds)
            seen = seen or done.first_picture
            if done.error:
                seat.errors.append(f"{notebook.path}, cell {number}: {done.error}")
        seat.finished.append(time.monotonic() - self.bell)
        seat.first_picture.append((seen or time.monotonic()) - self.bell)
        if seen is None:
            seat.errors.append(f"{notebook.path} showed no picture")
        await browser.save(path, lessons.content(notebook))
        await kernel.close()

    def moment(self) -> Moment:
        """Look at all processes of this hub."""
        found = memory.marked(self.mark)
        students = [one for one in found if memory.student_of(one)]
        kernels = [one for one in students if memory.is_kernel(one)]
        servers = [one for one in students if one not in kernels]
        rest = [one for one in found if one not in students]
        return Moment(
            memory.together(one.pid for one in servers),
            memory.together(one.pid for one in kernels),
            len(kernels),
            memory.cpu_seconds(students),
            memory.cpu_seconds(rest),
            memory.together(one.pid for one in rest),
        )
