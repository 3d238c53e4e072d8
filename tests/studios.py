"""How the studios are tested: drawn to the end, held in the middle, and their pictures compared."""

import threading

import numpy as np
from PIL import Image


def flat(latents):
    """A preview that costs nothing."""
    return Image.new("RGB", latents.shape[-2:], (10, 20, 30))


def draw(studio):
    """Click Generate and wait. Returns the line below."""
    studio.generate.click()
    assert studio.job.wait(60)
    return studio.line.value


def begin_slowly(studio, preview=1):
    """Start 50 steps that wait in a preview, the first or a later one: (event: it is there, event: let it go on)."""
    begun, go_on, seen = threading.Event(), threading.Event(), []

    def slow(latents):
        seen.append(1)
        if len(seen) == preview:
            begun.set()
            assert go_on.wait(30)
        return flat(latents)

    studio.preview, studio.controls["steps"].value = slow, 50
    studio.generate.click()
    return begun, go_on


def same(picture, other):
    return np.array_equal(np.asarray(picture), np.asarray(other))


def state_of(c):
    """All that drawing, recording, a concept or a LoRA could leave behind in a model, as one comparable value."""
    weights = {
        f"{k} {name}": (tuple(w.shape), w.double().sum().item(), w.double().square().sum().item())
        for k, network in enumerate((c.text_encoder, c.unet))
        for name, w in network.state_dict().items()
    }
    kinds = [type(module).__name__ for network in (c.unet, c.text_encoder) for module in network.modules()]
    hooks = sum(
        len(found) for module in c.unet.modules() for found in (module._forward_hooks, module._forward_pre_hooks)
    )
    processors = {path: id(one) for path, one in c.unet.attn_processors.items()}
    return len(c.tokenizer), c.tokenizer("a <teal> <dusk> boat").input_ids, weights, kinds, hooks, processors
