"""The checks of all lessons, and what they are tried on: the answers in tests/unit/test_checks_*.py.

Each of these files holds RIGHT, {exercise: right answers}, and WRONG, {exercise: [(wrong answer, words of its hint)]}.
"""

from importlib import import_module
from pkgutil import iter_modules
from types import SimpleNamespace

from helpers import checks


def _lessons():
    modules = [import_module(f"helpers.checks.{found.name}") for found in iter_modules(checks.__path__)]
    return {module.__name__.rpartition(".")[2]: module for module in modules if hasattr(module, "progress")}


def _exercises(lesson, module):
    book = import_module(f"test_checks_{lesson}")
    assert (
        set(book.RIGHT) == set(book.WRONG) == {name for name, thing in vars(module).items() if hasattr(thing, "hint")}
    )
    return {
        name: SimpleNamespace(
            name=name, check=getattr(module, name), sheet=module.sheet, right=book.RIGHT[name], wrong=book.WRONG[name]
        )
        for name in book.RIGHT
    }


LESSONS = _lessons()
EXERCISES = {
    name: exercise for lesson, module in LESSONS.items() for name, exercise in _exercises(lesson, module).items()
}
