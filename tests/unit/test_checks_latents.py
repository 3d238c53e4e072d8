"""Every check of lesson 02 accepts right answers, however written; each mistake gets its own hint."""

import torch
import torch.nn.functional as F
from torch.distributions import Normal, kl_divergence


def kl(mean, logvar):
    return 0.5 * (mean**2 + logvar.exp() - 1 - logvar)


def forward(drawn=lambda m, v, e: m + (v / 2).exp() * e, cost=lambda m, v: kl(m, v).sum(1), swapped=False):
    """An answer to exercise 2 that draws and counts as it is told."""

    def vae_forward(encoder, decoder, batch, eps):
        mean, logvar = encoder(batch).chunk(2, 1)[:: -1 if swapped else 1]
        return decoder(drawn(mean, logvar, eps)), cost(mean, logvar)

    return vae_forward


def forward_in_full(encoder, decoder, batch, eps):
    numbers = encoder(batch)
    half = numbers.shape[1] // 2
    clouds = Normal(numbers[:, :half], numbers[:, half:].exp().sqrt())
    return decoder(torch.addcmul(clouds.loc, clouds.scale, eps)), kl_divergence(clouds, Normal(0.0, 1.0)).sum(-1)


def no_graph(encoder, decoder, batch, eps):
    mean, logvar = encoder(batch).detach().chunk(2, 1)
    return decoder(mean + (logvar / 2).exp() * eps), kl(mean, logvar).sum(1)


def mirrored(first=(-1,), between=(), last=(-1,)):
    """An answer to exercise 1 that mirrors along these dimensions: the pictures, the latents, what is decoded."""
    return lambda encode, decode, pictures: decode(encode(pictures.flip(first)).flip(between)).flip(last)


def mirrored_one_by_one(encode, decode, pictures):
    halves = [decode(encode(torch.fliplr(one.movedim(0, -1)).movedim(-1, 0)[None])) for one in pictures]
    return torch.cat(halves)[..., torch.arange(pictures.shape[-1] - 1, -1, -1)]


def unit(a, dim=1, tiny=1e-8):
    return a / (a.square().sum(dim, keepdim=True) + tiny).sqrt()


def unit_outside(a):
    return a / (a.square().sum(1, keepdim=True).sqrt() + 1e-8)


def features_in_full(a, b):
    u, v = unit(a), unit(b)
    return (u.square().sum(1) + v.square().sum(1) - 2 * torch.einsum("nchw,nchw->nhw", u, v)).flatten(1).mean(1)


def features_by_cosine(a, b):  # 2, not 0, where both are 0
    return (2 - 2 * F.cosine_similarity(a, b, dim=1, eps=1e-8)).flatten(1).mean(1)


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


def over_eps(encoder, decoder, batch, eps):
    mean, logvar = encoder(batch).chunk(2, 1)
    z = mean + (logvar / 2).exp() * eps
    eps *= 0
    return decoder(z), kl(mean, logvar).sum(1)


RIGHT = {
    "mirror_control": [
        mirrored(),
        lambda encode, decode, pictures: torch.flip(decode(encode(torch.flip(pictures, [3]))), [3]),
        mirrored_one_by_one,
    ],
    "vae_forward": [
        forward(),
        forward_in_full,
        forward(cost=lambda m, v: 0.5 * (m * m + v.exp() - v).sum(1) - m.shape[1] / 2),
    ],
    "crossover": [
        lambda abars, spread: int((abars * spread**2 <= 1 - abars).nonzero()[0]),
        lambda abars, spread: next(
            t for t, abar in enumerate(abars.tolist()) if abar**0.5 * spread <= (1 - abar) ** 0.5
        ),
        lambda abars, spread: torch.searchsorted(-abars, torch.tensor(-1 / (1 + spread**2))).item(),
    ],
    "feature_distance": [
        lambda a, b: (unit(a) - unit(b)).square().sum(1).mean((1, 2)),
        lambda a, b: (F.normalize(a, dim=1) - F.normalize(b, dim=1)).square().sum((1, 2, 3)) / a[0, 0].numel(),
        lambda a, b: (unit_outside(a) - unit_outside(b)).square().sum(1).mean((1, 2)),
        features_in_full,
    ],
    "fit_preview": [fit, fit_centred],
}

