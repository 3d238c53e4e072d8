"""The figures of lesson 05: the numbers behind them are right, and each is drawn for models of both shapes."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.figures import concepts as figures
from helpers.figures import lora
from helpers.figures.concepts.life import apart
from helpers.panels import concepts as panels

CARD = Image.new("RGB", (128, 128), (0, 128, 128))
WORDS = ["blue", "green", "a lake", "boat", "red"]


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def is_figure(picture):
    array = np.asarray(picture.image())
    return array.shape[1] == 1152 and array.std() > 5 and len(picture.alt) > 40


def is_frame(png):
    return Image.open(io.BytesIO(png)).width == 864


@pytest.fixture
def life():
    """A vector that goes straight from its first word, some way to its second."""
    words = torch.linalg.qr(draw(32, 5))[0].T
    path = [words[0] + 0.4 * share * (words[1] - words[0]) for share in torch.linspace(0, 1, 11)]
    losses = [0.5 if step % 2 == 0 else float("nan") for step in range(11)]
    return figures.Life(
        range(0, 110, 10),
        path,
        losses,
        dict(zip(WORDS, words)),
        {step: Image.new("RGB", (64, 64), (0, step, step)) for step in range(0, 101, 10)},
    )


def test_life_measures_cosines_and_names_the_nearest(life):
    assert life.cosines[0] == pytest.approx([1, 0, 0, 0, 0], abs=1e-6)
    assert life.cosines[-1, :2] == pytest.approx([0.6 / 0.52**0.5, 0.4 / 0.52**0.5], abs=1e-6)
    (first, word), (second, other) = life.nearest(100, 2)
    assert (word, other) == ("blue", "green") and first == pytest.approx(life.cosines[-1, 0]) and second < first
    assert life.nearest(0, 1) == [(pytest.approx(1), "blue")]


def test_life_is_drawn(life):
    assert (
        is_figure(life.figure("A claim", note="note"))
        and "steps 0, 20, 30, 50, 70, 80, 100" in life.figure("A claim").alt
    )
    assert life.best == 0 and "lowest at step 0;" in life.figure("A claim").alt
    assert "in the end blue 0.83, green 0.55" in life.figure("A claim").alt


def test_a_panel_shows_one_step_of_a_life(life):
    life.pictures = {step: life.pictures[step] for step in (0, 50, 100)}
    panel = panels.life_panel(life, "A claim")
    assert panel.state == {"step": 100} and is_frame(panel.picture.value) and len({*panel.frames.values()}) == 3
    assert panel.line.value.startswith("Step 100: nearest blue (0.83), green (0.55)")
    panel.controls["step"].value = 0
    assert panel.line.value.startswith("Step 0: nearest blue (1.00)")


def test_life_takes_vectors_of_any_shape(life):
    other = figures.Life(
        [0, 5], draw(2, 1, 8), [1, float("nan")], {"blue": draw(8), "red": draw(8, seed=1).numpy()}, {0: CARD, 5: CARD}
    )
    assert other.cosines.shape == (2, 2) and is_figure(other.figure("A claim"))


@pytest.mark.parametrize(
    "losses, pictures, said", [([1.0], {0: CARD}, "give one of each"), ([1.0, 1.0], {3: CARD}, "step 3")]
)
def test_life_says_what_does_not_fit(losses, pictures, said):
    with pytest.raises(ValueError, match=said):
        figures.Life([0, 5], draw(2, 8), losses, {"blue": draw(8)}, pictures)


def test_life_is_that_of_one_vector():
    with pytest.raises(ValueError, match="16 numbers and the words 8: of a concept of several vectors, give one"):
        figures.Life([0, 5], draw(2, 2, 8), [1.0, 1.0], {"blue": draw(8)}, {0: CARD})


def test_the_life_of_a_training(tiny_postcard):
    c = tiny_postcard
    path = [
        (step, draw(2, c.text_encoder.config.hidden_size, seed=step), 30.0 - step if step % 10 == 0 else float("nan"))
        for step in range(21)
    ]
    asked = []

    def pictures(concepts):
        asked.extend(concepts)
        return [CARD] * len(concepts)

    found = figures.life_of(c, path, pictures, "blue")
    assert [one.token for one in asked] == ["<at0>", "<at10>", "<at20>"]  # where the loss was measured
    assert torch.equal(asked[1].vectors, path[10][1]) and list(found.pictures) == [0, 10, 20] and found.best == 20
    assert found.words[0] == "blue" and len(set(found.words)) == len(found.words) == 4
    assert found.cosines.shape == (21, 4) and is_figure(found.figure("A claim"))


def test_labels_are_moved_apart_and_no_further():
    assert apart([0.0, 1.0, 5.0], 0.5) == [0.0, 1.0, 5.0]
    placed = apart([1.0, 1.0, 1.1, 4.0], 1.0)
    assert sorted(placed) == pytest.approx([0.0333, 1.0333, 2.0333, 4.0], abs=1e-3)
    assert placed[2] > placed[0]  # the order stays


# F24 and F25


@pytest.mark.parametrize("shape, rank", [((64, 64), 8), ((128, 512), 4), ((320, 40), 1), ((4, 4), 4)])
def test_a_weight_and_what_stands_beside_it(shape, rank):
    picture = lora.beside_weight(draw(*shape), rank, "A claim")
    assert (
        is_figure(picture)
        and f"{shape[0]} by {shape[1]} stand B, {shape[0]} by {rank}, and A, {rank} by {shape[1]}" in picture.alt
    )


def test_rows_of_pictures():
    contexts = ["a boat on a lake at night", "a house", "a tent in the snow", "a flag", "a car in a desert"]
    names = ("plain word", "textual inversion", "LoRA", "both")
    pictures = {name: [CARD] * 5 for name in names}
    measured = {
        name: {"it is teal": (5 * k, 15), "subject right": (15 - k, 15), "ordinary prompts": (70, 80)}
        for k, name in enumerate(names)
    }
    picture = lora.picture_rows(pictures, contexts, measured, "A claim", "note")
    assert (
        is_figure(picture)
        and "; for both: it is teal 15 of 15, subject right 12 of 15, ordinary prompts 70 of 80." in picture.alt
    )
    without = lora.picture_rows(pictures, contexts, {}, "A claim")
    assert is_figure(without) and without.alt == "A claim. Rows: plain word, textual inversion, LoRA, both."
    assert (
        "A claim. All are teal. Rows" in lora.picture_rows(pictures, contexts, {}, "A claim", seen="All are teal.").alt
    )
    fewer = lora.picture_rows({name: [CARD] * 20 for name in names}, contexts * 4, measured, "A claim", "note", few=4)
    assert is_figure(fewer) and fewer.image().height >= picture.image().height
    beyond = lora.picture_rows({name: [CARD] * 24 for name in names}, contexts[:4], None, "A claim", few=4)
    assert is_figure(beyond)  # pictures of more prompts than were asked for
    plain = lora.picture_rows(pictures, (), None, "A claim")
    assert is_figure(plain) and plain.image().height < without.image().height  # no headers, and no room for them
    few = lora.picture_rows({name: [CARD] * 4 for name in names}, contexts[:4], None, "A claim")
    assert few.image().height > without.image().height  # fewer pictures are larger: the width is used


@pytest.mark.parametrize("every", [4, 5, 8, 11, 20, 24])
def test_the_columns_that_are_shown_are_spread_and_not_all_the_first_of_a_group(every):
    picks = [*lora.spread(every, 4)]
    steps = {b - a for a, b in zip(picks, picks[1:])}
    assert len(picks) == 4 and picks[0] == 0 and picks[-1] < every and len(steps) == 1
    assert every < 20 or len({pick % (every // 4) for pick in picks}) == 4


@pytest.mark.parametrize(
    "text, widest, lines",
    [
        ("LoRA", 12, ["LoRA"]),
        ("the word windmill", 12, ["the word", "windmill"]),
        ("a yellow .. in a meadow on a cloudy day", 20, ["a yellow .. in", "a meadow on a", "cloudy day"]),
        ("unbreakable", 4, ["unbreakable"]),
    ],
)
def test_a_label_takes_as_few_lines_as_fit(text, widest, lines):
    assert lora.in_lines(text, widest).split("\n") == lines
