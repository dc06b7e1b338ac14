"""``time_limit``: interrupt a reader's code that runs for too long."""

import contextlib
import ctypes
import signal
import threading
from collections.abc import Iterator
from typing import Any

REPEAT = 0.3  # seconds until code that caught the interruption is interrupted again


class TimeUp(BaseException):
    """Not an ``Exception``, so that ``except Exception`` in a loop does not catch it."""


def time_limit(seconds: float) -> contextlib.AbstractContextManager[None]:
    """Interrupt a ``with`` block after ``seconds``, with an exception that ``Runner`` catches.

    In the main thread of a Unix process a signal interrupts, even ``time.sleep``. Elsewhere
    (Windows, a kernel's subshell) the exception is raised at the next line of Python.
    """
    in_main = threading.current_thread() is threading.main_thread()
    by_signal = in_main and hasattr(signal, "setitimer")
    return _interrupting_by_signal(seconds) if by_signal else _interrupting_by_thread(seconds)


@contextlib.contextmanager
def _interrupting_by_signal(seconds: float) -> Iterator[None]:
    def stop(number: int, frame: Any) -> None:
        raise TimeUp

    old = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, REPEAT)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


@contextlib.contextmanager
def _interrupting_by_thread(seconds: float) -> Iterator[None]:
    done, lock, target = threading.Event(), threading.Lock(), threading.get_ident()

    def watch() -> None:
        wait = seconds
        while not done.wait(wait):
            with lock:  # never after the block has ended
                if not done.is_set():
                    raise_in_thread(target, TimeUp)
            wait = REPEAT

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        with lock:
            done.set()
        cancel_pending_exception()
        watcher.join()


def raise_in_thread(thread: int, exception: type[BaseException]) -> None:
    """Raise ``exception`` at the next line of Python that the thread of this number runs."""
    raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
    raise_in(ctypes.c_ulong(thread), ctypes.py_object(exception))


def cancel_pending_exception() -> None:
    """Cancel an exception that another thread has requested here and that is not raised yet.

    It is replaced by one that is caught at once. To set it to NULL instead, or to end a thread
    before its exception arrives, leaves a flag set, with which Python 3.11 never leaves the next
    call that is profiled or traced.
    """
    try:
        raise_in_thread(threading.get_ident(), _Cancelled)
        while True:
            pass
    except _Cancelled:
        return


class _Cancelled(BaseException):
    pass
