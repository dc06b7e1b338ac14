"""Look into a forward pass: the only room that registers hooks.

Everything here leaves the model as it was: hooks are removed, each submodule's train or eval
flag is put back, ``.grad`` is not touched, also when the forward pass raises or is interrupted.
"""

import copy
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from vizhelpers.errors import unknown


class HasTensor(Protocol):
    """What a ``Sample`` offers to this room: its network input ``x``."""

    @property
    def x(self) -> Tensor:
        """Network input, (N, C, H, W)."""
        ...


def layer_names(
    model: nn.Module, kind: type[nn.Module] | tuple[type, ...] = nn.Module
) -> list[str]:
    """Return the dotted module paths of a model, in the order in which they were defined.

    Args:
        model: any module.
        kind: keep only layers of this class (or of one of these classes), such as ``nn.Conv2d``.

    Returns:
        Names as ``model.get_submodule`` takes them, without the model itself (the empty name).

    Example:
        >>> layer_names(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), kind=nn.Conv2d)
        ['0']
    """
    return [name for name, module in model.named_modules() if name and isinstance(module, kind)]


def get_layer(model: nn.Module, name: str) -> nn.Module:
    """Return the submodule with this dotted path.

    Raises:
        ValueError: there is no such layer; the text names the nearest ones.
    """
    named = dict(model.named_modules())
    if name in named and name:
        return named[name]
    raise unknown("layer", name, layer_names(model), "viz.layer_names(model) lists them all.")


def input_tensor(model: nn.Module, sample: HasTensor | Tensor) -> Tensor:
    """Take the tensor out of a sample (or take a bare one) and check that ``model`` can have it.

    Args:
        model: the network that is about to see the tensor.
        sample: a ``Sample``, or a tensor (N, C, H, W) of floating point numbers.

    Returns:
        The tensor itself, neither copied nor moved.

    Raises:
        TypeError: not a tensor.
        ValueError: wrong number of axes or channels, not floating point, NaN or infinite values,
            or not on the model's device.
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
    if not x.is_floating_point():
        raise ValueError(f"Expected floating point numbers, got {x.dtype}; use viz.prepare.")
    if not x.is_meta and not torch.isfinite(x).all():
        raise ValueError("The input holds NaN or infinite values; nothing true can be shown of it.")
    _check_device_and_channels(model, x)
    return x


def photograph_of(sample: object) -> np.ndarray | None:
    """Return the crop (H, W, 3) uint8 that a ``Sample`` keeps; None for a bare tensor."""
    return None if isinstance(sample, Tensor) else getattr(sample, "view", None)


def _check_device_and_channels(model: nn.Module, x: Tensor) -> None:
    weight = next(model.parameters(), None)
    if weight is not None and weight.device != x.device:
        raise ValueError(
            f"The input is on {x.device}, the model on {weight.device}. Nothing is moved behind "
            "your back: use x.to(device), or viz.prepare(model, image) once the model has moved."
        )
    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    if first is not None and x.shape[1] != first.in_channels:
        raise ValueError(
            f"The model's first convolution takes {first.in_channels} channels, "
            f"the input has {x.shape[1]} (shape {tuple(x.shape)})."
        )


def private_copy(model: nn.Module) -> nn.Module:
    """Return a copy that shares parameters and buffers, and has no hooks and flags in common.

    A panel's worker thread looks at such a copy, so that neither sees the other's hooks or modes.
    """
    memo: dict[int, Any] = {id(t): t for t in [*model.parameters(), *model.buffers()]}
    own = copy.deepcopy(model, memo)
    for module in own.modules():
        for name, value in vars(module).items():
            if name.endswith("_hooks") and isinstance(value, dict):
                value.clear()
    return own


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """Put a model in eval mode for the length of a ``with`` block.

    In train mode dropout makes every pass another one, and BatchNorm's statistics move. Each
    submodule gets its own flag back afterwards, since a user may have frozen a part on purpose.
    """
    flags = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield model
    finally:
        for module, training in flags:
            module.training = training


@contextmanager
def recording(model: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Record the output of each named layer in the dictionary that the ``with`` block gets.

    Outputs keep their graph. Only this thread's forward passes are recorded.
    """
    record: dict[str, Tensor] = {}
    thread = threading.get_ident()

    def recorder(name: str) -> Callable[[nn.Module, Any, Any], Tensor | None]:
        def hook(module: nn.Module, args: Any, output: Any) -> Tensor | None:
            if threading.get_ident() != thread:
                return None  # another thread's forward pass is none of our business
            if not isinstance(output, Tensor):
                raise _not_one_tensor(model, name, output)
            if name in record:
                raise ValueError(
                    f"Layer {name!r} runs more than once in one forward pass, so it has no single "
                    "output. Choose the module that contains it, or one that runs once."
                )
            record[name] = output
            # The network goes on with a copy. A later in-place operation, such as
            # ReLU(inplace=True), then rewrites the copy and not what we hold.
            return output.clone()

        return hook

    with ExitStack() as handles:
        for name in layers:
            handle = get_layer(model, name).register_forward_hook(recorder(name))
            handles.callback(handle.remove)
        yield record


