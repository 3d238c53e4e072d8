"""Exercises 1 to 5, lesson 02. A check tries properties from the most telling to the least, and stops at the
first that fails."""

import math

import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

from helpers import latents as codec
from helpers.checks.base import NotFinite, Refused, Sheet, close, mistaken_for, random, unless_shaped

sheet = Sheet("02", core=3)
progress, yours, yours_else = sheet.progress, sheet.yours, sheet.yours_else


@sheet.exercise(1, lambda encode, decode, originals: originals.shape)
def mirror_control(answer):
    """mirror_control(encode, decode, originals) -> copies of the originals (B, 3, H, W), to be compared with them: mirrored pictures
    went through encoder and decoder, and no latent was mirrored.

    encode: (B, 3, H, W) -> (B, C, h, w). decode: (B, C, h, w) -> (B, 3, H, W).
    """

    def encode(pixels):  # the corner of each patch: it has a left and a right
        return torch.cat([pixels, pixels.mean(1, keepdim=True)], 1)[..., ::2, ::2]

    def decode(latents):
        ramp = torch.arange(2.0 * latents.shape[-1]) / 10
        return (
            latents[:, :3].repeat_interleave(2, -1).repeat_interleave(2, -2)
            + latents[:, 3:].mean((1, 2, 3), keepdim=True)
            + ramp
        )

    for shape in ((2, 3, 8, 12), (16, 3, 16, 16), (1, 3, 4, 4)):
        pictures = random(*shape)
        copies, turned = answer(encode, decode, pictures), pictures.flip(-1)
        latents_turned = decode(encode(pictures).flip(-1))
        hint = mistaken_for(
            copies,
            [
                ("these pictures never went through encoder and decoder", pictures, turned),
                ("nothing is mirrored here: mirror the pictures before they are encoded", decode(encode(pictures))),
                (
                    "that is the experiment again: in its control no latent is mirrored",
                    latents_turned.flip(-1),
                    latents_turned,
                ),
                ("you turn the latents back: turn the decoded pixels back instead", decode(encode(turned).flip(-1))),
                ("mirror the copies back: they are compared with the pictures as they were", decode(encode(turned))),
                (
                    "that stands on its head: left and right are the last dimension",
                    decode(encode(pictures.flip(-2))).flip(-2),
                ),
            ],
            1e-5,
        )
        if hint:
            return hint
        if not close(copies, decode(encode(turned)).flip(-1), 1e-5):
            return "mirror the pictures, encode, decode, mirror what comes out, and do nothing else"


def _coded(logvar):
    """An encoder whose mean is the picture itself, 24 numbers."""
    return lambda pixels: torch.cat([pixels.flatten(1), logvar.expand(len(pixels), -1)], 1)


def _decoder(z):
    return z.unflatten(1, (3, 2, 4))


@sheet.exercise(2, lambda encoder, decoder, batch, eps: {"decoded": batch.shape, "kl": batch.shape[:1]})
def vae_forward(answer):
    """vae_forward(encoder, decoder, batch, eps) -> decoded (n, 3, H, W), kl (n,) in nats.

    encoder: (n, 3, H, W) -> (n, 2 d), mean and logvar. decoder: (n, d) -> (n, 3, H, W). eps: (n, d), noise.
    """
    zeros, still = torch.zeros(3, 3, 2, 4), torch.zeros(3, 24)
    kl = unless_shaped(
        lambda: answer(_coded(torch.zeros(24)), _decoder, zeros, still),
        (
            (still.shape, "kl is one number for each latent: add them up, one sum per picture"),
            ((), "keep the pictures apart: kl is one number per picture, (n,)"),
        ),
    )[1]
    if not close(kl, torch.zeros(3), 1e-6):
        return (
            f"the prior itself (mean 0, logvar 0) must cost 0, yours costs {float(kl[0]):.1f}: "
            "logvar is the logarithm of the variance, which is then 1"
        )
    batch, logvar, eps = random(3, 3, 2, 4), random(24, seed=1), random(3, 24, seed=2)
    return (
        _drawing_hint(answer, batch, logvar, eps)
        or _cost_hint(answer, zeros, eps)
        or _gradient_hint(answer, batch, logvar, eps)
        or _size_hint(answer)
    )


