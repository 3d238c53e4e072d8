"""A model's folder is data from strangers: absurd settings get one sentence that names the file, before anything is built."""

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import save_file

from helpers import load_components
from helpers.lora import load_lora

SCHEDULER, CARD = "scheduler/scheduler_config.json", "course.json"
UNET, VAE, TEXT = "unet/config.json", "vae/config.json", "text_encoder/config.json"
WORDS = "tokenizer/tokenizer_config.json"
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
DEEP = "[" * 100_000 + "]" * 100_000


@pytest.fixture
def folder(model_folders, tmp_path):
    return shutil.copytree(model_folders["postcard"], tmp_path / "model")


SETTINGS = [
    *[(SCHEDULER, "num_train_timesteps", value) for value in (10**9, 10**6, -1, 0, 1.5, "x", None, [1000], 10**400)],
    *[(SCHEDULER, "beta_schedule", value) for value in ("x", None, 7, [])],
    *[(SCHEDULER, name, value) for name in ("beta_start", "beta_end") for value in ("x", None, 10**9, [1])],
    (SCHEDULER, "beta_end", float("nan")),
    (SCHEDULER, "beta_end", float("inf")),
    (SCHEDULER, "beta_start", -5.0),
    (SCHEDULER, "trained_betas", "x"),
    (SCHEDULER, "trained_betas", [float("nan")] * 1000),
    (SCHEDULER, "timestep_spacing", "x"),
    (SCHEDULER, "steps_offset", 10**6),
    (SCHEDULER, "steps_offset", "x"),
    *[(SCHEDULER, "_class_name", value) for value in ("SchedulerMixin", "x", None, ["DDIMScheduler"], "os")],
    *[
        (UNET, "sample_size", value)
        for value in (10**9, -1, 0, "x", None, [16], [16, 16, 16], 1.5, [16, "x"], [16, 24], {})
    ],
    *[
        (UNET, name, value)
        for name in ("layers_per_block", "transformer_layers_per_block")
        for value in (10**6, 10**9, "x")
    ],
    (UNET, "block_out_channels", [10**12]),
    (UNET, "block_out_channels", []),
    (UNET, "cross_attention_dim", 10**9),
    (UNET, "norm_num_groups", 0),
    (UNET, "attention_head_dim", 0),
    (UNET, "in_channels", 10**9),
    *[(VAE, "scaling_factor", value) for value in ("x", None, 0, -1, 10**9, float("nan"), float("inf"), [1])],
    (VAE, "layers_per_block", 10**6),
    (VAE, "latent_channels", 10**9),
    (VAE, "block_out_channels", [8] * 5),
    *[(TEXT, "num_hidden_layers", value) for value in (10**6, "x")],
    (TEXT, "vocab_size", 10**12),
    (TEXT, "hidden_size", 10**12),
    (TEXT, "max_position_embeddings", 10**9),
    *[(WORDS, "model_max_length", value) for value in ("x", -1, 0, [77])],
    *[(CARD, "guidance", value) for value in ("x", [1], None, -1, float("nan"), float("inf"), True, {}, 10**400)],
    *[(CARD, "trained", value) for value in ("false", 0, None, [])],
    *[(CARD, "steps", value) for value in ("x", None, 0, -1, 1001, 2.5, True, float("nan"))],
    *[(CARD, "distilled_guidance", value) for value in ("x", None, -1, float("inf"), [3])],
    *[
        (CARD, "variants", value)
        for value in (
            "fast",
            ["fast"],
            None,
            7,
            {"fast": 8},
            {"../fast": {}},
            {"a.b": {}},
            {"": {}},
            {"fast": {"steps": 0}},
            {"fast": {"distilled_guidance": "x"}},
        )
    ],
]


@pytest.mark.parametrize("file, name, value", SETTINGS)
def test_an_absurd_setting_is_one_sentence_that_names_the_file(folder, file, name, value):
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match=re.escape(str(folder))) as caught:
        load_components(folder, device="cpu")
    said = str(caught.value)
    assert str(folder) in said and "\n" not in said and len(said) < 500, said
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    "content, words",
    [
        (DEEP, ""),
        ('{"a": ' * 100_000 + "1" + "}" * 100_000, ""),
        ("[1]", ""),
        ("7", ""),
        ('"x"', ""),
        ("null", ""),
        ("", ""),
        ("{", ""),
        ("\ud800".encode("utf-8", "surrogatepass"), ""),
        (b"\xff\xfe\0", ""),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 1\n", "pointer of Git LFS"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b" " * 20_000_000 + b"{}", "20 MB"),
    ],
)
@pytest.mark.parametrize("file", [SCHEDULER, CARD, UNET, VAE, TEXT, WORDS])
def test_settings_that_are_none_are_one_sentence_that_names_the_file(folder, file, content, words):
    (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=words) as caught:
        load_components(folder, device="cpu")
    said = str(caught.value)
    assert str((folder / file).parent) in said and "\n" not in said and len(said) < 500, said


