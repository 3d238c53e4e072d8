"""The whole model to scale: what a vector, a LoRA and fine-tuning change of it, and their bytes on disk."""
import numpy as np
import torch

from .. import style
from ..style import FAINT, LEARNT, NOTE, TITLE, place, write

PARTS = ("#D9D9D9", "#C4C4C4", "#E6E6E6", "#D0D0D0")        # neighbours on a strip can be told apart
LEFT, WIDE, HIGH, ROW = 1.6, 4.35, 0.32, 0.58               # the strips, in inches
BARS, LONGEST = LEFT + WIDE + 0.3, 1.85


def weigh(c):
    """How many numbers each part of a model holds; the "word table" is not counted in the "text encoder"."""
    text, vae, unet = (sum(p.numel() for p in part.parameters()) for part in (c.text_encoder, c.vae, c.unet))
    table = c.text_encoder.get_input_embeddings().weight.numel()
    return {"word table": table, "text encoder": text - table, "VAE": vae, "U-Net": unet}


def hairlines(network, trained):
    """Where some layers lie among all the numbers of a network: [(start, how many are trained), ...].

    trained: {dotted name of a layer: how many numbers are trained for it}.
    """
    places, start = {}, 0
    for name, weight in network.named_parameters():
        for layer in trained:
            if name.startswith(f"{layer}."):
                places.setdefault(layer, start)
        start += weight.numel()
    missing = [layer for layer in trained if layer not in places]
    if missing:
        raise ValueError(f"The network has no layer {missing[0]!r} with weights of its own.")
    return [(places[layer], numbers) for layer, numbers in trained.items()]


def to_scale(parts, changed, sizes, title, note=None, table=None, layer=None):
    """F23: one strip for every method, as long as the whole model; what the method changes is purple.

    parts: {part: how many numbers}, as `weigh` gives. changed: {method: {part: [(start, numbers), ...]}}.
    sizes: {method: bytes on disk}. A mark narrower than a dot is drawn one dot wide.
    Enlarged below, if given: table: the word table (rows, d) and the learnt vectors (n, d). layer: the weight
    (out, in) of one layer, and its low-rank pair A (r, in), B (out, r). Returns a Picture.
    """
    top, total = TITLE + 0.55, sum(parts.values())
    low = top + ROW * len(changed) + 0.3
    enlarged = table is not None or layer is not None
    fig = style.new_figure(low + (1.4 if enlarged else 0.05) + (NOTE if note else 0))
    draw_part_names(fig, parts, top)
    write(fig, BARS, top - 0.3, "bytes on disk", fontsize=8.5)
    for r, (method, lit) in enumerate(changed.items()):
        draw_strip(fig, method, parts, lit, top + r * ROW)
        draw_size(fig, sizes[method], sizes.values(), top + r * ROW)
    write(fig, BARS, low - 0.3, "each factor of ten adds the same length", fontsize=7.5, color=FAINT)
    write(fig, LEFT, low - 0.3, f"the whole model: {grouped(total)} numbers, to scale (a mark is at least a "
          "dot wide)", fontsize=7.5, color=FAINT)
    if table is not None:
        draw_table(fig, *map(as_array, table), 0.35, low + 0.28, 4.9)
    if layer is not None:
        draw_layer(fig, *map(as_array, layer), 5.75, low + 0.28)
    style.claim(fig, title, note)
    return style.finish(fig, f"{title} " + "; ".join(
        f"{method}: {numbers_in(lit)} of {total} numbers, {in_bytes(sizes[method])} on disk"
        for method, lit in changed.items()), 128)


def starts_of(parts):
    """Where on the strip each part begins, and how long one number is, in inches."""
    scale = WIDE / sum(parts.values())
    return dict(zip(parts, LEFT + scale * np.cumsum([0, *parts.values()]))), scale


def draw_part_names(fig, parts, top):
    """The names of the parts above the strips; where one has to give way, a line leads to its part."""
    (starts, scale), end = starts_of(parts), 0.0
    for part, numbers in parts.items():
        middle, need = starts[part] + numbers * scale / 2, 0.072 * len(part) + 0.14
        x = max(middle, end + need / 2)
        share = numbers / sum(parts.values())
        write(fig, x, top - 0.38, part, ha="center", fontsize=8.5)
        write(fig, x, top - 0.24, f"{share:.1%}", ha="center", fontsize=7.5, color=FAINT)
        style.arrow(fig, (x, top - 0.16), (middle, top - 0.01), arrowstyle="-", linewidth=0.6, shrinkA=0,
                    shrinkB=0)
        end = x + need / 2


