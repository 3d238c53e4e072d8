"""No check of any lesson is left untried: each has right answers and mistakes to tell apart."""
from importlib import import_module
from pkgutil import iter_modules

import pytest
from helpers import checks

MODULES = [import_module(f"helpers.checks.{found.name}") for found in iter_modules(checks.__path__)]
LESSONS = [module for module in MODULES if hasattr(module, "progress")]


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda lesson: lesson.__name__.rpartition(".")[2])
def test_every_check_is_tried_on_right_and_wrong_answers(lesson):
    book = import_module(f"test_checks_{lesson.__name__.rpartition('.')[2]}")
    names = {name for name, thing in vars(lesson).items() if hasattr(thing, "hint")}
    assert set(book.RIGHT) == set(book.WRONG) == names
    assert len(names) == len(lesson.progress.__self__.right)
    assert all(len(book.RIGHT[name]) >= 2 and len(book.WRONG[name]) >= 3 for name in names)


def test_the_exercises_are_numbered_through_the_lessons():
    numbers = sorted(number for lesson in LESSONS for number in lesson.progress.__self__.right)
    assert len(LESSONS) == 5 and numbers == list(range(1, len(numbers) + 1))
