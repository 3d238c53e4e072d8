"""What kind of file a stranger's concept or LoRA is, decided here for all callers; and its numbers, read safely.

Nothing of a file is ever executed: safetensors hold numbers alone, and of a pickle (.pt, .bin, .ckpt) only numbers are
taken. Sources of the layouts: A1111 (`string_to_param`), kohya's sd-scripts (`emb_params`, `lora_unet_*`), the loaders of
diffusers and PEFT (all other LoRAs), LyCORIS (`hada_*`, `lokr_*`), Stability AI's control-lora.
"""

import io
import pickle
import pickletools
import re
import warnings
import zipfile
from pathlib import Path
from typing import NamedTuple

import helpers.runtime  # noqa: F401  before the libraries: it tells them to speak of errors only

import torch
from safetensors import safe_open

from helpers.files import open_file, what_came_instead
from helpers.inputs import first_line

# What diffusers calls the file of a concept, and that of a LoRA; of several the first is read. Then what lies beside them.
VECTORS = ("learned_embeds.safetensors", "learned_embeds.bin")
LORAS = ("pytorch_lora_weights.safetensors", "pytorch_lora_weights.bin")
TOKEN, KIND, IMAGES, CARD = "token_identifier.txt", "type_of_concept.txt", "concept_images", "README.md"
SUFFIXES = (".safetensors", ".pt", ".bin", ".pth", ".ckpt")
# Bytes of a file: a LoRA of rank 128 has 0.3e9; some concepts drag a table of 152e6 along.
LARGEST = {"LoRA": 2e9, "concept": 400e6, "pickle": 400e6}
MADE_FOR = {768: "Stable Diffusion 1", 1024: "Stable Diffusion 2", 2048: "Stable Diffusion XL"}  # by Found.width

# A half of a LoRA, or its alpha: the layer, as the file calls it, and which half, A (down) or B (up).
HALF = re.compile(r"(?P<layer>.+?)(?:[._]lora(?:_linear_layer)?[._](?P<half>A|B|down|up)\.weight|\.alpha)")
# The halves A that read what a text encoder writes, or are in one.
READS_TEXT = re.compile(
    r".*(attn2[._](processor\.)?to_[kv]|self_attn[._](q_proj|to_q))[._]lora(_linear_layer)?[._](A|down)\.weight"
)
PLAIN = "load_lora reads B A alone, so ask for a plain LoRA"
XL = "was made for Stable Diffusion XL, which has two text encoders: use one that was made for your model"
STRANGE = {  # a part of a name: the kind, the width, and what a file is that has such a name in it
    "clip_g": ("concept", 2048, XL),
    "lora_te2_": ("LoRA", 2048, XL),
    "text_encoder_2.": ("LoRA", 2048, XL),
    "lora_unet_input_blocks_": ("LoRA", 2048, XL),
    "lora_controlnet": (
        "",
        None,
        "is a ControlLoRA, which makes a U-Net into a ControlNet that follows a drawing, and no "
        f"LoRA to draw with: {PLAIN}",
    ),
    "hada_": ("LoRA", None, f"is a LoHa (LyCORIS), the product of two low-rank changes, number by number: {PLAIN}"),
    "lokr_": ("LoRA", None, f"is a LoKr (LyCORIS), a Kronecker product of small matrices: {PLAIN}"),
    "lora_mid": ("LoRA", None, f"is a LoCon with a third matrix between A and B (LyCORIS): {PLAIN}"),
    "dora_scale": ("LoRA", None, f"is a DoRA, which also sets the lengths of the weights' columns: {PLAIN}"),
    "lora_magnitude_vector": ("LoRA", None, f"is a DoRA, which also sets the lengths of the weights' columns: {PLAIN}"),
    "base_model.model.": (
        "LoRA",
        None,
        "is a LoRA as PEFT saves it, with its alpha in another file and no name of the network: "
        "ask for it as a pipeline's save_lora_weights writes it",
    ),
    ":down": (
        "LoRA",
        None,
        "is a LoRA in the layout of cloneofsimo's lora (2022), which numbers the layers and does not name "
        "them: ask for it in the layout of diffusers or kohya",
    ),
    "model.diffusion_model.": (
        "",
        None,
        "is a whole model in one file, neither a concept nor a LoRA: diffusers' "
        "StableDiffusionPipeline.from_single_file reads it, and its save_pretrained writes the folder that "
        "load_components takes",
    ),
}
# All that a pickle of numbers needs to be put together. None of these makes anything that the file does not hold.
STORAGES = ("Float", "Half", "BFloat16", "Double", "Long", "Int", "Short", "Char", "Byte", "Bool")
NUMBERS = {
    "collections.OrderedDict",
    "torch.Size",
    "torch.serialization._get_layout",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_sparse_tensor",
    *(f"torch.{kind}Storage" for kind in STORAGES),
    *(f"torch.cuda.{kind}Storage" for kind in STORAGES),
}


