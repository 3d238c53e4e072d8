"""An exercise that checks itself: properties in order, one hint at a time, a line of progress.

    sheet = Sheet("01")                 # of lesson 01

    @sheet.exercise(1, lambda x0, eps, abar: x0.shape)
    def add_noise(answer):              # answer: the student's function, wrapped
        if ...: return "a hint that fits the mistake"

    add_noise(their_function)           # prints one line
    sheet.progress()                    # prints "1 of 4 exercises are right."

What an answer returns is read in one place, `read`, before a property sees it: finite numbers of the expected
kind and shape, or nothing. So a property need not think of NaN, which no comparison finds.
"""

import contextlib
import contextvars
import copy
import inspect
import math
import random as python_random
import traceback

import numpy as np
import torch

from helpers import my_course

ONE = {int: "one whole number", float: "one number", bool: "True or False", list: "a list of whole numbers"}
PRECISE = torch.float16, torch.float32, torch.float64  # bfloat16 keeps two digits: too few to check
LONGEST = 300  # characters of a verdict

# How coarse the numbers of the answer under test are, relative to their size; 0: float32 or finer.
_rounding = contextvars.ContextVar("rounding", default=0.0)


class NotAnswered(Exception):
    """The function returns nothing."""


class Stopped(Exception):
    """The function raised an exception, which is this one's cause."""


class Refused(Exception):
    """What the function returned cannot be compared: another kind or shape. Its text is the hint."""

    def __init__(self, hint, result=None):
        super().__init__(hint)
        self.result = result


class NotFinite(Refused):
    """There is NaN or infinity in what the function returned."""


class Sheet:
    """The exercises of one lesson and which of them are right. lesson: its number, "01" to "05".

    core: how many of them, from the first, lie on the core path; None where that makes no difference. What a reader tries is written down in `my_course` as it comes.
    """

    def __init__(self, lesson, core=None):
        self.lesson, self.core, self.right = lesson, core, {}
        self.own = {}  # {number: the reader's function that was found right}

    def exercise(self, number, like, what=""):
        """Turn a function that takes an answer and returns a hint, or None when all is well, into a check.

        like: what the answer must return. int, float, bool, or list (of whole numbers); or a function of the
            answer's arguments that gives the shape of a tensor, or {name: shape} of two.
        what: a few words for the hint: which number it is.
        """

        def decorate(properties):
            name = properties.__name__
            self.right[number] = False

            def hint(answer):
                return judge(properties, answer, like, what)

            def check(answer, counts=True):
                if counts:
                    self.right[number] = False  # and so it stays if the reader interrupts
                verdict = hint(answer)
                if counts:
                    self.right[number] = verdict == "right"
                    if self.right[number]:
                        self.own[number] = answer
                who = f"Exercise {number}" if counts else f"Worked solution of exercise {number}"
                said = f"{who} ({name}): {verdict}{'' if verdict.endswith('?') else '.'}"
                print(f"{said}{self.keep(number, name, verdict, answer) if counts else ''}")

            check.__name__ = name
            check.__doc__ = f"Check an answer to exercise {number}. counts=False: it is not your own."
            check.hint = hint
            return check

        return decorate

    def keep(self, number, name, verdict, answer):
        """Write a try down in `my_course`. Returns what there is to say of it: nothing, or a sentence."""
        try:
            if verdict != "not answered yet":
                my_course.note_answer(self.lesson, number, name, verdict, answer)
            elif (kept := my_course.answer(self.lesson, number)) and kept["code"]:
                return f" What you wrote before is kept: check.yours({number}) shows it."
        except OSError as problem:
            return f" It could not be written down: {problem}"
        return ""

    def yours(self, number):
        """Print what the reader wrote for an exercise, in this session or an earlier one: the latest that was right."""
        kept = my_course.answer(self.lesson, number)
        if kept and not kept["code"]:
            print(f"You have tried exercise {number}, but of that answer Python kept no code that could be shown.")
        else:
            print(kept["code"] if kept else f"Nothing is kept of exercise {number}.")

    def yours_else(self, yours, solution):
        """The reader's function where its check has found this very one right, else the worked solution; says which.

        add_noise = check.yours_else(add_noise, add_noise_solution)     # the cells below use it
        """
        right = any(yours is own and self.right[number] for number, own in self.own.items())
        print(
            f"From here on, {solution.__name__.removesuffix('_solution')} is {'yours' if right else 'the worked solution'}."
        )
        return yours if right else solution

    def progress(self):
        """Print how many exercises are right, and how many of those on the core path."""
        line = f"{sum(self.right.values())} of {len(self.right)} exercises are right."
        if self.core is not None:
            right = sum(self.right[number] for number in range(1, self.core + 1))
            line += f" On the core path: {right} of {self.core}."
        print(line)


