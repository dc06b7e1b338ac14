"""Validate the arguments of public functions: first the type, then the range.

Each function returns the converted value, or raises an error that names the argument, its value
and the possible values.
"""

import math
import operator
from collections.abc import Callable, Iterable, Mapping
from numbers import Real
from typing import Any

import numpy as np

from vizhelpers.inputs.errors import repr_of, unknown

SEEDS = (-(2**63), 2**63 - 1)  # accepted by torch's generators


def integer(name: str, value: Any, low: int | None = None, high: int | None = None) -> int:
    """Return an integer from ``low`` to ``high``; NumPy's and torch's are accepted too."""
    if not isinstance(value, (bool, np.bool_)):
        try:
            number = operator.index(value)
        except (TypeError, ValueError, RuntimeError):  # an array or tensor with several elements
            number = None
        if number is not None:
            return _within(name, number, low, high)
    raise TypeError(f"{name}={repr_of(value)}: expected an integer.")


def seed_of(name: str, value: Any) -> int:
    """Return a seed that torch accepts, 64 bits with a sign."""
    return integer(name, value, *SEEDS)


def number(name: str, value: Any, low: float | None = None, high: float | None = None) -> float:
    """Return a finite number from ``low`` to ``high``."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (Real, np.number)):
        raise TypeError(f"{name}={repr_of(value)}: expected a number.")
    try:
        finite = float(value)
    except OverflowError:
        finite = math.inf
    if not math.isfinite(finite):
        raise ValueError(f"{name}={repr_of(value)}: expected a finite number.")
    return _within(name, finite, low, high)


def _within(name: str, value: Any, low: float | None, high: float | None) -> Any:
    if (low is not None and value < low) or (high is not None and value > high):
        bounds = f"at least {low}" if high is None else f"between {low} and {high}"
        raise ValueError(f"{name}={repr_of(value)}: it must be {bounds}.")
    return value


def flag(name: str, value: Any) -> bool:
    """Return a bool; NumPy's is accepted too."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    raise TypeError(f"{name}={repr_of(value)}: expected True or False.")


def string(name: str, value: Any) -> str:
    """Return a string."""
    if isinstance(value, str):
        return value
    raise TypeError(f"{name}={repr_of(value)}: expected a string.")


def as_list(name: str, values: Any, what: str) -> list[Any]:
    """Return an iterable as a list; strings, bytes and mappings are refused."""
    if isinstance(values, Iterable) and not isinstance(values, (str, bytes, Mapping)):
        try:
            return list(values)
        except (TypeError, NotImplementedError):  # an array without axes, a memoryview with two
            pass
    raise TypeError(f"{name}={repr_of(values)}: expected a list of {what}.")


def integers(name: str, values: Any, low: int | None = None, high: int | None = None) -> list[int]:
    """Return a list of integers from ``low`` to ``high``."""
    return [integer(name, value, low, high) for value in as_list(name, values, "integers")]


def strings(name: str, values: Any) -> list[str]:
    """Return a list of strings."""
    return [string(name, value) for value in as_list(name, values, "strings")]


def one_of(kind: str, value: Any, possible: Iterable[str]) -> str:
    """Return ``value`` if it is one of the possible strings; ``kind`` says what they name."""
    names = list(possible)
    if isinstance(value, str) and value in names:
        return value
    raise unknown(kind, value, names)


def optional(check: Callable[..., Any], name: str, value: Any, *bounds: Any) -> Any:
    """Return None unchanged, and any other value validated by ``check``."""
    return None if value is None else check(name, value, *bounds)
