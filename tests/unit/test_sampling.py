"""helpers.sampling: the same pictures as diffusers, x_0, image-to-image, inpainting, and what bad input gets.

The models have random weights scaled up until prompt, guidance and seed change the picture much (the first
test), so that agreement with the library is not the agreement of two grey squares.
"""

import functools
import re
import warnings
from dataclasses import replace

from helpers.runtime import seeded_noise

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from helpers import denoise, generate
from helpers.conditioning import encode_prompts
from helpers.latents import decode_latents, encode_image
from helpers.sampling import ALIASES, SCHEDULERS, extend, implied_x0, make_scheduler

PROMPT = "a red boat on a lake at sunset"


def difference(a, b):
    """The largest difference of any pixel of two pictures, 0 to 255."""
    return int(np.abs(np.asarray(a).astype(int) - np.asarray(b).astype(int)).max())


def by_library(c, prompt, scheduler, seed=0, steps=6, guidance=None, kind=None, **settings):
    """What the library's own pipeline draws, as a list of PIL images."""
    pipe = c.pipeline()
    if kind is not None:
        pipe = kind.from_pipe(pipe, requires_safety_checker=False)
        pipe.set_progress_bar_config(disable=True)
    settled = {"skip_prk_steps": True} if scheduler == "pndm" else {}  # as in Stable Diffusion 1.5
    pipe.scheduler = SCHEDULERS[scheduler].from_config(pipe.scheduler.config, **settled)
    seeds = seed if isinstance(seed, list) else [seed]
    generators = [torch.Generator("cpu").manual_seed(one) for one in seeds]
    settings |= {"guidance_scale": c.guidance if guidance is None else guidance, "generator": generators}
    return pipe(prompt, num_inference_steps=steps, **settings).images


@pytest.fixture
def photo(tiny):
    """Smooth colours and a hard edge, of the size that the model draws."""
    ramp = np.linspace(0, 255, tiny.image_size)
    pixels = np.stack(np.broadcast_arrays(ramp[None], ramp[:, None], (ramp[None] > 90) * 200), -1)
    return Image.fromarray(pixels.astype("uint8"))


# A model into which guidance has been folded


def test_a_fast_model_draws_in_its_own_steps_without_guidance(tiny_fast):
    steps = list(denoise(tiny_fast, PROMPT, seed=3))
    assert len(steps) == tiny_fast.steps == 2
    expected = by_library(tiny_fast, PROMPT, "ddim", seed=3, steps=2, guidance=1)[0]
    assert difference(generate(tiny_fast, PROMPT, seed=3), expected) <= 1
    assert (
        difference(generate(tiny_fast, PROMPT, seed=3, steps=4, guidance=1), expected) > 10
    )  # other steps are not refused


@pytest.mark.parametrize(
    "settings, asked",
    [
        ({"guidance": 3}, "guidance 3"),
        ({"guidance": 0}, "guidance 0"),
        ({"guidance": 7.5}, "guidance 7.5"),
        ({"negative_prompt": "night"}, "a negative prompt"),
        ({"negative_prompt": ["", "night"]}, "a negative prompt"),
    ],
)
def test_what_a_fast_model_gave_up_is_said_in_one_sentence(tiny_fast, settings, asked):
    prompt = [PROMPT] * 2 if isinstance(settings.get("negative_prompt"), list) else PROMPT
    for draw in (denoise, generate):
        with pytest.raises(
            ValueError, match=f"cannot draw with {asked}: .*guidance 3 and an empty negative prompt"
        ) as caught:
            draw(tiny_fast, prompt, **settings)
        assert str(caught.value).count(". ") == 0 and str(caught.value).endswith(").")


def test_an_ordinary_model_gave_nothing_up(tiny_postcard):
    assert generate(tiny_postcard, PROMPT, steps=1, guidance=1, negative_prompt="night").size == (128, 128)


# The same picture as the library


