"""Close the panel of an earlier call whose arguments are equal, by content or by identity."""

import hashlib
import inspect
import sys
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial, wraps
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any, ParamSpec

import torch
from torch import Tensor, nn

from vizhelpers.view.live.panel import Panel

P = ParamSpec("P")
_open: dict[Hashable, Panel] = {}
_SCALARS = (type(None), bool, int, float, complex, str)
_BY_IDENTITY = (type, ModuleType, BuiltinFunctionType)


def replaces_earlier_panel(explore: Callable[P, Panel]) -> Callable[P, Panel]:
    """Return a function that closes the panel of an earlier call with equal arguments.

    A cell that runs again thereby replaces its panel. With ``keep=True`` nothing is closed. The
    key of a call refers to the arguments while the panel is open, so that no id is reused.
    """

    @wraps(explore)
    def replacing(*args: P.args, **kwargs: P.kwargs) -> Panel:
        panel = explore(*args, **kwargs)
        if not kwargs.get("keep"):
            key = key_of_call(explore, *args, **kwargs)
            if key in _open:
                _open[key].close()
            _open[key] = panel
            panel.on_close(partial(_open.pop, key))
        return panel

    return replacing


@dataclass(frozen=True, eq=False)
class Reference:
    """A reference that compares by identity, and keeps its object alive so that no id is reused."""

    value: Any

    def __eq__(self, other: object) -> bool:
        """Return whether both refer to the same object."""
        return isinstance(other, Reference) and self.value is other.value

    def __hash__(self) -> int:
        """Return the object's id, since the object itself may not be hashable."""
        return id(self.value)


def key_of_call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Hashable:
    """Return a hashable key, equal for calls with equal arguments, positional or by keyword.

    Args:
        function: the function; its signature gives names and defaults. ``keep`` is ignored.
        *args: positional arguments of the call.
        **kwargs: its keyword arguments.
    """
    bound = inspect.signature(function).bind(*args, **kwargs)
    bound.apply_defaults()
    arguments = [(name, value) for name, value in bound.arguments.items() if name != "keep"]
    return function.__qualname__, content(arguments)


def content(value: Any, within: frozenset[int] = frozenset()) -> Hashable:
    """Return a hashable object that compares equal for values with equal content.

    Large data is replaced by a digest. Models, and objects that cannot be pickled, are compared by
    identity. A function defined in a notebook cell is compared by its code and the variables that
    it uses, since the cell creates a new function whenever it runs.

    Args:
        value: any object.
        within: ids of the containers that hold ``value``, so that a cycle ends.
    """
    if isinstance(value, _SCALARS):
        return type(value), repr(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return type(value), hashlib.blake2b(bytes(value)).digest()
    if isinstance(value, CodeType):
        return value  # code objects compare by value
    if isinstance(value, _BY_IDENTITY) or _is_model(value) or _is_imported(value):
        return Reference(value)
    if id(value) in within:
        return type(value), "cycle"
    try:
        parts = _parts(value)
    except Exception:  # an object's own pickling code may raise anything
        return Reference(value)
    return type(value), *(content(part, within | {id(value)}) for part in parts)


def _parts(value: Any) -> tuple[Any, ...]:
    """Return the parts that a value consists of; raise an exception if they are unknown."""
    if type(value) in (list, tuple):
        return tuple(value)
    if type(value) is dict:
        return tuple(value.items())
    if isinstance(value, FunctionType):
        used = inspect.getclosurevars(value)
        defaults = (value.__defaults__, value.__kwdefaults__)
        return value.__code__, defaults, dict(used.nonlocals), dict(used.globals)
    if isinstance(value, Tensor):
        array = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        return str(value.dtype), tuple(value.shape), array.tobytes()
    state = value.__reduce_ex__(2)
    if isinstance(state, str):
        raise TypeError("Pickle would store the object's name only.")
    return tuple(state)


def _is_model(value: Any) -> bool:
    """Return whether a value is an ``nn.Module`` that is not one of torchvision's transforms."""
    if not isinstance(value, nn.Module):
        return False
    parts = [module for module in value.modules() if type(module) is not nn.Sequential]
    packages = {".".join(type(part).__module__.split(".")[:2]) for part in parts}
    return packages != {"torchvision.transforms"}


def _is_imported(value: Any) -> bool:
    """Return whether a value is a function of an imported module, the same object on every run."""
    if not isinstance(value, FunctionType) or value.__module__ == "__main__":
        return False
    return getattr(sys.modules.get(value.__module__), value.__name__, None) is value
