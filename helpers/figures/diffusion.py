"""Lesson 01 in pictures: noise over a postcard, the exam paper of a denoiser, the denoiser that can only copy."""
import numpy as np
import torch

from .. import diffusion
from . import style
from .style import ESTIMATE, FAINT, GUIDED, INK, NOISE, NOTE, PROMPT, SIGNAL, TITLE, place, show_picture, tidy, write


def noising_table(picture, noise, timesteps):
    """One postcard (3, H, H) and one noise at several timesteps, for the three schedules. Returns a Picture."""
    rows, captions = [], []
    for name in diffusion.SCHEDULES:
        alphas_cumprod = diffusion.make_alphas_cumprod(name)
        decibels = diffusion.snr_db(alphas_cumprod)
        rows.append([diffusion.add_noise(picture, noise, t, alphas_cumprod) for t in timesteps])
        captions.append([f"{round(decibels[t].item())} dB" for t in timesteps])
    return style.picture_grid(
        rows, "The same t is another amount of noise on every schedule",
        "One postcard at eight timesteps, one row for each of the schedules linear, scaled_linear and cosine; under each "
        "picture its signal-to-noise ratio. The same timestep shows different amounts of noise in the three rows.",
        [f"t = {t}" for t in timesteps], list(diffusion.SCHEDULES), captions, palette=True,
        note="Same picture, same noise everywhere. Decibels: signal-to-noise ratio of that step; 0 dB is half and half. "
             "Stable Diffusion uses scaled_linear.")


def draw_spectrum(ax, frequencies, power, abar):
    """The two forces at one noise level: what is left of the picture (blue), the noise (grey). Returns the two lines."""
    tidy(ax)
    ax.set(xscale="log", yscale="log", xlim=(1, frequencies[-1]), ylim=(1e-4, 1e4))
    ax.set_xticks([1, 4, 16], ["1", "4", "16"])
    ax.minorticks_off()
    blue, = ax.plot(frequencies, abar * power, color=SIGNAL, lw=1.6)
    grey, = ax.plot(frequencies, np.full(len(frequencies), max(1 - abar, 1e-9)), color=NOISE, lw=1.6)
    return blue, grey


def rising_tide(picture, noise, timesteps, schedule="scaled_linear"):
    """The static twin of the noise panel: the postcard above, its spectrum below, at five timesteps. Returns a Picture."""
    alphas_cumprod = diffusion.make_alphas_cumprod(schedule)
    frequencies, power = (v.numpy() for v in diffusion.spectrum(picture))
    size, gap, left = 1.5, 0.19, 0.58
    fig = style.new_figure(TITLE + 0.22 + size + 0.16 + 1.35 + 0.4 + NOTE)
    top = TITLE + 0.22
    for i, t in enumerate(timesteps):
        x, abar = left + i * (size + gap), alphas_cumprod[t].item()
        show_picture(fig, diffusion.add_noise(picture, noise, t, alphas_cumprod), x, top, size)
        write(fig, x + size / 2, top - 0.1, f"t = {t}", ha="center")
        ax = place(fig, x, top + size + 0.16, size, 1.35)
        draw_spectrum(ax, frequencies, power, abar)
        finest = diffusion.finest_detail(torch.from_numpy(power), abar)
        ax.fill_between(frequencies, 1e-4, np.maximum(1 - abar, 1e-4), color=NOISE, alpha=0.25, lw=0)
        if 0 < finest < len(frequencies):
            ax.plot([finest, finest], [1e-4, 1 - abar], color=GUIDED, lw=1.4)
            ax.plot(finest, 1 - abar, "o", color=GUIDED, ms=4)
        said = f"finest detail left:\n{finest} cycles" if finest < len(frequencies) else "all detail left"
        ax.text(0.97, 0.97, said if finest else "no detail left", transform=ax.transAxes, ha="right", va="top",
                fontsize=8, color=GUIDED)
        if i == 0:
            write(fig, 0.14, top + size + 0.83, "power", rotation=90, ha="center")
            ax.text(1.15, 0.6, "picture", color=SIGNAL, fontsize=8)
        else:
            ax.set_yticklabels([])
        if i == 2:
            ax.set_xlabel("size of detail: cycles across the picture (left: large shapes, right: fine lines)", labelpad=2)
        if i == len(timesteps) - 1:
            ax.text(frequencies[-1], 1.4, "noise", color=FAINT, fontsize=8, ha="right", va="bottom")
    style.claim(fig, "Noise rises like a tide: fine detail drowns first, large shapes last",
                f"{schedule} schedule. Both axes logarithmic; power averaged over colours and directions.")
    return style.finish(fig, "Above, a postcard at five noise levels. Below, its power spectrum falling from large shapes to "
                        "fine detail, with the flat noise level rising from left to right and covering the fine detail first.")


