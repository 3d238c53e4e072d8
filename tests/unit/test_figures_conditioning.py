"""The figures of lesson 03: each is drawn, has words for those who do not see it, and says what is true."""

import numpy as np
import pytest
import torch

from helpers.attention import Layer, MapScore, each_layer
from helpers.conditioning import split_prompt
from helpers.figures import attention as maps
from helpers.figures import conditioning as figures
from helpers.figures.attention.maps import corner
from helpers.figures.attention.places import keep_top
from helpers.figures.style import Picture
from helpers.postcards import Scene, Subject, render

CARD = render(Scene("day", "sun", "lake", "none", "none", [Subject("boat", "red", "left")]))


def good(picture):
    assert isinstance(picture, Picture) and picture.png.startswith(b"\x89PNG") and len(picture.alt) > 30
    return picture


@pytest.mark.parametrize("prompt", ["a red boat", "", "red " * 90, "a zebra"])
def test_ruler(tiny_postcard, prompt):
    tokens = split_prompt(tiny_postcard.tokenizer, prompt)
    assert "77 positions" in good(figures.ruler(tokens, torch.randn(77, 8), torch.randn(77, 8))).alt


def test_thermostat_and_its_loss():
    cosines = torch.eye(4)
    good(figures.thermostat([CARD.image] * 4, ["a card"] * 4, cosines, 5.0, 20.0, [(0, 1)]))
    expected = np.log(1 + 3 * np.exp(-10))
    assert figures.contrast(np.eye(4), 10) == pytest.approx(expected, abs=1e-6)
    one_way = np.array([[0.7, 0.75], [0.6, 0.7]])  # a picture errs, and a caption
    assert (
        "in 1 of 2 rows and 1 of 2 columns"
        in good(figures.thermostat([CARD.image] * 2, ["a", "b"], one_way, 5.0, 20.0)).alt
    )
    assert np.allclose(figures.softmax(one_way, 0).sum(0), 1) and np.allclose(figures.softmax(one_way, 1).sum(1), 1)
    assert figures.cosine_texts(np.array([[0.7361, -0.35], [-0.001, 1.0]]), [(0, 0)]) == [["73.6", "-35"], ["0", "100"]]


def test_subtraction_and_walk():
    near = {"red": 0.6, "pink": 0.3}
    good(figures.subtraction([(CARD.image, CARD.image, "red", "blue", near)] * 2, "a note"))
    many = {f"word {k}": 1 - k / 20 for k in range(17)} | {"left": 0.1}
    drawn = figures.subtraction([(CARD.image, CARD.image, "left", "right", many)])
    assert (
        drawn.png != figures.subtraction([(CARD.image, CARD.image, "up", "right", many)]).png
    )  # the changed word has a bar
    good(
        figures.walk_strip(
            [CARD.image] * 3, [CARD.image] * 3, [0, 0.5, 1], {"straight": [1, 0.5, 1], "spherical": [1, 1, 1]}
        )
    )


def test_tallies_say_in_words_what_was_counted_and_what_chance_gives():
    found = {"all": {"object": (12, 1.25), "colour": (12, 2.0)}, "none": {"object": (0, 1.0), "colour": (3, 2.0)}}
    alt = good(figures.tallies(found, 12, ["object"], "It is there")).alt
    assert (
        alt
        == "It is there. Of 12 pictures, the judge counts all: object 12 (by chance 1.2); none: object 0 (by chance 1.0)."
    )
    found["none"]["object"] = 0, None  # no level by chance: none is drawn, none is said
    assert figures.tallies(found, 12, ["object"], "t").alt.endswith("none: object 0.")
    assert figures.tallies(found, 12, ["object", "colour"], "t").png != figures.tallies(found, 12, ["object"], "t").png


