"""Training a concept: the model is frozen, and only the vector of one new word is learnt."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from helpers.runtime import seeded_generator, seeded_noise, warn, whole_number

import torch
from PIL import Image

from helpers import inputs
from helpers.components import Components
from helpers.concepts.concept import Concept
from helpers.concepts.loading import with_concepts
from helpers.conditioning import too_long
from helpers.diffusion import add_noise
from helpers.latents import encode_pixels, require_finite, to_pixels

SCALE = 2.0**10  # of a loss whose gradients pass through float16; AdamW's steps have the same size at any scale
WATCHED, EVERY = 16, 10  # rows of the fixed batch, and every how many steps its loss is measured
ENCODED = 8  # pictures at once: one by one they take a third longer
LOWEST = 0.3  # of the schedule: in less noise the U-Net sees what is there, and needs no word for it


class Progress(NamedTuple):
    """One step of a training. step: 1, 2, ... of `steps`; 0 before the first.

    vector: where the concept is now, (n, d). best: where its loss was lowest so far, (n, d).
    loss: mean squared error of the noise guess on a batch that stays the same; NaN where it was not measured.
    """

    step: int
    steps: int
    vector: torch.Tensor
    loss: float
    best: torch.Tensor


def target_of(c, latents, noise, timesteps):
    """What a perfect U-Net answers to noisy latents, (B, C, h, w): the noise, or what else c.scheduler says that it predicts.

    v = sqrt(abar) eps - sqrt(1 - abar) x_0 (Salimans and Ho 2022). latents, noise, timesteps: as for `noise_loss`.
    """
    kind = c.scheduler.config.prediction_type
    if kind == "v_prediction":
        return add_noise(noise, -latents, timesteps, c.scheduler.alphas_cumprod)
    return latents if kind == "sample" else noise


def noise_loss(c, latents, prompt_embeds, noise, timesteps, weights=1.0):
    """Mean squared error of the U-Net's guess of the noise, a scalar tensor (Ho et al. 2020, eq. 14); see `target_of`.

    latents, noise: (B, C, h, w); prompt_embeds: (B, 77, d); timesteps: (B,) whole numbers. weights: how much
    each place counts, (B, 1, h, w) of mean 1.
    """
    noisy = add_noise(latents, noise, timesteps, c.scheduler.alphas_cumprod)
    noise_pred = c.unet(noisy, timesteps.to(c.device), encoder_hidden_states=prompt_embeds).sample
    target = target_of(c, latents, noise, timesteps)
    return (weights * (noise_pred.float() - target.float()) ** 2).mean()


def loss_scaler(c):
    """What multiplies the loss of a model in float16, whose gradients would vanish below 6e-8; else it does nothing.

    Micikevicius et al. 2018: the loss times a factor, the gradients divided by it in float32.
    """
    return torch.amp.GradScaler(c.device.type, enabled=c.dtype == torch.float16)


def descend(loss, optimizer, scaler, schedule):
    """One step of a training. Where the multiplied gradients overflow, nothing moves and the factor is halved."""
    optimizer.zero_grad()
    scaler.scale(loss).backward()
    factor = scaler.get_scale()
    scaler.step(optimizer)
    scaler.update()
    if scaler.get_scale() >= factor:
        schedule.step()


def train_concept(
    c: Components,
    images: list[Image.Image],
    token: str,
    start: str,
    prompts: list[str] | None = None,
    *,
    steps: int = 80,
    batch: int = 8,
    lr: float = 0.02,
    seed: int = 0,
    step: Callable | None = None,
) -> Iterator[Progress]:
    """Learn the vectors of a new word from a few pictures, one `Progress` at a time. To cancel, stop asking.

    c: Components. images: PIL, c.image_size square, turned `upright`. token: the new word, such as "<teal>".
    start: the word whose vectors the training starts from. Several words, or one of several pieces, give a
        concept of as many vectors. Each keeps its length and learns only its direction, so that the encoder reads
        no row longer than the words it was trained on.
    prompts: one string an image, which holds the token; None: the token alone. What a prompt names besides
        the token, the token need not learn.
    steps, batch: how often, and how many pictures a time. lr: the rate of Adam, falling to a tenth. seed: of
        all that is drawn. Deterministic.
    step: None, or who takes each step instead: a function of (words, new_ids, optimizer, loss_of). words: an nn.Embedding
        in float32, the whole table, the new rows at its end. optimizer: AdamW on words.weight. loss_of(): the loss of a
        fresh batch, a scalar tensor, times SCALE. It changes words.weight in place and leaves every other row as it was.

    Nothing of c changes. Bad input raises TypeError or ValueError at once; a loss of NaN FloatingPointError.
    """
    whole_number(steps, "steps", 1, 100_000)
    whole_number(batch, "batch", 1, 4096)
    lr = inputs.number(lr, "lr", "a number between 0 and 1, such as 0.02", lambda lr: 0 < lr < 1)
    images = inputs.pictures(images, "images")
    prompts = None if prompts is None else inputs.texts(prompts, "prompts")
    vectors = _start_vectors(c, start)
    model = with_concepts(c, Concept(token, vectors))
    latents, ids = _cached(model, images, token, prompts, len(c.tokenizer) + len(vectors) - 1)
    take = _Descended if step is None else partial(_Taken, step)
    return _steps(model, vectors, latents, ids, steps, batch, lr, seeded_generator(seed), take)


def _start_vectors(c, start):
    """The rows of the pieces of a word, or of several, (n, d) float32."""
    inputs.text(start, "start", 'a word to start from, such as "blue"')
    pieces = inputs.trainable(c).tokenizer(start, verbose=False).input_ids[1:-1]
    if not pieces:
        raise ValueError(f'start must be a word to start from, such as "blue", not {start!r}.')
    return c.text_encoder.get_input_embeddings().weight.detach()[pieces].float()


def _cached(model, images, token, prompts, last_id):
    """Latents (n, C, h, w) and token ids (n, 77) of pictures and prompts. last_id: of the last vector."""
    prompts = [token] * len(images) if prompts is None else prompts
    if not images:
        raise ValueError("There is no picture to learn from: give a list of images.")
    if len(images) != len(prompts):
        raise ValueError(f"{len(images)} pictures and {len(prompts)} prompts: give one prompt a picture.")
    ids = torch.tensor(
        model.tokenizer(prompts, padding="max_length", max_length=model.max_tokens, truncation=True).input_ids
    )
    for prompt, row in zip(prompts, ids):
        if said := too_long(model, prompt):
            warn(said)
        if last_id not in row:
            raise ValueError(
                f"The prompt {inputs.shown(prompt)} does not hold {token}, or too late to be read: name it "
                "in every prompt."
            )
    return encoded(model, images), ids.to(model.device)


def encoded(c, images):
    """The latents (n, C, h, w) of pictures to train on. ValueError unless all are as large as those that c draws."""
    if any(image.size != (c.image_size,) * 2 for image in images):
        raise ValueError(
            f"The pictures must be {c.image_size} x {c.image_size} pixels: see prepare_picture in helpers.latents."
        )
    some = min(ENCODED, c.at_once)
    latents = [encode_pixels(c, to_pixels(images[i : i + some])).mode() for i in range(0, len(images), some)]
    return torch.cat(latents) * c.vae.config.scaling_factor  # no tensor of inference mode, so it can be trained on


def _steps(model, vectors, latents, ids, steps, batch, lr, generator, take):
    table = model.text_encoder.get_input_embeddings().weight
    lengths = vectors.norm(dim=1, keepdim=True)
    trained = take(model, table, vectors.to(model.device), lr, steps)  # float32, whatever the model computes in
    levels = len(model.scheduler.alphas_cumprod)
    watched = _batch(
        model,
        latents,
        torch.arange(WATCHED) % len(latents),
        torch.linspace(LOWEST * levels, levels - 1, WATCHED).long(),
        seeded_generator(0),
    )
    lowest, best = math.inf, None
    for step in range(steps + 1):
        measured = step % EVERY == 0 or step == steps
        loss = _measure(model, watched, trained.table(), ids) if measured else math.nan
        if loss < lowest:
            lowest, best = loss, trained.vectors().cpu().clone()
        yield Progress(step, steps, trained.vectors().cpu().clone(), loss, best)
        if step < steps:
            rows = torch.randint(len(latents), (batch,), generator=generator)
            times = torch.randint(int(LOWEST * levels), levels, (batch,), generator=generator)
            some = _batch(model, latents, rows, times, generator)
            trained.step(lambda some=some: _loss(model, some, trained.table(), ids), step)
            with torch.no_grad():
                vectors = trained.vectors()
                vectors *= lengths.to(vectors) / vectors.norm(dim=1, keepdim=True)


class _Descended:
    """Only the new rows are parameters; all others are constants and cannot move."""

    def __init__(self, model, table, vectors, lr, steps):
        self.old_words, self.rows = table[: -len(vectors)], vectors.requires_grad_()
        self.optimizer = torch.optim.Adam([self.rows], lr=lr)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, steps, lr / 10)
        self.scaler = loss_scaler(model)

    def table(self):
        return torch.cat([self.old_words, self.rows.to(self.old_words)])  # (V + n, d)

    def vectors(self):
        return self.rows.detach()

    def step(self, loss_of, number):
        with torch.enable_grad():
            loss = loss_of()
        require_finite(loss.detach(), f"After {number} steps, the training loss holds")
        descend(loss, self.optimizer, self.scaler, self.schedule)


class _Taken:
    """The whole table is a parameter; the step that the reader wrote has to restrict the change to the new rows."""

    def __init__(self, take, model, table, vectors, lr, steps):
        rows = torch.cat([table[: -len(vectors)].float(), vectors])
        self.take, self.dtype, self.n = take, table.dtype, len(vectors)
        self.words = torch.nn.Embedding.from_pretrained(rows.clone(), freeze=False)
        self.new_ids, self.old_words = list(range(len(rows) - self.n, len(rows))), rows[: -self.n]
        self.optimizer = torch.optim.AdamW(self.words.parameters(), lr=lr)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, steps, lr / 10)

    def table(self):
        return self.words.weight.to(self.dtype)

    def vectors(self):
        return self.words.weight.detach()[-self.n :]

    def step(self, loss_of, number):
        with torch.enable_grad():
            self.take(self.words, list(self.new_ids), self.optimizer, lambda: SCALE * loss_of())
        require_finite(self.vectors(), f"After {number + 1} steps, the vectors hold")
        if not torch.equal(self.words.weight.detach()[: -self.n], self.old_words):
            raise ValueError(
                "This step moves other words than the new one: put their rows back after the optimizer's step."
            )
        self.schedule.step()


def _batch(model, latents, rows, timesteps, generator):
    """(rows, latents, noise, timesteps) of a batch."""
    noise = seeded_noise((len(rows), *latents.shape[1:]), generator, model.device, model.dtype)
    return rows, latents[rows], noise, timesteps


def _loss(model, some, table, ids):
    """`noise_loss` of a batch with this table of words, (V + n, d); every prompt is encoded once."""
    rows, latents, noise, timesteps = some
    encoder = model.text_encoder
    weight = encoder.get_input_embeddings().weight
    name = next(name for name, one in encoder.named_parameters() if one is weight)
    prompt_embeds = torch.func.functional_call(encoder, {name: table}, (ids,))[0]  # (prompts, 77) -> (prompts, 77, d)
    return noise_loss(model, latents, prompt_embeds[rows], noise, timesteps)


@torch.no_grad()
def _measure(*arguments):
    loss = _loss(*arguments)
    require_finite(loss, "The training loss holds")
    return loss.item()
