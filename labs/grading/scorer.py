"""The trusted side: runs the lab's test cells and says which hold. No student's code runs here.

In its namespace each function that the lab asks for is a proxy. Calling it sends the arguments to
the worker and waits; what comes back is of exact, built-in types (``frames``). An answer is fetched
in the same way before the cell that reads it. A mark is made here and nowhere else.
"""

import ast
import builtins
import os
import pickle
import socket
import time
import traceback
from typing import TYPE_CHECKING, Any

import cloudpickle

from labs.grading.frames import NO_CAP, Broken, TooLate, receive, send, unpack

if TYPE_CHECKING:
    from labs.grading.zygote import Zygote

RAISED = """ArithmeticError AssertionError AttributeError IndexError KeyError LookupError
MemoryError NameError NotImplementedError RecursionError RuntimeError TypeError
ValueError ZeroDivisionError"""
TRIES = 40  # that many times a student's process may hang or die
PATIENCE = 10  # all that a student's code does may take so many times the limit of one call


class StudentError(Exception):
    """What the student's code raised, or why it could not answer."""


# So that a test can hold `except ValueError`: an error of the same name as the student's.
_KINDS = {name: type(name, (StudentError, getattr(builtins, name)), {}) for name in RAISED.split()}


class Unfair(BaseException):
    """Something broke that the student is not to blame for: no mark may come of it."""


class Link:
    """The way to the worker: starts it when it is needed, and again after it hung or died."""

    def __init__(self, zygote: "Zygote", job: dict[str, Any]) -> None:
        """Hold what a worker is started with: "plan", "cells", "wanted", "seconds"."""
        self.zygote, self.job = zygote, job
        self.seconds: float = job["seconds"]
        self.process, self.pipe = 0, None
        self.stops: dict[int, int] = {}  # cell: the statement that hung or ended the worker
        self.troubles: dict[int, str] = {}
        self.number = self.tries = 0
        self.slow: set[str] = set()
        self.until = time.monotonic() + PATIENCE * self.seconds

    def ask(self, what: str, name: str, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Return what the worker answers; a StudentError if it raised, hung or died."""
        body = b"" if what == "get" else _pickled((args, kwargs or {}))
        pipe = self._worker()
        self.number += 1
        # A function that hung once shall not use up the time of all others.
        seconds = self._left() / (4 if name in self.slow else 1)
        try:
            send(pipe, {"number": self.number, "do": what, "name": name}, body, seconds)
            head, arrays = receive(pipe, seconds)
            if head.get("number") != self.number:
                raise Broken("an answer that nobody asked for")
            if "raised" not in head:
                return unpack(head.get("value"), arrays)
        except TooLate:
            self._stop()
            self.slow.add(name)
            raise StudentError(f"{name} took longer than {seconds:g} s") from None
        except Broken as e:
            raise StudentError(f"{name} gave no answer: {self._stop() or e}") from None
        raise self._error(name, head)

    def _error(self, name: str, head: dict[str, Any]) -> StudentError:
        kind, words = f"{head['raised']}"[:100], f"{head.get('words')}"[:1000]
        if kind == "NameError" and self.troubles:
            words += f" (its cell: {'; '.join(self.troubles.values())})"[:1000]
        if kind in _KINDS:
            return _KINDS[kind](f"{name}: {words}" if words else name)
        return StudentError(f"{name}: {kind}: {words}")

    def _worker(self) -> socket.socket:
        while not self.pipe:
            if self.tries == TRIES or time.monotonic() > self.until:
                raise StudentError("The code hung, or ended its process, too often.")
            self.tries += 1
            try:
                self.process, self.pipe = self.zygote.spawn("worker", self.job["plan"])
            except (RuntimeError, Broken, TooLate) as e:
                raise Unfair(f"{e}") from e
            self._load(self.pipe)
        return self.pipe

    def _left(self) -> float:
        return max(0.001, min(self.seconds, self.until - time.monotonic()))

    def _load(self, pipe: socket.socket) -> None:
        at = None
        try:
            stops = list(self.stops.items())
            job = {"cells": self.job["cells"], "wanted": self.job["wanted"], "stops": stops}
            send(pipe, job, seconds=self._left())
            while True:
                head = receive(pipe, self._left())[0]
                if "loaded" in head:
                    found = head["loaded"]
                    self.troubles |= {int(cell): f"{words}"[:500] for cell, words in found}
                    return
                cell, statement = (int(number) for number in head["at"])
                at = (cell, statement)
        except (TooLate, Broken, KeyError, ValueError, TypeError) as e:
            why = self._stop() or (f"{e}" if isinstance(e, Broken) else "it took too long")
            if at:
                self.stops[at[0]] = at[1]
                self.troubles[at[0]] = f"stopped at its statement {at[1] + 1}: {why}"

    def _stop(self) -> str:
        """End the worker (the next question starts another); return why it had ended, if known."""
        if not self.pipe:
            return ""
        self.pipe.close()
        self.pipe = None
        return self.zygote.stop(self.process)

    close = _stop


def _pickled(arguments: tuple[Any, Any]) -> bytes:
    """Return trusted arguments as bytes; a class of a test cell goes with them, which is slow."""
    try:
        return pickle.dumps(arguments, pickle.HIGHEST_PROTOCOL)
    except (pickle.PicklingError, AttributeError):
        return cloudpickle.dumps(arguments)


class Proxy:
    """A student's function, seen from here."""

    def __init__(self, link: Link, name: str) -> None:
        """Stand for ``name`` in the worker."""
        self._link, self.__name__ = link, name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function in the worker; return plain values."""
        return self._link.ask("call", self.__name__, args, kwargs)

    def damage(self, *args: Any) -> Any:
        """Let the worker say what the call left changed on its copy of the model."""
        return self._link.ask("damage", self.__name__, args)

    def __reduce__(self) -> str:
        """Refuse to be an argument: the worker would get a way into this process."""
        raise TypeError(f"{self.__name__} is the student's; a test cannot hand it to a function.")


def score(pipe: socket.socket, zygote: "Zygote", namespace: dict[str, Any]) -> None:
    """Run the test cells of one job; send a frame for each as soon as it is known, then an end."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(nothing, standard)
    job = receive(pipe, longest=NO_CAP)[0]
    link = Link(zygote, job)
    namespace["__name__"] = "__main__"  # so that a test's own classes are pickled whole
    namespace |= {name: Proxy(link, name) for name in job["functions"]}
    try:
        for cell in job["tests"]:
            failure = _run(cell["source"], job["answers"], link, namespace)
            if "name" in cell:
                send(pipe, {"cell": cell["name"], "failure": failure})
        link.close()
        send(pipe, {"end": True, "troubles": sorted(link.troubles.items())})
    except Unfair as e:
        send(pipe, {"unfair": f"{e}"})


def _run(
    source: str, answers: list[str], link: Link, namespace: dict[str, Any]
) -> list[str] | None:
    """Run one cell of the course; return what failed (kind, words, line), or None."""
    try:
        tree = ast.parse(source)
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        for name in sorted(used & set(answers)):
            namespace.pop(name, None)
            namespace[name] = link.ask("get", name)
        exec(compile(tree, "<test>", "exec"), namespace)
    except Unfair:
        raise
    except BaseException as e:
        lines = [s.lineno for s in traceback.extract_tb(e.__traceback__) if s.filename == "<test>"]
        where = source.splitlines()[lines[-1] - 1].strip() if lines else ""
        return [type(e).__name__, f"{e}"[:1000], where]
    return None
