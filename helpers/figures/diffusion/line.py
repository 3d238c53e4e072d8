"""Two peaks on a line, one step against many; the floor under the loss; samplers by their number of steps."""

import numpy as np
import torch

from helpers import diffusion, inputs
from helpers.figures import style
from helpers.figures.style import (
    BLUES,
    ESTIMATE,
    FAINT,
    GUIDED,
    INK,
    NOISE,
    NOTE,
    PROMPT,
    SIGNAL,
    TITLE,
    place,
    tidy,
    write,
)

SIDE, DARK_ORANGE = 2.6, "#B47A00"  # the line is drawn from -SIDE to SIDE; orange, legible as text
WALKS = 40  # exact ways drawn


def density_over_t(world, alphas_cumprod, columns=120):
    """The density of x_t (rows, -SIDE to SIDE) over t (columns, 0 to the last), each column scaled to 1."""
    x = torch.linspace(-SIDE, SIDE, 160)[:, None]
    levels = np.linspace(0, len(alphas_cumprod) - 1, columns).round().astype(int)
    logs = [world.log_density(x, alphas_cumprod[t].item()) for t in levels]
    return np.stack([(log_p - log_p.max()).exp().numpy() for log_p in logs], 1)


def draw_truth(fig, left, top, width, height, world, background, truth, bar=0.5, letters=7.5):
    """What walks are compared with: the true density (left, `bar` inches wide), and many tiny steps over t (right).

    truth: (timesteps, path (steps + 1, N, 1)), N >= WALKS. letters: size of the numbers and words on the axes. Returns both axes.
    """
    bars, ways = place(fig, left, top, bar, height), place(fig, left + bar + 0.04, top, width, height)
    ways.imshow(background, origin="lower", extent=(0, 999, -SIDE, SIDE), aspect="auto", cmap=BLUES, vmin=0, vmax=2.2)
    ways.plot([*truth[0], 0], truth[1][:, inside(truth), 0], color=SIGNAL, lw=0.45, alpha=0.7)
    tidy(ways, "t", None, (0, 500, 999), ()).set_xticklabels(["clean", "500", "999"])
    ways.set(xlim=(0, 999), ylim=(-SIDE, SIDE))
    ways.spines["left"].set_visible(False)
    x = torch.linspace(-SIDE, SIDE, 160)
    density = world.log_density(x[:, None], 1.0).exp()
    bars.axhspan(-0.5, 0.5, color=NOISE, alpha=0.18, lw=0)
    bars.fill_betweenx(x, 0, density / density.max(), color=SIGNAL, alpha=0.35, lw=0)
    bars.text(0.6, 0.94 * -SIDE, "ends", fontsize=letters, color=FAINT, ha="center")
    tidy(bars, xticks=(), yticks=(-1, 1)).set(xlim=(1.15, 0), ylim=(-SIDE, SIDE))
    bars.set_yticks([-1, 1], ["\u22121", "+1"])
    bars.tick_params(axis="y", pad=1, labelsize=letters + 0.5)
    ways.tick_params(axis="x", labelsize=letters + 0.5)
    bars.spines[["left", "bottom"]].set_visible(False)
    return bars, ways


def draw_walk(bars, ways, truth, walk, ends):
    """Every fourth of the walks into the axes of `draw_truth`, and all the ends (N, 1) of n steps. Returns what was drawn."""
    lines = ways.plot([*walk[0], 0], walk[1][:, inside(truth)[::4], 0], color=GUIDED, lw=1.0, marker="o", ms=1.8)
    height, edges = np.histogram(ends[:, 0], np.linspace(-SIDE, SIDE, 66), density=True)
    height = np.where(height > 0, height / height.max(), np.nan)
    return [bars.stairs(height, edges, orientation="horizontal", color=GUIDED, lw=1.2, baseline=None), *lines]


def inside(truth):
    """Which of the first WALKS ways are drawn: those that never leave the frame."""
    return [k for k in range(WALKS) if truth[1][:, k].abs().max() < SIDE]


