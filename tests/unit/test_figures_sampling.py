"""The figures of lesson 04: the numbers behind them are right, and each is drawn for models of both shapes."""
import io

import numpy as np
import pytest
import torch
from helpers import denoise, diffusion
from helpers.conditioning import encode_prompts
from helpers.figures import guidance, sampling
from helpers.figures.decisions import decisions, settled
from helpers.figures.sweeps import convergence, guidance_bill, in_points, mean_of, one_step, order, share_of, steps_bill, student
from helpers.figures.unet import anatomy, ledger, per_cent
from helpers.latents import decode_latents
from PIL import Image

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
        f"down {i + 1}" for i in range(len(config.block_out_channels))]
    assert sum(block.work for block in blocks) == pytest.approx(1)
    assert 0.9 < sum(block.parameters for block in blocks) <= 1             # the time embedding stands apart
    assert [block.reads_words for block in blocks if block.name.startswith("down")] == [
        "Cross" in kind for kind in config.down_block_types]
    for block in blocks:
        assert block.activation.shape == block.shape[1:] and block.shape[1] <= tiny.latent_shape[1]
    assert blocks[0].shape == (config.block_out_channels[0], *tiny.latent_shape[1:])
    assert is_figure(ledger(blocks, "A U-Net", "note"))


def test_anatomy_counts_the_work_of_a_known_layer(tiny):
    latents = torch.zeros(1, *tiny.latent_shape)
    blocks = anatomy(tiny.unet, latents, 500, encode_prompts(tiny, ["a boat"]))
    conv = {"in": tiny.unet.conv_in, "out": tiny.unet.conv_out}
    work = {name: 2 * part.weight.numel() * latents[0, 0].numel() for name, part in conv.items()}   # a product and a sum
    shares = {block.name: block.work for block in blocks}
    assert shares["in"] / shares["out"] == pytest.approx(work["in"] / work["out"])


@pytest.mark.parametrize("readings, step", [("aaaa", 0), ("baaa", 1), ("abab", 3), ("b", 0), ("aaba", 3)])
def test_settled(readings, step):
    assert settled(list(readings)) == step


def test_decisions(tiny_postcard):
    steps = list(denoise(tiny_postcard, "a boat", steps=14))
    strip = [decode_latents(tiny_postcard, step.x0)[0] for step in steps]
    readings = {"sky": ["day"] * 14, "kind": ["none"] * 9 + ["boat"] * 5}
    picture = decisions(strip, strip, readings, {"sky": [0, 1], "kind": [9, 12]}, "Sky first", "note")
    assert is_figure(picture) and "kind ≈11.5, sky ≈1.5" in picture.alt


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
    frames = [Image.open(io.BytesIO(guidance.arrows_frame(BOTH, RIGHT, -0.35, ABAR[250].item(), scale))) for scale in (1, 7.5)]
    assert frames[0].size == frames[1].size == (864, frames[0].height) and frames[0].tobytes() != frames[1].tobytes()
    assert is_figure(guidance.end_histograms(RIGHT, ends))
    assert is_figure(guidance.implicit_classifier(BOTH, RIGHT, ABAR[250].item()))


def test_bills():
    found = {"whole": {1: [0.9, 1.0], 7.5: [1.0, 1.0]}, "half": {1: [0.2, 0.4], 3: [0.5, 0.5], 7.5: [0.5, 0.9]}}
    cards = {name: dict.fromkeys(line, [CARD] * 2) for name, line in found.items()}
    first = guidance_bill(found, cards, 1, "A top", "note")
    assert is_figure(first) and "whole: fidelity ≈95% at guidance 1, " in first.alt and "fidelity ≈70% at guidance 7.5." in first.alt
    second = steps_bill({"ddim": {3: [0.5, 0.7], 25: [0.9, 0.9]}, "heun": {5: [0.5, 0.7], 49: [1, 0.8]}}, "Steps", "note")
    assert is_figure(second) and "heun: ≈60% after 5 calls, ≈90% after 49 calls" in second.alt
    assert is_figure(sampling.bars({"U-Net": 1.0, "VAE": 0.1}, [8.0, 5.0], "The bill of a picture"))


def test_the_interval_of_a_mean_comes_from_its_pictures():
    mean, half = mean_of([0.5, 0.7, 0.9, 0.7])
    assert mean == pytest.approx(0.7) and half == pytest.approx(3.182 * np.std([0.5, 0.7, 0.9, 0.7], ddof=1) / 2)
    assert np.isnan(mean_of([0.5])[1]), "one reading has no spread"


def test_few_readings_have_a_wider_interval():
    table = {2: 12.706, 5: 2.776, 6: 2.571, 7: 2.447, 10: 2.262, 12: 2.201, 31: 2.042, 1001: 1.962}     # Student's t, 97.5 %
    assert [student(n) for n in table] == pytest.approx(list(table.values()), rel=2e-3)


