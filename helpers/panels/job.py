"""The one worker behind every panel that works for long: steps on a thread, progress, Cancel, the latest request wins.

Work is an iterator, such as `denoise` returns: it is asked for one step after the other, and Cancel means that
nothing asks for the next one. So it stops within one step, and what it holds is never half-written.
The kernel stays free, since the thread only sets traits of widgets. Each run begins when the thread of the one before
has ended, so what a run says can come neither between nor after what a later one says.
"""

import atexit
import threading
import time
import weakref
from contextlib import contextmanager, suppress

LAST_STEP = 5  # seconds that the end of Python waits for threads in the middle of a step, and Cancel for a last report


class Job:
    """One piece of work at a time. A second `start` cancels the first and waits for it, on the new thread.

    work: a function without arguments that returns an iterator of steps; it is called on the thread, and may raise.
    on_start(): before the first step. on_step(step, done, seconds_left): after each of `total` steps. on_done(step): after
    the last one, with it: quick, for what takes long belongs into the work, where it can be stopped.
    on_error(problem): the exception that ended the work. on_cancel(done): after Cancel, not when a newer start
    took its place. What a superseded or cancelled run would still report is dropped.
    """

    def __init__(self, on_step, on_done, on_error, on_cancel, on_start=lambda: None):
        self.on_step, self.on_done, self.on_error, self.on_cancel = on_step, on_done, on_error, on_cancel
        self.on_start = on_start
        self.runs = []  # in the order of their starts. No lock: Ctrl-C could leave one closed, and appending is one step

    @property
    def running(self):
        """Whether a thread is at work, or still in the step in which it was cancelled."""
        return any(run.thread.is_alive() for run in list(self.runs))

    def start(self, work, total):
        """Begin, in place of what is running. total: how many steps are expected (int)."""
        run = Run(work, total)
        run.thread = threading.Thread(target=self.work, args=(run,), daemon=True)
        self.runs.append(run)
        _begun.add(run)
        run.thread.start()
        self.stop_earlier(run)

    def cancel(self):
        """Ask the running work to stop after its step. Nothing happens where nothing runs.

        Afterwards on_done is not called any more; a call that has begun is waited for.
        """
        runs = list(self.runs)
        for run in runs:
            run.stop("cancelled")
        for run in runs:
            run.wait_told()

    def wait(self, seconds=None):
        """Wait until the work has ended, at most `seconds`. Returns whether it has."""
        end = None if seconds is None else time.monotonic() + seconds
        for run in list(self.runs):
            run.join(None if end is None else max(end - time.monotonic(), 0))
        return not self.running

    def stop_earlier(self, run):
        """Ask the runs that were started before this one to stop; returns them."""
        runs = list(self.runs)
        earlier = runs[: runs.index(run)] if run in runs else []  # a later one has taken it out
        for one in earlier:
            one.stop("superseded")
        return earlier

    def work(self, run):
        for one in self.stop_earlier(run):
            one.join()  # two works never share the model
            with suppress(ValueError):  # another start did it
                self.runs.remove(one)
        done, step, started = 0, None, time.monotonic()
        make, run.make = run.make, None  # when the thread ends, so does the life of what the work was made of
        try:
            if not run.stopped:
                self.on_start()
                with ending(make()) as steps:
                    for step in steps:
                        done += 1
                        if run.stopped:
                            break
                        pace = (time.monotonic() - started) / done
                        self.on_step(step, done, pace * max(run.total - done, 0))
            self.tell(run, done, self.on_done, step)
        except Exception as problem:  # whatever it is, the panel says it in words
            self.tell(run, done, self.on_error, problem)

    def tell(self, run, done, say, news):
        """Say how a run has ended, unless it was stopped: then say that, or nothing where a newer one took its place."""
        run.telling.set()  # before it is asked whether it was stopped, and asked after that was noted: one of both is seen
        try:
            if run.stopped == "cancelled":
                self.on_cancel(done)
            elif not run.stopped:
                say(news)
        finally:
            run.told.set()


@contextmanager
def ending(steps):
    """An iterator for the time of a with block: what a generator holds open is closed when the block is left."""
    try:
        yield steps
    finally:
        getattr(steps, "close", lambda: None)()


class Run:
    """One request: how to begin it, on which thread it runs, and why it was stopped, if it was."""

    def __init__(self, make, total):
        self.make, self.total, self.thread, self.stopped = make, total, None, ""
        self.telling, self.told = threading.Event(), threading.Event()

    def stop(self, why):
        if not self.stopped or why == "superseded":  # then what was cancelled has nothing to say either
            self.stopped = why

    def wait_told(self):
        """Wait until its last report is made, where that has begun: it may have come before the stop."""
        if self.telling.is_set() and threading.current_thread() is not self.thread:
            self.told.wait(LAST_STEP)

    def join(self, seconds=None):
        """Wait for its thread, if it has begun: Ctrl-C may have come before. If it begins yet, it finds itself stopped."""
        if self.thread.ident is not None:
            self.thread.join(seconds)


_begun = weakref.WeakSet()


@atexit.register
def end_all():
    """Ask whatever is at work to stop, and wait for its step: a thread that Python's end meets inside torch would abort the process."""
    runs, end = list(_begun), time.monotonic() + LAST_STEP
    for run in runs:
        run.stop("superseded")
    for run in runs:
        run.join(max(end - time.monotonic(), 0))