def test_everything_that_is_asked_shows_in_the_picture(tiny):
    plain = generate(tiny, PROMPT, steps=4)
    assert plain.size == (tiny.image_size, tiny.image_size) and plain.mode == "RGB"
    for other in (
        {"guidance": 1},
        {"negative_prompt": "night"},
        {"seed": 1},
        {"steps": 5},
        {"scheduler": "euler_ancestral"},
    ):
        assert difference(plain, generate(tiny, PROMPT, **{"steps": 4, **other})) > 50, other
    assert difference(plain, generate(tiny, "green hills", steps=4)) > 50
    assert difference(plain, generate(tiny, PROMPT, steps=4)) == 0


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_every_scheduler_draws_what_the_pipeline_draws(tiny, scheduler):
    ours = generate(tiny, PROMPT, negative_prompt="night", steps=6, scheduler=scheduler, seed=3)
    (theirs,) = by_library(tiny, PROMPT, scheduler, seed=3, negative_prompt="night")
    assert difference(ours, theirs) <= 2


@pytest.mark.parametrize("told", [{}, {"clip_sample": True, "steps_offset": 0}], ids=["nothing", "otherwise"])
def test_what_a_models_file_leaves_out_or_says_otherwise_is_as_in_the_pipeline(tiny, told):
    """As older files do: with the library's own clip_sample there is no boat."""
    schedule = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "set_alpha_to_one": False}
    c = replace(tiny, scheduler=diffusers.DDIMScheduler(**schedule, **told))
    assert c.scheduler.config.clip_sample and c.scheduler.config.steps_offset == 0
    theirs = c.pipeline()(
        PROMPT, num_inference_steps=6, guidance_scale=c.guidance, generator=torch.Generator().manual_seed(0)
    )
    ours = generate(c, PROMPT, steps=6)
    assert difference(ours, theirs.images[0]) <= 2
    assert difference(ours, generate(c, PROMPT, steps=6, scheduler=c.scheduler)) > 10


@pytest.mark.parametrize("scheduler", ["ddim", "euler", "dpm++_2m"])
@pytest.mark.parametrize("settings", [{"guidance": 1}, {"guidance": 1.5}, {"guidance": 4, "negative_prompt": "a tree"}])
def test_with_and_without_guidance(tiny, scheduler, settings):
    ours = generate(tiny, PROMPT, steps=6, scheduler=scheduler, **settings)
    (theirs,) = by_library(tiny, PROMPT, scheduler, **settings)
    assert difference(ours, theirs) <= 2


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_more_steps_than_there_are_timesteps_get_a_sentence_and_the_most_that_can_be(tiny_postcard, scheduler):
    """With the offset of 1, the thousandth lies beyond what the model learnt; two of them put all thousand on timestep 1."""
    with pytest.raises(
        ValueError, match=r"1000 steps are too many for \w+ as it is set: it has timesteps for 99\d"
    ) as caught:
        denoise(tiny_postcard, PROMPT, steps=1000, scheduler=scheduler)
    most = int(re.search(r"for (\d+)\.", str(caught.value))[1])
    with pytest.raises(ValueError, match="too many"):
        denoise(tiny_postcard, PROMPT, steps=most + 1, scheduler=scheduler)
    first = next(denoise(tiny_postcard, PROMPT, steps=most, scheduler=scheduler, guidance=1))
    assert 990 < first.timestep < 1000


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_one_step_is_enough_for_every_scheduler(tiny_postcard, scheduler):
    ours = generate(tiny_postcard, PROMPT, steps=1, scheduler=scheduler)
    assert difference(ours, by_library(tiny_postcard, PROMPT, scheduler, steps=1)[0]) <= 2


def test_a_batch_draws_what_its_pictures_would_be_alone(tiny):
    prompts = [PROMPT, "green hills", ""]
    batch = generate(tiny, prompts, steps=4, seed=5, scheduler="euler_ancestral")
    theirs = by_library(tiny, prompts, "euler_ancestral", steps=4, seed=[5, 6, 7])
    for i, prompt in enumerate(prompts):
        alone = generate(tiny, prompt, steps=4, seed=5 + i, scheduler="euler_ancestral")
        assert difference(batch[i], theirs[i]) <= 2 and difference(batch[i], alone) <= 2


def test_a_list_of_seeds_and_of_negative_prompts(tiny_postcard):
    batch = generate(tiny_postcard, [PROMPT] * 2, negative_prompt=["night", ""], seed=[9, 2], steps=3)
    alone = generate(tiny_postcard, PROMPT, seed=2, steps=3)
    assert difference(batch[1], alone) <= 2 < difference(batch[0], alone)


def test_the_models_own_guidance_is_the_default(tiny):
    explicit = generate(tiny, PROMPT, steps=3, guidance=tiny.guidance)
    assert difference(generate(tiny, PROMPT, steps=3), explicit) == 0


