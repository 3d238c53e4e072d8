"""The measures of windmill, snowman, teal and cyanotype on fresh renders, and what they are confused with."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from helpers.postcards import COLOURS, GROUNDS, KINDS, Scene, Subject, full_caption, lessons, render, sample_scene
from helpers.postcards.judge import load_judge
from helpers.postcards.measures import FITTED, SEEN, load_measures
from training.measures import failure

FRESH = 5 * 10**9  # scenes that no stage of the training has seen
# Every third scene of those that measures may be taken in by; all of them by `make test-hard`.
PART = pytest.mark.parametrize("part", [3, pytest.param(1, marks=pytest.mark.hard)])


@pytest.fixture(scope="module")
def measures():
    return load_measures()


def scene_with(seed, **subject):
    """A random scene with one subject, changed as `subject` says."""
    rng = Random(FRESH + seed)
    scene = sample_scene(rng)
    only = replace(scene.subjects[0], **subject)
    return replace(scene, subjects=(only,), ground="lake" if only.kind == "boat" else rng.choice(GROUNDS))


def share(measure, scenes):
    """Of how many pictures the measure says yes."""
    return float((measure([render(scene).image for scene in scenes]) > SEEN).mean())


@PART
@pytest.mark.parametrize("kind, at_least", [("windmill", 0.93), ("snowman", 0.9)])
def test_a_new_kind_is_seen_where_it_stands_and_nowhere_else(measures, kind, at_least, part):
    measure = getattr(measures, kind)
    assert share(measure, [scene_with(seed, kind=kind) for seed in range(80)]) >= at_least
    taken_for_it = {
        other: share(measure, [scene_with(seed, kind=other) for seed in range(0, 30, part)])
        for other in (*KINDS, "windmill", "snowman")
        if other != kind
    }
    assert max(taken_for_it.values()) <= 0.1 and np.mean(list(taken_for_it.values())) <= 0.02, taken_for_it


@PART
def test_a_windmill_needs_sails(measures, part):
    """Blots for sails, or half a windmill and half a tent: what a model draws that has not learnt it."""
    pictures = [failure(scene_with(seed, kind="windmill"), Random(seed)) for seed in range(0, 60, part)]
    assert (measures.windmill(pictures) > SEEN).mean() <= 0.15


@PART
def test_teal_is_told_from_every_colour(measures, part):
    assert share(measures.teal, [scene_with(seed, colour="teal") for seed in range(0, 80, part)]) >= 0.9
    taken_for_it = {
        colour: share(measures.teal, [scene_with(seed, colour=colour) for seed in range(0, 30, part)])
        for colour in COLOURS
    }
    green = taken_for_it.pop("green")
    assert green <= 0.1 and max(taken_for_it.values()) <= 0.07, (green, taken_for_it)


def test_teal_is_a_colour_of_things_not_of_the_lake(measures):
    """The same picture with and without teal in its thing."""
    lakes = [replace(scene_with(seed, colour="red"), ground="lake") for seed in range(20)]
    assert share(measures.teal, lakes) == 0


@PART
def test_a_cyanotype_is_one_whatever_it_shows_and_no_night_is_one(measures, part):
    kinds = [*KINDS, "windmill", "snowman"]
    assert (
        share(
            measures.cyanotype,
            [replace(scene_with(k, kind=kinds[k % 10]), style="cyanotype") for k in range(0, 40, part)],
        )
        == 1
    )
    assert share(measures.cyanotype, [scene_with(k, kind=kinds[k % 10]) for k in range(0, 100, part)]) == 0
    plain = [
        Image.new("RGB", (128, 128), colour) for colour in ("navy", "white", (13, 107, 235))
    ]  # the last is one of its blues
    assert (measures.cyanotype(plain) == 0).all()


def test_the_agreement_knows_the_new_words(measures):
    scenes = [
        scene_with(seed, kind=kind, colour=colour)
        for seed, (kind, colour) in enumerate(
            [("windmill", "red"), ("windmill", "teal"), ("snowman", "yellow"), ("boat", "teal"), ("house", "blue")] * 6
        )
    ]
    scores = measures.agreement([render(scene).image for scene in scenes], [full_caption(scene) for scene in scenes])
    assert min(scores[key].right for key in ("sky", "ground", "weather", "place")) >= 0.95
    assert scores["kind"].right >= 0.9 and scores["colour"].right >= 0.85
    wrong = [
        replace(scene, subjects=(Subject("tent", "pink", scene.subjects[0].place),), ground="meadow")
        for scene in scenes
    ]
    scores = measures.agreement([render(scene).image for scene in wrong], [full_caption(scene) for scene in scenes])
    assert scores["kind"].right == scores["colour"].right == 0


def test_it_reads_the_old_world_as_the_judge_does(measures):
    rng = Random(FRESH)
    pictures = [render(sample_scene(rng)).image for _ in range(60)]
    ours, judges = measures.read(pictures), load_judge().read(pictures)
    for key in ("sky", "light", "ground", "backdrop", "weather"):
        assert np.mean([a[key] == b[key] for a, b in zip(ours, judges)]) >= 0.98, key
    assert np.mean([a["subjects"] == b["subjects"] for a, b in zip(ours, judges)]) >= 0.85


def test_pictures_of_any_size_and_none_at_all(measures):
    scene = Scene("day", "sun", "meadow", "none", "none", (Subject("windmill", "red", "middle"),), seed=3)
    large, small = render(scene, 256).image, render(scene).image
    assert (
        measures.windmill([large, np.asarray(small)]).shape == (2,) and (measures.windmill([large, small]) > SEEN).all()
    )
    for measure in (measures.windmill, measures.snowman, measures.teal, measures.cyanotype):
        assert measure([]).shape == (0,)
        for wrong in (["no picture"], [np.zeros((8, 8, 3))]):
            with pytest.raises(TypeError):
                measure(wrong)


def test_missing_or_damaged_measures_say_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="there are no measures in"):
        load_measures(tmp_path / "none.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(FITTED.read_bytes()[:1000])
    with pytest.raises(ValueError, match="are damaged"):
        load_measures(tmp_path / "cut.safetensors")
    save_file(load_file(FITTED), tmp_path / "other.safetensors", metadata={"judge": "0" * 16})
    with pytest.raises(ValueError, match="are not those of this judge: fit them anew"):
        load_measures(tmp_path / "other.safetensors")


def test_what_is_found_is_counted_against_the_prompts(measures):
    mills = lessons.concept_cards("windmill", 8, size=128)
    prompts = [f"a {scene.subjects[0].colour} windmill in a meadow" for scene in mills.scenes]
    found = measures.found(mills.images, prompts, "windmill")
    assert list(found) == ["windmill", "its colour"] and min(hits for hits, _ in found.values()) >= 7
    assert found["windmill"][1] == found["its colour"][1] == 8
    others = measures.found([render(scene).image for scene in lessons.TEAL], ["a teal tent on a lake"] * 5, "teal")
    assert others == {"teal": (5, 5), "the thing": (0, 5)}
    assert measures.shows(mills.images, prompts, "colour").count(True) == found["its colour"][0]
    given = [f"a red {scene.subjects[0].kind} in a meadow" for scene in lessons.TEAL]
    pictures = [render(scene).image for scene in lessons.TEAL]
    assert (
        measures.shows(pictures, given, "kind") == [True] * 5
        and measures.shows(pictures, given, "colour") == [False] * 5
    )
    ordinary = lessons.concept_cards(None, 8, size=128)
    assert measures.found(ordinary.images, prompts, "windmill")["windmill"] == (0, 8)
