"""Run a model once: in eval mode, in its own precision, one thread at a time; failures explained.

A pass leaves the model as it was, also when it raises or is interrupted.
"""

import dis
import inspect
import os
import re
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from vizhelpers.inputs import bare, dtype_of

_locks: WeakKeyDictionary[nn.Module, Any] = WeakKeyDictionary()
_guard = threading.Lock()


def _forget_locks() -> None:
    """Start anew in a forked process: a lock that another thread held there is never released."""
    global _guard
    _guard = threading.Lock()
    _locks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_locks)


@contextmanager
def _alone_with(model: nn.Module) -> Iterator[None]:
    """Hold the lock of every module, so that two models with a part in common wait as well."""
    with _guard:
        # One order for all threads: no two of them wait for each other.
        modules = sorted(model.modules(), key=id)
        locks = [_locks.setdefault(module, threading.RLock()) for module in modules]
    with ExitStack() as stack:
        for lock in locks:
            stack.enter_context(lock)
        yield


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """Put a model in eval mode for the length of a ``with`` block, and yield the module inside.

    In train mode dropout makes every pass another one, and BatchNorm's statistics move. Only flags
    are set: a model's own ``eval()`` may do more, such as merging weights. Each submodule gets its
    own flag back, since a user may have frozen a part on purpose. Meanwhile other threads that want
    the same model wait, autocast is off, and what was compiled runs as it is written.

    Raises:
        ValueError: the model has lazy layers that never saw an input.
    """
    inside = bare(model)
    refuse_lazy(inside)
    with _alone_with(inside), without_autocast(), _uncompiled():
        training = [module for module in inside.modules() if module.training]
        try:
            for module in training:
                module.training = False
            yield inside
        finally:
            for module in training:
                module.training = True


