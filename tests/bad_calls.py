"""Calls with something wrong in them, a table: whatever a reader may hand over by mistake, to every function they may call.

`TABLE` holds `Call`s. `World` is what they need that is right. `tests/unit/test_bad_input.py` makes every one of them.
"""

import math
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from random import Random
from typing import NamedTuple

import diffusers
import numpy as np
import torch
from PIL import Image

from helpers import (
    attention,
    concepts,
    conditioning,
    denoise,
    diffusion,
    generate,
    latents,
    load_components,
    lora,
    my_course,
    panels,
    runtime,
    sampling,
)
from helpers.panels import base as panel_parts
from helpers.panels import concepts as concept_panels
from helpers.panels import conditioning as conditioning_panels
from helpers.panels import diffusion as diffusion_panels
from helpers.panels import latents as latents_panels
from helpers.panels import sampling as sampling_panels
from helpers.postcards import Scene, Subject, caption, full_caption, phrases, read_caption, render, sample_scene
from helpers.postcards.judge import load_judge, truth
from helpers.postcards.lessons import concept_cards, concept_scene
from helpers.postcards.measures import load_measures

PROMPT = "a red boat on a lake"
LAKE = dict(
    sky="day",
    light="sun",
    ground="lake",
    backdrop="none",
    weather="none",
    subjects=(Subject("boat", "red", "left"),),
    seed=3,
)


class World:
    """What the calls need that is right: a tiny model and what it drew. folder: an empty one of its own."""

    def __init__(self, c, folder):
        self.c, self.unet, self.tokenizer, self.folder = c, c.unet, c.tokenizer, folder
        self.scene = Scene(**LAKE)
        self.card = render(self.scene, size=c.image_size)
        self.image, self.mask = self.card.image, self.card.masks["boat"]
        self.latents, self.pixels = latents.encode_image(c, self.image).clone(), latents.to_pixels([self.image])
        self.alphas = diffusion.make_alphas_cumprod()
        self.width = c.text_encoder.config.hidden_size
        self.concept = concepts.Concept("<teal>", torch.ones(self.width))
        self.towers, self.judge, self.measures = conditioning.load_towers(c), load_judge(), load_measures()
        with attention.record_attention(c.unet) as self.record:
            generate(c, PROMPT, steps=2)
        self.linear = torch.nn.utils.skip_init(torch.nn.Linear, 4, 4)
        self.preview, self.rng = latents.preview_of(c), Random(0)
        self.mixture = diffusion.make_shape("spiral")
        with lora.add_lora(c.unet, rank=1) as one:
            self.lora_file = lora.save_lora(one, folder / "lora")
        self.concept_folder = concepts.save_concept(self.concept, folder / "concept")

    def train_lora(self, **wrong):
        """train_lora with a LoRA that is in the U-Net meanwhile."""
        right = dict(images=[self.image], prompts=[PROMPT], steps=1) | wrong
        with lora.add_lora(self.unet, rank=1) as one:
            return lora.train_lora(self.c, one, **right)

    def train_concept(self, **wrong):
        right = dict(images=[self.image], token="<x>", start="boat", steps=1) | wrong
        return concepts.train_concept(self.c, **right)

    def enter(self, block):
        """A with block, entered and left."""
        with block:
            pass


class Call(NamedTuple):
    """group: as in the table of the review that this trial repeats. what: the call and the bad value, in words.

    names: what the sentence has to name, a regular expression. make(world): the call.
    """

    group: str
    what: str
    names: str
    make: Callable


class Odd:
    """An object of no use."""


class Shy:
    """An object whose own repr is broken."""

    def __repr__(self):
        raise RuntimeError("no repr")


SOMETHING = Odd()
NAN, INF = math.nan, math.inf
SQUARE = np.zeros((128, 128, 3), np.uint8)
NOT_TEXT = (None, 5, 2.5, b"boat", ["a boat"], SOMETHING)
NOT_TEXTS = (None, 5, "a boat", b"boat", [5], [None], [["a boat"]], {"a boat"}, {"a boat": 1})
NOT_WHOLE = (None, "9", 2.5, True, [1], NAN)
NOT_NUMBER = (None, "high", True, [1.0], 1j, NAN, INF)
NOT_FLAG = ("yes", 1, 0.0)
NOT_PICTURE = (None, 5, "boat.png", Path("boat.png"), [1, 2], SQUARE, torch.zeros(3, 128, 128), SOMETHING)
NOT_PICTURES = (None, 5, "boat.png", [5], ["boat.png"], {1: 2}, Image.new("RGB", (128, 128)))
NOT_TENSOR = (
    None,
    5,
    "latents",
    [[1.0]],
    SQUARE.astype(np.float32),
    torch.zeros(1, 3, 8, 8, dtype=torch.int64),
    torch.zeros(1, 3, 8, 8, dtype=torch.complex64),
    torch.zeros(1, 3, 8, 8, dtype=torch.bool),
)
NOT_MODEL = (None, 5, "postcard", SOMETHING, {"unet": None})
NOT_PATH = (None, 5, b"lora", ["lora"], SOMETHING, "", "a\0b", "x" * 5000)
NOT_RANDOM = (None, 5, np.random.default_rng(0), torch.Generator())
TABLE = []


def calls(group, name, wrong, make, names=None):
    """One `Call` for each wrong value: make(world, value). name: of function and argument, "generate steps";
    the argument is what the sentence has to name, unless `names` says it otherwise."""
    named = names or rf"\b{name.split()[-1]}\b"
    for value in wrong:
        said = type(value).__name__ if isinstance(value, (np.ndarray, torch.Tensor, Odd, Shy)) else repr(value)[:30]
        TABLE.append(Call(group, f"{name}: {said}", named, partial(_make, make, value)))


def _make(make, value, world):
    return make(world, value)


def settings(group, function, wrongs, make, names=None):
    """The same for keyword arguments: {name: wrong values}; make(world, **{name: value}). names: {name: expression}."""
    for name, wrong in wrongs.items():
        calls(
            group,
            f"{function} {name}",
            wrong,
            lambda w, bad, name=name: make(w, **{name: bad}),
            (names or {}).get(name),
        )


# words: what the text encoder takes

