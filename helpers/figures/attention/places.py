"""What single places of the picture read: the four stages of the formula, and dots that share out 1."""
import numpy as np
from matplotlib.patheffects import withStroke

from .. import style
from ..style import FAINT, GUIDED, INK, NOISE, NOTE, PROMPT, TITLE, place, show_picture, write

START = "#00573F"


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
        ax.annotate(str(k + 1), (column, row), xytext=(9, 5), textcoords="offset points", color="white",
                    fontsize=8.5, fontweight="bold", path_effects=halo)


def read_at(points, image_size, maps):
    """The rows of maps (h, w, ...) at places given in pixels of the picture: (places, ...)."""
    cells = [(row * maps.shape[0] // image_size, column * maps.shape[1] // image_size)
             for row, column in points.values()]
    return np.stack([maps[cell] for cell in cells])


def dot_grid(image, points, maps, tokens, budgets, title_of="", top_share=1.0, dpi=style.DPI):
    """F14: what some places read. Dots: what each reads of every token; the last column sums to 1. A Picture.

    points: {name: (row, column)} in pixels. maps: (h, w, T), each place sums to 1. tokens: of `split_prompt`.
    budgets: {layer: (start, words, rest)}: means over all places. top_share: leave the smallest out, until
    what is drawn is this share of a row.
    """
    last = next(i for i, one in enumerate(tokens) if one.kind == "end")
    rows = read_at(points, image.width, maps)                                   # (places, T)
    shown = np.concatenate([rows[:, :last + 1], rows[:, last + 1:].sum(1, keepdims=True)], 1)
    names = ["start", *(one.text for one in tokens[1:last]), "end", "padding"]
    size, left, top = 2.2, 3.55, TITLE + 0.75
    step, wide = 0.32, 4.75 / len(names)
    low = top + step * len(points) + 0.55
    fig = style.new_figure(low + 0.2 * len(budgets) + 0.35 + NOTE, dpi=dpi)
    ax = show_picture(fig, image, 0.1, TITLE + 0.35, size)
    draw_rings(ax, points, image)
    for j, name in enumerate(names):
        write(fig, left + (j + 0.5) * wide, top - 0.12, name, rotation=60, ha="left", va="bottom", fontsize=8,
              color=PROMPT if 0 < j < last else INK, rotation_mode="anchor")
    grid = place(fig, left, top, wide * len(names), step * len(points))
    kept = keep_top(shown, top_share)
    for i, row in enumerate(shown):
        colours = [START, *[PROMPT] * (last - 1), INK, NOISE]
        grid.scatter(np.arange(len(row)) + 0.5, np.full(len(row), i + 0.5), s=420 * row * kept[i], c=colours,
                     linewidths=0)
        write(fig, left - 0.08, top + (i + 0.5) * step, f"{i + 1} {list(points)[i]}", ha="right", fontsize=8)
        write(fig, left + wide * len(names) + 0.06, top + (i + 0.5) * step, f"{row.sum():.2f}", fontsize=8,
              color=FAINT)
    grid.set(xlim=(0, len(names)), ylim=(len(points), 0), xticks=[], yticks=[])
    grid.spines[["left", "bottom"]].set_color("#DDDDDD")
    write(fig, left + wide * len(names) + 0.06, top - 0.12, "sum", fontsize=8, color=FAINT)
    draw_budgets(fig, left, low, budgets)
    style.claim(fig, "Every place spends exactly 1, and much of it on no word of yours", title_of)
    return style.finish(fig, "A postcard with numbered places and, for each, dots as large as what it "
                             "reads of each token; below, the share of start, words, padding in each layer.", 128)


def keep_top(rows, share):
    """Which entries of each row make up `share` of its sum, largest first: bool, like rows."""
    order = np.argsort(-rows, axis=1)
    before = np.take_along_axis(rows, order, 1).cumsum(1) - np.take_along_axis(rows, order, 1)
    kept = np.empty(rows.shape, bool)
    np.put_along_axis(kept, order, before < share * rows.sum(1, keepdims=True) - 1e-6, 1)
    return kept


def draw_budgets(fig, left, top, budgets):
    """One stacked bar for each layer: start, words, end and padding."""
    write(fig, left, top - 0.14, "start", fontsize=8, color=START, fontweight="bold")
    write(fig, left + 0.45, top - 0.14, "words", fontsize=8, color=PROMPT, fontweight="bold")
    write(fig, left + 0.95, top - 0.14, "end and padding", fontsize=8, color=FAINT, fontweight="bold")
    ax = place(fig, left, top, 4.75, 0.2 * len(budgets))
    parts = np.array(list(budgets.values()))                                    # (layers, 3)
    ends, rows = parts.cumsum(1), np.arange(len(parts))
    for k, colour in enumerate((START, PROMPT, NOISE)):
        ax.hlines(rows, ends[:, k] - parts[:, k], ends[:, k], colour, lw=0.78 * 0.2 * 72)
    for i, name in enumerate(budgets):
        for part, end in zip(parts[i], ends[i]):
            if part > 0.06:
                ax.text(end - part / 2, i, f"{part:.0%}", ha="center", va="center", color="white", fontsize=7)
        write(fig, left - 0.08, top + 0.2 * (i + 0.5), name, ha="right", fontsize=7.5)
    ax.set(xlim=(0, 1), ylim=(len(budgets) - 0.5, -0.5), xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def six_lines(points, names, stages, difference, shapes=("(n, T)", "(n, T)", "(n, T)", "(n, d)", "(n, C)")):
    """F15: the stages of attention for a few places, and the difference to the library. A Picture.

    points: {name: (row, column)}. names: of the first tokens. stages: {code: (places, columns)}: two signed,
    the softmax, the output. difference: (places, columns). shapes: a text for each panel.
    """
    panels = {**stages, "library - ours": difference}
    wide, high, gap, left, top = 1.5, 1.5, 0.17, 0.78, TITLE + 0.45
    fig = style.new_figure(top + high + 1.05 + NOTE)
    for k, (code, values) in enumerate(panels.items()):
        x, signed, empty = left + k * (wide + gap), k != 2, k == len(panels) - 1
        ax = place(fig, x, top, wide, high)
        reach = 1e-5 if empty else np.abs(values).max()
        ax.imshow(values, aspect="auto", cmap=style.SIGNED if signed else style.SEQUENTIAL,
                  vmin=-reach if signed else 0, vmax=reach, interpolation="nearest")
        ax.set(xticks=[], yticks=[])
        write(fig, x + wide / 2, top - 0.13, shapes[k], ha="center", fontsize=7.5, color=FAINT)
        write(fig, x + wide / 2, top + high + 0.68, code, ha="center", fontsize=7.5, family="monospace")
        if k < 3:
            for j, name in enumerate(names):
                write(fig, x + (j + 0.5) * wide / values.shape[1], top + high + 0.04, name, fontsize=5.5,
                      rotation=90, ha="center", va="top", color=PROMPT)
        said = f"colours: +-{reach:.0e}" if empty else "each row sums to 1" if k == 2 else ""
        write(fig, x + wide / 2, top + high + 0.85, said, ha="center", fontsize=7.5,
              color=GUIDED if k == 2 else FAINT)
    for i, name in enumerate(points):
        write(fig, left - 0.06, top + (i + 0.5) * high / len(points), name, ha="right", fontsize=8)
    style.claim(fig, "Six lines of arithmetic are the whole of cross-attention",
                f"{len(points)} places of the picture, one head. Purple: above 0, orange: below. The last "
                "panel is empty: both ways give the same numbers.")
    return style.finish(fig, "Small tables in a row: scores, scaled scores, their softmax, the output, and "
                             "the difference to the library, which is empty.", 128)
