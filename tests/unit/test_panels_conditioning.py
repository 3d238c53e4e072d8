"""The panels of lesson 03 through their controls: every one is moved, and its picture changes."""

import io

import ipywidgets as widgets
import numpy as np
import pytest
import torch
from PIL import Image

from helpers import record_attention
from helpers.conditioning import encode_prompts, split_prompt
from helpers.figures import attention as maps
from helpers.figures import conditioning as figures
from helpers.panels import conditioning as panels
from helpers.panels.base import STILL
from helpers.postcards import Scene, Subject, render

PROMPT = "a red boat on lake"
CARD = render(Scene("day", "sun", "lake", "none", "none", [Subject("boat", "red", "left")]))
OTHER = render(Scene("night", "none", "lake", "none", "none", [Subject("boat", "blue", "right")]))


def moves(panel, **values):
    """Set controls one by one; the picture must change each time, and be one."""
    assert repr(panel).startswith(STILL)
    for name, value in values.items():
        before = panel.picture.value
        panel.controls[name].value = value
        assert panel.picture.value != before, name
        assert "could not be drawn" not in panel.line.value, panel.line.value
        Image.open(io.BytesIO(panel.picture.value)).load()
    return panel


@pytest.fixture(scope="module")
def attention(tiny_postcard):
    latents = torch.randn(1, *tiny_postcard.latent_shape, generator=torch.Generator().manual_seed(1))
    with record_attention(tiny_postcard.unet, heads=True, guidance=False) as record, torch.no_grad():
        for t in (700, 100):
            tiny_postcard.unet(latents, t, encoder_hidden_states=encode_prompts(tiny_postcard, [PROMPT]))
    return record


def test_inspector(tiny_postcard, recwarn):
    panel = moves(panels.inspector_panel(tiny_postcard, PROMPT), prompt="a blue house", example="90 words")
    warned = [str(one.message) for one in recwarn if "tokens" in str(one.message)]
    assert "of them never read" in panel.line.value and warned == []
    moves(panel, example="empty")
    assert "(0 pieces, 0 of them never read)" in panel.line.value
    moves(panel, example="a rare word")
    moves(panel, example="your own", prompt="<b>red</b>")
    assert "<b>" not in panel.line.value
    assert isinstance(panel.controls["prompt"], widgets.Text)


def test_what_is_typed_into_the_inspector_is_what_it_shows(tiny_postcard):
    """Over an example, too: the menu says what stands in the line, and brings back what was typed."""
    panel = panels.inspector_panel(tiny_postcard, PROMPT, "90 words")
    line, menu = panel.controls["prompt"], panel.controls["example"]
    begun = line.value, panel.picture.value
    assert begun[0] == panels.EXAMPLES["90 words"] and "of them never read" in panel.line.value
    moves(panel, prompt="a blue house")
    assert menu.value == "your own" and "house = " in panel.line.value and "90" not in panel.line.value
    moves(panel, example="empty")
    assert line.value == ""
    moves(panel, example="your own")
    assert line.value == "a blue house" and "house = " in panel.line.value
    moves(panel, prompt=begun[0])
    assert menu.value == "90 words" and panel.picture.value == begun[1]
    moves(panel, example="your own")
    assert line.value == "a blue house"
    assert panels.inspector_panel(tiny_postcard, PROMPT).controls["prompt"].value == PROMPT


def test_the_inspector_draws_once_for_one_choice(tiny_postcard):
    panel, drawn = panels.inspector_panel(tiny_postcard, PROMPT), []
    panel.frame = lambda prompt, example: drawn.append(prompt) or b""
    panel.controls["example"].value = "a rare word"
    panel.controls["prompt"].value = "a blue house"
    assert drawn == [panels.EXAMPLES["a rare word"], "a blue house"]


def test_subtraction():
    panel = panels.subtraction_panel(
        lambda a, b: (CARD.image, OTHER.image, a, b, {a: 0.5, "tent": 0.1}), ["red", "blue", "green"]
    )
    moves(panel, first="green", second="red")
    assert "green minus that of red" in panel.line.value
    moves(panel, second="green")
    assert panel.line.value == "A and B are the same: there is no difference, and no word is near to it."
    alike = figures.subtraction([(CARD.image, CARD.image, "red", "red", {"white": 0.0, "red": 0.0})])
    assert "Twice red: no difference" in alike.alt and "nearest to the difference is" not in alike.alt
    with pytest.raises(ValueError, match="values"):
        panels.subtraction_panel(lambda a, b: a, ["red"])


def test_places(attention, tiny_postcard):
    tokens = split_prompt(tiny_postcard.tokenizer, PROMPT)
    panel = panels.places_panel(CARD.image, maps.rings(CARD.masks), attention, tokens, (700, 100))
    moves(panel, layer="mid 0", head=1, t=100, top=50)
    assert "t = 100" in panel.line.value
    with pytest.raises(ValueError, match="3 timesteps are given for 2 recorded calls"):
        panels.places_panel(CARD.image, maps.rings(CARD.masks), attention, tokens, (700, 300, 100))


