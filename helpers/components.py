"""The parts of a Stable Diffusion model, loaded from one folder, and the facts that follow from them.

A model is a folder in the layout of diffusers: tokenizer, text_encoder, vae, unet, scheduler.
`load_components` opens the bundled one, one from the Hugging Face Hub, or any folder of that shape. This
module and `runtime` are the only ones that know which version of a library is installed.
"""

import collections
import copy
import json
import os
import re
import weakref
from dataclasses import dataclass, replace
from pathlib import Path

import helpers.runtime  # noqa: F401  before the libraries: it tells them to speak of errors only

import diffusers
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors import safe_open
from transformers import CLIPTextModel, CLIPTokenizer

from helpers import hub, inputs, kernel, runtime
from helpers.files import open_file, what_came_instead

MODELS = {  # name -> folder, or id on the Hub
    "postcard": Path(__file__).parent / "models" / "postcard",
    "sd15": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "sd14": "CompVis/stable-diffusion-v1-4",
    "postcard-fast": Path(__file__).parent / "models" / "postcard",
}
VARIANTS = {"postcard-fast": "fast"}  # name -> which of the weights in that folder, where they are not the plain ones
NETWORKS = {"text_encoder": CLIPTextModel, "vae": AutoencoderKL, "unet": UNet2DConditionModel}
OPENRAIL = (
    "Its licence, CreativeML OpenRAIL-M, forbids uses that harm, deceive, harass or discriminate: "
    "https://huggingface.co/spaces/CompVis/stable-diffusion-license"
)
WEIGHTS_OF = "diffusion_pytorch_model.{}.safetensors"  # of a variant, as diffusers calls them
VARIANT = re.compile("[a-z0-9_]+")
JSON_BYTES = 10e6  # settings have some thousands
LARGEST_NUMBER = 10**7  # in settings, where nothing smaller is known: a vocabulary has 49,408 entries
MOST = {  # numbers by which something is built or counted: a thousand times too large, and loading would never end
    "num_train_timesteps": 10_000,
    "sample_size": 4096,
    "num_hidden_layers": 500,
    "layers_per_block": 100,
    "transformer_layers_per_block": 100,
    "steps_offset": 1000,
}
SD15_BYTES = 4e9  # free memory in which Stable Diffusion 1.5 draws 512 x 512 in float16 without a squeeze
PIXELS_AT_ONCE = 2**20  # of all pictures that are worked on together: 4 of 512 x 512, 64 postcards
LARGE = 256  # pixels a side: the autoencoder's tensors for one picture take 0.1 GB and more above that

kernel.settle()


