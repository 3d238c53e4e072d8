"""What lesson 05 has to notice on a card, broken on purpose: its own cells, on the tiny model, whole and changed."""

import copy
import json
from dataclasses import replace
from pathlib import Path

from helpers.runtime import seeded_noise

import pytest
import torch
from PIL import Image

import helpers.lora.layers as layers
from helpers import concepts, load_components
from helpers.checks import concepts as check
from helpers.concepts import train_concept
from helpers.lora import add_lora

LESSON = Path(__file__).resolve().parents[2] / "notebooks" / "05_concepts.ipynb"
STEP, LAYER = "def inversion_step_solution(", "class LoraLinear_solution("


def cell(part):
    """The code of the one cell that holds this text."""
    cells = json.loads(LESSON.read_text(encoding="utf-8"))["cells"]
    found = [text for text in ("".join(one["source"]) for one in cells if one["cell_type"] == "code") if part in text]
    assert len(found) == 1, f"{len(found)} cells hold {part!r}"
    return found[0]


def changed(text, old, new):
    assert text.count(old) == 1, f"the lesson does not say {old!r} any more"
    return text.replace(old, new)


@pytest.fixture
def names(request, model_folders):
    """What the lesson has made when its trainings begin."""
    if not request.config.getoption("--gpu"):
        pytest.skip("for make test-gpu, which starts the card")
    c = load_components(model_folders["postcard"])
    made = {
        "c": c,
        "torch": torch,
        "copy": copy,
        "replace": replace,
        "check": check,
        "Concept": concepts.Concept,
        "cards": [Image.new("RGB", (c.image_size, c.image_size), one) for one in ("teal", "navy", "red")],
    }
    exec(cell(STEP), made)
    exec(cell(LAYER), made)
    return made


def trained(names):
    c, asked = names["c"], ["a <mine> boat"] * 3
    return list(
        train_concept(
            c, names["cards"], "<mine>", "blue green", asked, steps=2, batch=2, step=names["inversion_step_solution"]
        )
    )


def drawn(names):
    c = names["c"]
    x = seeded_noise((1, *c.latent_shape), 0, c.device, c.dtype)
    embeds = torch.zeros(1, 77, c.text_encoder.config.hidden_size, device=c.device, dtype=c.dtype)
    with add_lora(c.unet, 4, layer=names["LoraLinear_solution"]), torch.no_grad():
        return c.unet(x, 500, encoder_hidden_states=embeds).sample


def test_unchanged_the_cells_pass(names):
    assert len(trained(names)) == 3 and drawn(names).isfinite().all()


def test_rows_that_are_not_put_back_are_noticed(names):
    exec(changed(cell(STEP), "        words.weight.copy_(before)\n", ""), names)
    with pytest.raises(ValueError, match="moves other words"):
        trained(names)


def test_the_lesson_s_matrices_on_the_cpu_are_noticed(names):
    exec(changed(cell(LAYER), "torch.randn(rank, wide, device=where)", "torch.randn(rank, wide)"), names)
    with pytest.raises(RuntimeError, match="same device"):
        drawn(names)


def test_the_lesson_s_change_in_float32_is_noticed(names):
    if names["c"].dtype != torch.float16:
        pytest.skip("in float32 there is nothing to notice")
    exec(changed(cell(LAYER), "change.to(x.dtype)", "change"), names)
    with pytest.raises(RuntimeError):
        drawn(names)


def test_the_helper_s_matrices_on_the_cpu_are_noticed(names, monkeypatch):
    begin = layers.LoraLinear.__init__

    def on_the_cpu(self, *arguments, **options):
        begin(self, *arguments, **options)
        self.A = torch.nn.Parameter(self.A.detach().cpu())

    monkeypatch.setattr(layers.LoraLinear, "__init__", on_the_cpu)
    c = names["c"]
    with add_lora(c.unet, 4) as lora, pytest.raises(RuntimeError, match="same device"):
        layer = next(iter(lora.layers.values()))
        layer(torch.zeros(1, layer.weight.shape[1], device=c.device, dtype=c.dtype))