class TidePanel:
    """Frames for the noise panel: postcard, spectrum, and the two curves of the schedule with a moving mark."""

    def __init__(self, picture, noise):
        self.picture, self.noise = picture, noise
        self.frequencies, self.power = (v.numpy() for v in diffusion.spectrum(picture))
        self.stages = {name: self._stage(name) for name in diffusion.SCHEDULES}

    def _stage(self, schedule):
        alphas_cumprod = diffusion.make_alphas_cumprod(schedule)
        decibels, top = diffusion.snr_db(alphas_cumprod), 0.3
        fig = style.new_figure(2.75, dpi=style.PANEL_DPI)
        ax = place(fig, 0.08, top, 2, 2, bare=True)
        image = ax.imshow(style.to_rgb(self.picture), interpolation="nearest", aspect="auto")
        write(fig, 0.08, 0.15, r"the picture $x_t$", fontweight="bold")
        ax = place(fig, 2.75, top, 2.6, 2)
        blue, grey = draw_spectrum(ax, self.frequencies, self.power, 0.5)
        corner, = ax.plot([1, 1], [1e-4, 1], "-o", color=GUIDED, lw=1.4, ms=4, markevery=[1])
        finest = ax.text(0.98, 0.97, "", transform=ax.transAxes, ha="right", va="top", color=GUIDED, fontsize=8.5)
        tidy(ax, "cycles across the picture (right: finer)", "power")
        write(fig, 2.75, 0.15, "what is left of each size of detail", fontweight="bold")
        write(fig, 3.0, 2.15, "picture", color=SIGNAL, fontsize=8.5)
        write(fig, 3.55, 2.15, "noise", color=FAINT, fontsize=8.5)
        marks = []
        for y, values, label, ticks in ((top, alphas_cumprod, r"$\bar\alpha_t$", (0, 0.5, 1)),
                                        (top + 1.1, decibels, "SNR, dB", (-40, -20, 0, 20, 40))):
            ax = place(fig, 6.1, y, 2.8, 0.9)
            ax.plot(values.numpy(), color=INK, lw=1.3)
            tidy(ax, "t" if y > 1 else None, label, (0, 250, 500, 750, 999), ticks)
            ax.set(xlim=(0, 999), ylim=(0, 1.02) if y < 1 else (-48, 45))
            if y > 1:
                ax.axhline(0, color=NOISE, lw=0.8, ls=":")
            marks += [ax.plot([0], [0], "o", color=GUIDED, ms=6)[0]]
        write(fig, 6.1, 0.15, f"the schedule: {schedule}", fontweight="bold")
        stage = style.Stage(fig, [image, blue, grey, corner, finest, *marks])
        return stage, alphas_cumprod, decibels

    def frame(self, t, schedule):
        """PNG bytes for one timestep (0..999) of one schedule: the same state gives the same bytes."""
        stage, alphas_cumprod, decibels = self.stages[schedule]
        image, blue, grey, corner, finest, first, second = stage.moving
        x_t, abar = diffusion.add_noise(self.picture, self.noise, t, alphas_cumprod), alphas_cumprod[t].item()
        image.set_data(style.to_rgb(x_t))
        blue.set_ydata(abar * self.power)
        grey.set_ydata(np.full(len(self.frequencies), 1 - abar))
        cycles = diffusion.finest_detail(torch.from_numpy(self.power), abar)
        corner.set_data([max(cycles, 1)] * 2, [1e-4, 1 - abar])
        finest.set_text(f"finest detail left: {cycles} cycles" if cycles else "no detail left")
        first.set_data([t], [abar])
        second.set_data([t], [decibels[t].item()])
        return stage.png()


