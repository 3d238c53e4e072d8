"""A seat inside every cross-attention of a U-Net, from which others look on or change what is read.

A watcher has two methods: begin_step(unet, args, kwargs), called before each call of the U-Net, and
look(name, query, key, scale, mask) -> (key, mask), called by each layer. Source: the attention processors of
diffusers.
"""

import contextlib

import torch.nn.functional as F


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
    watched = {path: WatchedAttention(path.removesuffix(".processor"),
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


class WatchedAttention:
    """Cross-attention as diffusers' AttnProcessor2_0 computes it, fused, with watchers looking on."""

    def __init__(self, name, watchers):
        self.name, self.watchers = name, watchers

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None,
                 **kwargs):
        """hidden_states: (B, n, C), n = h * w places; encoder_hidden_states: (B, T, d). Returns (B, n, C)."""
        residual, text = hidden_states, encoder_hidden_states
        if attention_mask is not None:
            attention_mask = attn.prepare_attention_mask(attention_mask, text.shape[1], len(text))
            attention_mask = attention_mask.unflatten(0, (-1, attn.heads))  # -> (B, heads, 1, T)
        if attn.group_norm is not None:
            hidden_states = attn.group_norm(hidden_states.transpose(1, 2)).transpose(1, 2)
        if attn.norm_cross is not None:
            text = attn.norm_encoder_hidden_states(text)

        query, key, value = (x.unflatten(-1, (attn.heads, -1)).transpose(1, 2)  # -> (B, heads, n, C/heads)
                             for x in (attn.to_q(hidden_states), attn.to_k(text), attn.to_v(text)))
        if attn.norm_q is not None:
            query = attn.norm_q(query)
        if attn.norm_k is not None:
            key = attn.norm_k(key)
        for watcher in self.watchers:
            key, attention_mask = watcher.look(self.name, query, key, attn.scale, attention_mask)
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=attention_mask, scale=attn.scale)

        out = out.transpose(1, 2).flatten(2).to(query.dtype)  # (B, heads, n, C/heads) -> (B, n, C)
        out = attn.to_out[1](attn.to_out[0](out))
        return (out + residual if attn.residual_connection else out) / attn.rescale_output_factor


def latents_of(args, kwargs):
    """The latents a U-Net is called with, (B, C, h, w)."""
    return args[0] if args else kwargs["sample"]
