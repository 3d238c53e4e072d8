"""What the card refuses and what it computes: the same of the pretend one and of a real one."""

import copy
import io
import pickle

import numpy as np
import pretend_gpu
import pytest
import torch
import torch.nn.functional as F
from card import device, real
from safetensors.torch import load_file, save_file

HALF, FLOAT = torch.float16, torch.float32
only_pretend = pytest.mark.skipif(real(), reason="of the pretend card alone")


@pytest.fixture(scope="module")
def card():
    return device()


def ones(card, *shape, dtype=FLOAT):
    return torch.ones(*shape, device=card, dtype=dtype)


# What it refuses

MIXED = {
    "sum": lambda here: here + torch.ones(4, 4),
    "sum, the CPU first": lambda here: torch.ones(4, 4) + here,
    "product": lambda here: here @ torch.ones(4, 4),
    "linear layer": lambda here: F.linear(here, torch.ones(2, 4)),
    "bias": lambda here: F.linear(here, here, torch.ones(4)),
    "convolution": lambda here: F.conv2d(here[None, None], torch.ones(1, 1, 3, 3)),
    "cat": lambda here: torch.cat([here, torch.ones(1, 4)]),
    "stack of numbers": lambda here: torch.stack([here.sum(), torch.tensor(1.0)]),
    "where": lambda here: torch.where(here > 0, here, torch.ones(4, 4)),
    "embedding": lambda here: F.embedding(torch.tensor([0]), here),
    "gather": lambda here: here.gather(0, torch.zeros(1, 4, dtype=torch.int64)),
    "index_select": lambda here: here.index_select(0, torch.tensor([0])),
    "index of a card in the CPU's": lambda here: torch.ones(4)[torch.tensor([0], device=here.device)],
    "assignment by index": lambda here: here.index_put_((torch.tensor([0]),), torch.ones(4)),
    "in place": lambda here: here.add_(torch.ones(4, 4)),
    "attention": lambda here: F.scaled_dot_product_attention(*[here[None, None]] * 2, torch.ones(1, 1, 4, 4)),
    "loss": lambda here: F.mse_loss(here, torch.zeros(4, 4)),
    "norm": lambda here: F.layer_norm(here, (4,), torch.ones(4)),
    "generator of the CPU": lambda here: here.normal_(generator=torch.Generator()),
    "generator of the CPU, in randn": lambda here: torch.randn(4, generator=torch.Generator(), device=here.device),
}


MIXING = "device|Input type .* should be the same"  # the second is what a real card says of a convolution


@pytest.mark.parametrize("act", MIXED.values(), ids=MIXED)
@pytest.mark.parametrize("inference", [False, True], ids=["", "in inference_mode"])
def test_two_devices_do_not_mix(act, inference, card):
    with torch.inference_mode(inference), pytest.raises(RuntimeError, match=MIXING):
        act(ones(card, 4, 4))


@pytest.mark.parametrize(
    "act",
    [
        lambda here: here @ here.float(),
        lambda here: F.linear(here, here.float()),
        lambda here: F.conv2d(here[None, None], torch.ones(1, 1, 3, 3, device=here.device)),
        lambda here: F.group_norm(here[None], 2, here[0].float()),
        lambda here: F.layer_norm(here, (4,), here[0].float()),
        lambda here: F.scaled_dot_product_attention(here[None, None], here[None, None].float(), here[None, None]),
        lambda here: here.index_put_((torch.tensor([0], device=here.device),), here[0].float()),
        lambda here: torch.linalg.svd(here),
    ],
    ids=["product", "linear", "convolution", "group norm", "layer norm", "attention", "assignment", "svd"],
)
def test_a_kernel_does_not_mix_number_formats(act, card):
    with pytest.raises(RuntimeError):
        act(ones(card, 4, 4, dtype=HALF))


def test_numpy_wants_the_cpu_first(card):
    for act in (lambda: ones(card, 2).numpy(), lambda: np.asarray(ones(card, 2))):
        with pytest.raises(TypeError, match="to host memory first"):
            act()
    assert ones(card, 2).cpu().numpy().tolist() == [1, 1]


def test_what_comes_out_of_inference_mode_can_not_be_trained_on_until_cloned(card):
    with torch.inference_mode():
        fixed = torch.nn.Linear(4, 4).to(card)(ones(card, 2, 4)).detach()
    assert fixed.is_inference()
    weight = ones(card, 2, 4).requires_grad_()
    with pytest.raises(RuntimeError, match="[Ii]nference"):
        weight * fixed
    (weight * fixed.clone()).sum().backward()
    assert torch.equal(weight.grad, fixed)


