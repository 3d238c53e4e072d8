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


def hit_by_repeat(heat, mask):
    big = heat.repeat_interleave(8, 0).repeat_interleave(8, 1)
    return mask.flatten()[big.argmax()]


def mean_inside_is_higher(heat, cells):
    return bool(heat[cells].mean() > heat[~cells].mean())


RIGHT = {
    "contrastive_loss": [loss, loss_by_hand],
    "cross_attention": [attention, attention_by_einsum],
    "word_positions": [positions, positions_by_loop],
    "pointing_hit": [hit, hit_by_repeat],
}

WRONG = {
    "contrastive_loss": {
        "longer vectors": lambda i, t, s: loss(i, t, s, normal=False),
        "average both directions": lambda i, t, s: loss(i, t, s, both=False),
        "multiply the cosines": lambda i, t, s: loss(i, t, s, invert=True),
        "log N": lambda i, t, s: 6 * loss(i, t, s),
        "one number": lambda i, t, s: F.normalize(i, dim=-1),
    },
    "cross_attention": {
        "columns sum to 1": lambda *a: attention(*a, axis=-2),
        "too flat": lambda *a: attention(*a, width=8),
        "too sharp": lambda *a: attention(*a, scale=False),
        "changing head 2": lambda *a: attention(*a, mix=True),
        "return two things": lambda *a: attention(*a)[0],
        "the output is not": lambda *a: attention(*a, plain=True),
    },
    "word_positions": {
        "off by one": lambda p, w: [i - 1 for i in positions(p, w)],
        "every occurrence": lambda p, w: positions(p, w)[:len(w)],
        "several pieces": lambda p, w: [i for i in range(len(p)) if p[i] == w[0]],
        "half a word": lambda p, w: sorted({j for i in range(len(p)) if p[i] == w[0]
                                            for j in range(i, i + len(w))}),
        "a list of whole numbers": lambda p, w: float(len(p)),
    },
    "pointing_hit": {
        "scale its index": lambda h, m: bool(m.flatten()[h.argmax()]),
        "exchanged": lambda h, m: hit(h, m, swap=True),
        "single highest cell": lambda h, m: mean_inside_is_higher(h, F.avg_pool2d(1.0 * m[None], 8)[0] > 0.5),
        "True or False": lambda h, m: m,
    },
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_answers_are_accepted(name):
    for answer in RIGHT[name]:
        assert getattr(checks, name).hint(answer) == "right"


@pytest.mark.parametrize("name", WRONG)
def test_each_mistake_gets_its_own_hint(name):
    hints = {said: getattr(checks, name).hint(answer) for said, answer in WRONG[name].items()}
    for said, hint in hints.items():
        assert hint.startswith("not yet: ") and said in hint, (said, hint)
    assert len(set(hints.values())) == len(hints) >= 3


def test_word_positions_takes_arrays():
    assert checks.word_positions.hint(lambda p, w: np.array(positions(p, w), int)) == "right"


STUBS = {"contrastive_loss": lambda a, b, c: None, "cross_attention": lambda a, b, c, d, e, f: None,
         "word_positions": lambda a, b: None, "pointing_hit": lambda a, b: None}


@pytest.mark.parametrize("name", STUBS)
def test_an_untouched_stub_and_an_error(name):
    def broken(*arguments):
        raise ValueError("oh dear")

    assert getattr(checks, name).hint(STUBS[name]) == "not answered yet"
    assert "oh dear" in getattr(checks, name).hint(broken)
    assert "give the function itself" in getattr(checks, name).hint(3)


def test_progress_counts(capsys):
    checks.progress()
    assert capsys.readouterr().out.endswith("of 4 exercises are right.\n")
