"""How far can an attention map be trusted? The postcard world knows every pixel of everything in a picture.

Sources: Zhang et al. 2018, "Top-down neural attention by excitation backprop" (the pointing game), Tang et
al. 2022, "What the DAAM" (intersection over union of word maps).
"""

from collections import defaultdict
from random import Random
from typing import NamedTuple

from helpers.runtime import seeded_noise

import numpy as np
import torch
from transformers import CLIPTokenizer

from helpers import inputs
from helpers.attention.record import AttentionRecord, Layer, record_attention
from helpers.conditioning import encode_prompts, token_positions
from helpers.diffusion import add_noise
from helpers.latents import encode_image
from helpers.postcards import Scene, full_caption, phrases, render

WORDS = ("nouns", "subjects", "scenery", "colours", "sky", "light", "ground", "backdrop")
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


class Looks(list):
    """What `look_at_cards` gives: for each scene (scene, card, caption, record, row in it); timesteps: those of the records."""

    def __init__(self, looks, timesteps):
        super().__init__(looks)
        self.timesteps = list(timesteps)


class MapScore(NamedTuple):
    """How n maps did that come from so many cards; shares are 0..1.

    pointing: share of the maps whose highest value lies on the thing. iou: their mean overlap with it, each map cut
    at 0.4. chance: share that would point right with the mask of another map of the same kind of thing, mean over all
    such masks; None without another. iou_error: standard error of iou, each card one reading; None for a single card.
    best: (threshold, iou, its standard error) at the threshold among THRESHOLDS at which these maps overlap most.
    """

    pointing: float
    iou: float
    n: int
    cards: int = 1
    chance: float | None = None
    iou_error: float | None = None
    best: tuple = (0.4, 0.0, None)


def pointing_hit(heat: np.ndarray, mask: np.ndarray) -> bool:
    """Whether the single highest cell of a map lies in the mask: the mask's pixel at the centre of that cell.

    heat: (h, w), as fine as the mask or coarser. mask: (H, W) bool. Of equally high cells the first counts.
    """
    heat, mask = _map(heat), _mask(mask)
    height, width = heat.shape
    row, column = _peak(heat)
    return bool(mask[int((row + 0.5) * len(mask) / height), int((column + 0.5) * mask.shape[1] / width)])


def iou(heat: np.ndarray, mask: np.ndarray, threshold: float = 0.4) -> float:
    """Intersection over union, 0..1, of a mask and the part of a map that is above the threshold.

    heat: (H, W), 0..1, as large as the mask, or ValueError. mask: (H, W) bool.
    """
    heat, mask = _map(heat), _mask(mask)
    inputs.number(threshold, "threshold", "a number from 0 to 1", lambda threshold: 0 <= threshold <= 1)
    if np.shape(heat) != np.shape(mask):
        raise ValueError(f"The map is {np.shape(heat)}, the mask {np.shape(mask)}: use heatmap(..., size=len(mask)).")
    return float(_ious(heat, mask, (threshold,))[0])


def _map(heat):
    """A heat map as an array (h, w) of finite numbers."""
    given = heat
    try:
        heat = np.asarray(heat)
    except (TypeError, ValueError, RuntimeError):
        heat = np.asarray(None)
    if heat.ndim != 2 or heat.dtype.kind not in "buif" or not heat.size or not np.isfinite(heat).all():
        raise TypeError(f"heat must be an array of numbers, (h, w), not {inputs.shown(given)}.")
    return heat


def _mask(mask):
    """A mask as an array (H, W) of bool."""
    given, mask = mask, np.asarray(mask, dtype=None) if hasattr(mask, "dtype") else np.asarray(None)
    if mask.ndim != 2 or mask.dtype != bool or not mask.size:
        raise TypeError(f"mask must be an array of bools, (H, W), not {inputs.shown(given)}.")
    return mask


def centre_prior(size):
    """The map of someone who guesses blindly, (size, size) float32, 0..1: a Gaussian in the middle, sigma size / 4. size: 2 to 4096."""
    inputs.whole_number(size, "size", 2, 4096)
    distance = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    bell = np.exp(-((distance / 0.25) ** 2) / 2)
    heat = bell[:, None] * bell[None, :]  # (size, 1) * (1, size) -> (size, size)
    return (heat - heat.min()) / (heat.max() - heat.min())


