"""Runs that ask only for shapes and counts: without memory and arithmetic where that is possible.

The first attempt is a copy on torch's meta device, whose tensors have shapes and no numbers. A
``forward`` that looks at numbers, or makes tensors on the CPU, fails there: then a copy runs on the
model's own device, then the model itself.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

from vizhelpers.inputs import bare, dtype_of
from vizhelpers.layers import hooks_away, own_parts_only, twin
from vizhelpers.passes import refuse_lazy

Result = TypeVar("Result")
_MOST = 2**31  # numbers of an input that is really made


def dry_run(
    model: nn.Module, sizes: Sequence[Sequence[int]], look: Callable[[nn.Module, Tensor], Result]
) -> Result:
    """Return what ``look(stand_in, x)`` returns for the first input size that a model takes.

    The reader's own hooks are not called, and what ``forward`` keeps on the model stays as it was,
    but for models that run no other way.

    Args:
        model: any module; it is only read.
        sizes: input sizes to try, (N, C, H, W) mostly.
        look: runs the stand-in on an input ``x`` of one of these sizes, and returns what it saw.

    Raises:
        ValueError: the model has lazy layers, or takes none of the sizes: the first one's error.
    """
    inside = bare(model)
    refuse_lazy(inside)
    refused: Exception | None = None
    for stand_in in (_on_meta, twin, _silenced, _as_it_is):
        refused = None
        for size in sizes:
            try:
                with _ready(inside, stand_in) as module:
                    return look(module, _input(inside, size, meta=stand_in is _on_meta))
            except Exception as error:
                refused = refused or error
    assert refused is not None, "no size was given"
    raise refused


def _input(model: nn.Module, size: Sequence[int], *, meta: bool) -> Tensor:
    """Return an input of this size; on a real device numbers from 0 to 1, as torchinfo makes it."""
    dtype, weight = dtype_of(model), next(model.parameters(), torch.empty(0, device="cpu"))
    if not meta and torch.Size(size).numel() > _MOST:
        raise ValueError(f"input_size={tuple(size)} is too large to be made.")
    try:
        if meta:
            return torch.empty(tuple(size), device="meta", dtype=dtype)
    except RuntimeError as error:  # more numbers than can be counted
        raise ValueError(f"input_size={tuple(size)} is too large: {error}.") from error
    generator = torch.Generator(device="cpu").manual_seed(0)
    drawn = torch.rand(tuple(size), generator=generator, device="cpu")
    return drawn.to(device=weight.device, dtype=dtype)


def _on_meta(model: nn.Module) -> nn.Module:
    return twin(model, _emptied)


def _emptied(tensor: Tensor) -> Tensor:
    empty = torch.empty_like(tensor, device="meta", requires_grad=False)
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(empty, requires_grad=tensor.requires_grad)
    return empty


def _silenced(model: nn.Module) -> nn.Module:
    """Return the model itself, whose hooks ``_ready`` takes off."""
    return model


def _as_it_is(model: nn.Module) -> nn.Module:
    return model


@contextmanager
def _ready(model: nn.Module, make: Callable[[nn.Module], nn.Module]) -> Iterator[nn.Module]:
    """Yield what runs in the model's stead."""
    stand_in = make(model)
    with hooks_away(model) if make is _silenced else own_parts_only(stand_in, model):
        yield stand_in