@contextmanager
def without_autocast() -> Iterator[None]:
    """Switch autocast off where a caller has it on; also usable as a decorator, with ``()``.

    Maps and gradients are compared and summed here, for which bfloat16 is too coarse.
    """
    with ExitStack() as stack:
        for device in ("cpu", "cuda", "mps", "xpu"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield


def _uncompiled() -> AbstractContextManager[None]:
    """Run compiled modules as they are written, so that the hooks inside them are called.

    Only where torch's compiler is in use: importing it takes seconds.
    """
    if "torch._dynamo" in sys.modules:
        return torch.compiler.set_stance("force_eager")
    return nullcontext()


def refuse_lazy(model: nn.Module) -> None:
    """Raise a ``ValueError`` where layers wait for a first input to learn their shapes."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    waiting = list(dict.fromkeys(n.rpartition(".")[0] for n, t in tensors if is_lazy(t)))
    if waiting:
        raise ValueError(
            f"{type(model).__name__} has lazy layers that have not seen an input yet: "
            f"{', '.join(map(repr, waiting[:6]))}. Their shapes are unknown until then. Run "
            "model(x) once on an input of the right shape, then look at the model."
        )


def forward(model: nn.Module, x: Tensor) -> Any:
    """Run the model on one tensor and return its output.

    Raises:
        ValueError: the model cannot take the input; the text says which layer failed, and why.
        TypeError: the model takes more than one input.
        Exception: what the model's own code raises is passed on unchanged.
    """
    inside = bare(model)
    try:
        return inside(x)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        explained = _explained(inside, x, error)
        if explained is None:
            raise
        raise explained from error


# What torch says -> what it means here. {model} is the model's class.
_CAUSES = (
    (
        "Inference tensors cannot be saved",
        "A part of {model} runs under torch.inference_mode, through which no gradient passes. Use "
        "no such block in forward; what needs no gradient works: capture, feature_maps, and "
        "method='eigencam'.",
    ),
    (
        "does not require grad|not have been used in the graph",
        "No gradient reaches {what}: {model} computes it, or what follows, under torch.no_grad, "
        "with .detach(), or in a quantised or scripted part. Take that out of forward, or choose a "
        "layer behind it; what needs no gradient works: capture, feature_maps, and "
        "method='eigencam'.",
    ),
    (
        "checkpoint.*incompatible|use_reentrant",
        "{model} uses gradient checkpointing with use_reentrant=True, which allows no gradients of "
        "activations. Pass use_reentrant=False to torch.utils.checkpoint.checkpoint, or switch "
        "checkpointing off: model.set_grad_checkpointing(False) in timm, "
        "model.gradient_checkpointing_disable() in transformers.",
    ),
    (
        "[Qq]uantized",
        "{model} has quantised layers, which torch runs only on some devices and without "
        "gradients. Use the model as it was before it was quantised.",
    ),
)
_SHAPES = re.compile(
    r"shape|size|dimension|channel|height|width|expected .*(input|\dD)|mat1|input type|"
    r"same (device|dtype)|expected device|scalar type|dtype|out of range",
    re.IGNORECASE | re.DOTALL,
)
_LIBRARIES = ("torch", "torchvision", "timm", "transformers")


def cause_of(model: nn.Module, error: BaseException, what: str = "it") -> str | None:
    """Return in words why a pass or a gradient failed, where torch's own text is known.

    Args:
        model: that was run.
        error: what torch raised.
        what: what was differentiated with respect to, such as "layer 'conv1'".
    """
    for pattern, words in _CAUSES:
        if re.search(pattern, str(error), re.DOTALL):
            text = words.format(model=type(bare(model)).__name__, what=what)
            return f"{text} (torch: {str(error).splitlines()[0]})"
    return None


def _explained(model: nn.Module, x: Tensor, error: Exception) -> Exception | None:
    """Return the error that a caller should see; None where the model's own is the best."""
    if isinstance(error, TypeError) and (several := _several_inputs(model)):
        return TypeError(several)
    frames = list(traceback.walk_tb(error.__traceback__))
    if _own_words(*frames[-1], error):
        return None
    if known := cause_of(model, error):
        return ValueError(known)
    if isinstance(error, (RuntimeError, ValueError, AssertionError, IndexError)):
        if mismatch := _mismatch(model, x):
            return ValueError(mismatch)
        if _SHAPES.search(str(error)):
            shape = tuple(x.shape)
            return ValueError(
                f"{type(model).__name__} cannot run on an input of shape {shape}: "
                f"{_where(model, frames)}{error} {_way_to_a_size(shape)}"
            )
    return None


def _way_to_a_size(shape: tuple[int, ...]) -> str:
    if len(shape) == 3 and shape[0] in (1, 3):
        return f"An image has a batch axis in front: (1, {', '.join(map(str, shape))})."
    return "viz.prepare(model, image) makes an input of the size that the model was made for."


def _several_inputs(model: nn.Module) -> str:
    """Say that a model needs more than one input, if it does; else return ""."""
    try:
        parameters = inspect.signature(model.forward).parameters.values()
    except (TypeError, ValueError):
        return ""
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [p.name for p in parameters if p.default is p.empty and p.kind in plain]
    needed += [p.name for p in parameters if p.default is p.empty and p.kind is p.KEYWORD_ONLY]
    if len(needed) < 2:
        return ""
    rest = ", ".join(f"{name}=…" for name in needed[1:])
    return (
        f"{type(model).__name__} takes {len(needed)} inputs: {', '.join(needed)}. Here a model is "
        "called with one tensor. Wrap it in a module of one input, whose layers are then named "
        "'model.…':\n"
        "    class OneInput(torch.nn.Module):\n"
        "        def __init__(self, model):\n"
        "            super().__init__()\n"
        "            self.model = model\n"
        f"        def forward(self, {needed[0]}):\n"
        f"            return self.model({needed[0]}, {rest})"
    )


def _own_words(frame: Any, line: int, error: Exception) -> bool:
    """Whether the model's code raised the error itself, in words of its own.

    What torch finds wrong in C++ surfaces at the line that called it, which is no ``raise``.
    """
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None or frame.f_globals.get("__name__", "").partition(".")[0] in _LIBRARIES:
        return False
    return dis.opname[frame.f_code.co_code[last.tb_lasti]] in ("RAISE_VARARGS", "RERAISE")


def _mismatch(model: nn.Module, x: Tensor) -> str:
    """Say that input and model have another device or dtype; "" where they agree."""
    weight = next(model.parameters(), None)
    if weight is None:
        return ""
    if weight.device != x.device:
        return (
            f"The input is on {x.device}, the model on {weight.device}. Nothing is moved behind "
            "your back: use x.to(device), or viz.prepare(model, image) once the model has moved."
        )
    if x.dtype != dtype_of(model):
        return (
            f"The input is {x.dtype}, the model {dtype_of(model)}: use x.to(dtype), or "
            "viz.prepare(model, image), which makes it as the model wants it."
        )
    return ""


def _where(model: nn.Module, frames: list[Any]) -> str:
    """Return which layer failed, read from the frames of the traceback."""
    names = {id(module): name for name, module in model.named_modules() if name}
    inside = [frame.f_locals.get("self") for frame, _ in frames]
    failed = [one for one in inside if isinstance(one, nn.Module) and id(one) in names]
    if not failed:
        return ""
    kind, name = type(failed[-1]).__name__, names[id(failed[-1])]
    return f"layer {name!r} ({kind}): "
