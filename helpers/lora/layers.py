"""A linear layer with a low-rank change beside it, and a U-Net full of them."""

import math
from collections.abc import Iterable

from helpers.runtime import seeded_generator, whole_number

import torch
import torch.nn.functional as F
from torch import nn

from helpers import inputs
from helpers.components import copy_of
from helpers.interrupts import whole

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")  # the linear layers of every attention, by how names end
EVERYWHERE = (*ATTENTION, "ff.net.0.proj", "ff.net.2", "conv1", "conv2")  # and what lies between them
LARGEST_RANK = 1024
TEXT = "text_encoder."  # what the names of a LoRA's layers in a text encoder begin with


class LoraLinear(nn.Module):
    """y = W x + b + strength * (alpha / rank) * B A x, with W and b of the layer that it stands in for.

    base: that nn.Linear, or another LoraLinear. A: (rank, in), small random numbers; B: (out, rank), zeros:
    at first y is the layer's own, bit for bit. Both are float32, whatever the layer is. scale: alpha / rank;
    alpha None: 1. rank: 1 to 1024. generator: of A, of torch, on the CPU; None: torch's own.
    """

    def __init__(self, base, rank, alpha=None, generator=None):
        super().__init__()
        if not isinstance(base, LAYERS):
            raise TypeError(f"base must be a linear layer or a convolution, not {inputs.shown(base)}.")
        whole_number(rank, "rank", 1, LARGEST_RANK), _check_alpha(alpha, rank)
        self.base = base
        like = {"dtype": torch.float32, "device": base.weight.device}
        width = base.weight[0].numel()  # in; in * k * k of a convolution
        start = (2 * torch.rand(rank, width, generator=generator) - 1) / math.sqrt(width)  # PEFT's spread
        self.A = nn.Parameter(start.to(**like))
        self.B = nn.Parameter(torch.zeros(len(base.weight), rank, **like))
        self.scale, self.strength, self.merged = (alpha or rank) / rank, 1.0, False
        self.register_state_dict_post_hook(_as_one_layer)

    def forward(self, x):
        y = self.base(x)
        if self.merged:
            return y
        return y + (self.strength * self.scale * self.low_rank(x.to(self.A.dtype))).to(y.dtype)

    def low_rank(self, x):
        """B A x: (..., in) -> (..., rank) -> (..., out)."""
        return F.linear(F.linear(x, self.A), self.B)

    def change(self):
        """What is added to the weights at strength 1, (out, in)."""
        return self.scale * self.B.detach() @ self.A.detach()

    @property
    def linear(self):
        """The layer of torch below, whatever stands on it."""
        return self.base.linear if isinstance(self.base, LoraLinear) else self.base

    # What code that reads a layer asks for.
    weight = property(lambda self: self.linear.weight, doc="The layer's own weights W, (out, in).")
    bias = property(lambda self: self.linear.bias, doc="The layer's own b, (out,), or None.")


def _as_one_layer(layer, state_dict, prefix, _):
    """A merged layer gives its weights as the layer that it stands in for: so they are saved, and read where no LoRA is."""
    names = [name for name in state_dict if name.startswith(prefix)] if layer.merged else []
    for name in names:
        tensor, below = state_dict.pop(name), f"{prefix}base."
        if name.startswith(below):
            state_dict[prefix + name.removeprefix(below)] = tensor


class LoraConv(LoraLinear):
    """The same for a convolution k x k, whose weights (out, in, k, k) count as a matrix (out, in * k * k)."""

    def low_rank(self, x):
        """(B, in, h, w) -> (B, rank, h', w') -> (B, out, h', w')"""
        conv = self.linear
        kernels = self.A.view(-1, *conv.weight.shape[1:])  # (rank, in, k, k)
        low = F.conv2d(x, kernels, None, conv.stride, conv.padding, conv.dilation)
        return F.conv2d(low, self.B[:, :, None, None])


LAYERS = (nn.Linear, nn.Conv2d, LoraLinear)


def lora_layer(base, rank, alpha=None, generator=None):
    """A LoraLinear or a LoraConv round a layer, whichever it takes."""
    below = base.linear if isinstance(base, LoraLinear) else base
    return (LoraConv if isinstance(below, nn.Conv2d) else LoraLinear)(base, rank, alpha, generator)


