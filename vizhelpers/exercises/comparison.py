"""Compare plain values: ``same`` decides, ``difference`` describes."""

import numpy as np

from vizhelpers.exercises.values import Plain

TOLERANCE = 1e-3  # of the largest value; another order of summation differs by far less
TOLERANCE_ON_PAPER = 1e-2  # a number on paper has two or three digits


def same(value: Plain, truth: Plain, tolerance: float = TOLERANCE) -> bool:
    """Tell whether two plain values are equal.

    Shapes, texts and integers are compared exactly, other numbers within ``tolerance`` times the
    largest absolute value of ``truth``.
    """
    if isinstance(truth, dict):
        if not isinstance(value, dict) or value.keys() != truth.keys():
            return False
        return all(same(value[key], truth[key], tolerance) for key in truth)
    if isinstance(truth, list) and not _is_numbers(truth):
        if not isinstance(value, list) or len(value) != len(truth):
            return False
        return all(same(a, b, tolerance) for a, b in zip(value, truth, strict=True))
    if isinstance(truth, (str, bool)) or truth is None:
        return type(value) is type(truth) and value == truth
    return _same_numbers(value, truth, tolerance)


def _is_numbers(value: Plain) -> bool:
    return isinstance(value, list) and all(type(item) in (int, float, bool) for item in value)


def _same_numbers(value: Plain, truth: Plain, tolerance: float) -> bool:
    actual, expected = as_array(value), np.asarray(truth)
    if actual is None or actual.dtype.kind not in "biuf" or actual.shape != expected.shape:
        return False
    if expected.dtype.kind in "biu":  # counts and sizes are exact
        return bool(np.array_equal(actual, expected))
    largest = float(np.abs(expected).max(initial=0))
    return bool(np.allclose(actual, expected, rtol=0, atol=tolerance * largest))


def as_array(value: Plain) -> np.ndarray | None:
    """Return a number, an array, or nested lists of these as one array; None if there is none."""
    if type(value) in (int, float) or isinstance(value, np.ndarray):
        return np.asarray(value)
    if not isinstance(value, list):
        return None
    parts = [np.asarray(item) if type(item) is bool else as_array(item) for item in value]
    arrays = [part for part in parts if part is not None]
    if len(arrays) < len(parts) or len({array.shape for array in arrays}) > 1:
        return None
    return np.stack(arrays) if arrays else np.empty(0)


def difference(value: Plain, truth: Plain) -> str:
    """Return a sentence that names the difference in form, but not the true value."""
    actual, expected = _form(value), _form(truth)
    if actual != expected:
        return f"It has {actual}, and should have {expected}."
    return "The value is not right."


def _form(value: Plain) -> str:
    if isinstance(value, dict):
        return f"the keys {', '.join(map(str, value)) or '(none)'}"
    if isinstance(value, str):
        return "the form of a text"
    array = as_array(value)
    if array is None and isinstance(value, list):
        return f"{len(value)} parts ({', '.join(_form(item) for item in value[:4])})"
    shape = np.shape(value if array is None else array)  # type: ignore[arg-type]
    return f"shape {shape}" if shape else "the form of one number"