def word_map(
    attention: AttentionRecord, tokenizer: CLIPTokenizer, prompt: str, word: str, weights: bool = False, **pooling
) -> np.ndarray:
    """The heat map of a word of a prompt, pooled in the way that pointed best (see `score_maps`).

    attention: an AttentionRecord of that prompt. weights: True where it was drawn with weights=True. pooling: what `heatmap`
    takes, to pool otherwise. Raises ValueError for a word that is not in the prompt.
    """
    if not isinstance(attention, AttentionRecord):
        raise TypeError(f"attention must be what record_attention gives, not {inputs.shown(attention)}.")
    inputs.text(word, "word", "a word of the prompt, a string")
    pooling = {"against": token_positions(tokenizer, prompt, weights=weights), **pooling}
    return attention.heatmap(token_positions(tokenizer, prompt, word, weights), **pooling)


def six_ways(layers):
    """Six usual ways to pool the maps of a word: {name: arguments of `heatmap`}, for the `layers` of a record."""
    layers = inputs.list_of(layers, "layers", "layers of a record, attention.layers", Layer, least=1)
    lowest, names = min(one.height for one in layers), [one.name for one in layers]
    return {
        "mean subtracted": {},
        "nothing subtracted": {"against": None},
        "up layers only": {"layers": [name for name in names if name.startswith("up_blocks")]},
        "coarsest layers": {"layers": [one.name for one in layers if one.height == lowest]},
        "last layer": {"layers": names[-1]},
        "noisiest step": {"steps": 0},
    }


def each_layer(layers, timesteps):
    """Every layer of a record alone at every noise level: {"<its name> at t = 700": arguments of `heatmap`}."""
    layers = inputs.list_of(layers, "layers", "layers of a record, attention.layers", Layer, least=1)
    timesteps = inputs.list_of(timesteps, "timesteps", "whole numbers", int, least=1)
    return {
        f"{one.name} at t = {t}": {"layers": one.name, "steps": k} for one in layers for k, t in enumerate(timesteps)
    }


def score_maps(c, scenes, timesteps=(100, 300, 500, 700), poolings=None, words="nouns", seed=0, batch=16):
    """Compare the maps of caption words with the exact masks: {name: MapScore}, the same every time.

    Each scene is rendered, encoded and noised to every one of `timesteps`, and the U-Net is called once for
    each with the full caption, without guidance: so one knows what is where in the picture that it looks at.

    scenes: of helpers.postcards; or what `look_at_cards` gives, and then the U-Net is not called again. seed: of the noise and
        the shuffling. batch: how many scenes at once.
    poolings: {name: arguments of `heatmap`}; None: {"default": {}}. With {"middle": {"layers": "mid_block",
        "steps": 0}} that layer is scored at the first of `timesteps`. against: all words of the caption,
        where a pooling does not say otherwise. Always added: "centre prior", and "shuffled words", the
        default map of another noun of the caption.
    words: which maps. "nouns": of everything with a mask, except the weather, which lies over all.
        "subjects", "scenery" (all but the subjects), "sky", "light", "ground", "backdrop": these nouns only.
        "colours": the colour words of the subjects, on their masks. Or several of these: then the result is
        {words: {name: MapScore}}.
    A thing that cannot be seen, or that the caption names after the last token read, is left out. Raises
    ValueError for unknown words and where nothing is left to score.
    """
    poolings = _poolings(poolings)
    wanted = _asked(c, scenes, timesteps, words, seed, batch)
    prior, rng = centre_prior(c.image_size), Random(seed)
    found = {one: defaultdict(list) for one in wanted}  # words -> name -> [(card, kind of thing, peak, hit, ious), ...]
    masks = {one: defaultdict(list) for one in wanted}  # words -> kind of thing -> masks

    for number, thing, asked, mask, heat, tokens, others in _maps(c, scenes, timesteps, wanted, seed, batch):
        heats = {name: heat(tokens, pooling) for name, pooling in poolings.items()}
        heats |= {"shuffled words": heat(rng.choice(others))} if others else {}
        scored = {
            name: (_peak(map_), pointing_hit(map_, mask), _ious(map_, mask, THRESHOLDS))
            for name, map_ in (heats | {"centre prior": prior}).items()
        }
        for one in asked:
            masks[one][thing].append(mask)
            for name, marks in scored.items():
                found[one][name].append((number, thing, *marks))
    if not all(found.values()):
        raise ValueError("There is nothing to score: give scenes whose captions the model can read.")
    scores = {}
    for one, names in found.items():
        stacked = {thing: np.stack(some) for thing, some in masks[one].items()}
        scores[one] = {name: _score(marks, stacked) for name, marks in names.items()}
    return scores[words] if isinstance(words, str) else scores


