"""Every check accepts right answers, however written; each mistake gets its own hint; nothing else comes through."""

import random
import re
import warnings

import numpy as np
import pytest
import torch
from exercises import EXERCISES, LESSONS
from made_up import made_up

from helpers.checks.base import Sheet

STUBS = {
    2: lambda a, b: ...,
    3: lambda a, b, c: None,
    4: lambda a, b, c, d=None: ...,
    5: lambda a, b, c, d, e: ...,
    6: lambda a, b, c, d, e, f: None,
    7: lambda a, b, c, d, e, f, g: ...,
}
KINDS = list(made_up(lambda: 0))
TRIALS = [(name, kind) for name in EXERCISES for kind in KINDS]
COMPARES = {
    "seam"
}  # any measure is right that gives one picture more than another, so what keeps their order is right, too
ORDER_STAYS = {
    f"right, {what}" for what in ("1.001 times", "0.999 times", "0.01 more", "twice", "huge", "rounded", "positive")
}
ONE_IN = 7  # of all trials so many in `make test`: every kind is tried on two or three checks


def cases(which):
    """Every right or wrong answer of every exercise as a case of its own."""
    return [
        pytest.param(exercise.check, answer, id=f"{name}-{i}")
        for name, exercise in EXERCISES.items()
        for i, answer in enumerate(getattr(exercise, which))
    ]


def test_every_exercise_is_numbered_and_has_answers_to_try():
    numbered = [sorted(module.sheet.right) for module in LESSONS.values()]
    assert len(LESSONS) == 5 and all(numbers == list(range(1, len(numbers) + 1)) for numbers in numbered)
    assert sum(map(len, numbered)) == len(EXERCISES)
    assert all(len(one.right) >= 2 and len(one.wrong) >= 3 for one in EXERCISES.values())


@pytest.mark.parametrize("check, answer", cases("right"))
def test_right_answers_are_accepted(check, answer):
    assert check.hint(answer) == "right"


@pytest.mark.parametrize("check, wrong", cases("wrong"))
def test_mistakes_get_their_own_hint(check, wrong):
    answer, words = wrong
    hint = check.hint(answer)
    assert hint.startswith("not yet: ") and words in hint and hint.isprintable()


def in_place(right, place):
    """The right answer, which then changes one of its arguments where that is a tensor or a list, and says so in `.changes`."""

    def answer(*arguments):
        result = right(*arguments)
        one = arguments[place] if place < len(arguments) else None
        if isinstance(one, torch.Tensor):
            one.copy_(~one if one.dtype == torch.bool else one + 1)
        elif isinstance(one, list):
            one.append(0)
        answer.changes |= isinstance(one, (torch.Tensor, list))
        return result

    answer.changes = False
    return answer


@pytest.mark.parametrize("name", EXERCISES)
def test_an_answer_that_changes_what_it_is_given_is_not_right_but_may_train_a_network(name):
    """A check hands out copies, and the cells below their own tensors."""
    exercise = EXERCISES[name]
    for place in range(min(answer.__code__.co_argcount for answer in exercise.right)):
        answer = in_place(exercise.right[0], place)
        verdict = exercise.check.hint(answer)
        told = re.match("not yet: (the numbers are right, but|.*;) your function (also )?changes .* itself", verdict)
        assert told if answer.changes else verdict == "right", (place, verdict)


def precisely(answer, dtype):
    """The answer with its tensors in another precision."""

    def cast(result):
        if isinstance(result, (tuple, list)):
            return type(result)(map(cast, result))
        return result.to(dtype) if isinstance(result, torch.Tensor) and result.is_floating_point() else result

    return lambda *arguments: cast(answer(*arguments))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16], ids=str)
@pytest.mark.parametrize("name", EXERCISES)
def test_an_answer_may_come_back_in_another_precision(name, dtype):
    exercise = EXERCISES[name]
    for answer in exercise.right:
        assert exercise.check.hint(precisely(answer, dtype)) == "right"
    assert not any(exercise.check.hint(precisely(answer, dtype)) == "right" for answer, words in exercise.wrong)


@pytest.mark.parametrize("name", EXERCISES)
def test_the_reader_s_own_settings_do_not_matter(name):
    """float64 as default, no gradients, another default device: right answers are right all the same."""
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
            assert {EXERCISES[name].check.hint(answer) for answer in EXERCISES[name].right} == {"right"}
            assert (torch.get_default_dtype(), torch.get_default_device().type) == (torch.float64, "meta")
            assert torch.is_autocast_enabled("cpu") and torch.is_inference_mode_enabled()
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_an_answer_may_compute_on_a_gpu():
    def move(thing, device):
        if isinstance(thing, (tuple, list)):
            return type(thing)(move(one, device) for one in thing)
        return thing.to(device) if isinstance(thing, torch.Tensor) else thing

    for name, exercise in EXERCISES.items():
        for answer in exercise.right:
            assert (name, exercise.check.hint(lambda *a: move(answer(*a), "cuda"))) == (name, "right")


