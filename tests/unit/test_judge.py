"""The judge's arithmetic, on made-up readings, and how its files are read."""

import math
from dataclasses import replace
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.postcards import Scene, Subject, caption, read_caption, sample_scene
from helpers.postcards.judge import (
    EACH_PLACE,
    PLACES,
    WHOLE,
    Judge,
    Reader,
    Score,
    compare,
    in_words,
    load_judge,
    only_gone,
    tally,
    truth,
)
from training.judge import accuracy, answers, roughen, save_judge


def reading(**changes):
    return {
        "sky": "sunset",
        "light": "sun",
        "ground": "lake",
        "backdrop": "none",
        "weather": "none",
        "subjects": {"left": ("red", "boat"), "right": ("blue", "house")},
    } | changes


def scores(text, seen):
    return {key: score for key, score in compare([seen], [read_caption(text)]).items() if score.n}


def test_only_what_is_named_counts():
    assert scores("a red boat at sunset", reading()) == {key: Score(1.0, 1) for key in ("sky", "kind", "colour")} | {
        "mean": Score(1.0, 3)
    }
    assert scores("something else", reading()) == {}


def test_each_attribute_can_be_wrong_alone():
    text = "a red boat on the left on a lake at sunset"
    wrong = {
        "sky": dict(sky="day"),
        "ground": dict(ground="meadow"),
        "colour": dict(subjects={"left": ("pink", "boat")}),
        "place": dict(subjects={"middle": ("red", "boat")}),
    }
    for key, change in wrong.items():
        got = scores(text, reading(**change))
        assert {k for k, score in got.items() if score.right < 1} == {key, "mean"}, key
        assert got["mean"] == Score(0.8, 5)
    assert scores(text, reading(subjects={"left": ("red", "house")}))["kind"] == Score(0.0, 1)


def test_swapped_colours_break_the_binding_and_not_the_kinds():
    text = "a red boat on the left and a blue house"
    right, swapped = (
        scores(text, reading()),
        scores(text, reading(subjects={"left": ("blue", "boat"), "right": ("red", "house")})),
    )
    assert right["binding"] == Score(1.0, 1) and swapped["binding"] == Score(0.0, 1)
    assert swapped["kind"] == Score(1.0, 2) and swapped["colour"] == Score(0.0, 2) and swapped["place"] == Score(1.0, 1)
    assert "binding" not in scores("a red boat", reading()) and "binding" not in scores(
        "a red boat and a house", reading()
    )


def test_a_truthful_reading_agrees_with_every_caption():
    rng = Random(0)
    scenes = [sample_scene(rng) for _ in range(200)]
    got = compare([truth(s) for s in scenes], [read_caption(caption(s, rng)) for s in scenes])
    assert all(score.right == 1 and score.n > 0 for score in got.values())
    shuffled = compare([truth(s) for s in scenes[1:]], [read_caption(caption(s, rng)) for s in scenes[:-1]])
    assert all(score.right < 0.6 for score in shuffled.values())


def test_nothing_asked_is_no_number():
    score = compare([], [])["sky"]
    assert score.n == 0 and math.isnan(score.right)


def test_read_takes_pictures_of_any_size_and_nothing_else():
    torch.manual_seed(0)
    judge = Judge(Reader())
    images = [Image.new("RGB", (128, 128), "navy"), np.zeros((64, 64, 3), np.uint8), Image.new("L", (200, 100))]
    readings = judge.read(images, batch=2)
    assert len(readings) == 3 and readings[:1] == judge.read(images[:1])
    for one in readings:
        assert all(one[key] in words for key, words in WHOLE.items())
        assert set(one["subjects"]) <= set(PLACES)
    for wrong in (images[0], images[1], ["no picture"], [np.zeros((8, 8, 3))]):
        with pytest.raises(TypeError):
            judge.read(wrong)
    with pytest.raises(ValueError, match="3 pictures and 1 prompts"):
        judge.agreement(images, ["a red boat"])
    with pytest.raises(ValueError, match="3 pictures and 1 prompts"):
        judge.shares(images, ["a red boat"])


def test_shares_are_of_each_picture(monkeypatch):
    judge, images = Judge(Reader()), [Image.new("RGB", (8, 8))] * 3
    monkeypatch.setattr(judge, "read", lambda pictures: [reading(), reading(sky="day"), reading()])
    prompts = ["a red boat at sunset", "a red boat at sunset", "something else"]
    shares = judge.shares(images, prompts)
    assert shares[:2] == pytest.approx([1, 2 / 3]) and math.isnan(shares[2])
    mean = judge.agreement(images, prompts)["mean"]
    assert mean.right == pytest.approx(np.nanmean(shares)) and mean.n == 6


