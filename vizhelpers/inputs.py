"""What every function is handed: a model, and a ``Sample`` or a bare tensor. Checked here, once."""

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn


class HasTensor(Protocol):
    """What a ``Sample`` offers to this room: its network input ``x``."""

    @property
    def x(self) -> Tensor:
        """Network input, (N, C, H, W)."""
        ...


def bare(model: nn.Module) -> nn.Module:
    """Return the module inside ``torch.compile`` or ``DataParallel``; any other as it is.

    A compiled module runs another program than the one whose layers have names, and a replica on
    another device is not the module that a hook was put on. What is inside computes the same.

    Raises:
        TypeError: not a module, or one of TorchScript, in whose layers nothing can be recorded.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise TypeError(
            "TorchScript modules cannot be looked into: their layers take no hooks. Use the "
            "Python module that was scripted or traced."
        )
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"Expected a torch.nn.Module, got {type(model).__name__}. viz.load_model() is one."
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
    """Return what the model computes in, so that a half-precision one takes its input."""
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)


def input_tensor(model: nn.Module, sample: HasTensor | Tensor) -> Tensor:
    """Take the tensor out of a sample (or take a bare one) and check that ``model`` can have it.

    Args:
        model: the network that is about to see the tensor.
        sample: a ``Sample``, or a tensor (N, C, H, W) of floating point numbers.

    Returns:
        The tensor itself, neither copied nor moved.

    Raises:
        TypeError: not a tensor.
        ValueError: wrong number of axes or channels, no image, not floating point, NaN or infinite
            values, or not of the model's device and dtype.
    """
    x = getattr(sample, "x", sample)
    if not isinstance(x, Tensor):
        raise TypeError(
            f"Expected a Sample or a tensor, got {type(sample).__name__}. "
            "viz.prepare(model, image) makes a Sample of a photograph."
        )
    if x.ndim != 4:
        raise ValueError(
            f"Expected a tensor (N, C, H, W), got shape {tuple(x.shape)}. "
            "One image (C, H, W) becomes a batch with x.unsqueeze(0)."
        )
    if 0 in x.shape:
        raise ValueError(f"The input is empty: shape {tuple(x.shape)}.")
    if not x.is_floating_point():
        raise ValueError(f"Expected floating point numbers, got {x.dtype}; use viz.prepare.")
    if not x.is_meta and not torch.isfinite(x).all():
        raise ValueError("The input holds NaN or infinite values; nothing true can be shown of it.")
    _check_device(model, x)
    _check_first_convolution(model, x)
    return x


def photograph_of(sample: object) -> np.ndarray | None:
    """Return the crop (H, W, 3) uint8 that a ``Sample`` keeps; None for a bare tensor."""
    return None if isinstance(sample, Tensor) else getattr(sample, "view", None)


def _check_device(model: nn.Module, x: Tensor) -> None:
    weight = next(bare(model).parameters(), None)
    if weight is not None and weight.device != x.device:
        raise ValueError(
            f"The input is on {x.device}, the model on {weight.device}. Nothing is moved behind "
            "your back: use x.to(device), or viz.prepare(model, image) once the model has moved."
        )


def _check_first_convolution(model: nn.Module, x: Tensor) -> None:
    first = next((m for m in bare(model).modules() if isinstance(m, nn.Conv2d)), None)
    if first is None:
        return
    if x.shape[1] != first.in_channels:
        raise ValueError(
            f"The model's first convolution takes {first.in_channels} channels, "
            f"the input has {x.shape[1]} (shape {tuple(x.shape)})."
        )
    if x.dtype != first.weight.dtype and first.weight.is_floating_point():
        raise ValueError(
            f"The input is {x.dtype}, the model {first.weight.dtype}: use x.to(dtype), or "
            "viz.prepare(model, image), which makes it as the model wants it."
        )
