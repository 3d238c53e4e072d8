"""Tiny models with random weights in the folder layout of diffusers: every code path of the real ones, in a
second.

    python -m tools.random_models FOLDER --shape sd15      writes one, to run a notebook on with COURSE_MODEL=FOLDER

Two shapes: "postcard" is the bundled model's; "sd15" is Stable Diffusion 1.5's (text width 768, four U-Net
levels, the PNDM scheduler) with few channels and a latent size of its own. Their pictures mean nothing, but
they depend strongly on prompt, guidance and seed, so that a comparison of two pictures can fail.
"""

import argparse
import gzip
import importlib.metadata
import json
from collections import Counter
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, PNDMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

SHAPES = {
    "postcard": {"latent": 16, "levels": (16, 32), "width": 32, "heads": 2, "text_heads": 4, "guidance": 3.0},
    "sd15": {"latent": 24, "levels": (8, 16, 24, 24), "width": 768, "heads": 2, "text_heads": 12, "guidance": 7.5},
}
WORDS = [
    "a",
    "red",
    "boat",
    "on",
    "lake",
    "below",
    "snowy",
    "mountains",
    "at",
    "sunset",
    "green",
    "hills",
    "the",
    "blue",
    "house",
    "in",
    "meadow",
    "with",
    "tent",
    "and",
    "orange",
    "balloon",
    "over",
    "desert",
    "night",
    "moon",
    "lighthouse",
    "yellow",
    "tree",
    "white",
    "flag",
    "left",
    "right",
    "middle",
    "photograph",
    "of",
]


def byte_characters():
    """The 256 printable characters that stand for the 256 bytes (GPT-2's table)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(others))]


def learn_merges(words, count):
    """Byte-pair encoding, Sennrich et al. 2016: join the most frequent neighbours, again and again."""
    pieces, merges = [[*word[:-1], word[-1] + "</w>"] for word in words], []
    while len(merges) < count:
        pairs = Counter(pair for word in pieces for pair in zip(word, word[1:]))
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        for word in pieces:
            for i in range(len(word) - 1, 0, -1):
                if (word[i - 1], word[i]) == best:
                    word[i - 1 : i + 1] = ["".join(best)]
    return merges


def openai_merges():
    """OpenAI's own merges, 48,894 pairs, which Stable Diffusion 1.5 reads words with.

    The package clip-anytorch carries their file, and nothing else of it is used: `make env` installs it without what it
    asks for, which is another torch.
    """
    file = next(one for one in importlib.metadata.files("clip-anytorch") if one.name == "bpe_simple_vocab_16e6.txt.gz")
    lines = gzip.decompress(file.read_binary()).decode("utf-8").split("\n")
    return [tuple(line.split()) for line in lines[1 : 49152 - 256 - 2 + 1]]


def save_tokenizer(folder, merges=None):
    """The three files of a tokenizer; returns {piece: id}. Pads with the end mark, as SD 1.5."""
    characters, merges = byte_characters(), merges or learn_merges(WORDS, 300)
    pieces = [*characters, *(one + "</w>" for one in characters), *map("".join, merges)]
    vocab = {piece: i for i, piece in enumerate([*pieces, "<|startoftext|>", "<|endoftext|>"])}
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": 77,
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
    }
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *map(" ".join, merges), ""]
    (folder / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return vocab


def build_model(folder, shape="postcard", merges=None, trained=False, latent=None):
    """Write a model to `folder`, in fp16 like the bundle, and return the folder. Same weights every time.

    merges: of the tokenizer; None: learnt from WORDS. trained: without a course.json, as models from the Hub come, and so
    taken for a trained one. latent: another side of the latents than the shape's.
    """
    folder, size = Path(folder), SHAPES[shape] | ({"latent": latent} if latent else {})
    vocab = save_tokenizer(folder / "tokenizer", merges)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(vocab),
                hidden_size=size["width"],
                intermediate_size=2 * size["width"],
                num_hidden_layers=2,
                num_attention_heads=size["text_heads"],
                max_position_embeddings=77,
                bos_token_id=len(vocab) - 2,
                eos_token_id=len(vocab) - 1,
                pad_token_id=len(vocab) - 1,
            )
        )
        vae = AutoencoderKL(
            block_out_channels=(8,) * 4,
            down_block_types=("DownEncoderBlock2D",) * 4,
            latent_channels=4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=1,
            norm_num_groups=4,
            sample_size=8 * size["latent"],
        )
        blocks = ["CrossAttn{}Block2D"] * 3 + ["{}Block2D"] if shape == "sd15" else ["CrossAttn{}Block2D"] * 2
        unet = UNet2DConditionModel(
            sample_size=size["latent"],
            block_out_channels=size["levels"],
            layers_per_block=1,
            norm_num_groups=4,
            attention_head_dim=size["heads"],
            cross_attention_dim=size["width"],
            down_block_types=[one.format("Down") for one in blocks],
            up_block_types=[one.format("Up") for one in reversed(blocks)],
        )
        wake(text_encoder, vae, unet)
    text_encoder.half().save_pretrained(folder / "text_encoder")
    vae.half().save_pretrained(folder / "vae")
    unet.half().save_pretrained(folder / "unet")

    noise = {
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "steps_offset": 1,
        "set_alpha_to_one": False,
    }
    if shape == "postcard":
        DDIMScheduler(clip_sample=False, **noise).save_pretrained(folder / "scheduler")
    else:
        PNDMScheduler(skip_prk_steps=True, **noise).save_pretrained(folder / "scheduler")
        path = folder / "scheduler" / "scheduler_config.json"  # SD 1.5's also says what DDIM has to know
        path.write_text(json.dumps({**json.loads(path.read_text()), "clip_sample": False}))
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.39.0",
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "scheduler": ["diffusers", "DDIMScheduler" if shape == "postcard" else "PNDMScheduler"],
        "safety_checker": [None, None],
        "feature_extractor": [None, None],
        "requires_safety_checker": False,
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2))
    if not trained:
        (folder / "course.json").write_text(json.dumps({"guidance": size["guidance"], "trained": False}))
    return folder


def add_variant(folder, name="fast", **card):
    """Give a model in `folder` a second U-Net, with other weights, as the variant `name`; what it is goes into course.json."""
    unet, path = UNet2DConditionModel.from_pretrained(folder / "unet"), folder / "course.json"
    with torch.no_grad():
        unet.conv_out.weight.neg_()
    unet.half().save_pretrained(folder / "unet", variant=name)
    own = {"guidance": 1.0, "steps": 2, "distilled_guidance": 3.0, **card}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"variants": {name: own}}))
    return folder


@torch.no_grad()
def wake(text_encoder, vae, unet):
    """Scale the random weights up until words and noise show in the picture, as in a trained model."""
    for name, weight in text_encoder.named_parameters():
        if "embedding" in name:
            weight.mul_(30)
    for name, weight in unet.named_parameters():
        if "attn2" in name and weight.ndim == 2:
            weight.mul_(3)
    unet.conv_out.weight.mul_(4)
    vae.decoder.conv_out.weight.mul_(4)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--shape", choices=SHAPES, default="postcard")
    options = parser.parse_args()
    print(build_model(options.folder, options.shape))