@dataclass(frozen=True, repr=False, eq=False)
class Components:
    """The parts of one model: plain transformers and diffusers objects, on one device, in one number format.

    name: what it was loaded as. path: its folder.
    guidance: its own default guidance scale. trained: False for random weights, whose pictures mean nothing.
    world: what its pictures show, where the course can check that: "postcards", which the judge reads and whose
        masks are known. "" for every other model, Stable Diffusion 1.5 too: nothing is claimed of its pictures.
    steps: how many it draws in by default. distilled_guidance: the scale that was folded into its U-Net, which is
        then called for the prompt alone (its guidance is 1) and draws with no other; None: a U-Net as usual.
        All five are read from course.json in the folder, if there is one.
    """

    tokenizer: CLIPTokenizer
    text_encoder: CLIPTextModel
    vae: AutoencoderKL
    unet: UNet2DConditionModel
    scheduler: diffusers.SchedulerMixin
    name: str
    path: Path
    guidance: float = 7.5
    trained: bool = True
    world: str = ""
    steps: int = 25
    distilled_guidance: float | None = None

    @property
    def device(self):
        return self.unet.device

    @property
    def dtype(self):
        return self.unet.dtype

    @property
    def vae_scale_factor(self):
        """Pixels of the picture to one of the latents, along each side: 8 in Stable Diffusion."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def latent_shape(self):
        """(C, h, w) of the latents of one picture: (4, 64, 64) in Stable Diffusion 1.5."""
        size = self.unet.config.sample_size
        return (self.unet.config.in_channels, *((size, size) if isinstance(size, int) else size))

    @property
    def image_size(self):
        """Width and height of a picture in pixels: it is square."""
        return self.latent_shape[-1] * self.vae_scale_factor

    @property
    def at_once(self):
        """How many pictures to draw, encode or train on together, so that memory suffices: as many as hold a million
        pixels, and one at least. 4 in Stable Diffusion 1.5, 64 postcards."""
        return max(1, PIXELS_AT_ONCE // self.image_size**2)

    @property
    def max_tokens(self):
        """How many tokens the text encoder reads, with the start and the end mark: 77 in CLIP."""
        return min(self.tokenizer.model_max_length, self.text_layers.config.max_position_embeddings)

    @property
    def text_layers(self):
        """The module that holds the layers of the text encoder: itself since transformers 5.6."""
        return getattr(self.text_encoder, "text_model", self.text_encoder)

    @property
    def plain(self):
        """What load_components takes for this model without its variant: a name, or the folder."""
        return next((name for name, target in MODELS.items() if target == self.path), str(self.path))

    def pipeline(self):
        """A diffusers.StableDiffusionPipeline over these same parts, silent, with a scheduler of its own."""
        pipe = diffusers.StableDiffusionPipeline(
            vae=self.vae,
            text_encoder=self.text_encoder,
            tokenizer=self.tokenizer,
            unet=self.unet,
            scheduler=type(self.scheduler).from_config(self.scheduler.config),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def snapshot(self):
        """The model as it is now, with a U-Net and a text encoder of its own: `Components`.

        What happens to this one afterwards (a LoRA, its strength, a merge, training, a hook, attention that is
        recorded) does not reach the snapshot, and the other way round. So work on another thread draws from one.
        It costs no memory to speak of: frozen weights are shared, see `copy_of`.
        """
        return replace(self, unet=copy_of(self.unet), text_encoder=copy_of(self.text_encoder))

    def __repr__(self):
        latents, dtype = "x".join(map(str, self.latent_shape)), str(self.dtype).removeprefix("torch.")
        return (
            f"Components({self.name!r}: {self.image_size}x{self.image_size} pictures, {latents} latents, "
            f"{self.max_tokens} tokens, on {self.device.type} in {dtype})"
        )


def load_components(
    name: str | Path | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    variant: str | None = None,
    sharing: Components | None = None,
) -> Components:
    """Load a model: its tokenizer, text encoder, VAE, U-Net and scheduler, as `Components`.

    name: "postcard" (bundled, never touches the network), "sd15" or "sd14" (from the Hugging Face Hub, about
        2 GB the first time), a folder in the layout of diffusers, or the id "owner/name" of one on the Hub.
        "postcard-fast": the bundled one with the U-Net that draws in few calls, its variant "fast".
        None: "postcard". Where the environment variable COURSE_MODEL is set, to any of these, it takes the
        place of "postcard", and a printed line says so.
    device: "cuda", "mps" or "cpu"; None: the best this machine has.
    dtype: a torch.dtype; None: float16 on cuda, else float32, which is all that mps and cpu are given.
    variant: the name of other weights of its networks, as in diffusers, which course.json in the folder has to list.
    sharing: a model already loaded from the same folder, with the same device and dtype. Its text encoder and its VAE are copied
        without more memory (`copy_of`), where their weights are still what the files hold. The U-Nets stay apart, weights and all.

    Raises ValueError (unknown name, device or dtype; damaged file), FileNotFoundError (no such folder, part
    or Hub model), PermissionError (the Hub wants a login), ConnectionError (the Hub is not reached) or
    MemoryError (GPU too full), each one sentence that says what to do.
    """
    if sharing is not None and not isinstance(sharing, Components):
        raise TypeError(f"sharing must be a model from load_components, or None, not {inputs.shown(sharing)}.")
    if name is not None:
        inputs.path(name, "name", 'a model\'s name, a folder or an id such as "owner/name"')
    name = _course_model() if name in (None, "postcard") else os.fspath(name)
    variant = VARIANTS.get(name) if variant is None else variant
    device = runtime.device(device)
    dtype = runtime.dtype(device, dtype)
    folder = _folder(name)
    card = _card(folder / "course.json", variant)
    _check_settings(folder)
    networks = {
        part: _shared(sharing, part, folder, device, dtype, variant)
        or _load_network(folder / part, kind, dtype, variant)
        for part, kind in NETWORKS.items()
    }
    c = Components(
        name=name,
        path=folder,
        tokenizer=_load_tokenizer(folder / "tokenizer"),
        scheduler=_load_scheduler(folder / "scheduler"),
        **networks,
        guidance=float(card.get("guidance", 7.5)),
        trained=bool(card.get("trained", True)),
        world=str(card.get("world", "")),
        steps=int(card.get("steps", 25)),
        distilled_guidance=float(card["distilled_guidance"]) if "distilled_guidance" in card else None,
    )
    _check_fit(c)
    c.tokenizer.model_max_length = c.max_tokens  # its file may say more, or nothing, which the library reads as 10**30

    if device.type == "cuda":
        weights = [weight for network in networks.values() for weight in network.parameters()]
        _check_memory(sum(weight.numel() * weight.element_size() for weight in weights), device)
    for network in networks.values():
        # Channels last: pixels of all channels side by side in memory, which convolutions read faster.
        network.to(device, memory_format=torch.channels_last)
        network.eval().requires_grad_(False)  # a lesson that trains says what it trains
    if c.image_size > LARGE:
        c.vae.enable_slicing()  # pictures of a batch are encoded and decoded one after the other
        if device.type == "cpu":
            print(
                f"On this processor a picture of {c.image_size} x {c.image_size} takes minutes, a lesson hours, and training "
                'up to 19 GB of memory: docs/sd15.md tells what each cell takes. load_components("postcard") draws in seconds.'
            )
    if device.type == "cuda" and name == "postcard" and torch.cuda.mem_get_info(device)[0] > SD15_BYTES:
        print('This GPU has room for Stable Diffusion 1.5 too: load_components("sd15").')
    return c


@torch.inference_mode(False)
def copy_of(network):
    """A network of the same layers, hooks and numbers, whose layers can be changed without changing those of the first.

    Frozen weights and buffers lie in the same memory: the copy is made in milliseconds, and only who writes into them
    in place (no code of the course does) changes both. What is being trained is copied. Nobody watches the copy.
    """
    memo = {}
    for one in network.parameters():
        memo[id(one)] = torch.nn.Parameter(
            one.detach().clone() if one.requires_grad else one.detach(), one.requires_grad
        )
    for one in network.buffers():
        memo[id(one)] = one.detach()
    for module in network.modules():
        for table in vars(module).values():
            if isinstance(table, dict) and table and all(isinstance(key, int) for key in table):
                memo[id(table)] = copy.copy(table)  # hooks, by number: the same functions, not copies of what they know
    return copy.deepcopy(network, memo)


# From a name to a folder


def _course_model():
    """What "postcard" stands for: the bundled model, or the one that COURSE_MODEL puts in its place."""
    other = os.environ.get("COURSE_MODEL") or "postcard"
    if other != "postcard":
        print(f'COURSE_MODEL is set: {other} takes the place of "postcard".')
    return other


def _bundled():
    """A sentence that offers the bundled model, which works without a network, a licence or a graphics card."""
    return (
        "Without COURSE_MODEL, " * bool(os.environ.get("COURSE_MODEL"))
        + 'load_components("postcard") needs no network.'
    )


def _folder(name):
    """The folder of the model called `name`, whole; fetched first if it is on the Hub and not cached."""
    target = MODELS.get(name, name)
    if isinstance(target, Path) or Path(target).is_dir():
        return _whole(Path(target))
    if hub.ID.fullmatch(target):
        return hub.folder(
            target,
            hub.model_files,
            _whole,
            public=name in MODELS,
            licence=OPENRAIL if name in MODELS else None,
            instead=_bundled(),
        )
    known = ", ".join(f'"{one}"' for one in MODELS)
    if re.search(r"[/\\]", target) or target.startswith(("~", ".")):
        raise FileNotFoundError(
            f"There is no model folder {inputs.shown(target, 300)}: use one that exists, or {known}."
        )
    raise ValueError(
        f"There is no model called {inputs.shown(target)}: the course knows {known}; a folder, or an id "
        f'such as "owner/name" on the Hugging Face Hub, will do too.'
    )


def _whole(folder):
    """`folder` itself. FileNotFoundError: a part of a model is missing. ValueError: a file is cut short."""
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no model in {folder}: the copy of the course is incomplete.")
    words = "tokenizer.json" if (folder / "tokenizer" / "tokenizer.json").is_file() else "vocab.json"
    for part, file in [
        ("tokenizer", words),
        ("text_encoder", "config.json"),
        ("vae", "config.json"),
        ("unet", "config.json"),
        ("scheduler", "scheduler_config.json"),
    ]:
        if not (folder / part / file).is_file():
            raise FileNotFoundError(
                f"{folder} is not a whole model: {part}/{file} is missing. It needs "
                f"folders tokenizer, text_encoder, vae, unet and scheduler."
            )
        _read_json(folder / part / file)
    for part in NETWORKS:
        _check_safetensors(_weights(folder / part))
    return folder


def _weights(folder, variant=None):
    """The path of the weights of one network, those of the variant if it has some, or FileNotFoundError."""
    own = WEIGHTS_OF.format(variant)
    name = own if (folder / own).is_file() else hub.weights_file(os.listdir(folder))
    if name is None:
        raise FileNotFoundError(
            f"{folder} has no weights in the safetensors format. (A .bin file is a "
            f"pickle, which can run code when it is opened: convert it first.)"
        )
    return folder / name


# From files to objects


def _load_network(folder, kind, dtype, variant=None):
    """One network, on the CPU, in dtype. ValueError if it is unreadable, or weights would stay random."""
    path = _weights(folder, variant)
    _check_safetensors(path)
    suffix = path.name.split(".")[1]  # diffusion_pytorch_model.fp16.safetensors, or without one
    # diffusers before 0.40 knows only torch_dtype, and says nothing about a dtype that it ignores.
    dtype_name = "torch_dtype" if kind is not CLIPTextModel and _version(diffusers) < (0, 40) else "dtype"
    try:
        with kernel.without_bars():
            network, report = kind.from_pretrained(
                folder,
                variant=None if suffix == "safetensors" else suffix,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                **{dtype_name: dtype},
            )
    except Exception as error:  # whatever a library makes of a damaged config, or of weights of another shape
        raise _unreadable(folder, error) from None
    missing = sorted(report["missing_keys"])
    if missing:
        if any(
            name.endswith((".base.weight", ".base_layer.weight")) for name in report["unexpected_keys"]
        ):  # ours, PEFT's
            raise ValueError(
                f"The weight file {path} was saved while a LoRA was in the network: save it again, with the LoRA merged or taken out."
            )
        raise ValueError(
            f"The weight file {path} is damaged: {len(missing)} weights are missing from it, "
            f"such as {missing[0]}. Fetch it again."
        )
    assert network.dtype == dtype, f"{folder.name} came as {network.dtype}, not as {dtype}"
    return network


def _shared(sharing, part, folder, device, dtype, variant):
    """The text encoder or VAE of a model already loaded, over the same memory; None where it is not what the folder's file holds.

    The copy has layers of its own: a LoRA in it, or its move to another device or dtype, does not reach the first. Hooks stay behind.
    """
    if sharing is None or part == "unet" or sharing.path != folder:
        return None
    network, path = getattr(sharing, part), _weights(folder / part, variant)
    alike = type(network) is NETWORKS[part] and (network.dtype, network.device.type) == (dtype, device.type)
    if not alike or any(weight.requires_grad for weight in network.parameters()) or not _holds(path, network):
        return None
    network = copy_of(network)
    for module in network.modules():
        for table in vars(module).values():
            if isinstance(table, dict) and table and all(isinstance(key, int) for key in table):
                table.clear()  # the copy's own: copy_of leaves the first one's as they are
    return network


def _holds(path, network):
    """Whether a weight file holds exactly the weights that this network has now."""
    _check_safetensors(path)
    with safe_open(path, "pt") as file:
        stored_names = file.keys()
        names = {
            name.removeprefix("text_model."): name for name in stored_names
        }  # transformers 5.6 took the prefix off
        for name, weight in network.named_parameters():
            stored = names.get(name.removeprefix("text_model."))
            if stored is None or not torch.equal(file.get_tensor(stored).to(weight), weight):
                return False
    return True


def _check_safetensors(path):
    """ValueError that names the file, unless its header is readable and matches the data. No weights are read."""
    try:
        with safe_open(path, "pt"):
            return
    except Exception as error:  # the library's own errors, which change by version
        raise ValueError(
            what_came_instead(path)
            or f"The weight file {path} is damaged ({inputs.first_line(error)}). Fetch it again."
        ) from None


class SharedTokenizer(CLIPTokenizer):
    """A CLIPTokenizer that a studio and a cell may ask at once.

    The library's writes padding and truncation of a call into itself before it reads the text, and meanwhile another thread's
    call, with other ones, comes out by these: 8 numbers in place of 77, and another picture, in silence. So every call is
    answered by a copy that nobody else has in hand. (Not by a lock: one that Ctrl-C leaves closed would stop all studios.)
    """

    def __call__(self, *arguments, **options):
        return self._by_a_copy(CLIPTokenizer.__call__, arguments, options)

    def encode(self, *arguments, **options):
        return self._by_a_copy(CLIPTokenizer.encode, arguments, options)

    def tokenize(self, *arguments, **options):
        return self._by_a_copy(CLIPTokenizer.tokenize, arguments, options)

    def _by_a_copy(self, method, arguments, options):
        """What a method of the library's says. The copy is laid by for the next call; one that is lost on the way is made anew."""
        spare = _spare.setdefault(self, collections.deque())
        sides = self.padding_side, self.truncation_side
        state = len(self), sides, self.model_max_length, str(self.special_tokens_map)
        try:
            known, one = spare.pop()
        except IndexError:
            known = None
        if known != state:
            one = copy.deepcopy(self)
            one.__class__ = CLIPTokenizer  # what it asks of itself is answered at once
        answer = method(one, *arguments, **options)
        spare.append((state, one))
        return answer


