"""What recording attention costs in time and memory, against not recording and against a DAAM-style recorder.

    python -m benchmarks.attention [--model postcard] [--steps 10] [--rounds 75] [--quick]

In every round all three draw the same latents, one after another (one prompt with guidance: batches of two).
Memory is measured in a process of its own for each; on a CPU only Linux tells it. The DAAM-style recorder
follows the method of Tang et al. 2022: the attention of every layer is formed in full, and every token and
head is cut out and added up by a Python loop.
"""

import argparse
import json
import statistics
from collections import defaultdict
from contextlib import contextmanager, nullcontext

import torch

from benchmarks import draw, measure
from helpers import denoise, load_components, record_attention
from helpers.figures import style

COLOURS = {"not recording": style.NOISE, "recording": style.SIGNAL, "DAAM-style": style.ESTIMATE}


class LoopingProcessor:
    """Unfused cross-attention that adds up the map of every token of every head, one by one."""

    def __init__(self, name, maps):
        self.name, self.maps = name, maps

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None):
        query = attn.head_to_batch_dim(attn.to_q(hidden_states))  # (B, n, C) -> (B * heads, n, C / heads)
        key = attn.head_to_batch_dim(attn.to_k(encoder_hidden_states))
        value = attn.head_to_batch_dim(attn.to_v(encoder_hidden_states))
        probabilities = attn.get_attention_scores(query, key, attention_mask)  # (B * heads, n, T)
        conditional = probabilities[len(probabilities) // 2 :].unflatten(0, (-1, attn.heads))
        for head in range(attn.heads):
            for token in range(conditional.shape[-1]):
                self.maps[self.name, head, token] += conditional[:, head, :, token]
        out = attn.batch_to_head_dim(torch.bmm(probabilities, value))
        return attn.to_out[1](attn.to_out[0](out))


@contextmanager
def loop_over_heads_and_tokens(unet):
    before, maps = unet.attn_processors, defaultdict(float)
    unet.set_attn_processor(
        {
            name: LoopingProcessor(name, maps) if name.endswith("attn2.processor") else one
            for name, one in before.items()
        }
    )
    try:
        yield maps
    finally:
        unet.set_attn_processor(dict(before))


RECORDERS = {
    "not recording": lambda unet: nullcontext(),
    "recording": record_attention,
    "DAAM-style": loop_over_heads_and_tokens,
}


def latents(c, recorder, steps):
    """The latents after some steps, with one of RECORDERS at work."""
    with RECORDERS[recorder](c.unet):
        for step in denoise(c, measure.PROMPT, steps=steps, seed=0):
            pass
        if c.device.type == "cuda":
            torch.cuda.synchronize()
    return step.latents


def memory(c, recorder, steps):
    """By how many bytes a drawing raises the memory in use at its peak; to be asked once a process."""
    latents(c, "not recording", 2)  # what the first drawing leaves behind for good is not counted
    return measure.extra_memory(lambda: latents(c, recorder, steps), c.device)


def main(arguments=None):
    parser = measure.options(__doc__, model="postcard", steps=10, rounds=75)
    parser.add_argument("--memory-of", choices=RECORDERS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    c = load_components(options.model)
    if options.memory_of:
        print(json.dumps(memory(c, options.memory_of, options.steps)))
        return
    if options.quick:
        options.steps, options.rounds = 2, 2
    steps, plain = options.steps, latents(c, "not recording", options.steps)
    moved = {one: (latents(c, one, steps) - plain).abs().max().item() for one in RECORDERS}
    times = measure.take_turns({one: lambda one=one: latents(c, one, steps) for one in RECORDERS}, options.rounds)
    ratios = {one: measure.ratio(times, one, to="not recording") for one in RECORDERS}
    peaks = {
        one: measure.in_new_process(
            "benchmarks.attention", "--model", options.model, "--steps", steps, "--memory-of", one
        )
        for one in RECORDERS
    }
    each = {one: statistics.median(times[one]) / steps for one in RECORDERS}

    def spread(name):
        return f"{ratios[name]['low']:.2f} to {ratios[name]['high']:.2f}"

    def shown(machine):
        words = {
            one: f"{measure.in_seconds(each[one])} ({ratios[one]['median']:.2f} x), "
            f"memory +{measure.in_bytes(peaks[one])}"
            for one in RECORDERS
        }
        return draw.bars(
            f"Recording attention takes {ratios['recording']['median']:.2f} times as long",
            "Bars of the time of one step",
            each,
            words,
            f"One step with guidance; memory: what drawing adds at its peak. {machine}",
            COLOURS,
        )

    measure.report(
        "attention",
        "What recording attention costs",
        [
            {
                "": one,
                "a step": measure.in_seconds(each[one]),
                "ratio": f"{ratios[one]['median']:.2f}",
                "in one round": spread(one),
                "memory at peak": "+" + measure.in_bytes(peaks[one]),
                "latents moved by": f"{moved[one]:.0e}",
            }
            for one in RECORDERS
        ],
        [
            measure.claim(
                "recording attention against not, time",
                f"{ratios['recording']['median']:.2f} (rounds: {spread('recording')})",
                "≤ 1.10",
            ),
            measure.claim(
                "DAAM-style recording against not, time",
                f"{ratios['DAAM-style']['median']:.2f} (rounds: {spread('DAAM-style')})",
            ),
            measure.claim(
                "memory at peak: not recording, recording, DAAM-style",
                ", ".join("+" + measure.in_bytes(peaks[one]) for one in RECORDERS),
            ),
        ],
        shown,
        {"model": options.model, "steps": steps, "guidance": c.guidance, "rounds": options.rounds},
        "Ratios are those of the medians. Memory is what drawing adds to that in use before.",
        {"seconds": times, "memory": peaks},
        None if options.quick else options.results,
    )


if __name__ == "__main__":
    main()
