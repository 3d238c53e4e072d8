"""Fit helpers/postcards/measures.py on renders of the wider world: `python -m training.measures`, some minutes on one core.

The judge's convolutions stay as they are; position, questions, keys, values and answers are fitted on what they see.
"""

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from helpers.files import write_atomic
from helpers.pictures import pixels_of
from helpers.postcards import COLOURS, GROUNDS, KEPT_OUT, KINDS, PLACES, render, sample_scene
from helpers.postcards.canvas import ellipse
from helpers.postcards.judge import WHOLE, load_judge
from helpers.postcards.measures import FITTED, WIDER, convolutions_hash, widen
from helpers.postcards.subjects import DRAWINGS
from training.data import FIRST, scene_rng
from training.judge import roughen

PICTURES, EPOCHS, BATCH, SEED = 10_000, 10, 100, 77 * 10**6
ALL_KINDS, ALL_COLOURS = KINDS + KEPT_OUT["kind"], COLOURS + KEPT_OUT["colour"]
UNSEEN = -100  # the answer that no loss asks for


def wider_scene(seed):
    """A scene in which a third of the subjects is of a new kind and a third in a new colour; a fifth are cyanotypes."""
    rng = scene_rng(FIRST["train"] + SEED + seed)
    scene = sample_scene(rng)
    kinds, colours = (rng.sample(words, len(scene.subjects)) for words in (ALL_KINDS, ALL_COLOURS))
    if rng.random() < 0.25:
        kinds[0] = rng.choice([kind for kind in KEPT_OUT["kind"] if kind not in kinds[1:]])
    if rng.random() < 0.25 and "teal" not in colours:
        colours[0] = "teal"
    subjects = tuple(replace(s, kind=k, colour=c) for s, k, c in zip(scene.subjects, kinds, colours))
    ground = "lake" if "boat" in kinds else rng.choice(GROUNDS)
    return replace(scene, subjects=subjects, ground=ground, style="cyanotype" if rng.random() < 0.2 else "flat")


def wider_answers(scene, failed):
    """As `training.judge.answers`, in the words of WIDER; what a cyanotype does not show is UNSEEN.

    failed: the first subject is "something else", and its colour does not matter.
    """
    at, hidden = {s.place: s for s in scene.subjects}, scene.style == "cyanotype"
    right = {key: UNSEEN if hidden else words.index(getattr(scene, key)) for key, words in WHOLE.items()}
    for key, words in WIDER.items():
        right[key] = [words.index(getattr(at[place], key) if place in at else "none") for place in PLACES]
    if hidden:
        right["colour"] = [UNSEEN] * len(PLACES)
    if failed:
        place = PLACES.index(scene.subjects[0].place)
        right["kind"][place], right["colour"][place] = WIDER["kind"].index("something else"), UNSEEN
    return right


def failure(scene, rng):
    """A picture as a model draws it that has not learnt the kind: uint8 (128, 128, 3).

    Half of them are half of another kind; in the others the sails of a windmill, or the top of a snowman, are blots.
    """
    first = scene.subjects[0]
    if rng.random() < 0.5:
        kinds = [
            k
            for k in ALL_KINDS
            if k not in [s.kind for s in scene.subjects] and (k != "boat" or scene.ground == "lake")
        ]
        pair = [
            np.asarray(
                render(replace(scene, subjects=(replace(first, kind=kind), *scene.subjects[1:]))).image, np.float32
            )
            for kind in (first.kind, rng.choice(kinds))
        ]
        share = rng.uniform(0.35, 0.65)
        return (share * pair[0] + (1 - share) * pair[1]).astype(np.uint8)
    kind = first.kind if first.kind in KEPT_OUT["kind"] else "windmill"
    whole = DRAWINGS[kind]
    try:
        DRAWINGS[kind] = lambda pen, look, r: blotted(whole, pen, look, r)
        others = [replace(s, kind="tree") if s.kind == kind else s for s in scene.subjects[1:]]
        return np.asarray(render(replace(scene, subjects=(replace(first, kind=kind), *others))).image)
    finally:
        DRAWINGS[kind] = whole


def blotted(whole, pen, look, r):
    """The first strokes of a drawing, and blots for the others."""
    strokes, fill = 4, pen.fill

    def first_strokes(colour, *polygons):
        nonlocal strokes
        strokes -= 1
        if strokes >= 0:
            fill(colour, *polygons)

    pen.fill = first_strokes
    whole(pen, look, r)
    pen.fill = fill
    for _ in range(r.randint(0, 5)):
        x, y = r.uniform(-0.45, 0.45), 0.86 + r.uniform(-0.35, 0.45)
        pen.fill(
            r.choice((look.cream, look.cream, look.wood, look.dark, look.base)),
            ellipse(x, y, r.uniform(0.06, 0.2), r.uniform(0.06, 0.2)),
        )


@torch.inference_mode()
def seen(reader, images):
    """What the judge's convolutions see of uint8 images (n, 128, 128, 3), half of them roughened: (n, 128, 8, 8)."""
    maps = []
    for start in range(0, len(images), BATCH):
        pixels = pixels_of(images[start : start + BATCH])
        rough = torch.arange(len(pixels))[:, None, None, None] % 2 == 0
        maps.append(reader.features(torch.where(rough, roughen(pixels), pixels)))
    return torch.cat(maps)


def fit(reader, maps, right):
    """Fit all of the reader but its convolutions. right: {part: (n,) or (n, 3) answers}."""
    features, reader.features = reader.features, torch.nn.Identity()
    rows = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(reader.requires_grad_(True).parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, EPOCHS * -(-len(maps) // BATCH))
    for epoch in range(EPOCHS):
        for some in torch.randperm(len(maps), generator=rows).split(BATCH):
            logits = reader(maps[some] + 0.1 * torch.randn(maps[some].shape, generator=rows))
            losses = {
                part: F.cross_entropy(logits[part].flatten(0, -2), right[part][some].flatten()) for part in logits
            }
            optimizer.zero_grad()
            sum(losses.values()).backward()
            optimizer.step()
            schedule.step()
        print(
            f"measures: pass {epoch + 1}: " + ", ".join(f"{part} {loss:.3f}" for part, loss in losses.items()),
            flush=True,
        )
    reader.features = features
    return reader


def main():
    torch.manual_seed(0)
    reader = widen(load_judge().reader)
    scenes = [wider_scene(seed) for seed in range(PICTURES)]
    failed = [k % 6 == 0 for k in range(PICTURES)]
    images = np.stack(
        [
            failure(scene, scene_rng(k)) if failed[k] else np.asarray(render(scene).image)
            for k, scene in enumerate(scenes)
        ]
    )
    print(f"measures: {PICTURES} pictures rendered", flush=True)
    rows = [wider_answers(*pair) for pair in zip(scenes, failed)]
    fit(reader, seen(reader, images), {part: torch.tensor([row[part] for row in rows]) for part in rows[0]})
    weights = {
        name: t.half().contiguous() for name, t in reader.state_dict().items() if not name.startswith("features.")
    }
    about = {"judge": convolutions_hash(reader)}
    write_atomic(FITTED, lambda file: save_file(weights, file, metadata=about))
    print(f"measures: wrote {FITTED.name}, {FITTED.stat().st_size} bytes")


if __name__ == "__main__":
    main()
