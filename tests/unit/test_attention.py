"""helpers.attention: recording changes nothing, maps are what one computes by hand, scores are right."""

import random

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

from helpers import denoise
from helpers.attention import (
    caught,
    centre_prior,
    each_layer,
    iou,
    look_at_cards,
    pointing_hit,
    record_attention,
    score_maps,
    six_ways,
    word_maps,
)
from helpers.conditioning import encode_prompts, token_positions
from helpers.postcards import Scene, Subject, sample_scene

PROMPT = "a red boat on lake"


def draw(c, prompt=PROMPT, **settings):
    """The latents at the end of a few steps."""
    return list(denoise(c, prompt, **{"steps": 2, "seed": 3, **settings}))[-1].latents


@torch.no_grad()
def call(c, prompts, latents=None, **options):
    """One call of the U-Net, without guidance."""
    if latents is None:
        latents = torch.randn(len(prompts), *c.latent_shape, generator=torch.Generator().manual_seed(5))
    return c.unet(latents, 500, encoder_hidden_states=encode_prompts(c, prompts), **options).sample


def everything(attention, picture=0):
    """All probabilities of one picture, flat."""
    return np.concatenate(
        [
            attention.probabilities(layer.name, step, picture).ravel()
            for layer in attention.layers
            for step in range(attention.steps)
        ]
    )


# Recording changes nothing


@pytest.mark.parametrize("settings", [{}, {"guidance": 1}, {"prompt": [PROMPT, "the blue house"]}])
def test_the_picture_is_the_same(tiny, settings):
    plain = draw(tiny, **settings)
    with record_attention(tiny.unet) as attention:
        recorded = draw(tiny, **settings)
    assert attention.steps >= 2
    assert torch.allclose(plain, recorded, atol=1e-5, rtol=0)
    assert torch.equal(plain, draw(tiny, **settings))


def test_the_picture_of_a_pipeline_is_the_same(tiny_postcard):
    def draw():
        return tiny_postcard.pipeline()(
            PROMPT,
            num_inference_steps=2,
            guidance_scale=3,
            output_type="latent",
            generator=torch.Generator().manual_seed(1),
        ).images

    plain = draw()
    with record_attention(tiny_postcard.unet) as attention:
        recorded = draw()
    assert torch.allclose(plain, recorded, atol=1e-5, rtol=0)
    assert (attention.steps, attention.pictures) == (2, 1)


def test_masked_words(tiny_postcard):
    mask = torch.ones(1, 77)
    mask[:, 40:] = 0
    plain = call(tiny_postcard, [PROMPT], encoder_attention_mask=mask)
    with record_attention(tiny_postcard.unet) as attention:
        recorded = call(tiny_postcard, [PROMPT], encoder_attention_mask=mask)
    assert torch.allclose(plain, recorded, atol=1e-5, rtol=0)
    maps = attention.probabilities(attention.layers[0].name, 0)
    assert maps[..., 40:].max() < 1e-6 and np.allclose(maps.sum(-1), 1, atol=1e-5)


def test_processors_are_put_back(tiny_postcard):
    unet = tiny_postcard.unet
    mine, own = AttnProcessor(), unet.attn_processors
    unet.set_attn_processor({name: mine if "mid_block" in name else one for name, one in own.items()})
    before = unet.attn_processors
    try:
        with record_attention(unet):
            assert unet.attn_processors != before
        assert unet.attn_processors == before
        with pytest.raises(KeyError, match="mine"), record_attention(unet):
            call(tiny_postcard, [PROMPT])
            raise KeyError("mine")
        assert unet.attn_processors == before
        with pytest.raises(RuntimeError, match="recorded already"), record_attention(unet):
            with record_attention(unet):
                pass
        assert unet.attn_processors == before
    finally:
        unet.set_attn_processor(dict(own))


# Nothing but the watched is changed


