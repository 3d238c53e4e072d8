"""What the page in web/ needs of the model, written into web/model/: `make web` calls this file.

    python -m tools.export_web [MODEL]      "postcard", or what load_components takes besides, of the postcard world

Networks become ONNX files. Their weights are stored as float16, which loses nothing where they came from float16, each
with a Cast behind it; onnxruntime runs the casts once, when it loads a file, and computes in float32. A weight that
float16 cannot hold exactly stays as it is. The text encoder knows the concepts of concepts/ that are vectors; of those
that are LoRAs the two factors of each layer are written, and where in the U-Net's file the layer's weights lie.
facts.json has the numbers and words that the page needs besides. Needs the packages of pip install -e ".[web]".
"""

import contextlib
import io
import json
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from helpers import load_components
from helpers.attention.record import reading_layers
from helpers.components import VARIANTS, Components
from helpers.concepts import Concept, read_concept
from helpers.concepts.loading import with_concepts
from helpers.files import make_folder
from helpers.formats import LORAS, VECTORS
from helpers.latents import preview_of
from helpers.library import call_of
from helpers.lora import load_lora
from helpers.postcards import captions, scene
from tools.setup_cell import ROOT, save_text

FOLDER = ROOT / "web" / "model"
OPSET = 17
SMALLEST = 64  # numbers: what is smaller stays float32, and saves a Cast
SCHEDULER = {
    "_class_name": "DDIMScheduler",
    "prediction_type": "epsilon",
    "timestep_spacing": "leading",
    "clip_sample": False,
    "thresholding": False,
    "rescale_betas_zero_snr": False,
}  # what sampler.mjs computes


class TextEncoder(torch.nn.Module):
    def __init__(self, c):
        super().__init__()
        self.text_encoder = c.text_encoder

    def forward(self, ids):
        return self.text_encoder(ids.long())[0]  # (B, 77) of int32 -> (B, 77, d)


class Read:
    """Cross-attention written out, which keeps what each place read: (B, n, 77), a mean over heads."""

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None):
        query, key, value = (
            layer(x).unflatten(-1, (attn.heads, -1)).transpose(1, 2)  # (B, heads, n or 77, d)
            for layer, x in (
                (attn.to_q, hidden_states),
                (attn.to_k, encoder_hidden_states),
                (attn.to_v, encoder_hidden_states),
            )
        )
        probabilities = (query @ key.transpose(-1, -2) * attn.scale).softmax(-1)
        self.map = probabilities.mean(1)
        return attn.to_out[0]((probabilities @ value).transpose(1, 2).flatten(2))


class UNet(torch.nn.Module):
    """Noise, and who read what: for each of the two finest grids the sum over its layers, (B, n, 77), the finest first."""

    def __init__(self, c):
        super().__init__()
        self.unet = c.snapshot().unet
        self.readers = {name: Read() for names in finest(c).values() for name in names}
        self.grids = [[self.readers[name] for name in names] for names in finest(c).values()]
        read = {f"{name}.processor": reader for name, reader in self.readers.items()}
        self.unet.set_attn_processor(self.unet.attn_processors | read)

    def forward(self, latents, timestep, prompt_embeds):
        noise = self.unet(latents, timestep, encoder_hidden_states=prompt_embeds, return_dict=False)[0]  # (B, C, h, w)
        return noise, *(sum(reader.map for reader in grid) for grid in self.grids)


def finest(c: Components) -> dict:
    """{places: names of the layers} of the two finest grids that read words, the finest first: those that maps are made of."""
    found = {}
    for name, (places, _) in reading_layers(c.unet, *c.latent_shape[1:]).items():
        found.setdefault(places, []).append(name)
    return {places: found[places] for places in sorted(found, reverse=True)[:2]}


class Decoder(torch.nn.Module):
    def __init__(self, c):
        super().__init__()
        self.vae = c.vae

    def forward(self, latents):
        return self.vae.decode(latents, return_dict=False)[0]  # raw (1, C, h, w) -> (1, 3, H, W), about -1..1


