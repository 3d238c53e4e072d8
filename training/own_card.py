"""The figures of a model of one's own world, and its card: the last part of `python -m training.own_world`.

Prompts and noise are the same before and after: the released model, the new one, both read by the new judge. What is measured is kept
in runs/card/metrics.json, under a hash of the weights, part by part, so that a stop costs one part.
"""

import json
import shutil
import time
from random import Random

import numpy as np
import torch

from helpers.components import load_components
from helpers.figures.intervals import interval
from helpers.figures.sweeps import share_of
from helpers.files import write_atomic
from helpers.pictures import images_of_pixels, pixels_of
from helpers.postcards.captions import caption, read_caption
from helpers.postcards.judge import compare, load_judge
from helpers.postcards.own import WORLD
from helpers.postcards.render import render
from training import card
from training.clip import moved_by
from training.common import clock, read_metrics, runs, save_sheet
from training.evaluate import device_name, draw, fresh_scenes, prompts_of, weights_hash
from training.export import BUNDLE
from training.judge import accuracy
from training.settings import Evaluate
from training.vae import reconstruct

SHOWN = 8  # pictures a row of the sheet


def guidance():
    """The released model's scale of guidance, which the new one goes on with."""
    return json.loads((BUNDLE / "course.json").read_text())["guidance"]


def known(scene):
    return not WORLD.in_scene(scene)


def scored(images, prompts, judge):
    """What pictures show of their prompts: {"each": share of what is named, "own": {kind, colour, place: of the new words' things}}.

    "each": mean, low, high (95 %, from picture to picture; NaN ends are None), n. Of the others each right, low, high, n, where n is not 0.
    """
    shares, own = judge.shares(images, prompts), []
    for prompt in prompts:
        named = read_caption(prompt)["subjects"]
        own.append({"subjects": [s for s in named if s[0] in WORLD.colours or s[1] in WORLD.kinds]})
    scores = compare(judge.read(images), own)
    mean, low, high = share_of(shares[~np.isnan(shares)])
    every = judge.agreement(images, prompts)
    return dict(
        each=dict(right=float(mean), low=ends(low), high=ends(high), n=len(prompts)),
        named=every["mean"].n,
        all={key: counted(score) for key, score in every.items() if score.n},
        own={key: counted(scores[key]) for key in ("kind", "colour", "place") if scores[key].n},
    )


def ends(value):
    return None if np.isnan(value) else float(value)


def counted(score):
    """A Score with the ends of its 95 % interval (Wilson 1927)."""
    low, high = interval(round(score.right * score.n), score.n)
    return dict(right=score.right, low=low, high=high, n=score.n)


def unasked(images, prompts, judge):
    """In how many pictures the judge reads a new kind or colour that the prompt does not name: (how many, of how many)."""
    rest = [
        (image, prompt)
        for image, prompt in zip(images, prompts)
        if not any(f" {word} " in f" {prompt} " for word in WORLD.words)
    ]
    seen = judge.read([image for image, _ in rest])
    return sum(any(word in WORLD.words for thing in one["subjects"].values() for word in thing) for one in seen), len(
        rest
    )


def measure_judge(c, before, judge, chosen):
    """The instrument on fresh renders, of the whole world and of what is new in it."""
    found = {}
    for name, only in (("all", None), ("own", WORLD.in_scene)):
        scenes = fresh_scenes("own", 3 * chosen.captions, only=only)
        found[name] = dict(
            n=len(scenes), **accuracy(judge, np.stack([np.asarray(render(s).image) for s in scenes]), scenes)
        )
    return found


def measure_vae(c, before, judge, chosen):
    """What an autoencoder leaves of renders of the new things and of the known ones, the released decoder and the one trained on:
    PSNR (dB) and edges on the first subject's own pixels, and PSNR of the whole picture. The encoder has seen nothing new."""
    found = {}
    for name, only in (("own", WORLD.in_scene), ("known", known)):
        scenes = fresh_scenes("own", chosen.captions, subjects=1, only=only)
        cards = [render(scene) for scene in scenes]
        masks = torch.from_numpy(np.stack([one.masks[scene.subjects[0].kind] for one, scene in zip(cards, scenes)]))[
            :, None
        ]
        pixels = pixels_of(np.stack([np.asarray(one.image) for one in cards]))
        for when, vae in (("before", before.vae), ("after", c.vae)):
            decoded = pixels_of(images_of_pixels(reconstruct(vae, pixels)))
            squared = (decoded - pixels).square() / 4  # of pixels in 0..1
            found[f"{name} {when}"] = dict(
                n=len(cards),
                thing_psnr=float(-10 * torch.log10((squared * masks).sum() / (3 * masks.sum()))),
                thing_edges=energy_inside(decoded, masks) / energy_inside(pixels, masks),
                psnr=float(-10 * torch.log10(squared.mean((1, 2, 3))).mean()),
            )
    return found


def energy_inside(pixels, masks):
    """The sum of differences of neighbouring pixels, (n, 3, H, W), where one of the two lies on the masks, bool (n, 1, H, W)."""
    across = (pixels[..., 1:] - pixels[..., :-1]).abs() * (masks[..., 1:] | masks[..., :-1])
    down = (pixels[..., 1:, :] - pixels[..., :-1, :]).abs() * (masks[..., 1:, :] | masks[..., :-1, :])
    return float(across.sum() + down.sum())


