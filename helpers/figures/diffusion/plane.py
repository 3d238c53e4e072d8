"""Shapes in the plane: fields of arrows, clouds of points, and the paths from noise to the shape."""
import math

import matplotlib
import numpy as np
import torch

from ... import diffusion, inputs
from .. import style
from ..style import BLUES, FAINT, GUIDED, INK, NOTE, PROMPT, SEQUENTIAL, SIGNAL, TITLE, place, write

SIDE = 2.7                                     # the plane is drawn from -SIDE to SIDE
EXTENT = (-SIDE, SIDE, -SIDE, SIDE)
FINE = 64                                      # the error map is computed on FINE x FINE points
WALKERS = GUIDED, INK, PROMPT                  # colours of walks that are told apart
ASKED = 7                                      # it ends where the noisy data are exp(-ASKED) as dense as at most


def plane(n):
    """A grid of n x n points on the plane, (n * n, 2), row by row from below."""
    side = torch.linspace(-SIDE, SIDE, n)
    y, x = torch.meshgrid(side, side, indexing="ij")
    return torch.stack([x, y], -1).reshape(-1, 2)


def density_image(world, abar, n=104, bands=24):
    """Root of the density at one noise level, (n, n), 0..1 in so many shades: thin tails show too."""
    density = world.log_density(plane(n), abar).reshape(n, n)
    return ((0.5 * (density - density.max())).exp() * bands).round().numpy() / bands


def square(fig, left, top, size, image, cmap=BLUES, vmax=1.15):
    """Square axes for the plane with an image in it; returns the axes and the image."""
    ax = place(fig, left, top, size, size)
    shown = ax.imshow(image, origin="lower", extent=EXTENT, cmap=cmap, vmin=0, vmax=vmax,
                      interpolation="nearest", aspect="auto")
    ax.set(xlim=(-SIDE, SIDE), ylim=(-SIDE, SIDE), xticks=[], yticks=[])
    ax.spines[:].set(visible=True, color="#D0D0D0")
    return ax, shown


def arrow_parts(score, n):
    """Arrows for scores (n * n, 2), two rows: direction kept, length between a third of a cell and a whole one."""
    length = score.norm(dim=1).clamp(min=1e-6)
    shown = (2 * SIDE / n) * 0.95 * (length / 2.5).clamp(min=0.33, max=1)
    return (score / length[:, None] * shown[:, None]).T.numpy()


