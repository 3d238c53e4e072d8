"""What each cell of the lessons costs with Stable Diffusion 1.5: docs/sd15.md. `python -m benchmarks.sd15_lessons`

    python -m benchmarks.sd15_lessons 03 04     runs only these lessons anew; the others' calls are those kept

Counted: every call of a network that a cell makes, while the notebook runs on a tiny random model of that layout. Counted,
on tensors without numbers ("meta"): the work of such a call at full size, and the most bytes that live at once in it.
Arithmetic: the rest. No full-size network computes anything here.
"""

import argparse
import ast
import json
import os
import tempfile
import weakref
from pathlib import Path

import nbformat
import torch
import torch.nn.functional as F
from nbclient import NotebookClient
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTokenizer

from benchmarks import measure
from benchmarks.sd15 import SD15, networks
from helpers.attention.record import record_bytes
from helpers.components import MODELS
from helpers.lora import ATTENTION, add_lora
from helpers.lora.layers import layers_of

RESULT, PAGE = measure.ROOT / "benchmarks" / "results" / "sd15_lessons.json", measure.ROOT / "docs" / "sd15.md"
T4 = 65e12 / 6  # operations a second: a sixth of what the card's data sheet promises in float16, as others report
PYTHON = 0.9e9  # bytes of a kernel in which the libraries are loaded, as benchmarks/results/startup.md has it
STEPS_KEPT = {
    "03": (25, 3)
}  # whose maps lesson 03 keeps: of the first picture, a mean of the heads; of a postcard, all heads
KEPT = {
    "05": 1.6e9
}  # bytes: two more text encoders, one of them in float32, a table of words, the attention's weights four times
BESIDE = 0.9e9 + 2 * 2.2e9  # bytes of RAM where there is a card: Python, and the weights twice while they are fetched
COPIES = {
    ("05", "one_file, swapped = "): 2
}  # U-Nets that a cell with this text makes, with the attention's weights of their own


# The calls of a notebook


def run(file, folder):
    """The calls that each code cell of a notebook makes on the model in `folder`: as `calls.Watch` writes them."""
    notebook = nbformat.read(file, as_version=4)
    with tempfile.TemporaryDirectory() as drawer:
        kept = Path(drawer) / "calls.json"
        put_in = f"from benchmarks.calls import watch\nwatch({str(kept)!r})"
        notebook.cells.insert(2, nbformat.v4.new_code_cell(put_in))
        os.environ["COURSE_MODEL"] = str(folder)
        NotebookClient(
            notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": str(file.parent)}}
        ).execute()
        found = json.loads(kept.read_text())
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"][2:]  # after setup and the one put in
    return [
        {"id": cell.id, "source": cell.source, "calls": calls, "held": held}
        for cell, calls, held in zip(cells, found["calls"], found["held"], strict=True)
    ]


# The price of a call


