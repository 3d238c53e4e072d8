"""Exercises 1 to 4 and the four samplers to diagnose, lesson 01. A check tries properties from the most telling
to the least, and stops at the first that fails."""

from functools import partial

import torch

from helpers import diffusion
from helpers.checks.base import NotFinite, Sheet, Uncopied, close, mistaken_for, random

sheet = Sheet("01")
progress, yours, yours_else = sheet.progress, sheet.yours, sheet.yours_else


class Examined(Uncopied, torch.nn.Module):
    """A network with one weight that keeps what it was asked: its answer is weight * x_t."""

    def __init__(self):
        super().__init__()
        self.weight, self.asked = torch.nn.Parameter(torch.tensor(0.5)), []

    def forward(self, x_t, t):
        self.asked.append((x_t.detach().double(), torch.as_tensor(t).detach().clone()))
        return self.weight * x_t


class Plain(Uncopied, torch.optim.SGD):
    """Plain gradient descent."""


def _noise_hint(x_t, x_0, signal, noise):
    """What is wrong with the noisy points x_t, or nothing; and the noise in them."""

    def like_noise(eps):
        return abs(eps.mean()) < 0.08 and abs(eps.var() - 1) < 0.1

    eps = (x_t - signal * x_0) / noise
    if close(x_t, x_0, 1e-6):
        return "the network gets the clean points: give it x_t, the points with their noise", eps
    if eps.std(0).max() < 1e-3:
        return "all points get one and the same noise: draw it in the shape of x_0", eps
    if like_noise(eps):
        if torch.corrcoef(eps.T)[0, 1].abs() > 0.2:
            return "both numbers of a point get the same noise: draw it in the shape of x_0", eps
        within = (eps.abs() < 1).double().mean()  # of a normal number 68 %, of an even one of that spread 58 %
        return ("the noise is not normal: torch.randn_like draws it" if abs(within - 0.683) > 0.05 else None), eps
    if like_noise((x_t - signal**2 * x_0) / noise**2):
        return "the weights of points and noise add to 1, but their squares must: take square roots", eps
    if like_noise((x_t - noise * x_0) / signal):
        return "the two weights are swapped: at the smallest t nearly all of x_t must be the clean point", eps
    if abs(eps.mean() - 0.5) < 0.05 and abs(eps.var() - 1 / 12) < 0.02:
        return "the noise has mean 0.5: torch.randn_like gives mean 0 and variance 1, torch.rand_like does not", eps
    return "x_t is not the mixture of the formula: x_0 and noise, each times its weight for this point's t", eps


def _step_hint(answer, net, x_0, arguments, seed, levels, target, last=None):
    """One call of a training step: a hint or None, and the noise that was drawn.

    levels(t): a hint on the t drawn, or the two weights (n, 1). target(x_0, eps): what the network ought to answer.
    last: the gradient of the call before, to recognise one that was not cleared.
    """
    torch.manual_seed(seed)
    net.asked.clear()
    before, rate = net.weight.item(), 0.1
    loss = answer(net, *arguments)
    if not net.asked:
        return "the network is never asked: call net(x_t, t)", None, None
    if len(net.asked) > 1:
        return f"the network is asked {len(net.asked)} times in one step: once is enough", None, None
    (x_t, t), clean = net.asked[0], x_0.double()
    if x_t.shape != x_0.shape:
        return f"the network gets x_t of shape {tuple(x_t.shape)}, expected that of x_0, {tuple(x_0.shape)}", None, None
    if t.shape != x_0.shape[:1]:
        return (
            f"the network gets t of shape {tuple(t.shape)}: draw one t for each point, {tuple(x_0.shape[:1])}",
            None,
            None,
        )
    if t.unique().numel() < 50:
        return "all points get the same t, or nearly: draw one for each", None, None
    weights = levels(t)
    if isinstance(weights, str):
        return weights, None, None
    hint, eps = _noise_hint(x_t, clean, *weights)
    if hint:
        return hint, None, None
    wanted, guess = target(clean, eps), before * x_t
    expected, gradient = ((guess - wanted) ** 2).mean(), (2 * (guess - wanted) * x_t).mean()
    if not close(loss, expected, 1e-4 * (1 + expected.item())):
        return _loss_hint(loss, guess, wanted, clean, x_t, eps, expected.item()), None, None
    moved = net.weight.item() - before
    if moved == 0:
        return "the network is the same afterwards: loss.backward(), and then optimizer.step()", None, None
    if not close(moved, -rate * gradient, 1e-4 * (1 + abs(rate * gradient.item()))):
        if last is not None and close(moved, -rate * (gradient + last), 1e-3 * (1 + abs(rate * gradient.item()))):
            return (
                "the gradient of the step before is still there: optimizer.zero_grad() before loss.backward()",
                None,
                None,
            )
        return "the network moves, but not by one step along the gradient of the loss", None, None
    return None, eps, gradient.item()


