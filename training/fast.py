"""The fast U-Net: `python -m training.fast`. Writes runs/fast/model, a UNet2DConditionModel of the same shape as its teacher.

Two calls with guidance become one without (Meng et al. 2023, at one fixed scale), and some steps become one (Salimans and
Ho 2022): a call of the student, at a noise level where a drawing of so many steps calls it, is to arrive where the
teacher arrives after `substeps` guided DDIM steps from the same latents. It predicts noise as before, so that
configuration, scheduler and loop stay as they are.

The teacher is the bundle's U-Net. Where that has changed since the last run, the run begins anew, with the same command.
"""

import copy
import json
import os
from itertools import count
from random import Random

import numpy as np
import torch
from accelerate import PartialState
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from helpers.components import Components
from helpers.files import write_atomic
from helpers.pictures import pixels_of
from helpers.postcards.captions import caption
from helpers.postcards.judge import load_judge
from helpers.sampling import generate
from training.common import read_checkpoint, runs, save_sheet, train
from training.data import Pictures
from training.export import BUNDLE
from training.grounding import TrainingAttention
from training.settings import settings
from training.unet import PROMPTS, cached_latents, make_scheduler, shipped_hash, stands_on
from training.unet import Batches as UnetBatches
from training.vae import psnr


def call_levels(scheduler, calls, substeps, teacher_steps):
    """(timesteps the student is told, (calls,); the teacher's on the way, (calls, substeps + 1), int).

    Row i of the second begins where call i does and ends where its DDIM step arrives, -1 for finished latents. All but
    the first: pure noise stands for the first level of any drawing, and the teacher takes it for the one its own begins at.
    """
    scheduler = copy.deepcopy(scheduler)
    scheduler.set_timesteps(teacher_steps)
    first = int(scheduler.timesteps[0])
    scheduler.set_timesteps(calls)
    told = scheduler.timesteps.tolist()
    ends = [max(t - scheduler.config.num_train_timesteps // calls, -1) for t in told]  # as DDIMScheduler.step has it
    ways = [np.linspace(begin, end, substeps + 1).astype(int) for begin, end in zip([first, *told[1:]], ends)]
    return torch.tensor(told), torch.from_numpy(np.stack(ways))


def ddim_step(latents, noise_pred, begin, end):
    """Latents at abar `begin` -> at abar `end`, tensors that broadcast."""
    x0 = (latents - (1 - begin).sqrt() * noise_pred) / begin.sqrt()
    return end.sqrt() * x0 + (1 - end).sqrt() * noise_pred


class Objective(torch.nn.Module):
    """How far from the teacher one call of `unet` arrives, squared, for latents (n, 4, h, w) under captions ids (n, 77).

    The mean over all calls of a drawing; those whose answer moves the latents far are drawn more often, and weighed less.
    no_words: (1, 77), the empty caption's ids. settings: a settings.Fast.
    """

    def __init__(self, unet, teacher, text_encoder, no_words, settings):
        super().__init__()
        self.unet, self.substeps, self.guidance = (
            unet.to(memory_format=torch.channels_last),
            settings.substeps,
            settings.guidance,
        )
        unet.set_attn_processor(TrainingAttention())
        teacher.set_attn_processor(TrainingAttention())
        teacher.to(memory_format=torch.channels_last)
        self.frozen = [net.eval().requires_grad_(False) for net in (teacher, text_encoder)]  # neither trained nor saved
        scheduler = make_scheduler()
        told, ways = call_levels(scheduler, settings.calls, settings.substeps, settings.teacher_steps)
        alphas_cumprod = torch.cat(
            [scheduler.alphas_cumprod, scheduler.final_alpha_cumprod.view(1)]
        )  # the last one at -1
        begin, end = alphas_cumprod[told], alphas_cumprod[ways[:, -1]]
        moved = ddim_step(torch.zeros(len(told)), torch.ones(len(told)), begin, end).abs()  # by noise_pred = 1
        self.register_buffer("often", moved / moved.sum(), persistent=False)
        for name, tensor in dict(told=told, ways=ways, alphas_cumprod=alphas_cumprod, no_words=no_words).items():
            self.register_buffer(name, tensor, persistent=False)

    def abar(self, timesteps):
        return self.alphas_cumprod[timesteps].view(-1, 1, 1, 1)

    @torch.no_grad()
    def teach(self, latents, way, prompt_embeds):
        """Where the teacher arrives: guided DDIM steps from latents (n, 4, h, w) along way (n, substeps + 1).

        prompt_embeds: (2n, 77, width), those of the empty caption first.
        """
        teacher = self.frozen[0].to(latents.device)
        for begin, end in zip(way.T[:-1], way.T[1:]):
            both = torch.cat([latents, latents]).contiguous(memory_format=torch.channels_last)  # (2n, 4, h, w)
            uncond, text = teacher(both, begin.repeat(2), encoder_hidden_states=prompt_embeds).sample.float().chunk(2)
            latents = ddim_step(latents, uncond + self.guidance * (text - uncond), self.abar(begin), self.abar(end))
        return latents

    def forward(self, latents, ids):
        n, device = len(latents), latents.device
        # One from each n-th part of the calls: every batch sees all that count.
        place = (torch.randperm(n, device=device) + torch.rand(n, device=device)) / n
        call = torch.bucketize(place, self.often.cumsum(0)).clamp(max=len(self.told) - 1)
        told, way, noise = self.told[call], self.ways[call], torch.randn_like(latents)
        a = self.abar(told)
        noisy = a.sqrt() * latents + (1 - a).sqrt() * noise
        noisy = torch.where((call == 0).view(n, 1, 1, 1), noise, noisy).contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            prompt_embeds = self.frozen[1].to(device)(torch.cat([self.no_words.expand(n, -1), ids])).last_hidden_state
        wanted = self.teach(noisy, way, prompt_embeds)
        noise_pred = self.unet(noisy, told, encoder_hidden_states=prompt_embeds[n:]).sample.float()
        arrived = ddim_step(noisy, noise_pred, a, self.abar(way[:, -1]))
        error = (arrived - wanted).square().mean((1, 2, 3))
        weight = 1 / (len(self.told) * self.often[call])
        return dict(loss=(weight * error).mean()) | ({"first": error[call == 0].mean()} if (call == 0).any() else {})


class Batches(UnetBatches):
    """Latents, and for each a fresh caption's token ids."""

    def __init__(self, latents, pictures, tokenizer, settings):
        self.latents, self.scenes, self.tokenizer = latents, pictures.scenes, tokenizer
        self.batch, self.empty = settings.batch, settings.empty
        self.weather, self.two, self.own = settings.weather, settings.two, settings.own

    def __call__(self, rng, step, steps):
        indices, texts = zip(*(self.draw(rng) for _ in range(self.batch)))
        ids = self.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        return dict(latents=self.latents[list(indices)], ids=ids)


def make_room(given):
    """Put a run that stands on other parts aside, so that one on `given` can begin: nothing is lost, the command is the same."""
    state = read_checkpoint(runs("fast") / "last.pt")
    if state and state["given"] != given:
        changed = ", ".join(key for key in given if state["given"].get(key) != given[key])
        aside = next(path for path in (runs() / f"fast-before-{n}" for n in count(1)) if not path.exists())
        os.replace(runs("fast"), aside)
        print(f"fast: begins anew, for what it stands on has changed since ({changed}); the run until now is {aside}")


def save(unet, folder, given):
    """The U-Net, and beside it what course.json is to say of it."""
    unet.save_pretrained(folder)
    own = dict(guidance=1.0, steps=given["calls"], distilled_guidance=given["guidance"], of=given["unet"])
    write_atomic(folder / "course.json", lambda file: file.write_text(json.dumps(own) + "\n"))


def main(argv=None):
    chosen, options = settings(
        "fast",
        argv,
        fresh=(False, "begin anew"),
        teacher=(str(BUNDLE / "unet"), "folder of the U-Net to make fast"),
        start=("", "folder of a fast U-Net whose weights to begin with, instead of the teacher's"),
    )
    torch.manual_seed(chosen.seed)
    vae = AutoencoderKL.from_pretrained(runs("vae") / "model")
    text_encoder = CLIPTextModel.from_pretrained(runs("clip") / "model")
    tokenizer = CLIPTokenizer.from_pretrained(runs("clip") / "tokenizer")
    teacher = UNet2DConditionModel.from_pretrained(options.teacher).float()
    student = UNet2DConditionModel.from_pretrained(options.start or options.teacher).float()
    parts = stands_on()
    given = dict(
        unet=shipped_hash(teacher),
        calls=chosen.calls,
        guidance=chosen.guidance,
        text_encoder=parts["text_encoder"],
    )
    with PartialState().main_process_first():
        make_room(given)
    pictures, validation = Pictures("train", chosen.pictures), Pictures("validation")
    latents = cached_latents(pictures, vae, parts["vae"])
    no_words = tokenizer("", padding="max_length", return_tensors="pt").input_ids
    objective = Objective(student, teacher, text_encoder, no_words, chosen)

    judge_folder, rng = runs("judge") / "model", Random(0)
    prompts = PROMPTS + [caption(scene, rng) for scene in validation.scenes[: chosen.watch_captions]]
    examples = []  # the teacher's pictures of PROMPTS, once they have been asked for

    def draw(net, prompts, **how):
        c = Components(
            tokenizer=tokenizer,
            text_encoder=text_encoder.to(net.device),
            vae=vae.to(net.device),
            unet=net,
            scheduler=make_scheduler(),
            name="training",
            path=runs("fast"),
            guidance=chosen.guidance,
        )
        return np.stack(generate(c, prompts, seed=0, **how))

    def watch(ema, step):
        """Sheet of PROMPTS, the teacher's above, and how like these they are; how well the judge finds some more captions shown."""
        save(ema.unet, runs("fast") / "latest", given)
        examples[:] = examples or [draw(teacher.to(ema.unet.device), PROMPTS, steps=chosen.teacher_steps)]
        images = draw(ema.unet, prompts, steps=chosen.calls, guidance=1)
        fast = images[: len(PROMPTS)]
        for name in ("samples.png", f"samples-{step:06d}.png"):
            save_sheet(runs("fast") / name, np.concatenate([examples[0], fast]), columns=len(PROMPTS))
        seen = dict(psnr=psnr(pixels_of(fast), pixels_of(examples[0])))
        if not (judge_folder / "config.json").exists():
            return seen
        scores = load_judge(judge_folder).agreement(list(images), prompts)
        return seen | {key: score.right for key, score in scores.items() if score.n}

    ema = train(
        "fast",
        objective,
        Batches(latents, pictures, tokenizer, chosen),
        chosen,
        plain=("conv_in", "conv_out"),
        watch=watch,
        given=given,
        fresh=options.fresh,
    )
    save(ema.unet, runs("fast") / "model", given)


if __name__ == "__main__":
    main()
