"""Recording cross-attention while a U-Net works, and pooling what was recorded into heat maps.

The output is still made by torch's fused attention, which never forms the probabilities; they are computed
beside it, for the conditional half only, and kept as a mean over heads, one map a step and layer. Sources:
Vaswani et al. 2017 (attention), Tang et al. 2022, "What the DAAM" (heat maps of words).
"""

from collections.abc import Iterator
from typing import NamedTuple

from helpers.runtime import whole_number

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel

from helpers import inputs
from helpers.attention.processor import latents_of, watch_attention
from helpers.interrupts import block

LARGE = 20e6  # bytes a step: a record that takes more says so before it does


class Layer(NamedTuple):
    """A cross-attention layer: its path in the U-Net, and the grid of places that read the words there."""

    name: str
    height: int
    width: int


@block
def record_attention(
    unet: UNet2DConditionModel, heads: bool = False, guidance: bool | None = None
) -> Iterator["AttentionRecord"]:
    """Record the cross-attention of every call of a U-Net inside a `with` block, as an `AttentionRecord`.

    unet: a UNet2DConditionModel of the Stable Diffusion 1.x or 2.x layout. What it computes stays the same;
        when the block ends, by an error too, its attention processors are those it had before.
    heads: keep the maps of every head and not only their mean: as many times the memory as there are heads. A record
        that takes more than 20 MB a step says how much before the first step, see `record_bytes`.
    guidance: whether a batch is (unconditional, conditional), of which only the second half is kept. None:
        found out from the latents, which are the same in both halves of such a batch, call after call. Say
        False for several prompts on the same latents in one single call.
    Raises TypeError for something else than a U-Net, ValueError where it has no cross-attention, RuntimeError
    where it is being recorded already. A block holds calls of one shape: another batch or canvas raises
    ValueError.
    """
    inputs.flag(heads, "heads")
    if guidance is not None:
        inputs.flag(guidance, "guidance")
    with watch_attention(unet, AttentionRecord(heads, guidance)) as record:
        yield record


def record_bytes(unet, height, width, tokens=77, heads=False):
    """Bytes that `record_attention` keeps of one picture at one step, found out from the U-Net's plan.

    height, width: of the latents. Stable Diffusion 1.5 at 64 x 64: 4 MB in float16, 33 MB with heads=True.
    """
    plan = reading_layers(unet, height, width).values()
    return sum(places * (count if heads else 1) for places, count in plan) * tokens * unet.dtype.itemsize


