"""web/tokenizer.mjs reads prompts as the library does."""

import random

import pytest

from helpers.conditioning import too_long
from helpers.postcards import caption, sample_scene
from tools.export_web import chips, library, words_of

ENCODE = """
const { Tokenizer } = await import("./tokenizer.mjs");
const tokenizer = new Tokenizer(given.words);
return given.prompts.map((prompt) => tokenizer.encode(prompt));
"""
ODD = [
    "",
    " ",
    "\x09\x0a",
    "a",
    "  a   red\x09boat\x0a",
    "A RED BOAT",
    "a-red_boat!?",
    "don't can't we'll I'm he'd they've 'tis ''s",
    "1234 3.14 1e-5",
    "½ ² ⅷ ๓",
    "café café",
    "ﬁ ŉ ǆ",
    "İstanbul ΣΑΣ straße ẞ",
    "\x85a\ufeffb\u200bc\xa0d\u3000e\u2028f",
    "🚀",
    "\N{ROCKET}" * 80,
    "\N{ROCKET}" * 90,
    "👩\u200d👩\u200d👧\u200d👦 🏳️\u200d🌈 🇩🇪 ✈️",
    "日本語 中文 한국어 हिन\u094dदी עברית العربية ไทย",
    "a\u0301\u0323 e\u0327\u0301",
    "\x00\x01\x7f",
    "\u0600\u06dd",
    "�",
    "<|startoftext|>",
    "a <|endoftext|>b",
    "A<|StartOfText|> x <|ENDOFTEXT|>",
    "<|endoftext|><|endoftext|>",
    "a boat<|ENDOFTEXT|>. <|ENDOFTEXT|>!",
    "<|ENDOFTEXT|><|ENDOFTEXT|>",
    "<|ENDOFTEXT|>'S 1<|StartOfText|>2",
    "<|!|> <|ENDOF|>",
    "<|x|> <| |>",
    "<|> |>",
    "!<|startoftext|",
    "<teal>",
    "a<teal>boat",
    "<teal>_1",
    "<teal> <teal>_1",
    "<TEAL>",
    "a <teal> <polar> house by <western>",
    "<teal>_2<teal>",
    "red " * 500,
    "boat" * 300,
    "x" * 2000,
    "a red boat " * 25 + "on a lake",
    "'" * 100,
    "$\\{}[]()^|*+?.",
    "ⅷⅧ ǅ",
    "𝔸𝕓 𐐀𐐨",
]
SIGNS = "äöüßéèñçøåÆŒſıİςΣσ“”‘’…–—¿¡·½²³٣๓一二日本🚀👍🏽❤️\u0301\u200d\xa0\u3000"
LETTERS = [*map(chr, range(0x20, 0x7F)), *SIGNS, "</w>", "<|endoftext|>", "<teal>", "'s", "'LL"]


def prompts():
    """1,000 of them: the odd ones, letters of all kinds thrown together, captions, captions with one letter put in."""
    rng = random.Random(0)
    mixed = ["".join(rng.choices(LETTERS, k=rng.randint(1, 120))) for _ in range(250)]
    captions = [caption(sample_scene(rng), rng) for _ in range(1000 - len(ODD) - len(mixed))]
    for i in range(0, len(captions), 3):
        place = rng.randrange(len(captions[i]))
        captions[i] = captions[i][:place] + rng.choice(LETTERS) + captions[i][place:].title()
    return [*ODD, *mixed, *captions]


@pytest.fixture(scope="module")
def read(javascript, c):
    """[(prompt, what the page makes of it), ...]"""
    asked = prompts()
    return list(zip(asked, javascript(ENCODE, {"words": words_of(c.tokenizer), "prompts": asked})))


def test_equal_to_the_library_on_1000_prompts(c, read):
    assert len(read) == 1000
    for prompt, page in read:
        library = c.tokenizer(prompt, padding="max_length", max_length=c.max_tokens, truncation=True).input_ids
        assert page["ids"] == library, prompt


def test_what_is_cut_is_said_as_helpers_say_it(c, read):
    """The same prompts are too long, by as many tokens; of ordinary words the same are quoted."""
    long = {prompt: page["said"] for prompt, page in read if page["said"] or too_long(c, prompt)}
    assert len(long) > 20
    for prompt, said in long.items():
        assert said.split(";")[0] == too_long(c, prompt).split(";")[0], prompt
        assert said.encode("utf-8").decode() == said, prompt  # no letter is cut in two
    for prompt in ("a red boat " * 25 + "on a lake", "red " * 500):
        assert long[prompt] == too_long(c, prompt)


def test_every_chip_is_read_whole(c, javascript):
    """The words offered are words of the model: a chip's letters come back from its pieces."""
    words = [word for values in chips(library(c)).values() for word in values]
    for word, page in zip(words, javascript(ENCODE, {"words": words_of(c.tokenizer), "prompts": words}), strict=True):
        assert page["ids"] == c.tokenizer(word, padding="max_length", max_length=c.max_tokens).input_ids
