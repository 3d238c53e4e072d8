"""Lesson 03, first half: the positions a prompt fills, pictures against captions, differences and words."""

import textwrap

import numpy as np

from helpers.figures import style
from helpers.figures.intervals import interval
from helpers.figures.style import (
    ESTIMATE,
    FAINT,
    GUIDED,
    INK,
    NOISE,
    NOTE,
    PROMPT,
    TITLE,
    place,
    show_picture,
    tidy,
    write,
)
from helpers.pictures import upright

START, PAD = "#00573F", "#DDDDDD"
KINDS = {"start": START, "piece": PROMPT, "end": INK, "padding": PAD}


def ruler(tokens, embeds, empty, dpi=style.DPI):
    """F11: every position of a prompt, its cosine with the last one and with the empty prompt's. A Picture.

    tokens: of `split_prompt`. embeds, empty: what the U-Net reads of this prompt and of the empty one, (T, d) both.
    """
    vectors, blank = (unit(np.asarray(one.float().cpu())) for one in (embeds, empty))  # (T, d), of length 1
    rows = {
        "cosine with\nthe last vector": (vectors @ vectors[-1], blank @ blank[-1]),
        "cosine with the\nempty prompt's\nvector there": ((vectors * blank).sum(1), None),
    }
    count, left = len(vectors), 1.15
    wide = (style.WIDTH - left - 0.1) / count
    read, cut = tokens[:count], [one.text for one in tokens[count:]]
    high = TITLE + 0.12 + 0.07 * max([4, *(len(one.text) for one in read)])  # room for upright pieces
    fig = style.new_figure(high + 2.5 + NOTE, dpi=dpi)
    middles, colours = np.arange(count) + 0.43, [KINDS[one.kind] for one in read]
    stroke = 0.86 * wide * 72  # of a bar, in points
    ax = place(fig, left, high, wide * count, 0.2, bare=True)
    ax.vlines(middles, 0, 1, colours, lw=stroke)
    ax.set(xlim=(0, count), ylim=(0, 1))
    for i, one in enumerate(read):
        if one.kind != "padding":
            write(
                fig,
                left + middles[i] * wide,
                high - 0.05,
                one.text or one.kind,
                fontsize=7.5,
                rotation=90,
                ha="center",
                va="bottom",
                color=PROMPT if one.kind == "piece" else INK,
            )
    write(fig, 0.08, high + 0.1, "position")
    for i in (0, 1, *range(10, count, 10)):  # position 1 has a word of its own in the text
        write(fig, left + middles[i] * wide, high + 0.28, str(i), fontsize=7.5, ha="center", color=FAINT)
    padding = sum(one.kind == "padding" for one in read)
    if padding > 9:
        write(
            fig,
            left + (count - padding / 2) * wide,
            high - 0.12,
            f"padding: {padding} positions",
            fontsize=8,
            ha="center",
            color=FAINT,
        )
    if cut:
        write(
            fig,
            style.WIDTH - 0.1,
            high + 0.46,
            f"never read: {' '.join(cut)[:90]}",
            fontsize=8.5,
            ha="right",
            color=GUIDED,
        )
    for row, (name, (values, control)) in enumerate(rows.items()):
        ax = place(fig, left, high + 0.65 + 0.92 * row, wide * count, 0.75)
        ax.vlines(middles, 0, values, colours, lw=stroke)
        if control is not None:
            ax.hlines(control, middles - 0.43, middles + 0.43, GUIDED, lw=1.4)
        tidy(ax, yticks=(0, 1), xticks=())
        ax.set(xlim=(0, count), ylim=(min(0, values.min(), *(control if control is not None else ())), 1.08))
        write(fig, 0.08, high + 1.02 + 0.92 * row, name)
    style.claim(
        fig,
        f"A prompt fills {count} positions, whatever its length",
        f"{sum(one.kind == 'piece' for one in read)} pieces are read, {len(cut)} are cut. Vermilion: the same cosine for "
        "the empty prompt. Bottom row: position by position.",
    )
    with_empty = rows["cosine with the\nempty prompt's\nvector there"][0]
    said = (
        f"A row of {count} positions: start, pieces, end, padding. Below, the cosine of each vector with the last one; and "
        f"with the empty prompt's vector at the same position: ≈{with_empty[0]:.2f} at the start, ≈{with_empty[1]:.2f} at position 1, ≈{with_empty[2:].max():.2f} at most after it."
    )
    return style.finish(fig, said, palette=64)


