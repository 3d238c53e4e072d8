"""Two things at once with one model: each draws, records and trains as if it were alone, and nothing stays behind."""

import gc
import os
import random
import threading
import time
import weakref
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from studios import begin_slowly, flat, same, state_of

from helpers import denoise, generate
from helpers.attention import record_attention, reweight_attention
from helpers.components import copy_of
from helpers.concepts import Concept, loaded, read_concept, save_concept, train_concept
from helpers.conditioning import encode_prompts
from helpers.library import brought_in
from helpers.lora import add_lora, load_lora, save_lora, train_lora
from helpers.lora.layers import unet_without
from helpers.panels.concepts import ConceptStudio
from helpers.panels.sampling import Studio
from helpers.sampling import make_scheduler

PROMPT = "a red boat on a lake"
TRIES = pytest.mark.parametrize("tries", [2, pytest.param(50, marks=pytest.mark.hard)])


@pytest.fixture
def c(tiny_postcard):
    before = state_of(tiny_postcard)
    yield tiny_postcard
    assert state_of(tiny_postcard) == before, "something stayed behind in the model"


@pytest.fixture(scope="module")
def shelf(tmp_path_factory, tiny_postcard):
    """Two LoRAs that change every picture much."""
    folder = tmp_path_factory.mktemp("concepts")
    for k, name in enumerate(("windmill", "snowman")):
        with strong_lora(tiny_postcard.unet, k) as lora:
            save_lora(lora, folder / name)
    return folder


def strong_lora(unet, seed=0):
    lora = add_lora(unet, rank=2, seed=seed)
    for k, layer in enumerate(lora.layers.values()):
        torch.nn.init.normal_(layer.B.data, std=0.5, generator=torch.Generator().manual_seed(100 * seed + k))
    return lora


def studio_of(kind, c, shelf, **settings):
    library = {} if kind is Studio else {"library": {path.name: path for path in sorted(shelf.iterdir())}}
    studio = kind(c, **library, prompt=PROMPT, steps=6, **settings)
    studio.preview = flat
    return studio


def ended(studio):
    """The picture that a studio has drawn."""
    assert studio.job.wait(120) and studio.line.value.startswith("Done."), studio.line.value
    return studio.history[0][0]


def alone(studio):
    studio.generate.click()
    return ended(studio)


def meanwhile(seed):
    """A moment to wait in, another one each time: so that the second thing begins anywhere in the first."""
    time.sleep(random.Random(seed).uniform(0, 0.08))


# Studios


@TRIES
@pytest.mark.parametrize("other", ["plain studio", "LoRA studio", "cell"])
def test_a_studio_with_a_lora_beside(other, c, shelf, tries):
    first = studio_of(ConceptStudio, c, shelf, concept="windmill", seed=3)
    second = (
        studio_of(Studio, c, shelf, seed=4)
        if other != "LoRA studio"
        else studio_of(ConceptStudio, c, shelf, concept="snowman", seed=4)
    )

    def drawn():
        return generate(c, PROMPT, steps=6, seed=4)

    wanted = alone(first), drawn() if other == "cell" else alone(second)
    assert not same(wanted[0].crop((0, 0, 128, 128)), generate(c, PROMPT, steps=6, seed=3))  # the LoRA shows
    for k in range(tries):
        first.generate.click()
        meanwhile(k)
        if other == "cell":
            found = drawn()
        else:
            second.generate.click()
            found = ended(second)
        assert same(found, wanted[1]) and same(ended(first), wanted[0])


def training(c, steps=4):
    """What a LoRA has learnt after a few steps, flat."""
    images = [Image.new("RGB", (128, 128), colour) for colour in ("blue", "red")]
    with add_lora(c.unet, rank=2) as lora:
        for _ in train_lora(
            c, lora, images, ["a blue house", PROMPT], (images, ["a house", "a boat"]), steps=steps, batch=3
        ):
            pass
        return torch.cat([part.detach().flatten() for part in lora.parameters()])


@TRIES
@pytest.mark.parametrize("kind", [Studio, ConceptStudio])
def test_a_studio_beside_a_training(kind, c, shelf, tries):
    studio = studio_of(kind, c, shelf, seed=3, **({} if kind is Studio else {"concept": "windmill"}))
    picture, learnt = alone(studio), training(c)
    for k in range(tries):
        studio.generate.click()
        meanwhile(k)
        assert torch.equal(training(c), learnt)
        assert same(ended(studio), picture)