def test_a_library_processor_of_another_kind_is_watched_and_one_of_the_readers_own_is_not_left_out(tiny_postcard):
    class Own(AttnProcessor2_0):
        pass

    unet = tiny_postcard.unet
    library = unet.attn_processors
    try:
        unet.set_attn_processor(AttnProcessor())
        with record_attention(unet) as attention:
            call(tiny_postcard, [PROMPT])
        assert attention.steps == 1 and {type(one) for one in unet.attn_processors.values()} == {AttnProcessor}
        unet.set_attn_processor(Own())
        before = unet.attn_processors
        with pytest.raises(ValueError, match=r"works in a way of its own \(Own\).*set_default_attn_processor"):
            with record_attention(unet):
                pass
        assert unet.attn_processors == before
    finally:
        unet.set_attn_processor(dict(library))


@torch.inference_mode()
def test_the_hook_of_a_reader_sees_every_step(tiny_postcard):
    """Keys and values of the words are computed anew at every call, as a reader who looks inside expects."""
    seen, layer = [], dict(tiny_postcard.unet.named_modules())["mid_block.attentions.0.transformer_blocks.0.attn2.to_k"]
    hook = layer.register_forward_hook(lambda *given: seen.append(1))
    try:
        draw(tiny_postcard, steps=5)
    finally:
        hook.remove()
    assert len(seen) == 5


# Maps are what one computes by hand


@pytest.mark.parametrize("heads", [False, True])
def test_maps_are_the_softmax_by_hand(tiny, heads):
    with record_attention(tiny.unet, heads=heads) as attention:
        call(tiny, [PROMPT])  # names and sizes of the layers
    for layer in attention.layers:
        module, seen = tiny.unet.get_submodule(layer.name), {}
        hook = module.register_forward_pre_hook(
            lambda module, args, kwargs: seen.update(x=args[0], text=kwargs["encoder_hidden_states"]), with_kwargs=True
        )
        with record_attention(tiny.unet, heads=heads) as attention:
            call(tiny, [PROMPT])
        hook.remove()

        n, d = seen["x"].shape[1], module.to_q.out_features // module.heads
        q = module.to_q(seen["x"])[0].reshape(n, module.heads, d)
        k = module.to_k(seen["text"])[0].reshape(77, module.heads, d)
        by_hand = torch.stack([(q[:, h] @ k[:, h].T / d**0.5).softmax(-1) for h in range(module.heads)])
        by_hand = by_hand.reshape(-1, layer.height, layer.width, 77).numpy()  # (heads, h, w, T)
        maps = attention.probabilities(layer.name, 0)
        assert np.abs(maps - (by_hand if heads else by_hand.mean(0))).max() < 1e-5
        assert np.abs(maps.sum(-1) - 1).max() < 1e-5
        assert maps.std() > 1e-5


def test_the_layers(tiny):
    with record_attention(tiny.unet) as attention:
        call(tiny, [PROMPT])
    names = [one.name for one in attention.layers]
    assert sorted(names) == sorted(name for name, _ in tiny.unet.named_modules() if name.endswith(".attn2"))
    side = tiny.latent_shape[-1]
    assert attention.layers[0][1:] == attention.layers[-1][1:] == (side, side)
    assert names[0].startswith("down_blocks.0") and names[-1].startswith("up_blocks")


