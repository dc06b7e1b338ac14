"""Long work tells how far it is, and can be stopped, without an argument in every function.

A loop that takes seconds runs over ``steps(...)``. Nothing happens there unless the caller is
inside ``watching(...)``, which is per thread (a context variable), as a panel's worker is.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

Item = TypeVar("Item")
Report = Callable[[str, int, int], bool]
_report: ContextVar[Report | None] = ContextVar("vizhelpers_progress", default=None)


class Cancelled(Exception):
    """The caller asked a loop over ``steps`` to stop."""


@contextmanager
def watching(report: Report) -> Iterator[None]:
    """Have ``report(what, done, total)`` called at each step; where it returns False, stop."""
    token = _report.set(report)
    try:
        yield
    finally:
        _report.reset(token)


def watched() -> bool:
    """Whether somebody watches the loops of this thread."""
    return _report.get() is not None


def steps(items: Sequence[Item], what: str) -> Iterator[Item]:
    """Yield the items; before each, tell whoever is watching, and stop if asked to.

    Raises:
        Cancelled: the watcher returned False.
    """
    report = _report.get()
    for done, item in enumerate(items):
        if report is not None and not report(what, done, len(items)):
            raise Cancelled(f"stopped at {what} {done} of {len(items)}")
        yield item
