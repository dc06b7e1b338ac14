"""What may go wrong in a class, tried while the others work: nobody else notices, nothing is lost.

Each fault is tried on a hub with a few students. The bystanders run a short cell again and again,
count on one variable, and save; a cell that fails, a number that is lost, or a saved notebook that
is not on the disk is an error.
"""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import psutil

from benchmarks.hub import lessons
from benchmarks.hub.lessons import Notebook
from labs.hub.client import Browser, Kernel
from labs.hub.run import LocalHub

WORK = Notebook("work.ipynb", ("count = 0",))
PATH = f"course/{WORK.path}"
STUCK = 40  # seconds after which a student runs a cell again
FILL = """held = []
while True:
    held.append(bytearray(64 << 20))"""


@dataclass
class Fault:
    """What happened.

    Attributes:
        name: of the fault.
        victim: what the one saw whom it hit.
        cells: how many the bystanders ran meanwhile.
        slowest: seconds of the slowest of them.
        reconnected: how often a bystander's page had to open its connection again.
        errors: what a bystander noticed, or what was lost.
    """

    name: str
    victim: str = ""
    cells: int = 0
    slowest: float = 0.0
    reconnected: int = 0
    errors: list[str] = field(default_factory=list)


@dataclass
class Student:
    """One student with an open notebook."""

    browser: Browser
    kernel: Kernel
    home: Path
    count: int = 0
    saved: str = ""

    async def step(self, fault: Fault) -> None:
        """Run one cell; what it counts must follow from the last."""
        start = time.monotonic()
        try:
            done = await self.kernel.run("count += 1; print(count)", timeout=STUCK)
        except TimeoutError:  # its answer was under way when the proxy died
            done = await self.kernel.run("print(count)", timeout=STUCK)
        fault.slowest = max(fault.slowest, time.monotonic() - start)
        fault.cells += 1
        self.count += 1
        if done.error or done.text.strip() != str(self.count):
            fault.errors.append(f"{self.browser.name}: {self.count}, {done.text!r} {done.error}")

    async def save(self) -> None:
        """Save what was done so far."""
        self.saved = f"# {self.browser.name} at {self.count}"
        notebook = Notebook(WORK.path, (*WORK.cells, self.saved))
        await self.browser.save(PATH, lessons.content(notebook))

    def lost(self) -> str:
        """Return what is wrong with the saved notebook, or ""."""
        notebook = nbformat.read(self.home / PATH, as_version=4)
        found = notebook.cells[-1].source
        return "" if found == self.saved else f"{self.browser.name} saved {self.saved}, has {found}"


