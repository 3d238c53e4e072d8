"""From a scene to pixels: sky, light, backdrop, ground, subjects and weather, painted back to front."""

import math
from dataclasses import dataclass
from random import Random

import numpy as np
from PIL import Image

from helpers import inputs
from helpers.postcards.canvas import BLUES, LUMINANCE, Canvas, coverage, ellipse, mix, rgb
from helpers.postcards.captions import scene_of
from helpers.postcards.own import WORLD
from helpers.postcards.scene import Scene
from helpers.postcards.subjects import Look, Pen, draw_subject

# Each sky: three stops of its gradient from top to horizon, the tint it throws on land and on the subjects.
SKY = {
    "dawn": (
        (rgb(112, 130, 200), rgb(232, 170, 190), rgb(255, 218, 176)),
        np.float32([0.98, 0.90, 0.92]),
        np.float32([1.00, 0.96, 0.96]),
    ),
    "day": (
        (rgb(62, 136, 224), rgb(124, 188, 242), rgb(210, 234, 250)),
        np.float32([1.00, 1.00, 1.00]),
        np.float32([1.00, 1.00, 1.00]),
    ),
    "cloudy": (
        (rgb(124, 136, 154), rgb(166, 174, 188), rgb(206, 210, 214)),
        np.float32([0.84, 0.86, 0.88]),
        np.float32([0.92, 0.93, 0.95]),
    ),
    "sunset": (
        (rgb(92, 54, 130), rgb(230, 96, 106), rgb(255, 188, 96)),
        np.float32([0.92, 0.74, 0.70]),
        np.float32([1.00, 0.93, 0.90]),
    ),
    "night": (
        (rgb(10, 14, 46), rgb(26, 34, 86), rgb(64, 68, 132)),
        np.float32([0.30, 0.36, 0.58]),
        np.float32([0.80, 0.82, 0.92]),
    ),
}
LAND = {
    "snowy mountains": rgb(106, 118, 150),
    "green hills": rgb(94, 158, 84),
    "red cliffs": rgb(198, 98, 66),
    "pine trees": rgb(34, 98, 66),
}
SNOW = rgb(250, 252, 255)
TALL = ("balloon", "lighthouse", "windmill", *WORLD.kinds)  # what could stand before the sun or the moon
PLACE_X = {"left": 0.21, "middle": 0.50, "right": 0.79}


@dataclass(frozen=True)
class Postcard:
    """image: PIL RGB (size, size). masks: thing -> bool (size, size), the pixels where that thing is what one sees.

    Keys are "sky", "ground", and where present "light", "backdrop" and each subject's kind ("island" for the bank under a thing
    that stands in a lake): together they cover the picture once. "weather" lies over the others: where rain, flakes or mist show.
    """

    image: Image.Image
    masks: dict[str, np.ndarray]


@dataclass
class Setting:
    """What the painters of one picture share. `glow` is the colour of the sky at the horizon, `tint` the light on the land."""

    scene: Scene
    canvas: Canvas
    rng: Random
    horizon: float
    rows: np.ndarray  # (size, 1) and
    columns: np.ndarray  # (1, size): pixel centres, 0..1
    glow: np.ndarray
    tint: np.ndarray
    tint_near: np.ndarray


def render(scene: Scene, size: int = 128) -> Postcard:
    """Draw a scene. The same scene gives the same pixels everywhere.

    size: pixels a side, 16 to 4096. Returns a `Postcard`. Raises ValueError for another size, TypeError for what is
    no Scene or no whole number.
    """
    size = inputs.whole_number(size, "size", 16, 4096)
    rng = Random(scene_of(scene).seed)
    centre = (np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size)
    stops, tint, tint_near = SKY[scene.sky]
    at = Setting(
        scene, Canvas(size), rng, rng.uniform(0.56, 0.64), centre[:, None], centre[None, :], stops[2], tint, tint_near
    )
    paint_sky(at, stops)
    ridge = BACKDROPS[scene.backdrop](at)  # [(polygons, colour), ...], back to front
    light_x = paint_light(at, ridge)
    paint_clouds(at, light_x)
    for polygons, colour in ridge:
        at.canvas.paint("backdrop", polygons, colour)
    GROUNDS[scene.ground](at, light_x)
    clear = at.canvas.image.copy()
    if scene.weather == "mist":
        mist_behind(at)  # most of the mist hangs behind the subjects, so that they can be told apart
    paint_subjects(at)
    masks = {thing: mask for thing, mask in at.canvas.masks().items() if mask.any()}
    if scene.weather != "none":
        without = clear if scene.weather == "mist" else at.canvas.image.copy()
        WEATHERS[scene.weather](at)
        masks["weather"] = (
            np.abs(at.canvas.image - without).max(-1) > 0.1
        )  # where it moved a pixel by a tenth of the range
    image = at.canvas.image if scene.style == "flat" else cyanotype(at.canvas.image)
    pixels = (np.clip(image, 0, 1) * 255 + np.float32(0.5)).astype(np.uint8)
    return Postcard(Image.fromarray(pixels), masks)


