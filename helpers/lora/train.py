"""Training a LoRA from a few pictures and their captions."""

import math
from collections.abc import Iterator
from typing import NamedTuple

from helpers.runtime import seeded_generator, seeded_noise, whole_number

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from helpers import inputs
from helpers.components import Components
from helpers.concepts import noise_loss
from helpers.concepts.train import descend, encoded, loss_scaler, target_of
from helpers.conditioning import encode_prompts
from helpers.diffusion import add_noise
from helpers.latents import require_finite
from helpers.lora.layers import Lora, unet_without
from helpers.pictures import check_mask_fits

WATCHED, EVERY = 10, 50  # rows of the fixed batch, and every how many steps its loss is measured
AHEAD = 16  # pictures on which the teacher is asked in one call, for several steps: that takes two thirds of the time
WARMUP = 10
FOCUS = 8  # how much more an error in the mask counts
KEEP = 8  # how much a change of what is to be kept counts, beside the error on what is new


class Progress(NamedTuple):
    """One step of a training. step: 1, 2, ... of `steps`; 0 before the first.

    loss: error of the noise guess, weighted by the masks, on a batch that stays the same; NaN where it was
        not measured.
    """

    step: int
    steps: int
    loss: float


def train_lora(
    c: Components,
    lora: Lora,
    images: list[Image.Image],
    prompts: list[str],
    keep: tuple[list[Image.Image], list[str]] | None = None,
    masks: list[np.ndarray] | None = None,
    *,
    steps: int = 400,
    batch: int = 8,
    lr: float = 6e-3,
    seed: int = 0,
    timesteps: tuple[int, int] | None = None,
) -> Iterator[Progress]:
    """Train a LoRA that is in c.unet, one `Progress` at a time. To cancel, stop asking: it stays as far as it
    came.

    c: Components. lora: from `add_lora`. images: PIL, c.image_size square, turned `upright`. prompts: one string an image.
    keep: (images, prompts) of ordinary pictures that the model is to draw as before (Ruiz et al. 2023). Three
        of eight pictures in a batch are these, the last of them with an empty prompt, as guidance has it (one
        alone at every third step); on them the U-Net is to answer as it does without the LoRA, whatever the noise.
    masks: (H, W) arrays of bool, one an image: where in it the thing is. An error there counts more,
        see `place_weights`.
    steps, batch: how often, and how many pictures a time. lr: the rate of AdamW, reached after a few steps,
        then falling along a cosine. seed: of the noise and of who is drawn. Deterministic.
    timesteps: (low, high), the noise levels low, ..., high - 1 to learn at; None: all of them. What a thing
        looks like as a whole is settled where there is much noise: (200, 1000) learns a shape sooner.

    Nothing but A and B changes. Bad input raises TypeError or ValueError at once; a loss of NaN FloatingPointError; a step whose
    LoRA was taken out, merged or given another strength meanwhile ValueError.
    """
    whole_number(steps, "steps", 1, 100_000)
    whole_number(batch, "batch", 1, 4096)
    lr = inputs.number(lr, "lr", "a number between 0 and 1, such as 0.006", lambda lr: 0 < lr < 1)
    inputs.trainable(c)
    if not isinstance(lora, Lora):
        raise TypeError(f"lora must be what add_lora or load_lora returns, not {inputs.shown(lora)}.")
    if lora.unet is not c.unet:
        raise ValueError("This LoRA is in another U-Net: add one with add_lora(c.unet).")
    _check_in_use(lora)
    levels = len(c.scheduler.alphas_cumprod)
    low, high = (0, levels) if timesteps is None else _pair(timesteps, "timesteps", "(low, high)")
    whole_number(low, "the lowest of timesteps", 0, levels - 1)
    whole_number(high, "the end of timesteps", low + 1, levels)
    images, prompts = inputs.pictures(images, "images"), inputs.texts(prompts, "prompts")
    kept, said = ([], []) if keep is None else _pair(keep, "keep", "(images, prompts)")
    kept, said = inputs.pictures(kept, "images to keep"), inputs.texts(said, "prompts to keep")
    if kept and batch < 3:
        raise ValueError(
            f"A batch of {batch} has no room for pictures to keep, which are three of eight: give "
            "batch at least 3, or keep=None."
        )
    lesson = _Lesson(c, images, prompts, kept, said, masks, (low, high))
    return _steps(lesson, lora, steps, batch, lr, seeded_generator(seed))


