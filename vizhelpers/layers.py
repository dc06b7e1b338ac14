"""Record layer outputs in a forward pass; no other module of the package registers hooks.

The model is left unchanged, also when a pass raises or is interrupted: hooks are removed, each
submodule's ``training`` flag is restored, and ``.grad`` is not touched.
"""

import threading
import warnings
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from vizhelpers.arguments import texts
from vizhelpers.copies import closes_over, is_method_of
from vizhelpers.errors import said, unknown
from vizhelpers.inputs import HasTensor, bare, input_tensor
from vizhelpers.passes import evaluating, forward, process_wide

Layer = str | nn.Module
"""A layer by its dotted path, or the module itself."""


def layer_names(
    model: nn.Module, kind: type[nn.Module] | tuple[type, ...] = nn.Module
) -> list[str]:
    """Return the dotted module paths of a model, in the order in which they were defined.

    Args:
        model: any module.
        kind: keep only layers of this class (or of one of these classes), such as ``nn.Conv2d``.

    Returns:
        Names as ``model.get_submodule`` takes them, without the model itself (the empty name).
        For a compiled or ``DataParallel`` model, the names of the module inside.

    Example:
        >>> layer_names(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), kind=nn.Conv2d)
        ['0']
    """
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if not all(isinstance(entry, type) for entry in kinds):
        raise TypeError(f"kind={said(kind)}: expected a class, such as nn.Conv2d, or several.")
    named = bare(model).named_modules()
    return [name for name, module in named if name and isinstance(module, kind)]


def get_layer(model: nn.Module, name: Layer) -> nn.Module:
    """Return the submodule with this dotted path; a submodule itself is returned as it is.

    Raises:
        ValueError: there is no such layer; the text names the nearest ones.
    """
    return bare(model).get_submodule(layer_name(model, name))


def layer_name(model: nn.Module, layer: Layer) -> str:
    """Return the dotted path of a layer that is given by its path or as the module itself.

    Raises:
        TypeError: a list or tuple of layers.
        ValueError: there is no such layer; the text names the nearest ones.
    """
    inside = bare(model)
    way_on = "viz.layer_names(model) lists them all."
    if isinstance(layer, nn.Module):
        for name, module in inside.named_modules():
            if name and module is layer:
                return name
        what = "the whole model" if bare(layer) is inside else f"a {type(layer).__name__}"
        raise ValueError(
            f"layer is {what}, not a layer inside {type(inside).__name__}. Pass one of the model's "
            f"own submodules, or its name; {way_on}"
        )
    if isinstance(layer, (list, tuple)):
        raise TypeError(
            f"layer={said(layer)}: expected one layer, its name or the module. For several layers "
            "use viz.cam_sweep(..., layers=[...]) or viz.capture."
        )
    if isinstance(layer, str) and layer:
        with suppress(AttributeError):
            inside.get_submodule(layer)
            return layer
    raise unknown("layer", layer, layer_names(model), way_on)


class NotItself(Exception):
    """A copy called a part of the model that it was copied from."""


@contextmanager
def own_parts_only(copied: nn.Module, model: nn.Module) -> Iterator[None]:
    """Raise ``NotItself`` in a ``with`` block if a copy calls a part of the original model.

    That happens if ``forward`` was replaced by a function that refers to the original's layers.
    """
    own = {id(module) for module in copied.modules()}
    theirs = {id(module) for module in bare(model).modules()} - own
    thread = threading.get_ident()

    def refuse(module: nn.Module, args: object) -> None:
        if id(module) in theirs and threading.get_ident() == thread:
            raise NotItself(type(module).__name__)

    compiled = any("_orig_mod" in module._modules for module in copied.modules())
    with ExitStack() as stack:
        if compiled:  # torch warns about global hooks on compiled modules
            stack.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", message=".*global hooks on modules")
        stack.callback(register_module_forward_pre_hook(refuse).remove)
        yield


@contextmanager
def readers_hooks_away(model: nn.Module) -> Iterator[None]:
    """Remove all hooks for a ``with`` block, except those that the model registered itself.

    Attributes that a pass sets on the model are restored as well.
    """
    with process_wide(), evaluating(model) as inside:
        ids = {id(module) for module in inside.modules()}
        before = [(module, dict(vars(module))) for module in inside.modules()]
        try:
            for module, attributes in before:
                for key, table in attributes.items():
                    if key.endswith(("ward_hooks", "ward_pre_hooks")) and table:
                        module.__dict__[key] = _own_hooks(table, ids)
            yield
        finally:
            for module, attributes in before:
                for key in vars(module).keys() - attributes.keys():
                    del module.__dict__[key]
                module.__dict__.update(attributes)


