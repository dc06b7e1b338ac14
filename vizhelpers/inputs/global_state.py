"""Change process-wide state, such as random states, for a ``with`` block only."""

import os
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

_lock = threading.RLock()


def _new_lock() -> None:
    """Replace the lock in a forked process: the thread that held it does not exist there."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock)


@contextmanager
def process_wide() -> Iterator[None]:
    """Hold the lock for temporary changes of process-wide state, for a ``with`` block.

    Without it, two threads could restore their settings in the wrong order.
    """
    with _lock:
        yield


@contextmanager
def drawn_on_cpu(seed: int | None = None) -> Iterator[None]:
    """Create tensors on the CPU, seed its generator, and restore its random state on exit.

    ``torch.manual_seed`` seeds every accelerator too, and ``torch.random.fork_rng(devices=[])``
    restores only the CPU's state. Here only the CPU's generator is seeded, so the random states of
    CUDA and others stay as they are.

    Args:
        seed: of the CPU's default generator; None does not seed it.
    """
    with process_wide():
        yield from _drawn(seed)


def _drawn(seed: int | None) -> Iterator[None]:
    state = torch.default_generator.get_state()
    try:
        with torch.device("cpu"):  # the caller's torch.set_default_device does not apply inside
            if seed is not None:
                torch.default_generator.manual_seed(seed)
            yield
    finally:
        torch.default_generator.set_state(state)


def random_states() -> tuple[Any, Any, Tensor]:
    """Return the random states of Python, NumPy's global generator and torch on the CPU."""
    return random.getstate(), np.random.get_state(), torch.default_generator.get_state()


@contextmanager
def replayed(states: tuple[Any, Any, Tensor]) -> Iterator[None]:
    """Continue from earlier ``random_states`` in a ``with`` block, then restore the present."""
    with process_wide():
        present = random_states()
        try:
            restore_random_states(states)
            yield
        finally:
            restore_random_states(present)


def restore_random_states(states: tuple[Any, Any, Tensor]) -> None:
    """Set the random states that ``random_states`` returned."""
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.default_generator.set_state(states[2])