@pytest.mark.parametrize("alias, name", ALIASES.items())
def test_schedulers_have_other_names_too(tiny_postcard, alias, name):
    assert type(make_scheduler(tiny_postcard, alias)) is SCHEDULERS[name]


def test_a_ready_scheduler_is_used_and_left_alone(tiny_postcard):
    config = tiny_postcard.scheduler.config
    ready = diffusers.DPMSolverMultistepScheduler.from_config(config, use_karras_sigmas=True)
    ours = generate(tiny_postcard, PROMPT, steps=4, scheduler=ready)
    pipe = tiny_postcard.pipeline()
    pipe.scheduler = ready
    assert ready.num_inference_steps is None
    generator = torch.Generator("cpu").manual_seed(0)
    theirs = pipe(PROMPT, num_inference_steps=4, guidance_scale=3, generator=generator)
    assert difference(ours, theirs.images[0]) <= 2
    assert difference(ours, generate(tiny_postcard, PROMPT, steps=4, scheduler="dpm++")) > 2


def test_the_models_scheduler_is_never_moved(tiny):
    own = type(tiny.scheduler)
    generate(tiny, PROMPT, steps=3, scheduler=next(name for name, kind in SCHEDULERS.items() if kind is own))
    assert tiny.scheduler.num_inference_steps is None


# One step at a time


@pytest.mark.parametrize("scheduler, calls", [("ddim", 5), ("pndm", 6), ("heun", 9), ("euler", 5)])
def test_one_step_for_each_call_of_the_unet(tiny, scheduler, calls):
    steps = list(denoise(tiny, [PROMPT, ""], steps=5, scheduler=scheduler))
    assert [step.index for step in steps] == list(range(calls))
    assert all(a.timestep >= b.timestep for a, b in zip(steps, steps[1:]))
    for tensor in (steps[0].latents, steps[0].x0, steps[0].noise_pred):
        assert tensor.shape == (2, *tiny.latent_shape)


def test_without_guidance_the_unet_sees_the_prompt_alone(tiny_postcard):
    batches = []
    hook = tiny_postcard.unet.register_forward_pre_hook(lambda module, inputs: batches.append(len(inputs[0])))
    try:
        for guidance in (1, 0, 1.01, 3):
            list(denoise(tiny_postcard, PROMPT, steps=1, guidance=guidance))
    finally:
        hook.remove()
    assert batches == [1, 2, 2, 2]


def test_stopping_early_runs_nothing_more_and_spoils_nothing(tiny_postcard):
    calls = []
    whole = generate(tiny_postcard, PROMPT, steps=5)
    hook = tiny_postcard.unet.register_forward_pre_hook(lambda module, inputs: calls.append(1))
    try:
        for step in denoise(tiny_postcard, PROMPT, steps=5):
            if step.index == 1:
                break
    finally:
        hook.remove()
    assert len(calls) == 2
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
    assert difference(whole, generate(tiny_postcard, PROMPT, steps=5)) == 0


@pytest.mark.parametrize(
    "scheduler, prediction_type",
    [
        ("ddim", "epsilon"),
        ("ddim", "v_prediction"),
        ("ddim", "sample"),
        ("ddpm", "epsilon"),
        ("euler", "epsilon"),
        ("euler", "v_prediction"),
        ("euler_ancestral", "epsilon"),
        ("euler_ancestral", "v_prediction"),
        ("heun", "epsilon"),
        ("heun", "v_prediction"),
        ("KDPM2DiscreteScheduler", "epsilon"),  # between two noise levels at every second step
    ],
)
def test_x0_is_the_schedulers_own(tiny_postcard, scheduler, prediction_type):
    kind = SCHEDULERS.get(scheduler) or getattr(diffusers, scheduler)
    ready = kind.from_config(tiny_postcard.scheduler.config, prediction_type=prediction_type)
    theirs = []

    class Spy(type(ready)):
        @functools.wraps(type(ready).step)  # the signature says whether it takes a generator
        def step(self, *inputs, **options):
            result = super().step(*inputs, **options)
            theirs.append(result.pred_original_sample)
            return result

    spy = Spy.from_config(ready.config)
    ours = [one.x0 for one in denoise(tiny_postcard, PROMPT, steps=4, scheduler=spy)]
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_x0_undoes_the_noise(prediction_type):
    x_0, noise = (seeded_noise((2, 4, 8, 8), seed) for seed in (0, 1))
    abar = torch.tensor(0.3)
    answer = {"epsilon": noise, "v_prediction": abar.sqrt() * noise - (1 - abar).sqrt() * x_0, "sample": x_0}
    x_t = abar.sqrt() * x_0 + (1 - abar).sqrt() * noise
    torch.testing.assert_close(implied_x0(x_t, answer[prediction_type], abar, prediction_type), x_0)


