"""helpers.components and helpers.hub: what loads, the facts computed from it, and what bad input gets."""

import json
import shutil

import diffusers
import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTokenizer

from helpers import components, hub, load_components
from helpers.conditioning import split_prompt, token_positions


@pytest.fixture
def folder(model_folders, tmp_path):
    """A copy of the postcard-shaped model that a test may break."""
    return shutil.copytree(model_folders["postcard"], tmp_path / "model")


# What loads


@pytest.mark.parametrize(
    "shape, image_size, latent_shape, guidance", [("postcard", 128, (4, 16, 16), 3.0), ("sd15", 192, (4, 24, 24), 7.5)]
)
def test_facts_are_computed_from_the_parts(model_folders, shape, image_size, latent_shape, guidance):
    c = load_components(model_folders[shape], device="cpu")
    assert (c.image_size, c.latent_shape) == (image_size, latent_shape)
    assert (c.vae_scale_factor, c.max_tokens) == (8, 77)
    assert (c.guidance, c.trained, c.world) == (guidance, False, "")
    assert (c.name, c.path) == (str(model_folders[shape]), model_folders[shape])
    assert repr(c).startswith("Components(") and "on cpu in float32" in repr(c)


def test_fp16_files_are_float32_on_a_cpu_and_frozen(tiny):
    stored = load_file(tiny.path / "unet" / "diffusion_pytorch_model.safetensors")
    assert {weight.dtype for weight in stored.values()} == {torch.float16}
    for part in (tiny.text_encoder, tiny.vae, tiny.unet):
        assert {weight.dtype for weight in part.parameters()} == {torch.float32}
        assert not part.training and not any(weight.requires_grad for weight in part.parameters())


def test_the_vocabulary_fits_the_text_encoder(tiny):
    assert len(tiny.tokenizer) == tiny.text_encoder.config.vocab_size
    assert tiny.tokenizer("a red boat").input_ids[0] == tiny.text_encoder.config.bos_token_id
    assert tiny.tokenizer.decode(tiny.tokenizer("A Red zebra!").input_ids[1:-1]).strip() == "a red zebra !"


def test_half_precision_files_are_preferred(folder):
    plain = folder / "unet" / "diffusion_pytorch_model.safetensors"
    plain.rename(plain.with_name("diffusion_pytorch_model.fp16.safetensors"))
    plain.write_bytes(b"not read")
    assert load_components(folder, device="cpu").dtype == torch.float32


# Variants


def test_a_variant_brings_its_own_weights_and_card_and_shares_the_rest(fast_folder):
    plain, fast = (load_components(fast_folder, device="cpu", variant=one) for one in (None, "fast"))
    assert (plain.guidance, plain.steps, plain.distilled_guidance) == (3.0, 25, None)
    assert (fast.guidance, fast.steps, fast.distilled_guidance) == (1.0, 2, 3.0)
    assert torch.equal(fast.unet.conv_out.weight, -plain.unet.conv_out.weight)
    assert all(torch.equal(a, b) for a, b in zip(fast.vae.parameters(), plain.vae.parameters()))
    assert fast.trained is plain.trained is False and fast.path == fast_folder


def shared(one, other):
    """For each weight of a network whether it lies in the memory of the other's."""
    return [a.data_ptr() == b.data_ptr() for a, b in zip(one.parameters(), other.parameters(), strict=True)]


def test_a_model_takes_the_memory_of_one_already_loaded_where_asked_and_its_unet_stays_apart(fast_folder):
    plain, alone = (
        load_components(fast_folder, device="cpu"),
        load_components(fast_folder, device="cpu", variant="fast"),
    )
    fast = load_components(fast_folder, device="cpu", variant="fast", sharing=plain)
    for part in ("text_encoder", "vae"):
        assert all(shared(getattr(fast, part), getattr(plain, part))) and not any(
            shared(getattr(alone, part), getattr(plain, part))
        )
        assert getattr(fast, part) is not getattr(plain, part)
    twice = load_components(fast_folder, device="cpu", sharing=plain)
    assert not any(shared(fast.unet, plain.unet)) and not any(shared(twice.unet, plain.unet)), (
        "every model owns its U-Net"
    )


