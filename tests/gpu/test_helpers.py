"""What helpers/ computes on a graphics card, a pretend one where there is none, is what it computes on the CPU: loop,
attention, latents, words, concepts, LoRA, panels. In float16 as in float32, each within what its format rounds away.
"""

import io

from helpers.runtime import seeded_generator, seeded_noise

import card
import numpy as np
import pytest
import torch
from PIL import Image
from studios import draw

from helpers import denoise, generate, load_components, record_attention
from helpers.attention import reweight_attention
from helpers.concepts import Concept, loaded, nearest_words, noise_loss, save_concept, train_concept
from helpers.concepts.train import descend, loss_scaler
from helpers.conditioning import encode_prompts, split_prompt
from helpers.diffusion import add_noise, make_alphas_cumprod, predict_x0, score, spectrum
from helpers.figures import latents as figures
from helpers.latents import decode_latents, encode_image, fit_preview, preview_of
from helpers.lora import add_lora, load_lora, save_lora, train_lora
from helpers.panels import conditioning, latents
from helpers.panels.concepts import ConceptStudio
from helpers.panels.sampling import Studio
from helpers.sampling import extend, make_scheduler

PROMPT = "a red boat on a lake"


@pytest.fixture(scope="module", params=["postcard", "sd15"])
def both(request, model_folders):
    """(the model on the CPU in float32, the same on the card)."""
    if not request.config.getoption("--gpu"):
        pytest.skip("for make test-gpu, which starts the card")
    here, there = (load_components(model_folders[request.param], device=place) for place in ("cpu", None))
    assert there.device == card.device() and here.device.type == "cpu"
    assert there.dtype == (torch.float32 if request.config.getoption("--float32") else torch.float16)
    return here, there


def near(c, one, other, times=40):
    """Whether two tensors agree to what the format of c rounds away, so many times over."""
    one, other = (torch.as_tensor(some).detach().float().cpu() for some in (one, other))
    return (one - other).abs().max() <= times * torch.finfo(c.dtype).eps * other.abs().max()


def alike(c, one, other):
    """Whether two pictures agree: to the last step of 255 in float32, to some in float16."""
    apart = np.abs(np.asarray(one, int) - np.asarray(other, int))
    return apart.max() <= 1 if c.dtype == torch.float32 else apart.mean() <= 4


def picture(c):
    return Image.effect_noise((c.image_size, c.image_size), 60).convert("RGB")


def first_picture(c):
    return Image.new("RGB", (c.image_size, c.image_size), "teal")


# Loop, latents, words


@pytest.mark.parametrize("scheduler", ["ddim", "euler", "euler_ancestral", "dpm++_2m", "pndm", "heun", "unipc"])
def test_every_scheduler_draws_the_same_picture(both, scheduler):
    settings = {"steps": 3, "seed": 1, "scheduler": scheduler}
    drawn = [list(denoise(c, PROMPT, **settings)) for c in both]
    for step in drawn[1]:
        assert step.latents.device == both[1].device and step.latents.dtype == step.x0.dtype == both[1].dtype
    pictures = [decode_latents(c, steps[-1].latents)[0] for c, steps in zip(both, drawn)]
    if scheduler == "euler_ancestral":  # draws noise in the latents' format: float16's is other noise in torch 2.11
        dice = seeded_generator(1)
        pictures[0] = library_draws(both[1], seeded_noise((1, *both[1].latent_shape), dice), dice, scheduler)
    assert alike(both[1], *pictures)


def test_the_same_loop_from_pictures_and_in_masks(both):
    start = picture(both[0])
    mask = np.zeros(start.size, bool)
    mask[:, 40:] = True
    canvas, new = extend(start, right=both[0].vae_scale_factor * 4)
    for settings in (
        {"image": start, "strength": 0.5, "steps": 4},
        {"image": start, "mask": mask, "steps": 2},
        {"image": canvas, "mask": new, "steps": 2},
        {"guidance": 1, "steps": 2},
        {"guidance": 0, "steps": 2},
    ):
        assert alike(both[1], *(generate(c, PROMPT, seed=2, **settings) for c in both))


def test_a_pipeline_draws_it_too(both):
    there = both[1]
    theirs = library_draws(there, seeded_noise((1, *there.latent_shape), 0), None, there.scheduler)
    assert alike(there, generate(there, PROMPT, steps=3, seed=0, scheduler=there.scheduler), theirs)


def library_draws(c, noise, generator, scheduler):
    """The library's picture from the same noise, which it is given: a seed means other noise in some float16."""
    pipeline = c.pipeline()
    pipeline.scheduler = make_scheduler(c, scheduler)
    return pipeline(
        PROMPT,
        num_inference_steps=3,
        guidance_scale=c.guidance,
        latents=noise.to(c.device, c.dtype),
        generator=generator,
    ).images[0]