def _drawing_hint(answer, batch, logvar, eps):
    """What is wrong with how z is drawn and decoded, or None."""
    (quiet, _), (drawn, _), (again, _) = (answer(_coded(logvar), _decoder, batch, one) for one in (0 * eps, eps, eps))
    if not close(drawn, again, 0):
        return "two calls differ: use the eps you are given, draw none yourself"
    if close(quiet, _decoder(logvar.expand(3, -1)), 1e-5):
        return "you decoded logvar: the first half of the encoder's numbers is the mean, the second is logvar"
    if not close(quiet, batch, 1e-5):
        return "with eps = 0 the decoder must be given the mean"
    if close(drawn, quiet, 1e-6):
        return "eps has no effect: add it to the mean, times sigma"
    hint = mistaken_for(
        (drawn - quiet).flatten(1) / eps,
        [
            ("you multiplied by the variance: sigma is its square root", logvar.exp().expand(3, -1)),
            ("you multiplied by logvar: logvar 0 means variance 1, so take exp first", logvar.expand(3, -1)),
            ("eps comes in with width 1 everywhere: multiply it by sigma", 1.0),
        ],
        1e-3,
    )
    if not hint and not close(drawn, _decoder(batch.flatten(1) + (logvar / 2).exp() * eps), 1e-4):
        return "(z - mean) / eps must be sigma = exp(logvar / 2), in every place"
    return hint


def _cost_hint(answer, zeros, eps):
    """What is wrong with the KL in cases that can be computed in one's head, or None."""
    far = zeros.clone()
    far[1, 2, 1, 3] = 2.0
    cost = answer(_coded(torch.zeros(24)), _decoder, far, eps)[1]
    if close(cost[1], 2 / 24, 1e-4) or close(cost[1], 4 / 24, 1e-4):
        return "you averaged over the numbers of a picture: the KL is their sum"
    if close(cost[1], 4.0, 1e-4):
        return "one mean at 2 costs 4 nats, it should be 2: where is the half?"
    if not close(cost, [0.0, 2.0, 0.0], 1e-4):
        return (
            f"one mean at 2, all else as the prior, must cost 2 nats in that picture, yours costs {float(cost[1]):.2f}"
        )
    narrow = answer(_coded(torch.full((24,), -2.0)), _decoder, zeros, eps)[1]
    if float(narrow.min()) < 0:
        return "a cloud narrower than the prior got a negative cost: a KL is never negative, look at the signs"
    if not close(narrow, torch.full((3,), 12 * (math.exp(-2) + 1)), 1e-3):
        return "right for the mean, wrong for the width: the variance is exp(logvar), and logvar itself is subtracted"


def _gradient_hint(answer, batch, logvar, eps):
    """What is wrong with the gradients that reach mean and logvar, or None."""
    shift, wide = torch.zeros(24, requires_grad=True), logvar.clone().requires_grad_()
    decoded, kl = answer(
        lambda pixels: torch.cat([pixels.flatten(1) + shift, wide.expand(len(pixels), -1)], 1), _decoder, batch, eps
    )
    mean, weights = batch.flatten(1) + shift, random(3, 24, seed=7)
    right = mean + (wide / 2).exp() * eps, 0.5 * (mean.square() + wide.exp() - 1 - wide).sum(1)
    found = (decoded.flatten(1) * weights).sum(), kl.sum()
    for one, other, name in zip(found, ((right[0] * weights).sum(), right[1].sum()), ("what is decoded", "kl")):
        for grad, wanted, of in zip(
            _gradients(one, shift, wide), _gradients(other, shift, wide), ("the mean", "logvar")
        ):
            if not grad.any():
                return f"no gradient reaches {of} from {name}: stay with tensors, without no_grad, detach or item"
            if not close(grad, wanted, 1e-3):
                return (
                    f"only a part of the gradient reaches {of} from {name}: no_grad, detach or item cuts off the rest"
                )


def _gradients(one, *numbers):
    """The gradients of a number, zeros where none arrives."""
    if not one.requires_grad:
        return [torch.zeros_like(number) for number in numbers]
    try:
        return torch.autograd.grad(one, numbers, retain_graph=True, allow_unused=True, materialize_grads=True)
    except RuntimeError:
        raise Refused("what the gradient needs is written over: compute new tensors, nothing in place") from None


