"""Noise over postcards: the table of schedules, the rising tide, the exam paper, what the last step keeps."""

import numpy as np
import torch

from helpers import diffusion
from helpers.figures import style
from helpers.figures.style import (
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
    show_picture,
    tidy,
    write,
)

LOWEST, LEAST = 1e-4, -50  # bottom of the spectrum axes, and of decibels over t


def noising_table(picture, noise, timesteps):
    """One postcard (3, H, H) and one noise at up to three timesteps on the three schedules, and their decibels over
    all t. Returns a Picture."""
    size, gap, left, top, colours = 1.0, 0.2, 0.45, TITLE + 0.22, (INK, GUIDED, SIGNAL)
    height = 3 * (size + gap) - gap
    fig = style.new_figure(top + height + 0.34 + NOTE)
    ax = place(fig, 4.7, top, 4.15, height)
    for row, (name, colour) in enumerate(zip(diffusion.SCHEDULES, colours)):
        alphas_cumprod, y = diffusion.make_alphas_cumprod(name), top + row * (size + gap)
        decibels = diffusion.snr_db(alphas_cumprod)
        write(fig, left - 0.12, y + size / 2, name, ha="right", rotation=90, color=colour)
        ax.plot(decibels.numpy(), color=colour, lw=1.5)
        ax.text(0.98, 0.97 - 0.055 * row, name, color=colour, transform=ax.transAxes, ha="right", va="top", fontsize=9)
        for i, t in enumerate(timesteps):
            x = left + i * (size + 0.12)
            show_picture(fig, diffusion.add_noise(picture, noise, t, alphas_cumprod), x, y, size)
            write(
                fig,
                x + size / 2,
                y + size + 0.09,
                f"{round(decibels[t].item())} dB",
                fontsize=7.5,
                ha="center",
                color=FAINT,
            )
            if not row:
                write(fig, x + size / 2, top - 0.1, f"t = {t}", ha="center")
            if decibels[t] < LEAST:  # off the scale: an arrow, and its number
                ax.plot(t, LEAST, "v", color=colour, ms=7, clip_on=False)
                ax.text(t - 25, LEAST + 1.5, f"{round(decibels[t].item())} dB", color=colour, fontsize=8, ha="right")
            else:
                ax.plot(t, decibels[t], "o", color=colour, ms=4, clip_on=False)
    ax.axhline(0, color=NOISE, lw=0.8, ls=":")
    ax.text(990, 1, "picture and noise equally strong", color=FAINT, fontsize=8, ha="right")
    tidy(ax, "t", "signal-to-noise ratio, dB", (0, 250, 500, 750, 999), (-40, -20, 0, 20, 40))
    ax.set(xlim=(0, 999), ylim=(LEAST, 42))
    ax.yaxis.labelpad = 6
    return style.claimed(
        fig,
        "At the last step, Stable Diffusion's schedule keeps the most of the picture",
        "Same picture, same noise everywhere. Decibels: for a picture of variance 1. Stable Diffusion uses "
        "scaled_linear.",
        "Left, one postcard at several timesteps, one row for each of the schedules linear, scaled_linear and "
        "cosine; the same timestep shows different amounts of noise. Right, the signal-to-noise ratio of the three "
        "over t: at the last step scaled_linear keeps the most, and cosine the least.",
        64,
    )


def draw_spectrum(ax, frequencies, power, abar):
    """What is left of each size of detail (blue) and the noise (grey). Returns the two lines."""
    tidy(ax)
    ax.set(xscale="log", yscale="log", xlim=(1, frequencies[-1]), ylim=(LOWEST, 1e4))
    ax.set_xticks([1, 4, 16], ["1", "4", "16"])
    ax.minorticks_off()
    (blue,) = ax.plot(frequencies, abar * power, color=SIGNAL, lw=1.6)
    (grey,) = ax.plot(frequencies, np.full(len(frequencies), 1 - abar), color=NOISE, lw=1.6)
    return blue, grey


