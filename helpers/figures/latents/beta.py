"""The beta dial: what a VAE rebuilds, what it draws from noise, which of its numbers still say something."""
from .. import style
from ..style import FAINT, NOISE, NOTE, SIGNAL, TITLE, place, show_picture, tidy, write

DEAD = 0.01         # nats: a number of the latent that costs less says nothing


def beta_dial(columns):
    """Reconstructions, samples and KL of one small VAE trained with several betas. Returns a Picture.

    columns: {beta: {"inputs", "rebuilt", "samples": pictures, the first three are shown; "psnr": dB;
    "detail": share that is kept; "kl": the KL of
    each number in nats, (d,)}}, as many as fit beside each other (three).
    """
    size, gap, left, apart = 0.75, 0.05, 0.78, 0.4
    wide, top = 3 * size + 2 * gap, TITLE + 0.5
    bars = top + 3 * (size + 0.1) + 0.32
    fig = style.new_figure(bars + 0.95 + 0.36 + NOTE)
    highest = max(float(column["kl"].max()) for column in columns.values())
    for i, (beta, column) in enumerate(columns.items()):
        x = left + i * (wide + apart)
        dead = int((column["kl"] < DEAD).sum())
        write(fig, x, top - 0.32, f"beta = {beta:g}", fontweight="bold", fontsize=10)
        write(fig, x, top - 0.12, f"{column['psnr']:.1f} dB, {column['detail']:.0%} of the detail, KL "
                                  f"{float(column['kl'].sum()):.0f}", fontsize=8, color=FAINT)
        for r, row in enumerate(("inputs", "rebuilt", "samples")):
            for k, picture in enumerate(column[row][:3]):
                show_picture(fig, picture, x + k * (size + gap), top + r * (size + 0.1), size)
        ax = tidy(place(fig, x, bars, wide, 0.95))
        values = column["kl"].sort(descending=True).values.tolist()
        ax.bar(range(len(values)), [max(value, 0.012 * highest) for value in values], width=0.75, lw=0,
               color=[SIGNAL if value >= DEAD else NOISE for value in values])
        ax.set(ylim=(0, 1.05 * highest), xticks=[])
        ax.set_xlabel("numbers, sorted", labelpad=6)
        ax.text(0.98, 0.95, f"{dead} of {len(values)}\ncollapsed", transform=ax.transAxes, ha="right",
                va="top", fontsize=8, color=FAINT)
        if i == 0:
            ax.set_ylabel("KL, nats")
    for r, word in enumerate(("input", "rebuilt", "new, from\nnoise")):
        write(fig, 0.4, top + r * (size + 0.1) + size / 2, word, ha="center", fontsize=8.5)
    style.claim(fig, "Rebuilding and inventing pull apart: beta chooses between them",
                "Same network, same start, same pictures; only beta differs. New: decoded from z ~ N(0, "
                f"1). Grey stubs: numbers below {DEAD:g} nat.")
    return style.finish(fig, "Three columns for a small, a middle and a large beta. Small: good "
                             "reconstructions, broken samples, every number busy. Middle: blurred "
                             "reconstructions, landscape-like samples, few busy numbers. Large: the same "
                             "grey mean picture everywhere, all numbers collapsed.")