def test_a_studio_draws_the_model_as_it_was_at_the_click(c, shelf):
    studio = studio_of(Studio, c, shelf, seed=3)
    plain = alone(studio)
    with strong_lora(c.unet) as lora:
        changed = alone(studio)
        assert same(changed, generate(c, PROMPT, steps=6, seed=3)) and not same(changed, plain)
        studio.generate.click()
        lora.strength = 0
        lora.merge()
        assert same(ended(studio), changed)
    studio.generate.click()
    with strong_lora(c.unet):
        assert same(ended(studio), plain)


def some(few, many):
    """So many tries, and as many as in the first trial of it by `make test-hard`."""
    return pytest.mark.parametrize("tries", [few, pytest.param(many, marks=pytest.mark.hard)])


@some(1, 12)
def test_two_plain_studios_at_once(c, shelf, tries):
    first, second = (studio_of(Studio, c, shelf, seed=seed) for seed in (3, 4))
    wanted = alone(first), alone(second)
    assert not same(*wanted)
    draw_at_once(first, second, wanted, tries)


@some(1, 6)
def test_six_threads_draw_at_once(c, tries):
    wanted = [generate(c, PROMPT, steps=3, seed=seed) for seed in range(6)]
    for _ in range(tries):
        found = {}
        threads = [
            threading.Thread(target=lambda seed=seed: found.update({seed: generate(c, PROMPT, steps=3, seed=seed)}))
            for seed in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert all(same(found[seed], picture) for seed, picture in enumerate(wanted))


def draw_at_once(first, second, wanted, tries):
    """Two studios draw, the second while the first is at it, and each draws what it would alone."""
    for k in range(tries):
        first.generate.click()
        meanwhile(k)
        second.generate.click()
        assert same(ended(first), wanted[0]) and same(ended(second), wanted[1])


def beside_a_studio(c, shelf, work, alike, tries):
    """`work` in a cell while a studio draws: both come out as they do alone."""
    studio = studio_of(Studio, c, shelf, seed=3)
    picture, result = alone(studio), work()
    for k in range(tries):
        studio.generate.click()
        meanwhile(k)
        assert alike(work(), result) and same(ended(studio), picture)


def vectors_of(c):
    words = c.text_encoder.get_input_embeddings().weight[:1].detach()
    return Concept("<teal>", 2 * words + torch.randn(words.shape, generator=torch.Generator().manual_seed(0)))


@some(1, 6)
def test_a_studio_with_a_vector_beside_a_plain_one(c, shelf, tries):
    first, second = (
        kind(c, prompt="a <teal> boat", steps=6, seed=3, **more)
        for kind, more in ((ConceptStudio, {"library": {"teal": vectors_of(c)}, "concept": "teal"}), (Studio, {}))
    )
    first.preview = second.preview = flat
    wanted = alone(first), alone(second)
    assert not same(wanted[0].crop((0, 0, 128, 128)), wanted[1])  # the vector shows
    draw_at_once(first, second, wanted, tries)


@some(1, 5)
def test_a_studio_beside_the_training_of_a_vector(c, shelf, tries):
    def learnt():
        images = [Image.new("RGB", (128, 128), colour) for colour in ("blue", "red")]
        *_, last = train_concept(c, images, "<mine>", start="blue", prompts=["a <mine> boat"] * 2, steps=4, batch=2)
        return last.vector

    beside_a_studio(c, shelf, learnt, torch.equal, tries)


# One studio, in a hurry


@some(8, 50)
def test_of_many_clicks_the_last_one_is_drawn(c, shelf, tries):
    studio, threads = studio_of(Studio, c, shelf), threading.active_count()
    studio.controls["steps"].value = 20
    for seed in range(tries):
        studio.controls["seed"].value = seed
        studio.generate.click()
    assert same(ended(studio), generate(c, PROMPT, steps=20, seed=tries - 1))
    assert len(studio.history) == 1 and threading.active_count() == threads


@pytest.mark.parametrize("kind", [Studio, ConceptStudio])
@pytest.mark.parametrize("at", [2, *(pytest.param(step, marks=pytest.mark.hard) for step in range(3, 12))])
def test_cancelled_at_a_step_the_next_picture_is_the_same(kind, at, c, shelf):
    studio = studio_of(kind, c, shelf, seed=3, **({} if kind is Studio else {"concept": "windmill"}))
    picture = alone(studio)
    begun, go_on = begin_slowly(studio, at)
    assert begun.wait(30)
    studio.cancel.click()
    go_on.set()
    assert studio.job.wait(60) and studio.line.value.startswith("Cancelled after")
    studio.preview, studio.controls["steps"].value = flat, 6
    assert same(alone(studio), picture)


@some(25, 200)
def test_random_clicks_leave_a_studio_that_draws_and_files_with_their_settings(c, shelf, tries, my_course_folder):
    studio, draw = studio_of(ConceptStudio, c, shelf, seed=3, concept="windmill"), random.Random(tries)
    picture = alone(studio)
    moves = {
        "generate": studio.generate.click,
        "cancel": studio.cancel.click,
        "save": studio.save.click,
        "wait": lambda: time.sleep(0.05),
        "seed": lambda: setattr(studio.controls["seed"], "value", draw.randrange(9)),
        "steps": lambda: setattr(studio.controls["steps"], "value", draw.randrange(1, 6)),
    }
    for _ in range(tries):
        moves[draw.choice([*moves])]()
        assert "<b>" not in studio.line.value, studio.line.value
    assert studio.job.wait(120)
    studio.controls["seed"].value, studio.controls["steps"].value = 3, 6
    assert same(alone(studio), picture)
    studio.save.click()
    files = [*(my_course_folder / "pictures").iterdir()]
    assert files
    for file in files:
        with Image.open(file) as saved:
            assert PROMPT in saved.text["parameters"], file.name


@some(1, 4)
def test_a_panel_closed_while_it_draws_ends_in_peace(c, shelf, tries):
    wanted, threads = generate(c, PROMPT, steps=6, seed=3), threading.active_count()
    for _ in range(tries):
        studio = studio_of(Studio, c, shelf, seed=3)
        begun, go_on = begin_slowly(studio)
        assert begun.wait(30)
        studio.close()
        go_on.set()
        assert studio.job.wait(60) and threading.active_count() == threads
        assert same(alone(studio_of(Studio, c, shelf, seed=3)), wanted)


# For a long time


def measured():
    """(open files, threads, MB of memory, Python's objects) of this process."""
    gc.collect()
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    return len(os.listdir("/proc/self/fd")), threading.active_count(), resident, len(gc.get_objects())


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="only Linux tells memory and open files so")
@pytest.mark.parametrize(
    "pictures, loads, loras, panels", [(6, 6, 6, 2), pytest.param(300, 200, 100, 50, marks=pytest.mark.hard)]
)
def test_a_long_session_takes_no_more_than_a_short_one(c, shelf, tmp_path, pictures, loads, loras, panels):
    def draw(k):
        with record_attention(c.unet) if k % 2 else nullcontext():
            return generate(c, PROMPT, steps=4, seed=5)

    def load(k):
        with loaded(c, read_concept(folder)) as model:
            assert len(model.tokenizer) > len(c.tokenizer)

    def attach(k):
        with load_lora(c, shelf / "windmill") as lora:
            if k % 4 == 0:
                lora.merge()

    def show(k):
        studio_of(Studio if k % 2 else ConceptStudio, c, shelf)

    folder = save_concept(vectors_of(c), tmp_path / "teal")
    first = draw(0)
    for act, times, objects, memory in (
        (draw, pictures, 2, 15),
        (load, loads, 2, 15),
        (attach, loras, 2, 15),
        (show, panels, 9000, 100),
    ):
        for k in range(2):
            act(k)
        before = measured()
        for k in range(times):
            act(k)
        files, threads, resident, kept = (after - was for after, was in zip(measured(), before))
        assert files <= 0 and threads <= 0 and resident < memory, (act.__name__, files, threads, resident)
        assert kept < 300 + objects * times, f"{act.__name__}: {kept} objects more after {times}"
    assert same(draw(0), first)