def networks(c: Components) -> dict:
    """{name: (network, inputs to trace it with by their names, names of its outputs)}; what has two rows takes one too.

    A network that never needs two has its shapes as numbers in the file, which is then loaded sooner: the text
    encoder reads one prompt a call, and a U-Net with guidance in its weights is asked for one row.
    """
    rows = 2 if c.distilled_guidance is None else 1
    latents = torch.zeros(rows, *c.latent_shape)
    ids = torch.full((1, c.max_tokens), c.tokenizer.eos_token_id, dtype=torch.int32)
    embeds = torch.zeros(rows, c.max_tokens, c.unet.config.cross_attention_dim)
    return {
        "text_encoder": (TextEncoder(c), {"ids": ids}, ["output"]),
        "unet": (
            UNet(c),
            {"latents": latents, "timestep": torch.zeros(1), "prompt_embeds": embeds},
            ["output", "fine", "coarse"],
        ),
        "decoder": (Decoder(c), {"latents": latents[:1]}, ["output"]),
    }


@torch.inference_mode()
def onnx_bytes(network: torch.nn.Module, given: dict, outputs: list[str]) -> bytes:
    """A network as an ONNX file with weights in float16; the first side of what it takes and gives is free."""
    network = network.to(memory_format=torch.contiguous_format).eval()
    free = {name: {0: "batch"} for name, value in given.items() if len(value) > 1}
    buffer = io.BytesIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # on sides that are fixed while tracing, and on there being a newer exporter
        torch.onnx.export(
            network,
            tuple(given.values()),
            buffer,
            input_names=list(given),
            output_names=outputs,
            dynamic_axes=free | ({name: {0: "batch"} for name in outputs} if free else {}),
            opset_version=OPSET,
            dynamo=False,
        )
    return halved(buffer.getvalue())


def halved(data: bytes) -> bytes:
    """An ONNX file with its float32 weights stored as float16 and widened by Casts, where the numbers stay the same."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load_from_string(data)
    casts = []
    for weight in model.graph.initializer:
        numbers = numpy_helper.to_array(weight)
        if numbers.dtype != np.float32 or numbers.size < SMALLEST:
            continue
        with np.errstate(over="ignore"):
            half = numbers.astype(np.float16)
        if not np.array_equal(half.astype(np.float32), numbers):
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model.SerializeToString()


def words_of(tokenizer) -> dict:
    """What tokenizer.mjs is made of."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in state["model"]["merges"]]
    return {
        "vocab": state["model"]["vocab"],
        "merges": merges,
        "several": getattr(tokenizer, "several", {}),
        "special": {str(token): number for number, token in tokenizer.added_tokens_decoder.items()},
        "start": tokenizer.bos_token_id,
        "end": tokenizer.eos_token_id,
        "pad": tokenizer.pad_token_id,
        "length": tokenizer.model_max_length,
    }


def library(c: Components) -> list[Concept]:
    """The course's own concepts that are vectors; none for a model of another world."""
    files = sorted(ROOT.glob(f"concepts/*/{VECTORS[0]}")) if c.world == "postcards" else []
    return [read_concept(file.parent) for file in files]


def loras(c: Components) -> dict:
    """{name: folder} of the course's own LoRAs; none for a model of another world."""
    files = sorted(ROOT.glob(f"concepts/*/{LORAS[0]}")) if c.world == "postcards" else []
    return {file.parent.name: file.parent for file in files}


def place_of(weight: torch.Tensor, data: bytes) -> tuple[int, bool]:
    """(where a layer's weights lie in an ONNX file, whether they lie there transposed). ValueError if nobody can tell."""
    half = weight.detach().half().flatten(1).numpy()
    for turned, laid in ((False, half), (True, half.T)):
        if data.count(laid.tobytes()) == 1:
            return data.index(laid.tobytes()), turned
    raise ValueError(
        f"Weights of shape {tuple(weight.shape)} lie in the ONNX file not once: a LoRA cannot be added to them."
    )


def lora_parts(c: Components, folder: Path, data: bytes) -> tuple[bytes, list[dict]]:
    """What lora.mjs takes of a LoRA: its factors, and its layers in the U-Net's ONNX file `data`."""
    lora, factors, layers = load_lora(c.snapshot(), folder), [], []
    if any(name.startswith("text_encoder.") for name in lora.layers):
        raise ValueError(f"The LoRA in {folder.name} changes the text encoder too, which the page cannot do.")
    for layer in lora.layers.values():
        at, turned = place_of(layer.weight, data)
        rank, columns = layer.A.shape
        layers.append({"at": at, "rows": len(layer.B), "columns": columns, "rank": rank, "turned": turned})
        factors += [
            layer.A.detach().half().numpy().tobytes(),
            (layer.scale * layer.B.detach()).half().numpy().tobytes(),
        ]
    return b"".join(factors), layers