@torch.no_grad()
def measure_text(c, before, judge, chosen):
    """How far the text tower's states of captions that name nothing new have moved: the root of the mean square, in parts of theirs."""
    texts = [caption(scene, Random(i)) for i, scene in enumerate(fresh_scenes("own", chosen.captions, only=known))]
    ids = c.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    states = [one.text_encoder(ids.to(one.device)).last_hidden_state.float().cpu() for one in (c, before)]
    return dict(
        n=len(texts),
        moved=float(moved_by(*states).sqrt()),
        pieces={word: c.tokenizer.tokenize(word) for word in WORLD.words},
    )


def measure_drawn(c, before, judge, chosen):
    """Prompts of the new world by lot; prompts that name something new; and prompts that do not, drawn before and after.

    Saves the sheet: two rows with the new words, one of ordinary prompts by the released model, one of the same by the new; the first ones.
    """
    scenes = {
        "all": fresh_scenes("fidelity", chosen.captions),
        "own": fresh_scenes("own", chosen.captions, only=WORLD.in_scene),
    }
    prompts = {name: prompts_of("fidelity" if name == "all" else "own", some, chosen) for name, some in scenes.items()}
    images = {name: draw(c, texts, chosen, name) for name, texts in prompts.items()}
    rows = [i for i, scene in enumerate(scenes["all"]) if known(scene)]
    prompts["known"], images["after"] = [prompts["all"][i] for i in rows], [images["all"][i] for i in rows]
    # With the noise of the same seeds: the prompts of the whole list, of which the few with new words mean nothing to the old model.
    images["before"] = [
        image for i, image in enumerate(draw(before, prompts["all"], chosen, "before")) if i in set(rows)
    ]
    asked = {"all": "all", "own": "own", "before": "known", "after": "known"}
    found = {name: scored(images[name], prompts[text], judge) for name, text in asked.items()}
    differ = judge.shares(images["after"], prompts["known"]) - judge.shares(images["before"], prompts["known"])
    count, of = unasked(images["after"], prompts["known"], judge)
    shown = [
        image for name, n in (("own", 2 * SHOWN), ("before", SHOWN), ("after", SHOWN)) for image in images[name][:n]
    ]
    if len(shown) == 4 * SHOWN:
        save_sheet(runs("card") / "drawn.png", np.stack(shown), columns=SHOWN)
    return found | dict(
        unasked=[count, of],
        better=int((differ > 0).sum()),
        worse=int((differ < 0).sum()),
        prompts=prompts["own"][: 2 * SHOWN] + prompts["known"][:SHOWN],
    )


PARTS = {"judge": measure_judge, "vae": measure_vae, "text": measure_text, "drawn": measure_drawn}


def stages():
    """What the runs brought: {stage: steps, seconds, pictures}, of those that have metrics."""
    found = {}
    for stage in ("judge", "clip", "decoder", "unet"):
        path = runs(stage) / "metrics.jsonl"
        rows = [row for row in read_metrics(path) if "loss" in row] if path.exists() else []
        if rows:
            batch = torch.load(runs(stage) / "last.pt", map_location="cpu", weights_only=True)["settings"]["batch"]
            found[stage] = dict(steps=rows[-1]["step"], seconds=rows[-1]["seconds"], batch=batch)
    return found


def main(bundle, captions, steps=0):
    """Measure the model in the folder `bundle`, and write its metrics.json, README.md and drawn.png. captions: prompts of each sort,
    drawn in so many steps; 0: in the model's own."""
    path, found = runs("card") / "metrics.json", {}
    c, before, judge = load_components(bundle), load_components(BUNDLE), load_judge(bundle / "judge")
    chosen = Evaluate(captions=captions, steps=steps or c.steps, guidance=c.guidance)
    if path.exists():
        found = json.loads(path.read_text())
    if (found.get("weights"), found.get("captions"), found.get("steps")) != (
        weights_hash(bundle),
        captions,
        chosen.steps,
    ):
        found = dict(weights=weights_hash(bundle), captions=captions)
    found |= dict(
        kinds=list(WORLD.kinds),
        colours=list(WORLD.colours),
        stages=stages(),
        device=device_name(c.device),
        threads=torch.get_num_threads(),
        steps=chosen.steps,
        guidance=c.guidance,
    )
    for part, measure in PARTS.items():
        if part not in found:
            started = time.perf_counter()
            found[part] = measure(c, before, judge, chosen)
            write_atomic(path, lambda file: file.write_text(json.dumps(found, indent=1) + "\n"))
            print(f"own_world: card: {part} ({clock(time.perf_counter() - started)})", flush=True)
    text = card.write_own(found)
    write_atomic(bundle / "README.md", lambda file: file.write_text(text))
    for name in ("metrics.json", "drawn.png"):
        if (runs("card") / name).is_file():
            write_atomic(bundle / name, lambda file, name=name: shutil.copyfile(runs("card") / name, file))
    print(text.split("<!-- figures -->")[1].split("<!-- end of figures -->")[0].strip(), flush=True)
