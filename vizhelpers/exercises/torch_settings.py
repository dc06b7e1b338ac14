"""``TORCH_SETTINGS``: how to read and restore each of torch's process-wide settings."""

from collections.abc import Callable
from typing import Any

import torch
from torch._tensor_str import PRINT_OPTS  # torch has no public function that reads them
from torch.utils import _device
from torch.utils._python_dispatch import _pop_mode

Setting = tuple[Callable[[], Any], Callable[[Any], Any]]


def _default_device() -> torch.device | None:
    """Return what ``torch.set_default_device`` set, or None."""
    # torch.get_default_device also returns the device of a `with` block.
    context = getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)
    return getattr(context, "device", None)


def _set_default_device(device: torch.device | None) -> None:
    if _default_device() != device:
        torch.set_default_device(device)
    if device is None and hasattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context"):
        # torch 2.6 asks the context that is kept here, None, for its device.
        del torch._GLOBAL_DEVICE_CONTEXT.device_context


def _modes() -> tuple[int, int, Any]:
    """Return how many modes of torch are entered, and the device of `with torch.device`."""
    counts = torch._C._len_torch_function_stack(), torch._C._len_torch_dispatch_stack()
    return *counts, _device.CURRENT_DEVICE


def _leave_modes(before: tuple[int, int, Any]) -> None:
    """Leave modes that are still entered: `with` leaves them, a call of `__enter__` does not."""
    while torch._C._len_torch_function_stack() > before[0]:
        torch._C._pop_torch_function_stack()
    while torch._C._len_torch_dispatch_stack() > before[1]:
        _pop_mode()
    _device.CURRENT_DEVICE = before[2]


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


def _anomaly() -> tuple[bool, bool]:
    return torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()


TORCH_SETTINGS: list[Setting] = [
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (torch.get_default_dtype, torch.set_default_dtype),
    (_default_device, _set_default_device),
    (_modes, _leave_modes),  # after the default device, which is the first of these modes
    (torch.get_num_threads, _set_threads),
    (_deterministic, _set_deterministic),
    (_cudnn, _set_cudnn),
    (_autocast, _set_autocast),
    (_anomaly, lambda values: torch.autograd.set_detect_anomaly(*values)),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (torch.is_warn_always_enabled, torch.set_warn_always),
    (lambda: dict(vars(PRINT_OPTS)), lambda values: torch.set_printoptions(**values)),
]