def test_a_canvas_that_is_not_square(tiny):
    size = tiny.latent_shape[-1]
    with record_attention(tiny.unet) as attention:
        call(tiny, [PROMPT], torch.randn(1, 4, size, size + 10))
    assert attention.layers[0][1:] == (size, size + 10)
    grids = {layer[1:] for layer in attention.layers}
    assert (size // 2, size // 2 + 5) in grids and len(grids) >= 2
    assert attention.heatmap(2, size=(30, 50)).shape == (30, 50)


def test_heatmap_pools_as_it_says(tiny_postcard):
    c = tiny_postcard
    with record_attention(c.unet, heads=True) as attention:
        draw(c, steps=3)
    layer = attention.layers[-1]
    maps = np.stack([attention.probabilities(layer.name, step) for step in range(3)])  # (S, heads, h, w, T)

    def scaled(x):
        return (x - x.min()) / (x.max() - x.min())

    side = layer.height
    close = {"atol": 1e-4, "rtol": 0}
    one = attention.heatmap(2, layer.name, size=side)
    assert np.allclose(one, scaled(maps[..., 2].mean((0, 1))), **close)
    assert np.allclose(
        attention.heatmap([2, 5], layer.name, size=side), scaled(maps[..., [2, 5]].sum(-1).mean((0, 1))), **close
    )
    assert np.allclose(
        attention.heatmap(2, layer.name, [0, 2], size=side), scaled(maps[[0, 2], ..., 2].mean((0, 1))), **close
    )
    assert np.allclose(attention.heatmap(2, layer.name, 1, size=side, head=1), scaled(maps[1, 1, ..., 2]), **close)

    heat = attention.heatmap(2)
    assert heat.shape == (128, 128) and (heat.min(), heat.max()) == (0, 1)
    assert np.array_equal(heat, attention.heatmap(2, layers=["down_blocks", "mid_block", "up_blocks"]))
    assert np.array_equal(
        attention.heatmap(2, "up_blocks.1"),
        attention.heatmap(2, [one.name for one in attention.layers if one.name.startswith("up_blocks.1.")]),
    )
    assert not np.array_equal(heat, attention.heatmap(2, "up_blocks.1"))


def test_a_map_against_the_other_words(tiny_postcard):
    with record_attention(tiny_postcard.unet) as attention:
        call(tiny_postcard, [PROMPT])
    layer = attention.layers[-1]
    maps = attention.probabilities(layer.name, 0)  # (h, w, T)
    by_hand = maps[..., [2, 3]].sum(-1) - 2 * maps[..., 1:6].mean(-1)
    by_hand = (by_hand - by_hand.min()) / (by_hand.max() - by_hand.min())
    heat = attention.heatmap([2, 3], layer.name, size=layer.height, against=range(1, 6))
    assert np.allclose(heat, by_hand, atol=1e-4) and heat.max() == 1


def test_default_layers_are_the_finest_two_resolutions(tiny):
    with record_attention(tiny.unet) as attention:
        call(tiny, [PROMPT])
    sizes = sorted({layer.height for layer in attention.layers})[-2:]
    finest = [layer.name for layer in attention.layers if layer.height in sizes]
    assert np.array_equal(attention.heatmap(2), attention.heatmap(2, layers=finest))


# Pictures, steps and guidance


def test_only_the_conditional_half_is_kept(tiny_postcard):
    with record_attention(tiny_postcard.unet) as guided:
        draw(tiny_postcard, guidance=3, steps=3)
    with record_attention(tiny_postcard.unet) as plain:
        draw(tiny_postcard, guidance=1, steps=3)
    assert guided.pictures == plain.pictures == 1 and guided.steps == plain.steps == 3
    for layer in plain.layers:  # the first step starts from the same noise
        assert np.abs(guided.probabilities(layer.name, 0) - plain.probabilities(layer.name, 0)).max() < 1e-5


@pytest.mark.parametrize("guidance", [1, 3])
@pytest.mark.parametrize("seed", [4, [4, 4]])
def test_several_prompts(tiny_postcard, guidance, seed):
    prompts = [PROMPT, "the blue house with tent"]
    with record_attention(tiny_postcard.unet) as both:
        draw(tiny_postcard, prompts, guidance=guidance, seed=seed, steps=3)
    assert (both.pictures, both.steps) == (2, 3)
    for picture in range(2):
        with record_attention(tiny_postcard.unet) as alone:
            own_seed = 4 + picture if seed == 4 else 4
            draw(tiny_postcard, prompts[picture], guidance=guidance, seed=own_seed, steps=3)
        assert np.allclose(everything(both, picture), everything(alone), atol=1e-4)
        assert np.allclose(both.heatmap(3, picture=picture), alone.heatmap(3), atol=0.02)
    assert not np.allclose(everything(both, 0), everything(both, 1), atol=0.01)


def test_prompts_on_the_same_latents_in_one_call(tiny_postcard):
    latents = torch.randn(1, *tiny_postcard.latent_shape).expand(2, -1, -1, -1)
    with record_attention(tiny_postcard.unet, guidance=False) as attention:
        call(tiny_postcard, [PROMPT, "the blue house"], latents)
    assert attention.pictures == 2
    with record_attention(tiny_postcard.unet) as attention:
        call(tiny_postcard, [PROMPT, "the blue house"], latents)
    assert attention.pictures == 1
    with record_attention(tiny_postcard.unet) as alone:
        call(tiny_postcard, ["the blue house"], latents[:1])
    assert np.allclose(everything(attention), everything(alone), atol=1e-5)


def test_a_call_that_broke_off_is_no_step(tiny_postcard):
    def stop(*_):
        raise KeyboardInterrupt

    unet = tiny_postcard.unet
    with record_attention(unet) as attention:
        call(tiny_postcard, [PROMPT])
        hook = unet.mid_block.register_forward_hook(stop)
        with pytest.raises(KeyboardInterrupt):
            call(tiny_postcard, ["the blue house"])
        hook.remove()
        assert attention.steps == 1
        call(tiny_postcard, [PROMPT])
    assert attention.steps == 2
    name = attention.layers[0].name
    assert np.array_equal(attention.probabilities(name, 0), attention.probabilities(name, 1))


# Bad input


def test_nothing_to_record(tiny_postcard):
    with pytest.raises(TypeError, match="c.unet, not Components"), record_attention(tiny_postcard):
        pass
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        down_block_types=("DownBlock2D",) * 2,
        mid_block_type="UNetMidBlock2D",
        up_block_types=("UpBlock2D",) * 2,
        cross_attention_dim=8,
    )
    with pytest.raises(ValueError, match="has no cross-attention"), record_attention(unet):
        pass


