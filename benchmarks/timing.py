"""Two sides timed alternately in one process, so that a busy machine slows both."""

import statistics
import time
from collections.abc import Callable

Row = tuple[str, float, float, str]
"""What was timed, our seconds, the others' seconds, and what to know of it."""


def seconds(call: Callable[[], object]) -> float:
    """Return how long one call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def alternately(
    ours: Callable[[], object], theirs: Callable[[], object], rounds: int
) -> tuple[float, float]:
    """Return the medians of both sides, in seconds; the first round only warms up."""
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(rounds + 1)][1:]
    return statistics.median(a for a, _ in pairs), statistics.median(b for _, b in pairs)
