"""Two bills: what guidance buys and costs, and what steps buy, by kind of scheduler."""
import numpy as np
from matplotlib import ticker

from . import style
from .intervals import interval
from .style import FAINT, GUIDED, INK, NOISE, NOTE, SIGNAL, TITLE, place, show_picture, tidy, write

# Colours that can be told apart by everybody (Okabe and Ito 2008), dark enough for text.
LINES = ["#0072B2", "#D55E00", "#009E73", "#B8860B", "#CC79A7", "#3C9BD6", "#222222", "#8C8C8C", "#7A4FA3"]


def guidance_bill(scales, fidelity, readings, diversity, clipped, pictures, title, note):
    """F21a. One value a scale: fidelity 0..1 (with how many readings stand behind each), diversity
    0..1 (how much of what is read differs between two seeds), clipped 0..1 (share of pixels).

    pictures: one a scale, same prompt and seed, glued under the axis. Returns a Picture.
    """
    scales, places = list(scales), np.arange(len(scales))
    size = min(0.95, 7.75 / len(scales) - 0.06)
    left, length, high = 1.1, 7.75, 0.85
    fig = style.new_figure(TITLE + 0.1 + 3 * (high + 0.14) + size + 0.3 + NOTE)
    rows = (("fidelity", fidelity, GUIDED), ("two seeds\ndiffer in", diversity, SIGNAL), ("pixels at\nthe limits", clipped, NOISE))
    for r, (name, values, colour) in enumerate(rows):
        top = TITLE + 0.1 + r * (high + 0.14)
        ax = place(fig, left, top, length, high)
        if r == 0:
            low, high_end = zip(*(interval(value * readings, readings) for value in values))
            ax.fill_between(places, low, high_end, color=colour, alpha=0.18, lw=0)
        ax.plot(places, values, "o-", color=colour, ms=4, lw=1.6)
        if r == 0:
            best = int(np.argmax(values))
            ax.plot([best], [values[best]], "o", ms=9, mfc="none", mec=INK, mew=1.0, clip_on=False)
        tidy(ax, None, None, ())
        ax.set(xlim=(-0.5, len(scales) - 0.5))
        ax.yaxis.set_major_locator(ticker.MaxNLocator(3))
        ax.yaxis.set_major_formatter(ticker.PercentFormatter(1, decimals=0))
        write(fig, 0.08, top + high / 2, name, color=colour if colour != NOISE else FAINT, fontsize=8.5)
    top = TITLE + 0.1 + 3 * (high + 0.14) + 0.1
    for i, scale in enumerate(scales):
        x = left + (i + 0.5) * length / len(scales)
        write(fig, x, top, f"{scale:g}", ha="center")
        show_picture(fig, pictures[i], x - size / 2, top + 0.12, size)
    write(fig, 0.08, top, "guidance", fontsize=8.5)
    style.claim(fig, title, note)
    return style.finish(fig, f"{title} " + "; ".join(
        f"guidance {s:g}: fidelity ≈{f:.0%}, ≈{d:.0%} differs between seeds, ≈{k:.1%} of pixels at the limits"
        for s, f, d, k in zip(scales, fidelity, diversity, clipped)))


def steps_bill(found, title, note, enough=0.95):
    """F21b. found: {scheduler: [(U-Net calls, fidelity 0..1), ...]}: one line each, a ring where `enough` of the
    best fidelity of all is reached first. Calls are logarithmic. Returns a Picture."""
    fig = style.new_figure(TITLE + 3.1 + 0.45 + NOTE)
    ax = place(fig, 0.7, TITLE + 0.1, 6.7, 3.0)
    best = max(fidelity for line in found.values() for _, fidelity in line)
    ends = []
    for colour, (name, line) in zip(LINES, found.items()):
        calls, fidelity = zip(*line)
        ax.plot(calls, fidelity, "o-", color=colour, ms=3.5, lw=1.5, alpha=0.85)
        reached = next(((k, f) for k, f in line if f >= enough * best), None)
        if reached:
            ax.plot(*reached, "o", ms=9, mfc="none", mec=colour, mew=1.3)
        ends.append([fidelity[-1], name, colour])
    ax.axhline(enough * best, color=FAINT, lw=0.8, ls=":")
    most = max(calls for line in found.values() for calls, _ in line)
    ticks = [2**k for k in range(12) if 2**k <= most]
    ax.set_xscale("log")
    tidy(ax, "calls of the U-Net (each with both halves of guidance)", "fidelity", ())
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.minorticks_off()
    ax.yaxis.set_major_formatter(ticker.PercentFormatter(1, decimals=0))
    low, high = ax.get_ylim()
    ends.sort()
    for k in range(1, len(ends)):                                   # names that would overlap are pushed apart
        ends[k][0] = max(ends[k][0], ends[k - 1][0] + 0.058 * (high - low))
    shift = max(0.0, ends[-1][0] - high)
    for y, name, colour in ends:
        ax.annotate(name, (1.015, y - shift), xycoords=("axes fraction", "data"), color=colour, va="center", fontsize=8.5)
    style.claim(fig, title, note)
    return style.finish(fig, f"{title} " + "; ".join(
        f"{name}: " + ", ".join(f"≈{f:.0%} after {k} calls" for k, f in line) for name, line in found.items()))
