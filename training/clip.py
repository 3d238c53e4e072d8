"""Tokenizer, text encoder and image encoder: `python -m training.clip`.

Writes runs/clip/model (a CLIPModel) and runs/clip/tokenizer. The loss is CLIP's, pictures against captions and
captions against pictures, with three changes for a small world: a caption that is true of another picture of the batch
is no negative there; each caption comes with a near miss (colours swapped, another place, other weather), so that word
order matters; and linear readers, thrown away afterwards, must read every attribute off both towers, so that nothing
is left unlearnt that the U-Net will need.

With `--start` a trained pair goes on, and with `--keep` its text encoder stays where it was for all captions that name nothing new
(Li and Hoiem 2016, "Learning without forgetting"): the U-Net that reads it has then little to learn anew.
"""

import copy
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import torch
import torch.nn.functional as F
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from helpers.pictures import pixels_of
from helpers.postcards.captions import caption, read_caption
from helpers.postcards.judge import WHOLE
from helpers.postcards.own import WORLD
from helpers.postcards.scene import COLOURS, HELDOUT_PAIRS, KINDS, LIGHTS_OF_SKY, PLACES
from training.common import runs, train
from training.data import SIZE, Pictures
from training.settings import settings
from training.tokenizer import LENGTH, copy_tokenizer, learn_merges, save_tokenizer

N, K = len(WHOLE), len(KINDS)  # attributes of the whole picture, kinds of subjects
ABSENT, OPEN = -2, -1  # a kind that is not there; something that is not named


def make_clip(tokenizer, width, layers, heads, patch):
    """A small CLIPModel: both towers of the same width, 77 positions, text pooled at the end token."""
    tower = dict(hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, projection_dim=width)
    text = dict(
        tower,
        intermediate_size=4 * width,
        vocab_size=len(tokenizer),
        max_position_embeddings=LENGTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    vision = dict(tower, intermediate_size=2 * width, image_size=SIZE, patch_size=patch)
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=width))


def swapped(scene, part):
    """The scene with the "colour" or the "place" of its two subjects exchanged."""
    a, b = scene.subjects
    return replace(scene, subjects=(replace(a, **{part: getattr(b, part)}), replace(b, **{part: getattr(a, part)})))


def altered(scene, rng: Random):
    """A near miss: a scene with one thing changed, or two colours or places swapped. Never a held-out pair."""
    changes = [*WHOLE, "colour", "place", "kind"] + ["swap colour", "swap place"] * 4 * (len(scene.subjects) - 1)
    while True:
        change = rng.choice(changes)
        try:
            if change.startswith("swap"):
                other = swapped(scene, change.split()[1])
            elif change in WHOLE:
                values = LIGHTS_OF_SKY[scene.sky] if change == "light" else WHOLE[change]
                other = replace(scene, **{change: rng.choice(values)})
            else:
                values, subjects = {"colour": COLOURS, "place": PLACES, "kind": KINDS}[change], list(scene.subjects)
                k = rng.randrange(len(subjects))
                subjects[k] = replace(subjects[k], **{change: rng.choice(values)})
                other = replace(scene, subjects=tuple(subjects))
        except ValueError:  # the world can not draw this: a boat ashore, two tents
            continue
        if other != scene and not any((s.colour, s.kind) in HELDOUT_PAIRS for s in other.subjects):
            return other


def scene_codes(scene):
    """A scene as 21 numbers: 5 attributes; for each kind its colour, ABSENT without; for each kind its place."""
    at = {s.kind: s for s in scene.subjects}
    return (
        [values.index(getattr(scene, key)) for key, values in WHOLE.items()]
        + [COLOURS.index(at[k].colour) if k in at else ABSENT for k in KINDS]
        + [PLACES.index(at[k].place) if k in at else ABSENT for k in KINDS]
    )


def caption_codes(text):
    """What a caption names, likewise; OPEN for what it leaves open."""
    named = read_caption(text)
    codes = [values.index(named[key]) if key in named else OPEN for key, values in WHOLE.items()] + [ABSENT] * 2 * K
    for colour, kind, place in named["subjects"]:
        k = N + KINDS.index(kind)
        codes[k] = COLOURS.index(colour) if colour else OPEN
        codes[k + K] = PLACES.index(place) if place else OPEN
    return codes


def true_of(scenes, captions):
    """Which captions are true of which scenes: codes (n, 21) and (m, 21) -> bool (n, m)."""
    there, said = scenes[:, None], captions[None]  # (n, 1, 21), (1, m, 21)
    right = (said < 0) | (there == said)  # (n, m, 21)
    missing = (said[..., N:] == OPEN) & (there[..., N:] == ABSENT)  # a kind is named and not there
    return right.all(-1) & ~missing.any(-1)


