"""helpers.attention.reweight: weights and swaps do what they say, and the U-Net is put back."""

import numpy as np
import pytest
import torch

from helpers import record_attention
from helpers.attention import reweight_attention, word_map
from helpers.conditioning import encode_prompts, token_positions

PROMPT = "a red boat on lake"


@torch.no_grad()
def call(c, prompts=(PROMPT,), latents=None):
    """One call of the U-Net, without guidance."""
    if latents is None:
        latents = torch.randn(len(prompts), *c.latent_shape, generator=torch.Generator().manual_seed(5))
    return c.unet(latents, 500, encoder_hidden_states=encode_prompts(c, list(prompts))).sample


def read(c, *reweighting, prompts=(PROMPT,), picture=0, **options):
    """What the heads of the first layer read, (heads, h, w, T), with attention changed."""
    with (
        reweight_attention(c.unet, *reweighting, **options),
        record_attention(c.unet, heads=True, guidance=False) as record,
    ):
        call(c, prompts)
    return record.probabilities(record.layers[0].name, 0, picture)


def test_weight_one_and_no_weights_change_nothing(tiny):
    plain = call(tiny)
    for weights in (None, {}, {2: 1}, [{3: 1.0}]):
        with reweight_attention(tiny.unet, weights):
            assert torch.allclose(call(tiny), plain, atol=1e-5, rtol=0)
    assert torch.equal(call(tiny), plain)


@pytest.mark.parametrize("weight", [0, 0.5, 4])
def test_a_weight_multiplies_and_every_place_still_spends_one(tiny, weight):
    plain, changed = read(tiny), read(tiny, {3: weight})
    by_hand = plain.copy()
    by_hand[..., 3] *= weight
    by_hand /= by_hand.sum(-1, keepdims=True)
    assert np.abs(changed - by_hand).max() < 1e-5
    assert np.abs(changed.sum(-1) - 1).max() < 1e-5


def test_swapped_words_exchange_their_attention(tiny):
    plain = read(tiny)
    for swap in ((2, 5), [(2, 5)], [[2, 5]]):
        changed = read(tiny, None, swap)
        assert np.abs(changed[..., 2] - plain[..., 5]).max() < 1e-5
        assert np.abs(changed[..., 5] - plain[..., 2]).max() < 1e-5
        assert np.abs(changed[..., 3] - plain[..., 3]).max() < 1e-5


def test_every_picture_of_a_batch_has_its_own_weights(tiny_postcard):
    prompts = (PROMPT, "the blue house")
    plain = [read(tiny_postcard, prompts=prompts, picture=k) for k in (0, 1)]
    changed = [read(tiny_postcard, [{}, {2: 0}], prompts=prompts, picture=k) for k in (0, 1)]
    assert np.abs(changed[0] - plain[0]).max() < 1e-5 and changed[1][..., 2].max() == 0
    assert plain[1][..., 2].max() > 0
    both = [read(tiny_postcard, {2: 0}, prompts=prompts, picture=k) for k in (0, 1)]
    assert both[0][..., 2].max() == both[1][..., 2].max() == 0  # one set for all


def test_only_the_conditional_half_is_changed(tiny_postcard):
    latents = torch.randn(1, *tiny_postcard.latent_shape).expand(2, -1, -1, -1)
    plain = call(tiny_postcard, ["", PROMPT], latents)
    with reweight_attention(tiny_postcard.unet, {2: 0, 3: 0}):
        changed = call(tiny_postcard, ["", PROMPT], latents)
    assert torch.allclose(changed[0], plain[0], atol=1e-5)
    assert not torch.allclose(changed[1], plain[1], atol=1e-4)
    with reweight_attention(tiny_postcard.unet, {0: 0}, guidance=False):
        changed = call(tiny_postcard, ["", PROMPT], latents)
    assert not torch.allclose(changed[0], plain[0], atol=1e-4)


def test_recording_and_reweighting_in_either_order(tiny_postcard):
    records = []
    with record_attention(tiny_postcard.unet) as record, reweight_attention(tiny_postcard.unet, {3: 0}):
        call(tiny_postcard)
        records.append(record)
    with reweight_attention(tiny_postcard.unet, {3: 0}), record_attention(tiny_postcard.unet) as record:
        call(tiny_postcard)
        records.append(record)
    for record in records:
        assert record.probabilities(record.layers[0].name, 0)[..., 3].max() == 0


def test_processors_are_put_back(tiny_postcard):
    unet = tiny_postcard.unet
    before = unet.attn_processors
    with pytest.raises(KeyError, match="mine"), reweight_attention(unet, {1: 2}):
        assert unet.attn_processors != before
        raise KeyError("mine")
    assert unet.attn_processors == before
    with pytest.raises(RuntimeError, match="being reweighted already"), reweight_attention(unet, {1: 2}):
        with reweight_attention(unet, {2: 2}):
            pass
    assert unet.attn_processors == before and not unet._forward_pre_hooks


@pytest.mark.parametrize(
    "weights, swap, error, said",
    [
        ({"boat": 2}, (), TypeError, "a position in weights must be a whole number"),
        ({-1: 2}, (), ValueError, "a position in weights must lie between"),
        ({1: "much"}, (), TypeError, "weight of position 1 must be a number"),
        ({1: -1}, (), ValueError, "must be a number of 0 \\(mute\\) or more"),
        ({1: float("nan")}, (), ValueError, "must be a number of 0 \\(mute\\) or more"),
        ([3], (), TypeError, "weights must be {position: weight}"),
        (None, (1, 2, 3), ValueError, "swap takes pairs"),
        (None, [(1, 2, 3)], ValueError, "swap takes pairs"),
        ({77: 2}, (), ValueError, "between 0 and 76, not 77"),
        (None, (1, 77), ValueError, "a position in swap must lie between 0 and 76"),
        (dict.fromkeys(range(77), 0), (), ValueError, "All tokens are muted"),
        ([{}, {}], (), ValueError, "2 sets of weights for 1 pictures"),
    ],
)
def test_what_can_not_be(tiny_postcard, weights, swap, error, said):
    before = tiny_postcard.unet.attn_processors
    with pytest.raises(error, match=said), reweight_attention(tiny_postcard.unet, weights, swap):
        call(tiny_postcard)
    assert tiny_postcard.unet.attn_processors == before
    with pytest.raises(TypeError, match="c.unet, not Components"), reweight_attention(tiny_postcard):
        pass


def test_the_map_of_a_word(tiny_postcard):
    tokenizer = tiny_postcard.tokenizer
    with record_attention(tiny_postcard.unet) as record:
        call(tiny_postcard)
    boat, words = token_positions(tokenizer, PROMPT, "boat"), token_positions(tokenizer, PROMPT)
    assert np.array_equal(word_map(record, tokenizer, PROMPT, "boat"), record.heatmap(boat, against=words))
    assert np.array_equal(
        word_map(record, tokenizer, PROMPT, "boat", against=None, size=16), record.heatmap(boat, size=16)
    )
    with pytest.raises(ValueError, match="'tent' is not in the prompt"):
        word_map(record, tokenizer, PROMPT, "tent")
    with pytest.raises(ValueError, match="No recorded layer"):
        word_map(record, tokenizer, PROMPT, "boat", layers="up_blocks.7")
    with pytest.raises(ValueError, match="against must lie between"):
        record.heatmap(boat, against=[80])