tokens = partial(calls, "tokens")
tokens("encode_prompts prompts", (*NOT_TEXTS, []), lambda w, bad: conditioning.encode_prompts(w.c, bad))
tokens("encode_prompts c", NOT_MODEL, lambda w, bad: conditioning.encode_prompts(bad, [PROMPT]))
tokens("too_long prompt", NOT_TEXT, lambda w, bad: conditioning.too_long(w.c, bad))
tokens("token_positions prompt", NOT_TEXT, lambda w, bad: conditioning.token_positions(w.tokenizer, bad))
tokens(
    "token_positions word",
    (5, 2.5, b"boat", ["red", "boat"], "", "   ", "tree"),
    lambda w, bad: conditioning.token_positions(w.tokenizer, PROMPT, bad),
)
tokens("token_positions tokenizer", (None, 5, "clip"), lambda w, bad: conditioning.token_positions(bad, PROMPT))
tokens("split_prompt prompt", NOT_TEXT, lambda w, bad: conditioning.split_prompt(w.tokenizer, bad))
tokens("split_prompt tokenizer", (None, 5, "clip"), lambda w, bad: conditioning.split_prompt(bad, PROMPT))
tokens("embed_texts texts", (*NOT_TEXTS, []), lambda w, bad: w.towers.embed_texts(bad))
tokens("embed_images images", (*NOT_PICTURES, []), lambda w, bad: w.towers.embed_images(bad))
tokens("load_towers c", NOT_MODEL, lambda w, bad: conditioning.load_towers(bad))

# pictures to latents and back

latent = partial(calls, "latents")
latent("encode_image image", NOT_PICTURE, lambda w, bad: latents.encode_image(w.c, bad))
latent(
    "encode_image sides",
    (Image.new("RGB", (100, 128)), Image.new("RGB", (128, 7))),
    lambda w, bad: latents.encode_image(w.c, bad),
    "The picture is .* use multiples of 8",
)
latent("encode_image c", NOT_MODEL, lambda w, bad: latents.encode_image(bad, w.image))
latent(
    "encode_pixels pixels",
    (
        *NOT_TENSOR,
        torch.zeros(3, 128, 128),
        torch.zeros(1, 4, 128, 128),
        torch.zeros(0, 3, 8, 8),
        torch.zeros(1, 3, 128),
        torch.full((1, 3, 128, 128), 255.0),
    ),
    lambda w, bad: latents.encode_pixels(w.c, bad),
)
latent(
    "encode_pixels finite",
    (torch.full((1, 3, 128, 128), NAN), torch.full((1, 3, 128, 128), INF)),
    lambda w, bad: latents.encode_pixels(w.c, bad),
    "NaN or infinite",
)
latent(
    "decode_latents latents",
    (
        *NOT_TENSOR,
        torch.zeros(4, 16, 16),
        torch.zeros(1, 3, 16, 16),
        torch.zeros(1, 4, 16),
        torch.zeros(0, 4, 16, 16),
        torch.zeros(1, 1, 4, 16, 16),
    ),
    lambda w, bad: latents.decode_latents(w.c, bad),
)
latent(
    "decode_latents finite",
    (torch.full((1, 4, 16, 16), NAN),),
    lambda w, bad: latents.decode_latents(w.c, bad),
    "NaN or infinite",
)
latent("decode_latents c", NOT_MODEL, lambda w, bad: latents.decode_latents(bad, w.latents))
latent(
    "to_pixels images",
    (*NOT_PICTURES, [], [Image.new("RGB", (8, 8)), Image.new("RGB", (9, 8))], [SQUARE]),
    lambda w, bad: latents.to_pixels(bad),
)
latent(
    "psnr a",
    (*NOT_TENSOR, torch.zeros(3, 128, 128), torch.zeros(1, 4, 128, 128), torch.zeros(1, 3, 8, 8)),
    lambda w, bad: latents.psnr(bad, w.pixels),
)
latent("psnr b", (None, "b", torch.zeros(2, 3, 128, 128)), lambda w, bad: latents.psnr(w.pixels, bad))
latent("jpeg quality", (*NOT_WHOLE, 0, -1, 96, 101, 10**9), lambda w, bad: latents.jpeg(w.image, bad))
latent("jpeg image", NOT_PICTURE, lambda w, bad: latents.jpeg(bad, 50))
latent("jpeg_within limit", (*NOT_WHOLE, 0, -5), lambda w, bad: latents.jpeg_within(w.image, bad))
latent("jpeg_within free_header", NOT_FLAG, lambda w, bad: latents.jpeg_within(w.image, 500, bad))
latent(
    "small_world factors",
    (*NOT_TENSOR, torch.zeros(2, 4), torch.full((2, 5), 2.0), torch.full((2, 5), NAN)),
    lambda w, bad: latents.small_world(bad),
)
latent("small_world size", (*NOT_WHOLE, 0, 7, 10**6), lambda w, bad: latents.small_world(torch.zeros(2, 5), bad))
latent("TinyVAE d", (*NOT_WHOLE, 0, -1), lambda w, bad: latents.TinyVAE(bad))
latent("arrives factor", (*NOT_WHOLE, 5, -1), lambda w, bad: latents.arrives(None, bad))
latent("arrives make", (None, 5), lambda w, bad: latents.arrives(None, 0, bad))
latent("arrives count", (*NOT_WHOLE, 0), lambda w, bad: latents.arrives(None, 0, count=bad))
latent("arrives pictures", (*NOT_WHOLE, 0), lambda w, bad: latents.arrives(None, 0, pictures=bad))
latent("unet_work size", (*NOT_WHOLE, 0, -1, 7, 10**5), lambda w, bad: latents.unet_work(w.c.unet.config, 4, bad))
latent("shrink factor", (*NOT_WHOLE, 0, -1, 7, 256), lambda w, bad: latents.shrink(w.pixels, bad))
latent("shrink pixels", (*NOT_TENSOR[:5], torch.zeros(3, 8, 8)), lambda w, bad: latents.shrink(bad, 2))
latent(
    "preview latents",
    (*NOT_TENSOR, torch.zeros(4, 16, 16), torch.zeros(1, 3, 16, 16), torch.zeros(2, 4, 16, 16)),
    lambda w, bad: w.preview(bad),
)
latent("preview factor", (*NOT_WHOLE, 0, 10**6), lambda w, bad: w.preview(w.latents, bad))
latent("preview.rgb latents", (None, torch.zeros(4, 16, 16)), lambda w, bad: w.preview.rgb(bad))
latent(
    "fit_preview rgb",
    (None, torch.zeros(1, 3, 8, 8), torch.zeros(2, 3, 16, 16), torch.zeros(1, 4, 16, 16)),
    lambda w, bad: latents.fit_preview(w.latents, bad),
)
latent("explains rgb", (None, torch.zeros(1, 3, 8, 8)), lambda w, bad: w.preview.explains(w.latents, bad))
latent("preview_of c", NOT_MODEL, lambda w, bad: latents.preview_of(bad))
latent("check_sides height", (None, "128", 128.0, 0, -8), lambda w, bad: latents.check_sides(w.c, bad, 128))