def cyanotype(image):
    """float32 (size, size, 3) -> the same picture printed in one blue ink: each colour's brightness picks one of BLUES, or between."""
    brightness = sum(image[..., k] * weight for k, weight in enumerate(LUMINANCE))[..., None]  # (size, size, 1), 0..1
    return mix(mix(BLUES[0], BLUES[1], np.clip(2 * brightness, 0, 1)), BLUES[2], np.clip(2 * brightness - 1, 0, 1))


def fade(distance):
    """A soft bump: 1 at distance 0, 0 from distance 1 on. A polynomial, so that it is the same on every machine."""
    return np.maximum(0, 1 - distance * distance) ** 2


def gradient(at, stops, top, bottom):
    """Colours (size, size, 3) running through the stops from row `top` to row `bottom`, 0..1."""
    u = np.clip((at.rows - np.float32(top)) / np.float32(bottom - top), 0, 1)[..., None] * (
        len(stops) - 1
    )  # (size, 1, 1)
    ramp = stops[0] + sum((b - a) * np.clip(u - k, 0, 1) for k, (a, b) in enumerate(zip(stops, stops[1:])))
    return np.broadcast_to(ramp, (at.canvas.size, at.canvas.size, 3))


def wave(rng, y, swing, waves=2):
    """A gentle curve as a polygon from y down to the bottom of the picture."""
    parts = [(swing / (k + 1), rng.uniform(3, 5) * (k + 1), rng.uniform(0, 6.28)) for k in range(waves)]
    crest = [(x / 32, y + sum(a * math.sin(f * x / 32 + p) for a, f, p in parts)) for x in range(-1, 34)]
    return crest + [(1.1, 1.1), (-0.1, 1.1)]


# Sky


def paint_sky(at, stops):
    whole = [(-0.1, -0.1), (1.1, -0.1), (1.1, 1.1), (-0.1, 1.1)]
    at.canvas.paint("sky", whole, gradient(at, stops, 0.0, at.horizon))
    if at.scene.sky == "night":
        stars = [
            ellipse(
                at.rng.uniform(0, 1),
                at.rng.uniform(0, at.horizon * 0.85),
                at.rng.choice((0.004, 0.004, 0.005, 0.007)),
                n=8,
            )
            for _ in range(34)
        ]
        haze = np.broadcast_to(0.9 - 0.6 * at.rows / np.float32(at.horizon), at.canvas.image.shape[:2])
        at.canvas.paint("sky", stars, rgb(236, 238, 255), clip=haze)


def paint_light(at, ridge):
    """The sun or moon, clear of the subjects and never hidden by the backdrop. Returns its x, or None."""
    if at.scene.light == "none":
        return None
    blocked = [PLACE_X[s.place] for s in at.scene.subjects if s.kind in TALL]
    tries = [at.rng.uniform(0.14, 0.86) for _ in range(12)]
    x = next((t for t in tries if all(abs(t - b) > 0.24 for b in blocked)), None)
    if x is None:
        x = max(tries, key=lambda t: min(abs(t - b) for b in blocked))
    radius = at.rng.uniform(0.068, 0.082)
    low = at.scene.sky in ("dawn", "sunset")
    y = at.horizon - at.rng.uniform(0.02, 0.16) if low else at.rng.uniform(0.13, 0.2)
    y = min(y, skyline(ridge, x, radius) - radius * 0.2)
    disc = ellipse(x, y, radius, n=40)
    d = np.sqrt((at.columns - np.float32(x)) ** 2 + (at.rows - np.float32(y)) ** 2) / np.float32(radius)
    if at.scene.light == "sun":
        colour = {"day": rgb(255, 246, 180), "dawn": rgb(255, 240, 196), "sunset": rgb(255, 236, 150)}[at.scene.sky]
        at.canvas.veil(0.55 * fade(d / 4.5) + 0.35 * fade(d / 2), mix(colour, SNOW, 0.3))
        at.canvas.paint("light", disc, colour)
        return x
    at.canvas.veil(0.30 * fade(d / 3.2), rgb(190, 196, 240))
    bite = None
    if at.scene.light == "crescent moon":
        side = at.rng.choice((-1, 1))
        rows, columns, alpha = coverage(
            [ellipse(x + side * radius * 0.52, y - radius * 0.22, radius * 0.92, n=40)], at.canvas.size
        )
        bite = np.ones((at.canvas.size,) * 2, np.float32)
        bite[rows, columns] -= alpha
    at.canvas.paint(
        "sky", disc, gradient(at, SKY["night"][0], 0.0, at.horizon), opacity=0.85
    )  # no star shines through the moon
    at.canvas.paint("light", disc, rgb(250, 246, 222), clip=bite)
    if at.scene.light == "full moon":
        for u, v, q in ((-0.3, -0.25, 0.24), (0.32, 0.1, 0.18), (-0.1, 0.42, 0.2)):
            at.canvas.paint(
                "light", ellipse(x + u * radius, y + v * radius, q * radius, n=16), rgb(226, 220, 196), owns=False
            )
    return x