def _check_in_use(lora):
    """ValueError unless the LoRA's layers are in its U-Net and count as they are trained to."""
    if not lora.inside:
        raise ValueError("This LoRA was taken out of its U-Net: put a new one in with add_lora(c.unet).")
    if lora.merged or lora.strength != 1:
        raise ValueError("A LoRA is trained at strength 1 and not merged: call unmerge(), and set its strength to 1.")


def _pair(value, name, takes):
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise TypeError(f"{name} must be a pair {takes}, or None, not {inputs.shown(value)}.")
    return value


class _Lesson:
    """The pictures of a training: latents (n, C, h, w) and weights (n, 1, h, w), the new ones first, then
    those to keep; prompt_embeds (n + 1, 77, d), the empty prompt's last."""

    def __init__(self, c, images, prompts, keep_images, keep_prompts, masks, levels):
        for some, words, name in ((images, prompts, "images"), (keep_images, keep_prompts, "keep")):
            if len(some) != len(words):
                raise ValueError(
                    f"{name}: {len(some)} pictures and {len(words)} prompts: give one prompt for each picture."
                )
        if not images:
            raise ValueError("There is no picture to learn from: give a list of images and one of prompts.")
        for image in images:
            check_mask_fits(image, masks)
        latents = encoded(c, images + keep_images)
        self.c, self.levels, self.new, self.kept = c, levels, len(images), len(keep_images)
        self.latents = latents
        self.prompt_embeds = encode_prompts(c, prompts + keep_prompts + [""]).clone()
        self.weights = torch.ones(len(latents), 1, *c.latent_shape[1:], device=c.device)
        if masks is not None:
            self.weights[: self.new] = place_weights(c, masks, len(images))

    def rows(self, batch, generator):
        """Which new pictures the next batch holds, and which of those to keep: three of eight, if any."""
        kept = batch * 3 // 8 if self.kept else 0
        return (
            torch.randint(self.new, (batch - kept,), generator=generator),
            self.new + torch.randint(max(self.kept, 1), (kept,), generator=generator),
        )

    def batch(self, rows, words, generator):
        """What `noise_loss` takes."""
        timesteps = torch.randint(*self.levels, (len(rows),), generator=generator)
        noise = seeded_noise((len(rows), *self.c.latent_shape), generator, self.c.device, self.c.dtype)
        return self.c, self.latents[rows], self.prompt_embeds[words], noise, timesteps, self.weights[rows]


def joint_loss(new, kept, before):
    """The error on what is new, and KEEP times how far c.unet has moved on what is to be kept: a scalar tensor.

    new, kept: as `_Lesson.batch` gives them; both are asked in one batch, which costs less than two. before: what a teacher
    answered on `kept`, see `answer_of`.
    """
    c, n, weights = new[0], len(new[1]), new[-1]
    latents, prompt_embeds, noise, timesteps = (torch.cat(both) for both in zip(new[1:5], kept[1:5]))
    noisy, timesteps = add_noise(latents, noise, timesteps, c.scheduler.alphas_cumprod), timesteps.to(c.device)
    noise_pred = c.unet(noisy, timesteps, encoder_hidden_states=prompt_embeds).sample.float()
    target = target_of(c, *new[1:2], *new[3:5])
    error = (weights * (noise_pred[:n] - target.float()) ** 2).mean()
    return error + KEEP * ((noise_pred[n:] - before.float()) ** 2).mean()


@torch.no_grad()
def answer_of(teacher, some):
    """What the U-Net as it was (`unet_without`) says to pictures, given as `_Lesson.batch` does: (B, C, h, w)."""
    c, latents, prompt_embeds, noise, timesteps = some[:5]
    noisy = add_noise(latents, noise, timesteps, c.scheduler.alphas_cumprod)
    return teacher(noisy, timesteps.to(c.device), encoder_hidden_states=prompt_embeds).sample