prepare = partial(calls, "prepare")
prepare(
    "prepare_picture size", (*NOT_WHOLE, 0, -1, 7, 10**5, 10**9), lambda w, bad: latents.prepare_picture(w.image, bad)
)
prepare(
    "prepare_picture source",
    (None, 5, 2.5, b"boat", [1, 2], {}, SOMETHING, torch.zeros(3, 128, 128)),
    lambda w, bad: latents.prepare_picture(bad, 64),
    "picture",
)
prepare(
    "prepare_picture file",
    ("nowhere.png", "", "a\0b.png", "x" * 5000, Path("nowhere.png"), "\ud800.png", "."),
    lambda w, bad: latents.prepare_picture(bad, 64),
    "picture|source|nowhere",
)
prepare(
    "prepare_picture array",
    (
        np.zeros((2, 2, 2)),
        np.zeros(9),
        np.zeros((8, 8, 5), np.uint8),
        np.zeros((8, 8), np.int64),
        np.zeros((8, 8), complex),
        np.full((8, 8), NAN),
        np.full((8, 8), 255.0),
        np.full((8, 8, 3), -0.5),
        np.zeros((8, 8), object),
        np.array("boat"),
        np.zeros((0, 0), np.uint8),
        np.zeros((3, 64), np.uint8),
    ),
    lambda w, bad: latents.prepare_picture(bad, 64),
    "picture|array",
)
prepare(
    "prepare_picture small",
    (Image.new("RGB", (1, 1)), Image.new("L", (7, 99))),
    lambda w, bad: latents.prepare_picture(bad, 64),
    "at least 8",
)

# the forward process

forward = partial(calls, "diffusion")
forward(
    "make_alphas_cumprod schedule",
    (None, 5, "square", "", "Linear", ["linear"], torch.zeros(3), np.array(["linear"])),
    lambda w, bad: diffusion.make_alphas_cumprod(bad),
)
forward(
    "make_alphas_cumprod num_steps",
    (*NOT_WHOLE, 0, -1, 10**9),
    lambda w, bad: diffusion.make_alphas_cumprod(num_steps=bad),
)
forward("snr_db alphas_cumprod", (None, 0.5, [0.5], "half"), lambda w, bad: diffusion.snr_db(bad))
forward(
    "add_noise t",
    (None, "9", 2.5, True, [1.5], 1000, -1, torch.tensor(2.5), torch.tensor([1, 2]), [[1]]),
    lambda w, bad: diffusion.add_noise(w.pixels, w.pixels, bad, w.alphas),
    r"\bt\b|timestep",
)
forward(
    "add_noise picture",
    (*NOT_TENSOR, torch.zeros(1, 3, 8, 9)),
    lambda w, bad: diffusion.add_noise(bad, torch.zeros(1, 3, 8, 8), 5, w.alphas),
)
forward(
    "add_noise noise",
    (None, 5, np.zeros((1, 3, 8, 8)), torch.zeros(3, 8, 8)),
    lambda w, bad: diffusion.add_noise(torch.zeros(1, 3, 8, 8), bad, 5, w.alphas),
)
forward(
    "add_noise alphas_cumprod",
    (None, 0.5, [0.5, 0.4], torch.zeros(3, 3), np.ones(9), torch.ones(9, dtype=torch.int64)),
    lambda w, bad: diffusion.add_noise(w.pixels, w.pixels, 5, bad),
)
forward(
    "predict_x0 noise",
    (None, torch.zeros(1, 3, 8, 9)),
    lambda w, bad: diffusion.predict_x0(torch.zeros(1, 3, 8, 8), bad, 5, w.alphas),
)
forward("score noise_pred", (None, 5, "noise", np.zeros(3)), lambda w, bad: diffusion.score(bad, 5, w.alphas))
forward(
    "reverse_step eta",
    (*NOT_NUMBER, -0.1, 1.5),
    lambda w, bad: diffusion.reverse_step(w.pixels, w.pixels, torch.tensor(0.5), torch.tensor(0.6), bad),
)
forward(
    "reverse_step abar",
    (None, 0.5, "half"),
    lambda w, bad: diffusion.reverse_step(w.pixels, w.pixels, bad, torch.tensor(0.6)),
)
forward(
    "ddim_path timesteps",
    (None, 5, "9", [], [1, 2], [5, 5], [2.5, 1.5], {9, 1}, [1000], torch.tensor([1, 2])),
    lambda w, bad: diffusion.ddim_path(lambda x, t: x, torch.zeros(4, 2), bad, w.alphas),
    "timestep",
)
forward(
    "ddim_path noise_pred",
    (None, torch.zeros(4, 2)),
    lambda w, bad: diffusion.ddim_path(bad, torch.zeros(4, 2), [9, 1], w.alphas),
)
forward(
    "ddim_path x",
    (None, [0.0], np.zeros((4, 2))),
    lambda w, bad: diffusion.ddim_path(lambda x, t: x, bad, [9, 1], w.alphas),
)
forward(
    "ddim_path generator",
    (5, "draw", Random(0)),
    lambda w, bad: diffusion.ddim_path(lambda x, t: x, torch.zeros(4, 2), [9, 1], w.alphas, 1.0, bad),
)
forward("spaced_timesteps num_steps", (*NOT_WHOLE, 0, -1, 1000, 10**9), lambda w, bad: diffusion.spaced_timesteps(bad))
forward("spaced_timesteps last", (*NOT_WHOLE, 0, -1), lambda w, bad: diffusion.spaced_timesteps(1, bad))
forward(
    "make_shape name",
    (None, 5, "star", ["spiral"], np.array(["spiral"])),
    lambda w, bad: diffusion.make_shape(bad),
    "name|shape",
)
forward(
    "Mixture means",
    (None, [[0.0]], torch.zeros(3), np.zeros((2, 2)), torch.zeros(0, 2), torch.zeros(2, 2, dtype=torch.long)),
    lambda w, bad: diffusion.Mixture(bad),
)
forward("Mixture std", (*NOT_NUMBER, -1), lambda w, bad: diffusion.Mixture(torch.zeros(2, 2), bad))
forward("Mixture.sample n", (*NOT_WHOLE, 0, -1, 10**12), lambda w, bad: w.mixture.sample(bad))
forward("Mixture.denoise x_t", (None, torch.zeros(2), torch.zeros(4, 3)), lambda w, bad: w.mixture.denoise(bad, 0.5))
forward(
    "Mixture.denoise abar",
    (*NOT_NUMBER, -0.1, 1.1, torch.tensor([0.5, 0.6])),
    lambda w, bad: w.mixture.denoise(torch.zeros(4, 2), bad),
)
forward(
    "energy_distance b",
    (None, np.zeros((4, 2)), torch.zeros(4), torch.zeros(4, 3)),
    lambda w, bad: diffusion.energy_distance(torch.zeros(4, 2), bad),
)
forward(
    "spectrum picture",
    (None, torch.zeros(8, 8), torch.zeros(3, 8, 6), torch.zeros(3, 7, 7), SQUARE),
    lambda w, bad: diffusion.spectrum(bad),
)
forward("finest_detail power", (None, [1.0], torch.zeros(2, 2)), lambda w, bad: diffusion.finest_detail(bad, 0.5))
forward(
    "seeded_noise seed",
    (*NOT_WHOLE[:4], -1, 2**64, [1], [1, "a"]),
    lambda w, bad: runtime.seeded_noise((2, 4, 8, 8), bad),
)
forward("seeded_noise shape", (None, 5, "4", (2.5,), (-1, 4), ("a",)), lambda w, bad: runtime.seeded_noise(bad, 0))