def test_x0_of_an_unknown_prediction_type():
    with pytest.raises(ValueError, match="prediction_type 'flow' is not one of"):
        implied_x0(torch.zeros(1), torch.zeros(1), torch.tensor(0.5), "flow")


@pytest.mark.parametrize("scheduler", sorted(set(SCHEDULERS) - {"ddpm", "euler_ancestral", "heun"}))
def test_the_last_step_arrives_at_its_x0(tiny_postcard, scheduler):
    """After the last step (almost) no noise is left, so the latents are what the last answer implies."""
    last = list(denoise(tiny_postcard, PROMPT, steps=20, scheduler=scheduler, guidance=1))[-1]
    assert (last.latents - last.x0).std() < 0.2 * last.latents.std()


# Image-to-image and inpainting


@pytest.mark.parametrize("scheduler", ["ddim", "euler", "dpm++_2m", "heun", "euler_ancestral"])
def test_image_to_image_is_the_librarys(tiny, photo, scheduler):
    ours = generate(tiny, PROMPT, image=photo, strength=0.5, steps=6, scheduler=scheduler)
    (theirs,) = by_library(
        tiny,
        PROMPT,
        scheduler,
        kind=diffusers.StableDiffusionImg2ImgPipeline,
        image=encode_image(tiny, photo),
        strength=0.5,
    )
    assert difference(ours, theirs) <= 2


def test_a_little_strength_keeps_the_image(tiny, photo):
    latents = encode_image(tiny, photo)

    def change(strength):
        *_, last = denoise(tiny, PROMPT, image=photo, strength=strength, steps=20, guidance=1)
        return float((last.latents - latents).square().mean())

    assert change(0.05) < change(0.4) < change(1.0)


@pytest.mark.parametrize("scheduler", ["ddim", "euler", "dpm++_2m", "unipc", "pndm", "euler_ancestral"])
def test_inpainting_leaves_the_rest_exactly_unchanged(tiny, photo, scheduler):
    mask = np.zeros((tiny.image_size, tiny.image_size), bool)
    mask[10:50, 33:70] = True  # not on the grid of the latents
    settings = {"image": photo, "steps": 4, "scheduler": scheduler}
    painted = generate(tiny, PROMPT, mask=mask, **settings)
    before, after = np.asarray(photo), np.asarray(painted)
    assert np.array_equal(before[~mask], after[~mask])
    assert np.abs(before[mask].astype(int) - after[mask]).max() > 50
    assert difference(painted, generate(tiny, PROMPT, mask=Image.fromarray(mask), **settings)) == 0


@pytest.mark.parametrize("scheduler", ["ddim", "euler", "dpm++_2m"])
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_what_is_known_is_as_noisy_as_the_next_step_expects(tiny_postcard, scheduler, strength):
    c = tiny_postcard
    image = Image.effect_noise((c.image_size, c.image_size), 60).convert("RGB")
    mask = np.zeros((c.image_size, c.image_size))
    mask[:64] = 1
    known, noise = encode_image(c, image), seeded_noise((1, *c.latent_shape), 0)
    steps = list(denoise(c, PROMPT, image=image, mask=mask, strength=strength, steps=6, scheduler=scheduler))
    for step, following in zip(steps, steps[1:]):
        plain = SCHEDULERS[scheduler].from_config(c.scheduler.config)
        plain.set_timesteps(6)
        level = plain.add_noise(known, noise, torch.tensor([following.timestep], dtype=plain.timesteps.dtype))
        torch.testing.assert_close(step.latents[..., 8:, :], level[..., 8:, :])
    torch.testing.assert_close(steps[-1].latents[..., 8:, :], known[..., 8:, :])


def test_painting_nothing_gives_the_image_back(tiny_postcard):
    image = Image.new("RGB", (128, 128), "teal")
    same = generate(tiny_postcard, PROMPT, image=image, mask=np.zeros((128, 128)), steps=2)
    assert difference(same, image) == 0


