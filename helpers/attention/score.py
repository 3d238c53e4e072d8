"""How far can an attention map be trusted? The postcard world knows every pixel of everything in a picture.

Sources: Zhang et al. 2018, "Top-down neural attention by excitation backprop" (the pointing game), Tang et
al. 2022, "What the DAAM" (intersection over union of word maps).
"""

from collections import defaultdict
from random import Random
from typing import NamedTuple

import numpy as np
import torch

from helpers.attention.record import record_attention
from helpers.conditioning import token_positions
from helpers.diffusion import add_noise
from helpers.postcards import full_caption, phrases, render
from helpers.runtime import seeded_noise


class MapScore(NamedTuple):
    """pointing: share of n maps whose highest value lies on the thing. iou: their overlap with it; 0..1."""

    pointing: float
    iou: float
    n: int


def pointing_hit(heat, mask):
    """Whether the single highest cell of a map lies in the mask: the mask's pixel at the centre of that cell.

    heat: (h, w), as fine as the mask or coarser. mask: (H, W) bool. Of equally high cells the first counts.
    """
    height, width = np.shape(heat)
    row, column = np.unravel_index(np.argmax(heat), (height, width))
    return bool(mask[int((row + 0.5) * len(mask) / height), int((column + 0.5) * mask.shape[1] / width)])


def iou(heat, mask, threshold=0.4):
    """Intersection over union, 0..1, of a mask and the part of a map that is above the threshold.

    heat: (H, W), 0..1, as large as the mask, or ValueError. mask: (H, W) bool.
    """
    if np.shape(heat) != np.shape(mask):
        raise ValueError(f"The map is {np.shape(heat)}, the mask {np.shape(mask)}: "
                         f"use heatmap(..., size=len(mask)).")
    hot = np.asarray(heat) > threshold
    return float((hot & mask).sum() / max(1, (hot | mask).sum()))


def centre_prior(size):
    """The map of a blind guesser, (size, size) float32, 0..1: a bell in the middle, sigma size / 4."""
    distance = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    bell = np.exp(-(distance / 0.25) ** 2 / 2)
    heat = bell[:, None] * bell[None, :]  # (size, 1) * (1, size) -> (size, size)
    return (heat - heat.min()) / (heat.max() - heat.min())


@torch.inference_mode()
def score_maps(c, scenes, timesteps=(100, 300, 500, 700), poolings=None, words="nouns", seed=0, batch=16):
    """Compare the maps of caption words with the exact masks: {name: MapScore}, the same every time.

    Each scene is rendered, encoded and noised to every one of `timesteps`, and the U-Net is called once for
    each with the full caption, without guidance: so one knows what is where in the picture that it looks at.

    scenes: of helpers.postcards. seed: of the noise and the shuffling. batch: how many scenes at once.
    poolings: {name: arguments of `heatmap`}; None: {"default": {}}. With {"middle": {"layers": "mid_block",
        "steps": 0}} that layer is scored at the first of `timesteps`. Always added: "centre prior", and
        "shuffled words", the default map of another noun of the caption.
    words: which maps. "nouns": of everything with a mask, except the weather, which lies over all.
        "subjects": the subjects' nouns only. "colours": the colour words of the subjects, on their masks.
    A thing that cannot be seen, or that the caption names after the last token read, is left out. Raises
    ValueError for unknown words and where nothing is left to score.
    """
    if words not in ("nouns", "subjects", "colours"):
        raise ValueError(f'words={words!r} is unknown: choose "nouns", "subjects" or "colours".')
    poolings, prior, rng = poolings or {"default": {}}, centre_prior(c.image_size), Random(seed)
    found = defaultdict(list)  # name -> [(hit, iou), ...]

    for first in range(0, len(scenes), batch):
        some = scenes[first:first + batch]
        cards, captions = [render(scene, c.image_size) for scene in some], list(map(full_caption, some))
        latents, prompt_embeds = _encode(c, [card.image for card in cards], captions)
        noise = seeded_noise(latents.shape, [seed + first + i for i in range(len(some))], c.device, c.dtype)
        with record_attention(c.unet, guidance=False) as attention:
            for t in timesteps:
                x_t = add_noise(latents, noise, t, c.scheduler.alphas_cumprod)
                c.unet(x_t, t, encoder_hidden_states=prompt_embeds)

        for picture, (scene, card, caption) in enumerate(zip(some, cards, captions)):
            nouns = _positions(c.tokenizer, caption, scene)
            colours = _positions(c.tokenizer, caption, scene, colours=True)
            subjects = [one.kind for one in scene.subjects]
            for thing, tokens in (colours if words == "colours" else nouns).items():
                unwanted = thing == "weather" if words == "nouns" else thing not in subjects
                if unwanted or thing not in card.masks:
                    continue
                tried = {name: (tokens, pooling) for name, pooling in poolings.items()}
                others = [noun for noun in nouns if noun != thing]
                tried |= {"shuffled words": (nouns[rng.choice(others)], {})} if others else {}
                heats = {name: attention.heatmap(places, size=c.image_size, picture=picture, **pooling)
                         for name, (places, pooling) in tried.items()}
                for name, heat in (heats | {"centre prior": prior}).items():
                    found[name].append((pointing_hit(heat, card.masks[thing]), iou(heat, card.masks[thing])))
    if not found:
        raise ValueError("There is nothing to score: give scenes whose captions the model can read.")
    return {name: MapScore(*np.mean(pairs, axis=0).tolist(), len(pairs)) for name, pairs in found.items()}


def _positions(tokenizer, caption, scene, colours=False):
    """{mask key: token positions of the last word of its phrase, the noun, or of the first, the colour}.

    A word is looked for by its phrase, since "red" may be said of a boat and of cliffs.
    """
    places = {}
    for thing, said in phrases(scene).items():
        pieces = len(tokenizer(said[0] if colours else said[-1]).input_ids) - 2
        try:
            phrase = token_positions(tokenizer, caption, " ".join(said))
        except ValueError:
            continue  # behind the last token that the model reads
        places[thing] = phrase[:pieces] if colours else phrase[-pieces:]
    return places


def _encode(c, images, captions):
    """Latents (B, C, h, w) of PIL pictures, and what the U-Net reads for captions, (B, 77, d)."""
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)  # (B, H, W, 3) -> (B, 3, H, W)
    pixels = (pixels.to(c.device, torch.float32) / 127.5 - 1).to(c.dtype)  # 0..255 -> -1..1
    latents = c.vae.encode(pixels).latent_dist.mode() * c.vae.config.scaling_factor
    tokens = c.tokenizer(captions, padding="max_length", max_length=c.max_tokens, truncation=True,
                         return_tensors="pt")
    return latents, c.text_encoder(tokens.input_ids.to(c.device))[0]
