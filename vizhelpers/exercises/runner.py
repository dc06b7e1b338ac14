"""``Runner``: call a reader's code with a time limit, capture its prints, and watch the model."""

import contextlib
import copy
import io
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from vizhelpers.exercises.forbidden import Calls, watched
from vizhelpers.exercises.interruption import TimeUp, time_limit
from vizhelpers.exercises.model_state import State
from vizhelpers.exercises.surroundings import restored
from vizhelpers.exercises.values import Plain, plain

SECONDS = 10.0  # for all calls of one check

LEFT_BEHIND = {
    "hook": "A hook is still on the model. Keep the handle that register_…_hook returns, and "
    "remove it in a finally block, so that it is removed even if the forward pass raises.",
    "mode": "The model is left in another mode (train or eval) than before. Store the mode of each "
    "module first, and restore it at the end.",
    "parameters": "The model's parameters or buffers have changed. Work on copies; a pass in train "
    "mode also updates BatchNorm's statistics.",
    "requires_grad": "requires_grad of a parameter was changed and not restored.",
}


class Fault(Exception):
    """Raised when an answer is wrong; ends the check.

    Attributes:
        name: short name of the mistake.
        explanation: one or two sentences for the reader.
    """

    def __init__(self, name: str, explanation: str) -> None:
        """Keep the name and the explanation of a mistake."""
        super().__init__(explanation)
        self.name = name
        self.explanation = explanation


class Runner:
    """Calls the functions of one answer; all calls share one time limit.

    Attributes:
        forbidden: name -> calls that the functions must not make; a judge sets it.
        called: the names of those that the functions made.
    """

    def __init__(self, seconds: float | None = None) -> None:
        """Set the limit in seconds; None means ``SECONDS``."""
        self.left = SECONDS if seconds is None else seconds
        self.printed = 0
        self.forbidden: Mapping[str, Calls] = {}
        self.called: set[str] = set()

    def __call__(self, function: Any, *args: Any) -> Plain:
        """Call ``function`` with copies of ``args``; return its result as plain values.

        Modules are not copied: they are passed as they are, and their state is compared afterwards.

        Raises:
            Fault: the code raised, took too long, returned None or no plain value, or left a model
                changed.
        """
        result = self.raw(function, *args)
        try:
            value = plain(result)
        except TypeError as error:
            text = str(error).replace("the answer", "What came back")
            raise Fault("not plain", text) from None
        if value is None:
            raise Fault("returned None", self._about_none(function))
        return value

    def raw(self, function: Any, *args: Any) -> Any:
        """Call ``function`` in the same way; return the very object that it returned."""
        if not callable(function):
            kind = type(function).__name__
            raise Fault("no function", f"A function is needed; this is of type {kind}.")
        models = [(arg, State.of(arg)) for arg in args if isinstance(arg, nn.Module)]
        copies = [arg if isinstance(arg, nn.Module) else copy.deepcopy(arg) for arg in args]
        result = self._timed(function, copies)
        for model, before in models:
            changed = [word for word in before.changes(model) if word in LEFT_BEHIND]
            if changed:
                raise Fault(f"left {changed[0]}", LEFT_BEHIND[changed[0]])
        return result

    def _timed(self, function: Callable[..., Any], args: list[Any]) -> Any:
        prints, start = io.StringIO(), time.monotonic()
        try:
            with (
                restored(),
                contextlib.redirect_stdout(prints),
                watched(self.forbidden, self.called),
                time_limit(self.left),  # ends first: it must not interrupt the others' exits
            ):
                return function(*args)
        except TimeUp:
            raise Fault(
                "too slow",
                f"Stopped: not finished within {SECONDS:.0f} seconds. Does a loop never end?",
            ) from None
        except Fault:
            raise
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise Fault("raised", _about_exception(error)) from None
        finally:
            self.left = max(self.left - (time.monotonic() - start), 0.1)
            self.printed += len(prints.getvalue().splitlines())

    def _about_none(self, function: Any) -> str:
        name = getattr(function, "__name__", "The function")
        if self.printed:
            return f"{name} printed something but returned None. Return the value instead."
        return f"{name} returned None. Does it end with `return`?"


def _about_exception(error: BaseException) -> str:
    calls = traceback.extract_tb(error.__traceback__)
    lines = [call.lineno for call in calls if call.filename != __file__]
    where = f" (line {lines[0]} of its cell)" if lines else ""
    text = text_of(error)
    return f"The code raised {type(error).__name__}{where}{': ' if text else '.'}{text}"


def text_of(error: BaseException) -> str:
    """Return an exception's text, up to 300 characters; empty if it has none."""
    try:
        return str(error).strip()[:300]
    except Exception:  # a class of the reader's own
        return ""
