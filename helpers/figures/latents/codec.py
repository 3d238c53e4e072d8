"""Through the autoencoder and back: the channels, what is lost, one number moved, channels scaled."""

import matplotlib
import matplotlib.patheffects
import numpy as np
import torch

from helpers import latents as codec
from helpers.figures import style
from helpers.figures.style import FAINT, GUIDED, NOTE, SIGNAL, TITLE, place, show_picture, tidy, write

WRONG = 0.25  # this mean error of a pixel (of a range of 2) is the brightest colour of an error map
MOVED = 0.2  # and this mean change, where one number of a latent is moved: about what the patch changes by if it moves as far as cells differ


def signed(values, limit):
    """A map (h, w) of numbers as colours (h, w, 3): orange below 0, white at 0, purple above."""
    share = (values.detach().float().cpu().numpy() / limit + 1) / 2
    return (matplotlib.colormaps[style.SIGNED](share)[..., :3] * 255).astype(np.uint8)


def unsigned(values, limit):
    """A map (H, W) of amounts as colours (H, W, 3): dark at 0, yellow at `limit` and above."""
    share = values.detach().float().cpu().numpy() / limit
    return (matplotlib.colormaps[style.SEQUENTIAL](share)[..., :3] * 255).astype(np.uint8)


def coarse(values, limit, levels=16):
    """Amounts rounded to so many levels up to `limit`, those above it at the last."""
    return (values / limit).clamp(max=1).mul(levels - 1).round() * limit / (levels - 1)


def spread_limit(latents):
    """The largest number that is drawn in full colour: most of the latents lie below."""
    return float(latents.float().abs().flatten().quantile(0.99)) or 1.0


