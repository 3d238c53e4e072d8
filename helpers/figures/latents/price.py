"""What a latent costs and saves: decibels for bytes against JPEG, and the work of the U-Net."""

import numpy as np

from helpers.figures import style
from helpers.figures.style import FAINT, GUIDED, INK, NOTE, SIGNAL, TITLE, place, show_picture, tidy, write


def _curves(ax, jpegs, vae, limits):
    """JPEG as black lines with a band, the VAE as blue diamonds, from and to so many bytes. See bytes_against_decibels."""
    size, header, decibels = jpegs[..., 0], jpegs[..., 1], jpegs[..., 2]  # (N, Q) each
    x, y = size.mean(0), decibels.mean(0)
    if len(jpegs) > 1:
        ax.fill_between(x, *np.quantile(decibels, (0.05, 0.95), axis=0), color=INK, alpha=0.1, lw=0)
    ax.plot(x, y, color=INK, lw=1.6)
    ax.plot((size - header).mean(0), y, color=INK, lw=1.0, ls=(0, (3, 2)))
    for label, (count, values) in vae.items():
        low, high = np.quantile(values, (0.05, 0.95))
        ax.plot([count, count], [low, high], color=SIGNAL, lw=1.4, alpha=0.6)
        ax.plot(count, np.mean(values), "D", color=SIGNAL, ms=7, mec="white", mew=0.8)
        ax.annotate(
            f"VAE\n{label}",
            (count, low),
            (0, -7),
            textcoords="offset points",
            color=SIGNAL,
            fontsize=8,
            ha="center",
            va="top",
        )
    ax.set(xscale="log")
    ticks = [250 * 2**k for k in range(12) if limits[0] < 250 * 2**k < limits[1]]
    tidy(ax, "bytes").set_xlim(limits)
    ax.set_xticks(ticks, [f"{v}" for v in ticks])
    ax.minorticks_off()


def bytes_against_decibels(sides, title):
    """PSNR over bytes for JPEG and for the VAE, pictures at equal bytes below. Returns a Picture.

    sides: {name: {"jpegs": (N, Q, 3), numbers: bytes, bytes of these that are header, dB; "vae": {label:
    (bytes, dB (N,))}; "crops": {caption: picture}}}, two of them.
    """
    sides = {name: {**side, "jpegs": np.array(side["jpegs"])} for name, side in sides.items()}
    size, top, height = 1.3, TITLE + 0.32, 2.2
    low = top + height + 0.72
    fig = style.new_figure(low + size + 0.1 + NOTE)
    lows = [np.quantile(side["jpegs"][..., 2], 0.02) for side in sides.values()]
    lows += [values.min() for side in sides.values() for _, values in side["vae"].values()]
    highs = [side["jpegs"][..., 2].max() for side in sides.values()]
    highs += [values.max() for side in sides.values() for _, values in side["vae"].values()]
    means = [side["jpegs"].mean(0) for side in sides.values()]  # (Q, 3) each
    limits = 0.8 * min((one[:, 0] - one[:, 1]).min() for one in means), 1.25 * max(one[:, 0].max() for one in means)
    for i, (name, side) in enumerate(sides.items()):
        left = 0.55 + i * 4.45
        ax = place(fig, left, top, 3.85, height)
        _curves(ax, side["jpegs"], side["vae"], limits)
        ax.set_ylim(min(lows) - 7, max(highs) + 1)
        ax.set_ylabel("PSNR, dB", labelpad=2)
        write(
            fig,
            left + 3.85,
            top - 0.14,
            "solid: JPEG; dashed: its tables not counted",
            fontsize=8,
            color=FAINT,
            ha="right",
        )
        write(fig, left, top - 0.14, name, fontweight="bold")
        for k, (caption, picture) in enumerate(side["crops"].items()):
            x = left - 0.2 + k * (size + 0.08)
            show_picture(fig, picture, x, low, size)
            write(fig, x + size / 2, low - 0.1, caption, fontsize=8, ha="center")
    return style.claimed(
        fig,
        title,
        "Lines and diamonds: means. Grey band and blue bars: from the 5th to the 95th percentile of the pictures.",
        "Two panels, postcards and a photograph: PSNR over bytes. Black lines show "
        "JPEG at rising quality, blue diamonds the VAE. Below each panel the "
        "original, the VAE's picture and JPEG's in no more bytes.",
    )


