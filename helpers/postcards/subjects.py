"""How the foreground things look: one short drawing a kind, in its own units.

A drawing gets a `pen` and a `Look` and works in units of the thing's size: the origin is where it touches the ground (or the
water), x to the right, y UP. The pen places, scales and, for a reflection, mirrors it.
"""

import math
from dataclasses import dataclass
from random import Random

import numpy as np

from helpers.postcards.canvas import Canvas, box, ellipse, mix, rgb, stroke
from helpers.postcards.own import WORLD

# base, shade, highlight
PAINTS = {
    "red": (rgb(216, 40, 44), rgb(150, 20, 32), rgb(244, 96, 88)),
    "orange": (rgb(246, 128, 24), rgb(190, 82, 8), rgb(255, 172, 84)),
    "yellow": (rgb(252, 212, 40), rgb(206, 158, 14), rgb(255, 236, 128)),
    "green": (rgb(38, 160, 76), rgb(16, 104, 50), rgb(104, 206, 124)),
    "blue": (rgb(36, 96, 220), rgb(18, 56, 150), rgb(98, 154, 250)),
    "purple": (rgb(134, 62, 190), rgb(88, 32, 134), rgb(178, 116, 226)),
    "pink": (rgb(250, 128, 184), rgb(206, 80, 142), rgb(255, 182, 216)),
    "white": (rgb(248, 248, 250), rgb(196, 202, 216), rgb(255, 255, 255)),
    "black": (rgb(40, 40, 48), rgb(20, 20, 26), rgb(88, 88, 102)),
    "teal": (rgb(20, 168, 164), rgb(6, 112, 112), rgb(96, 212, 204)),
} | WORLD.colours
WOOD, CREAM, DARK, STEEL = rgb(122, 80, 50), rgb(250, 242, 226), rgb(44, 42, 52), rgb(176, 180, 190)
GLASS_BY_DAY, GLASS_AT_NIGHT = rgb(176, 220, 244), rgb(255, 222, 120)


@dataclass(frozen=True)
class Look:
    """The colours of one thing under one sky."""

    base: np.ndarray
    shade: np.ndarray
    light: np.ndarray
    wood: np.ndarray
    cream: np.ndarray
    dark: np.ndarray
    steel: np.ndarray
    glass: np.ndarray

    @classmethod
    def under(cls, colour, tint, night):
        base, shade, light = PAINTS[colour]
        glass = GLASS_AT_NIGHT if night else GLASS_BY_DAY * tint
        return cls(base * tint, shade * tint, light * tint, WOOD * tint, CREAM * tint, DARK * tint, STEEL * tint, glass)


class Pen:
    """Draws in units of a thing that stands at (x, y) on the canvas and is `size` tall; `mirror` draws its reflection."""

    def __init__(self, canvas: Canvas, thing, x, y, size, mirror=False, veil=None):
        self.canvas, self.thing, self.x, self.y, self.size, self.mirror, self.veil = (
            canvas,
            thing,
            x,
            y,
            size,
            mirror,
            veil,
        )

    def place(self, points):
        p = np.asarray(points, dtype=np.float64)
        down = 0.9 * p[:, 1] if self.mirror else -p[:, 1]
        return np.stack([self.x + p[:, 0] * self.size, self.y + down * self.size], 1)

    def fill(self, colour, *polygons):
        if self.mirror:  # seen in water: paler, and the pixels stay water
            colour, opacity, owns = mix(colour, self.veil, 0.45), 0.55, False
        else:
            opacity, owns = 1.0, True
        self.canvas.paint(self.thing, [self.place(p) for p in polygons], colour, opacity, owns=owns)

    def line(self, colour, width, *points):
        self.fill(colour, *stroke(points, width))


def boat(pen, look, r):
    pen.line(look.wood, 0.045, (0.0, 0.1), (0.0, 1.16))
    pen.fill(look.light, [(0.05, 1.1), (0.22, 0.72), (0.5, 0.34), (0.05, 0.34)])
    pen.fill(look.cream, [(-0.05, 1.0), (-0.2, 0.66), (-0.42, 0.34), (-0.05, 0.34)])
    pen.fill(look.base, [(-0.6, 0.27), (0.62, 0.27), (0.42, -0.02), (-0.4, -0.02)])
    pen.fill(look.shade, [(-0.47, 0.09), (0.5, 0.09), (0.42, -0.02), (-0.4, -0.02)])
    pen.fill(look.cream, box(-0.585, 0.21, 0.58, 0.245))


