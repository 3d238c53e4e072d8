"""The graphics card that tests run on: the machine's own, or the pretend one (tests/pretend_gpu.py) in its place.

    begin()                # load_components(...) goes to it in float16, as it would on a T4
    begin("float32")       # the same in float32
    load_components(folder, device=place())     # what tests share: on the card once begun, else on the CPU
    cut_trainings(3)       # train_concept and train_lora end after 3 steps, whatever they are asked for

The seam: `runtime.device()` finds the card first, and `runtime.DTYPES` says what it computes in, the chosen format
first. Nothing in helpers/ or in a notebook knows the pretend card's name.
"""

import functools
import inspect

import pretend_gpu
import torch

_begun = []


def real():
    """Whether this machine has a card of its own."""
    return torch.cuda.is_available()


def device():
    """The card: a torch.device, "cuda" where there is one, else "pretend"."""
    return torch.device("cuda", 0) if real() else pretend_gpu.start()


def begin(dtype="float16"):
    """Put the card where `load_components` looks for one, for as long as this process lives. Returns its device.

    On a real card in float16 there is nothing to do.
    """
    from helpers import runtime

    _begun.append(dtype)
    card, first = device(), getattr(torch, dtype)
    others = [one for one in runtime.DTYPES["cuda"] if one != first]
    runtime.DTYPES[card.type] = (first, *others)
    if not real():
        found = runtime.device
        runtime.device = lambda name=None: card if name is None or torch.device(name) == card else found(name)
    return card


def place():
    """Where tests load their models: None, which finds the card, once it has begun; else "cpu"."""
    return None if _begun else "cpu"


def cut_trainings(steps):
    """Let the two trainings of helpers/ end after so many steps. Called before a lesson imports them."""
    import helpers.concepts.train
    import helpers.lora.train

    for package, name in ((helpers.concepts, "train_concept"), (helpers.lora, "train_lora")):
        cut = _cut(getattr(package, name), steps)
        setattr(package, name, cut)
        setattr(package.train, name, cut)


def _cut(train, most):
    @functools.wraps(train)
    def shorter(*arguments, **options):
        asked = options.pop("steps", inspect.signature(train).parameters["steps"].default)
        return train(*arguments, steps=min(asked, most), **options)

    return shorter
