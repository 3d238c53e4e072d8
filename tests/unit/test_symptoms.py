"""Each failure of a denoising loop is named from what it left behind, on the bundled model and tiny ones."""

import functools

from helpers.runtime import seeded_noise

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from helpers import load_components
from helpers.checks import symptoms
from helpers.checks.symptoms import diagnose
from helpers.conditioning import encode_prompts
from helpers.sampling import make_scheduler

PAIRS = [("a red boat on a lake at sunset", 0), ("a green house in a meadow", 7)]
STEPS = 6


@pytest.fixture(scope="module")
def bundled():
    return load_components("postcard", device="cpu")


@pytest.fixture(scope="module")
def drawn(bundled):
    """drawn(pair, kind, failure): what such a loop of the bundled model leaves behind; each is run once."""

    @functools.cache
    def drawn(pair, kind="ddim", failure=""):
        return walk(bundled, *pair, kind=kind, failure=failure)

    return drawn


def develop(c, latents, factor):
    pixels = (c.vae.decode(latents / factor).sample[0] / 2 + 0.5).clamp(0, 1).nan_to_num(0)
    return Image.fromarray((pixels * 255).round().byte().permute(1, 2, 0).numpy())


@torch.inference_mode()
def walk(
    c,
    prompt="a red boat",
    seed=0,
    *,
    kind="ddim",
    failure="",
    guidance=None,
    steps=STEPS,
    factor=None,
    negative_prompt="",
):
    """A loop with one failure, or none: what diagnose is given of it."""
    guidance = c.guidance if guidance is None else guidance
    scheduler = make_scheduler(c, kind)
    scheduler.set_timesteps(steps)
    prompt_embeds = encode_prompts(c, [negative_prompt, prompt])
    history = [seeded_noise((1, *c.latent_shape), seed, c.device, c.dtype) * scheduler.init_noise_sigma]
    for turn, t in enumerate(scheduler.timesteps):
        latents = history[-1]
        seen = scheduler.scale_model_input(latents, t)
        seen = latents if failure == "unscaled" else seen
        uncond, cond = c.unet(torch.cat([seen, seen]), t, encoder_hidden_states=prompt_embeds).sample.chunk(2)
        if failure == "swapped":
            uncond, cond = cond, uncond
        noise_pred = uncond + guidance * (cond - uncond)
        if failure == "overflow" and turn == steps // 2:
            noise_pred[0, 0, 0, 0] = float("inf")
        if failure == "shuffled":
            noise_pred = noise_pred.flip(-1)
        for _ in range({"twice": 2, "thrice": 3}.get(failure, 1)):
            latents = scheduler.step(noise_pred, t, latents).prev_sample
        history.append(latents)
    return scheduler, history, develop(c, history[-1], factor or c.vae.config.scaling_factor)


FAILURES = [
    ("", "ddim", symptoms.HEALTHY, "1 step per answer"),
    ("", "euler", symptoms.HEALTHY, "1 step per answer"),
    ("unscaled", "euler", symptoms.UNSCALED, "instead of 1"),
    ("twice", "ddim", symptoms.SEVERAL_STEPS, "2.0 scheduler steps"),
    ("swapped", "ddim", symptoms.WRONG_HALF, "guidance arrives as -"),
    ("swapped", "euler", symptoms.WRONG_HALF, "guidance arrives as -"),
    ("overflow", "ddim", symptoms.NOT_FINITE, "not finite after turn 4 of 6"),
]


@pytest.mark.parametrize("failure, kind, name, words", FAILURES)
def test_every_failure_has_a_name_on_the_bundled_model(bundled, drawn, failure, kind, name, words):
    for pair in PAIRS:
        found = diagnose(bundled, pair[0], *drawn(pair, kind, failure))
        assert found.name == name and words in found.symptom


@pytest.mark.parametrize("failure, kind, name, words", FAILURES)
def test_nothing_is_hard_wired_to_the_bundled_model(tiny, failure, kind, name, words):
    found = diagnose(tiny, "a red boat", *walk(tiny, kind=kind, failure=failure))
    assert found.name == name and words in found.symptom


@pytest.mark.parametrize("factor", [1.0, "multiplied", "divided twice", 0.18215])
def test_a_wrong_scaling_factor_is_measured(bundled, drawn, factor):
    own, (scheduler, history, _) = bundled.vae.config.scaling_factor, drawn(PAIRS[0])
    factor = {"multiplied": 1 / own, "divided twice": own**2}.get(factor, factor)
    found = diagnose(bundled, PAIRS[0][0], scheduler, history, develop(bundled, history[-1], factor))
    assert found.name == symptoms.WRONG_FACTOR
    assert f"divided by {factor:.2f}, the VAE's factor is {own:.2f}" in found.symptom


