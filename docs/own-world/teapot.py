"""A world with teapots in it: `python -m training.own_world docs/own-world/teapot.py`."""

from helpers.postcards.canvas import ellipse, stroke

SIDE = [
    (-0.27, 0.03),
    (-0.38, 0.14),
    (-0.43, 0.30),
    (-0.39, 0.46),
    (-0.24, 0.60),
]  # the belly's left half, from its foot up


def teapot(pen, look, r):
    """In units of the thing's size: it stands at (0, 0), x to the right, y up; the box is -0.65 to 0.65 and 0 to 1.5."""
    pen.fill(
        look.shade, *stroke([(0.38, 0.52), (0.52, 0.56), (0.60, 0.46), (0.58, 0.32), (0.48, 0.22), (0.38, 0.18)], 0.085)
    )  # handle
    pen.fill(
        look.base, [(-0.34, 0.22), (-0.34, 0.42), (-0.52, 0.66), (-0.63, 0.68), (-0.62, 0.60), (-0.54, 0.52)]
    )  # spout
    pen.fill(look.base, SIDE + [(-x, y) for x, y in SIDE[::-1]])  # belly
    pen.fill(look.shade, [(0.10, 0.03), (0.20, 0.30), (0.13, 0.60)] + [(-x, y) for x, y in SIDE[::-1]])  # its shadow
    pen.fill(look.light, ellipse(-0.21, 0.38, 0.07, 0.14))  # a gleam
    pen.fill(look.cream, [(-0.30, 0.56), (-0.26, 0.62), (0.26, 0.62), (0.30, 0.56)])  # rim
    pen.fill(look.base, [(-0.24, 0.62), (-0.17, 0.72), (0.17, 0.72), (0.24, 0.62)])  # lid
    pen.fill(look.dark, ellipse(0, 0.76, 0.065))  # knob
    pen.fill(look.dark, [(-0.27, 0.0), (-0.27, 0.04), (0.27, 0.04), (0.27, 0.0)])  # foot


KINDS = [teapot]
