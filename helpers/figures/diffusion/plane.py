"""Shapes in the plane: fields of arrows, clouds of points, and the paths from noise to the shape."""

import matplotlib
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
    LEARNT,
    NOTE,
    PROMPT,
    SEQUENTIAL,
    SIGNAL,
    TITLE,
    place,
    write,
)

SIDE = 2.7  # the plane is drawn from -SIDE to SIDE
EXTENT = (-SIDE, SIDE, -SIDE, SIDE)
PALE = 2.0  # densities under arrows are drawn as if at most 1 / PALE
FINE = 64  # the error map is computed on FINE x FINE points
WALKERS = GUIDED, PROMPT, LEARNT  # colours of walks that are told apart
ASKED = 7  # it ends where the noisy data are exp(-ASKED) as dense as at most


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
    shown = ax.imshow(
        image, origin="lower", extent=EXTENT, cmap=cmap, vmin=0, vmax=vmax, interpolation="nearest", aspect="auto"
    )
    ax.set(xlim=(-SIDE, SIDE), ylim=(-SIDE, SIDE), xticks=[], yticks=[])
    ax.spines[:].set(visible=True, color="#D0D0D0")
    return ax, shown


def arrow_parts(score, n):
    """Arrows for scores (n * n, 2), two rows: direction kept, length between half a cell and a whole one."""
    length = score.norm(dim=1).clamp(min=1e-6)
    shown = (2 * SIDE / n) * 0.95 * (length / 2.5).clamp(min=0.55, max=1)
    return (score / length[:, None] * shown[:, None]).T.numpy()


class ScoreFields:
    """True score, learnt score and their difference at any timestep.

    world: a Mixture on the plane. noise_pred(x, t): the trained network. points: clean points (n, 2), drawn
    as x_t in the error map. n: arrows a side.
    """

    def __init__(self, world, noise_pred, points, alphas_cumprod, n=17):
        self.world, self.noise_pred, self.alphas_cumprod, self.n = world, noise_pred, alphas_cumprod, n
        self.at, self.points = plane(n), points
        self.noise = torch.randn(points.shape, generator=torch.Generator().manual_seed(0))

    def fields(self, t):
        """True and learnt score on the arrow grid, (n * n, 2), and |error of the noise| on FINE x FINE."""
        abar, everywhere = self.alphas_cumprod[t].item(), torch.cat([self.at, plane(FINE)])
        with torch.no_grad():
            learnt = self.noise_pred(everywhere, t)
        true = self.world.noise_pred(everywhere, abar)
        error = (learnt - true)[len(self.at) :].norm(dim=1).reshape(FINE, FINE).mul(20).round() / 20
        both = (diffusion.score(noise[: len(self.at)], t, self.alphas_cumprod) for noise in (true, learnt))
        return *both, error.numpy()

    def shown(self, error, t):
        """The error map, without the places where there are no noisy data and the network was never asked."""
        log_p = self.world.log_density(plane(FINE), self.alphas_cumprod[t].item()).reshape(FINE, FINE)
        return np.ma.masked_where((log_p < log_p.max() - ASKED).numpy(), error)

    def noisy(self, t):
        """The points as x_t, two rows of coordinates."""
        return diffusion.add_noise(self.points, self.noise, t, self.alphas_cumprod).T.numpy()

    def _draw(self, fig, corners, size, t, dots):
        """The three squares for one timestep at (left, top) corners. Returns the image of the error."""
        true, learnt, error = self.fields(t)
        image = density_image(self.world, self.alphas_cumprod[t].item())
        for corner, score in zip(corners, (true, learnt)):
            ax, _ = square(fig, *corner, size, image, vmax=PALE)
            ax.quiver(
                *self.at.T.numpy(),
                *arrow_parts(score, self.n),
                color=INK,
                angles="xy",
                scale_units="xy",
                scale=1,
                width=0.006,
                headwidth=3.6,
                headlength=4,
                headaxislength=3.6,
            )
        colours = matplotlib.colormaps[SEQUENTIAL].with_extremes(bad="#D8D8D8")
        ax, shown = square(fig, *corners[2], size, self.shown(error, t), colours, vmax=1)
        ax.plot(*self.noisy(t), "o", color=GUIDED, ms=dots, mew=0)
        return shown

    def figure(self, *timesteps):
        """The static figure: one column for each of a few timesteps; rows true, learnt, error."""
        gap, left, top = 0.09, 0.55, TITLE + 0.24
        size = min(1.92, (8.34 - left) / len(timesteps) - gap)
        fig = style.new_figure(top + 3 * (size + gap) + 0.1 + NOTE)
        for row, text in enumerate(("true score", "learnt score", "where they differ")):
            write(fig, 0.36, top + row * (size + gap) + size / 2, text, rotation=90, ha="center")
        for i, t in enumerate(timesteps):
            x = left + i * (size + gap)
            error = self._draw(fig, [(x, top + row * (size + gap)) for row in range(3)], size, t, dots=1.5)
            write(fig, x + size / 2, top - 0.12, f"t = {t}", ha="center")
        bar = fig.colorbar(
            error, cax=place(fig, 0.02 + left + len(timesteps) * (size + gap), top + 2 * (size + gap), 0.1, size)
        )
        bar.set_ticks([0, 0.5, 1], labels=["0", "0.5", "1 +"])
        bar.outline.set_visible(False)
        bar.set_label("distance of the two noises", fontsize=8, labelpad=1)
        return style.claimed(
            fig,
            "The learnt arrows match the true ones, except where hardly a noisy point lies",
            "Blue, in both rows: true density of the noisy data. Lengths of arrows are clipped. "
            "Dots: noisy data. Light grey: hardly any.",
            f"Arrow fields at {len(timesteps)} noise levels. With much noise every arrow points to the centre, with "
            "little noise to the nearest part of the shape. Below the true field the learnt one, and a map of "
            "how far they are apart, with the noisy data as dots: dark where most dots lie, bright between the arms at "
            "t = 10, in the middle of the spiral and at its open end at t = 50, paler along parts of the rim at "
            "t = 150, dark all over at t = 999.",
            96,
        )


