"""The visual grammar of the course: one colour one meaning, claims as titles, pictures pixel for pixel.

Lengths are inches, measured from the top left corner. 128 dots an inch: a 128-pixel postcard drawn one inch
wide keeps every pixel. Panels use 96, so that a frame is small and quick. Figures are drawn without pyplot,
so nothing is shown twice and nothing stays in memory.

Text is text: a prompt, a word or a name is drawn letter by letter, dollar signs and backslashes included. What
is meant as mathematics says so: write(fig, x, y, "$x_t$", **MATH); also `tidy` and `picture_grid` take math=True.
"""

import base64
import functools
import io
import textwrap
import unicodedata
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib import font_manager, ticker
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from helpers.pictures import images_of_pixels, upright

SIGNAL = "#0072B2"  # blue: the picture, the data, the true distribution
NOISE = "#8C8C8C"  # grey: noise
ESTIMATE = "#E69F00"  # orange: what the model estimates (x_0, noise)
PROMPT = "#009E73"  # green: the prompt, what is given to the network
GUIDED = "#D55E00"  # vermilion: the guided or final result, the mark that moves
LEARNT = "#CC79A7"  # purple: a learnt concept
INK, FAINT = "#222222", "#6E6E6E"
SEQUENTIAL, SIGNED = "cividis", "PuOr"
BLUES = LinearSegmentedColormap.from_list("signal", ["#FFFFFF", "#BFDDF0", "#5BA7D6", SIGNAL])

DPI, PANEL_DPI = 128, 96
WIDTH = 9.0
TITLE, NOTE = 0.42, 0.30  # height kept free for the claim above and the small print below
RC = {
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
}
MATH = {"gid": "mathematics"}  # marks a text in which $...$ is mathematics
NO_GLYPH = "\N{WHITE SQUARE}"  # stands for a character that the font cannot draw


@dataclass(frozen=True)
class Picture:
    """A finished figure: PNG bytes, what they show in words, and the width on the page in CSS pixels."""

    png: bytes
    alt: str
    width: int = 900

    def _repr_mimebundle_(self, include=None, exclude=None):
        data = {"image/png": base64.b64encode(self.png).decode(), "text/plain": f"[figure] {self.alt}"}
        return data, {"image/png": {"alt": self.alt, "width": self.width}}

    def image(self):
        """The figure as a PIL image."""
        return Image.open(io.BytesIO(self.png)).convert("RGB")


def new_figure(height, width=WIDTH, dpi=DPI):
    """An empty white figure of the course's width."""
    fig = Figure(figsize=(width, height), dpi=dpi, facecolor="white")
    FigureCanvasAgg(fig)
    return fig


def place(fig, left, top, width, height, bare=False):
    """Axes at a place given in inches from the top left, put on whole dots. bare: no frame, no ticks."""
    total_w, total_h = fig.get_size_inches()
    left, top, width, height = (round(v * fig.dpi) / fig.dpi for v in (left, top, width, height))
    with matplotlib.rc_context(RC):
        ax = fig.add_axes([left / total_w, 1 - (top + height) / total_h, width / total_w, height / total_h])
    if bare:
        ax.set_axis_off()
        ax.set(xticks=[], yticks=[])  # else every look through the figure's texts makes the ticks that are not drawn
    return ax


def write(fig, left, top, text, **kwargs):
    """Text at a place given in inches from the top left. Returns the artist."""
    total_w, total_h = fig.get_size_inches()
    kwargs = {"fontsize": 9, "va": "center", "ha": "left", "color": INK, **kwargs}
    return fig.text(left / total_w, 1 - top / total_h, text, **kwargs)


@functools.cache
def _has(font, letter):
    return bool(font_manager.get_font(font).get_char_index(ord(letter)))


def drawable(text, font):
    """The text as the font can draw it: spaces for tabs and the like, NO_GLYPH for what it does not have.

    Matplotlib would draw a box too, but warns for every one. Joiners and variation selectors are left out.
    """
    letters = []
    for letter in text:
        if letter == "\n" or _has(font, letter):
            letters.append(letter)
        elif letter.isspace():
            letters.append(" ")
        elif unicodedata.category(letter) not in ("Cf", "Mn", "Me"):
            letters.append(NO_GLYPH)
    return "".join(letters)


def settle_texts(fig):
    """Draw every text of a figure literally, except those marked with MATH and the tick labels that scales write."""
    scales = set()
    for axis in (axis for ax in fig.axes for axis in (ax.xaxis, ax.yaxis)):
        for ticks, formatter in (
            (axis.get_major_ticks(), axis.get_major_formatter()),
            (axis.get_minor_ticks(), axis.get_minor_formatter()),
        ):
            labels = [label for tick in ticks for label in (tick.label1, tick.label2)]
            if not isinstance(formatter, ticker.FixedFormatter):
                scales.update(labels)  # 10^3 on a logarithmic scale
            elif labels and labels[0].get_gid() != MATH["gid"]:
                font = font_manager.findfont(labels[0].get_fontproperties())
                formatter.seq = [drawable(text, font) for text in formatter.seq]
    for text in fig.findobj(Text):
        if text not in scales:
            math = text.get_gid() == MATH["gid"]
            text.set_parse_math(math)
            if not math and text.get_text():
                text.set_text(drawable(text.get_text(), font_manager.findfont(text.get_fontproperties())))


