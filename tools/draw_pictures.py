"""The pictures of the README: `python -m tools.draw_pictures`.

docs/postcards.png: 64 scenes as the postcard world draws them. docs/drawn.png: what the bundled model draws from words.
"""
from pathlib import Path
from random import Random

from PIL import Image

from helpers.postcards import render, sample_scene

DOCS = Path(__file__).resolve().parent.parent / "docs"
GAP = 4


def sheet(images, columns):
    """PIL images of one size, side by side on white, `columns` a row."""
    side = images[0].width + GAP
    rows = -(-len(images) // columns)
    page = Image.new("RGB", (columns * side - GAP, rows * side - GAP), "white")
    for i, image in enumerate(images):
        page.paste(image, (i % columns * side, i // columns * side))
    return page


def world(count=64, columns=8, seed=11):
    rng = Random(seed)
    return sheet([render(sample_scene(rng)).image for _ in range(count)], columns)


def drawn(prompts, columns=4):
    from helpers import generate, load_components

    return sheet(generate(load_components("postcard"), prompts, seed=list(range(len(prompts)))), columns)


PROMPTS = ["a red boat on a lake in front of snowy mountains at sunset", "a blue house in a snow field at night with a full moon",
           "a yellow balloon over a meadow by day with green hills", "a purple tent in the desert in front of red cliffs at dawn",
           "a white lighthouse in a meadow on a cloudy day in the rain", "a green car on the left in a snow field in falling snow",
           "an orange tree on the right in a meadow at sunset with the sun", "a pink flag in the desert at night with a crescent moon"]


def main():
    DOCS.mkdir(exist_ok=True)
    world().save(DOCS / "postcards.png", optimize=True)
    drawn(PROMPTS).save(DOCS / "drawn.png", optimize=True)


if __name__ == "__main__":
    main()
