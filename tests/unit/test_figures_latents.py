"""The figures of lesson 02 on tiny models of two shapes: that they can be drawn, and that what they say is right."""

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import latents as codec
from helpers.figures import latents as figures
from helpers.figures.style import Picture


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def image(tiny):
    return Image.effect_noise((tiny.image_size, tiny.image_size), 80).convert("RGB").rotate(30)


@pytest.fixture(scope="module")
def cell(tiny, image):
    return figures.Cell(tiny, image)


def is_drawn(picture):
    assert isinstance(picture, Picture) and len(picture.alt) > 40
    array = np.asarray(picture.image())
    assert array.shape[1] == 9 * 128 and array.std() > 5
    return True


def test_round_trip(tiny, image):
    latents = codec.encode_image(tiny, image)
    assert is_drawn(figures.round_trip(image, latents, codec.decode_latents(tiny, latents)[0]))


@pytest.mark.parametrize("channels", [1, 3, 4, 16])
def test_round_trip_of_any_number_of_channels(channels):
    picture = Image.new("RGB", (64, 64), "teal")
    assert is_drawn(figures.round_trip(picture, draw(1, channels, 8, 8), picture))


def test_lost_shows_where_the_copy_is_wrong():
    images = [Image.new("RGB", (32, 32), "white")] * 2
    decoded = codec.to_pixels(images)
    decoded[1, :, 8:16, 8:16] = -1
    assert is_drawn(figures.lost(images, decoded, ["one", "two"], "A claim"))


def test_a_map_of_the_error_has_few_colours_so_that_the_pictures_keep_theirs():
    steps = figures.coarse(torch.linspace(0, 0.4, 500), 0.25)
    assert (
        len(steps.unique()) == 16
        and steps.max() == 0.25
        and (steps - torch.linspace(0, 0.4, 500).clamp(max=0.25)).abs().max() < 0.009
    )


def test_moving_nothing_changes_nothing(cell):
    picture, change, outside = cell.change(1, 2, 0, 0.0)
    assert change.max() < 1e-5 and torch.allclose(picture, cell.base) and 0 <= outside <= 1


def test_a_change_is_split_into_inside_and_outside(tiny, cell):
    _, change, outside = cell.change(3, 5, 1, 6.0)
    step = tiny.vae_scale_factor
    inside = change[3 * step : 4 * step, 5 * step : 6 * step].sum() / change.sum()
    assert outside == pytest.approx(1 - inside.item(), abs=1e-5) and change.max() > 0


def test_reach_is_what_falls_outside_of_sixteen_patches(cell, monkeypatch):
    asked = []
    monkeypatch.setattr(cell, "change", lambda *state: asked.append(state) or (None, None, len(asked) % 2))
    assert sum(cell.reach(1.5)) == 8 and len(set(asked)) == 16 and {state[3] for state in asked} == {1.5}
    assert sum(cell.reach(4)) == 8 and len(set(asked)) == 32  # moved farther: measured anew


def test_a_thumbnail_enlarged_smoothly_spills_too(tiny, cell):
    assert cell.thumbnail() == pytest.approx(1 - 0.75**2, abs=1e-5)  # three quarters stay, along each side


def test_cell_figure_and_frames(cell):
    assert is_drawn(cell.figure(0, 0)) and is_drawn(cell.figure(cell.latents.shape[-1] - 1, 3))  # also at the rim
    first, other = cell.frame(1, 2, 0, 4.0), cell.frame(1, 2, 1, -4.0)
    assert cell.frame(1, 2, 0, 4.0) == first != other