def draw_strip(fig, method, parts, lit, y):
    """The model as one strip, with what a method changes lit."""
    starts, scale = starts_of(parts)
    write(fig, LEFT - 0.12, y + HIGH / 2 - 0.08, method, ha="right", fontweight="bold")
    write(fig, LEFT - 0.12, y + HIGH / 2 + 0.1, f"{grouped(numbers_in(lit))} numbers", ha="right",
          fontsize=7.5, color=FAINT)
    for k, part in enumerate(parts):
        style.block(fig, starts[part], y, parts[part] * scale, HIGH, PARTS[k % len(PARTS)])
    for part, marks in lit.items():
        for start, count in marks:
            width = max(count * scale, 1 / fig.dpi)
            style.block(fig, starts[part] + start * scale, y - 0.03, width, HIGH + 0.06, LEARNT)


def draw_size(fig, size, sizes, y):
    """A bar for one file size on a log axis that begins a factor of ten below the smallest of `sizes`."""
    decades = np.log10(max(sizes) / min(sizes)) + 1
    length = LONGEST * (np.log10(size / min(sizes)) + 1) / decades
    style.block(fig, BARS, y + 0.05, length, HIGH - 0.1, LEARNT)
    write(fig, BARS + length + 0.06, y + HIGH / 2, in_bytes(size), fontsize=8.5)


def draw_table(fig, table, vectors, left, top, wide):
    """The word table as it is, a column a word, and the learnt vectors as columns at its end."""
    vectors = vectors.reshape(-1, table.shape[1])
    rows, width = table.shape
    high = min(max(wide * width / rows, 0.3), 0.95)
    lit = max(wide * len(vectors) / rows, 3 / fig.dpi)
    draw_weights(fig, table.T, left, top, wide - lit - 0.04, high, "antialiased")
    style.block(fig, left + wide - lit, top, lit, high, LEARNT)
    write(fig, left, top - 0.12, f"the word table: {grouped(rows)} words, {width} numbers each", fontsize=8.5)
    more = "one word more" if len(vectors) == 1 else f"{len(vectors)} words more"
    write(fig, left + wide, top - 0.12, more, ha="right", fontsize=8.5, color=LEARNT, fontweight="bold")


def draw_layer(fig, weight, down, up, left, top):
    """One layer's weight, to scale with the two thin matrices whose product is added to it."""
    scale = 0.95 / max(weight.shape)
    thin = max(scale * len(down), 2 / fig.dpi)
    high, wide = (side * scale for side in weight.shape)
    x = left + wide + 0.32
    beside = x + thin + 0.16
    draw_weights(fig, weight, left, top, wide, high, "nearest")
    style.block(fig, x, top, thin, high, LEARNT)
    style.block(fig, beside, top, wide, thin, LEARNT)
    write(fig, left, top - 0.12, "one layer: $W$", fontsize=8.5, **style.MATH)
    write(fig, left + wide + 0.16, top + high / 2, "+", fontsize=12, ha="center")
    write(fig, x + thin / 2, top - 0.12, "$B$", ha="center", fontsize=8.5, color=LEARNT, **style.MATH)
    write(fig, beside + wide / 2, top - 0.12, "$A$", ha="center", fontsize=8.5, color=LEARNT, **style.MATH)
    said = (f"$W$: {weight.shape[0]} x {weight.shape[1]}, kept", f"$A$, $B$: rank {len(down)},",
            f"{grouped(down.size + up.size)} numbers learnt")
    for k, words in enumerate(said):
        write(fig, beside, top + thin + 0.2 + 0.18 * k, words, fontsize=8, color=LEARNT if k else FAINT, **style.MATH)


def draw_weights(fig, values, left, top, width, height, interpolation):
    """A matrix as grey dots."""
    limit = 3 * values.std()
    place(fig, left, top, width, height, bare=True).imshow(
        values, cmap="Greys", vmin=-limit, vmax=limit, aspect="auto", interpolation=interpolation)


def as_array(values):
    """A tensor or array as float32 on the CPU."""
    return torch.as_tensor(values).detach().float().cpu().numpy()


def numbers_in(lit):
    """How many numbers the marks {part: [(start, numbers), ...]} stand for."""
    return sum(count for marks in lit.values() for _, count in marks)


def grouped(number):
    """A whole number with thin gaps between its thousands."""
    return f"{number:,}".replace(",", "\N{THIN SPACE}")


def in_bytes(size):
    """A file size in the unit that suits it."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size} bytes"
