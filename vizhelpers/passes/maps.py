"""Arrange a layer's output as maps (N, C, h, w), whatever the order of its axes."""

import torch
from torch import Tensor, nn

from vizhelpers.passes.capture import output_shapes

_MOST_EXTRA_TOKENS = 8  # class, distillation and register tokens stand before the patches'


def as_maps(model: nn.Module, layer: str, output: Tensor, x: Tensor) -> Tensor:
    """Return a layer's output, or a gradient of its shape, as maps with the channels second.

    Convolutions return (N, C, h, w). Vision transformers (Dosovitskiy et al. 2020) return tokens
    (N, L, C), one for each patch of the image, after a class token, which has no position and is
    omitted. Swin (Liu et al. 2021) and the inside of ConvNeXt blocks keep the channels last,
    (N, h, w, C).

    Args:
        model: the network, whose patch size gives the grid of the tokens.
        layer: dotted module path, for the error text.
        output: the layer's output, or the gradient.
        x: the network input (N, C, H, W) that led to it.

    Returns:
        A view (N, C, h, w).

    Raises:
        ValueError: the output has no rows and columns, or which axes they are is ambiguous.
    """
    if output.is_quantized:
        output = output.dequantize()
    if _is_ambiguous(model, output, x):
        raise ValueError(
            f"Layer {layer!r} has an output of shape {tuple(output.shape)}: that can be read as "
            "(N, C, h, w) and as (N, h, w, C), and this network uses both orders. An input of "
            "another size resolves this; viz.capture returns the output as it is."
        )
    maps = arranged(model, output, x)
    if maps is None or maps.shape[2] * maps.shape[3] == 1:
        raise ValueError(
            f"Layer {layer!r} has an output of shape {tuple(output.shape)}: no rows and columns "
            "are left to show. Choose a layer before the pooling or flattening that ends them. "
            "(viz.capture returns the output as it is.)"
        )
    return maps


def map_shapes(model: nn.Module, x: Tensor) -> dict[str, tuple[int, ...]]:
    """Return ``{layer: (N, C, h, w)}`` of every layer that has maps and runs once.

    Args:
        model: any module; on the meta device this costs no arithmetic.
        x: network input (N, C, H, W) on the model's device.
    """
    of_layers = {}
    shapes = output_shapes(model, x, once=True)
    for name, _ in model.named_modules():
        if name and name in shapes:
            maps = arranged(model, torch.empty(shapes[name], device="meta"), x)
            if maps is not None:
                of_layers[name] = tuple(maps.shape)
    return of_layers


def arranged(model: nn.Module, output: Tensor, x: Tensor) -> Tensor | None:
    """Return maps as ``as_maps`` does, also of a single cell; None if the output has no maps."""
    if len(output) != len(x) or 0 in output.shape or _is_ambiguous(model, output, x):
        return None  # more rows than images: windows of an attention
    if output.ndim == 3:
        return _tokens_on_grid(model, output, x)
    if output.ndim != 4:
        return None
    return output.permute(0, 3, 1, 2) if _may_be_channels_last(model, output, x) else output


def _may_be_channels_last(model: nn.Module, output: Tensor, x: Tensor) -> bool:
    """Return whether the middle axes have the image's proportions, and channels may be last."""
    return _like_image(output.shape[1], output.shape[2], x) and _has_layer_norm(model)


def _is_ambiguous(model: nn.Module, output: Tensor, x: Tensor) -> bool:
    if output.ndim != 4 or output.shape[2] * output.shape[3] == 1:
        return False
    return _like_image(output.shape[2], output.shape[3], x) and _may_be_channels_last(
        model, output, x
    )


def _tokens_on_grid(model: nn.Module, output: Tensor, x: Tensor) -> Tensor | None:
    patch = _patch_size(model)
    if patch is None:
        return None
    rows, columns = x.shape[2] // patch[0], x.shape[3] // patch[1]
    extra = output.shape[1] - rows * columns
    if not 0 <= extra <= _MOST_EXTRA_TOKENS:
        return None
    return output[:, extra:].transpose(1, 2).unflatten(2, (rows, columns))


def _patch_size(model: nn.Module) -> tuple[int, int] | None:
    """Return (height, width) of a patch: the first convolution whose kernel and stride agree."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == module.stride != (1, 1):
            return module.stride[0], module.stride[1]
    return None


def _has_layer_norm(model: nn.Module) -> bool:
    """Return whether the network normalises over the last axis: it may hold the channels."""
    return any(
        isinstance(m, nn.LayerNorm) and len(m.normalized_shape) == 1 for m in model.modules()
    )


def _like_image(rows: int, columns: int, x: Tensor) -> bool:
    """Return whether two axes have the proportions of the image, up to one cell of rounding."""
    height, width = x.shape[2:]
    fits = rows <= height and columns <= width
    return fits and abs(rows * width - columns * height) <= max(height, width)