# What it takes


def test_numbers_and_indices_of_the_cpu_are_taken(card):
    here = torch.arange(12.0, device=card).view(3, 4)
    assert torch.equal((here * torch.tensor(2.0)).cpu(), torch.arange(12.0).view(3, 4) * 2)
    assert torch.where(here > 5, here, torch.tensor(0.0)).sum() == sum(range(6, 12))
    for index in (
        [0, 2],
        torch.tensor([0, 2]),
        torch.tensor([0, 2], device=card),
        np.array([0, 2]),
        torch.tensor([True, False, True]),
        [True, False, True],
    ):
        assert here[index].tolist() == [[0, 1, 2, 3], [8, 9, 10, 11]]
    assert here[:, [1, 3]].tolist() == [[1, 3], [5, 7], [9, 11]]
    assert here[1, 2] == 6 and here[here > 10].tolist() == [11]
    here[[0]] = 7.0
    here[1] = torch.ones(4)  # a copy, and copies may cross
    assert here[:2].tolist() == [[7] * 4, [1] * 4]


def test_tensors_are_made_on_it(card):
    made = [
        torch.tensor([0, 1, 2], device=card),
        torch.as_tensor([0, 1, 2], device=card),
        torch.arange(3, device=card),
        torch.linspace(0, 2, 3, device=card).long(),
        torch.tensor([torch.tensor(0), 1, 2], device=card),
        ones(card, 3).long().cumsum(0) - 1,
        torch.ones(1, device=card).new_tensor([0, 1, 2]).long(),
        torch.as_tensor(np.arange(3), device=card),
        torch.as_tensor(torch.arange(3), device=card),
    ]
    for one in made:
        assert one.device == card and one.tolist() == [0, 1, 2] and one.dtype == torch.int64
    assert torch.randn(3, device=card).device == torch.zeros(2).to(card).device == card
    with torch.device("meta"):
        assert torch.tensor([1.0]).is_meta  # as transformers and diffusers load their networks


def test_it_is_read_and_printed_as_tensors_are(card):
    number = torch.tensor(2.5, device=card, dtype=HALF)
    assert number.item() == float(number) == 2.5 and f"{number:.2f}" == "2.50" and bool(number > 2)
    assert repr(ones(card, 2)) == f"tensor([1., 1.], device='{card}')"
    assert repr(number) == f"tensor(2.5000, device='{card}', dtype=torch.float16)"
    assert [row.tolist() for row in ones(card, 2, 1)] == [[1], [1]] and len(ones(card, 2)) == 2


def test_copies_pickles_and_files(card, tmp_path):
    layer = torch.nn.Linear(3, 3).to(card)
    twin = copy.deepcopy(layer)
    assert isinstance(twin.weight, torch.nn.Parameter) and twin.weight.requires_grad
    twin.weight.data.zero_()
    assert layer.weight.any() and twin.weight.data_ptr() != layer.weight.data_ptr()
    for back in (pickle.loads(pickle.dumps(layer.weight)), load_saved(layer.weight)):
        assert back.device == card and torch.equal(back, layer.weight)
    for some in ({"w": layer.weight.detach()}, {"w": layer.weight.detach().cpu()}):
        save_file(some, tmp_path / "file.safetensors")
        assert torch.equal(load_file(tmp_path / "file.safetensors")["w"], layer.weight.cpu())
    layer.load_state_dict({"weight": torch.zeros(3, 3), "bias": torch.zeros(3)})
    assert layer.weight.device == card and not layer.weight.any()
    assert layer.half().weight.dtype == HALF and layer.cpu().weight.device.type == "cpu"


def load_saved(tensor):
    file = io.BytesIO()
    torch.save(tensor, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


# What it computes


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1),
        torch.nn.GroupNorm(2, 8),
        torch.nn.SiLU(),
        torch.nn.Flatten(2),
        Attend(),
        torch.nn.LayerNorm(16),
        torch.nn.Linear(16, 5),
    )


class Attend(torch.nn.Module):
    def forward(self, x):
        x = x[:, None].mT  # (B, 8, 16) -> (B, 1, 16, 8)
        return F.scaled_dot_product_attention(x, x * 2, x + 1).mT[:, 0]


def answers(net, pixels):
    """What a network says, and the gradients of a loss, all on the CPU in float32."""
    out = net(pixels)
    out.float().square().mean().backward()
    return [one.detach().float().cpu() for one in (out, *(weight.grad for weight in net.parameters()))]


