"""The benchmark of learning: its stopwatch, that it trains what the lessons train. No time is asserted."""

import ast
import inspect
import json
import re

import pytest

from benchmarks import learning, measure
from benchmarks.lessons import NOTEBOOKS, Lesson, code_cells, source

CLOCK = """from helpers.panels import Progress
now = [0.0]
def work(step):
    now[0] += 2.0
    return step"""
RUN = """done = []
for turn in ("first", "second"):
    progress = Progress(4)
    for step in range(1, 5):
        done.append(work(step))
        progress.update(step, "some words")"""


@pytest.fixture
def lesson(tmp_path, monkeypatch):
    """A lesson whose step takes two seconds on a clock of its own."""
    cells = [{"cell_type": "code", "source": text, "outputs": []} for text in (CLOCK, RUN, "raise ValueError")]
    (tmp_path / "07_try.ipynb").write_text(json.dumps({"cells": cells}))
    lesson = Lesson(tmp_path / "07_try.ipynb")
    (clock,) = lesson.bind("now")
    monkeypatch.setattr(learning.time, "perf_counter", lambda: 100 + clock[0])
    return lesson


def test_the_watch_takes_the_bar_s_place_and_stands_still_while_quality_is_measured(lesson):
    def quality():
        lesson.names["now"][0] += 50.0
        return {lesson.names["turn"]: len(lesson.names["done"])}

    watch = learning.Stopwatch(quality, (0.25,))
    learning.train(lesson, "progress.update(", watch)
    assert watch.by_label(0) == {"first": [(1, 2.0, 1), (4, 8.0, 4)]}
    assert watch.by_label(1) == {"second": [(1, 2.0, 5), (4, 8.0, 8)]}  # each training counts from its own start


def test_a_try_ends_early(lesson):
    watch = learning.Stopwatch(lambda: {"done": len(lesson.names["done"])}, (), most=0.5)
    learning.train(lesson, "progress.update(", watch)
    assert watch.by_label() == {"done": [(2, 4.0, 2)]} and len(watch.curves) == 1


def test_a_training_that_is_not_there_is_named(lesson):
    with pytest.raises(ValueError, match="Lesson 07 has no statement with 'windmill'"):
        learning.train(lesson, "windmill", learning.Stopwatch(dict, ()))


@pytest.mark.parametrize(
    "number, text",
    [
        ("01", "progress.update("),
        ("02", learning.TINY_VAE),
        ("05", "looking for <mine>"),
        ("05", "a LoRA for windmills"),
    ],
)
def test_the_lessons_train_where_the_benchmark_looks(number, text):
    cells = [source(cell) for file in NOTEBOOKS if file.name.startswith(number) for cell in code_cells(file)]
    assert any(text in cell for cell in cells)


@pytest.mark.parametrize("number, training", learning.TRAININGS)
def test_the_lessons_have_the_names_that_the_benchmark_asks_for(number, training):
    (lesson,) = (Lesson(file) for file in NOTEBOOKS if file.name.startswith(number))
    nodes = [node for line in lesson.lines for node in ast.walk(ast.parse(line["source"]))]
    bound = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    bound |= {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.alias))}
    asked = re.findall(r'"(\w+)"', "".join(re.findall(r"lesson\.bind\(.*\)", inspect.getsource(training))))
    assert asked and set(asked) <= bound, set(asked) - bound


def test_what_was_measured_is_what_the_lessons_train():
    """So many steps, with these betas: run the benchmark again where this fails."""
    kept = json.loads((measure.RESULTS / "learning.json").read_text(encoding="utf-8"))
    for row in kept["rows"]:
        (lesson,) = (Lesson(file) for file in NOTEBOOKS if file.name[:2] == re.search(r"\d\d", row["training"])[0])
        settings = [line["source"] for line in lesson.lines if re.search(r"\b(STEPS|TURNS)\b.* = ", line["source"])]
        said = {one.value for text in settings for one in ast.walk(ast.parse(text)) if isinstance(one, ast.Constant)}
        beta = re.search(r"beta ([\d.]+)", row["quality"])
        assert {row["steps"], *([float(beta[1])] if beta else [])} <= said, row


@pytest.fixture
def done():
    rising = [(step, step / 8, step / 320) for step in range(0, 321, 40)]
    falling = [(step, seconds, 1.01 - quality) for step, seconds, quality in rising]
    betas = {f"beta {k}": [(step, seconds + k, 10 + q) for step, seconds, q in rising] for k in range(3)}
    return [
        learning.Training("a denoiser", "loss above the best", {"loss": falling}, better="down"),
        learning.Training("a VAE", "PSNR, dB", betas),
        learning.Training(
            "teal",
            "share of 25 pictures",
            {"teal": rising, "subject right": rising},
            (0.8, "asked: 80 %"),
            asked="80 %",
        ),
    ]


def test_two_measures_of_one_run_count_its_seconds_once(done):
    assert [learning.seconds_of(one) for one in done] == [40, 40 + 41 + 42, 40]


def test_claims_say_what_was_reached(done):
    assert learning.claim(done[0])["measured"] == "40 s; loss above the best: loss 1%"
    teal = learning.claim(done[2])
    assert (teal["what"], teal["asked"]) == ("teal", "80 %")
    assert teal["measured"] == "40 s; share of 25 pictures: teal 100%; subject right 100%"
    assert [row["at the end"] for one in done for row in learning.rows(one)][1:] == [11, 11, 11, 1, 1]


def test_the_picture_is_small_and_names_that_would_touch_are_apart(done):
    assert len(learning.figure(done, "a claim", "a machine").png) < 80_000
    from helpers.figures import style

    ax = style.place(style.new_figure(3), 1, 1, 2, 1)
    ax.set_ylim(0, 1)
    places = sorted(learning.apart(ax, done[2]).values())
    assert all(b - a > 0.09 for a, b in zip(places, places[1:])) and places[-1] <= 1.001
