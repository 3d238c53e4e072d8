"""Postcards to learn a concept from."""

import numpy as np
import pytest

from helpers.postcards import KEPT_OUT, KINDS, read_caption, render
from helpers.postcards.lessons import TEAL, concept_cards, cut_out, most_alike, trial_prompts


@pytest.mark.parametrize("concept", ["windmill", "snowman", "teal", "cyanotype"])
def test_every_card_shows_the_concept_and_says_so(concept):
    cards = concept_cards(concept, 6)
    assert len(cards.images) == len(cards.prompts) == len(cards.scenes) == 6
    for image, prompt, scene in zip(cards.images, cards.prompts, cards.scenes):
        assert concept in prompt and image.tobytes() == render(scene).image.tobytes()
        assert len(scene.subjects) == 1 and len(read_caption(prompt)["subjects"]) == 1
        assert concept in (scene.subjects[0].kind, scene.subjects[0].colour, scene.style)
    assert all(
        (mask == render(scene).masks[scene.subjects[0].kind]).all() for mask, scene in zip(cards.masks, cards.scenes)
    )


def test_ordinary_cards_hold_nothing_new():
    cards = concept_cards(None, 20)
    assert not any(word in prompt for prompt in cards.prompts for words in KEPT_OUT.values() for word in words)
    assert {s.kind for scene in cards.scenes for s in scene.subjects} <= set(KINDS)
    assert all(mask.shape == (128, 128) and mask.any() for mask in cards.masks)


def test_the_same_seed_gives_the_same():
    one, again, other = (concept_cards("teal", 5, seed=seed) for seed in (1, 1, 2))
    assert one.prompts == again.prompts and one.scenes == again.scenes and one.prompts != other.prompts


def test_the_sails_stand_alike():
    def spread(cards):
        return np.stack([cut_out(mask) for mask in cards.masks]).std(0).mean()

    assert spread(concept_cards("windmill", 8)) < 0.8 * spread(concept_cards("windmill", 8, alike=False))


def test_the_most_alike_are_found():
    square, bar = np.zeros((2, 40, 40), bool)
    square[5:25, 5:25] = True
    bar[5:8, :] = True
    ring = square & ~np.roll(square, (3, 3), (0, 1))
    assert sorted(most_alike([ring, square, np.roll(square, 9, 1), ring.T, square.copy()], 3)) == [1, 2, 4]
    assert most_alike([bar, square], 2) in ([0, 1], [1, 0])


def test_cards_of_another_size_show_the_same_scenes():
    large = concept_cards("teal", 2, size=192)
    assert large.images[0].size == (192, 192) and large.masks[0].shape == (192, 192)
    assert large.prompts == concept_cards("teal", 2).prompts


def test_an_unknown_concept_is_named():
    with pytest.raises(ValueError, match='concept="dragon" is not in the postcard world: choose one of teal, windmill'):
        concept_cards("dragon", 2)
    with pytest.raises(ValueError, match="boat"):
        concept_cards("boat", 2)


def test_the_trials_of_teal_show_things_and_places_that_its_cards_do_not():
    trials = [read_caption(prompt.format("teal")) for prompt in trial_prompts("teal")]
    assert len(trials) == 20 and {one["subjects"][0][0] for one in trials} == {"teal"}
    assert not {one["subjects"][0][1] for one in trials} & {scene.subjects[0].kind for scene in TEAL}
    assert not {one["ground"] for one in trials} & {scene.ground for scene in TEAL}
    mills = [read_caption(prompt.format("windmill"))["subjects"][0] for prompt in trial_prompts("windmill")]
    assert (
        len(mills) == 24
        and {kind for _, kind, _ in mills} == {"windmill"}
        and len({colour for colour, _, _ in mills}) == 6
    )
    assert "an orange {} in a meadow by day" in trial_prompts("windmill")
    with pytest.raises(ValueError, match="concept"):
        trial_prompts("snowman")
