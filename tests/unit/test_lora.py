"""LoRA: nothing at first, low rank, equal to PEFT, in and out without a trace; its files, good and bad."""

import copy
import errno
import json
import math
import pickle
import struct
from dataclasses import replace

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from helpers import generate, load_components, record_attention
from helpers.concepts import noise_loss
from helpers.conditioning import encode_prompts
from helpers.latents import encode_image
from helpers.lora import ATTENTION, EVERYWHERE, LoraLinear, add_lora, load_lora, save_lora, train_lora
from helpers.lora.files import FILE
from helpers.lora.layers import lora_layer, unet_without
from helpers.lora.train import FOCUS, KEEP, answer_of, joint_loss, place_weights

PROMPT = "a red boat on a lake"


@pytest.fixture(scope="module")
def loaded(model_folders):
    """{"postcard": Components, "sd15": Components} of which tests get copies."""
    return {shape: load_components(folder, device="cpu") for shape, folder in model_folders.items()}


def own(c):
    """The same model with networks of its own, so that a test may change them."""
    return replace(c, **{name: copy.deepcopy(getattr(c, name)) for name in ("text_encoder", "vae", "unet")})


@pytest.fixture(params=["postcard", "sd15"])
def c(request, loaded):
    return own(loaded[request.param])


@pytest.fixture
def small(loaded):
    return own(loaded["postcard"])


def shaken(lora, size=0.2, seed=1):
    """The LoRA with a B that is not zero, as after a training."""
    generator = torch.Generator().manual_seed(seed)
    for layer in lora.layers.values():
        layer.B.data = size * torch.randn(layer.B.shape, generator=generator)
    return lora


def weights_of(unet):
    return {name: weight.clone() for name, weight in unet.state_dict().items()}


def same(before, unet):
    after = unet.state_dict()
    return before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


def answer(c, seed=0):
    """What the U-Net says to some noise: (2, C, h, w)."""
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(2, *c.latent_shape, generator=generator)
    with torch.no_grad():
        return c.unet(latents, 500, encoder_hidden_states=encode_prompts(c, [PROMPT, ""])).sample


def pictures(c, count=2):
    generator = np.random.default_rng(0)
    low = generator.integers(0, 255, (count, 4, 4, 3), np.uint8)
    return [Image.fromarray(one).resize((c.image_size, c.image_size)) for one in low]


def difference(a, b):
    return np.abs(np.asarray(a, int) - np.asarray(b, int)).max()


# One layer


def test_one_layer_does_what_the_formula_says():
    torch.manual_seed(0)
    linear, x = torch.nn.Linear(5, 3), torch.randn(4, 5)
    layer = LoraLinear(linear, rank=2, alpha=6)
    assert layer.A.shape == (2, 5) and layer.B.shape == (3, 2) and layer.scale == 3
    assert torch.equal(layer(x), linear(x))
    layer.B.data.normal_()
    assert torch.allclose(layer(x), linear(x) + 3 * x @ layer.A.T @ layer.B.T, atol=1e-6)
    assert torch.allclose(layer.change(), 3 * layer.B @ layer.A) and torch.linalg.matrix_rank(layer.change()) == 2
    layer.strength = -0.5
    assert torch.allclose(layer(x), linear(x) - 1.5 * x @ layer.A.T @ layer.B.T, atol=1e-6)
    assert LoraLinear(linear, rank=2).scale == 1
    assert layer.weight is linear.weight and layer.bias is linear.bias


def test_a_layer_of_half_precision_stays_one():
    linear = torch.nn.Linear(4, 4).to(torch.bfloat16)
    layer = LoraLinear(linear, rank=1)
    layer.B.data.fill_(1)
    assert layer(torch.ones(2, 4, dtype=torch.bfloat16)).dtype == torch.bfloat16 and layer.A.dtype == torch.float32


@pytest.mark.parametrize(
    "settings", [dict(kernel_size=3, padding=1), dict(kernel_size=1), dict(kernel_size=3, stride=2, padding=1)]
)
def test_a_convolution_is_changed_as_a_matrix(settings):
    torch.manual_seed(0)
    conv, x = torch.nn.Conv2d(4, 6, **settings), torch.randn(2, 4, 8, 8)
    layer = lora_layer(conv, rank=2, alpha=4)
    assert torch.equal(layer(x), conv(x))
    layer.B.data.normal_()
    assert layer.change().shape == conv.weight.flatten(1).shape and torch.linalg.matrix_rank(layer.change()) == 2
    changed = torch.nn.functional.conv2d(
        x, conv.weight + layer.change().view_as(conv.weight), conv.bias, conv.stride, conv.padding
    )
    assert torch.allclose(layer(x), changed, atol=1e-5)
    twice = lora_layer(layer, rank=1)
    assert torch.equal(twice(x), layer(x)) and twice.linear is conv