def brightness_plot(pictures, last, abar):
    """What can be read off the last step: true mean brightness of pictures (N, 3, H, W) against the one found in x_999."""
    true, found = pictures.mean((1, 2, 3)).numpy(), (last.mean((1, 2, 3)) / abar**0.5).numpy()
    dark, bright = int(true.argmin()), int(true.argmax())
    fig = style.new_figure(TITLE + 2.4 + NOTE)
    for i, (which, word) in enumerate(((dark, "darkest"), (bright, "brightest"))):
        y = TITLE + 0.2 + i * 1.12
        for j, picture in enumerate((pictures[which], last[which])):
            show_picture(fig, picture, 1.0 + j * 1.12, y, 1.0)
        write(fig, 0.9, y + 0.5, word, ha="right")
    write(fig, 1.5, TITLE + 0.08, r"$x_0$", ha="center")
    write(fig, 2.62, TITLE + 0.08, r"$x_{999}$", ha="center")
    ax = place(fig, 4.4, TITLE + 0.1, 4.2, 1.95)
    ax.plot([-1, 1], [-1, 1], color=NOISE, lw=0.8, ls=":")
    ax.plot(true, found, "o", color=SIGNAL, ms=3, alpha=0.6, mew=0)
    for which, word in ((dark, "darkest"), (bright, "brightest")):
        ax.plot(true[which], found[which], "o", color=GUIDED, ms=5)
        ax.annotate(word, (true[which], found[which]), (4, -9), textcoords="offset points", color=GUIDED, fontsize=8)
    tidy(ax, r"true mean brightness of $x_0$", r"read off $x_{999}$")
    low, high = float(true.min()) - 0.1, float(true.max()) + 0.15
    ax.set(xlim=(low, high), ylim=(low - 0.1, high + 0.1))
    style.claim(fig, "At the last step the eye sees only noise, but the brightness is still there",
                f"{len(true)} postcards, one noise each. The mean over all pixels of x_999, divided by sqrt(abar_999).")
    return style.finish(fig, "Left, the darkest and the brightest postcard and their x_999, which look like the same grey noise. "
                        "Right, brightness read off x_999 against the true brightness: the points follow the diagonal.")


def exam_paper(pictures, noises, timesteps, alphas_cumprod, page=None):
    """Training data of a denoiser as a table: clean picture, noise, amount, noisy picture; one row each. A Picture."""
    size, gap = 1.0, 0.16
    x_clean, x_noise, x_amount, x_given = 1.0, 3.0, 4.9, 6.9
    top = TITLE + 0.62
    height = len(pictures) * (size + gap)
    fig = style.new_figure(top + height + 0.18 + NOTE)
    for x, width, head, under in ((x_clean, size, r"clean $x_0$", "the net never sees it"),
                                  (x_noise, size, r"noise $\varepsilon$", "the answer"),
                                  (x_amount, 1.4, "amount $t$", ""), (x_given, size, r"noisy $x_t$", "")):
        write(fig, x + width / 2, top - 0.38, head, ha="center", fontweight="bold")
        write(fig, x + width / 2, top - 0.2, under, ha="center", fontsize=8, color=FAINT)
    write(fig, (x_amount + x_given + size) / 2, top - 0.2, "what the net is given", ha="center", fontsize=8, color=PROMPT)
    for row, (picture, noise, t) in enumerate(zip(pictures, noises, timesteps)):
        y, abar = top + row * (size + gap), alphas_cumprod[t].item()
        show_picture(fig, picture, x_clean, y, size)
        show_picture(fig, noise / 2, x_noise, y, size)
        show_picture(fig, diffusion.add_noise(picture, noise, t, alphas_cumprod), x_given, y, size)
        write(fig, (x_clean + x_noise + size) / 2, y + 0.5, "+", ha="center", fontsize=13)
        write(fig, (x_noise + size + x_amount) / 2, y + 0.5, "in these\nshares", ha="center", color=FAINT,
              fontsize=7.5)
        write(fig, (x_amount + 1.4 + x_given) / 2, y + 0.5, "=", ha="center", fontsize=13)
        ax = place(fig, x_amount, y + 0.3, 1.4, 0.3, bare=True)
        ax.barh([1, 0], [abar**0.5, (1 - abar) ** 0.5], color=[SIGNAL, NOISE], height=0.75)
        ax.set(xlim=(0, 1), ylim=(-0.5, 1.5))
        write(fig, x_amount, y + 0.19, f"t = {t}", fontsize=8.5)
        write(fig, x_amount, y + 0.71, f"{abar**0.5:.2f} picture", fontsize=7.5, color=SIGNAL)
        write(fig, x_amount + 1.4, y + 0.71, f"{(1 - abar)**0.5:.2f} noise", fontsize=7.5, color=FAINT, ha="right")
    style.box(fig, x_noise - 0.1, top - 0.1, size + 0.2, height + 0.04, ESTIMATE)
    style.box(fig, x_amount - 0.12, top - 0.1, x_given + size - x_amount + 0.24, height + 0.04, PROMPT)
    write(fig, x_noise + size / 2, top + height + 0.03, "what it must answer", ha="center", fontsize=8, color=ESTIMATE)
    style.claim(fig, "The exam paper: the answer key is the noise itself, and it costs nothing to make",
                "Noise is drawn at half strength so that it fits the brightness range."
                + ("" if page is None else f" Page {page}."))
    return style.finish(fig, "A table of four postcards: clean picture, noise, the amount of each, and the noisy mix. A green box "
                        "around amount and mix is what the network is given; an orange box around the noise is the answer.", palette=True)


