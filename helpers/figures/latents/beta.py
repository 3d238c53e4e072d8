"""What KL counts; the beta dial: what a VAE rebuilds, what it draws from noise, which of its numbers still say something."""

import numpy as np

from helpers.figures import style
from helpers.figures.style import FAINT, GUIDED, NOISE, NOTE, SIGNAL, TITLE, place, show_picture, tidy, write

DEAD = 0.2  # nats: a number of the latent that costs less says next to nothing


def clouds_priced(clouds):
    """Gaussian clouds of one number, each beside the prior N(0, 1). Returns a Picture. clouds: {(mean, sigma): KL in nats}, a few."""
    wide, gap, top, height = (8.6 - 0.2 * (len(clouds) - 1)) / len(clouds), 0.2, TITLE + 0.3, 1.3
    fig = style.new_figure(top + height + 0.4 + NOTE)
    means = [0, *(mean for mean, _ in clouds)]
    low, high = min(means) - 3.5, max(means) + 3.5
    peaks = [mean + sigma * step for mean, sigma in clouds for step in np.linspace(-4, 4, 81)]  # narrow ones, too
    x = np.sort([*np.linspace(low, high, 901), *peaks])

    def density(mean, sigma):
        return np.exp(-0.5 * ((x - mean) / sigma) ** 2) / (sigma * (2 * np.pi) ** 0.5)

    highest = max(density(*cloud).max() for cloud in clouds)
    for k, ((mean, sigma), nats) in enumerate(clouds.items()):
        left = 0.2 + k * (wide + gap)
        ax = tidy(place(fig, left, top, wide, height), xticks=(-2, 0, 2, 4), yticks=())
        ax.fill_between(x, density(0, 1), color=NOISE, alpha=0.45, lw=0)
        ax.plot(x, density(mean, sigma), color=GUIDED, lw=1.8)
        ax.set(xlim=(low, high), ylim=(0, 1.08 * highest))
        ax.spines["left"].set_visible(False)
        write(
            fig,
            left + wide / 2,
            top - 0.12,
            f"mean {mean:g}, sigma {sigma:g}: {nats:.1f} nats",
            ha="center",
            fontsize=8.5,
        )
    return style.claimed(
        fig,
        "A cloud like the prior costs nothing; one away from 0, or a narrow one, costs more",
        "Grey: the prior N(0, 1). Vermilion: the cloud. Both are densities, each of area 1, on one scale.",
        "Clouds of one number, each drawn over the prior: the prior itself costs 0 nats; a cloud "
        "away from 0, a narrow one, and one that is both cost more.",
    )


def beta_dial(columns, scale):
    """Reconstructions, samples and KL of one small VAE trained with several betas. Returns a Picture.

    columns: {beta: {"inputs", "rebuilt", "samples": pictures, of which the first three, of samples the first twelve, are
    shown; "psnr": dB; "apart": the samples' distance to true pictures; "kl": the KL of each number in nats, (d,)}}, as
    many as fit beside each other (three). scale: the distance between two sets of true pictures.
    """
    size, gap, left, apart = 0.75, 0.05, 0.78, 0.5
    wide, top = 3 * size + 2 * gap, TITLE + 0.5
    bars = top + 6 * (size + 0.08) + 0.6
    fig = style.new_figure(bars + 0.95 + 0.36 + NOTE)
    highest = max(float(column["kl"].max()) for column in columns.values())
    for i, (beta, column) in enumerate(columns.items()):
        x = left + i * (wide + apart)
        used = int((column["kl"] >= DEAD).sum())
        write(fig, x, top - 0.32, f"beta = {beta:g}", fontweight="bold", fontsize=10)
        write(
            fig,
            x,
            top - 0.12,
            f"copies {column['psnr']:.1f} dB, KL {float(column['kl'].sum()):.0f} nats",
            fontsize=8,
            color=FAINT,
        )
        shown = column["inputs"][:3], column["rebuilt"][:3], *column["samples"][:12].split(3)
        for r, row in enumerate(shown):
            for k, picture in enumerate(row):
                show_picture(fig, picture, x + k * (size + gap), top + r * (size + gap) + 0.15 * (r > 1), size)
        write(fig, x, bars - 0.5, f"distance to true pictures {column['apart']:.1f}", fontsize=8, color=FAINT)
        ax = tidy(place(fig, x, bars, wide, 0.95))
        values = column["kl"].sort(descending=True).values.tolist()
        ax.bar(
            range(used), values[:used], width=0.75, lw=0, color=SIGNAL
        )  # a bar of less would be drawn one pixel high
        ax.set(xlim=(-0.6, len(values) - 0.4), ylim=(0, 1.05 * highest), xticks=[])
        ax.set_xlabel("numbers of the latent, sorted", labelpad=6)
        ax.text(
            0.98,
            0.95,
            f"{used} of {len(values)}\nin use",
            transform=ax.transAxes,
            ha="right",
            va="top",
            fontsize=8,
            color=FAINT,
        )
        if i == 0:
            ax.set_ylabel("KL, nats")
    for r, word in ((0, "unseen\npictures"), (1, "copies"), (3.5, "new, from\nnoise")):
        write(fig, 0.4, top + r * (size + gap) + 0.15 * (r > 1) + size / 2, word, ha="center", fontsize=8.5)
    return style.claimed(
        fig,
        "Raising beta from 0.02 to 3 spoils copies and mends new pictures; at 3000 both fail",
        f"Only beta differs. Distance: energy distance of 400 samples; "
        f"two true sets {scale:.1f}. In use: {DEAD:g} nats or more.",
        "Three columns for a small, a middle and a large beta. Small: the best copies, smeared new "
        "pictures, every number in use. Middle: softer copies, new pictures most of which show a sun "
        "over the sea, few numbers in use. Large: the same mean picture everywhere, no number in use.",
    )


