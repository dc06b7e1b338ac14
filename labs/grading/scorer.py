"""The trusted side: runs the lab's test cells and says which hold. No student's code runs here.

In its namespace each function that the lab asks for is a proxy. Calling it sends the arguments to
the worker and waits; what comes back is of exact, built-in types (``frames``).
An answer is fetched in the same way before the cell that reads it. A mark is made nowhere else.
"""

import ast
import builtins
import contextlib
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

import cloudpickle

from labs.fence.bubblewrap import Run
from labs.fence.frames import Broken, receive, send, unpack
from labs.grading.lab import Lab, NoMark, hidden_lines

RAISED = """ArithmeticError AssertionError AttributeError IndexError KeyError LookupError
MemoryError NameError NotImplementedError RecursionError RuntimeError TypeError
ValueError ZeroDivisionError"""
TRIES = 40  # that many times a student's process may hang or die
PATIENCE = 10  # all that a student's code does may take so many times the limit of one call
START = 120  # seconds until the lab's own setup must have run

Start = Callable[[Connection], Run]  # of a worker, with its end of the pipe


class StudentError(Exception):
    """What the student's code raised, or why it could not answer.

    ``told`` is what the student may read of it: no word of the student's own code, which could
    carry the arguments of hidden tests into the feedback.
    """

    told = ""


# So that a test can hold `except ValueError`: an error of the same name as the student's.
_KINDS = {name: type(name, (StudentError, getattr(builtins, name)), {}) for name in RAISED.split()}


class Unfair(BaseException):
    """Something broke that the student is not to blame for: no mark may come of it."""


@dataclass(frozen=True)
class Failure:
    """Why a test cell failed: the error's name and words, and the line of the test that raised."""

    kind: str
    words: str
    line: str
    told: str  # what the student may read: nothing of a hidden test but its sentence


class Link:
    """The way to the worker: starts it when it is needed, and again after it hung or died."""

    def __init__(self, start: Start, job: dict[str, Any]) -> None:
        """Hold what a worker is given: "setup", "cells", "wanted", "whole"; and "seconds"."""
        self.start, self.job = start, job
        self.run: Run | None = None
        self.pipe: Connection | None = None
        self.stops: dict[int, int] = {}  # cell: the statement that hung or ended the worker
        self.troubles: dict[int, str] = {}
        self.left_out: list[str] = []
        self.number = self.tries = 0
        self.broke: set[str] = set()  # names of functions that hung, or ended the worker
        self.left: float = PATIENCE * job["seconds"]

    def ask(self, what: str, name: str, /, *args: Any, **kwargs: Any) -> Any:
        """Return what the worker answers; a StudentError if it raised, hung or died."""
        body = cloudpickle.dumps((args, kwargs))  # a test's own classes go with them
        pipe = self._worker()
        self.number += 1
        try:
            # A function that hung once shall not use up the time of all others.
            with self._within(self._limit() / (4 if name in self.broke else 1)):
                send(pipe, {"number": self.number, "do": what, "name": name}, body)
                head, arrays = receive(pipe)
                if head.get("number") != self.number:
                    raise Broken("an answer that nobody asked for")
                if "raised" not in head:
                    return unpack(head.get("value"), arrays)
        except Broken as e:
            self.broke.add(name)
            raise _error("", f"{name} gave no answer: {self.close() or e}") from None
        raise self._raised(name, head)

    def _limit(self) -> float:
        return max(0.001, min(self.job["seconds"], self.left))

    @contextlib.contextmanager
    def _within(self, seconds: float, counts: bool = True) -> Iterator[None]:
        """End the worker after some seconds, so that nothing waits for it any longer: Broken."""
        late, run, begun = threading.Event(), self.run, time.monotonic()

        def end() -> None:
            late.set()
            if run:
                run.kill()

        timer = threading.Timer(seconds, end)
        timer.start()
        try:
            yield
        except Broken as e:
            raise (Broken("it took too long") if late.is_set() else e) from e
        finally:
            timer.cancel()
            self.left -= (time.monotonic() - begun) * counts

    def _raised(self, name: str, head: dict[str, Any]) -> StudentError:
        kind, words = f"{head['raised']}"[:100], f"{head.get('words')}"[:1000]
        line = self._line(head.get("at"))
        line = line and f", in your line: {line}"
        if kind == "NameError" and self.troubles:
            words += f" (its cell: {'; '.join(self.troubles.values())})"[:1000]
        known = kind in _KINDS
        said = ": ".join(one for one in (name, "" if known else kind, words) if one)
        # Not the line: which one of a thousand is named could tell what the function was given.
        told = f"{name} raised {kind if known else 'an error'}."
        return _error(kind, f"{said}{line}", told)

    def _line(self, at: Any) -> str:
        """Return a line of the student's, read from what was handed in and not from an answer."""
        try:
            cell, line = (int(number) for number in at)
            _, source = self.job["cells"][cell]
            return source.splitlines()[line - 1].strip()[:200] if min(cell, line - 1) >= 0 else ""
        except (TypeError, ValueError, IndexError, OverflowError):
            return ""

    def _worker(self) -> Connection:
        while not self.pipe:
            if self.tries == TRIES or self.left <= 0:
                raise _error("", "The code hung, or ended its process, too often.")
            self.tries += 1
            self.pipe, theirs = Pipe()
            with theirs:
                self.run = self.start(theirs)
            self._load(self.pipe)
        return self.pipe

    def _load(self, pipe: Connection) -> None:
        """Let a new worker run the setup and the student's cells; note where one stopped it."""
        try:
            with self._within(START, counts=False):
                send(pipe, self.job | {"stops": list(self.stops.items())})
                receive(pipe)
        except Broken as e:
            why = self.close() or e
            raise Unfair(f"the lab's setup cells did not run behind the fence: {why}") from e
        at = None
        try:
            while True:
                with self._within(self._limit()):
                    head = receive(pipe)[0]
                if "loaded" in head:
                    break
                cell, statement = (int(number) for number in head["at"])
                at = (cell, statement)
            found, left_out = head["loaded"][:100], head["left_out"][:100]
            self.troubles |= {int(cell): f"{words}"[:500] for cell, words in found}
            self.left_out = [line for one in left_out if (line := self._line(one))]
        except Exception as e:  # whatever it sent
            why = self.close() or f"{e}"
            if at:
                self.stops[at[0]] = at[1]
                self.troubles[at[0]] = f"stopped at its statement {at[1] + 1}: {why}"

    def close(self) -> str:
        """End the worker (the next question starts another); return which limit it met, if any."""
        if not self.pipe or not self.run:
            return ""
        why = self.run.end()
        self.pipe.close()
        self.pipe = self.run = None
        return why


