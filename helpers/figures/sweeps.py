"""What guidance buys, with its interval; solvers beside the curve that they follow, and how fast they converge; walks on the line."""

import textwrap

import numpy as np
import torch
from matplotlib import ticker

from helpers.figures import style
from helpers.figures.style import FAINT, GUIDED, INK, NOTE, SIGNAL, TITLE, place, show_picture, tidy, write

# Colours that can be told apart by everybody (Okabe and Ito 2008), dark enough for text.
LINES = ["#0072B2", "#D55E00", "#009E73", "#B8860B", "#CC79A7", "#3C9BD6", "#222222", "#8C8C8C", "#7A4FA3"]
SOLVERS = {"Euler": INK, "Heun": GUIDED}  # in every figure; what they follow is blue


def guidance_bill(found, pictures, show, title, note, below=()):
    """What each scale of guidance buys. found: {model: {scale: fidelity of each of n prompts, (n,), 0..1}}.

    pictures: {model: {scale: PIL pictures}}; of each those numbered in `show` are drawn, a row for each model, card by card. A
    model need not have every scale. below: a text under each card, its prompt. Points: the mean over the prompts; bars: 95 %
    intervals of it, see `share_of`. Returns a Picture.
    """
    means = {name: {scale: share_of(each) for scale, each in line.items()} for name, line in found.items()}
    scales = sorted({scale for line in means.values() for scale in line})
    gap, apart = 0.06, 0.16  # between pictures, between cards
    size = min(1.45, (style.WIDTH - 3.15 - apart * (len(show) - 1)) / (len(show) * len(scales)) - gap)
    card = len(scales) * (size + gap) - gap
    top, high, first = (
        TITLE + 0.3,
        max(1.3, len(means) * (size + gap)),
        style.WIDTH - 0.04 - len(show) * (card + apart) + apart,
    )
    foot = [textwrap.fill(text, int(card / 0.058)) for text in below]
    under = max(0.42, 0.06 + 0.13 * max([0, *(text.count("\n") + 1 for text in foot)]))
    fig = style.new_figure(top + high + under + NOTE)
    ax = place(fig, 0.7, top, first - 1.7, high - gap)
    for k, (colour, (name, line)) in enumerate(zip((SIGNAL, GUIDED), means.items())):
        values, low, high_end = np.array(list(line.values())).T
        where = np.array([scales.index(scale) for scale in line]) + 0.12 * (k - 0.5)  # bars side by side
        ax.errorbar(where, values, (values - low, high_end - values), fmt="o-", color=colour, ms=4, lw=1.6, capsize=3)
    tidy(ax, "guidance", "fidelity", ())
    ax.set(xlim=(-0.5, len(scales) - 0.5), ylim=(0, 1.03), yticks=(0, 0.5, 1))
    ax.set_xticks(range(len(scales)), [f"{scale:g}" for scale in scales])
    ax.yaxis.set_major_formatter(ticker.PercentFormatter(1, decimals=0))
    for r, (name, row) in enumerate(pictures.items()):
        y = top + r * (size + gap)
        write(
            fig, first - 0.1, y + size / 2, name.replace(" ", "\n"), ha="right", fontsize=8.5, color=(SIGNAL, GUIDED)[r]
        )
        for k, number in enumerate(show):
            for i, scale in enumerate(scales):
                x = first + k * (card + apart) + i * (size + gap)
                if r == 0:
                    write(fig, x + size / 2, top - 0.12, f"guidance {scale:g}", ha="center", fontsize=8.5)
                if scale in row:
                    show_picture(fig, row[scale][number], x, y, size)
    for k, text in enumerate(foot):
        write(
            fig,
            first + k * (card + apart) + card / 2,
            top + high,
            text,
            fontsize=7.5,
            ha="center",
            va="top",
            color=FAINT,
        )
    return style.claimed(
        fig,
        title,
        note,
        f"{title}. "
        + " ".join(
            f"{name}: "
            + ", ".join(f"fidelity ≈{mean:.0%} at guidance {scale:g}" for scale, (mean, *_) in line.items())
            + "."
            for name, line in means.items()
        ),
    )


def student(n):
    """By how many standard errors a 95 % interval of the mean of n readings reaches to each side (Student 1908)."""
    free, z = n - 1, 1.95996
    if free < 5:
        return (np.nan, 12.706, 4.303, 3.182, 2.776)[free]
    terms = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + sum(term / free**k for k, term in enumerate(terms, 1))


