"""Cross-attention, where words enter the picture: record it, pool it, score it, change it.

prompt = "a red boat on a lake"
with record_attention(c.unet) as attention:
    generate(c, prompt, seed=0)
heat = word_map(attention, c.tokenizer, prompt, "boat")  # (128, 128), 0..1
with reweight_attention(c.unet, {3: 0}):  # mute the token at position 3
    without = generate(c, prompt, seed=0)
"""

from helpers.attention.caught import caught
from helpers.attention.record import AttentionRecord, Layer, record_attention
from helpers.attention.reweight import reweight_attention
from helpers.attention.score import (
    MapScore,
    centre_prior,
    each_layer,
    iou,
    look_at_cards,
    pointing_hit,
    score_maps,
    six_ways,
    word_map,
    word_maps,
)

__all__ = [
    "AttentionRecord",
    "Layer",
    "MapScore",
    "caught",
    "centre_prior",
    "each_layer",
    "iou",
    "look_at_cards",
    "pointing_hit",
    "record_attention",
    "reweight_attention",
    "score_maps",
    "six_ways",
    "word_map",
    "word_maps",
]