def rising_tide(picture, noise, timesteps, schedule="scaled_linear"):
    """The static twin of the noise panel: the postcard above, its spectrum below. Returns a Picture."""
    alphas_cumprod = diffusion.make_alphas_cumprod(schedule)
    frequencies, power = (v.numpy() for v in diffusion.spectrum(picture))
    size, gap, left, top = 1.5, 0.19, 0.58, TITLE + 0.22
    low = top + size + 0.16
    fig = style.new_figure(low + 1.35 + 0.4 + NOTE)
    for i, t in enumerate(timesteps):
        x, abar = left + i * (size + gap), alphas_cumprod[t].item()
        show_picture(fig, diffusion.add_noise(picture, noise, t, alphas_cumprod), x, top, size)
        write(fig, x + size / 2, top - 0.1, f"t = {t}", ha="center")
        ax = place(fig, x, low, size, 1.35)
        draw_spectrum(ax, frequencies, power, abar)
        ax.fill_between(frequencies, LOWEST, max(1 - abar, LOWEST), color=NOISE, alpha=0.25, lw=0)
        finest = diffusion.finest_detail(torch.from_numpy(power), abar)
        if 0 < finest < len(frequencies):
            ax.plot([finest, finest], [LOWEST, 1 - abar], color=GUIDED, lw=1.4)
            ax.plot(finest, 1 - abar, "o", color=GUIDED, ms=4)
        said = (
            "no detail left"
            if not finest
            else "all detail left"
            if finest == len(frequencies)
            else f"finest detail left:\n{finest} cycles"
        )
        ax.text(0.97, 0.97, said, transform=ax.transAxes, ha="right", va="top", fontsize=8, color=GUIDED)
        if i:
            ax.set_yticklabels([])
    fig.axes[1].text(1.15, 0.6, "picture", color=SIGNAL, fontsize=8)
    ax.text(frequencies[-1], 1.4, "noise", color=FAINT, fontsize=8, ha="right", va="bottom")
    write(fig, 0.14, low + 0.67, "power", rotation=90, ha="center")
    write(fig, 4.6, low + 1.62, "cycles across the picture (left: large shapes, right: fine detail)", ha="center")
    return style.claimed(
        fig,
        "Noise rises like a tide: fine detail drowns first, large shapes last",
        f"{schedule} schedule. Pictures clipped to the range of brightness. Both axes logarithmic; "
        "power averaged over colours and directions.",
        "Above, a postcard at five noise levels. Below, its power spectrum, falling from large shapes to "
        "fine detail, and the flat noise level, which rises with t and covers the fine detail first.",
        256,
    )


