"""Find shapes and counts by running a model, if possible without memory and arithmetic.

The first attempt is a copy on torch's meta device, whose tensors have a shape but no data. A
``forward`` that reads values, or creates tensors on the CPU, fails there. Then a copy runs on the
model's own device, then the model itself.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

from vizhelpers.inputs.global_state import drawn_on_cpu
from vizhelpers.inputs.modules import dtype_of
from vizhelpers.passes.copies import closes_over, copy_model
from vizhelpers.passes.forward import refuse_lazy
from vizhelpers.passes.hooks import NotItself, own_parts_only, readers_hooks_away

Result = TypeVar("Result")
# Errors of a copy that lacks a part of the original.
_NO_COPY = (NotItself, AttributeError, KeyError, TypeError)
_MOST = 2**31  # elements of an input that is not on the meta device


def dry_run(
    model: nn.Module, sizes: Sequence[Sequence[int]], measure: Callable[[nn.Module, Tensor], Result]
) -> Result:
    """Return ``measure(stand_in, x)`` for the first input size that a model runs on.

    The user's own hooks are not called and the model's attributes are not changed, except for
    models that run only with their hooks or only as the original.

    Args:
        model: any module.
        sizes: input sizes to try, mostly (N, C, H, W).
        measure: runs the stand-in on an input ``x`` of one of these sizes, and returns a result.

    Raises:
        ValueError: the model has uninitialised lazy layers.
        Exception: the model runs on none of the sizes; the error that the first size raised.
    """
    refuse_lazy(model)
    errors: list[Exception] = []
    for make_copy in (_itself,) if _hooks_refer_to(model) else (_on_meta, copy_model, _itself):
        # The model itself runs only if a copy failed for lack of a part of the original.
        if make_copy is _itself and errors and not any(isinstance(e, _NO_COPY) for e in errors):
            break
        errors = []
        for size in sizes:
            try:
                with _prepared(model, make_copy) as stand_in:
                    return measure(stand_in, _input(model, size, meta=make_copy is _on_meta))
            except Exception as error:
                errors.append(error)
    raise errors[0]


def _hooks_refer_to(model: nn.Module) -> bool:
    """Return whether a hook's closure holds a module of the model, so that no copy can run it."""
    ids = {id(module) for module in model.modules()}
    tables = (v for m in model.modules() for k, v in vars(m).items() if k.endswith("_hooks"))
    return any(
        closes_over(hook, ids)
        for table in tables
        if isinstance(table, dict)
        for hook in table.values()
    )


def _input(model: nn.Module, size: Sequence[int], *, meta: bool) -> Tensor:
    """Return an input of this size; off the meta device with values from 0 to 1, as torchinfo."""
    dtype, weight = dtype_of(model), next(model.parameters(), torch.empty(0, device="cpu"))
    if not meta and torch.Size(size).numel() > _MOST:
        raise ValueError(f"input_size={tuple(size)} is too large: more than {_MOST:,} elements.")
    try:
        if meta:
            return torch.empty(tuple(size), device="meta", dtype=dtype)
    except RuntimeError as error:  # more elements than a 64-bit integer can count
        raise ValueError(f"input_size={tuple(size)} is too large: {error}.") from error
    generator = torch.Generator(device="cpu").manual_seed(0)
    drawn = torch.rand(tuple(size), generator=generator, device="cpu")
    return drawn.to(device=weight.device, dtype=dtype)


def _on_meta(model: nn.Module) -> nn.Module:
    return copy_model(model, _emptied)


def _emptied(tensor: Tensor) -> Tensor:
    empty = torch.empty_like(tensor, device="meta", requires_grad=False)
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(empty, requires_grad=tensor.requires_grad)
    return empty


def _itself(model: nn.Module) -> nn.Module:
    return model


@contextmanager
def _prepared(model: nn.Module, make_copy: Callable[[nn.Module], nn.Module]) -> Iterator[nn.Module]:
    """Yield the module that runs instead of the model; restore the CPU's random state on exit."""
    if make_copy is _itself:
        with drawn_on_cpu(), readers_hooks_away(model):
            yield model
        return
    stand_in = make_copy(model)
    with drawn_on_cpu(), own_parts_only(stand_in, model):
        yield stand_in