class Rates:
    """The frames of a panel: a picture, what the VAE made of it, and what JPEG made of it, which changes.

    pictures: the three, PIL. labels: above each.
    """

    def __init__(self, pictures, labels):
        fig, size = style.new_figure(3.25, dpi=style.PANEL_DPI), 2.85
        for i, (picture, label) in enumerate(zip(pictures, labels)):
            x = 0.08 + i * (size + 0.13)
            axes = show_picture(fig, picture, x, 0.34, size)
            self.label = write(fig, x, 0.17, label, color=(INK, SIGNAL, INK)[i], fontweight="bold")
        self.shown = axes.images[0]  # of the last: JPEG's
        self.stage = style.Stage(fig, [self.shown, self.label])

    def frame(self, compressed, label):
        """PNG bytes with this picture in JPEG's place, and this label above it."""
        self.shown.set_data(style.to_rgb(compressed))
        self.label.set_text(label)
        return self.stage.png()


def bill(models):
    """The work of one U-Net call, on latents and on pixels. Returns a Picture.

    models: {label: (work on latents, work on pixels)}, each {"attention": FLOPs, "other": FLOPs}, from top to bottom.
    """
    top, height, words = TITLE + 0.25, 0.38, {"attention": "attention", "other": "all the rest"}
    rows = [(label, kind, *(parts[kind] / 1e9 for parts in pair)) for label, pair in models.items() for kind in words]
    fig = style.new_figure(top + len(rows) * height + 0.55 + NOTE)
    ax = place(fig, 2.75, top, 6.05, len(rows) * height)
    for i, (_, kind, few, many) in enumerate(rows):
        colour = {"attention": GUIDED, "other": SIGNAL}[kind]
        ax.plot([few, many], [i, i], color=colour, lw=1.6, alpha=0.6, zorder=1)
        ax.plot(few, i, "o", ms=8, mfc="white", mec=colour, mew=1.8)
        ax.plot(many, i, "o", ms=8, color=colour)
        ax.text(
            (few * many) ** 0.5,
            i - 0.13,
            f"{many / few:.0f} times",
            ha="center",
            va="bottom",
            fontsize=8.5,
            color=colour,
        )
    lowest, highest = min(row[2] for row in rows), max(row[3] for row in rows)
    tidy(ax, "work of one call in GFLOP (1 GFLOP = 1 billion operations)")
    ax.set(xscale="log", xlim=(lowest / 3, highest * 3), ylim=(len(rows) - 0.5, -0.6))
    ax.set_yticks(range(len(rows)))
    ax.set_yticklabels([words[row[1]] for row in rows], fontsize=8.5, color=INK)
    decades = np.arange(np.ceil(np.log10(lowest / 3)), np.log10(highest * 3), 2)
    ax.set_xticks(10.0**decades, [f"{10.0**d:.0f}" if d >= 0 else f"{10.0**d:g}" for d in decades])
    ax.minorticks_off()
    for x, word in zip(rows[0][2:], ("latents", "pixels")):
        ax.text(x, -0.32, word, ha="center", va="bottom", fontsize=8, color=FAINT)
    for k, label in enumerate(models):
        write(fig, 0.08, top + (2 * k + 1.05) * height, label, fontsize=8.5)
    return style.claimed(
        fig,
        "On latents the U-Net has far less to do, in attention most of all",
        "Ring: on latents. Disc: on pixels. Counted by PyTorch for one picture and one call. Each mark on the axis is 100 times the one before.",
        "The work of one U-Net call on a logarithmic axis: a ring for latents, a disc for pixels. On pixels "
        "each model needs far more, and attention grows most.",
    )