# the postcard world

cards = partial(calls, "postcards")
for word in ("sky", "light", "ground", "backdrop", "weather", "style"):
    cards(f"Scene {word}", (None, 5, "polka dots"), lambda w, bad, word=word: Scene(**LAKE | {word: bad}))
cards("Scene seed", (*NOT_WHOLE, "a", -1, 2**64), lambda w, bad: Scene(**LAKE | {"seed": bad}))
cards(
    "Scene subjects",
    (None, 5, "boat", (), [None], ["boat"], Subject("boat", "red", "left")),
    lambda w, bad: Scene(**LAKE | {"subjects": bad}),
)
for word, right in (("kind", ("cat", None, 5)), ("colour", ("beige", None, 5)), ("place", ("top", None, 5))):
    cards(
        f"Scene {word}",
        right,
        lambda w, bad, word=word: Scene(
            **LAKE | {"subjects": (Subject(**dict(kind="boat", colour="red", place="left") | {word: bad}),)}
        ),
    )
cards("render size", (*NOT_WHOLE, 0, 8, -1, 10**6), lambda w, bad: render(w.scene, bad))
NOT_SCENE = (None, 5, "a red boat", {}, SOMETHING)
cards("render scene", NOT_SCENE, lambda w, bad: render(bad))
cards("sample_scene rng", NOT_RANDOM, lambda w, bad: sample_scene(bad))
cards("sample_scene split", (None, 5, "test", ["train"]), lambda w, bad: sample_scene(w.rng, bad))
cards("caption scene", NOT_SCENE, lambda w, bad: caption(bad, w.rng))
cards("caption rng", NOT_RANDOM, lambda w, bad: caption(w.scene, bad))
cards("full_caption scene", NOT_SCENE, lambda w, bad: full_caption(bad))
cards("full_caption rng", NOT_RANDOM[1:], lambda w, bad: full_caption(w.scene, bad))
cards("phrases scene", NOT_SCENE, lambda w, bad: phrases(bad))
cards("truth scene", NOT_SCENE, lambda w, bad: truth(bad))
cards("read_caption text", NOT_TEXT, lambda w, bad: read_caption(bad))
cards(
    "judge.read images",
    (*NOT_PICTURES, SQUARE, [np.zeros((8, 8, 3))], [np.zeros((8, 8), np.uint8)], [SQUARE[..., :1]]),
    lambda w, bad: w.judge.read(bad),
)
cards("judge.read batch", (*NOT_WHOLE, 0, -1), lambda w, bad: w.judge.read([w.image], bad))
cards("judge.agreement prompts", NOT_TEXTS, lambda w, bad: w.judge.agreement([w.image], bad))
cards("judge.agreement letters", ("abc",), lambda w, bad: w.judge.agreement([w.image] * 3, bad), "prompts")
cards("judge.agreement images", NOT_PICTURES, lambda w, bad: w.judge.agreement(bad, [PROMPT]))
cards("judge.shares prompts", NOT_TEXTS, lambda w, bad: w.judge.shares([w.image], bad))
cards("judge.shares images", NOT_PICTURES, lambda w, bad: w.judge.shares(bad, [PROMPT]))
cards("load_judge path", (5, b"judge", "", "a\0b", ["judge"]), lambda w, bad: load_judge(bad))
cards("load_measures path", (None, 5, b"judge", "", ["judge"]), lambda w, bad: load_measures(bad))
for measure in ("windmill", "snowman", "teal", "cyanotype"):
    cards(
        f"measures.{measure} images",
        (None, 5, Image.new("RGB", (8, 8)), ["boat"]),
        lambda w, bad, measure=measure: getattr(w.measures, measure)(bad),
    )
cards("concept_cards concept", (5, "dragon", ["teal"], ""), lambda w, bad: concept_cards(bad, 1))
cards("concept_cards n", (*NOT_WHOLE, 0, -1, 10**9), lambda w, bad: concept_cards("teal", bad))
cards("concept_cards seed", (*NOT_WHOLE, -1), lambda w, bad: concept_cards("teal", 1, seed=bad))
cards("concept_cards alike", NOT_FLAG, lambda w, bad: concept_cards("teal", 1, alike=bad))
cards("concept_cards size", (*NOT_WHOLE, 8, 10**6), lambda w, bad: concept_cards("teal", 1, size=bad))
cards("concept_scene rng", NOT_RANDOM, lambda w, bad: concept_scene("teal", bad))

# loading

load = partial(calls, "load")
load(
    "load_components name",
    (
        5,
        2.5,
        b"postcard",
        ["postcard"],
        SOMETHING,
        True,
        ("a", "b"),
        {},
        "",
        "a\0b",
        "x" * 5000,
        "x/" + "a" * 300,
        "/" + "a" * 5000,
        "\ud800",
    ),
    lambda w, bad: load_components(bad),
)
load(
    "load_components id",
    ("ö/ü", "x/" + "a" * 97, "a/..", "owner/..", "a--b/c", "x/y.git", "x/-y"),
    lambda w, bad: load_components(bad),
    "owner/name",
)
load(
    "load_components known",
    (
        "nonsense",
        "Postcard",
        "sd1.5",
        "a b",
        "owner/name/more",
        "./nowhere",
        "../nowhere",
        "~/nowhere",
        "C:\\nowhere",
        "/no/such\nfolder",
        "owner\n/name",
    ),
    lambda w, bad: load_components(bad),
    "model",
)
load(
    "load_components device",
    (5, 2.5, b"cpu", ["cpu"], SOMETHING, "", "gpu", "cpu:7", "cuda:99", "tpu", "CPU", "cuda:x", "meta"),
    lambda w, bad: load_components(device=bad),
)
load(
    "load_components dtype",
    (5, "float32", float, np.float32, [torch.float32], np.dtype("float32"), "fp16"),
    lambda w, bad: load_components(device="cpu", dtype=bad),
)
load(
    "load_components slow",
    (torch.float16, torch.int8, torch.complex64, torch.float64),
    lambda w, bad: load_components(device="cpu", dtype=bad),
    "dtype=None",
)

# concepts

