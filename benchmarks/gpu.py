"""Stable Diffusion 1.5's size on a GPU: how fast, how near to what the card can do, how much memory.

    python -m benchmarks.gpu [--steps 50] [--rounds 5]
    python -m benchmarks.gpu --device cpu --tiny --steps 3 --rounds 1     tries this script, in seconds

The weights are random, in Stable Diffusion 1.5's published shape: speed and memory do not depend on them, and
nothing is downloaded. One 512x512 picture with DDIM and guidance is drawn by StableDiffusionPipeline, by
`generate`, and by `generate` with another U-Net: not channels-last, behind torch.compile, as a CUDA graph, as
both. Each must give the latents of `generate` for two prompts, up to TOLERANCE, before it is timed. It takes
some GB of GPU memory.

The limit that arithmetic sets: the picture's floating point operations, counted by torch.utils.flop_counter,
at the rate of a large matrix product in the same number format, measured in the same run.

Without a GPU that torch can use it says so and ends; what was measured elsewhere stays.
"""

import statistics
import time

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import draw, measure
from benchmarks.measure import PROMPT
from benchmarks.sd15 import SD15, TINY, build, ways_of
from helpers import denoise, generate, record_attention
from helpers.figures import style

OTHER_PROMPT = "two white tents below snowy mountains at night"
TOLERANCE = {torch.float16: 0.02, torch.float32: 1e-4}  # of the latents' length: rounding adds up


def main(arguments=None):
    parser = measure.options(__doc__, device="cuda", steps=50, rounds=5)
    parser.add_argument("--tiny", action="store_true", help="a tiny model, to try the script")
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        print("Stable Diffusion 1.5's size is not measured: there is no GPU here that torch can use.")
        return
    device, on_gpu = torch.device(options.device), options.device.startswith("cuda")
    steps, rounds = (3, 1) if options.quick else (options.steps, options.rounds)
    c = build(TINY if options.tiny else SD15, device, torch.float16 if on_gpu else torch.float32)
    memory = {
        name: peak_memory(c, steps, recorder)
        for name, recorder in (("without recording", None), ("recording attention", record_attention))
    }
    a_step, a_picture = operations(c, steps)
    limit = a_picture / matmul_rate(device, c.dtype)

    ways = ways_of(c, steps)
    moved = check(ways, c.dtype)
    pictures = measure.take_turns({name: way.picture for name, way in ways.items()}, rounds)
    loops = measure.take_turns({name: way.latents for name, way in ways.items()}, rounds)
    rows = [
        {
            "way": name,
            "s a picture": statistics.median(pictures[name]),
            "ms a step": 1000 * statistics.median(loops[name]) / steps,
            "of the limit": f"{limit / statistics.median(pictures[name]):.0%}",
            "latents moved by": moved[name],
        }
        for name in ways
    ]
    keep = options.results if on_gpu and not (options.quick or options.tiny) else None
    title = (
        f"Stable Diffusion 1.5's size: a {c.image_size}x{c.image_size} picture in {steps} steps takes "
        f"{measure.in_seconds(min(row['s a picture'] for row in rows))}"
    )
    measure.report(
        "gpu",
        title,
        rows,
        claims(rows, limit, memory),
        lambda machine: figure(title, rows, limit, machine),
        {"steps": steps, "rounds": rounds, "number format": str(c.dtype).removeprefix("torch.")},
        f"Random weights. A picture is {a_picture / 1e12:.3g} TFLOP, a step with guidance "
        f"{a_step / 1e12:.3g}; large matrices are multiplied at {a_picture / limit / 1e12:.3g} TFLOP/s. A step "
        "is the loop with the prompt's encoding, without decoding, by the number of steps. Moved by: the "
        f"larger of two prompts, relative to the latents; at most {TOLERANCE[c.dtype]:g} is let through.",
        {
            "seconds a picture": pictures,
            "seconds a loop": loops,
            "FLOP a picture": a_picture,
            "FLOP a step": a_step,
            "bytes at peak": memory,
        },
        keep=keep,
    )