def test_nothing_recorded_yet(tiny_postcard):
    with record_attention(tiny_postcard.unet) as attention:
        pass
    assert attention.steps == 0
    for read in (
        lambda: attention.heatmap(1),
        lambda: attention.layers,
        lambda: attention.pictures,
        lambda: attention.probabilities("mid_block", 0),
    ):
        with pytest.raises(RuntimeError, match="Nothing is recorded yet"):
            read()


@pytest.mark.parametrize(
    "arguments, error, said",
    [
        ({"token_index": 77}, ValueError, "token_index must lie between 0 and 76"),
        ({"token_index": "boat"}, TypeError, "token_index must be a whole number"),
        ({"token_index": []}, ValueError, "token_index is an empty list"),
        ({"layers": "up_blocks.9"}, ValueError, "No recorded layer is called 'up_blocks.9'"),
        ({"layers": ["mid_block", "up"]}, ValueError, "No recorded layer is called 'up'"),
        ({"layers": []}, ValueError, "layers is an empty list"),
        ({"steps": 2}, ValueError, "step must lie between 0 and 1, not 2"),
        ({"steps": [0, -1]}, ValueError, "step must lie between 0 and 1, not -1"),
        ({"steps": []}, ValueError, "step is an empty list"),
        ({"picture": 1}, ValueError, "picture must lie between 0 and 0"),
        ({"head": 0}, ValueError, "heads=True"),
        ({"size": 0}, ValueError, "size must lie between"),
        ({"size": 1.5}, TypeError, "size must be a whole number"),
    ],
)
def test_what_was_not_recorded(tiny_postcard, arguments, error, said):
    with record_attention(tiny_postcard.unet) as attention:
        call(tiny_postcard, [PROMPT])
        call(tiny_postcard, [PROMPT])
    with pytest.raises(error, match=said):
        attention.heatmap(**{"token_index": 1, **arguments})


def test_part_of_a_name_is_not_a_layer(tiny_postcard):
    with record_attention(tiny_postcard.unet, heads=True) as attention:
        call(tiny_postcard, [PROMPT])
    with pytest.raises(ValueError, match="only the beginning of a name"):
        attention.probabilities("mid_block", 0)
    with pytest.raises(ValueError, match="head must lie between 0 and 1"):
        attention.heatmap(1, head=2)


