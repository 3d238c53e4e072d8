"""Concept files in the layout of the sd-concepts-library, read with care: a file is data from strangers.

A folder holds learned_embeds.safetensors (or .bin, a pickle): {token: (d,) or (n, d)}; token_identifier.txt;
type_of_concept.txt, "object" or "style"; concept_images/, what it was learnt from; and README.md, its card.
"""

import io
import os
import warnings
from collections.abc import Iterable
from pathlib import Path

import helpers.runtime  # noqa: F401  before the libraries: it tells them to speak of errors only

import torch
from PIL import Image
from safetensors.torch import save_file

from helpers import hub, inputs
from helpers.concepts.concept import Concept
from helpers.files import filling, make_folder, write_atomic
from helpers.formats import CARD, IMAGES, KIND, TOKEN, VECTORS, candidates, read, vectors_in, what_is
from helpers.pictures import upright

KINDS = ("object", "style")
LOCAL = 'The concepts in the course\'s own folder "concepts" need no network.'


def read_concept(where: str | Path, token: str | None = None) -> Concept:
    """The concept in a file, a folder, or on the Hugging Face Hub: `Concept`. Nothing in it is ever executed.

    where: a .safetensors file; a .pt or .bin file, of which only numbers are taken; a folder with one, such as one in the
        layout of the sd-concepts-library; or an id such as "sd-concepts-library/cat-toy", which is fetched the first time.
        The layouts are those of `vectors_in` in helpers.formats.
    token: how to write it in prompts, where the name in the file is taken or unhandy.
    A vector that drags a whole table along (152 MB in Stable Diffusion 1.x) is cut out, with a warning.
    Raises FileNotFoundError (nothing there), ValueError (a pickle that asks for more than numbers; empty,
    damaged, no concept), or what `hub.folder` raises, each one sentence.
    """
    where = inputs.path(where, "where", 'a file, a folder, or an id such as "sd-concepts-library/cat-toy"')
    Concept(
        "x" if token is None else token, torch.ones(1)
    )  # what is wrong with the token is said before the file is read
    found = what_is(_place(where), "concept")
    if found.problem or found.kind != "concept":
        raise ValueError(found.problem or f"{found.path} holds a LoRA, which is no vector: open it with load_lora.")
    name, vectors = vectors_in(found.path, read(found.path, "concept")[0])
    try:
        concept = Concept(name if token is None else token, vectors)
    except (TypeError, ValueError) as error:
        spaced = isinstance(name, str) and token is None and " " in name
        raise ValueError(
            f"{found.path} is no concept that can be used. {error}{' Give one, as token=.' if spaced else ''}"
        ) from None
    storage = vectors.untyped_storage().nbytes()
    if storage > 2 * vectors.nbytes:
        warnings.warn(
            f"{found.path} drags a table of {storage / 1e6:.0f} MB along for {vectors.numel()} numbers: "
            "only these are kept, and save_concept writes only these.",
            stacklevel=2,
        )
    return concept


def save_concept(
    concept: Concept, folder: str | Path, kind: str = "object", images: Iterable[Image.Image] = (), card: str = ""
) -> Path:
    """Write a concept as a folder in the layout of the sd-concepts-library, and return the folder, a Path.

    kind: "object" or "style". images: PIL pictures that it was learnt from, saved upright. card: the text of
    README.md, if any. Every file appears whole or not at all, the vectors last: a save that is interrupted leaves the
    vectors that were there before. Raises ValueError for another kind, TypeError for what is no concept,
    PermissionError where the folder may not be written.
    """
    if not isinstance(concept, Concept):
        raise TypeError(f"save_concept takes a Concept, not {type(concept).__name__}.")
    vectors = concept.vectors[0] if len(concept.vectors) == 1 else concept.vectors  # (d,) or (n, d)
    about = _about(concept.token, kind, images, card)
    with filling(folder) as folder:
        _write_about(folder, about)
        write_atomic(folder / VECTORS[0], lambda file: save_file({concept.token: vectors.contiguous()}, file))
    return folder


def save_about(folder, token, kind="object", images=(), card=""):
    """Write all of a concept's folder but its numbers: token, type, pictures, card. Returns the folder."""
    about = _about(token, kind, images, card)
    with filling(folder) as folder:
        _write_about(folder, about)
    return folder


def _about(token, kind, images, card):
    """{name in the folder: bytes}. TypeError or ValueError for what cannot be saved, before anything is written."""
    if kind not in KINDS:
        raise ValueError(f'The type of a concept is "object" or "style", not {kind!r}.')
    texts = {TOKEN: token, KIND: kind} | ({CARD: card} if card else {})
    for name, text in texts.items():
        if not isinstance(text, str):
            raise TypeError(f"{name} holds a string, not {type(text).__name__}.")
    if isinstance(images, Image.Image) or not isinstance(images, Iterable):
        raise TypeError("images takes a list of PIL pictures: wrap a single one as [image].")
    about = {}
    for i, image in enumerate(images):
        buffer = io.BytesIO()
        upright(image).save(buffer, "PNG", optimize=True)
        about[f"{IMAGES}/{i}.png"] = buffer.getvalue()
    try:
        return about | {name: text.encode() for name, text in texts.items()}
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{error.object[:60]!r} holds half a letter (a lone surrogate), which no file can hold: write it anew."
        ) from None


def _write_about(folder, about):
    images = [name for name in about if name.startswith(IMAGES)]
    if images:
        make_folder(folder / IMAGES)
    for name, content in about.items():
        write_atomic(folder / name, lambda file, content=content: file.write_bytes(content))
    for old in (folder / IMAGES).glob("*.png"):
        if old.stem.isdigit() and int(old.stem) >= len(images):
            old.unlink()  # of an earlier save, of more pictures


def _place(where):
    """The file or folder that is meant: it is there, or fetched from the Hub. FileNotFoundError where there is none."""
    if candidates(where):
        return where
    if where.is_dir():
        raise FileNotFoundError(
            f"{where} is no concept: it holds neither {VECTORS[0]} nor another file of vectors; check the path."
        )
    if not hub.ID.fullmatch(os.fspath(where)):
        raise FileNotFoundError(
            f'There is no concept {where}: use a file, a folder, or an id such as "sd-concepts-library/cat-toy".'
        )
    return hub.folder(os.fspath(where), _wanted, whole=_whole, public=True, instead=LOCAL)


def _wanted(files):
    """From {file: bytes} of a repository, the entries that a concept is read from."""
    vectors = next((name for name in VECTORS if name in files), None)
    return {name: size for name, size in files.items() if name in (vectors, TOKEN, KIND)}


def _whole(folder):
    if problem := what_is(folder).problem:
        raise ValueError(problem)
    return folder