@pytest.mark.parametrize("kind", ["linear", "convolution"])
def test_what_a_hook_makes_of_the_layer_below_is_what_is_added_to(kind):
    """A product with W + B A would be quicker and would not ask the layer, nor whoever watches or changes its answers."""
    torch.manual_seed(0)
    base, x = (
        (torch.nn.Linear(5, 3), torch.randn(7, 5))
        if kind == "linear"
        else (torch.nn.Conv2d(4, 6, 3, 2, 1), torch.randn(2, 4, 8, 8))
    )
    lower = lora_layer(base, rank=2, alpha=6)
    upper = lora_layer(lower, rank=1)
    lower.strength, upper.strength = 0.7, -2
    for layer in (lower, upper):
        layer.B.data.normal_()
    with torch.no_grad():
        plain, y = base(x), upper(x)
        base.register_forward_hook(lambda layer, given, answer: -answer)
        assert torch.allclose(upper(x), y - 2 * plain, rtol=1e-4, atol=1e-4) and not torch.allclose(
            upper(x), y, atol=1e-2
        )
        lower.merged = True  # the bare layer again, whose weights hold what the lower one adds
        base.weight.data += lower.strength * lower.change().view_as(base.weight)
        assert torch.allclose(upper(x), y - 2 * base(x).neg(), rtol=1e-4, atol=1e-4)


# In a U-Net


@pytest.mark.parametrize("targets", [ATTENTION, EVERYWHERE])
def test_at_first_nothing_changes_bit_for_bit(c, targets):
    before = answer(c)
    with add_lora(c.unet, rank=3, targets=targets) as lora:
        assert torch.equal(answer(c), before)
        shaken(lora)
        changed = answer(c)
        assert not torch.allclose(changed, before, atol=1e-3)
        lora.strength = 0
        assert torch.equal(answer(c), before)


def test_every_attention_is_changed_and_nothing_else(c):
    attentions = [name for name, module in c.unet.named_modules() if name.endswith((".attn1", ".attn2"))]
    with add_lora(c.unet) as lora:
        assert set(lora.layers) == {f"{name}.{end}" for name in attentions for end in ATTENTION}
        assert lora.rank == 4 and len(lora.parameters()) == 2 * len(lora.layers)
        for name, change in shaken(lora).changes().items():
            assert change.shape == lora.layers[name].weight.shape
            assert torch.linalg.matrix_rank(change) <= 4
    with add_lora(c.unet, targets="to_k") as lora:
        assert all(name.endswith("to_k") for name in lora.layers)
    with add_lora(c.unet, targets=EVERYWHERE) as lora:
        assert lora.changes().keys() == lora.weights().keys() and any(name.endswith("conv2") for name in lora.layers)
        assert all(lora.weights()[name].shape == change.shape for name, change in lora.changes().items())


def test_removed_it_leaves_no_trace(c):
    before, modules = weights_of(c.unet), [type(module) for module in c.unet.modules()]
    lora = shaken(add_lora(c.unet, targets=EVERYWHERE))
    assert not same(before, c.unet)
    lora.remove()
    lora.remove()
    assert same(before, c.unet) and [type(module) for module in c.unet.modules()] == modules
    with pytest.raises(KeyError), add_lora(c.unet):
        raise KeyError
    assert same(before, c.unet)


def test_the_same_seed_gives_the_same_a(c):
    with add_lora(c.unet, seed=5) as one:
        first = [part.clone() for part in one.parameters()]
    with add_lora(c.unet, seed=5) as again:
        assert all(torch.equal(a, b) for a, b in zip(first, again.parameters()))
    with add_lora(c.unet, seed=6) as other:
        assert not torch.equal(first[0], other.parameters()[0])


def test_strength_extrapolates_along_a_line(small):
    name = next(iter(add_lora(small.unet).layers))
    layer = shaken(add_lora(small.unet, targets=name)).layers[name]
    x = torch.randn(2, layer.A.shape[1])
    outputs = []
    for strength in (0, 1, 2):
        layer.strength = strength
        outputs.append(layer(x))
    assert torch.allclose(outputs[2] - outputs[1], outputs[1] - outputs[0], atol=1e-5)


@pytest.mark.parametrize("first_out", [0, 1])
def test_two_at_once_add_up_and_leave_in_any_order(c, first_out):
    before, plain = weights_of(c.unet), answer(c)
    loras = [shaken(add_lora(c.unet, rank=2)), shaken(add_lora(c.unet, rank=3, targets=("to_k", "to_v")), seed=2)]
    name = next(iter(loras[1].layers))
    x = torch.randn(3, loras[1].layers[name].A.shape[1])
    both = x @ (loras[0].changes()[name] + loras[1].changes()[name]).T
    linear = loras[1].layers[name].linear
    assert torch.allclose(c.unet.get_submodule(name)(x), linear(x) + both, atol=1e-4)
    loras[first_out].remove()
    loras[1 - first_out].strength = 0
    assert torch.equal(answer(c), plain)
    loras[1 - first_out].remove()
    assert same(before, c.unet)


def test_it_works_under_recorded_attention(c):
    with add_lora(c.unet) as lora:
        shaken(lora, 0.05)
        plain = generate(c, PROMPT, steps=2, seed=0)
        with record_attention(c.unet) as attention:
            recorded = generate(c, PROMPT, steps=2, seed=0)
        assert difference(plain, recorded) <= 1
        assert attention.heatmap(2, size=32).shape == (32, 32)
        with record_attention(c.unet):
            lora.remove()  # while someone looks on
            unchanged = generate(c, PROMPT, steps=2, seed=0)
    assert difference(unchanged, generate(c, PROMPT, steps=2, seed=0)) <= 1


# Merging