def spread_paths(path, count, apart=0.6):
    """Indices of the first up to `count` paths (stops, n, 2) that stay inside the frame and start apart."""
    inside = (path.abs().amax((0, 2)) < SIDE - 0.1).nonzero()[:, 0]  # a path that leaves the frame tells nothing
    chosen = []
    for k in inside.tolist():
        if all((path[0, k] - path[0, other]).norm() > apart for other in chosen):
            chosen.append(k)
        if len(chosen) == count:
            break
    return chosen


def flow(path, timesteps, show_at, paths=16, title="Step by step, noise turns into the shape", name="the shape"):
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
    return style.claimed(
        fig,
        title,
        f"{path.shape[1]} points, {len(timesteps)} steps, no fresh noise (DDIM). Vermilion: {len(chosen)} "
        "of them, their starts spread over the cloud, and the paths they took.",
        f"Points at five moments of sampling, from right to left: a round cloud of noise at t = 999 turns "
        f"into {name}; lines show the paths of some points.",
        64,
    )


class Walk:
    """A sampler in the plane, stop by stop: what the network estimates there, and where the sampler goes next.

    sample(noise_pred, x, timesteps, alphas_cumprod) -> (steps + 1, *x.shape): the sampler, called with `start` (n, 2)
    and even steps. world: a Mixture, drawn below the estimates. A few points of long ways are followed, by number from 1.
    """

    def __init__(self, world, noise_pred, sample, start, alphas_cumprod, steps=10, count=3):
        self.world, self.timesteps, self.stage = world, diffusion.spaced_timesteps(steps), None
        with torch.no_grad():
            self.path = sample(noise_pred, start, self.timesteps, alphas_cumprod)
            self.estimates = [
                diffusion.predict_x0(x, noise_pred(x, t), t, alphas_cumprod) for x, t in zip(self.path, self.timesteps)
            ]
        longest = self.path.diff(dim=0).norm(dim=2).sum(0).argsort(descending=True)
        self.chosen = longest[spread_paths(self.path[:, longest], count, apart=1.2)].tolist()

    def spread(self, t):
        """How far the estimates at stop t lie from their middle, and the shape's points from theirs (root mean square)."""
        middle = self.world.means.mean(0)
        shape = ((self.world.means - middle).square().sum(1).mean() + 2 * self.world.std**2).sqrt().item()
        return self.estimates[self.timesteps.index(t)].var(0, correction=0).sum().sqrt().item(), shape

    def _stage(self):
        fig, top, size, lefts = style.new_figure(4.08, dpi=style.PANEL_DPI), 0.32, 3.5, (0.6, 4.9)
        left, _ = square(fig, lefts[0], top, size, np.zeros((1, 1)))
        right, _ = square(fig, lefts[1], top, size, density_image(self.world, 1.0, 220, bands=12))
        stop = write(fig, lefts[0], 0.16, "", fontweight="bold")
        write(fig, lefts[1], 0.16, "their estimated clean points", fontweight="bold")
        write(
            fig, lefts[0], top + size + 0.12, "ring: the point followed; white: its next stop", fontsize=8, color=FAINT
        )
        write(fig, lefts[1], top + size + 0.12, "ring: the estimate of the point followed", fontsize=8, color=FAINT)
        ring = {"color": INK, "ms": 9, "mfc": "none", "mew": 1.5}
        cloud, estimates = (
            ax.plot([], [], "o", color=colour, ms=1.8, mew=0, alpha=0.6)[0]
            for ax, colour in ((left, SIGNAL), (right, ESTIMATE))
        )
        (ahead,) = left.plot([], [], ":o", color=GUIDED, lw=1.6, ms=6, mfc="white")
        (done,) = left.plot([], [], "-o", color=GUIDED, lw=1.6, ms=3.5)
        rings = (ax.plot([], [], "o", **ring)[0] for ax in (left, right))
        return style.Stage(fig, [cloud, estimates, ahead, done, *rings, stop])

    def frame(self, t, point):
        """PNG bytes for the stop at t, with one of the points followed."""
        self.stage = self.stage or self._stage()
        k, which = self.timesteps.index(t), self.chosen[point - 1]
        cloud, estimates, ahead, done, here, estimate, stop = self.stage.moving
        stop.set_text(f"the noisy points at t = {t}")
        for artist, points in (
            (cloud, self.path[k]),
            (estimates, self.estimates[k]),
            (ahead, self.path[k : k + 2, which]),
            (done, self.path[: k + 1, which]),
            (here, self.path[k, [which]]),
            (estimate, self.estimates[k][[which]]),
        ):
            artist.set_data(*points.T.numpy())
        return self.stage.png()


