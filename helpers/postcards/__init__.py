"""The postcard world: a program that draws captioned landscapes and knows every pixel of what it drew.

scene = sample_scene(random.Random(0))      # what is in the picture
postcard = render(scene)                    # postcard.image, postcard.masks
text = caption(scene, random.Random(0))     # "a red boat on a lake below snowy mountains at sunset"
"""

from helpers.postcards.captions import caption, full_caption, phrases, read_caption
from helpers.postcards.render import Postcard, render
from helpers.postcards.scene import (
    BACKDROPS,
    COLOURS,
    GROUNDS,
    HELDOUT_PAIRS,
    KEPT_OUT,
    KINDS,
    LIGHTS,
    PLACES,
    SKIES,
    WEATHERS,
    Scene,
    Subject,
    sample_scene,
)
from helpers.postcards.world import on_postcards, postcards_only

__all__ = [
    "BACKDROPS",
    "COLOURS",
    "GROUNDS",
    "HELDOUT_PAIRS",
    "KEPT_OUT",
    "KINDS",
    "LIGHTS",
    "PLACES",
    "SKIES",
    "WEATHERS",
    "Postcard",
    "Scene",
    "Subject",
    "caption",
    "full_caption",
    "on_postcards",
    "phrases",
    "postcards_only",
    "read_caption",
    "render",
    "sample_scene",
]
