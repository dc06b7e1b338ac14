"""``Traced``: list what a function leaves changed, beyond what ``Runner`` refuses."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from vizhelpers.exercises.exercise import Mistake
from vizhelpers.exercises.model_state import State
from vizhelpers.exercises.runner import Fault, Runner

TRACES = {
    "others' hooks removed": Mistake(
        "hooks that somebody else had put on the model are gone. Keep the handle that "
        "register_…_hook returns, and remove only this one."
    ),
    "left global hook": Mistake(
        "a hook for all modules is still registered in torch. Keep its handle, and remove it in a "
        "finally block."
    ),
    "left attribute": Mistake(
        "an attribute or a submodule of the model is not what it was, such as inplace or forward. "
        "Restore it in a finally block, or work on copy.deepcopy(model)."
    ),
    "left grad": Mistake(
        "the .grad of the model's parameters was filled or cleared. A backward pass is not needed."
    ),
    "grad mode changed": Mistake(
        "torch.set_grad_enabled is not what it was. Use `with torch.no_grad():` or `with "
        "torch.enable_grad():`, which end by themselves."
    ),
    "x changed": Mistake(
        "the caller's x is not what it was: its values, its requires_grad or its .grad. Work on "
        "x.clone()."
    ),
}
_COMPARABLE = (bool, int, float, str, tuple, MethodType)


class Traced:
    """A function that notes what each of its calls leaves changed.

    Attributes:
        changes: names in ``TRACES``, of the last call, also if it raised.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        """Wrap a function that takes a module first."""
        self.function = function
        self.changes: list[str] = []

    def __call__(self, model: nn.Module, *args: Any) -> Any:
        """Call the function and note what has changed."""
        before = _Surroundings.of(model, args)
        try:
            return self.function(model, *args)
        finally:
            self.changes = before.changes(model, args)


def refuse_traces(
    run: Runner, function: Callable[..., Any], mistakes: Mapping[str, Mistake], *args: Any
) -> None:
    """Call a function and raise a ``Fault`` if it leaves a change that ``mistakes`` has.

    Args:
        run: calls the function.
        function: takes a module first.
        mistakes: of the exercise, among them some of ``TRACES``.
        args: arguments of the function.
    """
    traced = Traced(function)
    try:
        run.raw(traced, *args)
    except Fault:
        if not traced.changes:
            raise
    for name in traced.changes:
        if name in mistakes:
            raise Fault(name, mistakes[name].explanation)


@dataclass(frozen=True)
class _Surroundings:
    state: State
    attributes: dict[str, dict[str, Any]]
    global_hooks: dict[str, dict[Any, Any]]
    grad_mode: bool
    inputs: list[tuple[Tensor, bool, Tensor | None]]

    @classmethod
    def of(cls, model: nn.Module, args: tuple[Any, ...]) -> "_Surroundings":
        return cls(
            state=State.of(model),
            attributes=_attributes(model),
            global_hooks=_global_hooks(),
            grad_mode=torch.is_grad_enabled(),
            inputs=[_copied(tensor) for tensor in args if isinstance(tensor, Tensor)],
        )

    def changes(self, model: nn.Module, args: tuple[Any, ...]) -> list[str]:
        after = self.of(model, args)
        hooks = after.state.hooks
        removed = any(
            table.keys() - hooks.get(module, {}).get(kind, {}).keys()
            for module, tables in self.state.hooks.items()
            for kind, table in tables.items()
        )
        inputs = zip(self.inputs, after.inputs, strict=True)
        differs = {
            "others' hooks removed": removed,
            "left global hook": self.global_hooks != after.global_hooks,
            "left attribute": not _same_attributes(self.attributes, after.attributes),
            "left grad": "grad" in self.state.changes(model),
            "grad mode changed": self.grad_mode != after.grad_mode,
            "x changed": not all(_same_input(*pair) for pair in inputs),
        }
        return [name for name in TRACES if differs[name]]


def _attributes(model: nn.Module) -> dict[str, dict[str, Any]]:
    """Return ``{module: {attribute: value}}``; ``State`` compares hooks, modes and tensors."""
    return {
        name: {"forward": module.forward, "class": type(module), "modules": [*module.children()]}
        | {k: v for k, v in vars(module).items() if not k.startswith("_") and k != "training"}
        for name, module in model.named_modules()
    }


def _same_attributes(before: Any, after: Any) -> bool:
    if isinstance(before, dict) and isinstance(after, dict):
        same_keys = before.keys() == after.keys()
        return same_keys and all(_same_attributes(before[key], after[key]) for key in before)
    if isinstance(before, list) and isinstance(after, list):
        pairs = zip(before, after, strict=False)
        return len(before) == len(after) and all(a is b for a, b in pairs)
    # A method is made anew at each access. Other types may compare in any way of their own.
    comparable = type(before) is type(after) and isinstance(before, _COMPARABLE)
    return before is after or (comparable and before == after)


def _global_hooks() -> dict[str, dict[Any, Any]]:
    # torch has no public list of the hooks for all modules; these tables are plain dictionaries.
    tables = {name: t for name, t in vars(torch_module).items() if name.startswith("_global")}
    return {name: dict(table) for name, table in tables.items() if isinstance(table, dict)}


def _copied(tensor: Tensor) -> tuple[Tensor, bool, Tensor | None]:
    grad = None if tensor.grad is None else tensor.grad.clone()
    return tensor.detach().clone(), tensor.requires_grad, grad


def _same_input(
    before: tuple[Tensor, bool, Tensor | None], after: tuple[Tensor, bool, Tensor | None]
) -> bool:
    same_grad = before[2] is after[2] is None
    return torch.equal(before[0], after[0]) and before[1] == after[1] and same_grad
