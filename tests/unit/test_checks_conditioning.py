"""Every check of lesson 03 accepts right answers, however written; each mistake gets its own hint."""

import torch
import torch.nn.functional as F


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


def word_map(shares, i, words, axis=0, turn=False):
    one = shares.mean(axis)
    one = (one[:, i] - one[:, words].mean(1)).reshape((round(shares.shape[1] ** 0.5),) * 2)
    return one.T if turn else one


def word_map_by_loop(shares, i, words):
    side = int(shares.shape[1] ** 0.5)
    heat = torch.zeros(side, side)
    for cell in range(side * side):
        read = sum(shares[:, cell]) / len(shares)
        heat[cell // side, cell % side] = read[i] - sum(read[k] for k in words) / len(words)
    return heat


def hits(maps, masks):
    return torch.stack([mask.flatten()[heat.argmax()] for heat, mask in zip(maps, masks)]).double()


def chance(maps, masks):
    return sum(hits(maps, masks.roll(k, 0)).mean() for k in range(1, len(maps))) / (len(maps) - 1)


def chance_by_table(maps, masks):
    table = masks.flatten(1)[:, maps.flatten(1).argmax(1)]
    return table[~torch.eye(len(maps), dtype=torch.bool)].float().mean().item()


def chance_with_own(maps, masks):
    return masks.flatten(1)[:, maps.flatten(1).argmax(1)].float().mean()


def chance_by_overlap(maps, masks):
    hot = maps.flatten(1) > 0.4 * maps.amax((1, 2))[:, None]
    table = (hot[None] & masks.flatten(1)[:, None]).any(-1)
    return table[~torch.eye(len(maps), dtype=torch.bool)].float().mean()


RIGHT = {
    "contrastive_loss": [loss, loss_by_hand],
    "cross_attention": [attention, attention_by_einsum],
    "token_map": [word_map, word_map_by_loop],
    "chance_level": [chance, chance_by_table],
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
    "token_map": [
        (lambda s, i, w: word_map(s, i, w, turn=True), "row by row"),
        (lambda s, i, w: s.mean(0)[:, i].view((int(s.shape[1] ** 0.5),) * 2), "take away the mean"),
        (lambda s, i, w: word_map(s, i, range(s.shape[2])), "1 / T in every cell"),
        (lambda s, i, w: word_map(s[:1], i, w), "single head"),
        (lambda s, i, w: word_map(s, i, w) * len(s), "averaged, not added up"),
        (lambda s, i, w: -word_map(s, i, w), "sign"),
        (lambda s, i, w: s.mean(0)[:, i], "shape"),
        (lambda s, i, w: word_map(s.softmax(1), i, w), "the map differs"),
    ],
    "chance_level": [
        (lambda h, m: hits(h, m).mean(), "the score itself"),
        (chance_with_own, "leave out the pairs"),
        (lambda h, m: chance(h, m) * (len(h) - 1) / len(h), "divide by the pairs"),
        (lambda h, m: hits(h, m.roll(1, 0)).mean(), "all the others count"),
        (chance_by_overlap, "only the highest value"),
        (hits, "one number"),
    ],
}