def test_explorer(attention, tiny_postcard):
    panel = panels.explorer_panel(CARD.image, attention, tiny_postcard, PROMPT)
    words = panel.controls["word"]
    assert isinstance(words, widgets.ToggleButtons)
    assert list(words.options) == ["start", *PROMPT.split(), "end", "padding"]  # the prompt itself
    assert words.value == "boat" and "boat, position 3 of the prompt" in panel.line.value
    moves(panel, word="start", layer="mid 0", step=1, against="nothing")
    moves(panel, word="padding")
    assert f"padding, {77 - 7} positions" in panel.line.value
    where = [layer.name for layer in attention.layers if panels.short_name(layer.name) == "mid 0"]
    spent = attention.probabilities(where[0], 1)[..., 7:].sum(-1).mean()  # (heads, h, w, T) -> one number
    assert f"{spent:.1%} of its attention" in panel.line.value


def test_every_word_has_a_button_of_its_own(tiny_postcard):
    places = panels.words_of(split_prompt(tiny_postcard.tokenizer, "a red zebra and a red end"))
    shown = [word.strip(panels.SPACE) for word in places]
    assert shown == ["start", "a", "red", "zebra", "and", "a", "red", "end", "end", "padding"]
    assert len(set(places)) == len(shown)  # told apart by what cannot be seen
    assert [place for one in places.values() for place in one] == list(range(77))
    assert len(places["zebra"]) > 1 and len(places["padding"]) > 50


def test_temperature():
    cosines = torch.tensor([[0.5, 0.6], [0.1, 0.9]])
    panel = moves(panels.temperature_panel([CARD.image, OTHER.image], ["a", "b"], cosines, 26.4, [(0, 1)]), scale="1")
    share = torch.softmax(cosines[0], 0)[0]
    assert f"its own caption {share:.0%}" in panel.line.value
    panel.controls["scale"].value = "26"  # the learnt one, where it begins, unrounded
    share = torch.softmax(26.4 * cosines[0], 0)[0]
    loss = (
        torch.nn.functional.cross_entropy(26.4 * cosines, torch.arange(2))
        + torch.nn.functional.cross_entropy(26.4 * cosines.T, torch.arange(2))
    ) / 2
    back = torch.softmax(26.4 * cosines[:, 1], 0)[1]
    assert (
        f"its own caption {share:.0%}, caption 2 its own picture {back:.0%}; the loss of these pairs is {loss:.2f}."
        in panel.line.value
    )
    moves(panel, scale="100")


def test_words_are_muted_with_buttons(tiny_postcard):
    asked = []

    def draw(positions):
        asked.append(positions)
        if not positions:
            raise ValueError("nothing is <b>muted</b>")
        return maps.explorer_frame(CARD.image, torch.eye(16)), f"pictures {len(asked)} & more"

    panel = panels.MutingPanel(split_prompt(tiny_postcard.tokenizer, "a red zebra and a red boat"), draw, [3])
    zebra = next(some for name, some in zip(panel.controls, panel.places) if name == "zebra")
    assert asked == [list(zebra)] and 3 in zebra and len(zebra) > 1  # all pieces of the word
    assert f"{len(zebra)} positions muted. pictures 1 &amp; more" == panel.line.value
    png, said = panel.still()
    paper, drawn = (np.asarray(Image.open(io.BytesIO(one)).convert("RGB")) for one in (png, panel.picture.value))
    assert said.endswith("pictures 1 & more") and (paper[-len(drawn) :] == drawn).all()
    assert (paper[: -len(drawn)] == 68).all(-1).any()  # above the pictures the words, the one that is down dark
    assert repr(panel).startswith(STILL) and "a button for each word" in repr(panel)
    shown = [name.strip(panels.SPACE) for name in panel.controls]
    assert shown == ["start", "a", "red", "zebra", "and", "a", "red", "boat", "end", "padding"]
    panel.controls["zebra"].value, panel.controls["red"].value = False, True  # the first of two
    assert len(asked) == 1  # nothing is drawn before Draw is pressed
    panel.press.click()
    assert asked[1:] == [[2]] and panel.line.value.startswith("1 position muted.") and not panel.press.disabled
    panel.controls["red"].value, before = False, panel.picture.value
    panel.press.click()
    assert "could not be drawn: nothing is &lt;b&gt;muted" in panel.line.value and panel.picture.value == before
    panel.controls["padding"].value = True
    panel.press.click()
    assert asked[-1] == list(range(asked[-1][0], 77)) and len(asked[-1]) > 40


def test_walk():
    ways = {"straight": [CARD.image, OTHER.image], "spherical": [OTHER.image, CARD.image]}
    panel = moves(panels.walk_panel(ways, [0.0, 1.0]), share=0.0)
    assert panel.line.value == "straight and spherical: 0% of the way to the second prompt"
    assert panels.walk_panel({"one": [CARD.image] * 3}, [0.0, 0.5, 1.0]).state == {"share": 0.5}  # half-way at first


def test_short_names():
    assert panels.short_name("up_blocks.1.attentions.0.transformer_blocks.0.attn2") == "up 1.0"
    assert panels.short_name("mid_block.attentions.0.transformer_blocks.0.attn2") == "mid 0"
