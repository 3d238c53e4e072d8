"""A model that draws 512 x 512, as Stable Diffusion 1.5 does, does not fill the memory, and says what it will take."""

import random

import numpy as np
import pytest
import torch
from PIL import Image
from test_attention import PROMPT, call, draw

from benchmarks import sd15
from helpers import components, generate, load_components
from helpers import latents as codec
from helpers.attention import record, record_attention
from helpers.attention.record import AttentionRecord, record_bytes
from helpers.conditioning import encode_prompts
from helpers.figures import attention as figures
from helpers.panels import conditioning as panels
from helpers.postcards import render, sample_scene


@pytest.fixture
def rows(large):
    """How many pictures each call of the large model's VAE was given: (encoder's, decoder's), lists."""
    seen = [], []
    hooks = [
        part.register_forward_pre_hook(lambda part, given, kept=kept: kept.append(len(given[0])))
        for part, kept in zip((large.vae.encoder, large.vae.decoder), seen)
    ]
    yield seen
    for hook in hooks:
        hook.remove()


def test_how_many_at_once(large, tiny):
    assert (large.image_size, large.at_once) == (512, 4)
    assert load_components("postcard", device="cpu").at_once == 64 and tiny.at_once > 20


def test_without_a_card_a_large_model_says_what_it_takes(tiny, monkeypatch, capsys):
    assert tiny and capsys.readouterr().out == ""
    monkeypatch.setattr(components, "LARGE", 0)
    load_components(tiny.path, device="cpu")
    assert "takes minutes, a lesson hours" in capsys.readouterr().out


def test_pictures_are_decoded_and_encoded_one_after_the_other(large, rows):
    latents = torch.randn(3, *large.latent_shape, generator=torch.Generator().manual_seed(0))
    pictures = codec.decode_latents(large, latents)
    codec.encode_pixels(large, codec.to_pixels(pictures))
    assert rows == ([1, 1, 1], [1, 1, 1])
    alone = codec.decode_latents(large, latents[1:2])[0]
    assert np.abs(np.asarray(alone, int) - np.asarray(pictures[1], int)).max() <= 1


def test_many_prompts_are_decoded_one_after_the_other(large, rows):
    assert len(generate(large, ["a red boat"] * 3, steps=1, guidance=1)) == 3
    assert max(rows[1]) == 1


def test_small_pictures_are_decoded_one_after_the_other_too(tiny_postcard):
    seen = []
    hook = tiny_postcard.vae.decoder.register_forward_pre_hook(lambda part, given: seen.append(len(given[0])))
    pictures = codec.decode_latents(tiny_postcard, torch.zeros(3, *tiny_postcard.latent_shape))
    hook.remove()
    assert seen == [1, 1, 1] and len(pictures) == 3


def test_a_preview_costs_what_one_picture_does(large, monkeypatch):
    pixels, encode = [], codec.encode_image
    monkeypatch.setattr(codec, "_previews", {})
    monkeypatch.setattr(
        codec, "encode_image", lambda c, image: pixels.append(image.width * image.height) or encode(c, image)
    )
    codec.preview_of(large)
    assert sum(pixels) <= 512 * 512


@pytest.fixture(scope="module")
def postcards():
    """The bundled model, latents of fresh postcards, and what a preview of them should show."""
    c, rng = load_components("postcard", device="cpu"), random.Random(7)
    cards = [render(sample_scene(rng), size=c.image_size).image for _ in range(30)]
    return c, torch.cat([codec.encode_image(c, card) for card in cards]), codec.shrink(codec.to_pixels(cards), 8)


def test_a_preview_of_the_bundled_model_explains_fresh_postcards(postcards):
    c, latents, shown = postcards
    assert codec.preview_of(c).explains(latents, shown) > 0.9


@pytest.mark.parametrize("side", [64, 32])
def test_a_preview_fitted_on_smaller_pictures_explains_postcards_of_full_size(side, postcards, monkeypatch):
    """What preview_of does for 512 x 512, tried where there are true weights: half and a quarter of the side."""
    c, latents, shown = postcards
    monkeypatch.setattr(codec, "_previews", {})
    monkeypatch.setattr(codec, "PREVIEW_SIZE", side)
    assert codec.preview_of(c).explains(latents, shown) > 0.88


