"""What a Picture gives to a notebook, that pixels survive, that the numbers drawn are the right ones."""

import base64

import numpy as np
import pytest
import torch
from PIL import Image

from helpers import diffusion
from helpers.figures import diffusion as figures
from helpers.figures import picture_grid, style

ABAR = diffusion.make_alphas_cumprod()


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_picture_carries_its_words():
    data, metadata = picture_grid([[draw(3, 8, 8)]], "A claim", "A noisy square.")._repr_mimebundle_()
    assert data["text/plain"] == "[figure] A noisy square."
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert metadata == {"image/png": {"alt": "A noisy square.", "width": 900}}


def test_pixels_are_kept():
    array = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    drawn = np.asarray(picture_grid([[Image.fromarray(array)]], "A claim", "One picture.").image())
    top, left = round(style.TITLE * style.DPI), round(0.08 * style.DPI)
    assert np.array_equal(drawn[top : top + 128 : 2, left : left + 128 : 2], array)  # each pixel drawn 2 x 2


def test_a_caption_of_two_lines_has_room_and_a_prompt_stands_beside_its_row():
    def ink(**texts):
        shape = np.asarray(picture_grid([[Image.new("RGB", (8, 8))]], "T", "One picture.", **texts).image())
        return shape.shape[0], int((shape[:, round(2.0 * style.DPI) :] < 200).any(2).sum())

    (one, none), (two, _) = ink(captions=[["a boat"]]), ink(captions=[["a boat\nand a tree"]])
    assert two - one == pytest.approx(0.13 * style.DPI, abs=1) and none == 0
    assert ink(beside=["a red boat on a lake below snowy mountains at sunset"])[1] > 100


@pytest.mark.parametrize(
    "picture",
    [torch.tensor([[[-1.0]], [[0.0]], [[2.0]]]), np.array([[[0, 128, 255]]]), Image.new("RGB", (1, 1), (0, 128, 255))],
)
def test_to_rgb(picture):
    assert style.to_rgb(picture).tolist() == [[[0, 128, 255]]]


def test_stage_frames_depend_on_their_state_only():
    fig = style.new_figure(1, width=2)
    (line,) = style.place(fig, 0.1, 0.1, 1, 0.8).plot([0, 1], [0, 1])
    stage = style.Stage(fig, [line])
    first = stage.png()
    line.set_ydata([1, 0])
    second = stage.png()
    line.set_ydata([0, 1])
    assert stage.png() == first != second


def test_memories_are_weighed_by_how_well_they_fit():
    data = draw(20, 3, 8, 8)
    table = figures.MemoryTable(data, data[7], draw(3, 8, 8, seed=1), ABAR)
    _, which, share, memories, guess = table.answer(50)
    assert which[0] == 7 and share[0] > 0.999 and memories == pytest.approx(1, abs=0.01)
    assert torch.allclose(guess, data[7], atol=1e-2)
    assert 15 < figures.MemoryTable(data / 10, data[7] / 10, draw(3, 8, 8, seed=1), ABAR).answer(999)[3] <= 20


def test_copies_are_found():
    data = draw(9, 3, 8, 8)
    drawn = np.asarray(figures.copies(data[[4, 2, 4]] + 0.001, data).image())[:, round(0.5 * style.DPI) :]
    top, bottom = (round((style.TITLE + row * 1.06 + 0.5) * style.DPI) for row in (0, 1))
    assert np.abs(drawn[top].astype(int) - drawn[bottom]).max() <= 1  # above and below the same
    second, third = drawn[top, int(1.5 * style.DPI)], drawn[top, int(2.5 * style.DPI)]
    assert second.min() < 255 == third.min()  # the third is the first again


def test_an_arrow_says_which_way_sampling_goes():
    plain, strip = (
        np.asarray(picture_grid([[draw(3, 8, 8)]], "A claim", "A square.", sampling=sampling).image())
        for sampling in (False, True)
    )
    corner = np.s_[: round(style.TITLE * style.DPI), round(7 * style.DPI) :]
    assert plain[corner].min() == 255 > strip[corner].min()


def test_the_paths_drawn_stay_inside_and_start_apart():
    start = torch.tensor([[0.0, 0.0], [0.1, 0.0], [2.0, 0.0], [0.0, 2.65], [-2.0, 0.0]])
    path = torch.stack([start, 0.5 * start])
    assert figures.plane.spread_paths(path, 5) == [0, 2, 4]  # 1 begins beside 0, 3 leaves the frame
    assert figures.plane.spread_paths(path, 2) == [0, 2]


