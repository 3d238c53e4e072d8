"""The forward process is the library's, the small worlds know their densities, bad input is refused."""

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from helpers import diffusion
from helpers.diffusion import Mixture, add_noise, ddim_path, make_alphas_cumprod, predict_x0, score

LIBRARY = {
    "linear": {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02},
    "scaled_linear": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    "cosine": {"beta_schedule": "squaredcos_cap_v2"},
}


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def abar():
    return make_alphas_cumprod()


@pytest.mark.parametrize("name", diffusion.SCHEDULES)
def test_schedules_are_the_library_s(name):
    ours, theirs = make_alphas_cumprod(name), DDPMScheduler(**LIBRARY[name]).alphas_cumprod
    assert ours.shape == (1000,) and ours.dtype == torch.float32 and (ours.diff() < 0).all()
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_add_noise_is_the_library_s(abar):
    x_0, noise, t = draw(3, 4, 8, 8), draw(3, 4, 8, 8, seed=1), torch.tensor([0, 500, 999])
    theirs = DDPMScheduler(**LIBRARY["scaled_linear"]).add_noise(x_0, noise, t)
    assert torch.allclose(add_noise(x_0, noise, t, abar), theirs, atol=1e-5)
    assert torch.allclose(add_noise(x_0, noise, 500, abar)[1], theirs[1], atol=1e-5)


@pytest.mark.parametrize("t", [0, 500, 999])
def test_predict_x0_undoes_add_noise(t, abar):
    x_0, noise = draw(2, 3, 8, 8), draw(2, 3, 8, 8, seed=1)
    assert torch.allclose(predict_x0(add_noise(x_0, noise, t, abar), noise, t, abar), x_0, atol=2e-4)


@pytest.mark.parametrize("t", [1000, -1, torch.tensor([3, 1000])])
@pytest.mark.parametrize("use", [add_noise, predict_x0, lambda x, e, t, abar: score(e, t, abar)])
def test_refuses_t_outside_the_schedule(use, t, abar):
    with pytest.raises(ValueError, match=r"t = -?\d+ is outside the schedule: its steps are 0 to 999"):
        use(draw(2, 3), draw(2, 3), t, abar)


def test_refuses_t_that_is_not_whole(abar):
    with pytest.raises(TypeError, match="a timestep is a whole number, not 2.5"):
        add_noise(draw(2, 3), draw(2, 3), 2.5, abar)


def test_refuses_another_number_of_timesteps(abar):
    with pytest.raises(ValueError, match=r"\(3,\) timesteps for a batch of 2: give one for all"):
        add_noise(draw(2, 3), draw(2, 3), torch.tensor([1, 2, 3]), abar)


@pytest.mark.parametrize(
    "use, what", [(add_noise, "picture and noise"), (predict_x0, "noisy picture and predicted noise")]
)
def test_refuses_different_shapes(use, what, abar):
    with pytest.raises(ValueError, match=what + r" must have the same shape, not \(3, 8, 8\) and \(3, 4, "):
        use(draw(3, 8, 8), draw(3, 4, 4), 10, abar)


def test_refuses_unknown_names():
    with pytest.raises(ValueError, match="unknown noise schedule 'square': choose one of linear, "):
        make_alphas_cumprod("square")
    with pytest.raises(ValueError, match="unknown shape 'star': choose one of spiral, two moons, glyph"):
        diffusion.make_shape("star")


@pytest.mark.parametrize("std", [0.0, 0.3])
def test_score_of_a_mixture_is_the_slope_of_its_density(std, abar):
    world = Mixture(draw(5, 2), std)
    for t in (100, 500, 999):
        x = draw(20, 2, seed=1).requires_grad_()
        slope = torch.autograd.grad(world.log_density(x, abar[t]).sum(), x)[0]
        assert torch.allclose(score(world.noise_pred(x, abar[t]), t, abar), slope, atol=1e-3, rtol=1e-3)


def test_density_of_a_mixture_integrates_to_one():
    line = torch.linspace(-8, 8, 4001)[:, None]
    density = Mixture(torch.tensor([[-1.0], [2.0]]), 0.2).log_density(line, 0.6).exp()
    assert (density.sum() * 16 / 4000).item() == pytest.approx(1, abs=1e-3)


def test_best_guess_is_the_mean_of_what_it_could_have_been(abar):
    """Of a million noisy points, those that land near one place have on average the x_0 of `denoise`."""
    world, generator = Mixture(torch.tensor([[-1.0], [1.0]]), 0.3), torch.Generator().manual_seed(0)
    x_0, noise = world.sample(1_000_000, generator), torch.randn(1_000_000, 1, generator=generator)
    x_t = add_noise(x_0, noise, 400, abar)
    near = (x_t - 0.3).abs() < 0.02
    error = 4 * x_0[near].std() / near.sum() ** 0.5
    assert (x_0[near].mean() - world.denoise(torch.tensor([[0.3]]), abar[400].item())).abs() < error + 0.005