def box(fig, left, top, width, height, colour, **kwargs):
    """An empty dashed frame round a part of the figure, in inches from the top left."""
    total_w, total_h = fig.get_size_inches()
    kwargs = {"fill": False, "linestyle": (0, (4, 2)), "linewidth": 1.6, "edgecolor": colour, **kwargs}
    patch = matplotlib.patches.Rectangle(
        (left / total_w, 1 - (top + height) / total_h),
        width / total_w,
        height / total_h,
        transform=fig.transFigure,
        **kwargs,
    )
    fig.add_artist(patch)
    return patch


def block(fig, left, top, width, height, colour):
    """A filled bar in inches from the top left. Returns the artist; `set_bar_width` changes its length."""
    return box(fig, left, top, width, height, "none", fill=True, facecolor=colour, linewidth=0, linestyle="-")


def set_bar_width(fig, bar, width):
    """Make a bar drawn by `block` this many inches long."""
    bar.set_width(width / fig.get_size_inches()[0])


def arrow(fig, start, end, colour=FAINT, **kwargs):
    """A thin arrow between two places in inches from the top left."""
    total_w, total_h = fig.get_size_inches()
    (x0, y0), (x1, y1) = start, end
    patch = matplotlib.patches.FancyArrowPatch(
        (x0 / total_w, 1 - y0 / total_h),
        (x1 / total_w, 1 - y1 / total_h),
        transform=fig.transFigure,
        **{"arrowstyle": "-|>", "mutation_scale": 9, "linewidth": 1.0, "color": colour, **kwargs},
    )
    fig.add_artist(patch)
    return patch


def to_rgb(picture):
    """A uint8 array (H, W, 3) of a PIL image, such an array, or a tensor (3, H, W) in -1..1."""
    if hasattr(picture, "detach"):
        return images_of_pixels(picture)
    array = np.asarray(upright(picture) if isinstance(picture, Image.Image) else picture)
    return array.clip(0, 255).astype(np.uint8)


def show_picture(fig, picture, left, top, size=1.0, frame=None, **kwargs):
    """One picture, `size` inches wide, enlarged without smoothing. frame: colour of an edge round it."""
    array = to_rgb(picture)
    ax = place(fig, left, top, size, size * array.shape[0] / array.shape[1], bare=True)
    smooth = array.shape[1] > round(size * fig.dpi)
    ax.imshow(array, interpolation="antialiased" if smooth else "nearest", aspect="auto", **kwargs)
    if frame:
        ax.set_axis_on()
        ax.set(xticks=[], yticks=[])
        for spine in ax.spines.values():
            spine.set(visible=True, color=frame, linewidth=1.6)
    return ax


def tidy(ax, xlabel=None, ylabel=None, xticks=None, yticks=None, math=False):
    """Labels and few ticks on curve axes; no frame above and on the right. math: $...$ in labels is mathematics."""
    kind = MATH if math else {}
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(length=2.5, pad=2)
    if xlabel is not None:
        ax.set_xlabel(xlabel, labelpad=2, **kind)
    if ylabel is not None:
        ax.set_ylabel(ylabel, labelpad=2, **kind)
    if xticks is not None:
        ax.set_xticks(xticks, [f"{x:g}" for x in xticks])
    if yticks is not None:
        ax.set_yticks(yticks, [f"{y:g}" for y in yticks])
    ax.minorticks_off()
    return ax


def claim(fig, title, note=None):
    """The sentence to notice, above the figure; what it can not show, N and seed, in grey below it."""
    height = fig.get_size_inches()[1]
    write(fig, 0.08, 0.19, title, fontsize=11, fontweight="bold")
    if note:
        write(fig, 0.08, height - 0.14, note, fontsize=7.5, color=FAINT)


def ended(text):
    """A text as a sentence: with a full stop, unless it ends like one."""
    return text if text.endswith((".", "!", "?")) else f"{text}."


def encode(array, palette=0, compress_level=3, refine=32):
    """PNG bytes of an array (H, W, 3 or 4). palette: only so many colours, up to 256; 0: all of them.

    refine: the colours are moved to the middle of what they stand for until fewer than one pixel in so many takes another
    colour; 0: not at all. At 1000 a page of noise takes eight times as long as at 32, and its error falls by a fiftieth.
    """
    image = Image.fromarray(np.ascontiguousarray(array[..., :3]))
    if palette:
        few = image.width * image.height // refine if refine else 0  # Pillow stops at so many; 0: it does not begin
        image = image.quantize(palette, Image.Quantize.MEDIANCUT, kmeans=few, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=compress_level)
    return buffer.getvalue()


