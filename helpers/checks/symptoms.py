"""What is wrong with a denoising loop? Three measurements that tell the common failures apart.

The loop's own code is not looked at, only what it left behind: the latents of every step and the picture. The
U-Net is asked again at a few of the steps. With u and p its answers without and with the prompt, and move()
where one scheduler step leads with an answer, a sound loop arrives at move(u) + guidance (move(p) - move(u)),
exactly. So a fit of the step that was really made says how many steps were taken, how much guidance arrived,
and whether the U-Net was shown what the scheduler says it expects. For the picture: the factor which the
latents were divided by before decoding.

The numbers are read off the model and the scheduler. Only a scheduler whose step is linear in the answer and
draws no noise can be read so: DDIM (Song et al. 2021) and Euler (Karras et al. 2022).
"""

import copy
import math
from typing import NamedTuple

import diffusers
import numpy as np
import torch

from helpers.conditioning import encode_prompts
from helpers.latents import decode_latents

HEALTHY = "healthy"
NOT_FINITE = "NaN"
UNSCALED = "forgotten scale_model_input"
SEVERAL_STEPS = "two scheduler steps in one"
WRONG_HALF = "guidance on the wrong half"
WRONG_FACTOR = "wrong scaling factor"
UNKNOWN = "something else"

TOLERANCE = 0.05  # of a step, of the guidance: leaves room for the rounding of float16
LEVELS = 2.0  # of 255, on average: how far two decodings of the same latents may differ


class Diagnosis(NamedTuple):
    """What `diagnose` found.

    name: one of the names above. symptom: the measurement that shows it, in words.
    sizes: (S + 1,) standard deviation of the latents, as the U-Net should see them, before every step and at
        the end; NaN where they are not finite. Near 1 in a sound loop, because the scaling factor gives the
        latents of pictures about the variance of the noise.
    """

    name: str
    symptom: str
    sizes: torch.Tensor


@torch.inference_mode()
def diagnose(c, prompt, scheduler, history, picture, *, negative_prompt="", guidance=None):
    """Name the failure that a loop shows, or "healthy", as a `Diagnosis`.

    c: Components. prompt, negative_prompt: what the loop was to draw and to avoid; not the same words.
    scheduler: a DDIM or Euler scheduler with the loop's timesteps; it is copied.
    history: S + 1 latents (1, C, h, w): the start, then after each of the S turns of the loop.
    picture: the PIL picture that was made of the last ones. guidance: as meant; None: c.guidance.

    Raises ValueError where another scheduler, or a history or picture of another shape, is given.
    """
    scheduler = _check(c, prompt, negative_prompt, scheduler, history, picture)
    guidance = float(c.guidance if guidance is None else guidance)
    sizes = _sizes(scheduler, history)

    for turn, latents in enumerate(history):
        if not latents.isfinite().all():
            first, end = ((~x.isfinite()).sum().item() for x in (latents, history[-1]))
            symptom = (
                f"not finite after turn {turn} of {len(history) - 1}: {first} of {latents.numel()} "
                f"numbers, at the end {end}"
            )
            return Diagnosis(NOT_FINITE, symptom, sizes)

    prompt_embeds = encode_prompts(c, [negative_prompt, prompt])  # (2, 77, d)
    read = _read_steps(c, scheduler, history, prompt_embeds)
    if read.misfit > TOLERANCE:
        raw = _read_steps(c, scheduler, history, prompt_embeds, scaled=False)
        if raw.misfit <= TOLERANCE:
            wide = history[0].float().std().item()
            return Diagnosis(UNSCALED, f"the U-Net first saw a spread of {wide:.0f} instead of 1", sizes)
        return Diagnosis(UNKNOWN, "the steps do not follow from the U-Net's answers", sizes)
    if abs(read.steps - 1) > TOLERANCE:
        name = SEVERAL_STEPS if abs(read.steps - 2) < TOLERANCE else UNKNOWN
        return Diagnosis(name, f"{read.steps:.1f} scheduler steps for each answer of the U-Net", sizes)
    near = TOLERANCE * max(1.0, guidance)
    if abs(read.guidance - guidance) > near:
        name = WRONG_HALF if abs(read.guidance - (1 - guidance)) < near else UNKNOWN
        return Diagnosis(name, f"guidance arrives as {read.guidance:.1f}, not {guidance:.1f}", sizes)

    factor, own = _factor(c, history[-1], picture), c.vae.config.scaling_factor
    if factor is None:
        return Diagnosis(UNKNOWN, "no scaling factor makes this picture of the last latents", sizes)
    if abs(factor / own - 1) > TOLERANCE:
        return Diagnosis(WRONG_FACTOR, f"latents divided by {factor:.2f}, the VAE's factor is {own:.2f}", sizes)
    return Diagnosis(HEALTHY, f"1 step per answer, guidance {read.guidance:.1f}, factor {own:.2f}", sizes)