def _two_steps(answer, kinds, target):
    """Hints, or None, on a training step, on a second one and on both together. kinds: for each step the arguments after
    x_0, and levels; target: as for `_step_hint`."""
    net, x_0 = Examined(), 2 + 0.5 * random(4096, 2)
    optimizer, noises, gradient = Plain(net.parameters(), lr=0.1), [], None
    for seed, (further, levels) in enumerate(kinds, 1):
        hint, eps, gradient = _step_hint(answer, net, x_0, (optimizer, x_0, *further), seed, levels, target, gradient)
        if hint:
            return [None] * len(noises) + [hint] + [None] * (2 - len(noises))
        noises.append(eps)
    return (
        None,
        None,
        "two steps draw the same noise: do not seed inside the function" if close(*noises, 1e-3) else None,
    )


def _loss_hint(loss, guess, wanted, x_0, x_t, eps, expected):
    def is_mean(square):
        return close(loss, square.mean(), 1e-4 * (1 + square.mean().item()))

    for count in (guess.numel(), len(guess)):
        if close(loss, expected * count, 1e-3 * expected * count):
            return "the loss is a sum: take the mean, so that it does not grow with the number of points"
    if close(loss, guess.shape[1] * expected, 1e-4 * (1 + expected)):
        return "the loss is twice the mean: the two numbers of a point are added up, take their mean, too"
    if is_mean((guess - x_0) ** 2):
        return "the loss compares the answer with the clean points, and these are not the target"
    if is_mean((guess - x_t) ** 2):
        return "the loss compares the answer with the noisy points that were given, and these are not the target"
    if is_mean((guess - eps) ** 2):
        return "the loss compares the answer with the noise: the target here is the velocity, eps - x_0"
    if is_mean((guess + wanted) ** 2):
        return "the target has the wrong sign"
    if is_mean((guess - wanted).abs()):
        return "the loss is the mean of absolute values: square the differences"
    if close(loss, expected**0.5, 1e-4):
        return "the loss is a root: leave the mean of the squares as it is"
    return f"the loss is {loss:.3f}, and the mean squared error of that answer is {expected:.3f}"


@sheet.exercise(1, float, "the loss")
def train_step(answer):
    """train_step(net, optimizer, x_0, alphas_cumprod) -> loss: one training step on clean points x_0 (n, 2)."""

    def levels(schedule, t):
        if t.is_floating_point():
            return "t is a whole number from 0 to 999: torch.randint draws them"
        if t.max() > 999:
            return f"your t go up to {t.max()}: counted from 0, the last of the 1000 is 999"
        if t.min() < 0 or abs(t.double().mean() - 499.5) > 25 or t.max() < 950:
            return f"your t lie between {t.min()} and {t.max()}: draw them evenly from 0 to 999"
        abar = schedule[t].double()[:, None]
        return abar.sqrt(), (1 - abar).sqrt()

    schedules = map(diffusion.make_alphas_cumprod, ("scaled_linear", "linear"))
    first, second, both = _two_steps(
        answer, [((schedule,), partial(levels, schedule)) for schedule in schedules], lambda x_0, eps: eps
    )
    if not first and second and "gradient" not in second:
        return f"right with one schedule, wrong with another: use the alphas_cumprod you are given ({second})"
    return first or second or both or _levels_hint(answer)