WRONG = {
    "mirror_control": [
        (lambda encode, decode, pictures: pictures.flip(-1).flip(-1), "never went through"),
        (mirrored((), (), ()), "nothing is mirrored"),
        (mirrored((), (-1,), (-1,)), "the experiment again"),
        (mirrored((), (-1,), ()), "the experiment again"),
        (mirrored((-1,), (-1,), ()), "turn the latents back"),
        (mirrored((-1,), (), ()), "mirror the copies back"),
        (mirrored((-2,), (), (-2,)), "on its head"),
        (mirrored((-1,), (-2,), (-1,)), "do nothing else"),
        (lambda encode, decode, pictures: encode(pictures.flip(-1)), "has shape (2, 4, 4, 6), expected (2, 3, 8, 12)"),
    ],
    "vae_forward": [
        (forward(cost=kl), "add them up"),
        (forward(cost=lambda m, v: kl(m, v).sum()), "keep the pictures apart"),
        (forward(cost=lambda m, v: kl(m, v).sum().item()), "keep the pictures apart"),
        (forward(cost=lambda m, v: kl(m, v).mean(1)), "averaged"),
        (forward(cost=lambda m, v: 2 * kl(m, v).sum(1)), "where is the half"),
        (forward(cost=lambda m, v: 0.5 * (m**2 + v - 1 - v.abs().clamp(min=1e-9).log()).sum(1)), "must cost 0"),
        (forward(cost=lambda m, v: 0.5 * (m**2 + v.exp() - 1 + v).sum(1)), "never negative"),
        (forward(cost=lambda m, v: 0.5 * (m**2 + (v / 2).exp() - 1 - v).sum(1)), "wrong for the width"),
        (forward(cost=lambda m, v: 0.5 * (m.abs() + v.exp() - 1 - v).sum(1)), "yours costs 1.00"),
        (forward(swapped=True), "the first half"),
        (forward(lambda m, v, e: m + v.exp() * e), "square root"),
        (forward(lambda m, v, e: m + v * e), "exp first"),
        (forward(lambda m, v, e: m + e), "multiply it by sigma"),
        (forward(lambda m, v, e: m + (v / 2).exp() * torch.randn_like(e)), "you are given"),
        (forward(lambda m, v, e: (v / 2).exp() * e), "must be given the mean"),
        (forward(lambda m, v, e: m), "no effect"),
        (forward(lambda m, v, e: m + (-v / 2).exp() * e), "must be sigma"),
        (
            forward(lambda m, v, e: m + (v / 2).exp().detach() * e, lambda m, v: kl(m, v).sum(1).detach()),
            "no gradient reaches logvar from what is decoded",
        ),
        (no_graph, "no gradient reaches the mean from what is decoded"),
        (forward(lambda m, v, e: m + (v / 2).exp().detach() * e), "no gradient reaches logvar from what is decoded"),
        (forward(lambda m, v, e: m.detach() + (v / 2).exp() * e), "no gradient reaches the mean from what is decoded"),
        (forward(cost=lambda m, v: kl(m.detach(), v).sum(1)), "no gradient reaches the mean from kl"),
        (forward(cost=lambda m, v: kl(m, v.detach()).sum(1)), "no gradient reaches logvar from kl"),
        (
            forward(cost=lambda m, v: 0.5 * (m**2 + v.exp().detach() - 1 - v).sum(1)),
            "a part of the gradient reaches logvar from kl",
        ),
        (over_eps, "is written over"),
        (lambda encoder, decoder, batch, eps: forward()(encoder, decoder, batch, eps)[0], "return two tensors"),
    ],
    "crossover": [
        (lambda abars, spread: int((abars <= 0.5).nonzero()[0]), "no effect"),
        (lambda abars, spread: int((abars * spread <= 1 - abars).nonzero()[0]), "square the spread"),
        (lambda abars, spread: int((abars**0.5 * spread <= 1 - abars).nonzero()[0]), "like with like"),
        (lambda abars, spread: int((abars * spread <= (1 - abars) ** 0.5).nonzero()[0]), "like with like"),
        (lambda abars, spread: int((abars <= (1 - abars) * spread**2).nonzero()[0]), "not to the noise"),
        (lambda abars, spread: int((abars * spread**2 <= 1 - abars).nonzero()[0]) + 1, "off by one"),
        (lambda abars, spread: int((abars * spread**2 > 1 - abars).nonzero()[-1]), "one too early"),
        (lambda abars, spread: int((abars * spread**2 - (1 - abars)).abs().argmin()), "nearest to each other"),
        (lambda abars, spread: int((abars * spread**2 <= 1 - abars).nonzero()[-1]), "which is the first"),
        (lambda abars, spread: int((abars * spread**2 >= 1 - abars).nonzero()[0]), "yours says 0 and 0"),
    ],
    "feature_distance": [
        (lambda a, b: (a - b).square().sum(1).mean((1, 2)), "of length 1 first"),
        (lambda a, b: (unit(a) - unit(b)).square().sum((1, 2, 3)), "grows with the size"),
        (lambda a, b: (unit(a) - unit(b)).square().mean((1, 2, 3)), "the places only"),
        (lambda a, b: (unit(a) - unit(b)).square().sum(1).sqrt().mean((1, 2)), "root out"),
        (lambda a, b: (unit(a) - unit(b)).square().sum(1).mean(), "keep the pictures apart"),
        (
            lambda a, b: (unit(a, (1, 2, 3)) - unit(b, (1, 2, 3))).square().sum(1).mean((1, 2)),
            "over the channels, dim 1",
        ),
        (lambda a, b: (unit(a) * unit(b)).sum(1).mean((1, 2)), "at distance 0"),
        (lambda a, b: (unit(a, tiny=0) - unit(b, tiny=0)).square().sum(1).mean((1, 2)), "gives NaN"),
        (lambda a, b: (unit(a) - unit(b)).abs().sum(1).mean((1, 2)), "only made positive"),
        (
            lambda a, b: (F.normalize(a, p=1, dim=1) - F.normalize(b, p=1, dim=1)).square().sum(1).mean((1, 2)),
            "the sum of absolute values",
        ),
        (features_by_cosine, "in both is at distance 0"),
        (lambda a, b: (unit(a) - unit(b)).square().sum(1), "has shape (2, 2, 2), expected (2,)"),
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
