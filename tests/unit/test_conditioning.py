"""helpers.conditioning: the places of a prompt, where a word stands among them, and the two towers."""

import copy
import importlib
import json
import shutil
import threading
import warnings
from collections import Counter
from dataclasses import replace

import pytest
import torch
from transformers import AddedToken, CLIPTokenizer

from helpers import denoise, load_components
from helpers.concepts import Concept
from helpers.concepts.loading import with_concepts
from helpers.conditioning import (
    encode_prompts,
    encode_weighted,
    load_towers,
    split_prompt,
    token_positions,
    weighted_parts,
)
from helpers.postcards import Scene, Subject, full_caption, render

SCENES = [
    Scene("day", "sun", "lake", "none", "none", [Subject("boat", "red", "left")]),
    Scene("night", "none", "meadow", "none", "none", [Subject("tent", "blue", "right")]),
]


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


def test_every_piece_of_the_prompt(tiny_postcard):
    tokenizer = tiny_postcard.tokenizer
    assert token_positions(tokenizer, "a red boat") == [1, 2, 3]
    assert token_positions(tokenizer, "") == []
    assert token_positions(tokenizer, "red " * 90) == [*range(1, 76)]


@pytest.mark.parametrize(
    "prompt, kinds",
    [
        ("a red boat", {"start": 1, "piece": 3, "end": 1, "padding": 72}),
        ("", {"start": 1, "end": 1, "padding": 75}),
        ("red " * 75, {"start": 1, "piece": 75, "end": 1}),
        ("red " * 80, {"start": 1, "piece": 75, "end": 1, "cut": 5}),
    ],
)
def test_the_places_of_a_prompt(tiny, prompt, kinds):
    tokens = split_prompt(tiny.tokenizer, prompt)
    assert Counter(one.kind for one in tokens) == kinds
    read = tiny.tokenizer(prompt, padding="max_length", truncation=True, max_length=77).input_ids
    assert [one.id for one in tokens[:77]] == read


def test_pieces_know_their_word(tiny_postcard):
    tokens = split_prompt(tiny_postcard.tokenizer, "a zebra boat")
    words = [one.word for one in tokens if one.kind == "piece"]
    assert words == sorted(words) and words.count(1) > 1 and words[-1] == 2
    assert "".join(one.text for one in tokens) == "azebraboat"
    with pytest.raises(TypeError, match="prompt must be a string"):
        split_prompt(tiny_postcard.tokenizer, None)


@pytest.fixture(scope="module")
def towers():
    return load_towers(load_components("postcard", device="cpu"))


def test_towers_are_the_librarys(towers, capsys):
    images = [render(scene).image for scene in SCENES]
    captions = [full_caption(scene) for scene in SCENES]
    image_emb, text_emb = towers.embed_images(images), towers.embed_texts(captions)
    with torch.inference_mode():
        library = towers.clip(**towers.prepare(images, captions))
    assert torch.allclose(image_emb, library.image_embeds, atol=1e-5)
    assert torch.allclose(text_emb, library.text_embeds, atol=1e-5)
    assert torch.allclose(image_emb.norm(dim=1), torch.ones(len(images)), atol=1e-5)
    assert torch.allclose(towers.scale * image_emb @ text_emb.T, library.logits_per_image, atol=1e-3)
    assert torch.allclose(towers.embed_texts(captions[:1]), text_emb[:1], atol=1e-5)  # however padded
    assert capsys.readouterr().out == ""


def test_the_text_tower_is_the_models_text_encoder(towers):
    c = load_components("postcard", device="cpu")
    pooled = towers.clip.text_model(**towers.prepare(texts=["a red boat"])).last_hidden_state
    assert torch.allclose(pooled, encode_prompts(c, ["a red boat"])[:, : pooled.shape[1]], atol=1e-3)


def test_a_model_without_an_image_tower_says_so(tiny, capsys):
    towers = load_towers(tiny)
    assert (towers.name, towers.world) == ("postcard", "postcards")
    said = capsys.readouterr().out
    assert "without an image tower" in said and len(said.splitlines()) == 1


def test_damaged_towers(tmp_path):
    c = load_components("postcard", device="cpu")
    shutil.copytree(c.path / "clip", tmp_path / "clip")
    shutil.copytree(c.path / "tokenizer", tmp_path / "tokenizer")
    (tmp_path / "clip" / "config.json").write_text("{")
    with pytest.raises(ValueError, match="are damaged"):
        load_towers(replace(c, path=tmp_path))


