"""Concepts: what they are, loading them without changing the model, training them."""

import copy
from dataclasses import replace
from types import SimpleNamespace

import diffusers
import pytest
import torch
from diffusers import DDIMScheduler
from PIL import Image
from test_checks_concepts import put_back
from transformers import CLIPTokenizer

from helpers import generate
from helpers.concepts import (
    Concept,
    Progress,
    loaded,
    nearest_words,
    noise_loss,
    read_concept,
    save_concept,
    train_concept,
)
from helpers.concepts.loading import with_concepts
from helpers.conditioning import encode_prompts, split_prompt, token_positions, too_long
from helpers.lora.layers import Lora, lora_layer, own_layers
from helpers.lora.train import joint_loss


def vectors_like(c, n=1, seed=1):
    """n vectors (n, d) that a text encoder reads as well as its own words."""
    table = c.text_encoder.get_input_embeddings().weight
    noise = torch.randn(n, table.shape[1], generator=torch.Generator().manual_seed(seed))
    return noise * table.float().norm(dim=1).mean() / noise.norm(dim=1, keepdim=True)


def pictures_of(c, n=2):
    return [Image.new("RGB", (c.image_size, c.image_size), colour) for colour in ("teal", "orange", "navy")[:n]]


def state_of(c):
    """All that could be left behind: weights, their count, settings, vocabulary, what words become."""
    weights = {name: weight.clone() for name, weight in c.text_encoder.state_dict().items()}
    ids = c.tokenizer("a <teal> boat <teal>_1").input_ids
    return weights, c.text_encoder.config.to_dict(), c.tokenizer.get_vocab(), ids


def assert_same_state(before, after):
    assert before[1:] == after[1:]
    assert before[0].keys() == after[0].keys()
    assert all(torch.equal(weight, after[0][name]) for name, weight in before[0].items())


def apart(a, b):
    """The largest difference of two pictures, in steps of 255."""
    a, b = (torch.frombuffer(bytearray(one.tobytes()), dtype=torch.uint8).int() for one in (a, b))
    return (a - b).abs().max().item()


# What a concept is


def test_a_concept_has_one_name_a_vector_and_a_memory_of_its_own():
    given = torch.ones(3, 8, dtype=torch.float16)
    concept = Concept("<teal>", given)
    assert concept.tokens == ["<teal>", "<teal>_1", "<teal>_2"]
    assert concept.vectors.dtype == torch.float32 and repr(concept) == "Concept('<teal>': 3 vectors of 8 numbers)"
    given.zero_()
    assert concept.vectors.min() == 1
    assert Concept("<teal>", torch.ones(8, requires_grad=True)).vectors.shape == (1, 8)


@pytest.mark.parametrize(
    "token, vectors, error, words",
    [
        (5, torch.ones(4), TypeError, "is a string such as"),
        ("", torch.ones(4), ValueError, "one word without spaces"),
        ("two words", torch.ones(4), ValueError, "one word without spaces"),
        ("<x>", [1.0, 2.0], TypeError, "tensor of fractional numbers, not list"),
        ("<x>", torch.ones(4, dtype=torch.int64), TypeError, "not torch.int64"),
        ("<x>", torch.ones(1, 2, 4), ValueError, r"has the shape \(1, 2, 4\)"),
        ("<x>", torch.ones(0, 4), ValueError, "one vector"),
        ("<x>", torch.ones(()), ValueError, "one vector"),
        ("<x>", torch.ones(76, 4), ValueError, "up to 75"),
        ("<x>", torch.tensor([1.0, float("nan")]), ValueError, "NaN or infinite"),
        ("<x>", torch.zeros(4), ValueError, "vector of zeros"),
        ("<x>", torch.ones(4, device="meta"), ValueError, "one vector"),
    ],
)
def test_what_is_no_concept_is_refused_in_words(token, vectors, error, words):
    with pytest.raises(error, match=words):
        Concept(token, vectors)


