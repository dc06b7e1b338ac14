"""What a student's code returned, as plain values; and whether it left the model as it was.

A value that comes from somebody else's code can lie: an ``__eq__`` that is always true equals every
truth. So nothing is compared before it is made of exact, built-in types.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from vizhelpers.exercises.model_state import State

Plain = None | bool | int | float | str | np.ndarray | list[Any] | dict[Any, Any]
DEEPEST = 20


def plain(value: Any) -> Plain:
    """Return a value as built-in numbers, texts, NumPy arrays, and lists and dicts of these.

    Types are compared exactly, so an object of the student's own class, also one that inherits
    from ``int`` or ``Tensor``, is refused and none of its methods is called. ``nn.Parameter`` and
    NumPy's scalars are taken too: every network holds the one, every array the other.

    Args:
        value: what a function returned, or an answer.

    Returns:
        None, bool, int, float or str as they are; a tensor as a copy of its values, detached, on
        the CPU (bfloat16 as float32); an array as a copy of exact type ``numpy.ndarray``; a list
        or tuple as a list; a dict as a dict. NumPy's scalars become Python's.

    Raises:
        TypeError: anything else, with the type's name and the place within the value.
    """
    return _plain(value, "the answer", DEEPEST)


def _plain(value: Any, where: str, depth: int) -> Plain:
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value
    if kind in (torch.Tensor, nn.Parameter, torch.Size) or kind is np.ndarray:
        return _array(value, where)
    if _numpy_scalar(kind):
        return value.item()
    if depth and kind in (list, tuple):
        return [_plain(one, f"{where}[{i}]", depth - 1) for i, one in enumerate(value)]
    if depth and kind is dict:
        return {_key(k, where): _plain(v, f"{where}[{k!r}]", depth - 1) for k, v in value.items()}
    raise TypeError(
        f"{where} is of type {_name(kind)}. Give numbers, texts, tensors or arrays, or lists and "
        "dicts of these" + ("." if depth else f", at most {DEEPEST} deep.")
    )


def _numpy_scalar(kind: type) -> bool:
    return (
        kind.__module__ == "numpy"
        and getattr(np, kind.__name__, None) is kind
        and issubclass(kind, (np.bool_, np.number, np.str_))
    )


def _name(kind: type) -> str:
    return type.__getattribute__(kind, "__name__")


def _array(value: Any, where: str) -> Plain:
    if type(value) is torch.Size:
        return list(value)
    if isinstance(value, torch.Tensor):
        found = value.detach().cpu()
        return (found.float() if found.dtype is torch.bfloat16 else found).numpy().copy()
    if value.dtype.kind not in "biufcU":
        raise TypeError(f"{where} is an array of {value.dtype}; give one of numbers.")
    return np.array(value, copy=True, subok=False)


def _key(key: Any, where: str) -> Any:
    if type(key) not in (bool, int, float, str):
        raise TypeError(f"A key of {where} is of type {_name(type(key))}; use texts or numbers.")
    return key


def damage(function: Callable[..., Any], model: nn.Module, *args: Any) -> list[str]:
    """Call ``function(model, *args)`` and say what it left changed on the model.

    Args:
        function: takes the model first.
        model: any module; it is *not* put right again.
        args: handed on.

    Returns:
        Sorted words, none if all is as before: ``"hook"`` (a forward or backward hook stayed),
        ``"mode"`` (train or eval of any submodule), ``"parameters"`` (a parameter or buffer has
        other values), ``"requires_grad"``, ``"grad"`` (a ``.grad`` was filled or changed).

    Raises:
        Exception: whatever the function raises.
    """
    elsewhere = getattr(function, "damage", None)
    if elsewhere is not None:  # a function that runs in another process looks after its own model
        return list(elsewhere(model, *args))
    before = State.of(model)
    function(model, *args)
    return before.changes(model)
