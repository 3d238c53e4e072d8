"""The U-Net as a ledger, drawn to scale from the loaded model: sizes, channels, parameters, work, skips, words."""

from typing import NamedTuple

import matplotlib
import numpy as np
import torch
from matplotlib.patches import FancyArrowPatch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from helpers.components import copy_of
from helpers.figures import style
from helpers.figures.style import FAINT, GUIDED, INK, NOISE, NOTE, PROMPT, TITLE, place, write

TALL = 1.05  # inches: a block of the largest resolution
SEEN = 0.84  # inches: the picture of what a block holds
FILL = "YlGnBu"  # pale: few weights; dark: many. Steps that can be told apart, where a half of them are small


class Block(NamedTuple):
    """One block of the U-Net as it worked in one call.

    shape: (channels, height, width) it works in. parameters: how many it holds, as a share of all, 0..1.
    work: its share of the call's floating point operations, 0..1. activation: mean |output| over channels, (h, w), before it
    changes the size.
    reads_words: whether it holds cross-attention.
    """

    name: str
    shape: tuple
    parameters: float
    work: float
    activation: np.ndarray
    reads_words: bool


def parts_of(unet):
    """The U-Net's parts in the order in which latents pass through them: {name: module}."""
    downs, ups = (
        {f"{word} {i + 1}": block for i, block in enumerate(blocks)}
        for word, blocks in (("down", unet.down_blocks), ("up", unet.up_blocks))
    )
    return {"in": unet.conv_in, **downs, "middle": unet.mid_block, **ups, "out": unet.conv_out}


@torch.inference_mode()
def anatomy(unet, latents, timestep, prompt_embeds):
    """What each part did in one call: a list of Blocks. latents: (1, C, h, w). prompt_embeds: (1, 77, d).

    Work is counted by torch's FlopCounterMode, with attention written out, so that it is counted too. The convolution that
    follows an enlargement is counted, with its parameters, in the part after it, whose resolution it works at.
    """
    unet, seen = copy_of(unet), {}  # a copy to look into: whatever happens here, nothing stays behind in the model
    parts = parts_of(unet)

    def note(name):
        def hook(module, args, output):
            seen[name] = output  # (1, channels, h, w)

        return hook

    for name, part in parts.items():
        (part.resnets[-1] if hasattr(part, "resnets") else part).register_forward_hook(note(name))
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        unet(latents, timestep, encoder_hidden_states=prompt_embeds)
    names = {part: name for name, part in unet.named_modules()}
    counts = {name: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    late = [list(getattr(part, "upsamplers", None) or []) for part in parts.values()]  # each works on enlarged pictures

    def share_out(count):  # an upsampler counts where it works: at the resolution of the part that follows its own
        return {
            name: count(part) - sum(map(count, own)) + sum(map(count, handed))
            for (name, part), own, handed in zip(parts.items(), late, [[], *late])
        }

    work = share_out(lambda part: counts.get(f"{type(unet).__name__}.{names[part]}", 0))
    held = share_out(lambda part: sum(p.numel() for p in part.parameters()))
    return [
        Block(
            name,
            tuple(seen[name].shape[1:]),
            held[name] / sum(p.numel() for p in unet.parameters()),
            work[name] / sum(work.values()),
            seen[name][0].abs().mean(0).float().cpu().numpy(),
            bool(getattr(part, "has_cross_attention", False)),
        )
        for name, part in parts.items()
    ]


def per_cent(share):
    """A share in whole per cent, and what is too small for that as "<1%"."""
    return f"{share:.0%}" if share > 0.005 or share == 0 else "<1%"


def ledger(blocks, title, note):
    """F18: height = resolution, width = channels, fill = share of the parameters (its root), outline = share of the work.

    All blocks but the first and the last layer are told the time, and those with cross-attention the words.

    Under each block what it held, in one size for all: the mean of |activation| over its channels, bright where it is large.
    """
    margin = 0.62
    step = (style.WIDTH - margin - 0.1) / len(blocks)
    tallest, widest = max(b.shape[1] for b in blocks), max(b.shape[0] for b in blocks)
    most = max(b.parameters for b in blocks)
    top = TITLE + 0.62
    fig = style.new_figure(top + TALL + 1.17 + SEEN + 0.12 + NOTE)
    middle, colours = top + TALL / 2, matplotlib.colormaps[FILL]
    total_h = fig.get_size_inches()[1]
    downs, ups = ([b for b in blocks if b.name.startswith(word)] for word in ("down", "up"))
    centre = {}
    for i, block in enumerate(blocks):
        x, height = margin + (i + 0.5) * step, TALL * block.shape[1] / tallest
        width = max((step - 0.14) * block.shape[0] / widest, 0.16)
        centre[block.name] = (x, middle - height / 2)
        style.box(
            fig,
            x - width / 2,
            middle - height / 2,
            width,
            height,
            INK,
            fill=True,
            linestyle="-",
            facecolor=colours(0.05 + 0.9 * (block.parameters / most) ** 0.5),
            linewidth=0.4 + 9 * block.work,
            zorder=-1,
        )
        below = top + TALL + 0.16
        ax = place(fig, x - SEEN / 2, below + 0.17 * 5 + 0.16, SEEN, SEEN, bare=True)
        ax.imshow(block.activation, cmap="gray", interpolation="nearest", aspect="auto")
        write(fig, x, below, block.name, ha="center", fontsize=8.5, fontweight="bold")
        for k, words in enumerate(("x".join(map(str, block.shape)), per_cent(block.parameters), per_cent(block.work))):
            write(fig, x, below + 0.17 * (k + 1), words, ha="center", fontsize=8, color=FAINT)
        inputs = [("time", GUIDED)] * (block.name not in ("in", "out")) + [("words", PROMPT)] * block.reads_words
        for k, (name, colour) in enumerate(inputs):
            write(
                fig,
                x,
                below + 0.17 * (4 + k) + 0.02,
                f"\N{BLACK UP-POINTING TRIANGLE} {name}",
                ha="center",
                fontsize=8,
                color=colour,
            )
    for k, words in enumerate(("shape", "weights", "work")):
        write(fig, margin - 0.05, top + TALL + 0.16 + 0.17 * (k + 1), words, ha="right", fontsize=8, color=FAINT)
    write(fig, margin - 0.05, top + TALL + 1.17 + SEEN / 2, "mean\n|output|", ha="right", fontsize=8, color=FAINT)
    for down, up in zip(downs, reversed(ups)):
        (x0, y0), (x1, y1) = centre[down.name], centre[up.name]
        fig.add_artist(
            FancyArrowPatch(
                (x0 / style.WIDTH, 1 - (y0 - 0.05) / total_h),
                (x1 / style.WIDTH, 1 - (y1 - 0.05) / total_h),
                transform=fig.transFigure,
                connectionstyle=f"arc3,rad={-0.55 / (x1 - x0):.3f}",
                arrowstyle="-|>",
                mutation_scale=9,
                color=NOISE,
                lw=1.2,
            )
        )
    write(fig, sum(centre["middle"][:1]), TITLE + 0.1, "skip connections", ha="center", fontsize=8, color=NOISE)
    return style.claimed(
        fig,
        title,
        note,
        f"{title} "
        + "; ".join(
            f"{b.name}: {'x'.join(map(str, b.shape))}, {per_cent(b.parameters)} of the weights, {per_cent(b.work)} of the work"
            for b in blocks
        ),
    )
