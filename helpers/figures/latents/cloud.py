"""The posterior: how far the means are spread, how narrow the cloud around each of them is."""

import numpy as np

from helpers import latents as codec
from helpers.figures import style
from helpers.figures.style import FAINT, GUIDED, INK, NOTE, SIGNAL, TITLE, place, show_picture, tidy, write


class Cloud:
    """Means and sigmas of many pictures, and one of them sampled with its sigma made k times as large.

    c: Components. means, sigmas: (N, C, h, w), raw, as the VAE writes them. mean, sigma: of the picture that
    is decoded, (1, C, h, w), raw. noise: like mean. factors: every k to draw.
    """

    def __init__(self, c, means, sigmas, mean, sigma, noise, factors):
        self.c, self.factors = c, list(factors)
        self.spread = means.std((0, 2, 3)).tolist()  # C numbers
        self.sigma = sigmas.flatten(2).movedim(1, 0).flatten(1).median(1).values.tolist()  # C numbers
        self.means = means.movedim(1, 0).flatten(1)  # (C, N * h * w)
        self.own = mean[0, :, mean.shape[2] // 2, mean.shape[3] // 2].tolist()  # C numbers: one cell's means
        scale = c.vae.config.scaling_factor
        drawn = {k: ((mean + k * sigma * noise) * scale).to(c.device, c.dtype) for k in self.factors}
        self.pictures = {k: codec.decode_latents(c, latents)[0] for k, latents in drawn.items()}

    def _histogram(self, ax, k):
        """All means of one channel in blue, the prior as a line, the cloud around one mean in vermilion, all of one height."""
        values = self.means[k].numpy()
        limit = 3.5 * max(*self.spread, 1)  # one axis for all: N(0, 1) looks the same
        height, edges = np.histogram(values.clip(-limit, limit), 60, (-limit, limit))
        ax.fill_between((edges[1:] + edges[:-1]) / 2, height / height.max(), color=SIGNAL, alpha=0.55, lw=0, step="mid")
        x = np.linspace(-limit, limit, 1201)
        ax.plot(x, np.exp(-0.5 * x**2), color=INK, lw=1.1, ls=(0, (3, 2)))
        x = self.own[k] + max(self.sigma[k], limit / 1200) * np.linspace(-4, 4, 81)  # a line where it is narrower
        ax.fill_between(
            x, np.exp(-0.5 * ((x - self.own[k]) / max(self.sigma[k], limit / 1200)) ** 2), color=GUIDED, lw=0.8
        )
        tidy(ax, yticks=()).set(xlim=(-limit, limit), ylim=(0, 1.12))
        ax.spines["left"].set_visible(False)

    def figure(self, shown):
        """A histogram for each channel above, the picture at a few of the factors below."""
        channels, top = len(self.spread), TITLE + 0.25
        wide, low, size = 8.6 / channels - 0.2, TITLE + 0.25 + 1.35 + 0.72, min(2.05, 8.8 / len(shown) - 0.12)
        fig = style.new_figure(low + size + 0.15 + NOTE)
        for k in range(channels):
            x = 0.2 + k * (wide + 0.2)
            self._histogram(place(fig, x, top, wide, 1.2), k)
            write(
                fig,
                x + wide / 2,
                top - 0.07,
                f"channel {k}: means {self.spread[k] / self.sigma[k]:.0f} sigma wide",
                ha="center",
                fontsize=8,
            )
        write(
            fig,
            4.5,
            top + 1.55,
            "blue: the means of many pictures; vermilion, here a line: the cloud around one of the postcard's means, "
            "of width sigma; dashed: the prior",
            ha="center",
            fontsize=8,
            color=FAINT,
        )
        left = 4.5 - (len(shown) * (size + 0.12) - 0.12) / 2
        for i, factor in enumerate(shown):
            x = left + i * (size + 0.12)
            show_picture(fig, self.pictures[factor], x, low, size)
            write(
                fig,
                x + size / 2,
                low - 0.1,
                rf"mean + {factor:g} $\sigma\,\varepsilon$" if factor else "the mean",
                ha="center",
                fontsize=8.5,
                **style.MATH,
            )
        return style.claimed(
            fig,
            "The cloud around a mean is hardly a cloud: sampling from it changes nothing you can see",
            "Raw latents. Above: one axis, all curves drawn to one height; all widths are standard deviations. Below: one noise, in units of each number's sigma.",
            "Above, for each channel a wide blue histogram of means, the narrower prior "
            "and a thin spike, the cloud around one mean. Below, a postcard decoded from its mean plus 0, "
            "1, 10 and 100 sigma of noise: the first two look the same, the last is spoiled.",
        )
