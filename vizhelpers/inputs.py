"""What every function is given: a model, and a ``Sample`` or a bare tensor; checked here."""

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


def input_tensor(model: nn.Module, sample: HasTensor | Tensor, *, axes: int | None = 4) -> Tensor:
    """Take the tensor out of a sample, or take a bare one, and check what can be checked of it.

    Whether the model can run on it only a pass can tell (``passes.forward``).

    Args:
        model: the network that is about to see the tensor, for the error texts.
        sample: a ``Sample``, or a tensor of floating point numbers.
        axes: how many axes it must have, 4 for images (N, C, H, W); None takes any.

    Returns:
        The tensor itself, neither copied nor moved.

    Raises:
        TypeError: not a tensor, or ``model`` is no module.
        ValueError: wrong number of axes, no image, not floating point, NaN or infinite values.
    """
    bare(model)
    x = getattr(sample, "x", sample)
    if not isinstance(x, Tensor):
        raise TypeError(
            f"Expected a Sample or a tensor, got {type(sample).__name__}. "
            "viz.prepare(model, image) makes a Sample of a photograph."
        )
    unbatched = (
        x.ndim == 3 and _kinds(model) & {"Conv2d", "LazyConv2d"} and not _takes_signals(model)
    )
    if x.ndim == 0 or unbatched or (axes is not None and x.ndim != axes):
        shape, way_on = tuple(x.shape), _way_to_images(model, x)
        raise ValueError(f"Expected a tensor (N, C, H, W), got shape {shape}. {way_on}")
    if 0 in x.shape:
        raise ValueError(f"The input is empty: shape {tuple(x.shape)}.")
    if not x.is_floating_point():
        raise ValueError(f"Expected floating point numbers, got {x.dtype}; use viz.prepare.")
    if not x.is_meta and not torch.isfinite(x).all():
        raise ValueError("The input holds NaN or infinite values; nothing true can be shown of it.")
    return x


def _way_to_images(model: nn.Module, x: Tensor) -> str:
    """Say how a tensor with another number of axes becomes a batch of images, if it does."""
    if x.ndim == 3 and not _takes_signals(model):
        return "One image (C, H, W) becomes a batch with x.unsqueeze(0)."
    if x.ndim == 2 and "Conv2d" in _kinds(model):
        return "One grey image (H, W) becomes a batch with x[None, None]."
    return (
        "Maps of signals and volumes are not drawn; viz.capture returns a layer's output as it is, "
        "whatever its axes."
    )


def _kinds(model: nn.Module) -> set[str]:
    return {kind.__name__ for module in bare(model).modules() for kind in type(module).__mro__}


def _takes_signals(model: nn.Module) -> bool:
    """Whether the model has convolutions over one axis, so that (N, C, L) is a batch."""
    return bool(_kinds(model) & {"Conv1d", "LazyConv1d", "ConvTranspose1d"})


def photograph_of(sample: object) -> np.ndarray | None:
    """Return the crop (H, W, 3) uint8 that a ``Sample`` keeps; None for a bare tensor."""
    return None if isinstance(sample, Tensor) else getattr(sample, "view", None)