# Prompt weights


@pytest.mark.parametrize(
    "prompt, parts",
    [  # the examples of A1111's parse_prompt_attention, and what lies at their edges
        ("normal text", [("normal text", 1)]),
        ("an (important) word", [("an ", 1), ("important", 1.1), (" word", 1)]),
        ("(unbalanced", [("unbalanced", 1.1)]),
        (r"\(literal\]", [("(literal]", 1)]),
        ("(unnecessary)(parens)", [("unnecessaryparens", 1.1)]),
        (
            "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
            [
                ("a ", 1),
                ("house", 1.3 * 1.1**2),
                (" ", 1.1),
                ("on", 1),
                (" a ", 1.1),
                ("hill", 0.55),
                (", sun, ", 1.1),
                ("sky", 1.1**4),
                (".", 1.1),
            ],
        ),
        ("", []),
        ("a) b] :1.2) c", [("a) b] :1.2) c", 1)]),
        (r"a\\b \c", [(r"a\b c", 1)]),
        ("(red: 1.2 )", [("red", 1.2)]),
        ("(blue:-1)[x", [("blue", -1), ("x", 1 / 1.1)]),
        (r"\[a|b\]", [("[a|b]", 1)]),
        ("(a:1.2.3)", [("a:1.2.3", 1.1)]),
    ],
)
def test_weights_are_read_as_a1111_reads_them(prompt, parts):
    found = weighted_parts(prompt)
    assert [text for text, _ in found] == [text for text, _ in parts]
    assert [weight for _, weight in found] == pytest.approx([weight for _, weight in parts])


@pytest.mark.parametrize("prompt", ["a [b:c:0.5]", "[a|b]", "[b:3]", "a BREAK b", "a AND b"])
def test_marks_that_are_no_weights_are_refused(prompt):
    with pytest.raises(ValueError, match="of A1111's marks weights alone are read"):
        weighted_parts(prompt)


def test_weights_are_scaled_vectors_of_the_pieces(tiny):
    plain = encode_prompts(tiny, ["a red boat on a lake"])
    assert torch.equal(encode_weighted(tiny, ["a red boat on a lake"]), plain)
    places = token_positions(tiny.tokenizer, "a red boat on a lake", "red boat")
    expected = plain.float().clone()
    expected[:, places] *= 1.5
    assert torch.allclose(encode_weighted(tiny, ["a (red boat:1.5) on a lake"]).float(), expected, atol=1e-3)


def test_the_mean_can_be_restored_where_there_is_one(tiny):
    prompts, letters = ["a (red boat:1.5) on a lake", "a (blue:0.5) tent"], ["a red boat on a lake", "a blue tent"]
    with pytest.raises(FloatingPointError, match="is 0 here and cannot be restored"):  # their last norm has no bias
        encode_weighted(tiny, prompts, restore_mean=True)
    shifted = tiny.snapshot()
    norm = shifted.text_layers.final_layer_norm
    norm.bias = torch.nn.Parameter(torch.full_like(norm.bias, 0.5), requires_grad=False)
    plain, bare = encode_prompts(shifted, letters).float(), encode_weighted(shifted, prompts).float()
    restored = encode_weighted(shifted, prompts, restore_mean=True).float()
    for one, two, three in zip(plain, bare, restored):  # each prompt by itself
        assert torch.allclose(three.mean(), one.mean(), atol=1e-3) and not torch.allclose(
            two.mean(), one.mean(), atol=1e-3
        )
        assert torch.allclose(three, two * (one.mean() / two.mean()), atol=1e-2)


def test_a_prompt_of_a_batch_is_weighted_as_alone(tiny):
    prompts = ["a (red:1.5) boat", "a blue house"]
    both = encode_weighted(tiny, prompts)
    assert torch.allclose(both[:1], encode_weighted(tiny, prompts[:1]), atol=1e-4)
    assert torch.allclose(both[1:], encode_prompts(tiny, prompts[1:]), atol=1e-5)


