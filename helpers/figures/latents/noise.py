"""Noise in pixels and in latents, and the cheap preview."""

import numpy as np

from helpers.figures import style
from helpers.figures.style import GUIDED, NOISE, NOTE, TITLE, place, show_picture, tidy, write


def noises(rows, shares, spectra):
    """The same share of noise in pixels and in latents, and the spectrum of the damage. Returns a Picture.

    rows: {"pixels": pictures, "latents": pictures}, one for each of `shares` (of the signal's variance).
    spectra: {"pixels", "latents": (frequencies, power)} of the damage at one of the shares.
    """
    top, margin = TITLE + 0.26, 0.4
    size = min(1.5, 3.6 / len(shares))
    fig = style.new_figure(top + 2 * (size + 0.06) + 0.12 + NOTE)
    for r, (name, pictures) in enumerate(rows.items()):
        y = top + r * (size + 0.06)
        write(fig, margin - 0.14, y + size / 2, name, rotation=90, ha="center")
        for i, picture in enumerate(pictures):
            x = margin + i * (size + 0.06)
            show_picture(fig, picture, x, y, size)
            if r == 0:
                write(fig, x + size / 2, top - 0.1, f"abar = {shares[i]:g}", ha="center", fontsize=8.5)
    left = margin + len(shares) * (size + 0.06) + 0.85
    ax = place(fig, left, top + 0.05, 8.85 - left, 2 * size - 0.35)
    for (name, (frequencies, power)), colour in zip(spectra.items(), (NOISE, GUIDED)):
        ax.plot(frequencies, np.asarray(power), color=colour, lw=1.8)
    tidy(ax, "cycles across the picture (left: large shapes)", "power of the damage")
    ax.set(xscale="log", yscale="log")
    ticks = [v for v in (1, 4, 16, 64) if v <= frequencies[-1]]
    ax.set_xticks(ticks, [str(v) for v in ticks])
    lowest = min(float(np.asarray(power).min()) for _, power in spectra.values())
    heights = [v for v in (0.1, 0.01, 0.001, 0.0001) if v > lowest / 3]
    ax.set_yticks(heights, [f"{v:g}" for v in heights])
    ax.minorticks_off()
    for name, colour, x in zip(spectra, (NOISE, GUIDED), (left, left + 1.1)):
        write(fig, x, top - 0.1, f"noise in {name}", fontsize=8.5, color=colour)
    return style.claimed(
        fig,
        "The same share of noise does coarser damage in latents: patches change, not single pixels",
        "The same abar in both rows; latents are scaled. Right: the damage at abar = 0.9, mean power at each frequency (of white noise: its variance).",
        "Two rows of one postcard with rising noise: grain in pixels above, blots of "
        "wrong colour and shape from noisy latents below. Right, the spectrum of the "
        "damage: flat for pixels, rising towards large shapes for latents.",
    )


def previews(originals, decoded, small, title, note=None):
    """Pictures, the same decoded by the VAE, and by the matrix (any size). Returns a Picture."""
    return style.picture_grid(
        [originals, decoded, small],
        title,
        "Three rows: postcards, the same decoded by the VAE, and a coarse preview that has about "
        "the colours of the postcard and none of its edges.",
        (),
        ["original", "VAE", "matrix"],
        note=note,
        palette=256,
    )