def test_latents_words_and_previews(both):
    here, there = both
    image = picture(here)
    codes, words = [encode_image(c, image) for c in both], [encode_prompts(c, [PROMPT]) for c in both]
    assert near(there, codes[1], codes[0]) and near(there, words[1], words[0])
    assert alike(there, *(decode_latents(c, code)[0] for c, code in zip(both, codes)))
    previews = [preview_of(c) for c in both]
    assert alike(there, *(preview(code) for preview, code in zip(previews, codes)))
    rgb = torch.rand(1, 3, *codes[0].shape[-2:])
    fitted = [fit_preview(code, rgb.to(code.device)) for code in codes]  # on whatever device the latents are
    assert fitted[1].weight.device == there.device and fitted[1].explains(codes[1], rgb.to(there.device)) <= 1


def test_noise_keeps_its_size_at_the_first_levels(both):
    """1 - abar_0 is 0.00085, and 0.00098 where abar_0 = 0.99915 is rounded to float16 first."""
    c, abar = both[1], make_alphas_cumprod()
    x_0, noise = (torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    for t in (0, 5, 500, torch.tensor([0, 999])):
        x_t = add_noise(x_0.to(c.device, c.dtype), noise.to(c.device, c.dtype), t, abar)
        assert x_t.dtype == c.dtype and near(c, x_t, add_noise(x_0, noise, t, abar), 4)
        assert score(x_t, t, abar).dtype == predict_x0(x_t, x_t, t, abar).dtype == c.dtype
    nothing = torch.zeros_like(x_0).to(c.device, c.dtype)
    kept = add_noise(nothing, torch.ones_like(nothing), 0, abar)[0, 0, 0, 0].item()
    assert kept == pytest.approx((1 - abar[0].item()) ** 0.5, rel=1e-3)
    frequencies, power = spectrum(x_0[0].to(c.device))
    assert power.device == frequencies.device == c.device and near(c, power, spectrum(x_0[0])[1])


# Attention


def test_attention_is_recorded_and_changed(both):
    heats, pictures, spent = [], [], []
    for c in both:
        with record_attention(c.unet, heads=True) as attention:
            generate(c, PROMPT, steps=2, seed=0)
        heats.append(attention.heatmap([2, 3], size=32))
        spent.append(attention.probabilities(attention.layers[0].name, 1))
        with reweight_attention(c.unet, {3: 0, 2: 4}, swap=(1, 5)):
            pictures.append(generate(c, PROMPT, steps=2, seed=0))
    assert np.abs(heats[0] - heats[1]).mean() < 0.05 and near(both[1], spent[1], spent[0])
    assert alike(both[1], *pictures) and not alike(both[1], pictures[1], generate(both[1], PROMPT, steps=2, seed=0))


# Concepts and LoRA


def test_a_concept_is_learnt_and_read(both, tmp_path):
    vectors = []
    for c in both:
        before = {name: weight.clone() for name, weight in c.text_encoder.state_dict().items()}
        *_, last = train_concept(c, [first_picture(c)], "<teal>", "blue", steps=3, batch=2)
        assert last.vector.dtype == torch.float32 and last.vector.device.type == "cpu" and last.loss == last.loss
        assert all(torch.equal(weight, before[name]) for name, weight in c.text_encoder.state_dict().items())
        vectors.append(last.vector)
    start = both[0].text_encoder.get_input_embeddings().weight[both[0].tokenizer("blue").input_ids[1]]
    moved = (vectors[0] - start).norm()
    assert (vectors[1] - vectors[0]).norm() < moved / 3  # the same way, whatever is rounded
    concept = Concept("<teal>", vectors[0])
    for c in both:
        with loaded(c, concept) as model:
            assert not torch.equal(encode_prompts(model, ["a <teal> boat"]), encode_prompts(c, ["a blue boat"]))
    assert [[word for word, _ in nearest_words(c, vectors[0], 2)] for c in both][1]
    save_concept(Concept("<teal>", both[1].text_encoder.get_input_embeddings().weight[5]), tmp_path / "teal")


def test_the_loss_is_float32_in_every_format(both):
    losses = []
    for c in both:
        x_0, noise = (
            torch.randn(2, *c.latent_shape, generator=torch.Generator().manual_seed(k)).to(c.device, c.dtype)
            for k in (0, 1)
        )
        with torch.no_grad():
            losses.append(noise_loss(c, x_0, encode_prompts(c, ["a boat", "a house"]), noise, torch.tensor([100, 900])))
    assert losses[0].dtype == losses[1].dtype == torch.float32 and near(both[1], losses[1], losses[0])


def test_a_lora_is_trained_merged_saved_and_removed(both, tmp_path):
    moved = []
    for c in both:
        answer = generate(c, PROMPT, steps=2)
        weights = {name: weight.clone() for name, weight in c.unet.state_dict().items()}
        with add_lora(c.unet, rank=2, targets=("to_q", "to_k", "to_v", "to_out.0", "conv1")) as lora:
            assert {one.dtype for one in lora.parameters()} == {torch.float32}
            assert {one.device for one in lora.parameters()} == {c.device}
            assert generate(c, PROMPT, steps=2).tobytes() == answer.tobytes()
            *_, last = train_lora(
                c,
                lora,
                [first_picture(c)],
                [PROMPT],
                ([picture(c)], ["a lake"]),
                [np.ones((c.image_size,) * 2, bool)],
                steps=2,
                batch=4,
            )
            assert last.loss == last.loss
            moved.append(torch.cat([layer.B.detach().flatten().cpu() for layer in lora.layers.values()]))
            lora.strength = 30.0
            beside = generate(c, PROMPT, steps=2)
            lora.merge()
            merged = generate(c, PROMPT, steps=2)
            apart = np.abs(np.asarray(merged, int) - np.asarray(beside, int)).mean()
            assert apart <= (1 if c.dtype == torch.float32 else 6)  # merged weights are rounded to float16
            lora.unmerge()
            lora.strength = 1.0
            changes = lora.changes()
            save_lora(lora, tmp_path / c.device.type)
        state = c.unet.state_dict()
        assert state.keys() == weights.keys()
        assert all(torch.equal(weight, weights[name]) for name, weight in state.items())
        with load_lora(c, tmp_path / c.device.type) as again:
            for name, change in again.changes().items():
                assert (change - changes[name]).abs().max() <= 2e-3 * changes[name].abs().max()
    assert torch.equal(moved[0] != 0, moved[1] != 0) or moved[1].ne(0).float().mean() > 0.99
    assert torch.nn.functional.cosine_similarity(moved[0], moved[1], dim=0) > 0.8


def test_small_gradients_do_not_vanish_and_large_ones_stop_nothing(both):
    """A gradient of 1e-8 is none in float16. Times the factor it is one, and it is divided again in float32."""
    c = both[1]
    moved = {}
    for scaled in (True, False):
        weight = torch.ones(1, device=c.device, requires_grad=True)
        optimizer = torch.optim.SGD([weight], lr=1.0)
        schedule = torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)
        scaler = loss_scaler(c) if scaled else torch.amp.GradScaler(c.device.type, enabled=False)
        for factor in (1e-8, 1e38):
            before, steps = weight.item(), schedule.last_epoch
            descend((weight.to(c.dtype).float() * factor).sum(), optimizer, scaler, schedule)
            moved[scaled, factor] = weight.grad.item(), schedule.last_epoch - steps
            if factor > 1 and scaled and c.dtype == torch.float16:
                assert weight.item() == before and scaler.get_scale() == 2.0**15
    assert moved[True, 1e-8][0] == pytest.approx(1e-8, rel=1e-2) and moved[True, 1e-8][1] == 1
    if c.dtype == torch.float16:
        assert moved[False, 1e-8][0] == 0 and moved[True, 1e38][1] == 0  # the step that overflowed counts for nothing


# Panels, through their pure functions


def test_panels_draw(both, tmp_path, monkeypatch):
    c, image = both[1], picture(both[1])
    monkeypatch.chdir(tmp_path)
    with record_attention(c.unet, heads=True) as attention:
        generate(c, PROMPT, steps=2)
    vectors = tmp_path / "teal"
    save_concept(Concept("<teal>", torch.randn(1, c.unet.config.cross_attention_dim)), vectors)
    panels = [
        latents.cell_panel(figures.Cell(c, image), 3, 2),
        latents.factor_panel(lambda size, t: torch.zeros(3, 16, 16), torch.linspace(0.9, 0.1, 40), 2.0, [7]),
        conditioning.inspector_panel(c, PROMPT),
        conditioning.explorer_panel(image, attention, c, PROMPT),
    ]
    for panel in panels:
        assert "could not" not in panel.line.value, panel.line.value
        Image.open(io.BytesIO(panel.picture.value)).load()
    assert split_prompt(c.tokenizer, PROMPT)
    for studio in (
        Studio(c, prompt=PROMPT, steps=2),
        ConceptStudio(c, {"teal": vectors}, prompt="a <teal> boat", concept="teal", steps=2),
    ):
        assert draw(studio) == "Done.", studio.line.value