def mean_of(each):
    """The mean of n independent numbers, (n,), and half of its 95 % interval, from their spread (`student`)."""
    each = np.asarray(each, float)
    return each.mean(), student(len(each)) * each.std(ddof=1) / len(each) ** 0.5 if len(each) > 1 else np.nan


def share_of(each):
    """The mean of n independent shares, (n,), each 0..1, and the ends of its 95 % interval: (mean, low, high).

    By their spread, and not beyond 0 or 1, where no share lies. Where all are alike nothing spreads, and that is no certainty:
    the ends are NaN, and no bar is drawn.
    """
    each = np.asarray(each, float)
    mean, half = mean_of(each)
    if not half > 0:
        return mean, np.nan, np.nan
    return mean, max(0.0, mean - half), min(1.0, mean + half)


def in_points(each):
    """A mean difference of shares, (n,), in words: "≈22 ± 9 points", with half of its 95 % interval.

    Where no two differ, that is said instead: a spread of nothing is no certainty.
    """
    mean, half = mean_of(each)
    if not np.any(each):
        return f"no difference in {len(each)} pictures"
    if not half > 0:
        return f"≈{100 * mean:.0f} points, the same in {len(each)} pictures"
    return f"≈{100 * mean:.0f} ± {100 * half:.0f} points"


def convergence(panels, title, note, fitted, least=0):
    """How far solvers end from a fine solution. panels: {where: {solver: [(calls, distance), ...]}}, both axes logarithmic.

    Where the lines are straight, in the panel `fitted` from `least` calls on, their orders are written beside them. Returns a Picture.
    """
    fig = style.new_figure(TITLE + 2.35 + 0.45 + NOTE)
    said = []
    for k, (where, found) in enumerate(panels.items()):
        ax = place(fig, 0.75 + k * 4.5, TITLE + 0.32, 2.75, 2.0)
        for colour, (name, line) in zip(LINES, found.items()):
            colour = SOLVERS.get(name, colour)
            calls, distance = np.array(line).T
            ax.plot(calls, distance, "o-", color=colour, ms=4, lw=1.5)
            long = [point for point in line if point[0] >= least]
            label, told = (
                (f"{name}\norder {-order(long):.1f}", f"order ≈{-order(long):.1f}")
                if where == fitted
                else (name, ", ".join(f"≈{far:.3f} after {n} calls" for n, far in line))
            )
            ax.annotate(
                label,
                (calls[-1], distance[-1]),
                (8, 0),
                textcoords="offset points",
                color=colour,
                va="center",
                fontsize=8,
            )
            said.append(f"{where}, {name}: {told}")
        ax.set(xscale="log", yscale="log")
        ax.margins(y=0.14)
        ticks = sorted({calls for line in found.values() for calls, _ in line})
        tidy(ax, "calls", "distance to the fine solution")
        ax.set_xticks(ticks, [str(tick) for tick in ticks])
        far = [distance for line in found.values() for _, distance in line]
        ax.yaxis.set_major_locator(ticker.LogLocator(subs=(1,) if max(far) > 100 * min(far) else (1, 2, 5)))
        ax.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        ax.minorticks_off()
        ax.set_title(where, fontsize=9, color=FAINT)
    return style.claimed(fig, title, note, f"{title}. " + "; ".join(said))


def curve_from(slope, z, sigma, after, points=401):
    """The curve from z (n, 1) at noise level `sigma` on to `after`, in steps too short to be seen: (sigmas, (points, n))."""
    stops, path = torch.linspace(sigma, after, points).double(), [z.double()]
    for level, nxt in zip(stops, stops[1:]):
        first = slope(path[-1], level)
        path.append(path[-1] + (nxt - level) / 2 * (first + slope(path[-1] + (nxt - level) * first, nxt)))
    return stops, torch.stack(path)[..., 0]


def solver_path(slope, solver, z, sigma, after, steps):
    """Where a solver stops on its way from the number z, at noise level `sigma`, to `after` in equal steps: (sigmas, (steps + 1,)).

    solver: takes slope, z (1, 1) and the two sigmas of a step.
    """
    stops, path = torch.linspace(sigma, after, steps + 1).double(), [torch.tensor([[float(z)]]).double()]
    for k in range(steps):
        path.append(solver(slope, path[-1], stops[k : k + 2]))
    return stops, torch.stack(path)[:, 0, 0]