def two_ways(world, noise_pred, start, timesteps, alphas_cumprod, seed=4):
    """Up to three starts (n, 2) without fresh noise (DDIM), and n walks from the first with it (DDPM), each of these in
    a colour of its own from where they part. Returns a Picture."""
    generator = torch.Generator().manual_seed(seed)
    fig, top, size = style.new_figure(TITLE + 0.24 + 3.4 + 0.1 + NOTE), TITLE + 0.24, 3.4
    image = density_image(world, alphas_cumprod[0].item(), 220, bands=12)
    for left, eta, text in (
        (0.6, 0.0, "DDIM, no fresh noise: one path from each start"),
        (4.9, 1.0, f"DDPM, fresh noise: {len(start)} walks from one start"),
    ):
        (ax, _), x = square(fig, left, top, size, image), start[:1].expand_as(start) if eta else start
        write(fig, left, top - 0.12, text, fontweight="bold")
        colours = WALKERS if eta else [INK] * len(start)
        for t, t_next in zip(timesteps, [*timesteps[1:], None]):
            abar = alphas_cumprod[t]
            abar_next = torch.tensor(1.0) if t_next is None else alphas_cumprod[t_next]
            mean, kick = diffusion.reverse_step(x, noise_pred(x, t), abar, abar_next, eta)
            after = mean + kick * torch.randn(x.shape, generator=generator) if eta else mean
            for a, b, c, colour in zip(x.tolist(), mean.tolist(), after.tolist(), colours):
                ax.plot(*zip(a, b), color=INK if t == timesteps[0] else colour, lw=1.8)
                ax.plot(*zip(b, c), color=colour, lw=0.7, ls=(0, (2, 1.5)))
            x = after
        for end, colour in zip(x.tolist(), colours):
            ax.plot(*end, "o", color=colour, ms=7, mec="white", mew=0.8)
        ax.plot(*(start[:1] if eta else start).T.numpy(), "s", color=INK, ms=5)
    return style.claimed(
        fig,
        "Without fresh noise each start leads to one end; with it, to many",
        f"Exact score, {len(timesteps)} steps. Squares: starts. Dots: ends. Solid: steps towards the estimate. Dashed: random kicks. "
        "Right: a colour for each walk, black before they part.",
        "Two squares with the shape in blue. Left, a smooth path from each start to the shape. Right, from "
        "one of the starts, jagged walks in different colours, of steps and random kicks, that end in different "
        "places.",
        64,
    )


