"""What a caller hands over, checked at the public door: the right kind, within its bounds.

Each function returns the value as the code behind the door wants it, or raises an error that says
the argument's name, what was given, and what is possible.
"""

import math
import operator
from collections.abc import Callable, Iterable, Mapping
from numbers import Real
from typing import Any

import numpy as np

from vizhelpers.inputs.errors import said, unknown

SEEDS = (-(2**63), 2**63 - 1)  # what torch's generators take


def whole(name: str, value: Any, low: int | None = None, high: int | None = None) -> int:
    """Return a whole number from ``low`` to ``high``; numpy's and torch's are taken too."""
    if not isinstance(value, (bool, np.bool_)):
        try:
            number = operator.index(value)
        except (TypeError, ValueError, RuntimeError):  # of an array or tensor of several
            number = None
        if number is not None:
            return _within(name, number, low, high)
    raise TypeError(f"{name}={said(value)}: expected a whole number.")


def seed_of(name: str, value: Any) -> int:
    """Return a seed that torch takes."""
    return whole(name, value, *SEEDS)


def number(name: str, value: Any, low: float | None = None, high: float | None = None) -> float:
    """Return a finite number from ``low`` to ``high``."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (Real, np.number)):
        raise TypeError(f"{name}={said(value)}: expected a number.")
    try:
        finite = float(value)
    except OverflowError:
        finite = math.inf
    if not math.isfinite(finite):
        raise ValueError(f"{name}={said(value)}: expected a finite number.")
    return _within(name, finite, low, high)


def _within(name: str, value: Any, low: float | None, high: float | None) -> Any:
    if (low is not None and value < low) or (high is not None and value > high):
        bounds = f"at least {low}" if high is None else f"between {low} and {high}"
        raise ValueError(f"{name}={said(value)}: it must be {bounds}.")
    return value


def flag(name: str, value: Any) -> bool:
    """Return True or False."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    raise TypeError(f"{name}={said(value)}: expected True or False.")


def text(name: str, value: Any) -> str:
    """Return a text."""
    if isinstance(value, str):
        return value
    raise TypeError(f"{name}={said(value)}: expected a text.")


def listed(name: str, values: Any, what: str) -> list[Any]:
    """Return the entries of a list, a tuple, a range, an array …; not of a text or a mapping."""
    if isinstance(values, Iterable) and not isinstance(values, (str, bytes, Mapping)):
        try:
            return list(values)
        except (TypeError, NotImplementedError):  # an array of no axis, a memoryview of two
            pass
    raise TypeError(f"{name}={said(values)}: expected a list of {what}.")


def whole_numbers(
    name: str, values: Any, low: int | None = None, high: int | None = None
) -> list[int]:
    """Return a list of whole numbers."""
    return [whole(name, value, low, high) for value in listed(name, values, "whole numbers")]


def texts(name: str, values: Any) -> list[str]:
    """Return a list of texts."""
    return [text(name, value) for value in listed(name, values, "texts")]


def one_of(kind: str, value: Any, possible: Iterable[str]) -> str:
    """Return one of the possible words."""
    names = list(possible)
    if isinstance(value, str) and value in names:
        return value
    raise unknown(kind, value, names)


def optional(check: Callable[..., Any], name: str, value: Any, *bounds: Any) -> Any:
    """Return None as it is, anything else checked."""
    return None if value is None else check(name, value, *bounds)
