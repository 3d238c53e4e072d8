"""Every check of lesson 02 accepts right answers, however written; each mistake gets its own hint."""

import pytest
import torch
from helpers.checks import latents as checks
from torch.distributions import Normal, kl_divergence


def kl(mean, logvar):
    return 0.5 * (mean**2 + logvar.exp() - 1 - logvar)


def kl_by_loop(mean, logvar):
    return torch.stack([sum(kl(m, v).flatten()) for m, v in zip(mean, logvar)])


def fit(latents, rgb, ones=True, mixed=False):
    if mixed:
        cells, colours = latents.reshape(-1, latents.shape[1]), rgb.reshape(-1, 3)
    else:
        cells, colours = latents.movedim(1, -1).flatten(0, 2), rgb.movedim(1, -1).flatten(0, 2)
    cells = torch.cat([cells, torch.ones(len(cells), 1)], 1) if ones else cells
    fitted = torch.linalg.lstsq(cells, colours).solution
    return (fitted[:-1], fitted[-1]) if ones else (fitted, torch.zeros(3))


def fit_centred(latents, rgb):
    cells = latents.permute(0, 2, 3, 1).reshape(-1, latents.shape[1])
    colours = rgb.permute(0, 2, 3, 1).reshape(-1, 3)
    z, y = cells - cells.mean(0), colours - colours.mean(0)
    W = torch.linalg.solve(z.T @ z, z.T @ y)
    return W, colours.mean(0) - cells.mean(0) @ W


def fit_backwards(latents, rgb):
    cells, colours = latents.movedim(1, -1).flatten(0, 2), rgb.movedim(1, -1).flatten(0, 2)
    middle, grey = cells.mean(0), colours.mean(0)
    W = torch.linalg.pinv(torch.linalg.lstsq(colours - grey, cells - middle).solution)
    return W, grey - middle @ W


def graph_cut(mean, logvar, eps):
    return mean + (logvar / 2).exp().detach() * eps


RIGHT = {
    "kl_to_prior": [
        lambda m, v: kl(m, v).sum((1, 2, 3)),
        lambda m, v: kl_divergence(Normal(m, (v / 2).exp()), Normal(0.0, 1.0)).flatten(1).sum(1),
        kl_by_loop,
    ],
    "sample_latent": [
        lambda m, v, e: m + (v / 2).exp() * e,
        lambda m, v, e: torch.addcmul(m, v.exp().sqrt(), e),
        lambda m, v, e: Normal(m, v.exp() ** 0.5).loc + v.exp() ** 0.5 * e,
    ],
    "fit_preview": [fit, fit_centred],
}

WRONG = {
    "kl_to_prior": [
        (lambda m, v: kl(m, v), "add them up"),
        (lambda m, v: kl(m, v).sum(), "keep the pictures apart"),
        (lambda m, v: kl(m, v).sum((1, 2, 3)).item() if len(m) == 1 else 3.0, "keep the pictures apart"),
        (lambda m, v: kl(m, v).mean((1, 2, 3)), "averaged"),
        (lambda m, v: 2 * kl(m, v).sum((1, 2, 3)), "where is the half"),
        (lambda m, v: 0.5 * (m**2 + v - 1 - v.abs().clamp(min=1e-9).log()).sum((1, 2, 3)), "must cost 0"),
        (lambda m, v: 0.5 * (m**2 + v.exp() - 1 + v).sum((1, 2, 3)), "never negative"),
        (lambda m, v: 0.5 * (m**2 + (v / 2).exp() - 1 - v).sum((1, 2, 3)), "wrong for the width"),
        (lambda m, v: 0.5 * (m.abs() + v.exp() - 1 - v).sum((1, 2, 3)), "yours costs 1.00"),
        (lambda m, v: kl(m, v).sum((2, 3)), "has shape (3, 4), expected (3,)"),
    ],
    "sample_latent": [
        (lambda m, v, e: m + v.exp() * e, "square root"),
        (lambda m, v, e: m + v * e, "exp first"),
        (lambda m, v, e: m + e, "multiply it by sigma"),
        (lambda m, v, e: m + (v / 2).exp() * torch.randn_like(e), "you are given"),
        (lambda m, v, e: (v / 2).exp() * e, "must give the mean"),
        (lambda m, v, e: m * 1.0, "no effect"),
        (lambda m, v, e: m + (-v / 2).exp() * e, "must be sigma"),
        (graph_cut, "no gradient"),
        (lambda m, v, e: (m + (v / 2).exp() * e)[0], "has shape (4, 3, 3)"),
    ],
    "fit_preview": [
        (lambda z, y: fit(z, y, ones=False), "a column of ones"),
        (lambda z, y: fit(z, y, mixed=True), "channels and positions are mixed"),
        (fit_backwards, "the other way round"),
        (lambda z, y: fit(z, y)[0], "return two tensors"),
        (lambda z, y: (fit(z, y)[0].T, fit(z, y)[1]), "W: the answer has shape (3, 4), expected (4, 3)"),
        (lambda z, y: (fit(z, y)[0], fit(z, y)[1][:, None]), "b: the answer has shape (3, 1)"),
    ],
}
