"""LoRA files: written in the format of diffusers and PEFT; read, with care, in every layout found in the wild.

A layer's two halves are called, in the layout of
    PEFT, and diffusers today    unet.LAYER.lora_A.weight, text_encoder.text_model.LAYER.lora_A.weight; and lora_B
    diffusers 0.21 and later     unet.LAYER.lora.down.weight, text_encoder.text_model.LAYER.lora_linear_layer.down.weight; and up
    diffusers 0.13 to 0.20       unet.ATTENTION.processor.to_q_lora.down.weight, with and without "unet."; and up
    kohya's sd-scripts           lora_unet_LAYER.lora_down.weight, lora_te_text_model_LAYER.lora_down.weight, with _ for every
                                 dot in LAYER; and lora_up; and LAYER.alpha beside them
"""

import json
import re
from functools import partial
from pathlib import Path

from helpers.runtime import seeded_generator

import torch
from safetensors.torch import save_file

from helpers import inputs
from helpers.components import Components
from helpers.files import filling, write_atomic
from helpers.formats import HALF, LORAS, candidates, made_for, read, what_is
from helpers.interrupts import whole
from helpers.lora.layers import LARGEST_RANK, LAYERS, TEXT, Lora, lora_layer, own_layers

FILE = LORAS[0]
LARGEST_SCALE = 10_000  # alpha / rank: usually 1, and never more than a few hundred
OTHER_SETTINGS = ("alpha_pattern", "rank_pattern", "use_rslora")  # of PEFT, beside alpha and rank


def save_lora(lora: Lora, folder: str | Path) -> Path:
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
        name = name.replace(TEXT, f"{TEXT}text_model.") if name.startswith(TEXT) else f"unet.{name}"
        tensors[f"{name}.lora_A.weight"] = down.reshape(len(down), -1, *sides).contiguous()
        tensors[f"{name}.lora_B.weight"] = up.reshape(*up.shape, *(1 for _ in sides)).contiguous()
    with filling(folder) as folder:
        write_atomic(folder / FILE, lambda file: save_file(tensors, file, metadata={"format": "pt"}))
    return folder / FILE


@whole
def load_lora(c: Components, where: str | Path) -> Lora:
    """The LoRA of a file, added to c.unet and, where the file changes it too, to c.text_encoder: `Lora`, at strength 1.

    where: a .safetensors file, a pickle (.bin, .pt), of which only numbers are taken, or a folder with one of them, such
        as pytorch_lora_weights.safetensors; in a layout named at the head of this module.
    Raises FileNotFoundError; ValueError in one sentence for a file that is damaged, of another kind or made for another
    model, and for a model that holds LoRAs of another library; c is then as it was.
    """
    inputs.components(c)
    where = inputs.path(where, "where", f"a .safetensors file, or a folder with {FILE}")
    if not candidates(where):
        raise FileNotFoundError(f"There is no LoRA in {where}: it takes a .safetensors file, or a folder with {FILE}.")
    path, kind, width, problem, _ = what_is(where)
    if problem or kind != "LoRA":
        raise ValueError(
            problem
            or f"{path} is a concept, which is one token and its vectors, and no LoRA: open it with read_concept."
        )
    here = c.text_encoder.config.hidden_size
    if width not in (None, here):
        raise ValueError(
            f"{path} was made for another model: it reads vectors of {made_for(width)}, and the text encoder of "
            f"{c.name} writes {here}, so use one made for this."
        )
    tensors, notes = read(path)
    known = own_layers(c.unet) | {TEXT + name: layer for name, layer in own_layers(c.text_layers).items()}
    pairs, layers = _pairs(path, tensors, partial(_layer_name, {_kohya(name): name for name in known})), {}
    scales = _scales(path, notes)
    for name, (down, up, alpha) in pairs.items():
        layer, network = known.get(name), "text encoder" if name.startswith(TEXT) else "U-Net"
        if not isinstance(layer, LAYERS):
            raise ValueError(
                f"{path} was made for another model, or has names of its own for layers: this {network} has no layer "
                f"{name.removeprefix(TEXT)}, so use one made for this, in the layout of diffusers or kohya."
            )
        change, weight = (len(up), *down.shape[1:]), tuple(layer.weight.shape)
        if change != weight:
            raise ValueError(
                f"{path} was made for another model: its {name} has weights {change}, this {network}'s {weight}."
            )
        alpha = len(down) * scales[network] if alpha is None else alpha.item()
        layers[name] = lora_layer(layer, len(down), alpha, seeded_generator(0))  # replaced by the next lines
        layers[name].A.data.copy_(down.flatten(1))
        layers[name].B.data.copy_(up.flatten(1))
    return Lora(
        c.unet, {name: layers[name] for name in known if name in layers}, c.text_layers
    )  # in the order of the model