def test_a_word_is_its_own_nearest_word(tiny):
    table, vocab = tiny.text_encoder.get_input_embeddings().weight, tiny.tokenizer.get_vocab()
    boat = table[vocab["boat</w>"]]
    near = nearest_words(tiny, 3 * boat, 4)
    assert near[0] == ("boat", pytest.approx(1, abs=1e-4)) and len(near) == 4
    assert [cosine for _, cosine in near] == sorted((cosine for _, cosine in near), reverse=True)
    assert [word for word, _ in near] == [word for word, _ in nearest_words(tiny, 3 * boat[None], 4)]
    with pytest.raises(ValueError, match=r"not the shape \(2, "):
        nearest_words(tiny, torch.stack([boat, boat]))


# Loading


def test_inside_the_block_the_model_knows_the_concept(tiny):
    concept = Concept("<teal>", vectors_like(tiny))
    with loaded(tiny, concept) as model:
        places = token_positions(model.tokenizer, "a <teal> boat", "<teal>")
        assert [token.text for token in split_prompt(model.tokenizer, "a <teal> boat")[1:4]] == ["a", "<teal>", "boat"]
        (id,) = model.tokenizer("<teal>").input_ids[1:-1]
        table = model.text_encoder.get_input_embeddings().weight
        assert places == [2] and id == len(tiny.tokenizer) and len(table) == len(model.tokenizer) == id + 1
        assert torch.equal(table[id], concept.vectors[0]) and model.text_encoder.config.vocab_size == id + 1
        assert torch.equal(encode_prompts(model, ["a boat"]), encode_prompts(tiny, ["a boat"]))
        assert not torch.equal(encode_prompts(model, ["a <teal> boat"]), encode_prompts(model, ["a boat"]))


def test_the_tokenizer_reads_and_writes_all_else_as_before(tiny):
    with loaded(tiny, Concept("<Teal>", vectors_like(tiny, 2))) as model:
        for prompt in ("a red boat, at sunset", "A Boat <tea>", "", "boat " * 90):
            ids = tiny.tokenizer(prompt, verbose=False).input_ids
            assert model.tokenizer(prompt, verbose=False).input_ids == ids
            assert model.tokenizer.decode(ids) == tiny.tokenizer.decode(ids)
        assert too_long(model, "boat " * 90) == too_long(tiny, "boat " * 90) != ""
        assert model.max_tokens == tiny.max_tokens


def test_capitals_in_a_token_do_not_matter(tiny):
    """As in all words of a prompt, and in a pipeline."""
    names = ("EasyNegative", "<House>", "<teal>")
    with loaded(tiny, *(Concept(name, vectors_like(tiny, k)) for k, name in enumerate(names, 1))) as model:
        known = [model.tokenizer(f"a {name} boat").input_ids for name in names]
        assert [len(ids) for ids in known] == [5, 6, 7]
        for written in (str.lower, str.upper, str.title):
            assert [model.tokenizer(written(f"a {name} boat")).input_ids for name in names] == known
        assert token_positions(model.tokenizer, "A <house>", "<HOUSE>") == [2, 3]
        for taken in ("<TEAL>", "easynegative"):
            with pytest.raises(ValueError, match=f"The token {taken} is in the vocabulary already"):
                with_concepts(model, Concept(taken, vectors_like(tiny)))
    with pytest.raises(ValueError, match="Two of the concepts have the token <Teal>"):
        with_concepts(tiny, *(Concept(name, vectors_like(tiny)) for name in ("<teal>", "<Teal>")))


