"""The beta dial: what a VAE rebuilds, what it draws from noise, which of its numbers still say something."""
from .. import style
from ..style import FAINT, NOISE, NOTE, SIGNAL, TITLE, place, show_picture, tidy, write

DEAD = 0.01         # nats: a number of the latent that costs less says nothing


def beta_dial(columns, scale):
    """Reconstructions, samples and KL of one small VAE trained with several betas. Returns a Picture.

    columns: {beta: {"inputs", "rebuilt", "samples": pictures, of which the first three, of samples the first six, are
    shown; "psnr": dB; "apart": the samples' distance to true pictures; "kl": the KL of each number in nats, (d,)}}, as
    many as fit beside each other (three). scale: the distance between two sets of true pictures.
    """
    size, gap, left, apart = 0.75, 0.05, 0.78, 0.4
    wide, top = 3 * size + 2 * gap, TITLE + 0.5
    bars = top + 4 * (size + 0.1) + 0.55
    fig = style.new_figure(bars + 0.95 + 0.36 + NOTE)
    highest = max(float(column["kl"].max()) for column in columns.values())
    for i, (beta, column) in enumerate(columns.items()):
        x = left + i * (wide + apart)
        dead = int((column["kl"] < DEAD).sum())
        write(fig, x, top - 0.32, f"beta = {beta:g}", fontweight="bold", fontsize=10)
        write(fig, x, top - 0.12, f"rebuilt to {column['psnr']:.1f} dB, KL {float(column['kl'].sum()):.0f} nats",
              fontsize=8, color=FAINT)
        shown = column["inputs"][:3], column["rebuilt"][:3], column["samples"][:3], column["samples"][3:6]
        for r, row in enumerate(shown):
            for k, picture in enumerate(row):
                show_picture(fig, picture, x + k * (size + gap), top + r * (size + 0.1) - 0.05 * (r == 3), size)
        write(fig, x, bars - 0.5, f"distance to true pictures {column['apart']:.2g}", fontsize=8, color=FAINT)
        ax = tidy(place(fig, x, bars, wide, 0.95))
        values = column["kl"].sort(descending=True).values.tolist()
        ax.bar(range(len(values)), [max(value, 0.012 * highest) for value in values], width=0.75, lw=0,
               color=[SIGNAL if value >= DEAD else NOISE for value in values])
        ax.set(ylim=(0, 1.05 * highest), xticks=[])
        ax.set_xlabel("numbers of the latent, sorted", labelpad=6)
        ax.text(0.98, 0.95, f"{dead} of {len(values)}\nnot in use", transform=ax.transAxes, ha="right",
                va="top", fontsize=8, color=FAINT)
        if i == 0:
            ax.set_ylabel("KL, nats")
    for r, word in ((0, "input"), (1, "rebuilt"), (2.5, "new, from\nnoise")):
        write(fig, 0.4, top + r * (size + 0.1) + size / 2, word, ha="center", fontsize=8.5)
    style.claim(fig, "A larger beta costs copies and helps new pictures, up to a point: at the largest both fail",
                f"Only beta differs. Distance: energy distance of 400 samples, decoded from z ~ N(0, 1); two true sets are "
                f"{scale:.2g} apart. Grey: not in use, below {DEAD:g} nat.")
    return style.finish(fig, "Three columns for a small, a middle and a large beta. Small: the best reconstructions, "
                             "smeared new pictures, every number busy. Middle: softer reconstructions, new pictures of a "
                             "sun over the sea, few busy numbers. Large: the same mean picture everywhere, all "
                             "numbers out of use.")
