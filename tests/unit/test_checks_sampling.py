"""Every check of lesson 04 accepts right answers, however written; each mistake gets its own hint."""

import math
from types import SimpleNamespace

import diffusers
import pytest
import torch
from helpers.checks import sampling as checks
from helpers.conditioning import encode_prompts
from helpers.runtime import seeded_noise


def x_0(x, e, a):
    return (x - (1 - a) ** 0.5 * e) / a**0.5


def rotation(x, e, a, p):
    """DDIM as a turn in the plane of signal and noise (angles instead of roots)."""
    now, then = torch.acos(a.sqrt()), torch.acos(p.sqrt())
    return x * then.cos() / now.cos() + e * torch.sin(then - now) / now.cos()


def noised(z, e, p):
    return p**0.5 * z + (1 - p) ** 0.5 * e


def by_index(x, known, eps, mask, abar):
    result = noised(known, eps, abar)
    paint = mask.bool().expand_as(x)
    result[paint] = x[paint]
    return result


def timetable(n, s):
    return len(range(n)[:n - int(n * s)])


RIGHT = {
    "guide": [
        lambda u, c, s: u + s * (c - u),
        lambda u, c, s: (1 - s) * u + s * c,
        lambda u, c, s: torch.lerp(u, c, s),
        lambda u, c, s: c + (s - 1) * (c - u),
    ],
    "ddim_step": [
        lambda x, e, a, p: p.sqrt() * x_0(x, e, a) + (1 - p).sqrt() * e,
        lambda x, e, a, p: (p / a) ** 0.5 * x + ((1 - p) ** 0.5 - (p * (1 - a) / a) ** 0.5) * e,
        rotation,
    ],
    "first_step": [
        lambda n, s: n - int(n * s),
        lambda n, s: max(n - min(int(n * s), n), 0),
        lambda n, s: math.ceil(n - n * s),
        lambda n, s: n - math.floor(n * s),
        timetable,
    ],
    "keep_known": [
        lambda x, z, e, m, p: m * x + (1 - m) * noised(z, e, p),
        lambda x, z, e, m, p: torch.where(m > 0.5, x, noised(z, e, p)),
        lambda x, z, e, m, p: torch.lerp(noised(z, e, p.reshape(-1, 1, 1, 1)), x, m),
        by_index,
    ],
}

WRONG = {
    "guide": [
        (lambda u, c, s: c + s * (c - u), "the paper's w is scale - 1"),
        (lambda u, c, s: c + s * (u - c), "swapped"),
        (lambda u, c, s: s * c, "not nothing"),
        (lambda u, c, s: s * (c - u), "not nothing"),
        (lambda u, c, s: u + s * c, "nothing of eps_uncond"),
        (lambda u, c, s: c - s * u, "the paper's w"),
        (lambda u, c, s: (u + s * c) / 2, "only eps_uncond is left"),
        (lambda u, c, s: u + min(s, 1.0) * (c - u), "straight line"),
        (lambda u, c, s: u + s**2 * (c - u), "straight line"),
        (lambda u, c, s: c, "scale changes nothing"),
        (lambda u, c, s: torch.cat([u, c]), "has shape (4, 4, 8, 8)"),
        (lambda u, c, s: 1.0, "return a tensor, not float"),
    ],
    "ddim_step": [
        (lambda x, e, a, p: p**0.5 * x_0(x, e, a) + (1 - a) ** 0.5 * e, "not at the old one"),
        (lambda x, e, a, p: x_0(x, e, a) + (1 - p) ** 0.5 * e, "shrink the x_0 estimate"),
        (lambda x, e, a, p: noised(x_0(x, e, a), torch.randn_like(x), p), "adds no fresh noise"),
        (lambda x, e, a, p: x_0(x, e, a), "that is the estimate of x_0"),
        (lambda x, e, a, p: p**0.5 * x_0(x, e, a), "none put back"),
        (lambda x, e, a, p: noised(x_0(x, e, p), e, a), "levels are swapped"),
        (lambda x, e, a, p: p * x_0(x, e, a) + (1 - p) * e, "take square roots"),
        (lambda x, e, a, p: p**0.5 * x_0(x, e, a) - (1 - p) ** 0.5 * e, "a second time"),
        (lambda x, e, a, p: noised(x - e, e, p), "exercise 3: at abar_t = 0.25 you weigh x_t by 1.00"),
        (lambda x, e, a, p: noised((x - (1 - a) ** 0.5 * e) / a, e, p), "you weigh x_t by 4.00"),
        (lambda x, e, a, p: x, "unchanged"),
        (lambda x, e, a, p: noised(x_0(x, e, a), e, p * (2 - p)), "expected 1.00 and 0.00"),
        (lambda x, e, a, p: noised(x_0(x, e, a), e, p) + p * (1 - p) * (p - a) * e, "two short steps"),
        (lambda x, e, a, p: noised(x_0(x, e, a), e, p)[0], "has shape (4, 8, 8)"),
    ],
    "first_step": [
        (lambda n, s: int(n * s), "wrong end"),
        (lambda n, s: round(n * (1 - s)), "round down"),
        (lambda n, s: n - int(n * s) - 1, "index below 0"),
        (lambda n, s: int(n * (1 - s)), "round down"),
        (lambda n, s: n - int(n * s) + 1, "noisiest step"),
        (lambda n, s: n * (1 - s), "one whole number"),
        (lambda n, s: int(1000 * (1 - s)), "that is a timestep"),
        (lambda n, s: n - max(1, int(n * s)), "runs no step at all"),
        (lambda n, s: n - int(n * s**2), "starts at 15"),
        (lambda n, s: {20: {1: 0, 0.25: 15, 0: 20}}.get(n, {}).get(s, 7), "strength 0 of 8 steps"),
    ],
    "keep_known": [
        (lambda x, z, e, m, p: m * x + (1 - m) * z, "clean while the rest is noisy"),
        (lambda x, z, e, m, p: (1 - m) * x + m * noised(z, e, p), "wrong way round"),
        (lambda x, z, e, m, p: m * x + (1 - m) * (z + (1 - p) ** 0.5 * e), "another noise level"),
        (lambda x, z, e, m, p: m * x + (1 - m) * (z + e), "another noise level"),
        (lambda x, z, e, m, p: m * x + (1 - m) * p**0.5 * z, "got no noise"),
        (lambda x, z, e, m, p: m * x + (1 - m) * noised(z, e, 1 - p), "are swapped"),
        (lambda x, z, e, m, p: m * x + (1 - m) * (p * z + (1 - p) * e), "take square roots"),
        (lambda x, z, e, m, p: m * x + (1 - m) * noised(z, torch.randn_like(e), p), "draw none yourself"),
        (lambda x, z, e, m, p: noised(z, e, p), "use the mask"),
        (lambda x, z, e, m, p: x, "put the known part back"),
        (lambda x, z, e, m, p: m * noised(x, e, p) + (1 - m) * noised(z, e, p), "exactly as it went in"),
        (lambda x, z, e, m, p: torch.where(m[:1] > 0, x, noised(z, e, p)), "each has its own mask"),
        (lambda x, z, e, m, p: x + (1 - m) * noised(z, e, p), "nothing of x may be left"),
        (lambda x, z, e, m, p: m * x + (1 - m) * noised(z, e, p.clamp(max=0.99)), "after the last step"),
        (lambda x, z, e, m, p: m * x + (1 - m) * noised(z, e, p.clamp(min=0.6)), "add_noise at t = 500"),
        (lambda x, z, e, m, p: m * x + (1 - m) * noised(z, e.flip(-1), p), "noised with eps"),
        (lambda x, z, e, m, p: (m * x + (1 - m) * noised(z, e, p))[:, 0], "has shape (2, 8, 8)"),
    ],
}