def test_a_model_that_is_saved_merged_is_read_anywhere_and_one_that_is_not_says_so(small, tmp_path):
    with add_lora(small.unet, targets=EVERYWHERE) as lower, add_lora(small.unet, rank=2) as lora:
        shaken(lower, 0.05), shaken(lora, 0.05)
        small.pipeline().save_pretrained(tmp_path / "open")
        lower.merge(), lora.merge()
        small.pipeline().save_pretrained(tmp_path / "merged")
        drawn = answer(small)
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(tmp_path / "merged", safety_checker=None)
    assert weights_of(pipe.unet).keys() == weights_of(small.unet).keys()
    for c in (replace(small, unet=pipe.unet), load_components(tmp_path / "merged", device="cpu")):
        assert torch.allclose(answer(c), drawn, atol=1e-4)  # to the last bits: the weights lie elsewhere in memory
    assert not torch.allclose(answer(small), drawn, atol=0.1)
    with pytest.raises(ValueError, match="saved while a LoRA was in the network: save it again, with the LoRA merged"):
        load_components(tmp_path / "open", device="cpu")


def test_merged_it_is_the_same_and_unmerging_is_exact(c):
    before = weights_of(c.unet)
    lora = shaken(add_lora(c.unet, targets=EVERYWHERE), 0.05)
    lora.strength = 0.7
    beside = answer(c)
    lora.merge()
    merged = answer(c)
    assert torch.allclose(merged, beside, atol=1e-3 * beside.abs().max()) and lora.merged
    lora.unmerge()
    assert torch.equal(answer(c), beside)
    lora.merge()
    lora.remove()  # takes the merge back too
    assert same(before, c.unet)


def test_merging_twice_and_out_of_turn_is_refused(small):
    before = weights_of(small.unet)
    one, two = shaken(add_lora(small.unet)), shaken(add_lora(small.unet))
    with pytest.raises(RuntimeError, match="not merged"):
        one.unmerge()
    one.merge()
    with pytest.raises(RuntimeError, match="merged already"):
        one.merge()
    with pytest.raises(RuntimeError, match="unmerge"):
        one.strength = 0.5
    two.merge()
    with pytest.raises(RuntimeError, match="undo that first"):
        one.unmerge()
    two.unmerge()
    one.unmerge()
    one.remove()
    two.remove()
    assert same(before, small.unet)


# Equal to PEFT


@pytest.mark.parametrize("targets", [ATTENTION, EVERYWHERE])
def test_it_equals_peft(c, targets):
    peft = pytest.importorskip("peft")
    other = load_components(c.path, device="cpu")
    lora = shaken(add_lora(c.unet, rank=3, alpha=6, targets=targets), 0.05)
    peft.inject_adapter_in_model(peft.LoraConfig(r=3, lora_alpha=6, target_modules=list(targets)), other.unet)
    theirs = {
        name: module for name, module in other.unet.named_modules() if isinstance(module, peft.tuners.lora.LoraLayer)
    }
    assert theirs.keys() == lora.layers.keys()
    for name, layer in lora.layers.items():
        for ours, part in ((layer.A, theirs[name].lora_A), (layer.B, theirs[name].lora_B)):
            part["default"].weight.data = ours.data.clone().view_as(part["default"].weight)
        assert torch.allclose(layer.change(), theirs[name].get_delta_weight("default").flatten(1), atol=1e-5)
    assert torch.allclose(answer(c), answer(other), atol=1e-5 * answer(c).abs().max())


def test_a_starts_as_wide_as_in_peft():
    layer = LoraLinear(torch.nn.Linear(300, 20), 64, generator=torch.Generator().manual_seed(0))
    bound = math.sqrt(1 / 300)  # kaiming_uniform_ with a = sqrt(5)
    assert layer.A.abs().max() <= bound and layer.A.abs().max() > 0.99 * bound
    assert abs(layer.A.mean()) < 0.01 * bound + 1e-3 and (layer.B == 0).all()


# Bad settings


@pytest.mark.parametrize(
    "settings, said",
    [
        (dict(rank=0), "rank must lie between 1 and 1024"),
        (dict(rank=2.5), "rank must be a whole number"),
        (dict(alpha=0), "alpha must be a number above 0"),
        (dict(targets=("to_x",)), "no linear layer or convolution called to_x"),
        (dict(targets=()), "no linear layer"),
        (dict(targets=("norm1",)), "no linear layer or convolution called norm1"),
    ],
)
def test_bad_settings_are_named_and_change_nothing(small, settings, said):
    before = weights_of(small.unet)
    with pytest.raises((TypeError, ValueError), match=said):
        add_lora(small.unet, **settings)
    assert same(before, small.unet)


def test_what_is_no_network_or_no_strength_is_named(small):
    with pytest.raises(TypeError, match="takes a U-Net"):
        add_lora(small)
    with add_lora(small.unet) as lora:
        for wrong in ("1", None, math.nan, True):
            with pytest.raises((TypeError, ValueError), match="strength must be a number"):
                lora.strength = wrong


# A layer of one's own


class Own(torch.nn.Module):
    def __init__(self, linear, rank, alpha):
        super().__init__()
        self.linear, self.scale, where = linear, alpha / rank, linear.weight.device
        self.A = torch.nn.Parameter(torch.randn(rank, linear.in_features, device=where))
        self.B = torch.nn.Parameter(torch.zeros(linear.out_features, rank, device=where))

    def forward(self, x):
        return self.linear(x) + self.scale * x @ self.A.T @ self.B.T