@pytest.mark.parametrize("name", EXERCISES)
def test_hints_differ(name):
    """Mistakes of different words have different hints, also where one hint holds the words of another."""
    exercise = EXERCISES[name]
    hints = {exercise.check.hint(answer) for answer, words in exercise.wrong}
    assert len(hints) >= len({words for answer, words in exercise.wrong}) >= 3


@pytest.mark.parametrize("name", EXERCISES)
def test_an_untouched_stub_is_not_answered_yet(name, capsys):
    EXERCISES[name].check(STUBS[min(answer.__code__.co_argcount for answer in EXERCISES[name].right)])
    assert re.fullmatch(rf"Exercise \d+ \({name}\): not answered yet\.\n", capsys.readouterr().out)


def state():
    """What an answer can disturb."""
    return (
        torch.get_rng_state().tolist(),
        np.random.get_state()[1].tolist(),
        random.getstate(),
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.get_default_dtype(),
        torch.get_default_device(),
    )


def tried(name, kind, capsys):
    """The verdict on a made-up answer, after it has been held against all that must be true of any."""
    exercise, before = EXERCISES[name], state()
    answer = made_up(exercise.right[0])[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exercise.check(answer)
    assert state() == before
    out, err = capsys.readouterr()
    line = out.removesuffix("\n")
    assert err == "" and line.isprintable() and len(line) < 400
    number, verdict = re.fullmatch(rf"Exercise (\d+) \({name}\): (.+)", line).groups()
    assert verdict == "right." or verdict.startswith(("not yet: ", "not answered yet."))
    wrong = answer.wrong and not (name in COMPARES and kind in ORDER_STAYS)
    assert exercise.sheet.right[int(number)] == (verdict == "right.") == (not wrong), (kind, verdict)
    return verdict


@pytest.mark.parametrize("offset", range(10))
def test_made_up_answers(offset, capsys):
    for name, kind in TRIALS[::ONE_IN][offset::10]:
        tried(name, kind, capsys)


def test_many_answers_are_made_up():
    assert len(KINDS) >= 100 and len(TRIALS) >= 864


def test_an_interrupt_passes_through_and_counts_as_wrong(capsys):
    exercise = EXERCISES["ideal_denoiser"]

    def waits(*arguments):
        raise KeyboardInterrupt

    exercise.check(exercise.right[0])
    number = int(re.match(r"Exercise (\d+) ", capsys.readouterr().out)[1])
    assert exercise.sheet.right[number]
    with pytest.raises(KeyboardInterrupt):
        exercise.check(waits)
    assert not exercise.sheet.right[number]


@pytest.mark.parametrize(
    "answer, words",
    [
        (lambda x_t, data, abar: x_t, "; you return x_t as it came in"),
        (lambda x_t, data, abar: x_t.mul_(abar) + data[:6], "; your function also changes x_t itself: work on a copy"),
        (lambda x_t, data, abar: __import__("sys").exit(3), "sys.exit() (line 1 of your function): leave it out"),
        (lambda x_t, data, abar: x_t * float("nan"), "NaN or infinity in 12 of 12 places"),
    ],
)
def test_answers_that_do_nothing_are_told_so(answer, words):
    assert words in EXERCISES["ideal_denoiser"].check.hint(answer)


@pytest.mark.hard
@pytest.mark.parametrize("name", EXERCISES)
def test_all_made_up_answers(name, capsys):
    for kind in KINDS:
        tried(name, kind, capsys)


def test_progress_counts_own_right_answers_only(capsys):
    sheet = Sheet("01")

    @sheet.exercise(1, int)
    def double(answer):
        return None if answer(2) == 4 else "that is not twice as much"

    @sheet.exercise(2, int)
    def square(answer):
        return None if answer(3) == 9 else "that is not the square"

    double(lambda x: 2 * x)
    square(lambda x: x * x, counts=False)
    sheet.progress()
    double(lambda x: x)
    sheet.progress()
    assert capsys.readouterr().out.splitlines() == [
        "Exercise 1 (double): right.",
        "Worked solution of exercise 2 (square): right.",
        "1 of 2 exercises are right.",
        "Exercise 1 (double): not yet: that is not twice as much.",
        "0 of 2 exercises are right.",
    ]
    sheet.core = 1
    square(lambda x: x * x)
    sheet.progress()
    assert capsys.readouterr().out.endswith("1 of 2 exercises are right. On the core path: 0 of 1.\n")


def test_the_cells_below_use_the_readers_function_only_where_this_very_one_is_right(capsys):
    sheet = Sheet("01")

    @sheet.exercise(1, int)
    def double(answer):
        return None if answer(2) == 4 else "that is not twice as much"

    def double_solution(x):
        return 2 * x

    def own(x):
        return x + x

    def chosen(answer):
        found = sheet.yours_else(answer, double_solution)
        return found, capsys.readouterr().out.splitlines()[-1]

    worked = double_solution, "From here on, double is the worked solution."
    assert chosen(own) == worked  # not checked yet
    double(own, counts=False)
    assert chosen(own) == worked  # checked, but not as the reader's
    double(own)
    assert chosen(own) == (own, "From here on, double is yours.")
    assert chosen(lambda x: x + x) == worked  # written anew since, and not checked again
    double(lambda x: x)
    assert chosen(own) == worked  # the check has seen a wrong one last
