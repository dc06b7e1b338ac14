"""One class at a real hub: all start their servers at the same moment and run the same notebooks.

All processes descend from this one, which is how they are found. It must not import torch: file
pages that the students share would then be shared with it too, and counted too low.
"""

import asyncio
import itertools
import tempfile
import time
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.hub.notebooks import Notebook
from benchmarks.hub.student import Failed, Student, connect
from labs.hub.run import CONFIG, LocalHub

LONGEST = 600  # seconds; a class that takes longer fails
IMPORTS = "import torch, torchvision, vizhelpers as viz; viz.load_model"
MB = 1 << 20
# With TCP, the kernels of one machine race for its ports; in containers each has its own.
WITHOUT_PORTS = """load_subconfig({config!r})
c.Spawner.args.append("--KernelManager.transport=ipc")
c.Spawner.environment["JUPYTER_RUNTIME_DIR"] = {folder!r}
"""


@dataclass
class Step:
    """The start (server, first kernel, imports), or one notebook, as all students did it.

    Attributes:
        name: "start", or the notebook's file name without ``.ipynb``.
        minutes: that README.md gives for reading the notebook.
        waited: seconds to JupyterLab's page or to the notebook's first picture, by student.
        cells: seconds of every cell of every student.
        cpu: processor seconds from the beginning to this step's end, by student.
        pss: MB of all servers and kernels when all were done, shared pages counted once.
        private: the part of ``pss`` in pages that only one process has.
        hub: MB of the hub, the proxy and their services at that moment.
    """

    name: str
    minutes: int = 0
    waited: list[float] = field(default_factory=list)
    cells: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    pss: float = 0.0
    private: float = 0.0
    hub: float = 0.0


def descendants() -> dict[str, list[psutil.Process]]:
    """Return the processes started from here, by student; the hub's and the proxy's under ""."""
    groups: dict[str, list[psutil.Process]] = {"": []}
    for process in psutil.Process().children(recursive=True):
        try:
            name = process.environ().get("JUPYTERHUB_USER", "")
        except psutil.Error:  # it has just ended
            continue
        groups.setdefault(name, []).append(process)
    return groups


def cpu_seconds(processes: Iterable[psutil.Process]) -> float:
    """Return the processor seconds that processes and their ended children have taken."""
    return round(sum(sum(process.cpu_times()[:4]) for process in processes), 3)


def memory(processes: Iterable[psutil.Process]) -> tuple[float, float]:
    """Return (proportional set size, private memory) of processes together, in MB."""
    held = [process.memory_full_info() for process in processes]
    return sum(info.pss for info in held) / MB, sum(info.uss for info in held) / MB


def measure(notebooks: Sequence[Notebook], students: int) -> list[Step]:
    """Return the start and each notebook, run by a number of students; end every process.

    Raises:
        ExceptionGroup: of the errors that students saw.
    """
    names = [f"student{number:03}" for number in range(1, students + 1)]
    with tempfile.TemporaryDirectory(prefix="hub-") as folder:  # a socket's path must be short
        config = Path(folder) / "config.py"
        text = WITHOUT_PORTS.format(config=str(CONFIG), folder=f"{folder}/run")
        config.write_text(text, encoding="utf-8")
        with LocalHub(Path(folder), names, config=config) as hub:
            return asyncio.run(_hold(hub, names, notebooks))


async def _hold(hub: LocalHub, names: Sequence[str], notebooks: Sequence[Notebook]) -> list[Step]:
    steps = [start := Step("start")]
    async with asyncio.timeout(LONGEST), connect(hub.token) as http:
        students = [Student(http, hub.address, name) for name in names]
        begin = time.monotonic()
        for notebook in notebooks:
            step = Step(notebook.name, notebook.minutes)
            first = start if len(steps) == 1 else None
            await _together(_work(who, notebook, begin, step, first) for who in students)
            groups = descendants()
            step.hub, _ = memory(groups.pop(""))
            step.pss, step.private = memory(itertools.chain(*groups.values()))
            await _together(student.close_notebook() for student in students)
            steps.append(step)
            begin = time.monotonic()
    return steps


async def _work(
    student: Student, notebook: Notebook, begin: float, step: Step, start: Step | None
) -> None:
    """Open a notebook, run its cells and save it; with ``start`` begin with the server."""
    if start:
        await student.start_server()
        start.waited.append(round(time.monotonic() - begin, 3))
    await student.save(notebook)
    await student.open_notebook(notebook)
    if start:
        start.cells.append((await student.run(IMPORTS))[0])
        start.cpu.append(cpu_seconds(descendants()[student.name]))
    outcomes = [await student.run(cell) for cell in notebook.cells]
    step.cells += [seconds for seconds, _ in outcomes]
    pictures = [picture for _, picture in outcomes if picture]
    if not pictures:
        raise Failed(f"{student.name} sees no picture in {notebook.name}")
    step.waited.append(round(pictures[0] - begin, 3))
    await student.save(notebook)
    step.cpu.append(cpu_seconds(descendants()[student.name]))


async def _together(steps: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run one step for all students at once; raise the errors of all as one group."""
    outcomes = await asyncio.gather(*steps, return_exceptions=True)
    errors = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    if errors:
        raise ExceptionGroup(f"{len(errors)} of {len(outcomes)} students saw an error", errors)
