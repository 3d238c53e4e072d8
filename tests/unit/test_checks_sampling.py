"""Every check of lesson 04 accepts right answers, however written; each mistake gets its own hint."""

from helpers.runtime import seeded_noise

import diffusers
import pytest
import torch
from torch.nn.functional import silu

from helpers.checks import sampling as checks
from helpers.conditioning import encode_prompts


def jumps_of(grey):
    return (grey[:, :, 1:] - grey[:, :, :-1]).abs().mean(1)


def near_less(rest, first=0, jumps=jumps_of):
    def seam(grey, edge, width):
        found = jumps(grey)
        return found[:, edge - width + first : edge + width].mean(1) - rest(found, edge, width)

    return seam


def right_of(found, edge, width):
    return found[:, edge + width :].mean(1)


def one_by_one(grey, edge, width):
    told = []
    for picture in grey:
        found = [(picture[:, k + 1] - picture[:, k]).abs().mean() for k in range(picture.shape[1] - 1)]
        near, rest = found[edge - width : edge + width], found[edge + width :]
        told.append(sum(near) / len(near) - sum(rest) / len(rest))
    return torch.stack(told)


def block_of(x, emb, block, shortcut=True, norms=("norm1", "norm2"), first=silu, second=silu, of_time=silu, time=True):
    h = block.conv1(first(getattr(block, norms[0])(x)))
    h = h + block.time_emb_proj(of_time(emb))[..., None, None] if time else h
    h = block.conv2(second(getattr(block, norms[1])(h)))
    return h + block.conv_shortcut(x) if shortcut and block.conv_shortcut is not None else h + x


def as_a_module(block, x, emb):
    act = torch.nn.SiLU()
    h = block.conv1(act(block.norm1(x))) + block.time_emb_proj(act(emb)).unflatten(1, (-1, 1, 1))
    return block.conv2(act(block.norm2(h))) + (x if block.conv_shortcut is None else block.conv_shortcut(x))


def same(x):
    return x


def late(block, x, emb):
    h = silu(block.norm2(block.conv1(silu(block.norm1(x))))) + block.time_emb_proj(silu(emb))[:, :, None, None]
    return block.conv2(h) + (x if block.conv_shortcut is None else block.conv_shortcut(x))


def loop(
    guide=lambda u, c, s: u + s * (c - u),
    end=lambda x, x_0, eps, a, p: p.sqrt() * x_0 + (1 - p).sqrt() * eps,
    twice=True,
    swapped=False,
    less=0,
):
    def draw(ask, x, empty, words, scale, timesteps, abars):
        for i in range(len(timesteps) - less):
            t, a, p = timesteps[i], abars[i], abars[i + 1]
            if twice:
                u, w = ask(x, t, empty), ask(x, t, words)
            else:
                u, w = ask(torch.cat([x, x]), t, torch.cat([empty, words])).chunk(2)
            eps = guide(w, u, scale) if swapped else guide(u, w, scale)
            x = end(x, (x - (1 - a) ** 0.5 * eps) / a**0.5, eps, a, p)
        return x

    return draw


def turned(x, x_0, eps, a, p):
    """DDIM as a turn in the plane of signal and noise (angles instead of roots)."""
    now, then = torch.acos(a.sqrt()), torch.acos(p.sqrt())
    return x * then.cos() / now.cos() + eps * torch.sin(then - now) / now.cos()


def walk(step):
    def heun(slope, z, sigmas):
        for i in range(len(sigmas) - 1):
            z = step(slope, z, sigmas[i], sigmas[i + 1])
        return z

    return heun


def straight(f, z, s, e):
    return z + (e - s) * f(z, s)


def written_out(slope, z, sigmas):
    for s, e in zip(sigmas.tolist(), sigmas.tolist()[1:]):
        k1 = slope(z, s)
        k2 = slope(z + (e - s) * k1, e)
        z = z + 0.5 * (e - s) * k1 + 0.5 * (e - s) * k2
    return z


RIGHT = {
    "residual_block": [lambda b, x, e: block_of(x, e, b), as_a_module, lambda b, x, e: b(x, e)],
    "draw": [
        loop(),
        loop(twice=False),
        loop(end=turned),
        loop(guide=torch.lerp),
        loop(guide=lambda u, c, s: (1 - s) * u + s * c),
    ],
    "heun": [
        walk(lambda f, z, s, e: z + (e - s) / 2 * (f(z, s) + f(straight(f, z, s, e), e))),
        written_out,
        walk(lambda f, z, s, e: (straight(f, z, s, e) + z + (e - s) * f(straight(f, z, s, e), e)) / 2),
    ],
    "seam": [
        near_less(right_of),
        one_by_one,
        near_less(lambda found, e, w: found.mean(1)),
        lambda g, e, w: jumps_of(g)[:, e - w : e + w].amax(1) / jumps_of(g).mean(1),
        lambda g, e, w: jumps_of(g)[:, e - w : e + w].amax(1) - jumps_of(g)[:, e + w :].median(1).values,
    ],
}

