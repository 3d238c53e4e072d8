"""Lesson 05: what a LoRA puts beside a weight, and several ways to teach one thing, side by side."""

import textwrap

from PIL import Image

from helpers.figures import style
from helpers.figures.intervals import interval
from helpers.figures.style import INK, LEARNT, NOTE, PROMPT, TITLE, place, show_picture, write

MEASURES = ("#3C3C3C", "#9A9A9A", "#C8C8C8")  # no hues: what is measured may be a colour
PALE = "#EBC9DC"  # LEARNT, for what follows from what is learnt
LINE = 0.15  # from one line of a header to the next, in inches


def beside_weight(weight, rank, title):
    """F24: a frozen weight W (out, in), and beside it the thin B and A, which multiply to B A, as large as W. To one scale. A Picture."""
    out, into = weight.shape
    scale, gap = 1.7 / max(out, into), 0.1
    high, wide, thin = out * scale, into * scale, max(rank * scale, 2 / style.DPI)
    top, at_b = TITLE + 0.12 + thin + gap, 0.1 + wide + 1.05
    product, end = at_b + thin + gap, at_b + thin + gap + wide
    fig = style.new_figure(top + high + 0.1)
    limit = 3 * float(weight.detach().float().std())
    grey = place(fig, 0.1, top, wide, high, bare=True)
    grey.imshow(
        weight.detach().float().cpu().numpy(),
        cmap="Greys",
        vmin=-limit,
        vmax=limit,
        aspect="auto",
        interpolation="nearest",
    )
    style.block(fig, at_b, top, thin, high, LEARNT)
    style.block(fig, product, top - gap - thin, wide, thin, LEARNT)
    style.block(fig, product, top, wide, high, PALE)
    letters = {"fontsize": 11, "color": LEARNT, **style.MATH}
    x, y, dot = (
        product + 0.7 * wide,
        top + 0.7 * high,
        0.07,
    )  # one number of the product: a row of B times a column of A
    for left, above, width, height in ((at_b, y, x - at_b, 0.0), (x, top - gap - thin, 0.0, y - top + gap + thin)):
        style.box(fig, left, above, width, height, INK, linewidth=0.9)
    style.block(fig, x - dot / 2, y - dot / 2, dot, dot, INK)
    write(fig, 0.1 + wide / 2, top - 0.13, "$W$", ha="center", fontsize=11, **style.MATH)
    write(fig, at_b + thin / 2, top - 0.13, "$B$", ha="center", **letters)
    write(fig, end + 0.1, top - gap - thin / 2, "$A$", **letters)
    write(fig, product + wide / 2, top + high / 2, "$BA$", ha="center", fontsize=11, **style.MATH)
    write(fig, 0.1 + wide + 0.5, top + high / 2, r"$+\ \ \frac{\alpha}{r}$", ha="center", fontsize=16, **style.MATH)
    told = (
        (0, f"W, {out} by {into}, stays frozen: {out * into} numbers", INK, "normal"),
        (1, f"B, {out} by {rank}, and A, {rank} by {into}, learn: {rank * (out + into)}", LEARNT, "bold"),
        (2, "A row of B times a column of A is one number of B A,", INK, "normal"),
        (3, f"which is {out} by {into} again and need not be stored", INK, "normal"),
    )
    for line, text, colour, weight_of in told:
        write(fig, end + 0.45, top + high / 2 + 0.26 * (line - 1.5), text, color=colour, fontweight=weight_of)
    return style.claimed(
        fig,
        title,
        None,
        f"{title}: beside a frozen weight of {out} by {into} stand B, {out} by {rank}, and A, {rank} by {into}.",
        128,
    )


# Rows of pictures, and what was measured in them


