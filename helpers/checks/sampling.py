"""Exercises 1 to 4, lesson 04. A check tries properties from the most telling to the least, and stops at
the first that fails. Wrong answers that many readers give are worked out beside the right one: whose numbers an
answer has is then known by name."""

import torch
from diffusers.models.resnet import ResnetBlock2D
from torch.nn.functional import silu

from helpers import diffusion
from helpers.checks.base import Sheet, Uncopied, close, mistaken_for, random

sheet = Sheet("04")
progress, yours, yours_else = sheet.progress, sheet.yours, sheet.yours_else

# 1: one residual block


class Given(Uncopied, ResnetBlock2D):
    """A block for an answer to look at, the same for every call."""


def _block(channels, wider, emb, groups, seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        block = Given(in_channels=channels, out_channels=wider, temb_channels=emb, groups=groups, eps=1e-5).eval()
        for norm in (block.norm1, block.norm2):  # fresh ones change nothing, and a swap would go unseen
            torch.nn.init.normal_(norm.weight), torch.nn.init.normal_(norm.bias)
    return block.requires_grad_(False)


def _residual(block, x, emb, first=silu, second=silu, of_time=silu, add=True, time=True, late=False):
    h = block.conv1(first(block.norm1(x)))
    emb = block.time_emb_proj(of_time(emb))[:, :, None, None]
    h = h + emb if time and not late else h
    h = second(block.norm2(h))
    h = h + emb if late else h
    straight = x if block.conv_shortcut is None else block.conv_shortcut(x)
    return block.conv2(h) + straight if add else block.conv2(h)


@sheet.exercise(1, lambda block, x, emb: (len(x), block.out_channels, *x.shape[2:]))
def residual_block(answer):
    """residual_block(block, x, emb): a ResnetBlock2D of diffusers, x (B, C, h, w), emb (B, width) -> (B, C', h, w)."""
    same = lambda x: x  # noqa: E731
    for number, sizes in enumerate(((8, 8, 12, 4), (8, 16, 12, 4), (32, 32, 128, 16), (24, 8, 32, 8))):
        block, x, emb = _block(*sizes, seed=number), random(3, sizes[0], 6, 5), random(3, sizes[2], seed=1)
        result, right = answer(block, x, emb), block(x, emb)
        if not close(result, right, 1e-4):
            return mistaken_for(
                result,
                [
                    (
                        "the input is never added: h + x is what makes the block residual",
                        _residual(block, x, emb, add=False),
                    ),
                    (
                        "the block does not know the time: add time_emb_proj of silu(emb), one number for each channel, after conv1",
                        _residual(block, x, emb, time=False),
                    ),
                    ("emb goes through silu too, before time_emb_proj", _residual(block, x, emb, of_time=same)),
                    ("the time is added after norm2, and belongs before it", _residual(block, x, emb, late=True)),
                    (
                        "there is no silu: without one, two convolutions are no more than one",
                        _residual(block, x, emb, first=same, second=same),
                    ),
                    ("the silu after norm1 is missing", _residual(block, x, emb, first=same)),
                    ("the silu after norm2 is missing", _residual(block, x, emb, second=same)),
                    ("you return x as it came in", x),
                ],
                1e-4,
            ) or (
                "not what the library's block gives: norm1, silu, conv1, add the time, norm2, silu, conv2, add the input"
                + (" (through conv_shortcut, where the block has one)" if sizes[0] != sizes[1] else "")
            )


# 2: the loop with words


def _drawn(ask, x, empty, words, scale, timesteps, abars, guide=lambda u, c, s: u + s * (c - u), restore=None):
    for t, abar, after in zip(timesteps, abars, abars[1:]):
        eps = guide(ask(x, t, empty), ask(x, t, words), scale)
        x_0 = (x - (1 - abar).sqrt() * eps) / abar.sqrt()
        x = after.sqrt() * x_0 + (1 - after).sqrt() * eps if restore is None else restore(x, x_0, eps, abar, after)
    return x


def _ask(x, t, prompt_embeds):
    """A stand-in for a U-Net: its answer depends on the latents, on t and on the prompt, row by row."""
    assert len(x) == len(prompt_embeds), f"ask got {len(x)} latents and {len(prompt_embeds)} prompts"
    level = torch.as_tensor(t, dtype=x.dtype) / 1000
    return (0.3 + level) * torch.tanh(x) + prompt_embeds.mean((1, 2))[:, None, None, None] + level**2


@sheet.exercise(2, lambda ask, x, empty, words, scale, timesteps, abars: x.shape)
def draw(answer):
    """draw(ask, x, empty, words, scale, timesteps, abars): ask(x, t, prompt_embeds) -> eps, of x's shape. x
    (B, C, h, w), empty and words (B, 77, d), timesteps S of them that fall, abars S + 1, one more for the end."""
    alphas_cumprod = diffusion.make_alphas_cumprod()
    for batch, steps, scale, listed in ((2, 3, 3.0, True), (1, 1, 7.5, False), (3, 5, 1.0, True), (2, 4, 0.0, False)):
        timesteps = torch.linspace(951, 1, steps + 1).long()[:-1]
        abars = torch.cat([alphas_cumprod[timesteps], torch.tensor([0.64 if steps < 4 else 0.999])])
        x, empty, words = random(batch, 4, 8, 8), random(batch, 77, 16, seed=1), 0.3 + random(batch, 77, 16, seed=2)
        given = _ask, x, empty, words, scale, timesteps.tolist() if listed else timesteps, abars
        result, right = answer(*given), _drawn(*given)
        if not close(result, answer(*given), 0):
            return "two calls differ: this loop draws no fresh noise, it puts eps back"
        if not close(result, right, 1e-4 * float(right.abs().max())):
            return _which_mistake(result, given) or (
                f"with {steps} step{'s' * (steps > 1)} and scale {scale:g} the latents are not the loop's: two answers, their guided "
                "one, the estimate of x_0, noise put back for abars[i + 1]"
            )


def _which_mistake(result, given):
    """The hint for a known mistake that explains this result of `given`, or None."""
    swapped = given[0], given[1], given[3], given[2], *given[4:]
    near = 1e-4 * float(result.abs().max())
    return mistaken_for(
        result,
        [
            ("you return the noise as it came in", given[1]),
            ("the halves are swapped: scale 1 must be the plain prompt", _drawn(*swapped)),
            ("the empty prompt is never asked", _drawn(*given, guide=lambda u, c, s: c)),
            ("the prompt is not used", _drawn(*given, guide=lambda u, c, s: u)),
            (
                "scale 1 must be the plain prompt, and yours goes one further: the paper's w is scale - 1",
                _drawn(*given, guide=lambda u, c, s: c + s * (c - u)),
            ),
            (
                "the difference alone is no answer: it is added to the empty prompt's",
                _drawn(*given, guide=lambda u, c, s: s * (c - u)),
            ),
            (
                "the noise is taken away and never put back: the next latents need sqrt(1 - abars[i + 1]) of eps",
                _drawn(*given, restore=lambda x, x_0, eps, abar, after: after.sqrt() * x_0),
            ),
            (
                "the estimate of x_0 is where the step passes through, not where it ends: put noise back",
                _drawn(*given, restore=lambda x, x_0, eps, abar, after: x_0),
            ),
            (
                "noise is put back for the old level: use abars[i + 1]",
                _drawn(*given, restore=lambda x, x_0, eps, abar, after: after.sqrt() * x_0 + (1 - abar).sqrt() * eps),
            ),
            (
                "x_0 has to be shrunk by sqrt(abars[i + 1]) before noise is put back",
                _drawn(*given, restore=lambda x, x_0, eps, abar, after: x_0 + (1 - after).sqrt() * eps),
            ),
            (
                "weights abar and 1 - abar: take square roots",
                _drawn(*given, restore=lambda x, x_0, eps, abar, after: after * x_0 + (1 - after) * eps),
            ),
            (
                "the last step is missing: there are as many steps as timesteps",
                _drawn(*given[:5], given[5][:-1], given[6][:-1]),
            ),
        ],
        near,
    )


# 3: a step of second order


def _walked(slope, z, sigmas, step):
    for sigma, after in zip(sigmas, sigmas[1:]):
        z = step(slope, z, sigma, after)
    return z


def _euler(slope, z, sigma, after):
    return z + (after - sigma) * slope(z, sigma)


def _heun(slope, z, sigma, after):
    first = slope(z, sigma)
    return z + (after - sigma) / 2 * (first + slope(z + (after - sigma) * first, after))


@sheet.exercise(3, lambda slope, z, sigmas: z.shape)
def heun(answer):
    """heun(slope, z, sigmas): slope(z, sigma) of z's shape, z of any shape at sigmas[0]; where z is at sigmas[-1]."""

    def slope(z, sigma):
        return torch.sin(z) * (0.2 + sigma / 8) + 0.5 * sigma

    for shape, count, dtype in (
        ((50, 1), 6, torch.float32),
        ((2, 4, 8, 8), 2, torch.float64),
        ((3, 4, 4, 4), 4, torch.float64),
    ):
        z, sigmas = random(*shape).to(dtype), torch.linspace(3, 0.2, count).to(dtype) ** 2
        result, right = answer(slope, z, sigmas), _walked(slope, z, sigmas, _heun)
        if not close(result, right, 1e-4):
            return mistaken_for(
                result,
                [
                    (
                        "that is Euler: ask for the slope again at the end of the step and take the mean of both",
                        _walked(slope, z, sigmas, _euler),
                    ),
                    (
                        "the second slope is asked at the old z: ask where Euler's step arrives",
                        _walked(slope, z, sigmas, lambda f, z, s, e: z + (e - s) / 2 * (f(z, s) + f(z, e))),
                    ),
                    (
                        "the second slope is asked at the old sigma: ask at the new one",
                        _walked(
                            slope, z, sigmas, lambda f, z, s, e: z + (e - s) / 2 * (f(z, s) + f(_euler(f, z, s, e), s))
                        ),
                    ),
                    (
                        "the step is twice as long: take the mean of the two slopes, not their sum",
                        _walked(
                            slope, z, sigmas, lambda f, z, s, e: z + (e - s) * (f(z, s) + f(_euler(f, z, s, e), e))
                        ),
                    ),
                    (
                        "only the second slope is used: take the mean of both",
                        _walked(slope, z, sigmas, lambda f, z, s, e: z + (e - s) * f(_euler(f, z, s, e), e)),
                    ),
                    (
                        "that is the midpoint rule, of second order too: here take the mean of the slopes at both ends",
                        _walked(
                            slope,
                            z,
                            sigmas,
                            lambda f, z, s, e: z + (e - s) * f(_euler(f, z, s, (s + e) / 2), (s + e) / 2),
                        ),
                    ),
                    (
                        "the step goes the wrong way: sigma falls, so sigmas[i + 1] - sigmas[i] is negative",
                        _walked(slope, z, sigmas, lambda f, z, s, e: _heun(f, z, s, 2 * s - e)),
                    ),
                    ("you return z as it came in", z),
                    (
                        "the last step is missing: the last pair is sigmas[-2] and sigmas[-1]",
                        _walked(slope, z, sigmas[:-1], _heun),
                    ),
                ],
                1e-4,
            ) or (
                f"{count - 1} step{'s' * (count > 2)} do not arrive where Heun's do: from each sigma to the next, half of "
                "(next - sigma) times the sum of both slopes"
            )


# 4: how visible an edge is


def _land(seed, high=48, wide=80):
    """A grey picture (H, W) of a bright sky over darker hills, no two of them alike."""
    draw = torch.Generator().manual_seed(seed)
    light, dark, rise, waves = (
        torch.rand(4, generator=draw) * torch.tensor([50, 40, 8, 6]) + torch.tensor([170, 70, 2, 5])
    ).tolist()
    x, y = torch.arange(wide).float(), torch.arange(high).float()[:, None]
    horizon = high / 2 + rise * torch.sin(waves * x / wide + seed)
    return torch.where(y < horizon, light - y, dark + y / 2)


def _sewn(left, right, at):
    """One land up to the column `at`, and another from there."""
    return torch.cat([left[:, :at], right[:, at:]], 1)


@sheet.exercise(4, lambda grey, edge, width: (len(grey),))
def seam(answer):
    """seam(grey, edge, width): grey (n, H, W), edge and width whole numbers of columns -> (n,), one number a picture.

    Any measure will do that gives each picture with a seam more than one without: what is compared is listed from the plainest on.
    """
    way = "take absolute values, and mind that jump k lies between columns k and k + 1"
    for seed, (edge, width) in enumerate(((50, 4), (44, 3), (56, 5), (48, 4))):
        one, other = _land(2 * seed), _land(2 * seed + 1)
        sewn, rough = _sewn(one, other, edge), one + 25 * random(*one.shape, seed=seed)
        lighter, darker = (_sewn(one, one + by, edge) for by in (25, -25))
        level = one[:, :1] + random(*one.shape, seed=seed)
        up_down = level.clone()
        up_down[:24, edge:] += 20
        up_down[24:, edge:] -= 20
        for seen, unseen, hint in (
            (sewn, one, "two lands sewn together get no more than one of them whole"),
            (lighter, one, f"an edge beyond which all is lighter gets no more than none: {way}"),
            (darker, one, f"an edge beyond which all is darker gets no more than none: {way}"),
            (
                up_down,
                level,
                "jumps up in one row and down in another cancel: take absolute values before the mean over the rows",
            ),
            (
                sewn,
                _sewn(one, other, edge + 4 * width),
                "a seam far from the edge counts as much as one at it: look near the edge",
            ),
            (
                _sewn(one, other, edge + width - 1),
                one,
                "a seam a few columns beside the edge is missed: it may lie to either side, by fewer than `width` columns",
            ),
            (
                _sewn(one, other, edge - width + 1),
                one,
                "a seam a few columns beside the edge is missed: it may lie to either side, by fewer than `width` columns",
            ),
            (
                sewn,
                rough,
                "rain all over the picture gets more than a seam: compare with what the rest of the picture is like",
            ),
        ):
            alone = [float(answer(picture[None], edge, width)[0]) for picture in (seen, unseen)]
            if not alone[0] > alone[1]:
                return hint
            if not close(
                answer(torch.stack([seen, unseen]), edge, width),
                torch.tensor(alone),
                1e-3 * max(map(abs, alone)) + 1e-6,
            ):
                return "each picture has its own number, whichever pictures lie beside it"