WRONG = {
    "residual_block": [
        (
            lambda b, x, e: b.conv2(
                silu(b.norm2(b.conv1(silu(b.norm1(x))) + b.time_emb_proj(silu(e))[..., None, None]))
            ),
            "the input is never added",
        ),
        (lambda b, x, e: block_of(x, e, b, time=False), "does not know the time"),
        (lambda b, x, e: block_of(x, e, b, of_time=same), "emb goes through silu too"),
        (late, "belongs before it"),
        (lambda b, x, e: block_of(x, e, b, first=same, second=same), "no more than one"),
        (lambda b, x, e: block_of(x, e, b, first=same), "the silu after norm1"),
        (lambda b, x, e: block_of(x, e, b, second=same), "the silu after norm2"),
        (lambda b, x, e: block_of(x, e, b, norms=("norm2", "norm1")), "norm1, silu, conv1"),
        (lambda b, x, e: block_of(x, e, b, shortcut=False), "RuntimeError"),
        (lambda b, x, e: b.conv1(x), "norm1, silu, conv1"),
        (lambda b, x, e: x, "you return x as it came in"),
        (lambda b, x, e: b(x, e)[0], "has shape (8, 6, 5)"),
    ],
    "draw": [
        (loop(swapped=True), "the halves are swapped"),
        (loop(guide=lambda u, c, s: c), "never asked"),
        (loop(guide=lambda u, c, s: u), "the prompt is not used"),
        (loop(guide=lambda u, c, s: c + s * (c - u)), "the paper's w"),
        (loop(guide=lambda u, c, s: s * (c - u)), "no answer"),
        (loop(end=lambda x, x_0, eps, a, p: p.sqrt() * x_0), "never put back"),
        (loop(end=lambda x, x_0, eps, a, p: x_0), "where it ends"),
        (loop(end=lambda x, x_0, eps, a, p: p.sqrt() * x_0 + (1 - a).sqrt() * eps), "for the old level"),
        (loop(end=lambda x, x_0, eps, a, p: x_0 + (1 - p).sqrt() * eps), "has to be shrunk"),
        (loop(end=lambda x, x_0, eps, a, p: p * x_0 + (1 - p) * eps), "take square roots"),
        (loop(end=lambda x, x_0, eps, a, p: p.sqrt() * x_0 + (1 - p).sqrt() * torch.randn_like(x)), "no fresh noise"),
        (loop(less=1), "the last step is missing"),
        (lambda ask, x, *rest: x, "as it came in"),
        (loop(guide=lambda u, c, s: u + s**2 * (c - u)), "scale 3 the latents are not"),
        (lambda ask, x, empty, words, *rest: loop()(ask, x, empty, words, *rest)[0], "has shape (4, 8, 8)"),
    ],
    "heun": [
        (walk(straight), "that is Euler"),
        (walk(lambda f, z, s, e: z + (e - s) / 2 * (f(z, s) + f(z, e))), "at the old z"),
        (walk(lambda f, z, s, e: z + (e - s) / 2 * (f(z, s) + f(straight(f, z, s, e), s))), "at the old sigma"),
        (walk(lambda f, z, s, e: z + (e - s) * (f(z, s) + f(straight(f, z, s, e), e))), "twice as long"),
        (walk(lambda f, z, s, e: z + (e - s) * f(straight(f, z, s, e), e)), "only the second slope"),
        (walk(lambda f, z, s, e: z + (e - s) * f(straight(f, z, s, (s + e) / 2), (s + e) / 2)), "the midpoint rule"),
        (walk(lambda f, z, s, e: z - (e - s) / 2 * (f(z, s) + f(z - (e - s) * f(z, s), 2 * s - e))), "the wrong way"),
        (lambda f, z, sigmas: z, "as it came in"),
        (lambda f, z, sigmas: written_out(f, z, sigmas[:-1]), "the last step is missing"),
        (lambda f, z, sigmas: written_out(f, z, sigmas[1:]), "5 steps do not arrive"),
        (lambda f, z, sigmas: written_out(f, z, sigmas).float().flatten(), "has shape"),
    ],
    "seam": [
        (near_less(lambda found, e, w: 0), "rain all over the picture"),
        (lambda g, e, w: jumps_of(g)[:, e - w : e + w].amax(1), "rain all over the picture"),
        (near_less(right_of, jumps=lambda grey: grey.diff(dim=2).mean(1)), "beyond which all is darker"),
        (near_less(right_of, jumps=lambda grey: grey.diff(dim=2).mean(1).abs()), "cancel"),
        (lambda g, e, w: -near_less(right_of)(g, e, w), "two lands sewn together"),
        (lambda g, e, w: jumps_of(g)[:, e - 1] - right_of(jumps_of(g), e, w), "a few columns beside the edge"),
        (lambda g, e, w: jumps_of(g)[:, e : e + w].mean(1) - right_of(jumps_of(g), e, w), "beyond which all is darker"),
        (lambda g, e, w: jumps_of(g).amax(1), "look near the edge"),
        (lambda g, e, w: torch.zeros(len(g)), "two lands sewn together"),
        (lambda g, e, w: near_less(right_of)(g, e, w) - near_less(right_of)(g, e, w).mean(), "two lands sewn together"),
        (
            lambda g, e, w: near_less(right_of)(g, e, w) - near_less(right_of)(g, e, w).mean() * (len(g) > 1),
            "each picture has its own number",
        ),
        (lambda g, e, w: near_less(right_of)(g, e, w).mean(), "has shape ()"),
    ],
}


