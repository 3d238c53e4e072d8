"""How the checks of all lessons are tested: {exercise: right answers}, {exercise: [(wrong answer, words of its hint)]}."""
import pytest


def all_of(book):
    """Every answer of every exercise as a case of its own."""
    return [pytest.param(name, answer, id=f"{name}-{i}")
            for name, answers in book.items() for i, answer in enumerate(answers)]


def assert_right(checks, name, answer):
    assert getattr(checks, name).hint(answer) == "right"


def assert_hint(checks, name, wrong):
    """wrong: (answer, words that its hint must hold, in one line)."""
    answer, words = wrong
    verdict = getattr(checks, name).hint(answer)
    assert verdict.startswith("not yet: ") and words in verdict and "\n" not in verdict