class Alive(TorchDispatchMode):
    """The most bytes of new tensors that live at once, each storage counted once. weights: those that were there."""

    def __init__(self, weights):
        super().__init__()
        self.there, self.living, self.now, self.most = {one.untyped_storage()._cdata for one in weights}, set(), 0, 0

    def __torch_dispatch__(self, function, types, given=(), options=None):
        result = function(*given, **(options or {}))
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if torch.is_tensor(tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self.there and storage._cdata not in self.living:
                    self.living.add(storage._cdata)
                    self.now += storage.nbytes()
                    weakref.finalize(storage, self.gone, storage._cdata, storage.nbytes())
        self.most = max(self.most, self.now)
        return result

    def gone(self, place, size):
        self.living.discard(place)
        self.now -= size


class Fused(torch.autograd.Function):
    """Attention as a card's fused kernel has it: no table of places by places is ever made."""

    @staticmethod
    def forward(context, query, key, value):
        context.save_for_backward(query, key, value)
        return torch.empty_like(query)

    @staticmethod
    def backward(context, change):
        return tuple(torch.empty_like(one) for one in context.saved_tensors)


class FusedAttention(TorchFunctionMode):
    """Puts `Fused` in the place of torch's attention and counts its work: two products of places by words."""

    work = 0

    def __torch_function__(self, function, types, given=(), options=None):
        if function is F.scaled_dot_product_attention:
            query, key, value = given[:3]
            products = 4 * query.numel() * key.shape[-2]
            learns = torch.is_grad_enabled() and any(one.requires_grad for one in given[:3])
            self.work += products * (3.5 if learns else 1)  # backward: the scores again, and four products
            return Fused.apply(query, key, value)
        return function(*given, **(options or {}))


def priced(act, weights):
    """(operations, the most bytes alive beside the weights) of what `act` does with tensors on "meta"."""
    with FusedAttention() as fused, FlopCounterMode(display=False) as counter, Alive(weights) as alive:
        act()
    return counter.get_total_flops() + fused.work, alive.most


class Prices:
    """The price of every kind of call at Stable Diffusion 1.5's size in float16, and of its weights."""

    def __init__(self):
        tokenizer = CLIPTokenizer.from_pretrained(MODELS["postcard"] / "tokenizer", local_files_only=True)
        self.parts = {
            name: part.half().eval().requires_grad_(False) for name, part in networks(SD15, "meta", tokenizer).items()
        }
        self.all = [one for part in self.parts.values() for one in part.parameters()]
        self.weights = {name: sum(one.numel() * 2 for one in part.parameters()) for name, part in self.parts.items()}
        self.attention = sum(2 * layer.weight.numel() for layer in layers_of(self.parts["unet"], ATTENTION).values())
        self.maps = [record_bytes(self.parts["unet"], 64, 64, heads=heads) for heads in (False, True)]
        self.known = {}

    def call(self, part, rows, height, width, learns):
        """(operations, bytes) of a call; measured for one and two rows, and a straight line through both."""
        key = part, height, width, learns
        if key not in self.known:
            one, two = (priced(lambda n=n: self.act(part, n, height, width, learns), self.all) for n in (1, 2))
            self.known[key] = one, two
        one, two = self.known[key]
        return tuple(a + (rows - 1) * (b - a) for a, b in zip(one, two))

    def act(self, part, rows, height, width, learns):
        def empty(*shape):
            return torch.empty(shape, dtype=torch.float16, device="meta")

        if part == "text":
            return self.parts["text_encoder"](torch.zeros(rows, 77, dtype=torch.long, device="meta"))
        if part == "encoder":
            return self.parts["vae"].encoder(empty(rows, 3, *(round(512 * side / 8) * 8 for side in (height, width))))
        if part == "decoder":
            return self.parts["vae"].decoder(empty(rows, 4, *(round(64 * side) for side in (height, width))))
        latents, words = empty(rows, 4, *(round(64 * side) for side in (height, width))), empty(rows, 77, 768)
        unet, t = self.parts["unet"], torch.zeros(rows, dtype=torch.long, device="meta")
        if not learns:
            with torch.no_grad():
                return unet(latents, t, words)
        lora = add_lora(unet, 8, targets=ATTENTION)
        try:
            unet(latents, t, words.requires_grad_()).sample.sum().backward()
        finally:
            lora.remove()


# The table


def rows_of(lessons, prices):
    """A row for each cell that asks a network for something: {"lesson", "cell", "does", "card", "ram", "work", "seconds"}."""
    whole, rows = sum(prices.weights.values()), []
    for number, cells in sorted(lessons.items()):
        for place, cell in enumerate(cells, 2):  # In [2], In [3], ...: the setup cell, In [1], is not among them
            if not cell["calls"]:
                continue
            maps = sum(steps * size for steps, size in zip(STEPS_KEPT.get(number, (0, 0)), prices.maps))
            kept, work, most = maps + KEPT.get(number, 0), 0, 0
            for part, rows_, height, width, learns, count in cell["calls"]:
                one = prices.call(part, rows_, height, width, learns)
                waiting = prices.call(part, cell["held"], height, width, learns)[1] if learns and part == "unet" else 0
                work, most = work + count * one[0], max(most, one[1], waiting)
            copies = sum(
                count for (lesson, text), count in COPIES.items() if lesson == number and text in cell["source"]
            )
            copies = copies * prices.attention
            learns = any(call[4] for call in cell["calls"])
            card, ram = whole + kept + copies + most, PYTHON + 2 * (whole + kept + copies + most)
            rows.append(
                {
                    "lesson": number,
                    "id": cell["id"],
                    "cell": place,
                    "does": first_line(cell["source"]),
                    "learns": learns,
                    "card": card,
                    "ram": ram,
                    "work": work,
                    "seconds": work / T4,
                }
            )
    return rows


def first_line(source):
    """The first statement of a cell that is no import and no definition, or its last one, on one line and cut to a table's width."""
    statements = ast.parse(source).body
    skipped = ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef
    does = next((one for one in statements if not isinstance(one, skipped)), statements[-1])
    text = "\n".join(line.split("  #")[0] for line in ast.get_source_segment(source, does).splitlines())
    return " ".join(text.split())[:44].strip()


def page(rows, prices):
    """docs/sd15.md."""
    lessons = {
        number: [row for row in rows if row["lesson"] == number] for number in sorted({row["lesson"] for row in rows})
    }
    totals = measure.table(
        [
            {
                "lesson": number,
                "minutes of the networks on a T4": f"{sum(row['seconds'] for row in some) / 60:.0f}",
                "most on the card, GB": f"{max(row['card'] for row in some) / 1e9:.1f}",
            }
            for number, some in lessons.items()
        ]
    )
    table = measure.table(
        [
            {
                "lesson": row["lesson"],
                "code cell": row["cell"],
                "does (its first line after imports)": f"`{row['does']}`".replace("|", "\\|"),
                "card, GB": f"{row['card'] / 1e9:.1f}",
                "RAM without a card, GB": f"{row['ram'] / 1e9:.1f}",
                "TFLOP": f"{row['work'] / 1e12:.1f}",
                "seconds on a T4": f"{row['seconds']:.0f}",
            }
            for row in rows
        ]
    )
    weights = ", ".join(f"{name.replace('_', ' ')} {size / 1e9:.2f}" for name, size in prices.weights.items())
    return HEAD.format(
        totals=totals,
        table=table,
        weights=weights,
        mean=prices.maps[0] / 1e6,
        maps=prices.maps[1] / 1e6,
        calls="65 / 6",
        beside=BESIDE / 1e9,
        kept=KEPT["05"] / 1e9,
    )


HEAD = """# The lessons with Stable Diffusion 1.5

What `MODEL = "sd15"` costs, cell by cell. Written by `python -m benchmarks.sd15_lessons`.

{totals}

**Counted**: the calls that a cell makes of the model's networks, while the whole notebook runs on a tiny random model of the
same layout; and, for each kind of call at full size in float16, its operations and the most bytes of tensors that are alive
at once, on tensors that have shapes and no numbers.

**Arithmetic**: the memory of a card is the weights ({weights} GB), what the lesson keeps (lesson 03: maps,
{mean:.0f} MB a step, with all heads {maps:.0f} MB; lesson 05: {kept:.1f} GB), and the largest call of the cell. A library's workspace and
fragmented memory come on top. Beside a card the notebook takes about {beside:.1f} GB of RAM.
RAM without a card is the same in float32, twice as large, plus 0.9 GB of Python; while loading, 6.5 GB (measured once, with
random weights of this size). Where this RAM passes 10 GB a cell trains: skip it there.
Seconds are operations at {calls} TFLOP/s, a sixth of the data sheet's figure, which is what others report a T4 to reach in this
work. They leave out what is no network: figures, postcards drawn at 512 x 512, singular values; count half a minute to two minutes a
lesson.

**Not measured**: a T4, and the real weights.

{table}
"""


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sd15_lessons", description=__doc__.splitlines()[0])
    parser.add_argument("lessons", nargs="*", help="01 to 05: run these anew; none: all")
    parser.add_argument("--page", action="store_true", help="run nothing, only price what was counted")
    options = parser.parse_args(arguments)
    from tools.random_models import build_model  # here: it brings the libraries

    kept = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.is_file() else {"lessons": {}}
    with tempfile.TemporaryDirectory() as drawer:
        folder = None if options.page else build_model(Path(drawer) / "sd15", "sd15", trained=True)
        for file in [] if options.page else sorted((measure.ROOT / "notebooks").glob("*.ipynb")):
            if not options.lessons or file.name[:2] in options.lessons:
                kept["lessons"][file.name[:2]] = run(file, folder)
                RESULT.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    prices = Prices()
    kept["rows"] = rows_of(kept["lessons"], prices)
    RESULT.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    PAGE.write_text(page(kept["rows"], prices), encoding="utf-8")
    card, ram = (max(row[where] for row in kept["rows"]) / 1e9 for where in ("card", "ram"))
    print(
        f"{PAGE.relative_to(measure.ROOT)}: the largest cell takes {card:.1f} GB of a card, {ram:.1f} GB of RAM without one"
    )


if __name__ == "__main__":
    main()