def skyline(ridge, x, radius):
    """The highest point of the backdrop within a radius of x, as a row 0..1 (1 if there is none)."""
    found = coverage([p for polygons, _ in ridge for p in polygons], 64) if ridge else None
    if found is None:
        return 1.0
    rows, columns, alpha = found
    first, last = (
        min(max(int(u * 64) - columns.start, 0), alpha.shape[1] - 1) for u in (x - radius * 0.7, x + radius * 0.7)
    )
    solid = (alpha[:, first : last + 1] > 0.5).any(axis=1)
    return (rows.start + int(np.argmax(solid))) / 64 if solid.any() else 1.0


def paint_clouds(at, light_x):
    sky, rng = at.scene.sky, at.rng
    if sky == "night":
        return
    if sky == "cloudy":
        for layer, (count, y0, y1, shade) in enumerate(((4, 0.02, 0.1, 0.80), (5, 0.08, 0.3, 0.94))):
            for k in range(count):
                cloud(
                    at,
                    (k + rng.uniform(0.1, 0.9)) / count,
                    rng.uniform(y0, y1),
                    rng.uniform(0.07, 0.1),
                    rgb(226, 230, 236) * np.float32(shade),
                    rgb(152, 160, 174) * np.float32(shade),
                )
    elif sky == "day":
        for _ in range(rng.randint(1, 3)):
            x = rng.uniform(0.05, 0.95)
            if light_x is not None and abs(x - light_x) < 0.2:  # never over the sun
                x = light_x + (0.3 if light_x < 0.5 else -0.3)
            cloud(at, x, rng.uniform(0.1, 0.34), rng.uniform(0.04, 0.06), rgb(255, 255, 255), rgb(214, 230, 246))
    else:
        tone = rgb(255, 214, 208) if sky == "dawn" else rgb(255, 150, 110)
        for _ in range(rng.randint(2, 4)):
            x, y, w = rng.uniform(0, 1), rng.uniform(0.06, 0.32), rng.uniform(0.12, 0.22)
            for shift, lift, part in ((0, 0, 1), (0.35, -0.016, 0.6), (-0.4, 0.012, 0.5)):
                at.canvas.paint(
                    "sky", ellipse(x + shift * w, y + lift, w * part, 0.013 * (0.6 + part * 0.5)), tone, opacity=0.6
                )


def cloud(at, x, y, s, top, bottom):
    puffs = [(-1.5, 0.0, 0.55), (-0.75, -0.45, 0.85), (0.15, -0.75, 1.05), (1.0, -0.35, 0.8), (1.7, 0.0, 0.5)]
    flat_base = (at.rows < np.float32(y + 0.28 * s)) * np.ones_like(at.columns)
    shaded = gradient(at, (top, top, bottom), y - 1.6 * s, y + 0.3 * s)
    at.canvas.paint(
        "sky", [ellipse(x + u * s, y + v * s, q * s, n=20) for u, v, q in puffs], shaded, opacity=0.95, clip=flat_base
    )


# Backdrops: lists of (polygons, colour), back to front


def no_backdrop(at):
    return []


