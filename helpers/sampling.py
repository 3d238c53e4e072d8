"""The denoising loop: from noise and words to a picture. There is one loop, `_loop`; the rest serves it.

Text-to-image starts from noise, image-to-image from a noised picture; inpainting also puts the known part
back after every step; outpainting is inpainting on a larger canvas (`extend`). Sources: Ho and Salimans 2022
(guidance), Song et al. 2021 (DDIM), Karras et al. 2022 (noise levels of the Euler family), Meng et al. 2022
(image-to-image), Lugmayr et al. 2022 (keeping what is known), and the pipelines of diffusers, which draw the
same pictures.
"""

import copy
import inspect
from collections.abc import Iterator
from typing import NamedTuple

from helpers.runtime import seeded_generator, seeded_noise, whole_number

import diffusers
import numpy as np
import torch
from PIL import Image

from helpers import inputs
from helpers.components import Components
from helpers.conditioning import encode_prompts, encode_weighted
from helpers.diffusion import solved_for_x0
from helpers.latents import decode_latents, encode_image, require_finite
from helpers.pictures import check_mask_fits, turned, upright

SCHEDULERS = {
    "ddim": diffusers.DDIMScheduler,
    "ddpm": diffusers.DDPMScheduler,
    "pndm": diffusers.PNDMScheduler,
    "lms": diffusers.LMSDiscreteScheduler,
    "heun": diffusers.HeunDiscreteScheduler,
    "euler": diffusers.EulerDiscreteScheduler,
    "euler_ancestral": diffusers.EulerAncestralDiscreteScheduler,
    "dpm++_2m": diffusers.DPMSolverMultistepScheduler,
    "unipc": diffusers.UniPCMultistepScheduler,
}
ALIASES = {"dpm++": "dpm++_2m", "dpmpp_2m": "dpm++_2m"}


class Step(NamedTuple):
    """One turn of the loop. The tensors are (B, C, h, w), on the model's device.

    index: 0, 1, ...: one for every call of the U-Net. "pndm" makes one call more than `steps`, "heun" almost
        twice as many.
    timestep: the noise level the U-Net was told, from about 1000 (noise) down to about 0. Euler's can be
        fractions.
    latents: where the step arrived and the next one starts. The last step's are the finished latents.
    x0: the clean latents that this step's noise_pred implies.
    noise_pred: the U-Net's answer, after guidance.
    """

    index: int
    timestep: float
    latents: torch.Tensor
    x0: torch.Tensor
    noise_pred: torch.Tensor


@torch.inference_mode()
def _loop(unet, scheduler, timesteps, latents, prompt_embeds, guidance, options, keep):
    """The denoising loop. prompt_embeds: (2B, 77, d), negative half first; (B, 77, d) without guidance."""
    halves = len(prompt_embeds) // len(latents)  # 2 with guidance: with and without the prompt, in one call

    for index, t in enumerate(timesteps):
        model_input = scheduler.scale_model_input(latents, t)  # (B, C, h, w)
        noise_pred = unet(torch.cat([model_input] * halves), t, encoder_hidden_states=prompt_embeds).sample
        if halves == 2:
            noise_uncond, noise_text = noise_pred.chunk(2)  # (2B, C, h, w) -> 2 x (B, C, h, w)
            noise_pred = noise_uncond + guidance * (noise_text - noise_uncond)
        x0 = implied_x0(model_input, noise_pred, _abar(scheduler, t), scheduler.config.prediction_type)
        latents = scheduler.step(noise_pred, t, latents, **options).prev_sample
        latents = keep(latents, timesteps[index + 1 : index + 2])
        yield Step(index, t.item(), latents, x0, noise_pred)

    require_finite(latents, f"The latents after {len(timesteps)} steps hold")