def solver_frame(curves, walks, title, low, high):
    """PNG bytes: the straight steps of one solver or two beside the curve that they follow.

    curves: (sigmas, paths (points, n)) of `curve_from`; the first path is the one to follow, the others lie faintly behind it.
    walks: {solver: (sigmas, stops) of `solver_path`}. low, high: what z is drawn between.
    """
    stops, paths = curves
    fig = style.new_figure(TITLE + 2.3 + 0.5 + NOTE, dpi=style.PANEL_DPI)
    ax = tidy(place(fig, 0.6, TITLE + 0.1, 6.7, 2.3), "noise level $\\sigma$", "$z$", math=True)
    for path in paths.T[1:]:
        ax.plot(stops, path, color=FAINT, lw=0.7, alpha=0.45)
    ax.plot(stops, paths[:, 0], color=SIGNAL, lw=2.2)
    right = paths[-1, 0].item()
    named = [[right, "here the curve ends", SIGNAL]]
    for colour, (name, (steps, at)) in zip((GUIDED, INK), walks.items()):
        colour = SOLVERS.get(name, colour)
        ax.plot(steps, at, "o-", color=colour, lw=2, ms=4, clip_on=False)
        ax.plot([stops[-1]] * 2, [at[-1].item(), right], color=INK, lw=1.2, ls=":")
        named.append([at[-1].item(), "here the steps end" if len(walks) == 1 else f"{name} ends here", colour])
    for height, words, colour in set_apart(named, 0.11 * (high - low)):
        ax.annotate(
            words,
            (stops[-1].item(), height),
            (8, 0),
            textcoords="offset points",
            color=colour,
            va="center",
            fontsize=10,
            annotation_clip=False,
        )
    ax.set(xlim=(stops[0].item(), stops[-1].item()), ylim=(low, high))
    style.claim(fig, title)
    write(
        fig,
        0.08,
        fig.get_size_inches()[1] - 0.14,
        "Exact, no network: two classes, at -1 and +1. Grey: curves from other starts. "
        "Sampling goes from left to right.",
        fontsize=9,
        color=FAINT,
    )
    return style.finish(fig, "").png


def set_apart(named, apart):
    """Lists [height, ...] with those heights moved that lie nearer than `apart` to their neighbour, or names would lie on each other."""
    named = sorted(named)
    for _ in range(50):
        for one, other in zip(named, named[1:]):
            short = max(0.0, apart - (other[0] - one[0])) / 2
            one[0], other[0] = one[0] - short, other[0] + short
    return named


def walks_on_the_line(panels, title, alt, note=None):
    """Walks from noise to data, side by side in several ways.

    panels: {heading: (name of the axis across, where each stop lies on it (S,), name of the axis up, walks (S, n))}. Sampling goes
    from left to right, and a walk has the colour of the side of 0 on which it ends. A dot is a stop, where there are few. Axes of one
    name have one scale. Headings and names may hold $...$.
    """
    wide, far = (style.WIDTH - 0.1) / len(panels), {}
    for _, _, up, walks in panels.values():
        far[up] = max(far.get(up, 0), 1.1 * walks.abs().max().item())
    fig = style.new_figure(TITLE + 0.3 + 1.9 + 0.42 + (NOTE if note else 0))
    for k, (heading, (across, stops, up, walks)) in enumerate(panels.items()):
        ax = tidy(place(fig, 0.5 + k * wide, TITLE + 0.3, wide - 0.65, 1.9), across, up, math=True)
        for walk in walks.T:
            colour = SIGNAL if walk[-1] > 0 else GUIDED
            ax.plot(stops, walk, ".-", color=colour, lw=0.9, ms=0 if len(stops) > 20 else 4, clip_on=False)
            ax.plot(stops[-1], walk[-1], "o", color=colour, ms=3.5, clip_on=False)
        ax.plot([stops[0]] * len(walks.T), walks[0], "o", color=INK, ms=3.5, clip_on=False)
        ax.set(xlim=(float(stops[0]), float(stops[-1])), ylim=(-far[up], far[up]))
        ax.set_title(heading, fontsize=9, color=FAINT, **style.MATH)
    return style.claimed(fig, title, note, alt, palette=32)


def order(line):
    """The slope of log distance over log calls, fitted. line: [(calls, distance), ...]."""
    calls, distance = np.log(np.array(line, float)).T
    return float(np.polyfit(calls, distance, 1)[0])