def snowy_mountains(at):
    rng, h, layers = at.rng, at.horizon, []
    for haze, count, low, high, wide in ((0.55, 4, 0.16, 0.24, 0.26), (0.15, 3, 0.16, 0.33, 0.30)):
        rock = mix(LAND["snowy mountains"] * at.tint, at.glow, haze)
        snow = mix(SNOW * mix(at.tint, SNOW, 0.35), at.glow, haze * 0.6)
        peaks = [
            (
                (k + rng.uniform(0.2, 0.8)) / count * 1.1 - 0.05,
                h - rng.uniform(low, high),
                wide * rng.uniform(0.8, 1.15),
            )
            for k in range(count)
        ]
        for x, top, w in sorted(peaks, key=lambda p: p[1]):
            d = h - top
            crest = (
                [(x, top)]
                + [
                    (x + w * 0.25 * t + 0.02 * s, top + d * t)
                    for t, s in ((0.22, -1), (0.42, 0.7), (0.66, -0.9), (0.82, 0.6))
                ]
                + [(x + w * 0.22, h)]
            )
            layers.append(([[(x - w, h + 0.01), (x, top), (x + w, h + 0.01)]], rock))
            layers.append(([crest + [(x + w, h + 0.01)]], rock * np.float32(0.80)))
            f = rng.uniform(0.36, 0.46)
            left, right = (x - w * f, top + d * f), (x + w * f, top + d * f)
            hem = [
                (x + w * f * u, top + d * (f + v))
                for u, v in ((0.62, -0.04), (0.34, 0.07), (0.08, -0.03), (-0.2, 0.08), (-0.45, -0.02), (-0.72, 0.05))
            ]
            layers.append(([[left, (x, top), right] + hem], snow))
            layers.append(([[(x, top), right] + hem[:2] + [(x + 0.05 * w, top + d * 0.22)]], mix(snow, rock, 0.38)))
    return layers


def green_hills(at):
    layers = []
    for haze, lift, swing in ((0.50, 0.13, 0.035), (0.28, 0.08, 0.03), (0.06, 0.035, 0.022)):
        colour = mix(LAND["green hills"] * at.tint, at.glow, haze)
        crest = wave(at.rng, at.horizon - lift, swing)
        layers.append(([[p for p in crest[:-2]] + [(1.1, at.horizon + 0.01), (-0.1, at.horizon + 0.01)]], colour))
    return layers


def red_cliffs(at):
    rng, h, layers = at.rng, at.horizon, []
    for haze, spans in (
        (0.45, [(-0.1, 0.35), (0.3, 0.75), (0.68, 1.1)]),
        (0.08, [(-0.08, 0.28), (0.36, 0.60), (0.72, 1.08)]),
    ):
        rock = mix(LAND["red cliffs"] * at.tint, at.glow, haze)
        for x0, x1 in spans:
            x0, x1 = x0 + rng.uniform(-0.06, 0.06), x1 + rng.uniform(-0.06, 0.06)
            top = h - (rng.uniform(0.15, 0.21) if haze > 0.3 else rng.uniform(0.09, 0.26))
            lean = 0.035

            def band(u, v, a=0.0, b=1.0):  # a slice of the mesa between heights u and v (0 foot, 1 top), widths a to b
                yu, yv, iu, iv = h - (h - top) * u, h - (h - top) * v, lean * u, lean * v
                left, right = (lambda i: x0 + i), (lambda i: x1 - i)
                at_ = lambda i, s: left(i) + (right(i) - left(i)) * s
                return [
                    (at_(iu, a), yu + (0.01 if u == 0 else 0)),
                    (at_(iv, a), yv),
                    (at_(iv, b), yv),
                    (at_(iu, b), yu + (0.01 if u == 0 else 0)),
                ]

            layers.append(([band(0, 1)], rock))
            layers.append(([band(0.56, 0.68), band(0.84, 0.9)], mix(rock, rgb(120, 44, 40) * at.tint, 0.35)))
            layers.append(([band(0, 1, 0.72, 1.0)], rock * np.float32(0.82)))
            layers.append(([band(0.93, 1.0)], mix(rock, rgb(255, 214, 170) * at.tint, 0.45)))
    return layers


def pine_trees(at):
    rng, h, layers = at.rng, at.horizon, []
    for haze, low, high in ((0.50, 0.13, 0.19), (0.10, 0.10, 0.21)):
        colour = mix(LAND["pine trees"] * at.tint, at.glow, haze)
        x, row = -0.03, []
        while x < 1.03:
            tall = rng.uniform(low, high)
            wide = tall * 0.26
            for k in range(3):
                foot, tip = h + 0.012 - tall * 0.28 * k, h - tall * (0.50 + 0.25 * k)
                row.append([(x - wide * (1.25 - 0.3 * k), foot), (x, tip), (x + wide * (1.25 - 0.3 * k), foot)])
            x += wide * rng.uniform(1.5, 2.5)
        layers.append((row, colour))
    return layers


