"""helpers.inputs: what a function may be given, said once."""

import math
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import inputs


class Shy:
    def __repr__(self):
        raise RuntimeError("no repr")


@pytest.mark.parametrize(
    "value, said",
    [
        (None, "None"),
        ("a boat", "'a boat'"),
        ("two\nlines", r"'two\nlines'"),
        (2.5, "2.5"),
        (torch.tensor(2.5), "2.5"),
        (np.float64(2.5), "2.5"),
        (torch.zeros(2, 3), "a Tensor of shape (2, 3) in float32"),
        (np.zeros((4, 4), np.uint8), "a ndarray of shape (4, 4) in uint8"),
        (Shy(), "an object of type Shy"),
        (object(), "an object of type object"),
        (len, "an object of type builtin_function_or_method"),
        ("x" * 99, "'" + "x" * 56 + "..."),
        (Image.new("RGB", (8, 8)), "an object of type Image"),
        ([1, 2], "[1, 2]"),
    ],
)
def test_a_value_is_shown_on_one_short_line(value, said):
    assert inputs.shown(value) == said


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), torch.tensor(3)])
def test_whole_numbers_of_every_library_are_taken(value):
    number = inputs.whole_number(value, "n", 0, 9)
    assert number == 3 and type(number) is int


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2), np.int64(2), Fraction(2)])
def test_numbers_of_every_library_are_taken(value):
    number = inputs.number(value, "x", "a number")
    assert number == 2 and type(number) is float


@pytest.mark.parametrize(
    "value", [["a", "b"], ("a", "b"), {"x": "a", "y": "b"}.values(), (letter for letter in "ab"), np.array(["a", "b"])]
)
def test_lists_are_what_has_an_order(value):
    assert inputs.texts(value, "words") == ["a", "b"]


@pytest.mark.parametrize(
    "value",
    [
        torch.zeros(2, 3, 8, 4),
        torch.zeros(1, 3, 1, 1, dtype=torch.float16),
        torch.zeros(5, 3, 2, 2, dtype=torch.float64),
    ],
)
def test_a_tensor_of_the_shape_is_returned_as_it_is(value):
    assert inputs.tensor(value, "pixels", "B", 3, "H", "W") is value


def test_paths_are_taken_whether_something_is_there_or_not(tmp_path):
    assert inputs.path(str(tmp_path), "where") == inputs.path(tmp_path, "where") == tmp_path
    assert inputs.path("owner/name", "where") == Path("owner/name")


def test_the_postcard_world_needs_no_torch():
    code = "import sys, helpers.postcards; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_number_is_finite_and_in_range():
    for wrong in (math.nan, math.inf, -1):
        with pytest.raises(ValueError, match="x must be a number of 0 or more, not "):
            inputs.number(wrong, "x", "a number of 0 or more", lambda x: x >= 0)
