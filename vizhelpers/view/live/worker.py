"""One thread for a panel's slow work: always the newest request, never a queue of old ones."""

import logging
import threading
from collections.abc import Callable
from functools import partial

_log = logging.getLogger(__name__)
Job = Callable[[Callable[[], bool]], None]


class Worker:
    """Runs one job at a time in a thread of its own; a newer job replaces one that waits.

    The thread starts with the first job and ends when nothing is left to do, so that an idle
    panel costs no thread. A job gets a function that says whether it is still wanted.
    """

    def __init__(self) -> None:
        """Start nothing yet."""
        self._lock = threading.Condition()
        self._pending: Job | None = None
        self._serial = 0  # of the newest request
        self._thread: threading.Thread | None = None

    def submit(self, job: Job) -> None:
        """Have ``job`` run as soon as possible; what waits or runs is no longer wanted."""
        with self._lock:
            self._serial += 1
            self._pending = job
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True, name="vizhelpers")
                self._thread.start()

    def cancel(self) -> None:
        """Make whatever waits or runs unwanted; a running job ends at its next step."""
        with self._lock:
            self._serial += 1
            self._pending = None

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nothing runs or waits; False where ``timeout`` seconds were not enough."""
        with self._lock:
            return self._lock.wait_for(lambda: self._thread is None, timeout)

    def runs_here(self) -> bool:
        """Whether the caller is this worker's own thread."""
        return threading.current_thread() is self._thread

    def _run(self) -> None:
        while True:
            with self._lock:
                job, serial = self._pending, self._serial
                self._pending = None
                if job is None:
                    self._thread = None
                    self._lock.notify_all()
                    return
            try:
                job(partial(self._is_newest, serial))
            except Exception:  # else the thread would be gone, and no later job would run
                _log.exception("a job failed")

    def _is_newest(self, serial: int) -> bool:
        return serial == self._serial
