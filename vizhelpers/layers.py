"""Look into a forward pass: the only room that registers hooks.

Everything here leaves the model as it was: hooks are removed, each submodule's train or eval
flag is put back, ``.grad`` is not touched, also when the forward pass raises or is interrupted.
"""

import copy
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from typing import Any

import torch
from torch import Tensor, nn

from vizhelpers.arguments import texts
from vizhelpers.errors import said, unknown
from vizhelpers.inputs import HasTensor, bare, input_tensor


def layer_names(
    model: nn.Module, kind: type[nn.Module] | tuple[type, ...] = nn.Module
) -> list[str]:
    """Return the dotted module paths of a model, in the order in which they were defined.

    Args:
        model: any module.
        kind: keep only layers of this class (or of one of these classes), such as ``nn.Conv2d``.

    Returns:
        Names as ``model.get_submodule`` takes them, without the model itself (the empty name).
        Of a compiled or a ``DataParallel`` model those of the module inside.

    Example:
        >>> layer_names(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), kind=nn.Conv2d)
        ['0']
    """
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not all(isinstance(one, type) for one in kinds):
        raise TypeError(f"kind={said(kind)}: expected a class, such as nn.Conv2d, or several.")
    named = bare(model).named_modules()
    return [name for name, module in named if name and isinstance(module, kind)]


def get_layer(model: nn.Module, name: str) -> nn.Module:
    """Return the submodule with this dotted path.

    Raises:
        ValueError: there is no such layer; the text names the nearest ones.
    """
    if isinstance(name, str) and name:
        with suppress(AttributeError):
            return bare(model).get_submodule(name)
    raise unknown("layer", name, layer_names(model), "viz.layer_names(model) lists them all.")


def private_copy(model: nn.Module) -> nn.Module:
    """Return a copy that shares parameters and buffers, and has no hooks and flags in common.

    A panel's worker thread looks at such a copy, so that neither sees the other's hooks or modes.
    """
    inside = bare(model)
    memo: dict[int, Any] = {id(t): t for t in [*inside.parameters(), *inside.buffers()]}
    own = copy.deepcopy(inside, memo)
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
    inside = bare(model)
    flags = [(module, module.training) for module in inside.modules()]
    try:
        inside.eval()
        yield inside
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

    modules = {name: get_layer(model, name) for name in layers}
    with ExitStack() as handles:
        for name, module in modules.items():
            handles.callback(module.register_forward_hook(recorder(name)).remove)
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
    inside = bare(model)
    try:
        with _uncompiled(inside):
            return inside(x)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise ValueError(
            f"{type(model).__name__} cannot run on an input of shape {tuple(x.shape)}: {error} "
            "viz.prepare(model, image) makes an input of the size that the model was made for."
        ) from error


def _uncompiled(model: nn.Module) -> AbstractContextManager[None]:
    """Run modules that were compiled in place as they are written, so that their hooks are called.

    Only then: torch's compiler takes seconds to import.
    """
    if any(m._compiled_call_impl is not None for m in model.modules()):
        return torch.compiler.set_stance("force_eager")
    return nullcontext()


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
    return [layers] if isinstance(layers, str) else list(dict.fromkeys(texts("layers", layers)))


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
    return captured(model, sample, layers)[0]


def captured(
    model: nn.Module, sample: HasTensor | Tensor, layers: str | Sequence[str]
) -> tuple[dict[str, Tensor], Any]:
    """Return what ``capture`` returns, and what the model itself put out in the same pass."""
    names = as_list(layers)
    x = input_tensor(model, sample)
    with torch.no_grad(), evaluating(model), recording(model, names) as record:
        output = forward(model, x.clone())
    return {name: out.detach() for name, out in pick(record, names).items()}, output


def output_shapes(model: nn.Module, x: Tensor, *, once: bool = False) -> dict[str, tuple[int, ...]]:
    """Run the model once and return the output shape of every module that returns one tensor.

    Args:
        model: any module; on the meta device this costs no arithmetic.
        x: network input (N, C, H, W) on the model's device.
        once: leave out modules that run more than once; ``capture`` refuses these.

    Returns:
        ``{dotted name: shape}``; of a module that runs more than once, its last run.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    runs: Counter[str] = Counter()

    def recorder(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            runs[name] += 1
            if isinstance(output, Tensor):
                shapes[name] = tuple(output.shape)

        return hook

    with torch.no_grad(), evaluating(model) as inside, ExitStack() as handles:
        for name, module in inside.named_modules():
            handles.callback(module.register_forward_hook(recorder(name)).remove)
        forward(inside, x)
    return {name: shape for name, shape in shapes.items() if not once or runs[name] == 1}


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