_spare = weakref.WeakKeyDictionary()  # {tokenizer: its copies that nobody has in hand}

# Its files are those of any CLIPTokenizer, and a pipeline that is saved with it is to be read where this course is not.
SharedTokenizer.__name__, SharedTokenizer.__module__ = CLIPTokenizer.__name__, CLIPTokenizer.__module__


def _load_tokenizer(folder):
    try:
        return SharedTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        raise _unreadable(folder, error) from None


def _load_scheduler(folder):
    """The model's own scheduler, of the class that its settings name."""
    path = folder / "scheduler_config.json"
    kind = getattr(diffusers, str(_read_json(path).get("_class_name")), None)
    if not (isinstance(kind, type) and issubclass(kind, diffusers.SchedulerMixin)) or kind is diffusers.SchedulerMixin:
        raise ValueError(f"{path} names no scheduler of diffusers.")
    try:
        scheduler = kind.from_pretrained(folder)
        copy.deepcopy(scheduler).set_timesteps(10)
        alphas_cumprod = scheduler.alphas_cumprod
        fits = bool(((alphas_cumprod >= 0) & (alphas_cumprod <= 1)).all()) and alphas_cumprod.any()
    except Exception as error:  # whatever a library makes of settings that do not fit together
        raise _unreadable(path, error) from None
    if not fits:
        raise ValueError(f"{path} is damaged: its schedule leaves less than nothing or more than all of the picture.")
    return scheduler


