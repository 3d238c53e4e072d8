"""The forward process (noise schedules, noising, signal-to-noise, score) and small worlds where its reverse
is exact.

Everything here works on tensors of any shape (B, ...): pictures (B, 3, H, W), latents (B, 4, h, w), points
(B, 2). Sources: Ho et al. 2020 (linear schedule, noising), Nichol & Dhariwal 2021 (cosine), Rombach et al.
2022 (scaled_linear), Song et al. 2021 (score; DDIM step). Written out line by line in
notebooks/01_diffusion_process.ipynb.
"""

import math
from dataclasses import dataclass

import torch

from helpers import inputs

SCHEDULES = ("linear", "scaled_linear", "cosine")
SHAPES = ("spiral", "two moons", "glyph", "two Gaussians")


# The forward process


def make_alphas_cumprod(schedule: str = "scaled_linear", num_steps: int = 1000) -> torch.Tensor:
    """Share of the picture's variance that is left after each step: (num_steps,) float32, falling from 1
    towards 0.

    linear: beta 0.0001 to 0.02 (Ho et al. 2020). scaled_linear: beta 0.00085 to 0.012, even in sqrt(beta)
    (Stable Diffusion 1.x). cosine: a squared cosine, beta at most 0.999 (Nichol & Dhariwal 2021). Other
    names: ValueError. num_steps: 1 to 1,000,000.
    """
    inputs.whole_number(num_steps, "num_steps", 1, 1_000_000)
    schedule = inputs.text(schedule, "schedule", f"one of {', '.join(SCHEDULES)}")
    if schedule == "linear":
        betas = torch.linspace(1e-4, 0.02, num_steps, dtype=torch.float64)
    elif schedule == "scaled_linear":
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, num_steps, dtype=torch.float64) ** 2
    elif schedule == "cosine":
        time = torch.linspace(0, 1, num_steps + 1, dtype=torch.float64)
        level = torch.cos((time + 0.008) / 1.008 * torch.pi / 2) ** 2
        betas = (1 - level[1:] / level[:-1]).clamp(max=0.999)
    else:
        raise ValueError(f"unknown noise schedule {inputs.shown(schedule)}: choose one of {', '.join(SCHEDULES)}")
    return torch.cumprod(1 - betas, 0).float()


def snr_db(alphas_cumprod):
    """Signal-to-noise ratio abar / (1 - abar) in decibels, same shape; 0 dB: both equally strong."""
    inputs.tensor(alphas_cumprod, "alphas_cumprod")
    return 10 * torch.log10(alphas_cumprod / (1 - alphas_cumprod))


def abar_at(alphas_cumprod, t, like):
    """alphas_cumprod[t], shaped so that it multiplies `like` (B, ...).

    t: one step (an int) for the whole batch, or a (B,) integer tensor with one step per item. Returns a
    number tensor () or (B, 1, ..., 1), on the device of `like`, in float32 at least: in float16, 1 - abar_0 would
    be a seventh too large. ValueError for a step outside the schedule or another number of steps
    than items, TypeError for a step that is not whole.
    """
    inputs.tensor(alphas_cumprod, "alphas_cumprod", "T"), inputs.tensor(like, "like")
    try:
        steps = torch.as_tensor(t, device=alphas_cumprod.device)
    except (TypeError, ValueError, RuntimeError):  # no numbers, or not one shape of them
        steps = alphas_cumprod
    if steps.is_floating_point() or steps.is_complex() or steps.dtype == torch.bool:
        raise TypeError(f"a timestep is a whole number, not {inputs.shown(t)}: t is one, or a tensor of one for each")
    outside = steps[(steps < 0) | (steps >= len(alphas_cumprod))]
    if outside.numel():
        raise ValueError(
            f"t = {outside.flatten()[0].item()} is outside the schedule: its steps are 0 to {len(alphas_cumprod) - 1}"
        )
    if steps.ndim and steps.shape != like.shape[:1]:
        raise ValueError(
            f"{tuple(steps.shape)} timesteps for a batch of {len(like) if like.ndim else 1}: "
            "give one for all, or one for each"
        )
    abar = alphas_cumprod[steps].to(like.device, torch.promote_types(alphas_cumprod.dtype, like.dtype))
    return abar.reshape(-1, *[1] * (like.ndim - 1)) if steps.ndim else abar  # (B,) -> (B, 1, ..., 1)