def _check(c, prompt, negative_prompt, scheduler, history, picture):
    """A copy of the scheduler as it was before the first step, or ValueError."""
    if not isinstance(scheduler, (diffusers.DDIMScheduler, diffusers.EulerDiscreteScheduler)):
        raise ValueError(
            f"scheduler is a {type(scheduler).__name__}: use a DDIMScheduler or an EulerDiscreteScheduler."
        )
    if prompt == negative_prompt:
        raise ValueError("prompt and negative_prompt are the same, so guidance cannot be seen: use another prompt.")
    count = len(scheduler.timesteps)
    if len(history) != count + 1:
        raise ValueError(
            f"history holds {len(history)} latents: for {count} timesteps give {count + 1}, the "
            "start and one after every step."
        )
    for latents in history:
        if latents.shape != (1, *c.latent_shape):
            raise ValueError(
                f"history holds latents of shape {tuple(latents.shape)}: they must be "
                f"{(1, *c.latent_shape)}, one picture's."
            )
    if getattr(picture, "mode", None) != "RGB" or picture.size != (c.image_size, c.image_size):
        raise ValueError(
            f"picture must be the PIL picture that the loop drew, RGB and {c.image_size} x {c.image_size}."
        )
    fresh = copy.deepcopy(scheduler)
    fresh.set_timesteps(count)  # Euler counts its steps: back to the first
    return fresh


def _sizes(scheduler, history):
    """Standard deviation of the latents on the U-Net's scale, (S + 1,)."""
    seen = [copy.deepcopy(scheduler).scale_model_input(x, t) for x, t in zip(history, scheduler.timesteps)]
    sizes = torch.stack([x.float().std() for x in [*seen, history[-1]]]).cpu()
    return torch.where(sizes.isfinite(), sizes, torch.nan)


class _Reading(NamedTuple):
    steps: float  # scheduler steps in one turn of the loop
    guidance: float  # the scale that arrived
    misfit: float  # part of the turn that no number of steps and no scale explains, 0 to 1


def _read_steps(c, scheduler, history, prompt_embeds, scaled=True):
    """What the loop did with the U-Net's answers: the median over three of its turns. scaled: whether the
    U-Net is shown the latents on its own scale."""
    count = len(history) - 1
    turns = sorted({count // 4, count // 2, 3 * count // 4})
    readings = []
    for turn in turns:
        before, after, t = history[turn], history[turn + 1], scheduler.timesteps[turn]
        shown = copy.deepcopy(scheduler).scale_model_input(before, t) if scaled else before
        shown = torch.cat([shown, shown])  # (1, C, h, w) -> (2, C, h, w)
        both = c.unet(shown, t, encoder_hidden_states=prompt_embeds).sample

        def move(noise_pred, before=before, t=t):
            fresh = copy.deepcopy(scheduler)
            fresh.scale_model_input(before, t)
            return _flat(fresh.step(noise_pred, t, before).prev_sample)

        start, end = _flat(before), _flat(after)
        still, uncond, cond = move(both[:1] * 0), move(both[:1]), move(both[1:])
        basis, made = torch.stack([uncond - start, cond - uncond], 1), end - start  # (C h w, 2), (C h w,)
        fit = torch.linalg.lstsq(basis, made[:, None]).solution[:, 0]  # (2,)
        length, text = fit.tolist()
        growth = (still @ start / (start @ start)).item()
        misfit = ((made - basis @ fit).norm() / made.norm()).item()
        readings.append((_steps_in(length, growth), text / length, misfit))
    return _Reading(*np.median(readings, axis=0))


def _flat(latents):
    """(1, C, h, w) -> (C h w,), in double precision, which some devices do not have."""
    return latents.cpu().double().flatten()


def _steps_in(length, growth):
    """How many steps with one answer are `length` times as long as a step: length = 1 + growth + growth^2 ...

    growth: by how much a step without any answer enlarges the latents: 1 for Euler, more for DDIM.
    """
    if abs(growth - 1) < 1e-4 or length <= 0:
        return length
    return math.log1p(length * (growth - 1)) / math.log(growth)


def _factor(c, latents, picture):
    """The scaling factor with which the latents decode to the picture; None where none does."""
    wanted, own = np.asarray(picture, float), c.vae.config.scaling_factor

    def off(log_factor):
        try:
            decoded = decode_latents(c, latents * (own / math.exp(log_factor)))[0]
        except FloatingPointError:
            return math.inf
        return np.abs(np.asarray(decoded, float) - wanted).mean()

    for usual in (own, 1.0):  # as it should be, and never divided: most need no search
        if off(math.log(usual)) <= LEVELS:
            return usual
    # Multiplied (1 / own) and divided twice (own^2) lie within these bounds.
    step = max(abs(math.log(own)), 1) / 4
    best = min((k * step for k in range(-9, 10)), key=off)
    low, high = best - step, best + step
    for _ in range(8):
        first, second = low + (high - low) / 3, high - (high - low) / 3
        low, high = (low, second) if off(first) <= off(second) else (first, high)
    best = min(best, (low + high) / 2, key=off)
    return math.exp(best) if off(best) <= LEVELS else None