def test_a_layer_of_one_s_own_does_what_the_course_s_does(c):
    before, answers = weights_of(c.unet), []
    x = torch.randn(2, *c.latent_shape, generator=torch.Generator().manual_seed(0))
    embeds = torch.zeros(2, 77, c.text_encoder.config.hidden_size)
    for layer in (None, Own):
        with add_lora(c.unet, rank=4, alpha=2, targets=EVERYWHERE, layer=layer) as lora, torch.no_grad():
            for number, part in enumerate(lora.parameters()):
                if number % 2:
                    part.copy_(0.05 * torch.randn(part.shape, generator=torch.Generator().manual_seed(number)))
            for lora.strength in (0, 0.5, 1):
                answers.append(c.unet(x, 500, encoder_hidden_states=embeds).sample)
            lora.strength = 1.0
            lora.merge()
            answers.append(c.unet(x, 500, encoder_hidden_states=embeds).sample)
            lora.unmerge()
    half = len(answers) // 2
    assert all(torch.allclose(one, other, atol=1e-4) for one, other in zip(answers[:half], answers[half:]))
    assert not torch.allclose(answers[0], answers[2], atol=1e-2)  # so that it can fail
    assert same(before, c.unet)


def test_a_layer_of_one_s_own_is_trained_and_saved(c, tmp_path):
    lora = add_lora(c.unet, rank=2, layer=Own)
    for _ in train_lora(c, lora, pictures(c), ["a blue house", "a red boat"], steps=3, batch=2):
        pass
    save_lora(lora, tmp_path)
    changes = lora.changes()
    lora.remove()
    assert all(change.any() for change in changes.values())
    with load_lora(c, tmp_path) as again:
        assert all(torch.allclose(change, changes[name], atol=1e-3) for name, change in again.changes().items())
    with pytest.raises(TypeError, match="layer takes a class"):
        add_lora(c.unet, rank=2, layer="LoraLinear")


def test_a_layer_of_one_s_own_is_used_or_refused(c):
    """On another LoRA there is no nn.Linear to give to it, and the course's own would stand in for it unseen."""
    before = weights_of(c.unet)
    with add_lora(c.unet, rank=2):
        with pytest.raises(ValueError, match="A LoRA is in this U-Net already, .* call remove"):
            add_lora(c.unet, rank=2, layer=Own)
        add_lora(c.unet, rank=2).remove()
    assert same(before, c.unet)


def test_a_lora_that_was_taken_out_changes_nothing_any_more(c):
    before = weights_of(c.unet)
    lora = add_lora(c.unet, rank=2)
    with torch.no_grad():
        lora.parameters()[1].add_(1)
    lora.remove()
    for change in (lora.merge, lambda: setattr(lora, "strength", 2)):
        with pytest.raises(RuntimeError, match="This LoRA was taken out of its U-Net"):
            change()
    lora.remove()
    assert same(before, c.unet)


# Training


def test_a_fast_model_takes_a_lora_and_is_not_trained_on(tiny_fast):
    model = tiny_fast.snapshot()
    with add_lora(model.unet, rank=2) as lora, pytest.raises(ValueError, match="cannot be taught anything"):
        train_lora(model, lora, [], [])


def test_training_changes_a_and_b_alone_and_learns(c, monkeypatch):
    monkeypatch.setattr("helpers.lora.train.EVERY", 10)
    before = weights_of(c.unet)
    lora = add_lora(c.unet, rank=4)
    first = [part.detach().clone() for part in lora.parameters()]
    images, prompts = pictures(c), ["a blue house", "a red boat"]
    progress = list(train_lora(c, lora, images, prompts, steps=15, batch=4, lr=5e-3))
    assert [one.step for one in progress] == list(range(16)) and {one.steps for one in progress} == {15}
    measured = {one.step: one.loss for one in progress if not math.isnan(one.loss)}
    assert set(measured) == {0, 10, 15} and measured[15] < measured[0]
    assert all(not torch.equal(a, b) for a, b in zip(first, lora.parameters()))
    assert not any(weight.requires_grad for layer in lora.layers.values() for weight in (layer.weight,))
    lora.remove()
    assert same(before, c.unet)


def test_training_is_the_same_twice_and_can_be_left_at_any_step(small):
    images, prompts = pictures(small), ["a blue house", "a red boat"]

    def trained(stop, seed=0):
        with add_lora(small.unet, rank=2) as lora:
            for progress in train_lora(
                small, lora, images, prompts, keep=(images, prompts), steps=6, batch=3, seed=seed
            ):
                if progress.step == stop:
                    break
            generate(small, PROMPT, steps=1)  # in the middle of it, the model still draws
            return [part.detach().clone() for part in lora.parameters()]

    once = trained(3)
    assert all(torch.equal(a, b) for a, b in zip(once, trained(3)))
    assert not torch.equal(once[1], trained(6)[1]) and not torch.equal(once[1], trained(3, seed=1)[1])
    assert (trained(0)[1] == 0).all() and not (once[1] == 0).all()


def test_drawing_between_two_steps_does_not_change_the_training(small):
    images, prompts = pictures(small), ["a blue house", "a red boat"]
    ends = []
    for draws in (False, True):
        with add_lora(small.unet, rank=2) as lora:
            for _ in train_lora(small, lora, images, prompts, steps=3, batch=2):
                if draws:
                    torch.manual_seed(3)
                    generate(small, PROMPT, steps=1)
            ends.append(lora.parameters()[1].detach().clone())
    assert torch.equal(*ends)