def _size_hint(answer):
    """What is wrong with pictures of another size and latents that are not independent, or None."""
    into, out = random(3072, 32, seed=3) / 50, random(16, 3072, seed=4)  # as large as the lesson's own
    batch, eps = random(2, 3, 32, 32, seed=5), random(2, 16, seed=6)
    mean, logvar = (batch.flatten(1) @ into).chunk(2, 1)
    decoded, kl = answer(lambda x: x.flatten(1) @ into, lambda z: (z @ out).unflatten(1, (3, 32, 32)), batch, eps)
    library = DiagonalGaussianDistribution(torch.cat([mean, logvar], 1)[:, :, None, None]).kl()
    if not close(kl, library, 1e-2):
        return "right on simple inputs, but random ones differ from the library's posterior.kl()"
    if not close(decoded, ((mean + (logvar / 2).exp() * eps) @ out).unflatten(1, (3, 32, 32)), 1e-2):
        return "right on small pictures, but not on 16 numbers for 32 x 32 pixels"


@sheet.exercise(3, lambda abars, spread: int, "the first t")
def crossover(answer):
    """crossover(abars, spread): abars (T,), falling, and the standard deviation of latents -> the first t, an int, at which the noise
    is at least as strong as what is left of the latents."""

    def first(fits):
        return int(fits.nonzero()[0])

    abars, spread = torch.linspace(0.999, 0.004, 1000), 3.0
    plain, t = answer(abars, 1.0), answer(abars, spread)
    half, right = first(abars <= 0.5), first(abars * spread**2 <= 1 - abars)
    if t == plain == half:
        return "the spread has no effect: larger latents need more noise to drown"
    hint = mistaken_for(
        t,
        [
            (
                "spread is a standard deviation and abar a share of the variance: square the spread",
                first(abars * spread <= 1 - abars),
            ),
            (
                "compare like with like: two variances, or the weight sqrt(abar) times the spread with sqrt(1 - abar)",
                first(abars.sqrt() * spread <= 1 - abars),
                first(abars * spread <= (1 - abars).sqrt()),
            ),
            (
                "the spread belongs to the latents, not to the noise, whose standard deviation is 1",
                first(abars <= (1 - abars) * spread**2),
            ),
        ],
        0.5,
    )
    if hint:
        return hint
    nearest = [int((abars * one**2 - (1 - abars)).abs().argmin()) for one in (1.0, spread)]
    if [plain, t] == nearest != [half, right]:
        return "that is the t at which the two are nearest to each other: there the noise may still be the weaker one"
    if [plain, t] == [half - 1, right - 1]:
        return "you are one too early: that is the last t at which the noise is still the weaker one"
    if plain - half == 1 or t - right == 1:
        return "you are off by one: t counts from 0, so it is the place in abars itself"
    if t == len(abars) - 1:
        return "that is the last such t: which is the first?"
    if (plain, t) != (half, right):
        return (
            f"with a spread of 1 it is the first t with abar at most one half, {half}, and with a spread of 3 it is {right}; yours says "
            f"{plain} and {t}"
        )
    steep = torch.linspace(0.98, 0.02, 40) ** 2
    for spread in (0.3, 0.9, 4.0):
        if answer(steep, spread) != first(steep * spread**2 <= 1 - steep):
            return "right on 1000 timesteps, but not on 40 others"


@sheet.exercise(4, lambda a, b: a.shape[:1])
def feature_distance(answer):
    """feature_distance(a, b): features of two batches of pictures, (n, c, h, w) each -> (n,)."""
    a = torch.zeros(2, 3, 2, 2)
    b = a.clone()
    a[:, 0], b[:, 0], b[1, 0, 0, 0], b[1, 1, 0, 0] = 1.0, 1.0, 0.0, 1.0  # one place of four differs, in picture 1
    result = unless_shaped(
        lambda: answer(a, b), [((), "that is one number for the whole batch: keep the pictures apart, (n,)")]
    )
    if not close(result[0], 0.0, 1e-4):
        return "equal features must be at distance 0"
    if not close(answer(2 * a, b)[0], 0.0, 1e-4):
        return (
            "features twice as strong are the same pattern, at distance 0: make every place's vector of length 1 first"
        )
    one = random(2, 5, 3, 3)
    if not close(answer(one, random(2, 1, 3, 3, seed=1).exp() * one), torch.zeros(2), 1e-4):
        return "each place has its own length: divide by the root of the sum of squares over the channels, dim 1, alone"
    hint = mistaken_for(
        result[1],
        [
            ("sum over the channels, but take the mean over the places: yours grows with the size of the picture", 2.0),
            ("take the mean over the places only: the squares of the channels are added up", 0.5 / 3),
            ("leave the root out: LPIPS adds up squared differences", 2**0.5 / 4),
        ],
        1e-3,
    )
    if hint:
        return hint
    if not close(result[1], 0.5, 1e-3):
        return (
            "vectors at right angles are 2 apart (squared), in one place of four that is 0.5 on average; yours "
            f"says {float(result[1]):.2f}"
        )
    return _length_hint(answer) or _blank_hint(answer) or _feature_hint(answer)