# Recording


def kept(attention):
    """Bytes of all maps of a record, and of the last call's."""
    calls = [sum(maps.numel() * maps.itemsize for maps in one.values()) for one in attention._calls]
    return sum(calls), calls[-1]


@pytest.mark.parametrize("heads", [False, True])
def test_the_plan_tells_what_a_record_takes(tiny, heads):
    with record_attention(tiny.unet, heads=heads, guidance=False) as attention:
        call(tiny, [PROMPT, "the blue house"])
    assert kept(attention)[1] == 2 * record_bytes(tiny.unet, *tiny.latent_shape[1:], heads=heads)


def test_of_stable_diffusion_1_5_a_step_with_all_heads_takes_33_megabytes():
    unet = sd15.networks(sd15.SD15, "meta", load_components("postcard", device="cpu").tokenizer)["unet"]
    assert record_bytes(unet, 64, 64, heads=True) == 66_390_016  # float32, as measured on random weights
    assert record_bytes(unet.half(), 64, 64, heads=True) == 33_195_008 and record_bytes(unet, 64, 64) == 4_149_376


def test_a_large_record_says_what_it_will_take_before_it_takes_it(tiny_postcard, monkeypatch, capsys):
    heads = record_bytes(tiny_postcard.unet, *tiny_postcard.latent_shape[1:], heads=True)
    monkeypatch.setattr(record, "LARGE", heads - 1)
    monkeypatch.setattr(AttentionRecord, "look", lambda *given: 1 / 0)  # nothing is ever kept
    with pytest.raises(ZeroDivisionError), record_attention(tiny_postcard.unet, heads=True):
        draw(tiny_postcard)
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and f"will take {heads / 1e6:.0f} MB a step" in said and "without heads=True" in said


def test_a_small_record_says_nothing(tiny_postcard, capsys):
    with record_attention(tiny_postcard.unet, heads=True):
        draw(tiny_postcard)
    assert capsys.readouterr().out == ""


def test_the_first_step_keeps_no_more_than_the_others(tiny_postcard):
    with record_attention(tiny_postcard.unet) as attention:
        draw(tiny_postcard, steps=3)
    whole, last = kept(attention)
    assert whole == 3 * last and attention.pictures == 1


def test_a_sum_over_steps_is_made_once_and_anew_after_another_step(tiny_postcard):
    latents = torch.randn(1, *tiny_postcard.latent_shape, generator=torch.Generator().manual_seed(5))
    with record_attention(tiny_postcard.unet, heads=True, guidance=False) as attention:
        for t in (900, 500):
            tiny_postcard.unet(latents, t, encoder_hidden_states=encode_prompts(tiny_postcard, [PROMPT]))
        first, again, alone = attention.heatmap(3), attention.heatmap(3), attention.heatmap(3, steps=1)
        tiny_postcard.unet(latents, 1, encoder_hidden_states=encode_prompts(tiny_postcard, ["a blue tent"]))
    assert np.array_equal(first, again) and not np.array_equal(first, alone)
    assert np.array_equal(attention.heatmap(3, steps=[0, 1]), first)
    assert not np.array_equal(attention.heatmap(3), first)


def test_figures_and_panels_of_a_large_record_read_the_maps_of_all_steps_once(large, monkeypatch):
    """At 4096 places with all heads a sum over the steps takes a second, so no move of a panel may make one."""
    attention = sd15.random_record(large.unet, (64, 64), steps=4, heads=True)
    card, made = Image.new("RGB", (512, 512), "grey"), []
    attention.heatmap(3, size=64)
    maps = attention._maps
    monkeypatch.setattr(attention, "_maps", lambda *given: made.append(given) or maps(*given))
    panel = panels.explorer_panel(card, attention, large, PROMPT)
    for word in panel.controls["word"].options[:3]:
        panel.controls["word"].value = word
    assert figures.word_sheet(card, {"boat": attention.heatmap(3, size=64)})
    assert len(made) <= 40  # one look a move, at how many words there are; sums would make hundreds