BACKDROPS = {
    "none": no_backdrop,
    "snowy mountains": snowy_mountains,
    "green hills": green_hills,
    "red cliffs": red_cliffs,
    "pine trees": pine_trees,
}


# Grounds


def land(at, stops):
    area = [(-0.1, at.horizon), (1.1, at.horizon), (1.1, 1.1), (-0.1, 1.1)]
    at.canvas.paint("ground", area, gradient(at, [s * at.tint for s in stops], at.horizon, 1.0))


def lake(at, light_x):
    size, rng = at.canvas.size, at.rng
    first = int(round(at.horizon * size))
    rows = np.arange(first, size)
    depth = ((rows - first + np.float32(0.5)) / np.float32(size)).astype(np.float32)  # 0 at the horizon
    source = np.clip(first - 1 - (rows - first), 0, size - 1)
    sway = [
        int(round(1.6 * size / 128 * math.sin(0.9 * k * 128 / size) * min(1.0, k / size * 6))) for k in range(len(rows))
    ]
    mirrored = np.stack(
        [np.roll(at.canvas.image[s], shift, axis=0) for s, shift in zip(source, sway)]
    )  # (rows, size, 3)
    water = mix(rgb(44, 112, 168) * at.tint, at.glow, 0.35)
    deep = rgb(28, 84, 140) * at.tint
    share = (0.34 + 0.9 * depth)[:, None, None]
    picture = np.zeros((size, size, 3), np.float32)
    picture[first:] = mirrored + (mix(water, deep, 0.35) - mirrored) * np.minimum(share, 0.72)
    at.canvas.paint("ground", [(-0.1, first / size), (1.1, first / size), (1.1, 1.1), (-0.1, 1.1)], picture)
    shine = mix(at.glow, SNOW, 0.4)
    for _ in range(9):
        y = rng.uniform(at.horizon + 0.03, 0.98)
        wide = rng.uniform(0.05, 0.12) * (0.4 + y - at.horizon)
        at.canvas.paint(
            "ground", ellipse(rng.uniform(0, 1), y, wide * 1.6, 0.005, n=14), shine, opacity=0.35, owns=False
        )
    if light_x is not None:  # the path of light on the water
        for k in range(7):
            y = at.horizon + 0.02 + 0.052 * k
            at.canvas.paint(
                "ground",
                ellipse(light_x + rng.uniform(-0.012, 0.012), y, 0.03 + 0.006 * k, 0.008, n=14),
                rgb(255, 244, 206),
                opacity=0.62 - 0.06 * k,
                owns=False,
            )


def meadow(at, light_x):
    rng = at.rng
    land(at, (rgb(164, 206, 98), rgb(110, 178, 76), rgb(70, 138, 62)))
    at.canvas.paint("ground", wave(rng, at.horizon + 0.10, 0.018), rgb(122, 188, 76) * at.tint, opacity=0.5, owns=False)
    at.canvas.paint("ground", wave(rng, at.horizon + 0.24, 0.02), rgb(70, 144, 66) * at.tint, opacity=0.5, owns=False)
    for _ in range(11):
        y = rng.uniform(at.horizon + 0.06, 0.97)
        petal = rng.choice((rgb(255, 236, 120), rgb(255, 255, 255), rgb(250, 160, 190)))
        at.canvas.paint(
            "ground",
            ellipse(rng.uniform(0.02, 0.98), y, 0.006 + 0.012 * (y - at.horizon), n=10),
            mix(petal * at.tint_near, at.tint, 0.15),
            owns=False,
        )


def desert(at, light_x):
    rng = at.rng
    land(at, (rgb(250, 222, 160), rgb(238, 196, 126), rgb(214, 160, 96)))
    for drop, lit, dark in (
        (0.07, rgb(246, 210, 142), rgb(216, 166, 102)),
        (0.19, rgb(240, 196, 124), rgb(202, 148, 88)),
        (0.32, rgb(228, 178, 108), rgb(188, 134, 78)),
    ):
        dune(at, wave(rng, at.horizon + drop, 0.026), lit * at.tint, dark * at.tint)


