"""The graphics card that tests run on: the machine's own, or the pretend one (tests/pretend_gpu.py) in its place.

    begin()                # load_components(...) goes to it in float16, as it would on a T4
    begin("float32")       # the same in float32

The seam: `runtime.device()` finds the card first, and `runtime.DTYPES` says what it computes in, the chosen format
first. Nothing in helpers/ or in a notebook knows the pretend card's name.
"""
import pretend_gpu
import torch

FORMATS = "float16", "float32"


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

    card, first = device(), getattr(torch, dtype)
    others = [one for one in runtime.DTYPES["cuda"] if one != first]
    runtime.DTYPES[card.type] = (first, *others)
    if not real():
        found = runtime.device
        runtime.device = lambda name=None: card if name is None or torch.device(name) == card else found(name)
    return card
