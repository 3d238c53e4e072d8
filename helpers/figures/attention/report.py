"""F16, the report card of the maps: layers and steps, and what their controls reach."""

import numpy as np

from helpers.attention.score import each_layer
from helpers.figures import style
from helpers.figures.intervals import interval
from helpers.figures.style import FAINT, GUIDED, INK, NOTE, PROMPT, TITLE, place, tidy, write


def short_name(path):
    """The path of a layer without what all of them have: "up_blocks.1.attentions.0..." -> "up 1.0"."""
    parts = path.split(".")
    numbers = [part for part in parts[:4] if part.isdigit()]
    return f"{parts[0].removesuffix('_blocks').removesuffix('_block')} {'.'.join(numbers)}"


def report_card(scores, layers, timesteps):
    """Pointing game by layer (rows) and noise level (columns), and beside it each group against its chance. A Picture.

    scores: of `score_maps` for groups of words, "subjects" among them, with the poolings "default" and `each_layer`.
    layers: of the record. timesteps: as they were scored.
    """
    subjects = scores["subjects"]
    table = [[subjects[name].pointing for name in each_layer([one], timesteps)] for one in layers]
    layers, steps = [short_name(one.name) for one in layers], [f"t = {t}" for t in timesteps]
    high = max(0.3 * len(layers), 0.36 * len(scores))
    left, top, wide = 0.85, TITLE + 0.62, 2.4
    fig = style.new_figure(top + high + 0.5 + NOTE)
    ax = place(fig, left, top, wide, high)
    worst, best = float(np.min(table)), float(np.max(table))
    middle = (worst + best) / 2
    ax.imshow(table, cmap=style.BLUES, vmin=worst - 0.1 * (best - worst), vmax=best + 1e-6, aspect="auto")
    for i, row in enumerate(table):
        for j, value in enumerate(row):
            ax.text(
                j,
                i,
                f"{100 * value:.0f}",
                ha="center",
                va="center",
                fontsize=8.5,
                color="white" if value > middle else INK,
            )
    ax.set(yticks=[], xticks=range(len(steps)))
    ax.set_xticklabels(steps)
    ax.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False, pad=1)
    ax.spines[:].set_visible(False)
    for i, name in enumerate(layers):
        write(fig, left - 0.08, top + (i + 0.5) * high / len(layers), name, ha="right", fontsize=8)
    write(fig, 0.1, top - 0.4, "subjects: hits of one layer at one noise level, in %", fontweight="bold", fontsize=9)
    draw_dots(fig, 4.75, top, 3.15, high, scores)
    write(fig, 4.1, top - 0.4, "layers and noise levels pooled: hits in %", fontweight="bold", fontsize=9)
    hits = subjects["default"].pointing
    told = [f"{name} " + ", ".join(f"≈{value:.0%}" for value in row) for name, row in zip(layers, table)]
    return style.claimed(
        fig,
        f"Pooled maps of subjects hit {100 * hits:.0f} % of the time, one layer at one noise level {100 * worst:.0f} to "
        f"{100 * best:.0f} %",
        f"{subjects['default'].cards} fresh postcards. Lines: 95 % intervals, which count cards and not maps. Blue: from the "
        "lowest of these shares, pale, to the highest.",
        f"A table of hits by layer and noise level: {'; '.join(told)}. Beside it, for each group of words, pooled maps "
        "against two controls.",
        128,
    )


def draw_dots(fig, left, top, wide, high, scores):
    """Each group of words: a dot with the interval over its cards, and what the controls reach, named above."""
    ax = place(fig, left, top, wide, high)
    for i, (name, marks) in enumerate(scores.items()):
        score = marks["default"]
        centre = marks["centre prior"].pointing
        low, top_end = interval(score.pointing * score.cards, score.cards)
        ax.plot([low, top_end], [i, i], color=PROMPT, lw=2.2)
        ax.plot(score.pointing, i, "o", color=PROMPT, ms=7, clip_on=False)
        if score.chance is not None:
            ax.plot([score.chance] * 2, [i - 0.18, i + 0.18], color=GUIDED, lw=2.4, clip_on=False)
        ax.plot(centre, i, "x", color=FAINT, ms=6, mew=1.6, clip_on=False)
        ax.text(1.04, i, f"{100 * score.pointing:.0f}", va="center", fontsize=9, color=INK)
        ax.text(1.12, i, f"of {score.n} maps", va="center", fontsize=7, color=FAINT)
        write(fig, left - 0.16, top + (i + 0.5) * high / len(scores), name, ha="right", fontsize=8.5, color=INK)
    key = place(fig, left, top - 0.24, wide, 0.2, bare=True)  # what the marks are, above the rows
    key.set(xlim=(0, 1), ylim=(-1, 1))
    for x, mark, name, colour in (
        (0.02, "x", "centre prior", FAINT),
        (0.37, "|", "other masks", GUIDED),
        (0.72, "o", "own mask", PROMPT),
    ):
        key.plot(x, 0, mark, color=colour, ms=7 if mark == "|" else 6, mew=1.8, clip_on=False)
        key.text(x + 0.035, 0, name, fontsize=7.5, color=colour, va="center")
    tidy(ax, yticks=())
    ax.spines["left"].set_visible(False)
    ax.set(xlim=(0, 1), ylim=(len(scores) - 0.5, -0.5))
    ax.set_xticks([0, 0.5, 1], ["0", "50", "100"])
    ax.grid(axis="x", color="#E5E5E5", lw=0.8)
