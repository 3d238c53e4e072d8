"""Exercises 1 to 3, lesson 02. A check tries properties from the most telling to the least, and stops at the
first that fails."""
import math

import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

from .. import latents as codec
from .base import Refused, Sheet, close, random

sheet = Sheet()
progress, yours_else = sheet.progress, sheet.yours_else


@sheet.exercise(1, lambda mean, logvar: mean.shape[:1])
def kl_to_prior(answer):
    """kl_to_prior(mean, logvar): both (B, C, h, w) -> (B,), in nats."""
    zeros = torch.zeros(3, 4, 2, 4)                                     # 32 numbers a picture
    try:
        result = answer(zeros, zeros)
    except Refused as refused:
        shape = () if isinstance(refused.result, (int, float)) else getattr(refused.result, "shape", None)
        if shape == zeros.shape:
            return "that is one number for each latent: add them up, one sum per picture"
        if shape == ():
            return "that is one number for the whole batch: keep the pictures apart, (B,)"
        raise
    if not close(result, torch.zeros(3), 1e-6):
        return (f"the prior itself (mean 0, logvar 0) must cost 0, yours costs {float(result[0]):.1f}: "
                "logvar is the logarithm of the variance, which is then 1")
    mean = zeros.clone()
    mean[1, 2, 1, 3] = 2.0
    cost = answer(mean, zeros)
    if close(cost[1], 2 / 32, 1e-4) or close(cost[1], 4 / 32, 1e-4):
        return "you averaged over the numbers of a picture: the KL is their sum"
    if close(cost[1], 4.0, 1e-4):
        return "one mean at 2 costs 4 nats, it should be 2: where is the half?"
    if not close(cost, [0.0, 2.0, 0.0], 1e-4):
        return ("one mean at 2, all else as the prior, must cost 2 nats in that picture, yours costs "
                f"{float(cost[1]):.2f}")
    narrow = answer(zeros, zeros - 2)
    if float(narrow.min()) < 0:
        return ("a cloud narrower than the prior got a negative cost: a KL is never negative, look at the "
                "signs")
    if not close(narrow, torch.full((3,), 16 * (math.exp(-2) + 1)), 1e-3):
        return ("right for the mean, wrong for the width: the variance is exp(logvar), and logvar itself "
                "is subtracted")
    mean, logvar = random(5, 3, 4, 4), random(5, 3, 4, 4, seed=1)
    library = DiagonalGaussianDistribution(torch.cat([mean, logvar], 1)).kl()
    if not close(answer(mean, logvar), library, 1e-2):
        return "right on simple inputs, but random ones differ from the library's posterior.kl()"


@sheet.exercise(2, lambda mean, logvar, eps: mean.shape)
def sample_latent(answer):
    """sample_latent(mean, logvar, eps): all (B, C, h, w) -> (B, C, h, w)."""
    mean, logvar, eps = random(2, 4, 3, 3), random(2, 4, 3, 3, seed=1), random(2, 4, 3, 3, seed=2)
    result = answer(mean, logvar, eps)
    if not close(result, answer(mean, logvar, eps), 0):
        return "two calls differ: use the eps you are given, draw none yourself"
    if not close(answer(mean, logvar, torch.zeros_like(eps)), mean, 1e-6):
        return "eps = 0 must give the mean"
    if close(result, mean, 1e-6):
        return "eps has no effect: add it, times sigma"
    width = (result - mean) / eps
    if close(width, logvar.exp(), 1e-3):
        return "you multiplied by the variance: sigma is its square root"
    if close(width, logvar, 1e-3):
        return "you multiplied by logvar: logvar 0 means variance 1, so take exp first"
    if close(width, torch.ones_like(width), 1e-3):
        return "eps comes in with width 1 everywhere: multiply it by sigma"
    if not close(result, mean + (logvar / 2).exp() * eps, 1e-4):
        return "(z - mean) / eps must be sigma = exp(logvar / 2), in every place"
    wide = logvar.clone().requires_grad_()
    if not answer(mean, wide, eps).requires_grad:
        return "no gradient reaches logvar: stay with tensors, without no_grad, detach or item"


@sheet.exercise(3, lambda latents, rgb: {"W": (latents.shape[1], 3), "b": (3,)})
def fit_preview(answer):
    """fit_preview(latents, rgb): (B, C, h, w), (B, 3, h, w) -> W (C, 3), b (3,)."""
    latents, weight, bias = random(20, 4, 6, 5), random(4, 3, seed=1), torch.tensor([0.5, -1.0, 0.2])
    rgb = torch.einsum("bchw,ck->bkhw", latents, weight) + bias[:, None, None]
    rgb = rgb + 0.8 * random(20, 3, 6, 5, seed=2)
    W, b = answer(latents, rgb)
    left = (rgb - torch.einsum("bchw,ck->bkhw", latents, W) - b[:, None, None]).movedim(1, -1).flatten(0, 2)
    cells = latents.movedim(1, -1).flatten(0, 2)                        # (B * h * w, C)
    explained = 1 - float(left.var(0).sum() / rgb.movedim(1, -1).flatten(0, 2).var(0).sum())
    if explained < 0.2:
        return (f"R^2 is {explained:.2f} where "
                f"{codec.fit_preview(latents, rgb).explains(latents, rgb):.2f} is possible: move the "
                "channels to the end before you flatten, else channels and positions are mixed")
    if not close(left.mean(0), torch.zeros(3), 1e-3):
        return ("the mean of what is left is not 0: there must be a b, fitted together with W (a column of "
                "ones)")
    if not close(left.T @ cells / len(cells), torch.zeros(3, 4), 1e-3):
        return ("what is left still depends on the latents: fit rgb from latents, least squares, not the "
                "other way round")
