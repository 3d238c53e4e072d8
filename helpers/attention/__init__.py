"""Cross-attention, where words enter the picture: record it, draw heat maps, score them against the truth.

    prompt = "a red boat on a lake"
    with record_attention(c.unet) as attention:
        generate(c, prompt, seed=0)
    heat = attention.heatmap(token_positions(c.tokenizer, prompt, "boat"))  # (128, 128), 0..1
"""

from .record import AttentionRecord, Layer, RecordingProcessor, record_attention
from .score import MapScore, centre_prior, iou, pointing_hit, score_maps

__all__ = ["AttentionRecord", "Layer", "MapScore", "RecordingProcessor", "centre_prior", "iou",
           "pointing_hit", "record_attention", "score_maps"]
