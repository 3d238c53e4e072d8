"""Bills with their intervals: what guidance buys and costs, what steps buy, and how fast solvers converge."""
import numpy as np
from matplotlib import ticker

from . import style
from .intervals import interval
from .style import FAINT, GUIDED, NOTE, SIGNAL, TITLE, place, show_picture, tidy, write

# Colours that can be told apart by everybody (Okabe and Ito 2008), dark enough for text.
LINES = ["#0072B2", "#D55E00", "#009E73", "#B8860B", "#CC79A7", "#3C9BD6", "#222222", "#8C8C8C", "#7A4FA3"]


def guidance_bill(scales, fidelity, readings, clipped, pictures, title, note):
    """What each scale buys and costs. fidelity: {model: one share (0..1) a scale}, each counted on so many `readings`.

    clipped: {model: the share of pixels at the limits, one a scale}, in percent on the lower axis. pictures: {model: one
    PIL picture a scale}, a row each. Bands: 95 % intervals. Returns a Picture.
    """
    scales, places = list(scales), np.arange(len(scales))
    size = min(0.95, 7.75 / len(scales) - 0.06)
    left, length, high = 1.1, 7.75, 1.15
    fig = style.new_figure(TITLE + 0.1 + high + 0.2 + 0.75 + 0.3 + len(pictures) * (size + 0.06) + NOTE)
    top, below = TITLE + 0.1, TITLE + 0.1 + high + 0.2
    ax, cost = place(fig, left, top, length, high), place(fig, left, below, length, 0.6)
    for colour, (name, values) in zip((SIGNAL, GUIDED), fidelity.items()):
        low, high_end = zip(*(interval(round(value * readings), readings) for value in values))
        ax.fill_between(places, low, high_end, color=colour, alpha=0.16, lw=0)
        ax.plot(places, values, "o-", color=colour, ms=4, lw=1.6)
        ax.annotate(name, (places[0], values[0]), (8, 6 if colour == SIGNAL else -10), textcoords="offset points", color=colour,
                    fontsize=8.5)
        cost.plot(places, clipped[name], "o-", color=colour, ms=3, lw=1.2)
    for axis in (ax, cost):
        tidy(axis, None, None, ())
        axis.set(xlim=(-0.5, len(scales) - 0.5))
        axis.yaxis.set_major_locator(ticker.MaxNLocator(3))
        axis.yaxis.set_major_formatter(ticker.PercentFormatter(1, decimals=0))
    write(fig, 0.08, top + high / 2, "fidelity", fontsize=8.5)
    write(fig, 0.08, below + 0.3, "pixels at\nthe limits", fontsize=8.5)
    top = below + 0.75
    write(fig, 0.08, top, "guidance", fontsize=8.5)
    for i, scale in enumerate(scales):
        x = left + (i + 0.5) * length / len(scales)
        write(fig, x, top, f"{scale:g}", ha="center")
        for r, row in enumerate(pictures.values()):
            show_picture(fig, row[i], x - size / 2, top + 0.12 + r * (size + 0.06), size)
    for r, name in enumerate(pictures):
        write(fig, 0.08, top + 0.12 + r * (size + 0.06) + size / 2, name.replace(" ", "\n"), fontsize=8.5,
              color=(SIGNAL, GUIDED)[r])
    style.claim(fig, title, note)
    return style.finish(fig, f"{title} " + " ".join(f"{name}: " + ", ".join(
        f"fidelity ≈{value:.0%} at guidance {scale:g}" for scale, value in zip(scales, values)) + "." for name, values in fidelity.items()))


def steps_bill(found, readings, title, note):
    """What calls of the U-Net buy. found: {scheduler: [(calls, fidelity 0..1), ...]}, each point counted on so many readings.

    Bars: 95 % intervals. Calls are logarithmic. Returns a Picture.
    """
    fig = style.new_figure(TITLE + 2.3 + 0.45 + NOTE)
    ax = place(fig, 0.7, TITLE + 0.1, 6.7, 2.2)
    for k, (colour, (name, line)) in enumerate(zip(LINES, found.items())):
        calls, fidelity = np.array(line).T
        low, high = np.array([interval(round(value * readings), readings) for value in fidelity]).T
        where = calls * 1.03**k                                     # bars side by side
        ax.errorbar(where, fidelity, (fidelity - low, high - fidelity), fmt="o-", color=colour, ms=4, lw=1.5, capsize=3)
        ax.annotate(name, (where[0], fidelity[0]), (-8, 0), textcoords="offset points", color=colour, ha="right", va="center",
                    fontsize=8.5)
    ticks = sorted({int(calls) for line in found.values() for calls, _ in line})
    ax.set_xscale("log")
    tidy(ax, "calls of the U-Net", "fidelity", ())
    ax.set(xlim=(ticks[0] * 0.6, ticks[-1] * 1.2))
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.minorticks_off()
    ax.yaxis.set_major_formatter(ticker.PercentFormatter(1, decimals=0))
    style.claim(fig, title, note)
    return style.finish(fig, f"{title} " + "; ".join(
        f"{name}: " + ", ".join(f"≈{f:.0%} after {k} calls" for k, f in line) for name, line in found.items()))


def convergence(panels, title, note):
    """How far solvers end from a fine solution. panels: {where: {solver: [(calls, distance), ...]}}, both axes logarithmic.

    The slope of each line is fitted, and written beside it. Returns a Picture.
    """
    fig = style.new_figure(TITLE + 2.35 + 0.45 + NOTE)
    said = []
    for k, (where, found) in enumerate(panels.items()):
        ax = place(fig, 0.75 + k * 4.5, TITLE + 0.32, 2.75, 2.0)
        for colour, (name, line) in zip(LINES, found.items()):
            calls, distance = np.array(line).T
            ax.plot(calls, distance, "o-", color=colour, ms=4, lw=1.5)
            ax.annotate(f"{name}\nslope {order(line):.1f}", (calls[-1], distance[-1]), (8, 0), textcoords="offset points", color=colour,
                        va="center", fontsize=8)
            said.append(f"{where}, {name}: slope ≈{order(line):.1f}")
        ax.set(xscale="log", yscale="log")
        ticks = sorted({calls for line in found.values() for calls, _ in line})
        tidy(ax, "calls of the network", "distance to the fine solution" if k == 0 else "")
        ax.set_xticks(ticks[::2], [str(tick) for tick in ticks[::2]])
        ax.minorticks_off()
        ax.set_title(where, fontsize=9, color=FAINT)
    style.claim(fig, title, note)
    return style.finish(fig, f"{title} " + "; ".join(said))


def order(line):
    """The slope of log distance over log calls, fitted. line: [(calls, distance), ...]."""
    calls, distance = np.log(np.array(line, float)).T
    return float(np.polyfit(calls, distance, 1)[0])
