"""Words read with OpenAI's own vocabulary, on a model of Stable Diffusion 1.5's shape: pieces, places, inspector, maps."""

import io
import re
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import generate, load_components, record_attention
from helpers.attention import word_map
from helpers.conditioning import encode_prompts, spelled, split_prompt, token_positions, too_long
from helpers.figures import attention as maps
from helpers.figures import conditioning as figures
from helpers.figures import style
from helpers.panels import conditioning as panels
from tools.random_models import build_model, openai_merges

ROCKET = "\N{ROCKET}"


@pytest.fixture(scope="module")
def c(tmp_path_factory):
    return load_components(
        build_model(tmp_path_factory.mktemp("openai") / "sd15", "sd15", openai_merges()), device="cpu"
    )


def pieces(c, prompt):
    return [one for one in split_prompt(c.tokenizer, prompt) if one.kind in ("piece", "cut")]


def texts(c, prompt):
    return [one.text for one in pieces(c, prompt)]


def test_it_is_the_vocabulary_of_stable_diffusion(c):
    """Numbers that are known from the published one."""
    tokenizer = c.tokenizer
    assert len(tokenizer) == c.text_encoder.config.vocab_size == 49408
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (49406, 49407, 49407)
    assert tokenizer("a photograph of an astronaut riding a horse").input_ids == [
        49406,
        320,
        8853,
        539,
        550,
        18376,
        6765,
        320,
        4558,
        49407,
    ]


@pytest.mark.parametrize(
    "prompt, shown",
    [
        ("a café", ["a", "café"]),
        ("tyrannosaurus", ["tyran", "no", "saurus"]),
        ("it's 12", ["it", "'s", "1", "2"]),
        ("straße", ["stra", "ß1/2", "ß2/2", "e"]),  # a letter whose two bytes lie in two pieces
        (ROCKET, [ROCKET]),
    ],
)
def test_pieces_show_what_they_spell(c, prompt, shown):
    assert texts(c, prompt) == shown
    assert [one.broken for one in pieces(c, prompt)] == ["/2" in text for text in shown]


@pytest.mark.parametrize(
    "prompt",
    [
        "日本語の絵",
        "москва зимой",
        f"a boat {ROCKET}{ROCKET} \N{PARROT}",
        "ελλάδα",
        "한국어",
        "Ünïcödé",
        "\N{FAMILY}\N{ZERO WIDTH JOINER}\N{BOY}",
    ],
)
def test_any_letters_come_back_whole_once_broken_ones_are_joined(c, prompt):
    """Broken letters are numbered 1/n to n/n, in order; joined, the pieces spell the prompt."""
    found = pieces(c, prompt)
    joined = "".join(one.text for one in found)
    broken = re.findall(r"(U\+[0-9A-F]{4,}|.)(\d)/(\d)", joined)
    assert bool(broken) == any(one.broken for one in found)
    whole = re.sub(r"(U\+[0-9A-F]{4,}|.)(\d)/(\d)", lambda m: m[1] if m[2] == "1" else "", joined)
    whole = re.sub(r"U\+([0-9A-F]{4,})", lambda m: chr(int(m[1], 16)), whole)
    read = c.tokenizer.decode([one.id for one in found]).replace(" ", "")
    assert whole == read, "and that is what the library spells"


def test_a_letter_in_two_pieces_is_numbered():
    letters = "ðŁļĢ"  # the rocket's four bytes, as the vocabulary writes them
    assert spelled([letters]) == [(ROCKET, False)]
    assert spelled(["x" + letters[:2], letters[2:] + "y"]) == [(f"x{ROCKET}1/2", True), (f"{ROCKET}2/2y", True)]
    assert spelled(list(letters)) == [(f"{ROCKET}{k}/4", True) for k in (1, 2, 3, 4)]
    assert spelled(["cafÃ©"]) == [("café", False)]
    assert spelled(["日"]) == [("日", False)], "a vocabulary of another kind is left as it is"


