"""The figures of lesson 04: the numbers behind them are right, and each is drawn for models of both shapes."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import denoise, diffusion
from helpers.conditioning import encode_prompts
from helpers.figures import guidance, sampling
from helpers.figures.sweeps import (
    convergence,
    curve_from,
    guidance_bill,
    in_points,
    mean_of,
    order,
    set_apart,
    share_of,
    solver_frame,
    solver_path,
    student,
    walks_on_the_line,
)
from helpers.figures.unet import anatomy, ledger, per_cent

ABAR = diffusion.make_alphas_cumprod()
BOTH, RIGHT = diffusion.Mixture(torch.tensor([[-1.0], [1.0]]), 0.15), diffusion.Mixture(torch.tensor([[1.0]]), 0.15)
CARD = Image.new("RGB", (128, 128), (0, 114, 178))


def is_figure(picture):
    return picture.image().width == 1152 and len(picture.alt) > 20


def test_the_unet_is_weighed_in_full(tiny):
    latents = torch.zeros(1, *tiny.latent_shape)
    blocks = anatomy(tiny.unet, latents, 500, encode_prompts(tiny, ["a boat"]))
    config = tiny.unet.config
    assert [block.name for block in blocks if block.name.startswith("down")] == [
        f"down {i + 1}" for i in range(len(config.block_out_channels))
    ]
    assert sum(block.work for block in blocks) == pytest.approx(1)
    assert 0.9 < sum(block.parameters for block in blocks) <= 1  # the time embedding stands apart
    assert [block.reads_words for block in blocks if block.name.startswith("down")] == [
        "Cross" in kind for kind in config.down_block_types
    ]
    for block in blocks:
        assert block.activation.shape == block.shape[1:] and block.shape[1] <= tiny.latent_shape[1]
    assert blocks[0].shape == (config.block_out_channels[0], *tiny.latent_shape[1:])
    assert is_figure(ledger(blocks, "A U-Net", "note"))


def test_an_upsampler_counts_in_the_part_at_whose_resolution_it_works(tiny):
    latents, ups = torch.zeros(1, *tiny.latent_shape), tiny.unet.up_blocks
    blocks = {block.name: block for block in anatomy(tiny.unet, latents, 500, encode_prompts(tiny, ["a boat"]))}
    (late,) = ups[0].upsamplers  # enlarges the picture, then convolves it
    held, moved, every = (sum(p.numel() for p in part.parameters()) for part in (ups[0], late, tiny.unet))
    assert blocks["up 1"].parameters == pytest.approx((held - moved) / every)
    assert blocks["up 1"].shape[1] < blocks["up 2"].shape[1]


def test_anatomy_counts_the_work_of_a_known_layer(tiny):
    latents = torch.zeros(1, *tiny.latent_shape)
    blocks = anatomy(tiny.unet, latents, 500, encode_prompts(tiny, ["a boat"]))
    conv = {"in": tiny.unet.conv_in, "out": tiny.unet.conv_out}
    work = {name: 2 * part.weight.numel() * latents[0, 0].numel() for name, part in conv.items()}  # a product and a sum
    shares = {block.name: block.work for block in blocks}
    assert shares["in"] / shares["out"] == pytest.approx(work["in"] / work["out"])


def test_arrows_of_guidance():
    abar = ABAR[250].item()
    arrows = guidance.arrows_at(BOTH, RIGHT, -0.35, abar, 3)
    start, wanted = arrows["prompt"]
    x = torch.tensor([[-0.35]])
    assert start == -0.35 and wanted == pytest.approx(abar**0.5 * RIGHT.denoise(x, abar).item(), abs=1e-5)
    assert arrows["difference"] == (arrows["empty"][1], wanted)
    assert arrows["guided"][1] == pytest.approx(arrows["empty"][1] + 3 * (wanted - arrows["empty"][1]), abs=1e-5)


def test_guidance_figures():
    ends = {scale: torch.randn(200, 1, generator=torch.Generator().manual_seed(0))[:, 0] for scale in (1, 4, 15)}
    frames = [
        Image.open(io.BytesIO(guidance.arrows_frame(BOTH, RIGHT, -0.35, ABAR[250].item(), scale))) for scale in (1, 7.5)
    ]
    assert frames[0].size == frames[1].size == (864, frames[0].height) and frames[0].tobytes() != frames[1].tobytes()
    assert is_figure(guidance.end_histograms(RIGHT, ends))
    assert is_figure(guidance.implicit_classifier(BOTH, RIGHT, ABAR[250].item()))


def test_bills():
    found = {"whole": {1: [0.9, 1.0], 7.5: [1.0, 1.0]}, "half": {1: [0.2, 0.4], 3: [0.5, 0.5], 7.5: [0.5, 0.9]}}
    cards = {name: dict.fromkeys(line, [CARD] * 2) for name, line in found.items()}
    first = guidance_bill(found, cards, [1], "A top", "note")
    assert (
        is_figure(first)
        and "whole: fidelity ≈95% at guidance 1, " in first.alt
        and "fidelity ≈70% at guidance 7.5." in first.alt
    )
    both = guidance_bill(found, cards, [0, 1], "A top", "note", ["a boat", "a house " * 20])
    assert is_figure(both) and both.alt == first.alt and both.image().height > first.image().height - 128
    assert is_figure(sampling.bars({"U-Net": 1.0, "VAE": 0.1}, [8.0, 5.0], "The bill of a picture"))


def test_the_interval_of_a_mean_comes_from_its_pictures():
    mean, half = mean_of([0.5, 0.7, 0.9, 0.7])
    assert mean == pytest.approx(0.7) and half == pytest.approx(3.182 * np.std([0.5, 0.7, 0.9, 0.7], ddof=1) / 2)
    assert np.isnan(mean_of([0.5])[1]), "one reading has no spread"


def test_few_readings_have_a_wider_interval():
    table = {
        2: 12.706,
        5: 2.776,
        6: 2.571,
        7: 2.447,
        10: 2.262,
        12: 2.201,
        31: 2.042,
        1001: 1.962,
    }  # Student's t, 97.5 %
    assert [student(n) for n in table] == pytest.approx(list(table.values()), rel=2e-3)


def test_no_interval_of_a_share_passes_its_ends_and_none_is_drawn_where_nothing_spreads():
    assert share_of([0.5, 0.7, 0.9, 0.7])[1:] == pytest.approx(
        (0.7 - mean_of([0.5, 0.7, 0.9, 0.7])[1], 0.7 + mean_of([0.5, 0.7, 0.9, 0.7])[1])
    )
    assert share_of([1.0, 0.5, 1.0])[2] == 1.0, "no share lies beyond 1"
    assert share_of([1.0] * 6) == pytest.approx((1, np.nan, np.nan), nan_ok=True)
    assert share_of([0.5] * 6) == pytest.approx((0.5, np.nan, np.nan), nan_ok=True)
    assert in_points([0, 0, 0.5, 0.5]) == "≈25 ± 46 points"
    assert in_points([0] * 7) == "no difference in 7 pictures", "no spread is no certainty"
    assert in_points([0.5] * 3) == "≈50 points, the same in 3 pictures" and in_points([0.5]).startswith("≈50 points, ")


def test_a_small_share_is_not_called_nothing():
    assert [per_cent(share) for share in (0, 0.001, 0.005, 0.006, 0.5)] == ["0%", "<1%", "<1%", "1%", "50%"]


def test_the_slope_of_a_solver_is_fitted():
    line = [(calls, 5 / calls**2) for calls in (4, 8, 16)]
    assert order(line) == pytest.approx(-2)
    panels = {"a line": {"Heun": line}, "a net": {"Heun": line, "Euler": [(4, 0.5), (8, 0.25)]}}
    picture = convergence(panels, "Two orders", "note", fitted="a line")
    assert is_figure(picture) and "a line, Heun: order ≈2.0" in picture.alt
    bent = {"a line": {"Heun": [(2, 9.0), *line]}}
    assert "order ≈2.0" in convergence(bent, "One order", "note", fitted="a line", least=4).alt, (
        "few calls bend the line"
    )
    assert "order ≈2.0" not in convergence(bent, "One order", "note", fitted="a line").alt
    assert "a net, Euler: ≈0.500 after 4 calls, ≈0.250 after 8 calls" in picture.alt, "no order where the lines bend"


def test_film_strip_and_grids(tiny):
    steps = list(denoise(tiny, "a boat", steps=9))
    strip = sampling.film_strip(
        tiny, [(step.latents, step.x0) for step in steps], [step.timestep for step in steps], "Film"
    )
    assert strip.image().width == 1152
    assert is_figure(sampling.prompt_grid([CARD] * 4, ["a boat on a lake"] * 4, "Four pictures of boats"))


def euler(slope, z, sigmas):
    for sigma, after in zip(sigmas, sigmas[1:]):
        z = z + (after - sigma) * slope(z, sigma)
    return z


def test_straight_steps_end_beside_their_curve():
    def straight(z, sigma):  # a line of slope 1 bends nowhere
        return torch.ones_like(z)

    one = torch.ones(1, 1)
    assert curve_from(straight, one, 3.0, 1.0)[1][-1].item() == pytest.approx(-1)
    assert solver_path(straight, euler, 1.0, 3.0, 1.0, 4)[1].tolist() == pytest.approx([1, 0.5, 0, -0.5, -1])
    curves = curve_from(lambda z, sigma: z, torch.tensor([[1.0], [1.2]]), 2.0, 1.0)
    assert curves[1][-1].tolist() == pytest.approx([np.exp(-1), 1.2 * np.exp(-1)], abs=1e-4)
    walked = [solver_path(lambda z, sigma: z, euler, 1.0, 2.0, 1.0, steps) for steps in (1, 2)]
    assert [at[-1].item() for _, at in walked] == pytest.approx([0, 0.25])
    frames = [Image.open(io.BytesIO(solver_frame(curves, {"Euler": one}, "Steps", -0.5, 1.5))) for one in walked]
    assert frames[0].size == frames[1].size == (864, frames[0].height) and frames[0].tobytes() != frames[1].tobytes()


def test_names_at_the_ends_of_curves_do_not_lie_on_each_other():
    heights = [one[0] for one in set_apart([[0.5, "b"], [0.45, "a"], [3.0, "c"]], 0.2)]
    assert heights == pytest.approx([0.375, 0.575, 3.0]), "the last one has room"
    three = [one[0] for one in set_apart([[1.0, "a"], [1.0, "b"], [1.0, "c"]], 0.2)]
    assert np.diff(three) == pytest.approx([0.2, 0.2], abs=1e-3) and np.mean(three) == pytest.approx(1)


def test_walks_stand_side_by_side():
    walks = torch.tensor([[0.3, 0.3], [0.1, 0.6], [-1.0, 1.0]])
    panels = {"eta 0": ("$t$", [9, 5, 0], "$x$", walks), "eta 1": ("$t$", [9, 5, 0], "$x$", walks)}
    picture = walks_on_the_line(panels, "Two walks", "Two walks, and the same two again.", "note")
    assert is_figure(picture)


def test_sizes_of_latents_stay_inside_their_axis():
    sizes = torch.tensor([1.0, 0.08, 0.2, 0.5])  # what a forgotten scale_model_input leaves
    ax = sampling.style.new_figure(1).add_axes([0, 0, 1, 1])
    sampling._size_axis(ax, sizes)
    low, high = ax.get_ylim()
    assert low < sizes.min() and sizes.max() < high
    near = torch.tensor([1.0, 1.1, 0.9, torch.nan])
    sampling._size_axis(ax, near)
    low, high = ax.get_ylim()
    assert 0.5 < low < 0.9 and 1.1 < high < 2, "what stays near 1 is shown close up"
