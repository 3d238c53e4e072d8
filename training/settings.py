"""Every number of every stage, in two presets: `cpu` (two cores, an evening) and `gpu` (a large card, half an hour).

Each stage reads its own from the command line: `python -m training.vae --preset cpu --steps 100 --batch 8`.
"""

import argparse
import sys
from dataclasses import dataclass, fields, replace


@dataclass
class Loop:
    """What all training loops share. Lengths are in optimiser steps; `minutes` > 0 sets `steps` from the measured
    speed instead, over and over until the rate begins to fall."""

    steps: int = 1000
    minutes: float = 0.0  # the whole run's length, time before a resume counted in
    batch: int = 32  # over all processes
    optimizer: str = "muon"  # "muon": Muon for matrices and kernels, AdamW for the rest; "adamw": AdamW for all
    lr: float = 1e-3  # AdamW's, and Muon's (whose update is scaled to AdamW's size)
    weight_decay: float = 0.0
    warmup: int = 100  # steps of linear warm-up
    decay: float = 0.3  # the last part of the run, in which the rate falls to zero
    ema: float = 0.998  # after its own warm-up
    clip_norm: float = 1.0
    log_every: int = 50
    watch_minutes: float = 5.0  # how often validation runs and pictures are saved
    workers: int = 0  # processes that prepare batches; 0: the training process itself
    seed: int = 0


@dataclass
class Data:
    n: int = 30_000  # training pictures
    validation: int = 1_000
    heldout: int = 4_000  # pictures of the pairs kept out of training: for the judge alone
    shard: int = 500  # pictures a file
    processes: int = 0  # 0: one for each core


@dataclass
class Vae(Loop):
    channels: str = "16,32,64,128"
    layers: int = 1
    groups: int = 8
    crop: int = 64  # pixels a side
    subject_share: float = 0.5  # part of the crops that lie on a subject
    own: float = 0.0  # part of the crops taken from pictures with a kind or colour of one's own, see docs/own-world.md
    full_from: float = 0.85  # from this part of the run on: whole pictures, batch smaller by (128 / crop)^2
    kl: float = 1e-5  # per latent pixel
    squared: float = 8.0  # weights of the terms of the loss beside L1
    edges: float = 1.0
    lowpass: float = 1.0
    halfsize: float = 0.5  # every fourth step: a half-size latent decodes to the half-size picture


@dataclass
class Decoder(Vae):
    l1: float = 2.0  # in Oklab, whose range is half as wide as that of pixels
    edges: float = 2.0  # likewise
    energy: float = 3.0  # the strength of edges in windows of 8x8
    features: float = 0.1  # of the image tower, on whole pictures
    critic: float = (
        0.2  # its gradient as a fraction of all the other terms'; 0: no critic. 0.3 makes edges too strong by 7 %
    )
    critic_from: float = 0.5  # from this part of the run on
    critic_width: int = 32


@dataclass
class Judge(Loop):
    widths: str = "24,48,96,128"
    heldout: float = 0.2  # part of the pictures that show a pair kept out of the model's training


@dataclass
class Clip(Loop):
    width: int = 128
    layers: int = 4
    heads: int = 4
    patch: int = 16
    readers: float = 0.5  # weight of the auxiliary attribute readers
    keep: float = (
        0.0  # with --start: weight of how far the states of captions without a new word move from where they were
    )


@dataclass
class Unet(Loop):
    channels: str = "64,128"
    layers: int = 1
    heads: int = 4
    groups: int = 16
    empty: float = 0.1  # part of the captions replaced by the empty one
    min_snr: float = 5.0
    grounding: float = 0.003  # weight of the loss on where words are read
    words_only: float = 0.3  # part of the captions of which end token and padding can not be read
    weather: float = 3.0  # captions that name rain, falling snow or mist are drawn this many times as often
    two: float = 2.0  # and captions with two subjects
    own: float = 1.0  # and captions with a kind or colour of one's own, see docs/own-world.md
    pictures: int = 20_000  # of the training pictures: their latents are computed first
    guidance: float = 3.0  # of the samples on the way
    watch_captions: int = 24  # and how many of them the judge reads
    watch_steps: int = 25  # and the steps they are drawn in


@dataclass
class Fast(Loop):
    calls: int = 8  # of the U-Net for a picture: the steps to draw with, each one call
    substeps: int = 2  # steps with guidance, two calls each, of the teacher's that one call takes over
    teacher_steps: int = 25  # how many the teacher draws with, which says from where it begins
    guidance: float = 3.0  # the scale that is folded in
    empty: float = 0.1  # part of the captions replaced by the empty one
    weather: float = 2.0  # as for the U-Net: which captions are drawn more often
    two: float = 2.0
    own: float = 1.0
    pictures: int = 20_000  # of the training pictures: their latents are computed first
    watch_captions: int = 92  # how many pictures the judge reads on the way, beside eight of the same prompts


