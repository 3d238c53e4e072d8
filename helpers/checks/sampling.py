"""Exercises 1 to 4, lesson 04. A check tries properties from the most telling to the least, and stops at
the first that fails."""
import torch
from diffusers import DDIMScheduler

from .. import diffusion
from .base import Sheet, close, random

sheet = Sheet("04")
progress, yours, yours_else = sheet.progress, sheet.yours, sheet.yours_else

# Stable Diffusion's own settings: the last step ends at abar[0], not at 1.
LIBRARY = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "clip_sample": False,
           "set_alpha_to_one": False, "steps_offset": 1}


@sheet.exercise(1, lambda eps_uncond, eps_cond, scale: eps_uncond.shape)
def guide(answer):
    """guide(eps_uncond, eps_cond, scale): eps_uncond, eps_cond (B, C, h, w), scale one number."""
    ones, zeros = torch.ones(2, 4, 8, 8), torch.zeros(2, 4, 8, 8)

    def weights(scale):
        return answer(ones, zeros, scale).mean().item(), answer(zeros, ones, scale).mean().item()

    if close(weights(0.0), weights(1.0), 1e-5) and close(weights(1.0), weights(7.5), 1e-5):
        return "scale changes nothing: it says how far to go from one answer towards the other"
    if close(weights(1.0), (1, 0), 1e-5):
        return "scale 1 gave the empty prompt: the two halves are swapped"
    if close(weights(0.0), (0, 1), 1e-5):
        return "scale 1 must be the plain prompt, and yours is one further: the paper's w is scale - 1"
    if close(weights(0.0), (0, 0), 1e-5):
        return "scale 0 must ignore the prompt and return the empty prompt's answer, not nothing"
    if not close(weights(0.0), (1, 0), 1e-5):
        return "scale 0 must ignore the prompt: only eps_uncond is left"
    if not close(weights(1.0), (0, 1), 1e-5):
        return "scale 1 must be the plain prompt: eps_cond, and nothing of eps_uncond"
    uncond, cond = random(2, 4, 8, 8), random(2, 4, 8, 8, seed=1)
    for scale in (0.5, 3.0, 7.5):
        if not close(answer(uncond, cond, scale), uncond + scale * (cond - uncond), 1e-4):
            return (f"right at scale 0 and 1, but not at {scale:g}: all scales lie on one straight line, "
                    "also beyond 1")


@sheet.exercise(2, lambda x_t, eps, abar_t, abar_prev: x_t.shape)
def ddim_step(answer):
    """ddim_step(x_t, eps, abar_t, abar_prev): x_t, eps (B, C, h, w), abars one number each, as tensors."""
    ones, zeros = torch.ones(2, 4, 8, 8), torch.zeros(2, 4, 8, 8)

    def weights(abar_t, abar_prev):
        levels = torch.tensor(abar_t), torch.tensor(abar_prev)
        return answer(ones, zeros, *levels).mean().item(), answer(zeros, ones, *levels).mean().item()

    x_t, eps, levels = random(2, 4, 8, 8), random(2, 4, 8, 8, seed=1), torch.tensor([0.25, 0.64])
    first = answer(x_t, eps, *levels)
    if not close(first, answer(x_t, eps, *levels), 0):
        return "two calls differ: DDIM adds no fresh noise, it puts eps back"
    if close(first, x_t, 1e-6):
        return "you return x_t unchanged, but the noise level has to change"
    return _ddim_weights(weights) or _ddim_paths(answer)


def _ddim_weights(weights):
    """A hint that fits the weights which the answer gives to x_t and eps, or None."""
    still, end = weights(0.25, 0.25), weights(0.25, 1.0)
    if close(end, (0.5, 0.75**0.5), 1e-5):
        return "you step from abar_prev to abar_t: the two levels are swapped"
    if close(end, (2, -0.75**0.5), 1e-5):
        return ("a step to abar_prev = 1 must be the x_0 estimate, without noise: put noise back at the new "
                "level, not at the old one")
    if not close(end, (2, -(3**0.5)), 1e-5):
        return (f"a step to abar_prev = 1 must be the x_0 estimate of lesson 01, exercise 3: at abar_t = 0.25 you weigh "
                f"x_t by {end[0]:.2f} and eps by {end[1]:.2f}, expected 2.00 and -1.73")
    if close(still, (2, -(3**0.5)), 1e-5):
        return "that is the estimate of x_0: now go on to the new noise level"
    if close(still, (1, -(0.75**0.5)), 1e-5):
        return "the noise was taken away and none put back: add eps at the new level"
    if close(still, (2, -0.75**0.5), 1e-5):
        return ("standing still, abar_prev = abar_t, must give x_t back: shrink the x_0 estimate to the new "
                "level before you add noise")
    if close(still, (0.5, 0.75 - 0.25 * 3**0.5), 1e-5):
        return "x_0 and eps are weighed by abar_prev and 1 - abar_prev: take square roots"
    if close(still, (1, -(3**0.5)), 1e-5):
        return "eps was subtracted a second time: it has to be put back, so added"
    if not close(still, (1, 0), 1e-6):
        return (f"standing still, abar_prev = abar_t, must give x_t back: at abar 0.25 you weigh x_t by "
                f"{still[0]:.2f} and eps by {still[1]:.2f}, expected 1.00 and 0.00")


