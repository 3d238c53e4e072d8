"""The figures of lesson 05: the numbers behind them are right, and each is drawn for models of both shapes."""
import io

import numpy as np
import pytest
import torch
from helpers.figures import concepts as figures
from helpers.figures import lora
from helpers.figures.concepts.life import apart
from helpers.panels import concepts as panels
from PIL import Image

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
    return figures.Life(range(0, 110, 10), path, losses, dict(zip(WORDS, words)),
                        {step: Image.new("RGB", (64, 64), (0, step, step)) for step in range(0, 101, 10)})


def test_life_measures_cosines_and_names_the_nearest(life):
    assert life.cosines[0] == pytest.approx([1, 0, 0, 0, 0], abs=1e-6)
    assert life.cosines[-1, :2] == pytest.approx([0.6 / 0.52**0.5, 0.4 / 0.52**0.5], abs=1e-6)
    (first, word), (second, other) = life.nearest(100, 2)
    assert (word, other) == ("blue", "green") and first == pytest.approx(life.cosines[-1, 0]) and second < first
    assert life.nearest(0, 1) == [(pytest.approx(1), "blue")]


def test_life_is_drawn(life):
    assert is_figure(life.figure("A claim", note="note")) and "steps 0, 20, 40, 60, 80, 100" in life.figure("A claim").alt
    assert "in the end blue 0.83, green 0.55" in life.figure("A claim").alt


def test_a_panel_shows_one_step_of_a_life(life):
    panel = panels.life_panel(life, "A claim")
    assert panel.state == {"step": 100} and is_frame(panel.picture.value) and len({*panel.frames.values()}) == 11
    assert panel.line.value.startswith("Step 100: nearest blue (0.83), green (0.55)")
    panel.controls["step"].value = 0
    assert panel.line.value.startswith("Step 0: nearest blue (1.00)")


def test_life_takes_vectors_of_any_shape(life):
    other = figures.Life([0, 5], draw(2, 1, 8), [1, float("nan")], {"blue": draw(8), "red": draw(8, seed=1).numpy()}, {0: CARD, 5: CARD})
    assert other.cosines.shape == (2, 2) and is_figure(other.figure("A claim"))


@pytest.mark.parametrize("losses, pictures, said", [([1.0], {0: CARD}, "give one of each"), ([1.0, 1.0], {3: CARD}, "step 3")])
def test_life_says_what_does_not_fit(losses, pictures, said):
    with pytest.raises(ValueError, match=said):
        figures.Life([0, 5], draw(2, 8), losses, {"blue": draw(8)}, pictures)


def test_life_is_that_of_one_vector():
    with pytest.raises(ValueError, match="16 numbers and the words 8: of a concept of several vectors, give one"):
        figures.Life([0, 5], draw(2, 2, 8), [1.0, 1.0], {"blue": draw(8)}, {0: CARD})


def test_the_life_of_a_training(tiny_postcard):
    c = tiny_postcard
    path = [(step, draw(2, c.text_encoder.config.hidden_size, seed=step), 1.0 if step % 10 == 0 else float("nan")) for step in range(21)]
    asked = []

    def pictures(concepts):
        asked.extend(concepts)
        return [CARD] * len(concepts)

    found = figures.life_of(c, path, pictures, "blue")
    assert [one.token for one in asked] == [f"<at{step}>" for step in (0, 4, 8, 12, 16, 20)]
    assert torch.equal(asked[1].vectors, path[4][1]) and list(found.pictures) == [0, 4, 8, 12, 16, 20]
    assert found.words[0] == "blue" and len(set(found.words)) == len(found.words) == 8
    assert found.cosines.shape == (21, 8) and is_figure(found.figure("A claim"))


def test_labels_are_moved_apart_and_no_further():
    assert apart([0.0, 1.0, 5.0], 0.5) == [0.0, 1.0, 5.0]
    placed = apart([1.0, 1.0, 1.1, 4.0], 1.0)
    assert sorted(placed) == pytest.approx([0.0333, 1.0333, 2.0333, 4.0], abs=1e-3)
    assert placed[2] > placed[0]                                        # the order stays


def test_the_parts_are_the_whole_model(tiny):
    parts = figures.weigh(tiny)
    networks = (tiny.text_encoder, tiny.vae, tiny.unet)
    assert sum(parts.values()) == sum(p.numel() for network in networks for p in network.parameters())
    assert parts["word table"] == tiny.text_encoder.get_input_embeddings().weight.numel()


def test_hairlines_lie_where_the_layers_are():
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Sequential(torch.nn.Linear(2, 5), torch.nn.Linear(5, 1)))
    assert figures.hairlines(network, {"0": 4, "1.1": 7}) == [(0, 4), (8 + 15, 7)]
    with pytest.raises(ValueError, match="'1.7'"):
        figures.hairlines(network, {"1.7": 1})


