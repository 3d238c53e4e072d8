"""Lesson 01 in small worlds: score and noise, fields of arrows, ways from noise to data, one step against many."""
import matplotlib
import numpy as np
import torch

from .. import diffusion
from . import style
from .style import BLUES, ESTIMATE, FAINT, GUIDED, INK, NOISE, NOTE, SEQUENTIAL, SIGNAL, TITLE, place, tidy, write

SIDE = 2.7                                     # the plane is drawn from -SIDE to SIDE


def plane(n):
    """A grid of n x n points on the plane, (n * n, 2), row by row from below."""
    side = torch.linspace(-SIDE, SIDE, n)
    y, x = torch.meshgrid(side, side, indexing="ij")
    return torch.stack([x, y], -1).reshape(-1, 2)


def density_image(world, abar, n=72):
    """Root of the density at one noise level on the plane, (n, n), 0..1: for the eye, so that thin tails stay visible."""
    density = world.log_density(plane(n), abar).reshape(n, n)
    return (0.5 * (density - density.max())).exp().numpy()


def square(fig, left, top, size):
    """Empty square axes for the plane, without ticks."""
    ax = place(fig, left, top, size, size)
    ax.set(xlim=(-SIDE, SIDE), ylim=(-SIDE, SIDE), xticks=[], yticks=[])
    ax.spines[:].set(visible=True, color="#D0D0D0")
    return ax


def show_density(ax, image):
    return ax.imshow(image, origin="lower", extent=(-SIDE, SIDE, -SIDE, SIDE), cmap=BLUES, vmin=0, vmax=1.15,
                     interpolation="bilinear", aspect="auto")


def arrows(ax, at, score, n):
    """A field of arrows: direction of the score, length clipped, darker where the score is longer."""
    u, v, dark = arrow_parts(score, n)
    return ax.quiver(at[:, 0], at[:, 1], u, v, dark, cmap="Greys", clim=(-2.2, 1.6), pivot="tail", angles="xy",
                     scale_units="xy", scale=1, width=0.006, headwidth=4, headlength=4.5, headaxislength=4)


def arrow_parts(score, n):
    length = score.norm(dim=1).clamp(min=1e-6)
    shown = (2 * SIDE / n) * 0.95 * (length / 2.5).clamp(max=1)
    return *(score / length[:, None] * shown[:, None]).T.numpy(), length.log10().numpy()