class Tide:
    """Frames for the noise panel: postcard, spectrum, two curves of the schedule with a moving mark."""

    def __init__(self, picture, noise):
        self.picture, self.noise = picture, noise
        self.frequencies, self.power = (v.numpy() for v in diffusion.spectrum(picture))
        self.stages = {name: self._stage(name) for name in diffusion.SCHEDULES}

    def _stage(self, schedule):
        """The figure for one schedule, drawn once, with abar and decibels over t."""
        alphas_cumprod, top = diffusion.make_alphas_cumprod(schedule), 0.3
        decibels = diffusion.snr_db(alphas_cumprod)
        fig = style.new_figure(2.75, dpi=style.PANEL_DPI)
        write(fig, 0.08, 0.15, "the picture $x_t$", fontweight="bold", **style.MATH)
        write(fig, 2.75, 0.15, "what is left of each size of detail", fontweight="bold")
        write(fig, 6.1, 0.15, f"the schedule: {schedule}", fontweight="bold")
        image = show_picture(fig, self.picture, 0.08, top, 2).images[0]
        ax = place(fig, 2.75, top, 2.6, 2)
        blue, grey = draw_spectrum(ax, self.frequencies, self.power, 0.5)
        (corner,) = ax.plot([1, 1], [LOWEST, 1], "-o", color=GUIDED, lw=1.4, ms=4, markevery=[1])
        finest = ax.text(0.98, 0.97, "", transform=ax.transAxes, ha="right", va="top", color=GUIDED)
        tidy(ax, "cycles across the picture (right: finer)", "power")
        write(fig, 4.84, 0.6, "picture", color=SIGNAL, fontsize=8.5, ha="right")
        write(fig, 5.3, 0.6, "noise", color=FAINT, fontsize=8.5, ha="right")
        marks = []
        for y, values, label, limits, ticks in (
            (top, alphas_cumprod, r"$\bar\alpha_t$", (0, 1.02), (0, 0.5, 1)),
            (top + 1.1, decibels, "SNR, dB", (-48, 45), (-40, -20, 0, 20, 40)),
        ):
            ax = place(fig, 6.1, y, 2.7, 0.9)
            ax.plot(values.numpy(), color=INK, lw=1.3)
            tidy(ax, None, label, (0, 250, 500, 750, 999), ticks, math=True)
            ax.set(xlim=(0, 999), ylim=limits)
            ax.yaxis.set_label_coords(-0.115, 0.5)
            marks += [ax.plot([0], [0], "o", color=GUIDED, ms=6, clip_on=False)[0]]
        ax.axhline(0, color=NOISE, lw=0.8, ls=":")
        ax.set_xlabel("t", labelpad=2)
        return style.Stage(fig, [image, blue, grey, corner, finest, *marks]), alphas_cumprod, decibels

    def frame(self, t, schedule):
        """PNG bytes for one timestep (0..999) of one schedule: the same state gives the same bytes."""
        stage, alphas_cumprod, decibels = self.stages[schedule]
        image, blue, grey, corner, finest, first, second = stage.moving
        abar = alphas_cumprod[t].item()
        image.set_data(style.to_rgb(diffusion.add_noise(self.picture, self.noise, t, alphas_cumprod)))
        blue.set_ydata(abar * self.power)
        grey.set_ydata(np.full(len(self.frequencies), 1 - abar))
        cycles = diffusion.finest_detail(torch.from_numpy(self.power), abar)
        corner.set_data([max(cycles, 1)] * 2, [LOWEST, 1 - abar])
        finest.set_text(f"finest detail left: {cycles} cycles" if cycles else "no detail left")
        first.set_data([t], [abar])
        lowest = second.axes.get_ylim()[0]  # a mark off the scale: at its edge
        second.set_data([t], [max(decibels[t].item(), lowest)])
        return stage.png()


def brightness_plot(pictures, last, abar):
    """Mean brightness of pictures (N, 3, H, W) against the one read off their x_999. Returns a Picture."""
    true, found = pictures.mean((1, 2, 3)).numpy(), (last.mean((1, 2, 3)) / abar**0.5).numpy()
    marked = ((int(true.argmin()), "darkest"), (int(true.argmax()), "brightest"))
    fig = style.new_figure(TITLE + 2.4 + NOTE)
    ax = place(fig, 4.4, TITLE + 0.1, 4.2, 1.95)
    ax.plot([-1, 1], [-1, 1], color=NOISE, lw=0.8, ls=":")
    ax.plot(true, found, "o", color=SIGNAL, ms=3, alpha=0.6, mew=0)
    for i, (which, word) in enumerate(marked):
        y = TITLE + 0.2 + i * 1.12
        show_picture(fig, pictures[which], 1.0, y)
        show_picture(fig, last[which], 2.12, y)
        write(fig, 0.9, y + 0.5, word, ha="right")
        ax.plot(true[which], found[which], "o", color=GUIDED, ms=5)
        ax.annotate(
            word,
            (true[which], found[which]),
            (-4, 14) if word == "darkest" else (-12, 3),
            color=GUIDED,
            textcoords="offset points",
            ha="left" if word == "darkest" else "right",
            fontsize=8,
            arrowprops={"arrowstyle": "-", "color": GUIDED, "lw": 0.7},
        )
    write(fig, 1.5, TITLE + 0.08, "$x_0$", ha="center", **style.MATH)
    write(fig, 2.62, TITLE + 0.08, "$x_{999}$", ha="center", **style.MATH)
    tidy(ax, r"true mean brightness of $x_0$", r"read off $x_{999}$", math=True)
    low, high = float(true.min()) - 0.1, float(true.max()) + 0.15
    ax.set(xlim=(low, high), ylim=(min(low, float(found.min())) - 0.08, max(high, float(found.max())) + 0.1))
    return style.claimed(
        fig,
        "At the last step the eye sees only noise, but the brightness is still there",
        f"{len(true)} postcards, one noise each. Read off: the mean of all pixels, divided by the "
        f"picture's weight there, {abar**0.5:.3f}.",
        "Left, the darkest and the brightest postcard, clean and at t = 999, where both look like the same noise. "
        "Right, the brightness read off at t = 999 against the true brightness: the points follow the diagonal.",
        256,
    )


