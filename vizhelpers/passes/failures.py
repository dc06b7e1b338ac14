"""Explain in words why a pass or a gradient failed."""

import dis
import inspect
import re
import traceback
from typing import Any

from torch import Tensor, nn

from vizhelpers.inputs.modules import dtype_of

# (pattern in torch's message, explanation). {model} is the model's class, {what} the tensor.
_CAUSES = (
    (
        "Inference tensors cannot be saved",
        "A part of {model} runs under torch.inference_mode, through which no gradient passes. "
        "Remove that from forward: requires_grad_(False) freezes weights and lets gradients pass. "
        "capture, feature_maps and cam(..., method='eigencam') need no gradients.",
    ),
    (
        "does not require grad|not have been used in the graph",
        "No gradient reaches {what}: {model} computes it, or what follows, under torch.no_grad, "
        "with .detach(), or in a quantised or scripted part. Remove that from forward "
        "(requires_grad_(False) freezes weights and lets gradients pass), or choose a later layer. "
        "capture, feature_maps and cam(..., method='eigencam') need no gradients.",
    ),
    (
        "checkpoint.*incompatible|use_reentrant",
        "{model} uses gradient checkpointing with use_reentrant=True, which allows no gradients of "
        "activations. Pass use_reentrant=False to torch.utils.checkpoint.checkpoint, or switch "
        "checkpointing off: model.set_grad_checkpointing(False) in timm, "
        "model.gradient_checkpointing_disable() in transformers.",
    ),
    (
        "hook on a tensor that doesn't require grad|retain_grad on Tensor that has requires_grad",
        "The forward of {model} calls register_hook or retain_grad on a tensor, which needs "
        "gradients; this pass runs without. Guard the line with `if x.requires_grad:`.",
    ),
    (
        r"numpy\(\) on Tensor that requires grad",
        "The forward of {model} calls .numpy() on a tensor that requires gradients, as it does in "
        "this pass. Write x.detach().numpy() there.",
    ),
    (
        "[Qq]uantized",
        "{model} has quantised layers, which torch runs only on some devices and without "
        "gradients. Use the model before quantisation.",
    ),
)
_SHAPES = re.compile(
    r"shape|size|dimension|channel|height|width|expected .*(input|\dD)|mat1|input type|"
    r"same (device|dtype)|expected device|scalar type|dtype|out of range",
    re.IGNORECASE | re.DOTALL,
)
_LIBRARIES = ("torch", "torchvision", "timm", "transformers")


def cause_of(model: nn.Module, error: BaseException, what: str = "it") -> str | None:
    """Return a sentence that explains why a pass or a gradient failed; None if it is not known.

    Args:
        model: the model that was run.
        error: the error that torch raised.
        what: the tensor that gradients were taken with respect to, such as "layer 'conv1'".
    """
    built = any(parameter.is_inference() for parameter in model.parameters())
    if built and "nference tensor" in str(error):
        return (
            f"{type(model).__name__} was built under torch.inference_mode, so no gradient "
            "can pass through its parameters. Build or load it outside of that block."
        )
    for pattern, words in _CAUSES:
        if re.search(pattern, str(error), re.DOTALL):
            text = words.format(model=type(model).__name__, what=what)
            return f"{text} (torch: {str(error).splitlines()[0]})"
    return None


def explained(model: nn.Module, x: Tensor, error: Exception) -> Exception | None:
    """Return a clearer error to raise instead; None if ``error`` is clear enough."""
    if isinstance(error, TypeError) and (several := _several_inputs(model)):
        return TypeError(several)
    frames = list(traceback.walk_tb(error.__traceback__))
    if _raised_explicitly(frames[-1][0], error):
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
                f"{_where(model, frames)}{str(error).rstrip(' .')}. {_remedy_for_shape(shape)}"
            )
    return None


def _remedy_for_shape(shape: tuple[int, ...]) -> str:
    if len(shape) == 3 and shape[0] in (1, 3):
        batch = f"(1, {', '.join(map(str, shape))})"
        return f"The batch axis is missing: one image has the shape {batch}."
    return (
        "Give it the shape that the model was trained on; viz.prepare(model, image, transform=...) "
        "makes such an input from a photograph."
    )


def _several_inputs(model: nn.Module) -> str:
    """Return the error text for a model that needs several inputs; "" if one is enough."""
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
        f"{type(model).__name__} takes {len(needed)} inputs: {', '.join(needed)}. vizhelpers calls "
        "a model with one tensor. Wrap it in a module that supplies the rest; prefix layer names "
        "with 'model.':\n"
        "    class OneInput(torch.nn.Module):\n"
        "        def __init__(self, model):\n"
        "            super().__init__()\n"
        "            self.model = model\n"
        f"        def forward(self, {needed[0]}):\n"
        f"            return self.model({needed[0]}, {rest})"
    )


def raised_by_model(error: BaseException) -> bool:
    """Return whether the model raised the error, rather than a check of this package."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    own = bool(frames) and frames[-1].f_globals.get("__name__", "").startswith("vizhelpers")
    return error.__cause__ is not None or not own


def _raised_explicitly(frame: Any, error: Exception) -> bool:
    """Return whether a ``raise`` in the model's own code raised the error.

    An error from torch's C++ code has the line that called it as its last frame, not a ``raise``.
    """
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None or frame.f_globals.get("__name__", "").partition(".")[0] in _LIBRARIES:
        return False
    return dis.opname[frame.f_code.co_code[last.tb_lasti]] in ("RAISE_VARARGS", "RERAISE")


def _mismatch(model: nn.Module, x: Tensor) -> str:
    """Return the error text for an input of another device or dtype; "" if both match."""
    weight = next(model.parameters(), None)
    if weight is None:
        return ""
    if weight.device != x.device:
        return (
            f"The input is on {x.device}, the model on {weight.device}. Nothing is moved "
            f"automatically: use x.to({str(weight.device)!r}), or call viz.prepare(model, image) "
            "after moving the model."
        )
    if x.dtype != dtype_of(model):
        return (
            f"The input is {x.dtype}, the model {dtype_of(model)}. Use x.to({dtype_of(model)}), "
            "or viz.prepare(model, image), which returns the model's dtype."
        )
    return ""


def _where(model: nn.Module, frames: list[Any]) -> str:
    """Return the name and class of the layer that failed, from the traceback; "" if none did."""
    names = {id(module): name for name, module in model.named_modules() if name}
    inside = [frame.f_locals.get("self") for frame, _ in frames]
    failed = [m for m in inside if isinstance(m, nn.Module) and id(m) in names]
    if not failed:
        return ""
    kind, name = type(failed[-1]).__name__, names[id(failed[-1])]
    return f"layer {name!r} ({kind}): "
