"""Validate the arguments of every function: a model, and a ``Sample`` or a tensor."""

from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn


class HasTensor(Protocol):
    """Any object with a network input ``x``, such as a ``Sample``."""

    @property
    def x(self) -> Tensor:
        """Network input, (N, C, H, W)."""
        ...


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


def input_tensor(model: nn.Module, sample: HasTensor | Tensor, *, axes: int | None = 4) -> Tensor:
    """Return the input tensor of a ``Sample``, or the tensor itself, after validating it.

    Whether the model can run on it is found only by running it (``passes.forward``).

    Args:
        model: the network that will run on the tensor.
        sample: a ``Sample``, or a floating-point tensor.
        axes: required number of axes, 4 for images (N, C, H, W); None accepts any.

    Returns:
        The tensor itself, neither copied nor moved.

    Raises:
        TypeError: ``sample`` is not a tensor, or ``model`` is not a module.
        ValueError: wrong number of axes, an empty tensor, not floating point, NaN or infinite
            values.
    """
    unwrapped(model)
    x = getattr(sample, "x", sample)
    if not isinstance(x, Tensor):
        raise TypeError(
            f"Expected a Sample or a tensor, got {type(sample).__name__}. "
            "viz.prepare(model, image) makes a Sample from a photograph."
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
        raise ValueError(
            f"Expected a floating point tensor, got {x.dtype}. Convert and normalise it as in "
            "training, or use viz.prepare(model, image)."
        )
    if not x.is_meta and not torch.isfinite(x).all():
        raise ValueError("The input holds NaN or infinite values. Check how it was preprocessed.")
    return x


def _way_to_images(model: nn.Module, x: Tensor) -> str:
    """Return how to make a batch of images from a tensor with the wrong number of axes."""
    if x.ndim == 3 and not _takes_signals(model):
        return "One image (C, H, W) becomes a batch with x.unsqueeze(0)."
    if x.ndim == 2 and "Conv2d" in _kinds(model):
        return "One grey image (H, W) becomes a batch with x[None, None]."
    return (
        "Only maps of images can be drawn; viz.capture returns a layer's output for any input, "
        "such as a signal or a volume."
    )


def _kinds(model: nn.Module) -> set[str]:
    return {kind.__name__ for module in unwrapped(model).modules() for kind in type(module).__mro__}


def _takes_signals(model: nn.Module) -> bool:
    """Return whether the model has 1-d convolutions, so that (N, C, L) is a batch."""
    return bool(_kinds(model) & {"Conv1d", "LazyConv1d", "ConvTranspose1d"})


def photograph_of(sample: object) -> np.ndarray | None:
    """Return the crop of a ``Sample``, (H, W, 3) uint8; None for a tensor."""
    return None if isinstance(sample, Tensor) else getattr(sample, "view", None)