def denoise(
    c: Components,
    prompt: str | list[str],
    *,
    negative_prompt: str | list[str] = "",
    steps: int | None = None,
    guidance: float | None = None,
    scheduler: str | diffusers.SchedulerMixin = "ddim",
    seed: int | list[int] = 0,
    image: Image.Image | None = None,
    mask: Image.Image | np.ndarray | None = None,
    strength: float | None = None,
    weights: bool = False,
) -> Iterator[Step]:
    """The denoising loop, one `Step` at a time. To cancel, stop asking for steps: nothing runs in between.

    c: Components. prompt: a string, or a list of B strings for a batch.
    negative_prompt: likewise; what to steer away from. steps: 1 to 1000; None: c.steps.
    guidance: 0 or more; None: c.guidance. 1: none, the U-Net is called for the prompt alone and negative_prompt
        is not used. 0: the prompt is not used. (A diffusers pipeline takes everything below 1 for 1.) A model with
        its guidance folded in (c.distilled_guidance) takes 1 only, and no negative_prompt.
    scheduler: a name in `SCHEDULERS`, which is given the model's noise schedule, or a scheduler of diffusers
        (it is copied).
    seed: a whole number, for a batch the first of B in a row, or a list of B. Same seed, same picture: on
        every device, in any batch.
    image: a PIL picture to start from, turned `upright`, see `encode_image`. The result is as large as it is then.
    strength: how far back towards noise to start, above 0 (hardly changed) to 1; None: 0.6, or 1 with a mask.
    mask: what to paint anew in `image`: a PIL "L" or "1" picture, white where to paint, or an (H, W) array of
        bool or of 0 to 1. The rest is put back after every step, as noisy as the next step expects it.
    weights: True reads (word:1.2) in both prompts as a weight, see `encode_weighted`. A pipeline reads it as letters.

    Bad input raises TypeError or ValueError at once. A prompt too long for the text encoder warns of what was
    cut. Latents that end as NaN or infinite raise FloatingPointError.
    """
    inputs.components(c)
    prompts = _strings("prompt", prompt)
    negatives = _strings("negative_prompt", negative_prompt)
    negatives = negatives * len(prompts) if isinstance(negative_prompt, str) else negatives
    if len(negatives) != len(prompts):
        raise ValueError(f"{len(negatives)} negative prompts for {len(prompts)} prompts: give one each.")
    generators = [seeded_generator(one) for one in _seeds(seed, len(prompts))]
    guidance = _check_guidance(c.guidance if guidance is None else guidance)
    _check_given_up(c, guidance, negatives)
    scheduler = make_scheduler(c, scheduler)
    steps = whole_number(c.steps if steps is None else steps, "steps", 1, scheduler.config.num_train_timesteps)
    _set_timesteps(c, scheduler, steps)

    check_mask_fits(image, mask)
    known = None if image is None else encode_image(c, image)  # (1, C, h, w)
    shape = c.latent_shape if known is None else known.shape[1:]
    noise = seeded_noise((len(prompts), *shape), generators, c.device, c.dtype)
    timesteps, latents, keep = _start(c, scheduler, steps, noise, known, mask, strength)
    encode = encode_weighted if inputs.flag(weights, "weights") else encode_prompts
    prompt_embeds = encode(c, prompts if guidance == 1 else negatives + prompts)
    draws_noise = "generator" in inspect.signature(scheduler.step).parameters  # going on after `noise`
    options = {"generator": generators} if draws_noise else {}
    return _loop(c.unet, scheduler, timesteps, latents, prompt_embeds, guidance, options, keep)


def generate(
    c: Components,
    prompt: str | list[str],
    *,
    image: Image.Image | None = None,
    mask: Image.Image | np.ndarray | None = None,
    **settings,
) -> Image.Image | list[Image.Image]:
    """Draw a picture: a PIL image, or a list of them for a list of prompts. Takes what `denoise` takes.

    With a mask, the pixels outside of it are those of `image`, exactly.
    """
    check_mask_fits(image, mask)
    image = None if image is None else upright(image)
    for step in denoise(c, prompt, image=image, mask=mask, **settings):
        pass
    pictures = decode_latents(c, step.latents)
    if mask is not None:
        paint = Image.fromarray(_check_mask(mask, image.size))
        pictures = [Image.composite(picture, image, paint) for picture in pictures]
    return pictures[0] if isinstance(prompt, str) else pictures


def extend(
    image: Image.Image, left: int = 0, top: int = 0, right: int = 0, bottom: int = 0
) -> tuple[Image.Image, np.ndarray]:
    """A larger canvas round a picture: (canvas, mask), to be given to `generate` as image= and mask=.

    image: PIL, of width W and height H once it is turned `upright`. The sides are grown by so many pixels (whole,
    0 or more), filled with the colours of the edge. mask: (top + H + bottom, left + W + right) of bool, True where the canvas is new.
    Raises ValueError where nothing grows, or by less than nothing.
    """
    sides = [
        whole_number(side, name, 0, 10_000)
        for name, side in (("left", left), ("top", top), ("right", right), ("bottom", bottom))
    ]
    inputs.picture(image, "image")
    if not any(sides):
        raise ValueError("The canvas has to grow on some side: give left, top, right or bottom, in pixels.")
    grow = ((top, bottom), (left, right))
    pixels = np.asarray(upright(image))  # (H, W, 3)
    canvas = Image.fromarray(np.pad(pixels, (*grow, (0, 0)), mode="edge"))
    return canvas, np.pad(np.zeros(pixels.shape[:2], bool), grow, constant_values=True)