def header(content, length=None):
    return (len(content) if length is None else length).to_bytes(8, "little") + content


ENTRY = b'{"a": {"dtype": "F32", "shape": %s, "data_offsets": %s}}'


@pytest.mark.parametrize(
    "content, words",
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 1\n", "pointer of Git LFS"),
        (b"<!DOCTYPE html><html>not found", "web page"),
        (b"", "is damaged .* header too small"),
        (b"1234567", "is damaged"),
        (b"x" * 5000, "is damaged"),
        (header(DEEP.encode()), "is damaged"),
        (header(b"{}", 2**63), "is damaged"),
        (header(b"[]"), "is damaged"),
        (header(ENTRY % (b"[1000000000000]", b"[0, 4000000000000]")), "is damaged"),
        (header(ENTRY % (b"[4]", b"[0]")), "is damaged"),
        (header(ENTRY % (b"[4]", b'[0, "x"]')), "is damaged"),
    ],
)
def test_weights_that_are_none_are_called_what_they_are(folder, content, words):
    (folder / WEIGHTS).write_bytes(content)
    with pytest.raises(ValueError, match=words) as caught:
        load_components(folder, device="cpu")
    assert str(folder / WEIGHTS) in str(caught.value) and "\n" not in str(caught.value)


def test_a_shape_that_the_file_does_not_hold_is_refused(folder):
    (folder / WEIGHTS).write_bytes(header(ENTRY % (b"[1000000000000]", b"[0, 16]")) + bytes(16))
    with pytest.raises(ValueError, match="is damaged .*invalid shape"):
        load_components(folder, device="cpu")


# LoRA files


def lora_file(path, notes):
    layer = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
    tensors = {f"{layer}.lora_A.weight": torch.ones(2, 32), f"{layer}.lora_B.weight": torch.ones(16, 2)}
    save_file(tensors, path, metadata={"lora_adapter_metadata": notes})


@pytest.mark.parametrize(
    "notes",
    [
        DEEP,
        "[1]",
        "7",
        "null",
        '"x"',
        "{",
        *[
            f'{{"unet.lora_alpha": {alpha}, "unet.r": {rank}}}'
            for alpha, rank in [
                ("NaN", 2),
                ("Infinity", 2),
                ("1e300", 2),
                ("1" + "0" * 400, 2),
                ('"x"', 2),
                (1, 0),
                (1, "null"),
                ("[1]", 2),
                (1, 1e-9),
            ]
        ],
    ],
)
def test_settings_of_a_lora_that_make_no_sense_are_one_sentence(tiny_postcard, tmp_path, notes):
    lora_file(tmp_path / "a.safetensors", notes)
    before = [name for name, _ in tiny_postcard.unet.named_modules()]
    with pytest.raises(ValueError, match="a.safetensors has settings that cannot be read") as caught:
        load_lora(tiny_postcard, tmp_path / "a.safetensors")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    assert before == [name for name, _ in tiny_postcard.unet.named_modules()]


@pytest.mark.parametrize(
    "name, content, words",
    [
        *[
            (name, b"version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 1\n", "pointer of Git LFS")
            for name in ("a.safetensors", "a.bin", "a.pt")
        ],
        ("a.safetensors", b"<html>", "web page"),
        ("a.bin", b"<html>", "web page"),
        ("a.bin", b"\x80\x02}.", "is a pickle"),
        ("a.safetensors", b"", "is empty"),
        ("a.safetensors", header(DEEP.encode()), "is damaged"),
        ("a.bin", header(b"{}"), "it holds no layer"),
    ],
)
def test_what_came_instead_of_a_lora_is_called_what_it_is(tiny_postcard, tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=words) as caught:
        load_lora(tiny_postcard, tmp_path / name)
    assert str(tmp_path / name) in str(caught.value) and "\n" not in str(caught.value)


def test_an_endless_lora_is_not_opened(tiny_postcard, tmp_path):
    with open(tmp_path / "a.safetensors", "wb") as file:
        file.truncate(10**12)  # without a byte on the disk
    with pytest.raises(ValueError, match="a.safetensors has 1,000,000 MB, and a LoRA file may have at most 2,000 MB"):
        load_lora(tiny_postcard, tmp_path / "a.safetensors")
