"""The posterior: how far the means are spread, how narrow the cloud around each of them is."""
import numpy as np

from ... import latents as codec
from .. import style
from ..style import FAINT, GUIDED, NOTE, SIGNAL, TITLE, place, show_picture, tidy, write


class Cloud:
    """Means and sigmas of many pictures, and one of them sampled with its sigma made k times as large.

    c: Components. means, sigmas: (N, C, h, w), raw, as the VAE writes them. mean, sigma: of the picture that
    is decoded, (1, C, h, w), raw. noise: like mean. factors: every k to draw.
    """

    def __init__(self, c, means, sigmas, mean, sigma, noise, factors):
        self.c, self.factors = c, list(factors)
        self.spread = means.std((0, 2, 3)).tolist()                                         # C numbers
        self.sigma = sigmas.flatten(2).movedim(1, 0).flatten(1).median(1).values.tolist()   # C numbers
        self.means = means.movedim(1, 0).flatten(1)                                         # (C, N * h * w)
        scale = c.vae.config.scaling_factor
        drawn = {k: ((mean + k * sigma * noise) * scale).to(c.device, c.dtype) for k in self.factors}
        self.pictures = {k: codec.decode_latents(c, latents)[0] for k, latents in drawn.items()}

    def _histogram(self, ax, k, factor=1):
        """The means of one channel in blue, the cloud of one of them in vermilion."""
        values = self.means[k].numpy()
        limit = 3.5 * self.spread[k]
        height, edges = np.histogram(values.clip(-limit, limit), 60, (-limit, limit))
        ax.fill_between((edges[1:] + edges[:-1]) / 2, height / height.max(), color=SIGNAL, alpha=0.55, lw=0,
                        step="mid")
        cloud = ax.fill_between(*self._bell(k, factor), color=GUIDED, alpha=0.9 if factor <= 1 else 0.6, lw=0.8)
        tidy(ax, yticks=()).set(xlim=(-limit, limit), ylim=(0, 1.12))
        ax.spines["left"].set_visible(False)
        return cloud

    def _bell(self, k, factor):
        x = np.linspace(-3.5 * self.spread[k], 3.5 * self.spread[k], 1201)
        return x, np.exp(-0.5 * (x / max(self.sigma[k] * factor, 1e-12)) ** 2)

    def figure(self, shown):
        """The static twin: a histogram for each channel above, the picture at a few of the factors below."""
        channels, top = len(self.spread), TITLE + 0.25
        wide, low, size = 8.6 / channels - 0.2, TITLE + 0.25 + 1.35 + 0.72, 1.6
        fig = style.new_figure(low + size + 0.15 + NOTE)
        for k in range(channels):
            x = 0.2 + k * (wide + 0.2)
            self._histogram(place(fig, x, top, wide, 1.2), k)
            write(fig, x + wide / 2, top - 0.07, f"channel {k}: spread / sigma = "
                                                 f"{self.spread[k] / self.sigma[k]:.0f}",
                  ha="center", fontsize=8)
        write(fig, 4.5, top + 1.55, "blue: means of many pictures.  vermilion: the cloud around one mean, so "
                                    "narrow that it is a line",
              ha="center", fontsize=8, color=FAINT)
        left = 4.5 - (len(shown) * (size + 0.12) - 0.12) / 2
        for i, factor in enumerate(shown):
            x = left + i * (size + 0.12)
            show_picture(fig, self.pictures[factor], x, low, size)
            write(fig, x + size / 2, low - 0.1, f"mean + {factor:g} sigma eps" if factor else "mean",
                  ha="center", fontsize=8.5)
        style.claim(fig, "The cloud around a mean is hardly a cloud: sampling from it changes nothing you "
                         "can see",
                    "Raw latents, one noise eps for all pictures of the lower row.")
        return style.finish(fig, "Above, for each channel a wide blue histogram of means and a thin spike, "
                                 "the cloud around one mean. Below, a postcard decoded from mean plus 0, "
                                 "1, 10 and 100 sigma of noise: the first two look the same, the last is "
                                 "spoiled.")

    def frame(self, k):
        """PNG bytes for the panel: the picture at factor k, the widened cloud over all means."""
        fig, channels = style.new_figure(2.75, dpi=style.PANEL_DPI), len(self.spread)
        show_picture(fig, self.pictures[k], 0.08, 0.36, 2.2)
        write(fig, 0.08, 0.17, rf"mean + {k:g} $\sigma\,\varepsilon$, decoded", fontweight="bold", **style.MATH)
        columns = -(-channels // 2)
        wide = 6.2 / columns - 0.25
        for i in range(channels):
            x, y = 2.75 + i % columns * (wide + 0.25), 0.45 + i // columns * 1.17
            self._histogram(place(fig, x, y, wide, 0.85), i, k)
            write(fig, x, y - 0.04, f"channel {i}", fontsize=7.5, color=FAINT)
        write(fig, 2.75, 0.17, f"blue: all means, vermilion: the cloud of {k:g} sigma", fontweight="bold")
        return style.Stage(fig, []).png()
