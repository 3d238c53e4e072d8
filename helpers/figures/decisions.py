"""When is it decided: two film strips of the loop, and under them one track for every thing the judge reads."""
import numpy as np

from . import style
from .style import ESTIMATE, FAINT, INK, NOTE, TITLE, block, show_picture, write

LEFT, LENGTH = 1.05, 7.85          # where the axis of steps begins, and how long it is, in inches
PICTURES = 12
UNSETTLED = "#E4E4E4"


def settled(readings):
    """From which step on a reading stays what it is at the end (int, 0 for the first). readings: one a step."""
    return max((i + 1 for i, reading in enumerate(readings) if reading != readings[-1]), default=0)


def decisions(noisy, clean, readings, others, title, note):
    """F20. noisy, clean: the pictures of x_t and of the estimate of x_0, one a step. Returns a Picture.

    readings: {attribute: what the judge reads off `clean`, a text a step}. others: {attribute: `settled` of other
    runs, a list of ints}: drawn as a line from the first to the third quartile, with a dot at the median.
    """
    steps, size, row = len(clean), LENGTH / PICTURES - 0.03, 0.3
    shown = [round(k * (steps - 1) / (PICTURES - 1)) for k in range(PICTURES)]
    order = sorted(readings, key=lambda name: np.median(others[name]))
    top = TITLE + 0.06
    tracks = top + 2 * (size + 0.05) + 0.28
    fig = style.new_figure(tracks + row * len(order) + 0.25 + NOTE)

    def at(step):
        return LEFT + (step + 0.5) / steps * LENGTH

    for r, (pictures, label) in enumerate(((noisy, "$x_t$"), (clean, "$x_0$ estimate"))):
        write(fig, LEFT - 0.1, top + r * (size + 0.05) + size / 2, label, ha="right", **style.MATH)
        for k, i in enumerate(shown):
            show_picture(fig, pictures[i], LEFT + k * LENGTH / PICTURES, top + r * (size + 0.05), size)
    for k, i in enumerate(shown):
        write(fig, LEFT + k * LENGTH / PICTURES + size / 2, tracks - 0.17, f"step {i + 1}", ha="center", fontsize=7.5, color=FAINT)
    for r, name in enumerate(order):
        y, decided = tracks + r * row, settled(readings[name])
        write(fig, LEFT - 0.1, y + row / 2, name, ha="right")
        block(fig, LEFT, y + 0.05, LENGTH, row - 0.12, UNSETTLED)
        block(fig, at(decided) - 0.5 / steps * LENGTH, y + 0.05, LENGTH * (1 - decided / steps), row - 0.12, ESTIMATE)
        quarter, middle, three = np.percentile(others[name], (25, 50, 75))
        block(fig, at(quarter), y + row / 2 - 0.02, max(at(three) - at(quarter), 0.01), 0.02, INK)
        block(fig, at(middle) - 0.045, y + row / 2 - 0.055, 0.09, 0.09, INK)
        write(fig, LEFT + LENGTH - 0.06, y + row / 2 - 0.01, readings[name][-1], ha="right", fontsize=8, color=INK)
    legend = tracks + row * len(order) + 0.1
    small = {"fontsize": 7.5, "color": FAINT}
    write(fig, LEFT + LENGTH, legend, "sampling goes this way \N{RIGHTWARDS ARROW}", ha="right", **small)
    for x, colour, words in ((0, UNSETTLED, "still changes"), (1.25, ESTIMATE, "final from here on")):
        block(fig, LEFT + x, legend - 0.05, 0.28, 0.1, colour)
        write(fig, LEFT + x + 0.34, legend, words, **small)
    block(fig, LEFT + 3.1, legend - 0.01, 0.3, 0.02, INK)
    block(fig, LEFT + 3.2, legend - 0.045, 0.09, 0.09, INK)
    write(fig, LEFT + 3.46, legend, f"median and middle half of {len(others[order[0]])} other pictures", **small)
    style.claim(fig, title, note)
    medians = ", ".join(f"{name} ≈{np.median(others[name]) + 1:.1f}" for name in sorted(order))
    return style.finish(fig, f"{title} Film strips of {PICTURES} of {steps} steps, and tracks of when each reading is final; "
                             f"median step over other pictures: {medians}.")