def _unit(a):
    return a / a.square().sum(1, keepdim=True).sqrt()


def _length_hint(answer):
    """The hint for a known mistake that goes unseen where vectors have one number that is not 0, or None."""
    a, b = random(3, 5, 4, 4), random(3, 5, 4, 4, seed=1)
    one, other = (pictures / pictures.abs().sum(1, keepdim=True) for pictures in (a, b))
    return mistaken_for(
        answer(a, b),
        [
            (
                "the differences are not squared, only made positive: take their squares",
                (_unit(a) - _unit(b)).abs().sum(1).mean((1, 2)),
            ),
            (
                "you divide by the sum of absolute values: the length is the root of the sum of squares",
                (one - other).square().sum(1).mean((1, 2)),
            ),
        ],
        1e-3,
    )


def _blank_hint(answer):
    """What is wrong where a place is without features, or None."""
    blank, half = torch.zeros(1, 3, 2, 2), torch.ones(1, 3, 2, 2)
    half[..., 1] = 0  # two places are without features in both
    try:
        empty = answer(blank, half)
    except NotFinite:
        return "a place where every feature is 0 gives NaN: add something tiny, such as 1e-8, to the sum under the root"
    if not close(empty, 0.5, 1e-3):
        return (
            "a place where every feature is 0 in both is at distance 0, and at distance 1 from any other; yours says "
            f"{float(empty):.2f} where half of the places are the one and half the other: add 1e-8 under the root"
        )


def _feature_hint(answer):
    for shape in ((3, 24, 16, 16), (3, 48, 8, 8), (3, 96, 4, 4)):  # as the lesson's own
        a, b = random(*shape), random(*shape, seed=1)
        if not close(answer(a, b), (_unit(a) - _unit(b)).square().sum(1).mean((1, 2)), 1e-3):
            return f"right on small features, but not on random ones of shape {shape}"


@sheet.exercise(5, lambda latents, rgb: {"W": (latents.shape[1], 3), "b": (3,)})
def fit_preview(answer):
    """fit_preview(latents, rgb): (B, C, h, w), (B, 3, h, w) -> W (C, 3), b (3,)."""
    latents, weight, bias = random(20, 4, 6, 5), random(4, 3, seed=1), torch.tensor([0.5, -1.0, 0.2])
    rgb = torch.einsum("bchw,ck->bkhw", latents, weight) + bias[:, None, None]
    rgb = rgb + 0.8 * random(20, 3, 6, 5, seed=2)
    W, b = answer(latents, rgb)
    left = (rgb - torch.einsum("bchw,ck->bkhw", latents, W) - b[:, None, None]).movedim(1, -1).flatten(0, 2)
    cells = latents.movedim(1, -1).flatten(0, 2)  # (B * h * w, C)
    explained = 1 - float(left.var(0).sum() / rgb.movedim(1, -1).flatten(0, 2).var(0).sum())
    if explained < 0.2:
        return (
            f"R^2 is {explained:.2f} where "
            f"{codec.fit_preview(latents, rgb).explains(latents, rgb):.2f} is possible: move the "
            "channels to the end before you flatten, else channels and positions are mixed"
        )
    if not close(left.mean(0), torch.zeros(3), 1e-3):
        return "the mean of what is left is not 0: there must be a b, fitted together with W (a column of ones)"
    if not close(left.T @ cells / len(cells), torch.zeros(3, 4), 1e-3):
        return (
            "what is left is still correlated with the latents: fit rgb from latents, least squares, not the "
            "other way round"
        )
