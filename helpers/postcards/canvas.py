"""A canvas that paints anti-aliased polygons and remembers which thing owns every pixel.

Written out in NumPy instead of calling a drawing library, because "same seed, same pixels" has to hold for every version
of every library: nothing here depends on more than IEEE arithmetic. All positions are in units of the picture's side,
x to the right and y down, so that a drawing is the same at every size.
"""

import math
from functools import lru_cache

import numpy as np

SUB = 4  # scan lines per pixel row; along x the coverage is exact

BLUES = np.float32([[0.02, 0.06, 0.30], [0.05, 0.42, 0.92], [1, 1, 1]])  # a cyanotype: most ink, less of it, bare paper
LUMINANCE = np.float32([0.2126, 0.7152, 0.0722])  # how bright red, green and blue look (ITU-R BT.709)


def rgb(*values):
    """Colour 0..255 -> float32 (3,) in 0..1."""
    return np.float32(values) / 255


def mix(a, b, share):
    """share=0: a, share=1: b."""
    return a + (b - a) * np.float32(share)


@lru_cache
def ring(n):
    return np.array([(math.cos(a), math.sin(a)) for a in (2 * math.pi * k / n for k in range(n))])


def ellipse(x, y, rx, ry=None, n=28):
    """Polygon (n, 2) around (x, y) with half axes rx and ry."""
    return ring(n) * (rx, rx if ry is None else ry) + (x, y)


def box(x0, y0, x1, y1):
    """Polygon of an upright rectangle between two corners."""
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def stroke(points, width):
    """Polygons of a line of `width` along `points`, one quadrilateral a piece."""
    quads = []
    for (x0, y0), (x1, y1) in zip(points, points[1:]):
        length = math.hypot(x1 - x0, y1 - y0) or 1.0
        nx, ny = -(y1 - y0) / length * width / 2, (x1 - x0) / length * width / 2
        quads.append([(x0 + nx, y0 + ny), (x1 + nx, y1 + ny), (x1 - nx, y1 - ny), (x0 - nx, y0 - ny)])
    return quads


def coverage(polygons, size):
    """How much of each pixel lies inside the union of the polygons.

    polygons: a list of (n, 2) outlines, in units of the picture. size: pixels a side.
    Returns (rows, columns, alpha): two slices and a float32 (h, w) in 0..1, or None when nothing is on the picture.
    """
    return coverages([polygons], size)[0]