class Steps:
    """The exact denoiser on two peaks, walked with any number of steps: the frames of a panel.

    world: a Mixture on the line. start: noise (N, 1), N >= WALKS. Each number of steps is walked once.
    """

    def __init__(self, world, start, alphas_cumprod):
        self.world, self.start, self.alphas_cumprod, self.walked, self.stage = world, start, alphas_cumprod, {}, None
        self.background, self.truth = density_over_t(world, alphas_cumprod), self.walk(200, start[:WALKS])

    def walk(self, n, start):
        """n steps from `start`: (timesteps, stops (n + 1, N, 1))."""
        stops = diffusion.spaced_timesteps(n)
        return stops, diffusion.ddim_path(
            lambda x, t: self.world.noise_pred(x, self.alphas_cumprod[t]), start, stops, self.alphas_cumprod
        )

    def all_ends(self, n):
        """The first WALKS ways of n steps, as `walk` gives them, and the ends (N, 1) of all."""
        if n not in self.walked:
            stops, path = self.walk(n, self.start)
            self.walked[n] = (stops, path[:, :WALKS].clone()), path[-1].clone()  # not the way of every point
        return self.walked[n]

    @staticmethod
    def gap_and_width(ends):
        """Share of ends (N, 1) in the gap, and the standard deviation of those above it; 0 for fewer than two."""
        above = ends[ends > 0.5]
        return (ends.abs() < 0.5).float().mean().item(), above.std().item() if len(above) > 1 else 0.0

    def ends(self, n):
        """Gap and width after n steps, as in `gap_and_width`."""
        return self.gap_and_width(self.all_ends(n)[1])

    def _stage(self):
        fig = style.new_figure(2.95, dpi=style.PANEL_DPI)
        self.title = write(fig, 0.4, 0.14, "", fontsize=11)
        style.leftwards(fig, 0.14)
        self.axes = draw_truth(
            fig, 0.4, 0.34, 6.5, 2.15, self.world, self.background, self.truth, bar=1.8, letters=10.5
        )
        return style.Stage(fig, [self.title])

    def frame(self, n):
        """PNG bytes for n steps."""
        self.stage = self.stage or self._stage()
        walk, ends = self.all_ends(n)
        self.title.set_text(f"{n} step{'s' if n > 1 else ''}: {self.ends(n)[0]:.1%} of the ends in the gap (grey)")
        drawn = draw_walk(*self.axes, self.truth, walk, ends)
        self.stage.moving = [*drawn, self.title]
        png = self.stage.png()
        for artist in drawn:
            artist.remove()
        return png


def one_step_many(world, truth, walks, alphas_cumprod, gaps):
    """Where ways of few and of many steps end. Returns a Picture.

    world: a Mixture on the line. truth: (timesteps, path) of many tiny steps; walks: {n: (timesteps, path)},
    four of them; each path is (steps + 1, N, 1) with N >= WALKS. gaps: {n: share of ends in the empty gap}.
    """
    fig, top = style.new_figure(TITLE + 0.5 + 2.5 + 0.45 + NOTE), TITLE + 0.5
    background = density_over_t(world, alphas_cumprod)
    for i, (n, walk) in enumerate(walks.items()):
        left = 0.35 + i * 2.16
        axes = draw_truth(fig, left, top, 1.36, 2.5, world, background, truth)
        draw_walk(*axes, truth, walk, walk[1][-1])
        write(fig, left + 0.54, top - 0.3, f"{n} step{'s' if n > 1 else ''}", fontweight="bold", fontsize=10)
        write(fig, left + 0.54, top - 0.11, f"{gaps[n]:.1%} land in the gap", color=GUIDED, fontsize=8.5)
    write(fig, 0.1, top + 1.25, "value", rotation=90, ha="center")
    style.leftwards(fig, 0.2)
    return style.claimed(
        fig,
        "One step lands on the mean of the data, where there are no data",
        f"Blue: paths of {len(truth[0])} steps, and the true density. Vermilion: n steps from every fourth of these starts; all "
        "ends as a histogram, scaled to its peak. Grey: |value| < 0.5.",
        "Four columns for 1, 2, 5 and 20 steps. Thin blue paths split towards two peaks. With one step the "
        "vermilion paths run straight to the middle between the peaks; with twenty they follow the blue "
        "paths and end in two bunches on the peaks.",
        64,
    )


