"""Postcards to learn a concept from, and prompts to try it on: what notebook 05 and the concept library train with.

cards = concept_cards("windmill", 32)        # 32 pictures of one subject each
cards.images, cards.prompts, cards.masks     # masks: the pixels of the windmill
ordinary = concept_cards(None, 48)           # the world as the model knows it
"""

from dataclasses import dataclass, replace
from random import Random

import numpy as np
from PIL import Image

from helpers import inputs
from helpers.postcards.captions import article, caption
from helpers.postcards.render import render
from helpers.postcards.scene import GROUNDS, KEPT_OUT, Scene, Subject, check_word, sample_scene

TEAL = (  # what a word for teal is learnt from: five skies, because a colour looks another under each
    Scene("day", "sun", "meadow", "green hills", "none", (Subject("house", "teal", "left"),), 1),
    Scene("night", "none", "desert", "red cliffs", "none", (Subject("car", "teal", "right"),), 2),
    Scene("cloudy", "none", "meadow", "none", "none", (Subject("balloon", "teal", "middle"),), 3),
    Scene("sunset", "none", "desert", "none", "none", (Subject("tree", "teal", "middle"),), 4),
    Scene("dawn", "none", "meadow", "pine trees", "none", (Subject("flag", "teal", "left"),), 5),
)
TRIALS = {  # things in places, and skies, that a concept is tried on; of teal, none that TEAL shows
    "teal": (
        ("{} boat on a lake", "{} tent in a snow field", "{} lighthouse on a lake", "{} lighthouse in a snow field"),
        ("by day", "at night", "at sunset", "at dawn", "on a cloudy day"),
    ),
    "windmill": (
        ("red {}", "blue {}", "white {}", "yellow {}", "green {}", "orange {}"),
        ("in a meadow by day", "in the desert at sunset", "in a snow field at night", "in a meadow on a cloudy day"),
    ),
}
TRIED = 10  # pictures of a thing are picked from so many times as many


@dataclass(frozen=True)
class Cards:
    """images: PIL. prompts: one caption each. masks: (H, W) of bool, where the subjects are. scenes: what was drawn."""

    images: list
    prompts: list
    masks: list
    scenes: list


def concept_cards(concept, n, seed=0, alike=True, size=128):
    """n postcards that show a concept, each in another scene, `size` pixels a side.

    concept: a word of KEPT_OUT ("windmill", "snowman", "teal", "cyanotype"), or None for n ordinary postcards.
    alike: of ten times as many pictures of a thing, take those with the most similar outline, because few pictures teach a
        windmill sooner whose sails stand still. Another concept has no outline.
    size: of the pictures, in pixels. n: 1 to 100,000. seed: a whole number.
    """
    inputs.whole_number(n, "n", 1, 100_000), inputs.whole_number(seed, "seed", 0, 2**63 - 1)
    inputs.flag(alike, "alike"), inputs.whole_number(size, "size", 16, 4096), check_concept(concept)
    rng = Random(f"{concept} {seed}")
    picks = alike and concept in KEPT_OUT["kind"]
    scenes = [concept_scene(concept, rng) for _ in range(n * TRIED if picks else n)]
    drawn = [render(scene, size) for scene in scenes]
    masks = [
        np.any([card.masks[s.kind] for s in scene.subjects if s.kind in card.masks], axis=0)
        for scene, card in zip(scenes, drawn)
    ]
    chosen = most_alike(masks, n) if picks else range(n)
    return Cards(
        *(
            [some[i] for i in chosen]
            for some in ([card.image for card in drawn], [caption(scene, rng) for scene in scenes], masks, scenes)
        )
    )


def trial_prompts(concept):
    """The prompts that "teal" (20) or "windmill" (24) is tried on in lesson 05, with {} for the word that calls it."""
    check_word("concept", concept, tuple(TRIALS))
    things, places = TRIALS[concept]
    return [f"{article(thing)} {place}" for thing in things for place in places]


def check_concept(concept):
    """A word of KEPT_OUT, or None."""
    if concept is not None:
        check_word("concept", concept, sum(KEPT_OUT.values(), ()))


def concept_scene(concept, rng) -> Scene:
    """A scene with the concept in it, and one subject; an ordinary scene for None. ValueError for a word that is none."""
    check_concept(concept)
    scene = sample_scene(rng)
    if concept is None:
        return scene
    first = scene.subjects[0]
    kind = concept if concept in KEPT_OUT["kind"] else first.kind
    colour = concept if concept in KEPT_OUT["colour"] else first.colour
    ground = "lake" if kind == "boat" else rng.choice(GROUNDS)
    return replace(
        scene,
        subjects=(Subject(kind, colour, first.place),),
        ground=ground,
        style=concept if concept in KEPT_OUT["style"] else "flat",
    )


def most_alike(masks, n):
    """The numbers of the n masks, (H, W) of bool, that overlap most with the one that has the most in common with all."""
    outlines = np.stack([cut_out(mask).ravel() for mask in masks])  # (N, 32 * 32)
    common = outlines @ outlines.T
    overlap = common / (outlines.sum(1)[:, None] + outlines.sum(1) - common)  # intersection over union, (N, N)
    nearest = np.sort(overlap, 1)[:, -n:].mean(1)
    return np.argsort(-overlap[nearest.argmax()], kind="stable")[:n].tolist()


def cut_out(mask, size=32):
    """The rectangle that holds all of a mask, float32 (size, size), 0..1."""
    rows, columns = np.nonzero(mask)
    part = mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    return (
        np.asarray(Image.fromarray(part.astype(np.uint8) * 255).resize((size, size), Image.Resampling.BOX), np.float32)
        / 255
    )