concept = partial(calls, "concepts")
concept(
    "Concept token", (*NOT_TEXT, "", "two words", "a\nb", "\t"), lambda w, bad: concepts.Concept(bad, torch.ones(8))
)
concept(
    "Concept vectors",
    (
        *NOT_TENSOR[:5],
        torch.ones(8, dtype=torch.long),
        torch.ones(2, 2, 2),
        torch.ones(0),
        torch.tensor(1.0),
        torch.full((8,), NAN),
        torch.full((8,), INF),
        torch.zeros(8),
        torch.ones(99, 8),
        torch.ones(8).to_sparse(),
        torch.ones(8, device="meta"),
        torch.ones(8, dtype=torch.complex64),
    ),
    lambda w, bad: concepts.Concept("<x>", bad),
    "vector|holds NaN|needs a tensor",
)
concept(
    "nearest_words vector",
    (*NOT_TENSOR[:5], torch.ones(5), torch.ones(2, 32)),
    lambda w, bad: concepts.nearest_words(w.c, bad),
    "vector",
)
concept("nearest_words n", (*NOT_WHOLE, 0, -1), lambda w, bad: concepts.nearest_words(w.c, w.concept.vectors[0], bad))
concept("nearest_words c", NOT_MODEL, lambda w, bad: concepts.nearest_words(bad, w.concept.vectors[0]))
concept("read_concept where", (*NOT_PATH[:-1], "x" * 5000), lambda w, bad: concepts.read_concept(bad))
concept(
    "read_concept nothing",
    ("nowhere.bin", "nowhere", Path("nowhere"), "ö/ü", "a/..", "owner/name/more"),
    lambda w, bad: concepts.read_concept(bad),
    'sd-concepts-library/cat-toy|"owner/name"',
)
concept(
    "read_concept token",
    (5, b"<x>", ["<x>"], "", "two words"),
    lambda w, bad: concepts.read_concept(w.concept_folder, bad),
)
concept(
    "loaded concept",
    (None, 5, "teal", Path("teal"), torch.ones(8), [1], SOMETHING),
    lambda w, bad: w.enter(concepts.loaded(w.c, bad)),
    "loaded takes concepts",
)
concept("loaded c", NOT_MODEL, lambda w, bad: w.enter(concepts.loaded(bad, w.concept)))
concept(
    "loaded width",
    (torch.ones(5), torch.ones(768)),
    lambda w, bad: w.enter(concepts.loaded(w.c, concepts.Concept("<x>", bad))),
    "made for another model",
)
concept(
    "loaded token",
    ("boat", "a"),
    lambda w, bad: w.enter(concepts.loaded(w.c, concepts.Concept(bad, torch.ones(w.width)))),
)
settings(
    "concepts",
    "train_concept",
    {
        "images": (*NOT_PICTURES[:-1], [], Image.new("RGB", (128, 128)), [Image.new("RGB", (64, 64))]),
        "token": (None, 5, "", "two words", "boat"),
        "start": (*NOT_TEXT, "", "  "),
        "prompts": (*NOT_TEXTS[1:], [], ["<x>", "<x>"], ["no token"]),
        "steps": (*NOT_WHOLE, 0, -1, 10**9),
        "batch": (*NOT_WHOLE, 0, 10**9),
        "lr": (*NOT_NUMBER, 0, -1, 5),
        "seed": (*NOT_WHOLE, -1, 2**64),
    },
    lambda w, **wrong: w.train_concept(**wrong),
    {"images": "images|pictures", "prompts": "[Pp]rompts?"},
)
concept("train_concept c", NOT_MODEL, lambda w, bad: concepts.train_concept(bad, [w.image], "<x>", "boat"))

# LoRA

low_rank = partial(calls, "lora")
low_rank("add_lora unet", (*NOT_MODEL, lambda: 0), lambda w, bad: lora.add_lora(bad), "U-Net")
low_rank("add_lora rank", (*NOT_WHOLE, 0, -1, 1025), lambda w, bad: lora.add_lora(w.unet, bad))
low_rank("add_lora alpha", ("1", True, [1.0], 1j, NAN, INF, 0, -1), lambda w, bad: lora.add_lora(w.unet, alpha=bad))
low_rank(
    "add_lora targets", (None, 5, b"to_q", [5], [None], {"to_q"}), lambda w, bad: lora.add_lora(w.unet, targets=bad)
)
low_rank(
    "add_lora lost",
    ("to_x", ["to_q", "nowhere"], (), ("norm1",), ""),
    lambda w, bad: lora.add_lora(w.unet, targets=bad),
    "linear layer or convolution called",
)
low_rank("add_lora seed", (*NOT_WHOLE, -1, 2**64), lambda w, bad: lora.add_lora(w.unet, seed=bad))
low_rank("LoraLinear base", (None, 5, torch.nn.ReLU(), torch.ones(2, 2)), lambda w, bad: lora.LoraLinear(bad, 2))
low_rank("LoraLinear rank", (*NOT_WHOLE, 0), lambda w, bad: lora.LoraLinear(w.linear, bad))


def set_strength(w, bad):
    with lora.add_lora(w.unet, rank=1) as one:
        one.strength = bad


low_rank("Lora strength", (*NOT_NUMBER, Decimal(1), torch.tensor(1.0)), set_strength)
low_rank("load_lora where", NOT_PATH, lambda w, bad: lora.load_lora(w.c, bad))
low_rank(
    "load_lora nothing",
    ("nowhere", "nowhere.safetensors", Path("nowhere")),
    lambda w, bad: lora.load_lora(w.c, bad),
    "There is no LoRA in",
)
low_rank(
    "load_lora pickle", ("lora.bin", "lora.pt", "lora.ckpt"), lambda w, bad: lora.load_lora(w.c, bad), "safetensors"
)
low_rank("load_lora c", NOT_MODEL, lambda w, bad: lora.load_lora(bad, w.lora_file))
settings(
    "lora",
    "train_lora",
    {
        "images": (*NOT_PICTURES, [], [Image.new("RGB", (64, 64))]),
        "prompts": (*NOT_TEXTS, []),
        "keep": (5, "boats", [1, 2, 3], ([None], ["a"]), ([5], "a"), {}),
        "masks": (5, "mask", [None], [[[True]]], []),
        "steps": (*NOT_WHOLE, 0, 10**9),
        "batch": (*NOT_WHOLE, 0, 10**9),
        "lr": (*NOT_NUMBER, 0, 5),
        "seed": (*NOT_WHOLE, -1),
        "timesteps": (5, "all", (1, 2, 3), (0.5, 9), (9, 9), (-1, 9), (0, 10**6), (None, None)),
    },
    lambda w, **wrong: w.train_lora(**wrong),
    {"images": "images|pictures"},
)
low_rank("train_lora lora", (None, 5, "lora", SOMETHING), lambda w, bad: lora.train_lora(w.c, bad, [w.image], [PROMPT]))

# the loop