def test_one_shape_a_block(tiny_postcard):
    with pytest.raises(ValueError, match="open a record_attention block for each"):
        with record_attention(tiny_postcard.unet):
            call(tiny_postcard, [PROMPT])
            call(tiny_postcard, [PROMPT, PROMPT])
    for first, second in (({"guidance": 3}, {"guidance": 1}), ({"guidance": 1}, {"guidance": 3})):
        one, two = (PROMPT if each["guidance"] == 3 else [PROMPT, "the blue house"] for each in (first, second))
        with pytest.raises(ValueError, match="with guidance and without it: open a record_attention block for each"):
            with record_attention(tiny_postcard.unet):
                draw(tiny_postcard, one, **first)
                draw(tiny_postcard, two, **second)
    with pytest.raises(ValueError, match="no halves"):
        with record_attention(tiny_postcard.unet, guidance=True):
            call(tiny_postcard, [PROMPT])
    call(tiny_postcard, [PROMPT])  # still in order


# Scores


def test_pointing_hit():
    mask = np.zeros((128, 128), bool)
    mask[0:16, 96:128] = True
    heat = np.zeros((16, 16))
    heat[1, 13] = 1
    assert pointing_hit(heat, mask) is True and pointing_hit(heat.T, mask) is False
    heat[9, 2] = 2  # only the highest counts
    assert pointing_hit(heat, mask) is False
    rng = np.random.default_rng(0)
    hits = np.mean([pointing_hit(rng.random((16, 16)), mask) for _ in range(1500)])
    assert abs(hits - mask.mean()) < 4 * (mask.mean() * (1 - mask.mean()) / 1500) ** 0.5
    assert pointing_hit(mask.astype(float), mask) and not pointing_hit(1.0 - mask, mask)


def test_iou():
    mask = np.zeros((8, 8), bool)
    mask[:4] = True
    heat = np.where(mask, 0.6, 0.0)
    assert iou(heat, mask) == 1 and iou(heat, mask, threshold=0.7) == 0
    assert iou(heat.T, mask) == pytest.approx(16 / 48)
    assert iou(np.zeros((8, 8)), np.zeros((8, 8), bool)) == 0
    with pytest.raises(ValueError, match=r"heatmap\(..., size=len\(mask\)\)"):
        iou(heat[:4], mask)


def test_centre_prior():
    heat = centre_prior(16)
    assert heat.shape == (16, 16) and (heat.min(), heat.max()) == (0, 1)
    assert np.allclose(heat, heat.T) and np.allclose(heat, heat[::-1])
    assert np.unravel_index(heat.argmax(), heat.shape) == (7, 7)


SCENE = Scene(
    "night", "none", "lake", "none", "none", (Subject("boat", "red", "middle"), Subject("tree", "blue", "left"))
)


def test_score_maps_is_deterministic_and_counts_words(tiny_postcard):
    asked = {
        "timesteps": (200, 600),
        "seed": 1,
        "poolings": {"default": {}, "middle": {"layers": "mid_block", "steps": 1}},
    }
    scores = score_maps(tiny_postcard, [SCENE, SCENE], **asked)
    assert set(scores) == {"default", "middle", "shuffled words", "centre prior"}
    assert {score.n for score in scores.values()} == {8}  # sky, ground, boat and tree, twice
    assert all(0 <= score.pointing <= 1 and 0 <= score.iou <= 1 for score in scores.values())
    assert scores == score_maps(tiny_postcard, [SCENE, SCENE], **asked)
    assert scores["centre prior"].pointing == 0.25  # the boat lies in the middle
    for words, count in {"subjects": 2, "colours": 2, "sky": 1, "ground": 1}.items():
        assert score_maps(tiny_postcard, [SCENE], timesteps=(200,), words=words)["default"].n == count


def test_several_groups_of_words_in_one_go(tiny_postcard):
    together = score_maps(tiny_postcard, [SCENE], timesteps=(200,), words=("nouns", "colours"))
    for words, scores in together.items():
        alone = score_maps(tiny_postcard, [SCENE], timesteps=(200,), words=words)
        assert scores["default"] == alone["default"] and scores["centre prior"] == alone["centre prior"]


