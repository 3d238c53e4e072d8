"""Exercises 1 to 4, lesson 03. A check tries properties from the most telling to the least, and stops at the
first that fails."""
import math

import torch
import torch.nn.functional as F

from .base import Sheet, Stopped, close, random

sheet = Sheet("03")
progress, yours, yours_else = sheet.progress, sheet.yours, sheet.yours_else


@sheet.exercise(1, float, "the mean over the batch")
def contrastive_loss(answer):
    """contrastive_loss(image_emb, text_emb, scale): (N, E), (N, E), a number -> one number."""
    images, texts, eye = random(6, 16), random(6, 16, seed=1), torch.eye(4)
    value = answer(images, texts, 10.0)
    if not close(answer(3 * images, texts / 2, 10.0), value, 1e-4):
        return "longer vectors changed the loss: divide each by its length first"
    same = answer(torch.ones(5, 8), torch.ones(5, 8), 10.0)
    if not close(same, math.log(5), 1e-4):
        return (f"all pictures and captions equal: the loss must be log N = {math.log(5):.2f}, yours is "
                f"{same:.2f}")
    if not close(answer(texts, images, 10.0), value, 1e-4):
        return "swapping pictures and captions changed it: average both directions, rows and columns"
    perfect, expected = answer(eye, eye, 10.0), math.log(1 + 3 * math.exp(-10))
    if close(perfect, math.log(1 + 3 * math.exp(-0.1)), 1e-3):
        return "perfect pairs at scale 10 must be easy: multiply the cosines by scale, do not divide"
    if not close(perfect, expected, 1e-4):
        return f"four perfect pairs at scale 10 must cost {expected:.5f}, yours is {perfect:.5f}"
    logits = 10 * F.normalize(images, dim=-1) @ F.normalize(texts, dim=-1).T
    right = (F.cross_entropy(logits, torch.arange(6)) + F.cross_entropy(logits.T, torch.arange(6))) / 2
    if not close(value, right, 1e-4):
        return "right on simple inputs, but random vectors come out differently"


def reference(x, text, w_q, w_k, w_v, heads):
    """The answer to exercise 2: (1, n, C), (1, T, d) -> out (1, n, C), maps (1, heads, n, T)."""
    q, k, v = (y.unflatten(-1, (heads, -1)).transpose(1, 2) for y in (x @ w_q.T, text @ w_k.T, text @ w_v.T))
    maps = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
    return (maps @ v).transpose(1, 2).flatten(2), maps


@sheet.exercise(2, lambda x, text, Wq, Wk, Wv, heads: {
    "output": (*x.shape[:2], len(Wv)), "maps": (len(x), heads, x.shape[1], text.shape[1])})
def cross_attention(answer):
    """cross_attention(x, text, Wq, Wk, Wv, heads): (B, n, C), (B, T, D) -> out, maps (B, heads, n, T)."""
    x, text, heads = random(2, 6, 8), random(2, 5, 12, seed=1), 4
    w_q, w_k, w_v = random(8, 8, seed=2), random(8, 12, seed=3), random(8, 12, seed=4)
    out, maps = answer(x, text, w_q, w_k, w_v, heads)
    right, right_maps = reference(x, text, w_q, w_k, w_v, heads)
    if not close(maps.sum(-1), torch.ones(2, heads, 6), 1e-4):
        if close(maps.sum(-2), torch.ones(2, heads, 5), 1e-4):
            return "your columns sum to 1: each pixel shares out 1 over the words: softmax over the last axis"
        return "each pixel shares out 1 over the words: the last axis of the maps must sum to 1"
    louder = w_q.clone()
    louder[2:4] *= 3                                            # the rows that make the second head
    changed = answer(x, text, louder, w_k, w_v, heads)[1]
    others = [0, 2, 3]
    if not close(changed[:, others], maps[:, others], 1e-5):
        return "changing head 2 changed other heads: split the channels as (heads, C / heads), then transpose"
    flat = (_split(x @ w_q.T, heads) @ _split(text @ w_k.T, heads).transpose(-1, -2) / 8**0.5).softmax(-1)
    if close(maps, flat, 1e-5):
        return "too flat: each head is C / heads wide, so divide by the root of that, not of C"
    sharp = (_split(x @ w_q.T, heads) @ _split(text @ w_k.T, heads).transpose(-1, -2)).softmax(-1)
    if close(maps, sharp, 1e-5):
        return "too sharp: divide the scores by the root of C / heads before the softmax"
    if not close(maps, right_maps, 1e-5):
        return "the maps differ: softmax of queries times keys, divided by the root of C / heads"
    if not close(out, right, 1e-5):
        return "the maps are right, the output is not: maps times values, heads side by side again"
    order = torch.tensor([3, 1, 4, 0, 2])
    if not close(answer(x, text[:, order], w_q, w_k, w_v, heads)[0], out, 1e-4):
        return "the output depends on the order of the words: it must not"
    for count in (1, 2):                                        # self-attention, and a single head
        if not close(answer(x, x, w_q, w_q, w_q, count)[0], reference(x, x, w_q, w_q, w_q, count)[0], 1e-5):
            return f"right for 4 heads, but with heads = {count}, where x reads itself, the output differs"