class ScoreFields:
    """True score, learnt score and their difference at any timestep.

    world: a Mixture on the plane. noise_pred(x, t): the trained network. points: clean points (n, 2), drawn
    as x_t in the error map. path: stops (steps + 1, 2) of one walk and its timesteps, drawn down to t.
    """

    def __init__(self, world, noise_pred, points, alphas_cumprod, path=None, timesteps=(), n=13):
        self.world, self.noise_pred, self.alphas_cumprod, self.n = world, noise_pred, alphas_cumprod, n
        self.path, self.levels, self.at, self.stage = path, [*timesteps, 0], plane(n), None
        self.points = points
        self.noise = torch.randn(points.shape, generator=torch.Generator().manual_seed(0))

    def fields(self, t):
        """True and learnt score on the arrow grid, (n * n, 2), and |error of the noise| on FINE x FINE."""
        abar, everywhere = self.alphas_cumprod[t].item(), torch.cat([self.at, plane(FINE)])
        with torch.no_grad():
            learnt = self.noise_pred(everywhere, t)
        true = self.world.noise_pred(everywhere, abar)
        error = (learnt - true)[len(self.at):].norm(dim=1).reshape(FINE, FINE).mul(20).round() / 20
        both = (diffusion.score(noise[:len(self.at)], t, self.alphas_cumprod) for noise in (true, learnt))
        return *both, error.numpy()

    def shown(self, error, t):
        """The error map, without the places where there are no noisy data and the network was never asked."""
        log_p = self.world.log_density(plane(FINE), self.alphas_cumprod[t].item()).reshape(FINE, FINE)
        return np.ma.masked_where((log_p < log_p.max() - ASKED).numpy(), error)

    def noisy(self, t):
        """The points as x_t, two rows of coordinates."""
        return diffusion.add_noise(self.points, self.noise, t, self.alphas_cumprod).T.numpy()

    def turned(self, t, angle=30):
        """Share of the noisy points whose true arrow points more than `angle` degrees away from the middle."""
        x_t = torch.tensor(self.noisy(t).T)
        noise = self.world.noise_pred(x_t, self.alphas_cumprod[t].item())       # the score points the other way
        inwards = torch.nn.functional.cosine_similarity(noise, x_t)
        return (inwards < math.cos(math.radians(angle))).float().mean().item()

    def _draw(self, fig, corners, size, t, dots):
        """The three squares for one timestep at (left, top) corners. Returns the artists that change."""
        true, learnt, error = self.fields(t)
        image, artists = density_image(self.world, self.alphas_cumprod[t].item()), []
        for corner, score in zip(corners, (true, learnt)):
            ax, shown = square(fig, *corner, size, image)
            artists += [shown, ax.quiver(*self.at.T.numpy(), *arrow_parts(score, self.n), color=INK, angles="xy",
                                         scale_units="xy", scale=1, width=0.006, headwidth=4, headlength=4.5,
                                         headaxislength=4)]
        colours = matplotlib.colormaps[SEQUENTIAL].with_extremes(bad="#D8D8D8")
        ax, shown = square(fig, *corners[2], size, self.shown(error, t), colours, vmax=1)
        cloud, = ax.plot(*self.noisy(t), "o", color=GUIDED, ms=dots, mew=0)
        return [*artists, shown, cloud]

    def figure(self, timesteps):
        """The static figure: one column for each of a few timesteps; rows true, learnt, error."""
        gap, left, top = 0.09, 0.55, TITLE + 0.24
        size = min(2.02, (8.9 - left) / len(timesteps) - gap)
        fig = style.new_figure(top + 3 * (size + gap) + 0.1 + NOTE)
        for row, text in enumerate(("true score", "learnt score", "where they differ")):
            write(fig, 0.36, top + row * (size + gap) + size / 2, text, rotation=90, ha="center")
        for i, t in enumerate(timesteps):
            x = left + i * (size + gap)
            self._draw(fig, [(x, top + row * (size + gap)) for row in range(3)], size, t, dots=1.5)
            write(fig, x + size / 2, top - 0.12, f"t = {t}", ha="center")
        style.claim(fig, "With much noise all arrows point at the middle, with little noise at the shape",
                    "Blue: density of the noisy data. Arrows: length clipped. Third row: distance between the "
                    "two noises, 0 (dark) to 1 or more (yellow). Dots: noisy data. Light grey: hardly any.")
        return style.finish(
            fig,
            f"Arrow fields at {len(timesteps)} noise levels. With much noise every arrow points to the centre, with "
            "little noise to the nearest part of the shape. Below the true field the learnt one, and a map of "
            "how far they are apart, bright between the arms at t = 10, mostly dark at more noise, with the noisy "
            "data as dots.", palette=64)

    def frame(self, t):
        """PNG bytes for one timestep."""
        if self.stage is None:
            fig, top, size = style.new_figure(3.25, dpi=style.PANEL_DPI), 0.3, 2.88
            lefts = (0.08, 3.06, 6.04)
            for x, text in zip(lefts, ("true score", "learnt score", "where they differ (bright: much)")):
                write(fig, x, 0.15, text, fontweight="bold")
            artists = self._draw(fig, [(x, top) for x in lefts], size, t, dots=2.5)
            walk, = fig.axes[0].plot([], [], "-o", color=GUIDED, lw=1.8, ms=2.5)
            said = write(fig, lefts[0] + size - 0.16, 0.15, "", ha="right")
            self.stage = style.Stage(fig, [*artists, walk, said])
        true, learnt, error = self.fields(t)
        first, true_arrows, second, learnt_arrows, error_map, cloud, walk, said = self.stage.moving
        image = density_image(self.world, self.alphas_cumprod[t].item())
        said.set_text(f"t = {t}: {self.turned(t):.0%} elsewhere")
        first.set_data(image)
        second.set_data(image)
        true_arrows.set_UVC(*arrow_parts(true, self.n))
        learnt_arrows.set_UVC(*arrow_parts(learnt, self.n))
        error_map.set_data(self.shown(error, t))
        cloud.set_data(*self.noisy(t))
        done = [] if self.path is None else [s for s, at in zip(self.path.tolist(), self.levels) if at >= t]
        walk.set_data([x for x, _ in done], [y for _, y in done])
        return self.stage.png()


