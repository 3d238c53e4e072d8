"""The panels of lesson 02. Those that decode act when a control is let go; the others only look frames up."""
import torch

from .. import inputs
from .. import latents as codec
from ..figures import latents as figures
from .base import Panel, buttons, menu, sentence, slider


def cell_panel(cell, row, column):
    """One number of a latent under a slider (a figures.latents.Cell); row, column: the cell shown first."""
    channels, size = cell.latents.shape[1], cell.latents.shape[-1]
    moves = [k / 2 for k in range(-8, 9)]

    def readout(row, column, channel, delta):
        value, sigma = float(cell.latents[0, channel, row, column]), float(cell.sigma[channel, row, column])
        outside = cell.change(row, column, channel, delta)[2]
        return (f"latents[{channel:d}, {row:d}, {column:d}] = {value:.2f} {delta:+g} = {value + delta:.2f} "
                f"&nbsp; (sigma here: {sigma:.4f}) &nbsp; {outside:.0%} of the change falls outside the "
                "patch")

    controls = {"row": slider("row", range(size), row, live=False, width="260px"),
                "column": slider("column", range(size), column, live=False, width="260px"),
                "channel": menu("channel", range(channels), 0),
                "delta": slider("move", moves, 4.0, live=False)}
    return Panel(controls, cell.frame, readout, ahead=False)


def mixer_panel(c, image):
    """A slider for each channel that scales it; the picture is decoded when a slider is let go."""
    latents = codec.encode_image(c, image)                                                  # (1, C, h, w)
    whole = codec.decode_latents(c, latents)[0]
    names = [f"channel {k}" for k in range(latents.shape[1])]
    gains = [k / 4 for k in range(-8, 13)]

    def frame(**state):
        gain = torch.tensor([state[name] for name in names]).to(latents)
        return figures.mixed(whole, codec.decode_latents(c, latents * gain[:, None, None])[0])

    def readout(**state):
        gains = ", ".join(f"{state[name]:g}" for name in names)
        return sentence(f"decoded from latents times ({gains}), channel by channel")

    controls = {name: slider(name, gains, 1.0, live=False, width="340px") for name in names}
    return Panel(controls, frame, readout, ahead=False)


def cloud_panel(cloud):
    """The posterior sampled with k times its sigma (a figures.latents.Cloud): a slider over k."""
    def readout(k):
        widest = max(k * sigma / spread for sigma, spread in zip(cloud.sigma, cloud.spread))
        return (f"z = mean + {k:g} &middot; sigma &middot; eps: noise of up to {widest:.1%} of the spread "
                "of the means")

    return Panel({"k": slider("k", cloud.factors, cloud.factors[0])}, cloud.frame, readout)


def rate_panel(pictures, qualities):
    """A picture, what the VAE made of it, what JPEG made of it at some quality.

    pictures: {name: (original, decoded, bytes of the latents)}, PIL pictures.
    """
    inputs.table(pictures, "pictures", "{name: (original, decoded, bytes of the latents)}")
    qualities = inputs.list_of(qualities, "qualities", "whole numbers from 1 to 95", object, least=1)
    after = {(name, quality): codec.jpeg(original, quality)
             for name, (original, _, _) in pictures.items() for quality in qualities}

    def decibels(name, other):
        return codec.psnr(*(codec.to_pixels([one]) for one in (pictures[name][0], other))).item()

    def frame(picture, quality):
        original, decoded, size = pictures[picture]
        one = after[picture, quality]
        labels = (f"original: {3 * original.width * original.height} bytes", f"VAE: {size} bytes",
                  f"JPEG: {one.size} bytes")
        return figures.rate_frame(original, decoded, one.image, labels)

    def readout(picture, quality):
        one = after[picture, quality]
        _, decoded, size = pictures[picture]
        return sentence(f"VAE {decibels(picture, decoded):.1f} dB with {size} bytes, JPEG "
                        f"{decibels(picture, one.image):.1f} dB with {one.size} bytes ({one.header} of them header)")

    middle = qualities[len(qualities) // 2]
    return Panel({"picture": buttons("", list(pictures), next(iter(pictures))),
                  "quality": slider("JPEG quality", qualities, middle)}, frame, readout)
