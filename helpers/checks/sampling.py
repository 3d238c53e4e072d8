"""Exercises 1 to 4, lesson 04. A check tries properties from the most telling to the least, and stops at
the first that fails. Wrong answers that many readers give are worked out beside the right one: whose numbers an
answer has is then known by name."""
import torch
from diffusers.models.resnet import ResnetBlock2D
from torch.nn.functional import silu

from .. import diffusion
from .base import Sheet, Uncopied, close, mistaken_for, random

sheet = Sheet("04")
progress, yours, yours_else = sheet.progress, sheet.yours, sheet.yours_else

# 1: one residual block


class Given(Uncopied, ResnetBlock2D):
    """A block for an answer to look at, the same for every call."""


def _block(channels, wider, emb, groups, seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        block = Given(in_channels=channels, out_channels=wider, temb_channels=emb, groups=groups, eps=1e-5).eval()
        for norm in (block.norm1, block.norm2):                 # fresh ones change nothing, and a swap would go unseen
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
    same = lambda x: x                                                                      # noqa: E731
    for number, sizes in enumerate(((8, 8, 12, 4), (8, 16, 12, 4), (32, 32, 128, 16), (24, 8, 32, 8))):
        block, x, emb = _block(*sizes, seed=number), random(3, sizes[0], 6, 5), random(3, sizes[2], seed=1)
        result, right = answer(block, x, emb), block(x, emb)
        if not close(result, right, 1e-4):
            return mistaken_for(result, [
                ("the input is never added: h + x is what makes the block residual", _residual(block, x, emb, add=False)),
                ("the block does not know the time: add time_emb_proj of silu(emb), one number for each channel, after conv1",
                 _residual(block, x, emb, time=False)),
                ("emb goes through silu too, before time_emb_proj", _residual(block, x, emb, of_time=same)),
                ("the time is added after norm2, and belongs before it", _residual(block, x, emb, late=True)),
                ("there is no silu: without one, two convolutions are no more than one",
                 _residual(block, x, emb, first=same, second=same)),
                ("the silu after norm1 is missing", _residual(block, x, emb, first=same)),
                ("the silu after norm2 is missing", _residual(block, x, emb, second=same)),
                ("you return x as it came in", x)], 1e-4) or (
                "not what the library's block gives: norm1, silu, conv1, add the time, norm2, silu, conv2, add the input"
                + (" (through conv_shortcut, where the block has one)" if sizes[0] != sizes[1] else ""))


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
    for batch, steps, scale, listed in ((2, 1, 3.0, True), (1, 4, 7.5, False), (3, 5, 1.0, True), (2, 3, 0.0, False)):
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
                "one, the estimate of x_0, noise put back for abars[i + 1]")