class Readers(torch.nn.Module):
    """Linear readers off a state (n, width): the 5 attributes; for each kind if it is there, its colour, its place."""

    def __init__(self, width):
        super().__init__()
        self.sizes = [len(values) for values in WHOLE.values()] + [K, K * len(COLOURS), K * len(PLACES)]
        self.answers = torch.nn.Linear(width, sum(self.sizes))

    def forward(self, state, codes):
        """Returns (loss, {attribute: fraction right}); what the codes (n, 21) leave open is not asked."""
        *whole, there, colour, place = self.answers(state).float().split(self.sizes, dim=-1)
        present = codes[:, N : N + K] != ABSENT  # (n, 8)
        loss = F.binary_cross_entropy_with_logits(there, present.float(), reduction="sum") / len(codes)
        right = dict(kind=((there > 0) == present).all(-1).float().mean())
        asked = {key: (logits, codes[:, i]) for i, (key, logits) in enumerate(zip(WHOLE, whole))}
        asked |= dict(
            colour=(colour.reshape(-1, len(COLOURS)), codes[:, N : N + K].flatten()),  # (n * 8, colours)
            place=(place.reshape(-1, len(PLACES)), codes[:, N + K :].flatten()),
        )
        for key, (logits, answer) in asked.items():
            loss = loss + F.cross_entropy(logits, answer.clamp(min=-1), ignore_index=-1, reduction="sum") / len(codes)
            right[key] = ((logits.argmax(-1) == answer) & (answer >= 0)).sum() / (answer >= 0).sum().clamp(min=1)
        return loss, right


def embed_images(clip, pixels):
    """Unit vectors (n, width) of pictures (n, 3, 128, 128) in -1..1."""
    pooled = clip.vision_model(pixel_values=pixels).pooler_output
    return F.normalize(clip.visual_projection(pooled).float(), dim=-1)


def moved_by(states, before):
    """How far states are from what they were: the mean square of the difference, in parts of that of the states (a scalar, 0 or more)."""
    return (states - before).square().mean() / before.square().mean()


class Objective(torch.nn.Module):
    """weight: of the readers. keep: of how far the states of known captions have moved from those of the text encoder as it is now."""

    def __init__(self, clip, weight, keep=0.0):
        super().__init__()
        self.clip, self.weight, self.keep = clip, weight, keep
        self.before = (
            [copy.deepcopy(clip.text_model).eval().requires_grad_(False)] if keep else []
        )  # neither trained nor saved
        self.read_text, self.read_image = Readers(clip.text_embed_dim), Readers(clip.projection_dim)

    def forward(self, pixels, ids, scene, said, excluded, known=None):
        """pixels (n, 3, 128, 128); ids (2n, length): captions, then near misses; scene, said (n, 21): their codes;
        excluded (n, 2n): captions true of another's picture, neither right nor wrong there; known (2n,) bool: captions that
        hold no new word, asked for with `keep` alone."""
        n = len(pixels)
        own = torch.arange(n, device=pixels.device)
        text = self.clip.text_model(input_ids=ids)
        texts = F.normalize(self.clip.text_projection(text.pooler_output).float(), dim=-1)  # (2n, width)
        images = embed_images(self.clip, pixels)  # (n, width)
        scale = self.clip.logit_scale.clamp(max=np.log(100)).exp()
        logits = (scale * images @ texts.T).masked_fill(excluded, -1e4)  # (n, 2n)
        contrast = (F.cross_entropy(logits, own) + F.cross_entropy(logits[:, :n].T, own)) / 2

        # The U-Net sees the padding too: half of the time a padding position is read in place of the end token.
        end = (ids[:n] == ids[0, -1]).int().argmax(-1)
        late = (2 * torch.rand(n, device=end.device) - 1).clamp(min=0) * (ids.shape[1] - end)
        text_loss, text_right = self.read_text(text.last_hidden_state[own, end + late.long()], said)
        image_loss, image_right = self.read_image(images * images.shape[-1] ** 0.5, scene)
        moved = (
            moved_by(text.last_hidden_state[known], self.before[0](input_ids=ids[known]).last_hidden_state)
            if self.keep
            else 0.0
        )
        return dict(
            loss=contrast + self.weight * (text_loss + image_loss) + self.keep * moved,
            contrast=contrast,
            **({"moved": moved} if self.keep else {}),
            text=text_loss,
            image=image_loss,
            scale=scale,
            retrieved=(logits.argmax(-1) == own).float().mean(),
            **{f"text_{key}": value for key, value in text_right.items()},
            **{f"image_{key}": value for key, value in image_right.items()},
        )


