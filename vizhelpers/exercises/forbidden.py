"""``Calls`` and ``watched``: recognise calls that a task forbids while a reader's function runs."""

import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from vizhelpers.exercises.interruption import cancel_pending_exception


@dataclass(frozen=True)
class Calls:
    """A kind of call; under which name Python code makes it does not matter.

    Attributes:
        operations: a regular expression for whole names of torch's operations, such as
            ``".*conv.*"``, and of functions written in C, such as ``"run_backward"`` (all backward
            passes) or ``"correlate"``. Properties of tensors are operations: ``"shape"``.
        functions: Python functions.
        modules: dotted names; any Python function defined in one of them or below it.
    """

    operations: str = ""
    functions: tuple[Callable[..., Any], ...] = ()
    modules: tuple[str, ...] = ()


@contextmanager
def watched(kinds: Mapping[str, Calls], called: set[str]) -> Iterator[None]:
    """Add the names of those ``kinds`` that a ``with`` block calls, in this thread, to ``called``.

    torch reports operations after it has resolved all names, so an alias, a layer, ``torch.jit`` or
    ``torch.ops`` does not hide one. Python functions are recognised by their code.
    """
    if not kinds:  # watching takes time
        yield
        return
    watch = _Watch(kinds, called)
    with ExitStack() as stack:
        stack.callback(_set_profile, sys.getprofile())
        stack.enter_context(_Functions(watch))
        stack.enter_context(_Operations(watch))
        cancel_pending_exception()  # another thread may have left the flag that it clears
        sys.setprofile(watch.profile)
        yield


class _Watch:
    def __init__(self, kinds: Mapping[str, Calls], called: set[str]) -> None:
        self.called = called
        self.operations = [(n, re.compile(k.operations)) for n, k in kinds.items() if k.operations]
        self.kinds_of: dict[str, list[str]] = {}  # a loop calls the same operation many times
        self.codes = {
            getattr(inspect.unwrap(function), "__code__", None): name
            for name, kind in kinds.items()
            for function in kind.functions
        }
        self.modules = [(n, f"{module}.") for n, k in kinds.items() for module in k.modules]

    def operation(self, name: str) -> None:
        kinds = self.kinds_of.get(name)
        if kinds is None:
            kinds = [kind for kind, names in self.operations if names.fullmatch(name)]
            self.kinds_of[name] = kinds
        self.called.update(kinds)

    def profile(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "c_call":
            self.operation(getattr(argument, "__name__", ""))
        elif event == "call":
            if frame.f_code in self.codes:
                self.called.add(self.codes[frame.f_code])
            for kind, prefix in self.modules:
                if f"{frame.f_globals.get('__name__')}.".startswith(prefix):
                    self.called.add(kind)


class _Functions(TorchFunctionMode):
    """Sees what does not reach torch's dispatcher, such as ``numel`` and properties."""

    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self.watch = watch

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        owner = getattr(func, "__self__", None)  # of a property's __get__: the property
        self.watch.operation(getattr(owner, "__name__", "") if name == "__get__" else name)
        return func(*args, **(kwargs or {}))


class _Operations(TorchDispatchMode):
    """Sees each operation that torch's dispatcher runs, whatever called it."""

    def __init__(self, watch: _Watch) -> None:
        super().__init__()
        self.watch = watch

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.watch.operation(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def _set_profile(profile: Any) -> None:
    sys.setprofile(profile if callable(profile) else None)  # a cProfile.Profile is not callable
