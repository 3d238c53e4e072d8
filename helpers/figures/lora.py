"""Lesson 05, low rank: what a LoRA moved in the model, and four ways to teach the same wish, side by side."""
import textwrap
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from . import style
from .intervals import interval
from .style import FAINT, GUIDED, INK, LEARNT, NOISE, NOTE, PROMPT, SIGNAL, TITLE, place, show_picture
from .style import tidy, write

FLOOR = 1e-6                # of the largest singular value: what float32 cannot tell from zero
STAGES = ("down", "middle", "up", "other")
KINDS = {"reads words": {"marker": "o", "ms": 4, "mfc": LEARNT},
         "reads the picture": {"marker": "o", "ms": 4, "mfc": "white"},
         "no attention": {"marker": "s", "ms": 2.5, "mfc": "white"}}      # kind of layer: how it is drawn
MEASURES = (LEARNT, SIGNAL, NOISE)      # colours of concept, subject, ordinary prompts


class Moved(NamedTuple):
    """What a change did to every layer, {layer: ...}, in the order of the network.

    size: |dW| / |W|, Frobenius norms. singular: the singular values of dW, falling, (min(out, in),).
    """

    size: dict
    singular: dict


def measure(weights, changes):
    """Compare changes with the weights they are added to: {layer: (out, in)} both. Returns Moved."""
    size, singular = {}, {}
    for layer, change in changes.items():
        change = change.detach().double().cpu()
        size[layer] = float(change.norm() / weights[layer].detach().double().cpu().norm())
        singular[layer] = torch.linalg.svdvals(change).numpy()
    return Moved(size, singular)


def block_of(layer):
    """Where in the U-Net a layer is: "down_blocks.1.attentions.0.transformer_blocks..." -> "down 2"."""
    kind, number, *_ = f"{layer}.".split(".")
    if kind in ("down_blocks", "up_blocks"):
        return f"{kind.removesuffix('_blocks')} {int(number) + 1}"
    return "middle" if kind == "mid_block" else "other"


def kind_of(layer):
    """One of `KINDS`, read off the name of a layer."""
    return next((kind for kind, mark in zip(KINDS, ("attn2", "attn1")) if mark in layer), list(KINDS)[-1])


def draw_sizes(fig, moved, left, top, width, height):
    """(a) A lollipop a layer, in the order in which latents pass, and what kind of layer it is."""
    ax = tidy(place(fig, left, top, width, height), None, "|dW| / |W|", ())
    names = sorted(moved.size, key=lambda name: STAGES.index(block_of(name).split()[0]))
    sizes = np.array([moved.size[name] for name in names])
    at, kinds = np.arange(len(names)), [kind_of(name) for name in names]
    ax.vlines(at, 0, sizes, color=LEARNT, lw=1.1, alpha=0.7)
    ax.set(xlim=(-1, len(names)), ylim=(0, 1.12 * sizes.max() + 1e-12))
    ax.locator_params(axis="y", nbins=4)
    blocks = [block_of(name) for name in names]
    for block in dict.fromkeys(blocks):
        inside = [i for i, other in enumerate(blocks) if other == block]
        middle = left + width * (np.mean(inside) + 1) / (len(names) + 1)
        write(fig, middle, top + height + 0.11, block, ha="center", fontsize=8)
        if inside[0]:
            ax.axvline(inside[0] - 0.5, color=FAINT, lw=0.6, ls=":")
    x = left + width
    for kind, look in reversed(KINDS.items()):
        of_kind = np.array([other == kind for other in kinds])
        if of_kind.any():
            ax.plot(at[of_kind], sizes[of_kind], linestyle="", mec=LEARNT, mew=1.1, **look)
            x -= 0.3 + 0.062 * len(kind)
            ax.plot([(x - left) / width], [1.06], mec=LEARNT, mew=1.1, transform=ax.transAxes, clip_on=False,
                    **look)
            write(fig, x + 0.09, top - 0.06 * height, kind, fontsize=7.5, color=FAINT)
    return ax


def draw_singular(fig, moved, rank, left, top, width, height):
    """(b) The singular values of the layer that moved most, on a log axis with the floor of float32."""
    layer = max(moved.size, key=moved.size.get)
    values = np.asarray(moved.singular[layer], float)
    most = max(values[0], 1e-30)
    floor, bottom = FLOOR * most, FLOOR * most / 30
    ax = tidy(place(fig, left, top, width, height), "singular values of dW, the largest is 1", None, ())
    heights = np.maximum(values, bottom * 2)
    ax.bar(np.arange(len(values)) + 1, heights, 0.8, color=np.where(values > floor, LEARNT, "#CFCFCF"), lw=0)
    ax.axhline(floor, color=GUIDED, lw=1, ls="--")
    ax.set_yscale("log")
    ax.set(ylim=(bottom, most * 5), xlim=(0, len(values) + 1))
    ax.set_yticks([most * 10.0**k for k in (-6, -4, -2, 0)], ["$10^{-6}$", "$10^{-4}$", "$10^{-2}$", "1"],
                  **style.MATH)
    ax.minorticks_off()
    there = int((values > floor).sum())
    said = f"{there} of {len(values)} are not zero\nrank asked for: {rank}"
    ax.text(0.98, 0.97, said, ha="right", va="top", transform=ax.transAxes, fontsize=8.5, color=LEARNT,
            fontweight="bold")
    ax.text(len(values), floor * 1.5, "rounding", ha="right", va="bottom", fontsize=7.5, color=GUIDED)
    return ax