def _same_shape(a, b, names):
    """TypeError or ValueError unless both are tensors of one shape. names: the two, with "and" between them."""
    for tensor, name in zip((a, b), names.split(" and ")):
        inputs.tensor(tensor, f"the {name}")
    if a.shape != b.shape:
        raise ValueError(f"{names} must have the same shape, not {tuple(a.shape)} and {tuple(b.shape)}")


def add_noise(
    x_0: torch.Tensor, noise: torch.Tensor, t: int | torch.Tensor, alphas_cumprod: torch.Tensor
) -> torch.Tensor:
    """x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise (Ho et al. 2020, eq. 4).

    x_0, noise: (B, ...), the same shape, else ValueError. t: as in abar_at.
    """
    _same_shape(x_0, noise, "picture and noise")
    abar = abar_at(alphas_cumprod, t, x_0)
    return (abar.sqrt() * x_0 + (1 - abar).sqrt() * noise).to(x_0.dtype)


def solved_for_x0(x_t, noise_pred, abar):
    """x_0 of x_t = sqrt(abar) x_0 + sqrt(1 - abar) noise_pred. abar: a tensor, 0 to 1; nothing is checked."""
    return (x_t - (1 - abar).sqrt() * noise_pred) / abar.sqrt()


def predict_x0(
    x_t: torch.Tensor, noise_pred: torch.Tensor, t: int | torch.Tensor, alphas_cumprod: torch.Tensor
) -> torch.Tensor:
    """The clean picture that x_t and a guess of its noise imply: add_noise solved for x_0. (B, ...)."""
    _same_shape(x_t, noise_pred, "noisy picture and predicted noise")
    return solved_for_x0(x_t, noise_pred, abar_at(alphas_cumprod, t, x_t)).to(x_t.dtype)


def score(noise_pred, t, alphas_cumprod):
    """Slope of log p_t that a noise prediction implies, -noise_pred / sqrt(1 - abar_t), (B, ...).

    Song et al. 2021. t: as in abar_at.
    """
    inputs.tensor(noise_pred, "noise_pred")
    return (-noise_pred / (1 - abar_at(alphas_cumprod, t, noise_pred)).sqrt()).to(noise_pred.dtype)


def reverse_step(x, noise_pred, abar, abar_next, eta=0.0):
    """One step towards the data: where it leads (B, ...) and how large a random kick to add (a number; 0 when
    eta is 0).

    eta 0: DDIM. eta 1: as much fresh noise as the forward process would add back, DDPM. Song et al. 2021,
    "DDIM", eq. 12. abar, abar_next: tensors, 0 to 1.
    """
    for value, name in ((x, "x"), (noise_pred, "noise_pred"), (abar, "abar"), (abar_next, "abar_next")):
        inputs.tensor(value, name)
    _eta(eta)
    kick = eta * ((1 - abar_next) / (1 - abar) * (1 - abar / abar_next)).clamp(min=0).sqrt()
    x_0 = solved_for_x0(x, noise_pred, abar)
    return abar_next.sqrt() * x_0 + (1 - abar_next - kick**2).clamp(min=0).sqrt() * noise_pred, kick


def _eta(eta):
    return inputs.number(eta, "eta", "a number from 0 (DDIM) to 1 (DDPM)", lambda eta: 0 <= eta <= 1)


def ddim_path(noise_pred, x, timesteps, alphas_cumprod, eta=0.0, generator=None):
    """Walk from noise to data with a given number of steps and keep every stop.

    noise_pred(x, t): (B, ...) and an int -> (B, ...). x: (B, ...) at the first of `timesteps`, which fall.
    eta as in reverse_step. The last step lands on the estimate of x_0 itself. generator: of the kicks, a
    torch.Generator on the CPU; None: torch's own. Returns (len(timesteps) + 1, B, ...).
    """
    inputs.tensor(x, "x"), inputs.tensor(alphas_cumprod, "alphas_cumprod", "T"), _eta(eta), _generator(generator)
    inputs.function(noise_pred, "noise_pred", "a function of x and t")
    ordered = isinstance(timesteps, (list, tuple, range)) or getattr(timesteps, "ndim", 0) == 1
    timesteps = [
        inputs.whole_number(t, "a timestep", 0, len(alphas_cumprod) - 1)
        for t in (timesteps if ordered else [timesteps])
    ]
    if not ordered or not timesteps or any(t <= later for t, later in zip(timesteps, timesteps[1:])):
        raise ValueError(
            f"timesteps must be whole numbers that fall, such as spaced_timesteps(50), not {inputs.shown(timesteps)}."
        )
    path = [x]
    for t, t_next in zip(timesteps, [*timesteps[1:], None]):
        abar = abar_at(alphas_cumprod, int(t), x)
        abar_next = torch.ones_like(abar) if t_next is None else abar_at(alphas_cumprod, int(t_next), x)
        x, kick = reverse_step(x, noise_pred(x, int(t)), abar, abar_next, eta)
        if eta:
            x = x + kick * torch.randn(x.shape, generator=generator).to(x)  # drawn on the CPU: same anywhere
        path.append(x)
    return torch.stack(path)


