"""A model as the caller gives it: the module inside its wrappers."""

from typing import Any

import torch
from torch import nn


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the module inside ``torch.compile`` or ``DataParallel``; another module unchanged.

    Hooks on the layers of a compiled module are not called reliably, nor those on a model that
    ``DataParallel`` replicates. The module inside computes the same.

    Raises:
        TypeError: not a module, or a TorchScript module, whose layers accept no hooks.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise TypeError(
            "TorchScript modules are not supported: their layers accept no hooks. Use the Python "
            "module that was scripted or traced."
        )
    if not isinstance(model, nn.Module):
        given = f"the class {model.__name__}" if isinstance(model, type) else type(model).__name__
        raise TypeError(
            f"Expected a torch.nn.Module, got {given}. Pass a model itself, such as "
            "viz.load_model() returns; a state dict or a class is not one."
        )
    inside: Any = model
    while True:
        if isinstance(inside, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            inside = inside.module
        elif "_orig_mod" in inside._modules:  # torch.compile's OptimizedModule
            inside = inside._modules["_orig_mod"]
        else:
            return inside


def dtype_of(model: nn.Module) -> torch.dtype:
    """Return the dtype of the model's floating-point parameters, float32 if it has none."""
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
