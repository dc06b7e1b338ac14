"""``State``: what a call must leave unchanged on a model."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vizhelpers.inputs.modules import unwrapped


@dataclass(frozen=True)
class State:
    """Copies of a model's hooks, modes, values and gradients."""

    hooks: dict[str, dict[str, dict[Any, Any]]]
    modes: dict[str, bool]
    values: dict[str, Tensor]
    requires_grad: dict[str, bool]
    grads: dict[str, Tensor | None]

    @classmethod
    def of(cls, model: nn.Module) -> "State":
        """Copy the state of ``model``; takes as much memory as its parameters."""
        inner = unwrapped(model)
        parameters = dict(inner.named_parameters())
        return cls(
            hooks={name: _hooks(module) for name, module in inner.named_modules()},
            modes={name: module.training for name, module in inner.named_modules()},
            values={name: t.detach().clone() for name, t in _tensors(inner).items()},
            requires_grad={name: p.requires_grad for name, p in parameters.items()},
            grads={name: _copy(p.grad) for name, p in parameters.items()},
        )

    def changes(self, model: nn.Module) -> list[str]:
        """Return sorted words for what differs on ``model`` now; ``damage`` lists them."""
        inner = unwrapped(model)
        modules, parameters = dict(inner.named_modules()), dict(inner.named_parameters())
        requires_grad = {name: p.requires_grad for name, p in parameters.items()}
        differs = {
            "hook": {name: _hooks(m) for name, m in modules.items()} != self.hooks,
            "mode": {name: m.training for name, m in modules.items()} != self.modes,
            "parameters": not _all_same(self.values, _tensors(inner)),
            "requires_grad": requires_grad != self.requires_grad,
            "grad": not _all_same(self.grads, {name: p.grad for name, p in parameters.items()}),
        }
        return sorted(word for word, changed in differs.items() if changed)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return dict([*model.named_parameters(), *model.named_buffers()])


def _hooks(module: nn.Module) -> dict[str, dict[Any, Any]]:
    # torch has no public list of a module's hooks; these tables are plain dictionaries.
    tables = {name: table for name, table in vars(module).items() if name.endswith("_hooks")}
    return {name: dict(table) for name, table in tables.items() if isinstance(table, dict)}


def _copy(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach().clone()


def _all_same(before: dict[str, Any], after: dict[str, Any]) -> bool:
    return before.keys() == after.keys() and all(_same(before[k], after[k]) for k in before)


def _same(before: Tensor | None, after: Tensor | None) -> bool:
    if before is None or after is None:
        return before is after
    kinds = [(t.shape, t.dtype, t.device) for t in (before, after)]
    # allclose needs no further copies, and treats NaN as equal to NaN.
    return kinds[0] == kinds[1] and torch.allclose(before, after, rtol=0, atol=0, equal_nan=True)
