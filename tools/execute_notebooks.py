"""Execute notebooks and save them with their outputs, so that the next execution gives a small diff.

    python -m tools.execute_notebooks notebooks/*.ipynb

A notebook that fails is left as it was; the others are still done. `make notebooks` calls this file.
"""

import base64
import hashlib
import io
import json
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal, DeadKernelError
from PIL import Image, ImageChops

from tools.setup_cell import save_text

MAX_BYTES = 1_500_000  # a notebook on disk, pictures included
TONES = 32**3  # colours: 32 tones each of red, green and blue, four of 256 away from the right one at most
CELL_SECONDS = 600
# All that a committed notebook carries. Colab would read "accelerator" and "gpuType" here and take a T4 out of the
# reader's quota for all that the kernel lives. No lesson asks: the bundled model needs a CPU only, in all five lessons,
# and is too small to keep a card busy; who wants Stable Diffusion 1.5 chooses a T4 (the first cell says how).
METADATA = {
    "colab": {"provenance": []},
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
CELL_METADATA = {"tags", "jupyter", "cellView"}  # what an author sets; the rest is left behind by front-ends
WIDGET = "application/vnd.jupyter.widget-view+json"
PANEL = "Interactive panel: run the notebook to use it."  # shown where there is no kernel; see sanitize.cfg


def smaller_png(png: bytes, colours: int = 0) -> bytes:
    """The same picture in fewer bytes, or the bytes given if that fails.

    An alpha channel that hides nothing is dropped, 256 colours or fewer become a palette; every pixel stays.
    colours: at most so many, even if there are more (`in_fewer`); 0: all.
    """
    image = Image.open(io.BytesIO(png))
    image.load()
    if image.mode == "RGBA" and image.getextrema()[3][0] == 255:
        image = image.convert("RGB")
    if image.mode == "P" and colours:
        image = image.convert("RGB")
    candidates = [image]
    if image.mode == "RGB" and (colours or image.getcolors(256)):
        fewer = in_fewer(image, colours) if colours else image.quantize(256, method=Image.Quantize.MEDIANCUT)
        same = ImageChops.difference(fewer.convert("RGB"), image).getbbox() is None
        candidates += [fewer] if colours or same else []
    sizes = [png]
    for candidate in candidates:
        buffer = io.BytesIO()
        candidate.save(buffer, "PNG", optimize=True)
        sizes.append(buffer.getvalue())
    return min(sizes, key=len)


def in_fewer(image: Image.Image, colours: int) -> Image.Image:
    """An RGB picture in TONES, or in a palette of so many colours.

    The palette covers the range of the colours; median cut, which counts pixels, makes a red tent among much sky orange.
    """
    if colours == TONES:
        return image.point([round(round(value / 255 * 31) * 255 / 31) for value in range(256)] * 3)
    return image.quantize(colours, method=Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)


def harm(png: bytes, colours: int) -> int:
    """By how much, 0..255, some spot of 8 x 8 pixels changes its colour when the picture gets so few colours.

    Less what its pixels differ among themselves: in noise nobody sees it, in a sky everybody.
    """
    image = Image.open(io.BytesIO(png)).convert("RGB")
    image = image.crop((0, 0, max(image.width // 8 * 8, 1), max(image.height // 8 * 8, 1)))
    spots = image.reduce(8)
    shift = ImageChops.difference(spots, in_fewer(image, colours).convert("RGB").reduce(8))
    detail = ImageChops.difference(image, spots.resize(image.size, Image.Resampling.NEAREST)).reduce(8)
    return max(high for _, high in ImageChops.subtract(shift, detail).getextrema())


def shrink_pictures(notebook: nbformat.NotebookNode, max_bytes: int = MAX_BYTES) -> None:
    """Store the PNG outputs in fewer bytes: without loss; then, while too big, the largest in 32 tones of red, green and blue,
    which nobody sees; then in 256 colours and in 128, those first that it harms least."""
    pictures = [
        output["data"]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]

    def store(data, colours):
        data["image/png"] = base64.b64encode(smaller_png(base64.b64decode(data["image/png"]), colours)).decode()

    def in_order(colours):
        if colours == TONES:
            return sorted(pictures, key=lambda data: -len(data["image/png"]))
        return sorted(pictures, key=lambda data: harm(base64.b64decode(data["image/png"]), colours))

    for data in pictures:
        store(data, 0)
    for colours in (TONES, 256, 128):
        before = []
        for data in in_order(colours) if too_big(notebook, max_bytes) else []:
            if too_big(notebook, max_bytes):
                before.append((data, data["image/png"]))
                store(data, colours)
        for data, png in reversed(before):  # where the last one has made room for more than itself
            few, data["image/png"] = data["image/png"], png
            if too_big(notebook, max_bytes):
                data["image/png"] = few


def too_big(notebook: nbformat.NotebookNode, max_bytes: int) -> bool:
    return len(as_text(notebook).encode()) > max_bytes


def tidy(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Drop what changes by itself, in place: front-end metadata, widget views, needless bytes of pictures."""
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({k: v for k, v in cell.metadata.items() if k in CELL_METADATA})
        for output in cell.get("outputs", []):
            if WIDGET in output.get("data", {}):
                text = output["data"].get("text/plain", "")
                kept = {"image/png": output["data"]["image/png"]} if "image/png" in output["data"] else {}
                output["data"] = nbformat.from_dict({"text/plain": text if text.startswith(PANEL) else PANEL} | kept)
    shrink_pictures(notebook)
    return notebook


def read(file: Path) -> nbformat.NotebookNode:
    """The notebook, with an id for every cell that has none: from its text, so the same every time."""
    notebook = json.loads(file.read_text(encoding="utf-8"))
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list) or not all(isinstance(cell, dict) and "source" in cell for cell in cells):
        raise ValueError("It is no notebook: it holds no list of cells with their source.")
    seen = set()
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        while cell.get("id") is None or cell["id"] in seen:
            cell["id"] = hashlib.sha256(source.encode()).hexdigest()[:8]
            source += "\n"
        seen.add(cell["id"])
    notebook["nbformat"], notebook["nbformat_minor"] = 4, 5
    return nbformat.reads(json.dumps(notebook), as_version=4)


def as_text(notebook: nbformat.NotebookNode) -> str:
    return nbformat.writes(notebook) + "\n"


def execute(file: Path) -> None:
    """Run one notebook top to bottom in its own folder and save it. Raises, file untouched, if it fails."""
    notebook = read(file)
    client = NotebookClient(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        store_widget_state=False,
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(file.parent.resolve())}},
    )
    with TemporaryDirectory() as folder:  # what the lesson makes for its reader is as new as on a first visit
        client.execute(env=os.environ | {"MY_COURSE": str(Path(folder) / "my_course")})
    text = as_text(tidy(notebook))
    if len(text.encode()) > MAX_BYTES:
        raise ValueError(
            f"It holds {len(text.encode()) / 1e6:.1f} MB even with 128 colours, and may "
            f"hold {MAX_BYTES / 1e6}: draw fewer or smaller figures."
        )
    save_text(file, text)


def main(names: list[str]) -> int:
    if not names:
        print("There is no notebook to execute.")
    failed = 0
    for file in map(Path, names):
        try:
            execute(file)
            print(f"{file}: {file.stat().st_size / 1e6:.2f} MB")
        except (CellControlSignal, DeadKernelError, ValueError, RecursionError, OSError) as problem:
            print(f"{file}: not saved. {problem}", file=sys.stderr)
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