def unit(vectors):
    """Vectors (T, d) divided by their length."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def draw_matrix(ax, values, texts, cmap, low, high):
    """A square table of numbers, coloured."""
    ax.imshow(values, cmap=cmap, vmin=low, vmax=high, aspect="auto")
    ax.set(xticks=range(len(values)), yticks=[])
    ax.set_xticklabels(range(1, len(values) + 1))
    ax.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False, pad=1)
    colours = ax.images[0].cmap(ax.images[0].norm(values))[..., :3] @ [0.3, 0.6, 0.1]
    for i, row in enumerate(texts):
        for j, text in enumerate(row):
            ax.text(j, i, text, ha="center", va="center", fontsize=7.5, color="white" if colours[i, j] < 0.55 else INK)


def thermostat(images, captions, cosines, scale, learnt, brackets=(), dpi=style.DPI):
    """F12: N pictures against N captions, before and after the softmax of each row and of each column. A Picture.

    cosines: (N, N), pictures down, captions across. scale: what they are multiplied by. learnt: the model's.
    brackets: (first, last) rows that only differ in who has which colour.
    """
    cosines, n = np.asarray(cosines), len(images)
    cell = min(0.34, 2.7 / n)
    scales = np.geomspace(1, 100, 60)
    losses = [contrast(cosines, one) for one in scales]
    rows, columns = (softmax(scale * cosines, axis) for axis in (1, 0))  # rows, or columns, add to 1
    top, left, gap, tile, half = TITLE + 0.45, 0.3, 0.24, 0.58, -(-n // 2)
    under = top + n * cell + 0.15  # below the tables: each picture with its caption
    fig = style.new_figure(under + max(1.45, half * (tile + 0.06)) + NOTE, dpi=dpi)
    for i, image in enumerate(images):
        x, y = 0.1 + 3.45 * (i // half), under + i % half * (tile + 0.06)
        write(fig, left - 0.2, top + (i + 0.5) * cell, f"{i + 1}", fontsize=9, color=FAINT)
        write(fig, x, y + tile / 2, f"{i + 1}", fontsize=9, color=FAINT)
        show_picture(fig, image, x + 0.17, y, tile)
        write(fig, x + 0.25 + tile, y + tile / 2, textwrap.fill(captions[i], 40), fontsize=8.5, color=PROMPT)
    for k, (name, values, texts, cmap, low) in enumerate(
        (
            ("cosines, times 100", cosines, cosine_texts(cosines, brackets), style.SIGNED, -1),
            ("pictures choose: row = 100 %", rows, percents(rows), style.BLUES, 0),
            ("captions choose: column = 100 %", columns, percents(columns), style.BLUES, 0),
        )
    ):
        x, high = left + k * (n * cell + gap), 1
        ax = place(fig, x, top, n * cell, n * cell)
        draw_matrix(ax, values, texts, cmap, low, high)
        write(fig, x, top - 0.3, name, fontweight="bold", fontsize=9)
        for first, last in brackets:
            ax.add_patch(
                style.matplotlib.patches.Rectangle(
                    (first - 0.5, first - 0.5), last - first + 1, last - first + 1, fill=False, ec=GUIDED, lw=1.8
                )
            )
    ax = place(fig, 7.4, under + 0.1, 1.5, 0.95)
    ax.plot(scales, losses, color=INK, lw=1.3)
    ax.plot(scale, contrast(cosines, scale), "o", color=GUIDED, ms=6)
    ax.axvline(learnt, color=NOISE, lw=0.8, ls=":")
    ax.set_xscale("log")
    tidy(ax, "scale = 1 / temperature", "loss", (1, 10, 100))
    ax.text(learnt * 0.9, max(losses), "learnt", fontsize=7.5, color=FAINT, ha="right", va="top")
    right, found = (int((cosines.argmax(axis) == np.arange(n)).sum()) for axis in (1, 0))
    title = (
        f"{right} of {n} pictures find their own caption, {found} of {n} captions their picture"
        if scale == learnt
        else f"At scale {scale:.0f}: the scale changes how sure an answer is, never which one comes first"
    )
    swapped = " Vermilion: only the colours are swapped." if brackets else ""
    return style.claimed(
        fig,
        title,
        f"Rows: pictures. Columns: captions. Picture 1 belongs to caption 1, and so on.{swapped} The "
        f"softmax is of {scale:.0f} times the cosine.",
        f"Left the cosines of {n} postcards with {n} captions, highest on the diagonal in {right} of {n} rows and "
        f"{found} of {n} columns; then the softmax of each row and of each column, and the loss over the scale.",
        256,
    )


def softmax(values, axis):
    """The softmax of a table along one axis."""
    shares = np.exp(values - values.max(axis, keepdims=True))
    return shares / shares.sum(axis, keepdims=True)


def percents(shares):
    """The texts of a table of shares, 0..1, in whole per cent."""
    return [[f"{100 * share:.0f}" for share in row] for row in shares]


def cosine_texts(cosines, brackets):
    """The numbers of a table of cosines, times 100: whole ones, and a digit more in the brackets, where two are too alike."""

    def close(i, j):
        return any(first <= i <= last and first <= j <= last for first, last in brackets)

    return [
        [f"{100 * v:.1f}" if close(i, j) else f"{100 * v:.0f}".replace("-0", "0") for j, v in enumerate(row)]
        for i, row in enumerate(cosines)
    ]


def contrast(cosines, scale):
    """CLIP's loss of a square matrix of cosines: both directions, averaged."""
    losses = []
    for logits in (scale * cosines, scale * cosines.T):
        logits = logits - logits.max(1, keepdims=True)
        losses.append(np.mean(np.log(np.exp(logits).sum(1)) - np.diag(logits)))
    return sum(losses) / 2


