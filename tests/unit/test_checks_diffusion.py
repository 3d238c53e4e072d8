"""Every check of lesson 01 accepts right answers, however written; each mistake gets its own hint."""

import pytest
import torch
from helpers.checks import diffusion as checks


def column(a):
    return a.reshape(-1, 1, 1, 1)


def ideal(x, data, abar, shrink=True, width=2.0, stable=True, axis=1):
    square = ((x[:, None] - (abar**0.5 if shrink else 1) * data[None]) ** 2).sum(2)
    logits = -square / (width * (1 - abar))
    if stable:
        return logits.softmax(axis) @ data
    weights = logits.exp()
    return weights / weights.sum(1, keepdim=True) @ data


def one_by_one(x, data, abar):
    rows = []
    for point in x:
        distance = (point - abar.sqrt() * data).pow(2).sum(1)
        weights = torch.exp((distance.min() - distance) / (2 * (1 - abar)))
        rows.append((weights[:, None] * data).sum(0) / weights.sum())
    return torch.stack(rows)


def half_by_loop(abars, share=0.5):
    t = 0
    while abars[t] >= share:
        t += 1
    return t


RIGHT = {
    "add_noise": [
        lambda x, e, a: column(a) ** 0.5 * x + (1 - column(a)) ** 0.5 * e,
        lambda x, e, a: torch.einsum("b,bchw->bchw", a**0.5, x) + (1 - a.view(-1, 1, 1, 1)).sqrt().mul(e),
        lambda x, e, a: torch.stack([s.sqrt() * p + (1 - s).sqrt() * n for p, n, s in zip(x, e, a)]),
    ],
    "half_signal_step": [
        lambda a, share=0.5: int((a >= share).sum()),
        lambda a, share=0.5: (a < share).nonzero()[0, 0],
        half_by_loop,
    ],
    "predict_x0": [
        lambda x, e, a: (x - (1 - a).sqrt() * e) / a.sqrt(),
        lambda x, e, a: x / a**0.5 - ((1 - a) / a) ** 0.5 * e,
    ],
    "ideal_denoiser": [
        ideal,
        one_by_one,
        lambda x, d, a: torch.softmax(-torch.cdist(x, a.sqrt() * d) ** 2 / (2 - 2 * a), dim=-1) @ d,
    ],
}

WRONG = {
    "add_noise": [
        (lambda x, e, a: column(a) * x + (1 - column(a)) * e, "their squares must"),
        (lambda x, e, a: (1 - column(a)) ** 0.5 * x + column(a) ** 0.5 * e, "swapped"),
        (lambda x, e, a: a**0.5 * x + (1 - a) ** 0.5 * e, "one abar per picture"),
        (lambda x, e, a: column(a) ** 0.5 * x + (1 - column(a)) ** 0.5 * torch.randn_like(e), "you are given"),
        (lambda x, e, a: a[1] ** 0.5 * x + (1 - a[1]) ** 0.5 * e, "each has its own abar"),
        (lambda x, e, a: column(a) ** 0.5 * x + e, "expected 0.50 and 0.87"),
        (lambda x, e, a: (column(a) ** 0.5 * x + (1 - column(a)) ** 0.5 * e)[0], "has shape (4, 3, 3)"),
        (lambda x, e, a: 3.0, "return a tensor, not float"),
    ],
    "half_signal_step": [
        (lambda a, share=0.5: len(a) // 2, "half of the time"),
        (lambda a, share=0.5: int((a.sqrt() >= share).sum()), "amplitude"),
        (lambda a, share=0.5: int((a >= share).sum()) - 1, "one further"),
        (lambda a, share=0.5: 354, "one schedule only"),
        (lambda a, share=0.5: int((a >= 0.5).sum()), "use the share"),
        (lambda a, share=0.5: 7, "expected 354"),
        (lambda a, share=0.5: (a < share).float().mean(), "one whole number"),
    ],
    "predict_x0": [
        (lambda x, e, a: x - e, "all of eps"),
        (lambda x, e, a: x - (1 - a).sqrt() * e, "still shrunk"),
        (lambda x, e, a: (x - (1 - a).sqrt() * e) / a, "not by abar"),
        (lambda x, e, a: (x + (1 - a).sqrt() * e) / a.sqrt(), "taken away"),
        (lambda x, e, a: (x - (1 - a) * e) / a.sqrt(), "expected 2.00 and -1.73"),
    ],
    "ideal_denoiser": [
        (lambda x, d, a: ideal(x, d, a, shrink=False), "shrink the data"),
        (lambda x, d, a: ideal(x, d, a, width=1.0), "slope of log p"),
        (lambda x, d, a: ideal(x, d, a, stable=False), "subtract the largest exponent"),
        (lambda x, d, a: ideal(x, d, a, axis=0), "must add to 1"),
        (lambda x, d, a: d.mean(0).expand_as(x), "nearest training point"),
        (lambda x, d, a: ideal(x, d, a)[:, 0], "has shape (6,), expected (6, 2)"),
    ],
}


def stub(x0, eps, abar):
    ...


def forgot_return(x0, eps, abar):
    mixed = x0 + eps
    mixed * abar


def crashes(x0, eps, abar):
    wide = x0.flatten(1)
    return wide + eps


def in_place(x0, eps, abar):
    return x0.mul_(column(abar) ** 0.5).add_((1 - column(abar)) ** 0.5 * eps)


@pytest.mark.parametrize("answer, verdict", [
    (stub, "not answered yet"),
    (lambda x0, eps, abar: ..., "not answered yet"),
    (forgot_return, "not yet: your function returns None, is a return missing?"),
    (3, "not yet: give the function itself, not int"),
    (in_place, "right"),
])
def test_odd_answers(answer, verdict):
    assert checks.add_noise.hint(answer) == verdict


def test_an_exception_is_one_line():
    verdict = checks.add_noise.hint(crashes)
    assert verdict.startswith("not yet: your function stopped with RuntimeError: The size of tensor")
    assert verdict.endswith("(line 3 of your function)") and "\n" not in verdict
