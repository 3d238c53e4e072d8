"""Answers that no student should get a "right" for: `made_up(right)` makes some ninety of one right answer.

Each is a function of the exercise's arguments. It says in `.wrong` whether anything that it returned, raised or
did so far sets it apart from the right answer; some kinds of wrong are none for some exercises: one number
is itself when it is flattened.
"""

import asyncio
import itertools
import random
import sys
from decimal import Decimal

import numpy as np
import torch

NAN, INF = float("nan"), float("inf")


class Odd(BaseException):
    """Not an Exception: an `except Exception` lets it through."""


class Speechless(Exception):
    def __str__(self):
        raise ValueError("no words")


BROKEN_NAME = type("Two\nLines\x1b[31m", (Exception,), {})


def endless(*arguments):
    yield from itertools.count()


def deeper(*arguments):
    return deeper(*arguments)


async def later(*arguments):
    return 1.0


CONSTANTS = {
    "None": None,
    "5": 5,
    "-3": -3,
    "0": 0,
    "1.0": 1.0,
    "True": True,
    "False": False,
    "huge int": 10**400,
    "longer int": 10**5000,
    "minus huge": -1e300,
    "nan": NAN,
    "inf": INF,
    "-inf": -INF,
    "np.nan": np.float32(NAN),
    "nan array": np.full((2, 3), NAN),
    "nan tensor": torch.tensor(NAN),
    "nan tensors": torch.full((2, 4, 8, 8), NAN),
    "complex": 1j,
    "complex tensor": torch.tensor(1j),
    "text": "right",
    "text of a number": "354",
    "text nan": "nan",
    "bytes": b"\n",
    "empty list": [],
    "empty tuple": (),
    "empty tensor": torch.empty(0),
    "dict": {"W": 1},
    "set": {3},
    "a class": int,
    "a class of lines": BROKEN_NAME,
    "a function": len,
    "an object": object(),
    "decimal": Decimal("NaN"),
    "list of nan": [NAN, NAN],
    "list of None": [None],
    "list of bools": [True, False],
    "list of text": ["3"],
    "pair": (torch.zeros(4, 3), torch.zeros(3)),
    "three": (1, 2, 3),
    "pair of None": (None, None),
    "many": list(range(100_000)),
    "module": sys,
    "meta": torch.empty(2, 4, 8, 8, device="meta"),
}

RAISED = {
    "two lines": lambda: ValueError("first\nsecond\r\nthird"),
    "other line ends": lambda: ValueError("a\u2028b\x85c\x0bd"),
    "control characters": lambda: ValueError("\x1b[2J\x00\x07 red"),
    "long": lambda: ValueError("x" * 10**6),
    "no message": lambda: ValueError(),
    "sys.exit": lambda: SystemExit(),
    "sys.exit with words": lambda: SystemExit("a\nb"),
    "generator exit": lambda: GeneratorExit(),
    "cancelled": lambda: asyncio.CancelledError(),
    "odd": lambda: Odd("a\nb"),
    "speechless": lambda: Speechless(),
    "broken name": lambda: BROKEN_NAME("x"),
    "stop": lambda: StopIteration(3),
    "memory": lambda: MemoryError("no"),
    "group": lambda: ExceptionGroup("a\nb", [ValueError("c")]),
    "index": lambda: IndexError("index 16\nis out"),
}


def one_place(value):
    """A function that puts a value into the last place of a tensor."""

    def put(tensor):
        tensor = tensor.clone(memory_format=torch.contiguous_format)
        tensor.view(-1)[-1] = value
        return tensor

    return put


# What is done to every tensor of a right answer.
TENSORS = {
    "NaN in one place": one_place(NAN),
    "infinity in one place": one_place(INF),
    "all NaN": lambda y: y * NAN,
    "1.001 times": lambda y: y * 1.001,
    "0.999 times": lambda y: y * 0.999,
    "0.01 more": lambda y: y + 0.01,
    "one place off": lambda y: one_place(y.reshape(-1)[-1] + 0.05)(y),
    "negative": lambda y: -y,
    "twice": lambda y: 2 * y,
    "huge": lambda y: y * 1e30,
    "largest": lambda y: y * 0 + 3e38,
    "zeros": torch.zeros_like,
    "ones": torch.ones_like,
    "the mean": lambda y: y.mean(),
    "the mean everywhere": lambda y: y.mean().expand_as(y),
    "batch lost": lambda y: y[0] if y.ndim else y,
    "first of the batch": lambda y: y[:1] if y.ndim else y,
    "first for all": lambda y: y[:1].expand_as(y) if y.ndim else y,
    "one axis more": lambda y: y[None] if y.ndim else y,
    "one axis behind": lambda y: y[..., None] if y.ndim else y,
    "one channel": lambda y: y[:, :1] if y.ndim > 1 else y,
    "transposed": lambda y: y.mT if y.ndim > 1 else y,
    "flat": lambda y: y.flatten() if y.ndim else y,
    "backwards": lambda y: y.flip(-1) if y.ndim else y,
    "rolled": lambda y: y.roll(1, 0) if y.ndim else y,
    "whole numbers": lambda y: y.long(),
    "bool": lambda y: y.bool(),
    "complex numbers": lambda y: y.to(torch.complex64),
    "bfloat16": lambda y: y.bfloat16() * 1.01,
    "float8": lambda y: y.to(torch.float8_e4m3fn),
    "sparse": lambda y: y.to_sparse(),
    "on meta": lambda y: y.to("meta"),
    "rounded": lambda y: y.round(decimals=1),
    "a list": lambda y: y.tolist(),
    "an array": lambda y: y.numpy(force=True),
    "noise in it": lambda y: y + 0.1 * torch.randn(y.shape),
    "positive": lambda y: y.abs() + 1e-2,
}