class ScoreFields:
    """True score, learnt score and their difference at any timestep.

    world: a Mixture on the plane. noise_pred(x, t): the trained network. points: clean points (n, 2) drawn as x_t in the
    error map. paths: stops of one walk (steps + 1, 2) and its timesteps, drawn into the true field down to t.
    """

    def __init__(self, world, noise_pred, points, alphas_cumprod, path=None, path_timesteps=(), n=22):
        self.world, self.noise_pred, self.alphas_cumprod, self.n = world, noise_pred, alphas_cumprod, n
        self.points, self.noise = points, torch.randn(points.shape, generator=torch.Generator().manual_seed(0))
        self.path, self.path_timesteps, self.at, self.stage = path, list(path_timesteps), plane(n), None

    def fields(self, t):
        """True and learnt score on the arrow grid (n * n, 2), and |difference of the noise predictions| on 48 x 48."""
        abar, fine = self.alphas_cumprod[t].item(), plane(48)
        with torch.no_grad():
            learnt, learnt_fine = self.noise_pred(torch.cat([self.at, fine]), t).split([len(self.at), len(fine)])
        true = diffusion.score(self.world.noise_pred(self.at, abar), t, self.alphas_cumprod)
        error = (learnt_fine - self.world.noise_pred(fine, abar)).norm(dim=1).reshape(48, 48)
        return true, diffusion.score(learnt, t, self.alphas_cumprod), error.numpy()

    def noisy(self, t):
        return diffusion.add_noise(self.points, self.noise, t, self.alphas_cumprod).numpy()

    def _column(self, fig, corners, size, t, dots=3):
        """The three squares for one timestep, at three corners (left, top). Returns the artists that change with t."""
        true, learnt, error = self.fields(t)
        artists = []
        for (left, top), score in zip(corners, (true, learnt)):
            ax = square(fig, left, top, size)
            artists += [show_density(ax, density_image(self.world, self.alphas_cumprod[t].item())),
                        arrows(ax, self.at.numpy(), score, self.n)]
        ax = square(fig, *corners[2], size)
        image = ax.imshow(error, origin="lower", extent=(-SIDE, SIDE, -SIDE, SIDE), cmap=SEQUENTIAL, vmin=0, vmax=1,
                          interpolation="bilinear", aspect="auto")
        cloud, = ax.plot(*self.noisy(t).T, "o", color="white", ms=dots / 2, mew=0, alpha=0.7)
        return [*artists, image, cloud]

    def figure(self, timesteps):
        """The static figure: one column for each of a few timesteps, rows true, learnt, error."""
        size, gap, left, top = 1.6, 0.09, 0.55, TITLE + 0.24
        fig = style.new_figure(top + 3 * (size + gap) + 0.1 + NOTE)
        for row, text in enumerate(("true score", "learnt score", "where they differ")):
            write(fig, 0.36, top + row * (size + gap) + size / 2, text, rotation=90, ha="center")
        for i, t in enumerate(timesteps):
            x = left + i * (size + gap)
            self._column(fig, [(x, top + row * (size + gap)) for row in range(3)], size, t)
            write(fig, x + size / 2, top - 0.12, f"t = {t}", ha="center")
        style.claim(fig, "Much noise: all arrows point at the middle. Little noise: they point at the shape",
                    "Blue: density of the noisy data. Third row: bright = large error, dots = noisy data. Arrow length is clipped; "
                    "darker = longer. Two dimensions flatter.")
        return style.finish(fig, "Arrow fields at five noise levels. With much noise every arrow points to the centre, with little noise "
                            "to the nearest part of the shape. The learnt field looks like the true one; the error map is bright only "
                            "away from the dots that are noisy data.", palette=True)

    def frame(self, t):
        """PNG bytes for one timestep."""
        if self.stage is None:
            fig, top, size = style.new_figure(3.25, dpi=style.PANEL_DPI), 0.3, 2.88
            lefts = (0.08, 3.06, 6.04)
            for x, text in zip(lefts, ("true score", "learnt score", "where they differ (bright: much)")):
                write(fig, x, 0.15, text, fontweight="bold")
            self.artists = self._column(fig, [(x, top) for x in lefts], size, t, dots=5)
            self.walk, = fig.axes[0].plot([], [], "-o", color=GUIDED, lw=1.8, ms=2.5)
            self.stage = style.Stage(fig, [*self.artists, self.walk])
        true, learnt, error = self.fields(t)
        first, true_arrows, second, learnt_arrows, error_map, cloud = self.artists
        image = density_image(self.world, self.alphas_cumprod[t].item())
        first.set_data(image)
        second.set_data(image)
        true_arrows.set_UVC(*arrow_parts(true, self.n))
        learnt_arrows.set_UVC(*arrow_parts(learnt, self.n))
        error_map.set_data(error)
        cloud.set_data(*self.noisy(t).T)
        if self.path is not None:
            done = [stop for stop, at in zip(self.path.tolist(), [*self.path_timesteps, 0]) if at >= t]
            self.walk.set_data(*zip(*done)) if done else self.walk.set_data([], [])
        return self.stage.png()


def flow(path, timesteps, show_at, world, paths=14):
    """Samples on their way from noise (right) to the shape (left): path (steps + 1, n, 2), the stops nearest to `show_at`."""
    levels = np.array([*timesteps, 0])
    size, gap, top = 1.68, 0.1, TITLE + 0.24
    fig = style.new_figure(top + size + 0.1 + NOTE)
    for i, wanted in enumerate(sorted(show_at)):
        stop = int(np.abs(levels - wanted).argmin())
        ax = square(fig, 0.1 + i * (size + gap), top, size)
        ax.plot(*path[stop].T.numpy(), "o", color=SIGNAL, ms=1.3, mew=0, alpha=0.55)
        for k in range(paths):
            ax.plot(*path[: stop + 1, k].T.numpy(), color=GUIDED, lw=0.8, alpha=0.8)
        ax.plot(*path[stop, :paths].T.numpy(), "o", color=GUIDED, ms=2.6, mew=0)
        write(fig, 0.1 + i * (size + gap) + size / 2, top - 0.12, f"t = {levels[stop]}", ha="center")
    style.arrow(fig, (8.9, 0.2), (8.2, 0.2))
    write(fig, 8.12, 0.2, "sampling goes this way", fontsize=8, color=FAINT, ha="right")
    style.claim(fig, "The arrows carry noise to the shape; the last steps draw it",
                f"{path.shape[1]} points, {len(timesteps)} steps, no fresh noise (DDIM). Vermilion: the ways of {paths} of them.")
    return style.finish(fig, "Points at five moments of sampling, from right to left: a round cloud of noise at t = 999 turns into the "
                        "shape at t = 0; lines show the ways of some points.", palette=True)