def forgets_return(x_t, eps, abar_t, abar_prev):
    picture = (x_t - (1 - abar_t).sqrt() * eps) / abar_t.sqrt()
    abar_prev.sqrt() * picture


def squeezed_mask(x, known, eps, mask, abar):
    mask = mask[:, 0]
    return mask * x + (1 - mask) * known


def float_condition(x, known, eps, mask, abar):
    return torch.where(mask, x, abar.sqrt() * known + (1 - abar).sqrt() * eps)


def strict_strength(num_steps, strength):
    if not 0 < strength < 1:
        raise ValueError(f"strength is {strength}")
    return num_steps - int(num_steps * strength)


@pytest.mark.parametrize("name, answer, kind, line", [
    ("guide", lambda u, c, s: u[7] + s * c, "IndexError", 1),
    ("ddim_step", lambda x, e, a, p: x.flatten(1) + e, "RuntimeError", 1),
    ("first_step", strict_strength, "ValueError: strength is 1.0", 3),
    ("keep_known", squeezed_mask, "RuntimeError", 3),
    ("keep_known", float_condition, "RuntimeError", 2),
])
def test_an_exception_is_one_line(name, answer, kind, line):
    verdict = getattr(checks, name).hint(answer)
    assert verdict.startswith(f"not yet: your function stopped with {kind}") and "\n" not in verdict
    assert verdict.endswith(f"(line {line} of your function)")


def test_a_forgotten_return_is_named():
    assert "is a return missing?" in checks.ddim_step.hint(forgets_return)


@torch.inference_mode()
def test_right_answers_draw_what_the_library_draws(tiny):
    """Guidance and DDIM steps written by a student, in a loop: the latents of StableDiffusionPipeline."""
    scale, noise = 3.0, seeded_noise((1, *tiny.latent_shape), 4, tiny.device, tiny.dtype)
    pipe = tiny.pipeline()
    pipe.scheduler = diffusers.DDIMScheduler.from_config({**tiny.scheduler.config, "clip_sample": False})
    settings = {"num_inference_steps": 5, "guidance_scale": scale, "output_type": "latent"}
    library = pipe("a red boat", latents=noise, **settings).images
    prompt_embeds, levels = encode_prompts(tiny, ["", "a red boat"]), pipe.scheduler.alphas_cumprod
    for guide, ddim_step in zip(RIGHT["guide"], RIGHT["ddim_step"]):
        latents, timesteps = noise, pipe.scheduler.timesteps.tolist()
        for t, following in zip(timesteps, [*timesteps[1:], 0]):
            both = tiny.unet(torch.cat([latents] * 2), t, encoder_hidden_states=prompt_embeds).sample
            latents = ddim_step(latents, guide(*both.chunk(2), scale), levels[t], levels[following])
        assert torch.allclose(latents, library, atol=1e-3 * float(library.abs().max()))


@pytest.mark.parametrize("num_steps, strength", [(20, 1.0), (20, 0.25), (10, 0.35), (50, 0.6), (30, 0.8)])
def test_the_first_step_is_the_library_s(num_steps, strength):
    scheduler = diffusers.DDIMScheduler(**checks.LIBRARY)
    scheduler.set_timesteps(num_steps)
    library = diffusers.StableDiffusionImg2ImgPipeline.get_timesteps
    timesteps, count = library(SimpleNamespace(scheduler=scheduler), num_steps, strength, "cpu")
    first = RIGHT["first_step"][0](num_steps, strength)
    assert count == num_steps - first and timesteps.tolist() == scheduler.timesteps[first:].tolist()