def judge(properties, function, like, what=""):
    """ "right", "not answered yet", or "not yet: " and what is wrong, as one line. like, what: see `exercise`.

    An answer that writes on what it is given is not right, whatever it returns: it gets copies here, but the lesson's
    own tensors later. What an answer may change, an optimizer's network, is handed over `Uncopied`.
    Nothing that the function raises comes out, sys.exit() included; only the reader's own interrupt does.
    """
    if not callable(function):
        return one_line(f"not yet: give the function itself, not {type(function).__name__}")
    answer = Answer(function, like, what)
    try:
        with random_states_kept(), plain_torch():
            hint = properties(answer)
    except NotAnswered:
        forgotten = "not yet: your function returns None, is a return missing?"
        return "not answered yet" if is_stub(function) else forgotten
    except Stopped as stopped:
        hint = f"your function stopped with {describe(stopped.__cause__, function)}"
    except Refused as refused:
        hint = str(refused)
    except KeyboardInterrupt:
        raise
    except BaseException as problem:  # numbers that a property cannot reckon with, such as 1e38
        hint = f"the answer is too far off to be compared ({describe(problem)})"
    if hint and _rounding.get():
        hint = f"float16 keeps three digits, which may be all that is wrong: return float32; if that is no help, {hint}"
    if hint:
        return one_line(f"not yet: {hint}{answer.remark(hint)}")
    return one_line(f"not yet: {answer.overwritten()}") if answer.changed else "right"


class Answer:
    """The student's function as a check calls it: it gets copies, and what it returns is read and copied too.

    So a function that writes on its arguments, or returns the same tensor twice, cannot change what it is
    compared with. like, what: see `Sheet.exercise`.
    """

    def __init__(self, function, like, what=""):
        self.function, self.like, self.what = function, like, what
        self.changed = set()  # places of the arguments that it wrote on
        self.kept = None  # places of the arguments that it returned as they were, every time
        _rounding.set(0.0)

    def __call__(self, *arguments):
        given = [copied(one) for one in arguments]
        try:
            with plain_torch():
                result = self.function(*given)
        except (KeyboardInterrupt, Refused):  # a check that calls the reader's class has refused what it found
            raise
        except BaseException as problem:
            raise Stopped from problem
        self.changed |= {i for i, pair in enumerate(zip(given, arguments)) if not same(*pair)}
        if result is None or result is Ellipsis:
            raise NotAnswered
        if inspect.iscoroutine(result):
            result.close()  # or Python warns that nobody waited for it
        like = self.like if isinstance(self.like, type) else self.like(*arguments)
        tensors = [one for one in arguments if isinstance(one, torch.Tensor)]
        dtype = torch.float64 if any(one.dtype == torch.float64 for one in tensors) else torch.float32
        value = read(result, like, self.what, dtype)
        kept = {i for i, one in enumerate(arguments) if isinstance(one, (torch.Tensor, list)) and same(value, one)}
        self.kept = kept if self.kept is None else self.kept & kept
        if isinstance(value, torch.Tensor) and not any(one.requires_grad for one in tensors):
            return value.detach()
        return value

    def overwritten(self):
        """What is wrong where only this is: the lesson's own tensor would be another afterwards, here it was a copy."""
        name = self.name(min(self.changed))
        return (
            f"the numbers are right, but your function changes {name} itself, which the cells below may need as it was: write "
            "x = x + y in place of x += y, x *= y or x[...] = y, or work on a copy"
        )

    def remark(self, hint):
        """A further remark on a wrong answer, or "". hint: what is said before it."""
        if self.changed:
            return f"; your function also changes {self.name(min(self.changed))} itself: work on a copy"
        if self.kept and "as it came in" not in hint:
            return f"; you return {self.name(min(self.kept))} as it came in"
        return ""

    def name(self, place):
        """What the student's function calls an argument."""
        code = getattr(self.function, "__code__", None)
        names = code.co_varnames[: code.co_argcount] if code else ()
        return names[place] if place < len(names) else f"argument {place + 1}"


