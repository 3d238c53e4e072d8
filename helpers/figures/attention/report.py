"""F16, the report card of the maps: layers and steps, and how they compare with guessing."""
import numpy as np

from helpers.attention.score import each_layer

from .. import style
from ..intervals import interval
from ..style import FAINT, INK, NOISE, NOTE, PROMPT, SIGNAL, TITLE, place, tidy, write

COLOURS = {"nouns": PROMPT, "subjects": PROMPT, "colours": PROMPT, "shuffled words": NOISE,
           "centre prior": NOISE}


def short_name(path):
    """The path of a layer without what all of them have: "up_blocks.1.attentions.0..." -> "up 1.0"."""
    parts = path.split(".")
    numbers = [part for part in parts[:4] if part.isdigit()]
    return f"{parts[0].removesuffix('_blocks').removesuffix('_block')} {'.'.join(numbers)}"


def report_card(scores, layers, timesteps):
    """Pointing game by layer (rows) and noise level (columns), and beside it the pooled map. A Picture.

    scores: of `score_maps` for groups of words, "nouns" among them, with the poolings "default" and `each_layer`.
    layers: of the record. timesteps: as they were scored.
    """
    nouns = scores["nouns"]
    table = [[nouns[name].pointing for name in each_layer([one], timesteps)] for one in layers]
    dots = {group: marks["default"] for group, marks in scores.items()}
    dots |= {cheat: nouns[cheat] for cheat in ("shuffled words", "centre prior")}
    layers, steps = [short_name(one.name) for one in layers], [f"t = {t}" for t in timesteps]
    note = (f"{nouns['default'].n} maps of nouns on fresh postcards. Colour words are marked on the thing they belong to. "
            "Grey: cheats. A pooled map averages all layers and levels.")
    high = max(0.3 * len(layers), 0.34 * len(dots))
    left, top, wide = 1.75, TITLE + 0.55, 3.0
    fig = style.new_figure(top + high + 0.25 + NOTE)
    ax = place(fig, left, top, wide, high)
    top_cell = max(0.5, np.max(table))
    ax.imshow(table, cmap=style.SEQUENTIAL, vmin=0, vmax=top_cell, aspect="auto")
    for i, row in enumerate(table):
        for j, value in enumerate(row):
            ax.text(j, i, f"{100 * value:.0f}", ha="center", va="center", fontsize=8.5,
                    color="white" if value < 0.75 * top_cell else INK)
    ax.set(yticks=[], xticks=range(len(steps)))
    ax.set_xticklabels(steps)
    ax.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False, pad=1)
    for i, name in enumerate(layers):
        write(fig, left - 0.08, top + (i + 0.5) * high / len(layers), name, ha="right", fontsize=8)
    write(fig, left, top - 0.37, "one layer at one noise level: hits in %", fontweight="bold")
    draw_dots(fig, 6.3, top, 1.9, high, dots)
    write(fig, 5.05, top - 0.37, "pooled: hits in %, with 95 % interval", fontweight="bold")
    worst = min(score.pointing for name, score in dots.items() if COLOURS.get(name) != NOISE)
    hits, by_chance = (round(100 * nouns[name].pointing) for name in ("default", "shuffled words"))
    style.claim(fig, ("Words are read where their things are" if worst > 0.75 else "Maps are good at some words")
                + f": {hits} % of the maps hit, {by_chance} % of another word's", note)
    return style.finish(fig, "A table of pointing accuracy by layer and noise level; beside it dots with "
                             "intervals for groups of words, shuffled words and a centre prior.", 128)


def draw_dots(fig, left, top, wide, high, dots):
    ax = place(fig, left, top, wide, high)
    for i, (name, score) in enumerate(dots.items()):
        low, top_end = interval(score.pointing * score.n, score.n)
        colour = COLOURS.get(name, SIGNAL)
        ax.plot([low, top_end], [i, i], color=colour, lw=2.2)
        ax.plot(score.pointing, i, "o", color=colour, ms=7, clip_on=False)
        ax.text(1.06, i, f"{100 * score.pointing:.0f}", va="center", fontsize=9, color=INK)
        ax.text(1.22, i, f"of {score.n}", va="center", fontsize=7, color=FAINT)
        write(fig, left - 0.1, top + (i + 0.5) * high / len(dots), name, ha="right", fontsize=8.5, color=INK)
    tidy(ax, yticks=())
    ax.set(xlim=(0, 1), ylim=(len(dots) - 0.5, -0.5))
    ax.set_xticks([0, 0.5, 1], ["0", "50", "100"])
    ax.grid(axis="x", color="#E5E5E5", lw=0.8)
