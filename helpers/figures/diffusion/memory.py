"""The denoiser that fits a finite training set perfectly: it blends what it remembers."""

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
    TITLE,
    place,
    show_picture,
    tidy,
    write,
)

LEFT, SHOWN, BAR = 1.82, 6, 0.92  # the memories: where they begin, how many, width of each


class MemoryTable:
    """The ideal denoiser at work: what it is given, what it remembers, what it says.

    data: training pictures (N, C, h, w); new: one picture (C, h, w) that is not among them; noise: like new.
    """

    def __init__(self, data, new, noise, alphas_cumprod):
        self.data, self.new, self.noise, self.alphas_cumprod = data, new, noise, alphas_cumprod
        self.world = diffusion.Mixture(data.flatten(1))  # (N, C, h, w) -> (N, C * h * w)
        self.curve_t = list(range(0, len(alphas_cumprod), 27))
        self.curve = [self.answer(t)[3] for t in self.curve_t]
        self.stage = None

    def answer(self, t):
        """x_t, the heaviest memories and their weights, how many memories take part, and the best guess."""
        x_t = diffusion.add_noise(self.new, self.noise, t, self.alphas_cumprod)
        weights = self.world.weights(x_t.flatten()[None], self.alphas_cumprod[t].item())[0]  # (N,)
        share, which = weights.topk(SHOWN)
        guess = (weights @ self.world.means).reshape(self.new.shape)
        return x_t, which, share, float(torch.special.entr(weights).sum().exp()), guess

    def _draw_row(self, fig, top):
        """Empty pictures, bars and texts for one timestep; returns these artists."""
        empty = np.zeros((*self.new.shape[1:], 3))
        row = [
            show_picture(fig, empty, 0.62, top).images[0],
            show_picture(fig, empty, 7.92, top, frame=ESTIMATE).images[0],
        ]
        for left in (LEFT + i for i in range(SHOWN)):
            row += [
                show_picture(fig, empty, left, top, BAR).images[0],
                style.block(fig, left, top + 0.95, BAR, 0.07, ESTIMATE),
                write(fig, left + BAR / 2, top + 1.09, "", fontsize=7.5, ha="center", color=FAINT),
            ]
        return row

    def _fill_row(self, fig, row, t):
        """Put the answer at timestep t into the artists of one row."""
        x_t, which, share, _, guess = self.answer(t)
        given, answer, *memories = row
        given.set_data(style.to_rgb(x_t))
        answer.set_data(style.to_rgb(guess))
        for i, weight in enumerate(share.tolist()):
            picture, bar, text = memories[3 * i : 3 * i + 3]
            picture.set_data(style.to_rgb(self.data[which[i]]))
            picture.set_alpha(0.25 + 0.75 * min(1.0, 4 * weight))
            style.set_bar_width(fig, bar, BAR * weight)
            text.set_text(f"{weight:.0%}" if weight >= 0.01 else "< 1%")

    def _heads(self, fig, top):
        for left, text, colour in (
            (1.12, "given: $x_t$", PROMPT),
            (8.38, r"answer: $\hat x_0$", ESTIMATE),
            (4.78, "the six training postcards it leans on most, and their weights", INK),
        ):
            write(fig, left, top, text, ha="center", color=colour, fontweight="bold", **style.MATH)

    def _memories(self, fig, top, height):
        """Axes with the number of memories at work over t."""
        ax = place(fig, LEFT, top, 5.6, height)
        ax.plot(self.curve_t, self.curve, color=ESTIMATE, lw=1.8)
        tidy(ax, "t", None, (0, 200, 400, 600, 800, 999))
        ax.set(yscale="log", xlim=(0, 1005), ylim=(0.8, 1.6 * len(self.data)))
        ax.set_yticks([1, 10, 100], ["1", "10", "100"])
        ax.minorticks_off()
        ax.axhline(len(self.data), color=NOISE, lw=0.8, ls=":")
        ax.text(8, len(self.data) * 0.93, f"all {len(self.data)} training postcards", color=FAINT, fontsize=8, va="top")
        ax.set_ylabel("memories\nat work", rotation=0, ha="right", va="center", labelpad=6)
        return ax

    def figure(self, timesteps):
        """The static figure: a row of pictures for each of a few timesteps, the number of memories below."""
        step, top = 1.26, TITLE + 0.3
        low = top + step * len(timesteps) + 0.12
        fig = style.new_figure(low + 1.13 + 0.36 + NOTE)
        self._heads(fig, top - 0.15)
        for i, t in enumerate(timesteps):
            self._fill_row(fig, self._draw_row(fig, top + step * i), t)
            write(fig, 0.52, top + step * i + 0.5, f"t = {t}", ha="right", rotation=90)
        ax = self._memories(fig, low, 1.1)
        for t in timesteps:
            ax.plot(t, self.answer(t)[3], "o", color=GUIDED, ms=5)
        show_picture(fig, self.new, 7.92, low)
        write(
            fig,
            8.38,
            low + 1.06,
            "what $x_t$ really hides:\na new postcard",
            ha="center",
            va="top",
            fontsize=8,
            **style.MATH,
        )
        return style.claimed(
            fig,
            "The memoriser blends its memories, and with little noise answers with one",
            f"{len(self.data)} training postcards, {self.new.shape[-1]} x {self.new.shape[-1]}. Paler: "
            "smaller weight. At work: as many postcards of equal weight would be as mixed (exp of the entropy).",
            "Four rows for falling noise. Left the noisy new postcard; in the middle six training "
            "postcards with weights; right their weighted mean. At t = 999 many small weights and a blur, "
            "at small t nearly all the weight on a single training postcard, which is not the postcard given. "
            "Below, the number of memories at work falls with t, from about a hundred to one, with a small hump between.",
        )

    def frame(self, t):
        """PNG bytes for one timestep: one row, and the curve with a moving mark."""
        if self.stage is None:
            fig = style.new_figure(3.15, dpi=style.PANEL_DPI)
            self._heads(fig, 0.16)
            row = self._draw_row(fig, 0.35)
            (dot,) = self._memories(fig, 1.69, 1.05).plot([0], [1], "o", color=GUIDED, ms=6)
            said = write(fig, LEFT + 5.5, 1.83, "", ha="right")
            show_picture(fig, self.new, 7.92, 1.69)
            write(fig, 8.42, 2.78, "what $x_t$ really hides", ha="center", fontsize=8, **style.MATH)
            self.stage = style.Stage(fig, [*row, dot, said])
        *row, dot, said = self.stage.moving
        self._fill_row(self.stage.fig, row, t)
        at_work = self.answer(t)[3]
        dot.set_data([t], [at_work])
        said.set_text(f"t = {t}: {at_work:.1f} at work")
        return self.stage.png()


