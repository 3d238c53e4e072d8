"""Exercises 1 to 4, lesson 01. A check tries properties from the most telling to the least, and stops at the
first that fails."""
import torch

from .. import diffusion
from .base import NotFinite, Sheet, close, random

sheet = Sheet()
progress, yours_else = sheet.progress, sheet.yours_else


@sheet.exercise(1, lambda x0, eps, abar: x0.shape)
def add_noise(answer):
    """add_noise(x0, eps, abar): x0, eps (B, C, H, W), abar (B,)."""
    ones, zeros, abar = torch.ones(3, 4, 3, 3), torch.zeros(3, 4, 3, 3), torch.tensor([1.0, 0.25, 0.0])
    picture, noise = answer(ones, zeros, abar), answer(zeros, ones, abar)
    if not close(picture, answer(ones, zeros, abar), 0):
        return "two calls differ: use the eps you are given, draw none yourself"
    if picture.flatten(1).std(1).max() > 1e-6:
        return "one abar per picture: reshape it to (B, 1, 1, 1)"
    if close(picture[0], picture[1], 1e-6) and close(picture[1], picture[2], 1e-6):
        return "all pictures get the same mix: each has its own abar"
    weights = picture[1].mean().item(), noise[1].mean().item()
    if close(weights, (0.75**0.5, 0.5), 1e-5):
        return "at abar = 1 you return noise: the two weights are swapped"
    if close(weights, (0.25, 0.75), 1e-5):
        return "your weights add to 1, but their squares must: take square roots"
    if not close(weights, (0.5, 0.75**0.5), 1e-5):
        return f"at abar = 0.25 the weights are {weights[0]:.2f} and {weights[1]:.2f}, expected 0.50 and 0.87"
    schedule, t = diffusion.make_alphas_cumprod(), torch.tensor([0, 100, 500, 900, 999])
    x_0, eps = random(5, 4, 8, 8), random(5, 4, 8, 8, seed=1)
    if not close(answer(x_0, eps, schedule[t]), diffusion.add_noise(x_0, eps, t, schedule), 1e-5):
        return "right on simple inputs, but random pictures at t = 0 to 999 come out differently"


@sheet.exercise(2, int, "the step")
def half_signal_step(answer):
    """half_signal_step(abars, share=0.5) -> int: the first t with abar below share."""
    schedule = diffusion.make_alphas_cumprod("scaled_linear")
    found = answer(schedule, 0.5)
    if found == 500:
        return "half of the time is not half of the signal: look it up in abars"
    if found == int((schedule.sqrt() >= 0.5).sum()):
        return "you compared the amplitude sqrt(abar); the share of the variance is abar itself"
    if found == 353:
        return "353 is the last step that still holds one half; the first step below it is one further"
    if found != 354:
        return f"on the scaled_linear schedule you found {found}, expected 354"
    if answer(diffusion.make_alphas_cumprod("linear"), 0.5) != 259:
        return "right on one schedule only: use the abars you are given"
    falling = torch.rand(50, generator=torch.Generator().manual_seed(0)).sort(descending=True).values
    for share in (0.9, 0.5, 0.1):
        if answer(falling, share) != int((falling >= share).sum()):
            return f"wrong for share = {share} on a random schedule: use the share you are given"


@sheet.exercise(3, lambda x_t, eps, abar: x_t.shape)
def predict_x0(answer):
    """predict_x0(x_t, eps, abar): x_t, eps (B, C, H, W), abar one number as a tensor."""
    ones, zeros, abar = torch.ones(2, 4, 8, 8), torch.zeros(2, 4, 8, 8), torch.tensor(0.25)
    picture, noise = answer(ones, zeros, abar), answer(zeros, ones, abar)
    weights = picture.mean().item(), noise.mean().item()
    if close(weights, (1, -1), 1e-5):
        return "you subtract all of eps, but only sqrt(1 - abar) of it is in x_t"
    if close(weights, (1, -(0.75**0.5)), 1e-5):
        return "the noise is gone, but the picture is still shrunk: divide by sqrt(abar)"
    if close(weights[0], 4, 1e-5):
        return "x_t holds sqrt(abar) of the picture: divide by the root, not by abar"
    if weights[1] > 0:
        return "the noise was added to x_t, so it has to be taken away"
    if not close(weights, (2, -(3**0.5)), 1e-4):
        return (f"at abar = 0.25 you weigh x_t by {weights[0]:.2f} and eps by {weights[1]:.2f}, expected "
                "2.00 and -1.73")
    schedule, x_0, eps = diffusion.make_alphas_cumprod(), random(2, 4, 8, 8), random(2, 4, 8, 8, seed=1)
    for t in (0, 500, 999):
        if not close(answer(diffusion.add_noise(x_0, eps, t, schedule), eps, schedule[t]), x_0, 2e-4):
            return f"noising and then estimating at t = {t} does not give the picture back"


@sheet.exercise(4, lambda x_t, data, abar: x_t.shape)
def ideal_denoiser(answer):
    """ideal_denoiser(x_t, data, abar): x_t (n, d), data (N, d), abar one number as a tensor -> (n, d)."""
    data, x_t = random(40, 2), random(6, 2, seed=1)
    same = torch.ones(40, 2)
    if not close(answer(x_t, same, torch.tensor(0.5)), same[:6], 1e-4):
        return "all training points equal, yet the answer is another: the weights over the data must add to 1"
    if not close(answer(x_t, data, torch.tensor(1e-6)), data.mean(0).expand(6, 2), 2e-2):
        return "abar near 0 must give the mean of the data: shrink the data by sqrt(abar) before you compare"
    try:
        answer(data[:5] + 9, data, torch.tensor(0.9999))
    except NotFinite:
        return "nan far from the data: subtract the largest exponent before exp (softmax does)"
    if not close(answer(data[:5] * 0.9999**0.5, data, torch.tensor(0.9999)), data[:5], 5e-2):
        return "almost no noise: the best guess is the nearest training point itself"
    abar, at = 0.5, x_t.clone().requires_grad_()
    log_p = (-((at[:, None] - abar**0.5 * data) ** 2).sum(2) / (2 * (1 - abar))).logsumexp(1)
    slope = torch.autograd.grad(log_p.sum(), at)[0]
    if not close((abar**0.5 * answer(x_t, data, torch.tensor(abar)) - x_t) / (1 - abar), slope, 1e-4):
        return "the score that follows is not the slope of log p: look at the width, 2 (1 - abar)"
