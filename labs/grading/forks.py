"""The zygote itself: a process that runs a lab's setup, and whose forks are all other processes.

It never sees a solution, a hidden test or a student's code: what it holds in memory, a student's
process inherits. So it has one thread and reads only orders to start and stop processes; and each
student's process shuts itself behind the fence before it reads what the student wrote.
"""

import contextlib
import importlib
import os
import select
import signal
import socket
import sys
import types
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from labs.grading import linux, memory, rerun, scorer, worker
from labs.grading.fence import launch, stop
from labs.grading.frames import NO_CAP, Broken, receive, send
from labs.grading.means import Means
from labs.grading.zygote import Zygote

MODULE = "lab"  # what the setup cells define lives in a module of this name


@dataclass
class _Server:
    """What it has started, and the pipes on which it is told to."""

    means: Means
    master: socket.socket
    helpers: list[socket.socket] = field(default_factory=list)  # pipes to scorers
    fenced: dict[int, dict[str, int]] = field(default_factory=dict)  # process: its limits
    trusted: set[int] = field(default_factory=set)
    ended: dict[int, str] = field(default_factory=dict)

    def serve(self) -> None:
        """Obey until the pipe is closed; then end all that was started."""
        if sys.platform == "linux":
            linux.adopt_orphans()
        while True:
            asked = [self.master, *self.helpers]
            for pipe in select.select(asked, [], [], 0.25 if self.fenced else None)[0]:
                try:
                    self._obey(pipe)
                except Broken:
                    if pipe is self.master:
                        for process in [*self.fenced, *self.trusted]:
                            self._stop(process)
                        return
                    self.helpers.remove(pipe)
                    pipe.close()
            self._watch()

    def _obey(self, pipe: socket.socket) -> None:
        mark, descriptors, _, _ = socket.recv_fds(pipe, 1, 1)
        if not mark:
            raise Broken("closed")
        order = receive(pipe)[0]
        try:
            answer = self._do(order, descriptors)
        except (OSError, RuntimeError) as e:
            answer = {"failed": f"{e}"}
        for one in descriptors:
            os.close(one)
        send(pipe, answer)

    def _do(self, order: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
        if order["do"] == "means":
            return asdict(self.means)
        if order["do"] == "stop":
            return {"why": self._stop(order["process"])}
        role, plan = order["role"], order["plan"]
        if role in ("worker", "rerun"):
            body = _body(role, plan, descriptors[0])
            process = launch(self.means, plan, descriptors[0], body)
            self.fenced[process] = plan["limits"]
        else:
            process = self._fork(role, descriptors[0])
            self.trusted.add(process)
        return {"process": process}

    def _fork(self, role: str, descriptor: int) -> int:
        """Start a process that is trusted: a zygote with a lab's setup, or a scorer."""
        ours, theirs = socket.socketpair()
        process = os.fork()
        if process:
            theirs.close()
            if role == "scorer":
                self.helpers.append(ours)
            else:
                ours.close()
            return process
        try:
            pipe = socket.socket(fileno=os.dup(descriptor))
            for one in (ours, self.master, *self.helpers):
                one.close()
            os.close(descriptor)
            if sys.platform == "linux":
                linux.die_with_parent()
            if role == "lab":
                theirs.close()
                _open_lab(self.means, pipe)
            else:
                scorer.score(pipe, Zygote(theirs), vars(sys.modules[MODULE]))
        finally:
            os._exit(0)

    def _stop(self, process: int) -> str:
        if process in self.trusted:
            self.trusted.remove(process)
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
        elif process in self.fenced:
            del self.fenced[process]
            stop(self.means, process)
        return self.ended.pop(process, "")

    def _watch(self) -> None:
        """Stop what holds too much; the limits of Linux are for each process alone."""
        for process, most in list(self.fenced.items()):
            held, living = memory.used(process)
            if living > most["processes"]:
                self._stop(process)
                self.ended[process] = f"started more than {most['processes']} processes"
            elif held > most["memory"]:
                self._stop(process)
                self.ended[process] = f"used more than {most['memory'] >> 20} MB of memory"


def _body(role: str, plan: dict, descriptor: int) -> Callable[[], None]:
    def body() -> None:
        pipe = socket.socket(fileno=descriptor)
        if role == "worker":
            worker.work(pipe, vars(sys.modules[MODULE]))
        else:
            rerun.run(pipe, plan)

    return body


def _open_lab(means: Means, pipe: socket.socket) -> None:
    job = receive(pipe, longest=NO_CAP)[0]
    os.chdir(job["folder"])
    module = types.ModuleType(MODULE)
    sys.modules[MODULE] = module
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
        for number, source in enumerate(job["setup"]):
            try:
                exec(compile(source, f"<setup cell {number}>", "exec"), vars(module))
            except Exception as e:
                send(pipe, {"failed": f"{type(e).__name__}: {e}"})
                return
    send(pipe, {"ready": True})
    _Server(means, pipe).serve()


def main(descriptor: str, *preload: str) -> None:
    """Run as a program: ``python -m labs.grading.forks DESCRIPTOR MODULE…``."""
    if sys.platform == "linux":
        linux.may_be_read(False)
    # jsonschema imports it to check IRIs, and it needs three seconds to build its grammar.
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]
    for module in ("cloudpickle", *preload):
        importlib.import_module(module)
    pipe = socket.socket(fileno=int(descriptor))
    means = Means.here()
    send(pipe, {"ready": True})
    _Server(means, pipe).serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