settings(
    "generate",
    "generate",
    {
        "prompt": (None, 5, 2.5, b"boat", [], [5], [None], (), {"a boat"}, {"a": 1}, [["a boat"]], SOMETHING, Shy()),
        "negative_prompt": (None, 5, b"boat", [], [5], {"blur"}),
        "steps": (*NOT_WHOLE[1:], 0, -1, 1001, torch.tensor(True), Shy()),
        "guidance": ("high", True, [7.5], 1j, NAN, INF, -1, torch.tensor(7.5), SOMETHING, -INF, Decimal(7), 10**400),
        "scheduler": (None, 5, "fast", "", ["ddim"], diffusers.DDIMScheduler, SOMETHING, b"ddim", "ddim "),
        "seed": (
            *NOT_WHOLE[:4],
            NAN,
            -1,
            2**63,
            [],
            [1, 2],
            ["a"],
            [None],
            torch.tensor(2.5),
            np.random.default_rng(0),
        ),
        "image": NOT_PICTURE[1:],
    },
    lambda w, prompt=PROMPT, **wrong: generate(w.c, prompt, **{"steps": 1} | wrong),
    {"seed": r"\bseeds?\b"},
)
calls(
    "generate", "generate weights", (None, 1, "yes", [True]), lambda w, bad: generate(w.c, PROMPT, weights=bad, steps=1)
)
calls(
    "generate",
    "denoise marks",
    ("a [red:blue:0.5] boat", "a [red|blue] boat", "a boat BREAK a lake", "a boat AND a lake"),
    lambda w, bad: denoise(w.c, bad, weights=True),
    "The prompt holds",
)
calls("generate", "generate c", NOT_MODEL, lambda w, bad: generate(bad, PROMPT))
calls("generate", "denoise c", NOT_MODEL, lambda w, bad: denoise(bad, PROMPT))
calls("generate", "denoise seeds", ([1, 2], [1, 2, 3]), lambda w, bad: denoise(w.c, PROMPT, seed=bad))
calls("generate", "denoise negative", (["a", "b"], ["a"] * 3), lambda w, bad: denoise(w.c, PROMPT, negative_prompt=bad))

calls(
    "img2img",
    "generate strength",
    (*NOT_NUMBER[1:], 0, -0.5, 1.01, torch.tensor(0.5), Decimal("0.5")),
    lambda w, bad: generate(w.c, PROMPT, image=w.image, strength=bad, steps=1),
)
calls("img2img", "denoise image", NOT_PICTURE[1:], lambda w, bad: denoise(w.c, PROMPT, image=bad, strength=0.5))
calls("img2img", "denoise strength alone", (0.5, 1.0), lambda w, bad: denoise(w.c, PROMPT, strength=bad), "give image=")
calls(
    "img2img",
    "denoise sides",
    (Image.new("RGB", (100, 128)), Image.new("RGB", (4, 4)), Image.new("RGB", (1, 1)), Image.new("RGB", (128, 130))),
    lambda w, bad: denoise(w.c, PROMPT, image=bad),
    "use multiples of 8",
)
calls(
    "img2img",
    "denoise middle",
    ("pndm",),
    lambda w, bad: denoise(w.c, PROMPT, image=w.image, strength=0.5, scheduler=bad),
    "begin in the middle",
)
calls(
    "inpaint",
    "generate mask",
    (
        5,
        "mask.png",
        [],
        [[1, 2], [3]],
        {},
        SOMETHING,
        b"mask",
        np.zeros((128, 128), complex),
        np.zeros((128, 128), object),
        np.full((128, 128), 2.0),
        np.full((128, 128), NAN),
        np.full((128, 128), -1),
        np.zeros((64, 64), bool),
        np.zeros((128, 128, 3), bool),
        Image.new("RGB", (128, 128)),
        Image.new("L", (64, 128)),
        torch.zeros(128, 128, requires_grad=True) + 1,
    ),
    lambda w, bad: generate(w.c, PROMPT, image=w.image, mask=bad, steps=1),
)
calls(
    "inpaint",
    "denoise mask alone",
    (np.ones((128, 128), bool), True),
    lambda w, bad: denoise(w.c, PROMPT, mask=bad),
    "give image=",
)
calls("extend", "extend image", (*NOT_PICTURE, b"boat"), lambda w, bad: sampling.extend(bad, left=8))
for side in ("left", "top", "right", "bottom"):
    calls(
        "extend",
        f"extend {side}",
        (None, "8", 2.5, -8, 10**6),
        lambda w, bad, side=side: sampling.extend(w.image, **{side: bad}),
    )
calls("extend", "extend nothing", (0,), lambda w, bad: sampling.extend(w.image, bad), "has to grow")

# attention