def reading_layers(unet, height, width):
    """{name: (places, heads)} of a U-Net's cross-attention layers, for latents of that height and width."""
    lowest, found = len(unet.config.block_out_channels) - 1, {}
    for name, module in unet.named_modules():
        if name.endswith(".attn2"):
            kind, block = name.split(".")[:2]  # "down_blocks", "0", of full size; "mid_block", "attentions"
            halved = {"down_blocks": int, "up_blocks": lambda i: lowest - int(i)}.get(kind, lambda i: lowest)(block)
            found[name] = -(-height // 2**halved) * -(-width // 2**halved), module.heads
    return found


class AttentionRecord:
    """What `record_attention` recorded: for every step (call of the U-Net), layer and picture, who read what.

    Reading raises ValueError or TypeError for a layer, step, token or picture that was not recorded, and
    RuntimeError while nothing was.
    """

    doing = "being recorded"
    layer_count = 0  # set by watch_attention

    def __init__(self, heads, guidance):
        self._heads, self._guided = heads, guidance
        self._found = False  # whether _guided was found out from the calls
        self._shape = None  # of the latents, (B, C, h, w), both halves of a guided batch counted
        self._cells = {}  # layer name -> n, in the order in which the U-Net calls them
        self._sums = {}  # (layer name, steps, picture) -> the sum of its maps
        self._calls = []  # {layer name: (B, n, T) or (B, heads, n, T)} for each; the last may have broken off

    # Written by the U-Net

    def begin_step(self, unet, args, kwargs):
        """Called before each call of the U-Net."""
        latents = latents_of(args, kwargs)
        batch = len(latents)
        if self._shape not in (None, latents.shape):
            raise ValueError(
                f"The U-Net was called with latents {tuple(self._shape)} and then with "
                f"{tuple(latents.shape)}: open a record_attention block for each."
            )
        if self._guided and batch % 2:
            raise ValueError(f"A batch of {batch} has no halves: use record_attention(unet, guidance=False).")
        del self._calls[self.steps :]
        self._sums.clear()
        if self._found and batch % 2 == 0 and torch.equal(*latents.chunk(2)) != self._guided:
            raise ValueError(
                "The U-Net was called with guidance and without it: open a record_attention block for each drawing."
            )
        if self._guided is None:  # asked at the first call and, where that leaves it open, at the second
            if batch % 2 or not torch.equal(*latents.chunk(2)):
                self._guided, self._found = False, True
            elif self._calls:
                self._guided = self._found = True  # two prompts on the same noise have parted by now
                self._calls[0] = {name: maps[batch // 2 :].clone() for name, maps in self._calls[0].items()}
        self._shape = latents.shape
        if not self._calls:
            words = args[2] if len(args) > 2 else kwargs["encoder_hidden_states"]  # (B, T, d)
            self._say_how_much(unet, words.shape[1])
        self._calls.append({})

    def _say_how_much(self, unet, tokens):
        """Print how much memory a large record will take, before its first step."""
        rows, _, height, width = self._shape
        pictures = rows if self._guided is False else rows // 2
        whole, small = (pictures * record_bytes(unet, height, width, tokens, one) for one in (self._heads, False))
        if whole > LARGE:
            less = f", {small / 1e6:.0f} MB without heads=True" if self._heads else ""
            print(f"This record will take {whole / 1e6:.0f} MB a step{less}: {25 * whole / 1e9:.1f} GB in 25 steps.")

    @torch.no_grad()
    def look(self, name, query, key, scale, mask):
        """Called by each layer, changes nothing. query (B, heads, n, d), key (B, heads, T, d), mask or None."""
        rows = slice(len(query) // 2 if self._guided else 0, None)
        scores = query[rows].float() @ (key[rows].float() * scale).transpose(-1, -2)  # (B, heads, n, T)
        maps = (scores if mask is None else scores + mask[rows]).softmax(-1)  # over words: rows sum to 1
        self._calls[-1][name] = (maps if self._heads else maps.mean(1)).to(query.dtype)  # mean: (B, n, T)
        self._cells[name] = query.shape[2]
        return key, mask

    # Read by everybody else

    @property
    def steps(self):
        """How many steps were recorded: calls of the U-Net that went through all its layers."""
        return len(self._calls) - (len(self._calls) > 0 and len(self._calls[-1]) < self.layer_count)

    @property
    def pictures(self):
        """How many pictures were drawn at once."""
        self._require_steps()
        return self._shape[0] if self._guided is False else self._shape[0] // 2

    @property
    def layers(self):
        """The recorded layers, a list of `Layer` (name, height, width), from the U-Net's entrance to exit."""
        self._require_steps()
        return [Layer(name, *self._grid(cells)) for name, cells in self._cells.items()]

    def probabilities(self, layer, step, picture=0):
        """What each place of one layer read at one step: (h, w, T) float32; each [row, column] sums to 1.

        layer: the whole name of one of `layers`. T: tokens. Recorded with heads=True: (heads, h, w, T).
        """
        found = next((one for one in self._choose_layers(layer) if one.name == layer), None)
        if found is None:
            raise ValueError(
                f"{inputs.shown(layer)} is only the beginning of a name: attention.layers lists whole ones."
            )
        (step,), (picture,) = _indices(step, "step", self.steps), _indices(picture, "picture", self.pictures)
        maps = self._maps(found, step, picture).float().cpu()  # (n, T), or (heads, n, T)
        return maps.unflatten(-2, (found.height, found.width)).numpy()

    def heatmap(self, token_index, layers=None, steps=None, size=128, picture=0, head=None, against=None):
        """Where the picture read a word: (size, size) float32, the lowest value 0 and the highest 1.

        Pooling: mean over heads and steps, each layer's map enlarged bilinearly, mean over layers, all with
        the same weight. Then, once, (map - min) / (max - min); a map that is the same everywhere becomes 0.
        So a heat map says where and not how much; `probabilities` says how much.

        token_index: position of a token (the start token is 0), or a list of them, whose maps are added up.
        layers: None, the default: see `default_layers`. Or a name, the beginning of names ("up_blocks.1"), or
            a list of such. steps: None, all; or one or several, 0 the first and noisiest.
        size: side of the map, or (height, width) for a canvas that is not square. picture: which of a batch.
        head: one head instead of their mean, if recorded with heads=True.
        against: positions, usually those of all words of the prompt. Their mean map is taken away, so that
            what remains is where this word was read more than its neighbours were. None: nothing is.
        """
        chosen = self._choose_layers(layers)
        steps = range(self.steps) if steps is None else _indices(steps, "step", self.steps)
        (picture,) = _indices(picture, "picture", self.pictures)
        count = self._maps(chosen[0], 0, 0).shape[-1]
        tokens = _indices(token_index, "token_index", count)
        others = [] if against is None else _indices(against, "against", count)
        if head is not None and not self._heads:
            raise ValueError("The heads were not kept apart: use record_attention(unet, heads=True).")
        sides = size if isinstance(size, (list, tuple)) and len(size) == 2 else [size, size]
        size = [whole_number(side, "size", 1, 4096) for side in sides]

        grids = {}  # (height, width) -> the sum of the layers with so many places: enlarged once, since that is linear
        for layer in chosen:
            words = self._sum(layer, tuple(steps), picture)  # (n, T), or (heads, n, T)
            if self._heads:
                words = words.mean(0) if head is None else words[_indices(head, "head", len(words))[0]]
            maps = words[:, tokens].sum(-1)  # (n,)
            if others:
                maps = maps - len(tokens) * words[:, others].mean(-1)
            grid = layer.height, layer.width
            grids[grid] = grids.get(grid, 0) + maps.view(1, 1, *grid).cpu()  # (n,) -> (1, 1, h, w), on the host
        heat = sum(
            F.interpolate(maps, size, mode="bilinear", align_corners=False, antialias=True) for maps in grids.values()
        )
        heat = heat[0, 0] - heat.min()  # (1, 1, size, size) -> (size, size)
        return (heat / heat.max().clamp(min=torch.finfo().tiny)).numpy()

    def spent(self, layers=None, steps=None, picture=0, where=None):
        """How a place shares out its 1 over the tokens, on average: (T,) float32 that sums to 1.

        Over all places, heads, steps and layers, each layer with the same weight; arguments as in `heatmap`. A heat map
        says where a word is read, this says how much.

        where: a mask (H, W) of bool, as fine as the layers or finer: only the places under it, each weighted with the
        part of it that is covered. None: all places. A mask that covers nothing raises ValueError.
        """
        chosen = self._choose_layers(layers)
        steps = range(self.steps) if steps is None else _indices(steps, "step", self.steps)
        (picture,) = _indices(picture, "picture", self.pictures)
        means = []
        for layer in chosen:
            words = self._sum(layer, tuple(steps), picture)  # (n, T), or (heads, n, T)
            words = (words.mean(0) if self._heads else words).cpu()
            means.append(_covered(where, layer) @ words)
        return (sum(means) / len(means) / len(steps)).numpy()

    @property
    def default_layers(self):
        """The layers that `heatmap` pools where none are named: all those of the two finest resolutions."""
        known = self.layers
        finest = sorted({layer.height * layer.width for layer in known})[-2:]
        return [layer for layer in known if layer.height * layer.width in finest]

    def _require_steps(self):
        if not self.steps:
            raise RuntimeError("Nothing is recorded yet: call the model inside the record_attention block.")

    def _maps(self, layer, step, picture):
        """(n, T), or (heads, n, T), of one layer, step and picture, on the device it was computed on."""
        return self._calls[step][layer.name][picture - self.pictures]  # unconditional rows come first

    def _sum(self, layer, steps, picture):
        """The maps of one layer and picture added up over steps, float32. That over all steps is remembered: at 4096
        places with all heads it takes a second, and every word of a picture needs it."""
        key = layer.name, steps, picture
        if key in self._sums:
            return self._sums[key]
        words = sum(self._maps(layer, step, picture).float() for step in steps)
        if len(steps) == self.steps > 1:
            self._sums[key] = words
        return words

    def _grid(self, cells):
        """(height, width) of a layer with that many places: the latents' size, halved (rounding up) until it fits."""
        height, width = self._shape[-2:]
        while height * width > max(cells, 1):
            height, width = (height + 1) // 2, (width + 1) // 2
        if height * width != cells:
            raise ValueError(
                f"A layer with {cells} places does not fit latents {tuple(self._shape)}: this "
                f"is not a U-Net of the Stable Diffusion layout."
            )
        return height, width

    def _choose_layers(self, layers):
        known = self.layers
        if layers is None:
            return self.default_layers
        wanted, chosen = [layers] if isinstance(layers, str) else inputs.texts(layers, "layers"), []
        for name in wanted:
            found = [layer for layer in known if f"{layer.name}.".startswith(f"{name}.")]
            if not found:
                raise ValueError(
                    f"No recorded layer is called {inputs.shown(name)}: attention.layers lists all "
                    f"{len(known)}, {known[0].name!r} is the first."
                )
            chosen += found
        if not chosen:
            raise ValueError("layers is an empty list: name at least one layer, or None for the default.")
        return list(dict.fromkeys(chosen))


def _covered(where, layer):
    """The weight of each place of a layer under a mask (H, W) of bool, or of all alike: (n,) float32 that sums to 1."""
    if where is None:
        return torch.full((layer.height * layer.width,), 1 / (layer.height * layer.width))
    mask = np.asarray(where)
    if mask.ndim != 2 or mask.dtype != bool or not mask.any():
        raise ValueError(f"where must be a mask (H, W) of bools that covers something, not {inputs.shown(where)}.")
    covered = F.adaptive_avg_pool2d(torch.from_numpy(mask).float()[None], (layer.height, layer.width)).flatten()
    return covered / covered.sum()


def _indices(value, name, count):
    """One index or several as a list, each 0 to count - 1; else TypeError or ValueError."""
    several = list(value) if isinstance(value, (list, tuple, range, np.ndarray)) else [value]
    if not several:
        raise ValueError(f"{name} is an empty list: give at least one, between 0 and {count - 1}.")
    return [whole_number(one, name, 0, count - 1) for one in several]