def what_moved(moved, rank, pictures, title, note=None):
    """F24: how far each layer moved, how much rank the change has, pictures with several ranks of it. A Picture.

    moved: of `measure`. rank: the one that was asked for. pictures: {what was kept: PIL}, same prompt and seed.
    """
    top, high, gap = TITLE + 0.25, 1.75, 0.06
    size = min(1.43, (style.WIDTH - 0.16 + gap) / len(pictures) - gap)
    strip = top + high + 0.72
    fig = style.new_figure(strip + size + (NOTE if note else 0.08))
    draw_sizes(fig, moved, 0.65, top, 4.75, high)
    draw_singular(fig, moved, rank, 6.05, top, 2.85, high)
    for k, (kept, picture) in enumerate(pictures.items()):
        x = 0.08 + k * (size + gap)
        write(fig, x + size / 2, strip - 0.11, kept, ha="center", fontsize=8.5)
        show_picture(fig, picture, x, strip, size)
    style.claim(fig, title, note)
    return style.finish(fig, f"{title} How far {len(moved.size)} layers moved; the singular values of one "
                             f"change, rank {rank}; pictures with {', '.join(pictures)}.", 256)


# Teachers side by side


def pictures_in(file, size=128, gap=0):
    """The pictures of a sheet, a PNG file of rows of pictures: [[PIL, ...], ...]. size: of a side, gap: between two, in pixels."""
    with Image.open(file) as sheet:
        wide, high = ((side + gap) // (size + gap) for side in sheet.size)
        corners = [[(x * (size + gap), y * (size + gap)) for x in range(wide)] for y in range(high)]
        return [[sheet.convert("RGB").crop((x, y, x + size, y + size)) for x, y in row] for row in corners]


def teachers(pictures, contexts, measured, title, note=None, dpi=style.DPI):
    """F25: one row a teacher, one column a context, and on the right what was measured. Returns a Picture.

    pictures: {teacher: PIL pictures, one a context}. contexts: short texts. measured: {teacher: {what was
    measured: (hits, of how many)}}, drawn as bars with their 95 % intervals; None where nothing was: then the
    pictures take all of the width.
    """
    left, bars, gap = 1.2, 2.35 if measured else 0.0, 0.05
    size = min(1.0 if measured else 1.9, (style.WIDTH - left - bars - 0.15) / len(contexts) - gap)
    contexts = [in_lines(text, int(17 * size)) for text in contexts]
    top = TITLE + 0.14 + 0.13 * max(text.count("\n") + 1 for text in contexts)
    row = size + 0.09
    fig = style.new_figure(top + row * len(pictures) + (NOTE if note else 0.08), dpi=dpi)
    for k, text in enumerate(contexts):
        write(fig, left + k * (size + gap) + size / 2, top - 0.06, text, ha="center", va="bottom",
              fontsize=8, color=PROMPT, linespacing=1.15)
    begin = left + len(contexts) * (size + gap) + 0.15
    for r, (teacher, row_of) in enumerate(pictures.items()):
        y = top + r * row
        write(fig, left - 0.12, y + size / 2, in_lines(teacher, 12), ha="right", fontweight="bold", linespacing=1.2)
        for k, picture in enumerate(row_of):
            show_picture(fig, picture, left + k * (size + gap), y, size)
        if measured:
            draw_measured(fig, measured[teacher], begin, y, style.WIDTH - begin - 0.1, size)
    style.claim(fig, title, note)
    shares = {teacher: ", ".join(f"{name} ≈{hits / of:.0%}" for name, (hits, of) in found.items())
              for teacher, found in (measured or {}).items()}
    said = "; ".join(f"{teacher}: {found}" for teacher, found in shares.items())
    return style.finish(fig, f"{title} {said or 'Rows: ' + ', '.join(pictures)}", 256)


def in_lines(text, widest):
    """A short text on as few lines of `widest` letters as its words allow, and these as equal as they can be."""
    ways = [textwrap.wrap(text, width, break_long_words=False) for width in range(1, widest + 1)]
    return "\n".join(next(lines for lines in ways if len(lines) == len(ways[-1])))


def draw_measured(fig, found, left, top, width, height):
    """Bars of shares, each under its name, with the interval as a line and the count at the end."""
    step, full = height / len(found), width - 0.62
    for k, (name, (hits, of)) in enumerate(found.items()):
        y, colour = top + k * step, MEASURES[k % len(MEASURES)]
        low, high = interval(hits, of)
        write(fig, left, y + 0.3 * step, name, fontsize=7.5, color=INK)
        style.block(fig, left, y + 0.5 * step, full, 0.32 * step, "#EEEEEE")
        style.block(fig, left, y + 0.5 * step, max(full * hits / of, 0.015), 0.32 * step, colour)
        style.block(fig, left + full * low, y + 0.65 * step, full * (high - low), 0.02, INK)
        write(fig, left + full + 0.08, y + 0.66 * step, f"{hits} of {of}", fontsize=7.5, color=FAINT)