def test_what_was_looked_at_once_is_marked_again(tiny_postcard, monkeypatch):
    scenes = [sample_scene(random.Random(k)) for k in range(3)]
    looks = look_at_cards(tiny_postcard, scenes, (200, 600), batch=2)
    with monkeypatch.context() as patched:
        patched.setattr(type(tiny_postcard.unet), "forward", None)  # a call would fail now
        assert score_maps(tiny_postcard, looks, (200, 600)) == score_maps(tiny_postcard, looks, (200, 600))
        again = word_maps(tiny_postcard, looks, (200, 600))
    for first, second in zip(word_maps(tiny_postcard, scenes, (200, 600), batch=2), again):
        assert torch.equal(first, second)
    with pytest.raises(ValueError, match="looked at with timesteps=\\[200, 600\\]"):
        score_maps(tiny_postcard, looks, (200,))


def test_chance_is_what_the_same_maps_score_on_the_masks_of_other_cards(tiny_postcard):
    scenes = [sample_scene(random.Random(k)) for k in range(4)]
    maps = word_maps(tiny_postcard, scenes, (200,), ("ground", "subjects"))
    scores = score_maps(tiny_postcard, scenes, (200,), words=("ground", "subjects"))
    for words, (heats, masks) in maps.items():
        n, score = len(heats), scores[words]["default"]
        table = masks.flatten(1)[:, heats.flatten(1).argmax(1)].double()  # mask j under the peak of map i
        assert heats.shape == masks.shape == (n, 128, 128) and masks.dtype == torch.bool
        assert score[:4] == (
            table.diag().mean(),
            pytest.approx(np.mean([iou(*both) for both in zip(heats.numpy(), masks.numpy())])),
            n,
            len(scenes),
        )
        assert score.chance == pytest.approx((table.sum() - table.trace()).item() / (n * (n - 1)))
        assert score.best[1] >= score.iou > 0 and score.iou_error > 0 and score.best[2] > 0
    alone = score_maps(tiny_postcard, [SCENE], (200,), words="ground")["default"]
    assert alone.chance is None and alone.iou_error is None and alone.cards == 1


def test_subjects_and_scenery_are_all_nouns(tiny_postcard):
    scenes = [sample_scene(random.Random(k)) for k in range(3)]
    scores = score_maps(tiny_postcard, scenes, (200,), words=("nouns", "subjects", "scenery", "sky"))
    counts = {words: marks["default"].n for words, marks in scores.items()}
    assert counts["nouns"] == counts["subjects"] + counts["scenery"] and counts["scenery"] > counts["sky"] == 3


def test_score_maps_finds_a_perfect_map(tiny_postcard, monkeypatch):
    """Maps that are the masks themselves score 1; other words' maps do not."""
    from helpers.attention import AttentionRecord
    from helpers.postcards import full_caption, phrases, render

    masks = render(SCENE, tiny_postcard.image_size).masks
    word_masks = {}
    for thing, said in phrases(SCENE).items():
        for word in said:
            for place in token_positions(tiny_postcard.tokenizer, full_caption(SCENE), word):
                word_masks[place] = masks[thing]
    monkeypatch.setattr(
        AttentionRecord, "heatmap", lambda self, token_index, **_: word_masks[token_index[0]].astype(np.float32)
    )
    for words in ("nouns", "subjects", "colours", "sky"):
        scores = score_maps(tiny_postcard, [SCENE], timesteps=(200,), words=words)
        assert scores["default"][:2] == (1, 1)
        assert scores["shuffled words"].pointing == 0


def test_any_scene_on_any_model(tiny):
    rng = random.Random(0)
    scores = score_maps(tiny, [sample_scene(rng) for _ in range(3)], timesteps=(500,))
    assert scores["default"].n >= 3


def test_nothing_to_score(tiny_postcard):
    with pytest.raises(ValueError, match="scenes must be a list of at least 1"):
        score_maps(tiny_postcard, [])
    with pytest.raises(ValueError, match="words='verbs' is unknown"):
        score_maps(tiny_postcard, [SCENE], words="verbs")


