"""The two figures that benchmarks need, in the course's style: bars side by side, and growing curves."""

import numpy as np

from benchmarks.measure import fit_power
from helpers.figures import style

COLOURS = (style.SIGNAL, style.ESTIMATE, style.PROMPT, style.GUIDED, style.LEARNT, style.NOISE)


def bars(title, alt, values, words, note, colours=None, legend=None):
    """Horizontal bars, one a row, each with its figure behind it.

    alt: what the bars are; what stands behind them is added. values: {label: number, or [numbers] to stack}. words: {label: text behind the bar}.
    colours: {label: colour, or [colours] of a stack}; None: blue. legend: {what: colour}, written above.
    """
    high, left = 0.27, 0.25 + 0.068 * max(map(len, values))
    top = style.TITLE + (0.25 if legend else 0.05)
    fig = style.new_figure(top + high * len(values) + 0.1 + style.NOTE)
    room = style.WIDTH - left - 0.25 - 0.068 * max(map(len, words.values()))
    most = max(np.sum(value) for value in values.values())
    for i, (label, value) in enumerate(values.items()):
        y, x, value = top + high * i, left, np.atleast_1d(value)
        style.write(fig, left - 0.1, y + 0.1, label, ha="right")
        for part, colour in zip(value, np.broadcast_to((colours or {}).get(label, style.SIGNAL), value.shape)):
            style.block(fig, x, y, part / most * room, 0.2, str(colour))
            x += part / most * room
        style.write(fig, x + 0.06, y + 0.1, words[label])
    x = left
    for what, colour in (legend or {}).items():
        style.block(fig, x, style.TITLE, 0.12, 0.12, colour)
        style.write(fig, x + 0.18, style.TITLE + 0.06, what, fontsize=8)
        x += 0.45 + 0.07 * len(what)
    style.claim(fig, title, note)
    said = "; ".join(f"{label}: {words[label]}" for label in values)
    return style.finish(fig, f"{alt}. {said}", palette=64)


def growth(title, alt, panels, note):
    """Curves side by side on logarithmic axes, each with the exponent that was fitted to it.

    panels: [(xlabel, ylabel, sizes, costs), ...]. Dots are measured, lines fitted.
    """
    tall, between = 1.7, 0.62
    wide = (style.WIDTH - 0.15) / len(panels) - between
    fig = style.new_figure(style.TITLE + tall + 0.43 + style.NOTE)
    for i, (xlabel, ylabel, sizes, costs) in enumerate(panels):
        ax = style.place(fig, between + i * (wide + between), style.TITLE + 0.05, wide, tall)
        ax.set(xscale="log", yscale="log")
        colour = style.ESTIMATE if ylabel.startswith("memory") else style.SIGNAL
        exponent, factor = fit_power(sizes, costs)
        ends = np.array([min(sizes), max(sizes)], float)
        ax.plot(ends, factor * ends**exponent, color=colour, linewidth=1)
        ax.plot(sizes, costs, "o", color=colour, markersize=4)
        ax.text(0.06, 0.9, f"power {exponent:.2f}", transform=ax.transAxes, fontsize=8, color=colour)
        style.tidy(ax, xlabel, ylabel, xticks=sizes, yticks=round_numbers(*ax.get_ylim()))
    style.claim(fig, title, note)
    return style.finish(fig, alt, palette=64)


def round_numbers(low, high):
    """1, 2, 5, 10, 20, ... as far as they lie between low and high; 1, 10, 100, ... where that is too many."""
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    found = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    found = [one for one in found if low <= one <= high]
    return found if len(found) <= 5 else [one for one in found if np.isclose(np.log10(one) % 1, 0)]