# What is done to a right answer that is one number or a list of such.
NUMBERS = {
    "one more": lambda v: v + 1,
    "one less": lambda v: v - 1,
    "half a step more": lambda v: v + 0.5,
    "as NaN": lambda v: NAN,
    "as complex": lambda v: complex(v),
    "as text": str,
    "negative number": lambda v: -v - 1,
    "1.001 as much": lambda v: v * 1.001 + 1e-3,
    "2**70 more": lambda v: v + 2**70,
    "in a list": lambda v: [v],
    "not": lambda v: not v,
    "none": lambda v: None,
}


def altered(result, kind, change):
    """The result with a change made to all tensors (kind: torch.Tensor) or numbers in it."""
    if isinstance(result, (tuple, list)):
        return type(result)(altered(one, kind, change) for one in result)
    fits = isinstance(result, kind) and (kind is not torch.Tensor or result.ndim or change not in SHAPES)
    return change(result) if fits else result


SHAPES = {TENSORS[one] for one in ("an array", "a list", "sparse")}  # of one number these are one number


def alike(one, other):
    if isinstance(one, (tuple, list)) and type(one) is type(other) and len(one) == len(other):
        return all(map(alike, one, other))
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        kinds = {(t.shape, t.dtype, t.layout, t.device) for t in (one, other)}
        return len(kinds) == 1 and torch.equal(one, other)
    return type(one) is type(other) and not isinstance(one, np.ndarray) and one == other


def answer_of(function, wrong=True):
    function.wrong = wrong
    return function


def changing(right, kind, change):
    def answer(*arguments):
        result = right(*arguments)
        other = altered(result, kind, change)
        answer.wrong |= not alike(result, other)
        return other

    return answer_of(answer, wrong=False)


def from_call(right, number, then):
    """Right until that call, then what `then` gives."""

    def answer(*arguments):
        answer.calls += 1
        if answer.calls < number:
            return right(*arguments)
        answer.wrong = True
        return then(*arguments)

    answer.calls = 0
    return answer_of(answer, wrong=False)


def raising(make):
    def answer(*arguments):
        raise make()

    return answer_of(answer)


def leave(*arguments):
    sys.exit("good\nbye")


def scribbled(right):
    """Writes zeros on all of its arguments, and returns what is right for these."""

    def answer(*arguments):
        for one in arguments:
            if isinstance(one, torch.Tensor) and one.ndim:
                one.zero_()
                answer.wrong = True
            elif isinstance(one, list):
                one[:] = [0] * len(one)
                answer.wrong = True
        return right(*arguments)

    return answer_of(answer, wrong=False)


def scribbled_later(right):
    """Right, but what it returned turns to ones at the next call: one buffer for all."""

    def answer(*arguments):
        for one in answer.before:
            one.fill_(1)
        result = right(*arguments)
        answer.before = [
            one
            for one in (result if isinstance(result, tuple) else (result,))
            if isinstance(one, torch.Tensor) and not one.requires_grad
        ]
        return result

    answer.before = []
    return answer


def untidy(right):
    """Right, and leaves torch, NumPy and Python otherwise than it found them."""

    def answer(*arguments):
        result = right(*arguments)
        torch.manual_seed(3), np.random.seed(3), random.seed(3)
        torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        return result

    return answer


def made_up(right):
    """{what it is: answer} of a right one, about a hundred. A new dict of new functions every time."""
    answers = {f"returns {name}": answer_of(lambda *a, value=value: value) for name, value in CONSTANTS.items()}
    answers |= {f"raises {name}": raising(make) for name, make in RAISED.items()}
    answers |= {f"right, {name}": changing(right, torch.Tensor, change) for name, change in TENSORS.items()}
    answers |= {f"right, {name}": changing(right, (int, float), change) for name, change in NUMBERS.items()}
    answers |= {
        "calls itself": answer_of(lambda *a: deeper(*a)),
        "exits": answer_of(leave),
        "a generator": answer_of(endless),
        "a coroutine": answer_of(later),
        "first argument": answer_of(lambda *a: a[0]),
        "second argument": answer_of(lambda *a: a[1]),
        "last argument": answer_of(lambda *a: a[-1]),
        "all arguments": answer_of(lambda *a: a),
        "too few arguments": answer_of(lambda a: a),
        "no code": answer_of(type("Callable", (), {"__call__": lambda self, *a: a[0]})()),
        "zeroes its arguments": scribbled(right),
        "then NaN": from_call(right, 2, lambda *a: NAN),
        "then None": from_call(right, 2, lambda *a: None),
        "then exits": from_call(right, 2, leave),
        "then text": from_call(right, 2, lambda *a: "x"),
        "then the first": from_call(right, 2, lambda *a: a[0]),
        "late exits": from_call(right, 5, leave),
        "late None": from_call(right, 5, lambda *a: None),
        "right": answer_of(lambda *a: right(*a), wrong=False),
        "one buffer": answer_of(scribbled_later(right), wrong=False),
        "untidy": answer_of(untidy(right), wrong=False),
    }
    return answers