def chips(concepts: list[Concept]) -> dict:
    """{attribute: what to write into a prompt for each of its values}, in the order in which captions have them."""

    def first(table):
        return [wordings[0] for wordings in table.values()]

    return {
        "kind": list(scene.KINDS),
        "colour": list(scene.COLOURS),
        "place": list(captions.PLACE_WORDS.values()),
        "ground": first(captions.GROUND_WORDS),
        "backdrop": [captions.BACKDROP_WORDS[0].format(value) for value in scene.BACKDROPS if value != "none"],
        "sky": first(captions.SKY_WORDS),
        "light": first(captions.LIGHT_WORDS),
        "weather": first(captions.WEATHER_WORDS),
        "concept": [concept.token for concept in concepts],
    }


def facts(c: Components, fast: Components | None, concepts: list[Concept], layers: dict) -> dict:
    """facts.json: what the page has to know besides the networks. fast: the variant, where the bundle has it.

    layers: {name of a LoRA: its layers in the U-Net's file}.
    """
    config = c.scheduler.config
    other = {name: config.get(name) for name, value in SCHEDULER.items() if config.get(name, value) != value}
    if other:
        raise ValueError(
            f"The page computes DDIM alone, with {SCHEDULER}, and the model's scheduler says {other}: "
            "teach web/sampler.mjs that first."
        )
    preview = preview_of(c)
    models = {"plain": c} | ({"fast": fast} if fast else {})
    return {
        "grids": [[round(places**0.5), len(names)] for places, names in finest(c).items()],  # side, layers
        "image_size": c.image_size,
        "latent_shape": c.latent_shape,
        "scaling_factor": c.vae.config.scaling_factor,
        "alphas_cumprod": c.scheduler.alphas_cumprod.tolist(),
        "final_alpha_cumprod": float(c.scheduler.final_alpha_cumprod),
        "steps_offset": config.steps_offset,
        "preview": {"weight": preview.weight.tolist(), "bias": preview.bias.tolist()},
        "models": {
            name: {"steps": one.steps, "guidance": one.guidance, "distilled_guidance": one.distilled_guidance}
            for name, one in models.items()
        },
        "loras": {name: {"call": call_of(folder), "layers": layers[name]} for name, folder in loras(c).items()},
        "tokenizer": words_of(c.tokenizer),
        "words": chips(concepts),
    }


def fast_variant(c: Components) -> Components | None:
    """The bundle's U-Net for few calls, None where the bundle has none."""
    folder, variant = c.path, VARIANTS["postcard-fast"]
    card = folder / "course.json"
    listed = json.loads(card.read_text(encoding="utf-8")).get("variants", {}) if card.is_file() else {}
    return load_components(folder, device="cpu", variant=variant) if variant in listed else None


def export(model: str = "postcard", folder: Path = FOLDER) -> list[Path]:
    """Write what the page needs of a model; returns the files. What lay there of another model is replaced.

    SystemExit, with a sentence, without the package onnx.
    """
    if find_spec("onnx") is None:
        sys.exit(
            'Writing ONNX files needs the package onnx: run make web, or pip install -c constraints.txt -e ".[web]".'
        )
    c = load_components(model, device="cpu")
    fast, concepts, files, layers = fast_variant(c), library(c), [], {}
    c = with_concepts(c, *concepts)
    parts = networks(c) | ({"unet-fast": networks(fast)["unet"]} if fast else {})
    for name, (network, given, outputs) in parts.items():
        files.append(make_folder(folder) / f"{name}.onnx")
        files[-1].write_bytes(onnx_bytes(network, given, outputs))
    unet = (folder / "unet.onnx").read_bytes()
    for name, source in loras(c).items():
        factors, layers[name] = lora_parts(c, source, unet)
        files.append(folder / f"lora-{name}.bin")
        files[-1].write_bytes(factors)
    sizes = {file.name: file.stat().st_size for file in files}
    files.append(folder / "facts.json")  # last: the others are whole
    save_text(files[-1], json.dumps(facts(c, fast, concepts, layers) | {"sizes": sizes}, ensure_ascii=False) + "\n")
    for old in set(folder.iterdir()) - set(files):
        old.unlink()
    return files


def main(arguments: list[str]) -> int:
    if len(arguments) > 1:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    for file in export(*arguments):
        print(f"{file.stat().st_size / 1e6:6.2f} MB  {file.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