def _levels_hint(answer):
    """What is wrong with the t that are drawn for very many points, or None.

    Of 20 000 right draws one end is missed in 4 of 10^9 trials, and a tenth of the levels so over- or underdrawn in fewer.
    """
    net, x_0 = Examined(), 2 + 0.5 * random(20_000, 2)
    torch.manual_seed(3)
    answer(net, Plain(net.parameters(), lr=0.1), x_0, diffusion.make_alphas_cumprod())
    t = net.asked[0][1].long()
    if t.max() < 999:
        return (
            f"your t end at {t.max()}, and 999 is a noise level too: torch.randint stops one before the number it is given, so "
            "give it 1000"
        )
    if t.min() > 0:
        return f"your t begin at {t.min()}, and 0 is a noise level too: counted from 0, the first of the 1000 is 0"
    shares = torch.bincount(t // 100, minlength=10) / len(t)
    if (shares - 0.1).abs().max() > 0.02:
        return (
            f"your t are not equally likely: one tenth of the levels gets {shares.min():.0%} of the points, another "
            f"{shares.max():.0%}; torch.randint draws them evenly"
        )


@sheet.exercise(2, lambda noise_pred, x, timesteps, alphas_cumprod: (len(timesteps) + 1, *x.shape))
def sample(answer):
    """sample(noise_pred, x, timesteps, alphas_cumprod) -> (steps + 1, *x.shape): x and every stop on its way to t = 0."""
    schedule, x = diffusion.make_alphas_cumprod(), random(5, 2)
    asked, places = [], []

    def one(x, t):
        asked.append(int(t)), places.append(x.clone())
        return torch.ones_like(x)

    path = answer(one, x, [900, 300], schedule)
    if not close(path, answer(one, x, [900, 300], schedule), 0):
        return "two calls differ: put the guessed noise back, and draw none"
    if not close(path[0], x, 1e-6):
        return "the path begins with the x that was given: put it in first"
    if asked[:2] != [900, 300] or len(asked) != 4:
        return (
            f"the noise is asked for at t = {asked[: len(asked) // 2]}, expected at each of timesteps once, [900, 300]"
        )
    if not close(places[1], path[1], 1e-6):
        return (
            "at the second step the noise is asked for in another x than the one reached: ask about the x of this step"
        )
    return _stops_hint(path, x, schedule[900], schedule[300], schedule[0]) or _given_hint(answer)


def _stops_hint(path, x, abar, after, end):
    """What is wrong with the two stops after x, where every guess is 1, or None. end: abar at t = 0, used by mistake."""
    x_0 = (x - (1 - abar).sqrt()) / abar.sqrt()
    hint = mistaken_for(
        path[1],
        [
            ("after the first of two steps the noise is all gone: put it back, with the weight of the next t", x_0),
            (
                "you put noise back with the weight of this t: use that of the next, sqrt(1 - abar_next)",
                after.sqrt() * x_0 + (1 - abar).sqrt(),
            ),
            (
                "noise is back, but the estimate keeps its full size: weigh it by sqrt(abar_next)",
                x_0 + (1 - after).sqrt(),
            ),
            (
                "the guess is taken off x, and no x_0 is estimated: solve the formula for x_0 first",
                x - 1,
                x - (1 - abar).sqrt(),
            ),
        ],
        1e-4,
    )
    if hint:
        return hint
    if not close(path[1], after.sqrt() * x_0 + (1 - after).sqrt(), 1e-4):
        return "the first of two steps goes elsewhere: estimate x_0, then mix it and the guess with the weights of the next t"
    x_0 = (path[1] - (1 - after).sqrt()) / after.sqrt()
    if close(path[2], end.sqrt() * x_0 + (1 - end).sqrt(), 1e-5):
        return "the last stop still holds the noise of t = 0: there is no next t, so abar_next is 1"
    if not close(path[2], x_0, 1e-4):
        return "the last step must end on the estimate of x_0 itself: there abar_next is 1"


def _given_hint(answer):
    """What is wrong with other shapes, timesteps and schedules, or None."""

    def bent(x, t):
        return 0.3 * x + 0.001 * int(t)

    for shape, timesteps, name in (
        ((3, 1), [999], "scaled_linear"),
        ((2, 4, 8, 8), [900, 600, 300, 100], "linear"),
        ((4, 2), diffusion.spaced_timesteps(7), "scaled_linear"),
    ):
        x, schedule = random(*shape), diffusion.make_alphas_cumprod(name)
        if not close(answer(bent, x, timesteps, schedule), diffusion.ddim_path(bent, x, timesteps, schedule), 1e-3):
            return (
                f"right on points and two steps, wrong on x of shape {shape} and {len(timesteps)} on another schedule: use "
                "what is given, the schedule too"
            )
    x, schedule = random(4, 2, seed=3), diffusion.make_alphas_cumprod()
    own, right = (walk(bent, x, [700, 350, 0], schedule) for walk in (answer, diffusion.ddim_path))
    if not close(own, right, 1e-3):
        return (
            "right on timesteps above 0, wrong on a list that ends in 0: at t = 0 there is a little noise, "
            "alphas_cumprod[0] is not 1, and abar_next is 1 only after the last"
        )


@sheet.exercise(3, lambda x_t, data, abar: x_t.shape)
def ideal_denoiser(answer):
    """ideal_denoiser(x_t, data, abar): x_t (n, d), data (N, d), abar one number as a tensor -> (n, d)."""
    data, x_t = random(40, 2), random(6, 2, seed=1)
    if hint := _weights_hint(answer(x_t, data, torch.tensor(0.3)), x_t, data, 0.3):
        return hint
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


def _weights_hint(result, x_t, data, abar):
    """The hint for a known mistake that gives this mean of the data, or None."""

    def mean(shrink=abar**0.5, width=2 * (1 - abar), square=lambda apart: (apart**2).sum(2), of=data, axis=1):
        return (-square(x_t[:, None] - shrink * data[None]) / width).softmax(axis) @ of

    return mistaken_for(
        result,
        [
            ("the data are shrunk by abar: by its root, sqrt(abar), as in x_t", mean(shrink=abar)),
            ("shrink the data by sqrt(abar) before you compare: x_t holds no more of them", mean(shrink=1)),
            (
                "that is the mean of the shrunk points: they are shrunk to be compared, and the mean is of the data themselves",
                mean(of=abar**0.5 * data),
            ),
            (
                "for each x_t the weights over the data must add to 1, and yours do over the x_t: softmax over the data's axis",
                mean(axis=0),
            ),
            ("the width is 2 (1 - abar), and yours has 2 abar", mean(width=2 * abar)),
            ("the width is 2 (1 - abar), and yours has no 2", mean(width=1 - abar)),
            ("the width is 2 (1 - abar): it holds the variance, not its root", mean(width=2 * (1 - abar) ** 0.5)),
            ("far points get the most weight: a minus is missing in the exponent", mean(width=-2 * (1 - abar))),
            ("the distances are not squared", mean(square=lambda apart: apart.norm(dim=2))),
            ("the differences are not squared, only made positive", mean(square=lambda apart: apart.abs().sum(2))),
            (
                "the squared differences are averaged over the numbers of a point: add them up",
                mean(square=lambda apart: (apart**2).mean(2)),
            ),
            (
                "that is the nearest training point: weigh them all, each by how near it is",
                data[torch.cdist(x_t, abar**0.5 * data).argmin(1)],
            ),
        ],
        1e-4,
    )


@sheet.exercise(4, float, "the loss")
def flow_step(answer):
    """flow_step(net, optimizer, x_0, eps=None) -> loss: one training step of flow matching on clean points x_0 (n, 2).

    eps: the noise of each point, (n, 2); None: drawn.
    """

    def levels(t):
        if not t.is_floating_point():
            return "t is any number from 0 to 1 here: torch.rand draws them"
        if t.min() < 0 or t.max() > 1 or abs(t.double().mean() - 0.5) > 0.03 or t.max() < 0.95:
            return f"your t lie between {t.min():.2f} and {t.max():.2f}: draw them evenly from 0 to 1"
        if t.unique().numel() < len(t) / 2:
            return "your t take few values: draw any number from 0 to 1, as torch.rand does"
        shares = torch.histc(t.float(), 10, 0, 1) / len(t)  # of 4096 even draws a tenth has 10 %, with a spread of 0.5
        if (shares - 0.1).abs().max() > 0.03:
            return f"your t are not equally likely: one tenth of 0 to 1 gets {shares.min():.0%} of the points, another {shares.max():.0%}"
        t = t.double()[:, None].clamp(min=1e-6)
        return 1 - t, t

    def velocity(x_0, eps):
        return eps - x_0

    return next(filter(None, _two_steps(answer, [((), levels)] * 2, velocity)), None) or _pairs_hint(
        answer, levels, velocity
    )


def _pairs_hint(answer, levels, target):
    """What is wrong with a step of flow matching that is given the noise of each point, or None."""
    net, x_0, given = Examined(), 2 + 0.5 * random(4096, 2), random(4096, 2, seed=1)
    hint, eps, _ = _step_hint(answer, net, x_0, (Plain(net.parameters(), lr=0.1), x_0, given), 3, levels, target)
    if hint:
        return f"right where it draws the noise, wrong where eps is given: {hint}"
    if (eps - given).abs().median() > 1e-3:
        return "eps is given, and other noise is used: draw noise only if eps is None"


# Four samplers to be diagnosed

FAULTS = {
    "A": "the estimate goes on at full size",
    "B": "no noise is put back",
    "C": "noise goes back with the weight of this t",
    "D": "the network is told the next t",
}


def faulty(noise_pred, x, timesteps, alphas_cumprod):
    """Where four samplers end that have one mistake each: {"A": ends like x, ...}; FAULTS says which mistake.

    noise_pred(x, t), x, timesteps and alphas_cumprod as for `sample`.
    """

    def end(name, x):
        abars = [*alphas_cumprod[timesteps], torch.tensor(1.0)]
        for t, t_next, abar, after in zip(timesteps, [*timesteps[1:], timesteps[-1]], abars, abars[1:]):
            guess = noise_pred(x, t_next if name == "D" else t)
            x_0 = (x - (1 - abar).sqrt() * guess) / abar.sqrt()
            kept = 1.0 if name == "A" else after.sqrt()
            back = {"B": 0.0, "C": (1 - abar).sqrt()}.get(name, (1 - after).sqrt())
            x = kept * x_0 + back * guess
        return x

    return {name: end(name, x) for name in FAULTS}
