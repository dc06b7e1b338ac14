"""Count the multiply-adds of a forward pass, and explain why torchinfo's count differs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from vizhelpers.inputs.global_state import process_wide
from vizhelpers.passes.hooks import watching_calls

_ROUNDING = 0.01  # of the larger count; smaller differences are not explained
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass
class Work:
    """Multiply-adds of a forward pass.

    Attributes:
        total: of all operations.
        calls: for each module, the multiply-adds of its calls in order, including submodules.
    """

    total: int = 0
    calls: dict[nn.Module, list[int]] = field(default_factory=dict)


@contextmanager
def counting(model: nn.Module) -> Iterator[Work]:
    """Count the multiply-adds of the forward pass that runs inside a ``with`` block.

    ``torch.utils.flop_counter`` counts convolutions and matrix products, in layers and functions,
    also on the meta device; biases and normalisation are not counted. Two of its operations, a
    multiplication and an addition, are one multiply-add.

    Args:
        model: any module; the block runs it once, without gradients.

    Yields:
        A ``Work``, complete when the block ends.
    """
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    work = Work(calls={module: [] for module in model.modules()})

    def so_far() -> int:
        return counter.get_total_flops() // 2

    def enter(module: nn.Module, args: Any) -> None:
        work.calls[module].append(-so_far())

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        work.calls[module][-1] += so_far()

    with process_wide(), watching_calls(model, leave, enter), _unfused(model), counter:
        yield work
        work.total = so_far()


@contextmanager
def _unfused(model: nn.Module) -> Iterator[None]:
    """Switch off fused attention and recurrent kernels, whose products cannot be counted."""
    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    backends: list[Any] = [torch.backends.mkldnn, torch.backends.cudnn] if recurrent else []
    fast = torch.backends.mha.get_fastpath_enabled()
    enabled = [backend.enabled for backend in backends]
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        for backend in backends:
            backend.enabled = False
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for backend, state in zip(backends, enabled, strict=True):
            backend.enabled = state


def work_of_rows(rows: Sequence[Any], work: Work) -> list[int]:
    """Return the multiply-adds of each row of torchinfo's table, including submodules.

    Args:
        rows: torchinfo's ``LayerInfo``, one for each call of a module.
        work: of the same forward pass.
    """
    calls = {module: iter(amounts) for module, amounts in work.calls.items()}
    amounts = [next(calls.get(row.module, iter(())), None) for row in rows]
    # A container that is not called itself, such as a ModuleList: the sum of its parts.
    for i in reversed(range(len(rows))):
        if amounts[i] is None:
            depth = rows[i].depth
            end = next((j for j in range(i + 1, len(rows)) if rows[j].depth <= depth), len(rows))
            parts = (j for j in range(i + 1, end) if rows[j].depth == depth + 1)
            amounts[i] = sum(amounts[j] or 0 for j in parts)
    return [amount or 0 for amount in amounts]


def difference_in_words(rows: Sequence[Any], works: Sequence[int], work: int) -> str:
    """Return why torchinfo's mult-adds differ from the work; "" if by 1 % at most.

    Args:
        rows: torchinfo's ``LayerInfo``, one for each call of a module.
        works: multiply-adds of each row, from ``work_of_rows``.
        work: of the whole forward pass.
    """
    leaves = [
        (row.module, row.macs, done)
        for row, done in zip(rows, works, strict=True)
        if row.is_leaf_layer
    ]
    torchinfos = sum(macs for _, macs, _ in leaves)
    if abs(work - torchinfos) <= _ROUNDING * max(work, torchinfos):
        return ""
    fewer = [(module, done - macs) for module, macs, done in leaves if done > macs]
    more = [(module, macs - done) for module, macs, done in leaves if macs > done]
    computed = sum(amount for module, amount in fewer if _computes_weight(module))
    linear = sum(
        amount
        for module, amount in fewer
        if isinstance(module, nn.Linear) and not _computes_weight(module)
    )
    # For torchinfo a parametrised layer is a container, whose own products do not count.
    computed += sum(
        done
        for row, done in zip(rows, works, strict=True)
        if not row.is_leaf_layer and _computes_weight(row.module)
    )
    transposed = sum(amount for module, amount in more if isinstance(module, _TRANSPOSED))
    surplus = [(m, amount) for m, amount in more if not isinstance(m, _TRANSPOSED)]
    biases = sum(amount for module, amount in surplus if _is_plain(module))
    others = sum(amount for module, amount in surplus if not _is_plain(module))
    names = sorted({type(module).__name__ for module, _ in surplus if not _is_plain(module)})
    products = work - torchinfos - linear - computed + transposed + biases + others
    reasons = [
        (linear, "counts a linear layer once for each image, not at each place or token", "few"),
        (
            computed,
            "leaves out layers whose weight is computed (weight_norm, spectral_norm, pruning)",
            "few",
        ),
        (products, "leaves out products outside of known layers, such as attention's", "few"),
        (transposed, "counts a transposed convolution at each place of its output", "many"),
        (biases, "counts biases and normalisation", "many"),
        (others, f"counts {', '.join(names)} in another way", "many"),
    ]
    # The largest of six reasons explains at least a sixth of the difference.
    least = _ROUNDING / 6 * max(work, torchinfos)
    lines = [
        f"- it {words}: {in_units(amount)} too {way}"
        for amount, words, way in reasons
        if amount > least
    ]
    head = f"The work is {in_units(work)} mult-adds. torchinfo says {in_units(torchinfos)}:"
    return "\n".join([head, *lines])


def _computes_weight(module: nn.Module) -> bool:
    """Return whether a layer's weight is computed from other parameters."""
    weight = getattr(type(module), "weight", None) or vars(module).get("weight")
    return weight is not None and "weight" not in module._parameters


def _is_plain(module: nn.Module) -> bool:
    """Return whether torchinfo can exceed a layer's products only by bias and normalisation."""
    name = type(module).__name__
    plain = (nn.Linear, nn.modules.conv._ConvNd)
    return isinstance(module, plain) or "Norm" in name


def in_units(amount: int) -> str:
    """Return a number of multiply-adds as text, such as "4.46 G"."""
    for unit, symbol in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if amount >= unit:
            return f"{amount / unit:,.2f} {symbol}"
    return f"{amount:,}"
