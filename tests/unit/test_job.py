"""The worker thread of the panels: order, Cancel within one step, the latest request wins, errors in words."""

import threading

import pytest

from helpers.panels import job
from helpers.panels.job import Job, end_all


class Log:
    """A job that writes down what it is told."""

    def __init__(self):
        self.told = []
        self.job = Job(
            on_step=lambda step, done, left: self.told.append(("step", step)),
            on_done=lambda step: self.told.append(("done", step)),
            on_error=lambda problem: self.told.append(("error", str(problem))),
            on_cancel=lambda done: self.told.append(("cancelled", done)),
        )


def gated(name, count, gate, entered):
    """Steps name0, name1, ...: each waits until the gate lets one through."""

    def work():
        for i in range(count):
            entered.release()
            assert gate.acquire(timeout=10)
            yield f"{name}{i}"

    return work


@pytest.fixture
def log():
    log = Log()
    yield log
    assert log.job.wait(10)


def test_steps_in_order_then_done(log):
    log.job.start(lambda: iter("abc"), 3)
    assert log.job.wait(10)
    assert log.told == [("step", "a"), ("step", "b"), ("step", "c"), ("done", "c")]


def test_time_left_falls_to_zero():
    left = []
    job = Job(
        lambda step, done, seconds: left.append(seconds), lambda step: None, lambda problem: None, lambda done: None
    )
    job.start(lambda: iter(range(4)), 4)
    assert job.wait(10) and len(left) == 4 and left[-1] == 0 and all(seconds >= 0 for seconds in left)


def test_cancel_stops_within_one_step(log):
    gate, entered = threading.Semaphore(0), threading.Semaphore(0)
    log.job.start(gated("a", 100, gate, entered), 100)
    gate.release()
    assert entered.acquire(timeout=10) and entered.acquire(timeout=10)  # now inside the second step
    log.job.cancel()
    assert log.job.running  # the step is finished first
    gate.release()
    assert log.job.wait(10)
    assert log.told == [("step", "a0"), ("cancelled", 2)]


def test_a_second_start_never_mixes_with_the_first(log):
    gate, entered = threading.Semaphore(0), threading.Semaphore(0)
    log.job.start(gated("a", 3, gate, entered), 3)
    assert entered.acquire(timeout=10)
    log.job.start(lambda: iter(["b"]), 1)
    log.job.start(lambda: iter(["c"]), 1)  # b never begins
    assert log.told == []  # and c waits for a's step
    gate.release()
    assert log.job.wait(10)
    assert log.told == [("step", "c"), ("done", "c")]


def test_what_was_cancelled_says_nothing_once_a_newer_start_took_its_place(log):
    gate, entered = threading.Semaphore(0), threading.Semaphore(0)
    log.job.start(gated("a", 3, gate, entered), 3)
    assert entered.acquire(timeout=10)
    log.job.cancel()
    log.job.start(lambda: iter(["b"]), 1)
    gate.release()
    assert log.job.wait(10) and log.told == [("step", "b"), ("done", "b")]


def test_an_error_after_cancel_is_told_as_cancel(log):
    gate, entered = threading.Semaphore(0), threading.Semaphore(0)

    def fails():
        yield from gated("a", 1, gate, entered)()
        raise ValueError("no such thing")

    def on_step(step, done, left):
        log.job.cancel()

    log.job.on_step = on_step
    log.job.start(fails, 2)
    gate.release()
    assert log.job.wait(10) and log.told == [("cancelled", 1)]


def test_each_run_says_that_it_begins_after_all_that_the_one_before_says():
    told, held, go_on = [], threading.Event(), threading.Event()

    def on_done(step):
        if step == "a":
            held.set()
            assert go_on.wait(10)
        told.append(step)

    job = Job(
        lambda *step: None, on_done, lambda problem: None, lambda done: None, on_start=lambda: told.append("begins")
    )
    job.start(lambda: iter("a"), 1)
    assert held.wait(10)
    job.start(lambda: iter("b"), 1)
    go_on.set()
    assert job.wait(10) and told == ["begins", "a", "begins", "b"]


def test_after_cancel_nothing_is_done_any_more():
    """A last report that has begun is waited for, and does not wait for itself."""
    told, held, go_on = [], threading.Event(), threading.Event()

    def on_done(step):
        held.set()
        assert go_on.wait(10)
        job.cancel()  # on the worker's own thread
        told.append(step)

    job = Job(lambda *step: None, on_done, told.append, told.append)
    job.start(lambda: iter("a"), 1)
    assert held.wait(10)
    threading.Timer(0.1, go_on.set).start()
    job.cancel()
    assert told == ["a"]


def test_an_error_is_told_and_the_next_start_works(log):
    def fails():
        yield 1
        raise ValueError("no such thing")

    log.job.start(fails, 2)
    assert log.job.wait(10)
    log.job.start(lambda: iter("x"), 1)
    assert log.job.wait(10)
    assert log.told == [("step", 1), ("error", "no such thing"), ("step", "x"), ("done", "x")]


def test_an_error_before_the_first_step_is_told_too(log):
    def refuses():
        raise TypeError("steps must be whole")

    log.job.start(refuses, 1)
    assert log.job.wait(10) and log.told == [("error", "steps must be whole")]


def test_cancel_without_work_does_nothing(log):
    log.job.cancel()
    assert log.job.wait(1) and not log.job.running and log.told == []


def test_cancel_twice_and_after_the_end(log):
    log.job.start(lambda: iter("a"), 1)
    assert log.job.wait(10)
    log.job.cancel()
    log.job.cancel()
    log.job.start(lambda: iter("b"), 1)
    assert log.job.wait(10)
    assert log.told[-1] == ("done", "b")


@pytest.mark.parametrize("end", ["done", "cancelled", "error"])
def test_what_the_steps_hold_open_is_closed_before_anything_is_told(end):
    told = []

    def work():
        try:
            yield 1
            yield 2
        finally:
            told.append("closed")

    def on_step(step, done, left):
        if end == "cancelled":
            job.cancel()
        if end == "error":
            raise ValueError("no picture")

    job = Job(
        on_step,
        lambda step: told.append("done"),
        lambda problem: told.append("error"),
        lambda done: told.append("cancelled"),
    )
    job.start(work, 2)
    assert job.wait(10) and told == ["closed", end]


def test_the_end_of_python_waits_for_the_step_and_for_no_second_one(log):
    gate, entered = threading.Semaphore(0), threading.Semaphore(0)
    log.job.start(gated("a", 100, gate, entered), 100)
    assert entered.acquire(timeout=10)
    threading.Timer(0.2, gate.release).start()
    end_all()
    assert not log.job.running and log.told == []


def test_the_end_of_python_does_not_wait_for_a_step_that_does_not_end(log, monkeypatch):
    monkeypatch.setattr(job, "LAST_STEP", 0.05)
    gate, entered = threading.Semaphore(0), threading.Semaphore(0)
    log.job.start(gated("a", 100, gate, entered), 100)
    assert entered.acquire(timeout=10)
    end_all()
    assert log.job.running
    gate.release()