def test_a_training_set_is_a_mixture_without_width():
    data, x_t = draw(30, 6), draw(4, 6, seed=1)
    weights = (-((x_t[:, None] - 0.5**0.5 * data) ** 2).sum(2) / (2 * 0.5)).softmax(1)
    assert torch.allclose(Mixture(data).denoise(x_t, 0.5), weights @ data, atol=1e-5)


def test_ddim_path_is_the_library_s(abar):
    library = DDIMScheduler(**LIBRARY["scaled_linear"], clip_sample=False, timestep_spacing="trailing")
    library.set_timesteps(10)
    x = start = draw(2, 4, 4, 4)
    answer = lambda x, t: x * 0.3 + 0.001 * t  # noqa: E731
    for t in library.timesteps:
        x = library.step(answer(x, int(t)), t, x).prev_sample
    ours = ddim_path(answer, start, library.timesteps.tolist(), abar)
    assert ours.shape == (11, 2, 4, 4, 4) and torch.equal(ours[0], start)
    assert torch.allclose(ours[-1], x, atol=1e-4)


def test_ddpm_kick_is_the_posterior_s(abar):
    t = 500
    _, kick = diffusion.reverse_step(draw(2, 2), draw(2, 2, seed=1), abar[t], abar[t - 1], eta=1.0)
    beta = 1 - abar[t] / abar[t - 1]
    assert kick.item() == pytest.approx((beta * (1 - abar[t - 1]) / (1 - abar[t])).sqrt().item(), rel=1e-4)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_sampling_with_the_exact_score_gives_the_distribution(eta, abar):
    world, generator = diffusion.make_shape("two Gaussians"), torch.Generator().manual_seed(0)
    start = torch.randn(2000, 2, generator=generator)
    exact = lambda x, t: world.noise_pred(x, abar[t].item())  # noqa: E731
    ends = ddim_path(exact, start, diffusion.spaced_timesteps(60), abar, eta=eta, generator=generator)[-1]
    true = [world.sample(2000, generator) for _ in range(2)]
    assert diffusion.energy_distance(ends, true[0]) < 0.02 < diffusion.energy_distance(start, true[0])
    assert diffusion.energy_distance(*true) < 0.02


def test_fewer_steps_fall_into_the_gap(abar):
    world = Mixture(torch.tensor([[-1.0], [1.0]]), 0.15)
    exact, gap = lambda x, t: world.noise_pred(x, abar[t].item()), {}
    for n in (1, 5, 20):
        ends = ddim_path(exact, draw(4000, 1), diffusion.spaced_timesteps(n), abar)
        gap[n] = (ends[-1].abs() < 0.5).float().mean().item()
    assert gap[1] == 1 and 0.05 < gap[5] < 0.2 and gap[20] < 0.02


def test_spaced_timesteps_fall_from_the_last_step():
    assert diffusion.spaced_timesteps(1) == [999]
    assert diffusion.spaced_timesteps(4, last=100) == [100, 75, 50, 25]


def test_energy_distance():
    a, b = draw(300, 2), draw(300, 2, seed=1)
    assert diffusion.energy_distance(a, a) == pytest.approx(0, abs=1e-5)
    assert 0 < diffusion.energy_distance(a, b) < 0.05 < diffusion.energy_distance(a, b + 1)
    assert diffusion.energy_distance(a, b + 1) == pytest.approx(diffusion.energy_distance(b + 1, a), abs=1e-5)


@pytest.mark.parametrize("name", diffusion.SHAPES)
def test_shapes_are_centred_and_one_size(name):
    world = diffusion.make_shape(name)
    assert world.means.mean(0).abs().max() < 1e-5
    assert world.means.norm(dim=1).max().item() == pytest.approx(1.6)
    assert world.sample(7).shape == (7, 2)


def test_spectrum_finds_noise_and_waves():
    cycles, power = diffusion.spectrum(draw(3, 64, 64))
    assert cycles.tolist() == list(range(1, 32)) and power.shape == (31,)
    assert power[4:].mean().item() == pytest.approx(1, abs=0.1)
    wave = torch.cos(torch.arange(64) * 2 * torch.pi * 12 / 64).expand(3, 64, 64)
    assert diffusion.spectrum(wave)[1].argmax().item() + 1 == 12


def test_finest_detail():
    power = torch.tensor([8.0, 4.0, 1.0, 0.1])
    assert [diffusion.finest_detail(power, abar) for abar in (0.99, 0.4, 0.01)] == [4, 2, 0]


def test_snr():
    assert diffusion.snr_db(torch.tensor([0.5, 10 / 11])).tolist() == pytest.approx([0, 10], abs=1e-4)
