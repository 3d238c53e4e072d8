"""Every check of lesson 01 accepts right answers, however written; each mistake gets its own hint."""

import pytest
import torch

from helpers import diffusion
from helpers.checks import diffusion as checks


def ideal(x, data, abar, shrink=0.5, width=2.0, stable=True, axis=1, squares=lambda apart: (apart**2).sum(2)):
    logits = -squares(x[:, None] - abar**shrink * data[None]) / (width * (1 - abar))
    if stable:
        return logits.softmax(axis) @ data
    weights = logits.exp()
    return weights / weights.sum(1, keepdim=True) @ data


def one_by_one(x, data, abar):
    rows = []
    for point in x:
        distance = (point - abar.sqrt() * data).pow(2).sum(1)
        weights = torch.exp((distance.min() - distance) / (2 * (1 - abar)))
        rows.append((weights[:, None] * data).sum(0) / weights.sum())
    return torch.stack(rows)


def learn(optimizer, loss):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def step(
    weights=lambda abar: (abar.sqrt(), (1 - abar).sqrt()),
    draw_t=lambda n: torch.randint(1000, (n,)),
    noise=torch.randn_like,
    loss=lambda guess, eps, x_0, x_t: ((guess - eps) ** 2).mean(),
    learn=learn,
    clean=False,
):
    """A training step with one part of it exchanged."""

    def train_step(net, optimizer, x_0, alphas_cumprod):
        t = draw_t(len(x_0))
        eps = noise(x_0)
        signal, rest = weights(alphas_cumprod[t.long()].reshape(-1, 1))
        x_t = signal * x_0 + rest * eps
        return learn(optimizer, loss(net(x_0 if clean else x_t, t), eps, x_0, x_t))

    return train_step


def step_of_helpers(net, optimizer, x_0, alphas_cumprod):
    optimizer.zero_grad(set_to_none=False)
    t, eps = torch.randint(len(alphas_cumprod), x_0.shape[:1]), torch.randn(x_0.shape)
    loss = torch.nn.functional.mse_loss(net(diffusion.add_noise(x_0, eps, t, alphas_cumprod), t), eps)
    loss.backward()
    optimizer.step()
    return loss


def one_noise_for_both(x_0):
    return torch.randn(len(x_0), 1).expand(-1, 2)


def seeded(x_0):
    return torch.randn(x_0.shape, generator=torch.Generator().manual_seed(0))


def no_step(optimizer, loss):
    return loss.item()


def no_clearing(optimizer, loss):
    loss.backward()
    optimizer.step()
    return loss.item()


def upwards(optimizer, loss):
    optimizer.zero_grad()
    (-loss).backward()
    optimizer.step()
    return loss.item()


def counted_from_1(net, optimizer, x_0, alphas_cumprod):
    t, eps = torch.randint(1, 1001, (len(x_0),)), torch.randn_like(x_0)
    abar = alphas_cumprod[t - 1][:, None]
    return learn(optimizer, ((net(abar.sqrt() * x_0 + (1 - abar).sqrt() * eps, t) - eps) ** 2).mean())


def zero_is_clean(noise_pred, x, timesteps, alphas_cumprod):
    """t = 0 is taken for the end, which holds no noise."""
    path = [x]
    for t, after in zip(timesteps, [*timesteps[1:], 0]):
        abar, abar_next = alphas_cumprod[t], alphas_cumprod[after] if after > 0 else torch.tensor(1.0)
        guess = noise_pred(x, t)
        x = ddim((x - (1 - abar).sqrt() * guess) / abar.sqrt(), guess, x, abar, abar_next)
        path.append(x)
    return torch.stack(path)


def never_asks(net, optimizer, x_0, alphas_cumprod):
    return 1.0


OWN = diffusion.make_alphas_cumprod()


def path_of(move, last=1.0, first=True, fresh=False, start=False):
    """A sampler with one part of it exchanged. move(x_0, guess, x, abar, abar_next): the next stop."""

    def sample(noise_pred, x, timesteps, alphas_cumprod):
        begun, path = x, [x] * first
        for t, t_next in zip(timesteps, [*timesteps[1:], None]):
            abar = alphas_cumprod[t]
            abar_next = torch.tensor(last) if t_next is None else alphas_cumprod[t_next]
            guess = noise_pred(begun if start else x, t)
            x_0 = (x - (1 - abar).sqrt() * guess) / abar.sqrt()
            x = move(x_0, torch.randn_like(x) if fresh else guess, x, abar, abar_next)
            path.append(x)
        return torch.stack(path if first else [*path, x])

    return sample