def test_cloud(tiny, image):
    posterior = codec.encode_pixels(tiny, codec.to_pixels([image]))
    means, sigmas = draw(5, *tiny.latent_shape), torch.full((5, *tiny.latent_shape), 0.01)
    cloud = figures.Cloud(
        tiny,
        means,
        sigmas,
        posterior.mean,
        0.1 * torch.ones_like(posterior.mean),
        draw(*posterior.mean.shape),
        [0, 1, 100],
    )
    assert cloud.sigma == pytest.approx([0.01] * tiny.latent_shape[0]) and cloud.spread[0] == pytest.approx(1, abs=0.1)
    assert is_drawn(cloud.figure([0, 1, 100]))
    assert cloud.own == pytest.approx(
        posterior.mean[0, :, tiny.latent_shape[1] // 2, tiny.latent_shape[2] // 2].tolist()
    )
    plain = codec.decode_latents(tiny, posterior.mean * tiny.vae.config.scaling_factor)[0]
    assert np.abs(np.asarray(plain, int) - np.asarray(cloud.pictures[0], int)).max() <= 1


def test_beta_dial_and_one_more_beta():
    column = {
        "inputs": draw(6, 3, 16, 16),
        "rebuilt": draw(6, 3, 16, 16),
        "samples": draw(6, 3, 16, 16),
        "psnr": 20.0,
        "apart": 0.4,
        "kl": torch.tensor([0.5, 0.0, 3.0, 0.009]),
    }
    columns = {0.1: column, 1.0: {**column, "psnr": 25.0}, 10.0: {**column, "kl": torch.full((4,), 1e-4)}}
    assert is_drawn(figures.beta_dial(columns, 0.1))
    tried = {0.3: {**column, "psnr": 23.0, "apart": 2.0}}
    mine = figures.another_beta(columns, 0.3, tried, 0.1)
    assert is_drawn(mine) and "that of beta 0.3" in mine.alt and "rings" not in mine.alt
    more = figures.another_beta(columns, 30.0, {**tried, 30.0: {**column, "psnr": 18.0, "apart": 3.0}}, 0.1)
    assert is_drawn(more) and "that of beta 30" in more.alt and "rings" in more.alt


def test_clouds_priced():
    assert is_drawn(figures.clouds_priced({(0.0, 1.0): 0.0, (2.0, 0.3): 2.7}))


def test_clouds_are_whole_wherever_they_lie_and_however_narrow_they_are(monkeypatch):
    monkeypatch.setattr("helpers.figures.style.claimed", lambda fig, *words: fig)
    fig = figures.clouds_priced({(-6.0, 1.0): 18.0, (1.0, 0.001): 6.4})
    for ax, mean, sigma in zip(fig.axes, (-6, 1), (1, 0.001)):
        x, y = ax.lines[-1].get_data()
        assert x[y.argmax()] == pytest.approx(mean) and y.max() == pytest.approx(1 / (sigma * (2 * np.pi) ** 0.5))
        assert ax.get_xlim()[0] <= mean - 3 * sigma and ax.get_ylim()[1] > y.max()


def test_bytes_against_decibels():
    images = [Image.effect_noise((64, 64), 40 + 10 * k).convert("RGB") for k in range(3)]
    jpegs = [
        [(one.size, one.header, 20.0 + q) for q in (1, 20, 60) for one in [codec.jpeg(image, q)]] for image in images
    ]
    side = {"jpegs": jpegs, "vae": {"1 byte each": (256, np.array([25.0, 26, 27]))}, "crops": {"original": images[0]}}
    assert is_drawn(figures.bytes_against_decibels({"a": side, "b": {**side, "jpegs": jpegs[:1]}}, "A claim"))


def test_noises_previews_bill():
    pictures = list(draw(5, 3, 16, 16))
    spectrum = torch.arange(1, 8), torch.linspace(3, 1, 7)
    assert is_drawn(
        figures.noises(
            {"pixels": pictures, "latents": pictures},
            [1, 0.9, 0.8, 0.7, 0.6],
            {"pixels": spectrum, "latents": spectrum},
        )
    )
    assert is_drawn(figures.previews(pictures, pictures, list(draw(5, 3, 2, 2)), "A claim"))
    assert is_drawn(figures.bill({"a model": ({"attention": 1e8, "other": 1e9}, {"attention": 5e11, "other": 6e10})}))


def test_maps_are_coloured_by_size():
    assert figures.unsigned(torch.tensor([[0.0, 1.0]]), 1).tolist()[0][1][0] > 200  # yellow
    assert figures.unsigned(torch.tensor([[0.0, 1.0]]), 1).tolist()[0][0][0] < 20  # dark blue