def another_beta(columns, beta, tried, truth):
    """One more beta among those that were trained: its copies over its new pictures, and some of both. Returns a Picture.

    columns, tried: as in beta_dial, of several betas, and of one's own: this one and those tried before, which stay as rings.
    truth: the distance between two sets of true pictures.
    """
    own, earlier = tried[beta], {one: column for one, column in tried.items() if one != beta}
    top, tall, size, gap = TITLE + 0.2, 2.62, 0.6, 0.05
    fig = style.new_figure(top + tall + 0.42 + NOTE)
    ax = place(fig, 0.62, top, 3.75, tall)
    points = [
        *((b, column, SIGNAL) for b, column in columns.items()),
        *((b, column, GUIDED) for b, column in tried.items()),
    ]
    for one, column, colour in points:
        ring = colour == GUIDED and one in earlier
        ax.plot(column["psnr"], column["apart"], "o", ms=8, color=colour, fillstyle="none" if ring else "full")
        offset, ha, va = ((9, 0), "left", "center") if colour == GUIDED else ((0, 8), "center", "bottom")
        ax.annotate(
            f"beta {one:g}",
            (column["psnr"], column["apart"]),
            offset,
            textcoords="offset points",
            ha=ha,
            va=va,
            fontsize=8.5,
            color=colour,
        )
    ax.axhline(truth, color=FAINT, lw=1.0, ls=(0, (3, 2)))
    everything = [*columns.values(), *tried.values()]
    low, high = min(one["psnr"] for one in everything), max(one["psnr"] for one in everything)
    ax.set(yscale="log", xlim=(low - 1.5, high + 2), ylim=(truth / 1.6, 2 * max(one["apart"] for one in everything)))
    ax.text(low - 1.3, truth * 1.06, "two true sets", fontsize=8, color=FAINT, va="bottom")
    tidy(ax, "copies, dB (right: better)", "new pictures, distance (down: better)")
    ax.set_yticks([0.1, 0.3, 1, 3, 10], ["0.1", "0.3", "1", "3", "10"])
    ax.minorticks_off()
    left, words = (
        8.84 + gap - 6 * (size + gap),
        (
            ("unseen", own["inputs"][:6]),
            ("copies", own["rebuilt"][:6]),
            ("new", own["samples"][:6]),
            ("", own["samples"][6:12]),
        ),
    )
    for r, (word, row) in enumerate(words):
        y = top + r * (size + gap) + 0.07 * (r > 1)
        write(fig, left - 0.1, y + (size / 2 if r < 2 else size), word, ha="right", fontsize=8.5)
        for k, picture in enumerate(row):
            show_picture(fig, picture, left + k * (size + gap), y, size)
    return style.claimed(
        fig,
        f"At beta {beta:g} copies reach {own['psnr']:.1f} dB, and new pictures lie {own['apart']:.1f} from true ones",
        f"Each network was trained once, for the same number of steps. Distance: energy distance of {len(own['samples'])} samples, on a logarithmic axis.",
        f"Left, a plane: copies in decibels to the right, distance of new pictures to true ones upwards; the networks of "
        f"{len(columns)} betas in blue and that of beta {beta:g} in vermilion{', as rings those tried before' if earlier else ''}. "
        "Right, some of its copies and of its new pictures.",
    )
