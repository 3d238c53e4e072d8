"""What is learnt live, in class, and how soon: quality reached against seconds of training, four times.

    python -m benchmarks.learning

Lesson 01's denoiser of points, lesson 02's tiny VAE, lesson 05's word for teal (textual inversion) and its
LoRA for windmills, each trained once, by the lesson's own statements: a stopwatch takes the place of the
progress bar. It stands still while quality is measured. All seeds are fixed: nothing but the seconds differs
from run to run.
"""

import contextlib
import time
from typing import NamedTuple

import torch
from matplotlib import ticker

from benchmarks import measure
from benchmarks.lessons import NOTEBOOKS, Lesson
from helpers import generate
from helpers.concepts import Concept, loaded
from helpers.diffusion import add_noise
from helpers.figures import style
from helpers.postcards.measures import SEEN

QUICK = 0.02  # of every training, in a try
TINY_VAE = "train(beta) for beta in BETAS"  # what lesson 02 says


class Training(NamedTuple):
    """One that was timed. curves: {label: [(step, seconds, quality), ...]}.

    mark: (quality, words) of a line to reach, or None. better: "up" or "down". asked: what was promised of it.
    """

    name: str
    ylabel: str
    curves: dict
    mark: tuple | None = None
    better: str = "up"
    asked: str = ""


class Enough(Exception):
    """A try has seen enough of a training."""


class Stopwatch:
    """In the place of a lesson's progress bars: measures quality at some steps, and the seconds of training so far.

    quality(): {label: number}. shares: of the way, where it is measured, besides both ends. most: the share of
    the way after which it raises Enough. curves: one a bar, [(step, seconds, what quality() said), ...].
    """

    def __init__(self, quality, shares, most=1):
        self.quality, self.shares, self.most = quality, shares, most
        self.curves = []

    def __call__(self, total):
        """Begin, as Progress(total) does: one training after the other."""
        self.length = total
        self.stops = {0, total, *(round(share * total) for share in self.shares)}
        self.curves.append([])
        self.spent, self.begun = 0.0, time.perf_counter()
        return self

    def update(self, step, text=""):
        """Called by the lesson after each step."""
        enough = self.most * self.length
        if step in self.stops or step >= enough:
            self.spent += time.perf_counter() - self.begun
            self.curves[-1].append((step, self.spent, self.quality()))
            if step >= enough and self.most < 1:
                raise Enough
            self.begun = time.perf_counter()

    def by_label(self, bar=0):
        """{label: [(step, seconds, quality), ...]} of one training."""
        curve = self.curves[bar]
        return {label: [(step, seconds, said[label]) for step, seconds, said in curve] for label in curve[0][2]}


def train(lesson, text, watch):
    """Run a training of a lesson under a stopwatch."""
    torch.manual_seed(0)  # as lessons do, in a statement that no name needs
    with contextlib.suppress(Enough):
        lesson.train(text, watch)


def main(arguments=None):
    options = measure.options(__doc__).parse_args(arguments)
    files = {file.name[:2]: file for file in NOTEBOOKS}
    done = [learn(Lesson(files[number]), QUICK if options.quick else 1) for number, learn in TRAININGS]
    took = [seconds_of(one) for one in done]
    title = f"What a class trains live takes {min(took):.0f} to {max(took):.0f} seconds"
    measure.report(
        "learning",
        title,
        [row for one in done for row in rows(one)],
        [claim(one) for one in done],
        lambda machine: figure(done, title, machine),
        {"runs of each": 1},
        "Seconds of training alone; quality is measured while the clock stands still.",
        {one.name: one._asdict() for one in done},
        keep=None if options.quick else options.results,
    )


# The four


def denoiser(lesson, most=1):
    """Its loss, above that of the best denoiser of this shape there can be, which is known exactly."""
    world, alphas_cumprod = lesson.bind("world", "alphas_cumprod")
    draw = torch.Generator().manual_seed(1)
    exam = [(t, world.sample(4000, draw), torch.randn(4000, 2, generator=draw)) for t in (*range(0, 1000, 100), 999)]

    def loss(noise_pred):
        return sum(
            ((noise_pred(add_noise(x, noise, t, alphas_cumprod), t) - noise) ** 2).mean().item() for t, x, noise in exam
        )

    @torch.no_grad()
    def above():
        net = lesson.names["net"]
        best = loss(lambda x_t, t: world.noise_pred(x_t, alphas_cumprod[t]))
        return {"loss": loss(lambda x_t, t: net(x_t, torch.full((len(x_t),), t))) / best - 1}

    watch = Stopwatch(above, (0.003, 0.01, 0.03, 0.07, 0.15, 0.3, 0.5, 0.75), most=most)
    train(lesson, "progress.update(", watch)
    return Training(
        "Lesson 01: a denoiser of points", "loss above the best", watch.by_label(), better="down", asked="under 20 s"
    )


def tiny_vae(lesson, most=1):
    look_at, betas, network = lesson.bind("look_at", "BETAS", "TinyVAE")
    made = []  # the networks, as the lesson makes one for each beta

    def remembered():
        made.append(network())
        return made[-1]

    def decibels():
        return {f"beta {betas[len(made) - 1]:g}": look_at(made[-1])["psnr"]}

    lesson.names["TinyVAE"] = remembered
    watch = Stopwatch(decibels, (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7), most)
    train(lesson, TINY_VAE, watch)
    curves = {label: curve for bar in range(len(made)) for label, curve in watch.by_label(bar).items()}
    return Training("Lesson 02: a tiny VAE, at three betas", "PSNR of unseen, dB", curves)


