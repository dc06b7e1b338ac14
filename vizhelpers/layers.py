"""Look into a forward pass: the only room that registers hooks.

Everything here leaves the model as it was: hooks are removed, each submodule's train or eval
flag is put back, ``.grad`` is not touched, also when the forward pass raises or is interrupted.
"""

import copy
import threading
import types
import warnings
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from enum import Enum
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from vizhelpers.arguments import texts
from vizhelpers.errors import said, unknown
from vizhelpers.inputs import HasTensor, bare, input_tensor
from vizhelpers.passes import evaluating, forward

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


def get_layer(model: nn.Module, name: Layer) -> nn.Module:
    """Return the submodule with this dotted path; a submodule itself is returned as it is.

    Raises:
        ValueError: there is no such layer; the text names the nearest ones.
    """
    return bare(model).get_submodule(layer_name(model, name))


def layer_name(model: nn.Module, layer: Layer) -> str:
    """Return the dotted path of a layer that is given by its path or as the module itself.

    Raises:
        TypeError: a list, or another thing that names no layer.
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
            f"layer is {what}, not a layer inside {type(inside).__name__}. Take it from the model "
            f"itself, or give its name; {way_on}"
        )
    if isinstance(layer, (list, tuple)):
        raise TypeError(
            f"layer={said(layer)}: expected one layer, its name or the module. Several layers are "
            "for viz.cam_sweep(..., layers=[...]) and viz.capture."
        )
    if isinstance(layer, str) and layer:
        with suppress(AttributeError):
            inside.get_submodule(layer)
            return layer
    raise unknown("layer", layer, layer_names(model), way_on)


def twin(
    model: nn.Module, tensor: Callable[[Tensor], Tensor] = lambda it: it, *, hooks: bool = False
) -> nn.Module:
    """Return a copy of a model's modules that shares what cannot be copied.

    Unlike ``copy.deepcopy`` it works for every model: with results of earlier passes kept in it
    (pruning, weight_norm), with locks, files and whatever else an attribute holds.

    Args:
        model: any module; it is only read.
        tensor: gives the copy's tensor for each parameter, buffer and tensor attribute; by default
            the same one, so that the copy follows the model's training.
        hooks: copy hooks too; those that are methods of the model then belong to the copy.
    """
    inside = bare(model)
    memo: dict[int, Any] = {}
    modules = [m for m in inside.modules() if not isinstance(m, torch.jit.ScriptModule)]
    for module in inside.modules():
        memo[id(module)] = module  # TorchScript is shared
    for module in modules:
        memo[id(module)] = object.__new__(type(module))
    for module in modules:
        own = [*module._parameters.values(), *module._buffers.values(), *vars(module).values()]
        for value in own:
            if isinstance(value, Tensor) and id(value) not in memo:
                memo[id(value)] = tensor(value)
    for module in modules:
        for key, value in vars(module).items():
            if "_hooks" in key and isinstance(value, dict) and not hooks:
                copied: Any = type(value)()
            elif key == "_compiled_call_impl":
                copied = None
            else:
                copied = _copied(value, memo)
            memo[id(module)].__dict__[key] = copied
    return memo[id(inside)]


class NotItself(Exception):
    """A copy called a part of the model that it was copied from."""


@contextmanager
def own_parts_only(copied: nn.Module, model: nn.Module) -> Iterator[None]:
    """Raise ``NotItself`` where a copy calls a part of the model that it was copied from.

    A ``forward`` that was replaced by a function of the original does that: the copy's own layers
    do not run.
    """
    own = {id(module) for module in copied.modules()}
    theirs = {id(module) for module in bare(model).modules()} - own
    thread = threading.get_ident()

    def refuse(module: nn.Module, args: object) -> None:
        if id(module) in theirs and threading.get_ident() == thread:
            raise NotItself(type(module).__name__)

    compiled = any("_orig_mod" in module._modules for module in copied.modules())
    with ExitStack() as stack:
        if compiled:  # torch warns of a hook like this one beside compiled modules
            stack.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", message=".*global hooks on modules")
        stack.callback(register_module_forward_pre_hook(refuse).remove)
        yield


@contextmanager
def hooks_away(model: nn.Module) -> Iterator[None]:
    """Take all hooks of forward and backward passes off a model for a ``with`` block."""
    with evaluating(model) as inside:
        hooked = [
            (module, key, table)
            for module in inside.modules()
            for key, table in vars(module).items()
            if key.endswith(("ward_hooks", "ward_pre_hooks")) and table
        ]
        try:
            for module, key, _ in hooked:
                module.__dict__[key] = OrderedDict()
            yield
        finally:
            for module, key, table in hooked:
                module.__dict__[key] = table


def _copied(value: Any, memo: dict[int, Any]) -> Any:
    try:
        return copy.deepcopy(value, memo)
    except Exception:  # a lock, a file, a result of autograd: shared
        return value


def private_copy(model: nn.Module) -> nn.Module:
    """Return what a panel's thread looks at: a copy with the same parameters, or the model itself.

    On a copy, the panel's passes do not meet those of the reader's cells. A model that a copy may
    not follow is looked at itself, pass by pass: one with hooks, which may compute, with a replaced
    ``forward``, or with attributes that may refer to other parts of it.
    """
    return twin(model) if is_plain(model) else bare(model)


def is_plain(model: nn.Module) -> bool:
    """Whether a copy of a model surely computes what the model does, as ``private_copy`` says."""
    return all(map(_is_plain, bare(model).modules()))


_DATA = (type(None), bool, int, float, complex, str, bytes, Tensor, np.ndarray, np.generic, Enum,
         torch.dtype, torch.device, type, types.BuiltinFunctionType)  # fmt: skip


def _is_plain(module: nn.Module) -> bool:
    """Whether all that a module computes with are its class, tensors, numbers and parts."""
    if isinstance(module, torch.jit.ScriptModule) or "forward" in vars(module):
        return False
    known = ("_parameters", "_buffers", "_modules", "_vizhelpers_card")
    return all(
        key in known or (not value if "_hooks" in key else _is_data(value))
        for key, value in vars(module).items()
    )


def _is_data(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_data, value.values()))
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(map(_is_data, value))
    if isinstance(value, types.FunctionType):
        return value.__closure__ is None and value.__name__ != "<lambda>"
    return isinstance(value, _DATA)


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
            # The network goes on with a copy. A later in-place operation, such as
            # ReLU(inplace=True), then rewrites the copy and not what we hold.
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
    children = ", ".join(f"'{name}.{child}'" for child in inside[:6]) or "none"
    return ValueError(
        f"Layer {name!r} returns a {type(output).__name__}, not one tensor, so there is no single "
        f"map to show. Choose a layer whose output is a tensor; inside it: {children}."
    )


def _in_backward() -> bool:
    """Whether this thread is in a backward pass: gradient checkpointing runs layers again there.

    The second run must do what the first one did, and is no second output.
    """
    return bool(torch._C._current_graph_task_id() != -1)


def _refuse_scripted(name: str, module: nn.Module) -> None:
    if isinstance(module, torch.jit.ScriptModule):
        raise ValueError(
            f"Layer {name!r} is TorchScript, which takes no hooks, so its output cannot be "
            "recorded. Put the Python module that was scripted or traced in its place, or choose "
            "a layer outside it."
        )


def pick(record: dict[str, Tensor], layers: Sequence[str]) -> dict[str, Tensor]:
    """Return what was recorded in the order asked for; refuse a layer that did not run."""
    silent = [name for name in layers if name not in record]
    if silent:
        raise ValueError(
            f"Layer {silent[0]!r} did not run in this forward pass, so it has no output. "
            "It may serve training only, or be used as a function and not called as a module, as "
            "gradient checkpointing calls the parts of a block."
        )
    return {name: record[name] for name in layers}


def as_list(model: nn.Module, layers: Layer | Sequence[Layer]) -> list[str]:
    """Return the names of one layer or several as a list without repetitions."""
    if isinstance(layers, (str, nn.Module)):
        layers = [layers]
    elif not isinstance(layers, (list, tuple)):
        layers = texts("layers", layers)
    return list(dict.fromkeys(layer_name(model, layer) for layer in layers))


def capture(
    model: nn.Module, sample: HasTensor | Tensor, layers: Layer | Sequence[Layer]
) -> dict[str, Tensor]:
    """Run the model once and return the output of each named layer, in the layer's own shape.

    Each tensor is the layer's *own* output: a later ``ReLU(inplace=True)`` does not rewrite it.
    The pass runs in eval mode and without gradients.

    Args:
        model: any module that takes one tensor.
        sample: a ``Sample``, or a tensor (N, …) on the model's device.
        layers: one layer or several, each by its dotted path or as the module itself.

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
    return captured(model, input_tensor(model, sample, axes=None), layers)[0]


def captured(
    model: nn.Module, x: Tensor, layers: Layer | Sequence[Layer]
) -> tuple[dict[str, Tensor], Any]:
    """Return what ``capture`` returns, and what the model itself put out in the same pass."""
    names = as_list(model, layers)
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
    """Call functions at every call of every module, TorchScript's apart, in a ``with`` block.

    Args:
        model: any module.
        leave: gets the module, its arguments and its output; the output is None where it raised.
        enter: gets the module and its arguments.
    """
    with ExitStack() as handles:
        for module in model.modules():
            if isinstance(module, torch.jit.ScriptModule):
                continue  # it takes no hooks
            if enter is not None:
                handles.callback(module.register_forward_pre_hook(enter).remove)
            # always_call: a module may raise, and the one that called it may go on.
            always = enter is not None
            handles.callback(module.register_forward_hook(leave, always_call=always).remove)
        yield


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
