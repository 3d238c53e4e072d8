"""The life of a vector: where it stands among words while it is trained, what it costs, what it draws."""

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib import ticker

from helpers.concepts import Concept, nearest_words
from helpers.figures import style
from helpers.figures.sampling import shown
from helpers.figures.style import FAINT, GUIDED, INK, NOTE, TITLE, place, show_picture, tidy, write

MOMENTS = 7  # pictures of a training
QUIET = "#B9B9B9"  # what is there to be compared with


class Life:
    """F22, what was noted while a vector was trained: its place among words, the loss, pictures.

    steps: training steps that were noted, the first is 0. vectors: one at each, (n, d). losses: one at each,
    on a batch that stays the same; NaN where it was not measured. words: {word: (d,)}, the one the training
    started from first. pictures: {step: PIL}, same prompt and seed; every step is one of `steps`.

    cosines: (n, words).
    """

    def __init__(self, steps, vectors, losses, words, pictures):
        self.steps, self.words, self.pictures = [int(step) for step in steps], list(words), dict(pictures)
        if not len(self.steps) == len(vectors) == len(losses):
            raise ValueError(
                f"{len(self.steps)} steps, {len(vectors)} vectors and {len(losses)} losses: give one of each."
            )
        unknown = sorted(set(self.pictures) - set(self.steps))
        if unknown:
            raise ValueError(f"There is a picture of step {unknown[0]}, and no vector: note it there too.")
        self.losses = np.asarray([float(loss) for loss in losses])
        path, points = directions(vectors), directions(words.values())  # (n, d), (words, d)
        if path.shape[1] != points.shape[1]:
            raise ValueError(
                f"The vectors have {path.shape[1]} numbers and the words {points.shape[1]}: of "
                "a concept of several vectors, give one."
            )
        self.cosines = path @ points.T
        there = np.isfinite(self.losses)
        self.best = self.steps[int(np.nanargmin(self.losses))] if there.any() else None  # where the loss is lowest

    def draw_cosines(self, fig, left, top, width, height):
        """(a) One line a word, its name at the end."""
        ax = tidy(place(fig, left, top, width, height), None, "cosine")
        legible(ax)
        end, low, last = self.cosines[-1], self.cosines.min(), self.steps[-1]
        nearest = 1 + int(np.argmax(end[1:])) if len(end) > 1 else 0
        looks = {nearest: (INK, "--", "bold"), 0: (INK, "-", "bold")}  # no hue: the words may be colours
        for k, y in enumerate(apart(end, 0.18 / height * (1 - low))):  # one line of text, in cosines
            colour, line, font = looks.get(k, (QUIET, "-", "normal"))
            ax.plot(
                self.steps,
                self.cosines[:, k],
                line,
                color=colour,
                lw=1.8 if k in looks else 0.9,
                zorder=3 if k in looks else 1,
            )
            ax.annotate(
                f"{self.words[k]}  {end[k]:.2f}",
                (last, end[k]),
                (1.03, y),
                va="center",
                fontsize=10,
                fontweight=font,
                annotation_clip=False,
                textcoords=("axes fraction", "data"),
                color=FAINT if colour == QUIET else colour,
                arrowprops={
                    "arrowstyle": "-",
                    "color": QUIET,
                    "lw": 0.6,
                    "shrinkA": 1,
                    "shrinkB": 0,
                    "relpos": (0, 0.5),
                },
            )
        ax.set(xlim=(0, last), ylim=(low - 0.05 * (1 - low), 1.05))
        ax.tick_params(labelbottom=False)
        said = f"started as \u201c{self.words[0]}\u201d"
        ax.text(0.03 * last, 1, said, fontsize=10, va="bottom")
        return ax

    def draw_loss(self, fig, left, top, width, height, stops):
        """(b) The loss. stops: the steps that are named below it."""
        ax = place(fig, left, top, width, height)
        there = np.isfinite(self.losses)
        ax.plot(np.array(self.steps)[there], self.losses[there], "o-", color=INK, lw=1.3, ms=2.5, clip_on=False)
        if self.best is not None:
            ax.plot(self.best, np.nanmin(self.losses), "o", mfc="none", mec=INK, ms=9, clip_on=False, zorder=4)
        legible(tidy(ax, "training step", "loss", stops))
        ax.set(xlim=(0, self.steps[-1]))
        ax.yaxis.set_major_locator(ticker.MaxNLocator(3))
        return ax

    def figure(self, title, at=None, note=None, dpi=style.DPI):
        """Cosines, loss, the picture of one step, and below at most seven of the pictures. Returns a Picture.

        at: the step that is marked and shown large, one of `pictures`; None: the last. A ring is where the loss is lowest.
        """
        picks = list(self.pictures)
        at, picks = picks[-1] if at is None else at, [picks[i] for i in shown(MOMENTS, len(picks))]
        gap, left = 0.06, 0.08
        size = min(1.43, (style.WIDTH - 2 * left) / len(picks) - gap)
        top, wide, side = TITLE + 0.1, 3.85, 2.6
        strip = top + side + 0.85
        fig = style.new_figure(strip + size + (NOTE if note else 0.08), dpi=dpi)
        for ax in (
            self.draw_cosines(fig, 0.75, top, wide, 1.65),
            self.draw_loss(fig, 0.75, top + 1.85, wide, side - 1.85, picks),
        ):
            ax.axvline(at, color=GUIDED, lw=1.2, zorder=2)
        show_picture(fig, self.pictures[at], style.WIDTH - side - 0.1, top, side)
        under = f"drawn at step {at}{', the lowest loss' if at == self.best else ''}"
        write(fig, style.WIDTH - side / 2 - 0.1, top + side + 0.14, under, ha="center", fontsize=10)
        for k, step in enumerate(picks):
            x = left + k * (size + gap)
            write(fig, x + size / 2, strip - 0.12, f"step {step}", ha="center", fontsize=10)
            show_picture(fig, self.pictures[step], x, strip, size, frame=GUIDED if step == at else None)
        style.claim(fig, title, note)
        near = ", ".join(f"{word} {cosine:.2f}" for cosine, word in self.nearest(self.steps[-1], 3))
        lowest = "" if self.best is None else f", lowest at step {self.best}"
        said = (
            f"{title} The cosines of a vector with {len(self.words)} words over {self.steps[-1]} steps, in the end {near}; the loss{lowest}; "
            f"and pictures at steps {', '.join(map(str, picks))}."
        )
        return style.finish(fig, said, 256)

    def nearest(self, step, n):
        """The n of its words that are nearest at a step: [(cosine, word)]."""
        return sorted(zip(self.cosines[self.steps.index(step)].tolist(), self.words), reverse=True)[:n]


