"""Register hooks on a model's layers; no other module of the package does.

The model is left unchanged, also when a pass raises or is interrupted: hooks are removed, each
submodule's ``training`` flag is restored, and ``.grad`` is not touched.
"""

import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from vizhelpers.inputs.global_state import process_wide
from vizhelpers.inputs.layers import paths_inside
from vizhelpers.passes.attributes import attributes_restored
from vizhelpers.passes.copies import closes_over, is_method_of
from vizhelpers.passes.forward import evaluating
from vizhelpers.passes.recording import Reached, Recording


class NotItself(Exception):
    """A copy called a part of the model that it was copied from."""


@contextmanager
def own_parts_only(copied: nn.Module, model: nn.Module) -> Iterator[None]:
    """Raise ``NotItself`` in a ``with`` block if a copy calls a part of the original model.

    That happens if ``forward`` was replaced by a function that refers to the original's layers.
    """
    own = {id(module) for module in copied.modules()}
    theirs = {id(module) for module in model.modules()} - own
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
    with process_wide(), evaluating(model), attributes_restored(model):
        ids = {id(module) for module in model.modules()}
        for module in model.modules():
            for key, table in vars(module).items():
                if key.endswith(("ward_hooks", "ward_pre_hooks")) and table:
                    module.__dict__[key] = _own_hooks(table, ids)
        yield


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

    handle = model.get_submodule(layer).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def recording(
    model: nn.Module, layers: Sequence[str], *, stop: bool = False
) -> Iterator[Recording]:
    """Record each named layer's output in the yielded ``Recording`` for a ``with`` block.

    Outputs keep their autograd graph. Only forward passes of the calling thread are recorded.

    Args:
        model: any module.
        layers: dotted module paths.
        stop: raise ``Reached`` when all layers have run.
    """
    record = Recording()
    thread = threading.get_ident()

    def recorder(name: str) -> Callable[[nn.Module, Any, Any], Tensor | None]:
        def hook(module: nn.Module, args: Any, output: Any) -> Tensor | None:
            if threading.get_ident() != thread or record.stopped:
                return None  # another thread's pass, or forward has caught ``Reached``
            if _in_backward():
                return output.clone() if isinstance(output, Tensor) else None
            if not isinstance(output, Tensor):
                raise _not_one_tensor(model, name, output)
            if name in record.outputs:
                raise ValueError(
                    f"Layer {name!r} runs more than once in one forward pass, so it has no single "
                    "output. Choose the module that contains it, or one that runs once."
                )
            record.outputs[name] = output
            if stop and len(record.outputs) == len(layers):
                record.stopped = True
                raise Reached
            # The network continues with a copy, so that a later in-place operation, such as
            # ReLU(inplace=True), does not overwrite the recorded tensor.
            return output.clone()

        return hook

    modules = {name: model.get_submodule(name) for name in layers}
    with ExitStack() as handles:
        for name, module in modules.items():
            _refuse_scripted(name, module)
            handles.callback(module.register_forward_hook(recorder(name)).remove)
        yield record


def _not_one_tensor(model: nn.Module, name: str, output: Any) -> ValueError:
    inside = paths_inside(model.get_submodule(name))
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