def test_of_the_paths_compared_none_leaves_the_frame():
    inside, outside = torch.zeros(2, 3, 2), torch.zeros(2, 3, 2)
    outside[1, 0], outside[1, 2] = 9.0, 1.0  # the first point leaves it in the second set
    drawn = [
        np.asarray(figures.paths_compared({"a": inside[:, ks], "b": outside[:, ks]}, "A claim", "Paths.").image())
        for ks in ([0, 1, 2], [1, 2])
    ]
    assert np.array_equal(*drawn)


def test_an_exact_network_differs_nowhere():
    world = diffusion.make_shape("two Gaussians")
    exact = lambda x, t: world.noise_pred(x, ABAR[t].item())  # noqa: E731
    true, learnt, error = figures.ScoreFields(world, exact, world.sample(20), ABAR, n=5).fields(300)
    assert torch.equal(true, learnt) and error.max() == 0


def test_gap_and_width():
    gap, width = figures.Steps.gap_and_width(torch.tensor([[-1.0], [0.2], [0.9], [1.1]]))
    assert gap == 0.25 and width == pytest.approx(0.1 * 2**0.5)
    assert figures.Steps.gap_and_width(torch.zeros(3, 1)) == (1.0, 0.0)


def test_every_figure_is_drawn_and_described():
    x_0, noise, world = draw(3, 16, 16).clamp(-1, 1), draw(3, 16, 16, seed=1), diffusion.make_shape("glyph")
    line = diffusion.Mixture(torch.tensor([[-1.0], [1.0]]), 0.15)
    exact = lambda x, t: world.noise_pred(x, ABAR[t].item())  # noqa: E731
    walk = [999, 500], draw(3, 60, 1)
    drawn = [
        figures.noising_table(x_0, noise, [0, 999]),
        figures.rising_tide(x_0, noise, [0, 100, 999]),
        figures.brightness_plot(draw(5, 3, 8, 8), draw(5, 3, 8, 8, seed=1), 0.005),
        figures.exam_paper([x_0], [noise], [500], ABAR),
        figures.MemoryTable(draw(8, 3, 8, 8), draw(3, 8, 8), draw(3, 8, 8, seed=1), ABAR).figure([999, 10]),
        figures.ScoreFields(world, exact, world.sample(9), ABAR, n=4).figure(10, 999),
        figures.flow(draw(3, 20, 2), [999, 500], [999, 0]),
        figures.two_ways(world, exact, draw(2, 2), [999, 500], ABAR),
        figures.one_step_many(line, walk, {1: walk, 2: walk}, ABAR, {1: 1.0, 2: 0.004}),
        figures.loss_floor([0, 100, 200], [0.5, 0.3, 0.1], {"early": [1, 1, 1], "late": [0.6, 0.3, 0.2]}),
        figures.clouds(
            {"one\n5% near": draw(30, 2), "two": draw(30, 2, seed=1)},
            "A claim",
            "Clouds of points, " * 5,
            "small print",
            shape=world,
        ),
        figures.in_noise(draw(9, 2), ABAR),
        figures.copies_in_plane({"known": draw(9, 2), "drawn\n5% near": draw(30, 2, seed=1)}, draw(9, 2)),
        figures.one_step_or_walk([[x_0, noise, x_0]] * 2, [300, 999]),
        figures.blur_and_mean([x_0, x_0, noise], 16),
        figures.paths_compared(
            {"lines\n1.00 times": draw(2, 50, 2), "paths": draw(5, 50, 2)}, "A claim", "Paths, " * 12
        ),
        figures.steps_race(
            {"one": {1: 0.5, 50: 0.01}, "two": {1: 0.4, 50: 0.02}},
            {"one": {1: 0.9, 50: 0.1}, "two": {1: 0.8, 50: 0.05}},
            0.005,
            "A claim",
            "Distance over steps, " * 5,
            "small print",
        ),
    ]
    for picture in drawn:
        assert picture.image().width == 9 * style.DPI and len(picture.alt) > 60
        assert np.asarray(picture.image()).std() > 5  # not an empty page


@pytest.mark.parametrize(
    "call",
    [
        lambda: figures.clouds({}, "A claim", "alt"),
        lambda: figures.paths_compared([], "A claim", "alt"),
        lambda: figures.steps_race({}, {}, 0.1, "A claim", "alt"),
        lambda: figures.loss_floor([1], [1.0], {}),
    ],
)
def test_figures_of_nothing_say_so(call):
    with pytest.raises((TypeError, ValueError), match="must be {"):
        call()