class Found(NamedTuple):
    """What a file is.

    path: the file, also where its folder was given. kind: "concept", "LoRA", or "" for what is neither.
    width: numbers a vector of the text encoder it was made for, a key of MADE_FOR; None where the file does not tell.
    problem: one sentence on why it is not read and what to do; "" where it is read.
    token: how a concept is written in prompts.
    """

    path: Path
    kind: str
    width: int | None
    problem: str
    token: str = ""


def made_for(width):
    """Words for the width of vectors: "1024 numbers (Stable Diffusion 2)"."""
    return f"{width} numbers" + (f" ({MADE_FOR[width]})" if width in MADE_FOR else "")


def candidates(where):
    """The paths, sorted, of all that may be a concept or a LoRA in a place: the file itself, or in a folder the one with a
    name that diffusers gives, else all that end like one. [] where there is nothing."""
    where = Path(where)
    if not where.is_dir():
        return [where] if where.is_file() else []
    usual = [where / name for name in VECTORS + LORAS if (where / name).is_file()]
    return usual[:1] or sorted(path for path in where.iterdir() if path.suffix in SUFFIXES and path.is_file())


def what_is(where, kind="LoRA"):
    """What a file is, or the one in a folder: `Found`, without its numbers being kept.

    kind: what it is to be, a key of LARGEST, which says how large a file is opened.
    FileNotFoundError where there is none, or several in a folder; PermissionError. What cannot be read has a `problem`.
    """
    paths = candidates(where)
    if len(paths) != 1:
        raise FileNotFoundError(
            f"{where} holds {len(paths)} files that may be meant: name one, such as {paths[0].name}."
            if paths
            else f"{where} is no concept and no LoRA: use a file that ends in {', '.join(SUFFIXES[:3])}, or a folder with one."
        )
    (path,) = paths
    try:
        entries, _ = read(path, kind, numbers=False)
    except ValueError as error:
        return Found(path, "", None, str(error))
    if not isinstance(entries, dict):
        return Found(
            path,
            "",
            None,
            f"{path} is no concept and no LoRA: it holds a {type(entries).__name__}, and a "
            "concept is one token and its vectors, so use another file.",
        )
    names = [name for name in entries if isinstance(name, str)]
    strange = next(
        (said for mark, said in STRANGE.items() if len(names) > 1 and any(mark in name for name in names)), None
    )
    if strange:
        return Found(path, *strange[:2], f"{path} {strange[2]}.")
    if any((match := HALF.fullmatch(name)) and match["half"] for name in names):
        halves = [entries[name] for name in names if READS_TEXT.fullmatch(name)]
        widths = [half.shape[1] for half in halves if isinstance(half, torch.Tensor) and half.ndim > 1]
        return Found(path, "LoRA", max(widths, default=None), "")
    try:
        token, vectors = vectors_in(path, entries)
    except ValueError as error:
        return Found(path, "", None, str(error))
    shape = getattr(vectors, "shape", None)
    return Found(path, "concept", shape[-1] if shape else None, "", token)


