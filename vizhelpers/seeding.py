"""Draw random numbers on the CPU without leaving a trace in the caller's random state."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def drawn_on_cpu(seed: int | None = None) -> Iterator[None]:
    """Create tensors on the CPU, draw from ``seed``, and restore the CPU's random state on exit.

    ``torch.manual_seed`` seeds every accelerator too, and ``torch.random.fork_rng(devices=[])``
    restores only the CPU's state. Here only the CPU's generator is seeded, so the random states of
    CUDA and others stay as they are.

    Args:
        seed: of the CPU's default generator; None leaves it unseeded.
    """
    state = torch.default_generator.get_state()
    try:
        with torch.device("cpu"):  # the caller's torch.set_default_device does not apply inside
            if seed is not None:
                torch.default_generator.manual_seed(seed)
            yield
    finally:
        torch.default_generator.set_state(state)