def _percent(share):
    return "100 %" if share > 0.995 else "< 1 %" if share < 0.01 else f"{share:.0%}".replace("%", " %")


class MemoryTable:
    """The denoiser that fits a finite training set perfectly, at work: what it is given, what it remembers, what it says.

    data: training pictures (N, C, h, w); new: one picture (C, h, w) that is not among them; noise: like new.
    show: turns a batch (n, C, h, w) into pictures for the eye, for latents; pictures need none.
    """

    def __init__(self, data, new, noise, alphas_cumprod, show=lambda batch: batch):
        self.data, self.new, self.noise, self.alphas_cumprod, self.show = data, new, noise, alphas_cumprod, show
        self.world = diffusion.Mixture(data.flatten(1))
        self.curve_t = list(range(0, len(alphas_cumprod), 27))
        self.curve = [self.answer(t)[3] for t in self.curve_t]
        self.stage = None

    def answer(self, t):
        """x_t, the six heaviest memories and their weights, how many memories take part, and the best guess."""
        abar = self.alphas_cumprod[t].item()
        x_t = diffusion.add_noise(self.new, self.noise, t, self.alphas_cumprod)
        weights = self.world.weights(x_t.flatten()[None], abar)[0]                                   # (N,)
        share, which = weights.topk(6)
        guess = (weights @ self.world.means).reshape(self.new.shape)
        return x_t, which, share, float(torch.special.entr(weights).sum().exp()), guess

    def _draw(self, fig, rows):
        """Rows of pictures, one per entry of `rows` (tops in inches); returns the artists that change with t."""
        artists = []
        for top in rows:
            row = [show_picture(fig, np.zeros((*self.new.shape[1:], 3)), 0.62, top).images[0]]
            for i in range(6):
                left = 1.82 + i * 1.0
                row += [show_picture(fig, np.zeros((*self.new.shape[1:], 3)), left, top, 0.92).images[0],
                        style.block(fig, left, top + 0.95, 0.9, 0.07, ESTIMATE),
                        write(fig, left + 0.46, top + 1.08, "", fontsize=7.5, ha="center", color=FAINT)]
            row += [show_picture(fig, np.zeros((*self.new.shape[1:], 3)), 7.92, top, frame=ESTIMATE).images[0]]
            artists.append(row)
        return artists

    def _fill(self, fig, row, t):
        x_t, which, share, _, guess = self.answer(t)
        pictures = [style.to_rgb(p) for p in self.show(torch.stack([x_t, *self.data[which], guess]))]
        row[0].set_data(pictures[0])
        row[-1].set_data(pictures[-1])
        for i in range(6):
            row[1 + 3 * i].set_data(pictures[1 + i])
            row[1 + 3 * i].set_alpha(0.25 + 0.75 * min(1.0, 4 * share[i].item()))
            style.set_bar_width(fig, row[2 + 3 * i], 0.92 * share[i].item())
            row[3 + 3 * i].set_text(_percent(share[i].item()))

    def _heads(self, fig, top):
        for left, text, colour in ((1.12, "given: $x_t$", PROMPT), (8.42, r"answer: best $\hat x_0$", ESTIMATE),
                                   (4.78, "the six training postcards it leans on most, and their weights", INK)):
            write(fig, left, top, text, ha="center", color=colour, fontweight="bold")

    def _memories(self, fig, top, height):
        ax = place(fig, 1.82, top, 5.92, height)
        ax.plot(self.curve_t, self.curve, color=ESTIMATE, lw=1.8)
        tidy(ax, "t", None, (0, 200, 400, 600, 800, 999))
        ax.set(yscale="log", xlim=(0, 1005), ylim=(0.8, 1.6 * len(self.data)))
        ax.set_yticks([1, 10, 100], ["1", "10", "100"])
        ax.axhline(len(self.data), color=NOISE, lw=0.8, ls=":")
        ax.text(8, len(self.data) * 0.93, f"all {len(self.data)} training postcards", color=FAINT, fontsize=8, va="top")
        ax.set_ylabel("memories\nat work", rotation=0, ha="right", va="center", labelpad=6)
        return ax

    def figure(self, timesteps):
        """The static figure: one row of pictures for each of a few timesteps, and the number of memories over t."""
        step, top = 1.26, TITLE + 0.3
        fig = style.new_figure(top + step * len(timesteps) + 1.25 + 0.36 + NOTE)
        self._heads(fig, top - 0.15)
        for i, (row, t) in enumerate(zip(self._draw(fig, [top + step * i for i in range(len(timesteps))]), timesteps)):
            self._fill(fig, row, t)
            write(fig, 0.52, top + step * i + 0.5, f"t = {t}", ha="right", rotation=90)
        ax = self._memories(fig, top + step * len(timesteps) + 0.12, 1.1)
        for t in timesteps:
            ax.plot(t, self.answer(t)[3], "o", color=GUIDED, ms=5)
        low = top + step * len(timesteps) + 0.12
        show_picture(fig, self.show(self.new[None])[0], 7.92, low)
        write(fig, 8.42, low + 1.1, "what $x_t$ really hides:\na new postcard", ha="center", va="top", fontsize=8)
        style.claim(fig, "A perfect denoiser can only copy: much noise, a blend of memories; little noise, one memory",
                    f"{len(self.data)} training postcards, {self.new.shape[-1]} x {self.new.shape[-1]}. The postcard it is given is "
                    "new. Memories at work: exp(entropy of the weights).")
        return style.finish(fig, "Four rows for falling noise. Left the noisy new postcard; in the middle six training postcards with "
                            "weights; right their weighted mean. At t = 999 many small weights and a blur, at small t a single "
                            "training postcard with weight 100 %, which is not the postcard given. Below, the number of memories "
                            "at work falls from over a hundred to one.")

    def frame(self, t):
        """PNG bytes for one timestep: one row and the curve with a moving mark."""
        if self.stage is None:
            fig = style.new_figure(0.35 + 1.3 + 1.1 + 0.4, dpi=style.PANEL_DPI)
            self._heads(fig, 0.16)
            self.row = self._draw(fig, [0.35])[0]
            self.dot, = self._memories(fig, 0.35 + 1.34, 1.05).plot([0], [1], "o", color=GUIDED, ms=6)
            self.stage = style.Stage(fig, [*self.row, self.dot])
        self._fill(self.stage.fig, self.row, t)
        self.dot.set_data([t], [self.answer(t)[3]])
        return self.stage.png()


def copies(samples, data, count=8, show=lambda batch: batch):
    """Finished samples (n, C, h, w) above the training pictures (N, C, h, w) nearest to them. Returns a Picture."""
    distance = torch.cdist(samples.flatten(1), data.flatten(1))                                      # (n, N)
    nearest = distance.argmin(1)
    picks, seen = [], set()
    for i, which in enumerate(nearest.tolist()):                          # different ones, so that variety is visible
        if which not in seen:
            picks, seen = [*picks, i], seen | {which}
    picks = picks[:count]
    return style.picture_grid(
        [list(show(samples[picks])), list(show(data[nearest[picks]]))],
        "Sampled to the end, the perfect denoiser returns its training pictures",
        "Above, pictures sampled with the ideal denoiser; below, the training postcard nearest to each. They are the same.",
        row_labels=["sampled", "nearest in\ntraining set"],
        note=f"{len(picks)} of {len(samples)} samples, each from other noise; {len(data)} training postcards.")
