"""The postcard world: what a scene may hold, that masks tell the truth, that captions say only what is there."""

import functools
import hashlib
from dataclasses import replace
from random import Random

import numpy as np
import pytest

from helpers.postcards import Scene, Subject, caption, full_caption, phrases, read_caption, render, sample_scene
from helpers.postcards.canvas import BLUES, LUMINANCE, coverage, ellipse
from helpers.postcards.scene import COLOURS, HELDOUT_PAIRS, KEPT_OUT, KINDS, PLACES, WHOLE
from helpers.postcards.subjects import PAINTS

SCENES = [sample_scene(Random(seed)) for seed in range(150)]
MANY = [sample_scene(Random(10_000 + seed)) for seed in range(4000)]
LAKE = Scene(
    "day",
    "sun",
    "lake",
    "snowy mountains",
    "none",
    (Subject("boat", "red", "left"), Subject("house", "blue", "right")),
    seed=1,
)


def subject_scene(kind, colour, **changes):
    base = dict(
        sky="day", light="none", ground="lake" if kind == "boat" else "meadow", backdrop="none", weather="none", seed=5
    )
    return Scene(subjects=(Subject(kind, colour, "middle"),), **(base | changes))


# Scenes


def test_training_scenes_never_hold_what_was_kept_out():
    for scene in MANY:
        assert scene.style == "flat"
        for s in scene.subjects:
            assert (s.colour, s.kind) not in HELDOUT_PAIRS
            assert s.kind in KINDS and s.colour in COLOURS


def test_heldout_pairs_are_a_tenth_and_leave_every_kind_and_colour_in_training():
    assert len(HELDOUT_PAIRS) == round(len(COLOURS) * len(KINDS) / 10)
    assert all(sum(kind == k for _, kind in HELDOUT_PAIRS) <= 2 for k in KINDS)
    assert all(sum(colour == c for colour, _ in HELDOUT_PAIRS) <= 2 for c in COLOURS)


def test_heldout_scenes_lead_with_a_heldout_pair():
    for seed in range(300):
        first = sample_scene(Random(seed), split="heldout").subjects[0]
        assert (first.colour, first.kind) in HELDOUT_PAIRS


def test_attributes_are_spread_evenly():
    for values, pick in (
        (WHOLE["sky"], lambda s: s.sky),
        (WHOLE["backdrop"], lambda s: s.backdrop),
        (KINDS, lambda s: s.subjects[0].kind),
        (PLACES, lambda s: s.subjects[0].place),
    ):
        share = np.array([sum(pick(s) == v for s in MANY) for v in values]) / len(MANY)
        assert np.abs(share - 1 / len(values)).max() < 4 * np.sqrt(1 / len(values) / len(MANY))
    assert 0.22 < sum(len(s.subjects) == 2 for s in MANY) / len(MANY) < 0.28
    assert all({getattr(s, name) for s in MANY} == set(values) for name, values in WHOLE.items())


def test_colour_and_kind_are_independent_of_the_rest():
    night = [s for s in MANY if s.sky == "night"]
    for colour in COLOURS:
        all_share = sum(s.subjects[0].colour == colour for s in MANY) / len(MANY)
        assert abs(sum(s.subjects[0].colour == colour for s in night) / len(night) - all_share) < 0.05


