"""A measurement as JSON, and as the part of ``labs/hub/README.md`` that it fills."""

import datetime
import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from benchmarks.hub import tables
from benchmarks.hub.classroom import Step
from benchmarks.hub.notebooks import ROOT

RESULT = ROOT / "benchmarks" / "results" / "hub" / "class.json"
README = ROOT / "labs" / "hub" / "README.md"
BEGIN, END = "<!-- hub: begin -->", "<!-- hub: end -->"
COMMAND = "uv run python -m benchmarks.hub"
PACKAGES = ("jupyterhub", "jupyterlab", "jupyter_server", "ipykernel", "torch", "torchvision")
NOTES = """\
Two numbers in one column are the median / the 95th percentile. All start their servers at the \
same moment; when all have finished a notebook, all open the next. They run every cell without \
reading, and save. Nothing is pulled from a repository. Servers, kernels and the program that \
plays the students share this machine's cores.

- *page or first picture*: seconds from that moment until JupyterLab's page or the notebook's \
first picture has arrived.
- *cell*: seconds from sending one cell until the kernel is idle again.
- *MB*: the proportional set size of server and kernel (a page that n processes share counts as \
1/n of a page in each) when all have finished the notebook and nobody has closed it; *private*: \
pages that only one process has, which is what one more student adds.
- *CPU seconds*: of server and kernel. *start* is the server, the first kernel and its imports \
(torch, torchvision, vizhelpers); a later notebook includes those of its own kernel.
- No student saw an error: a measurement in which a cell raises, a kernel dies, a connection \
breaks or a request is refused is not written."""


def document(steps: Sequence[Step], seconds: float) -> dict[str, Any]:
    """Return a measurement as JSON, with its date and machine."""
    return {
        "date": datetime.date.today().isoformat(),
        "seconds": round(seconds),
        "cores": os.cpu_count(),
        "memory": round(psutil.virtual_memory().total / 2**30, 1),
        "platform": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "steps": [asdict(step) for step in steps],
    }


def published(data: Mapping[str, Any]) -> str:
    """Return the part of the hub's README that a measurement fills."""
    steps = [Step(**step) for step in data["steps"]]
    versions = ", ".join(f"{name} {version}" for name, version in data["versions"].items())
    machine = (
        f"Measured by `{COMMAND} --students {len(steps[0].waited)}` on {data['date']} in "
        f"{data['seconds']} s: {data['platform']}, {data['cores']} cores, {data['memory']} GB, "
        f"Python {data['python']}; {versions}."
    )
    title = f"### The plan for {tables.STUDENTS}"
    parts = [machine, tables.class_table(steps), NOTES, title, tables.plan_table(steps)]
    return "\n\n".join(parts)


def publish(data: Mapping[str, Any], readme: Path = README) -> None:
    """Write a measurement between the marks of the hub's README."""
    before, rest = readme.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    readme.write_text(f"{before}{BEGIN}\n{published(data)}\n{END}{after}", encoding="utf-8")