def subtraction(rows, note=None, dpi=style.DPI):
    """F13: differences of pictures and the words nearest to them. A Picture.

    rows: of (first, second, word, other, {word: cosine}): two PIL images, the attribute of each, and words, nearest
    first. The first six are drawn; where the changed word comes later, it takes the sixth place, with its rank.
    """
    size, high = 1.0, 1.2
    top = TITLE + 0.26
    fig = style.new_figure(top + high * len(rows) + NOTE, dpi=dpi)
    for x, text in ((0.1, "A"), (1.2, "B"), (2.3, "|A - B|, black: alike")):
        write(fig, x + size / 2, top - 0.12, text, ha="center")
    write(fig, 4.6, top - 0.12, "words nearest to the difference of the two picture vectors (cosine)")
    for r, (first, second, word, other, near) in enumerate(rows):
        y, near = top + r * high, near if word != other else {}  # of no difference no word is the nearest
        a, b = (np.asarray(upright(one)).astype(float) for one in (first, second))
        for x, picture in ((0.1, first), (1.2, second), (2.3, np.abs(a - b))):
            show_picture(fig, picture, x, y, size)
        ax = place(fig, 4.6, y + 0.02, 3.6, size - 0.04)
        rank = next((k for k, name in enumerate(near) if name in word.split()), None)
        near = dict(
            [pair for k, pair in enumerate(near.items()) if k < (6 if rank is None or rank < 6 else 5) or k == rank]
        )
        names, values = list(near), list(near.values())
        colours = [PROMPT if one in word.split() else PAD for one in names]
        ax.barh(range(len(near)), values, 0.7, color=colours)
        ax.set(ylim=(len(near) - 0.4, -0.6), xlim=(0, 1))
        tidy(ax, xticks=(), yticks=())
        ax.spines["bottom"].set_visible(False)
        for i, (name, value) in enumerate(near.items()):
            hit = name in word.split()
            ax.text(
                -0.02,
                i,
                f"no. {rank + 1}: {name}" if hit and rank > 5 else name,
                ha="right",
                va="center",
                fontsize=8.5,
                color=PROMPT if hit else INK,
                fontweight="bold" if hit else "normal",
            )
            ax.text(value + 0.01, i, f"{value:.2f}", va="center", fontsize=7.5, color=FAINT)
        write(fig, 8.1, y + size / 2 - 0.09, f"A: {word}", ha="left", fontsize=8, color=PROMPT)
        write(fig, 8.1, y + size / 2 + 0.09, f"B: {other}", ha="left", fontsize=8, color=FAINT)
    places = [
        next((k + 1 for k, name in enumerate(near) if name in word.split()), None) for _, _, word, _, near in rows
    ]
    ranks = ", ".join(f"{word} {'-' if place is None else place}" for (_, _, word, *_), place in zip(rows, places))
    title = f"Rank of the changed word among all words: {ranks}"
    if len(rows) == 1:
        title = f"The word nearest to the difference is {'' if places == [1] else 'not '}the changed one"
        if rows[0][2] == rows[0][3]:
            title = f"Twice {rows[0][2]}: no difference, and no word that is near to it"
    return style.claimed(
        fig,
        title,
        note,
        "Rows of two postcards that differ in one attribute, their difference, and the words nearest to the difference of their "
        f"vectors. {title}.",
        256,
    )


