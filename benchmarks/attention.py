"""What recording attention costs in time and memory, against not recording and against a DAAM-style recorder.

    python benchmarks/attention.py [--model PATH] [--steps 10] [--rounds 7]

In every round all three draw the same picture, one after another (one prompt with guidance: batches of
two); the ratio of a round compares neighbours in time, and medians over the rounds are printed. Memory is
measured in a process of its own for each. The DAAM-style recorder follows the method of Tang et al. 2022: the
attention of every layer is formed in full, and every token and head is cut out and added up by a Python loop.
"""

import argparse
import platform
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import contextmanager, nullcontext
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from helpers import denoise, load_components, record_attention  # noqa: E402
from helpers.runtime import threads  # noqa: E402

import diffusers  # noqa: E402
import torch  # noqa: E402

PROMPT = "a red boat on a lake below snowy mountains at sunset"


class LoopingProcessor:
    """Unfused cross-attention that adds up the map of every token of every head, one by one."""

    def __init__(self, name, maps):
        self.name, self.maps = name, maps

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None):
        query = attn.head_to_batch_dim(attn.to_q(hidden_states))  # (B, n, C) -> (B * heads, n, C / heads)
        key = attn.head_to_batch_dim(attn.to_k(encoder_hidden_states))
        value = attn.head_to_batch_dim(attn.to_v(encoder_hidden_states))
        probabilities = attn.get_attention_scores(query, key, attention_mask)  # (B * heads, n, T)
        conditional = probabilities[len(probabilities) // 2:].unflatten(0, (-1, attn.heads))
        for head in range(attn.heads):
            for token in range(conditional.shape[-1]):
                self.maps[self.name, head, token] += conditional[:, head, :, token]
        out = attn.batch_to_head_dim(torch.bmm(probabilities, value))
        return attn.to_out[1](attn.to_out[0](out))


@contextmanager
def loop_over_heads_and_tokens(unet):
    before, maps = unet.attn_processors, defaultdict(float)
    unet.set_attn_processor({name: LoopingProcessor(name, maps) if name.endswith("attn2.processor") else one
                             for name, one in before.items()})
    try:
        yield maps
    finally:
        unet.set_attn_processor(dict(before))


RECORDERS = {"not recording": nullcontext, "recording": record_attention,
             "DAAM-style": loop_over_heads_and_tokens}


def draw(c, recorder, steps):
    """The latents after some steps, with one of RECORDERS at work."""
    with RECORDERS[recorder](c.unet):
        for step in denoise(c, PROMPT, steps=steps, seed=0):
            pass
        if c.device.type == "cuda":
            torch.cuda.synchronize()
    return step.latents


def seconds(c, recorder, steps):
    start = time.perf_counter()
    draw(c, recorder, steps)
    return time.perf_counter() - start


def extra_memory(c, recorder, steps):
    """By how much a drawing raises the memory in use at its peak, in bytes; None where that is not known.

    To be asked once a process: memory that is free again, but not given back, would hide what comes after.
    """
    draw(c, recorder, 2)
    if c.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        draw(c, recorder, steps)
        return torch.cuda.max_memory_allocated() - before
    if not Path("/proc/self/clear_refs").exists():
        return None
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak counts from here, `man 5 proc`
    before = resident("VmRSS")
    draw(c, recorder, steps)
    return resident("VmHWM") - before


def resident(name):
    """A figure of this process's memory on Linux, in bytes: VmRSS is in use now, VmHWM was at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))


def machine(c):
    if c.device.type == "cuda":
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{(names or [platform.processor() or platform.machine()])[0]}, {threads()} threads"


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="postcard", help="a name that load_components knows, or a folder")
    parser.add_argument("--steps", type=int, default=10, help="steps of one picture")
    parser.add_argument("--rounds", type=int, default=7, help="how often each draws it")
    parser.add_argument("--memory-of", choices=RECORDERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    c = load_components(options.model)
    if options.memory_of:
        print(extra_memory(c, options.memory_of, options.steps))
        return

    print(f"Cross-attention of {options.model!r}: {options.steps} steps with guidance, "
          f"{options.rounds} rounds")
    print(f"{machine(c)}; Python {platform.python_version()}, torch {torch.__version__}, "
          f"diffusers {diffusers.__version__}")
    plain = draw(c, "not recording", options.steps)
    for recorder in RECORDERS:
        moved = (draw(c, recorder, options.steps) - plain).abs().max().item()
        print(f"  latents with {recorder}: {moved:.1e} from those without")
    rounds = [{recorder: seconds(c, recorder, options.steps) for recorder in RECORDERS}
              for _ in range(options.rounds)]

    print(f"{'':16}{'ms a step':>12}{'ratio':>9}{'(range)':>16}{'memory at peak':>16}")
    for recorder in RECORDERS:
        step = 1000 * statistics.median(one[recorder] for one in rounds) / options.steps
        ratios = [one[recorder] / one["not recording"] for one in rounds]
        command = [sys.executable, __file__, "--model", options.model, "--steps", str(options.steps),
                   "--memory-of", recorder]
        extra = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]
        extra = "unknown" if extra == "None" else f"+{int(extra) / 2**20:.1f} MiB"
        print(f"{recorder:16}{step:12.1f}{statistics.median(ratios):9.3f}"
              f"{f'({min(ratios):.2f}-{max(ratios):.2f})':>16}{extra:>16}")


if __name__ == "__main__":
    main()
