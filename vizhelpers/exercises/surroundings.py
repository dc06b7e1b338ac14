"""Process-wide settings: defined ones for a check, and restored ones after a reader's code."""

import builtins
import contextlib
import logging
import math
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules import module as torch_module

from vizhelpers.inputs.global_state import random_states, restore_random_states

_one_check_at_a_time = threading.RLock()  # the settings belong to the process, not to a thread


@contextmanager
def defined() -> Iterator[None]:
    """Apply PyTorch's initial settings for a ``with`` block, then restore the reader's.

    Gradients are recorded; new tensors are float32, on the CPU; there is no autocast.
    """
    with (
        _one_check_at_a_time,
        restored(),
        torch.inference_mode(False),  # also enables gradients
        torch.device("cpu"),
        np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"),
    ):
        torch.set_default_dtype(torch.float32)
        torch.set_float32_matmul_precision("highest")
        torch.set_autocast_enabled("cpu", False)
        yield


@contextmanager
def restored() -> Iterator[None]:
    """Restore all settings that a ``with`` block changed, however it ends."""
    with torch.inference_mode(torch.is_inference_mode_enabled()):  # ends what the block entered
        before = [(read(), restore) for read, restore in _SETTINGS]
        functions = [(owner, dict(vars(owner))) for owner in _OWNERS]
        try:
            yield
        finally:
            for owner, names in functions:
                _restore_functions(owner, names)
            for value, restore in before:
                with contextlib.suppress(Exception):  # such as a folder that is gone
                    restore(value)


def _restore_functions(owner: Any, before: dict[str, Any]) -> None:
    """Undo replaced or deleted functions of a module or class; other new names stay."""
    now = vars(owner)
    if isinstance(owner, type):
        for name in now.keys() - before.keys():
            if any(name in vars(base) for base in owner.__mro__[1:]):  # it replaces theirs
                delattr(owner, name)
    for name, value in before.items():
        if now.get(name) is not value and (callable(value) or isinstance(value, _DESCRIPTORS)):
            setattr(owner, name, value)


_DESCRIPTORS = (staticmethod, classmethod, property)
_OWNERS: list[Any] = [
    *(torch, nn, nn.functional, torch.autograd, torch.Tensor, np, builtins, math, os, random),
    *(value for value in vars(nn).values() if isinstance(value, type)),
]


def _default_device() -> torch.device | None:
    """Return what ``torch.set_default_device`` set, or None."""
    # torch.get_default_device also returns the device of a `with` block.
    context = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
    return getattr(context, "device", None)


def _set_default_device(device: torch.device | None) -> None:
    if _default_device() != device:
        torch.set_default_device(device)


def _set_threads(count: int) -> None:
    if torch.get_num_threads() != count:
        torch.set_num_threads(count)


_FILL = "fill_uninitialized_memory"  # a property of a module, which mypy does not know


def _deterministic() -> tuple[bool, bool, bool]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        getattr(torch.utils.deterministic, _FILL),
    )


def _set_deterministic(values: tuple[bool, bool, bool]) -> None:
    torch.use_deterministic_algorithms(values[0], warn_only=values[1])
    setattr(torch.utils.deterministic, _FILL, values[2])


def _cudnn() -> dict[str, Any]:
    names = ("enabled", "benchmark", "deterministic")
    return {name: getattr(torch.backends.cudnn, name) for name in names}


def _set_cudnn(values: dict[str, Any]) -> None:
    for name, value in values.items():
        setattr(torch.backends.cudnn, name, value)


def _autocast() -> tuple[bool, torch.dtype]:
    return torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")


def _set_autocast(values: tuple[bool, torch.dtype]) -> None:
    torch.set_autocast_enabled("cpu", values[0])
    torch.set_autocast_dtype("cpu", values[1])


def _tables() -> list[tuple[Any, Any]]:
    """Return copies of lists and dictionaries of the process, each with the one it copies."""
    hooks = [table for name, table in vars(torch_module).items() if name.startswith("_global_")]
    tables: list[Any] = [t for t in hooks if isinstance(t, dict)]  # torch has no public list
    pyplot = sys.modules.get("matplotlib.pyplot")  # imported already, or not in use
    if pyplot is not None:
        tables.append(pyplot.rcParams)
    return [(table, table.copy()) for table in [*tables, os.environ, sys.path, sys.argv]]


def _restore_tables(tables: list[tuple[Any, Any]]) -> None:
    for table, before in tables:
        if table == before:
            continue
        if isinstance(table, MutableMapping):
            table.clear()
            table.update(before)
        else:
            table[:] = before


def _figures() -> list[int] | None:
    pyplot = sys.modules.get("matplotlib.pyplot")
    return None if pyplot is None else pyplot.get_fignums()


def _close_figures(before: list[int] | None) -> None:
    """Close new figures: a check calls a function several times, and shows none of them."""
    for number in set(_figures() or []) - set(before or []):
        sys.modules["matplotlib.pyplot"].close(number)


def _modules() -> dict[str, Any]:
    return dict(sys.modules)


def _restore_modules(before: dict[str, Any]) -> None:
    sys.modules.update(before)  # new imports stay


def _streams() -> tuple[Any, Any, Any]:
    return sys.stdout, sys.stderr, sys.stdin


def _set_streams(streams: tuple[Any, Any, Any]) -> None:
    sys.stdout, sys.stderr, sys.stdin = streams


def _interrupt() -> Any:
    return signal.getsignal(signal.SIGINT)


def _set_interrupt(handler: Any) -> None:
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, handler)


def _anomaly() -> tuple[bool, bool]:
    return torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()


def _set_profile(profile: Any) -> None:
    if sys.getprofile() is not profile:
        sys.setprofile(profile if callable(profile) else None)  # cProfile's object is not callable


_SETTINGS: list[tuple[Callable[[], Any], Callable[[Any], Any]]] = [
    (sys.getprofile, _set_profile),
    (_modules, _restore_modules),
    (_streams, _set_streams),
    (_interrupt, _set_interrupt),
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.get_default_dtype, torch.set_default_dtype),
    (_default_device, _set_default_device),
    (torch.get_num_threads, _set_threads),
    (_deterministic, _set_deterministic),
    (_cudnn, _set_cudnn),
    (_autocast, _set_autocast),
    (_anomaly, lambda values: torch.autograd.set_detect_anomaly(*values)),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (torch.is_warn_always_enabled, torch.set_warn_always),
    (random_states, restore_random_states),
    (np.geterr, lambda values: np.seterr(**values)),
    (np.get_printoptions, lambda values: np.set_printoptions(**values)),
    (lambda: list(warnings.filters), lambda filters: setattr(warnings, "filters", filters)),
    (lambda: logging.root.manager.disable, logging.disable),
    (sys.getrecursionlimit, sys.setrecursionlimit),
    (os.getcwd, os.chdir),
    (_figures, _close_figures),
    (_tables, _restore_tables),
]