class Lora:
    """The changed layers of one U-Net, or of a model; a context manager that ends with `remove`.

    layers: {name in the U-Net, or "text_encoder." and the name in `text`: LoraLinear}. text: c.text_layers, where some are
    there. Whoever draws with this model draws with them, on other threads too; a model of one's own to put them in is
    c.snapshot(). Ctrl-C finds every change here either not begun or done.
    """

    @whole
    def __init__(self, unet, layers, text=None):
        self.unet, self.text, self.layers, self._kept = unet, text, layers, {}
        for name, layer in layers.items():
            _put(*self._place(name), layer)

    def _place(self, name):
        """The network that a layer is in, and its name there."""
        return (self.text, name.removeprefix(TEXT)) if name.startswith(TEXT) else (self.unet, name)

    def parameters(self):
        """The numbers to train, a list of A and B of every layer."""
        return [part for layer in self.layers.values() for part in (layer.A, layer.B)]

    @property
    def rank(self):
        return max(layer.A.shape[0] for layer in self.layers.values())

    @property
    def strength(self):
        """How much of the change is added: 1 as trained, 0 none, below 0 its opposite."""
        return next(iter(self.layers.values())).strength

    @strength.setter
    @whole
    def strength(self, strength):
        strength = inputs.number(strength, "strength", "a number such as 0, 0.5 or 1")
        self._check_inside()
        if self.merged:
            raise RuntimeError("This LoRA is merged into the weights: call unmerge() before you change its strength.")
        for layer in self.layers.values():
            layer.strength = strength

    @property
    def merged(self):
        return bool(self._kept)

    @property
    def inside(self):
        """Whether its layers stand in the networks: not after `remove`."""
        modules = {
            id(module) for network in (self.unet, self.text) if network is not None for module in network.modules()
        }
        return any(id(layer) in modules for layer in self.layers.values())

    def _check_inside(self):
        """RuntimeError after `remove`: its layers stand nowhere, and to merge it would change what is there without it."""
        if not self.inside:
            raise RuntimeError("This LoRA was taken out of its U-Net: put it in anew, by load_lora or add_lora.")

    def changes(self):
        """The matrices added to the weights at strength 1: {name: (out, in)}, in the order of the U-Net."""
        return {name: layer.change() for name, layer in self.layers.items()}

    def weights(self):
        """The frozen weights they are added to, as matrices too: {name: (out, in)}."""
        return {name: layer.weight.detach().flatten(1) for name, layer in self.layers.items()}

    @whole
    @torch.no_grad()
    def merge(self):
        """Add the changes, at the strength of now, to the weights: no layer more to compute. The weights are kept for `unmerge`.
        A model that is saved now, c.pipeline().save_pretrained(folder), holds the sums, and can be read anywhere."""
        self._check_inside()
        if self.merged:
            raise RuntimeError("This LoRA is merged already: a second time would add it twice.")
        kept = {name: layer.linear.weight.data for name, layer in self.layers.items()}
        merged = {
            name: (kept[name] + layer.strength * layer.change().view_as(kept[name])).to(kept[name].dtype)
            for name, layer in self.layers.items()
        }  # all of them, before the first is put in: memory may run out
        for name, layer in self.layers.items():
            layer.linear.weight.data, layer.merged = merged[name], True
        self._kept = {name: (kept[name], merged[name]) for name in kept}

    @whole
    def unmerge(self):
        """Put the kept weights back, the very same numbers: to subtract what was added would leave rounding
        errors."""
        if not self.merged:
            raise RuntimeError("This LoRA is not merged: there is nothing to undo.")
        now = {name: layer.linear.weight.data_ptr() for name, layer in self.layers.items()}
        if any(now[name] != merged.data_ptr() for name, (_, merged) in self._kept.items()):
            raise RuntimeError(
                "The weights were changed after this LoRA was merged: undo that first, such as another merge."
            )
        for name, (kept, _) in self._kept.items():
            self.layers[name].linear.weight.data, self.layers[name].merged = kept, False
        self._kept = {}

    @whole
    def remove(self):
        """Take the layers out: the U-Net is what it was, bit for bit, other LoRAs in it aside. Does nothing a
        second time."""
        if self.merged:
            self.unmerge()
        for name, layer in self.layers.items():
            _take(*self._place(name), layer)

    @whole
    def __enter__(self):
        return self

    @whole
    def __exit__(self, *error):
        self.remove()


class OwnLayer(LoraLinear):
    """A LoraLinear that answers with a layer of the reader's own, `own`, which holds A and B."""

    def __init__(self, base, rank, alpha, generator, make):
        super().__init__(base, rank, alpha, generator)
        self.own = make(base, rank, alpha or rank)
        with torch.no_grad():
            self.own.A.copy_(self.A), self.own.B.copy_(self.B)
        self.A, self.B = self.own.A, self.own.B

    def forward(self, x):
        if self.merged:
            return self.base(x)
        if self.strength == 1:
            return self.own(x)
        y = self.base(x)
        return y + self.strength * (self.own(x) - y)


