"""The GPU benchmark, tried on the CPU: the published shape, the ways to draw, what is refused. No time is
asserted."""

import json
from dataclasses import replace

import pytest
import torch

from benchmarks import gpu, sd15


@pytest.fixture(scope="module")
def c():
    return sd15.build(sd15.TINY, torch.device("cpu"), torch.float32)


def test_the_shape_is_stable_diffusion_1_5_s(c):
    sizes = {
        name: sum(weight.numel() for weight in network.parameters())
        for name, network in sd15.networks(sd15.SD15, "meta", c.tokenizer).items()
    }
    assert sizes == {"text_encoder": 123_060_480, "vae": 83_653_863, "unet": 859_520_964}  # as published


def test_without_a_gpu_it_says_so_in_one_sentence_and_keeps_nothing(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    gpu.main(["--results", str(tmp_path / "kept")])
    said = capsys.readouterr().out
    assert "no GPU" in said and len(said.splitlines()) == 1 and not (tmp_path / "kept").exists()


@pytest.mark.parametrize("traced", [False, pytest.param(True, marks=pytest.mark.hard)])
def test_on_the_cpu_the_whole_script_runs_and_keeps_nothing(tmp_path, capsys, monkeypatch, traced):
    if not traced:  # to trace a U-Net takes most of a minute: `make test-hard`
        monkeypatch.setattr(torch, "compile", lambda unet, **_: unet)
    asked = ["--device", "cpu", "--tiny", "--steps", "2", "--rounds", "1"]
    gpu.main([*asked, "--results", str(tmp_path / "kept")])
    said = capsys.readouterr().out
    assert not (tmp_path / "kept").exists()
    for way in ("StableDiffusionPipeline", "channels-last", "torch.compile", "CUDA graph", "in a graph"):
        assert way in said
    assert "TFLOP/s" in said and "of the limit" in said


class Forgetful(sd15.Graphed):
    """A graph whose prompt stays the one of the first call."""

    def __call__(self, sample, timestep, encoder_hidden_states):
        self.first = getattr(self, "first", None) or (encoder_hidden_states,)
        return super().__call__(sample, timestep, self.first[0])


class Late(sd15.Graphed):
    """A graph that is told the time of the first call."""

    def __call__(self, sample, timestep, encoder_hidden_states):
        self.first = getattr(self, "first", None) or (timestep,)
        return super().__call__(sample, self.first[0], encoder_hidden_states)


def test_a_replayed_unet_gives_the_same_latents_for_every_prompt(c):
    graph = replace(c, unet=sd15.Graphed(c.unet))
    moved = gpu.check({"plain": sd15.Ours(c, 3), "graph": sd15.Ours(graph, 3)}, c.dtype)
    assert moved == {"plain": 0, "graph": 0}


@pytest.mark.parametrize("wrong", [Forgetful, Late])
def test_a_way_that_draws_something_else_is_refused(c, wrong):
    ways = {"plain": sd15.Ours(c, 3), "wrong": sd15.Ours(replace(c, unet=wrong(c.unet)), 3)}
    with pytest.raises(ArithmeticError, match="wrong by"):
        gpu.check(ways, c.dtype)


def test_nan_is_refused(c):
    class Broken(sd15.Ours):
        def latents(self, *asked):
            return super().latents(*asked) * float("nan")

    with pytest.raises(ArithmeticError, match="broken by nan"):
        gpu.check({"plain": sd15.Ours(c, 2), "broken": Broken(c, 2)}, c.dtype)


def test_latents_that_do_not_depend_on_the_prompt_prove_nothing(c):
    class Deaf(sd15.Ours):
        def latents(self, prompt, seed):
            return super().latents("", seed)

    with pytest.raises(ArithmeticError, match="hardly depend"):
        gpu.check({"deaf": Deaf(c, 2)}, c.dtype)


def test_operations_grow_by_a_step_s(c):
    a_step, a_picture = gpu.operations(c, 1)
    assert gpu.operations(c, 2) == (a_step, a_picture + a_step) and 0 < a_step < a_picture


def test_claims_and_figure_are_made_from_the_numbers():
    rows = [
        {"way": way, "s a picture": seconds, "ms a step": 20 * seconds, "of the limit": "9%"}
        for way, seconds in (("generate", 1.5), ("StableDiffusionPipeline", 1.6), ("all three", 0.75))
    ]
    memory = {"without recording": 3e9, "recording attention": 3.5e9}
    said = json.dumps(gpu.claims(rows, 0.1, memory))
    for words in ("750 ms", "1.60 s", "3.0 GB; recording attention 3.5 GB", "100 ms"):
        assert words in said
    assert len(gpu.figure("A title", rows, 0.1, "a card").png) < 80_000