def ddim(x_0, guess, x, abar, abar_next):
    return abar_next.sqrt() * x_0 + (1 - abar_next).sqrt() * guess


def by_index(noise_pred, x, timesteps, alphas_cumprod):
    abars = [alphas_cumprod[t].item() for t in timesteps] + [1.0]
    path = torch.empty(len(timesteps) + 1, *x.shape)
    path[0] = x
    for k, t in enumerate(timesteps):
        guess = noise_pred(path[k], t)
        estimate = path[k] / abars[k] ** 0.5 - (1 / abars[k] - 1) ** 0.5 * guess
        path[k + 1] = abars[k + 1] ** 0.5 * estimate + (1 - abars[k + 1]) ** 0.5 * guess
    return path


def given_or_drawn(x_0, eps):
    return torch.randn_like(x_0) if eps is None else eps


def flow(
    draw_t=lambda n: torch.rand(n),
    target=lambda x_0, eps: eps - x_0,
    mix=lambda t: (1 - t, t),
    learn=learn,
    given=given_or_drawn,
    mean=torch.mean,
):
    """A training step of flow matching with one part of it exchanged."""

    def flow_step(net, optimizer, x_0, eps=None):
        t, eps = draw_t(len(x_0)), given(x_0, eps)
        signal, rest = mix(t[:, None])
        return learn(optimizer, mean((net(signal * x_0 + rest * eps, t) - target(x_0, eps)) ** 2))

    return flow_step


def flow_with_lerp(net, optimizer, x_0, eps=None):
    if eps is None:
        eps = torch.randn(x_0.shape)
    t = torch.rand(x_0.shape[:1])
    loss = torch.nn.functional.mse_loss(net(torch.lerp(x_0, eps, t[:, None]), t), eps - x_0)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


RIGHT = {
    "train_step": [step(), step_of_helpers],
    "sample": [
        path_of(ddim),
        by_index,
        lambda noise_pred, x, timesteps, abars: diffusion.ddim_path(noise_pred, x, timesteps, abars),
    ],
    "ideal_denoiser": [
        ideal,
        one_by_one,
        lambda x, d, a: torch.softmax(-(torch.cdist(x, a.sqrt() * d) ** 2) / (2 - 2 * a), dim=-1) @ d,
    ],
    "flow_step": [flow(), flow_with_lerp],
}

