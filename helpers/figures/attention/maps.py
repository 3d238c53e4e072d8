"""Heat maps of words over pictures: all words of a prompt, one map pooled in several ways, one frame."""

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from helpers.figures import style
from helpers.figures.style import GUIDED, INK, NOTE, PROMPT, TITLE, show_picture, write
from helpers.pictures import upright

CIVIDIS = matplotlib.colormaps[style.SEQUENTIAL]
TILE = 288  # pixels: the side of a picture in a panel's row of pictures
YELLOW = np.array([255.0, 217.0, 46.0])  # RGB, 0..255


def blend(image, heat, share=0.9):
    """A heat map (H, W), 0..1, laid over a PIL image of any size: an RGB image as large as the map.

    The picture is dark and grey where the map is 0, and covered with yellow where it is 1. share: how much of the picture the
    yellow covers there, 0..1; 0 leaves the grey picture.
    """
    side, heat = np.shape(heat)[::-1], np.asarray(heat, dtype=float)[..., None]  # (H, W, 1)
    grey = np.asarray(upright(image).convert("L").resize(side).convert("RGB")).astype(float)
    dark = 20 + 0.6 * grey  # (H, W, 3): yellow must be the brightest there is
    return Image.fromarray((dark + share * heat * (YELLOW - dark)).round().clip(0, 255).astype(np.uint8))


def word_sheet(image, maps, title="Six words of the prompt, and where each was read", note=None):
    """A picture, large, and beside it the map of each word over it. maps: {word: (H, W), 0..1}. A Picture."""
    columns = 3 if len(maps) <= 6 else 4
    rows, size, gap, large = max(2, -(-len(maps) // columns)), 1.58 if columns == 3 else 1.2, 0.1, 3.42
    left = large + 0.32
    fig = style.new_figure(TITLE + 0.1 + max(large, rows * (size + 0.26)) + NOTE)
    show_picture(fig, image, 0.12, TITLE + 0.2, large)
    for k, (name, heat) in enumerate(maps.items()):
        row, column = divmod(k, columns)
        x, y = left + column * (size + gap), TITLE + 0.2 + row * (size + 0.26)
        show_picture(fig, blend(image, heat), x, y, size)
        write(fig, x + size / 2, y - 0.09, name, ha="center", fontsize=8.5, color=PROMPT, fontweight="bold")
    return style.claimed(
        fig,
        title,
        note
        or "The share of the word less the mean of all words; yellow where that is largest. Each map has a scale of its own.",
        "A picture, and over it the attention maps of its words. Highest: "
        f"{', '.join(f'{name} {whereabouts(heat)}' for name, heat in maps.items())}.",
        256,
    )


def whereabouts(heat):
    """Where a map (H, W) is highest, in words: "at the lower right", "in the middle"."""
    row, column = np.unravel_index(np.argmax(np.asarray(heat)), np.shape(heat))
    height, width = np.shape(heat)
    words = ("upper", "", "lower")[3 * row // height], ("left", "", "right")[3 * column // width]
    alone = {"": "in the middle", "upper": "at the top", "lower": "at the bottom"}
    return "at the " + " ".join(words).strip() if words[1] else alone[words[0]]


def outline(ax, mask):
    """The edge of a mask as a thin white line; holes of a single pixel are left out."""
    padded = np.pad(np.asarray(mask, dtype=float), 1, mode="edge")
    views = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))  # (H, W, 3, 3)
    ax.contour(views.mean((2, 3)), [0.5], colors="white", linewidths=0.9)


def corner(mask, peaks):
    """((top, left), side), in pixels, of the square that holds a mask and some places, with a margin."""
    rows, columns = (np.concatenate([some, [peak[k] for peak in peaks]]) for k, some in enumerate(np.nonzero(mask)))
    low, high = (np.array([end(rows), end(columns)]) for end in (np.min, np.max))
    side = min(int((high - low).max() * 1.25) + 2, *np.shape(mask))
    start = ((low + high + 1 - side) // 2).clip(0, np.array(np.shape(mask)) - side)
    return tuple(int(one) for one in start), side


def pooled_ways(image, mask, ways, word):
    """One word, pooled in several ways, with the true mask. ways: {name: (heat, hit, iou)}. A Picture."""
    size = (style.WIDTH - 0.2 - 0.1 * (len(ways) - 1)) / len(ways)
    size = min(size, 1.38)
    fig = style.new_figure(TITLE + 0.3 + size + 0.3 + NOTE)
    peaks = [np.unravel_index(np.argmax(heat), np.shape(heat)) for heat, _, _ in ways.values()]
    (top, left), side = corner(mask, peaks)
    for k, ((name, (heat, hit, overlap)), (row, column)) in enumerate(zip(ways.items(), peaks)):
        x = 0.1 + k * (size + 0.1)
        part = blend(image, heat).crop((left, top, left + side, top + side))
        ax = show_picture(fig, part, x, TITLE + 0.25, size)
        outline(ax, np.asarray(mask)[top : top + side, left : left + side])
        ax.plot(column - left, row - top, "x", ms=7, mec=GUIDED, mew=2)
        write(fig, x + size / 2, TITLE + 0.12, name, ha="center", fontsize=8)
        write(
            fig,
            x + size / 2,
            TITLE + 0.25 + size + 0.12,
            f"{'hit' if hit else 'miss'}, IoU {overlap:.2f}",
            ha="center",
            fontsize=8,
            color=INK if hit else GUIDED,
        )
    overlaps, hits = [overlap for _, _, overlap in ways.values()], sum(hit for _, hit, _ in ways.values())
    title = f'{len(ways)} maps of "{word}": {hits} hit it, with an IoU of {min(overlaps):.2f} to {max(overlaps):.2f}'
    scored = "; ".join(
        f"{name}: {'hit' if hit else 'miss'}, IoU ≈{overlap:.2f}" for name, (_, hit, overlap) in ways.items()
    )
    return style.claimed(
        fig,
        title,
        "Shown: the part of the card around it. White line: the true mask. Cross: the map's highest value. "
        "IoU: of the mask and the map above 0.4.",
        f"Maps of the word {word}, each with the true outline and its highest value: {scored}.",
        256,
    )


def explorer_frame(image, heat, place=None):
    """PNG bytes: the picture, the map over it, and the map alone, with a heading each. heat: (H, W), 0..1."""
    heat = np.asarray(Image.fromarray(np.asarray(heat, np.float32)).resize((TILE, TILE), Image.NEAREST))
    alone = Image.fromarray((255 * CIVIDIS(heat)[..., :3]).round().astype(np.uint8))
    return side_by_side(
        {
            "the picture": image,
            "the map over it": blend(image, heat),
            "the map alone, from blue (0) to yellow (1)": alone,
        }
    )


def side_by_side(pictures):
    """PNG bytes: PIL pictures in a row, each with its name above it, {name: picture}."""
    head, edge, gap = 22, 8, 12
    sheet = Image.new("RGB", (len(pictures) * (TILE + gap) - gap + 2 * edge, head + TILE), "white")
    for k, (name, picture) in enumerate(pictures.items()):
        left = edge + k * (TILE + gap)
        sheet.paste(upright(picture).convert("RGB").resize((TILE, TILE), Image.NEAREST), (left, head))
        ImageDraw.Draw(sheet).text((left, 2), name, INK, ImageFont.load_default(14))
    return style.encode(np.asarray(sheet), compress_level=1)
