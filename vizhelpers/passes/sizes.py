"""Find an input size that a model runs on: from its configuration, or by trying common sizes."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from vizhelpers.passes.dry import dry_run
from vizhelpers.passes.forward import evaluating, forward, refuse_lazy

_SIDES = (224, 32, 28, 64, 96, 128, 299, 384, 256)


def input_size(model: nn.Module) -> tuple[int, ...]:
    """Return an input size (1, C, H, W) that a model runs on.

    A model of timm is configured with its size. Otherwise common sizes are tried, the usual
    (1, 3, 224, 224) first, with the input channels of the model's first convolution, or the input
    features of its first linear layer.

    Args:
        model: any module that takes one tensor.

    Raises:
        ValueError: the model runs on none of these sizes; pass ``input_size=`` instead.

    Example:
        >>> input_size(nn.Sequential(nn.Conv2d(1, 8, 3), nn.Flatten(), nn.Linear(8 * 26 * 26, 10)))
        (1, 1, 28, 28)
    """
    refuse_lazy(model)
    candidates = list(dict.fromkeys(_candidates(model)))
    try:
        return dry_run(model, candidates, runs)
    except TypeError:  # several inputs: no size would help
        raise
    except Exception as error:
        raise ValueError(
            f"{type(model).__name__} runs on none of {len(candidates)} common input sizes. "
            "Pass input_size=(N, C, H, W), size= to activation_maximization, or a sample to "
            f"cam_layers. The first error: {error}"
        ) from error


def runs(model: nn.Module, x: Tensor) -> tuple[int, ...]:
    """Run the model and return the shape of ``x``.

    Raises:
        ValueError: the model cannot take ``x``, or returns no row for each image: ``view(-1, n)``
            turns places of a larger image into rows.
    """
    with torch.no_grad(), evaluating(model):
        output = forward(model, x)
    if isinstance(output, Tensor) and output.ndim and len(output) != len(x):
        raise ValueError(f"{len(output)} rows of output for {len(x)} image: the size does not fit.")
    return tuple(x.shape)


def _candidates(model: nn.Module) -> Iterator[tuple[int, ...]]:
    known = getattr(model, "pretrained_cfg", None)
    if isinstance(known, dict) and known.get("input_size"):
        yield (1, *known["input_size"])
    convolutions = [m for m in model.modules() if isinstance(m, nn.modules.conv._ConvNd)]
    first = convolutions[0] if convolutions else None
    if first is not None and not isinstance(first, nn.Conv2d | nn.ConvTranspose2d):
        sides = (128, 1024, 16000) if len(first.kernel_size) == 1 else (16, 32, 64)
        yield from ((1, first.in_channels, *[n] * len(first.kernel_size)) for n in sides)
    linear = next((m for m in model.modules() if isinstance(m, nn.Linear)), None)
    if first is None and linear is not None:
        yield from _of_linear(linear.in_features)
    channels = [first.in_channels] if first is not None else []
    for side in _SIDES:
        yield from ((1, c, side, side) for c in dict.fromkeys([*channels, 3, 1]))


def _of_linear(width: int) -> Iterator[tuple[int, ...]]:
    """Yield sizes of square images that flatten to ``width`` values, then the row (1, width)."""
    for channels in (1, 3):
        side = math.isqrt(width // channels)
        if side * side * channels == width and side > 1:
            yield 1, channels, side, side
    yield 1, width