@pytest.mark.parametrize("dtype, apart", [(FLOAT, 4e-6), (HALF, 5e-3)], ids=["float32", "float16"])
def test_a_network_says_what_it_says_on_the_cpu(dtype, apart, card):
    pixels = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    expected = answers(network(), pixels)
    found = answers(network().to(card, dtype), pixels.to(card, dtype))
    for one, other in zip(found, expected, strict=True):
        assert (one - other).abs().max() <= apart * other.abs().max().clamp(min=1)
    if dtype == HALF:  # and really in it
        assert any(not torch.equal(one, other) for one, other in zip(found, expected))


def test_float16_adds_up_in_float32_and_ends_at_65504(card):
    many = torch.full((1, 4096), 1.0, device=card, dtype=HALF)
    assert many.sum() == (many @ many.mT).item() == 4096 and many.mean() == 1  # stuck at 2048 if added in float16
    large = torch.full((1, 64), 40.0, device=card, dtype=HALF)
    assert (large @ large.mT).isinf() and (large * 2000).isinf().all() and (large[0, 0] * 1637).isfinite()
    tiny = torch.tensor(2e-8, device=card, dtype=HALF)
    assert tiny == 0  # what is smaller than about 3e-8 vanishes


def test_attention_takes_masks_and_gives_gradients(card):
    for mask in (None, torch.tensor([[True, False, True, True]]).expand(3, 4), torch.arange(12.0).view(3, 4)):
        results = []
        for where in ("cpu", card):
            torch.manual_seed(0)
            some = [torch.randn(2, 2, n, 8).to(where).requires_grad_() for n in (3, 4, 4)]
            out = F.scaled_dot_product_attention(*some, attn_mask=None if mask is None else mask.to(where), scale=0.3)
            out.square().sum().backward()
            results.append([one.detach().cpu() for one in (out, *(one.grad for one in some))])
        for one, other in zip(*results):
            assert torch.allclose(one, other, atol=1e-5)


def test_autocast_and_loss_scaling(card):
    layer, x = torch.nn.Linear(4, 1).to(card), ones(card, 2, 4)
    with torch.autocast(card.type, dtype=HALF):
        y = layer(x)
        assert y.dtype == HALF and y.sum().dtype == FLOAT
    assert layer(x).dtype == FLOAT
    y.sum().backward()
    assert layer.weight.grad.dtype == FLOAT

    scaler, optimizer = torch.amp.GradScaler(card.type), torch.optim.Adam(layer.parameters(), lr=0.1)
    before = layer.weight.detach().clone()
    for loss, moves in ((layer(x).sum() * 1e38, False), (layer(x).sum(), True)):  # the first overflows: no step
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        assert torch.equal(before, layer.weight) != moves
    assert scaler.get_scale() == 2.0**15


@only_pretend
def test_peak_memory_counts_every_storage_once(card):
    begun = pretend_gpu.bytes_in_use()
    pretend_gpu.reset_peak()
    large = torch.zeros(1000, 500, device=card, dtype=HALF)
    views = [large[10:], large.T, large.view(-1), large.detach()]
    assert pretend_gpu.bytes_in_use() - begun == 1_000_000
    del large
    assert pretend_gpu.bytes_in_use() - begun == 1_000_000  # the views hold it
    more = torch.zeros(1000, device=card)
    del views, more
    assert pretend_gpu.bytes_in_use() == begun and pretend_gpu.peak_bytes() - begun == 1_004_000
    pretend_gpu.reset_peak()
    weight = torch.zeros(1000, device=card).requires_grad_()
    loss = weight.exp().square().sum()  # the graph holds what backward needs
    assert pretend_gpu.bytes_in_use() - begun >= 8_000
    loss.backward()
    del loss, weight
    assert pretend_gpu.bytes_in_use() == begun


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_shapes_change_in_place_too(card, mode):
    x = torch.randn(5, 7)
    with mode():
        there, row = x.to(card), torch.zeros(1, 3, 1).to(card)
        assert torch.equal(there.quantile(0.5, dim=1).cpu(), x.quantile(0.5, dim=1))  # it squeezes in place inside
        assert row.squeeze_().shape == row.cpu().shape == (row + 1).shape == (3,)
        assert row.unsqueeze_(0).t_().shape == row.cpu().shape == (3, 1)
    there = x.to(card).requires_grad_()
    there.quantile(0.3, dim=1).sum().backward()
    assert (there.grad.cpu() != 0).sum() == 2 * 5  # two neighbours in each row