@pytest.mark.parametrize(
    "changes, sentence",
    [
        (dict(sky="evening"), 'sky="evening"'),
        (dict(light="full moon"), "does not go with"),
        (dict(ground="desert"), "a boat needs"),
        (dict(subjects=()), "one or two subjects"),
        (dict(style="cubist"), 'style="cubist"'),
        (dict(subjects=(Subject("tree", "red", "left"), Subject("car", "blue", "left"))), "same place"),
        (dict(subjects=(Subject("tree", "red", "left"), Subject("tree", "blue", "right"))), "same kind"),
        (dict(subjects=(Subject("cat", "red", "left"),)), 'kind="cat"'),
        (dict(subjects=(Subject("car", "beige", "left"),)), 'colour="beige"'),
    ],
)
def test_impossible_scenes_are_refused_in_a_sentence(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        replace(LAKE, **changes)


def test_unknown_split_and_size():
    with pytest.raises(ValueError, match='split="test"'):
        sample_scene(Random(0), split="test")
    for size in (8, 100.0):
        with pytest.raises((TypeError, ValueError), match="size must"):
            render(LAKE, size=size)


# Pictures and masks


def test_same_scene_same_pixels():
    digest = hashlib.sha256()
    for scene in SCENES[:24]:
        digest.update(np.asarray(render(scene).image).tobytes())
    assert digest.hexdigest()[:16] == "7d6d9cfab39a6c6e"


@functools.cache
def masks_of(scene):
    """Of one of SCENES. Do not change them."""
    return render(scene).masks


def test_masks_share_out_the_picture():
    for scene in SCENES:
        masks = dict(masks_of(scene))
        weather = masks.pop("weather", None)
        assert np.all(sum(m.astype(int) for m in masks.values()) == 1)  # disjoint, and their union is the picture
        assert (weather is None) == (scene.weather == "none")


def test_everything_named_is_seen():
    for scene in SCENES:
        masks = masks_of(scene)
        for thing in phrases(scene):
            least = {"light": 30, "sky": 500, "ground": 500, "backdrop": 200, "weather": 150}.get(thing, 130)
            assert masks[thing].sum() >= least, (thing, masks[thing].sum(), scene)


def test_masks_move_with_their_subject():
    """Paint the boat in another colour: only pixels of the boat, of its reflection below it and of soft edges change."""
    other = replace(LAKE, subjects=(Subject("boat", "green", "left"), LAKE.subjects[1]))
    a, b = render(LAKE), render(other)
    moved = np.abs(np.asarray(a.image, int) - np.asarray(b.image, int)).max(-1) > 12
    boat = a.masks["boat"]
    grown = np.pad(boat, 1)
    grown = np.any([grown[i : i + 128, j : j + 128] for i in range(3) for j in range(3)], axis=0)
    outside = moved & ~grown
    assert boat.any() and (a.masks["boat"] == b.masks["boat"]).all()
    assert not outside[~a.masks["ground"]].any()  # what else changed is water
    assert (moved & boat).sum() > 0.45 * boat.sum()


@pytest.mark.parametrize("kind", KINDS + KEPT_OUT["kind"])
@pytest.mark.parametrize("colour", COLOURS + KEPT_OUT["colour"])
def test_a_subject_has_its_colour(kind, colour):
    """Of all colours, the subject's own three tones explain most of the pixels in its mask."""
    card = render(subject_scene(kind, colour))
    pixels = np.asarray(card.image)[card.masks[kind]] / 255.0
    close = {
        name: (np.abs(pixels[:, None] - np.stack(tones)).max(-1).min(1) < 0.06).mean() for name, tones in PAINTS.items()
    }
    assert close[colour] > 0.15
    if kind not in ("snowman", "windmill"):  # which are white for the most part
        assert max(close, key=close.get) == colour or colour in ("white", "black")


def test_place_is_where_the_mask_is():
    for scene in SCENES:
        masks = masks_of(scene)
        for s in scene.subjects:
            x = np.nonzero(masks[s.kind])[1].mean() / 128
            assert PLACES[min(int(x * 3), 2)] == s.place


def test_size_changes_only_the_size():
    small, large = render(LAKE, 64), render(LAKE, 256)
    shrunk = np.asarray(large.image.resize((64, 64), 4), float)
    assert large.image.size == (256, 256) and np.abs(shrunk - np.asarray(small.image, float)).mean() < 4


def test_a_cyanotype_is_the_picture_in_one_ink():
    card, flat = render(replace(LAKE, style="cyanotype")), render(LAKE)
    pixels, bright = np.asarray(card.image, float) / 255, np.asarray(flat.image, float) / 255 @ LUMINANCE
    ramp = np.stack([np.interp(bright, (0, 0.5, 1), BLUES[:, k]) for k in range(3)], -1)
    assert np.abs(pixels - ramp).max() < 3 / 255
    assert all((card.masks[thing] == mask).all() for thing, mask in flat.masks.items())


def test_coverage_of_known_shapes():
    rows, columns, alpha = coverage([[(0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75)]], 64)
    assert (rows, columns) == (slice(16, 48), slice(16, 48)) and (alpha == 1).all()
    assert abs(coverage([ellipse(0.5, 0.5, 0.3, n=200)], 128)[2].sum() / 128**2 - np.pi * 0.09) < 1e-3
    two = coverage([[(0, 0), (1, 0), (1, 1), (0, 1)], [(0, 1), (1, 1), (1, 0), (0, 0)]], 16)[2]
    assert (two == 1).all()  # opposite turns add up, they do not cancel
    assert coverage([[(2, 2), (3, 2), (3, 3)]], 16) is None


# Captions


def test_captions_say_only_what_is_there():
    for k, scene in enumerate(MANY[:800]):
        rng = Random(k)
        for text in (caption(scene, rng), full_caption(scene, rng)):
            named = read_caption(text)
            for colour, kind, place in named.pop("subjects"):
                match = [s for s in scene.subjects if s.kind == kind]
                assert match and match[0].colour == colour and place in (None, match[0].place)
            assert all(getattr(scene, key) == value for key, value in named.items())


def test_full_captions_say_everything():
    for scene in MANY[:400]:
        named = read_caption(full_caption(scene, Random(1)))
        assert named["subjects"] == [(s.colour, s.kind, s.place) for s in scene.subjects]
        for key in ("sky", "light", "ground", "backdrop", "weather"):
            assert named.get(key, "none") == getattr(scene, key)


def test_captions_vary_and_can_be_short():
    rng = Random(0)
    texts = [caption(LAKE, rng) for _ in range(200)]
    assert len(set(texts)) > 60
    assert min(len(t.split()) for t in texts) <= 7 and max(len(t.split()) for t in texts) >= 18
    assert (
        full_caption(LAKE)
        == "a red boat on the left and a blue house on the right on a lake in front of snowy mountains by day with the sun"
    )
    assert (
        full_caption(replace(LAKE, style="cyanotype"))
        == full_caption(LAKE).replace("red ", "").replace("blue ", "") + " as a cyanotype"
    )


def test_phrases_are_words_of_the_caption_and_keys_of_the_masks():
    for scene in SCENES:
        text, masks = full_caption(scene).split(), masks_of(scene)
        for thing, words in phrases(scene).items():
            assert thing in masks
            assert all(w in text for w in words), (words, text)


def test_read_caption_is_lenient():
    assert read_caption("") == {"subjects": []}
    assert read_caption("A RED boat, at Sunset!")["subjects"] == [("red", "boat", None)]
    assert read_caption("a red boat at sunset")["sky"] == "sunset"
    assert read_caption("a boat in the middle") == {"subjects": [(None, "boat", "middle")]}
    assert read_caption("two teal windmills") == {"subjects": []}
    assert read_caption("a windmill as a cyanotype") == {"style": "cyanotype", "subjects": [(None, "windmill", None)]}