def test_a_map_is_drawn_where_its_object_and_its_peaks_are():
    mask = np.zeros((128, 128), bool)
    mask[100:120, 5:25] = True
    (top, left), side = corner(mask, [(110, 10)])
    assert top <= 100 and left <= 5 and top + side >= 120 and left + side >= 25 and side < 40
    (top, left), side = corner(mask, [(2, 120)])  # a miss, far away: all but all of the picture
    assert top <= 2 and left <= 5 and left + side > 120 and top + side >= 120 and side <= 128


def test_maps_of_words():
    heat = np.random.default_rng(0).random((32, 32))
    corner_of = np.eye(32)[31:].T * np.eye(32)[0]  # 1 in the last row, first column
    alt = good(maps.word_sheet(CARD.image, {"boat": corner_of, "red": np.eye(1, 9, 4) * np.eye(9)[4][:, None]})).alt
    assert alt.endswith("Highest: boat at the lower left, red in the middle.")
    big = np.kron(heat, np.ones((4, 4)))
    ways = {"a": (big, True, 0.5), "b": (big, False, 0.1)}
    good(maps.pooled_ways(CARD.image, CARD.masks["boat"], ways, "boat"))
    assert maps.explorer_frame(CARD.image, heat).startswith(b"\x89PNG")
    overlay = maps.blend(CARD.image, np.zeros((32, 32)))
    assert overlay.size == (32, 32) and np.ptp(np.asarray(overlay), axis=2).max() == 0  # grey
    some = [
        np.asarray(maps.blend(CARD.image, np.full((32, 32), share))).astype(int) for share in (0, 0.25, 0.5, 0.75, 1)
    ]
    for less, more in zip(some, some[1:]):
        assert ((more[..., 0] - more[..., 2]) > (less[..., 0] - less[..., 2])).all()  # the more is read, the yellower


def test_places(tiny_postcard):
    points = maps.rings(CARD.masks)
    for name, (row, column) in points.items():
        assert CARD.masks[name][row, column]
    assert list(maps.rings(CARD.masks, 2)) == list(points)[:2]
    grid = np.random.default_rng(0).random((16, 16, 77))
    grid /= grid.sum(-1, keepdims=True)
    assert maps.read_at(points, 128, grid).shape == (len(points), 77)
    tokens = split_prompt(tiny_postcard.tokenizer, "a red boat")
    good(maps.dot_grid(CARD.image, points, grid, tokens, {"up 0": (0.5, 0.2, 0.1, 0.2)}, "a note", 0.9))
    stages = {name: np.random.default_rng(1).dirichlet([1] * 5, len(points)) for name in "abc"}
    assert (
        f"≈{100 * np.sort(stages['b'])[:, -2:].sum(1).min():.0f} % at least"
        in good(maps.three_stages(points, ["start", "a", "red", "boat", "end"], stages)).alt
    )


def test_the_drawing_of_attention_names_the_shapes_of_a_layer():
    alt = good(maps.attention_plan(256, 64, 77, 128, 4)).alt
    assert "256 cells become queries" in alt and "77 tokens keys" in alt
    good(maps.attention_plan(4096, 320, 77, 768, 8))  # Stable Diffusion 1.5's finest


def test_the_top_share():
    rows = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
    assert keep_top(rows, 0.5).tolist() == [[True, False, False], [False, False, True]]
    assert keep_top(rows, 0.75).tolist() == [[True, True, False], [False, False, True]]
    assert keep_top(rows, 1.0).all()


def test_report_card():
    layers = [Layer("mid_block.attentions.0.attn2", 8, 8), Layer("up_blocks.1.attentions.0.attn2", 16, 16)]
    names = ["default", "shuffled words", "centre prior", *each_layer(layers, (700, 100))]
    scores = {
        "subjects": {name: MapScore(0.5, 0.3, 40, 30, 0.2) for name in names},
        "sky": dict.fromkeys(names, MapScore(1.0, 0.3, 1)),
    }  # a single card has no chance
    good(maps.report_card(scores, layers, (700, 100)))
    assert maps.short_name(layers[1].name) == "up 1.0"