def test_what_is_kept_is_answered_as_before(small):
    """A LoRA trained with pictures to keep changes the answers on them less than one trained without."""
    (new, old), words = pictures(small), encode_prompts(small, ["a blue house"])
    noise, at = torch.randn(1, *small.latent_shape, generator=torch.Generator().manual_seed(0)), torch.tensor([400])
    changes = []
    for keep in (None, ([old], ["a blue house"])):
        with add_lora(small.unet, rank=4) as lora:
            asked = small, encode_image(small, old).clone(), words.clone(), noise, at

            def change():
                return (answer_of(small.unet, asked) - answer_of(unet_without(lora), asked)).square().mean().item()

            assert change() == 0
            for _ in train_lora(small, lora, [new], ["a red boat"], keep=keep, steps=12, batch=6, lr=5e-3):
                pass
            changes.append(change())
            assert lora.strength == 1
    assert 0 < changes[1] < 0.7 * changes[0]


@pytest.mark.parametrize("batch, own", [(3, [1, 1, 0, 1]), (5, [1, 1, 0, 1]), (6, [1, 1, 1, 1]), (8, [2, 2, 2, 2])])
def test_a_small_batch_keeps_more_than_the_empty_prompt(small, batch, own):
    """own: at each step, beside how many of the kept pictures their own prompt stands; the last of several has the empty one."""
    (new, old), asked = pictures(small), []
    words = encode_prompts(small, ["a blue house", ""])
    hook = small.unet.register_forward_pre_hook(
        lambda _, args, kwargs: asked.append(kwargs["encoder_hidden_states"]), with_kwargs=True
    )
    try:
        with add_lora(small.unet, rank=1) as lora:
            list(train_lora(small, lora, [new], ["a red boat"], ([old], ["a blue house"]), steps=4, batch=batch))
    finally:
        hook.remove()
    steps = [one for one in asked if len(one) == batch]
    assert [sum(torch.equal(row, words[0]) for row in one) for one in steps] == own
    assert [sum(torch.equal(row, words[1]) for row in one) for one in steps] == [
        max(batch * 3 // 8 - n, 0) for n in own
    ]


def test_asking_the_teacher_for_many_steps_at_once_trains_the_same_lora(small, monkeypatch):
    (new, old), ends, calls = pictures(small), [], []
    for ahead in (16, 1):
        monkeypatch.setattr("helpers.lora.train.AHEAD", ahead)
        asked = []
        monkeypatch.setattr(
            "helpers.lora.train.answer_of", lambda *some: asked.append(len(some[1][1])) or answer_of(*some)
        )
        with add_lora(small.unet, rank=2) as lora:
            list(train_lora(small, lora, [new], ["a red boat"], ([old], ["a blue house"]), steps=10, batch=6))
            ends.append([part.detach().clone() for part in lora.parameters()])
        calls.append(asked)
    assert calls == [[16, 4], [2] * 10]
    assert all(torch.allclose(one, other, rtol=1e-2, atol=1e-3) for one, other in zip(*ends))


def test_one_batch_of_both_costs_what_two_would(small):
    """The joint loss is the error on what is new, and KEEP times the change on what is kept."""
    images, embeds = (
        torch.cat([encode_image(small, one) for one in pictures(small)]).clone(),
        encode_prompts(small, ["a boat", "a house"]),
    )
    draw = torch.Generator().manual_seed(0)
    noise, at = torch.randn(2, *small.latent_shape, generator=draw), torch.tensor([300, 700])
    weights = 0.5 + torch.rand(2, 1, *small.latent_shape[1:], generator=draw)
    new, kept = (
        (small, images[i : i + 1], embeds[i : i + 1].clone(), noise[i : i + 1], at[i : i + 1], weights[i : i + 1])
        for i in (0, 1)
    )
    with add_lora(small.unet, rank=2) as lora, torch.no_grad():
        for part in lora.parameters()[1::2]:
            part.normal_(std=0.02, generator=draw)
        teacher = unet_without(lora)
        before = answer_of(teacher, kept)
        apart = noise_loss(*new) + KEEP * (answer_of(small.unet, kept) - before).square().mean()
        joint, alone = joint_loss(new, kept, before), noise_loss(*new)
    assert torch.allclose(joint, apart, rtol=1e-4) and joint > alone


def test_masks_say_where_an_error_counts(c):
    masks, step = np.zeros((2, c.image_size, c.image_size), bool), c.vae_scale_factor
    masks[0, : 4 * step, : 4 * step] = True
    weights = place_weights(c, masks, 2)
    assert weights.shape == (2, 1, *c.latent_shape[1:]) and torch.allclose(weights.mean((1, 2, 3)), torch.ones(2))
    assert (weights[1] == 1).all() and torch.allclose(weights[0, 0, 0, 0], (FOCUS + 1) * weights[0, 0, -1, -1])
    assert weights[0, 0, 4, 4] == weights[0, 0, 0, 0] and weights[0, 0, 5, 5] == weights[0, 0, -1, -1]


def test_trained_with_masks_the_loss_is_a_weighted_one(small):
    images, prompts, masks = pictures(small), ["a blue house", "a red boat"], np.zeros((2, 128, 128), bool)
    masks[:, :32, :32] = True
    with add_lora(small.unet, rank=2) as lora:
        first = [
            next(train_lora(small, lora, images, prompts, masks=some, steps=1)).loss for some in (None, masks, ~masks)
        ]
    assert len(set(first)) == 3


def test_the_loss_is_the_error_of_the_noise_guess(small):
    latents = encode_image(small, pictures(small)[0])
    noise, words = torch.randn(latents.shape), encode_prompts(small, [PROMPT])
    abar = small.scheduler.alphas_cumprod[300]
    guess = small.unet(abar.sqrt() * latents + (1 - abar).sqrt() * noise, 300, encoder_hidden_states=words).sample
    assert torch.allclose(noise_loss(small, latents, words, noise, torch.tensor([300])), ((guess - noise) ** 2).mean())


def test_it_learns_at_the_noise_levels_asked_for(small):
    images, prompts, asked = pictures(small), ["a boat", "a house"], []
    hook = small.unet.register_forward_pre_hook(lambda unet, inputs: asked.extend(inputs[1].tolist()))
    try:
        for timesteps, lowest, highest in ((None, 0, 999), ((600, 603), 600, 602)):
            asked.clear()
            with add_lora(small.unet) as lora:
                list(train_lora(small, lora, images, prompts, (images, prompts), steps=4, timesteps=timesteps))
            assert lowest <= min(asked) and max(asked) <= highest
            assert len(set(asked)) == 3 if timesteps else len(set(asked)) > 20
    finally:
        hook.remove()


@pytest.mark.parametrize(
    "settings, said",
    [
        (dict(images=[]), "no picture to learn from"),
        (dict(prompts=["a boat"]), "2 pictures and 1 prompts"),
        (dict(keep=([Image.new("RGB", (8, 8))], [])), "keep: 1 pictures and 0 prompts"),
        (dict(steps=0), "steps must lie"),
        (
            dict(keep=([Image.new("RGB", (128, 128))], ["a boat"]), batch=2),
            "A batch of 2 has no room for pictures to keep",
        ),
        (dict(batch=0), "batch must lie"),
        (dict(lr=5), "lr must be a number between 0 and 1"),
        (dict(masks=[np.zeros((128, 128), bool)]), "masks must be 2 arrays"),
        (dict(masks=[np.zeros((8, 8), bool)] * 2), "bool, 128 x 128"),
        (dict(masks=[np.zeros((128, 128))] * 2), "masks must be 2 arrays of bool"),
        (dict(images=[Image.new("RGB", (64, 64))] * 2), "must be 128 x 128"),
        (dict(images=["a.png"] * 2), "images must be a list of PIL pictures"),
        (dict(timesteps=(500, 500)), "end of timesteps must lie between 501 and 1000"),
        (dict(timesteps=(-1, 9)), "lowest of timesteps must"),
        (dict(timesteps=(0, 1001)), "end of timesteps must"),
        (dict(timesteps=(0.5, 9)), "lowest of timesteps must be a whole number"),
    ],
)
def test_bad_trainings_are_refused_at_once(small, settings, said):
    asked = dict(images=pictures(small), prompts=["a boat", "a house"]) | settings
    if asked["images"] == []:
        asked["prompts"] = []
    with add_lora(small.unet) as lora, pytest.raises((TypeError, ValueError), match=said):
        train_lora(small, lora, **asked)


def test_a_lora_elsewhere_merged_or_weakened_is_not_trained(small, model_folders):
    images, prompts = pictures(small), ["a boat", "a house"]
    other = load_components(model_folders["postcard"], device="cpu")
    with add_lora(other.unet) as lora, pytest.raises(ValueError, match="in another U-Net"):
        train_lora(small, lora, images, prompts)
    with add_lora(small.unet) as lora:
        lora.strength = 0.5
        with pytest.raises(ValueError, match="trained at strength 1"):
            train_lora(small, lora, images, prompts)
        lora.strength = 1
        lora.merge()
        with pytest.raises(ValueError, match="not merged"):
            train_lora(small, lora, images, prompts)


@pytest.mark.parametrize(
    "meanwhile, said",
    [
        (lambda lora: lora.remove(), "was taken out of its U-Net"),
        (lambda lora: setattr(lora, "strength", 0.25), "trained at strength 1"),
        (lambda lora: lora.merge(), "not merged"),
    ],
)
def test_a_lora_taken_out_merged_or_weakened_meanwhile_is_not_trained_on(small, meanwhile, said):
    with add_lora(small.unet) as lora:
        training = train_lora(small, lora, pictures(small), ["a boat", "a house"], steps=3, batch=2)
        next(training), next(training)
        meanwhile(lora)
        with pytest.raises(ValueError, match=said):
            next(training)
    with pytest.raises(ValueError, match=r"taken out of its U-Net: put a new one in with add_lora\(c.unet\)"):
        train_lora(small, lora, pictures(small), ["a boat", "a house"])


def test_a_training_that_breaks_says_so(small):
    with add_lora(small.unet) as lora:
        training = train_lora(small, lora, pictures(small), ["a boat", "a house"], steps=2, batch=2)
        next(training)
        lora.layers[next(iter(lora.layers))].B.data.fill_(math.nan)
        with pytest.raises(FloatingPointError, match="training loss holds NaN"):
            list(training)


# Files


def test_saved_and_loaded_it_is_the_same(c, tmp_path):
    with add_lora(c.unet, rank=3, alpha=6, targets=EVERYWHERE) as lora:
        changes = shaken(lora, 0.05).changes()
        drawn = answer(c)
        path = save_lora(lora, tmp_path / "windmill")
    assert path == tmp_path / "windmill" / FILE and [one.name for one in path.parent.iterdir()] == [FILE]
    for where in (path, path.parent, str(path.parent)):
        with load_lora(c, where) as lora:
            assert lora.rank == 3 and lora.strength == 1
            assert all(
                torch.allclose(changes[name], change, atol=1e-3 * change.abs().max())
                for name, change in lora.changes().items()
            )
            assert torch.allclose(answer(c), drawn, atol=2e-3 * drawn.abs().max())


@pytest.mark.parametrize("targets, size", [(ATTENTION, 0.05), (EVERYWHERE, 0.02)])
def test_a_plain_pipeline_draws_the_same_pictures(c, tmp_path, targets, size):
    pytest.importorskip("peft")
    with add_lora(c.unet, rank=3, alpha=6, targets=targets) as lora:
        save_lora(shaken(lora, size), tmp_path)
        ours = generate(c, PROMPT, steps=3, guidance=3.0, seed=4, scheduler=c.scheduler)
    plain = generate(c, PROMPT, steps=3, guidance=3.0, seed=4, scheduler=c.scheduler)
    pipe = load_components(c.path, device="cpu").pipeline()
    pipe.load_lora_weights(tmp_path)
    theirs = pipe(PROMPT, num_inference_steps=3, guidance_scale=3.0, generator=torch.Generator().manual_seed(4)).images[
        0
    ]
    assert difference(ours, theirs) <= 2 < 20 < difference(ours, plain)


@pytest.mark.parametrize("alpha", [4, 8])
def test_what_diffusers_saves_is_read(small, tmp_path, alpha):
    peft = pytest.importorskip("peft")
    pipe = load_components(small.path, device="cpu").pipeline()
    pipe.unet.add_adapter(
        peft.LoraConfig(r=4, lora_alpha=alpha, target_modules=list(ATTENTION), init_lora_weights=False)
    )
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft.utils import get_peft_model_state_dict

    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(pipe.unet))
    notes = {"unet_lora_adapter_metadata": pipe.unet.peft_config["default"].to_dict()}
    notes = {
        "unet_lora_adapter_metadata": {
            key: list(value) if isinstance(value, set) else value
            for key, value in notes["unet_lora_adapter_metadata"].items()
        }
    }
    pipe.save_lora_weights(tmp_path, unet_lora_layers=layers, **notes)
    theirs = pipe(PROMPT, num_inference_steps=2, guidance_scale=3.0, generator=torch.Generator().manual_seed(0)).images[
        0
    ]
    with load_lora(small, tmp_path) as lora:
        assert lora.layers["mid_block.attentions.0.transformer_blocks.0.attn1.to_q"].scale == alpha / 4
        ours = generate(small, PROMPT, steps=2, guidance=3.0, seed=0, scheduler=small.scheduler)
    assert difference(ours, theirs) <= 2