def test_latents_survive_encoding_and_decoding(tiny, photo):
    latents = encode_image(tiny, photo)
    assert latents.shape == (1, *tiny.latent_shape)
    (picture,) = decode_latents(tiny, latents)
    assert picture.size == photo.size


# Words


def test_an_empty_prompt_works(tiny_postcard):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert generate(tiny_postcard, "", steps=2).size == (128, 128)


def test_a_long_prompt_warns_of_what_was_cut(tiny_postcard):
    words = ["boat"] * 298 + ["yellow", "tree"]
    said = 'has 300 tokens and the model reads the first 75; this was cut: "boat boat .* yellow tree"'
    with pytest.warns(UserWarning, match=said) as caught:
        ours = generate(tiny_postcard, " ".join(words), steps=2)
    assert len(caught) == 1 and len(str(caught[0].message)) < 250
    assert difference(ours, generate(tiny_postcard, " ".join(words[:75]), steps=2)) == 0


def test_a_full_prompt_loses_nothing(tiny_postcard):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert encode_prompts(tiny_postcard, [" ".join(["boat"] * 75)]).shape == (1, 77, 32)


# Bad input


@pytest.mark.parametrize(
    "settings, kind, words",
    [
        ({"steps": 0}, ValueError, "steps must lie between 1 and 1000, not 0"),
        ({"steps": 1001}, ValueError, "steps must lie between 1 and 1000"),
        ({"steps": 2.5}, TypeError, "steps must be a whole number"),
        ({"guidance": -1}, ValueError, "guidance must be a number of 0 or more .*, not -1"),
        ({"guidance": float("nan")}, ValueError, "guidance must be a number of 0 or more"),
        ({"guidance": "high"}, TypeError, "guidance must be a number"),
        ({"seed": "abc"}, TypeError, "seed must be a whole number.*not 'abc'"),
        ({"seed": 1.5}, TypeError, "seed must be a whole number.*not 1.5"),
        ({"seed": -1}, ValueError, "seed must lie between 0 and"),
        ({"seed": [1, 2]}, ValueError, "2 seeds for 1 prompts"),
        ({"scheduler": "magic"}, ValueError, "no scheduler called 'magic': use one of ddim, ddpm, pndm"),
        ({"scheduler": 7}, TypeError, "scheduler must be one of ddim.*not 7"),
        ({"negative_prompt": ["a", "b"]}, ValueError, "2 negative prompts for 1 prompts"),
        ({"negative_prompt": None}, TypeError, "negative_prompt must be a string"),
        ({"strength": 0.5}, ValueError, "mask and strength go with a picture"),
        ({"mask": np.ones((128, 128))}, ValueError, "mask and strength go with a picture"),
    ],
)
def test_bad_settings_get_one_sentence_before_anything_runs(tiny_postcard, settings, kind, words):
    with pytest.raises(kind, match=words):
        denoise(tiny_postcard, PROMPT, **settings)  # raises at once, not at the first step


@pytest.mark.parametrize("prompt", [None, 7, [], ["a", 7], b"boat"])
def test_a_prompt_is_a_string_or_strings(tiny_postcard, prompt):
    with pytest.raises(TypeError, match="prompt must be a string or a list of strings"):
        generate(tiny_postcard, prompt)


@pytest.mark.parametrize(
    "image, kind, words",
    [
        (np.zeros((128, 128, 3)), TypeError, "image must be a PIL picture, not ndarray"),
        (
            Image.new("RGB", (100, 80)),
            ValueError,
            r"The picture is 100 x 80 pixels, .*: use multiples of 8, such as 96 x 80",
        ),
    ],
)
def test_bad_images(tiny_postcard, image, kind, words):
    with pytest.raises(kind, match=words):
        generate(tiny_postcard, PROMPT, image=image)


@pytest.mark.parametrize(
    "mask, words",
    [
        (np.ones((64, 64)), r"mask has the shape \(64, 64\) and the picture \(128, 128\)"),
        (Image.new("L", (128, 64)), r"mask has the shape \(64, 128\)"),
        (Image.new("RGB", (128, 128)), "mask has the mode 'RGB'"),
        (np.full((128, 128), 255), "mask must hold bools, or numbers from 0"),
        (np.full((128, 128), np.nan), "mask must hold bools, or numbers from 0"),
    ],
)
def test_bad_masks(tiny_postcard, mask, words):
    with pytest.raises(ValueError, match=words):
        generate(tiny_postcard, PROMPT, image=Image.new("RGB", (128, 128)), mask=mask)


