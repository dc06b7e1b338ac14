"""Run a model once, in eval mode, without autocast, one thread at a time; explain failures.

A pass leaves the model unchanged, also when it raises or is interrupted.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from vizhelpers.inputs.global_state import process_wide
from vizhelpers.passes.failures import explained

_locks: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()
_guard = threading.Lock()


def _forget_locks() -> None:
    """Reset all locks in a forked process: the threads that held them do not exist there."""
    global _guard
    _guard = threading.Lock()
    _locks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_locks)


@contextmanager
def _alone_with(model: nn.Module) -> Iterator[None]:
    """Hold the lock of every module, so that models with a common submodule also take turns."""
    with _guard:
        # The same order in all threads prevents deadlocks.
        modules = sorted(model.modules(), key=id)
        locks = [_locks.setdefault(module, threading.RLock()) for module in modules]
    with ExitStack() as stack:
        for lock in locks:
            stack.enter_context(lock)
        yield


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model in eval mode for a ``with`` block.

    In train mode dropout makes passes differ, and BatchNorm updates its statistics. Only the
    ``training`` flags are set: a model's own ``eval()`` may do more, such as merging weights. Each
    submodule's flag is restored, since a user may have frozen a part on purpose. Inside the block,
    other threads wait for the model, autocast is off, and compiled modules run uncompiled.

    Raises:
        ValueError: the model has uninitialised lazy layers.
    """
    refuse_lazy(model)
    with _uncompiled(model), _alone_with(model), without_autocast():
        training = [module for module in model.modules() if module.training]
        try:
            for module in training:
                module.training = False
            yield
        finally:
            for module in training:
                module.training = True


@contextmanager
def without_autocast() -> Iterator[None]:
    """Switch autocast off for a ``with`` block; also a decorator, ``@without_autocast()``.

    Maps and gradients are compared and summed, for which bfloat16 is too coarse.
    """
    with ExitStack() as stack:
        for device in ("cpu", "cuda", "mps", "xpu"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield


@contextmanager
def _uncompiled(model: nn.Module) -> Iterator[None]:
    """Run compiled modules uncompiled in a ``with`` block, so that hooks inside them are called."""
    if not any(map(_is_compiled, model.modules())):
        yield
        return
    with process_wide(), torch.compiler.set_stance("force_eager"):
        yield


def _is_compiled(module: nn.Module) -> bool:
    """Return whether a module, or its ``forward`` alone, was compiled by ``torch.compile``."""
    if module._compiled_call_impl is not None or "_orig_mod" in module._modules:
        return True
    return hasattr(vars(module).get("forward"), "_torchdynamo_orig_callable")


def refuse_lazy(model: nn.Module) -> None:
    """Raise a ``ValueError`` if a model has uninitialised lazy layers (``nn.LazyLinear``)."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    waiting = list(dict.fromkeys(n.rpartition(".")[0] for n, t in tensors if is_lazy(t)))
    if waiting:
        raise ValueError(
            f"{type(model).__name__} has lazy layers without shapes yet: "
            f"{', '.join(map(repr, waiting[:6]))}. Run model(x) once on an input of the right "
            "shape, which initialises them, then repeat this call."
        )


def forward(model: nn.Module, x: Tensor) -> Any:
    """Run the model on one tensor and return its output, whatever its type.

    Raises:
        ValueError: the model cannot run on the input; the text says which layer failed, and why.
        TypeError: the model takes more than one input.
        Exception: any error that the model's own code raises, unchanged.
    """
    try:
        return model(x)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        clearer = explained(model, x, error)
        if clearer is None:
            raise
        raise clearer from error