def pictures_in(file, size=128):
    """The pictures of a sheet, a PNG file of rows of pictures edge to edge: [[PIL, ...], ...]. size: of a side, in pixels."""
    with Image.open(file) as sheet:
        wide, high = (side // size for side in sheet.size)
        corners = [[(x * size, y * size) for x in range(wide)] for y in range(high)]
        return [[sheet.convert("RGB").crop((x, y, x + size, y + size)) for x, y in row] for row in corners]


def picture_rows(pictures, contexts, measured, title, note=None, few=None, seen=None):
    """F25: one row a name, one column a context, and on the right what was measured. Returns a Picture.

    pictures: {name: PIL pictures, one a context}. contexts: short texts, or none: then nothing stands above the columns.
    few: of more contexts, so many are shown, evenly spread over all. A row's pictures beyond the contexts are not.
    measured: {name: {what was measured: (hits, of how many)}}, drawn as bars with their 95 % intervals; None where nothing
    was: then the pictures take all of the width. seen: what there is to see, a sentence for those who do not see it.
    """
    every = len(contexts) or len(next(iter(pictures.values())))
    picks = spread(every, few) if few and few < every else range(every)
    left, bars, gap, columns = 1.15, 2.3 if measured else 0.0, 0.05, len(picks)
    size = min(1.9, (style.WIDTH - left - bars - 0.15) / columns - gap)
    contexts = [in_lines(contexts[i], int(13 * size)).split("\n") for i in picks] if contexts else []
    above = max((len(lines) for lines in contexts), default=0)
    top, row = TITLE + (0.1 + LINE * above if above else 0), size + 0.09
    fig = style.new_figure(top + row * len(pictures) + (NOTE if note else 0.08))
    for k, lines in enumerate(contexts):
        for i, text in enumerate(reversed(lines)):  # line by line: all of them equally far apart
            write(
                fig,
                left + k * (size + gap) + size / 2,
                top - 0.1 - LINE * i,
                text,
                ha="center",
                va="baseline",
                fontsize=8.5,
                color=PROMPT,
            )
    begin = left + columns * (size + gap) + 0.15
    for r, (name, row_of) in enumerate(pictures.items()):
        y = top + r * row
        write(fig, left - 0.12, y + size / 2, in_lines(name, 12), ha="right", fontweight="bold", linespacing=1.2)
        for k, i in enumerate(picks):
            show_picture(fig, row_of[i], left + k * (size + gap), y, size)
        if measured:
            draw_measured(fig, measured[name], begin, y, style.WIDTH - begin - 0.1, size)
    style.claim(fig, title, note)
    counts = "; ".join(
        f"for {name}: " + ", ".join(f"{what} {hits} of {of}" for what, (hits, of) in found.items())
        for name, found in (measured or {}).items()
    )
    rows = f"Rows: {', '.join(pictures)}." if not counts else f"In the bars the judge counts {counts}."
    told = f"{style.ended(title)} {seen + ' ' if seen else ''}{rows}"
    return style.finish(fig, told, 256)


def spread(every, few):
    """The numbers of `few` of `every` contexts, the first and others evenly behind it. Contexts come in groups: where there is room
    the step is one more than a `few`-th, so that the picks are not all the first of their group."""
    step = every // few
    return range(0, every, step + (every > (few - 1) * (step + 1)))[:few]


def in_lines(text, widest):
    """A short text on as few lines of `widest` letters as its words allow, and these as equal as they can be."""
    ways = [textwrap.wrap(text, width, break_long_words=False) for width in range(1, widest + 1)]
    return "\n".join(next(lines for lines in ways if len(lines) == len(ways[-1])))


def draw_measured(fig, found, left, top, width, height):
    """Bars of shares, each under its name with its count, and below the bar its interval from end to end."""
    step = height / len(found)
    for k, (name, (hits, of)) in enumerate(found.items()):
        y, colour = top + k * step, MEASURES[k % len(MEASURES)]
        low, high = interval(hits, of)
        write(fig, left, y + 0.2 * step, name, fontsize=8.5, color=INK)
        write(fig, left + width, y + 0.2 * step, f"{hits} of {of}", fontsize=8.5, color=INK, ha="right")
        style.block(fig, left, y + 0.37 * step, width, 0.28 * step, "#EEEEEE")
        style.block(fig, left, y + 0.37 * step, max(width * hits / of, 0.015), 0.28 * step, colour)
        style.block(fig, left + width * low, y + 0.76 * step - 0.01, width * (high - low), 0.02, INK)
        for end in (low, high):
            style.block(fig, left + width * end - 0.01, y + 0.76 * step - 0.04, 0.02, 0.08, INK)