def look_at_cards(c, scenes, timesteps=(100, 300, 500, 700), seed=0, batch=16):
    """The records of a U-Net that looks at scenes, to be marked more than once: give them to `score_maps` and `word_maps` in the
    place of the scenes. The arguments are theirs. About 1.5 MB a scene at three timesteps.
    """
    _asked(c, list(scenes) if isinstance(scenes, Looks) else scenes, timesteps, "nouns", seed, batch)
    return Looks(_look(c, scenes, timesteps, seed, batch), timesteps)


def word_maps(c, scenes, timesteps=(100, 300, 500, 700), words="subjects", pooling=None, seed=0, batch=16):
    """The maps themselves that `score_maps` marks, and their masks: heats (N, S, S) float, masks (N, S, S) bool.

    pooling: arguments of `heatmap`; None: the default. The rest as for `score_maps`; of several words {words: (heats, masks)}.
    """
    pooling = (
        {}
        if pooling is None
        else inputs.table(pooling, "pooling", "arguments of heatmap by name, {name: value}", least=0)
    )
    wanted = _asked(c, scenes, timesteps, words, seed, batch)
    found = {one: ([], []) for one in wanted}
    for _, _, asked, mask, heat, tokens, _ in _maps(c, scenes, timesteps, wanted, seed, batch):
        map_ = heat(tokens, pooling)
        for one in asked:
            found[one][0].append(map_), found[one][1].append(mask)
    if not all(heats for heats, _ in found.values()):
        raise ValueError("There is nothing to score: give scenes whose captions the model can read.")
    found = {one: tuple(torch.from_numpy(np.stack(some)) for some in both) for one, both in found.items()}
    return found[words] if isinstance(words, str) else found


def _poolings(poolings):
    """The poolings that were given, checked, or the default one."""
    pooled = poolings is None or isinstance(poolings, dict) and all(isinstance(one, dict) for one in poolings.values())
    if not pooled:
        raise TypeError(f"poolings must be {{name: arguments of heatmap}}, not {inputs.shown(poolings)}.")
    return poolings or {"default": {}}


def _asked(c, scenes, timesteps, words, seed, batch):
    """The groups of words as a list, after all arguments have been checked."""
    inputs.components(c)
    if not isinstance(scenes, Looks):
        inputs.list_of(scenes, "scenes", "Scenes", Scene, least=1)
    inputs.whole_number(seed, "seed", 0, 2**63 - 1 - len(scenes)), inputs.whole_number(batch, "batch", 1, 4096)
    for t in inputs.list_of(timesteps, "timesteps", "whole numbers", (int, np.integer), least=1):
        inputs.whole_number(t, "a timestep", 0, len(c.scheduler.alphas_cumprod) - 1)
    if isinstance(scenes, Looks) and scenes.timesteps != list(timesteps):
        raise ValueError(
            f"These cards were looked at with timesteps={scenes.timesteps}, not {inputs.shown(timesteps)}."
        )
    wanted = [words] if isinstance(words, str) else inputs.texts(words, "words")
    if not wanted or not set(wanted) <= set(WORDS):
        raise ValueError(f"words={words!r} is unknown: choose from {', '.join(WORDS)}.")
    return wanted