def _split(y, heads):
    return y.unflatten(-1, (heads, -1)).transpose(1, 2)


@sheet.exercise(3, bool, "one answer for the whole map")
def pointing_hit(answer):
    """pointing_hit(heat, mask) -> bool: (16, 16) numbers or more, and 8 times as many bools a side."""
    mask = torch.zeros(128, 128, dtype=torch.bool)
    mask[0:16, 96:128] = True                                   # top right, cells (0..1, 12..15)
    heat = torch.zeros(16, 16)
    heat[1, 13] = 1.0
    try:
        hit, turned = answer(heat, mask), answer(heat.T, mask)
    except Stopped as stopped:
        if not isinstance(stopped.__cause__, IndexError):
            raise
        return "an index is too large: the map has 16 cells a side and the mask 128 pixels"
    if turned and not hit:
        return "row and column are exchanged: the first index is the row"
    if not hit:
        return "the highest cell is in the mask and you say no: a cell covers 8 x 8 pixels, scale its index"
    if turned:
        return "a map turned on its side must miss: look at where the highest cell is, row and column"
    plateau = heat.clone()
    plateau[0:2, 12:16] = 0.9
    plateau[1, 13], plateau[9, 2] = 0.9, 1.0
    if answer(plateau, mask):
        return "only the single highest cell counts, and here it lies outside; means do not count"
    for seed in range(100):
        heat, cells = random(16, 16, seed=seed), random(16, 16, seed=seed + 100) > 0
        if answer(heat, cells.repeat_interleave(8, 0).repeat_interleave(8, 1)) != cells.flatten()[heat.argmax()]:
            return "right on simple maps, but a random map and a random mask come out differently"
    heat, centre = torch.zeros(16, 16), torch.zeros(128, 128, dtype=torch.bool)
    heat[1, 13], centre[10:14, 106:110] = 1.0, True             # of that cell the middle, and nothing of its edge
    if not answer(heat, centre) or answer(heat, ~centre):
        return "right where all of a cell is in the mask or none of it; where the edge cuts it, its middle pixel decides"
    heat, cells = random(32, 32, seed=1), random(32, 32, seed=2) > 0
    if answer(heat, cells.repeat_interleave(8, 0).repeat_interleave(8, 1)) != cells.flatten()[heat.argmax()]:
        return "right for 16 x 16 cells, but a finer map of 32 x 32 comes out differently: take the sizes from heat and mask"


@sheet.exercise(4, list)
def word_positions(answer):
    """word_positions(prompt_ids, word_ids) -> list of int: prompt_ids with start and end."""
    start, end, a, red, boat, lake, piece = 1, 2, 10, 11, 12, 13, 14
    asked = [start, a, red, boat, end]
    found = answer(asked, [boat])
    if found == [2]:
        return "off by one: the start token is position 0, so the first word stands at 1"
    if found != [3]:
        return f"in \"start a red boat end\" the boat stands at [3], you return {found}"
    twice = answer([start, a, red, boat, lake, a, red, end], [red])
    if twice == [2]:
        return "every occurrence counts: \"red\" stands at 2 and at 6"
    if twice != [2, 6]:
        return f"\"red\" stands at [2, 6], you return {twice}"
    pieces = answer([start, a, piece, lake, boat, end], [piece, lake])
    if pieces == [2]:
        return "a word can be several pieces: list all of them, here [2, 3]"
    if pieces != [2, 3]:
        return f"a word of two pieces stands at [2, 3], you return {pieces}"
    if answer([start, a, piece, boat, end], [piece, lake]) != []:
        return "half a word is no word: all of its pieces must follow each other"
    if answer(asked, [lake]) != []:
        return "a word that is not there must give an empty list"
