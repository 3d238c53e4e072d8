"""Attention inside a U-Net, with a seat from which others look on or change what is read.

A watcher has two methods: begin_step(unet, args, kwargs), called before each call of the U-Net, and
look(name, query, key, scale, mask) -> (key, mask), called by each cross-attention. Source: the attention
processors of diffusers.
"""

import contextlib
import inspect

import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention, AttnProcessor2_0


@contextlib.contextmanager
def watch_attention(unet, watcher, first=False):
    """Seat a watcher in every cross-attention of a U-Net; when the block ends, by an error too, it leaves.

    unet: a UNet2DConditionModel of the Stable Diffusion 1.x or 2.x layout. first: before those that sit there
    already. Raises TypeError for something else than a U-Net, ValueError where it has no cross-attention,
    RuntimeError where one of the same kind sits there.
    """
    if not hasattr(unet, "set_attn_processor"):
        raise TypeError(f"This takes the U-Net of a model that reads words, c.unet, "
                        f"not {type(unet).__name__}.")
    before = unet.attn_processors  # {"down_blocks.0...attn2.processor": processor, ...}
    seats = {path: getattr(before[path], "watchers", []) for path in before
             if path.endswith(".attn2.processor")}
    if not seats:
        raise ValueError(f"This {type(unet).__name__} has no cross-attention, no layer called attn2: it "
                         f"reads no words, so there is nothing to look at.")
    if any(type(one) is type(watcher) for others in seats.values() for one in others):
        raise RuntimeError(f"This U-Net is {watcher.doing} already: leave that block first.")
    watched = {path: FusedAttention(path.removesuffix(".processor"),
                                    [watcher, *others] if first else [*others, watcher])
               for path, others in seats.items()}
    watcher.layer_count = len(watched)
    hook = unet.register_forward_pre_hook(watcher.begin_step, with_kwargs=True)
    try:
        unet.set_attn_processor(before | watched)
        yield watcher
    finally:
        unet.set_attn_processor(dict(before))  # a copy: the call empties what it is given
        hook.remove()


class FusedAttention:
    """Attention as diffusers' AttnProcessor2_0 computes it, with watchers looking on: the same, bit for bit."""

    def __init__(self, name="", watchers=()):
        self.name, self.watchers = name, watchers

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None,
                 words=None):
        """hidden_states: (B, n, C), n = h * w places; encoder_hidden_states: (B, T, d), or None: the places read
        each other. words: {layer: (key, value)} of a text that many calls read, which the first one fills; None:
        this call is the only one. Returns (B, n, C)."""
        residual, text = hidden_states, encoder_hidden_states
        if attention_mask is not None:
            length = (hidden_states if text is None else text).shape[1]
            attention_mask = attn.prepare_attention_mask(attention_mask, length, len(hidden_states))
            attention_mask = attention_mask.unflatten(0, (-1, attn.heads))  # -> (B, heads, 1, T)
        if attn.group_norm is not None:
            hidden_states = attn.group_norm(hidden_states.transpose(1, 2)).transpose(1, 2)
        query = split(attn.to_q(hidden_states), attn, attn.norm_q)
        if text is None:
            key, value = read(attn, hidden_states)
        else:
            words = {} if words is None else words
            if attn not in words:
                words[attn] = read_words(attn, text)
            key, value = words[attn]

        for watcher in self.watchers:
            key, attention_mask = watcher.look(self.name, query, key, attn.scale, attention_mask)
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=attention_mask, scale=attn.scale)

        out = out.transpose(1, 2).flatten(2).to(query.dtype)  # (B, heads, n, C/heads) -> (B, n, C)
        out = attn.to_out[1](attn.to_out[0](out))
        out = out + residual if attn.residual_connection else out
        return out if attn.rescale_output_factor == 1 else out / attn.rescale_output_factor


def read_words(attn, text):
    """(key, value) of what the text encoder says, (B, T, d)."""
    return read(attn, text if attn.norm_cross is None else attn.norm_encoder_hidden_states(text))


def read(attn, x):
    """(key, value), each (B, heads, T, C/heads), of what is read: words or places, (B, T, d)."""
    return split(attn.to_k(x), attn, attn.norm_k), split(attn.to_v(x), attn)


def split(x, attn, norm=None):
    """(B, n, C) -> (B, heads, n, C/heads)."""
    x = x.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
    return x if norm is None else norm(x)


# diffusers asks every processor for its signature, at every call: found here, it need not be made each time.
FusedAttention.__call__.__signature__ = inspect.signature(FusedAttention.__call__)


def for_one_prompt(unet, prompt_embeds):
    """predict(latents, t): what unet(latents, t, encoder_hidden_states=prompt_embeds).sample is, sooner.

    For a loop that calls a U-Net again and again with one prompt: keys and values of its words are computed at
    the first call only, and the library's processors give way to `FusedAttention` while a call lasts. What another
    has seated stays where it is. A U-Net that is compiled, or that holds processors this module does not know, is
    called as it is.
    """
    plain, ours, words = type(unet) is UNet2DConditionModel, FusedAttention(), {}
    layers = [one for one in unet.modules() if isinstance(one, Attention)] if plain else []

    def predict(latents, t):
        theirs = {one: one.processor for one in layers if type(one.processor) is AttnProcessor2_0}
        known = all(one in theirs or isinstance(one.processor, FusedAttention) for one in layers)
        if not layers or not known:
            return unet(latents, t, encoder_hidden_states=prompt_embeds).sample
        try:
            for one in theirs:
                one.processor = ours
            return unet(latents, t, encoder_hidden_states=prompt_embeds,
                        cross_attention_kwargs={"words": words}).sample
        finally:
            for one, processor in theirs.items():
                one.processor = processor

    return predict


def latents_of(args, kwargs):
    """The latents a U-Net is called with, (B, C, h, w)."""
    return args[0] if args else kwargs["sample"]
