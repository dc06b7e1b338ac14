"""What one more kernel costs, step by step and lever by lever; two of each kind run together."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty
from typing import Any

import psutil
from jupyter_client import BlockingKernelClient, KernelManager
from jupyter_client.kernelspec import KernelSpec

from benchmarks.hub import memory
from benchmarks.hub.lessons import ROOT
from labs.hub.settings import HERE

INSTALLED, OURS, UNCOMPILED = "as installed", "the course's", "no compiled bytecode"
COURSE = HERE / "jupyter" / "kernels" / "python3"
PATIENCE = 180  # seconds for one cell

# What a student's kernel has done when the first picture is there.
STEPS = {
    "ipykernel": "1",
    "+ torch": "import torch",
    "+ torchvision": "import torchvision",
    "+ vizhelpers, model, 100 maps": """import vizhelpers as viz
model = viz.load_model()
cat = viz.prepare(model, "cat")
viz.feature_maps(model, cat, "features.3").plot(limit=100, columns=10)""",
}
COMPUTE = """with torch.no_grad():
    for _ in range(10):
        model(cat.x)"""
WEIGHTS = "print(sum(p.numel() * p.element_size() for p in model.parameters()))"


@dataclass(frozen=True)
class Kind:
    """A way to start a kernel."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


def kinds(empty: Path) -> dict[str, Kind]:
    """Return the kernel as ipykernel installs it, each lever alone, and the course's with all.

    Args:
        empty: a folder without compiled bytecode.
    """
    spec = json.loads((COURSE / "kernel.json").read_text(encoding="utf-8"))
    stock = (sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}")
    own = (sys.executable, str(COURSE / "kernel.py"), "-f", "{connection_file}")
    uncompiled = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": str(empty)}
    levers = {f"{name}={value}": Kind(stock, {name: value}) for name, value in spec["env"].items()}
    return {
        INSTALLED: Kind(stock),
        **levers,
        "MALLOC_ARENA_MAX=2": Kind(stock, {"MALLOC_ARENA_MAX": "2"}),
        "torch's compiler deferred": Kind(own),
        OURS: Kind(own, spec["env"]),
        UNCOMPILED: Kind(stock, uncompiled),
    }


class _Pair:
    """Two kernels, which do the same at the same time."""

    def __init__(self, kind: Kind) -> None:
        variables = {k: v for k, v in os.environ.items() if k not in _LEVERS}
        variables |= {"PYTHONPATH": str(ROOT), **kind.environment}
        self.managers: list[KernelManager] = []
        self.clients: list[BlockingKernelClient] = []
        for _ in range(2):
            manager = KernelManager()
            manager._kernel_spec = KernelSpec(argv=list(kind.argv), language="python")
            manager.start_kernel(env=variables, stderr=subprocess.DEVNULL)
            client = manager.blocking_client()
            client.start_channels()
            self.managers.append(manager)
            self.clients.append(client)
        for client in self.clients:
            client.wait_for_ready(timeout=PATIENCE)

    def pids(self) -> list[int]:
        return [manager.provisioner.process.pid for manager in self.managers]

    def run(self, code: str) -> tuple[float, list[str]]:
        """Run a cell in both; returns the seconds and what each printed."""
        start = time.monotonic()
        sent = [client.execute(code) for client in self.clients]
        told = [_until_idle(*pair) for pair in zip(self.clients, sent, strict=True)]
        return time.monotonic() - start, told

    def close(self) -> None:
        for client, manager in zip(self.clients, self.managers, strict=True):
            client.stop_channels()
            manager.shutdown_kernel(now=True)


_LEVERS = ("OMP_NUM_THREADS", "MALLOC_ARENA_MAX", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")


def _until_idle(client: BlockingKernelClient, sent: str) -> str:
    text = ""
    while True:
        try:
            told: dict[str, Any] = client.get_iopub_msg(timeout=PATIENCE)
        except Empty as error:
            raise TimeoutError(f"a kernel did not answer in {PATIENCE} s") from error
        if told["parent_header"].get("msg_id") != sent:
            continue
        if told["msg_type"] == "error":
            raise RuntimeError("\n".join(told["content"]["traceback"]))
        if told["msg_type"] == "stream":
            text += told["content"]["text"]
        if told["content"].get("execution_state") == "idle":
            return text


@contextmanager
def _pair(kind: Kind) -> Iterator[_Pair]:
    pair = _Pair(kind)
    try:
        yield pair
    finally:
        pair.close()


def measured() -> dict[str, Any]:
    """Measure all kinds; returns what JSON can hold."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as empty:
        for name, kind in kinds(Path(empty)).items():
            with _pair(kind) as pair:
                steps = {}
                for step, code in STEPS.items():
                    if name == UNCOMPILED and "vizhelpers" in step:
                        break  # it is only about imports, and takes long
                    pair.run(code)
                    both = memory.together(pair.pids())
                    cpu = memory.cpu_seconds(map(psutil.Process, pair.pids()))
                    steps[step] = {"private": both.private / 2, "pss": both.pss / 2, "cpu": cpu / 2}
                together = None if name == UNCOMPILED else pair.run(COMPUTE)[0]
                if name == OURS:
                    _, (weights, _) = pair.run(WEIGHTS)
                    found["weights"] = int(weights) / memory.MB
                    found["cuda"] = memory.of_cuda(pair.pids()[1])
                found.setdefault("kinds", {})[name] = {"steps": steps, "together": together}
    return found


def forked() -> dict[str, float]:
    """Return what a kernel would cost that is forked from a process with everything imported."""
    command = [sys.executable, "-m", "benchmarks.hub.forked"]
    variables = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=variables, check=True, capture_output=True, text=True, timeout=120
    )
    return json.loads(done.stdout.splitlines()[-1])