def _own_hooks(table: dict[int, Any], ids: set[int]) -> OrderedDict[int, Any]:
    """Return the hooks that are methods of these modules or have one of them in their closure."""
    return OrderedDict(
        (hook_id, hook)
        for hook_id, hook in table.items()
        if is_method_of(hook, ids) or closes_over(hook, ids)
    )


@contextmanager
def replacing(model: nn.Module, layer: str, function: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Replace a layer's output by ``function(output)`` in this thread, for a ``with`` block.

    Args:
        model: any module.
        layer: dotted module path.
        function: called with the layer's output; returns a tensor of the same shape.
    """
    thread = threading.get_ident()

    def hook(module: nn.Module, args: Any, output: Any) -> Any:
        return function(output) if threading.get_ident() == thread else None

    handle = get_layer(model, layer).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def recording(model: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Record each named layer's output in the yielded ``{name: output}`` for a ``with`` block.

    Outputs keep their autograd graph. Only forward passes of the calling thread are recorded.
    """
    record: dict[str, Tensor] = {}
    thread = threading.get_ident()

    def recorder(name: str) -> Callable[[nn.Module, Any, Any], Tensor | None]:
        def hook(module: nn.Module, args: Any, output: Any) -> Tensor | None:
            if threading.get_ident() != thread:
                return None  # another thread's forward pass
            if _in_backward():
                return output.clone() if isinstance(output, Tensor) else None
            if not isinstance(output, Tensor):
                raise _not_one_tensor(model, name, output)
            if name in record:
                raise ValueError(
                    f"Layer {name!r} runs more than once in one forward pass, so it has no single "
                    "output. Choose the module that contains it, or one that runs once."
                )
            record[name] = output
            # The network continues with a copy, so that a later in-place operation, such as
            # ReLU(inplace=True), does not overwrite the recorded tensor.
            return output.clone()

        return hook

    modules = {name: get_layer(model, name) for name in layers}
    with ExitStack() as handles:
        for name, module in modules.items():
            _refuse_scripted(name, module)
            handles.callback(module.register_forward_hook(recorder(name)).remove)
        yield record


def _not_one_tensor(model: nn.Module, name: str, output: Any) -> ValueError:
    inside = layer_names(get_layer(model, name))
    children = ", ".join(f"'{name}.{child}'" for child in inside[:6])
    return ValueError(
        f"Layer {name!r} returns a {type(output).__name__}, not one tensor. Choose a layer that "
        f"returns one{f', perhaps inside it: {children}' if children else ''}."
    )


def _in_backward() -> bool:
    """Return whether this thread is in a backward pass, where checkpointing runs layers again.

    Such a second run must compute what the first did, and must not be recorded.
    """
    return bool(torch._C._current_graph_task_id() != -1)


def refuse_meta(output: Tensor) -> None:
    """Raise a ``ValueError`` for an output on the meta device, which has no values."""
    if output.is_meta:
        raise ValueError(
            "The model is on the meta device: its tensors have shapes, but no values. "
            "viz.module_tree and viz.summary work there; for anything else build the model on a "
            "real device."
        )


def _refuse_scripted(name: str, module: nn.Module) -> None:
    if isinstance(module, torch.jit.ScriptModule):
        raise ValueError(
            f"Layer {name!r} is TorchScript, which accepts no hooks, so its output cannot be "
            "recorded. Replace it by the Python module that was scripted or traced, or choose a "
            "layer outside it."
        )


def pick(record: dict[str, Tensor], layers: Sequence[str]) -> dict[str, Tensor]:
    """Return ``{name: output}`` in the order of ``layers``; raise if one of them did not run."""
    silent = [name for name in layers if name not in record]
    if silent:
        raise ValueError(
            f"Layer {silent[0]!r} did not run in this forward pass, so it has no output. "
            "It may run in training only, or forward may use its parts or weights without calling "
            "the layer itself, as gradient checkpointing does. Choose another layer."
        )
    return {name: record[name] for name in layers}


def as_list(model: nn.Module, layers: Layer | Sequence[Layer]) -> list[str]:
    """Return the dotted paths of one layer or several, as a list without duplicates."""
    if isinstance(layers, (str, nn.Module)):
        layers = [layers]
    elif not isinstance(layers, (list, tuple)):
        layers = texts("layers", layers)
    return list(dict.fromkeys(layer_name(model, layer) for layer in layers))


def capture(
    model: nn.Module, sample: HasTensor | Tensor, layers: Layer | Sequence[Layer]
) -> dict[str, Tensor]:
    """Run the model once and return the output of each named layer, in the layer's own shape.

    Each tensor is the layer's *own* output: a later ``ReLU(inplace=True)`` does not overwrite it.
    The pass runs in eval mode and without gradients.

    Args:
        model: any module that takes one tensor.
        sample: a ``Sample``, or a tensor (N, …) on the model's device.
        layers: one layer or several, each by its dotted path or as the module itself.

    Returns:
        ``{name: output}`` in the order of ``layers``, detached, on the model's device.

    Raises:
        ValueError: an unknown layer; a layer that does not return one tensor, runs more than
            once, or does not run; an input that the model cannot run on. All hooks are removed.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True))
        >>> capture(net, torch.zeros(1, 3, 8, 8), "0")["0"].shape
        torch.Size([1, 8, 6, 6])
    """
    return captured(model, input_tensor(model, sample, axes=None), layers)[0]


def captured(
    model: nn.Module, x: Tensor, layers: Layer | Sequence[Layer]
) -> tuple[dict[str, Tensor], Any]:
    """Return ``capture``'s ``{name: output}``, and the model's own output of the same pass."""
    names = as_list(model, layers)
    with torch.no_grad(), evaluating(model), recording(model, names) as record:
        output = forward(model, x.clone())
    return {name: out.detach() for name, out in pick(record, names).items()}, output


def output_shapes(model: nn.Module, x: Tensor, *, once: bool = False) -> dict[str, tuple[int, ...]]:
    """Run the model once and return the output shape of every module that returns one tensor.

    Args:
        model: any module; on the meta device this costs no arithmetic.
        x: network input (N, C, H, W) on the model's device.
        once: leave out modules that run more than once, which ``capture`` refuses.

    Returns:
        ``{dotted name: shape}``; for a module that runs more than once, the shape of its last run.
    """
    shapes: dict[nn.Module, tuple[int, ...]] = {}
    runs: Counter[nn.Module] = Counter()

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        runs[module] += 1
        if isinstance(output, Tensor):
            shapes[module] = tuple(output.shape)

    with torch.no_grad(), evaluating(model) as inside, watching_calls(inside, leave):
        forward(inside, x)
    named = [(name, module) for name, module in inside.named_modules() if module in shapes]
    return {name: shapes[module] for name, module in named if not once or runs[module] == 1}


@contextmanager
def watching_calls(
    model: nn.Module,
    leave: Callable[[nn.Module, Any, Any], None],
    enter: Callable[[nn.Module, Any], None] | None = None,
) -> Iterator[None]:
    """Call functions before and after each call of each module, for a ``with`` block.

    Args:
        model: any module; its TorchScript parts, which accept no hooks, are left out.
        leave: called with the module, its arguments and its output, which is None if it raised.
        enter: called with the module and its arguments; None calls nothing.
    """
    with ExitStack() as handles:
        for module in model.modules():
            if isinstance(module, torch.jit.ScriptModule):
                continue  # it accepts no hooks
            if enter is not None:
                handles.callback(module.register_forward_pre_hook(enter).remove)
            # always_call: a module may raise, and its caller may catch the error and continue.
            always = enter is not None
            handles.callback(module.register_forward_hook(leave, always_call=always).remove)
        yield


class _Reached(BaseException):
    """Raised by a hook to end a forward pass; not an ``Exception``, so no model swallows it."""


def run_to(model: nn.Module, x: Tensor, layer: str) -> Tensor:
    """Run the model only as far as ``layer`` and return that layer's output, graph attached.

    Args:
        model: any module; the caller sets train or eval mode, and whether autograd is on.
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

    module = get_layer(model, layer)
    _refuse_scripted(layer, module)
    handle = module.register_forward_hook(stop)
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
