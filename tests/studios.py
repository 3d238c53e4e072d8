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