def house(pen, look, r):
    pen.fill(look.dark, box(0.2, 0.7, 0.33, 1.0))
    pen.fill(look.base, box(-0.45, 0, 0.45, 0.58))
    pen.fill(look.shade, box(0.12, 0, 0.45, 0.58))
    pen.fill(look.light, [(-0.58, 0.54), (-0.02, 0.98), (0.14, 0.98), (0.14, 0.54)])
    pen.fill(look.shade, [(0.14, 0.54), (0.14, 0.98), (0.58, 0.54)])
    pen.fill(look.wood, box(-0.12, 0, 0.08, 0.34))
    for x in (-0.31, 0.29):
        pen.fill(look.cream, box(x - 0.115, 0.175, x + 0.115, 0.425))
        pen.fill(look.glass, box(x - 0.085, 0.205, x + 0.085, 0.395))


def tent(pen, look, r):
    pen.line(look.wood, 0.04, (-0.06, 0.74), (0.06, 0.92))
    pen.line(look.wood, 0.04, (0.06, 0.74), (-0.06, 0.92))
    pen.fill(look.base, [(-0.62, 0), (0, 0.84), (0.62, 0)])
    pen.fill(look.light, [(-0.62, 0), (0, 0.84), (-0.2, 0)])
    pen.fill(look.shade, [(0.28, 0), (0, 0.84), (0.62, 0)])
    pen.fill(look.dark, [(-0.15, 0), (0.02, 0.5), (0.2, 0)])


def balloon(pen, look, r):
    """Its origin is the basket's floor, hanging in the air."""
    for x in (-0.1, 0.1):
        pen.line(look.wood, 0.025, (x, 0.14), (x * 2.2, 0.5))
    pen.fill(look.wood, box(-0.11, 0, 0.11, 0.16))
    half = [math.sin(math.pi * (0.06 + 0.94 * k / 15)) ** 0.75 for k in range(16)]
    height = [0.38 + 0.92 * (1 - math.cos(math.pi * k / 15)) / 2 for k in range(16)]

    def gore(left, right):  # a stripe of the envelope between two longitudes, -1 to 1
        return [(0.45 * h * left, y) for h, y in zip(half, height)] + [
            (0.45 * h * right, y) for h, y in zip(half[::-1], height[::-1])
        ]

    pen.fill(look.base, gore(-1, 1))
    pen.fill(look.light, gore(-0.7, -0.25))
    pen.fill(look.shade, gore(0.62, 1))
    pen.fill(look.shade, [(-0.17, 0.44), (0.17, 0.44), (0.12, 0.36), (-0.12, 0.36)])


def car(pen, look, r):
    pen.fill(look.base, [(-0.4, 0.4), (-0.24, 0.68), (0.2, 0.68), (0.42, 0.4)])
    pen.fill(
        look.glass,
        [(-0.31, 0.42), (-0.2, 0.62), (-0.03, 0.62), (-0.03, 0.42)],
        [(0.03, 0.42), (0.03, 0.62), (0.17, 0.62), (0.32, 0.42)],
    )
    pen.fill(look.base, [(-0.62, 0.12), (-0.62, 0.34), (-0.54, 0.42), (0.5, 0.42), (0.62, 0.34), (0.64, 0.12)])
    pen.fill(look.shade, box(-0.62, 0.1, 0.64, 0.19))
    pen.fill(look.light, box(-0.58, 0.34, 0.56, 0.38))
    pen.fill(look.cream, ellipse(0.59, 0.29, 0.045))
    for x in (-0.36, 0.36):
        pen.fill(look.dark, ellipse(x, 0.13, 0.16))
        pen.fill(look.steel, ellipse(x, 0.13, 0.075))


def lighthouse(pen, look, r):
    def ring(low, high):  # of the tower, which narrows upwards
        a, b = 0.25 - 0.1 * low, 0.25 - 0.1 * high
        return [(-a, low * 1.08), (-b, high * 1.08), (b, high * 1.08), (a, low * 1.08)]

    pen.fill(look.cream, ring(0, 1))
    for k in (0, 2, 4):
        pen.fill(look.base, ring(k / 5, (k + 1) / 5))
    pen.fill(look.dark, box(-0.22, 1.06, 0.22, 1.12))
    pen.fill(GLASS_AT_NIGHT, box(-0.12, 1.12, 0.12, 1.3))
    pen.line(look.dark, 0.03, (0, 1.12), (0, 1.3))
    pen.fill(look.base, [(-0.19, 1.3), (0, 1.5), (0.19, 1.3)])
    pen.fill(look.dark, box(-0.06, 0, 0.07, 0.16))


