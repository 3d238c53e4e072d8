"""The panels of lesson 02 through their pure functions: what is ahead is only looked up, what decodes acts on release."""

import io
import time

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import latents as codec
from helpers.figures import latents as figures
from helpers.panels import latents as panels
from helpers.panels.base import STILL, slider


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
    assert size_of(first)[0] == 9 * 96 and "latents[0, 0, 3, 2]: " in panel.line.value
    second = moved(panel, channel=1, delta=-2.0, row=0, column=tiny.latent_shape[-1] - 1)
    assert second != first and "latents[0, 1, 0, " in panel.line.value and "outside the patch" in panel.line.value
    assert moved(panel, channel=0, delta=1.5, row=3, column=2) == first


def test_factor_panel():
    asked = []

    def hidden(size, t):
        asked.append((size, t))
        return torch.full((3, 16, 16), size / 4 - t / 40)

    panel = panels.factor_panel(hidden, torch.full((40,), 0.5), 2.0, [7, 31])
    assert asked == [(1.0, 7), (2.0, 7)] and not panel.frames and not panel.controls["t"].continuous_update
    assert "1.00 times as strong as scaled latents, 0.50 times" in panel.line.value
    first = panel.picture.value
    size_of(first)
    assert moved(panel, t=31) != first and asked[-2:] == [(1.0, 31), (2.0, 31)]
    assert moved(panel, t=7) == first and len(panel.controls["t"].options) == 22  # 20 and the two stops


def test_numbers_panel():
    torch.manual_seed(0)
    net, target = codec.TinyVAE(4), codec.small_world(torch.full((1, 5), 0.5))
    net.decoder[0].weight.data *= 30  # untrained it would hardly hear its numbers
    panel = panels.numbers_panel(net, [2, 0], target)
    assert list(panel.controls) == ["number 2", "number 0"] and not panel.frames
    first = panel.picture.value
    size_of(first)
    said = panel.line.value
    assert moved(panel, **{"number 2": 3.0}) != first and panel.line.value != said
    with torch.no_grad():
        z = torch.tensor([[0.0, 0, 3, 0]])
        mine = codec.psnr(net.decoder(z).clamp(-1, 1), target).item()
        own = codec.psnr(net.decoder(net.encoder(target)[:, :4]).clamp(-1, 1), target).item()
    assert f"Your numbers 3, 0: {mine:.1f} dB" in panel.line.value and f"own numbers: {own:.1f} dB" in panel.line.value
    assert panel.speaks  # on paper too, where no slider shows them


def test_rate_panel():
    images = [Image.effect_noise((32, 32), k).convert("RGB") for k in (20, 90)]
    panel = panels.rate_panel({"a": (images[0], images[1], 64), "b": (images[1], images[1], 64)}, [5, 50, 90])
    assert len(panel.frames) == 6 and moved(panel, picture="b", quality=90) == panel.frames["b", 90]
    assert f"with {codec.jpeg(images[1], 90).size} bytes" in panel.line.value


def test_frames_ahead_are_looked_up_in_milliseconds():
    image = Image.effect_noise((32, 32), 80).convert("RGB")
    panel = panels.rate_panel({"a": (image, image, 64)}, [5, 50, 90])
    panel.frame, spent = None, []  # drawing would fail now
    for quality in (5, 90, 50, 5, 90):
        start = time.perf_counter()
        moved(panel, quality=quality)
        spent.append(time.perf_counter() - start)
    assert np.median(spent) < 0.05