def place_weights(c, masks, n):
    """How much each place of n pictures counts, (n, 1, h, w), of mean 1 in each picture.

    masks: n arrays (H, W) of bool. In the mask, and one place around it, FOCUS + 1 times as much as
    elsewhere."""
    masks = [np.asarray(mask) for mask in inputs.list_of(masks, "masks", "arrays of bool", (np.ndarray, torch.Tensor))]
    if len(masks) != n or any(mask.dtype != bool or mask.shape != (c.image_size,) * 2 for mask in masks):
        raise ValueError(f"masks must be {n} arrays of bool, {c.image_size} x {c.image_size}, one for each picture.")
    inside = torch.from_numpy(np.stack(masks)).float()[:, None]  # (n, 1, H, W)
    inside = F.max_pool2d(F.avg_pool2d(inside, c.vae_scale_factor), 3, stride=1, padding=1)  # -> (n, 1, h, w)
    weights = 1 + FOCUS * inside
    return (weights / weights.mean((1, 2, 3), keepdim=True)).to(c.device)


def _steps(lesson, lora, steps, batch, lr, generator):
    optimizer = torch.optim.AdamW(
        lora.parameters(), lr=lr, weight_decay=0.0, fused=lesson.c.device.type == "cpu" or None
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    teacher = unet_without(lora) if lesson.kept else None
    scaler = loss_scaler(lesson.c)  # A and B are float32, whatever the model is
    same = torch.arange(WATCHED) % lesson.new
    watched = lesson.batch(same, same, seeded_generator(0))
    yield Progress(0, steps, _measure(watched))
    for step, (new, kept, before) in enumerate(_batches(lesson, teacher, steps, batch, generator), 1):
        _check_in_use(lora)  # a cell, or a studio, may have changed it since the last step
        with torch.enable_grad():
            loss = noise_loss(*new) if kept is None else joint_loss(new, kept, before)
        require_finite(loss.detach(), f"After {step - 1} steps, the training loss holds")
        descend(loss, optimizer, scaler, schedule)
        yield Progress(step, steps, _measure(watched) if step % EVERY == 0 or step == steps else math.nan)


def _batches(lesson, teacher, steps, batch, generator):
    """What each step is about: (new, kept, the teacher's answer on what is kept); the last two None where nothing is."""
    ahead = max(1, min(AHEAD, lesson.c.at_once) // max(1, batch * 3 // 8))  # steps
    for first in range(1, steps + 1, ahead):
        drawn = [_drawn(lesson, batch, step, generator) for step in range(first, min(first + ahead, steps + 1))]
        if teacher is None:
            yield from ((new, None, None) for new, _ in drawn)
            continue
        every = [torch.cat(parts) for parts in list(zip(*(kept for _, kept in drawn)))[1:]]
        answers = answer_of(teacher, (lesson.c, *every)).chunk(len(drawn))
        yield from ((*one, before) for one, before in zip(drawn, answers))


def _drawn(lesson, batch, step, generator):
    """The batch of new pictures of a step, and that of those to keep, or None."""
    new, kept = lesson.rows(batch, generator)
    return (lesson.batch(new, new, generator), lesson.batch(kept, _words(kept, step), generator) if len(kept) else None)


def _words(kept, step):
    """Whose prompts stand beside the kept pictures of a step: their own, but the last one's is empty (row -1).
    One alone has its own at two steps of three."""
    if len(kept) == 1 and step % 3:
        return kept
    return torch.cat([kept[:-1], torch.tensor([-1])])


def _rate(step, steps):
    """The learning rate's factor, 0..1, of step 0, 1, ...: a climb, then a cosine to a twentieth."""
    return min(1.0, (step + 1) / WARMUP) * (0.525 + 0.475 * math.cos(math.pi * step / steps))


@torch.no_grad()
def _measure(watched):
    return noise_loss(*watched).item()
