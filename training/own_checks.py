"""What the drawings of a world of one's own must do, and a sheet to look at before anything is trained."""

from random import Random

import numpy as np

from helpers.files import make_folder
from helpers.postcards.canvas import Canvas
from helpers.postcards.own import NEAR, nearest
from helpers.postcards.render import render
from helpers.postcards.scene import sample_scene
from helpers.postcards.subjects import PAINTS, Look, Pen
from training.common import save_sheet

BOX = (-0.65, -0.06, 0.65, 1.52)  # what a thing may fill, in units of its size: left, foot, right, top
SMALLEST = 0.12  # of the square of its size, as much as a thin thing needs to be seen at 128 pixels
COLOURED = 0.25  # of a thing's pixels must change with its colour
SIZE, SCALE = 192, 0.3  # of the canvas to try on, and of the thing on it


def check(world, file):
    """Draw every new kind alone. ValueError, in one sentence, for a drawing that stops, draws nothing or too little, leaves the
    box, is another each time, or does not show its colour; and for a colour that looks like one there is."""
    for word, kind in world.kinds.items():
        red, again, blue = (drawn(file, word, kind, colour) for colour in ("red", "red", "blue"))
        of = f"{file}: {word}"
        if not red[1].any():
            raise ValueError(
                f"{of} draws nothing: fill polygons, pen.fill(look.base, [(x, y), ...]), near (0, 0) and about 1 tall"
            )
        left, foot, right, top = reach(red[1])
        if (
            any(low < bound - 0.01 for low, bound in ((left, BOX[0]), (foot, BOX[1])))
            or right > BOX[2] + 0.01
            or top > BOX[3] + 0.01
        ):
            raise ValueError(
                f"{of} leaves its box: it reaches from x {left:.2f} to {right:.2f} and from y {foot:.2f} to {top:.2f}, and may "
                f"from {BOX[0]} to {BOX[2]} and from {BOX[1]} to {BOX[3]}"
            )
        if red[1].sum() < SMALLEST * (SIZE * SCALE) ** 2:
            raise ValueError(
                f"{of} is too small to be seen in a postcard: it fills {red[1].sum() / (SIZE * SCALE) ** 2:.0%} of a square of "
                f"its size, and should {SMALLEST:.0%}; a thing about 1 tall and 1 wide is right"
            )
        if not np.array_equal(red[0], again[0]):
            raise ValueError(
                f"{of} is drawn differently each time, so its reflection would not fit: take chance from r, the third thing given to it"
            )
        coloured = (np.abs(red[0] - blue[0]).max(-1) > 0.1)[red[1]].mean()
        if coloured < COLOURED:
            raise ValueError(
                f"{of} hardly shows its colour: {coloured:.0%} of it change from red to blue, and {COLOURED:.0%} should; fill more "
                "with look.base, look.shade and look.light"
            )
    for word, paint in world.colours.items():
        other, away = nearest(paint[0], {name: tones for name, tones in PAINTS.items() if name != word})
        if away * 255 < NEAR:
            raise ValueError(
                f'{file}: "{word}" looks like {other}, {away * 255:.0f} of 255 from it: choose a base at least {NEAR} away'
            )


def drawn(file, word, kind, colour):
    """(picture float32 (SIZE, SIZE, 3), bool (SIZE, SIZE): where the thing is), the thing's foot in the middle of the canvas, on grey."""
    canvas = Canvas(SIZE)
    canvas.paint("ground", [(-0.1, -0.1), (1.1, -0.1), (1.1, 1.1), (-0.1, 1.1)], np.float32([0.5, 0.5, 0.5]))
    try:
        kind(Pen(canvas, word, 0.5, 0.6, SCALE), Look.under(colour, np.ones(3, np.float32), False), Random(0))
        picture = canvas.image.copy()
    except Exception as error:
        raise ValueError(f"{file}: {word} stops while it draws, {type(error).__name__}: {error}") from error
    return picture, canvas.owners.get(word, np.zeros((SIZE, SIZE))) > 0.5


def reach(mask):
    """How far a mask of `drawn` reaches, in units of the thing's size: (left, foot, right, top)."""
    rows, columns = np.nonzero(mask)
    return tuple(
        (
            (
                np.array([columns.min(), -(rows.max() + 1), columns.max() + 1, -rows.min()]) / SIZE
                + (-0.5, 0.6, -0.5, 0.6)
            )
            / SCALE
        ).tolist()
    )


def sheet(world, path, n=24):
    """Save the first n scenes by lot that show something new, eight a row."""
    rng, images = Random(0), []
    while len(images) < n:
        scene = sample_scene(rng)
        if world.in_scene(scene):
            images.append(np.asarray(render(scene).image))
    make_folder(path.parent)
    save_sheet(path, images, columns=8)