def coverages(layers, size):
    """`coverage` of many layers in one pass over all their edges.

    Signed area accumulation, as font rasterisers do it: every crossing of an edge with a scan line switches the fill on or off
    from its x onwards, and a running sum along the row turns the switches into coverage. What is switched on in a row is switched
    off in it too, so one running sum serves all rows of all layers, laid out one after the other.
    """
    outlines = [np.asarray(polygon, dtype=np.float64) for layer in layers for polygon in layer]
    lengths = np.array([len(o) for o in outlines])
    first = np.cumsum(lengths) - lengths  # where each outline begins among the edges
    p = np.concatenate(outlines) * size  # (edges, 2): each edge's start ...
    end = np.arange(1, len(p) + 1)
    end[first + lengths - 1] = first
    q = p[end]  # ... and its end
    turn = np.add.reduceat(p[:, 0] * q[:, 1] - q[:, 0] * p[:, 1], first)
    winding = np.repeat(np.where(turn > 0, 1.0, -1.0), lengths)  # one orientation for all, so that overlaps add up

    per_layer = np.array([len(layer) for layer in layers])
    head = first[np.cumsum(per_layer) - per_layer]  # the first edge of each layer
    x0, y0 = np.maximum(np.floor(np.minimum.reduceat(p, head)), 0).astype(np.int64).T  # (layers,) bounding boxes
    x1, y1 = np.minimum(np.ceil(np.maximum.reduceat(p, head)), size).astype(np.int64).T
    w, h = np.maximum(x1 - x0, 0), np.maximum(y1 - y0, 0)
    area = (w + 2) * h
    start = np.cumsum(area) - area  # where each layer's pixels begin
    of = np.repeat(
        np.arange(len(layers)), np.add.reduceat(lengths, np.cumsum(per_layer) - per_layer)
    )  # (edges,) its layer

    top, bottom = np.minimum(p[:, 1], q[:, 1]), np.maximum(p[:, 1], q[:, 1])
    low, high = (
        np.minimum(np.maximum(np.ceil((y - y0[of]) * SUB - 0.5), 0), h[of] * SUB).astype(np.int64)
        for y in (top, bottom)
    )
    count = np.where(w[of] > 0, high - low, 0)
    edge = np.repeat(np.arange(len(p)), count)  # (crossings,)
    line = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count - low, count)
    rise = q[:, 1] - p[:, 1]
    slope = (q[:, 0] - p[:, 0]) / np.where(rise == 0, 1.0, rise)
    layer = of[edge]
    x = p[edge, 0] + ((line + 0.5) / SUB + y0[layer] - p[edge, 1]) * slope[edge] - x0[layer]
    x = np.minimum(np.maximum(x, 0), w[layer])
    column = x.astype(np.int64)
    sign = np.where(rise > 0, winding, -winding)[edge]
    at = start[layer] + (line // SUB) * (w[layer] + 2) + column
    part = sign * (x - column)
    switch = np.bincount(at, sign - part, area.sum()) + np.bincount(at + 1, part, area.sum())
    alpha = np.minimum(np.abs(np.cumsum(switch)) / SUB, 1).astype(np.float32)
    return [
        (
            slice(y0[k], y1[k]),
            slice(x0[k], x1[k]),
            alpha[start[k] : start[k] + area[k]].reshape(h[k], w[k] + 2)[:, : w[k]],
        )
        if w[k] and h[k]
        else None
        for k in range(len(layers))
    ]


class Canvas:
    """`image`: float32 (size, size, 3) in 0..1. `owners`: thing -> float32 (size, size), its share of every pixel.

    What is painted waits in a queue until the picture is looked at, so that many shapes are rasterised in one pass.
    """

    def __init__(self, size):
        self.size = size
        self.pixels = np.zeros((size, size, 3), np.float32)
        self.owners = {}
        self.queue = []

    def paint(self, thing, polygons, colour, opacity=1.0, clip=None, owns=True):
        """Fill polygons with a colour.

        colour: (3,) for one colour, or (size, size, 3) to pick each pixel's from a picture of colours.
        clip: (size, size) 0..1, multiplies the coverage. owns: whether the pixels now belong to `thing`
        (False for what lies on top of a thing without being one: shadows, glows, highlights).
        """
        if np.ndim(polygons[0][0]) == 0:
            polygons = [polygons]
        self.queue.append((polygons, (thing, colour, opacity, clip, owns)))

    @property
    def image(self):
        if self.queue:
            layers, ways = zip(*self.queue)
            self.queue = []
            for found, (thing, colour, opacity, clip, owns) in zip(coverages(layers, self.size), ways):
                if found is not None:
                    rows, columns, alpha = found
                    alpha = alpha if clip is None else alpha * clip[rows, columns]
                    self.blend(thing, rows, columns, alpha, colour, opacity, owns)
        return self.pixels

    def veil(self, alpha, colour):
        """Blend a soft alpha (size, size) of a colour over the whole picture; the pixels keep their owners."""
        target = self.image
        target += (colour - target) * alpha.astype(np.float32)[..., None]

    def blend(self, thing, rows, columns, alpha, colour, opacity, owns):
        if owns:
            for share in self.owners.values():
                share[rows, columns] *= 1 - alpha
            if thing not in self.owners:
                self.owners[thing] = np.zeros((self.size, self.size), np.float32)
            self.owners[thing][rows, columns] += alpha
        if np.ndim(colour) == 3:
            colour = colour[rows, columns]
        target = self.pixels[rows, columns]
        target += (colour - target) * (alpha * np.float32(opacity))[..., None]

    def masks(self):
        """thing -> bool (size, size): every pixel goes to the thing that owns the largest share of it."""
        self.image  # paints what still waits
        things = list(self.owners)
        winner = np.argmax(np.stack([self.owners[thing] for thing in things]), axis=0)
        return {thing: winner == k for k, thing in enumerate(things)}
