"""An exercise that checks itself: properties in order, one hint at a time, a line of progress.

    sheet = Sheet()

    @sheet.exercise(1)
    def add_noise(answer):              # answer: the student's function, wrapped
        if ...: return "a hint that fits the mistake"

    add_noise(their_function)           # prints one line
    sheet.progress()                    # prints "1 of 4 exercises are right."
"""
import traceback

import torch


class NotAnswered(Exception):
    """The stub still returns nothing."""


class Sheet:
    """The exercises of one lesson and which of them are right."""

    def __init__(self):
        self.right = {}

    def exercise(self, number):
        """Make a check of a function that takes an answer and returns a hint, or None when all is well."""
        def decorate(properties):
            name = properties.__name__
            self.right[number] = False

            def check(answer, counts=True):
                verdict = judge(properties, answer)
                if counts:
                    self.right[number] = verdict == "right"
                who = f"Exercise {number}" if counts else f"Worked solution of exercise {number}"
                print(f"{who} ({name}): {verdict}.")

            check.__name__ = name
            check.__doc__ = f"Check an answer to exercise {number}. counts=False: it is not your own."
            check.hint = lambda answer: judge(properties, answer)
            return check
        return decorate

    def progress(self):
        """Print how many exercises are right."""
        print(f"{sum(self.right.values())} of {len(self.right)} exercises are right.")


def judge(properties, answer):
    """"right", "not answered yet", or "not yet: " and what is wrong, as one line."""
    if not callable(answer):
        return f"not yet: give the function itself, not {type(answer).__name__}"
    try:
        hint = properties(Answer(answer))
    except NotAnswered:
        forgotten = "not yet: your function returns None, is a return missing?"
        return "not answered yet" if is_stub(answer) else forgotten
    except Exception as problem:
        return f"not yet: your function stopped with {describe(problem, answer)}"
    return f"not yet: {hint}" if hint else "right"


class Answer:
    """The student's function: it gets copies of its tensors, so that the check is safe, and must return."""

    def __init__(self, function):
        self.function = function

    def __call__(self, *arguments, **named):
        arguments = [a.clone() if isinstance(a, torch.Tensor) else a for a in arguments]
        result = self.function(*arguments, **named)
        if result is None or result is Ellipsis:
            raise NotAnswered
        return result


def is_stub(answer):
    """Whether a function is still the empty stub: no names used, nothing stored."""
    code = getattr(answer, "__code__", None)
    return code is None or (not code.co_names and code.co_nlocals == code.co_argcount)


def describe(problem, answer):
    """An exception as one line: its kind, the first line of its message, where in the student's function."""
    message = str(problem).strip().splitlines()
    code = getattr(answer, "__code__", None)
    lines = [frame.lineno - code.co_firstlineno + 1 for frame in traceback.extract_tb(problem.__traceback__)
             if code and frame.filename == code.co_filename and frame.name == code.co_name]
    where = f" (line {lines[-1]} of your function)" if lines else ""
    return f"{type(problem).__name__}: {(message[0] if message else 'no message')[:110]}{where}"


def shape_hint(result, like):
    """A hint when a result is no tensor of the expected shape, else None. like: a tensor of that shape."""
    if not isinstance(result, torch.Tensor):
        return f"return a tensor, not {type(result).__name__}"
    if result.shape != like.shape:
        return f"the answer has shape {tuple(result.shape)}, expected {tuple(like.shape)}"
    return None


def close(result, expected, tolerance):
    """Whether all numbers agree within a tolerance, and all are finite."""
    result, expected = torch.as_tensor(result).double(), torch.as_tensor(expected).double()
    return bool(torch.isfinite(result).all() and ((result - expected).abs() <= tolerance).all())


def random(*shape, seed=0):
    """Noise for a check, the same every time."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
