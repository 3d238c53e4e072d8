"""Ctrl-C waits while a model is being changed, and is heard as soon as that is done.

To change a model takes several lines: layers are put in one after another, watchers sit down and get up again. An
interrupt between two of them would leave a model that is half changed, and nobody who can undo it. What is marked
`whole` (a function) or `block` (both ends of a with block) is therefore finished first.

How: while such code is anywhere on the stack, Python's own handler of Ctrl-C is not called, and the signal is sent
again a few milliseconds later. So the interrupt is late, but not lost, not even where Python itself loses one: what is
raised inside a destructor or a weak reference's callback is dropped with a note, and is sent again too. Only the main
thread is ever interrupted. COURSE_PLAIN=1 leaves Python's handlers alone (docs/kernel.md).
"""

import contextlib
import functools
import queue
import signal
import sys
import threading
import time

from helpers.kernel import plain

AGAIN = 0.005  # seconds until an interrupt that came in the middle is sent again

_codes = set()  # the code objects that are finished first
_before = None  # the handler of Ctrl-C that was there, called for every interrupt that may be heard
_dropped_before = None  # likewise, the hook for exceptions that nothing can catch
_late = queue.SimpleQueue()  # one entry for each interrupt to be sent again; it may be filled wherever a signal comes
_sender = None  # the thread that sends them


def whole(function):
    """Make a function atomic for Ctrl-C: an interrupt comes before it begins or after it has returned."""

    @functools.wraps(function)
    def finished(*args, **kwargs):
        _listen()
        return function(*args, **kwargs)

    _codes.update((function.__code__, finished.__code__))
    return finished


def block(function):
    """`contextlib.contextmanager`, with both ends of the with block `whole`; between them an interrupt is heard."""
    manager = contextlib.contextmanager(function)

    @functools.wraps(function)
    def make(*args, **kwargs):
        return _Block(manager(*args, **kwargs))

    return make


class _Block:
    """A context manager that enters and leaves another one, undisturbed."""

    def __init__(self, manager):
        self.manager = manager

    def __enter__(self):
        _listen()
        return self.manager.__enter__()

    def __exit__(self, *error):
        return self.manager.__exit__(*error)


_codes.update((_Block.__enter__.__code__, _Block.__exit__.__code__))


def _listen():
    """Stand before both handlers. Jupyter puts its own back for every cell, so it is done anew each time."""
    global _before, _dropped_before
    if plain() or threading.current_thread() is not threading.main_thread():
        return
    now = signal.getsignal(signal.SIGINT)
    if now is not _on_interrupt and callable(now):  # neither switched off nor the system's own
        _before = now
        signal.signal(signal.SIGINT, _on_interrupt)
    if sys.unraisablehook is not _on_dropped:
        _dropped_before = sys.unraisablehook
        sys.unraisablehook = _on_dropped


def _on_interrupt(number, frame):
    here = frame
    while here is not None:
        if here.f_code in _codes:
            return _send_again()
        here = here.f_back
    _before(number, frame)


def _on_dropped(dropped):
    if issubclass(dropped.exc_type, KeyboardInterrupt):
        return _send_again()
    _dropped_before(dropped)


_codes.add(_on_dropped.__code__)  # what is raised in there is dropped as well


def _send_again():
    global _sender
    _late.put(None)
    if _sender is None or not _sender.is_alive():
        _sender = threading.Thread(target=_send, daemon=True)
        _sender.start()


def _send():
    while True:
        _late.get()
        time.sleep(AGAIN)
        if hasattr(signal, "pthread_kill"):  # to the main thread itself, so that it also wakes from a sleep
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        else:  # Windows
            signal.raise_signal(signal.SIGINT)
