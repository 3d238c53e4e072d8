"""Attention inside a U-Net, open to watchers, which look on or change what is read.

A watcher has two methods: begin_step(unet, args, kwargs), called before each call of the U-Net, and
look(name, query, key, scale, mask) -> (key, mask), called by each cross-attention. It watches the calls of the
thread that seated it and no others: whoever draws with the same U-Net on another thread draws as if it were not
there. Source: the attention processors of diffusers.
"""

import copy
import threading
import weakref

import torch.nn.functional as F
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

from helpers.interrupts import block

LIBRARY = (AttnProcessor, AttnProcessor2_0)  # what `FusedAttention` stands in for: both compute the same
_rows, _lock = weakref.WeakKeyDictionary(), threading.Lock()  # U-Net -> the row of seats in it, while one is taken


@block
def watch_attention(unet, watcher, first=False):
    """Attach a watcher to every cross-attention of a U-Net; it is detached when the block ends, even by an error.

    unet: a UNet2DConditionModel of the Stable Diffusion 1.x or 2.x layout. first: before those that sit there
    already. Raises TypeError for something else than a U-Net, ValueError where it has no cross-attention or one
    that works in a way of its own, RuntimeError where this thread has seated one of the same kind.
    """
    if not hasattr(unet, "set_attn_processor"):
        raise TypeError(f"This takes the U-Net of a model that reads words, c.unet, not {type(unet).__name__}.")
    with _lock:
        row = _rows.get(unet) or Row(unet)
        row.admit(watcher, first)
        _rows[unet] = row
    try:
        yield watcher
    finally:
        with _lock:
            row.dismiss(watcher)
            if not row.taken:
                _rows.pop(unet, None)


class Row:
    """The hooks of one U-Net, installed for its first watcher and removed after the last one."""

    def __init__(self, unet):
        self.unet, self.taken, self.hook = weakref.ref(unet), [], None  # taken: [(thread, watcher), ...]
        self.library = {
            path: one for path, one in unet.attn_processors.items() if path.endswith(".attn2.processor")
        }  # {"down_blocks.0...attn2.processor": processor, ...}
        if not self.library:
            raise ValueError(
                f"This {type(unet).__name__} has no cross-attention, no layer called attn2: it "
                f"reads no words, so there is nothing to look at."
            )
        for path, one in self.library.items():
            if type(one) not in LIBRARY:
                raise ValueError(
                    f"The attention {path.removesuffix('.processor')} works in a way of its own "
                    f"({type(one).__name__}), which would be left out: put the library's back with "
                    f"unet.set_default_attn_processor() first."
                )

    @property
    def watchers(self):
        """The watchers that the calling thread has attached, in order."""
        here = threading.get_ident()
        return [watcher for thread, watcher in self.taken if thread == here]

    def __deepcopy__(self, memo):
        return self  # the copy of a U-Net keeps the hook, which does not heed copies

    def admit(self, watcher, first):
        if any(type(one) is type(watcher) for one in self.watchers):
            raise RuntimeError(f"This U-Net is {watcher.doing} already: leave that block first.")
        watcher.layer_count = len(self.library)
        if not self.taken:
            unet, seats = (
                self.unet(),
                {
                    path: FusedAttention(path.removesuffix(".processor"), self, one)
                    for path, one in self.library.items()
                },
            )
            unet.set_attn_processor(unet.attn_processors | seats)
            self.hook = unet.register_forward_pre_hook(self.begin_step, with_kwargs=True)
        mine = (threading.get_ident(), watcher)
        self.taken = [mine, *self.taken] if first else [*self.taken, mine]  # a new list: others may be reading

    def dismiss(self, watcher):
        self.taken = [(thread, one) for thread, one in self.taken if one is not watcher]
        unet = self.unet()
        if unet is not None and not self.taken and self.hook is not None:
            unet.set_attn_processor(unet.attn_processors | self.library)
            self.hook.remove()

    def begin_step(self, unet, args, kwargs):
        """Called before each call of the U-Net, and of copies of it, which are not watched."""
        for watcher in self.watchers if unet is self.unet() else ():
            watcher.begin_step(unet, args, kwargs)


class FusedAttention:
    """Attention as diffusers' AttnProcessor2_0 computes it, with watchers looking on: the same, bit for bit."""

    def __init__(self, name, row, library):
        self.name, self.row, self.library = name, row, library

    def __deepcopy__(self, memo):
        return copy.deepcopy(self.library, memo)  # a copy of a watched U-Net is not watched

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None):
        """hidden_states: (B, n, C), n = h * w places; encoder_hidden_states: (B, T, d), or None: the places read
        each other. Returns (B, n, C)."""
        watchers = self.row.watchers
        if not watchers:  # those that sit here belong to another thread
            return self.library(attn, hidden_states, encoder_hidden_states, attention_mask, temb)
        residual, text = hidden_states, encoder_hidden_states
        if attention_mask is not None:
            length = (hidden_states if text is None else text).shape[1]
            attention_mask = attn.prepare_attention_mask(attention_mask, length, len(hidden_states))
            attention_mask = attention_mask.unflatten(0, (-1, attn.heads))  # -> (B, heads, 1, T)
        if attn.group_norm is not None:
            hidden_states = attn.group_norm(hidden_states.transpose(1, 2)).transpose(1, 2)
        query = split(attn.to_q(hidden_states), attn, attn.norm_q)
        if text is None:
            text = hidden_states
        elif attn.norm_cross is not None:
            text = attn.norm_encoder_hidden_states(text)
        key, value = split(attn.to_k(text), attn, attn.norm_k), split(attn.to_v(text), attn)

        for watcher in watchers:
            key, attention_mask = watcher.look(self.name, query, key, attn.scale, attention_mask)
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=attention_mask, scale=attn.scale)

        out = out.transpose(1, 2).flatten(2).to(query.dtype)  # (B, heads, n, C/heads) -> (B, n, C)
        out = attn.to_out[1](attn.to_out[0](out))
        out = out + residual if attn.residual_connection else out
        return out if attn.rescale_output_factor == 1 else out / attn.rescale_output_factor


def split(x, attn, norm=None):
    """(B, n, C) -> (B, heads, n, C/heads)."""
    x = x.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
    return x if norm is None else norm(x)


def latents_of(args, kwargs):
    """The latents a U-Net is called with, (B, C, h, w)."""
    return args[0] if args else kwargs["sample"]
