"""Run code that may not be right: with a time limit, its prints held back, the model watched."""

import contextlib
import copy
import ctypes
import io
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from vizhelpers.exercises.model_state import State
from vizhelpers.exercises.values import Plain, plain

SECONDS = 10.0  # for all of an answer's code in one check
AGAIN = 0.3  # seconds until code that swallowed the interruption is interrupted again

LEFT_BEHIND = {
    "hook": "A hook is still on the model. Keep the handle that register_…_hook returns, and "
    "remove it in a finally block, so that it goes also when the forward pass raises.",
    "mode": "The model is left in another mode (train or eval) than it was in. Note the mode of "
    "each module first, and set it back at the end.",
    "parameters": "The model's parameters or buffers are not what they were. Work on copies; "
    "a pass in train mode also moves BatchNorm's statistics.",
    "requires_grad": "requires_grad of a parameter was changed and not set back.",
}


class Fault(Exception):
    """Something about an answer that can be said in words; ends the check."""

    def __init__(self, name: str, words: str) -> None:
        """Keep a short name for tests and statistics, and the words for the reader."""
        super().__init__(words)
        self.name = name
        self.words = words


class _TimeUp(BaseException):
    """Not an ``Exception``, so that ``except Exception`` in a loop does not swallow it."""


class Runner:
    """Calls the functions of one answer; they share one time limit."""

    def __init__(self, seconds: float | None = None) -> None:
        """Set the limit, in seconds; ``SECONDS`` unless told."""
        self.left = SECONDS if seconds is None else seconds
        self.printed = 0

    def __call__(self, function: Any, *args: Any) -> Plain:
        """Call with copies of ``args`` and return what came back, as plain values.

        Modules are handed on themselves, in the state they are in, and watched.

        Raises:
            Fault: the code raised, took too long, returned nothing or no plain value, or left a
                model changed.
        """
        found = self.raw(function, *args)
        try:
            value = plain(found)
        except TypeError as error:
            raise Fault("not plain", str(error).replace("the answer", "What came back")) from None
        if value is None:
            raise Fault("returned None", self._nothing(function))
        return value

    def raw(self, function: Any, *args: Any) -> Any:
        """Do the same, but return the very object that came back."""
        if not callable(function):
            kind = type(function).__name__
            raise Fault("no function", f"A function is asked for, this is of type {kind}.")
        models = [(one, State.of(one)) for one in args if isinstance(one, nn.Module)]
        given = [one if isinstance(one, nn.Module) else copy.deepcopy(one) for one in args]
        found = self._timed(function, given)
        for model, before in models:
            changed = [word for word in before.changes(model) if word in LEFT_BEHIND]
            if changed:
                raise Fault(f"left {changed[0]}", LEFT_BEHIND[changed[0]])
        return found

    def _timed(self, function: Callable[..., Any], args: list[Any]) -> Any:
        shown, start = io.StringIO(), time.monotonic()
        try:
            with _as_it_was(), contextlib.redirect_stdout(shown), time_limit(self.left):
                return function(*args)
        except _TimeUp:
            raise Fault(
                "too slow",
                f"Stopped: not done within {SECONDS:.0f} seconds. Is there a loop that never ends?",
            ) from None
        except Fault:
            raise
        except (Exception, SystemExit) as error:
            raise Fault("raised", _what_was_raised(error)) from None
        finally:
            self.left = max(self.left - (time.monotonic() - start), 0.1)
            self.printed += len(shown.getvalue().splitlines())

    def _nothing(self, function: Any) -> str:
        name = getattr(function, "__name__", "The function")
        if self.printed:
            return f"{name} printed something but returned None. Return the value instead."
        return f"{name} returned None. Is there a `return` at its end?"


def _what_was_raised(error: BaseException) -> str:
    lines = [at for at in traceback.extract_tb(error.__traceback__) if at.filename != __file__]
    where = f" (line {lines[0].lineno} of its cell)" if lines else ""
    kind, text = type(error).__name__, str(error).strip()
    return (
        f"The code raised {kind}{where}: {text[:300]}"
        if text
        else f"The code raised {kind}{where}."
    )


@contextlib.contextmanager
def _as_it_was() -> Iterator[None]:
    """Give torch's switches and its random numbers back, whatever the code did with them."""
    grad, dtype, threads = (
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
        torch.get_num_threads(),
    )
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            torch.set_grad_enabled(grad)
            torch.set_default_dtype(dtype)
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)


def time_limit(seconds: float) -> contextlib.AbstractContextManager[None]:
    """Interrupt the block after this many seconds, with an exception that only ``Runner`` knows.

    In the main thread of a Unix process a signal does it, which also ends ``time.sleep``. Elsewhere
    (Windows, a kernel's subshell) the exception arrives when the next line of Python runs.
    """
    in_main = threading.current_thread() is threading.main_thread()
    return _by_signal(seconds) if in_main and hasattr(signal, "setitimer") else _by_thread(seconds)


@contextlib.contextmanager
def _by_signal(seconds: float) -> Iterator[None]:
    def stop(number: int, frame: Any) -> None:
        raise _TimeUp

    old = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


@contextlib.contextmanager
def _by_thread(seconds: float) -> Iterator[None]:
    done, lock, target = threading.Event(), threading.Lock(), threading.get_ident()
    raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc

    def watch() -> None:
        wait = seconds
        while not done.wait(wait):
            with lock:  # never after the block has ended
                if not done.is_set():
                    raise_in(ctypes.c_ulong(target), ctypes.py_object(_TimeUp))
            wait = AGAIN

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        with lock:
            done.set()
        raise_in(ctypes.c_ulong(target), None)  # one that is under way but has not arrived
        watcher.join()