@dataclass
class Evaluate:
    captions: int = 500
    steps: int = 0  # 0: the model's own
    guidance: float = -1.0  # below 0: the model's own
    batch: int = 32
    seed: int = 0


PRESETS = {
    "cpu": {
        "data": Data(),
        "vae": Vae(steps=2600, batch=16, lr=2e-3, warmup=100, decay=0.35, ema=0.998),
        "decoder": Decoder(steps=3500, batch=16, lr=1e-3, warmup=50, decay=0.6, ema=0.995, full_from=0.5, squared=12),
        "judge": Judge(
            steps=750,
            batch=64,
            lr=2e-3,
            warmup=50,
            decay=0.5,
            ema=0.99,
            weight_decay=0.01,
            log_every=25,
            watch_minutes=2,
        ),
        "clip": Clip(steps=900, batch=128, lr=2e-3, warmup=50, decay=0.4, ema=0.99, weight_decay=0.01, log_every=25),
        "unet": Unet(steps=11_000, batch=32, lr=2e-3, warmup=100, decay=0.3, ema=0.999, watch_minutes=10),
        "fast": Fast(steps=1000, batch=16, lr=1e-3, warmup=50, decay=0.5, ema=0.99, log_every=25, watch_minutes=10),
        "evaluate": Evaluate(),
    },
    "gpu": {
        "data": Data(n=100_000, shard=1000),
        "vae": Vae(
            steps=8000,
            batch=128,
            lr=2e-3,
            warmup=200,
            decay=0.35,
            ema=0.999,
            workers=8,
            watch_minutes=2,
            channels="32,64,96,128",
        ),
        "decoder": Decoder(
            steps=3000,
            batch=128,
            lr=1e-3,
            warmup=100,
            decay=0.6,
            ema=0.998,
            full_from=0.6,
            squared=12,
            workers=8,
            watch_minutes=1,
        ),
        "judge": Judge(
            steps=4000,
            batch=256,
            lr=2e-3,
            warmup=100,
            decay=0.5,
            ema=0.998,
            weight_decay=0.01,
            workers=8,
            watch_minutes=1,
        ),
        "clip": Clip(
            steps=4000,
            batch=512,
            lr=1e-3,
            warmup=100,
            decay=0.4,
            ema=0.998,
            weight_decay=0.01,
            workers=12,
            watch_minutes=2,
            width=192,
        ),
        "unet": Unet(
            steps=25_000,
            batch=256,
            lr=2e-3,
            warmup=200,
            decay=0.3,
            ema=0.9995,
            workers=12,
            watch_minutes=3,
            channels="96,160",
            pictures=100_000,
        ),
        "fast": Fast(
            steps=6000,
            batch=256,
            lr=1e-3,
            warmup=100,
            decay=0.5,
            ema=0.998,
            workers=4,
            watch_minutes=3,
            pictures=100_000,
        ),
        "evaluate": Evaluate(captions=1000, batch=128),
    },
}


def settings(stage, argv=None, **extra):
    """The settings of a stage: the preset's, changed by the command line.

    stage: a key of PRESETS["cpu"]. argv: words, or None for the process's own. extra: further options, each
    name=(default, help). Returns (settings, namespace of extras). A wrong option ends the program with its usage.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m training.{stage}", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--preset", choices=sorted(PRESETS), default="cpu", help="where the defaults come from")
    argv = sys.argv[1:] if argv is None else argv
    preset, _ = parser.parse_known_args([word for word in argv if word not in ("-h", "--help")])
    chosen = PRESETS[preset.preset][stage]
    for field in fields(chosen):
        name, default = field.name.replace("_", "-"), getattr(chosen, field.name)
        parser.add_argument(f"--{name}", type=field.type, default=default, help=" ")
    for name, (default, text) in extra.items():
        kind = {"action": "store_true"} if default is False else {"type": type(default)}
        parser.add_argument(f"--{name.replace('_', '-')}", default=default, help=text, **kind)
    given = vars(parser.parse_args(argv))
    values = {field.name: given.pop(field.name) for field in fields(chosen)}
    if not 0 <= values.get("decay", 0) < 1:
        parser.error(f"--decay is {values['decay']:g}: give a share of the run from 0 to below 1")
    for name in ("steps", "batch", "shard"):
        if values.get(name, 1) < (0 if stage == "evaluate" else 1):
            parser.error(f"--{name} is {values[name]}: give at least 1")
    return replace(chosen, **values), argparse.Namespace(**given)


def numbers(text):
    """ "16,32,64" -> (16, 32, 64)"""
    return tuple(int(word) for word in text.split(","))