def spaced_timesteps(num_steps, last=999):
    """num_steps timesteps from `last` down, evenly spaced, as ints; 0, where the last ends, is left out.

    num_steps: 1 to `last`, so that no two are the same.
    """
    inputs.whole_number(last, "last", 1, 1_000_000)
    inputs.whole_number(num_steps, "num_steps", 1, last)
    return torch.linspace(last, 0, num_steps + 1).round().long()[:-1].tolist()


def _generator(generator):
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator, or None, not {inputs.shown(generator)}.")


# Worlds small enough to be exact


@dataclass
class Mixture:
    """Equal round Gaussians: a distribution whose noisy density, score and best denoiser are known exactly.

    means: (K, d). std: one number; 0 makes it a finite training set, and `denoise` the denoiser that fits it
    perfectly. `abar` below is a number between 0 and 1; x_t is (n, d).
    """

    means: torch.Tensor
    std: float = 0.0

    def __post_init__(self):
        inputs.tensor(self.means, "means", "K", "d")
        inputs.number(self.std, "std", "a number of 0 or more", lambda std: std >= 0)

    def sample(self, n, generator=None):
        """n clean points (n, d), n up to 10 million. generator: of torch, on the CPU; None: torch's own."""
        inputs.whole_number(n, "n", 1, 10_000_000), _generator(generator)
        which = torch.randint(len(self.means), (n,), generator=generator)
        noise = torch.randn(n, self.means.shape[1], generator=generator).to(self.means)
        return self.means[which] + self.std * noise

    def _log_weights(self, x_t, abar):
        inputs.tensor(x_t, "x_t", "n", self.means.shape[1]), _share(abar)
        variance = abar * self.std**2 + 1 - abar
        means = abar**0.5 * self.means
        square = (x_t**2).sum(1)[:, None] - 2 * x_t @ means.T + (means**2).sum(1)  # (n, K)
        return -square / (2 * variance), variance

    def weights(self, x_t, abar):
        """How likely each Gaussian (or training picture) is the origin of x_t: (n, K), rows sum to 1."""
        inputs.tensor(x_t, "x_t", "n", self.means.shape[1]), _share(abar)
        variance = abar * self.std**2 + 1 - abar
        means = abar**0.5 * self.means
        # The exponents less x_t^2, which all Gaussians share: softmax does not see it, and one pass over (n, K) is enough.
        return torch.addmm(-(means**2).sum(1) / 2 / variance, x_t, means.T / variance).softmax(1)

    def log_density(self, x_t, abar):
        """log p_t(x_t), (n,)."""
        logits, variance = self._log_weights(x_t, abar)
        K, d = self.means.shape
        return logits.logsumexp(1) - 0.5 * d * math.log(2 * math.pi * variance) - math.log(K)

    def denoise(self, x_t, abar):
        """The best guess of x_0: the mean of all clean points that x_t could have come from, (n, d)."""
        _share(abar)
        variance = abar * self.std**2 + 1 - abar
        mean = self.weights(x_t, abar) @ self.means  # (n, K) -> (n, d)
        return mean + abar**0.5 * self.std**2 / variance * (x_t - abar**0.5 * mean)

    def noise_pred(self, x_t, abar):
        """The best guess of the noise in x_t, (n, d): what a perfectly trained network would answer."""
        _share(abar)
        return (x_t - abar**0.5 * self.denoise(x_t, abar)) / (1 - abar) ** 0.5


def _share(abar):
    """abar: a number from 0 to 1, or a tensor of one."""
    one = abar.item() if isinstance(abar, torch.Tensor) and abar.ndim == 0 else abar
    inputs.number(one, "abar", "a number from 0 to 1, or a tensor of one such", lambda abar: 0 <= abar <= 1)


