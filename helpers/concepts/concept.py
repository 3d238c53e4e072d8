"""What a concept is, and which words it lies near."""

from dataclasses import dataclass

import helpers.runtime  # noqa: F401  before the libraries: it tells them to speak of errors only

import torch
import torch.nn.functional as F

from helpers import inputs
from helpers.components import Components

MOST_VECTORS = 75  # more than a prompt of CLIP has room for
WIDEST = 16_384  # numbers a vector: 768 in Stable Diffusion 1.5, 4096 in the largest text encoders that are in use


@dataclass(frozen=True, eq=False, repr=False)
class Concept:
    """A new word: how it is written in a prompt, and the vectors that stand for it.

    token: such as "<teal>": no spaces. vectors: (n, d), kept as float32 on the CPU; d is the width of the
    text encoder it was made for, 768 in Stable Diffusion 1.5. One vector may be given as (d,).
    Raises TypeError or ValueError for what is no such thing: another shape, NaN, only zeros.
    """

    token: str
    vectors: torch.Tensor

    def __post_init__(self):
        if not isinstance(self.token, str):
            kind = type(self.token).__name__
            raise TypeError(f'The token of a concept is a string such as "<teal>", not {kind}.')
        if not self.token or any(letter.isspace() for letter in self.token):
            raise ValueError(
                f'The token of a concept is one word without spaces, such as "<teal>", not {inputs.shown(self.token)}.'
            )
        object.__setattr__(self, "vectors", _checked(self.token, self.vectors))

    @property
    def tokens(self):
        """One name a vector, as diffusers gives them: "<teal>", "<teal>_1", "<teal>_2", ..."""
        return [self.token] + [f"{self.token}_{i}" for i in range(1, len(self.vectors))]

    def __repr__(self):
        n, width = self.vectors.shape
        return f"Concept({self.token!r}: {n} vector{'s' if n > 1 else ''} of {width} numbers)"


def _checked(token, vectors):
    """The vectors as (n, d) float32 on the CPU, with a memory of their own."""
    is_tensor = isinstance(vectors, torch.Tensor)
    if not is_tensor or not vectors.is_floating_point() or vectors.layout != torch.strided:
        kind = vectors.dtype if is_tensor else type(vectors).__name__
        raise TypeError(f"The concept {token} needs a tensor of fractional numbers, not {kind}.")
    fits = vectors.ndim in (1, 2) and vectors.numel() and not vectors.is_meta
    if not fits or vectors.numel() > MOST_VECTORS * vectors.shape[-1]:
        raise ValueError(
            f"The concept {token} needs one vector (d,), or up to {MOST_VECTORS} as (n, d), and "
            f"has the shape {tuple(vectors.shape)}."
        )
    if vectors.shape[-1] > WIDEST:  # said before it is copied: an expanded tensor may be large and take no room
        raise ValueError(
            f"The concept {token} has vectors of {vectors.shape[-1]} numbers: no text encoder reads more than {WIDEST}."
        )
    vectors = vectors.detach().reshape(-1, vectors.shape[-1]).to("cpu", torch.float32, copy=True).contiguous()
    if not vectors.isfinite().all():
        raise ValueError(f"The concept {token} holds NaN or infinite numbers: get or train it anew.")
    if not vectors.any(dim=1).all():
        raise ValueError(f"The concept {token} holds a vector of zeros: get or train it anew.")
    return vectors


def nearest_words(c: Components, vector: torch.Tensor, n: int = 8) -> list[tuple[str, float]]:
    """The n words whose vectors point most nearly where `vector` points, the nearest first: [(word, cosine)].

    vector: (d,), or (1, d). Words are entries of the vocabulary of two letters or more that end a word, and
    no concepts. n: 1 to 100,000. Raises ValueError for another width.
    """
    inputs.tensor(vector, "vector"), inputs.whole_number(n, "n", 1, 100_000)
    table = inputs.components(c).text_encoder.get_input_embeddings().weight.detach()  # (V, d)
    if vector.shape not in ((table.shape[1],), (1, table.shape[1])):
        raise ValueError(
            f"nearest_words takes one vector of {table.shape[1]} numbers, not the shape {tuple(vector.shape)}."
        )
    ids = {
        text.removesuffix("</w>"): i
        for text, i in c.tokenizer.get_vocab().items()
        if text.endswith("</w>") and len(text) > 5 and text[:-4].isalpha()
    }
    rows = F.normalize(table[list(ids.values())].float().cpu(), dim=1)  # (words, d)
    cosines = rows @ F.normalize(vector.detach().float().cpu().reshape(-1), dim=0)
    best = cosines.topk(min(n, len(ids)))
    words = list(ids)
    return [(words[i], cosine) for cosine, i in zip(best.values.tolist(), best.indices.tolist())]