def _card(path, variant=None):
    """What course.json says of a model, {} without one. ValueError, before anything is loaded, where its settings make no sense.

    variant: likewise of the variant of that name, whose own words come before those of the model.
    """
    card = _read_json(path) if path.is_file() else {}
    variants = card.pop("variants", {})
    if not isinstance(variants, dict) or not all(
        VARIANT.fullmatch(name) and isinstance(own, dict) for name, own in variants.items()
    ):
        raise ValueError(
            f'variants in {path} must be settings by name, such as {{"fast": {{"steps": 8}}}}, not '
            f"{inputs.shown(variants)}."
        )
    for own in (card, *variants.values()):
        _check_card(own, path)
    if variant is None:
        return card
    if not isinstance(variant, str) or variant not in variants:
        known = ", ".join(f'"{one}"' for one in variants) or "none"
        raise ValueError(f"The model in {path.parent} has no variant called {inputs.shown(variant)}: it has {known}.")
    parts = [part for part in NETWORKS if (path.parent / part / WEIGHTS_OF.format(variant)).is_file()]
    if not parts:
        raise FileNotFoundError(
            f"{path} lists a variant {inputs.shown(variant)}, and no network there has weights of that "
            f"name: the copy of the model is incomplete."
        )
    return card | variants[variant]