def tallies(found, of, columns, title, note=None, dpi=style.DPI):
    """How many pictures show what was asked for: a dot with its 95 % interval, and what chance gives. A Picture.

    found: {case: {what: (count, by chance)}}, of `tally`, a row for each case; None by chance is not drawn. of: on how many
    pictures each was counted.
    columns: which of what was counted to draw, side by side.
    """
    left, row, gap = 1.75, 0.27, 0.55
    wide = (style.WIDTH - left - gap * len(columns)) / len(columns)
    top, high = TITLE + 0.62, row * len(found)
    fig = style.new_figure(top + high + 0.35 + NOTE, dpi=dpi)
    key = place(fig, left, TITLE + 0.02, style.WIDTH - left, 0.2, bare=True)  # what the marks are, above the rows
    key.set(xlim=(0, style.WIDTH - left), ylim=(-1, 1))
    key.plot([0, 0.3], [0, 0], color=PROMPT, lw=2.2, clip_on=False)
    key.plot(0.15, 0, "o", color=PROMPT, ms=7)
    key.plot(2.6, 0, "^", color=GUIDED, ms=5, mew=0)
    for x, said, colour in ((0.4, f"how many of {of}, with its 95 % interval", PROMPT), (2.7, "by chance", GUIDED)):
        key.text(x, 0, said, fontsize=8, color=colour, va="center")
    for k, what in enumerate(columns):
        x = left + k * (wide + gap)
        write(fig, x, TITLE + 0.44, what, fontweight="bold")
        ax = place(fig, x, top, wide, high)
        for i, (case, marks) in enumerate(found.items()):
            count, chance = marks[what]
            low, end = interval(count, of)
            ax.plot([low * of, end * of], [i, i], color=PROMPT, lw=2.2, clip_on=False)
            ax.plot(count, i, "o", color=PROMPT, ms=7, clip_on=False)
            if chance is not None:
                ax.plot(
                    chance, i + 0.33, "^", color=GUIDED, ms=5, mew=0, clip_on=False
                )  # below the dot, so that neither hides
            write(fig, x + wide + 0.14, top + (i + 0.5) * row, f"{count}", fontsize=9)
            if k == 0:
                write(fig, left - 0.14, top + (i + 0.5) * row, case, ha="right", fontsize=8.5)
        tidy(ax, yticks=(), xticks=(0, of // 2, of))
        ax.spines["left"].set_visible(False)
        ax.set(xlim=(0, of), ylim=(len(found) - 0.5, -0.5))
        ax.grid(axis="x", color="#E5E5E5", lw=0.8)
        ax.set_axisbelow(True)
    return style.claimed(
        fig,
        title,
        note,
        f"{title}. Of {of} pictures, the judge counts "
        + "; ".join(
            f"{case}: "
            + ", ".join(
                f"{what} {count}" + ("" if chance is None else f" (by chance {chance:.1f})")
                for what, (count, chance) in ((what, marks[what]) for what in columns)
            )
            for case, marks in found.items()
        )
        + ".",
        128,
    )


def walk_strip(straight, spherical, shares, lengths, dpi=style.DPI):
    """Pictures on two paths between two prompts, and the norm of the vectors on each. A Picture.

    straight, spherical: PIL images, one a share. shares: 0..1. lengths: {path: mean norm at each share}.
    """
    size, gap, left = 0.96, 0.06, 0.75
    top = TITLE + 0.25
    fig = style.new_figure(top + 2 * (size + gap) + 1.35 + NOTE, dpi=dpi)
    for r, (name, images) in enumerate({"straight": straight, "spherical": spherical}.items()):
        write(fig, 0.08, top + r * (size + gap) + size / 2, name, color=(ESTIMATE, PROMPT)[r])
        for i, image in enumerate(images):
            show_picture(fig, image, left + i * (size + gap), top + r * (size + gap), size)
            if r == 0:
                write(fig, left + i * (size + gap) + size / 2, top - 0.11, f"{shares[i]:.2f}", ha="center")
    low = top + 2 * (size + gap) + 0.15
    ax = place(fig, left + size / 2, low, (len(shares) - 1) * (size + gap), 0.75)
    for values, colour in zip(lengths.values(), (ESTIMATE, PROMPT)):
        ax.plot(shares, values, "-o", color=colour, ms=3.5, lw=1.4, clip_on=False)
    highest = max(map(max, lengths.values()))
    tidy(
        ax,
        "share of the second prompt",
        None,
        xticks=(0, 0.5, 1),
        yticks=(0, round(highest, -1 if highest > 20 else 0)),
    )
    ax.set(xlim=(0, 1), ylim=(0, highest * 1.08))
    write(fig, 0.08, low + 0.35, "norm of the\nvectors")
    shortest = [min(values) for values in lengths.values()]
    return style.claimed(
        fig,
        "Half-way, the vectors of the straight path are shorter, those of the arc are not",
        "Same seed everywhere. Straight: a weighted mean of the two matrices. Spherical: along the "
        "arc, which keeps the norm.",
        "Two rows of pictures that go from one prompt to another, along a straight line and along an arc; below, the mean norm "
        f"of their vectors, at least ≈{shortest[0]:.1f} on the straight path and ≈{shortest[1]:.1f} on the arc.",
        256,
    )