# What goes into the loop


def implied_x0(model_input, noise_pred, alphas_cumprod, prediction_type="epsilon"):
    """The clean latents x_0 that the U-Net's answer implies, (B, C, h, w).

    model_input: what the U-Net saw, x_t = sqrt(abar) x_0 + sqrt(1 - abar) eps, which is what
        scale_model_input of every scheduler gives.
    noise_pred: its answer, read as prediction_type says: as eps ("epsilon"), as
        sqrt(abar) eps - sqrt(1 - abar) x_0 ("v_prediction", Salimans and Ho 2022) or as x_0 ("sample").
    alphas_cumprod: abar at this step, a tensor, 0 to 1.
    """
    if prediction_type == "epsilon":
        return solved_for_x0(model_input, noise_pred, alphas_cumprod)
    if prediction_type == "v_prediction":
        return alphas_cumprod.sqrt() * model_input - (1 - alphas_cumprod).sqrt() * noise_pred
    if prediction_type == "sample":
        return noise_pred
    raise ValueError(f"prediction_type {prediction_type!r} is not one of epsilon, v_prediction, sample.")


def _abar(scheduler, t):
    """How much signal (abar, 0 to 1) the U-Net's input holds at one of scheduler.timesteps, ().

    The Euler family keeps its latents as x_0 + sigma eps, and scales them by sqrt(abar) = 1 / sqrt(sigma^2 + 1).
    """
    if scheduler.init_noise_sigma != 1:
        return scheduler.scale_model_input(torch.ones(()), t) ** 2
    return scheduler.alphas_cumprod[t.long()]


def make_scheduler(c: Components, scheduler: str | diffusers.SchedulerMixin) -> diffusers.SchedulerMixin:
    """A fresh scheduler: by its usual name with the model's noise schedule, or a copy of the one given.

    By name, it is set as pipelines of Stable Diffusion set theirs, whatever the model's file says or leaves out: latents reach
    beyond -1..1 and are not clipped, timesteps are one higher, and PNDM starts without Runge-Kutta steps.
    A scheduler of diffusers remembers where it is, so those in `c` and of the caller are never used themselves.
    Raises ValueError for a name that is not known, or whose scheduler can not keep to the model's schedule.
    """
    if not isinstance(scheduler, str):
        if not hasattr(scheduler, "set_timesteps") or not hasattr(scheduler, "alphas_cumprod"):
            raise TypeError(
                f"scheduler must be one of {', '.join(SCHEDULERS)}, or a scheduler of diffusers "
                f"with alphas_cumprod, not {inputs.shown(scheduler)}."
            )
        return copy.deepcopy(scheduler)
    name = ALIASES.get(scheduler.lower(), scheduler.lower())
    if name not in SCHEDULERS:
        raise ValueError(f"There is no scheduler called {inputs.shown(scheduler)}: use one of {', '.join(SCHEDULERS)}.")
    pipelines = {"clip_sample": False, "steps_offset": 1, "skip_prk_steps": True}
    made = SCHEDULERS[name].from_config(c.scheduler.config, **pipelines)
    asked = c.scheduler.alphas_cumprod.cpu()  # diffusers moves a scheduler's to wherever it was used
    if not torch.allclose(made.alphas_cumprod, asked, atol=1e-4):  # Euler's last may be 2**-24, not 0
        raise ValueError(
            f'The scheduler "{name}" does not know the noise schedule of {inputs.shown(c.name)}, which ends without any '
            'signal: use "ddim", "euler" or "dpm++_2m".'
        )
    return made


@torch.inference_mode()
def _start(c, scheduler, steps, noise, known, mask, strength):
    """How the loop starts, and what it preserves: (timesteps, latents, keep).

    known: the latents of the picture to start from, (1, C, h, w), or None.
    keep(latents, next_timestep) is called after every step; next_timestep is (1,), after the last one (0,).
    """
    if known is None and (mask is not None or strength is not None):
        raise ValueError("mask and strength go with a picture: give image= too.")
    strength = _check_strength(strength, default=0.6 if known is not None and mask is None else 1.0)
    timesteps, latents = scheduler.timesteps, noise * scheduler.init_noise_sigma
    if known is None:
        return timesteps, latents, _keep_nothing

    known = known.expand_as(noise)  # (1, C, h, w) -> (B, C, h, w)
    if mask is None or strength < 1:
        skipped = (steps - max(1, int(steps * strength))) * scheduler.order
        if skipped and isinstance(scheduler, (diffusers.PNDMScheduler, diffusers.LMSDiscreteScheduler)):
            # pndm refuses to; lms would take the first of four coefficients as if it had the other three derivatives
            raise ValueError(
                f"{type(scheduler).__name__} can not begin in the middle: use another scheduler or strength=1."
            )
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(skipped)
        timesteps = timesteps[skipped:]
        latents = scheduler.add_noise(known, noise, timesteps[:1])
    if mask is None:
        return timesteps, latents, _keep_nothing

    height, width = (side * c.vae_scale_factor for side in noise.shape[-2:])
    paint = torch.from_numpy(_check_mask(mask, (width, height)))[None, None].to(c.device, torch.float32)
    paint = torch.nn.functional.max_pool2d(paint, c.vae_scale_factor) > 0  # (1, 1, H, W) -> (1, 1, h, w)

    def keep_known(latents, next_timestep):
        target = scheduler.add_noise(known, noise, next_timestep) if len(next_timestep) else known
        return torch.where(paint, latents, target)

    return timesteps, latents, keep_known