def two_ways(world, noise_pred, start, timesteps, alphas_cumprod, seed=0):
    """The same start followed without fresh noise (DDIM) and with it (DDPM): start (n, 2). Returns a Picture."""
    generator = torch.Generator().manual_seed(seed)
    fig, top, size = style.new_figure(TITLE + 0.24 + 4.0 + 0.1 + NOTE), TITLE + 0.24, 4.0
    image = density_image(world, alphas_cumprod[0].item(), 160)
    for left, eta, text in ((0.3, 0.0, "without fresh noise (DDIM): one way from each start"),
                            (4.7, 1.0, "with fresh noise (DDPM): a step, then a random kick")):
        ax, x = square(fig, left, top, size), start
        show_density(ax, image)
        write(fig, left, top - 0.12, text, fontweight="bold")
        ax.plot(*start.T.numpy(), "o", color=INK, ms=4)
        for t, t_next in zip(timesteps, [*timesteps[1:], None]):
            abar = alphas_cumprod[t]
            abar_next = torch.tensor(1.0) if t_next is None else alphas_cumprod[t_next]
            mean, kick = diffusion.reverse_step(x, noise_pred(x, t), abar, abar_next, eta)
            after = mean + kick * torch.randn(x.shape, generator=generator) if eta else mean
            for a, b, c in zip(x.tolist(), mean.tolist(), after.tolist()):
                ax.plot(*zip(a, b), color=GUIDED, lw=1.3)
                ax.plot(*zip(b, c), color=INK, lw=0.7)
            x = after
        ax.plot(*x.T.numpy(), "o", color=GUIDED, ms=5)
    style.claim(fig, "Two ways down from the same start, and both end on the shape",
                f"Exact score, {len(timesteps)} steps. Black dots: start. Vermilion: the step towards the guess. Black: the kick.")
    return style.finish(fig, "Two squares with the shape in blue. Left, smooth vermilion ways from black start dots to the shape. Right, "
                        "from the same starts, jagged ways of vermilion steps and black random kicks that end elsewhere on the shape.",
                        palette=True)


def score_table(world, panels):
    """Averages of the true noise in bins of x_t against the slope of log p_t. A Picture.

    world: a Mixture on the line. panels: one per noise level, (t, abar, centres (n,), averages as scores (n,)).
    """
    fig, top = style.new_figure(TITLE + 0.26 + 2.2 + 0.42 + NOTE), TITLE + 0.26
    line = torch.linspace(-2.8, 2.8, 300)
    for i, (t, abar, centres, averages) in enumerate(panels):
        ax = place(fig, 0.62 + i * 2.85, top, 2.55, 2.2)
        exact = -world.noise_pred(line[:, None], abar)[:, 0] / (1 - abar) ** 0.5
        density = world.log_density(line[:, None], abar).exp()
        low, high = exact.min().item(), exact.max().item()
        ax.fill_between(line, low, low + 0.5 * (high - low) * density / density.max(), color=SIGNAL, alpha=0.15, lw=0)
        ax.axhline(0, color=NOISE, lw=0.8, ls=":")
        ax.plot(line, exact, color=SIGNAL, lw=1.8)
        ax.plot(centres, averages, "o", color=ESTIMATE, ms=3.6, mec="white", mew=0.3)
        tidy(ax, r"$x_t$", None, (-2, -1, 0, 1, 2))
        ax.set_xlim(-2.8, 2.8)
        write(fig, 0.62 + i * 2.85 + 1.27, top - 0.12, f"t = {t}", ha="center")
        if i == 0:
            write(fig, 0.2, top + 1.1, "score", rotation=90, ha="center")
            ax.text(0.98, 0.95, "slope of log p", color=SIGNAL, transform=ax.transAxes, ha="right", fontsize=8)
            ax.text(0.98, 0.86, "averaged noise", color="#B47A00", transform=ax.transAxes, ha="right", fontsize=8)
            ax.text(0.02, 0.04, "density", color=SIGNAL, transform=ax.transAxes, fontsize=8, alpha=0.7)
    style.claim(fig, "Averaging the noise gives the slope of the density: two names for one thing",
                "No network: the noise of a million noisy points is averaged in bins of x_t and divided by -sqrt(1 - abar).")
    return style.finish(fig, "Score over x_t at three noise levels. Orange dots, averages of the true noise in bins, lie on the blue "
                        "line, the slope of the logarithm of the known density.", palette=True)


