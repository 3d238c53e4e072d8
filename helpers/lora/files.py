"""LoRA files: the format of diffusers and PEFT, read with care, because a file is data from strangers."""
import json
import re
from pathlib import Path

from helpers import inputs
from helpers.files import filling, is_safetensors, open_file, what_came_instead, write_atomic
from helpers.interrupts import whole

from safetensors import safe_open
from safetensors.torch import save_file

from helpers.runtime import seeded_generator

from .layers import LARGEST_RANK, LAYERS, Lora, lora_layer

FILE = "pytorch_lora_weights.safetensors"
LARGEST = 2e9  # bytes: of rank 128 in all layers of Stable Diffusion 1.5 it has 0.3 GB
LARGEST_SCALE = 10_000  # alpha / rank: usually 1, and never more than a few hundred
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
PART = re.compile(r"unet\.(?P<layer>.+)\.lora(?P<part>_A|_B|\.down|\.up)\.weight")  # down, up: before PEFT


def save_lora(lora, folder):
    """Write folder/pytorch_lora_weights.safetensors and return its path. `pipeline.load_lora_weights(folder)`
    reads it.

    In float16, half the bytes: the pictures differ by a 255th at most. B is written times alpha / rank, so
    that alpha = rank, as a file means that does not name it. The strength is not written: a file is
    a LoRA at strength 1. An interrupted save leaves the old file or none.
    """
    tensors = {}
    for name, layer in lora.layers.items():
        sides = layer.weight.shape[2:]  # () of a linear layer, (k, k) of a convolution, whose B is 1 x 1
        down, up = layer.A.detach().cpu().half(), (layer.scale * layer.B.detach()).cpu().half()
        tensors[f"unet.{name}.lora_A.weight"] = down.reshape(len(down), -1, *sides).contiguous()
        tensors[f"unet.{name}.lora_B.weight"] = up.reshape(*up.shape, *(1 for _ in sides)).contiguous()
    with filling(folder) as folder:
        write_atomic(folder / FILE, lambda file: save_file(tensors, file, metadata={"format": "pt"}))
    return folder / FILE


@whole
def load_lora(c, where):
    """The LoRA of a file, added to c.unet: `Lora`, at strength 1.

    where: a .safetensors file, or a folder that holds pytorch_lora_weights.safetensors.
    Raises FileNotFoundError, or ValueError in one sentence for a file that is a pickle (never opened),
    damaged, of another format or made for another model; the U-Net is then as it was.
    """
    inputs.components(c)
    path = _file(inputs.path(where, "where", f"a .safetensors file, or a folder with {FILE}"))
    tensors, notes = _read(path)
    pairs = _pairs(path, tensors)
    scale = _scale(path, notes)
    modules, layers = dict(c.unet.named_modules()), {}
    for name, (down, up) in pairs.items():
        layer = modules.get(name)
        if not isinstance(layer, LAYERS):
            raise ValueError(f"{path} was made for another model: this U-Net has no layer {name}.")
        change, weight = (len(up), *down.shape[1:]), tuple(layer.weight.shape)
        if change != weight:
            raise ValueError(f"{path} was made for another model: its {name} has weights {change}, this "
                             f"U-Net's {weight}.")
        layers[name] = lora_layer(layer, len(down), len(down) * scale, seeded_generator(0))  # replaced by the next lines
        layers[name].A.data.copy_(down.flatten(1))
        layers[name].B.data.copy_(up.flatten(1))
    layers = {name: layers[name] for name in modules if name in layers}  # in the order of the U-Net
    return Lora(c.unet, layers)


def _file(where):
    path = where / FILE if where.is_dir() else where
    if path.suffix in PICKLES and not is_safetensors(path):
        raise ValueError(what_came_instead(path) or f"{path} is a pickle, which can run code when it is opened, so it is not: ask for "
                         "the LoRA as .safetensors.")
    if not path.is_file():
        raise FileNotFoundError(f"There is no LoRA in {where}: it takes a .safetensors file, or a folder "
                                f"with {FILE}.")
    return path


def _read(path):
    """({name: tensor}, {name: text}) of a safetensors file."""
    open_file(path, LARGEST, "LoRA").close()
    instead = what_came_instead(path)
    if instead:
        raise ValueError(instead)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}
    except Exception as error:  # the library's own errors, which change by version
        reason = "it is empty" if not path.stat().st_size else str(error).splitlines()[0][:120]
        raise ValueError(f"{path} is damaged, or no safetensors file ({reason}): fetch it again.") from None


def _pairs(path, tensors):
    """{layer: (A (r, in), B (out, r))} of the tensors of a file."""
    sides = {"_A": {}, ".down": {}, "_B": {}, ".up": {}}
    for name, tensor in tensors.items():
        match = PART.fullmatch(name)
        if match:
            sides[match["part"]][match["layer"].replace(".processor", "")] = tensor
        else:
            raise ValueError(f"{path} is not a LoRA of a U-Net alone, in the format of diffusers: it holds "
                             f"{name}. A pipeline's load_lora_weights reads more kinds.")
    downs, ups = sides["_A"] | sides[".down"], sides["_B"] | sides[".up"]
    if not downs or downs.keys() != ups.keys():
        lone = sorted(downs.keys() ^ ups.keys())
        lack = f"one half of {lone[0]} is missing" if lone else "it holds no layer"
        raise ValueError(f"{path} is not a whole LoRA: {lack}.")
    for name, down in downs.items():
        up = ups[name]
        flat = up.ndim == down.ndim in (2, 4) and up[0, 0].numel() == 1
        if not (flat and len(down) == up.shape[1] and 1 <= len(down) <= LARGEST_RANK):
            raise ValueError(f"{path} does not fit together: in {name} A is {tuple(down.shape)} and B "
                             f"{tuple(up.shape)}, where (rank, in) and (out, rank) are needed.")
        if not (down.isfinite().all() and up.isfinite().all()):
            raise ValueError(f"{path} holds NaN or infinite numbers in {name}: its training went wrong.")
    return {name: (down, ups[name]) for name, down in downs.items()}


def _scale(path, notes):
    """alpha / rank. PEFT writes its settings beside the tensors; where there are none, alpha is the rank."""
    try:
        settings = dict(json.loads(notes.get("lora_adapter_metadata", "{}")))
        scale = settings["unet.lora_alpha"] / settings["unet.r"] if "unet.lora_alpha" in settings else 1.0
        if not abs(scale) <= LARGEST_SCALE:  # NaN is no smaller
            raise ValueError(f"alpha / rank is {scale}")
    except (ValueError, KeyError, TypeError, ArithmeticError, RecursionError) as error:
        reason = str(error).splitlines()[0][:80] if str(error) else type(error).__name__
        raise ValueError(f"{path} has settings that cannot be read ({reason}): save it again.") from None
    others = ("alpha_pattern", "rank_pattern", "use_dora", "use_rslora")
    if any(settings.get(f"unet.{name}") for name in others):
        raise ValueError(f"{path} is a LoRA of another kind, or not alike in all layers: a pipeline's "
                         "load_lora_weights reads it.")
    return scale