def read(result, like, what="", dtype=torch.float32):
    """What an answer returned, checked and copied; Refused, with a hint, where it cannot be compared.

    like: int, float, bool, list, a shape or {name: shape}, as in `Sheet.exercise`. Tensors come back as dtype
    and on the CPU, from whatever device; numbers as Python's own.
    """
    if isinstance(like, dict):
        if not isinstance(result, (tuple, list)) or len(result) != len(like):
            raise Refused(f"return two tensors, {' and '.join(like)}: yours is {kind(result)}", result)
        return tuple(_tensor(one, like[name], dtype, f"{name}: ") for name, one in zip(like, result))
    if not isinstance(like, type):
        return _tensor(result, like, dtype)
    try:
        if like is not list:
            return _number(result, like)
        listed = result.tolist() if isinstance(result, (torch.Tensor, np.ndarray)) else result
        if isinstance(listed, (list, tuple)):
            return [_number(one, int) for one in listed]
    except (TypeError, ValueError, RuntimeError):  # several numbers where one is wanted, or none at all
        pass
    raise Refused(f"return {ONE[like]}{what and ', ' + what}: yours is {kind(result)}", result)


def _tensor(result, shape, dtype, name=""):
    if not isinstance(result, torch.Tensor):
        raise Refused(f"{name}return a tensor, not {type(result).__name__}", result)
    if result.shape != tuple(shape):
        raise Refused(f"{name}the answer has shape {tuple(result.shape)}, expected {tuple(shape)}", result)
    if result.dtype not in PRECISE:
        raise Refused(f"{name}the answer is {kind(result)}: return float32", result)
    if result.layout != torch.strided or result.device.type == "meta":
        raise Refused(f"{name}the answer is a sparse or an empty tensor: return an ordinary one", result)
    _note_rounding(result)
    copied = result.to("cpu", dtype, copy=True)
    lost = int((~copied.isfinite()).sum())
    if lost:
        raise NotFinite(f"{name}the answer holds NaN or infinity in {lost} of {copied.numel()} places", result)
    return copied


def _number(result, like):
    """A Python number of the wanted type; TypeError, ValueError or RuntimeError where it is none."""
    if isinstance(result, (torch.Tensor, np.ndarray, np.generic)):
        _note_rounding(result)
        result = result.item()
    if like is bool:
        if not isinstance(result, (bool, int, float)) or result not in (0, 1):
            raise TypeError
    elif isinstance(result, bool) or not isinstance(result, (int, float) if like is float else int):
        raise TypeError
    elif abs(result) > 2**63:
        raise NotFinite("the answer is infinite, or as good as that", result)
    elif math.isnan(result):
        raise NotFinite("the answer is NaN", result)
    return like(result)


def _note_rounding(result):
    if result.dtype in (torch.float16, np.float16):
        _rounding.set(torch.finfo(torch.float16).eps)


def kind(result):
    """What a thing is, in a few words."""
    if isinstance(result, torch.Tensor):
        return f"a tensor of shape {tuple(result.shape)} and type {str(result.dtype).removeprefix('torch.')}"
    return f"an array of shape {result.shape}" if isinstance(result, np.ndarray) else f"of type {type(result).__name__}"