def spread_paths(path, count, apart=0.6):
    """Indices of the first up to `count` paths (stops, n, 2) that stay inside the frame and start apart."""
    inside = (path.abs().amax((0, 2)) < SIDE - 0.1).nonzero()[:, 0]      # a path that leaves the frame tells nothing
    chosen = []
    for k in inside.tolist():
        if all((path[0, k] - path[0, other]).norm() > apart for other in chosen):
            chosen.append(k)
        if len(chosen) == count:
            break
    return chosen


def flow(path, timesteps, show_at, paths=16, title="Along the arrows noise turns into the shape", name="the shape"):
    """Samples on their way from noise (right) to the shape (left). Returns a Picture.

    path: (steps + 1, n, 2), the stops of n points, of which the last is clean; drawn are those nearest to the
    timesteps in `show_at`, 0 being the clean one. name: what the points end on, for the alt text.
    """
    levels = np.array([*timesteps, -1])
    chosen = spread_paths(path, paths)
    size, gap, top = 1.68, 0.1, TITLE + 0.24
    fig = style.new_figure(top + size + 0.1 + NOTE)
    for i, wanted in enumerate(sorted(show_at)):
        stop = int(np.abs(levels - wanted).argmin()) if wanted else len(timesteps)
        ax, _ = square(fig, 0.1 + i * (size + gap), top, size, np.zeros((1, 1)))
        ax.plot(*path[stop].T.numpy(), "o", color=SIGNAL, ms=1.3, mew=0, alpha=0.55)
        for k in chosen:
            ax.plot(*path[: stop + 1, k].T.numpy(), color=GUIDED, lw=0.8, alpha=0.8)
        ax.plot(*path[stop, chosen].T.numpy(), "o", color=GUIDED, ms=2.6, mew=0)
        name_of = f"t = {levels[stop]}" if wanted else "clean"
        write(fig, 0.1 + i * (size + gap) + size / 2, top - 0.12, name_of, ha="center")
    style.leftwards(fig, 0.2)
    style.claim(fig, title,
                f"{path.shape[1]} points, {len(timesteps)} steps, no fresh noise (DDIM). Vermilion: {len(chosen)} "
                "of them, their starts spread over the cloud, and the paths they took.")
    return style.finish(
        fig,
        f"Points at five moments of sampling, from right to left: a round cloud of noise at t = 999 turns "
        f"into {name}; lines show the paths of some points.", palette=64)