def tree(pen, look, r):
    pen.fill(look.wood, [(-0.1, 0), (-0.06, 0.5), (0.06, 0.5), (0.1, 0)])
    leaves = [(-0.27, 0.58, 0.27), (0.27, 0.58, 0.27), (-0.17, 0.86, 0.27), (0.2, 0.84, 0.26), (0.0, 1.06, 0.24)]
    pen.fill(look.shade, *[ellipse(x, y, q) for x, y, q in leaves])
    pen.fill(look.base, *[ellipse(x - 0.02, y + 0.045, q * 0.9) for x, y, q in leaves])
    pen.fill(look.light, ellipse(-0.24, 0.72, 0.11), ellipse(-0.1, 1.06, 0.12))


def flag(pen, look, r):
    pen.fill(look.wood, box(-0.42, 0, -0.34, 1.24))
    pen.fill(GLASS_AT_NIGHT, ellipse(-0.38, 1.26, 0.06))
    top = [(-0.34 + 0.9 * k / 12, 1.17 + 0.045 * math.sin(2 * math.pi * k / 12 + 0.6)) for k in range(13)]
    pen.fill(look.base, top + [(x, y - 0.52) for x, y in top[::-1]])
    pen.fill(look.shade, top[7:11] + [(x, y - 0.52) for x, y in top[7:11][::-1]])
    pen.fill(look.light, top[1:4] + [(x, y - 0.52) for x, y in top[1:4][::-1]])


def windmill(pen, look, r):
    pen.fill(look.base, [(-0.28, 0), (-0.17, 0.82), (0.17, 0.82), (0.28, 0)])
    pen.fill(look.shade, [(0.08, 0), (0.05, 0.82), (0.17, 0.82), (0.28, 0)])
    pen.fill(look.dark, [(-0.2, 0.82), (-0.1, 1.0), (0.1, 1.0), (0.2, 0.82)])
    pen.fill(look.wood, box(-0.08, 0, 0.08, 0.26))
    turn = r.uniform(0.2, 1.3)
    for k in range(4):
        c, s = math.cos(turn + k * math.pi / 2), math.sin(turn + k * math.pi / 2)
        pen.fill(
            look.cream,
            [(c * u - s * v, 0.86 + s * u + c * v) for u, v in ((0.1, 0.02), (0.1, 0.17), (0.62, 0.17), (0.62, 0.02))],
        )
        pen.line(look.wood, 0.04, (0, 0.86), (c * 0.64, 0.86 + s * 0.64))
    pen.fill(look.dark, ellipse(0, 0.86, 0.06))


def snowman(pen, look, r):
    white = rgb(250, 250, 252)
    for y, q in ((0.28, 0.33), (0.7, 0.24), (1.02, 0.18)):
        pen.fill(mix(white, look.dark, 0.18), ellipse(0, y, q))
        pen.fill(white, ellipse(-0.03, y + 0.03, q * 0.88))
    pen.line(look.wood, 0.035, (-0.2, 0.74), (-0.5, 0.96))
    pen.line(look.wood, 0.035, (0.2, 0.74), (0.5, 0.96))
    pen.fill(look.base, box(-0.2, 0.82, 0.2, 0.92), [(0.04, 0.85), (0.18, 0.85), (0.22, 0.56), (0.08, 0.56)])
    pen.fill(look.base, box(-0.15, 1.16, 0.15, 1.4))
    pen.fill(look.shade, box(-0.24, 1.14, 0.24, 1.2))
    pen.fill(rgb(246, 128, 24), [(0.0, 1.06), (0.0, 1.0), (0.22, 1.02)])
    pen.fill(
        look.dark, ellipse(-0.07, 1.08, 0.03), ellipse(0.07, 1.08, 0.03), ellipse(0, 0.72, 0.03), ellipse(0, 0.6, 0.03)
    )


DRAWINGS = {
    f.__name__: f for f in (boat, house, tent, balloon, car, lighthouse, tree, flag, windmill, snowman)
} | WORLD.kinds


def draw_subject(pen: Pen, kind, look: Look, seed):
    """The seed, not a shared generator, so that a thing and its reflection are the same."""
    DRAWINGS[kind](pen, look, Random(seed))