@pytest.mark.parametrize("failure, words", [("thrice", "3.0 scheduler steps"), ("shuffled", "do not follow")])
def test_what_has_no_name_is_called_something_else(tiny_postcard, failure, words):
    found = diagnose(tiny_postcard, "a red boat", *walk(tiny_postcard, failure=failure))
    assert found.name == symptoms.UNKNOWN and words in found.symptom


def test_other_guidance_than_meant_is_measured(tiny_postcard):
    made = walk(tiny_postcard, guidance=5.0)
    assert diagnose(tiny_postcard, "a red boat", *made, guidance=5.0).name == symptoms.HEALTHY
    found = diagnose(tiny_postcard, "a red boat", *made, guidance=3.0)
    assert found.name == symptoms.UNKNOWN and "arrives as 5.0, not 3.0" in found.symptom


def test_a_negative_prompt_takes_part(tiny_postcard):
    made = walk(tiny_postcard, negative_prompt="a tree")
    found = diagnose(tiny_postcard, "a red boat", *made, negative_prompt="a tree")
    assert found.name == symptoms.HEALTHY
    assert diagnose(tiny_postcard, "a red boat", *made).name == symptoms.UNKNOWN


def test_the_picture_of_another_loop_is_noticed(bundled, drawn):
    found = diagnose(bundled, PAIRS[0][0], *drawn(PAIRS[0])[:2], drawn(PAIRS[1])[2])
    assert found.name == symptoms.UNKNOWN and "no scaling factor" in found.symptom


@pytest.mark.parametrize("kind", ["ddim", "euler"])
def test_sizes_are_those_the_unet_should_see(bundled, drawn, kind):
    made = drawn(PAIRS[0], kind)
    sizes = diagnose(bundled, PAIRS[0][0], *made).sizes
    assert sizes.shape == (STEPS + 1,) and ((sizes > 0.4) & (sizes < 2)).all()
    assert sizes[-1] == made[1][-1].std()


def test_sizes_show_which_way_a_loop_goes_wrong(bundled, drawn):
    def sizes(kind, failure=""):
        return diagnose(bundled, PAIRS[0][0], *drawn(PAIRS[0], kind, failure)).sizes

    assert sizes("euler", "unscaled").min() < sizes("euler").min() / 1.5
    assert sizes("ddim", "twice").max() > sizes("ddim").max()
    assert sizes("ddim", "overflow").isnan().tolist() == [False] * 4 + [True] * 3


def test_diagnosing_leaves_the_scheduler_alone(tiny_postcard):
    scheduler, history, picture = walk(tiny_postcard, kind="euler")
    before = scheduler.step_index
    diagnose(tiny_postcard, "a red boat", scheduler, history, picture)
    assert scheduler.step_index == before


def test_bad_input_gets_a_sentence(tiny_postcard):
    c = tiny_postcard
    scheduler, history, picture = walk(c, steps=3)
    for arguments, words in [
        (("a red boat", diffusers.PNDMScheduler(), history, picture), "use a DDIMScheduler or an Euler"),
        (("", scheduler, history, picture), "use another prompt"),
        (("a red boat", scheduler, history[:-1], picture), "holds 3 latents: for 3 timesteps give 4"),
        (("a red boat", scheduler, [x[0] for x in history], picture), "history holds latents of shape"),
        (("a red boat", scheduler, history, picture.resize((8, 8))), "picture must be the PIL picture"),
        (("a red boat", scheduler, history, np.asarray(picture)), "picture must be the PIL picture"),
    ]:
        with pytest.raises(ValueError, match=words):
            diagnose(c, *arguments)


def test_the_museum_is_a_picture():
    from helpers.figures.sampling import museum

    ended, none = torch.tensor([1.0, 2, torch.nan, torch.nan, torch.nan]), torch.full((5,), torch.nan)
    sizes = [torch.ones(5), ended, torch.ones(5) / 9, none]
    pictures = [Image.new("RGB", (32, 32), colour) for colour in ("red", "black", "grey", "blue")]
    names = ["healthy", "NaN", "small", "healthy"]
    shown = museum(pictures, names, ["", "not finite", "", ""], sizes, torch.ones(5), "Four loops.")
    assert shown.alt == "Four loops. healthy; NaN: not finite; small; healthy."
    hidden = museum(
        pictures, names, [""] * 4, sizes, torch.ones(5), "Four loops.", told=["red", "black", "grey", "blue"]
    )
    assert hidden.alt == "Four loops. healthy: red; NaN: black; small: grey; healthy: blue."
    assert shown.image().width == 1152 and shown.image().height > hidden.image().height
