"""The README's contact sheet, docs/postcards.png: `python -m tools.draw_pictures`. 64 scenes as the postcard world draws them."""
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


def main():
    DOCS.mkdir(exist_ok=True)
    world().save(DOCS / "postcards.png", optimize=True)


if __name__ == "__main__":
    main()