def _check_card(card, path):
    """ValueError where the settings of one model, or one variant, make no sense."""
    for name in ("guidance", "distilled_guidance"):
        if name in card:
            _number(card[name], name, path, "a number of 0 or more, such as 7.5", lambda number: number >= 0)
    if "steps" in card:
        _number(
            card["steps"],
            "steps",
            path,
            "a whole number from 1 to 1000, such as 25",
            lambda number: 1 <= number <= 1000 and number == int(number),
        )
    if not isinstance(card.get("trained", True), bool):
        raise ValueError(f"trained in {path} must be true or false, not {inputs.shown(card['trained'])}.")


def _check_settings(folder):
    """ValueError, before anything is built, for settings that make no sense, or that would take for ever to build."""
    for part in NETWORKS:
        _check_numbers(folder / part / "config.json")
    _check_numbers(folder / "scheduler" / "scheduler_config.json")
    words = folder / "tokenizer" / "tokenizer_config.json"
    _read_json(words) if words.is_file() else {}

    path = folder / "vae" / "config.json"
    vae = _read_json(path)
    if "scaling_factor" in vae:
        _number(
            vae["scaling_factor"],
            "scaling_factor",
            path,
            "a number above 0, such as 0.18215",
            lambda number: number > 0,
        )
    path = folder / "unet" / "config.json"
    size = _read_json(path).get("sample_size")
    sides = size if isinstance(size, list) and len(size) == 2 else [size]
    for side in sides:
        _number(
            side,
            "sample_size",
            path,
            "a whole number above 0, such as 64, or two",
            lambda number: number >= 1 and number == int(number),
        )
    path = folder / "scheduler" / "scheduler_config.json"
    levels = _read_json(path).get("num_train_timesteps", 1000)
    _number(
        levels,
        "num_train_timesteps",
        path,
        "a whole number above 0, such as 1000",
        lambda number: number >= 1 and number == int(number),
    )