class Trial:
    """A hub, one student whom the faults hit, and bystanders."""

    def __init__(self, hub: LocalHub, students: list[Student]) -> None:
        """Take a class that works."""
        self.hub, self.victim, self.bystanders = hub, students[0], students[1:]

    async def try_out(self, name: str, strike: Callable[[], Awaitable[str]]) -> Fault:
        """Let all work while one thing goes wrong, and look at everybody afterwards."""
        fault, over = Fault(name), asyncio.Event()
        before = sum(one.kernel.reconnected for one in self.bystanders)
        everybody = [self.victim, *self.bystanders]
        for one in everybody:
            await one.save()

        async def work(one: Student) -> None:
            while not over.is_set():
                await one.step(fault)
                await asyncio.sleep(0.2)

        async with asyncio.TaskGroup() as group:
            for one in self.bystanders:
                group.create_task(work(one))
            await asyncio.sleep(0.5)
            fault.victim = await strike()
            await asyncio.sleep(0.5)
            over.set()
        fault.reconnected = sum(one.kernel.reconnected for one in self.bystanders) - before
        fault.errors += filter(None, (one.lost() for one in everybody))
        for one in self.bystanders:
            await one.save()  # still logged in
        fault.errors += filter(None, (one.lost() for one in everybody))
        return fault

    async def kernel_killed(self) -> str:
        """Kill the victim's kernel in the middle of a cell."""
        kernel = self.victim.kernel
        pid = int((await kernel.run("import os; print(os.getpid())")).text)
        cell = asyncio.create_task(kernel.run("import time; time.sleep(60)"))
        await asyncio.sleep(1)
        os.kill(pid, signal.SIGKILL)
        told = (await cell).error
        again = await self._works_again()
        return f"{told}; a new one after {again:.1f} s"

    async def memory_filled(self) -> str:
        """Let the victim ask for memory until there is no more for him."""
        told = (await self.victim.kernel.run(FILL, timeout=120)).error
        held = await self.victim.kernel.run("n = len(held) * 64; del held; print(n)")
        if "MemoryError" not in told or held.error:
            raise AssertionError(f"no limit: {told} {held.error}")
        return f"MemoryError at {held.text.strip()} MB; the kernel goes on"

    async def proxy_restarted(self) -> str:
        """Kill the proxy while a cell of the victim's runs, and start it two seconds later."""
        cell = asyncio.create_task(self.victim.kernel.run("import time; time.sleep(4); print(42)"))
        await asyncio.sleep(1)
        start = time.monotonic()
        self.hub.end("proxy", signal.SIGKILL)
        await asyncio.sleep(2)
        await asyncio.to_thread(self.hub.start_proxy)
        try:
            told = (await asyncio.wait_for(cell, 60)).text.strip()
        except TimeoutError:
            told = "nothing"
        if told != "42":
            raise AssertionError(f"the cell's answer was {told}")
        return f"the cell that ran was answered; back after {time.monotonic() - start:.1f} s"

    async def hub_restarted(self, how: int) -> str:
        """End the hub, work on without it for two seconds, and start it again."""
        start = time.monotonic()
        children = psutil.Process(self.hub.hub.pid).children() if self.hub.hub else []
        cullers = [one for one in children if "jupyterhub_idle_culler" in one.cmdline()]
        await asyncio.to_thread(self.hub.end, "hub", how)
        for one in cullers:  # a hub that is killed leaves it behind; systemd ends the whole unit
            if one.is_running():
                one.terminate()
        await self.victim.save()  # while there is no hub
        await asyncio.sleep(2)
        await asyncio.to_thread(self.hub.start_hub)
        took = time.monotonic() - start
        await self.victim.browser.start_server()  # a page that is opened anew: it is still there
        count = (await self.victim.kernel.run("print(count)")).text.strip()
        if count != "0":
            raise AssertionError("the victim's kernel was lost")
        return f"away for {took:.1f} s; servers and kernels went on"

    async def _works_again(self) -> float:
        start = time.monotonic()
        async with asyncio.timeout(60):
            while (await self.victim.kernel.run("count = 0; print(1)")).text.strip() != "1":
                await asyncio.sleep(0.2)
        return time.monotonic() - start


async def _all(hub: LocalHub) -> list[Fault]:
    students = []
    try:
        for name in hub.students:
            browser = await Browser(hub.address, name).__aenter__()
            await browser.log_in(hub.password)
            await browser.start_server()
            kernel = await browser.open_notebook(PATH)
            await kernel.run("count = 0")
            students.append(Student(browser, kernel, hub.state / "home" / name))
        trial = Trial(hub, students)
        return [
            await trial.try_out("a kernel is killed in mid-cell", trial.kernel_killed),
            await trial.try_out("a student fills the memory", trial.memory_filled),
            await trial.try_out(
                "the hub is restarted", lambda: trial.hub_restarted(signal.SIGTERM)
            ),
            await trial.try_out("the hub is killed", lambda: trial.hub_restarted(signal.SIGKILL)),
            await trial.try_out("the proxy is killed", trial.proxy_restarted),
        ]
    finally:
        for one in students:
            await one.kernel.close()
            await one.browser.__aexit__(None, None, None)


def tried(students: int, state: Path) -> list[Fault]:
    """Try all faults on a hub of its own; state is an empty folder."""
    lessons.Lesson("work", (WORK,)).write(state / "material")
    with LocalHub(state, [f"student{n}" for n in range(1, students + 1)]) as hub:
        return asyncio.run(asyncio.wait_for(_all(hub), 300))
