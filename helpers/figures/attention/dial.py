"""F17, the cause dial: what changes where, when one word is turned down or up."""
import numpy as np

from .. import style
from ..style import FAINT, NOTE, PROMPT, TITLE, place, show_picture, tidy, write


def cause_dial(weights, dials, before):
    """How far the subject and the rest change when words are turned down or up. A Picture.

    weights: the first one mutes. dials: {word: (inside, outside, pictures)}: mean |change| of a pixel,
    0..255, (weights, cards), and one picture for each weight. before: the picture as it is.
    """
    size, gap, left, top, high = 1.55, 0.2, 2.05, TITLE + 0.3, 1.35
    low, low2 = top + high + 0.35, top + high + 0.35 + size + 0.08
    fig = style.new_figure(low2 + size + 0.06 + NOTE)
    means = [np.mean(values[k], axis=1) for values in dials.values() for k in (0, 1)]
    for k, (word, (inside, outside, drawn)) in enumerate(dials.items()):
        x = left + k * (size + gap)
        ax = place(fig, x, top, size, high)
        draw_curves(ax, weights, np.asarray(inside), np.asarray(outside), 1.15 * np.max(means) + 1e-6)
        write(fig, x + size / 2, top - 0.14, word, ha="center", fontweight="bold", color=PROMPT)
        if k:
            ax.tick_params(labelleft=False)
        show_picture(fig, drawn[0], x, low, size)
        show_picture(fig, drawn[-1], x, low2, size)
    write(fig, 0.1, top + 0.4, "mean change of a\npixel (of 255)", fontsize=8.5)
    write(fig, 0.1, top + 0.75, "on the subject", fontsize=8.5, color=PROMPT, fontweight="bold")
    write(fig, 0.1, top + 0.95, "elsewhere", fontsize=8.5, color=FAINT, fontweight="bold")
    write(fig, left - 0.12, low + size / 2, label(weights[0]), rotation=90, ha="center")
    write(fig, left - 0.12, low2 + size / 2, label(weights[-1]), rotation=90, ha="center")
    show_picture(fig, before, 0.1, low + size / 2 + 0.05, size)
    write(fig, 0.1 + size / 2, low + size / 2 - 0.08, "as it is", ha="center")
    cards = np.asarray(next(iter(dials.values()))[0]).shape[1]
    style.claim(fig, "Muted alone, a noun is hardly missed; with the words after it, it is",
                f"{cards} cards, noised and drawn again from the same noise; only the attention to some "
                "tokens differs. Root scale; bands: standard error. Shown: the card that changes most.")
    return style.finish(fig, "For each kind of token a curve of how far subject and rest change over the "
                             "weight of that token, and below it the picture with it muted and boosted.", 256)


def draw_curves(ax, weights, inside, outside, highest):
    """Change over weight, green on the subject, grey elsewhere, with standard errors."""
    for values, colour in ((inside, PROMPT), (outside, FAINT)):
        mean, error = values.mean(1), values.std(1) / np.sqrt(values.shape[1])
        ax.fill_between(range(len(weights)), mean - error, mean + error, color=colour, alpha=0.22, lw=0)
        ax.plot(range(len(weights)), mean, "-o", color=colour, lw=1.8, ms=4)
    tidy(ax)
    ax.set_yscale("function", functions=(lambda y: np.sqrt(np.maximum(y, 0)), np.square))  # small ones too
    ax.set(xlim=(-0.3, len(weights) - 0.7), ylim=(0, highest))
    ax.set_yticks([tick for tick in (0, 1, 5, 10, 20, 40, 80, 160) if tick <= highest])
    ax.set_xticks(range(len(weights)), [label(weight) for weight in weights], fontsize=7.5)


def label(weight):
    return {0: "muted", 1: "as it is"}.get(weight, f"x {weight:g}")