def two_ways(world, noise_pred, start, timesteps, alphas_cumprod, seed=4):
    """Up to three starts (n, 2) without fresh noise (DDIM), and n walks from the first with it (DDPM), each of them in
    a colour of its own. Returns a Picture."""
    generator = torch.Generator().manual_seed(seed)
    fig, top, size = style.new_figure(TITLE + 0.24 + 3.4 + 0.1 + NOTE), TITLE + 0.24, 3.4
    image = density_image(world, alphas_cumprod[0].item(), 220, bands=12)
    for left, eta, text in ((0.6, 0.0, "without fresh noise (DDIM): one path from each start"),
                            (4.9, 1.0, f"with fresh noise (DDPM): {len(start)} walks from one start")):
        (ax, _), x = square(fig, left, top, size, image), start[:1].expand_as(start) if eta else start
        write(fig, left, top - 0.12, text, fontweight="bold")
        for t, t_next in zip(timesteps, [*timesteps[1:], None]):
            abar = alphas_cumprod[t]
            abar_next = torch.tensor(1.0) if t_next is None else alphas_cumprod[t_next]
            mean, kick = diffusion.reverse_step(x, noise_pred(x, t), abar, abar_next, eta)
            after = mean + kick * torch.randn(x.shape, generator=generator) if eta else mean
            for a, b, c, colour in zip(x.tolist(), mean.tolist(), after.tolist(), WALKERS):
                ax.plot(*zip(a, b), color=colour, lw=1.8)
                ax.plot(*zip(b, c), color=colour, lw=0.7, ls=(0, (2, 1.5)))
            x = after
        for end, colour in zip(x.tolist(), WALKERS):
            ax.plot(*end, "o", color=colour, ms=7, mec="white", mew=0.8)
        ax.plot(*(start[:1] if eta else start).T.numpy(), "s", color=INK, ms=5)
    style.claim(fig, "Without fresh noise a start has one end; with it, one start has many",
                f"Exact score, {len(timesteps)} steps; a colour for each walk. Black squares: start. Dots: end. Solid: "
                "the step towards the guess. Dashed: the random kick.")
    return style.finish(
        fig,
        "Two squares with the shape in blue. Left, a smooth path from each black start to the shape. Right, from "
        "one of the starts, jagged walks in different colours, of steps and random kicks, that end in different "
        "places.", palette=64)


def clouds(sets, title, alt, note=None, dots=None):
    """Up to five sets of points side by side. Returns a Picture.

    sets: {label: points (n, 2)}; a second line of a label is printed small. dots: points (m, 2) drawn over each set.
    """
    inputs.table(sets, "sets", "{label: points}")
    gap, top = 0.1, TITLE + 0.4
    size = min(2.12, (8.8 - gap * (len(sets) - 1)) / len(sets))
    fig = style.new_figure(top + size + 0.1 + (NOTE if note else 0.04))
    for i, (label, points) in enumerate(sets.items()):
        x = 0.1 + i * (size + gap)
        ax, _ = square(fig, x, top, size, np.zeros((1, 1)))
        ax.plot(*points.T.numpy(), "o", color=SIGNAL, ms=1.5, mew=0, alpha=0.55)
        if dots is not None:
            ax.plot(*dots.T.numpy(), "o", color=GUIDED, ms=1.6, mew=0)
        name, _, more = label.partition("\n")
        write(fig, x + size / 2, top - (0.28 if more else 0.12), name, ha="center", fontweight="bold")
        write(fig, x + size / 2, top - 0.11, more, ha="center", fontsize=8, color=FAINT)
    style.claim(fig, title, note)
    return style.finish(fig, alt, palette=64)


def paths_compared(sets, title, alt, note=None, shown=40):
    """Paths of points side by side, three squares. Returns a Picture.

    sets: {label: path (stops, n, 2)}, n the same in all. Drawn are the first `shown` points that no path takes out of
    the frame; labels as in `clouds`.
    """
    inputs.table(sets, "sets", "{label: path}")
    inside = torch.stack([path.abs().amax((0, 2)) < SIDE for path in sets.values()]).all(0)
    drawn = inside.nonzero()[:shown, 0].tolist()
    size, gap, top = 2.84, 0.12, TITLE + 0.4
    fig = style.new_figure(top + size + 0.1 + (NOTE if note else 0.04))
    for i, (label, path) in enumerate(sets.items()):
        x = 0.1 + i * (size + gap)
        ax, _ = square(fig, x, top, size, np.zeros((1, 1)))
        for k in drawn:
            ax.plot(*path[:, k].T.numpy(), color=GUIDED, lw=0.8, alpha=0.7)
        ax.plot(*path[0, drawn].T.numpy(), "o", color=INK, ms=2.4, mew=0)
        ax.plot(*path[-1, drawn].T.numpy(), "o", color=SIGNAL, ms=3.2, mew=0)
        name, _, more = label.partition("\n")
        write(fig, x + size / 2, top - (0.28 if more else 0.12), name, ha="center", fontweight="bold")
        write(fig, x + size / 2, top - 0.11, more, ha="center", fontsize=8, color=FAINT)
    style.claim(fig, title, note)
    return style.finish(fig, alt, palette=64)
