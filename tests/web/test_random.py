"""web/random.mjs draws the noise of torch.randn."""

from helpers.runtime import seeded_noise

import numpy as np
import torch

NOISE = """
const { randn } = await import("./random.mjs");
return given.map(([count, seed]) => [...randn(count, BigInt(seed))]);
"""
# torch computes logarithm, sine and cosine by polynomials in float32 (Box and Muller, eight numbers at a time), the
# page in float64: up to 1e-6 of a number of about 1 to 5, a few units of its last digit.
ROUNDING = 2e-6


def drawn(javascript, wanted):
    return [np.array(row, np.float32) for row in javascript(NOISE, [[count, str(seed)] for count, seed in wanted])]


def test_the_noise_of_1000_seeds(javascript):
    seeds = [
        *range(990),
        2**31,
        2**32 - 1,
        2**32,
        2**32 + 7,
        2**53 - 1,
        2**53 + 1,
        2**62,
        2**63 - 1,
        123456789,
        987654321,
    ]
    for seed, page in zip(seeds, drawn(javascript, [(1024, seed) for seed in seeds]), strict=True):
        assert np.abs(page - seeded_noise((1, 4, 16, 16), seed).numpy().ravel()).max() < ROUNDING, seed


def test_noise_of_every_other_size(javascript):
    """Below 16 numbers torch draws them one by one in float64; above, blocks of 16, the last of them anew."""
    wanted = [(count, seed) for count in [*range(1, 40), 100, 1000, 4097] for seed in (0, 5)]
    for (count, seed), page in zip(wanted, drawn(javascript, wanted), strict=True):
        torchs = torch.randn(count, generator=torch.Generator().manual_seed(seed)).numpy()
        assert np.array_equal(page, torchs) if count < 16 else np.abs(page - torchs).max() < ROUNDING, (count, seed)


def test_another_seed_is_another_noise(javascript):
    one, other = drawn(javascript, [(1024, 0), (1024, 1)])
    assert np.abs(one - other).max() > 1
