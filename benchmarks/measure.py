"""Several sides timed in turn, so that a busy machine slows all of them."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

Call = Callable[[], object]

OURS = "vizhelpers"
FLOOR = "floor"
MB = 1 << 20  # bytes


@dataclass(frozen=True)
class Budget:
    """How long a row may take.

    Attributes:
        rounds: how often each side is timed at least.
        seconds: for how long rounds are added.
        quick: whether a rough answer will do.
    """

    rounds: int = 3
    seconds: float = 5.0
    quick: bool = False


FULL = Budget()
QUICK = Budget(rounds=1, seconds=0.5, quick=True)


@dataclass(frozen=True)
class Spread:
    """A median, the smallest and the largest of ``count`` measurements, in the row's unit."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float], times: float = 1.0) -> "Spread":
        """Return the spread of some measurements, each multiplied by ``times``."""
        scaled = [value * times for value in values]
        return cls(statistics.median(scaled), min(scaled), max(scaled), len(scaled))


@dataclass(frozen=True)
class Result:
    """One row of the table.

    Attributes:
        name: what was done.
        sides: who did it -> how long it took, or how much it needed; ``OURS`` is among them, and
            ``FLOOR`` where there is one: what the machine needs for the work that cannot be saved.
        unit: "s", "ms" or "MB".
        goals: other side -> the ratio theirs / ours that was set as a goal.
        floor: what the floor is, in words.
        note: what to know of the row.
        limit: the greatest value of ours that was set as a goal, in ``unit``.
    """

    name: str
    sides: Mapping[str, Spread]
    unit: str = "s"
    goals: Mapping[str, float] = field(default_factory=dict)
    floor: str = ""
    note: str = ""
    limit: float | None = None

    def others(self) -> list[str]:
        """Return the names of the other sides, without the floor."""
        return [name for name in self.sides if name not in (OURS, FLOOR)]

    def ratio(self, other: str) -> float:
        """Return how many times ours is better than another side, by medians."""
        return self.sides[other].median / self.sides[OURS].median

    def above_floor(self) -> float | None:
        """Return how many times above the floor we are."""
        if FLOOR not in self.sides:
            return None
        return self.sides[OURS].median / self.sides[FLOOR].median

    def missed(self) -> list[str]:
        """Return the goals that were missed, in words."""
        found = [
            f"{goal:.3g} x {other}"
            for other, goal in self.goals.items()
            if self.ratio(other) < goal
        ]
        over = self.limit is not None and self.sides[OURS].median > self.limit
        return [*found, *([f"{self.limit:g} {self.unit}"] if over else [])]


def seconds(call: Call) -> float:
    """Return how long one call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def in_turn(
    sides: Mapping[str, Call], budget: Budget, times: Mapping[str, float] | None = None
) -> dict[str, Spread]:
    """Time all sides, one after the other, again and again.

    The first round only warms up, unless it takes all of the time by itself: then it counts, and
    one more round will do.

    Args:
        sides: name -> what is timed.
        budget: how many rounds; a round more is begun only where it will fit.
        times: name -> factor, for a side that does only a part of the work.
    """
    found: dict[str, list[float]] = {name: [] for name in sides}
    end = time.perf_counter() + budget.seconds
    rounds, first = budget.rounds, {name: seconds(call) for name, call in sides.items()}
    round_takes = sum(first.values())
    if round_takes > budget.seconds:
        found = {name: [took] for name, took in first.items()}
        rounds = min(rounds, 2)
    while _shortest(found) < rounds or time.perf_counter() + round_takes < end:
        for name, call in sides.items():
            found[name].append(seconds(call))
    return {name: Spread.of(took, (times or {}).get(name, 1.0)) for name, took in found.items()}


def _shortest(found: Mapping[str, Sequence[float]]) -> int:
    return min(map(len, found.values()))
