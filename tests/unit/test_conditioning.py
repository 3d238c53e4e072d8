"""helpers.conditioning: where a word stands among the tokens."""

import copy

import pytest
from transformers import AddedToken

from helpers.conditioning import token_positions


def places(tokenizer, prompt):
    """[(word, its positions), ...] of a prompt, worked out from the length of each word on its own."""
    found, first = [], 1
    for word in prompt.split():
        count = len(tokenizer(word).input_ids) - 2
        found.append((word, [*range(first, first + count)]))
        first += count
    return found


@pytest.mark.parametrize("prompt", ["a red boat on lake", "a zebra, a red tent, the zebra", "Red MOON, red"])
def test_every_piece_of_every_occurrence(tiny_postcard, prompt):
    tokenizer = tiny_postcard.tokenizer
    known = places(tokenizer, prompt.lower().replace(",", " ,"))
    assert len(tokenizer(prompt).input_ids) == 2 + sum(len(where) for _, where in known)
    for word in {word for word, _ in known}:
        expected = sorted(sum((where for other, where in known if other == word), []))
        for spelling in (word, word.upper()):
            assert token_positions(tokenizer, prompt, spelling) == expected
    assert places(tokenizer, "a")[0][1] == [1]  # the start token is 0
    assert len(places(tokenizer, "zebra")[0][1]) > 1  # several pieces


def test_a_learnt_word(tiny_postcard):
    tokenizer = copy.deepcopy(tiny_postcard.tokenizer)
    tokenizer.add_tokens(AddedToken("<teal>", normalized=False))
    assert token_positions(tokenizer, "<teal> on a <teal>", "<teal>") == [1, 4]
    assert token_positions(tokenizer, "a <teal> red", "red") == [3]


def test_words_in_a_row(tiny_postcard):
    tokenizer = tiny_postcard.tokenizer
    known = places(tokenizer, "a red boat on lake")
    assert token_positions(tokenizer, "a red boat on lake", "red boat") == known[1][1] + known[2][1]
    assert token_positions(tokenizer, "red red red", "red red") == [1, 2, 3]


@pytest.mark.parametrize("word", ["tent", "boa", "oat", "at", "t", "boat lake"])
def test_a_word_that_is_not_there(tiny_postcard, word):
    with pytest.raises(ValueError, match=f"'{word}' is not in the prompt"):
        token_positions(tiny_postcard.tokenizer, "a red boat on lake", word)


def test_no_word(tiny_postcard):
    with pytest.raises(ValueError, match="give a word of the prompt"):
        token_positions(tiny_postcard.tokenizer, "a red boat", " ")


def test_the_last_token_that_is_read(tiny_postcard):
    tokenizer = tiny_postcard.tokenizer
    assert token_positions(tokenizer, "red " * 74 + "a on", "a") == [75]  # 76 belongs to the end mark
    assert token_positions(tokenizer, "a " + "red " * 74 + "a", "a") == [1]
    with pytest.raises(ValueError, match="too late.*first 75 tokens"):
        token_positions(tokenizer, "red " * 75 + "a", "a")