def test_what_happens_to_one_of_two_models_that_share_does_not_reach_the_other(fast_folder):
    plain = load_components(fast_folder, device="cpu")
    words, latents = torch.tensor([[1, 2, 3]]), torch.ones(1, *plain.latent_shape)
    with torch.inference_mode():
        before = [plain.text_encoder(words).last_hidden_state, plain.vae.decode(latents).sample]
    fast = load_components(fast_folder, device="cpu", variant="fast", sharing=plain)
    fast.vae.to(torch.float16), fast.text_encoder.to(torch.float64)
    fast.vae.decoder.conv_in.register_forward_hook(lambda *given: torch.zeros_like(given[-1]))
    layers = fast.text_layers.encoder.layers[0]
    layers.mlp.fc1 = torch.nn.Identity()  # as a LoRA does, which puts a layer of its own there
    assert plain.vae.dtype == plain.text_encoder.dtype == torch.float32
    with torch.inference_mode():
        after = [plain.text_encoder(words).last_hidden_state, plain.vae.decode(latents).sample]
    assert all(torch.equal(one, other) for one, other in zip(before, after))


def test_only_a_network_that_is_frozen_and_still_what_its_file_holds_is_shared(fast_folder, model_folders):
    plain = load_components(fast_folder, device="cpu")
    plain.vae.decoder.conv_in.weight.data += 1  # no longer what its file holds
    fast = load_components(fast_folder, device="cpu", variant="fast", sharing=plain)
    fresh = load_components(fast_folder, device="cpu", variant="fast")
    assert not any(shared(fast.vae, plain.vae)) and all(shared(fast.text_encoder, plain.text_encoder))
    assert all(torch.equal(a, b) for a, b in zip(fast.vae.parameters(), fresh.vae.parameters())), "as in its file"
    plain.text_layers.final_layer_norm.weight.requires_grad_(True)  # about to change
    fast = load_components(fast_folder, device="cpu", variant="fast", sharing=plain)
    assert not any(shared(fast.text_encoder, plain.text_encoder))
    elsewhere = load_components(model_folders["postcard"], device="cpu", sharing=fresh)
    assert not any(shared(elsewhere.vae, fresh.vae)), "another folder, with settings of its own"
    with pytest.raises(TypeError, match="sharing must be a model from load_components, or None, not 'postcard'"):
        load_components(fast_folder, device="cpu", sharing="postcard")


def test_hooks_of_the_first_model_stay_behind(fast_folder):
    plain, seen = load_components(fast_folder, device="cpu"), []
    plain.text_encoder.register_forward_hook(lambda *given: seen.append(given))
    fast = load_components(fast_folder, device="cpu", variant="fast", sharing=plain)
    assert all(shared(fast.text_encoder, plain.text_encoder))
    fast.text_encoder(torch.tensor([[1, 2, 3]]))
    assert seen == []
    plain.text_encoder(torch.tensor([[1, 2, 3]]))
    assert len(seen) == 1


def test_the_library_loads_the_variant_by_itself(fast_folder, tiny_fast):
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(fast_folder, variant="fast")
    assert all(torch.equal(a, b.cpu()) for a, b in zip(pipe.unet.parameters(), tiny_fast.unet.parameters()))
    assert all(
        torch.equal(a, b.cpu()) for a, b in zip(pipe.text_encoder.parameters(), tiny_fast.text_encoder.parameters())
    )