def _keep_nothing(latents, next_timestep):
    return latents


# Bad input, in words


def _set_timesteps(c, scheduler, steps):
    """scheduler.set_timesteps(steps), or ValueError where they would lie beyond what the model learnt, or all on one spot."""
    levels, learnt = scheduler.config.num_train_timesteps, c.scheduler.config.num_train_timesteps
    if levels != learnt:
        raise ValueError(
            f"The {type(scheduler).__name__} has {levels} levels of noise, and {inputs.shown(c.name)} learnt {learnt}: "
            f"make it by {type(scheduler).__name__}.from_config(c.scheduler.config)."
        )

    def fit(count):
        scheduler.set_timesteps(count)
        first, last = scheduler.timesteps[0], scheduler.timesteps[-1]
        return first < levels and (first > last or count == 1)

    if not fit(steps):
        most = next((count for count in range(steps - 1, 0, -1) if fit(count)), 1)
        raise ValueError(
            f"{steps} steps are too many for {type(scheduler).__name__} as it is set: it has timesteps for {most}."
        )


def _strings(name, value):
    strings = [value] if isinstance(value, str) else value
    is_list = isinstance(strings, (list, tuple)) and len(strings) > 0
    if not is_list or not all(isinstance(one, str) for one in strings):
        raise TypeError(f"{name} must be a string or a list of strings, not {inputs.shown(value)}.")
    return list(strings)


def _seeds(seed, count):
    if not isinstance(seed, (list, tuple)):
        return [whole_number(seed, "seed", 0, 2**63 - count) + i for i in range(count)]
    if len(seed) != count:
        raise ValueError(f"{len(seed)} seeds for {count} prompts: give one each, or one whole number.")
    return seed


def _check_guidance(guidance):
    return inputs.number(
        guidance, "guidance", "a number of 0 or more (1 is none, 3 to 8 are usual)", lambda guidance: guidance >= 0
    )


def _check_given_up(c, guidance, negatives):
    """ValueError where a model with its guidance folded in is asked for what it can no longer do."""
    if c.distilled_guidance is None:
        return
    asked = f"guidance {guidance:g}" if guidance != 1 else "a negative prompt" if any(negatives) else None
    if asked:
        raise ValueError(
            f"{inputs.shown(c.name)} cannot draw with {asked}: its U-Net was trained to give in one call what "
            f"guidance {c.distilled_guidance:g} and an empty negative prompt give, so leave both out, or use "
            f'load_components("{c.plain}").'
        )


def _check_strength(strength, default):
    if strength is None:
        return default
    return inputs.number(strength, "strength", "a number above 0 and at most 1", lambda strength: 0 < strength <= 1)


def _check_mask(mask, size):
    """The mask as an (H, W) array of bool, True where to paint. size: (W, H) of the picture."""
    given = mask
    if isinstance(mask, Image.Image):
        mask = turned(mask)
        if mask.mode not in ("1", "L"):
            raise ValueError(f'mask has the mode {mask.mode!r}: use mask.convert("L"), white where to paint.')
        mask = np.asarray(mask.convert("L")) / 255
    try:
        mask = np.asarray(mask)
    except (TypeError, ValueError, RuntimeError):  # rows of unequal length, a tensor that needs gradients
        mask = np.asarray(None)
    if mask.dtype.kind not in "buif":
        raise TypeError(
            f"mask must be a PIL picture or an array of bools or numbers, (H, W), not {inputs.shown(given)}."
        )
    if mask.shape != size[::-1]:
        raise ValueError(f"mask has the shape {mask.shape} and the picture {size[::-1]}: make them equal.")
    if mask.dtype != bool and not ((mask >= 0) & (mask <= 1)).all():
        raise ValueError("mask must hold bools, or numbers from 0 (keep) to 1 (paint).")
    return mask > 0.5