def test_a_lora_that_is_changed_or_taken_out_inside_the_block_is_so_for_both(tiny):
    with loaded(tiny, Concept("<teal>", vectors_like(tiny))) as model:
        plain = encode_prompts(tiny, ["a boat"])
        layers = {
            f"text_encoder.{name}": lora_layer(layer, 2, generator=torch.Generator().manual_seed(0))
            for name, layer in own_layers(tiny.text_layers).items()
            if name.endswith(("q_proj", "fc1"))
        }
        for layer in layers.values():
            torch.nn.init.normal_(layer.B)
        with Lora(tiny.unet, layers, tiny.text_layers) as lora:
            for change in (lambda: None, lambda: setattr(lora, "strength", 0.3), lora.merge, lora.unmerge):
                change()
                inside, outside = (encode_prompts(one, ["a boat"]) for one in (model, tiny))
                assert torch.equal(inside, outside) and not torch.equal(outside, plain)
        assert torch.equal(encode_prompts(model, ["a boat"]), plain)


def test_a_pipeline_of_a_model_with_a_concept_is_read_where_the_course_is_not(tiny, tmp_path):
    with loaded(tiny, Concept("<teal>", vectors_like(tiny, 2))) as model:
        model.pipeline().save_pretrained(tmp_path)
        ids = model.tokenizer("a <teal> <teal>_1 boat").input_ids
        embeds = encode_prompts(model, ["a <teal> boat"])
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(tmp_path, safety_checker=None)
    assert type(pipe.tokenizer) is CLIPTokenizer and pipe.tokenizer("a <teal> <teal>_1 boat").input_ids == ids
    theirs, _ = pipe.encode_prompt("a <teal> boat", "cpu", 1, False)
    assert torch.allclose(theirs, embeds, atol=1e-5)


def test_a_prompt_of_a_training_that_is_cut_off_is_named(tiny):
    with pytest.warns(UserWarning, match='this was cut: ".* at night"'):
        train_concept(tiny, pictures_of(tiny, 1), "<teal>", "blue", ["a <teal> boat " * 40 + "at night"], steps=1)


def test_nothing_of_the_model_changes(tiny):
    before = state_of(tiny)
    with loaded(tiny, Concept("<teal>", vectors_like(tiny, 2))) as model:
        generate(model, "a <teal> boat", steps=1)
        assert_same_state(before, state_of(tiny))
    with pytest.raises(RuntimeError, match="midway"), loaded(tiny, Concept("<teal>", vectors_like(tiny))):
        raise RuntimeError("midway")
    assert_same_state(before, state_of(tiny))


def test_the_other_weights_are_shared_and_the_old_words_stay(tiny):
    with loaded(tiny, Concept("<teal>", vectors_like(tiny))) as model:
        table, old = (one.text_encoder.get_input_embeddings().weight for one in (model, tiny))
        assert torch.equal(table[:-1], old)
        shared = {id(weight) for weight in tiny.text_encoder.parameters()} - {id(old)}
        assert {id(weight) for weight in model.text_encoder.parameters()} - {id(table)} == shared
        assert model.unet is tiny.unet and model.vae is tiny.vae


@pytest.mark.parametrize("token, n", [("<teal>", 1), ("<Teal>", 1), ("<teal>", 3)])
def test_pictures_are_those_of_a_pipeline_with_the_file_loaded(tiny, tmp_path, token, n):
    from helpers import load_components

    concept = Concept(token, vectors_like(tiny, n))
    save_concept(concept, tmp_path / "teal")
    pipeline = load_components(tiny.path, device="cpu").pipeline()
    pipeline.load_textual_inversion(str(tmp_path / "teal"), weight_name="learned_embeds.safetensors")
    prompt = f"a {token} boat on a lake"
    theirs = pipeline(
        prompt, num_inference_steps=4, guidance_scale=3.0, generator=torch.Generator().manual_seed(3)
    ).images[0]
    with loaded(tiny, read_concept(tmp_path / "teal")) as model:
        options = {"steps": 4, "seed": 3, "guidance": 3.0, "scheduler": tiny.scheduler}
        ours = generate(model, prompt, **options)
        assert apart(ours, theirs) <= 2
        without = generate(model, "a boat on a lake", **options)
    assert apart(ours, without) > 20  # so that the comparison can fail


