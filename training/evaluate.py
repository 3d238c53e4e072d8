"""Every figure of the model card, measured: `python -m training.evaluate`, or `--only vae,fidelity --captions 100`.

Writes metrics.json into the model's folder, with a hash of the weights that were measured, and from it the README.md
there; `card.py` has its text. The floors that a release has to reach are in tests/unit/test_bundle.py.
Scenes are fresh: no stage of the training has seen their seeds.

`--variant fast` measures the fast U-Net in the same way, beside the plain one: metrics.fast.json and README.fast.md.

What is still in training is measured in the model's place with `--vae runs/decoder/latest --unet runs/unet/latest
--only vae,edges --captions 100` (`--unet runs/fast/latest --steps 8 --guidance 1`): the same scenes and the same noise, and the model's folder stays as it is.
"""

import json
import statistics
import time
from dataclasses import replace
from pathlib import Path
from random import Random

from helpers.runtime import processor

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from skimage.metrics import structural_similarity

from helpers.attention import score_maps
from helpers.components import load_components
from helpers.files import write_atomic
from helpers.pictures import images_of_pixels, pixels_of
from helpers.postcards.captions import caption, full_caption
from helpers.postcards.judge import load_judge
from helpers.postcards.render import render
from helpers.postcards.scene import WEATHERS, sample_scene
from helpers.sampling import generate
from training import card, eye
from training.common import clock, runs, save_sheet
from training.data import FIRST, scene_rng
from training.export import BUNDLE
from training.judge import accuracy
from training.settings import settings
from training.sharpness import edge_energy
from training.unet import file_hash
from training.vae import psnr, reconstruct

SETS = {
    name: (k + 1) * 10**6
    for k, name in enumerate(("fidelity", "heldout", "binding", "renders", "attention", "edges", "own"))
}
PROMPT = "a red boat on a lake below snowy mountains at sunset"


def fresh_scenes(name, n, split="train", subjects=None, only=None):
    """n unseen scenes for one measurement, which has seeds of its own; `subjects`: only scenes with that many; `only`: those
    of which this function says True."""
    scenes, seed = [], FIRST["fresh"] + SETS[name]
    while len(scenes) < n:
        scene = sample_scene(scene_rng(seed), split)
        seed += 1
        if subjects in (None, len(scene.subjects)) and (only is None or only(scene)):
            scenes.append(scene)
    return scenes


def renders_of(scenes):
    """uint8 (n, 128, 128, 3)"""
    return np.stack([np.asarray(render(scene).image) for scene in scenes])


def measure_judge(c, judge, chosen):
    """The instrument itself: fractions right on fresh renders."""
    scenes = fresh_scenes("renders", chosen.captions)
    return dict(n=len(scenes), **accuracy(judge, renders_of(scenes), scenes))


def measure_eye(c, judge, chosen):
    """The instrument on drawn pictures, against labels made by eye; and what the eye sees of what was asked for."""
    return {part: dict(judge=eye.agreement(judge, part), shown=eye.shown(part)) for part in eye.PARTS}


def measure_vae(c, judge, chosen):
    """Reconstructions of fresh renders: PSNR (dB), SSIM, how much of the edges they keep, and what the judge still
    reads off them; the edges also by weather, whose flakes and streaks are the finest things there are."""
    scenes = fresh_scenes("renders", chosen.captions)
    images = renders_of(scenes)
    pixels = pixels_of(images)
    decoded = reconstruct(c.vae, pixels)
    again = images_of_pixels(decoded)
    ssim = [structural_similarity(a, b, channel_axis=2, data_range=255) for a, b in zip(images, again)]
    of = {w: [i for i, scene in enumerate(scenes) if scene.weather == w] for w in WEATHERS}
    return dict(
        n=len(scenes),
        psnr=psnr(decoded, pixels),
        ssim=float(np.mean(ssim)),
        edges=kept_edges(again, images),
        edges_by_weather={w: kept_edges(again[rows], images[rows]) for w, rows in of.items() if rows},
        judge=accuracy(judge, again, scenes),
    )


def kept_edges(images, renders):
    """The edges of pictures in parts of those of renders, both uint8 (n, 128, 128, 3): 1 is as sharp."""
    return (edge_energy(pixels_of(images)).sum() / edge_energy(pixels_of(renders)).sum()).item()


