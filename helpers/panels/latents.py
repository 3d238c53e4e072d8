"""The panels of lesson 02. Those that decode act when a control is let go; the others only look frames up."""

import torch

from helpers import inputs
from helpers import latents as codec
from helpers.figures import latents as figures
from helpers.panels.base import Panel, buttons, menu, sentence, slider

WIDE = 864  # pixels on a page: a frame nine inches wide as it is, its small type too


def _speaking(panel):
    """The panel; on a page without a kernel its line stands below its picture, for it says what the picture does not."""
    panel.speaks, panel.paper_width = True, WIDE
    return panel


def cell_panel(cell, row, column):
    """One number of a latent under a slider (a figures.latents.Cell); row, column: the cell shown first."""
    channels, size = cell.latents.shape[1], cell.latents.shape[-1]
    moves = [k / 2 for k in range(-8, 9)]

    def readout(row, column, channel, delta):
        value = float(cell.latents[0, channel, row, column])
        outside = cell.change(row, column, channel, delta)[2]
        return (
            f"latents[0, {channel:d}, {row:d}, {column:d}]: {value:.2f}, moved to {value + delta:.2f}. "
            f"{outside:.0%} of the change falls outside the patch."
        )

    controls = {
        "row": slider("row", range(size), row, live=False, width="260px"),
        "column": slider("column", range(size), column, live=False, width="260px"),
        "channel": menu("channel", range(channels), 0),
        "delta": slider("move", moves, 1.5, live=False),
    }
    return _speaking(Panel(controls, cell.frame, readout, ahead=False))


def numbers_panel(net, numbers, target):
    """A slider for each of some numbers of a latent, all others 0: beside the picture that they decode to, the one to make.

    net: a TinyVAE. numbers: which of its numbers. target: pixels (1, 3, 32, 32) in -1..1.
    """
    inputs.tensor(target, "target", 1, 3, 32, 32)
    with torch.no_grad():
        own = net.encoder(target).chunk(2, 1)[0]  # (1, d): means
        best = codec.psnr(net.decoder(own).clamp(-1, 1), target).item()
    numbers = inputs.list_of(numbers, "numbers", "whole numbers", object, least=1)
    numbers = [inputs.whole_number(number, "A number of the latent", 0, own.shape[1] - 1) for number in numbers]
    names = [f"number {number}" for number in numbers]

    @torch.no_grad()
    def drawn(state):
        z = torch.zeros_like(own)
        z[0, numbers] = torch.tensor([float(state[name]) for name in names])
        return net.decoder(z).clamp(-1, 1)  # (1, 3, 32, 32)

    def frame(**state):
        return figures.beside(target[0], drawn(state)[0], ("the picture to make", "what your numbers decode to"))

    def readout(**state):
        mine = ", ".join(f"{float(state[name]):g}" for name in names)
        return sentence(
            f"Your numbers {mine}: {codec.psnr(drawn(state), target).item():.1f} dB. "
            f"The encoder's own numbers: {best:.1f} dB."
        )

    return _speaking(
        Panel(
            {name: slider(name, [k / 4 for k in range(-12, 13)], 0.0, width="300px") for name in names},
            frame,
            readout,
            ahead=False,
        )
    )


def factor_panel(hidden, abars, spread, stops):
    """A slider for t: scaled latents, noised at t, beside raw ones at the same t, both brought back to full strength and decoded.

    hidden(size, t): the picture (3, H, W) in -1..1 of latents of standard deviation `size`. abars: (T,). spread: of raw latents.
    stops: values of t to stop at beside every twentieth of the way; it starts at the first.
    """
    (
        inputs.function(hidden, "hidden", "a function of a size and a t, which gives a picture"),
        inputs.tensor(abars, "abars", "T"),
    )
    inputs.number(spread, "spread", "a number above 0", lambda number: number > 0)
    stops = [
        inputs.whole_number(t, "A stop", 0, len(abars) - 1)
        for t in inputs.list_of(stops, "stops", "whole numbers", object, least=1)
    ]
    times = sorted({*range(0, len(abars), max(len(abars) // 20, 1)), *stops})

    def frame(t):
        return figures.beside(hidden(1.0, t), hidden(spread, t), (f"scaled, t = {t}", f"raw, t = {t}"))

    def readout(t):
        noise = float((1 / abars[t] - 1) ** 0.5)
        return sentence(
            f"At t = {t} the noise is {noise:.2f} times as strong as scaled latents, {noise / spread:.2f} times as strong as raw ones."
        )

    return _speaking(Panel({"t": slider("t", times, stops[0], live=False)}, frame, readout, ahead=False))


def rate_panel(pictures, qualities):
    """A picture, what the VAE made of it, what JPEG made of it at some quality.

    pictures: {name: (original, decoded, bytes of the latents)}, PIL pictures.
    """
    inputs.table(pictures, "pictures", "{name: (original, decoded, bytes of the latents)}")
    qualities = inputs.list_of(qualities, "qualities", "whole numbers from 1 to 95", object, least=1)
    after = {
        (name, quality): codec.jpeg(original, quality)
        for name, (original, _, _) in pictures.items()
        for quality in qualities
    }

    def decibels(name, other):
        return codec.psnr(*(codec.to_pixels([one]) for one in (pictures[name][0], other))).item()

    stages = {
        name: figures.Rates(
            (original, decoded, original),
            (f"original: {3 * original.width * original.height} bytes", f"VAE: {size} bytes", ""),
        )
        for name, (original, decoded, size) in pictures.items()
    }

    def frame(picture, quality):
        one = after[picture, quality]
        return stages[picture].frame(one.image, f"JPEG at {quality}: {one.size} bytes")

    def readout(picture, quality):
        one = after[picture, quality]
        _, decoded, size = pictures[picture]
        return sentence(
            f"VAE {decibels(picture, decoded):.1f} dB with {size} bytes, JPEG "
            f"{decibels(picture, one.image):.1f} dB with {one.size} bytes ({one.header} of them tables)."
        )

    middle = qualities[len(qualities) // 2]
    return _speaking(
        Panel(
            {
                "picture": buttons("", list(pictures), next(iter(pictures))),
                "quality": slider("JPEG quality", qualities, middle),
            },
            frame,
            readout,
        )
    )