def test_several_vectors_are_written_as_one_word(tiny):
    house, teal = Concept("<house>", vectors_like(tiny, 3)), Concept("<teal>", vectors_like(tiny))
    with loaded(tiny, house, teal) as model:
        first = len(tiny.tokenizer)
        all_of_it = [first, first + 1, first + 2]
        assert model.tokenizer("<house>").input_ids[1:-1] == all_of_it
        assert model.tokenizer(["<teal> <house>"]).input_ids[0][1:-1] == [first + 3, *all_of_it]
        # diffusers writes them out itself, before the tokenizer is asked:
        assert model.tokenizer("<house> <house>_1 <house>_2").input_ids[1:-1] == all_of_it
        assert token_positions(model.tokenizer, "a <house> boat", "<house>") == [2, 3, 4]
        with loaded(model, Concept("<boat>", vectors_like(tiny, 2))) as more:
            assert more.tokenizer("<house> <boat>").input_ids[1:-1] == [*all_of_it, first + 4, first + 5]
        assert len(model.tokenizer) == first + 4


@pytest.mark.parametrize(
    "make, error, words",
    [
        (lambda c: ["<teal>"], TypeError, "as read_concept returns them, not '<teal>'"),
        (lambda c: [Concept("<a>", torch.ones(7))], ValueError, "vectors of 7 numbers, and the text encoder"),
        (lambda c: [Concept("boat", vectors_like(c))], ValueError, "The token boat is in the vocabulary already"),
        (lambda c: [Concept("Boat", vectors_like(c))], ValueError, "The token Boat is in the vocabulary already"),
        (lambda c: [Concept("<|endoftext|>", vectors_like(c))], ValueError, "in the vocabulary already"),
        (
            lambda c: [Concept("<a>", vectors_like(c)), Concept("<a>", vectors_like(c))],
            ValueError,
            "Two of the concepts",
        ),
        (
            lambda c: [Concept("<a>", vectors_like(c, 2)), Concept("<a>_1", vectors_like(c))],
            ValueError,
            "Two of the concepts",
        ),
        (
            lambda c: [Concept("<a>", vectors_like(c)), Concept("<b>", torch.ones(7))],
            ValueError,
            "vectors of 7 numbers",
        ),
    ],
)
def test_a_concept_that_does_not_fit_leaves_nothing_behind(tiny, make, error, words):
    before = state_of(tiny)
    with pytest.raises(error, match=words), loaded(tiny, *make(tiny)):
        pytest.fail("the block was entered")
    assert_same_state(before, state_of(tiny))


def test_a_token_that_a_loaded_concept_has_is_taken(tiny_postcard):
    concept = Concept("<teal>", vectors_like(tiny_postcard))
    with loaded(tiny_postcard, concept) as model, pytest.raises(ValueError, match="vocabulary already"):
        loaded(model, concept).__enter__()


# Training


def train(c, **settings):
    options = {"start": "blue", "prompts": ["a <teal> boat", "<teal> hills"], "steps": 12, "batch": 2} | settings
    return train_concept(c, pictures_of(c), "<teal>", **options)


def test_training_moves_the_vector_and_nothing_else(tiny):
    before, rng = state_of(tiny), torch.get_rng_state()
    unet = {name: weight.clone() for name, weight in tiny.unet.state_dict().items()}
    seen = list(train(tiny))
    first, last = seen[0], seen[-1]
    assert [progress.step for progress in seen] == list(range(13))
    assert {progress.steps for progress in seen} == {12}
    start = tiny.text_encoder.get_input_embeddings().weight[tiny.tokenizer("blue").input_ids[1]]
    assert torch.equal(first.vector, start[None]) and torch.equal(first.best, first.vector)
    assert last.vector.shape == first.vector.shape
    assert not torch.allclose(last.vector, first.vector, atol=1e-3)
    lengths = torch.stack([one.vector.norm() for one in seen])
    assert torch.allclose(lengths, start.norm().expand(13), rtol=1e-4)  # only its direction moves
    assert [progress.step for progress in seen if progress.loss == progress.loss] == [0, 10, 12]
    measured = {progress.loss: progress.vector for progress in seen if progress.loss == progress.loss}
    assert torch.equal(last.best, measured[min(measured)]) and min(measured) < first.loss
    assert_same_state(before, state_of(tiny))
    assert all(torch.equal(weight, unet[name]) for name, weight in tiny.unet.state_dict().items())
    assert all(weight.grad is None for weight in (*tiny.unet.parameters(), *tiny.text_encoder.parameters()))
    assert torch.equal(rng, torch.get_rng_state())