look = partial(calls, "attention")
look(
    "record_attention unet",
    (*NOT_MODEL, torch.nn.Linear(2, 2)),
    lambda w, bad: w.enter(attention.record_attention(bad)),
    "U-Net",
)
look("record_attention heads", (None, *NOT_FLAG), lambda w, bad: w.enter(attention.record_attention(w.unet, heads=bad)))
look("record_attention guidance", NOT_FLAG, lambda w, bad: w.enter(attention.record_attention(w.unet, guidance=bad)))
look("reweight_attention unet", NOT_MODEL, lambda w, bad: w.enter(attention.reweight_attention(bad, {1: 2})), "U-Net")
look(
    "reweight_attention weights",
    (0, 5, "", "mute", [], [5], [None], (1, 2), {1, 2}, False),
    lambda w, bad: w.enter(attention.reweight_attention(w.unet, bad)),
)
look(
    "reweight_attention position",
    ({"boat": 0}, {1.5: 0}, {-1: 0}, {None: 1}),
    lambda w, bad: w.enter(attention.reweight_attention(w.unet, bad)),
    "position in weights",
)
look(
    "reweight_attention weight",
    ({1: None}, {1: "0"}, {1: -1}, {1: NAN}, {1: INF}, {1: True}, {1: 1j}),
    lambda w, bad: w.enter(attention.reweight_attention(w.unet, bad)),
    "weight of position 1",
)
look(
    "reweight_attention swap",
    (None, 5, "ab", (1,), (1, 2, 3), [(1, 2, 3)], [5, 6, 7], {1, 2}, ("a", "b"), (1.5, 2), (-1, 2)),
    lambda w, bad: w.enter(attention.reweight_attention(w.unet, swap=bad)),
)
look(
    "reweight_attention guidance", NOT_FLAG, lambda w, bad: w.enter(attention.reweight_attention(w.unet, guidance=bad))
)
settings(
    "attention",
    "heatmap",
    {
        "token_index": (None, "boat", 2.5, -1, 77, [], [99]),
        "layers": (5, "nowhere", [], [5], ["nowhere"], None.__class__),
        "steps": ("first", 2.5, 9, -1, []),
        "size": (None, "64", 2.5, 0, 10**6, (1, 2, 3), (0, 8)),
        "picture": (None, "first", 2.5, 5, -1),
        "head": ("first", 0, 99),
        "against": ("others", 2.5, [], [99]),
    },
    lambda w, **wrong: w.record.heatmap(**{"token_index": 3} | wrong),
    {"head": "heads", "layers": "layer", "steps": "step"},
)
look(
    "probabilities layer",
    (None, 5, "up_blocks", "nowhere", ["mid_block"]),
    lambda w, bad: w.record.probabilities(bad, 0),
    "layer",
)
look("probabilities step", (None, "first", 9, -1), lambda w, bad: w.record.probabilities(w.record.layers[0].name, bad))
look("word_map word", (*NOT_TEXT, "", "tree"), lambda w, bad: attention.word_map(w.record, w.tokenizer, PROMPT, bad))
look(
    "word_map attention", (None, 5, {}, SOMETHING), lambda w, bad: attention.word_map(bad, w.tokenizer, PROMPT, "boat")
)
look("word_map prompt", NOT_TEXT, lambda w, bad: attention.word_map(w.record, w.tokenizer, bad, "boat"))
look("word_map tokenizer", (None, 5), lambda w, bad: attention.word_map(w.record, bad, PROMPT, "boat"))
look(
    "iou heat",
    (None, 5, "heat", np.zeros(4), np.full((128, 128), NAN), [[1], [1, 2]], np.zeros((128, 128), complex)),
    lambda w, bad: attention.iou(bad, w.mask),
)
look(
    "iou mask",
    (None, 5, "mask", np.zeros((128, 128)), np.zeros(4, bool)),
    lambda w, bad: attention.iou(np.zeros((128, 128)), bad),
)
look("iou threshold", (*NOT_NUMBER, -1, 2), lambda w, bad: attention.iou(np.zeros((128, 128)), w.mask, bad))
look(
    "pointing_hit heat",
    (None, "heat", np.zeros(4), np.zeros((0, 0))),
    lambda w, bad: attention.pointing_hit(bad, w.mask),
)
look(
    "pointing_hit mask",
    (None, np.zeros((128, 128)), np.zeros(4, bool)),
    lambda w, bad: attention.pointing_hit(np.ones((4, 4)), bad),
)
look("spent layers", (5, "attn", []), lambda w, bad: w.record.spent(bad))
look("spent step", ("first", 9, -1), lambda w, bad: w.record.spent(steps=bad))
look(
    "spent where",
    (5, "boat", np.zeros((4, 4), bool), np.ones((4, 4)), np.ones(4, bool)),
    lambda w, bad: w.record.spent(where=bad),
)
look("six_ways layers", (None, 5, [], ["up"]), lambda w, bad: attention.six_ways(bad))
look("each_layer layers", (None, 5, [], ["up"]), lambda w, bad: attention.each_layer(bad, (700,)))
look("each_layer timesteps", (None, 5, [], ["up"]), lambda w, bad: attention.each_layer(w.record.layers, bad))
look("caught layers", (None, 5, "attn2", SOMETHING), lambda w, bad: attention.caught(bad).__enter__())
look("centre_prior size", (*NOT_WHOLE, 0, 1, 10**6), lambda w, bad: attention.centre_prior(bad))
settings(
    "attention",
    "score_maps",
    {
        "scenes": (None, 5, [], ["a boat"], Scene(**LAKE)),
        "timesteps": (None, 5, [], ["a"], [1000], [-1], [2.5]),
        "poolings": (5, "mean", ["default"], {"default": None}),
        "words": (None, 5, "verbs", [], [5], ["nouns", "verbs"]),
        "seed": (*NOT_WHOLE, -1),
        "batch": (*NOT_WHOLE, 0),
    },
    lambda w, **wrong: attention.score_maps(w.c, **{"scenes": [w.scene]} | wrong),
    {"timesteps": "timestep"},
)
look("score_maps c", NOT_MODEL, lambda w, bad: attention.score_maps(bad, [w.scene]))
settings(
    "attention",
    "word_maps",
    {
        "scenes": (None, 5, [], ["a boat"], Scene(**LAKE)),
        "timesteps": (None, 5, [], ["a"], [1000], [-1], [2.5]),
        "pooling": (5, "mean", ["default"]),
        "words": (None, 5, "verbs", [], [5], ["nouns", "verbs"]),
        "seed": (*NOT_WHOLE, -1),
        "batch": (*NOT_WHOLE, 0),
    },
    lambda w, **wrong: attention.word_maps(w.c, **{"scenes": [w.scene]} | wrong),
    {"timesteps": "timestep"},
)
settings(
    "attention",
    "look_at_cards",
    {
        "scenes": (None, 5, [], ["a boat"], Scene(**LAKE)),
        "timesteps": (None, 5, [], ["a"], [1000], [-1], [2.5]),
        "seed": (*NOT_WHOLE, -1),
        "batch": (*NOT_WHOLE, 0),
    },
    lambda w, **wrong: attention.look_at_cards(w.c, **{"scenes": [w.scene]} | wrong),
    {"timesteps": "timestep"},
)

# panels

panel = partial(calls, "panels")
STUDIO = {
    "prompt": NOT_TEXT,
    "negative_prompt": NOT_TEXT,
    "steps": (*NOT_WHOLE, 0, -1, 51, 1000),
    "guidance": (*NOT_NUMBER, -1, 15.5, 100),
    "scheduler": (None, 5, "fast", "", ["ddim"]),
    "seed": (*NOT_WHOLE, -1, 10_000, 2**40),
}
settings(
    "panels", "Studio", STUDIO, lambda w, **wrong: sampling_panels.Studio(w.c, **wrong), {"negative_prompt": "negative"}
)
panel(
    "Studio setting", ("stepz", "image", "strength", "concept"), lambda w, bad: sampling_panels.Studio(w.c, **{bad: 1})
)
panel("Studio c", NOT_MODEL, lambda w, bad: sampling_panels.Studio(bad))
settings(
    "panels",
    "LiveStudio",
    STUDIO,
    lambda w, **wrong: sampling_panels.LiveStudio(w.c, **wrong),
    {"negative_prompt": "negative"},
)
panel("Drawing size", (*NOT_WHOLE, 0, 15, 10**6), lambda w, bad: sampling_panels.Drawing(bad), "size")
settings(
    "panels",
    "ConceptStudio",
    {
        "concept": (None, 5, "taupe", ["teal"]),
        "second": (None, 5, "taupe"),
        "strength": (*NOT_NUMBER, -2, 3),
        "second_strength": (*NOT_NUMBER, -2, 3),
        "own": (None, 5),
        "own_strength": (*NOT_NUMBER, 3),
        "library": (5, "teal", ["teal"], {"teal": None}, {"teal": 5}, {5: "teal"}),
        "steps": (0, 1000, "9"),
        "seed": (-1, 10**6),
    },
    lambda w, **wrong: concept_panels.ConceptStudio(w.c, **{"library": {"teal": w.concept}} | wrong),
)
panel(
    "ConceptStudio setting",
    ("image", "stepz"),
    lambda w, bad: concept_panels.ConceptStudio(w.c, {"teal": w.concept}, **{bad: 1}),
)
panel(
    "my_course place",
    ("", ".", "..", "a/b", "../a", " a", "a\0", "-a", 5, None),
    lambda w, bad: my_course.place("pictures", bad),
    "name",
)
panel("my_course kind", (None, 5, "answers", "..", ""), lambda w, bad: my_course.place(bad, "a"), "kind")
panel("find_concepts folder", (None, 5, b"x", ""), lambda w, bad: concept_panels.find_concepts(w.c, bad))
panel(
    "predict answers",
    ((), ("only",), ("a", "a"), ("choose", "a"), (1, 2), (None, "a"), ([],)),
    lambda w, bad: panels.predict(*bad),
    "options|answers",
)
panel(
    "match names",
    ((), ("only",), ("a", "a"), ("choose", "a"), (1, 2), (None, "a"), "ab"),
    lambda w, bad: panels.match(["A"], bad),
    "names|match",
)
panel("match things", ((), ("A", "A"), (1,), "AB"), lambda w, bad: panels.match(bad, ["a", "b"]), "things|match")
panel("Progress total", (*NOT_WHOLE, 0, -1), lambda w, bad: panels.Progress(bad))
panel("Progress.update done", (*NOT_WHOLE, -1, 11), lambda w, bad: panels.Progress(10).update(bad))
panel("Progress.update text", NOT_TEXT, lambda w, bad: panels.Progress(10).update(1, bad))
for control in (panel_parts.slider, panel_parts.menu, panel_parts.buttons):
    panel(
        f"{control.__name__} values",
        ([], None, 5, "ab"),
        lambda w, bad, control=control: control("size", bad, 1),
        "'size'",
    )
    panel(
        f"{control.__name__} start",
        (None, "4", 4),
        lambda w, bad, control=control: control("size", [1, 2, 3], bad),
        "'size'",
    )
