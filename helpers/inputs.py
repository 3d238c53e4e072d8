"""Checks of arguments, in one place. Each of these returns the value, or raises one sentence that names
the argument, says what it takes and shows what came.

TypeError: a value of another kind. ValueError: of the right kind, but not in range. Nothing slow is imported
here, so that the postcard world can do without torch.
"""

import errno
import math
import numbers
import operator
import os
from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from random import Random

from PIL import Image

LONGEST = 60  # characters of a value that a sentence shows


def shown(value, longest=LONGEST):
    """A value as error sentences show it: short and on one line; objects, tensors and arrays by their kind."""
    kind, shape = type(value).__name__, getattr(value, "shape", None)
    if isinstance(shape, tuple) and hasattr(value, "dtype"):
        if not shape and not getattr(value, "is_meta", False):
            return shown(value.item()) if type(value.item()) is not type(value) else f"a {kind}"
        return f"a {kind} of shape {tuple(shape)} in {str(value.dtype).removeprefix('torch.')}"
    try:
        said = " ".join(repr(value).split())
    except Exception:  # an object whose own repr is broken
        said = ""
    if not said or said.startswith("<") or " at 0x" in said:
        return f"an object of type {kind}"
    return said if len(said) <= longest else f"{said[: longest - 3]}..."


def first_line(error, longest=120):
    """The first line of an exception's message, to be quoted in a sentence; the name of its class where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:longest].rstrip(". ")


def _must_be(value, name, takes, fits):
    """The value if it fits, else TypeError."""
    if not fits:
        raise TypeError(f"{name} must be {takes}, not {shown(value)}.")
    return value


# Numbers


def whole_number(value, name, low, high):
    """`value` as an int with low <= value <= high."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except (TypeError, RuntimeError):  # RuntimeError: a tensor on a device without numbers
        number = None
    if number is None or getattr(value, "dtype", None) is not None and "bool" in str(value.dtype):
        raise TypeError(f"{name} must be a whole number from {low} to {high}, not {shown(value)}.")
    if not low <= number <= high:
        raise ValueError(f"{name} must lie between {low} and {high}, not {shown(number)}.")
    return number


def number(value, name, takes, fits=lambda number: True):
    """`value` as a finite float. takes: what the sentence asks for, such as "a number above 0, such as 4".
    fits(number): whether it is in range."""
    _must_be(value, name, takes, isinstance(value, numbers.Real) and not isinstance(value, bool))
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not (math.isfinite(found) and fits(found)):
        raise ValueError(f"{name} must be {takes}, not {shown(value)}.")
    return found


def flag(value, name):
    """True or False."""
    return _must_be(value, name, "True or False", isinstance(value, bool))


def function(value, name, takes):
    """Something to call. takes: what the sentence asks for."""
    return _must_be(value, name, takes, callable(value))


def random_numbers(value, name):
    """A random.Random."""
    return _must_be(value, name, "a random.Random, such as random.Random(0)", isinstance(value, Random))


# Words


def text(value, name, takes="a string"):
    """A string. takes: what the sentence asks for."""
    return _must_be(value, name, takes, isinstance(value, str))


def one_of(value, name, known):
    """One of the names in `known`, a string."""
    if not isinstance(value, str) or value not in known:
        kind = ValueError if isinstance(value, str) else TypeError
        raise kind(f"{name} must be one of {', '.join(known)}, not {shown(value)}.")
    return value


# Lists


