"""Copies of a model that share its parameters: for shapes, and for a panel's thread."""

import copy
import types
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Mapping
from enum import Enum
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

TensorFunction = Callable[[Tensor], Tensor]


def copy_model(
    model: nn.Module, tensor: TensorFunction = lambda original: original, *, hooks: bool = False
) -> nn.Module:
    """Return a copy of a model that shares the attributes that cannot be copied.

    Unlike ``copy.deepcopy`` it works for every model, also for those with tensors that have a
    graph (pruning, weight_norm), locks or files in attributes.

    Args:
        model: any module; it is not changed.
        tensor: a function from each parameter, buffer and tensor in an attribute to its copy; by
            default to the tensor itself, so that the copy follows the model's training.
        hooks: copy all hooks; otherwise only those that are methods of the model. These are bound
            to the copy.
    """
    memo: dict[int, Any] = {id(module): module for module in model.modules()}
    modules = [m for m in model.modules() if not isinstance(m, torch.jit.ScriptModule)]
    ids = set(memo)
    for module in modules:
        memo[id(module)] = object.__new__(type(module))
    for module in modules:
        attributes = memo[id(module)].__dict__
        for key, value in vars(module).items():
            attributes[key] = _copied(value, memo, tensor)
            if _is_hook_table(key, value) and not hooks:
                for hook_id, hook in value.items():
                    if hook is not True and not is_method_of(hook, ids):
                        del attributes[key][hook_id]
        attributes["_compiled_call_impl"] = None
    return memo[id(model)]


def _copied(value: Any, memo: dict[int, Any], tensor: TensorFunction) -> Any:
    """Return a copy of a value, containers entry by entry, or the value if it cannot be copied."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value  # most attributes
    if id(value) in memo:
        return memo[id(value)]
    if isinstance(value, Tensor):
        memo[id(value)] = tensor(value)
    elif type(value) in (list, set):
        memo[id(value)] = type(value)(_copied(entry, memo, tensor) for entry in value)
    elif type(value) is tuple:
        return tuple(_copied(entry, memo, tensor) for entry in value)
    elif type(value) in (dict, OrderedDict, defaultdict):
        memo[id(value)] = copied = copy.copy(value)
        copied.update({key: _copied(entry, memo, tensor) for key, entry in value.items()})
    else:
        return _copied_object(value, memo, tensor)
    return memo[id(value)]


def _copied_object(value: Any, memo: dict[int, Any], tensor: TensorFunction) -> Any:
    try:
        return copy.deepcopy(value, memo)
    except Exception:  # it contains a lock, a file, or a tensor with a graph
        pass
    try:
        copied = copy.copy(value)
        attributes = {k: _copied(v, memo, tensor) for k, v in vars(value).items()}
    except Exception:
        return value
    if copied is not value:
        copied.__dict__.update(attributes)
    return copied


def private_copy(model: nn.Module) -> nn.Module:
    """Return a copy of a model that shares its parameters, or the model itself.

    A panel computes in a thread of its own, on the copy, so that it does not interfere with passes
    in notebook cells. The model itself is used if a copy might compute something else: if it has
    hooks, a replaced ``forward``, or attributes that may refer to other parts of the model.
    """
    return copy_model(model) if all(map(_is_plain, model.modules())) else model


def state_of(model: nn.Module) -> Hashable:
    """Return a value that changes whenever training, a conversion or a hook changes a model."""
    tensors = [*model.parameters(), *model.buffers()]
    modules = [
        (id(module), *(tuple(v) for k, v in vars(module).items() if _is_hook_table(k, v)))
        for module in model.modules()
    ]
    return tuple(map(_state_of_tensor, tensors)), tuple(modules)


def _state_of_tensor(tensor: Tensor) -> Hashable:
    if is_lazy(tensor):
        return id(tensor)
    version = -1 if tensor.is_inference() else tensor._version
    return id(tensor), tensor.data_ptr(), version


_DATA = (type(None), bool, int, float, complex, str, bytes, Tensor, np.ndarray, np.generic, Enum,
         torch.dtype, torch.device, type, types.BuiltinFunctionType)  # fmt: skip
_OF_TORCH = ("_parameters", "_buffers", "_modules", "_vizhelpers_card")


def _is_plain(module: nn.Module) -> bool:
    """Return whether a module consists only of its class, tensors, plain data and submodules."""
    if isinstance(module, torch.jit.ScriptModule) or "forward" in vars(module):
        return False
    return all(
        key in _OF_TORCH or (not value if "_hooks" in key else _is_data(value))
        for key, value in vars(module).items()
    )


def _is_data(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_data, value.values()))
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(map(_is_data, value))
    if isinstance(value, types.FunctionType):
        return value.__closure__ is None and value.__name__ != "<lambda>"
    return isinstance(value, _DATA)


def _is_hook_table(key: str, value: Any) -> bool:
    return "_hooks" in key and isinstance(value, dict)


def is_method_of(hook: Any, ids: set[int]) -> bool:
    """Return whether a hook is a method of one of these modules, or a ``partial`` of one."""
    if isinstance(hook, partial):
        given = (*hook.args, *hook.keywords.values())
        return is_method_of(hook.func, ids) or any(id(value) in ids for value in given)
    return isinstance(hook, types.MethodType) and id(hook.__self__) in ids


def closes_over(hook: Any, ids: set[int]) -> bool:
    """Return whether a hook is a function with one of these modules in its closure."""
    cells = getattr(hook, "__closure__", None) or ()
    return any(id(_content(cell)) in ids for cell in cells)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # an empty cell
        return None
