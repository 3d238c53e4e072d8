"""The judge, trained on renders alone: `python -m training.judge`. Writes runs/judge/model.

The model never sees the pairs of HELDOUT_PAIRS; the judge does. An instrument that has never seen a yellow car calls it
red, and then a model that draws it well is marked down: so it was with the first judge.
"""

import json

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from helpers.files import write_atomic
from helpers.pictures import pixels_of
from helpers.postcards.judge import EACH_PLACE, WHOLE, Judge, Reader, load_judge, truth
from helpers.postcards.scene import PLACES
from training.common import runs, train
from training.data import Pictures
from training.settings import numbers, settings


def answers(scene):
    """The right answer of every head: {"sky": 3, ..., "kind": [8, 0, 8], "colour": [9, 0, 9]}; 8 and 9 are "none"."""
    at = {s.place: s for s in scene.subjects}
    right = {key: words.index(getattr(scene, key)) for key, words in WHOLE.items()}
    for key, words in EACH_PLACE.items():
        right[key] = [words.index(getattr(at[place], key) if place in at else "none") for place in PLACES]
    return right


def right_of(scenes):
    """The answers of many scenes: {head: tensor (n,) or (n, 3)}."""
    rows = [answers(scene) for scene in scenes]
    return {key: torch.tensor([row[key] for row in rows]) for key in rows[0]}


def roughen(x):
    """What a generated picture suffers: a little shift, blur, contrast, tint, noise. (n, 3, H, W) -> the same."""

    def chance(*shape):
        return torch.rand(len(x), *shape, 1, 1, device=x.device)

    dx, dy = (torch.randint(-3, 4, (2,))).tolist()
    x = F.pad(x, (3, 3, 3, 3), mode="replicate")[:, :, 3 + dy : 3 + dy + x.shape[2], 3 + dx : 3 + dx + x.shape[3]]
    blurred = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    x = torch.lerp(x, blurred, chance(1) * (chance(1) < 0.5))
    x = x * (0.92 + 0.16 * chance(1)) + 0.16 * (chance(3) - 0.5)
    return x + 0.06 * chance(1) * torch.randn_like(x)


class Objective(torch.nn.Module):
    def __init__(self, reader):
        super().__init__()
        self.reader = reader.to(memory_format=torch.channels_last)

    def forward(self, pixels, **right):
        logits = self.reader(roughen(pixels).contiguous(memory_format=torch.channels_last))
        losses = {key: F.cross_entropy(logits[key].float().flatten(0, -2), right[key].flatten()) for key in logits}
        return dict(loss=sum(losses.values()), **losses)


class Batches:
    """Pictures and the right answers, a part `settings.heldout` of them from the pictures `heldout`, the rest from `pictures`."""

    def __init__(self, pictures, heldout, settings):
        unseen = round(settings.batch * settings.heldout)
        self.sets = [
            (set_, number, right_of(set_.scenes))
            for set_, number in ((pictures, settings.batch - unseen), (heldout, unseen))
            if number
        ]

    def __call__(self, rng, step, steps):
        images, rights = [], []
        for pictures, number, right in self.sets:
            indices = rng.sample(range(len(pictures)), min(number, len(pictures)))
            images.append(pictures.take(indices))
            rights.append({key: values[indices] for key, values in right.items()})
        right = {key: torch.cat([one[key] for one in rights]) for key in rights[0]}
        return dict(pixels=pixels_of(np.concatenate(images)), **right)


def accuracy(judge, images, scenes):
    """Fractions right, for each attribute, on pictures of known scenes.

    "kind" and "colour": of the subjects that are there, at their own places. "place": the occupied places are right.
    """
    readings, truths = judge.read(list(images)), [truth(scene) for scene in scenes]
    right = {key: np.mean([r[key] == t[key] for r, t in zip(readings, truths)]) for key in WHOLE}
    for part, key in enumerate(("colour", "kind")):
        right[key] = np.mean(
            [
                p in r["subjects"] and r["subjects"][p][part] == s[part]
                for r, t in zip(readings, truths)
                for p, s in t["subjects"].items()
            ]
        )
    right["place"] = np.mean([r["subjects"].keys() == t["subjects"].keys() for r, t in zip(readings, truths)])
    return {key: float(value) for key, value in right.items()}


@torch.no_grad()
def begin_from(reader, judge):
    """Give a reader a trained judge's weights. The judge may know fewer words: what it answers goes to the same words of the
    reader, whose other answers stay as they were drawn. ValueError for a judge of another shape, or one that knows other words."""
    if reader.widths != judge.reader.widths:
        raise ValueError(
            f"the judge to begin with has widths {judge.reader.widths}, this one {reader.widths}: give its --widths"
        )
    weights, mine = judge.reader.state_dict(), reader.state_dict()
    for key, words in judge.each_place.items():
        strange = [word for word in words if word not in reader.each_place[key]]
        if strange:
            raise ValueError(f"the judge to begin with knows {strange[0]}, and this world does not: begin with another")
        rows = [reader.each_place[key].index(word) for word in words]
        for name in (f"answers.{key}.weight", f"answers.{key}.bias"):
            mine[name][rows] = weights[name]
            weights[name] = mine[name]
    reader.load_state_dict(weights)


def save_judge(reader, folder, dtype=torch.float32):
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.to(dtype).contiguous() for name, tensor in reader.state_dict().items()}
    write_atomic(folder / "model.safetensors", lambda file: save_file(weights, file))
    write_atomic(
        folder / "config.json",
        lambda file: file.write_text(json.dumps({"widths": reader.widths, "words": reader.each_place}) + "\n"),
    )


def main(argv=None):
    chosen, options = settings(
        "judge", argv, fresh=(False, "begin anew"), start=("", "folder of a judge whose weights to begin with")
    )
    torch.manual_seed(chosen.seed)
    pictures, heldout, validation = Pictures("train"), Pictures("heldout"), Pictures("validation")
    images = validation.take(range(len(validation)))

    def watch(ema, step):
        return accuracy(Judge(ema.reader), images, validation.scenes)

    reader = Reader(numbers(chosen.widths))
    if options.start:
        begin_from(reader, load_judge(options.start))
    ema = train(
        "judge",
        Objective(reader),
        Batches(pictures, heldout, chosen),
        chosen,
        plain=("position", "questions", "features.0.", "answers"),
        watch=watch,
        fresh=options.fresh,
    )
    save_judge(ema.reader, runs("judge") / "model")
    right = accuracy(Judge(ema.reader), images, validation.scenes)
    print("judge: right on unseen renders: " + ", ".join(f"{key} {value:.1%}" for key, value in right.items()))


if __name__ == "__main__":
    main()
