"""Turn what a student's code returned into plain values; report what it changed on a model.

A value from unknown code can mislead: an object whose ``__eq__`` always returns True equals every
truth. So nothing is compared before it consists of exact, built-in types.
"""

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import nn

from vizhelpers.exercises.model_state import State

Plain = None | bool | int | float | str | np.ndarray | list[Any] | dict[Any, Any]
MAX_DEPTH = 20


def plain(value: Any) -> Plain:
    """Return a value as built-in numbers, texts, NumPy arrays, and lists and dicts of these.

    Types are compared exactly. An object of the student's own class, even a subclass of ``int`` or
    ``Tensor``, is refused, and none of its methods is called. ``nn.Parameter`` and NumPy's scalars
    are accepted, since every network and every array contains them; so are fractions and decimals.

    Args:
        value: what a function returned, or an answer.

    Returns:
        None, bool, int, float or str unchanged; a tensor as an array with a copy of its values,
        detached, on the CPU (bfloat16 as float32); an array as a copy of exact type
        ``numpy.ndarray``; a list or tuple as a list; a dict as a dict; NumPy's scalars, fractions
        and decimals as Python's numbers.

    Raises:
        TypeError: any other type; the text names it and its place within the value.
    """
    return _plain(value, "the answer", MAX_DEPTH)


def _plain(value: Any, where: str, depth: int) -> Plain:
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value
    if kind in (torch.Tensor, nn.Parameter, torch.Size) or kind is np.ndarray:
        return _array(value, where)
    if _is_numpy_scalar(kind):
        return float(value) if kind is np.longdouble else value.item()
    if kind in (Fraction, Decimal):
        return float(value)
    if depth and kind in (list, tuple):
        return [_plain(item, f"{where}[{i}]", depth - 1) for i, item in enumerate(value)]
    if depth and kind is dict:
        return {_key(k, where): _plain(v, f"{where}[{k!r}]", depth - 1) for k, v in value.items()}
    raise TypeError(
        f"{where} is of type {_name(kind)}. Give numbers, texts, tensors or arrays, or lists and "
        "dicts of these" + ("." if depth else f", nested at most {MAX_DEPTH} deep.")
    )


def _is_numpy_scalar(kind: type) -> bool:
    return (
        kind.__module__ == "numpy"
        and getattr(np, kind.__name__, None) is kind
        and issubclass(kind, (np.bool_, np.number, np.str_))
    )


def _name(kind: type) -> str:
    return type.__getattribute__(kind, "__name__")  # a metaclass of the student's cannot answer


def _array(value: Any, where: str) -> Plain:
    if type(value) is torch.Size:
        return list(value)
    if isinstance(value, torch.Tensor):
        tensor = value.detach().cpu()
        return (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).numpy().copy()
    if value.dtype.kind not in "biufcU":
        raise TypeError(f"{where} is an array of {value.dtype}; give one of numbers.")
    return np.array(value, copy=True, subok=False)


def _key(key: Any, where: str) -> Any:
    if type(key) not in (bool, int, float, str):
        raise TypeError(f"A key of {where} is of type {_name(type(key))}; use texts or numbers.")
    return key


def damage(function: Callable[..., Any], model: nn.Module, *args: Any) -> list[str]:
    """Call ``function(model, *args)`` and return what it left changed on the model.

    Args:
        function: takes the model as its first argument.
        model: any module; changes that ``function`` makes are *not* undone.
        args: further arguments of ``function``.

    Returns:
        Sorted words, empty if nothing changed: ``"hook"`` (a forward or backward hook stayed),
        ``"mode"`` (train or eval of any submodule), ``"parameters"`` (values of a parameter or
        buffer), ``"requires_grad"``, ``"grad"`` (a ``.grad`` was filled or changed).

    Raises:
        Exception: whatever the function raises.
    """
    in_its_process = getattr(function, "damage", None)
    if in_its_process is not None:  # a graded lab's function runs, with its model, elsewhere
        return list(in_its_process(model, *args))
    before = State.of(model)
    function(model, *args)
    return before.changes(model)
