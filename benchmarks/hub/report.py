"""The measurement as JSON, as Markdown, and as the part of ``labs/hub/README.md`` that it fills."""

import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.hub import plan
from benchmarks.hub.kernels import INSTALLED, OURS, STEPS
from benchmarks.hub.lessons import FIGURES, ROOT

RESULTS = ROOT / "benchmarks" / "results" / "hub"
README = ROOT / "labs" / "hub" / "README.md"
BEGIN, END = "<!-- hub: begin -->", "<!-- hub: end -->"
COMMAND = "uv run python -m benchmarks.hub"
PACKAGES = ("jupyterhub", "jupyterlab", "jupyter_server", "ipykernel", "torch", "torchvision")

Data = Mapping[str, Any]


def rounded(value: Any) -> Any:
    """Return data with four digits behind the point: what is written, and computed from."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    return [rounded(one) for one in value] if isinstance(value, list) else value


def machine() -> dict[str, Any]:
    """Return what a reader must know of the machine to read the numbers."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cores": os.cpu_count(),
        "memory": pages / 2**30,
        "platform": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions,
    }


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _two(found: Mapping[str, float], what: str) -> str:
    return f"{_number(found[f'{what}_50'])} / {_number(found[f'{what}_95'])}"


def classes_table(data: Data) -> str:
    """Return one row for each class."""
    head = [
        "class",
        "students",
        "spawn",
        "first picture",
        "cell",
        "cells",
        "errors",
        "MB a student",
        "of them private",
        "CPU seconds a student",
    ]
    rows = []
    for name, one in data["classes"].items():
        found, cost = plan.seen(one), plan.per_student(one)
        worst = max(one["moments"], key=lambda m: m["servers"]["pss"] + m["kernels"]["pss"])
        pss = (worst["servers"]["pss"] + worst["kernels"]["pss"]) / one["students"]
        rows.append(
            [
                name,
                str(one["students"]),
                _two(found, "spawn") if one["at_once"] else "before the bell",
                _two(found, "picture"),
                _two(found, "cell"),
                f"{found['cells']:,}",
                str(found["errors"]),
                _number(pss),
                _number(cost.memory),
                _number(cost.start + sum(cost.work)),
            ]
        )
    return _table(head, rows)


def classes_notes(data: Data) -> str:
    """Return what to know of the rows."""
    classes = data["classes"]
    ran = ", then ".join(Path(path).stem for path in classes["course"]["notebooks"])
    first = Path(classes["in advance"]["notebooks"][0]).stem
    return (
        "Seconds from the bell, half of the students / 95 of 100 within them. All press the button "
        "at the bell, open the notebook, and run every cell without reading; *cell* is from "
        "sending one until the kernel is idle. Memory is the proportional set size of server and "
        "kernel, pages that several share counted once.\n\n"
        f"- *course*: {ran}, with this folder's settings; *course, first notebook*: {first}.\n"
        f"- *as installed*: {first}, with `jupyterhub-singleuser` and JupyterHub's defaults.\n"
        f"- *in advance*: {first}; servers, kernels and imports are there before the bell "
        "(`labs.hub.before_class`).\n"
        f"- *document*: the source document's code for kernels and feature maps, on the same "
        f"network and photograph; of its 64 figures of kernels {FIGURES} are drawn.\n"
        "- *vizhelpers*: the same pictures by this package, all 1,024 kernels."
    )


def kernels_table(data: Data) -> str:
    """Return what a kernel costs, by step and by lever."""
    steps = list(STEPS)
    kinds = data["kernels"]["kinds"]
    head = ["kernel", *(f"{step}: MB, CPU s" for step in steps), "two compute at once, s"]
    rows = []
    for name, one in kinds.items():
        cells = [
            f"{_number(one['steps'][step]['private'])}, {_number(one['steps'][step]['cpu'])}"
            if step in one["steps"]
            else ""
            for step in steps
        ]
        rows.append([name, *cells, _number(one["together"]) if one["together"] else ""])
    return _table(head, rows)


