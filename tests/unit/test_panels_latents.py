"""The panels of lesson 02 through their pure functions: what is ahead is only looked up, what decodes acts on release."""

import io
import time

import numpy as np
import pytest
import torch
from helpers import latents as codec
from helpers.figures import latents as figures
from helpers.panels import latents as panels
from helpers.panels.base import STILL, slider
from PIL import Image


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def size_of(png):
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    return image.size


@pytest.fixture(scope="module")
def image(tiny):
    return Image.effect_noise((tiny.image_size, tiny.image_size), 80).convert("RGB")


def moved(panel, **state):
    """Move controls of a panel; returns its picture."""
    for name, value in state.items():
        panel.controls[name].value = value
    return panel.picture.value


def test_a_slider_can_wait_until_it_is_let_go():
    assert slider("a", [1, 2], 1).continuous_update and not slider("a", [1, 2], 1, live=False).continuous_update


def test_cell_panel(tiny, image):
    panel = panels.cell_panel(figures.Cell(tiny, image), 3, 2)
    assert not panel.frames and not panel.controls["row"].continuous_update and repr(panel).startswith(STILL)
    first = panel.picture.value
    assert size_of(first)[0] == 9 * 96 and "latents[0, 3, 2] = " in panel.line.value
    second = moved(panel, channel=1, delta=-2.0, row=0, column=tiny.latent_shape[-1] - 1)
    assert second != first and "-2" in panel.line.value and "outside the patch" in panel.line.value
    assert moved(panel, channel=0, delta=4.0, row=3, column=2) == first


def test_mixer_panel(tiny, image):
    panel = panels.mixer_panel(tiny, image)
    assert len(panel.controls) == tiny.latent_shape[0]          # one slider a channel, however many there are
    assert all(not control.continuous_update for control in panel.controls.values())
    first = panel.picture.value
    size_of(first)
    assert moved(panel, **{"channel 0": -1.0}) != first and "(-1, 1" in panel.line.value
    assert moved(panel, **{"channel 0": 1.0}) == first


def test_cloud_panel(tiny):
    shape = tiny.latent_shape
    cloud = figures.Cloud(tiny, draw(3, *shape), torch.full((3, *shape), 0.01), draw(1, *shape),
                          torch.full((1, *shape), 0.01), draw(1, *shape, seed=1), [0, 1, 100])
    panel = panels.cloud_panel(cloud)
    assert len(panel.frames) == 3 and len(set(panel.frames.values())) == 3
    assert moved(panel, k=100) == panel.frames[(100,)] and "z = mean + 100" in panel.line.value


def test_rate_panel():
    images = [Image.effect_noise((32, 32), k).convert("RGB") for k in (20, 90)]
    panel = panels.rate_panel({"a": (images[0], images[1], 64), "b": (images[1], images[1], 64)}, [5, 50, 90])
    assert len(panel.frames) == 6 and moved(panel, picture="b", quality=90) == panel.frames["b", 90]
    assert f"with {codec.jpeg(images[1], 90).size} bytes" in panel.line.value


def test_frames_ahead_are_looked_up_in_milliseconds():
    image = Image.effect_noise((32, 32), 80).convert("RGB")
    panel = panels.rate_panel({"a": (image, image, 64)}, [5, 50, 90])
    panel.frame, spent = None, []                               # drawing would fail now
    for quality in (5, 90, 50, 5, 90):
        start = time.perf_counter()
        moved(panel, quality=quality)
        spent.append(time.perf_counter() - start)
    assert np.median(spent) < 0.05
