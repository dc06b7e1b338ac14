"""Everything that a call could leave behind, written down so that two moments can be compared."""

import os
import random
import sys
import warnings
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import matplotlib
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

# Held by every module; compared entry by entry instead of as one object.
_TABLES = ("_parameters", "_buffers", "_modules")


@dataclass(frozen=True)
class Same:
    """An object that only equals itself, and is kept alive so that its id is not used again."""

    it: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and self.it is other.it

    __hash__ = None  # type: ignore[assignment]


Snapshot = dict[str, Any]


def snapshot(model: nn.Module, *tensors: Tensor) -> Snapshot:
    """Write down a model, some tensors of the user's, and torch's, NumPy's and matplotlib's state.

    Args:
        model: any module.
        tensors: such as the input.

    Returns:
        ``{what: value}``; values are compared with ``==``, to the bit.
    """
    found: Snapshot = {}
    for name, module in model.named_modules(remove_duplicate=False):
        found |= {f"module {name or '(itself)'}: {k}": v for k, v in _of_module(module).items()}
    named = [*model.named_parameters(remove_duplicate=False)]
    named += [*model.named_buffers(remove_duplicate=False)]
    named += [(f"input {i}", tensor) for i, tensor in enumerate(tensors)]
    for name, tensor in named:
        found |= {f"tensor {name}: {k}": v for k, v in _of_tensor(tensor).items()}
    return found | {f"global: {k}": v for k, v in _of_globals().items()}


def difference(before: Snapshot, after: Snapshot) -> list[str]:
    """Return the names of what changed, appeared or vanished."""
    missing = object()
    names = dict.fromkeys([*before, *after])
    return [n for n in names if before.get(n, missing) != after.get(n, missing)]


def _of_module(module: nn.Module) -> Snapshot:
    found: Snapshot = {"class": type(module), "forward": Same(type(module).forward)}
    for key, value in vars(module).items():
        if key == "training":
            found[key] = value
        elif key in _TABLES or "hooks" in key:
            entries = value.items() if isinstance(value, dict) else [("", value)]
            found[key] = [(name, Same(entry)) for name, entry in entries]
        else:
            found[f"attribute {key}"] = Same(value)
    return found


def _of_tensor(tensor: Tensor) -> Snapshot:
    found: Snapshot = {
        "object": Same(tensor),
        "bits": bits(tensor),
        "version": None if tensor.is_inference() else tensor._version,
        "requires_grad": tensor.requires_grad,
        "retains_grad": tensor.is_leaf or tensor.retains_grad,
        "hooks": _hooks_of(tensor),
    }
    if tensor.is_leaf:
        grad = tensor.grad
        found["grad"] = None if grad is None else (Same(grad), bits(grad))
    return found


def _hooks_of(tensor: Tensor) -> list[tuple[str, Any, Same]]:
    tables = {
        name: getattr(tensor, name, None) or {}
        for name in ("_backward_hooks", "_post_accumulate_grad_hooks")
    }
    return [(n, key, Same(hook)) for n, table in tables.items() for key, hook in table.items()]


def bits(tensor: Tensor) -> tuple[Any, ...]:
    """Return dtype, shape, device and a digest of a tensor's bytes."""
    raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return tensor.dtype, tuple(tensor.shape), tensor.device, blake2b(raw.data).hexdigest()


def _of_globals() -> Snapshot:
    name, keys, *rest = np.random.get_state()
    cudnn = torch.backends.cudnn
    found: Snapshot = {
        "grad mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "anomaly mode": torch.is_anomaly_enabled(),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.is_autocast_cache_enabled()),
        "torch function modes": torch._C._len_torch_function_stack(),
        "torch dispatch modes": torch._C._len_torch_dispatch_stack(),
        "torch random state": bits(torch.get_rng_state()),
        "numpy random state": (name, keys.tobytes(), rest),
        "python random state": random.getstate(),
        "default dtype": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "threads": torch.get_num_threads(),
        "cudnn": (cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "matmul precision": torch.get_float32_matmul_precision(),
        "numpy errors": np.geterr(),
        "rcParams": dict(matplotlib.rcParams),
        "figures": _figures(),
        "warnings": (list(warnings.filters), Same(warnings.showwarning)),
        "streams": (Same(sys.stdout), Same(sys.stderr), Same(sys.excepthook)),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
    }
    for key, value in vars(torch_module).items():
        if key.startswith("_global_") and "hooks" in key and isinstance(value, dict):
            found[key] = [(name, Same(hook)) for name, hook in value.items()]
    return found


def _figures() -> list[int]:
    # pyplot is asked only where something else has loaded it.
    pyplot = sys.modules.get("matplotlib.pyplot")
    return pyplot.get_fignums() if pyplot else []
