"""Progress reports and cancellation of long loops, without an argument in every function.

A loop that takes seconds iterates over ``steps(...)``. That reports to the function that the caller
registered by ``watching(...)``, if any. The registration is per thread (a context variable).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

Item = TypeVar("Item")
Report = Callable[[str, int, int], bool]
_report: ContextVar[Report | None] = ContextVar("vizhelpers_progress", default=None)


class Cancelled(Exception):
    """A loop over ``steps`` was cancelled."""


@contextmanager
def watching(report: Report) -> Iterator[None]:
    """Call ``report(what, done, total)`` at each step of this thread; False cancels the loop."""
    token = _report.set(report)
    try:
        yield
    finally:
        _report.reset(token)


def watched() -> bool:
    """Return whether a report function is registered in this thread."""
    return _report.get() is not None


def steps(items: Sequence[Item], what: str) -> Iterator[Item]:
    """Yield the items; report before each of them.

    Raises:
        Cancelled: the report function returned False.
    """
    report = _report.get()
    for done, item in enumerate(items):
        if report is not None and not report(what, done, len(items)):
            raise Cancelled(f"stopped at {what} {done} of {len(items)}")
        yield item