# Recording, reweighting


def maps_of(attention):
    return np.concatenate(
        [
            attention.probabilities(layer.name, step).ravel()
            for layer in attention.layers
            for step in range(attention.steps)
        ]
    )


@TRIES
def test_recording_beside_drawing_reweighting_and_another_recording(c, tries):
    def recorded(seed):
        with record_attention(c.unet) as attention:
            picture = generate(c, PROMPT, steps=4, seed=seed)
        return picture, maps_of(attention)

    def muted(seed):
        with reweight_attention(c.unet, {2: 0, 3: 0}):
            return generate(c, PROMPT, steps=4, seed=seed), None

    works = [
        (recorded, 5),
        (lambda seed: (generate(c, PROMPT, steps=4, seed=seed), None), 6),
        (muted, 5),
        (recorded, 7),
    ]
    wanted = [work(seed) for work, seed in works]
    assert not same(wanted[0][0], wanted[2][0])
    for k in range(tries):
        found, problems = {}, []

        def run(i):
            try:
                meanwhile(10 * k + i)
                work, seed = works[i]
                found[i] = work(seed)
            except BaseException as problem:
                problems.append(problem)

        threads = [threading.Thread(target=run, args=(i,)) for i in range(len(works))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert not problems
        for i, (picture, maps) in enumerate(wanted):
            assert same(found[i][0], picture)
            assert maps is None or np.array_equal(found[i][1], maps)


@TRIES
def test_recording_in_a_cell_while_a_studio_draws(c, shelf, tries):
    def recorded():
        with record_attention(c.unet) as attention:
            generate(c, PROMPT, steps=4, seed=5)
        return maps_of(attention)

    beside_a_studio(c, shelf, recorded, np.array_equal, tries)


def test_a_studio_started_inside_a_recording_is_not_recorded(c, shelf):
    studio = studio_of(Studio, c, shelf, seed=3)
    plain = alone(studio)
    with record_attention(c.unet) as attention, reweight_attention(c.unet, {2: 0, 3: 0}):
        assert same(alone(studio), plain) and attention.steps == 0
        generate(c.snapshot(), PROMPT, steps=2)
        assert attention.steps == 0
        generate(c, PROMPT, steps=2)
        assert attention.steps == 2


# Copies


def test_a_snapshot_is_the_same_model_and_goes_its_own_way(c):
    plain = generate(c, PROMPT, steps=4)
    with strong_lora(c.unet) as lora:
        changed = generate(c, PROMPT, steps=4)
        kept = c.snapshot()
        lora.strength = 0.3
        assert same(generate(kept, PROMPT, steps=4), changed) and not same(generate(c, PROMPT, steps=4), changed)
        lora.strength = 1
        with torch.no_grad():
            lora.parameters()[1].mul_(-3)  # what is trained is a copy
        lora.merge()
        assert same(generate(kept, PROMPT, steps=4), changed)
    assert same(generate(kept, PROMPT, steps=4), changed) and same(generate(c, PROMPT, steps=4), plain)
    with strong_lora(kept.unet, 1):
        assert same(generate(c, PROMPT, steps=4), plain)


def test_a_copy_shares_frozen_weights_copies_trained_ones_and_keeps_the_hooks_of_the_reader(c):
    class Reader:
        """Its method is a hook; to copy the hook would copy what it holds."""

        def __init__(self):
            self.calls, self.model = 0, c

        def count(self, *given):
            self.calls += 1

        def __deepcopy__(self, memo):
            raise AssertionError("a copy of the reader's own things")

    reader = Reader()
    hook, trained = c.unet.conv_in.register_forward_hook(reader.count), c.unet.conv_out.weight
    try:
        trained.requires_grad_(True)
        other = copy_of(c.unet)
        shared = [one.data_ptr() == two.data_ptr() for one, two in zip(c.unet.parameters(), other.parameters())]
        assert (
            shared.count(False) == 1 and other.conv_out.weight.requires_grad and not other.conv_in.weight.requires_grad
        )
        assert torch.equal(other.conv_out.weight, trained) and other.conv_in is not c.unet.conv_in
        other(torch.zeros(1, *c.latent_shape), 3, encode_prompts(c, [PROMPT]).clone())
        assert reader.calls == 1
    finally:
        trained.requires_grad_(False)
        hook.remove()


def test_a_copy_made_in_inference_mode_can_be_trained_on(c):
    with torch.inference_mode():
        other = c.snapshot()
    with add_lora(other.unet) as lora:
        noise = torch.zeros(1, *c.latent_shape)
        other.unet(noise, 3, encode_prompts(c, [PROMPT]).clone()).sample.square().mean().backward()
        assert any(part.grad.abs().sum() > 0 for part in lora.parameters())


@pytest.mark.parametrize("below", [False, True])
def test_the_unet_without_a_lora_is_the_one_before_it(c, below):
    """Also where another LoRA stands on the same layers, above it or below."""
    with strong_lora(c.unet, 1) as other:
        before = generate(c, PROMPT, steps=3)
        with strong_lora(c.unet, 2) as lora:
            assert not same(generate(c, PROMPT, steps=3), before)
            left = other if below else lora
            unet = unet_without(left)
            left.remove()
            wanted = generate(c, PROMPT, steps=3)
            assert below or same(wanted, before)
            assert same(generate(c.__class__(**{**vars(c), "unet": unet}), PROMPT, steps=3), wanted)


def test_brought_in_leaves_the_model_as_it_is(c, shelf):
    plain = generate(c, PROMPT, steps=3)
    model, _ = brought_in(c, [(shelf / "windmill", 1.0)])
    assert same(generate(c, PROMPT, steps=3), plain) and not same(generate(model, PROMPT, steps=3), plain)


# The loop draws what the model is at each step


def by_hand(c, change, at=5, steps=10, guidance=3.0):
    """DDIM with guidance, written out; `change()` comes before step `at`."""
    scheduler = make_scheduler(c, "ddim")
    scheduler.set_timesteps(steps)
    latents = torch.randn(1, *c.latent_shape, generator=torch.Generator().manual_seed(0))
    embeds = encode_prompts(c, ["", PROMPT])
    with torch.inference_mode():
        for i, t in enumerate(scheduler.timesteps):
            if i == at:
                change()
            uncond, text = c.unet(torch.cat([latents] * 2), t, encoder_hidden_states=embeds).sample.chunk(2)
            latents = scheduler.step(uncond + guidance * (text - uncond), t, latents).prev_sample
    return latents


def by_loop(c, change, at=5, steps=10, guidance=3.0):
    for step in denoise(c, PROMPT, steps=steps, guidance=guidance, seed=0):
        if step.index == at - 1:
            change()
    return step.latents


def switched_off(c):
    lora = strong_lora(c.unet)
    return (lambda: setattr(lora, "strength", 0)), lora.remove


def merged(c):
    """Merged with another strength than before."""
    lora = strong_lora(c.unet)

    def change():
        lora.strength = 0.5
        lora.merge()

    return change, lora.remove


def put_in(c):
    loras = []
    return (lambda: loras.append(strong_lora(c.unet))), (lambda: loras.pop().remove())


def hooked(c):
    handles = []

    def change():
        for name, module in c.unet.named_modules():
            if name.endswith("attn2.to_k"):
                handles.append(module.register_forward_hook(lambda module, inputs, keys: -keys))

    return change, lambda: [handle.remove() for handle in handles]


@pytest.mark.parametrize("kind", [switched_off, merged, put_in, hooked])
def test_a_change_between_two_steps_is_drawn(kind, c):
    ends = {}
    for name, way, at in (("hand", by_hand, 5), ("loop", by_loop, 5), ("late", by_loop, 9)):
        change, undo = kind(c)
        try:
            ends[name] = way(c, change, at)
        finally:
            undo()
    assert torch.equal(ends["hand"], ends["loop"])
    assert (ends["late"] - ends["loop"]).abs().max() > 0.05  # what comes late shows less: the test could fail


def test_the_words_are_read_anew_at_every_step(c):
    """A weight of the words' keys that is written into in place counts from the next step on."""
    layer = dict(c.unet.named_modules())["mid_block.attentions.0.transformer_blocks.0.attn2.to_k"]
    kept = layer.weight.data.clone()
    ends = []
    for way in (by_hand, by_loop):
        try:
            ends.append(way(c, lambda: layer.weight.data.mul_(-2)))
        finally:
            layer.weight.data.copy_(kept)
    assert torch.equal(*ends)


# What is dropped half-way


def test_iterators_that_are_dropped_hold_nothing(c, shelf):
    def networks():
        gc.collect()
        return {id(one) for one in gc.get_objects() if type(one) is type(c.unet)}

    before, steps = networks(), denoise(c, PROMPT, steps=5)
    latents = weakref.ref(next(steps).latents)
    with add_lora(c.unet, rank=2) as lora:
        images = [Image.new("RGB", (128, 128), "blue")]
        progress = train_lora(c, lora, images, [PROMPT], (images, [PROMPT]), steps=5, batch=3)
        next(progress)
        assert latents() is not None and len(networks() - before) == 1  # the teacher
        del steps, progress
        assert networks() == before and latents() is None
    studio = studio_of(ConceptStudio, c, shelf, concept="windmill")
    alone(studio)
    assert networks() == before