@pytest.mark.parametrize("strength, kind", [(0, ValueError), (1.1, ValueError), ("half", TypeError)])
def test_bad_strength(tiny_postcard, strength, kind):
    with pytest.raises(kind, match="strength must be"):
        generate(tiny_postcard, PROMPT, image=Image.new("RGB", (128, 128)), strength=strength)


@pytest.mark.parametrize("scheduler", ["pndm", "lms"])
def test_some_schedulers_can_not_begin_in_the_middle(tiny_postcard, scheduler):
    """lms would: by a formula of the fourth order, of which it has one derivative of four."""
    card = Image.new("RGB", (128, 128))
    with pytest.raises(ValueError, match="Scheduler can not begin in the middle: use another scheduler or strength=1"):
        generate(tiny_postcard, PROMPT, image=card, scheduler=scheduler, steps=4)
    generate(tiny_postcard, PROMPT, image=card, scheduler=scheduler, steps=4, strength=1)


def test_a_schedule_that_is_not_the_models_is_said(tiny):
    config = tiny.scheduler.config
    zero = dict(rescale_betas_zero_snr=True, prediction_type="v_prediction", timestep_spacing="trailing")
    model = replace(tiny, scheduler=diffusers.DDIMScheduler.from_config(config, **zero))
    for name in SCHEDULERS:
        if name in ("pndm", "lms", "heun"):
            with pytest.raises(ValueError, match=f'"{name}" does not know the noise schedule'):
                make_scheduler(model, name)
        else:
            made = make_scheduler(model, name).alphas_cumprod
            assert torch.allclose(made, model.scheduler.alphas_cumprod, atol=1e-6), name
    longer = diffusers.DDIMScheduler(num_train_timesteps=4000, clip_sample=False)
    with pytest.raises(ValueError, match="has 4000 levels of noise, and .* learnt 1000: make it by DDIMScheduler"):
        denoise(tiny, PROMPT, steps=2, scheduler=longer)


def test_latents_that_are_no_numbers_are_named(tiny_postcard):
    hook = tiny_postcard.unet.conv_out.register_forward_hook(lambda module, inputs, output: output * np.nan)
    try:
        with pytest.raises(FloatingPointError, match="The latents after 3 steps hold NaN or infinite"):
            generate(tiny_postcard, PROMPT, steps=3)
    finally:
        hook.remove()


def test_pixels_that_are_no_numbers_are_named(tiny_postcard):
    with pytest.raises(FloatingPointError, match="The decoded pixels hold NaN or infinite numbers"):
        decode_latents(tiny_postcard, torch.full((1, *tiny_postcard.latent_shape), float("nan")))


def test_a_larger_canvas_is_painted_and_the_picture_stays(tiny, photo):
    step = tiny.vae_scale_factor
    canvas, mask = extend(photo, left=2 * step, right=step)
    assert (
        canvas.size == (photo.width + 3 * step, photo.height) == mask.shape[::-1]
        and mask.sum() == 3 * step * photo.height
    )
    inside = (2 * step, 0, 2 * step + photo.width, photo.height)
    assert np.array_equal(canvas.crop(inside), photo)
    picture = generate(tiny, PROMPT, image=canvas, mask=mask, steps=3)
    assert picture.size == canvas.size and np.array_equal(picture.crop(inside), photo)
    assert not np.array_equal(picture, canvas)


@pytest.mark.parametrize(
    "sides, error, said",
    [
        ({}, ValueError, "has to grow on some side"),
        ({"left": -8}, ValueError, "left must lie between 0"),
        ({"top": 1.5}, TypeError, "top must be a whole number"),
    ],
)
def test_a_canvas_that_does_not_grow(photo, sides, error, said):
    with pytest.raises(error, match=said):
        extend(photo, **sides)


def test_guidance_zero_ignores_the_prompt(tiny):
    ignored = generate(tiny, PROMPT, guidance=0, steps=3)
    assert difference(ignored, generate(tiny, "", guidance=1, steps=3)) <= 2
    assert difference(ignored, generate(tiny, PROMPT, guidance=1, steps=3)) > 2