def test_a_step_of_one_s_own_trains_as_well(tiny_postcard):
    c, before, seen = tiny_postcard, state_of(tiny_postcard), []

    def step(*arguments):
        seen.append(arguments)
        return put_back(*arguments)

    path = list(train(c, start="blue green", step=step))
    words, new_ids, optimizer, _ = seen[0]
    assert (
        len(seen) == 12 and new_ids == [len(c.tokenizer), len(c.tokenizer) + 1] and words.weight.dtype == torch.float32
    )
    assert isinstance(optimizer, torch.optim.AdamW) and optimizer.param_groups[0]["weight_decay"] > 0
    assert torch.equal(path[0].vector, next(train(c, start="blue green")).vector)
    assert not torch.allclose(path[-1].vector, path[0].vector, atol=1e-3)
    lengths = torch.stack([one.vector.norm(dim=1) for one in path])
    assert torch.allclose(lengths, lengths[:1].expand_as(lengths), rtol=1e-4)
    assert_same_state(before, state_of(c))


def test_a_step_that_moves_other_words_is_stopped(tiny_postcard):
    def step(words, new_ids, optimizer, loss_of):
        optimizer.zero_grad()
        loss_of().backward()
        optimizer.step()

    before = state_of(tiny_postcard)
    with pytest.raises(ValueError, match="moves other words than the new one"):
        list(train(tiny_postcard, step=step))
    assert_same_state(before, state_of(tiny_postcard))


