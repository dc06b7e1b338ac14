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
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules import module as torch_module

from vizhelpers.exercises.torch_settings import TORCH_SETTINGS, Setting
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
    with (
        warnings.catch_warnings(),
        torch.inference_mode(torch.is_inference_mode_enabled()),  # ends what the block entered
    ):
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


def _set_profile(profile: Any) -> None:
    if sys.getprofile() is not profile:
        sys.setprofile(profile if callable(profile) else None)  # cProfile's object is not callable


_SETTINGS: list[Setting] = [
    (sys.getprofile, _set_profile),
    (_modules, _restore_modules),
    (_streams, _set_streams),
    (_interrupt, _set_interrupt),
    *TORCH_SETTINGS,
    (random_states, restore_random_states),
    (np.geterr, lambda values: np.seterr(**values)),
    (np.get_printoptions, lambda values: np.set_printoptions(**values)),
    (lambda: logging.root.manager.disable, logging.disable),
    (sys.getrecursionlimit, sys.setrecursionlimit),
    (os.getcwd, os.chdir),
    (_figures, _close_figures),
    (_tables, _restore_tables),
]
