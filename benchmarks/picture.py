"""One picture, whole and in parts: `generate` against diffusers' StableDiffusionPipeline, same settings.

    python -m benchmarks.picture [--model postcard] [--steps 25] [--rounds 25] [--quick]

All take turns in one run and draw the same picture: text in, a PIL picture out. The pipeline is the one that
`StableDiffusionPipeline.from_pretrained` opens, with weights of its own; c.pipeline() shares those of
`load_components`, and how they lie in memory. In rounds of their own, clocks in front of and behind the
networks divide a picture into its parts.
"""

import statistics
import time
from contextlib import contextmanager

import diffusers
import torch

from benchmarks import draw, measure
from helpers import generate, load_components
from helpers.figures import style

PARTS = {"text encoder": style.PROMPT, "U-Net": style.SIGNAL, "decoder": style.ESTIMATE, "all else": style.NOISE}


LIBRARY, SHARED = "StableDiffusionPipeline", "c.pipeline()"


def pipelines(c):
    """{name: pipeline} of the same model, with the DDIM scheduler: as a reader opens it, and on c's own parts."""
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(
        c.path, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )
    pipes = {LIBRARY: pipe.to(c.device, c.dtype), SHARED: c.pipeline()}
    for pipe in pipes.values():
        pipe.scheduler = diffusers.DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False)
        pipe.set_progress_bar_config(disable=True)
    return pipes


def drawers(c, pipes, steps):
    """{name: a function that draws the picture}: of `generate` and of the pipelines."""

    def ours():
        return generate(c, measure.PROMPT, steps=steps, seed=0)

    def library(pipe):
        return pipe(
            measure.PROMPT,
            num_inference_steps=steps,
            guidance_scale=c.guidance,
            generator=torch.Generator("cpu").manual_seed(0),
        ).images[0]

    return {"generate": ours, **{name: lambda pipe=pipe: library(pipe) for name, pipe in pipes.items()}}


@contextmanager
def clocks(text_encoder, unet, decoder):
    """Yields {part: seconds spent in it}, filled while the block runs."""
    spent, hooks = {}, []
    for part, network in zip(PARTS, (text_encoder, unet, decoder)):

        def before(module, arguments, part=part):
            wait(module)
            spent[part] = spent.get(part, 0) - time.perf_counter()

        def after(module, arguments, output, part=part):
            wait(module)
            spent[part] += time.perf_counter()

        hooks += [network.register_forward_pre_hook(before), network.register_forward_hook(after)]
    try:
        yield spent
    finally:
        for hook in hooks:
            hook.remove()


def wait(network):
    if next(network.parameters()).device.type == "cuda":
        torch.cuda.synchronize()


def parts(owners, actions, rounds):
    """{name: {part: median seconds of one picture}}, in turns.

    owners: {name: Components or pipeline}, whose networks are clocked. actions: {name: what draws the picture}.
    """
    found = {name: [] for name in owners}
    for _ in range(rounds):
        for name, owner in owners.items():
            with clocks(owner.text_encoder, owner.unet, owner.vae.decoder) as spent:
                whole = measure.seconds(actions[name])
            found[name].append(spent | {"all else": whole - sum(spent.values())})
    return {
        name: {part: statistics.median(one[part] for one in runs) for part in PARTS} for name, runs in found.items()
    }


def figure(c, steps, medians, divided):
    def picture(machine):
        values = {name: list(divided[name].values()) for name in divided}
        words = {name: measure.in_seconds(medians[name]) for name in divided}
        unet = divided["generate"]["U-Net"] / sum(divided["generate"].values())
        return draw.bars(
            f"Of the time for a picture, {unet:.0%} is the U-Net's",
            "Bars of the time for one picture",
            values,
            words,
            f"{steps} steps, guidance {c.guidance:g}. {machine}",
            {name: list(PARTS.values()) for name in divided},
            legend=PARTS,
        )

    return picture


def main(arguments=None):
    options = measure.options(__doc__, model="postcard", steps=25, rounds=25).parse_args(arguments)
    if options.quick:
        options.steps, options.rounds = 4, 2
    c = load_components(options.model)
    pipes = pipelines(c)
    actions = drawers(c, pipes, options.steps)
    times = measure.take_turns(actions, options.rounds)
    medians = {name: statistics.median(runs) for name, runs in times.items()}
    ratios = {name: measure.ratio(times, "generate", to=name) for name in pipes}
    divided = parts({"generate": c, **pipes}, actions, options.rounds)

    def row(what, seconds):
        return {
            "": what,
            **{name: measure.in_seconds(seconds[name]) for name in actions},
            "ratio": f"{seconds['generate'] / seconds[LIBRARY]:.2f}",
        }

    def said(ratio):
        return f"{ratio['median']:.2f} (rounds: {ratio['low']:.2f} to {ratio['high']:.2f})"

    labels = {"U-Net": f"U-Net, {options.steps} calls", "text encoder": "text encoder, both prompts"}
    rows = [row("one picture", medians)]
    rows += [row(labels.get(part, part), {name: divided[name][part] for name in divided}) for part in PARTS]
    measure.report(
        "picture",
        "One picture: `generate` and StableDiffusionPipeline",
        rows,
        [
            measure.claim(f"one picture, {options.steps} steps with guidance", measure.in_seconds(medians["generate"])),
            measure.claim(
                "`generate` against StableDiffusionPipeline.from_pretrained, time", said(ratios[LIBRARY]), "≤ 1.05"
            ),
            measure.claim("`generate` against c.pipeline(), time", said(ratios[SHARED])),
        ],
        figure(c, options.steps, medians, divided),
        {"model": options.model, "steps": options.steps, "guidance": c.guidance, "rounds": options.rounds},
        f"Medians; the ratio is that of `generate` to {LIBRARY}. The first row is measured without clocks inside.",
        {"seconds": times, "parts": divided},
        None if options.quick else options.results,
    )


if __name__ == "__main__":
    main()
