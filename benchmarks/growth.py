"""How seconds and memory of a picture grow with its steps, its width and how many are drawn at once.

    python -m benchmarks.growth [--model postcard] [--rounds 3] [--quick]

Cost = factor * size ** exponent is fitted to each curve: exponent 1 is "twice as many, twice as long". Memory
is what drawing adds at its peak, in a process of its own for every point; on a CPU only Linux tells it.
"""

import argparse
import json
import statistics

from PIL import Image

from benchmarks import draw, measure
from helpers import generate, load_components

STEPS = 4  # where they are not what grows
SIZES = {"steps": (5, 10, 20, 40), "width": (0.5, 1, 2, 4), "batch": (1, 2, 4, 8)}  # widths: times the model's own
QUICK = {"steps": (1, 2), "width": (0.5, 1), "batch": (1, 2)}


def drawing(c, what, size):
    """A function that draws with one dial set: "steps", "batch", or "width" in widths of the model's own."""
    steps = size if what == "steps" else STEPS
    prompts = [measure.PROMPT] * (size if what == "batch" else 1)
    settings = {}
    if what == "width":  # the picture given is painted over whole, it only says how large
        width = pixels(c, size)
        settings = {"image": Image.new("RGB", (width, width)), "strength": 1.0}
    return lambda: generate(c, prompts, steps=steps, seed=0, **settings)


def pixels(c, width):
    return int(c.image_size * width) // c.vae_scale_factor * c.vae_scale_factor


def memory(c, what, sizes):
    """By how many bytes each drawing, from small to large, raises the memory in use at its peak; [None, ...]."""
    drawing(c, "steps", 1)()  # what the first drawing leaves behind for good is not counted
    before = measure.in_use(c.device)
    return [measure.extra_memory(drawing(c, what, size), c.device, before) for size in sizes]


def power(sizes, costs):
    """What doubling the size costs, by the whole curve and by its last two points: (exponent, exponent)."""
    return measure.fit_power(sizes, costs)[0], measure.fit_power(sizes[-2:], costs[-2:])[0]


def main(arguments=None):
    parser = measure.options(__doc__, model="postcard", rounds=3)
    parser.add_argument("--memory-of", choices=SIZES, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    c, dials = load_components(options.model), QUICK if options.quick else SIZES
    if options.memory_of:
        print(json.dumps(memory(c, options.memory_of, dials[options.memory_of])))
        return
    times = {
        what: measure.take_turns(
            {size: drawing(c, what, size) for size in sizes}, 1 if options.quick else options.rounds
        )
        for what, sizes in dials.items()
    }
    extra = {
        what: measure.in_new_process(
            "benchmarks.growth", "--model", options.model, "--memory-of", what, *["--quick"] * options.quick
        )
        for what in dials
    }

    rows, curves, claims, found = [], {}, [], {}
    for what, sizes in dials.items():
        shown = [pixels(c, size) if what == "width" else size for size in sizes]
        seconds = [statistics.median(runs) for runs in times[what].values()]
        rows += [
            {"": f"{what} {size}", "time": measure.in_seconds(took), "memory at peak": measure.in_bytes(most)}
            for size, took, most in zip(shown, seconds, extra[what])
        ]
        curves[what] = [("seconds", shown, seconds)]
        if what != "steps" and min(one or 0 for one in extra[what]) > 0:  # steps take the same memory, all of them
            curves[what].append(("memory, MB", shown, [most / 1e6 for most in extra[what]]))
        for cost, shown, costs in curves[what]:
            found[what, cost], late = power(shown, costs)
            claims.append(
                measure.claim(
                    f"{cost.split(',')[0]} ∝ {what} to the power of",
                    f"{found[what, cost]:.2f} ({late:.2f} between {shown[-2]} and {shown[-1]})",
                )
            )
    twice = {what: 2 ** found[what, "seconds"] for what in dials}
    measure.report(
        "growth",
        "How time and memory grow with steps, width and batch",
        rows,
        claims,
        lambda machine: draw.growth(
            f"Twice the steps take {twice['steps']:.1f} times as long, twice the width {twice['width']:.1f} times, "
            f"twice the batch {twice['batch']:.1f} times",
            "Curves of seconds and memory against steps, width and batch, with fitted exponents",
            [
                ({"width": "width, pixels"}.get(what, what), cost, shown, costs)
                for what in dials
                for cost, shown, costs in curves[what]
            ],
            machine,
        ),
        {"model": options.model, "steps": f"{STEPS} where they do not grow", "rounds": options.rounds},
        "Medians. Memory is what drawing adds at its peak.",
        {"seconds": times, "memory": extra},
        None if options.quick else options.results,
    )


if __name__ == "__main__":
    main()