def test_answers_are_the_scene():
    scene = sample_scene(Random(3))
    right = answers(scene)
    assert {key: WHOLE[key][right[key]] for key in WHOLE} == {key: getattr(scene, key) for key in WHOLE}
    named = {
        place: (EACH_PLACE["colour"][c], EACH_PLACE["kind"][k])
        for place, c, k in zip(PLACES, right["colour"], right["kind"])
    }
    assert {p: s for p, s in named.items() if s != ("none", "none")} == truth(scene)["subjects"]


def test_accuracy_of_a_perfect_and_of_a_blind_judge():
    scenes = [sample_scene(Random(i)) for i in range(50)]

    class Perfect:
        read = staticmethod(lambda images: [truth(scenes[i]) for i in images])

    class Blind:
        read = staticmethod(lambda images: [truth(scenes[0]) | {"subjects": {}} for i in images])

    assert set(accuracy(Perfect, range(50), scenes).values()) == {1.0}
    assert accuracy(Blind, range(50), scenes)["colour"] == 0 and accuracy(Blind, range(50), scenes)["place"] == 0


def test_roughen_keeps_shape_and_range():
    torch.manual_seed(0)
    x = torch.rand(4, 3, 128, 128) * 2 - 1
    y = roughen(x)
    assert y.shape == x.shape and 0 < (y - x).abs().mean() < 1.5 and not torch.equal(x, y)


def test_saved_and_loaded_judges_read_alike(tmp_path):
    torch.manual_seed(0)
    reader = Reader((8, 16, 16, 16))
    save_judge(reader, tmp_path / "judge")
    images = [Image.effect_noise((128, 128), 80).convert("RGB")]
    assert load_judge(tmp_path / "judge").read(images) == Judge(reader).read(images)


def test_a_missing_or_damaged_judge_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="no judge in"):
        load_judge(tmp_path)
    save_judge(Reader((8, 16, 16, 16)), tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match="is damaged"):
        load_judge(tmp_path)


def scene(kind, colour, sky="day", ground="lake"):
    return Scene(sky, "none", ground, "none", "none", [Subject(kind, colour, "left")])


def test_a_tally_counts_what_was_asked_for_and_what_chance_finds():
    scenes = [scene("boat", "red"), scene("house", "blue", "night"), scene("tree", "green", "day", "desert")]
    readings = [truth(one) for one in scenes]
    assert tally(readings, scenes) == {
        "object": (3, 0.0),
        "another object": (0, None),
        "colour": (3, 0.0),
        "sky and ground": (3, 0.0),
        "unasked weather": (0, None),
    }
    readings[0] = truth(scene("tent", "red"))  # replaced, colour and scenery kept
    readings[1] = truth(scenes[1]) | {"subjects": {}, "sky": "day"}  # nothing there, under the first one's sky
    readings[2] = readings[2] | {"weather": "rain"}
    assert tally(readings, scenes) == {
        "object": (1, 0.0),
        "another object": (1, None),
        "colour": (2, 0.0),
        "sky and ground": (2, 0.5),
        "unasked weather": (1, None),
    }
    scenes[2] = replace(scenes[2], weather="rain")  # asked for
    assert tally(readings, scenes)["unasked weather"] == (0, None)
    with pytest.raises(ValueError, match="give one scene for each reading"):
        tally(readings, scenes[:2])


def test_one_object_gone_and_nothing_else():
    both = Scene(
        "day", "none", "lake", "none", "none", [Subject("boat", "red", "left"), Subject("tree", "green", "right")]
    )
    assert not only_gone(truth(both), both, "tree")
    left = truth(both) | {"subjects": {"left": ("red", "boat")}}
    assert only_gone(left, both, "tree") and in_words(truth(both)) == "red boat and green tree"
    assert not only_gone(left | {"sky": "night"}, both, "tree")
    assert not only_gone(left | {"subjects": {"left": ("blue", "boat")}}, both, "tree")
    assert not only_gone(
        left | {"subjects": {"left": ("red", "boat"), "right": ("green", "house")}}, both, "tree"
    )  # replaced
    assert in_words(truth(both) | {"subjects": {}}) == "no object"