def kernels_notes(data: Data) -> str:
    """Return what the levers come to."""
    kernels, forked = data["kernels"], data["forked"]
    kinds = kernels["kinds"]
    last = list(STEPS)[-1]
    whole = kinds[OURS]["steps"][last]["private"]
    threads = kinds[INSTALLED]["together"] / kinds[OURS]["together"]
    server = {
        name: plan.per_student(data["classes"][name])
        for name in ("as installed", "course, first notebook")
    }
    return "\n".join(
        [
            "- MB are private: what one more kernel of the kind adds beside another.",
            f"- One thread: two kernels that compute at once are {_number(threads)} times as fast. "
            "Threads of a pool wait by turning, and take the core from those that work.",
            f"- torch's libraries for NVIDIA's cards take {_number(kernels['cuda'])} MB of each "
            "kernel, without a card. The CPU build, which the Dockerfile installs, has none of "
            "them; it could not be measured here.",
            f"- The bundled weights take {_number(kernels['weights'])} MB in each kernel, "
            f"{100 * kernels['weights'] / whole:.1f} % of it: `load_model` widens the file's "
            "float16 into memory of its own, and mapping them once would save no more than that.",
            f"- A kernel forked from one that has imported everything would have "
            f"{_number(forked['private'])} MB for itself, and draw its first picture after "
            f"{_number(forked['cpu'])} CPU seconds. No kernel of Jupyter's is started like this "
            "today, and it would need a process of the administrator's that becomes the student; "
            "it is a number for whoever writes that.",
            f"- A student's server takes {_number(server['as installed'].server)} MB as installed "
            f"and {_number(server['course, first notebook'].server)} MB with this folder's "
            "settings, which load fewer extensions.",
        ]
    )


def plan_table(data: Data, students: int = plan.STUDENTS) -> str:
    """Return the plan, each number with where it comes from."""
    made = plan.planned(data, students)
    course = plan.per_student(data["classes"]["course"])
    ahead = plan.per_student(data["classes"]["in advance"])
    rows = [
        [
            "memory",
            f"{_number(made.memory)} GB",
            f"{students} x {_number(course.memory)} MB, once {_number(course.shared)} MB, the hub",
        ],
        ["memory with room", f"{_number(made.with_room)} GB", f"x {plan.ROOM}"],
        [
            "cores to start all in advance",
            _number(made.early),
            f"{students} x {_number(ahead.start)} CPU s in {plan.EARLY} s",
        ],
        [
            "cores to start all at the bell",
            _number(made.cold),
            f"the same in {plan.COLD} s: why one starts in advance",
        ],
        [
            "cores while a notebook is read",
            _number(made.reading),
            "the CPU seconds of the busiest notebook's cells, over the minutes that it is read",
        ],
        ["the same with bursts", _number(made.busy), f"x {plan.BURST}"],
        [
            "order",
            f"{made.server[0]} cores, {made.server[1]} GB",
            "rounded up to what is sold",
        ],
        [
            "if all press *Run All* at once",
            f"{_number(made.first_notebook)} s",
            f"{students} x {_number(ahead.work[0])} CPU s of the first notebook, on these cores",
        ],
    ]
    return _table([f"{students} students", "", "from"], rows)


def alternatives_table(data: Data, students: int = plan.STUDENTS) -> str:
    """Return the memory of a class by how it is run."""
    rows = [[name, _number(gb)] for name, gb in plan.alternatives(data, students).items()]
    return _table([f"{students} students", "GB"], rows)


def faults_table(data: Data) -> str:
    """Return one row for each fault that was tried."""
    head = [
        "fault",
        "the one it hit",
        "others' cells",
        "slowest, s",
        "pages that connected again",
        "errors and lost work",
    ]
    rows = [
        [
            one["name"],
            one["victim"],
            str(one["cells"]),
            _number(one["slowest"]),
            str(one["reconnected"]),
            str(len(one["errors"])),
        ]
        for one in data["faults"]
    ]
    return _table(head, rows)


def published(data: Data) -> str:
    """Return what README shows."""
    versions = ", ".join(f"{name} {version}" for name, version in data["versions"].items())
    made = (
        f"Measured by `{data['command']}` on {data['date']} in {data['seconds']:.0f} s: "
        f"{data['platform']}, {data['cores']} cores, {_number(data['memory'])} GB, Python "
        f"{data['python']}; {versions}."
    )
    parts = [
        made,
        "### A class at once",
        classes_table(data),
        classes_notes(data),
        "### What a kernel costs",
        kernels_table(data),
        kernels_notes(data),
        f"### The plan for {plan.STUDENTS}",
        plan_table(data),
        alternatives_table(data),
        "### Faults tried",
        faults_table(data),
    ]
    return "\n\n".join(parts)


def write(data: Data, folder: Path) -> Path:
    """Write Markdown and JSON side by side, and return the Markdown's path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{data['date']}-{data['classes']['course']['students']}.md"
    path.write_text(f"# A class at the hub\n\n{published(data)}\n", encoding="utf-8")
    path.with_suffix(".json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    return path


def publish(data: Data) -> None:
    """Write README's part, between its marks."""
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    README.write_text(f"{before}{BEGIN}\n{published(data)}\n{END}{after}", encoding="utf-8")