def _kohya(name):
    """What kohya's sd-scripts call a layer."""
    prefix = "lora_te_text_model_" if name.startswith(TEXT) else "lora_unet_"
    return prefix + name.removeprefix(TEXT).replace(".", "_")


def _layer_name(kohya, name):
    """What `Lora` calls the layer that a file calls `name`. kohya: {its name there: its name}."""
    name = name.replace("lora_te1_", "lora_te_", 1)
    if name.startswith(("lora_unet_", "lora_te_")):
        return kohya.get(name, name)
    name = name.replace(".processor.", ".")
    if name.startswith(TEXT):
        name = TEXT + name.removeprefix(TEXT).removeprefix("text_model.")
        return re.sub(r"\.to_(q|k|v|out)$", r".\1_proj", name)
    return re.sub(r"\.to_out$", ".to_out.0", name.removeprefix("unet."))


def _pairs(path, tensors, layer_name):
    """{layer: (A (r, in), B (out, r), alpha or None)} of the tensors of a file, in float32."""
    found = {}
    for name, tensor in tensors.items():
        match = HALF.fullmatch(str(name))  # in a pickle, a number may be a name
        if not match or not _is_real(tensor, whole=match["half"] is None):
            raise ValueError(
                f"{path} is no LoRA that can be read: it holds {name}, which is no half of a changed layer; ask "
                "for another."
            )
        half = {None: 2, "A": 0, "down": 0, "B": 1, "up": 1}[match["half"]]
        layer = found.setdefault(layer_name(match["layer"]), [None] * 3)
        if layer[half] is not None:
            raise ValueError(
                f"{path} is no LoRA that can be read: it holds {name} twice, in two layouts; ask for another."
            )
        layer[half] = tensor.float()
    for name, (down, up, alpha) in found.items():
        if down is None or up is None:
            raise ValueError(f"{path} is not a whole LoRA: one half of {name} is missing, so fetch it again.")
        flat = up.ndim == down.ndim in (2, 4) and set(up.shape[2:]) <= {1}
        if not (flat and len(down) == up.shape[1] and 1 <= len(down) <= LARGEST_RANK):
            raise ValueError(
                f"{path} does not fit together: in {name} A is {tuple(down.shape)} and B "
                f"{tuple(up.shape)}, where (rank, in) and (out, rank) are needed."
            )
        if not (down.isfinite().all() and up.isfinite().all()):
            raise ValueError(f"{path} holds NaN or infinite numbers in {name}: its training went wrong.")
        if alpha is not None and not (alpha.numel() == 1 and 0 < alpha.item() / len(down) <= LARGEST_SCALE):
            raise ValueError(f"{path} has an alpha in {name} that cannot be: it must be one number above 0.")
    return found


def _is_real(tensor, whole):
    """Whether it is a tensor of real numbers. whole: of whole ones too, as some write an alpha."""
    if not isinstance(tensor, torch.Tensor) or tensor.is_complex():
        return False
    return tensor.is_floating_point() or whole and tensor.dtype != torch.bool


def _scales(path, notes):
    """{network: alpha / rank}. PEFT writes its settings beside the tensors; where there are none, alpha is the rank."""
    try:
        settings, scales = dict(json.loads(notes.get("lora_adapter_metadata", "{}"))), {}
        for network, part in (("U-Net", "unet."), ("text encoder", TEXT)):
            scale = settings[f"{part}lora_alpha"] / settings[f"{part}r"] if f"{part}lora_alpha" in settings else 1.0
            if not 0 < scale <= LARGEST_SCALE:  # NaN is no smaller
                raise ValueError(f"alpha / rank is {scale}")
            scales[network] = scale
    except (ValueError, KeyError, TypeError, ArithmeticError, RecursionError) as error:
        raise ValueError(
            f"{path} has settings that cannot be read ({inputs.first_line(error)}): save it again."
        ) from None
    if any(settings.get(part + name) for part in ("unet.", TEXT) for name in OTHER_SETTINGS):
        raise ValueError(
            f"{path} is a LoRA whose alpha is not alike in all layers (PEFT's {', '.join(OTHER_SETTINGS)}): a "
            "pipeline's load_lora_weights reads it."
        )
    return scales