def _which_mistake(result, given):
    """The hint for a known mistake that explains this result of `given`, or None."""
    swapped = given[0], given[1], given[3], given[2], *given[4:]
    near = 1e-4 * float(result.abs().max())
    return mistaken_for(result, [
        ("you return the noise as it came in", given[1]),
        ("the halves are swapped: scale 1 must be the plain prompt", _drawn(*swapped)),
        ("the empty prompt is never asked", _drawn(*given, guide=lambda u, c, s: c)),
        ("the prompt is not used", _drawn(*given, guide=lambda u, c, s: u)),
        ("scale 1 must be the plain prompt, and yours goes one further: the paper's w is scale - 1",
         _drawn(*given, guide=lambda u, c, s: c + s * (c - u))),
        ("the difference alone is no answer: it is added to the empty prompt's", _drawn(*given, guide=lambda u, c, s: s * (c - u))),
        ("the noise is taken away and never put back: the next latents need sqrt(1 - abars[i + 1]) of eps",
         _drawn(*given, restore=lambda x, x_0, eps, abar, after: after.sqrt() * x_0)),
        ("the estimate of x_0 is where the step passes through, not where it ends: put noise back",
         _drawn(*given, restore=lambda x, x_0, eps, abar, after: x_0)),
        ("noise is put back for the old level: use abars[i + 1]",
         _drawn(*given, restore=lambda x, x_0, eps, abar, after: after.sqrt() * x_0 + (1 - abar).sqrt() * eps)),
        ("x_0 has to be shrunk by sqrt(abars[i + 1]) before noise is put back",
         _drawn(*given, restore=lambda x, x_0, eps, abar, after: x_0 + (1 - after).sqrt() * eps)),
        ("weights abar and 1 - abar: take square roots",
         _drawn(*given, restore=lambda x, x_0, eps, abar, after: after * x_0 + (1 - after) * eps)),
        ("the last step is missing: there are as many steps as timesteps", _drawn(*given[:5], given[5][:-1], given[6][:-1])),
    ], near)


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

    for shape, count, dtype in (((2, 4, 8, 8), 2, torch.float64), ((50, 1), 6, torch.float32), ((3, 4, 4, 4), 4, torch.float64)):
        z, sigmas = random(*shape).to(dtype), torch.linspace(3, 0.2, count).to(dtype) ** 2
        result, right = answer(slope, z, sigmas), _walked(slope, z, sigmas, _heun)
        if not close(result, right, 1e-4):
            return mistaken_for(result, [
                ("that is Euler: ask for the slope again at the end of the step and take the mean of both", _walked(slope, z, sigmas, _euler)),
                ("the second slope is asked at the old z: ask where Euler's step arrives", _walked(
                    slope, z, sigmas, lambda f, z, s, e: z + (e - s) / 2 * (f(z, s) + f(z, e)))),
                ("the second slope is asked at the old sigma: ask at the new one", _walked(
                    slope, z, sigmas, lambda f, z, s, e: z + (e - s) / 2 * (f(z, s) + f(_euler(f, z, s, e), s)))),
                ("the step is twice as long: take the mean of the two slopes, not their sum", _walked(
                    slope, z, sigmas, lambda f, z, s, e: z + (e - s) * (f(z, s) + f(_euler(f, z, s, e), e)))),
                ("only the second slope is used: take the mean of both", _walked(
                    slope, z, sigmas, lambda f, z, s, e: z + (e - s) * f(_euler(f, z, s, e), e))),
                ("that is the midpoint rule, of second order too: here take the mean of the slopes at both ends", _walked(
                    slope, z, sigmas, lambda f, z, s, e: z + (e - s) * f(_euler(f, z, s, (s + e) / 2), (s + e) / 2))),
                ("the step goes the wrong way: sigma falls, so sigmas[i + 1] - sigmas[i] is negative", _walked(
                    slope, z, sigmas, lambda f, z, s, e: _heun(f, z, s, 2 * s - e))),
                ("you return z as it came in", z)], 1e-4) or (
                f"{count - 1} step{'s' * (count > 2)} do not arrive where Heun's do: from each sigma to the next, half of "
                "(next - sigma) times the sum of both slopes")


# 4: how visible an edge is


def _seam(grey, edge, width):
    jumps = grey.diff(dim=2).abs().mean(1)                                                  # (n, W - 1)
    return jumps[:, edge - width:edge + width].mean(1) - jumps[:, edge + width:].mean(1)


@sheet.exercise(4, lambda grey, edge, width: (len(grey),))
def seam(answer):
    """seam(grey, edge, width): grey (n, H, W), edge and width whole numbers of columns -> (n,), one number a picture."""
    flat = torch.full((2, 12, 40), 100.0)
    if not close(answer(flat, 20, 4), torch.zeros(2), 1e-3):
        return "a flat picture has no seam: its number is 0"
    for number, (shape, edge, width) in enumerate((((3, 12, 40), 20, 4), ((1, 30, 64), 40, 8), ((4, 9, 25), 8, 2))):
        grey = 100 + 40 * random(*shape, seed=number)
        grey[:, :, edge:] = 0.5 * grey[:, :, edge:] + 90
        result, right = answer(grey, edge, width), _seam(grey, edge, width)
        if not close(result, right, 1e-3):
            return mistaken_for(result, _other_seams(grey, edge, width), 1e-3) or (
                "not the mean jump near the edge, less the mean jump to the right: number k of grey.diff(dim=2) lies between columns "
                "k and k + 1, near are those from edge - width to before edge + width")


def _other_seams(grey, edge, width):
    """The mistakes that have a name, as `mistaken_for` takes them."""
    signed, around, right = grey.diff(dim=2), slice(edge - width, edge + width), slice(edge + width, None)
    jumps = signed.abs().mean(1)

    def less(jumps, near=around, rest=right):
        return jumps[:, near].mean(1) - jumps[:, rest].mean(1)

    return [
        ("the mean jump to the right is still to be taken away: a picture that is rough all over has no seam", jumps[:, around].mean(1)),
        ("take absolute values before the mean over the rows, or jumps up and down cancel",
         less(signed.mean(1)), less(signed.mean(1).abs())),
        ("a jump is an absolute difference, and yours is squared", less(signed.square().mean(1))),
        ("the sign is the wrong way round: near the edge less the rest", -less(jumps)),
        ("the control is the part to the right, where all is painted, and not the whole picture", less(jumps, rest=slice(None))),
        ("the control is the part to the right, where all is painted, and not the one to the left", less(jumps, rest=slice(edge - width))),
        ("near means from edge - width to edge + width, and yours is the jump at the edge alone", less(jumps, slice(edge - 1, edge))),
        ("near begins at edge - width, on the left of the edge", less(jumps, slice(edge, edge + width))),
    ]