def draw_steps(fig, left, top, world, truth, coarse, alphas_cumprod, width=1.36, height=2.5, background=None):
    """One column of F05: end points against the true density on the left, ways over t on the right."""
    levels = np.linspace(0, 999, 120).round().astype(int)
    grid = torch.linspace(-2.6, 2.6, 160)
    if background is None:
        background = steps_background(world, alphas_cumprod)
    bars, ways = place(fig, left, top, 0.5, height), place(fig, left + 0.54, top, width, height)
    ways.imshow(background, origin="lower", extent=(0, levels[-1], -2.6, 2.6), aspect="auto", cmap=BLUES, vmin=0, vmax=2.2)
    timesteps, path = truth
    for k in range(40):
        ways.plot([*timesteps, 0], path[:, k, 0], color=SIGNAL, lw=0.45, alpha=0.7)
    timesteps, path = coarse
    for k in range(0, 40, 4):
        ways.plot([*timesteps, 0], path[:, k, 0], color=GUIDED, lw=1.0, marker="o", ms=1.8)
    tidy(ways, "t", None, (0, 500, 999))
    ways.set(xlim=(0, 999), ylim=(-2.6, 2.6), yticks=[])
    ways.spines["left"].set_visible(False)
    density = world.log_density(grid[:, None], 1.0).exp()
    ends, edges = np.histogram(path[-1, :, 0], np.linspace(-2.6, 2.6, 66), density=True)
    bars.fill_betweenx(grid, 0, density / density.max(), color=SIGNAL, alpha=0.35, lw=0)
    bars.axhspan(-0.5, 0.5, color=NOISE, alpha=0.18, lw=0)
    bars.stairs(ends / ends.max(), edges, orientation="horizontal", color=GUIDED, lw=1.2, baseline=None)
    bars.text(0.6, -2.45, "ends", fontsize=7.5, color=FAINT, ha="center")
    tidy(bars)
    bars.set(xlim=(1.15, 0), ylim=(-2.6, 2.6), xticks=[], yticks=[])
    bars.spines[["left", "bottom"]].set_visible(False)
    return bars, ways


def steps_background(world, alphas_cumprod):
    """The density of x_t (rows) over t (columns), each column scaled to 1."""
    grid = torch.linspace(-2.6, 2.6, 160)[:, None]
    columns = [world.log_density(grid, alphas_cumprod[t].item()) for t in np.linspace(0, 999, 120).round().astype(int)]
    return np.stack([(c - c.max()).exp().numpy() for c in columns], 1)


