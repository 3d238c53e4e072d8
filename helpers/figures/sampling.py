"""Pictures for lesson 04: what the loop holds at every step, and what comes out of it."""

import textwrap

import torch

from helpers.figures import style
from helpers.figures.style import FAINT, GUIDED, NOISE, NOTE, SIGNAL, TITLE, place, show_picture, tidy, write
from helpers.latents import decode_latents


def prompt_grid(pictures, prompts, title, columns=3, note=None):
    """Pictures (PIL) with their prompts below, `columns` a row."""
    size, gap = 2.85 if columns == 3 else (9 - 0.16) / columns - 0.14, 0.14
    folded = [textwrap.fill(prompt, int(size * 16)) for prompt in prompts]
    words = 0.16 + 0.14 * max(text.count("\n") + 1 for text in folded)
    rows = -(-len(pictures) // columns)
    fig = style.new_figure(TITLE + rows * (size + words) + (NOTE if note else 0))
    for i, (picture, text) in enumerate(zip(pictures, folded)):
        x, y = 0.08 + i % columns * (size + gap), TITLE + i // columns * (size + words)
        show_picture(fig, picture, x, y, size)
        write(fig, x + size / 2, y + size + 0.05, text, fontsize=7.5, ha="center", va="top", color=FAINT)
    return style.claimed(fig, title, note, f"{title}: " + "; ".join(prompts))


def shown(count, of):
    """`count` indices spread evenly over range(of), the first and the last among them."""
    return [round(k * (of - 1) / (count - 1)) for k in range(count)] if of > count else list(range(of))


def film_strip(c, history, timesteps, title, count=8):
    """What the loop holds, decoded: the noisy latents above, the clean latents they imply below.

    history: a list of (latents, x0), each (1, C, h, w), one pair a step. timesteps: their noise levels.
    """
    picks = shown(count, len(history))
    both = [decode_latents(c, torch.cat([history[i][row] for i in picks])) for row in (0, 1)]
    labels = [f"t = {float(timesteps[i]):.0f}" for i in picks]
    return style.picture_grid(
        both,
        title,
        f"{title}. Two rows of {len(picks)} pictures from {labels[0]} to {labels[-1]}.",
        column_labels=labels,
        row_labels=("$x_t$", "estimate of $x_0$"),
        math=True,
        note="sampling goes this way \N{RIGHTWARDS ARROW}   each latent decoded by the VAE",
    )


def sweep(pictures, labels, title, note=None):
    """One row of pictures, each with what was changed above it."""
    size = min(1.6, (9 - 0.16) / len(pictures) - 0.06)
    return style.picture_grid(
        [pictures], title, f"{title}. Pictures for {', '.join(labels)}.", column_labels=labels, note=note, size=size
    )


def bars(seconds, megabytes, title):
    """The bill of a picture: seconds and megabytes of each part as bars. seconds: {part: s}. megabytes: one a part."""
    fig = style.new_figure(TITLE + 0.2 + 0.36 * len(seconds) + NOTE)
    for k, (left, values, unit, colour) in enumerate(
        ((1.5, list(seconds.values()), "s", GUIDED), (5.7, megabytes, "MB", SIGNAL))
    ):
        write(fig, left, TITLE + 0.05, ("seconds a picture", "megabytes of weights")[k], fontsize=8.5, color=colour)
        for i, value in enumerate(values):
            top = TITLE + 0.2 + 0.36 * i
            style.block(fig, left, top + 0.06, 2.6 * value / max(values), 0.22, colour)
            write(fig, left + 2.6 * value / max(values) + 0.06, top + 0.17, f"{_two_digits(value)} {unit}", fontsize=8)
    for i, name in enumerate(seconds):
        write(fig, 1.4, TITLE + 0.37 + 0.36 * i, name, ha="right")
    return style.claimed(fig, title, "On the machine that ran this notebook.", f"{title}: " + ", ".join(seconds))


def _two_digits(value):
    """0.035, 1.2 or 123: two digits, and all of those before the point."""
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"


def museum(pictures, names, symptoms, sizes, expected, title, note=None, told=()):
    """Broken loops side by side: what each drew, the spread of its latents on the way, its name and symptom.

    pictures: PIL. names, symptoms: strings, shown above and below; "" for none. sizes: for each picture the
    standard deviation of its latents (S + 1,), from the first step to the last, NaN where there is none.
    expected: (S + 1,), what the noise schedule makes of them. told: what each shows, for who cannot see it, where its symptom is
    not yet said. Three pictures a row.
    """
    column, size, above, under = (style.WIDTH - 0.16) / 3, 1.45, 0.26, 0.48 if any(symptoms) else 0.28
    fig = style.new_figure(TITLE + -(-len(pictures) // 3) * (above + size + under) + (NOTE if note else 0))
    for i, (picture, name, symptom, measured) in enumerate(zip(pictures, names, symptoms, sizes)):
        x, y = 0.08 + i % 3 * column, TITLE + i // 3 * (above + size + under)
        write(fig, x, y + above / 2, name, fontweight="bold")
        show_picture(fig, picture, x, y + above, size)
        write(fig, x, y + above + size + 0.08, textwrap.fill(symptom, 52), fontsize=7.5, color=FAINT, va="top")
        ax = tidy(place(fig, x + size + 0.35, y + above + 0.2, column - size - 0.6, size - 0.42))
        ax.plot(expected, color=NOISE, linewidth=3, alpha=0.6)
        ax.plot(measured, color=GUIDED, linewidth=1.6)
        _size_axis(ax, measured, any(symptoms))
    style.claim(fig, title, note)
    words = "; ".join(f"{name}: {symptom}" if symptom else name for name, symptom in zip(names, told or symptoms))
    return style.finish(fig, f"{style.ended(title)} {words}.")


def _size_axis(ax, measured, named=True):
    """Spread of the latents over the steps: a log axis, close up where all lies near 1, a cross where they end early.

    named: whether NaN is written beside the cross; not where the reader is to find that out.
    """
    last, kept = len(measured) - 1, measured[measured.isfinite()]
    near = len(kept) > 0 and kept.min() > 0.6 and kept.max() < 1.7
    ax.set(yscale="log", ylim=(0.57, 1.75) if near else (1 / 64, 8), xlim=(0, last))
    ax.set_yticks(
        *(([2 / 3, 1, 1.5], ["2/3", "1", "1.5"]) if near else ([1 / 16, 1 / 4, 1, 4], ["1/16", "1/4", "1", "4"]))
    )
    ax.set_xticks([0, last], ["first", "last turn"])
    for label, side in zip(ax.get_xticklabels(), ("left", "right")):
        label.set_horizontalalignment(side)
    ax.minorticks_off()
    ax.set_title("spread of the latents", fontsize=7.5, color=FAINT, pad=3)
    kept = int(measured.isfinite().sum())
    if 0 < kept <= last:
        ax.plot(kept - 1, measured[kept - 1], "x", color=GUIDED, markersize=7)
        ax.annotate(
            "NaN" if named else "", (kept - 1, measured[kept - 1]), (6, 6), textcoords="offset points", color=GUIDED
        )
