"""The maps of words that the page shows are the course's own."""

import numpy as np
import pytest
from test_export import MODEL

from helpers import generate
from helpers.attention import record_attention, word_map

PROMPT = "a red boat on the left on a lake below snowy mountains at sunset"


@pytest.mark.parametrize("variant, guidance", [("plain", 3), ("plain", 1), ("fast", 1)])
def test_a_word_is_where_the_course_says(javascript, exported, c, fast, variant, guidance):
    c, negative_prompt = (fast, "") if variant == "fast" else (c, "rain")
    page = javascript(
        MODEL
        + """
        const { heat } = await import("./maps.mjs");
        const read = [], { facts } = model;
        for await (const step of model.denoise(given, undefined, read));
        const words = model.words(given.prompt), all = words.flatMap(({ positions }) => positions);
        return words.map(({ word, positions }) =>
          [word, positions, [...heat(read, facts.grids, facts.tokenizer.length, positions, all, facts.image_size)]]);""",
        dict(prompt=PROMPT, negative_prompt=negative_prompt, steps=5, guidance=guidance, seed=3, variant=variant),
    )
    assert [word for word, _, _ in page] == PROMPT.split()
    assert [place for _, places, _ in page for place in places] == list(range(1, len(PROMPT.split()) + 1))
    with record_attention(c.unet) as attention:
        generate(c, PROMPT, negative_prompt=negative_prompt, steps=5, guidance=guidance, seed=3)
    for word in ("boat", "mountains", "lake", "red"):  # each stands there once
        mine = next(np.array(map).reshape(c.image_size, c.image_size) for found, _, map in page if found == word)
        assert np.abs(mine - word_map(attention, c.tokenizer, PROMPT, word)).max() < 0.01, word
