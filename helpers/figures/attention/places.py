"""What single cells of the picture read: the four stages of the formula, and dots that share out 1."""

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patheffects import withStroke

from helpers.figures import style
from helpers.figures.style import FAINT, GUIDED, INK, NOISE, NOTE, PROMPT, SIGNAL, TITLE, place, show_picture, write

START, FIRST = "#00573F", "#B8860B"
WARM = LinearSegmentedColormap.from_list("guided", ["#FFFFFF", GUIDED])


def rings(masks, limit=6):
    """One pixel deep inside each thing, {name: (row, column)}: the mask's pixel nearest to its middle.

    masks: {thing: (H, W) bool}. Left out: the weather, which lies over everything, and a bank under a thing.
    """
    found = {}
    for name, mask in masks.items():
        rows, columns = np.nonzero(mask)
        if name in ("weather", "island") or not len(rows):
            continue
        nearest = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
        found[name] = (int(rows[nearest]), int(columns[nearest]))
    return dict(list(found.items())[:limit])


def draw_rings(ax, points, image):
    """Numbered rings on a picture's axes."""
    halo = [withStroke(linewidth=2.5, foreground="black")]
    for k, (row, column) in enumerate(points.values()):
        ax.plot(column, row, "o", ms=11, mfc="none", mec="black", mew=2.8)
        ax.plot(column, row, "o", ms=11, mfc="none", mec="white", mew=1.5)
        ax.annotate(
            str(k + 1),
            (column, row),
            xytext=(9, 5),
            textcoords="offset points",
            color="white",
            fontsize=8.5,
            fontweight="bold",
            path_effects=halo,
        )