def test_a_new_word_is_shown_as_it_is(c):
    from transformers import AddedToken, CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(c.path / "tokenizer")
    tokenizer.add_tokens([AddedToken("<café>", normalized=False)])
    found = [one for one in split_prompt(tokenizer, "a <café> boat") if one.kind == "piece"]
    assert [one.text for one in found] == ["a", "<café>", "boat"]


@pytest.mark.parametrize("word, places", [("red", [2, 6]), ("tyrannosaurus", [7, 8, 9]), ("CAFÉ", [3]), (ROCKET, None)])
def test_words_are_found_where_they_stand(c, word, places):
    prompt = f"a red café and a red tyrannosaurus {ROCKET}"
    found = token_positions(c.tokenizer, prompt, word)
    tokens = split_prompt(c.tokenizer, prompt)
    assert places is None or found == places
    assert c.tokenizer.decode([tokens[i].id for i in found]).replace(" ", "") == (
        word.lower() if places != [2, 6] else "redred"
    )


# A cut inside a word

LONG = " ".join(["boat"] * 74)


@pytest.mark.parametrize("end, cut", [("tyrannosaurus", "nosaurus"), (ROCKET * 3, None), ("zebra", None)])
def test_the_inspector_shows_what_the_u_net_reads(c, monkeypatch, end, cut):
    """Also where the cut falls inside a word, and without a warning of its own: the cut is in the picture."""
    prompt, shown = f"{LONG} {end}", []
    monkeypatch.setattr(
        figures, "ruler", lambda tokens, embeds, empty, dpi: shown.append(embeds) or style.Picture(b"", "")
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        panel = panels.inspector_panel(c, prompt)
    ids = torch.tensor([c.tokenizer(prompt, padding="max_length", max_length=77, truncation=True).input_ids])
    with torch.inference_mode():
        read = c.text_encoder(ids)[0][0]
    assert torch.equal(shown[-1], read)
    assert "�" not in too_long(c, prompt) and (cut is None or f'this was cut: "{cut}"' in too_long(c, prompt))
    assert "could not be drawn" not in panel.line.value


def test_encoding_still_warns_of_a_cut(c):
    with pytest.warns(UserWarning, match='this was cut: "nosaurus"'):
        encode_prompts(c, [f"{LONG} tyrannosaurus"])


@pytest.mark.parametrize("prompt", ["a café", f"{ROCKET} 日本語", f"{LONG} {ROCKET}{ROCKET}"])
def test_the_inspector_draws_any_letters_without_a_word_on_stderr(c, prompt):
    """A letter that the figures' font lacks is a square, and the line below shows the letter itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        panel = panels.inspector_panel(c, prompt)
    assert Image.open(io.BytesIO(panel.picture.value)).width > 500
    broken = any(one.broken for one in pieces(c, prompt))
    assert (panels.BROKEN in panel.line.value) == broken
    assert "café" in panel.line.value or prompt != "a café"


# Maps


def test_maps_of_words_outside_of_english(c):
    prompt = f"a café below {ROCKET} mountains"
    with record_attention(c.unet, heads=True) as attention, warnings.catch_warnings():
        warnings.simplefilter("error")
        image = generate(c, prompt, steps=2, seed=0)
    shown = {word: word_map(attention, c.tokenizer, prompt, word, size=64) for word in ("café", ROCKET, "mountains")}
    for word, heat in shown.items():
        assert heat.shape == (64, 64) and 0 <= float(heat.min()) < float(heat.max()) <= 1, word
    at = token_positions(c.tokenizer, prompt, "café")
    assert np.asarray(attention.heatmap(at)).ndim == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        maps.word_sheet(image, shown)
        tokens = split_prompt(c.tokenizer, prompt)
        points, layer = {"here": (5, 5)}, attention.layers[-1].name
        maps.dot_grid(image, points, attention.probabilities(layer, 0).mean(0), tokens, {layer: (0.5, 0.2, 0.1, 0.2)})
        panel = panels.explorer_panel(image, attention, c, prompt)
    assert "café" in panel.controls["word"].options