def make_shape(name):
    """A two-dimensional shape as a Mixture, centred, about one unit in radius. Unknown names: ValueError."""
    name = inputs.text(name, "name", f"one of {', '.join(SHAPES)}")
    if name == "spiral":
        turn = torch.linspace(0.03, 1, 150).sqrt() * 3.6 * torch.pi  # even spacing along the arm
        points = torch.stack([turn * turn.cos(), turn * turn.sin()], 1)
    elif name == "two moons":
        half = torch.linspace(0, torch.pi, 60)
        points = torch.cat(
            [torch.stack([half.cos(), half.sin() - 0.25], 1), torch.stack([1 - half.cos(), 0.25 - half.sin()], 1)]
        )
    elif name == "glyph":  # a sailing boat, as on the postcards
        y, x = torch.meshgrid(torch.linspace(-1, 1, 25), torch.linspace(-1, 1, 25), indexing="ij")
        hull = (y > -0.8) & (y < -0.4) & (x.abs() < 0.95 + (y + 0.4) * 0.8)
        sails = ((x > 0.12) & (x < 0.75 - 0.6 * y)) | ((x < -0.04) & (x > -0.55 + 0.5 * y))
        sail = (y > -0.22) & (y < 0.95) & sails
        points = torch.stack([x[hull | sail], y[hull | sail]], 1)
    elif name == "two Gaussians":
        points = torch.tensor([[-1.0, -0.6], [1.0, 0.6]])
    else:
        raise ValueError(f"unknown shape {inputs.shown(name)}: choose one of {', '.join(SHAPES)}")
    points = points - points.mean(0)
    points = points / points.norm(dim=1).max() * 1.6
    return Mixture(points, 0.15 if name == "two Gaussians" else 0.05)


def energy_distance(a, b):
    """How far two samples (n, d) and (m, d) are from being drawn from one distribution; 0: the same points.

    Twice the mean distance between the samples less the mean distances within (Szekely & Rizzo 2013). Wide vectors, such as
    pictures, are compared by a matrix product in double precision: as exact, and a dozen times as quick.
    """
    inputs.tensor(a, "a", "n", "d"), inputs.tensor(b, "b", "m", a.shape[1])
    wide = a.shape[1] > 64 and a.device.type != "mps"  # that device has no double precision
    a, b = (one.double() if wide else one for one in (a, b))

    def mean_distance(p, q):
        mode = "use_mm_for_euclid_dist" if wide else "donot_use_mm_for_euclid_dist"
        return torch.cdist(p, q, compute_mode=mode).mean()

    return (2 * mean_distance(a, b) - mean_distance(a, a) - mean_distance(b, b)).item()


def spectrum(picture):
    """How strong each size of detail is in a picture (C, H, H), H even: frequencies (H/2 - 1,) in cycles a
    picture, and power.

    White noise of variance 1 has power 1 at every frequency. Mean over channels and directions, Hann window.
    """
    size = inputs.tensor(picture, "picture", "C", "H", "H").shape[-1]
    if picture.shape[1] != size or size % 2:
        raise ValueError(f"picture must be square with an even side, (C, H, H), not of shape {tuple(picture.shape)}.")
    window = torch.hann_window(size, periodic=False, dtype=picture.dtype, device=picture.device)
    window = window[:, None] * window[None, :]
    centred = picture - picture.mean((1, 2), keepdim=True)
    power = torch.fft.fft2(centred * window).abs() ** 2 / (window**2).sum()  # (C, H, H)
    one = torch.fft.fftfreq(size, 1 / size, device=picture.device)
    ring = (one[:, None] ** 2 + one[None, :] ** 2).sqrt().round().long().flatten()  # (H * H,)
    total = power.new_zeros(int(ring.max()) + 1).index_add(0, ring, power.mean(0).flatten())
    frequencies = torch.arange(1, size // 2, device=power.device)
    return frequencies, total[frequencies] / torch.bincount(ring)[frequencies]


def finest_detail(power, abar):
    """The highest frequency at which a picture of this spectrum, kept at share abar, beats the noise."""
    inputs.tensor(power, "power", "F"), _share(abar)
    above = (abar * power > 1 - abar).nonzero()
    return int(above.max()) + 1 if len(above) else 0