@whole
def add_lora(
    unet: nn.Module,
    rank: int = 4,
    alpha: float | None = None,
    targets: str | Iterable[str] = ATTENTION,
    seed: int = 0,
    layer: type[nn.Module] | None = None,
) -> Lora:
    """A new LoRA in a U-Net: a LoraLinear for every layer whose name ends like one of `targets`. Pictures
    stay the same.

    unet: of any size. rank: 1 to 1024. alpha: a number above 0; the change counts alpha / rank; None: 1.
    layer: None, or a class of your own that stands in for nn.Linear: layer(linear, rank, alpha), a module with A (rank, in)
    and B (out, rank), in float32. It can not stand on another LoRA. seed: of the A. Returns `Lora`. Raises TypeError or
    ValueError, and then the U-Net is as it was.
    """
    if not isinstance(unet, nn.Module):
        raise TypeError(f"This takes a U-Net, c.unet, not {inputs.shown(unet)}.")
    whole_number(rank, "rank", 1, LARGEST_RANK), _check_alpha(alpha, rank)
    found, generator = layers_of(unet, targets), seeded_generator(seed)
    if layer is not None and not callable(layer):
        raise TypeError(f"layer takes a class such as LoraLinear, or None, not {inputs.shown(layer)}.")
    if layer is not None and any(isinstance(base, LoraLinear) for base in found.values()):
        raise ValueError(
            "A LoRA is in this U-Net already, and a layer of your own takes nn.Linear: call remove() of the one "
            "before, or load the model anew."
        )
    layers = {}
    for name, base in found.items():
        own = layer is not None and isinstance(base, nn.Linear)
        layers[name] = (
            OwnLayer(base, rank, alpha, generator, layer) if own else lora_layer(base, rank, alpha, generator)
        )
    return Lora(unet, layers)


def _check_alpha(alpha, rank):
    if alpha is not None:
        inputs.number(alpha, "alpha", f"a number above 0, such as the rank, {rank}", lambda alpha: alpha > 0)


def layers_of(unet, targets=ATTENTION):
    """{name: layer} of the linear layers and convolutions whose names end so. ValueError where one fits none."""
    targets = (targets,) if isinstance(targets, str) else tuple(inputs.texts(targets, "targets"))
    found = {
        name: layer
        for name, layer in own_layers(unet).items()
        if f".{name}".endswith(tuple(f".{end}" for end in targets))
    }
    lost = [end for end in targets if not any(f".{name}".endswith(f".{end}") for name in found)]
    if lost or not targets:
        raise ValueError(
            f"This {type(unet).__name__} has no linear layer or convolution called "
            f"{', '.join(lost) or 'so'}: use those of an attention, {', '.join(ATTENTION)}."
        )
    return found


def own_layers(network):
    """{name: layer} of all linear layers and convolutions. ValueError where another library has put LoRAs into them."""
    modules = dict(network.named_modules())
    if any(hasattr(module, "base_layer") for module in modules.values()):  # so PEFT calls the layer below its own
        raise ValueError(
            f"This {type(network).__name__} holds the LoRA of a pipeline already (layers of PEFT): take it out "
            "with the pipeline's unload_lora_weights()."
        )
    return {name: layer for name, layer in modules.items() if isinstance(layer, LAYERS)}


def _put(unet, name, layer):
    parent, _, child = name.rpartition(".")
    setattr(unet.get_submodule(parent), child, layer)


def _take(unet, name, layer):
    """Put layer.base where `layer` stands, at `name` or below the LoraLinears there."""
    parent, _, child = name.rpartition(".")
    parent = unet.get_submodule(parent)
    while getattr(parent, child) is not layer:
        parent, child = getattr(parent, child), "base"
        if not isinstance(parent, LoraLinear):
            return  # taken out before
    setattr(parent, child, layer.base)


def unet_without(lora):
    """The U-Net as it is but for this LoRA: a copy over the same frozen weights (`copy_of`)."""
    paths = {id(module): path for path, module in lora.unet.named_modules()}
    unet = copy_of(lora.unet)
    for layer in lora.layers.values():
        if path := paths.get(id(layer)):  # else it is in the text encoder
            _take(unet, path, unet.get_submodule(path))
    return unet