def test_training_is_repeatable_and_depends_on_the_seed(tiny_postcard):
    one, same, other = (list(train(tiny_postcard, steps=4, seed=seed))[-1].vector for seed in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_a_cancelled_training_leaves_the_best_so_far(tiny_postcard):
    before = state_of(tiny_postcard)
    for progress in train(tiny_postcard, steps=1000):
        if progress.step == 11:
            break
    concept = Concept("<teal>", progress.best)
    assert concept.vectors.shape == progress.vector.shape and not torch.equal(progress.best, progress.vector)
    assert_same_state(before, state_of(tiny_postcard))


def test_what_was_handed_out_does_not_change_later(tiny_postcard):
    training = train(tiny_postcard)
    first = next(training)
    kept = copy.deepcopy(first)
    list(training)
    assert torch.equal(first.vector, kept.vector) and torch.equal(first.best, kept.best)


def test_several_words_give_several_vectors(tiny):
    *_, last = train(tiny, start="blue house", steps=2)
    table = tiny.text_encoder.get_input_embeddings().weight
    ids = tiny.tokenizer("blue house").input_ids[1:-1]
    assert last.vector.shape == (len(ids), table.shape[1]) and len(ids) >= 2
    assert torch.allclose(last.vector.norm(dim=1), table[ids].norm(dim=1), rtol=1e-4)


def test_the_token_alone_is_the_prompt_where_none_is_given(tiny_postcard):
    *_, alone = train(tiny_postcard, prompts=None, steps=2)
    *_, written = train(tiny_postcard, prompts=["<teal>", "<teal>"], steps=2)
    assert isinstance(alone, Progress) and torch.equal(alone.vector, written.vector)


@pytest.mark.parametrize(
    "settings, error, words",
    [
        ({"steps": 0}, ValueError, "steps must lie between"),
        ({"batch": 2.5}, TypeError, "batch must be a whole number"),
        ({"lr": 0}, ValueError, "lr must be a number between 0 and 1"),
        ({"lr": "fast"}, TypeError, "lr must be a number"),
        ({"start": ""}, ValueError, "start must be a word"),
        ({"start": None}, TypeError, "start must be a word"),
        ({"prompts": ["a <teal> boat"]}, ValueError, "2 pictures and 1 prompts"),
        ({"prompts": ["a <teal> boat", "a boat"]}, ValueError, "'a boat' does not hold <teal>"),
        ({"prompts": ["a <teal> boat", "a " * 90 + "<teal>"]}, ValueError, "too late to be read"),
    ],
)
def test_bad_training_settings_are_refused_at_once(tiny_postcard, settings, error, words):
    with pytest.raises(error, match=words):
        train(tiny_postcard, **settings)


def test_a_fast_model_is_not_trained_on(tiny_fast):
    with pytest.raises(
        ValueError, match="cannot be taught anything: .* train with load_components.* and load the result here"
    ):
        train(tiny_fast)


def test_bad_pictures_are_refused_at_once(tiny_postcard):
    with pytest.raises(ValueError, match="no picture to learn from"):
        train_concept(tiny_postcard, [], "<teal>", "blue")
    with pytest.raises(ValueError, match="The pictures must be"):
        train_concept(tiny_postcard, [Image.new("RGB", (64, 64))], "<teal>", "blue")
    with pytest.raises(ValueError, match="in the vocabulary already"):
        train_concept(tiny_postcard, pictures_of(tiny_postcard), "boat", "blue")


def test_a_training_that_breaks_is_named(tiny_postcard, monkeypatch):
    monkeypatch.setattr("helpers.concepts.train.noise_loss", lambda *arguments: torch.tensor(float("nan")))
    with pytest.raises(FloatingPointError, match="loss holds NaN"):
        list(train(tiny_postcard))


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
def test_a_perfect_model_has_no_loss_whatever_it_predicts(tiny, kind):
    """By the library's own formula of v. A LoRA's loss, of what is new, is the same."""
    generator = torch.Generator().manual_seed(0)
    latents, noise = (torch.randn(2, *tiny.latent_shape, generator=generator) for _ in range(2))
    timesteps = torch.tensor([100, 900])
    scheduler = DDIMScheduler.from_config(tiny.scheduler.config, prediction_type=kind)
    perfect = {
        "epsilon": noise,
        "v_prediction": scheduler.get_velocity(latents, noise, timesteps),
        "sample": latents,
    }[kind]

    def unet(noisy, timesteps, encoder_hidden_states):
        return SimpleNamespace(sample=torch.cat([perfect] * (len(noisy) // 2)))

    unet.device = tiny.device
    model = replace(tiny, scheduler=scheduler, unet=unet)
    some = model, latents, torch.zeros(2, 77, 8), noise, timesteps, torch.ones(2, 1, 1, 1)
    assert noise_loss(*some).item() < 1e-10
    assert joint_loss(some, some, perfect).item() < 1e-10
    for other in {"epsilon", "v_prediction", "sample"} - {kind}:
        wrong = replace(model, scheduler=DDIMScheduler.from_config(scheduler.config, prediction_type=other))
        assert noise_loss(wrong, *some[1:]).item() > 0.1


def test_the_loss_is_that_of_the_noise_guess(tiny):
    generator = torch.Generator().manual_seed(0)
    latents, noise = (torch.randn(2, *tiny.latent_shape, generator=generator) for _ in range(2))
    embeds, timesteps = encode_prompts(tiny, ["a boat", "a house"]), torch.tensor([100, 900])
    with torch.no_grad():
        noisy = tiny.scheduler.add_noise(latents, noise, timesteps)
        expected = (tiny.unet(noisy, timesteps, embeds).sample - noise).square().mean()
        loss = noise_loss(tiny, latents, embeds, noise, timesteps)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