# What goes into a layer, and the poolings of the lesson


def test_what_is_caught_is_what_the_layer_computes_with(tiny_postcard):
    with record_attention(tiny_postcard.unet) as attention:
        call(tiny_postcard, [PROMPT])
    cross = tiny_postcard.unet.get_submodule(attention.layers[-1].name)
    itself = tiny_postcard.unet.get_submodule(attention.layers[-1].name.replace("attn2", "attn1"))
    with pytest.raises(RuntimeError, match="accident"), torch.no_grad(), caught(cross, itself) as seen:
        call(tiny_postcard, [PROMPT])
        raise RuntimeError("an accident inside the block")
    x, text, out = seen[cross]
    assert torch.equal(text, encode_prompts(tiny_postcard, [PROMPT])) and torch.equal(cross(x, text), out)
    assert seen[itself][0] is seen[itself][1] and torch.equal(itself(seen[itself][0]), seen[itself][2])
    before = dict(seen)
    call(tiny_postcard, ["the blue house"])
    assert all(seen[layer] is before[layer] for layer in before)  # the hooks are gone, after an error too


def test_the_text_encoder_is_caught_likewise(tiny_postcard):
    encoder = tiny_postcard.text_encoder
    first = next(module for name, module in encoder.named_modules() if name.endswith("layers.0.self_attn"))
    with caught(first) as seen:
        encode_prompts(tiny_postcard, [PROMPT])
    x, text, out = seen[first]
    assert x is text and x.shape == out.shape == (1, 77, encoder.config.hidden_size)


def test_poolings_name_layers_that_were_recorded(tiny_postcard):
    with record_attention(tiny_postcard.unet) as attention:
        for _ in range(2):
            call(tiny_postcard, [PROMPT])
    ways, each = six_ways(attention.layers), each_layer(attention.layers, (700, 100))
    assert len(ways) == 6 and len(each) == 2 * len(attention.layers)
    maps = [attention.heatmap(3, size=16, **{"against": None, **pooling}) for pooling in (ways | each).values()]
    assert all(heat.shape == (16, 16) for heat in maps)
    last = attention.layers[-1].name
    assert each[f"{last} at t = 100"] == {"layers": last, "steps": 1} and ways["last layer"] == {"layers": last}
    assert {attention.layers[-1].height} != {
        one.height for one in attention.layers if one.name in ways["coarsest layers"]["layers"]
    }


@pytest.mark.parametrize("heads", [False, True])
def test_what_is_spent_is_the_mean_of_the_probabilities(tiny_postcard, heads):
    with record_attention(tiny_postcard.unet, heads=heads) as attention:
        for prompt in (PROMPT, "the blue house"):
            call(tiny_postcard, [prompt])
    names = [one.name for one in attention.default_layers]
    by_hand = np.mean(
        [attention.probabilities(name, step).reshape(-1, 77).mean(0) for name in names for step in (0, 1)], 0
    )
    assert np.allclose(attention.spent(), by_hand, atol=1e-6) and attention.spent().sum() == pytest.approx(1, abs=1e-5)
    alone = attention.probabilities(names[0], 1).reshape(-1, 77).mean(0)
    assert np.allclose(attention.spent(names[0], 1), alone, atol=1e-6)
    side = attention.default_layers[0].height
    mask = np.zeros((2 * side, 2 * side), bool)
    mask[2:4, :2] = mask[4, 2] = True  # one place whole, another by a quarter
    maps = attention.probabilities(names[0], 1).reshape(-1, side, side, 77).mean(0)
    assert np.allclose(attention.spent(names[0], 1, where=mask), 0.8 * maps[1, 0] + 0.2 * maps[2, 1], atol=1e-6)
    assert np.allclose(attention.spent(where=np.ones_like(mask)), attention.spent(), atol=1e-6)
    with pytest.raises(ValueError, match="covers something"):
        attention.spent(where=np.zeros_like(mask))
    with pytest.raises(ValueError, match="step"):
        attention.spent(steps=2)