def round_trip(image, latents, decoded):
    """A picture, the channels of its latents (1, C, h, w), the picture they decode to. Returns a Picture."""
    channels, big, top = latents[0], 2.5, TITLE + 0.25
    columns = -(-len(channels) // 2)
    size = min(1.1, 2.5 / columns)
    fig = style.new_figure(top + big + 0.3 + NOTE)
    show_picture(fig, image, 0.08, top, big)
    show_picture(fig, decoded, 9 - 0.08 - big, top, big)
    wide = columns * size + (columns - 1) * 0.12
    left = 4.5 - wide / 2
    for i, channel in enumerate(channels):
        x, y = left + i % columns * (size + 0.12), top + i // columns * (size + 0.3)
        show_picture(fig, signed(channel, spread_limit(latents)), x, y, size, frame=style.FAINT)
        write(fig, x + size / 2, y - 0.08, f"channel {i}", fontsize=7.5, ha="center", color=FAINT)
    for start, end, word in ((big + 0.16, left - 0.12, "encoder"), (left + wide + 0.12, 9 - 0.16 - big, "decoder")):
        style.arrow(fig, (start, top + big / 2), (end, top + big / 2), linewidth=1.6, mutation_scale=13)
        write(fig, (start + end) / 2, top + big / 2 - 0.14, word, ha="center", fontsize=8)
    shape = " x ".join(map(str, channels.shape))
    numbers = f"3 x {image.height} x {image.width} = {3 * image.height * image.width} numbers"
    fewer = f"{shape} = {channels.numel()} numbers"
    for x, text in ((0.08 + big / 2, numbers), (4.5, fewer), (9 - 0.08 - big / 2, numbers)):
        write(fig, x, top + big + 0.16, text, ha="center", fontsize=8.5)
    return style.claimed(
        fig,
        "A picture goes through a bottleneck of few numbers, and comes back",
        "Purple: above zero, white: zero, orange: below. One colour scale for all channels.",
        "Left a postcard, in the middle the channels of its latents as small coloured "
        "maps, right the postcard decoded from them, nearly the same.",
    )


def lost(images, decoded, names, title, cut=(0.4375, 0.625, 0.344), seen=None):
    """Originals (PIL), what came back (B, 3, H, W), a map of the error; names above. Right, a piece of the first, enlarged. Returns a Picture.

    cut: where that piece lies: its top, its left and its side, as shares of the picture's side. seen: what is seen, for readers who cannot.
    """
    before, after = codec.to_pixels(images), decoded  # (B, 3, H, W)
    wrong = [
        unsigned(one, WRONG) for one in coarse((before - after).abs().mean(1), WRONG)
    ]  # few colours: pictures need theirs
    quality = [f"{value:.0f} dB" for value in codec.psnr(before, after)]
    margin, gap, top, said = 0.45, 0.06, TITLE + 0.25, 0.2
    size = (8.26 - gap * len(images)) / (len(images) + 1.5)  # all of it is 8.84 inches wide
    tall = 3 * size + gap + said
    big = (tall - 0.26) / 2
    fig, pixels = style.new_figure(top + tall + 0.1 + NOTE), before.shape[-1]
    y0, x0, side = (round(share * pixels) for share in cut)
    for r, (word, row) in enumerate((("original", images), ("came back", decoded), ("error", wrong))):
        y = top + r * (size + gap) + (said - gap) * (r == 2)
        write(fig, margin - 0.14, y + size / 2, word, rotation=90, ha="center")
        for i, picture in enumerate(row):
            x = margin + i * (size + gap)
            ax = show_picture(fig, picture, x, y, size)
            if i == 0 and r < 2:
                framed(ax, x0, y0, side)
            if r == 0:
                write(fig, x + size / 2, top - 0.1, names[i], ha="center")
            if r == 1:
                write(fig, x + size / 2, y + size + 0.02, quality[i], fontsize=7.5, ha="center", va="top", color=FAINT)
    for k, (word, picture) in enumerate((("original, enlarged", before[0]), ("came back, enlarged", decoded[0]))):
        y = top + k * (big + 0.26)
        write(fig, 8.84 - big / 2, y - 0.1, word, ha="center")
        show_picture(fig, picture[:, y0 : y0 + side, x0 : x0 + side], 8.84 - big, y, big)
    return style.claimed(
        fig,
        title,
        "Under the middle row: PSNR, higher is nearer. Error: mean over colours, in 16 steps; clipped: yellow "
        "is an eighth of the brightness range or more.",
        "Three rows: original pictures, the same after encoding and decoding, and a map of the error. Right, a piece of the first, enlarged, "
        "and how it came back.",
        palette=256,
        seen=seen,
    )


def framed(ax, x, y, side):
    """A black frame with a white rim, `side` pixels wide, on axes that show a picture. Returns the artist."""
    patch = matplotlib.patches.Rectangle((x - 0.5, y - 0.5), side, side, fill=False, edgecolor="black", linewidth=1.1)
    patch.set_path_effects([matplotlib.patheffects.withStroke(linewidth=2.6, foreground="white")])
    return ax.add_patch(patch)


class Cell:
    """One number of a latent is moved, all else stays. c: Components; image: a PIL picture it can encode."""

    def __init__(self, c, image):
        self.c, self.image = c, image
        self.latents = codec.encode_image(c, image)  # (1, C, h, w)
        self.base = self.decode(self.latents)
        self.stage, self.last, self.reaches = None, (None, None), {}

    def decode(self, latents):
        return codec.to_pixels(codec.decode_latents(self.c, latents))[0]  # (3, H, W)

    def change(self, row, column, channel, delta):
        """The picture after a number moved by delta, the change (H, W), its share outside the patch."""
        state = row, column, channel, delta
        if self.last[0] != state:  # picture and read-out of a panel ask one after the other
            moved = self.latents.clone()
            moved[0, channel, row, column] += delta
            picture = self.decode(moved)
            change, step = (picture - self.base).abs().mean(0), self.c.vae_scale_factor
            inside = change[row * step : (row + 1) * step, column * step : (column + 1) * step].sum()
            share = float(1 - inside / change.sum()) if change.any() else 0.0
            self.last = state, (picture, change, share)
        return self.last[1]

    def reach(self, delta=4.0):
        """The share of a change that falls outside the patch, 16 numbers: places all over the picture, the channels in turn."""
        if delta in self.reaches:
            return self.reaches[delta]
        channels, size = self.latents.shape[1:3]
        places = range(size // 8, size, size // 4)
        self.reaches[delta] = [self.change(i, k, (i + k) % channels, delta)[2] for i in places for k in places]
        return self.reaches[delta]

    def thumbnail(self):
        """The share that falls outside its own patch if one pixel of a picture as small as the latents is enlarged bilinearly."""
        size, step = self.latents.shape[-1], self.c.vae_scale_factor
        bright, middle = torch.zeros(1, 1, size, size), size // 2
        bright[..., middle, middle] = 1
        spilled = torch.nn.functional.interpolate(bright, scale_factor=step, mode="bilinear")[0, 0]
        patch = slice(middle * step, (middle + 1) * step)
        return float(1 - spilled[patch, patch].sum() / spilled.sum())

    def outline(self, ax, row, column):
        """Frame a cell on axes that show the whole picture."""
        step = self.c.vae_scale_factor
        return framed(ax, column * step, row * step, step)

    def figure(self, row, column, near=-1.5, far=-4, seen=None):
        """The static twin: the number of every channel at one place, moved a little and a lot; cut out of the pictures, the small move's changes below.

        seen: what is seen, for readers who cannot.
        """
        channels, step = self.latents.shape[1], self.c.vae_scale_factor
        left, gap, top, under = 0.38, 0.06, TITLE + 0.25, 0.24
        size = (8.84 + gap - left) / (channels + 1) - gap
        close, around = (self._cut(row, column, reach) for reach in (2, 4))
        little, lots = ([self.change(row, column, k, delta) for k in range(channels)] for delta in (near, far))
        fig = style.new_figure(top + 3 * size + 2 * gap + under + NOTE)
        for r, word in enumerate((f"moved by {near:g}", f"moved by {far:g}", f"changed by {near:g}")):
            write(fig, left - 0.13, top + r * (size + gap) + size / 2, word, rotation=90, ha="center")
        for k, word in enumerate(["unmoved", *(f"channel {k}" for k in range(channels))]):
            x = left + k * (size + gap)
            below = (
                torch.from_numpy(unsigned(coarse(little[k - 1][1], MOVED), MOVED)).movedim(-1, 0) / 127.5 - 1
                if k
                else self.base
            )
            shown = [little[k - 1][0], lots[k - 1][0], below] if k else [self.base] * 3
            write(fig, x + size / 2, top - 0.1, word, ha="center")
            for r, (one, (y0, x0, side)) in enumerate(zip(shown, (close, close, around))):
                ax = show_picture(fig, one[:, y0 : y0 + side, x0 : x0 + side], x, top + r * (size + gap), size)
                framed(ax, column * step - x0, row * step - y0, step)
            said = f"outside {little[k - 1][2]:.0%}; at {far:g}: {lots[k - 1][2]:.0%}" if k else "as it was"
            write(fig, x + size / 2, top + 3 * size + 2 * gap + 0.1, said, fontsize=7.5, ha="center", color=FAINT)
        whole = self.base.shape[-1]
        return style.claimed(
            fig,
            "One number changes more than the colour of its own patch, moved a little or a lot",
            f"Row {row}, column {column}. Above {close[2]}, below {around[2]} of {whole} pixels a side; outside: the share of the change in the "
            f"whole picture. Yellow: {MOVED / 2:.0%} of the range or more.",
            "One number of the latent is moved, once in every channel. Above, enlarged, what the decoder paints after a small move; below it, "
            "after a large one. Last, maps of what the small move changed.",
            palette=256,
            seen=seen,
        )

    def _cut(self, row, column, reach):
        """The square of a cell and so many on every side, inside the picture: its top, left and side in pixels."""
        size, step = self.latents.shape[-1], self.c.vae_scale_factor
        side = min(2 * reach + 1, size)
        y0, x0 = (min(max(v - reach, 0), size - side) for v in (row, column))
        return y0 * step, x0 * step, side * step

    def frame(self, row, column, channel, delta):
        """PNG bytes for the panel: picture with its cell, the numbers of that cell, decoded, change."""
        if self.stage is None:
            self.stage = self._stage()
        mark, decoded, marked, changed, marked_too, bars, moved = self.artists
        picture, change, outside = self.change(row, column, channel, delta)
        step = picture.shape[-1] / self.latents.shape[-1]
        for patch in (mark, marked, marked_too):
            patch.set_xy((column * step - 0.5, row * step - 0.5))
        decoded.set_data(style.to_rgb(picture))
        changed.set_data(unsigned(coarse(change, MOVED), MOVED))
        values = self.latents[0, :, row, column].float().cpu()
        for bar, value in zip(bars, values):
            bar.set_width(float(value))
        moved.set_data([float(values[channel]), float(values[channel] + delta)], [channel, channel])
        return self.stage.png()

    def _stage(self):
        top, size, gap = 0.42, 2.0, 0.2
        fig, channels = style.new_figure(2.75, dpi=style.PANEL_DPI), self.latents.shape[1]
        lefts = [0.08, 0.08 + size + 0.55, 0, 0]
        lefts[2] = lefts[1] + 1.75 + gap
        lefts[3] = lefts[2] + size + gap
        heads = "the picture and the cell", "its numbers", "decoded after the move", "where it changed"
        for x, word in zip(lefts, heads):
            write(fig, x, 0.2, word, fontweight="bold")
        pictures = [
            show_picture(fig, one, x, top, size)
            for one, x in zip(
                (self.image, self.base, unsigned(torch.zeros_like(self.base[0]), 1)), (lefts[0], lefts[2], lefts[3])
            )
        ]
        marks = [self.outline(ax, 0, 0) for ax in pictures]
        ax = tidy(place(fig, lefts[1], top, 1.6, size - 0.3))
        bars = ax.barh(range(channels), [1.0] * channels, color=SIGNAL, height=0.5)
        (moved,) = ax.plot([0, 1], [0, 0], "-o", color=GUIDED, lw=1.8, ms=4, markevery=[1])
        ax.axvline(0, color=FAINT, lw=0.8)
        limit = spread_limit(self.latents) + 4
        ax.set(xlim=(-limit, limit), ylim=(channels - 0.5, -0.5), yticks=range(channels))
        write(
            fig,
            lefts[1] + 0.8,
            top + size + 0.12,
            "blue: encoded, vermilion: moved",
            fontsize=8.5,
            ha="center",
            color=FAINT,
        )
        decoded, changed = (ax.images[0] for ax in pictures[1:])
        mark, marked, marked_too = marks
        self.artists = mark, decoded, marked, changed, marked_too, list(bars), moved
        return style.Stage(fig, [decoded, changed, mark, marked, marked_too, *bars, moved])


def beside(left, right, words):
    """PNG bytes for a panel: two pictures beside each other, a few words above each."""
    fig, size = style.new_figure(3.35, width=6.4, dpi=style.PANEL_DPI), 2.9
    for x, picture, word in zip((0.08, 3.3), (left, right), words):
        show_picture(fig, picture, x, 0.36, size)
        write(fig, x, 0.18, word, fontweight="bold")
    return style.Stage(fig, []).png()