def clouds(sets, title, alt, note=None, shape=None, dots=1.5, palette=64):
    """Up to five sets of points side by side. Returns a Picture.

    sets: {label: points (n, 2)}; a second line of a label is printed small.
    shape: a Mixture whose density is drawn behind each set. dots: the size of a point. palette: as in `style.encode`.
    """
    inputs.table(sets, "sets", "{label: points}")
    gap, top = 0.1, TITLE + 0.4
    size = min(2.12, (8.8 - gap * (len(sets) - 1)) / len(sets))
    fig = style.new_figure(top + size + 0.1 + (NOTE if note else 0.04))
    behind = np.zeros((1, 1)) if shape is None else 0.4 * density_image(shape, 1.0, 220, bands=8)
    high = 0.28 if any("\n" in label for label in sets) else 0.12  # names stand in one line
    for i, (label, points) in enumerate(sets.items()):
        x = 0.1 + i * (size + gap)
        ax, _ = square(fig, x, top, size, behind)
        ax.plot(*points.T.numpy(), "o", color=SIGNAL, ms=dots, mew=0, alpha=0.55)
        name, _, more = label.partition("\n")
        write(fig, x + size / 2, top - high, name, ha="center", fontweight="bold")
        write(fig, x + size / 2, top - 0.11, more, ha="center", fontsize=8, color=FAINT)
    return style.claimed(fig, title, note, alt, palette)


def in_noise(points, alphas_cumprod, timesteps=(10, 50, 150, 999), seed=0):
    """Clean points (n, 2), and the same points with one noise at a few timesteps. Returns a Picture."""
    noise = torch.randn(points.shape, generator=torch.Generator().manual_seed(seed))
    sets = {"clean": points} | {f"t = {t}": diffusion.add_noise(points, noise, t, alphas_cumprod) for t in timesteps}
    first, then, *_, last = timesteps
    return clouds(
        sets,
        f"The shape dissolves: blurred at t = {first}, run together at t = {then}, a cloud at t = {last}",
        f"{len(points)} points along the shape, and the same points with more and more noise: at t = {first} the shape is "
        f"blurred, at t = {then} its parts run together, at t = {last} the points are a round cloud.",
        dots=2.6,
        palette=24,
    )


def copies_in_plane(sets, known):
    """Up to five sets of points side by side, and below a part of each, enlarged, under the known points. Returns a Picture.

    sets: {label: points (n, 2)}, a second line of a label is printed small; known: the training points (N, 2).
    """
    inputs.table(sets, "sets", "{label: points}")
    gap, top = 0.1, TITLE + 0.4
    size = min(1.68, (8.8 - gap * (len(sets) - 1)) / len(sets))
    fig = style.new_figure(top + 2 * size + gap + 0.1 + NOTE)
    low, up = known.amin(0), known.amax(0)
    whole = ((low + up) / 2).tolist(), 0.64 * (up - low).max().item()
    highest = known[:, 1].argmax()
    near = (known - known[highest]).abs().amax(1) < 0.24 * whole[1]  # what lies around the topmost of them
    part = known[near].mean(0).tolist(), 0.24 * whole[1]
    for i, (label, points) in enumerate(sets.items()):
        x, ours = 0.1 + i * (size + gap), points is known
        name, _, more = label.partition("\n")
        write(fig, x + size / 2, top - 0.28, name, ha="center", fontweight="bold")
        write(fig, x + size / 2, top - 0.11, more, ha="center", fontsize=8, color=FAINT)
        for y, ((right, above), half), dots in ((top, whole, 1.5), (top + size + gap, part, 2.8)):
            ax, _ = square(fig, x, y, size, np.zeros((1, 1)))
            colour = INK if ours else SIGNAL
            ax.plot(*points.T.numpy(), "o", color=colour, ms=dots, mew=0, alpha=0.8 if ours else 0.45)
            if y > top:
                ax.plot(*known.T.numpy(), "o", color=INK, ms=3.4, mew=0)
            else:
                (a, b), r = part
                ax.plot([a - r, a + r, a + r, a - r, a - r], [b - r, b - r, b + r, b + r, b - r], color=FAINT, lw=0.8)
            ax.set(xlim=(right - half, right + half), ylim=(above - half, above + half))
    return style.claimed(
        fig,
        f"The memoriser clings to its {len(known)} points; the network does not",
        "Black: training points. Blue: samples. Below: the part in the grey square, enlarged.",
        "The training points, then samples of four denoisers. Enlarged, the memoriser's lie on the "
        "training points and on thin threads between neighbours; those of the oracle, of the memoriser "
        "with jitter and of the network fill the arm. Some of the network's lie off the shape.",
        24,
    )


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
    return style.claimed(fig, title, note, alt, 64)