def measure_edges(c, judge, chosen):
    """How sharp drawn pictures are: their edges in parts of those of the renders that have the same captions.

    Captions name everything, so that picture and render hold the same things. A sheet of both, the first of them, not
    chosen, goes to runs/evaluate/edges.png: renders above, drawn pictures below.
    """
    scenes = fresh_scenes("edges", max(1, chosen.captions // 4))
    drawn = np.stack(draw(c, [full_caption(scene) for scene in scenes], chosen, "edges"))
    renders = renders_of(scenes)
    rows = range(0, min(32, len(scenes) - len(scenes) % 8), 8)
    if rows:
        shown = np.concatenate([part[i : i + 8] for i in rows for part in (renders, drawn)])
        save_sheet(runs("evaluate") / "edges.png", shown, columns=8)
    return dict(n=len(scenes), kept=kept_edges(drawn, renders))


def draw(c, prompts, chosen, name):
    """One picture for each prompt, seeds counting up."""
    images, started = [], time.perf_counter()
    for start in range(0, len(prompts), chosen.batch):
        images += generate(
            c,
            prompts[start : start + chosen.batch],
            steps=chosen.steps,
            guidance=chosen.guidance,
            seed=chosen.seed + start,
        )
        left = (time.perf_counter() - started) / len(images) * (len(prompts) - len(images))
        print(f"evaluate: {name}: {len(images)} of {len(prompts)}, {clock(left)} left", flush=True)
    return images


def scores_of(c, judge, chosen, name, scenes):
    prompts = prompts_of(name, scenes, chosen)
    return as_figures(judge.agreement(draw(c, prompts, chosen, name), prompts))


def prompts_of(name, scenes, chosen):
    rng = Random(SETS[name] + chosen.seed)
    return [caption(scene, rng) for scene in scenes]


def as_figures(scores):
    return {key: dict(right=score.right, n=score.n) for key, score in scores.items() if score.n}


def measure_fidelity(c, judge, chosen):
    """Do pictures show what their prompts name?"""
    return scores_of(c, judge, chosen, "fidelity", fresh_scenes("fidelity", chosen.captions))


def measure_heldout(c, judge, chosen):
    """The same where the first subject is a pair of colour and kind that no training picture held."""
    return scores_of(c, judge, chosen, "heldout", heldout_scenes(chosen))


def heldout_scenes(chosen):
    return fresh_scenes("heldout", max(1, chosen.captions // 2), split="heldout")


def measure_rendered(c, judge, chosen):
    """The control of `measure_heldout`: the same scenes and prompts, but pictures that show them for certain.

    What the judge misses here is its own error: it was trained without these pairs too.
    """
    scenes = heldout_scenes(chosen)
    return as_figures(judge.agreement(list(renders_of(scenes)), prompts_of("heldout", scenes, chosen)))


def measure_binding(c, judge, chosen):
    """The same for prompts with two subjects: is each in its own colour?"""
    return scores_of(c, judge, chosen, "binding", fresh_scenes("binding", max(1, chosen.captions // 2), subjects=2))


def measure_speed(c, judge, chosen, repeats=5):
    """Seconds for one picture, batch 1, text to pixels: the median of some."""
    seconds = []
    for i in range(repeats + 1):  # the first warms up
        started = time.perf_counter()
        generate(c, PROMPT, steps=chosen.steps, guidance=chosen.guidance, seed=i)
        seconds.append(time.perf_counter() - started)
    return dict(
        seconds=statistics.median(seconds[1:]),
        device=device_name(c.device),
        threads=torch.get_num_threads(),
        repeats=repeats,
    )


def device_name(device):
    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor()


def measure_beside(c, judge, chosen, repeats=5):
    """A variant beside the plain model, from the same noise: how like its pictures are, and how long one takes.

    psnr: in dB, the median, since a few drawings take another turn. seconds: of both in turn, text to pixels, batch 1.
    """
    plain = load_components(c.path, device=c.device)
    texts = [full_caption(scene) for scene in fresh_scenes("edges", max(1, chosen.captions // 10))]
    pairs = zip(
        *(
            np.stack(draw(one, texts, replace(chosen, steps=one.steps, guidance=one.guidance), "beside"))
            for one in (c, plain)
        )
    )
    alike = [psnr(pixels_of(a[None]), pixels_of(b[None])) for a, b in pairs]
    seconds = {"fast": [], "plain": []}
    for i in range(repeats + 1):
        for name, one in (("fast", c), ("plain", plain)):
            started = time.perf_counter()
            generate(one, PROMPT, seed=i)
            seconds[name].append(time.perf_counter() - started)
    fast, slow = (statistics.median(some[1:]) for some in seconds.values())  # the first warms up
    return dict(
        n=len(alike),
        psnr=statistics.median(alike),
        seconds=fast,
        plain_seconds=slow,
        ratio=fast / slow,
        plain_steps=plain.steps,
        plain_guidance=plain.guidance,
        device=device_name(c.device),
        threads=torch.get_num_threads(),
        repeats=repeats,
    )


def measure_attention(c, judge, chosen):
    """Do the cross-attention maps of words lie on the things they name? See `helpers.attention.score_maps`."""
    scenes = fresh_scenes("attention", max(1, 2 * chosen.captions // 5))
    return {
        words: {name: score._asdict() for name, score in score_maps(c, scenes, words=words).items()}
        for words in ("nouns", "subjects", "colours")
    }


PARTS = {
    "judge": measure_judge,
    "eye": measure_eye,
    "vae": measure_vae,
    "fidelity": measure_fidelity,
    "heldout": measure_heldout,
    "rendered": measure_rendered,
    "binding": measure_binding,
    "edges": measure_edges,
    "speed": measure_speed,
    "attention": measure_attention,
}
OF_VARIANTS = {name: PARTS[name] for name in ("fidelity", "heldout", "binding", "edges", "attention")} | {
    "beside": measure_beside
}


def weight_files(folder, variant=None):
    """The weights that a model, or one of its variants, is made of; sorted."""
    files = sorted(Path(folder).rglob("*.safetensors"))
    own = [file for file in files if variant and file.name.endswith(f".{variant}.safetensors")]
    replaced = {file.parent for file in own}
    return sorted(own + [file for file in files if "." not in file.stem and file.parent not in replaced])


def weights_hash(folder, variant=None):
    """What was measured: one hash for all weights of the bundle."""
    return "-".join(file_hash(path)[:6] for path in weight_files(folder, variant))


def main(argv=None):
    chosen, options = settings(
        "evaluate",
        argv,
        only=("", "parts to measure, with commas: " + ", ".join(PARTS | OF_VARIANTS)),
        model=(str(BUNDLE), "the folder to measure"),
        variant=("", "which of its variants to measure, such as fast"),
        vae=("", "folder of a VAE to measure in the place of the model's"),
        unet=("", "folder of a U-Net, likewise"),
    )
    variant, parts = options.variant or None, OF_VARIANTS if options.variant else PARTS
    wanted = [part for part in options.only.split(",") if part] or list(parts)
    unknown = [part for part in wanted if part not in parts]
    if unknown:
        raise SystemExit(f"evaluate: no part called {', '.join(unknown)}: choose from {', '.join(parts)}")
    c, judge = load_components(options.model, variant=variant), load_judge(Path(options.model) / "judge")
    chosen = replace(
        chosen, steps=chosen.steps or c.steps, guidance=c.guidance if chosen.guidance < 0 else chosen.guidance
    )
    others = {
        part: load_in_place(kind, getattr(options, part), getattr(c, part))
        for part, kind in (("vae", AutoencoderKL), ("unet", UNet2DConditionModel))
        if getattr(options, part)
    }
    c = replace(c, **others)
    of = f".{variant}" if variant else ""
    path, found = (runs("evaluate") if others else Path(options.model)) / f"metrics{of}.json", {}
    if path.exists() and not others:
        found = json.loads(path.read_text())
        if found.get("weights") != weights_hash(options.model, variant):
            found = {}  # figures of other weights
    asked = dict(steps=chosen.steps, guidance=chosen.guidance, captions=chosen.captions, seed=chosen.seed)
    unlike = [name for name, value in asked.items() if found.get(name, value) != value]
    if unlike and set(parts) & set(found) - set(wanted):
        raise SystemExit(
            f"evaluate: what {path} holds was measured with another {' and '.join(unlike)}: measure all parts anew, without "
            f"--only, or give --{unlike[0]} {found[unlike[0]]}"
        )
    nets = ("text_encoder", "vae", "unet")
    files = [file for file in Path(options.model).rglob("*") if file.is_file()]
    files = [file for file in weight_files(options.model, variant) if of + "." in file.name] if variant else files
    found |= dict(
        weights=weights_hash(options.model, variant),
        **asked,
        parameters={net: sum(p.numel() for p in getattr(c, net).parameters()) for net in nets},
        megabytes=sum(file.stat().st_size for file in files) / 1e6,
    )
    if variant:
        found |= dict(distilled_guidance=c.distilled_guidance)
    elif variants := json.loads((Path(options.model) / "course.json").read_text()).get("variants"):
        found |= dict(variants=sorted(variants))
    if others:
        found |= {"in_place": {part: getattr(options, part) for part in others}}
    for part in wanted:
        started = time.perf_counter()
        found[part] = parts[part](c, judge, chosen)
        write_atomic(path, lambda file: file.write_text(json.dumps(found, indent=1) + "\n"))
        print(f"evaluate: {part} ({clock(time.perf_counter() - started)}): {summary(found[part])}", flush=True)
    if others:
        print(f"evaluate: wrote {path}; {options.model} stays as it is")
        return
    text = card.write_variant(found, plain_figures(options.model)) if variant else card.write(found)
    write_atomic(Path(options.model) / f"README{of}.md", lambda file: file.write_text(text))
    print(f"evaluate: wrote {path} and {options.model}/README{of}.md")


def plain_figures(folder):
    """What was measured of the plain weights that lie in the folder now; {} where nothing was."""
    path = Path(folder) / "metrics.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    return found if found.get("weights") == weights_hash(folder) else {}


def load_in_place(kind, folder, old):
    """A network from its folder, on the device and in the number format of the one it stands in for."""
    network = kind.from_pretrained(folder).to(old.device, memory_format=torch.channels_last)
    network = network if network.dtype == old.dtype else network.to(old.dtype)
    return network.eval().requires_grad_(False)


def summary(figures):
    flat = {
        key: value["right"] if isinstance(value, dict) and "right" in value else value for key, value in figures.items()
    }
    return ", ".join(
        f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}" for key, value in flat.items()
    )


if __name__ == "__main__":
    main()