def test_the_fast_model_has_a_name_that_wins_over_course_model(fast_folder, model_folders, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_MODEL", str(model_folders["sd15"]))
    monkeypatch.setitem(components.MODELS, "postcard-fast", fast_folder)
    c = load_components("postcard-fast", device="cpu")
    assert (c.name, c.path, c.distilled_guidance) == (
        "postcard-fast",
        fast_folder,
        3.0,
    ) and capsys.readouterr().out == ""


def test_the_fast_model_can_take_the_place_of_the_bundled_one(fast_folder, monkeypatch, capsys):
    monkeypatch.setitem(components.MODELS, "postcard-fast", fast_folder)
    monkeypatch.setenv("COURSE_MODEL", "postcard-fast")
    assert load_components(device="cpu").steps == 2
    assert capsys.readouterr().out == 'COURSE_MODEL is set: postcard-fast takes the place of "postcard".\n'


@pytest.mark.parametrize("variant", ["slow", "", "../fast", 7])
def test_an_unknown_variant_is_named_and_the_known_ones_are_listed(fast_folder, model_folders, variant):
    with pytest.raises(ValueError, match=r'has no variant called .*: it has "fast"\.$'):
        load_components(fast_folder, device="cpu", variant=variant)
    with pytest.raises(ValueError, match=r"has no variant called .*: it has none\.$"):
        load_components(model_folders["sd15"], device="cpu", variant="fast")


def test_a_variant_without_its_weights_or_with_half_of_them_is_named(fast_folder, tmp_path):
    folder = shutil.copytree(fast_folder, tmp_path / "model")
    weights = folder / "unet" / "diffusion_pytorch_model.fast.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ValueError, match="fast.safetensors is damaged .*Fetch it again"):
        load_components(folder, device="cpu", variant="fast")
    weights.unlink()
    with pytest.raises(
        FileNotFoundError, match="lists a variant 'fast', and no network there has weights of that name"
    ):
        load_components(folder, device="cpu", variant="fast")
    assert load_components(folder, device="cpu").steps == 25


# COURSE_MODEL


@pytest.mark.parametrize("name", [None, "postcard"])
def test_course_model_takes_the_place_of_the_bundled_one(model_folders, monkeypatch, capsys, name):
    monkeypatch.setenv("COURSE_MODEL", str(model_folders["sd15"]))
    assert load_components(name, device="cpu").path == model_folders["sd15"]
    line = f'COURSE_MODEL is set: {model_folders["sd15"]} takes the place of "postcard".\n'
    assert capsys.readouterr().out == line


def test_any_other_name_wins_over_course_model(model_folders, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_MODEL", str(model_folders["sd15"]))
    assert load_components(model_folders["postcard"], device="cpu").path == model_folders["postcard"]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("value", ["", "postcard"])
@pytest.mark.parametrize("name", [None, "postcard"])
def test_without_course_model_it_is_the_bundled_one(model_folders, monkeypatch, capsys, name, value):
    monkeypatch.setenv("COURSE_MODEL", value)
    monkeypatch.setitem(components.MODELS, "postcard", model_folders["postcard"])
    assert load_components(name, device="cpu").path == model_folders["postcard"]
    assert capsys.readouterr().out == ""


def test_a_course_model_that_is_not_there_is_named(monkeypatch, capsys):
    monkeypatch.setenv("COURSE_MODEL", "/no/such/model")
    with pytest.raises(FileNotFoundError, match="There is no model folder '/no/such/model'"):
        load_components("postcard")
    assert "COURSE_MODEL is set" in capsys.readouterr().out


def test_without_a_card_guidance_is_the_fields_default(folder):
    (folder / "course.json").unlink()
    c = load_components(folder, device="cpu")
    assert (c.guidance, c.trained, c.world) == (7.5, True, "")


def test_pipeline_is_silent_and_shares_all_but_the_scheduler(tiny, capfd):
    pipe = tiny.pipeline()
    pipe("a red boat", num_inference_steps=2, output_type="latent")
    assert capfd.readouterr() == ("", "")
    assert pipe.unet is tiny.unet and pipe.vae is tiny.vae and pipe.scheduler is not tiny.scheduler
    assert tiny.scheduler.num_inference_steps is None


# Names and folders


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match='no model called \'nonsense\'.*"postcard", "sd15", "sd14"'):
        load_components("nonsense")


@pytest.mark.parametrize("name", ["/no/such/folder", "./nowhere", "~/nowhere", "a/b/c"])
def test_missing_folder(name):
    with pytest.raises(FileNotFoundError, match="There is no model folder"):
        load_components(name)


@pytest.mark.parametrize("gone", ["tokenizer", "text_encoder", "vae", "unet", "scheduler"])
def test_missing_part_is_named(folder, gone):
    shutil.rmtree(folder / gone)
    with pytest.raises(FileNotFoundError, match=f"not a whole model: {gone}/.* is missing"):
        load_components(folder)


def test_missing_bundle_says_that_the_copy_is_incomplete(monkeypatch, tmp_path):
    monkeypatch.setitem(components.MODELS, "postcard", tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="the copy of the course is incomplete"):
        load_components("postcard")


def test_pickled_weights_are_not_opened(folder):
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(FileNotFoundError, match="vae has no weights in the safetensors format"):
        load_components(folder)


# Damage


@pytest.mark.parametrize(
    "part, file",
    [
        ("text_encoder", "model.safetensors"),
        ("vae", "diffusion_pytorch_model.safetensors"),
        ("unet", "diffusion_pytorch_model.safetensors"),
    ],
)
@pytest.mark.parametrize("keep", [0, 5, 100, 0.5, -1])
def test_truncated_weights_are_named(folder, part, file, keep):
    path = folder / part / file
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(ValueError, match=f"The weight file .*{part}.{file} is damaged"):
        load_components(folder)


def test_garbage_weights_are_named(folder):
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"<html>not found</html>" * 100)
    with pytest.raises(ValueError, match="unet.diffusion_pytorch_model.safetensors is a web page"):
        load_components(folder)


