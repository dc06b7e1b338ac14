"""A thread for a panel's slow work, which computes only the newest request."""

import logging
import threading
from collections.abc import Callable
from functools import partial

_log = logging.getLogger(__name__)
Job = Callable[[Callable[[], bool]], None]


class Worker:
    """Runs one job at a time in its own thread; a newer job replaces a waiting job.

    The thread starts with the first job and ends when no job is left, so that an idle panel has no
    thread. Each job is called with a function that returns whether the job is the newest.
    """

    def __init__(self) -> None:
        """Start no thread yet."""
        self._lock = threading.Condition()
        self._pending: Job | None = None
        self._serial = 0  # number of the newest job
        self._thread: threading.Thread | None = None

    def submit(self, job: Job) -> None:
        """Run ``job`` as soon as possible; a running job and a waiting job are out of date."""
        with self._lock:
            self._serial += 1
            self._pending = job
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True, name="vizhelpers")
                self._thread.start()

    def cancel(self) -> None:
        """Drop the waiting job; a running job is out of date and ends at its next step."""
        with self._lock:
            self._serial += 1
            self._pending = None

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until no job runs or waits; return False after ``timeout`` seconds."""
        with self._lock:
            return self._lock.wait_for(lambda: self._thread is None, timeout)

    def runs_here(self) -> bool:
        """Return whether the caller runs in this worker's thread."""
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
            except Exception:  # otherwise the thread would end, and no later job would run
                _log.exception("a job failed")

    def _is_newest(self, serial: int) -> bool:
        return serial == self._serial