def finish(fig, alt, palette=0):
    """The finished figure as a Picture, shown on the page at 100 CSS pixels an inch.

    palette: as in `encode`. A panel's frame is wanted soon, and is not kept in a file: it is encoded for speed. The others
    are encoded at 6: 9 takes five times as long and saves three bytes in a hundred.
    """
    settle_texts(fig)
    fig.canvas.draw()
    effort = {"compress_level": 3, "refine": 0} if fig.dpi == PANEL_DPI else {"compress_level": 6}
    png = encode(np.asarray(fig.canvas.buffer_rgba()), palette, **effort)
    return Picture(png, alt, int(fig.get_size_inches()[0] * 100))


def claimed(fig, title, note, alt, palette=0, seen=None):
    """The finished figure with its `claim`; alt, palette: as in `finish`. seen: what is seen in these pictures, said after alt."""
    claim(fig, title, note)
    return finish(fig, f"{alt} {seen}" if seen else alt, palette)


class Stage:
    """A figure drawn once in which a few artists move: a frame costs milliseconds, not a whole drawing."""

    def __init__(self, fig, moving):
        self.fig, self.moving = fig, list(moving)
        for artist in self.moving:
            artist.set_animated(True)
        settle_texts(fig)
        fig.canvas.draw()
        self.background = fig.canvas.copy_from_bbox(fig.bbox)

    def png(self):
        """PNG bytes with the moving artists as they are now."""
        self.fig.canvas.restore_region(self.background)
        for artist in self.moving:
            artist.draw(self.fig.canvas.get_renderer())
        return encode(np.asarray(self.fig.canvas.buffer_rgba()), compress_level=1)


def leftwards(fig, top):
    """An arrow in the top right corner: sampling goes from right to left in this figure."""
    arrow(fig, (8.9, top), (8.2, top))
    write(fig, 8.12, top, "sampling goes this way", fontsize=8, color=FAINT, ha="right")


def picture_grid(
    rows,
    title,
    alt,
    column_labels=(),
    row_labels=(),
    captions=None,
    note=None,
    size=1.0,
    gap=0.06,
    palette=0,
    math=False,
    beside=(),
    sampling=False,
    below=(),
):
    """Rows of pictures (see to_rgb), all of one shape, `size` inches wide, with direct labels: the film strip.

    palette: as in `encode`; 128 colours do for noise, gradients look better with all of them (0).
    captions: small grey text under each picture, in the same rows. Row labels stand upright on the left.
    below: a text for each column, wrapped, in small grey under the last row: the prompts.
    beside: a text for each row, wrapped, on the right of its pictures: what was asked for, in the prompt's green.
    math: $...$ in labels and captions is mathematics. sampling: an arrow says that it goes from right to left.
    """
    margin, kind = 0.45 if row_labels else 0.08, MATH if math else {}
    lines = max([1, *(text.count("\n") + 1 for row in captions or () for text in row)])
    under = 0.07 + 0.13 * lines if captions else gap
    above = 0.22 if column_labels else 0.0
    top = TITLE + above
    high, wide = to_rgb(rows[0][0]).shape[:2]
    tall = size * high / wide
    foot = [textwrap.fill(text, int(size / 0.058)) for text in below]
    base = top + len(rows) * (tall + under)
    fig = new_figure(base + 0.13 * max([0, *(text.count("\n") + 1 for text in foot)]) + (NOTE if note else 0.08))
    for i, text in enumerate(foot):
        write(fig, margin + i * (size + gap) + size / 2, base, text, fontsize=7.5, ha="center", va="top", color=FAINT)
    for r, row in enumerate(rows):
        y = top + r * (tall + under)
        if row_labels:
            write(fig, margin - 0.12, y + tall / 2, row_labels[r], ha="right", rotation=90, **kind)
        for i, picture in enumerate(row):
            x = margin + i * (size + gap)
            show_picture(fig, picture, x, y, size)
            if r == 0 and column_labels:
                write(fig, x + size / 2, top - 0.1, column_labels[i], ha="center", **kind)
            if captions:
                write(
                    fig,
                    x + size / 2,
                    y + tall + 0.02,
                    captions[r][i],
                    fontsize=7.5,
                    ha="center",
                    va="top",
                    color=FAINT,
                    **kind,
                )
        if beside:
            left = margin + len(row) * (size + gap) + 0.1
            write(
                fig,
                left,
                y + tall / 2,
                textwrap.fill(beside[r], max(10, int((WIDTH - left) / 0.073))),
                fontsize=8.5,
                color=PROMPT,
            )
    if sampling:
        leftwards(fig, 0.2)
    return claimed(fig, title, note, alt, palette)