def test_places_of_words_with_weights_are_those_of_the_picture(tiny):
    """The marks take no places, and a weight inside a word splits it."""
    plain, marked, tokenizer = "a red boat on a lake", "a (red:1.0) [boat] on ((a lake))", tiny.tokenizer
    for word in (None, "red", "boat", "lake", "a"):
        assert token_positions(tokenizer, marked, word, weights=True) == token_positions(tokenizer, plain, word)
    assert [one[:3] for one in split_prompt(tokenizer, marked, weights=True)] == [
        one[:3] for one in split_prompt(tokenizer, plain)
    ]
    assert token_positions(tokenizer, marked, "boat") != token_positions(tokenizer, plain, "boat")
    split, read = "a wind(mill:1.2) on a lake", []
    hook = tiny.text_encoder.register_forward_pre_hook(
        lambda _, given, named: read.append((*given, *named.values())[0]), with_kwargs=True
    )
    encode_weighted(tiny, [split])
    hook.remove()
    assert read[0][0].tolist() == [one.id for one in split_prompt(tokenizer, split, weights=True)]
    with pytest.raises(ValueError, match="'windmill' is not in the prompt"):
        token_positions(tokenizer, split, "windmill", weights=True)


def test_towers_warn_of_what_they_cut_off():
    towers, long = load_towers(load_components("postcard", device="cpu")), "a boat " * 60
    with pytest.warns(
        UserWarning, match=r"has 12\d tokens and the model reads the first 75; this was cut: .* at night"
    ):
        towers.embed_texts(["a boat", f"{long} at night"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        towers.embed_texts(["a boat"])


def test_a_long_prompt_with_weights_says_what_is_cut(tiny):
    with pytest.warns(UserWarning, match="The prompt has 8. tokens and the model reads the first 75"):
        assert encode_weighted(tiny, ["(boat:1.2) " + "boat " * 79]).shape == encode_prompts(tiny, ["boat"]).shape


def test_drawing_reads_weights_where_asked_and_letters_elsewhere(tiny):
    def first(prompt, **settings):
        return next(iter(denoise(tiny, prompt, steps=1, **settings))).latents

    plain, letters = first("a red boat"), first("a (red:1.5) boat")
    weighted = first("a (red:1.5) boat", weights=True)
    assert torch.equal(first("a red boat", weights=True), plain)
    assert not torch.equal(weighted, plain) and not torch.equal(weighted, letters)


@pytest.mark.parametrize("kind", ["plain", "with a concept", "of the towers"])
def test_several_threads_ask_a_tokenizer_at_once_each_in_its_own_way(tiny_postcard, kind):
    """Rows of 77 numbers, cut or filled, beside a prompt's own pieces, by each of three calls. The library's own gets this wrong."""
    tokenizer = tiny_postcard.tokenizer
    if kind == "with a concept":
        tokenizer = with_concepts(
            tiny_postcard, Concept("<cat>", torch.ones(2, tiny_postcard.text_encoder.config.hidden_size))
        ).tokenizer
    elif kind == "of the towers":
        tokenizer = load_towers(tiny_postcard).tokenizer
    long = "a red boat " * 40
    calls = [
        lambda: [
            len(row)
            for row in tokenizer([long, "a boat"], padding="max_length", max_length=77, truncation=True).input_ids
        ],
        lambda: len(tokenizer(long, verbose=False).input_ids),
        lambda: len(tokenizer.encode("a boat")),
        lambda: len(tokenizer.tokenize(long)),
    ]
    alone, wrong = [call() for call in calls], []
    assert alone[0] == [77, 77] and alone[1] > 77 and alone[2] < 10

    def ask(call, wanted):
        wrong.extend(found for found in (call() for _ in range(150)) if found != wanted)

    threads = [threading.Thread(target=ask, args=(call, wanted)) for call, wanted in zip(calls, alone)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong


def test_a_pipeline_saved_with_a_models_tokenizer_is_read_without_the_course(tiny_postcard, tmp_path):
    tiny_postcard.tokenizer.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["tokenizer_class"] == "CLIPTokenizer"
    kind = type(tiny_postcard.tokenizer)
    assert getattr(importlib.import_module(kind.__module__.split(".")[0]), kind.__name__) is kind.__base__
    assert (
        CLIPTokenizer.from_pretrained(tmp_path)("a red boat").input_ids
        == tiny_postcard.tokenizer("a red boat").input_ids
    )
