"""Concept files in the layout of the sd-concepts-library, read with care: a file is data from strangers.

A folder holds learned_embeds.safetensors (or .bin, a pickle): {token: (d,) or (n, d)}; token_identifier.txt;
type_of_concept.txt, "object" or "style"; concept_images/, what it was learnt from; and README.md, its card.
"""
import io
import os
import pickle
import pickletools
import re
import warnings
import zipfile
from collections.abc import Iterable
from pathlib import Path

from helpers import hub, inputs, runtime  # noqa: F401  runtime first: it silences the libraries
from helpers.files import filling, is_safetensors, make_folder, open_file, what_came_instead, write_atomic
from helpers.pictures import upright

import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from .concept import Concept

VECTORS = ("learned_embeds.safetensors", "learned_embeds.bin")  # the first that is there is read
TOKEN, KIND, IMAGES, CARD = "token_identifier.txt", "type_of_concept.txt", "concept_images", "README.md"
KINDS = ("object", "style")
LARGEST = 400e6  # bytes: a vector has some thousands; the largest files there are drag a whole table along
# All that a concept's pickle needs to be put together. None of these makes anything that the file does not hold.
STORAGES = ("Float", "Half", "BFloat16", "Double", "Long", "Int", "Short", "Char", "Byte", "Bool")
NUMBERS = {"collections.OrderedDict", "torch.Size", "torch.serialization._get_layout", "torch._utils._rebuild_tensor",
           "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter", "torch._utils._rebuild_sparse_tensor",
           *(f"torch.{kind}Storage" for kind in STORAGES), *(f"torch.cuda.{kind}Storage" for kind in STORAGES)}
LOCAL = 'The concepts in the course\'s own folder "concepts" need no network.'


def read_concept(where, token=None):
    """The concept in a file, a folder, or on the Hugging Face Hub: `Concept`. Nothing in it is ever executed.

    where: a .safetensors file; a .bin file, of which only numbers are taken; a folder in the layout of the
        sd-concepts-library; or an id such as "sd-concepts-library/cat-toy", which is fetched the first time.
    token: how to write it in prompts, where the name in the file is taken or unhandy.
    A vector that drags a whole table along (152 MB in Stable Diffusion 1.x) is cut out, with a warning.
    Raises FileNotFoundError (nothing there), ValueError (a pickle that asks for more than numbers; empty,
    damaged, no concept), or what `hub.folder` raises, each one sentence.
    """
    path = _file(inputs.path(where, "where", "a file, a folder, or an id such as \"sd-concepts-library/cat-toy\""))
    if not path.stat().st_size:
        raise ValueError(f"{path} is empty: fetch it again.")
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path} has {path.stat().st_size / 1e6:.0f} MB, and a concept some thousand bytes: "
                         "it is not opened.")
    instead = what_came_instead(path)
    if instead:
        raise ValueError(instead)
    found = _safe_tensors(path) if path.suffix == ".safetensors" or is_safetensors(path) else _pickled_numbers(path)
    name, vectors = _only_entry(path, found)
    return Concept(name if token is None else token, vectors)


def save_concept(concept, folder, kind="object", images=(), card=""):
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
        raise ValueError(f"{error.object[:60]!r} holds half a letter (a lone surrogate), which no file can hold: write "
                         "it anew.") from None


def _write_about(folder, about):
    images = [name for name in about if name.startswith(IMAGES)]
    if images:
        make_folder(folder / IMAGES)
    for name, content in about.items():
        write_atomic(folder / name, lambda file: file.write_bytes(content))
    for old in (folder / IMAGES).glob("*.png"):
        if old.stem.isdigit() and int(old.stem) >= len(images):
            old.unlink()  # of an earlier save, of more pictures


def _file(where):
    """The path of the vectors in a file, a folder or on the Hub."""
    path = Path(where)
    if path.is_dir():
        return _inside(path)
    if path.is_file():
        return path
    if not hub.ID.fullmatch(os.fspath(where)):
        raise FileNotFoundError(f"There is no concept {where}: use a file, a folder, or an id such as "
                                '"sd-concepts-library/cat-toy".')
    return _inside(hub.folder(os.fspath(where), _wanted, whole=_whole, public=True, instead=LOCAL))