def _ddim_paths(answer):
    """A hint where the answer takes another way than DDIM over the whole schedule, or None."""
    schedule = diffusion.make_alphas_cumprod().double()     # rounding at t = 900 grows eightfold: doubles
    x_t, eps = random(2, 4, 8, 8).double(), random(2, 4, 8, 8, seed=1).double()
    half_way = answer(x_t, eps, schedule[900], schedule[500])
    long_step = answer(x_t, eps, schedule[900], schedule[100])
    if not close(answer(half_way, eps, schedule[500], schedule[100]), long_step, 1e-6):
        return "with the same eps, two short steps must equal one long step, 900 to 500 to 100"
    scheduler = DDIMScheduler(**LIBRARY)
    scheduler.set_timesteps(20)
    levels = torch.cat([scheduler.alphas_cumprod[scheduler.timesteps], scheduler.final_alpha_cumprod[None]])
    for index, t in enumerate(scheduler.timesteps):
        library = scheduler.step(eps, t, x_t).prev_sample
        if not close(answer(x_t, eps, levels[index], levels[index + 1]), library, 1e-4):
            return f"right on simple inputs, but not what DDIMScheduler.step gives at t = {t}"


@sheet.exercise(3, int, "the index of a step")
def first_step(answer):
    """first_step(num_steps, strength) -> int: the index of the step where image-to-image starts."""
    whole, rounded = answer(20, 1.0), answer(10, 0.35)
    if whole == 20:
        return "strength 1 changes most, yet yours runs no step: you are counting from the wrong end"
    if whole < 0:
        return "an index below 0 at strength 1: one step too many"
    if whole != 0:
        return f"strength 1 starts from the noisiest step, index 0, not {whole}"
    none = answer(20, 0.0)
    if none > 20:
        return "that is a timestep: return the index of a step, 0 to num_steps"
    if none != 20:
        return f"strength 0 runs no step at all, so it starts behind the last of 20, at 20, not {none}"
    if answer(20, 0.25) != 15:
        return f"strength 0.25 runs 5 of 20 steps, so it starts at 15, not {answer(20, 0.25)}"
    if rounded != 7:
        return f"0.35 of 10 steps is 3 whole steps: round down what is run; it starts at 7, not {rounded}"
    for num_steps in (8, 16, 64):
        for k in range(33):                                 # k / 32 and its products are exact
            expected = num_steps - num_steps * k // 32
            if answer(num_steps, k / 32) != expected:
                return (f"strength {k / 32:g} of {num_steps} steps starts at {expected}, not "
                        f"{answer(num_steps, k / 32)}")


@sheet.exercise(4, lambda x, known, eps, mask, abar: x.shape)
def keep_known(answer):
    """keep_known(x, known, eps, mask, abar): x, known, eps (B, C, h, w), mask (B, 1, h, w) of 0.0 and 1.0,
    abar one number as a tensor: the level of the next step."""
    x, known, eps = (random(2, 4, 8, 8, seed=seed) for seed in range(3))
    mask = torch.zeros(2, 1, 8, 8)
    mask[0, :, :, :3], mask[1, :, 5:] = 1, 1                # another place in each picture
    paint, abar = mask.bool().expand_as(x), torch.tensor(0.64)
    result = answer(x, known, eps, mask, abar)
    if not close(result, answer(x, known, eps, mask, abar), 0):
        return "two calls differ: use the eps you are given, draw none yourself"
    inside, outside = result[paint], result[~paint]
    if close(result, x, 1e-6):
        return "you return x as it is: where mask is 0, put the known part back"
    if close(outside, x[~paint], 1e-6):
        return "where mask is 1 the model paints, so keep x there: your mask is the wrong way round"
    noised = 0.8 * known + 0.6 * eps
    if close(result, noised, 1e-6) or close(result, known, 1e-6):
        return "the known part covers everything: use the mask"
    if close(inside[:len(x[0][paint[0]])], x[0][paint[0]], 1e-6) and not close(inside, x[paint], 1e-6):
        return "right for the first picture only: each has its own mask"
    if not close(inside, x[paint], 1e-6):
        return "where mask is 1 x must come out exactly as it went in"
    if hint := _outside(outside, known[~paint], eps[~paint], x[~paint]):
        return hint
    if not close(answer(x, known, eps, mask, torch.tensor(1.0))[~paint], known[~paint], 1e-6):
        return "abar = 1, after the last step: the known part must be exact, without noise"
    schedule, scheduler = diffusion.make_alphas_cumprod(), DDIMScheduler(**LIBRARY)
    for t in (0, 500, 999):
        library = scheduler.add_noise(known, eps, torch.tensor([t, t]))
        if not close(answer(x, known, eps, mask, schedule[t])[~paint], library[~paint], 1e-5):
            return f"right at abar = 0.64, but the known part differs from scheduler.add_noise at t = {t}"


def _outside(outside, known, eps, x):
    """A hint when the known part, at abar = 0.64, is not 0.8 known + 0.6 eps; else None."""
    parts = torch.stack([known, eps, x], 1)
    weights = torch.linalg.lstsq(parts, outside[:, None]).solution[:, 0]            # of known, eps and x
    if close(parts @ weights, outside, 1e-5):
        if close(weights, (1, 0, 0), 1e-5):
            return "the known part is clean while the rest is noisy: noise it to the level of abar"
        if close(weights, (0.8, 0, 0), 1e-5):
            return "the known part is shrunk but got no noise: add sqrt(1 - abar) of eps"
        if close(weights, (0.6, 0.8, 0), 1e-5):
            return "the two weights of add_noise are swapped: sqrt(abar) goes with the known part"
        if close(weights, (0.64, 0.36, 0), 1e-5):
            return "weights abar and 1 - abar: take square roots, as in exercise 1 of lesson 01"
        if close(weights, (1, 0.6, 0), 1e-5) or close(weights, (1, 1, 0), 1e-5):
            return "the known part sits at another noise level than x: shrink it by sqrt(abar) as well"
        if weights[2].abs() > 1e-3:
            return "where mask is 0 nothing of x may be left"
    if not close(outside, 0.8 * known + 0.6 * eps, 1e-5):
        return "where mask is 0 put the known part, noised with eps to the level of abar"