def copies(samples, data, count=8):
    """Finished samples (n, C, h, w) above the training pictures (N, C, h, w) nearest to them. A Picture."""
    nearest = torch.cdist(samples.flatten(1), data.flatten(1)).argmin(1).tolist()  # (n, N) -> n
    picks = sorted({which: i for i, which in reversed([*enumerate(nearest)])}.values())  # all different
    picks = picks[:count]
    return style.picture_grid(
        [list(samples[picks]), [data[nearest[i]] for i in picks]],
        "Sampled to the end, the memoriser returns its training pictures",
        f"Above, {len(picks)} different postcards sampled with the memoriser; below, the training postcard nearest to each. "
        "In each pair both are the same.",
        row_labels=["sampled", "nearest in\ntraining set"],
        note=f"{len(picks)} of {len(samples)} samples, each from its own noise; {len(data)} training postcards.",
    )


def one_step_or_walk(columns, timesteps, steps=12):
    """For each timestep three pictures: x_t, the estimate of one step, and what a sampler makes of it. Returns a Picture."""
    return style.picture_grid(
        [*zip(*columns)],
        f"From much noise, one step gives a blur and {steps} steps give a picture",
        f"A column for each of t = {', '.join(map(str, timesteps))}. Above x_t, which soon looks like noise alone. In the middle "
        f"the estimate of one step: sharp at small t, a pale blur at large t. Below the end of {steps} steps: sharp at every t, "
        "but less and less like the postcard that was hidden.",
        [f"t = {t}" for t in timesteps],
        ["$x_t$", "one step", f"{steps} steps"],
        size=1.5,
        gap=0.23,
        palette=160,
        math=True,
    )


def blur_and_mean(pictures, count):
    """The estimate of one step, the mean of `count` samples, and some of the samples. Returns a Picture."""
    return style.picture_grid(
        [pictures],
        f"Sky, land and water of the one-step blur match the mean of {count}; the objects do not",
        f"One step and the mean of {count} samples: two pale blurs with the same bands of sky, land and water, but different smudges "
        "where things would be. The samples beside them are sharp, and differ in what they show.",
        ["one step", f"mean of {count}", *["a sample"] * (len(pictures) - 2)],
        palette=256,
        gap=0.12,
        note="Latents were averaged, not pixels: even from a mean, the decoder paints sharp streaks of rain.",
    )
