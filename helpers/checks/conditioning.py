"""Exercises 1 to 4, lesson 03. A check tries properties from the most telling to the least, and stops at the
first that fails."""

import math

import torch
import torch.nn.functional as F

from helpers.checks.base import Sheet, close, mistaken_for, random

sheet = Sheet("03", core=2)
progress, yours, yours_else = sheet.progress, sheet.yours, sheet.yours_else


def reference(x, text, w_q, w_k, w_v, heads):
    """The answer to exercise 1: (1, n, C), (1, T, d) -> out (1, n, C), maps (1, heads, n, T)."""
    q, k, v = (y.unflatten(-1, (heads, -1)).transpose(1, 2) for y in (x @ w_q.T, text @ w_k.T, text @ w_v.T))
    maps = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
    return (maps @ v).transpose(1, 2).flatten(2), maps


@sheet.exercise(
    1,
    lambda x, text, Wq, Wk, Wv, heads: {
        "output": (*x.shape[:2], len(Wv)),
        "maps": (len(x), heads, x.shape[1], text.shape[1]),
    },
)
def cross_attention(answer):
    """cross_attention(x, text, Wq, Wk, Wv, heads): (B, n, C), (B, T, D) -> out, maps (B, heads, n, T)."""
    x, text, heads = random(2, 6, 8), random(2, 5, 12, seed=1), 4
    w_q, w_k, w_v = random(8, 8, seed=2), random(8, 12, seed=3), random(8, 12, seed=4)
    out, maps = answer(x, text, w_q, w_k, w_v, heads)
    right, right_maps = reference(x, text, w_q, w_k, w_v, heads)
    if not close(maps.sum(-1), torch.ones(2, heads, 6), 1e-4):
        if close(maps.sum(-2), torch.ones(2, heads, 5), 1e-4):
            return "your columns sum to 1: each cell shares out 1 over the tokens: softmax over the last axis"
        return "each cell shares out 1 over the tokens: the last axis of the maps must sum to 1"
    louder = w_q.clone()
    louder[2:4] *= 3  # the rows that make the second head
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
        return "the maps are right, the output is not: maps times values, the heads concatenated again"
    order = torch.tensor([3, 1, 4, 0, 2])
    if not close(answer(x, text[:, order], w_q, w_k, w_v, heads)[0], out, 1e-4):
        return "the output depends on the order of the tokens: it must not"
    for count in (1, 2):  # self-attention, and a single head
        if not close(answer(x, x, w_q, w_q, w_q, count)[0], reference(x, x, w_q, w_q, w_q, count)[0], 1e-5):
            return f"right for 4 heads, but with heads = {count}, where x reads itself, the output differs"


def _split(y, heads):
    return y.unflatten(-1, (heads, -1)).transpose(1, 2)


@sheet.exercise(2, float, "the mean over all pairs")
def chance_level(answer):
    """chance_level(maps, masks): (N, S, S) numbers, (N, S, S) bools -> the share of hits on the masks of other maps."""
    maps, masks = torch.zeros(4, 16, 16), torch.zeros(4, 16, 16, dtype=torch.bool)
    for i, (row, column) in enumerate(((2, 3), (2, 12), (9, 5), (14, 14))):
        maps[i, row, column], masks[i, row - 1 : row + 1, column - 1 : column + 2] = 1.0, True
    apart = answer(maps, masks)
    if close(apart, 1.0, 1e-4):
        return "this is the score itself: mark each map with the masks of the others, never with its own"
    if close(apart, 0.25, 1e-4):
        return (
            "four maps that hit their own masks and no other must give 0: leave out the pairs of a map and its own mask"
        )
    if not close(apart, 0.0, 1e-4):
        return f"four maps that hit their own masks and no other must give 0, yours is {apart:.3f}"
    everywhere = answer(maps, torch.ones_like(masks))
    if not close(everywhere, 1.0, 1e-4):
        return f"where every mask covers all, every pair is a hit and the answer 1, yours is {everywhere:.3f}: divide by the pairs"
    for count in (7, 2, 12):
        maps, masks = random(count, 16, 16, seed=count), random(count, 16, 16, seed=count + 100) > 0.3
        table = masks.flatten(1)[:, maps.flatten(1).argmax(1)].double()  # [j, i]: map i on mask j
        right = (table.sum() - table.trace()) / (count * (count - 1))
        value = answer(maps, masks)
        if close(value, right, 1e-4):
            continue
        if any(close(value, table.roll(k, 0).diag().mean(), 1e-4) for k in (1, -1)):
            return "right for one other mask a map: all the others count, N - 1 for each map"
        if close(value, 1.0 * masks.double().mean(), 1e-4):
            return "this is the area of the masks, which a map of pure noise would hit: ask where these maps point"
        return "right on simple maps, but random maps and masks come out differently: only the highest value of a map counts"


@sheet.exercise(3, float, "the mean over the batch")
def contrastive_loss(answer):
    """contrastive_loss(image_emb, text_emb, scale): (N, E), (N, E), a number -> one number."""
    images, texts, eye = random(6, 16), random(6, 16, seed=1), torch.eye(4)
    value = answer(images, texts, 10.0)
    if not close(answer(3 * images, texts / 2, 10.0), value, 1e-4):
        return "longer vectors changed the loss: divide each by its length first"
    same = answer(torch.ones(5, 8), torch.ones(5, 8), 10.0)
    if not close(same, math.log(5), 1e-4):
        return f"all pictures and captions equal: the loss must be log N = {math.log(5):.2f}, yours is {same:.2f}"
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


@sheet.exercise(4, lambda shares, i, words: (math.isqrt(shares.shape[1]),) * 2)
def token_map(answer):
    """token_map(shares, i, words): (heads, n, T), a position, positions -> (side, side), side * side = n."""
    shares = (3 * random(3, 16, 7)).softmax(-1)
    mean, words = shares.mean(0), [1, 2, 3, 4]
    value, right = answer(shares, 2, words), (mean[:, 2] - mean[:, words].mean(-1)).view(4, 4)
    hint = mistaken_for(
        value,
        [
            ("rows and columns have changed places: the cells come row by row, and view keeps that order", right.T),
            (
                "this is what token i gets: take away the mean of what the tokens in words get in the same cell",
                mean[:, 2].view(4, 4),
            ),
            (
                "the mean of all T tokens is 1 / T in every cell: take away the mean of those in words only",
                (mean[:, 2] - mean.mean(-1)).view(4, 4),
            ),
            (
                "take away the mean of the tokens in words, not their sum",
                (mean[:, 2] - mean[:, words].sum(-1)).view(4, 4),
            ),
            ("the heads must be averaged, not added up: take the mean over the first axis", 3 * right),
            (
                "this is the map of a single head: take the mean over the first axis",
                *((one[:, 2] - one[:, words].mean(-1)).view(4, 4) for one in shares),
            ),
            ("the sign is wrong: what token i gets, less the mean", -right),
        ],
        1e-5,
    )
    if hint:
        return hint
    for i, some in ((2, words), (0, range(1, 6)), (5, [5, 1])):
        for heads, side in ((3, 4), (1, 2), (4, 8)):
            shares = (3 * random(heads, side * side, 7, seed=side)).softmax(-1)
            mean = shares.mean(0)
            right = (mean[:, i] - mean[:, list(some)].mean(-1)).view(side, side)
            if not close(answer(shares, i, some), right, 1e-5):
                return "the map differs: average the heads, take column i less the mean of the columns in words, then give it its rows back"