WRONG = {
    "train_step": [
        (step(noise=lambda x_0: torch.randn_like(x_0).sign()), "the noise is not normal"),
        (step(noise=lambda x_0: (torch.rand_like(x_0) - 0.5) * 12**0.5), "the noise is not normal"),
        (never_asks, "never asked"),
        (step(clean=True), "gets the clean points"),
        (step(weights=lambda abar: (abar, 1 - abar)), "take square roots"),
        (step(weights=lambda abar: ((1 - abar).sqrt(), abar.sqrt())), "swapped"),
        (step(noise=torch.rand_like), "has mean 0.5"),
        (step(noise=lambda x_0: torch.randn(2).expand_as(x_0)), "one and the same noise"),
        (step(noise=one_noise_for_both), "both numbers"),
        (step(noise=seeded), "do not seed"),
        (step(draw_t=lambda n: torch.full((n,), int(torch.randint(1000, (1,))))), "all points get the same t"),
        (step(draw_t=lambda n: torch.randint(500, (n,))), "evenly from 0 to 999"),
        (step(draw_t=lambda n: 999 * torch.rand(n)), "whole number"),
        (step(draw_t=lambda n: (999 * torch.rand(n)).long()), "your t end at 998"),
        (step(draw_t=lambda n: torch.randint(999, (n,))), "your t end at 998"),
        (step(draw_t=lambda n: torch.randint(1, 1000, (n,))), "your t begin at 1"),
        (counted_from_1, "your t go up to 1000: counted from 0"),
        (step(draw_t=lambda n: (500 + 250 * torch.randn(n)).long().clamp(0, 999)), "not equally likely"),
        (
            step(draw_t=lambda n: torch.randint(1000, (n, 1)), weights=lambda abar: (abar.sqrt(), (1 - abar).sqrt())),
            "one t for each point",
        ),
        (step(loss=lambda guess, eps, x_0, x_t: ((guess - eps) ** 2).sum()), "a sum"),
        (step(loss=lambda guess, eps, x_0, x_t: ((guess - eps) ** 2).sum(0).mean()), "a sum"),
        (step(loss=lambda guess, eps, x_0, x_t: ((guess - eps) ** 2).sum(1).mean()), "twice the mean"),
        (step(loss=lambda guess, eps, x_0, x_t: ((guess - x_0) ** 2).mean()), "clean points, and these"),
        (step(loss=lambda guess, eps, x_0, x_t: ((guess - x_t) ** 2).mean()), "noisy points that were given"),
        (step(loss=lambda guess, eps, x_0, x_t: ((guess + eps) ** 2).mean()), "wrong sign"),
        (step(loss=lambda guess, eps, x_0, x_t: (guess - eps).abs().mean()), "absolute values"),
        (step(loss=lambda guess, eps, x_0, x_t: ((guess - eps) ** 2).mean().sqrt()), "a root"),
        (step(learn=no_step), "the same afterwards"),
        (step(learn=no_clearing), "zero_grad()"),
        (step(learn=upwards), "not by one step"),
        (lambda net, optimizer, x_0, abars: step()(net, optimizer, x_0, OWN), "with one schedule"),
        (lambda net, optimizer, x_0, abars: (step()(net, optimizer, x_0, abars), 1), "one number, the loss"),
    ],
    "sample": [
        (path_of(ddim, fresh=True), "two calls differ"),
        (path_of(ddim, first=False), "begins with the x"),
        (path_of(lambda x_0, guess, x, abar, abar_next: x_0), "all gone"),
        (
            path_of(lambda x_0, guess, x, abar, abar_next: abar_next.sqrt() * x_0 + (1 - abar).sqrt() * guess),
            "weight of this t",
        ),
        (path_of(lambda x_0, guess, x, abar, abar_next: x_0 + (1 - abar_next).sqrt() * guess), "full size"),
        (path_of(lambda x_0, guess, x, abar, abar_next: x - guess), "no x_0 is estimated"),
        (path_of(lambda x_0, guess, x, abar, abar_next: abar_next * x_0 + (1 - abar_next) * guess), "goes elsewhere"),
        (path_of(ddim, last=OWN[0].item()), "still holds the noise"),
        (path_of(ddim, last=0.9), "must end on the estimate"),
        (path_of(ddim, start=True), "ask about the x of this step"),
        (zero_is_clean, "a list that ends in 0"),
        (
            lambda noise_pred, x, timesteps, abars: path_of(ddim)(noise_pred, x, timesteps, OWN),
            "use what is given, the schedule too",
        ),
        (
            lambda noise_pred, x, timesteps, abars: path_of(ddim)(noise_pred, x, timesteps[::-1], abars),
            "is asked for at t = [300, 900]",
        ),
        (
            lambda noise_pred, x, timesteps, abars: path_of(ddim)(noise_pred, x, timesteps, abars)[-1],
            "has shape (5, 2)",
        ),
        (
            lambda noise_pred, x, timesteps, abars: list(path_of(ddim)(noise_pred, x, timesteps, abars)),
            "return a tensor, not list",
        ),
    ],
    "ideal_denoiser": [
        (lambda x, d, a: ideal(x, d, a, shrink=0), "shrink the data"),
        (lambda x, d, a: ideal(x, d, a, shrink=1), "by its root"),
        (lambda x, d, a: a**0.5 * ideal(x, d, a), "the mean of the shrunk points"),
        (lambda x, d, a: ideal(x, d, a, width=1.0), "yours has no 2"),
        (lambda x, d, a: ideal(x, d, a, width=2 * a / (1 - a)), "yours has 2 abar"),
        (lambda x, d, a: ideal(x, d, a, width=2 / (1 - a).sqrt()), "not its root"),
        (lambda x, d, a: ideal(x, d, a, width=-2.0), "a minus is missing"),
        (lambda x, d, a: ideal(x, d, a, squares=lambda apart: apart.norm(dim=2)), "distances are not squared"),
        (lambda x, d, a: ideal(x, d, a, squares=lambda apart: apart.abs().sum(2)), "only made positive"),
        (lambda x, d, a: ideal(x, d, a, squares=lambda apart: (apart**2).mean(2)), "add them up"),
        (lambda x, d, a: d[torch.cdist(x, a.sqrt() * d).argmin(1)], "weigh them all"),
        (lambda x, d, a: ideal(x, d, a, width=3.0), "slope of log p"),
        (lambda x, d, a: 1.1 * ideal(x, d, a), "the weights over the data must add to 1"),
        (lambda x, d, a: ideal(x, d, a, stable=False), "subtract the largest exponent"),
        (lambda x, d, a: ideal(x, d, a, axis=0), "softmax over the data's axis"),
        (lambda x, d, a: d.mean(0).expand_as(x), "nearest training point"),
        (lambda x, d, a: ideal(x, d, a)[:, 0], "has shape (6,), expected (6, 2)"),
    ],
    "flow_step": [
        (flow(target=lambda x_0, eps: eps), "the target here is the velocity"),
        (flow(target=lambda x_0, eps: x_0), "clean points, and these"),
        (flow(target=lambda x_0, eps: x_0 - eps), "wrong sign"),
        (flow(mix=lambda t: (t, 1 - t)), "swapped"),
        (flow(mix=lambda t: ((1 - t).sqrt(), t.sqrt())), "not the mixture"),
        (flow(draw_t=lambda n: torch.randint(1000, (n,))), "any number from 0 to 1"),
        (flow(draw_t=lambda n: 0.5 * torch.rand(n)), "evenly from 0 to 1"),
        (flow(draw_t=lambda n: torch.randint(1000, (n,)) / 1000), "few values"),
        (flow(draw_t=lambda n: (torch.rand(n) + torch.rand(n)) / 2), "your t are not equally likely"),
        (flow(draw_t=lambda n: torch.randn(n).sigmoid()), "your t are not equally likely"),
        (flow(given=lambda x_0, eps: torch.randn_like(x_0).sign() if eps is None else eps), "the noise is not normal"),
        (flow(mean=lambda square: square.sum(1).mean()), "twice the mean"),
        (flow(learn=no_step), "the same afterwards"),
        (flow(learn=no_clearing), "zero_grad()"),
        (flow(given=lambda x_0, eps: torch.randn_like(x_0)), "draw noise only if eps is None"),
        (
            flow(given=lambda x_0, eps: torch.randn_like(x_0) if eps is None else eps[:1].expand_as(x_0)),
            "wrong where eps is given",
        ),
        (flow(given=lambda x_0, eps: torch.randn_like(x_0) + (0 if eps is None else eps)), "wrong where eps is given"),
    ],
}