def _inside(folder):
    """The file with the vectors in a folder, or FileNotFoundError."""
    for name in VECTORS:
        if (folder / name).is_file():
            return folder / name
    if (folder / "pytorch_lora_weights.safetensors").is_file():
        raise FileNotFoundError(f"{folder} holds a LoRA, which is no vector: open it with load_lora.")
    raise FileNotFoundError(f"{folder} is no concept: it holds neither {VECTORS[0]} nor {VECTORS[1]}.")


def _wanted(files):
    """Of {file: bytes} of a repository, what a concept is read from."""
    vectors = next((name for name in VECTORS if name in files), None)
    return {name: size for name, size in files.items() if name in (vectors, TOKEN, KIND)}


def _whole(folder):
    _inside(folder)
    return folder


def _safe_tensors(path):
    try:
        return load_file(path)
    except Exception as error:  # the library's own errors, which change by version
        raise _damaged(path, error) from None


def _pickled_numbers(path):
    """What is in a pickle that builds nothing but tensors and plain containers; any other is refused."""
    try:
        promised, wishes = _asked_for(path)
    except Exception as error:  # no zip and no pickle
        raise _damaged(path, error) from None
    if promised > 2 * path.stat().st_size:
        raise ValueError(f"{path} has {path.stat().st_size / 1e6:.1f} MB and would unpack to {promised / 1e6:,.0f} MB, which "
                         "torch never writes: it is not opened.")
    if wishes - NUMBERS:
        raise _refused(path, f"asks for {min(wishes - NUMBERS)}") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about versions of the pickle format
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL (\S+)", str(error))
        raise _refused(path, f"asks for {asked[1]}" if asked else "holds more than numbers") from None
    except Exception as error:  # a broken zip, an end in the middle: every version has other names for it
        raise _damaged(path, error) from None


def _refused(path, why):
    return ValueError(f"{path} is a pickle that {why}, which could run a stranger's code or fill the memory: it was refused "
                      "and nothing of it has run; ask for the concept as .safetensors.")


def _asked_for(path):
    """(bytes that a file of torch.save would unpack to, {"module.name"} that its pickles ask for): nothing is built.

    Torch's own reader lets no code run, but it unpacks zips, and makes tensors and bytearrays as long as it
    is asked to: a file of a kilobyte could fill the memory.
    """
    with open_file(path, LARGEST, "concept") as file:
        zipped = file.read(4).startswith(b"PK")
        file.seek(0)
        if not zipped:  # the old format: three pickles about itself, one with the content, one of keys; then numbers
            return 0, _globals(file, 5)
        with zipfile.ZipFile(file) as archive:
            parts = archive.infolist()
            if min((part.header_offset for part in parts), default=1):
                raise ValueError("it begins with something else than its first part")
            promised = sum(part.file_size for part in parts)
            if promised > LARGEST:
                return promised, set()
            pickles = [archive.read(part) for part in parts if part.filename.endswith(".pkl")]
            return promised, {wish for one in pickles for wish in _globals(io.BytesIO(one), 1)}


def _globals(file, most):
    """What the first `most` pickles in a file ask for, up to the first wish that is not for numbers."""
    wishes = set()
    for _ in range(most):
        if not file.read(1):
            break
        file.seek(-1, io.SEEK_CUR)
        for code, argument, _ in pickletools.genops(file):
            if code.name in ("GLOBAL", "INST"):
                wishes.add(argument.replace(" ", "."))
                if wishes - NUMBERS:
                    return wishes
    return wishes


def _damaged(path, error):
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
    return ValueError(f"{path} is damaged, or no concept file ({reason}): fetch it again.")


def _only_entry(path, found):
    """(token, tensor): all that a concept file may hold."""
    if not isinstance(found, dict):
        raise ValueError(f"{path} is no concept: it holds a {type(found).__name__}, and a concept is one "
                         "token and its vectors.")
    if len(found) != 1:
        some = ", ".join(map(str, list(found)[:3]))[:80]
        raise ValueError(f"{path} is no concept: it holds {len(found)} entries ({some}), and a concept is "
                         "one token and its vectors.")
    (token, vectors), = found.items()
    try:
        Concept(token, vectors)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is no concept that can be used. {error}") from None
    storage = vectors.untyped_storage().nbytes()
    if storage > 2 * vectors.nbytes:
        warnings.warn(f"{path} drags a table of {storage / 1e6:.0f} MB along for {vectors.numel()} numbers: "
                      "only these are kept, and save_concept writes only these.", stacklevel=3)
    return token, vectors