def loss_floor(levels, floor, losses, training=None):
    """The loss of a network during training over the best possible loss. Returns a Picture.

    levels: timesteps; floor: the best possible loss at each; losses: {moment: values}, two of them, the first dashed.
    training: the smallest loss that the training points allow, at each.
    """
    inputs.table(losses, "losses", "{moment: losses}")
    top = TITLE + 0.15
    fig = style.new_figure(top + 2.7 + 0.42 + NOTE)
    ax, width = place(fig, 0.7, top, 7.0, 2.7), 0.8 * (levels[1] - levels[0])
    ax.bar(levels, floor, width=width, color=NOISE, alpha=0.55, lw=0)
    if training is not None:
        ax.hlines(training, np.subtract(levels, width / 2), np.add(levels, width / 2), color=INK, lw=1.5)
    looks = ["--", "-"]
    highest = 1.05 * max(max(values) for values in [floor, *losses.values()])
    ends = np.array([values[-1] for values in losses.values()])
    heights = ends + 0.06 * highest * np.array(
        [(np.abs(ends[i + 1 :] - ends[i]) < 0.06 * highest).sum() for i in range(len(ends))]
    )
    for look, height, (moment, values) in zip(looks, heights, losses.items()):
        ax.plot(levels, values, look + "o", color=ESTIMATE, lw=1.3, ms=5, mec="white", mew=0.5)
        ax.text(levels[-1] + 0.7 * width, height, moment, color=DARK_ORANGE, fontsize=9)
    ax.text(
        0.99,
        0.8,
        "grey bars: the oracle, the best possible on new points",
        transform=ax.transAxes,
        ha="right",
        fontsize=9,
    )
    if training is not None:
        ax.text(
            0.99, 0.72, "black lines: the memoriser on its own points", transform=ax.transAxes, ha="right", fontsize=9
        )
    tidy(ax, "t (left: data, right: noise)", "mean squared error of the noise", levels)
    ax.set(xlim=(levels[0] - 0.6 * width, levels[-1] + 0.6 * width), ylim=(0, highest))
    return style.claimed(
        fig,
        "The floor of the loss is not 0; on its own points, the memoriser goes below it at t = 0",
        "Orange: the network before (dashed) and after its training, on the same new points as the oracle.",
        "Loss over t. Grey bars show the loss of the best possible denoiser, high at small t and falling "
        "with t. Black lines of the memoriser on its own points lie far below the bar at t = 0, and at the bars' tops "
        "from t = 100 on. Orange lines of the network, before and after its training: the last comes down to the "
        "bars, but at t = 0 it stays above its bar.",
        48,
    )


def steps_race(distances, shares, scale, title, alt, note=None, noise=None):
    """How near to the shape few and many steps end, for several samplers. Returns a Picture.

    distances, shares: {label: {number of steps: value}}, the energy distance and the share of points off the shape.
    scale: the largest distance of ten pairs of true sets, drawn as a band. noise: the distance of the noise, as a line.
    """
    inputs.table(distances, "distances", "{label: {steps: distance}}")
    inputs.table(shares, "shares", "{label: {steps: share}}")
    top, colours = TITLE + 0.3, (SIGNAL, GUIDED, PROMPT)
    fig = style.new_figure(top + 2.3 + 0.42 + (NOTE if note else 0.04))
    for left, lines, words in (
        (0.62, distances, "energy distance to true points"),
        (4.75, shares, "share of points off the shape"),
    ):
        ax = place(fig, left, top, 2.9, 2.3)
        for values, colour, look in zip(lines.values(), colours, ("-o", "-o", ":s")):
            ax.plot(list(values), list(values.values()), look, color=colour, lw=1.5, ms=4)
        tidy(ax)
        ax.set(xscale="log", xlim=(0.9, 60))
        ax.set_xticks(list(values), [str(n) for n in values])
        ax.minorticks_off()
        ax.set_xlabel("steps", labelpad=2)
        write(fig, left, top - 0.14, words, fontweight="bold")
        if lines is distances:
            ax.set_yscale("log")
            ax.set_ylim(bottom=scale / 2)
            ticks = [y for y in (0.003, 0.01, 0.03, 0.1, 0.3, 1) if scale / 2 < y < ax.get_ylim()[1]]
            ax.set_yticks(ticks, [f"{y:g}" for y in ticks])
            ax.axhspan(scale / 2, scale, color=NOISE, alpha=0.25, lw=0)
            ax.text(1, scale * 0.7, "true sets, largest of ten", color=FAINT, fontsize=8, va="center")
            if noise is not None:
                ax.axhline(noise, color=NOISE, lw=1, ls="--")
                ax.text(58, noise * 1.06, "the noise itself", color=FAINT, fontsize=8, ha="right", va="bottom")
        else:
            ax.set_ylim(0, 1.03)
    for k, (label, colour) in enumerate(zip(distances, colours)):
        write(fig, 7.72, top + 0.2 + 0.42 * k, label, color=colour, fontsize=8)
    return style.claimed(fig, title, note, alt, 64)