def list_of(value, name, takes, kind, least=0):
    """A list, with at least `least` items, out of a list, a tuple or what else has an order; every item is a
    `kind` (a class, or several). takes: what the sentence calls the items."""
    ordered = isinstance(value, Iterable) and not isinstance(value, (str, bytes, bytearray, Mapping, Set))
    if (
        kind is not object and isinstance(value, kind) and not hasattr(value, "ndim")
    ):  # an array may be a list of arrays
        raise TypeError(f"{name} must be a list of {takes}, not a single one: put it into [ ].")
    if not ordered or getattr(value, "ndim", 1) == 0:  # an array or tensor of one number has no items
        raise TypeError(f"{name} must be a list of {takes}, not {shown(value)}.")
    items = list(value)
    for i, item in enumerate(items):
        if not isinstance(item, kind):
            raise TypeError(f"{name} must be a list of {takes}, and item {i} is {shown(item)}.")
    if len(items) < least:
        raise ValueError(f"{name} must be a list of at least {least} {takes}, and has {len(items)}.")
    return items


def texts(value, name, least=0):
    """A list of strings. A single string is refused: it would be read letter by letter."""
    return list_of(value, name, "strings", str, least)


def table(value, name, takes, least=1):
    """A dict with at least `least` entries, from names to whatever. takes: what the sentence asks for."""
    if not isinstance(value, Mapping) or len(value) < least:
        raise (ValueError if isinstance(value, Mapping) else TypeError)(
            f"{name} must be {takes}{', with at least one entry' * (least > 0)}, not {shown(value)}."
        )
    return value


# Pictures, tensors, places


def picture(value, name, mode=None):
    """A PIL picture. mode: the one it must have; None: any."""
    if not isinstance(value, Image.Image):
        raise TypeError(f"{name} must be a PIL picture, not {shown(value)}: see prepare_picture in helpers.latents.")
    if mode is not None and value.mode != mode:
        raise ValueError(f'{name} has the mode {value.mode!r}: use {name}.convert("{mode}").')
    return value


def pictures(value, name, least=0):
    """A list of PIL pictures."""
    return list_of(value, name, "PIL pictures", Image.Image, least)


def tensor(value, name, *shape):
    """A torch tensor of fractional numbers. shape: a number a side that is fixed, a letter a side that is
    not, such as "B", 3, "H", "W"; none: of any shape."""
    import torch

    said = f" of shape ({', '.join(map(str, shape))}{',' * (len(shape) == 1)})" if shape else ""
    real = isinstance(value, torch.Tensor) and value.is_floating_point()
    if not real or value.layout != torch.strided or value.is_meta:
        raise TypeError(f"{name} must be a tensor of fractional numbers{said}, not {shown(value)}.")
    fits = len(shape) == value.ndim and all(
        isinstance(side, str) or side == is_ for side, is_ in zip(shape, value.shape)
    )
    if shape and not (fits and value.numel()):
        raise ValueError(f"{name} must be a tensor{said}, not of shape {tuple(value.shape)}.")
    return value


def path(value, name, takes="a path, as a string or a pathlib.Path"):
    """A pathlib.Path of a string or of another path. Whether something is there is not looked at. takes: what the
    sentence asks for."""
    _must_be(value, name, takes, isinstance(value, (str, os.PathLike)))
    try:
        os.lstat(os.fspath(value) or "\0")
    except OSError as error:
        unknown = error.errno in (errno.ENAMETOOLONG, errno.EINVAL)
    except ValueError:  # it holds NUL, or half a character
        unknown = True
    else:
        unknown = False
    if unknown:
        raise ValueError(f"{name} is {shown(str(value))}, which nothing on this system can be called: use {takes}.")
    return Path(value)


# The model


def components(c):
    """Components, as load_components returns them."""
    return _must_be(c, "c", "what load_components returns", hasattr(c, "latent_shape"))


def trainable(c):
    """Components, as load_components returns them, of a model that can be trained."""
    if components(c).distilled_guidance is not None:
        raise ValueError(
            f"{shown(c.name)} cannot be taught anything: with its guidance folded in, its U-Net does not predict the "
            f'noise that was added, so train with load_components("{c.plain}") and load the result here.'
        )
    return c


def tokenizer(value):
    """A tokenizer."""
    return _must_be(value, "tokenizer", "that of a model, c.tokenizer", hasattr(value, "model_max_length"))