def vectors_in(path, entries):
    """(token, vectors) of what a concept's file holds; ValueError where that is no concept.

    One entry: the token and its vectors (diffusers), or `emb_params` (kohya), whose token is the file's name.
    A1111's has more: its vectors are the only entry of `string_to_param`, its token is `name`, or else the file's name.
    """
    params = entries.get("string_to_param")
    if isinstance(params, dict) and len(params) == 1:
        return entries.get("name") or path.stem, *params.values()
    if len(entries) == 1:
        ((token, vectors),) = entries.items()
        return path.stem if token == "emb_params" else token, vectors
    some = f" ({', '.join(map(str, list(entries)[:3]))[:80]})" if entries else ""
    raise ValueError(
        f"{path} is no concept, which is one token and its vectors, and no LoRA, since it holds no layer of one: "
        f"it holds {len(entries)} entries{some}, so use another file."
    )


def read(path, kind="LoRA", numbers=True):
    """({name: tensor}, {name: text}): what a file holds, on the CPU, and the notes beside it; a pickle may hold anything
    that is made of numbers, text and lists, and has no notes.

    kind: what it is to be, which says how large it may be before it is opened. numbers: False for tensors that have a shape only (of
    safetensors; a pickle's are always read). Raises what `open_file` raises, and ValueError, each one sentence, for what
    is damaged, came instead of the file, or is a pickle that asks for more than numbers.
    """
    with open_file(path, LARGEST[kind], kind) as file:
        if not file.read(1):
            raise ValueError(f"{path} is empty: fetch it again.")
    if said := what_came_instead(path):
        raise ValueError(said)
    try:
        with safe_open(path, "pt") as file:
            take = (
                file.get_tensor
                if numbers
                else lambda name: torch.empty(file.get_slice(name).get_shape(), device="meta")
            )
            names = file.keys()
            return {name: take(name) for name in names}, file.metadata() or {}
    except Exception as error:  # the library's own errors, which change by version
        if path.suffix == ".safetensors":
            raise damaged(path, error) from None
    return _pickled_numbers(path), {}


def damaged(path, error, what="is damaged"):
    """The error to raise where a library could not read a file."""
    return ValueError(f"{path} {what}, or no file of weights ({first_line(error)}): fetch it again.")


# Pickles


def _pickled_numbers(path):
    """What is in a pickle that builds nothing but tensors and plain containers; any other is refused."""
    try:
        promised, wishes = _asked_for(path)
    except OSError:
        raise
    except Exception as error:  # no zip and no pickle
        raise damaged(path, error) from None
    if promised > 2 * path.stat().st_size:
        raise ValueError(
            f"{path} has {path.stat().st_size / 1e6:.1f} MB and would unpack to {promised / 1e6:,.0f} MB, which "
            "torch never writes: it is not opened."
        )
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
        raise damaged(path, error, "is a pickle that is damaged") from None


def _refused(path, why):
    return ValueError(
        f"{path} is a pickle that {why}, which could run a stranger's code or fill the memory: it was refused "
        "and nothing of it has run; ask for it as .safetensors."
    )


def _asked_for(path):
    """(bytes that a file of torch.save would unpack to, {"module.name"} that its pickles ask for): nothing is built.

    Torch's own reader lets no code run, but it unpacks zips, and makes tensors and bytearrays as long as it
    is asked to: a file of a kilobyte could fill the memory.
    """
    with open_file(path, LARGEST["pickle"], "pickle") as file:
        zipped = file.read(4).startswith(b"PK")
        file.seek(0)
        if not zipped:  # the old format: three pickles about itself, one with the content, one of keys; then numbers
            return 0, _globals(file, 5)
        with zipfile.ZipFile(file) as archive:
            parts = archive.infolist()
            if min((part.header_offset for part in parts), default=1):
                raise ValueError("it begins with something else than its first part")
            promised = sum(part.file_size for part in parts)
            if promised > LARGEST["pickle"]:
                return promised, set()
            pickles = [archive.read(part) for part in parts if part.filename.endswith(".pkl")]
            return promised, {wish for one in pickles for wish in _globals(io.BytesIO(one), 1)}


def _globals(file, most):
    """The globals that the first `most` pickles in a file import, up to the first one that is not for numbers."""
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