def test_what_diffusers_writes_for_kohya_is_read(small, tmp_path):
    """Its alphas are whole numbers."""
    from diffusers.utils import convert_state_dict_to_kohya

    with add_lora(small.unet, rank=4) as lora:
        changes = shaken(lora).changes()
        tensors = convert_state_dict_to_kohya(load_file(save_lora(lora, tmp_path)))
    assert any(name.endswith(".alpha") and tensor.dtype == torch.int64 for name, tensor in tensors.items())
    save_file(tensors, tmp_path / "kohya.safetensors")
    with load_lora(small, tmp_path / "kohya.safetensors") as lora:
        assert lora.layers.keys() == changes.keys()
        assert all(torch.allclose(changes[name], one, atol=1e-3) for name, one in lora.changes().items())
    for wrong in (torch.tensor(True), torch.tensor(4j)):
        change_file(
            tmp_path / "kohya.safetensors", lambda some, wrong=wrong: some.update({first(some, ".alpha"): wrong})
        )
        with pytest.raises(ValueError, match="no LoRA that can be read"):
            load_lora(small, tmp_path / "kohya.safetensors")


def good_file(c, folder):
    with add_lora(c.unet, rank=2) as lora:
        return save_lora(shaken(lora), folder)


def change_file(path, change):
    tensors = load_file(path)
    change(tensors)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def first(tensors, part):
    return next(name for name in tensors if part in name)