def _error(kind: str, words: str, told: str = "") -> StudentError:
    error = _KINDS.get(kind, StudentError)(words)
    error.told = told or words
    return error


class Proxy:
    """A student's function, seen from here: calling it asks the worker, and gives plain values.

    ``damage`` and ``calls`` ask what ``vizhelpers.exercises`` says about a call, over there.
    """

    def __init__(self, link: Link, name: str) -> None:
        """Stand for ``name`` in the worker."""
        self.__name__ = name
        self._call, self.damage, self.calls = (
            partial(link.ask, what, name) for what in ("call", "damage", "calls")
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function in the worker."""
        return self._call(*args, **kwargs)

    def __reduce__(self) -> str:
        """Refuse to be an argument: the worker would get a way into this process."""
        raise TypeError(f"{self.__name__} is the student's; a test cannot hand it to a function.")


def score(
    seconds: int, start: Start, lab: Lab, job: dict[str, Any]
) -> tuple[dict[str, Failure | None], list[str], list[str]]:
    """Run the lab's test cells in this process, which shall do nothing else.

    Returns:
        What each test cell came to, what went wrong in cells, and what was left out of them.

    Raises:
        NoMark: the marking itself broke.
    """
    signal.alarm(seconds)  # then it ends, also where Python cannot stop
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(nothing, standard)
    os.chdir(lab.path.parent)
    namespace: dict[str, Any] = {"__name__": "__main__"}  # so that a test's classes are pickled
    try:
        for source in lab.setup:
            exec(compile(source, "<setup>", "exec"), namespace)
    except Exception as e:
        raise NoMark(f"the setup cells raised {type(e).__name__}: {e}") from None
    link = Link(start, job)
    namespace |= {name: Proxy(link, name) for name in lab.functions}
    try:
        found = {c.name: _run(c.source, lab.answers, link, namespace) for c in lab.script}
    except Unfair as e:
        raise NoMark(f"{e}") from None
    finally:
        link.close()
    tests = {cell.name: found[cell.name] for cell in lab.tests}
    return tests, list(link.troubles.values()), link.left_out


def _run(source: str, answers: set[str], link: Link, namespace: dict[str, Any]) -> Failure | None:
    """Run one cell of the course; return why it failed, or None."""
    nodes = list(ast.walk(ast.parse(source)))
    try:
        for name in sorted(answers & {node.id for node in nodes if isinstance(node, ast.Name)}):
            namespace.pop(name, None)
            namespace[name] = link.ask("get", name)
        exec(compile(source, "<test>", "exec"), namespace)
    except Unfair:
        raise
    except BaseException as e:
        lines = [s.lineno for s in traceback.extract_tb(e.__traceback__) if s.filename == "<test>"]
        line = source.splitlines()[lines[-1] - 1].strip() if lines else ""
        # The test's sentence, if it is the same for all: one that is made of what came back could
        # carry the hidden inputs, which the student's function has seen, now or in an earlier cell.
        texts = [node.value for node in nodes if isinstance(node, ast.Constant)]
        said = f"{e}" if isinstance(e, AssertionError) and f"{e}" in texts else ""
        said = e.told if isinstance(e, StudentError) else said
        if hidden_lines(source) & set(lines):
            said = said or "with other inputs, your answer is not right."
            told = f"A hidden test failed: {said}"
        else:
            said = said or "run its cell in your notebook to see how."
            told = f"A visible test failed: {said}"
        return Failure(type(e).__name__, f"{e}"[:1000], line, told)
    return None