class Batches:
    """Pictures, a fresh caption for each, and a near miss of each caption in the same wording."""

    def __init__(self, pictures, tokenizer, settings):
        self.pictures, self.tokenizer, self.batch = pictures, tokenizer, settings.batch
        self.codes = np.array([scene_codes(scene) for scene in pictures.scenes], np.int64)

    def __call__(self, rng, step, steps):
        n = min(self.batch, len(self.pictures))
        indices, captions, misses = rng.sample(range(len(self.pictures)), n), [], []
        for i in indices:
            wording, scene = rng.randrange(2**32), self.pictures.scenes[i]
            captions.append(caption(scene, Random(wording)))
            misses.append(caption(altered(scene, rng), Random(wording)))
        said = np.array([caption_codes(text) for text in captions + misses], np.int64)  # (2n, 21)
        excluded = true_of(self.codes[indices], said)  # (n, 2n)
        excluded[np.arange(n), np.arange(n)] = False
        padding = "max_length" if step % 8 == 0 else "longest"  # exact at any length: the text model looks back only
        ids = self.tokenizer(captions + misses, padding=padding, truncation=True, return_tensors="pt").input_ids
        return dict(
            pixels=pixels_of(self.pictures.take(indices)),
            ids=ids,
            excluded=torch.from_numpy(excluded),
            scene=torch.from_numpy(self.codes[indices]),
            said=torch.from_numpy(said[:n]),
            known=torch.tensor(
                [not any(f" {word} " in f"{text} " for word in WORLD.words) for text in captions + misses]
            ),
        )


@torch.no_grad()
def accuracy(clip, tokenizer, images, scenes, group=100):
    """On unseen pictures. "retrieved": how often the nearest of `group` captions is true of a picture;
    "swapped": how often a picture of two subjects is nearer to its caption than to the one with colours swapped."""

    def embed_texts(texts):
        ids = tokenizer(texts, padding=True, truncation=True, return_tensors="pt").input_ids.to(clip.device)
        return F.normalize(clip.text_projection(clip.text_model(input_ids=ids).pooler_output), dim=-1)

    texts, group = [caption(scene, Random(i)) for i, scene in enumerate(scenes)], min(group, len(scenes))
    vectors, words = embed_images(clip, pixels_of(images).to(clip.device)), embed_texts(texts)
    true = true_of(np.array([scene_codes(s) for s in scenes]), np.array([caption_codes(t) for t in texts]))
    found = []
    for i in range(0, len(scenes) - group + 1, group):
        nearest = (vectors[i : i + group] @ words[i : i + group].T).argmax(-1).cpu().numpy()
        found += list(true[np.arange(i, i + group), i + nearest])
    two = [i for i, scene in enumerate(scenes) if len(scene.subjects) == 2]
    other = embed_texts([caption(swapped(scenes[i], "colour"), Random(i)) for i in two])
    nearer = (vectors[two] * words[two]).sum(-1) > (vectors[two] * other).sum(-1)
    return dict(retrieved=float(np.mean(found)), swapped=nearer.float().mean().item())


def main(argv=None):
    chosen, options = settings(
        "clip",
        argv,
        fresh=(False, "begin anew"),
        start=("", "folder of a CLIPModel to begin with, beside the folder `tokenizer` that it goes on with"),
    )
    torch.manual_seed(chosen.seed)
    pictures, validation = Pictures("train"), Pictures("validation")
    rng = Random(chosen.seed)
    texts = [caption(pictures.scenes[i % len(pictures)], rng) for i in range(1 if options.start else 50_000)]
    if options.start:
        tokenizer = copy_tokenizer(Path(options.start).parent / "tokenizer", runs("clip") / "tokenizer")
    elif (
        runs("clip") / "last.pt"
    ).exists() and not options.fresh:  # its text encoder knows the numbers of these pieces
        tokenizer = CLIPTokenizer.from_pretrained(runs("clip") / "tokenizer")
    else:
        tokenizer = save_tokenizer(learn_merges(texts), runs("clip") / "tokenizer")
    print(f'clip: {len(tokenizer)} tokens; "{texts[0]}" is {len(tokenizer(texts[0]).input_ids)} of them', flush=True)
    images = validation.take(range(len(validation)))

    def watch(ema, step):
        ema.clip.save_pretrained(runs("clip") / "latest")
        return accuracy(ema.clip, tokenizer, images, validation.scenes)

    if options.start:
        clip = CLIPModel.from_pretrained(options.start).float()
    else:
        clip = make_clip(tokenizer, chosen.width, chosen.layers, chosen.heads, chosen.patch)
    ema = train(
        "clip",
        Objective(clip, chosen.readers, chosen.keep if options.start else 0.0),
        Batches(pictures, tokenizer, chosen),
        chosen,
        plain=("embedding", "projection", "answers"),
        watch=watch,
        given=dict(vocabulary=len(tokenizer)),
        fresh=options.fresh,
    )
    with torch.no_grad():
        ema.clip.logit_scale.clamp_(max=np.log(100))
    ema.clip.save_pretrained(runs("clip") / "model")
    right = accuracy(ema.clip, tokenizer, images, validation.scenes)
    print("clip: " + ", ".join(f"{key} {value:.1%}" for key, value in right.items()))


if __name__ == "__main__":
    main()