def life_of(c, path, draw, word):
    """The life of the first row of a training: `Life`, at seven moments of it, or fewer: those at which the loss was measured.

    path: [(step, vectors (n, d), loss), ...], as `train_concept` goes. draw(concepts): one picture of each. word: where the
    row began, shown beside the three words that are nearest in the end.
    """
    table = c.text_encoder.get_input_embeddings().weight.detach()
    measured = [one for one in path if one[2] == one[2]]
    stops = [measured[i] for i in shown(MOMENTS, len(measured))]
    pictures = draw([Concept(f"<at{step}>", vectors) for step, vectors, _ in stops])
    near = [one for one, _ in nearest_words(c, path[-1][1][0], 4) if one != word][:3]
    rows = {one: table[c.tokenizer.convert_tokens_to_ids(f"{one}</w>")] for one in [word, *near]}
    return Life(
        [step for step, _, _ in path],
        [vectors[0] for _, vectors, _ in path],
        [loss for _, _, loss in path],
        rows,
        {step: picture for (step, _, _), picture in zip(stops, pictures, strict=True)},
    )


def legible(ax):
    """Larger labels: on a page without a kernel a panel's picture is shown four fifths as large."""
    ax.tick_params(labelsize=9.5)
    for axis in (ax.xaxis, ax.yaxis):
        axis.label.set_size(10)


def directions(vectors):
    """Vectors (tensors or arrays of d numbers) as rows of length 1, (n, d) float64."""
    rows = torch.stack([torch.as_tensor(one).detach().double().cpu().flatten() for one in vectors])
    return F.normalize(rows, dim=1).numpy()


def apart(heights, least):
    """Heights for labels, at least `least` apart and as close to the wanted ones as that allows."""
    order = np.argsort(heights)
    groups = []  # runs of labels that touch: [sum, count]
    for height in np.array(heights, float)[order] - least * np.arange(len(order)):  # without their own room
        groups.append([height, 1])
        while len(groups) > 1 and groups[-2][0] / groups[-2][1] > groups[-1][0] / groups[-1][1]:
            total, count = groups.pop()
            groups[-1] = [groups[-1][0] + total, groups[-1][1] + count]
    result = np.empty(len(order))
    result[order] = np.concatenate([np.full(count, total / count) for total, count in groups])
    result[order] += least * np.arange(len(order))
    return result.tolist()
