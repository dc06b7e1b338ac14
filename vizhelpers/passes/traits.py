"""Learn from a model's first pass whether later passes may stop behind a layer.

They may if the layer is known to run once. A model is predictable, so that its first pass shows
this, if its modules hold plain data and no hooks, and if that pass read no
values, drew no random numbers and changed no tensor of the model. Other models run whole.

Global variables that ``forward`` reads are not detected.
"""

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from types import BuiltinFunctionType, FunctionType
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from vizhelpers.passes.hooks import watching_calls


@dataclass
class Traits:
    """What is known of a model's passes on inputs of one shape.

    Attributes:
        predictable: whether a later pass runs the same operations as the first.
        runs: how often each module ran, by its dotted path; empty before the first pass.
    """

    predictable: bool = True
    runs: Counter[str] = field(default_factory=Counter)


_known: WeakKeyDictionary[nn.Module, tuple[Any, dict[Any, Traits]]] = WeakKeyDictionary()
_MOST = 16  # shapes of inputs that are remembered for each model


def traits_of(model: nn.Module, x: Tensor, purpose: str = "") -> Traits:
    """Return what is known of a model's passes on inputs like ``x``.

    Args:
        model: the module inside its wrappers.
        x: network input; its shape, dtype and device count, not its values.
        purpose: passes of different purposes are known separately.
    """
    with torch._C.DisableTorchFunction():  # a mode, such as ``Ending``, would see each parameter
        structure = _structure(model)
    if structure is None or _has_global_hooks() or x.device.type not in ("cpu", "cuda"):
        return Traits(predictable=False)
    known = _known.get(model)
    if known is None or known[0] != structure:
        known = _known[model] = structure, {}
    key = x.shape, x.dtype, x.device, x.requires_grad, torch.is_grad_enabled(), purpose
    if key not in known[1] and len(known[1]) >= _MOST:
        known[1].clear()
    return known[1].setdefault(key, Traits())


def _has_global_hooks() -> bool:
    tables = (value for name, value in vars(torch_module).items() if name.startswith("_global_"))
    return any(isinstance(table, dict) and table for table in tables)


_PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device,
                    type, BuiltinFunctionType})  # fmt: skip


def _structure(model: nn.Module) -> Any:
    """Return a value that changes if attributes or submodules do; None if they are not plain."""
    order = {module: i for i, module in enumerate(model.modules())}
    rows: list[Any] = []
    if any(isinstance(module, torch.jit.ScriptModule) for module in order):
        return None
    try:
        for module in order:
            rows += type(module).forward, *vars(module)
            for key, value in vars(module).items():
                if type(value) in _PLAIN:  # most attributes, and this runs at each call
                    rows.append(value)
                elif "_hooks" in key:
                    if value:
                        return None
                elif key != "_vizhelpers_card":  # where its weights are from
                    rows.append(_plain(value, order))
    except (KeyError, RecursionError):  # a list may contain itself
        return None
    return None if any("forward" in vars(module) for module in order) else rows


def _plain(value: Any, order: Mapping[nn.Module, int]) -> Any:
    """Return an attribute's value without tensors and modules, for a comparison.

    Raises:
        KeyError: it is no plain data.
    """
    if isinstance(value, Tensor):
        return value.shape
    if isinstance(value, dict):
        return [*value, *(_plain(entry, order) for entry in value.values())] if value else None
    if isinstance(value, (list, tuple)):
        return [_plain(entry, order) for entry in value]
    if isinstance(value, (set, frozenset)):
        return frozenset(_plain(entry, order) for entry in value)
    if isinstance(value, nn.Module):
        return order[value]
    if isinstance(value, np.generic):
        return value.item()
    if type(value) in _PLAIN or isinstance(value, (Enum, type)):
        return value
    if isinstance(value, FunctionType) and value.__closure__ is None:
        return value
    raise KeyError(value)


@contextmanager
def learning(traits: Traits, model: nn.Module, x: Tensor) -> Iterator[None]:
    """Fill in a model's traits from the whole pass in a ``with`` block, unless it raises.

    Args:
        traits: from ``traits_of``; unpredictable ones stay as they are.
        model: the module inside its wrappers.
        x: network input.
    """
    if not traits.predictable:
        yield
        return
    runs: Counter[str] = Counter()
    names = {module: name for name, module in model.named_modules()}
    states = _random_states(x.device)

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        runs[names[module]] += 1

    with _Watch(model) as watch, _Exports() as exports, watching_calls(model, leave):
        yield
    drawn = states != _random_states(x.device)
    traits.predictable = watch.predictable and not exports.used and not drawn
    traits.runs = runs


def _random_states(device: torch.device) -> tuple[Any, ...]:
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    drawn = [state.numpy().tobytes() for state in states]
    return random.getstate(), tuple(np.random.get_state())[2:], *drawn


class _Exports(TorchFunctionMode):
    """Note whether ``forward`` passes a tensor's values to other code than torch."""

    _functions = frozenset({Tensor.numpy, Tensor.tolist, Tensor.__array__, Tensor.__dlpack__})

    def __init__(self) -> None:
        super().__init__()
        self.used = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.used |= func in self._functions
        return func(*args, **(kwargs or {}))


class _Watch(TorchDispatchMode):
    """Note in a pass whether ``forward`` reads values, or writes to a tensor of the model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        own = [*model.parameters(), *model.buffers()]
        own += [v for m in model.modules() for v in vars(m).values() if isinstance(v, Tensor)]
        self._own = set(map(_memory_of, own))
        self.predictable = True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func._schema.is_mutable and not self._own.isdisjoint(_written(func, args, kwargs)):
            self.predictable = False
        if torch.Tag.data_dependent_output in func.tags or _shape_depends_on_values(func, args):
            self.predictable = False
        return func(*args, **kwargs)


def _written(func: Any, args: Any, kwargs: Any) -> Iterator[int | None]:
    """Yield the address of each tensor that an operation overwrites."""
    named = dict(zip((a.name for a in func._schema.arguments), args, strict=False)) | kwargs
    for argument in func._schema.arguments:
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = named.get(argument.name)
            yield from map(_memory_of, value if isinstance(value, (list, tuple)) else [value])


def _shape_depends_on_values(func: Any, args: Any) -> bool:
    if torch.Tag.dynamic_output_shape not in func.tags:
        return False
    if func.overloadpacket is not torch.ops.aten.index:
        return True
    # The same operation takes indices, which is common, and masks.
    return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])


def _memory_of(tensor: Any) -> int | None:
    """Return the address of a tensor's memory; None if it has none."""
    try:
        return tensor.untyped_storage().data_ptr()
    except (AttributeError, RuntimeError, NotImplementedError):  # sparse, say
        return None