def test_no_interval_of_a_share_passes_its_ends_and_none_is_drawn_where_nothing_spreads():
    assert share_of([0.5, 0.7, 0.9, 0.7])[1:] == pytest.approx((0.7 - mean_of([0.5, 0.7, 0.9, 0.7])[1], 0.7 + mean_of([0.5, 0.7, 0.9, 0.7])[1]))
    assert share_of([1.0, 0.5, 1.0])[2] == 1.0, "no share lies beyond 1"
    assert share_of([1.0] * 6) == pytest.approx((1, np.nan, np.nan), nan_ok=True)
    assert share_of([0.5] * 6) == pytest.approx((0.5, np.nan, np.nan), nan_ok=True)
    assert in_points([0, 0, 0.5, 0.5]) == "≈25 points, ± ≈46 (≈2 of 4 pictures differ; 95 %: ≈15 to ≈85 %)"
    assert in_points([0] * 7) == "≈0 points, ± ≈0 (≈0 of 7 pictures differ; 95 %: ≈0 to ≈35 %)", "no spread is no certainty"
    assert in_points([0, 0, 0.5, 0.5], "prompts").endswith("(≈2 of 4 prompts differ; 95 %: ≈15 to ≈85 %)")


def test_a_small_share_is_not_called_nothing():
    assert [per_cent(share) for share in (0, 0.001, 0.005, 0.006, 0.5)] == ["0%", "<1%", "<1%", "1%", "50%"]


def test_the_slope_of_a_solver_is_fitted():
    line = [(calls, 5 / calls**2) for calls in (4, 8, 16)]
    assert order(line) == pytest.approx(-2)
    panels = {"a line": {"Heun": line}, "a net": {"Heun": line, "Euler": [(4, 0.5), (8, 0.25)]}}
    picture = convergence(panels, "Two orders", "note", fitted="a line")
    assert is_figure(picture) and "a line, Heun: slope ≈-2.0" in picture.alt
    bent = {"a line": {"Heun": [(2, 9.0), *line]}}
    assert "slope ≈-2.0" in convergence(bent, "One order", "note", fitted="a line", least=4).alt, "few calls bend the line"
    assert "slope ≈-2.0" not in convergence(bent, "One order", "note", fitted="a line").alt
    assert "a net, Euler: ≈0.500 after 4 calls, ≈0.250 after 8 calls" in picture.alt, "no slope where the lines bend"


def test_film_strip_and_grids(tiny):
    steps = list(denoise(tiny, "a boat", steps=9))
    strip = sampling.film_strip(tiny, [(step.latents, step.x0) for step in steps], [step.timestep for step in steps], "Film")
    assert strip.image().width == 1152
    assert is_figure(sampling.prompt_grid([CARD] * 4, ["a boat on a lake"] * 4, "Four pictures of boats"))


def test_seams_are_cut_round_the_column():
    card = np.zeros((128, 128, 3), np.uint8)
    card[:, 80:] = 255                                                      # an edge to be found in the middle
    names = ["the card", "once", "often", "dense"]
    picture = sampling.seams(dict.fromkeys(names, Image.fromarray(card)), dict.fromkeys(names, np.ones(9)), 80, "An edge",
                             "Lines, and four details of one edge.")
    assert is_figure(picture)
    pixels = np.asarray(picture.image())[picture.image().height // 2, 455:620].mean(1)      # the first detail
    dark, light = np.flatnonzero(pixels < 40), np.flatnonzero(pixels > 215)
    assert len(dark) == pytest.approx(0.64 * 128, abs=3) and light[light > dark.max()].size > 0


def test_a_straight_step_ends_beside_its_curve():
    def slope(z, sigma):                                                    # a line of slope 1 bends nowhere
        return torch.ones_like(z)

    straight = one_step(slope, 1.0, 3.0, 1.0, "No bend")
    assert is_figure(straight) and "The step ends at -1.00, the curve at -1.00." in straight.alt
    bent = one_step(lambda z, sigma: z, 1.0, 2.0, 1.0, "A bend")
    assert "The step ends at 0.00, the curve at 0.37." in bent.alt


def test_sizes_of_latents_stay_inside_their_axis():
    sizes = torch.tensor([1.0, 0.08, 0.2, 0.5])                             # what a forgotten scale_model_input leaves
    ax = sampling.new_figure(1).add_axes([0, 0, 1, 1])
    sampling._size_axis(ax, sizes)
    low, high = ax.get_ylim()
    assert low < sizes.min() and sizes.max() < high
    near = torch.tensor([1.0, 1.1, 0.9, torch.nan])
    sampling._size_axis(ax, near)
    low, high = ax.get_ylim()
    assert 0.5 < low < 0.9 and 1.1 < high < 2, "what stays near 1 is shown close up"