BROKEN = {
    "empty": (lambda path: path.write_bytes(b""), "is empty: fetch it again"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:-100]), "is damaged"),
    "no header": (lambda path: path.write_bytes(b"hello, this is no header at all"), "is damaged"),
    "lying header": (lambda path: path.write_bytes(struct.pack("<Q", 2**40) + b"{}"), "is damaged"),
    "half a pair": (lambda path: change_file(path, lambda t: t.pop(first(t, "lora_B"))), "one half of .* is missing"),
    "nothing": (lambda path: save_file({}, path), "no LoRA, since it holds no layer"),
    "half of a text encoder": (
        lambda path: change_file(path, lambda t: t.update({"text_encoder.q.lora_A.weight": torch.ones(2, 2)})),
        "one half of text_encoder.q is missing",
    ),
    "half in another format": (
        lambda path: change_file(path, lambda t: t.update({"lora_unet_to_q.lora_down.weight": torch.ones(2, 2)})),
        "one half of lora_unet_to_q is missing",
    ),
    "a bias": (
        lambda path: change_file(path, lambda t: t.update({"unet.mid_block.lora_B.bias": torch.ones(2)})),
        "it holds unet.mid_block.lora_B.bias, which is no half of a changed layer",
    ),
    "a layer twice": (
        lambda path: change_file(
            path, lambda t: t.update({first(t, "lora_A").replace(".lora_A", ".lora.down"): torch.ones(2, 16)})
        ),
        "holds unet.* twice, in two layouts",
    ),
    "an alpha of nothing": (
        lambda path: change_file(
            path, lambda t: t.update({first(t, "lora_A").replace("lora_A.weight", "alpha"): torch.tensor(0.0)})
        ),
        "has an alpha in .* one number above 0",
    ),
    "whole numbers": (
        lambda path: change_file(path, lambda t: t.update({first(t, "lora_A"): torch.ones(2, 16).long()})),
        "no half of a changed layer",
    ),
    "no rows": (
        lambda path: change_file(path, lambda t: t.update({first(t, "lora_B"): torch.ones(0, 2)})),
        "made for another model",
    ),
    "unknown layer": (
        lambda path: change_file(
            path, lambda t: t.update({f"unet.nowhere.lora_{x}.weight": torch.ones(2, 2) for x in "AB"})
        ),
        "made for another model, .* no layer nowhere",
    ),
    "other width": (
        lambda path: change_file(path, lambda t: t.update({first(t, "lora_A"): torch.ones(2, 999)})),
        "made for another model: its .* has weights .16, 999., this U-Net's .16, 16.",
    ),
    "other rank": (
        lambda path: change_file(path, lambda t: t.update({first(t, "lora_A"): torch.ones(3, 16)})),
        "does not fit together",
    ),
    "a convolution": (
        lambda path: change_file(path, lambda t: t.update({first(t, "lora_A"): torch.ones(2, 16, 3, 3)})),
        "does not fit together",
    ),
    "B of three by three": (
        lambda path: change_file(
            path,
            lambda t: t.update(
                {first(t, "lora_A"): torch.ones(2, 16, 3, 3), first(t, "lora_B"): torch.ones(16, 2, 3, 3)}
            ),
        ),
        "does not fit together",
    ),
    "a convolution for a linear layer": (
        lambda path: change_file(
            path,
            lambda t: t.update(
                {first(t, "lora_A"): torch.ones(2, 16, 1, 1), first(t, "lora_B"): torch.ones(16, 2, 1, 1)}
            ),
        ),
        "made for another model",
    ),
    "NaN": (lambda path: change_file(path, lambda t: t[first(t, "lora_B")].fill_(math.nan)), "NaN or infinite"),
    "bad settings": (
        lambda path: save_file(load_file(path), path, {"lora_adapter_metadata": "{"}),
        "settings that cannot be read",
    ),
    "a rank of 0": (
        lambda path: save_file(
            load_file(path), path, {"lora_adapter_metadata": json.dumps({"unet.lora_alpha": 1, "unet.r": 0})}
        ),
        "settings that cannot be read",
    ),
    "more settings": (
        lambda path: save_file(
            load_file(path),
            path,
            {"lora_adapter_metadata": json.dumps({"unet.lora_alpha": 1, "unet.r": 2, "unet.use_rslora": True})},
        ),
        "alpha is not alike .* load_lora_weights reads it",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_bad_file_is_one_sentence_and_leaves_nothing(small, tmp_path, name):
    path, before = good_file(small, tmp_path), weights_of(small.unet)
    breaks, said = BROKEN[name]
    breaks(path)
    with pytest.raises(ValueError, match=said) as caught:
        load_lora(small, tmp_path)
    assert "\n" not in str(caught.value) and FILE in str(caught.value)
    assert same(before, small.unet)


def test_a_file_of_another_model_is_refused(model_folders, tmp_path):
    big = load_components(model_folders["sd15"], device="cpu")
    good_file(big, tmp_path)
    with pytest.raises(ValueError, match="made for another model"):
        load_lora(load_components(model_folders["postcard"], device="cpu"), tmp_path)


class Trap:
    """A pickle of this writes a file when it is opened."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize(
    "name, said", [("lora.bin", "is a pickle"), ("lora.pt", "is a pickle"), (FILE, "is damaged, or no file of weights")]
)
def test_a_pickle_is_refused_and_nothing_runs(small, tmp_path, name, said):
    sprung = tmp_path / "sprung"
    (tmp_path / name).write_bytes(pickle.dumps(Trap(sprung)))
    with pytest.raises(ValueError, match=said):
        load_lora(small, tmp_path / name)
    assert not sprung.exists()
    pickle.loads((tmp_path / name).read_bytes()).close()  # the trap was a real one
    assert sprung.exists()


def test_a_file_that_is_not_there_is_named(small, tmp_path):
    for where in (tmp_path, tmp_path / "none.safetensors", "no/such/folder"):
        with pytest.raises(FileNotFoundError, match="There is no LoRA in"):
            load_lora(small, where)


def test_a_folder_that_may_not_be_written_is_named(small, tmp_path, monkeypatch):
    def refuse(path, **settings):
        raise OSError(errno.EACCES, "no")

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    with add_lora(small.unet) as lora, pytest.raises(PermissionError, match="You may not write in"):
        save_lora(lora, tmp_path / "windmill")


def test_an_interrupted_save_leaves_the_old_file(small, tmp_path, monkeypatch):
    path = good_file(small, tmp_path)
    before = path.read_bytes()

    def half(tensors, file, metadata):
        file.write_bytes(b"half a file")
        raise KeyboardInterrupt

    monkeypatch.setattr("helpers.lora.files.save_file", half)
    with add_lora(small.unet, rank=7) as lora, pytest.raises(KeyboardInterrupt):
        save_lora(lora, tmp_path)
    assert path.read_bytes() == before and [one.name for one in tmp_path.iterdir()] == [FILE]