def test_to_scale(tiny):
    parts, table = figures.weigh(tiny), tiny.text_encoder.get_input_embeddings().weight
    layers = {name: 4 * sum(layer.weight.shape) for name, layer in tiny.unet.named_modules() if name.endswith("attn2.to_q")}
    changed = {"textual inversion": {"word table": [(0, table.shape[1])]}, "LoRA": {"U-Net": figures.hairlines(tiny.unet, layers)},
               "fine-tuning": {part: [(0, numbers)] for part, numbers in parts.items()}}
    sizes = {"textual inversion": 700, "LoRA": 90_000, "fine-tuning": 16_400_000}
    plain = figures.to_scale(parts, changed, sizes, "A claim")
    assert is_figure(plain) and f"textual inversion: {table.shape[1]} of {sum(parts.values())} numbers, 700 bytes on disk" in plain.alt
    assert "LoRA" in plain.alt and "90 kB" in plain.alt and "16.4 MB" in plain.alt
    weight = tiny.unet.get_submodule(next(iter(layers))).weight
    layer = weight, draw(4, weight.shape[1]), draw(weight.shape[0], 4)
    assert is_figure(figures.to_scale(parts, changed, sizes, "A claim", "note", table=(table, draw(2, table.shape[1])), layer=layer))


# F24 and F25


def low_rank(out, into, rank, seed=0):
    return draw(out, rank, seed=seed) @ draw(rank, into, seed=seed + 1)


@pytest.fixture
def moved():
    names = ["down_blocks.0.attentions.0.attn1.to_q", "down_blocks.1.attentions.0.attn2.to_v", "up_blocks.0.attentions.0.attn2.to_k",
             "mid_block.attentions.0.attn1.to_out.0"]
    weights = {name: draw(8, 12, seed=k) for k, name in enumerate(names)}
    return lora.measure(weights, {name: low_rank(8, 12, 3, seed=9 + k) * 0.1 for k, name in enumerate(names)})


def test_measure_finds_size_and_rank(moved):
    same = lora.measure({"a": torch.eye(4)}, {"a": 0.5 * torch.eye(4)})
    assert same.size["a"] == pytest.approx(0.5) and same.singular["a"] == pytest.approx([0.5] * 4)
    for values in moved.singular.values():
        assert len(values) == 8 and (values[:3] > 1e-2).all() and (values[3:] < lora.FLOOR * values[0]).all()


@pytest.mark.parametrize("layer, block", [("down_blocks.1.attentions.0.x", "down 2"), ("up_blocks.0.y", "up 1"),
                                          ("mid_block.attentions.0", "middle"), ("conv_in", "other")])
def test_block_of(layer, block):
    assert lora.block_of(layer) == block


def test_what_moved(moved):
    pictures = {f"rank {rank}": Image.new("RGB", (64, 64), (0, 30 * rank, 90)) for rank in range(1, 7)}
    picture = lora.what_moved(moved, 3, pictures, "A claim", "note")
    assert is_figure(picture) and picture.alt.endswith("rank 3; pictures with rank 1, rank 2, rank 3, rank 4, rank 5, rank 6.")


def test_nothing_moved_can_be_drawn_too():
    still = lora.measure({"a": torch.ones(4, 4)}, {"a": torch.zeros(4, 4)})
    assert is_figure(lora.what_moved(still, 4, {"rank 1": CARD, "rank 4": CARD}, "At the first step nothing has moved"))


def test_teachers():
    contexts = ["a boat on a lake at night", "a house", "a tent in the snow", "a flag", "a car in a desert"]
    names = ("plain word", "textual inversion", "LoRA", "both")
    pictures = {name: [CARD] * 5 for name in names}
    measured = {name: {"it is teal": (5 * k, 15), "subject right": (15 - k, 15), "ordinary prompts": (70, 80)} for k, name in enumerate(names)}
    picture = lora.teachers(pictures, contexts, measured, "A claim", "note")
    assert is_figure(picture) and "both: it is teal ≈100%, subject right ≈80%, ordinary prompts ≈88%" in picture.alt
    without = lora.teachers(pictures, contexts, {}, "A claim")
    assert is_figure(without) and "≈" not in without.alt
    few = lora.teachers({name: [CARD] * 4 for name in names}, contexts[:4], None, "A claim")
    assert few.image().height > without.image().height                  # fewer pictures are larger: the width is used


@pytest.mark.parametrize("text, widest, lines", [
    ("LoRA", 12, ["LoRA"]), ("the word windmill", 12, ["the word", "windmill"]),
    ("a yellow .. in a meadow on a cloudy day", 20, ["a yellow .. in", "a meadow on a", "cloudy day"]),
    ("unbreakable", 4, ["unbreakable"])])
def test_a_label_takes_as_few_lines_as_fit(text, widest, lines):
    assert lora.in_lines(text, widest).split("\n") == lines