@pytest.mark.parametrize("part, file", [("text_encoder", "model"), ("unet", "diffusion_pytorch_model")])
def test_a_missing_weight_does_not_stay_random(folder, part, file):
    path = folder / part / f"{file}.safetensors"
    weights = load_file(path)
    weights.pop(sorted(weights)[0])
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=f"{part}.*1 weights are missing"):
        load_components(folder)


@pytest.mark.parametrize(
    "file",
    [
        "unet/config.json",
        "text_encoder/config.json",
        "tokenizer/vocab.json",
        "scheduler/scheduler_config.json",
        "course.json",
    ],
)
def test_a_damaged_text_file_is_named(folder, file):
    (folder / file).write_text("{half")
    with pytest.raises(ValueError, match=file.split("/")[0]):
        load_components(folder)


def test_scheduler_of_unknown_class(folder):
    (folder / "scheduler" / "scheduler_config.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    with pytest.raises(ValueError, match="names no scheduler"):
        load_components(folder)


def test_parts_that_do_not_fit(folder, model_folders):
    shutil.rmtree(folder / "text_encoder")
    shutil.copytree(model_folders["sd15"] / "text_encoder", folder / "text_encoder")
    with pytest.raises(ValueError, match="vectors of 768 numbers, the U-Net reads 32"):
        load_components(folder)


@pytest.mark.parametrize("asked", ["time_cond_proj_dim", "num_class_embeds"])
def test_a_u_net_that_reads_more_than_words_and_a_time_is_refused(folder, asked):
    """It would load, and draw something else than it can, or fail inside the library."""
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    changed = UNet2DConditionModel.from_config({**unet.config, asked: 32})
    changed.save_pretrained(folder / "unet")
    with pytest.raises(ValueError, match=f"reads more than words and a time .{asked} in its config.json"):
        load_components(folder)


def test_a_tokenizer_that_does_not_say_how_much_is_read_is_told(folder, model_folders):
    for path in (folder / "tokenizer").glob("tokenizer_config.json"):
        about = json.loads(path.read_text())
        about.pop("model_max_length", None)
        path.write_text(json.dumps(about))
    c = load_components(folder, device="cpu")
    assert c.tokenizer.model_max_length == c.max_tokens == 77
    assert len(split_prompt(c.tokenizer, "boat " * 90)) > 77
    with pytest.raises(ValueError, match="comes too late"):
        token_positions(c.tokenizer, "boat " * 90 + "red", "red")


def test_a_tokenizer_pads_as_it_is_told_to_last(folder):
    c, library = load_components(folder, device="cpu"), CLIPTokenizer.from_pretrained(folder / "tokenizer")
    for pad in ("!", "a</w>"):
        found = []
        for one in (c.tokenizer, library):
            one(["a"])
            one.pad_token = pad
            found.append(one(["a"], padding="max_length", max_length=6).input_ids)
        assert found[0] == found[1]


# Device, number format, memory


def test_float16_on_a_cpu_is_refused_before_anything_is_read():
    with pytest.raises(ValueError, match="runs this course in float32, not in torch.float16"):
        load_components("postcard", device="cpu", dtype=torch.float16)


def test_a_full_graphics_card_is_told_in_gigabytes(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (int(1e9), int(16e9)))
    with pytest.raises(MemoryError, match="needs about 3.0 GB of GPU memory, and 1.0 of 16.0 GB are free"):
        components._check_memory(2e9, "cuda")
    components._check_memory(0.5e9, "cuda")


# Which files of a repository (fetching them: tests/faults/test_hub.py)


def test_half_precision_and_safe_files_are_chosen():
    names = ["model.safetensors", "model.fp16.safetensors", "model.bin"]
    assert hub.weights_file(names) == "model.fp16.safetensors"
    assert hub.weights_file(["diffusion_pytorch_model.non_ema.safetensors", "config.json"]) is None
