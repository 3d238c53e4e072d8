"""The README's pictures: `python -m tools.draw_pictures`.

docs/postcards.png: 64 scenes as the postcard world draws them. docs/drawn.png: what the bundled model draws.
docs/drawing.webp: four of those on their way from noise, which moves.
"""

from pathlib import Path
from random import Random

from PIL import Image

from helpers import denoise, generate, load_components
from helpers.figures.sampling import prompt_grid
from helpers.files import write_atomic
from helpers.latents import decode_latents
from helpers.postcards import render, sample_scene

DOCS = Path(__file__).resolve().parent.parent / "docs"
GAP = 4
PROMPTS = [
    "a red boat on a lake below snowy mountains at sunset",
    "a white lighthouse on the right in a meadow on a cloudy day in the rain",
    "a yellow balloon over a meadow by day with green hills",
    "a purple tent in the desert in front of red cliffs at dawn",
    "a blue house in a snow field at night with a full moon in falling snow",
    "a pink tree on the left and a green car on the right in a meadow at sunset",
    "an orange flag in the desert by day with the sun",
    "a black boat on the left on a lake at night with a crescent moon in the mist",
]


def sheet(images, columns, gap=GAP):
    """PIL images of one size, side by side on white, `columns` a row, so many pixels apart."""
    side = images[0].width + gap
    rows = -(-len(images) // columns)
    page = Image.new("RGB", (columns * side - gap, rows * side - gap), "white")
    for i, image in enumerate(images):
        page.paste(image, (i % columns * side, i // columns * side))
    return page


def world(count=64, columns=8, seed=11):
    rng = Random(seed)
    return sheet([render(sample_scene(rng)).image for _ in range(count)], columns)


def drawn():
    """Not chosen: seeds 0 to 7."""
    pictures = generate(load_components("postcard"), PROMPTS, seed=0)
    return prompt_grid(pictures, PROMPTS, "Drawn by the model in this repository, seeds 0 to 7", columns=4)


def drawing(steps=25, size=192):
    """[PIL image]: the first four prompts, side by side, decoded after each step: x_t, noise and all."""
    c = load_components("postcard")
    frames = [decode_latents(c, step.latents) for step in denoise(c, PROMPTS[:4], steps=steps, seed=0)]  # 4 images each
    return [
        sheet([image.resize((size, size), Image.Resampling.LANCZOS) for image in frame], columns=4) for frame in frames
    ]


def write_moving(frames, file):
    """Write an animated WebP that runs for ever: a tenth of a second a step, and the last picture for three seconds."""
    first, *rest = frames
    first.save(
        file,
        "WEBP",
        save_all=True,
        append_images=rest,
        duration=[100] * len(rest) + [3000],
        loop=0,
        quality=50,
        method=6,
    )


def main():
    DOCS.mkdir(exist_ok=True)
    write_atomic(DOCS / "drawn.png", lambda file: file.write_bytes(drawn().png))
    write_atomic(DOCS / "drawing.webp", lambda file: write_moving(drawing(), file))
    write_atomic(DOCS / "postcards.png", lambda file: world().save(file, "PNG", optimize=True))


if __name__ == "__main__":
    main()