def _not_one_tensor(model: nn.Module, name: str, output: Any) -> ValueError:
    inside = layer_names(get_layer(model, name))
    children = ", ".join(f"'{name}.{child}'" for child in inside[:6]) or "none"
    return ValueError(
        f"Layer {name!r} returns a {type(output).__name__}, not one tensor, so there is no single "
        f"map to show. Choose a layer whose output is a tensor; inside it: {children}."
    )


def forward(model: nn.Module, x: Tensor) -> Tensor:
    """Run the model; an input that it cannot take becomes a ``ValueError`` with the way on."""
    try:
        return model(x)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise ValueError(
            f"{type(model).__name__} cannot run on an input of shape {tuple(x.shape)}: {error} "
            "viz.prepare(model, image) makes an input of the size that the model was made for."
        ) from error


def pick(record: dict[str, Tensor], layers: Sequence[str]) -> dict[str, Tensor]:
    """Return what was recorded in the order asked for; refuse a layer that did not run."""
    silent = [name for name in layers if name not in record]
    if silent:
        raise ValueError(
            f"Layer {silent[0]!r} did not run in this forward pass, so it has no output. "
            "It may serve training only, or be used as a function and not called as a module."
        )
    return {name: record[name] for name in layers}


def as_list(layers: str | Sequence[str]) -> list[str]:
    """Return one name or several as a list without repetitions."""
    return [layers] if isinstance(layers, str) else list(dict.fromkeys(layers))


def capture(
    model: nn.Module, sample: HasTensor | Tensor, layers: str | Sequence[str]
) -> dict[str, Tensor]:
    """Run the model once and return what each named layer put out.

    Each tensor is the layer's *own* output: a later ``ReLU(inplace=True)`` does not rewrite it.
    The pass runs in eval mode and without gradients.

    Args:
        model: any module that takes one tensor.
        sample: a ``Sample``, or a tensor (N, C, H, W) on the model's device.
        layers: one dotted module path, or several.

    Returns:
        ``{name: output}`` in the order asked for, detached, on the model's device.

    Raises:
        ValueError: unknown layer; a layer that returns no single tensor, runs more than once, or
            does not run; an input that the model cannot take. No hook is left in any case.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True))
        >>> capture(net, torch.zeros(1, 3, 8, 8), "0")["0"].shape
        torch.Size([1, 8, 6, 6])
    """
    names = as_list(layers)
    x = input_tensor(model, sample)
    with torch.no_grad(), evaluating(model), recording(model, names) as record:
        forward(model, x.clone())
    return {name: out.detach() for name, out in pick(record, names).items()}


def check_spatial(layer: str, output: Tensor) -> None:
    """Refuse a layer output that has no rows and columns to show.

    Raises:
        ValueError: ``output`` is not (N, C, H, W), or its maps are 1 x 1.
    """
    if output.ndim != 4 or output.shape[2] * output.shape[3] == 1:
        raise ValueError(
            f"Layer {layer!r} puts out shape {tuple(output.shape)}: no rows and columns are left "
            "to show. Choose a layer before the pooling or flattening that ends them."
        )


def output_shapes(model: nn.Module, x: Tensor) -> dict[str, tuple[int, ...]]:
    """Run the model once and return the output shape of every module that returns one tensor.

    Args:
        model: any module; on the meta device this costs no arithmetic.
        x: network input (N, C, H, W) on the model's device.

    Returns:
        ``{dotted name: shape}``; of a module that runs more than once, its last run.
    """
    shapes: dict[str, tuple[int, ...]] = {}

    def recorder(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                shapes[name] = tuple(output.shape)

        return hook

    with torch.no_grad(), evaluating(model), ExitStack() as handles:
        for name, module in model.named_modules():
            handles.callback(module.register_forward_hook(recorder(name)).remove)
        forward(model, x)
    return shapes


class _Reached(BaseException):
    """Raised by a hook to end a forward pass; not an ``Exception``, so no model swallows it."""


def run_to(model: nn.Module, x: Tensor, layer: str) -> Tensor:
    """Run the model only as far as ``layer`` and return that layer's output, graph attached.

    Args:
        model: any module; the caller chooses its mode and whether gradients are on.
        x: network input (N, C, H, W).
        layer: dotted module path.

    Returns:
        The layer's own output.
    """
    reached: list[Any] = []
    thread = threading.get_ident()

    def stop(module: nn.Module, args: Any, output: Any) -> None:
        if threading.get_ident() == thread:
            reached.append(output)
            raise _Reached

    handle = get_layer(model, layer).register_forward_hook(stop)
    try:
        forward(model, x)
    except _Reached:
        pass
    finally:
        handle.remove()
    if not reached:
        pick({}, [layer])
    if not isinstance(reached[0], Tensor):
        raise _not_one_tensor(model, layer, reached[0])
    return reached[0]