def stub(x_t, data, abar): ...


def forgot_return(x_t, data, abar):
    mixed = x_t + data[:6]
    mixed * abar


def crashes(x_t, data, abar):
    wide = x_t.flatten()
    return wide + data


def in_place(x_t, data, abar):
    return x_t.copy_(ideal(x_t, data, abar))


@pytest.mark.parametrize(
    "answer, verdict",
    [
        (stub, "not answered yet"),
        (lambda x_t, data, abar: ..., "not answered yet"),
        (forgot_return, "not yet: your function returns None, is a return missing?"),
        (3, "not yet: give the function itself, not int"),
        (
            in_place,
            "not yet: the numbers are right, but your function changes x_t itself, which the cells below may need as it was: "
            "write x = x + y in place of x += y, x *= y or x[...] = y, or work on a copy",
        ),
    ],
)
def test_odd_answers(answer, verdict):
    assert checks.ideal_denoiser.hint(answer) == verdict


def test_an_exception_is_one_line():
    verdict = checks.ideal_denoiser.hint(crashes)
    assert verdict.startswith("not yet: your function stopped with RuntimeError: The size of tensor")
    assert verdict.endswith("(line 3 of your function)") and "\n" not in verdict


def test_each_faulty_sampler_shows_its_fault():
    world, start = diffusion.make_shape("spiral"), torch.randn(300, 2, generator=torch.Generator().manual_seed(1))
    asked, stops = [], [*diffusion.spaced_timesteps(50), 0]

    def oracle(x, t):
        asked.append(t)
        return world.noise_pred(x, OWN[t])

    def width(points):  # how far from the middle of the arm
        return torch.cdist(points, world.means).amin(1).pow(2).mean().sqrt()

    ends = checks.faulty(oracle, start, stops, OWN)
    sound = diffusion.ddim_path(oracle, start, stops, OWN)[-1]
    assert list(ends) == list(checks.FAULTS) and len(set(checks.FAULTS.values())) == 4
    assert ends["A"].std() > 1.5 * sound.std() and width(ends["A"]) > 5 * width(sound)  # a shape, too large
    assert ends["B"].std(0).max() < 0.05  # one dot
    assert ends["C"].std() > 1.5 * sound.std() and ends["C"].norm(dim=1).min() < 0.3  # all over the place
    assert width(ends["D"]) < 0.5 * width(sound) and abs(ends["D"].std() - sound.std()) < 0.1  # thin
    assert asked[3 * len(stops) : 4 * len(stops)] == [*stops[1:], 0] and asked[: len(stops)] == stops