def forgets_return(slope, z, sigmas):
    for sigma in sigmas:
        z = z + sigma


def too_many_axes(grey, edge, width):
    jumps = grey.diff(dim=2).abs().mean(1)
    return jumps[:, :, edge].mean(1)


@pytest.mark.parametrize(
    "name, answer, kind, line",
    [
        ("residual_block", lambda b, x, e: b.conv1(x) + b.time_emb_proj(e), "RuntimeError", 1),
        (
            "draw",
            lambda ask, x, empty, words, *rest: ask(torch.cat([x, x]), 1, words),
            "AssertionError: ask got 4 latents and 2",
            1,
        ),
        ("heun", lambda f, z, sigmas: z + sigmas[99], "IndexError", 1),
        ("seam", too_many_axes, "IndexError", 3),
    ],
)
def test_an_exception_is_one_line(name, answer, kind, line):
    verdict = getattr(checks, name).hint(answer)
    assert verdict.startswith(f"not yet: your function stopped with {kind}") and "\n" not in verdict
    assert verdict.endswith(f"(line {line} of your function)")


@pytest.mark.parametrize(
    "name, answer",
    [("residual_block", lambda b, x, e: x), ("draw", lambda ask, x, *rest: x), ("heun", lambda f, z, s: z)],
)
def test_what_is_returned_as_it_came_in_is_said_once(name, answer):
    assert getattr(checks, name).hint(answer).count("as it came in") == 1


def test_a_forgotten_return_is_named():
    assert "is a return missing?" in checks.heun.hint(forgets_return)


@torch.inference_mode()
def test_right_answers_draw_what_the_library_draws(tiny):
    """A student's loop: the latents of StableDiffusionPipeline."""
    scale, noise = 3.0, seeded_noise((1, *tiny.latent_shape), 4, tiny.device, tiny.dtype)
    pipe = tiny.pipeline()
    pipe.scheduler = diffusers.DDIMScheduler.from_config({**tiny.scheduler.config, "clip_sample": False})
    settings = {"num_inference_steps": 5, "guidance_scale": scale, "output_type": "latent"}
    library = pipe("a red boat", latents=noise, **settings).images
    empty, words = encode_prompts(tiny, ["", "a red boat"]).chunk(2)
    timesteps, levels = pipe.scheduler.timesteps, pipe.scheduler.alphas_cumprod

    def ask(x, t, prompt_embeds):
        return tiny.unet(x, t, encoder_hidden_states=prompt_embeds).sample

    for draw in RIGHT["draw"]:
        latents = draw(ask, noise, empty, words, scale, timesteps, torch.cat([levels[timesteps], levels[:1]]))
        assert torch.allclose(latents, library, atol=1e-3 * float(library.abs().max()))


@torch.inference_mode()
def test_right_blocks_are_those_of_the_loaded_model(tiny):
    x, emb = (
        torch.randn(2, tiny.unet.config.block_out_channels[-1], 4, 4),
        torch.randn(2, 4 * tiny.unet.config.block_out_channels[0]),
    )
    for block in tiny.unet.mid_block.resnets:
        for answer in RIGHT["residual_block"]:
            assert torch.allclose(
                answer(block, x.to(tiny.dtype), emb.to(tiny.dtype)),
                block(x.to(tiny.dtype), emb.to(tiny.dtype)),
                atol=1e-4,
            )