def snow_field(at, light_x):
    rng = at.rng
    land(at, (rgb(240, 246, 253), rgb(228, 238, 250), rgb(206, 222, 242)))
    for drop, lit, dark in (
        (0.08, rgb(250, 252, 255), rgb(214, 226, 244)),
        (0.22, rgb(244, 249, 255), rgb(200, 216, 240)),
        (0.34, rgb(238, 245, 254), rgb(190, 208, 236)),
    ):
        dune(at, wave(rng, at.horizon + drop, 0.022), lit * at.tint, dark * at.tint)


def dune(at, shape, lit, dark):
    """A rounded drift: bright along its crest, falling off to the shade below."""
    crest = min(y for _, y in shape)
    at.canvas.paint(
        "ground", shape, gradient(at, (lit, mix(lit, dark, 0.6), dark), crest, crest + 0.2), opacity=0.9, owns=False
    )


GROUNDS = {"lake": lake, "meadow": meadow, "desert": desert, "snow field": snow_field}


# Subjects


def paint_subjects(at):
    rng, canvas, scene = at.rng, at.canvas, at.scene
    alone = len(scene.subjects) == 1
    placed = []
    for s in scene.subjects:
        x = PLACE_X[s.place] + rng.uniform(-0.03, 0.03) * (1 if alone else 0.5)
        size = rng.uniform(0.255, 0.295) if alone else rng.uniform(0.215, 0.235)
        y = rng.uniform(0.43, 0.50) if s.kind == "balloon" else at.horizon + (1 - at.horizon) * rng.uniform(0.40, 0.62)
        placed.append((y, x, size, s, rng.randrange(2**31)))
    for y, x, size, s, seed in sorted(placed, key=lambda p: (p[3].kind != "balloon", p[0])):
        look = Look.under(s.colour, at.tint_near, scene.sky == "night")
        if scene.ground == "lake" and s.kind != "balloon":
            mirrored = Pen(
                canvas, "ground", x, y, size, mirror=True, veil=mix(rgb(44, 112, 168) * at.tint, at.glow, 0.3)
            )
            draw_subject(mirrored, s.kind, look, seed)
            if s.kind != "boat":
                canvas.paint("island", ellipse(x, y + 0.012, size * 0.78, 0.034), rgb(170, 140, 96) * at.tint)
                canvas.paint("island", ellipse(x, y + 0.003, size * 0.74, 0.026), rgb(112, 170, 84) * at.tint)
        elif s.kind != "balloon":
            canvas.paint(
                "ground",
                ellipse(x + 0.12 * size, y, size * 0.66, size * 0.085),
                np.float32([0.05, 0.06, 0.12]),
                opacity=0.30,
                owns=False,
            )
        draw_subject(Pen(canvas, s.kind, x, y, size), s.kind, look, seed)


# Weather, over everything


def rain(at):
    rng = at.rng
    at.canvas.veil(np.full(at.canvas.image.shape[:2], 0.22), mix(rgb(104, 116, 140), at.glow * at.tint, 0.25))
    drops = []
    for _ in range(46):
        x, y, length = rng.uniform(-0.05, 1.1), rng.uniform(-0.1, 1.0), rng.uniform(0.06, 0.10)
        drops.append([(x, y), (x + 0.011, y), (x + 0.011 - length * 0.3, y + length), (x - length * 0.3, y + length)])
    at.canvas.paint("weather", drops, rgb(228, 238, 250), opacity=0.62, owns=False)


def falling_snow(at):
    rng = at.rng
    at.canvas.veil(np.full(at.canvas.image.shape[:2], 0.08), rgb(222, 230, 244) * mix(at.tint, SNOW, 0.4))
    flakes = [
        ellipse(rng.uniform(0, 1), rng.uniform(0, 1), rng.choice((0.008, 0.010, 0.013, 0.016)), n=10) for _ in range(48)
    ]
    at.canvas.paint("weather", flakes, SNOW, opacity=0.95, owns=False)


def mist_band(at, thin, thick, width):
    pale = mix(rgb(236, 240, 244) * mix(at.tint, SNOW, 0.25), at.glow, 0.25)
    band = fade((at.rows - np.float32(at.horizon + 0.02)) / np.float32(width)) * np.ones_like(at.columns)
    at.canvas.veil(thin + thick * band, pale)


def mist_behind(at):
    mist_band(at, 0.10, 0.66, 0.30)


def mist(at):
    mist_band(at, 0.06, 0.22, 0.26)


WEATHERS = {"rain": rain, "mist": mist, "falling snow": falling_snow}