panel("text start", NOT_TEXT, lambda w, bad: panel_parts.text("prompt", bad), "prompt")
panel("inspector_panel prompt", NOT_TEXT, lambda w, bad: conditioning_panels.inspector_panel(w.c, bad))
panel("inspector_panel c", NOT_MODEL, lambda w, bad: conditioning_panels.inspector_panel(bad, PROMPT))
panel(
    "temperature_panel cards",
    (None, [], [5], "ab"),
    lambda w, bad: conditioning_panels.temperature_panel(bad, ["a", "b"], np.eye(2), 26),
)
panel(
    "temperature_panel captions",
    (None, "ab", ["a"], [1, 2]),
    lambda w, bad: conditioning_panels.temperature_panel([w.image, w.image], bad, np.eye(2), 26),
    "caption",
)
panel(
    "temperature_panel cosines",
    (None, np.eye(3), 5),
    lambda w, bad: conditioning_panels.temperature_panel([w.image, w.image], ["a", "b"], bad, 26),
    "cosines",
)
panel(
    "temperature_panel learnt",
    (None, "26", 0, -1.0, float("nan")),
    lambda w, bad: conditioning_panels.temperature_panel([w.image, w.image], ["a", "b"], np.eye(2), bad),
    "learnt",
)
panel("MutingPanel tokens", (None, [], ["a"], "ab"), lambda w, bad: conditioning_panels.MutingPanel(bad, print))
panel(
    "MutingPanel draw",
    (None, 5),
    lambda w, bad: conditioning_panels.MutingPanel(conditioning.split_prompt(w.c.tokenizer, PROMPT), bad),
)
panel(
    "MutingPanel down",
    (None, 5, ["a"], [77], [-1]),
    lambda w, bad: conditioning_panels.MutingPanel(conditioning.split_prompt(w.c.tokenizer, PROMPT), print, bad),
)
panel("subtraction_panel difference", (None, 5), lambda w, bad: conditioning_panels.subtraction_panel(bad, ["red"]))
panel(
    "subtraction_panel values",
    (None, "red", []),
    lambda w, bad: conditioning_panels.subtraction_panel(lambda a, b: a, bad),
)
panel("places_panel attention", (None, {}), lambda w, bad: conditioning_panels.places_panel(w.image, [], bad, [], []))
panel("places_panel heads", (None,), lambda w, bad: conditioning_panels.places_panel(w.image, [], w.record, [], []))
panel(
    "explorer_panel attention", (None, {}), lambda w, bad: conditioning_panels.explorer_panel(w.image, bad, w.c, PROMPT)
)
panel("explorer_panel prompt", NOT_TEXT, lambda w, bad: conditioning_panels.explorer_panel(w.image, w.record, w.c, bad))
panel(
    "walk_panel ways",
    (None, {}, {"straight": [5]}, {"straight": []}),
    lambda w, bad: conditioning_panels.walk_panel(bad, [0.0]),
)
panel(
    "walk_panel shares", (None, [], "ab"), lambda w, bad: conditioning_panels.walk_panel({"straight": [w.image]}, bad)
)
panel(
    "noise_panel picture",
    (*NOT_TENSOR[:5], torch.zeros(1, 8, 8)),
    lambda w, bad: diffusion_panels.noise_panel(bad, w.pixels[0]),
)
panel("noise_panel noise", (None, torch.zeros(3, 8, 8)), lambda w, bad: diffusion_panels.noise_panel(w.pixels[0], bad))
panel("rate_panel pictures", (None, {}, []), lambda w, bad: latents_panels.rate_panel(bad, [5]))
panel(
    "rate_panel quality",
    ([], None, [0], [101], ["9"]),
    lambda w, bad: latents_panels.rate_panel({"a": (w.image, w.image, 9)}, bad),
    "qualit",
)


def tiny_vae():
    """An untrained autoencoder that leaves torch's random numbers alone."""
    with torch.random.fork_rng(devices=[]):
        return latents.TinyVAE()


panel(
    "numbers_panel numbers",
    (None, [], [16], [-1], ["0"]),
    lambda w, bad: latents_panels.numbers_panel(tiny_vae(), bad, latents.small_world(torch.zeros(1, 5))),
    "number",
)
panel(
    "numbers_panel target",
    (*NOT_TENSOR, torch.zeros(2, 3, 32, 32)),
    lambda w, bad: latents_panels.numbers_panel(tiny_vae(), [0], bad),
)
panel(
    "factor_panel hidden",
    (None, 5),
    lambda w, bad: latents_panels.factor_panel(bad, torch.linspace(0.9, 0.1, 9), 2.0, [0]),
)
panel("factor_panel abars", (*NOT_TENSOR,), lambda w, bad: latents_panels.factor_panel(print, bad, 2.0, [0]))
panel(
    "factor_panel spread",
    (*NOT_NUMBER, 0.0, -1.0),
    lambda w, bad: latents_panels.factor_panel(print, torch.linspace(0.9, 0.1, 9), bad, [0]),
)
panel(
    "factor_panel stops",
    (None, [], [9], [-1], ["0"]),
    lambda w, bad: latents_panels.factor_panel(print, torch.linspace(0.9, 0.1, 9), 2.0, bad),
    "stop",
)
