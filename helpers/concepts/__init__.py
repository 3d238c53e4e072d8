"""Textual inversion: a concept is one vector, or a few, that stands where the vector of a word would stand.

    concept = read_concept("concepts/teal")     # a file, a folder, or an id such as sd-concepts-library/...
    with loaded(c, concept) as model:           # c itself is never changed
        generate(model, "a <teal> boat on a lake")
    for progress in train_concept(c, images, "<teal>", start="blue", prompts=prompts):
        progress.loss                           # asking no more cancels
    save_concept(Concept("<teal>", progress.best), folder)

Sources: Gal et al. 2022 (textual inversion), the sd-concepts-library (file format), diffusers (token names).
"""

from helpers.concepts.concept import Concept, nearest_words
from helpers.concepts.files import read_concept, save_concept
from helpers.concepts.loading import loaded
from helpers.concepts.train import Progress, noise_loss, train_concept

__all__ = [
    "Concept",
    "Progress",
    "loaded",
    "nearest_words",
    "noise_loss",
    "read_concept",
    "save_concept",
    "train_concept",
]
