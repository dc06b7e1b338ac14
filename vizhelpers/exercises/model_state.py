"""What a call must leave alone on a model: written down, and compared."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vizhelpers.inputs.modules import unwrapped


@dataclass(frozen=True)
class State:
    """A model's hooks, modes, values and gradients at one moment, as copies."""

    hooks: dict[str, dict[str, dict[Any, Any]]]
    modes: dict[str, bool]
    values: dict[str, Tensor]
    wants_grad: dict[str, bool]
    grads: dict[str, Tensor | None]

    @classmethod
    def of(cls, model: nn.Module) -> "State":
        """Copy the state of ``model``; costs as much memory as its parameters."""
        inside = unwrapped(model)
        parameters = dict(inside.named_parameters())
        return cls(
            hooks={name: _hooks(module) for name, module in inside.named_modules()},
            modes={name: module.training for name, module in inside.named_modules()},
            values={n: t.detach().clone() for n, t in _tensors(inside).items()},
            wants_grad={n: p.requires_grad for n, p in parameters.items()},
            grads={n: _copy(p.grad) for n, p in parameters.items()},
        )

    def changes(self, model: nn.Module) -> list[str]:
        """Return what is another than it was, as sorted words; see ``damage``."""
        inside = unwrapped(model)
        modules, parameters = dict(inside.named_modules()), dict(inside.named_parameters())
        found = {
            "hook": {name: _hooks(m) for name, m in modules.items()} != self.hooks,
            "mode": {name: m.training for name, m in modules.items()} != self.modes,
            "parameters": not _all_same(self.values, _tensors(inside)),
            "requires_grad": {n: p.requires_grad for n, p in parameters.items()} != self.wants_grad,
            "grad": not _all_same(self.grads, {n: p.grad for n, p in parameters.items()}),
        }
        return sorted(word for word, changed in found.items() if changed)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return dict([*model.named_parameters(), *model.named_buffers()])


def _hooks(module: nn.Module) -> dict[str, dict[Any, Any]]:
    # torch has no public list of a module's hooks; the tables are plain dictionaries.
    tables = {k: v for k, v in vars(module).items() if k.endswith("_hooks")}
    return {key: dict(table) for key, table in tables.items() if isinstance(table, dict)}


def _copy(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach().clone()


def _all_same(old: dict[str, Any], new: dict[str, Any]) -> bool:
    return old.keys() == new.keys() and all(_same(old[name], new[name]) for name in old)


def _same(old: Tensor | None, new: Tensor | None) -> bool:
    if old is None or new is None:
        return old is new
    same_kind = old.shape == new.shape and old.dtype == new.dtype and old.device == new.device
    # Compared as bits would take two copies more; NaN stays NaN.
    return same_kind and bool(torch.allclose(old, new, rtol=0, atol=0, equal_nan=True))