def _check_numbers(path):
    """ValueError where settings hold NaN, infinity, or a number so large that it can only be a mistake or a trap."""

    def check(value, name):
        if isinstance(value, dict):
            for key, inner in value.items():
                check(inner, key)
        elif isinstance(value, list):
            for inner in value:
                check(inner, name)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            most = MOST.get(name, LARGEST_NUMBER)
            _number(value, name, path, f"a number from -{most:,} to {most:,}", lambda number: abs(number) <= most)

    check(_read_json(path), "a setting")


def _number(value, name, path, takes, fits):
    """`inputs.number` of a setting in a file: ValueError that names both."""
    try:
        return inputs.number(value, f"{name} in {path}", takes, fits)
    except TypeError as error:
        raise ValueError(str(error)) from None


def _check_fit(c):
    """ValueError where the parts do not belong together: the U-Net reads what text encoder and VAE write."""
    text, text_read = c.text_encoder.config.hidden_size, c.unet.config.cross_attention_dim
    if text != text_read:
        raise ValueError(
            f"The parts in {c.path} do not fit: the text encoder writes vectors of {text} "
            f"numbers, the U-Net reads {text_read}."
        )
    config, asked = c.unet.config, ("time_cond_proj_dim", "class_embed_type", "num_class_embeds", "addition_embed_type")
    if more := [name for name in asked if config.get(name) is not None]:
        raise ValueError(
            f"The U-Net in {c.path} reads more than words and a time ({more[0]} in its config.json): the course draws "
            "with models of Stable Diffusion 1 and 2's kind."
        )
    length = c.tokenizer.model_max_length
    if not isinstance(length, (int, float)) or isinstance(length, bool) or not length >= 3:
        raise ValueError(
            f"model_max_length in {c.path / 'tokenizer'} must be a whole number above 2, such as 77, not "
            f"{inputs.shown(length)}."
        )
    channels, (read, height, width) = c.vae.config.latent_channels, c.latent_shape
    if channels != read or height != width:
        raise ValueError(
            f"The parts in {c.path} do not fit: the U-Net reads {read} x {height} x {width} "
            f"latents, not square ones with the VAE's {channels} channels."
        )


def _check_memory(weights, device):
    """MemoryError where the card has no room for `weights` bytes and half as much again to draw with."""
    free, total = torch.cuda.mem_get_info(device)
    if 1.5 * weights > free:
        raise MemoryError(
            f"This model needs about {1.5 * weights / 1e9:.1f} GB of GPU memory, and "
            f"{free / 1e9:.1f} of {total / 1e9:.1f} GB are free: shut down other kernels, or "
            f'use device="cpu" or load_components("postcard").'
        )


def _read_json(path):
    with open_file(path, JSON_BYTES, "settings") as file:
        try:
            content = json.loads(file.read().decode())
        except (ValueError, RecursionError) as error:
            if what_came_instead(path):
                raise ValueError(what_came_instead(path)) from None
            raise _unreadable(path, error) from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged or not of this kind: it holds no settings by name.")
    return content


def _unreadable(path, error):
    return ValueError(f"{path} is damaged or not of this kind: {inputs.first_line(error, 200)}")


def _version(library):
    return tuple(int(number) for number in re.findall(r"\d+", library.__version__)[:2])