def one_step_many(world, truth, walks, alphas_cumprod, gaps):
    """F05. truth: (timesteps, path) of many tiny steps; walks: {n: (timesteps, path)}; path (n + 1, N, 1).

    gaps: {n: share of end points in the empty gap}, written over each column. Returns a Picture.
    """
    fig, top = style.new_figure(TITLE + 0.5 + 2.5 + 0.45 + NOTE), TITLE + 0.5
    background = steps_background(world, alphas_cumprod)
    for i, (n, walk) in enumerate(walks.items()):
        left = 0.35 + i * 2.16
        bars, ways = draw_steps(fig, left, top, world, truth, walk, alphas_cumprod, background=background)
        write(fig, left + 0.54, top - 0.3, f"{n} step{'s' if n > 1 else ''}", fontweight="bold", fontsize=10)
        write(fig, left + 0.54, top - 0.11, f"{_share(gaps[n])} land in the gap", color=GUIDED, fontsize=8.5)
        if i == 0:
            write(fig, 0.2, top + 1.25, "value", rotation=90, ha="center")
            bars.text(1.1, 1.75, "where they\\nend", fontsize=7.5, color=GUIDED)
    style.arrow(fig, (8.75, top - 0.62 + 0.1), (7.6, top - 0.62 + 0.1))
    write(fig, 7.5, top - 0.52, "sampling goes this way", fontsize=8, color=FAINT, ha="right")
    style.claim(fig, "One step lands on the average of all pictures, where there is no picture",
                "Blue: the exact ways and the true density. Vermilion: the same starts with n steps of the exact denoiser, every "
                "fourth drawn. Grey: the gap, |value| < 0.5.")
    return style.finish(fig, "Four columns for 1, 2, 5 and 20 steps. Thin blue ways split towards two peaks. With one step the vermilion "
                        "ways run straight to the middle between the peaks; with twenty they follow the blue ways, and the end points "
                        "match the two peaks.", palette=True)


def steps_frame(world, truth, n, walk, alphas_cumprod, gap):
    """PNG bytes of the large single version of F05 for the panel."""
    fig = style.new_figure(3.5, dpi=style.PANEL_DPI)
    draw_steps(fig, 0.2, 0.35, world, truth, walk, alphas_cumprod, width=7.9, height=2.75)
    write(fig, 0.74, 0.18, f"{n} step{'s' if n > 1 else ''}", fontweight="bold", fontsize=11)
    write(fig, 1.75, 0.18, f"{_share(gap)} land in the gap, where there is no data", color=GUIDED)
    fig.canvas.draw()
    return style.encode(np.asarray(fig.canvas.buffer_rgba()))


def _share(value):
    return f"{value:.0%}".replace("%", " %") if value >= 0.01 else f"{value * 100:.1f} %"


def loss_floor(centres, floor, losses, shown=None):
    """F06. centres: t of each bucket; floor: the best possible loss there; losses: {label: values}, early to late."""
    fig, top = style.new_figure(TITLE + 0.15 + 2.7 + 0.42 + NOTE), TITLE + 0.15
    ax = place(fig, 0.7, top, 7.0, 2.7)
    ax.bar(centres, floor, width=0.8 * (centres[1] - centres[0]), color=NOISE, alpha=0.55, lw=0)
    shades = matplotlib.colormaps["YlOrBr"](np.linspace(0.35, 0.75, len(losses)))
    for shade, (label, values) in zip(shades, losses.items()):
        weight = 1.0 if shown in (None, label) else 0.15
        ax.plot(centres, values, "-o", color=shade, lw=1.0, ms=5, alpha=weight, mec="white", mew=0.5)
        ax.text(centres[-1] + 38, values[-1], label, color=shade, fontsize=8.5, va="center", alpha=weight)
    spread_labels(ax)
    ax.text(centres[1], floor[1] / 2, "the best possible", ha="left", va="center", fontsize=8.5, color=INK)
    tidy(ax, "t (left: data, right: noise)", "mean squared error of the noise")
    ax.set(xlim=(0, 1000), ylim=(0, 1.05 * max(max(v) for v in [floor, *losses.values()])))
    style.claim(fig, "The loss has a floor that no network can pass, and the floor is not zero",
                "Grey bars: loss of the exact denoiser of this shape. Orange: the network during training. Fresh points, same noise.")
    return style.finish(fig, "Loss over ten buckets of t. Grey bars show the loss of the best possible denoiser, high at small t and "
                        "falling with t. Orange lines of the network at three moments of training come down to the bars and stay "
                        "above them.", palette=True)


def spread_labels(ax, room=0.055):
    """Move the texts of an axes apart vertically so that none overlap."""
    low, high = ax.get_ylim()
    last = None
    for text in sorted(ax.texts, key=lambda text: text.get_position()[1]):
        x, y = text.get_position()
        if last is not None and y - last < room * (high - low):
            y = last + room * (high - low)
            text.set_position((x, y))
        last = y