# Checking


def check(ways, dtype):
    """{name: how far the latents are from those of the first way}, relative to these, the larger of two
    prompts.

    The second prompt and seed come after the first: what a way would wrongly remember shows. ArithmeticError
    where it is more than TOLERANCE, or where the second prompt alone would not show.
    """
    asked = ((PROMPT, 0), (OTHER_PROMPT, 1))
    first = next(iter(ways.values()))
    plain = [first.latents(*one) for one in asked]
    if distance(first.latents(PROMPT, 1), plain[1]) < 2 * TOLERANCE[dtype]:
        raise ArithmeticError("The latents hardly depend on the prompt, so that nothing can be compared.")
    moved = {
        name: max(distance(way.latents(*one), latents) for one, latents in zip(asked, plain))
        for name, way in ways.items()
    }
    wrong = [f"{name} by {far:.2g}" for name, far in moved.items() if not far <= TOLERANCE[dtype]]
    if wrong:
        raise ArithmeticError(f"Latents moved by more than {TOLERANCE[dtype]:g}: {', '.join(wrong)}.")
    return moved


def distance(a, b):
    """|a - b| / |b|, a number."""
    return ((a - b).norm() / b.norm()).item()


# Limits


def operations(c, steps):
    """Floating point operations of a step, and of a picture in so many steps; attention written out, to be
    counted."""

    def counted(n):
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            generate(c, PROMPT, steps=n, seed=0)
        return counter.get_total_flops()

    one, two = counted(1), counted(2)
    return two - one, one + (steps - 1) * (two - one)


def matmul_rate(device, dtype):
    """Operations a second of a large matrix product, the best of ten: what the device can do at most,
    nearly."""
    n = 8192 if device.type == "cuda" else 512
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))

    def seconds(repeats):
        start = time.perf_counter()
        for _ in range(repeats):
            product = a @ b
        product[0, 0].item()  # waits for the GPU
        return (time.perf_counter() - start) / repeats

    seconds(3)
    return 2 * n**3 / min(seconds(10) for _ in range(10))


def peak_memory(c, steps, recorder):
    """Bytes of GPU memory at the peak of a picture's loop, weights included; None on the CPU."""
    if c.device.type != "cuda":
        return None

    def loop():
        for _ in denoise(c, PROMPT, steps=steps, seed=0):
            pass

    def recorded():
        with recorder(c.unet):
            loop()

    action = recorded if recorder else loop
    action()  # libraries keep working memory from their first use on
    return torch.cuda.memory_allocated() + measure.extra_memory(action, c.device)


# What is reported


def claims(rows, limit, memory):
    best = min(rows, key=lambda row: row["s a picture"])
    asked = ("generate", "StableDiffusionPipeline", best["way"])
    said = [
        measure.claim(
            f"SD 1.5's size: {row['way']}, a picture",
            f"{measure.in_seconds(row['s a picture'])}, {row['ms a step']:.3g} ms a step, "
            f"{row['of the limit']} of the limit",
        )
        for row in rows
        if row["way"] in asked
    ]
    with_, without = memory["recording attention"], memory["without recording"]
    return [
        *said,
        measure.claim("limit that arithmetic sets for a picture", measure.in_seconds(limit)),
        measure.claim(
            "GPU memory at the peak", f"{measure.in_bytes(without)}; recording attention {measure.in_bytes(with_)}"
        ),
    ]


def figure(title, rows, limit, machine):
    """A bar for each way, and one for what arithmetic alone would take."""
    arithmetic = "arithmetic alone"
    seconds = {row["way"]: row["s a picture"] for row in rows}
    words = {
        row["way"]: f"{measure.in_seconds(row['s a picture'])}, {row['of the limit']} of the limit" for row in rows
    }
    return draw.bars(
        title,
        title,
        seconds | {arithmetic: limit},
        words | {arithmetic: measure.in_seconds(limit)},
        machine,
        {arithmetic: style.NOISE},
    )


if __name__ == "__main__":
    main()