def read_at(points, image_size, maps):
    """The rows of maps (h, w, ...) at places given in pixels of the picture: (places, ...)."""
    cells = [
        (row * maps.shape[0] // image_size, column * maps.shape[1] // image_size) for row, column in points.values()
    ]
    return np.stack([maps[cell] for cell in cells])


def dot_grid(image, points, maps, tokens, budgets, title_of="", top_share=1.0, dpi=style.DPI, title=None):
    """F14: what some cells read. Dots: what each reads of every token; the last column is their sum, 1. A Picture.

    points: {name: (row, column)} in pixels. maps: (h, w, T), each cell sums to 1. tokens: of `split_prompt`.
    budgets: {layer: (start, first word, other words, rest)}: means over all cells. top_share: leave the smallest out, until
    what is drawn is this share of a row. title: another than that most goes to the start and the first word.
    """
    last = next(i for i, one in enumerate(tokens) if one.kind == "end")
    rows = read_at(points, image.width, maps)  # (places, T)
    shown = np.concatenate([rows[:, : last + 1], rows[:, last + 1 :].sum(1, keepdims=True)], 1)
    names = ["start", *(one.text for one in tokens[1:last]), "end", "padding"]
    size, left, top = 2.2, 3.55, TITLE + 0.75
    step, wide = 0.32, 4.75 / len(names)
    low = top + step * len(points) + 0.55
    fig = style.new_figure(low + 0.2 * len(budgets) + 0.35 + NOTE, dpi=dpi)
    ax = show_picture(fig, image, 0.1, TITLE + 0.35, size)
    draw_rings(ax, points, image)
    for j, name in enumerate(names):
        write(
            fig,
            left + (j + 0.5) * wide,
            top - 0.08,
            name,
            rotation=90,
            ha="center",
            va="bottom",
            fontsize=8.5,
            color=FIRST if j == 1 < last else PROMPT if 0 < j < last else INK,
        )
    grid = place(fig, left, top, wide * len(names), step * len(points))
    kept = keep_top(shown, top_share)
    for i, row in enumerate(shown):
        colours = [START, *[FIRST, *[PROMPT] * (last - 2)][: last - 1], INK, NOISE]
        grid.scatter(
            np.arange(len(row)) + 0.5,
            np.full(len(row), i + 0.5),
            s=340 * row * kept[i],
            c=colours,
            linewidths=0,
            clip_on=False,
        )
        write(fig, left - 0.08, top + (i + 0.5) * step, f"{i + 1} {list(points)[i]}", ha="right", fontsize=8)
        write(fig, left + wide * len(names) + 0.06, top + (i + 0.5) * step, f"{row.sum():.2f}", fontsize=8, color=FAINT)
    for k, share in enumerate((0.05, 0.25, 1.0)):  # the key to the sizes
        key = place(fig, 0.62 + 0.62 * k, low + 0.25, 0.4, 0.4, bare=True)
        key.scatter([0], [0], s=340 * share, c=FAINT, linewidths=0, clip_on=False)
        write(fig, 0.82 + 0.62 * k, low + 0.75, f"{share:.0%}", fontsize=7.5, ha="center", color=FAINT)
    write(fig, 0.1, low + 0.45, "dots", fontsize=8)
    grid.set(xlim=(0, len(names)), ylim=(len(points), 0), xticks=[], yticks=[])
    grid.spines[["left", "bottom"]].set_color("#DDDDDD")
    write(fig, left + wide * len(names) + 0.06, top - 0.12, "sum", fontsize=8, color=FAINT)
    draw_budgets(fig, left, low, budgets)
    blind = np.mean([shares[0] + shares[1] for shares in budgets.values()])
    padded = shown[:, -1]
    also = (
        f"Of these cells, {list(points)[padded.argmax()]} gives most to the padding, ≈{padded.max():.0%}; below"
        if padded.max() > 0.1
        else "Below"
    )
    most = "; on average over all cells, most of it goes to start and first word" if blind > 0.5 else ""
    return style.claimed(
        fig,
        title or f"Each cell's attention adds up to 1{most}",
        f"Dots: the cells marked in the picture; {title_of}. Bars: mean over cells and heads, same noise level."
        + ("" if title else " down 1.0: on the way down, block 1, layer 0."),
        "A postcard with numbered cells and, for each, dots as large as what it reads of each token. "
        f"{also}, what each layer gives to start, first word, other words, end and padding, on average "
        + ", ".join(f"≈{share:.0%}" for share in np.mean(list(budgets.values()), 0))
        + ".",
        128,
    )


def keep_top(rows, share):
    """Which entries of each row make up `share` of its sum, largest first: bool, like rows."""
    order = np.argsort(-rows, axis=1)
    before = np.take_along_axis(rows, order, 1).cumsum(1) - np.take_along_axis(rows, order, 1)
    kept = np.empty(rows.shape, bool)
    np.put_along_axis(kept, order, before < share * rows.sum(1, keepdims=True) - 1e-6, 1)
    return kept


def draw_budgets(fig, left, top, budgets):
    """One stacked bar for each layer: start, first word, other words, end and padding."""
    write(fig, left, top - 0.14, "start", fontsize=8, color=START, fontweight="bold")
    write(fig, left + 0.45, top - 0.14, "first word", fontsize=8, color=FIRST, fontweight="bold")
    write(fig, left + 1.25, top - 0.14, "other words", fontsize=8, color=PROMPT, fontweight="bold")
    write(fig, left + 2.15, top - 0.14, "end and padding", fontsize=8, color=FAINT, fontweight="bold")
    ax = place(fig, left, top, 4.75, 0.2 * len(budgets))
    parts = np.array(list(budgets.values()))  # (layers, 4)
    ends, rows = parts.cumsum(1), np.arange(len(parts))
    for k, colour in enumerate((START, FIRST, PROMPT, NOISE)):
        ax.hlines(rows, ends[:, k] - parts[:, k], ends[:, k], colour, lw=0.78 * 0.2 * 72)
    for i, name in enumerate(budgets):
        for part, end in zip(parts[i], ends[i]):
            if part > 0.06:
                ax.text(end - part / 2, i, f"{part:.0%}", ha="center", va="center", color="white", fontsize=7.5)
        for k, colour in ((2, PROMPT), (3, FAINT)):  # parts too small for a number inside
            if parts[i, k] <= 0.06:
                ax.text((1.01, 1.07)[k - 2], i, f"{parts[i, k]:.0%}", va="center", color=colour, fontsize=7.5)
        write(fig, left - 0.08, top + 0.2 * (i + 0.5), name, ha="right", fontsize=7.5)
    ax.set(xlim=(0, 1), ylim=(len(budgets) - 0.5, -0.5), xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def attention_plan(places, channels, tokens, width, heads):
    """One drawing of attention: x asks, the text answers, with the shapes of one layer. A Picture.

    places, channels: rows (cells) and columns of x. tokens, width: of the text. heads: how many share the channels. Beside
    it who may read whom: tokens in cross-attention, cells in self-attention, the text encoder under its causal mask.
    """
    fig = style.new_figure(TITLE + 4.0 + NOTE)
    top, each = TITLE + 0.3, channels // heads
    matrix(fig, 0.1, top + 0.4, 0.6, 1.1, SIGNAL, "x", f"{places} cells\n{channels} numbers each")
    matrix(fig, 0.1, top + 2.25, 0.75, 0.62, PROMPT, "text", f"{tokens} tokens\n{width} numbers each")
    for y, high, name, colour, start, said in (
        (0.4, 1.1, "Q", SIGNAL, (0.74, 0.95), "queries: what a cell looks for"),
        (1.88, 0.62, "K", PROMPT, (0.89, 2.45), "keys: what it is found by"),
        (2.88, 0.62, "V", PROMPT, (0.89, 2.67), "values: what it hands over"),
    ):
        left, middle = 1.75, y + high / 2
        style.arrow(fig, (start[0], top + start[1]), (left - 0.05, top + middle), colour)
        write(
            fig,
            (start[0] + left) / 2,
            top + (start[1] + middle) / 2 - 0.15,
            f"$W_{name.lower()}$",
            ha="center",
            color=colour,
            fontsize=11,
            **style.MATH,
        )
        stripes(fig, left, top + y, 0.6, high, colour, heads)
        below = top + y + (-0.11 if name == "Q" else high + 0.11)
        write(fig, left - 0.12, below, name, fontweight="bold", fontsize=10, color=colour)
        write(fig, left + 0.05, below, said, fontsize=7.5, color=colour)
    style.arrow(fig, (2.4, top + 0.95), (3.2, top + 0.95), SIGNAL)
    style.arrow(fig, (2.4, top + 2.19), (3.22, top + 1.4), PROMPT)
    for k in range(min(heads, 4) - 1, -1, -1):  # one sheet for each head
        maps_of(fig, 3.25 + 0.07 * k, top + 0.45 - 0.07 * k, 0.72, 1.05)
    write(fig, 3.25, top + 1.72, f"{heads} maps, {places} x {tokens}\neach; rows sum to 1", fontsize=7.5, color=FAINT)
    write(fig, 3.2, top - 0.11, "$\\mathrm{softmax}(Q K^\\top / \\sqrt{d})$", fontsize=10, color=GUIDED, **style.MATH)
    write(fig, 3.2, top + 0.09, f"d = {channels} / {heads} = {each}", fontsize=7.5, color=FAINT)
    style.arrow(fig, (4.25, top + 0.95), (4.62, top + 0.95), GUIDED)
    style.arrow(fig, (2.4, top + 3.19), (4.9, top + 1.56), PROMPT)
    stripes(fig, 4.67, top + 0.4, 0.6, 1.1, PROMPT, heads)
    write(fig, 4.6, top + 0.22, "maps times V,\nside by side", fontsize=7.5, color=FAINT)
    style.arrow(fig, (5.32, top + 0.95), (5.75, top + 0.95), SIGNAL)
    write(fig, 5.53, top + 0.8, "$W_o$", ha="center", color=SIGNAL, fontsize=11, **style.MATH)
    matrix(fig, 5.8, top + 0.4, 0.6, 1.1, SIGNAL, "out", f"{places} cells,\nheads\nmixed")
    write(fig, 6.75, top - 0.02, "who may read whom", fontweight="bold")
    for k, (name, said, mine, theirs, rows, columns) in enumerate(
        (
            ("cross-attention", "cells read tokens", SIGNAL, PROMPT, 8, 5),
            ("self-attention", "cells read cells", SIGNAL, SIGNAL, 8, 8),
            ("causal self-attention", "tokens read themselves\nand those before", PROMPT, PROMPT, 6, 6),
        )
    ):
        y = top + 0.35 + 1.2 * k
        for i in range(rows):
            for j in range(columns):
                allowed = k < 2 or j <= i
                style.block(fig, 6.75 + 0.11 * j, y + 0.11 * i, 0.095, 0.095, theirs if allowed else "#E4E4E4")
            style.block(fig, 6.62, y + 0.11 * i, 0.06, 0.095, mine)
        asks, gives = (("cells", "tokens"), ("cells", "cells"), ("tokens", "tokens"))[k]
        write(fig, 6.52, y + 0.055 * rows, asks, fontsize=7.5, rotation=90, ha="center", color=mine)
        write(fig, 6.75 + 0.055 * columns, y - 0.1, gives, fontsize=7.5, ha="center", color=theirs)
        write(fig, 7.7, y + 0.2, name, fontsize=7.5, fontweight="bold")
        write(fig, 7.7, y + 0.45, said, fontsize=7, color=FAINT)
    return style.claimed(
        fig,
        "Attention: each cell asks, each token answers, a softmax weighs the answers",
        "Blue: the picture. Green: the text. Stripes: heads, each with its own block of the channels. "
        "Grey: masked, so read with weight 0.",
        f"A drawing of cross-attention: {places} cells become queries, {tokens} tokens keys and "
        "values, their softmax a map for each head; maps times values, side by side, go through W_o. Beside "
        "it who may read whom, the text encoder only looking back.",
        128,
    )


def matrix(fig, left, top, width, height, colour, name, said):
    """A filled box with its name in it and its shape below."""
    style.block(fig, left, top, width, height, colour)
    write(fig, left + width / 2, top + height / 2, name, ha="center", fontweight="bold", color="white")
    below = 0.04 + 0.08 * len(said.splitlines())  # of the middle of what is said
    write(fig, left, top + height + below, said, fontsize=7.5, color=FAINT)


def maps_of(fig, left, top, width, height):
    """A table in which each row has one or two full fields: what a map of attention looks like."""
    shares = np.full((9, 6), 0.03)
    shares[range(9), [0, 0, 3, 3, 0, 4, 4, 1, 0]] = 0.8
    shares[[1, 3, 7], [1, 2, 0]] = 0.4
    ax = place(fig, left, top, width, height)
    ax.imshow(shares, cmap=WARM, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(visible=True, color=GUIDED)


def stripes(fig, left, top, width, height, colour, count):
    """A box cut into as many upright stripes as there are heads."""
    each = width / count
    for k in range(count):
        bar = style.block(fig, left + k * each, top, 0.86 * each, height, colour)
        bar.set_alpha(1 - 0.55 * (k % 2))


def three_stages(points, names, stages, shapes=("scores, divided by the root of d", "shares", "output of the head")):
    """F15: what attention computes on the way, for a few cells and one head. A Picture.

    points: {name: (row, column)}. names: of the first tokens. stages: {code: (places, columns)}: scores, divided; their softmax;
    the output. shapes: a text for each of the three tables.
    """
    wide, high, gap, left, top = 2.5, 1.6, 0.28, 0.78, TITLE + 0.35
    fig = style.new_figure(top + high + 1.05 + NOTE)
    for k, (code, values) in enumerate(stages.items()):
        x, signed = left + k * (wide + gap), k != 1
        ax = place(fig, x, top, wide, high)
        most = np.abs(values).max()
        ax.imshow(
            values,
            aspect="auto",
            cmap=style.SIGNED if signed else style.BLUES,
            vmin=-most if signed else 0,
            vmax=most if signed else 1,
            interpolation="nearest",
        )
        ax.set(xticks=[], yticks=[])
        write(fig, x + wide / 2, top - 0.13, shapes[k], ha="center", fontsize=8.5, color=FAINT)
        write(fig, x + wide / 2, top + high + 0.72, code, ha="center", fontsize=7.5, family="monospace")
        for j, name in enumerate(names if k < 2 else range(1, values.shape[1] + 1)):
            write(
                fig,
                x + (j + 0.5) * wide / values.shape[1],
                top + high + 0.04,
                str(name),
                fontsize=7,
                rotation=90 if k < 2 else 0,
                ha="center",
                va="top",
                color=FAINT if k == 2 else START if j == 0 else INK if j == len(names) - 1 else PROMPT,
            )
        said = "all 77 of a row sum to 1" if k == 1 else f"from {values.min():.1f} to {values.max():.1f}"
        write(fig, x + wide / 2, top + high + 0.9, said, ha="center", fontsize=7.5, color=GUIDED if k == 1 else FAINT)
    for i, name in enumerate(points):
        write(fig, left - 0.06, top + (i + 0.5) * high / len(points), name, ha="right", fontsize=8)
    two = float(np.sort(list(stages.values())[1])[:, -2:].sum(1).min())
    return style.claimed(
        fig,
        f"One head at work: two tokens get {100 * two:.0f} % of each cell's attention or more",
        f"Rows: {len(points)} cells of the picture. Columns: tokens, then the head's numbers. Purple: above 0, orange: below. "
        "Shares: dark blue is 1.",
        "Three tables, for a few cells of the picture: scores against the tokens, their softmax, and the output. Of the shares of "
        f"a cell, the two largest add up to ≈{100 * two:.0f} % at least.",
        256,
    )
