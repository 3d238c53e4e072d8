"""Small measures of what the judge can not read: the kinds, the colour and the style that its world never held.

    measures = load_measures()
    measures.windmill(images), measures.snowman(images), measures.teal(images), measures.cyanotype(images)  # (n,) 0..1 each
    measures.agreement(images, ["a red windmill on the left in a meadow"])     # as `Judge.agreement`, with the new words

Windmill, snowman and teal are read by the judge's own convolutions under new questions and answers, fitted on renders
(`python -m training.measures`). A cyanotype is told from its pixels. Above `SEEN` a thing counts as seen.
"""

import hashlib
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open

from helpers import inputs
from helpers.postcards.canvas import BLUES
from helpers.postcards.captions import read_caption
from helpers.postcards.judge import Judge, load_judge, pictures_of, pixels_of
from helpers.postcards.scene import COURSE_COLOURS, COURSE_KINDS, KEPT_OUT

FITTED = Path(__file__).with_name("measures.safetensors")
SEEN = 0.5
TEAL_TOO_OFTEN = 5  # a third of what the answers were fitted on was teal, of ten colours: so many times the odds
WIDER = {
    "kind": (*COURSE_KINDS, *KEPT_OUT["kind"], "something else", "none"),  # as EACH_PLACE
    "colour": (*COURSE_COLOURS, *KEPT_OUT["colour"], "none"),
}


class Measures(Judge):
    """A judge of the wider world, windmills and teal included: `read` and `agreement` as those of `Judge`.

    A tower without sails, or a thing between two kinds, is read as "something else". images: as `Judge.read` takes
    them. Every measure returns float64 (n,), 0..1. On a cyanotype the colour of a subject, the sky and the ground are
    guesses; its kinds are read, less surely than in other pictures.
    """

    def windmill(self, images):
        """How surely a windmill stands at some place."""
        return self.surely(images, "kind", "windmill").max(1)

    def snowman(self, images):
        """How surely a snowman stands at some place."""
        return self.surely(images, "kind", "snowman").max(1)

    def teal(self, images):
        """How surely the thing at some place is teal. Teal hills, or a teal sky, do not count."""
        likely = self.surely(images, "colour", "teal").max(1)
        return likely / (likely + TEAL_TOO_OFTEN * (1 - likely))  # Bayes' rule for another prior

    def cyanotype(self, images):
        """The share of pixels whose colour is a shade of the one ink; 0 for a picture that has others, or one shade only.

        A thing in its own colours covers seven pixels in a hundred, or more: no cyanotype, however blue what is behind it.
        """
        shares = []
        for image in pictures_of(images):
            colours = pixels_of(image).add(1).div(2).permute(1, 2, 0)  # (128, 128, 3), 0..1
            away, shade = from_ramp(torch.from_numpy(BLUES), colours)
            near = (away < 0.15).double().mean()
            shares.append(float(near) if near > 0.93 and shade.std() > 0.04 else 0.0)
        return np.array(shares)

    def found(self, images, prompts, word):
        """{what: (in how many pictures, of how many)} for pictures of prompts that hold the word, "teal" or "windmill".

        The word itself: some thing is teal, or a windmill. Of teal "the thing": the kind that the prompt names is there, in
        whatever colour. Of windmill "its colour": some thing has the colour that the prompt names, windmill or not.
        """
        images = pictures_of(images)
        there = int((getattr(self, word)(images) > SEEN).sum())
        other, part = ("the thing", "kind") if word in KEPT_OUT["colour"] else ("its colour", "colour")
        return {word: (there, len(images)), other: (sum(self.shows(images, prompts, part)), len(images))}

    def shows(self, images, prompts, part):
        """For each picture, whether some thing in it has the "kind", or the "colour", of the first that its prompt names."""
        k = ("colour", "kind").index(part)
        named = [read_caption(prompt)["subjects"][0][k] for prompt in prompts]
        return [
            any(thing[k] == word for thing in reading["subjects"].values())
            for reading, word in zip(self.read(images), named, strict=True)
        ]

    def surely(self, images, part, word, batch=64):
        """(n, 3): the softmax of the answer `word` about `part` ("kind", "colour"), at each of PLACES."""
        found, images = [], pictures_of(images)
        for start in range(0, len(images), batch):
            pixels = torch.stack([pixels_of(image) for image in images[start : start + batch]])
            with torch.inference_mode():
                found.append(self.reader(pixels)[part].double().softmax(-1)[..., self.each_place[part].index(word)])
        return torch.cat(found).numpy() if found else np.zeros((0, 3))


def from_ramp(ramp, colours):
    """How far colours (..., 3) lie from the line through the colours of a ramp (n, 3), and where along it, 0..1: two of (...)."""
    found = []
    for k, (a, b) in enumerate(zip(ramp, ramp[1:])):
        along = ((colours - a) @ (b - a) / ((b - a) @ (b - a))).clamp(0, 1)  # (...)
        found.append(((colours - a - along[..., None] * (b - a)).norm(dim=-1), (k + along) / (len(ramp) - 1)))
    away, shade = (torch.stack(some) for some in zip(*found))  # (n - 1, ...) each
    nearest = away.argmin(0, keepdim=True)
    return away.gather(0, nearest)[0], shade.gather(0, nearest)[0]


def widen(reader):
    """The judge's reader, its answers about places anew for WIDER; the answers are random until they are fitted."""
    for part, words in WIDER.items():
        reader.answers[part] = torch.nn.Linear(reader.norm.normalized_shape[0], len(words))
    reader.each_place = WIDER
    return reader


def convolutions_hash(reader):
    """What the measures stand on: a hash of the weights of the judge's convolutions, 16 letters."""
    digest = hashlib.sha256()
    for _, weight in sorted(reader.features.state_dict().items()):
        digest.update(weight.float().numpy().tobytes())
    return digest.hexdigest()[:16]


def load_measures(path=FITTED) -> Measures:
    """The fitted measures. Raises FileNotFoundError or ValueError where their file, or the judge, is missing or damaged."""
    with torch.random.fork_rng(devices=[]):  # its new answers are drawn, and then replaced
        reader = widen(load_judge().reader)
    if not inputs.path(path, "path").is_file():
        raise FileNotFoundError(f"there are no measures in {path}: fit them with python -m training.measures")
    try:
        with safe_open(path, "pt") as file:
            fitted_on = (file.metadata() or {}).get("judge")
            names = file.keys()
            fitted = {name: file.get_tensor(name).float() for name in names}
        missing = reader.load_state_dict(fitted, strict=False)
    except Exception as error:
        raise ValueError(
            f"the measures in {path} are damaged ({error}): fit them anew with python -m training.measures"
        ) from error
    lacking = [name for name in missing.missing_keys if not name.startswith("features.")]
    if lacking or missing.unexpected_keys or fitted_on != convolutions_hash(reader):
        raise ValueError(
            f"the measures in {path} are not those of this judge: fit them anew with python -m training.measures"
        )
    return Measures(reader)
