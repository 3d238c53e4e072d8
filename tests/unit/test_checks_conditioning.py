"""Every check of lesson 03 accepts right answers, however written; each mistake gets its own hint."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.checks import conditioning as checks


def loss(images, texts, scale, normal=True, both=True, invert=False):
    if normal:
        images, texts = F.normalize(images, dim=-1), F.normalize(texts, dim=-1)
    logits = images @ texts.T / scale if invert else scale * images @ texts.T
    right = torch.arange(len(logits))
    rows, columns = F.cross_entropy(logits, right), F.cross_entropy(logits.T, right)
    return (rows + columns) / 2 if both else rows


def loss_by_hand(images, texts, scale):
    cosines = (images / images.norm(dim=1, keepdim=True)) @ (texts / texts.norm(dim=1, keepdim=True)).mT
    logits = scale * cosines
    return ((logits.logsumexp(0) + logits.logsumexp(1)) / 2 - logits.diag()).mean().item()


def attention(x, text, Wq, Wk, Wv, heads, axis=-1, width=None, mix=False, scale=True, plain=False):
    def split(y):
        if mix:
            return y.reshape(len(y), heads, -1, y.shape[-1] // heads)
        return y.unflatten(-1, (heads, -1)).transpose(1, 2)

    q, k, v = split(x @ Wq.T), split(text @ Wk.T), split(text @ Wv.T)
    scores = q @ k.transpose(-1, -2)
    scores = scores / (width or q.shape[-1]) ** 0.5 if scale else scores
    maps = scores.softmax(axis)
    out = (maps @ v).transpose(1, 2)
    return (out.flatten(2) if not plain else out.mT.flatten(2)), maps


def attention_by_einsum(x, text, Wq, Wk, Wv, heads):
    b, n, width = x.shape
    d = Wq.shape[0] // heads
    q = torch.einsum("bnc,hdc->bhnd", x, Wq.reshape(heads, d, -1))
    k = torch.einsum("btc,hdc->bhtd", text, Wk.reshape(heads, d, -1))
    v = torch.einsum("btc,hdc->bhtd", text, Wv.reshape(heads, d, -1))
    maps = torch.softmax(torch.einsum("bhnd,bhtd->bhnt", q, k) / d**0.5, 3)
    return torch.einsum("bhnt,bhtd->bnhd", maps, v).reshape(b, n, -1), maps


def positions(prompt, word):
    n = len(word)
    return sorted({i + k for i in range(len(prompt) - n + 1) if prompt[i:i + n] == word for k in range(n)})


def positions_by_loop(prompt, word):
    found = []
    for i in range(len(prompt)):
        if prompt[i:i + len(word)] == word:
            for k in range(len(word)):
                found.append(i + k)
    return torch.tensor(found, dtype=torch.long)


def hit(heat, mask, swap=False):
    row, column = divmod(int(heat.argmax()), heat.shape[1])
    row, column = (column, row) if swap else (row, column)
    return bool(mask[row * 8 + 4, column * 8 + 4])


def hit_by_centres(heat, mask):
    cell = len(mask) // len(heat)
    return mask[cell // 2 - 1::cell, cell // 2 - 1::cell].flatten()[heat.argmax()]


def hit_by_corner(heat, mask):
    big = heat.repeat_interleave(8, 0).repeat_interleave(8, 1)
    return mask.flatten()[big.argmax()]


def hit_by_most(heat, mask):
    return bool(F.avg_pool2d(1.0 * mask[None], len(mask) // len(heat))[0].flatten()[heat.argmax()] > 0.5)


def mean_inside_is_higher(heat, cells):
    return bool(heat[cells].mean() > heat[~cells].mean())


RIGHT = {
    "contrastive_loss": [loss, loss_by_hand],
    "cross_attention": [attention, attention_by_einsum],
    "word_positions": [positions, positions_by_loop],
    "pointing_hit": [hit, hit_by_centres],
}

WRONG = {
    "contrastive_loss": [
        (lambda i, t, s: loss(i, t, s, normal=False), "longer vectors"),
        (lambda i, t, s: loss(i, t, s, both=False), "average both directions"),
        (lambda i, t, s: loss(i, t, s, invert=True), "multiply the cosines"),
        (lambda i, t, s: 6 * loss(i, t, s), "log N"),
        (lambda i, t, s: F.normalize(i, dim=-1), "one number"),
    ],
    "cross_attention": [
        (lambda *a: attention(*a, axis=-2), "columns sum to 1"),
        (lambda *a: attention(*a, width=8), "too flat"),
        (lambda *a: attention(*a, scale=False), "too sharp"),
        (lambda *a: attention(*a, mix=True), "changing head 2"),
        (lambda *a: attention(*a)[0], "return two tensors"),
        (lambda *a: attention(*a, plain=True), "the output is not"),
        (lambda x, t, q, k, v, h: attention(x, t, q, k, v, 4), "shape"),
    ],
    "word_positions": [
        (lambda p, w: [i - 1 for i in positions(p, w)], "off by one"),
        (lambda p, w: positions(p, w)[:len(w)], "every occurrence"),
        (lambda p, w: [i for i in range(len(p)) if p[i] == w[0]], "several pieces"),
        (lambda p, w: sorted({j for i in range(len(p)) if p[i] == w[0]
                                            for j in range(i, i + len(w))}), "half a word"),
        (lambda p, w: float(len(p)), "a list of whole numbers"),
    ],
    "pointing_hit": [
        (lambda h, m: bool(m.flatten()[h.argmax()]), "scale its index"),
        (lambda h, m: hit(h, m, swap=True), "exchanged"),
        (lambda h, m: mean_inside_is_higher(h, F.avg_pool2d(1.0 * m[None], 8)[0] > 0.5), "single highest cell"),
        (lambda h, m: m, "True or False"),
        (lambda h, m: hit(h[:16, :16], m), "32 x 32"),
        (hit_by_corner, "its middle pixel decides"),
        (hit_by_most, "its middle pixel decides"),
    ],
}


def test_word_positions_takes_arrays():
    assert checks.word_positions.hint(lambda p, w: np.array(positions(p, w), int)) == "right"