def teal(lesson, most=1):
    c, prompts, measures, quick = lesson.bind("c", "new", "measures", "quick")
    asked = [one.format("teal") for one in prompts]

    def right():
        with loaded(c, Concept("<mine>", lesson.names["now"].best)) as model:
            drawn = generate(model, [one.format("<mine>") for one in prompts], seed=100, **quick)
        score = measures.agreement(drawn, asked)
        return {"teal": score["colour"].right, "subject right": score["kind"].right}

    watch = Stopwatch(right, (0.1, 0.2, 0.3, 0.45, 0.6, 0.8), most=most)
    train(lesson, "looking for <mine>", watch)
    return Training(
        "Lesson 05: the word teal, textual inversion",
        f"share of {len(asked)} pictures",
        watch.by_label(),
        (0.8, "asked: 80 %"),
        asked="80 % of both within 45 s",
    )


def windmill(lesson, most=1):
    c, asked, measures, quick = lesson.bind("c", "asked_mill", "measures", "quick")

    def right():
        drawn = generate(c, asked, seed=50, **quick)
        return {
            "windmill": float((measures.windmill(drawn) > SEEN).mean()),
            "its colour": measures.agreement(drawn, asked)["colour"].right,
        }

    watch = Stopwatch(right, (0.1, 0.2, 0.35, 0.5, 0.75), most=most)
    train(lesson, "a LoRA for windmills", watch)
    return Training(
        "Lesson 05: a LoRA for windmills",
        f"share of {len(asked)} pictures",
        watch.by_label(),
        asked="a start within 90 s",
    )


TRAININGS = ("01", denoiser), ("02", tiny_vae), ("05", teal), ("05", windmill)  # by lessons

# What is reported


def rows(one):
    for label, curve in one.curves.items():
        step, seconds, quality = curve[-1]
        yield {
            "training": one.name,
            "quality": f"{one.ylabel}: {label}",
            "steps": step,
            "seconds": seconds,
            "at first": curve[0][2],
            "at the end": quality,
        }


def seconds_of(one):
    """Of the whole training: of all that it trains, where that is several."""
    ends = {curve[-1][1] for curve in one.curves.values()}  # two measures of one run end at one second
    return sum(ends)


def claim(one):
    said = "; ".join(f"{label} {words(one, curve[-1][2])}" for label, curve in one.curves.items())
    return measure.claim(one.name, f"{measure.in_seconds(seconds_of(one))}; {one.ylabel}: {said}", one.asked)


def words(one, quality):
    return f"{quality:.3g}" if one.ylabel.endswith("dB") else f"{quality:.0%}"


def figure(done, title, machine):
    """Four small plots of quality against seconds of training."""
    wide, tall, across, down = 2.85, 1.75, 4.5, 2.6
    lines = -(-len(done) // 2)
    fig = style.new_figure(style.TITLE + lines * down + style.NOTE)
    for i, one in enumerate(done):
        left, top = 0.68 + across * (i % 2), style.TITLE + 0.32 + down * (i // 2)
        ax = style.place(fig, left, top, wide, tall)
        ax.set_yscale("log" if one.better == "down" else "linear")
        if one.ylabel.startswith("share"):
            ax.set_ylim(-0.03, 1.03)
        colours = dict(zip(one.curves, (style.LEARNT, style.SIGNAL, style.FAINT)))
        for label, curve in one.curves.items():
            _, seconds, quality = zip(*curve)
            ax.plot(seconds, quality, "o-", color=colours[label], ms=3.5, lw=1.5)
        style.tidy(ax, "seconds of training", one.ylabel)
        if not one.ylabel.endswith("dB"):
            ax.yaxis.set_major_formatter(ticker.PercentFormatter(1, decimals=0))
        if one.better == "down":
            ax.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 3)))
        if one.mark:
            ax.axhline(one.mark[0], color=style.FAINT, lw=0.8, ls=":")
        for label, place in apart(ax, one).items():
            style.write(
                fig,
                left + wide + 0.08,
                top + (1 - place) * tall,
                label,
                fontsize=8,
                color=colours.get(label, style.FAINT),
            )
        style.write(fig, left - 0.58, top - 0.16, one.name, fontweight="bold")
    style.claim(fig, title, machine)
    said = [f"{claim(one)['what']}: {claim(one)['measured']}." for one in done]
    return style.finish(fig, " ".join([f"{title}.", *said]), palette=64)


def apart(ax, one, least=0.095):
    """{label: height beside the axes, 0..1} of the curves' ends and of the mark, pushed apart where they
    would touch."""
    ax.autoscale_view()
    ends = {label: curve[-1][2] for label, curve in one.curves.items()}
    ends |= {one.mark[1]: one.mark[0]} if one.mark else {}
    heights = {
        label: ax.transAxes.inverted().transform(ax.transData.transform((0, value)))[1] for label, value in ends.items()
    }
    places, last = {}, -1.0
    for label in sorted(heights, key=heights.get):
        places[label] = last = max(heights[label], last + least)
    over = max(0.0, last - 1)
    return {label: place - over for label, place in places.items()}


if __name__ == "__main__":
    main()