class Uncopied:
    """Its copy is itself: an answer gets this very object, and what is attached to it stays attached."""

    def __deepcopy__(self, memo):
        return self


def copied(argument):
    """A copy for a function to write on."""
    return argument.clone() if isinstance(argument, torch.Tensor) else copy.deepcopy(argument)


def same(one, other):
    """Whether two arguments hold the same numbers."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.shape == other.shape and one.dtype == other.dtype and bool((one == other).all())
    if isinstance(one, (list, tuple)) and type(one) is type(other):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


@contextlib.contextmanager
def plain_torch():
    """float32, the CPU and gradients inside, whatever the reader has set; afterwards what was set before."""
    dtype, device = torch.get_default_dtype(), torch.get_default_device()
    try:
        _set_defaults(torch.float32, torch.device("cpu"))
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast("cpu", enabled=False):
            yield
    finally:
        _set_defaults(dtype, device)


def _set_defaults(dtype, device):
    if torch.get_default_dtype() != dtype:
        torch.set_default_dtype(dtype)
    if torch.get_default_device() != device:
        torch.set_default_device(None if device.type == "cpu" else device)  # None: no layer is left behind


@contextlib.contextmanager
def random_states_kept():
    """The random states of torch, NumPy and Python afterwards as they were, whatever an answer draws or seeds."""
    python, numpy = python_random.getstate(), np.random.get_state()
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    try:
        with torch.random.fork_rng(devices=gpus):
            yield
    finally:
        python_random.setstate(python)
        np.random.set_state(numpy)


def is_stub(function):
    """Whether a function, or a class's forward, is still the empty stub: no names used, nothing stored."""
    code = getattr(getattr(function, "forward", function), "__code__", None)
    return code is None or (not code.co_names and code.co_nlocals == code.co_argcount)


def describe(problem, function=None):
    """An exception in a few words: its kind, the first line of its message, where in the student's function."""
    try:
        message = str(problem).strip().splitlines()
    except Exception:  # the exception is the student's own class
        message = []
    code = getattr(function, "__code__", None)
    lines = [
        line - code.co_firstlineno + 1
        for frame, line in traceback.walk_tb(problem.__traceback__)
        if frame.f_code is code
    ]
    where = f" (line {lines[-1]} of your function)" if lines else ""
    if isinstance(problem, SystemExit):
        return f"sys.exit(){where}: leave it out, and return the result"
    return f"{type(problem).__name__}: {(message[0] if message else 'no message')[:110]}{where}"


def one_line(text):
    """Text without line breaks and other characters that are not printed, at most LONGEST of them."""
    text = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def close(result, expected, tolerance):
    """Whether all numbers agree within a tolerance, and all are finite. expected: of the same shape, or one number.

    The tolerance grows by four roundings where the answer's own numbers are coarser than float32.
    """
    result, expected = torch.as_tensor(result).double(), torch.as_tensor(expected).double()
    if expected.ndim and expected.shape != result.shape:
        return False
    allowed = tolerance + 4 * _rounding.get() * (1 + expected.abs())
    return bool(torch.isfinite(result).all() and ((result - expected).abs() <= allowed).all())


def mistaken_for(result, mistakes, tolerance):
    """The hint of the first known mistake that gives this result, or None. mistakes: (hint, result, result, ...) each."""
    return next((hint for hint, *outcomes in mistakes if any(close(result, one, tolerance) for one in outcomes)), None)


def unless_shaped(call, hints):
    """What call() returns. If it is refused for a shape listed in `hints`, (shape, hint) pairs, that hint is given instead."""
    try:
        return call()
    except Refused as refused:
        shape = () if isinstance(refused.result, (int, float)) else getattr(refused.result, "shape", None)
        for told, hint in hints:
            if shape == told:
                raise Refused(hint) from None
        raise


def random(*shape, seed=0):
    """Noise for a check, the same every time."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
