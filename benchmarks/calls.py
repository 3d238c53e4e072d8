"""What the networks of a model are asked for while a notebook runs, cell by cell: for `benchmarks.sd15_lessons`.

`watch(file)` runs inside the notebook's kernel, in a cell put in after the setup cell.
"""

import json
from collections import Counter
from pathlib import Path

import diffusers
import torch
from diffusers.models.autoencoders.vae import Decoder, Encoder
from transformers import CLIPTextModel

from helpers import components, latents


class Watch:
    """calls: {code cell: {(part, rows, height, width, learns): how often}}; height and width as shares of the model's
    own. held: {code cell: the most rows whose gradients were waiting for one backward()}."""

    def __init__(self, file):
        self.file, self.cell, self.calls, self.held, self.waiting = Path(file), -1, [], [], 0

    def next_cell(self, info=None):
        self.cell, self.waiting = self.cell + 1, 0
        self.calls.append(Counter())
        self.held.append(0)

    def end_cell(self, result=None):
        kept = [[[*key, count] for key, count in some.items()] for some in self.calls]
        self.file.write_text(json.dumps({"calls": kept, "held": self.held}))

    def note(self, part, rows, height, width, learns):
        if self.calls:
            self.calls[self.cell][part, rows, round(height, 3), round(width, 3), learns] += 1
            self.waiting += rows * learns * (part == "unet")
            self.held[self.cell] = max(self.held[self.cell], self.waiting)


def watch(file):
    """From the next cell on, write what the networks are asked for into a file. The tiny model takes on what follows from
    the size of Stable Diffusion 1.5: four pictures at once, the autoencoder one by one, small pictures for a preview."""
    seen, shell = Watch(file), get_ipython()  # noqa: F821  there is one where this runs
    components.Components.at_once, components.LARGE = property(lambda c: 4), 0
    latents.PREVIEW_SIZE = 192 // 4
    for kind, part, side in (
        (diffusers.UNet2DConditionModel, "unet", 24),
        (Decoder, "decoder", 24),
        (Encoder, "encoder", 192),
        (CLIPTextModel, "text", None),
    ):
        kind.forward = noted(kind.forward, part, side, seen)
    backward = torch.Tensor.backward

    def through(*given, **options):
        seen.waiting = 0
        return backward(*given, **options)

    torch.Tensor.backward = through
    shell.events.register("pre_run_cell", seen.next_cell)
    shell.events.register("post_run_cell", seen.end_cell)


def noted(forward, part, side, seen):
    """A network's forward that notes each call. Networks that a lesson builds itself, in training mode, are not noted."""

    def call(self, *given, **options):
        x = given[0] if given else options.get("sample", options.get("input_ids"))
        if not self.training and x.device.type != "meta":
            words = options.get("encoder_hidden_states", given[2] if len(given) > 2 else None)
            learns = torch.is_grad_enabled() and (
                any(one.requires_grad for one in self.parameters()) or words is not None and words.requires_grad
            )
            seen.note(part, len(x), *((x.shape[-2] / side, x.shape[-1] / side) if side else (1, 1)), bool(learns))
        return forward(self, *given, **options)

    return call
