"""What lesson 05 has to notice on a card, broken on purpose: its own cells, on the tiny model, whole and changed."""
import copy
import json
from pathlib import Path

import helpers.lora.layers as layers
import pytest
import torch
from helpers import load_components
from helpers import concepts
from PIL import Image

LESSON = Path(__file__).resolve().parents[2] / "notebooks" / "05_concepts.ipynb"


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
    """What the lesson has made when its training begins."""
    if not request.config.getoption("--gpu"):
        pytest.skip("for make test-gpu, which starts the card")
    c = load_components(model_folders["postcard"])
    cards = [Image.new("RGB", (c.image_size, c.image_size), one) for one in ("teal", "navy", "red", "white", "black")]
    made = {"c": c, "torch": torch, "copy": copy, "cards": cards, "captions": ["a <mine> boat"] * 5, "numbers": 1,
            "Concept": concepts.Concept, "table": c.text_encoder.get_input_embeddings().weight.detach()}
    exec(cell("def add_words("), made)
    return made


LOSS, COMPARED = "def noise_loss(", "helper_loss(c, latents, prompt_embeds"
LAYER, PUT_IN, BESIDE = "class LoraLinear", "TARGETS = ", "lora = add_lora(c.unet, rank=8)"


def test_unchanged_the_cells_pass(names):
    for part in (LOSS, COMPARED, LAYER, PUT_IN, BESIDE):
        exec(cell(part), names)


def test_a_loss_of_the_helper_in_another_format_is_noticed(names, monkeypatch):
    whole = concepts.noise_loss
    monkeypatch.setattr(concepts, "noise_loss", lambda *arguments: whole(*arguments).half())
    exec(cell(LOSS), names)
    with pytest.raises(RuntimeError, match="Half"):
        exec(cell(COMPARED), names)


def test_a_loss_of_the_lesson_in_float16_is_noticed(names):
    if names["c"].dtype != torch.float16:
        pytest.skip("in float32 there is nothing to notice")
    exec(changed(cell(LOSS), "(noise_pred.float() - noise.float())", "(noise_pred - noise)"), names)
    with pytest.raises(RuntimeError, match="Half"):
        exec(cell(COMPARED), names)


def test_the_lesson_s_matrices_on_the_cpu_are_noticed(names):
    for part in (LOSS, COMPARED):
        exec(cell(part), names)
    exec(changed(cell(LAYER), "(torch.randn(rank, linear.in_features) / rank).to(where)",
                 "torch.randn(rank, linear.in_features) / rank"), names)
    with pytest.raises(RuntimeError, match="same device"):
        exec(cell(PUT_IN), names)


def test_the_helper_s_matrices_on_the_cpu_are_noticed(names, monkeypatch):
    for part in (LOSS, COMPARED, LAYER, PUT_IN):
        exec(cell(part), names)
    begin = layers.LoraLinear.__init__

    def on_the_cpu(self, *arguments, **options):
        begin(self, *arguments, **options)
        self.A = torch.nn.Parameter(self.A.detach().cpu())

    monkeypatch.setattr(layers.LoraLinear, "__init__", on_the_cpu)
    with pytest.raises(RuntimeError, match="same device"):
        exec(cell(BESIDE), names)