def exam_paper(pictures, noises, timesteps, alphas_cumprod):
    """Training data as a table: clean picture, noise, amount, noisy picture. Returns a Picture."""
    size, gap, bar = 1.0, 0.16, 1.4
    x_clean, x_noise, x_amount, x_given = 1.0, 3.0, 4.9, 6.9
    top, height = TITLE + 0.62, len(pictures) * (size + gap)
    fig = style.new_figure(top + height + 0.18 + NOTE)
    for x, head in (
        (x_clean + size / 2, r"clean $x_0$"),
        (x_noise + size / 2, r"noise $\varepsilon$"),
        (x_amount + bar / 2, "amount $t$"),
        (x_given + size / 2, r"noisy $x_t$"),
    ):
        write(fig, x, top - 0.38, head, ha="center", fontweight="bold", **style.MATH)
    for x, text, colour in (
        (x_clean + size / 2, "the net never sees it", FAINT),
        (x_noise + size / 2, "what it must answer", ESTIMATE),
        ((x_amount + x_given + size) / 2, "what the net is given", PROMPT),
    ):
        write(fig, x, top - 0.2, text, ha="center", fontsize=8, color=colour)
    for row, (picture, noise, t) in enumerate(zip(pictures, noises, timesteps)):
        y, abar = top + row * (size + gap), alphas_cumprod[t].item()
        show_picture(fig, picture, x_clean, y, size)
        show_picture(fig, noise, x_noise, y, size)
        show_picture(fig, diffusion.add_noise(picture, noise, t, alphas_cumprod), x_given, y, size)
        for x, text, points in (
            ((x_clean + x_noise + size) / 2, "+", 13),
            ((x_noise + size + x_amount) / 2, "" if row else "with these\nweights", 7.5),
            ((x_amount + bar + x_given) / 2, "=", 13),
        ):
            write(fig, x, y + size / 2, text, ha="center", fontsize=points)
        write(fig, x_amount, y + 0.19, f"t = {t}", fontsize=8.5)
        style.block(fig, x_amount, y + 0.32, bar * abar**0.5, 0.12, SIGNAL)
        style.block(fig, x_amount, y + 0.47, bar * (1 - abar) ** 0.5, 0.12, NOISE)
        write(fig, x_amount, y + 0.71, f"{abar**0.5:.2f} picture", fontsize=7.5, color=SIGNAL)
        write(fig, x_amount + bar, y + 0.71, f"{(1 - abar) ** 0.5:.2f} noise", fontsize=7.5, color=FAINT, ha="right")
    style.box(fig, x_noise - 0.1, top - 0.1, size + 0.2, height + 0.04, ESTIMATE)
    style.box(fig, x_amount - 0.12, top - 0.1, x_given + size - x_amount + 0.24, height + 0.04, PROMPT)
    return style.claimed(
        fig,
        "The exam paper: the answer key is the noise itself, and it costs nothing to make",
        "Noise is shown clipped to the range of brightness, -1 to 1: a third of its values lie beyond.",
        "A table of four postcards: clean picture, noise, the amount of each, and the noisy mix. A green "
        "box around amount and mix is what the network is given; an orange box around the noise is the "
        "answer.",
        64,
    )
