"""A panel's thread, and progress reports and cancellation of long loops."""

import threading
import time
from collections.abc import Callable

import pytest

from vizhelpers.view.live.progress import Cancelled, steps, watching
from vizhelpers.view.live.worker import Worker

SOON = 10.0  # seconds; only a test that fails waits so long


class Held:
    """A job that signals its start, and ends after ``let_go`` is set."""

    def __init__(self) -> None:
        self.started, self.let_go = threading.Event(), threading.Event()
        self.thread: threading.Thread | None = None
        self.newest: list[bool] = []

    def __call__(self, newest: Callable[[], bool]) -> None:
        self.thread = threading.current_thread()
        self.newest.append(newest())
        self.started.set()
        assert self.let_go.wait(SOON)
        self.newest.append(newest())


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest.fixture
def held(worker: Worker) -> Held:
    """A running job."""
    job = Held()
    worker.submit(job)
    assert job.started.wait(SOON)
    return job


def finish(worker: Worker, held: Held) -> None:
    held.let_go.set()
    assert worker.wait(SOON)


# ------------------------------------------------------------ the worker


def test_a_job_that_raises_is_logged_and_the_next_one_runs(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(newest: Callable[[], bool]) -> None:
        raise ZeroDivisionError

    worker.submit(broken)
    assert worker.wait(SOON) and "a job failed" in caplog.text
    done = threading.Event()
    worker.submit(lambda newest: done.set())
    assert worker.wait(SOON) and done.is_set()


def test_a_job_runs_in_a_thread_of_its_own_that_the_worker_knows(worker: Worker) -> None:
    inside: list[bool] = []
    worker.submit(lambda newest: inside.append(worker.runs_here()))
    assert worker.wait(SOON)
    assert inside == [True]
    assert not worker.runs_here()


def test_of_the_jobs_that_wait_only_the_newest_is_run(worker: Worker, held: Held) -> None:
    ran: list[int] = []
    for number in range(3):
        worker.submit(lambda newest, number=number: ran.append(number))
    finish(worker, held)
    assert ran == [2]


def test_the_newest_job_stays_the_newest_to_its_end(worker: Worker, held: Held) -> None:
    finish(worker, held)
    assert held.newest == [True, True]


def test_a_running_job_sees_that_a_newer_one_replaced_it(worker: Worker, held: Held) -> None:
    newer: list[bool] = []
    worker.submit(lambda newest: newer.append(newest()))
    finish(worker, held)
    assert held.newest == [True, False]
    assert newer == [True]


def test_jobs_never_run_side_by_side(worker: Worker, held: Held) -> None:
    second = Held()
    worker.submit(second)
    assert not second.started.is_set()
    held.let_go.set()
    assert second.started.wait(SOON)
    assert len(held.newest) == 2, "the first one was still running"
    finish(worker, second)


def test_cancel_makes_the_running_job_out_of_date_and_drops_the_waiting_job(
    worker: Worker, held: Held
) -> None:
    ran: list[str] = []
    worker.submit(lambda newest: ran.append("waiting"))
    worker.cancel()
    finish(worker, held)
    assert held.newest == [True, False]
    assert ran == []


def test_cancel_of_an_idle_worker_does_nothing(worker: Worker) -> None:
    ran: list[bool] = []
    worker.cancel()
    worker.submit(lambda newest: ran.append(newest()))
    assert worker.wait(SOON)
    assert ran == [True]


def test_wait_returns_whether_the_work_ended_in_time(worker: Worker, held: Held) -> None:
    assert not worker.wait(0.01)
    finish(worker, held)
    assert worker.wait(0)


def test_wait_returns_as_soon_as_the_work_ends(worker: Worker, held: Held) -> None:
    started = time.monotonic()
    threading.Timer(0.05, held.let_go.set).start()
    assert worker.wait(SOON)
    assert time.monotonic() - started < SOON


def test_wait_returns_at_once_for_a_worker_without_jobs(worker: Worker) -> None:
    assert worker.wait(0)


def test_the_thread_ends_when_nothing_is_left_to_do(worker: Worker, held: Held) -> None:
    finish(worker, held)
    assert held.thread is not None
    held.thread.join(SOON)
    assert not held.thread.is_alive()


def test_an_idle_worker_takes_up_work_again(worker: Worker, held: Held) -> None:
    finish(worker, held)
    again = Held()
    worker.submit(again)
    assert again.started.wait(SOON)
    assert again.thread is not held.thread
    finish(worker, again)
    assert again.newest == [True, True]


def test_a_job_may_submit_the_next_job(worker: Worker) -> None:
    states: list[bool] = []

    def first(newest: Callable[[], bool]) -> None:
        worker.submit(lambda newest: states.append(newest()))
        states.append(newest())

    worker.submit(first)
    assert worker.wait(SOON)
    assert states == [False, True]


def test_the_last_job_runs_however_many_threads_submit_at_once(worker: Worker) -> None:
    start, ran = threading.Barrier(8), []

    def submit(number: int) -> None:
        start.wait(SOON)
        for _ in range(50):
            worker.submit(lambda newest: ran.append(number))

    threads = [threading.Thread(target=submit, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
    worker.submit(lambda newest: ran.append("last"))
    assert worker.wait(SOON)
    assert ran[-1] == "last"


# ------------------------------------------------------------ steps and reports


class Watcher:
    """A report function that keeps its arguments, and cancels when ``until`` steps are done."""

    def __init__(self, until: int = 1000) -> None:
        self.until, self.reports = until, []

    def __call__(self, what: str, done: int, total: int) -> bool:
        self.reports.append((what, done, total))
        return done < self.until


def test_unwatched_steps_are_a_plain_loop() -> None:
    assert list(steps("abc", "letters")) == ["a", "b", "c"]
    assert list(steps([], "nothing")) == []


def test_each_step_is_reported_before_it_is_taken() -> None:
    watcher, reported = Watcher(), []
    with watching(watcher):
        for item in steps("ab", "letters"):
            reported.append((item, len(watcher.reports)))
    assert watcher.reports == [("letters", 0, 2), ("letters", 1, 2)]
    assert reported == [("a", 1), ("b", 2)]


def test_a_report_that_returns_false_cancels_the_loop_before_the_next_step() -> None:
    taken = []
    with watching(Watcher(until=2)), pytest.raises(Cancelled, match="letters 2 of 5"):
        for item in steps("abcde", "letters"):
            taken.append(item)
    assert taken == ["a", "b"]


def test_no_report_is_registered_after_the_block_even_if_it_raised() -> None:
    watcher = Watcher(until=0)
    with pytest.raises(Cancelled), watching(watcher):
        list(steps("ab", "letters"))
    assert list(steps("ab", "letters")) == ["a", "b"]
    assert len(watcher.reports) == 1


def test_an_inner_report_replaces_the_outer_report_in_its_block() -> None:
    outer, inner = Watcher(), Watcher()
    with watching(outer):
        with watching(inner):
            list(steps("a", "inside"))
        list(steps("b", "outside"))
    assert inner.reports == [("inside", 0, 1)]
    assert outer.reports == [("outside", 0, 1)]


def test_the_loop_of_another_thread_is_not_reported() -> None:
    watcher, taken = Watcher(until=0), []
    with watching(watcher):
        thread = threading.Thread(target=lambda: taken.extend(steps("ab", "elsewhere")))
        thread.start()
        thread.join(SOON)
    assert taken == ["a", "b"]
    assert watcher.reports == []


def test_a_job_of_a_worker_stops_at_its_next_step_when_it_is_replaced(worker: Worker) -> None:
    started, replaced, taken = threading.Event(), threading.Event(), []

    def job(newest: Callable[[], bool]) -> None:
        with watching(lambda *report: newest()), pytest.raises(Cancelled):
            for item in steps("abc", "letters"):
                taken.append(item)
                started.set()
                assert replaced.wait(SOON)
        taken.append("stopped")

    worker.submit(job)
    assert started.wait(SOON)
    worker.cancel()
    replaced.set()
    assert worker.wait(SOON)
    assert taken == ["a", "stopped"]