def _maps(c, scenes, timesteps, wanted, seed, batch):
    """Every map that is asked for: (card, kind of thing, groups it belongs to, mask, heat, its tokens, other nouns' tokens).

    heat(tokens, pooling) draws the map. The kind of thing is the key of its mask, and "subject" for all subjects.
    """
    looks = scenes if isinstance(scenes, Looks) else _look(c, scenes, timesteps, seed, batch)
    for number, (scene, card, caption, attention, picture) in enumerate(looks):

        def heat(tokens, pooling=None, attention=attention, picture=picture, caption=caption):
            return attention.heatmap(
                tokens,
                size=c.image_size,
                picture=picture,
                **{"against": token_positions(c.tokenizer, caption), **(pooling or {})},
            )

        nouns = _positions(c.tokenizer, caption, scene)
        subjects = [one.kind for one in scene.subjects]
        for colours, found in ((False, nouns), (True, _positions(c.tokenizer, caption, scene, colours=True))):
            for thing, tokens in found.items():
                asked = [one for one in wanted if _belongs(one, thing, scene, colours)]
                if asked and thing in card.masks:
                    others = [nouns[noun] for noun in nouns if noun != thing]
                    yield (
                        number,
                        "subject" if thing in subjects else thing,
                        asked,
                        card.masks[thing],
                        heat,
                        tokens,
                        others,
                    )


def _peak(heat):
    """Row and column of the highest value of a map."""
    return np.unravel_index(np.argmax(heat), np.shape(heat))


def _ious(heat, mask, thresholds):
    """Intersection over union of a mask and the part of a map that is above each of these thresholds: (thresholds,)."""
    hot = np.asarray(heat) > np.reshape(thresholds, (-1, 1, 1))  # (thresholds, H, W)
    both = (hot & mask).sum((1, 2))
    return both / np.maximum(1, hot.sum((1, 2)) + mask.sum() - both)


def _score(marks, masks):
    """MapScore of what was found: (card, kind of thing, peak, hit, ious) of each map."""
    cards, hits, ious = [one[0] for one in marks], [one[3] for one in marks], np.stack([one[4] for one in marks])
    chances = []
    for _, thing, (row, column), hit, _ in marks:
        if len(masks[thing]) > 1:
            chances.append((masks[thing][:, row, column].sum() - hit) / (len(masks[thing]) - 1))
    each, fixed = ious.mean(0), THRESHOLDS.index(0.4)
    most = int(each.argmax())
    by_card = np.stack([ious[np.array(cards) == card].mean(0) for card in sorted(set(cards))])  # (cards, thresholds)
    errors = [None] * len(THRESHOLDS)
    if len(by_card) > 1:
        errors = (by_card.std(0, ddof=1) / len(by_card) ** 0.5).tolist()
    return MapScore(
        float(np.mean(hits)),
        float(each[fixed]),
        len(marks),
        len(by_card),
        float(np.mean(chances)) if chances else None,
        errors[fixed],
        (THRESHOLDS[most], float(each[most]), errors[most]),
    )


@torch.inference_mode()
def _look(c, scenes, timesteps, seed, batch):
    """Each scene with its card and caption, and the record and the row in it of the U-Net looking at it."""
    for first in range(0, len(scenes), batch):
        some = scenes[first : first + batch]
        cards, captions = [render(scene, c.image_size) for scene in some], list(map(full_caption, some))
        latents = torch.cat([encode_image(c, card.image) for card in cards])  # (B, C, h, w)
        noise = seeded_noise(latents.shape, [seed + first + i for i in range(len(some))], c.device, c.dtype)
        prompt_embeds = encode_prompts(c, captions)
        with record_attention(c.unet, guidance=False) as attention:
            for t in timesteps:
                x_t = add_noise(latents, noise, t, c.scheduler.alphas_cumprod)
                c.unet(x_t, t, encoder_hidden_states=prompt_embeds)
        for picture, (scene, card, caption) in enumerate(zip(some, cards, captions)):
            yield scene, card, caption, attention, picture


def _belongs(words, thing, scene, colours):
    """Whether the noun of a thing, or its colour word, is one of `words`."""
    subject = thing in [one.kind for one in scene.subjects]
    if colours:
        return words == "colours" and subject
    if thing == "weather":
        return False
    return words == thing or words == "nouns" or words == ("subjects" if subject else "scenery")


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
