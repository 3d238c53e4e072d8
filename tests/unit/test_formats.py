"""Files in the layouts that strangers' files have: read as diffusers reads them, or called what they are."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers import load_components
from helpers.concepts import loaded, read_concept
from helpers.conditioning import encode_prompts
from helpers.formats import what_is
from helpers.library import brought_in, call_of, find_concepts, is_lora
from helpers.lora import add_lora, load_lora, save_lora
from helpers.lora.layers import TEXT, own_layers

peft = pytest.importorskip("peft")
ATTENTION, MLP, CONV = (
    ("to_q", "to_k", "to_v", "to_out.0"),
    ("ff.net.0.proj", "ff.net.2"),
    ("proj_in", "conv1", "conv2"),
)
SELF, FEED = ("q_proj", "k_proj", "v_proj", "out_proj"), ("fc1", "fc2")
PROMPTS = ["a red boat on a lake", ""]
ALPHA = 1.5  # of kohya's files here, whose rank is 3


@pytest.fixture(scope="module")
def ours(model_folders):
    return load_components(model_folders["sd15"], device="cpu")


@pytest.fixture(scope="module")
def theirs(model_folders):
    return load_components(model_folders["sd15"], device="cpu").pipeline()


# LoRAs: for each layout the layers it has, and what it calls the two halves of one


def dots(a, b, unet="unet."):
    return lambda name: [f"{name if name.startswith(TEXT) else unet + name}.{half}.weight" for half in (a, b)]


def text_linear(name):
    return [f"{name}.lora_linear_layer.{half}.weight" for half in ("down", "up")]


def processor(unet):
    """diffusers 0.13 to 0.20: attention alone, on its processor."""

    def names(name):
        parent, _, end = name.removesuffix(".0").rpartition(".")
        if name.startswith(TEXT):
            return [f"{parent}.to_{end.removesuffix('_proj')}_lora.{half}.weight" for half in ("down", "up")]
        return [f"{unet}{parent}.processor.{end}_lora.{half}.weight" for half in ("down", "up")]

    return names


def kohya(name):
    name = f"lora_te_{name.removeprefix(TEXT)}" if name.startswith(TEXT) else f"lora_unet_{name}"
    return [f"{name.replace('.', '_')}.lora_{half}.weight" for half in ("down", "up")]


LAYOUTS = {  # layout: (ends of layers in the U-Net, in the text encoder, names in the file there and there)
    "PEFT": (ATTENTION + MLP + CONV, SELF + FEED, dots("lora_A", "lora_B"), dots("lora_A", "lora_B")),
    "PEFT, text encoder alone": ((), SELF, dots("lora_A", "lora_B"), dots("lora_A", "lora_B")),
    "lora.down": (ATTENTION, SELF + FEED, dots("lora.down", "lora.up"), text_linear),
    "processor": (ATTENTION, (), processor("unet."), None),
    "processor and text encoder": (ATTENTION, SELF, processor("unet."), processor("unet.")),
    "processor without unet.": (ATTENTION, (), processor(""), None),
    "kohya": (ATTENTION + MLP, SELF + FEED, kohya, kohya),
    "kohya, newer text encoder": (
        (),
        SELF,
        None,
        lambda name: [one.replace("lora_te_", "lora_te1_") for one in kohya(name)],
    ),
    "kohya's convolutions": (ATTENTION + CONV, (), kohya, None),
}


def lora_file(c, layout, path, rank=3):
    """Write a file in a layout with random halves; {the course's name of a layer: what is to be added to its weights}."""
    unet_ends, text_ends, unet_names, text_names = LAYOUTS[layout]
    layers = (
        {name: layer for name, layer in own_layers(c.unet).items() if name.endswith(unet_ends)} if unet_ends else {}
    )
    layers |= {
        TEXT + name: layer
        for name, layer in own_layers(c.text_layers).items()
        if text_ends and name.endswith(text_ends)
    }
    tensors, changes, generator = {}, {}, torch.Generator().manual_seed(0)
    for name, layer in layers.items():
        sides = layer.weight.shape[2:]
        down = 0.2 * torch.randn(rank, layer.weight.shape[1], *sides, generator=generator)
        up = 0.2 * torch.randn(len(layer.weight), rank, *(1 for _ in sides), generator=generator)
        is_text = name.startswith(TEXT)
        a, b = (text_names if is_text else unet_names)(name.replace(TEXT, f"{TEXT}text_model."))
        tensors |= {a: down, b: up}
        if layout.startswith("kohya"):
            tensors[a.replace("lora_down.weight", "alpha")] = torch.tensor(ALPHA)
        changes[name] = (ALPHA / rank if layout.startswith("kohya") else 1) * up.flatten(1) @ down.flatten(1)
    save_file(tensors, path)
    return changes


def answer(unet, text_encoder, tokenizer):
    ids = tokenizer(PROMPTS, padding="max_length", max_length=77, return_tensors="pt").input_ids
    latents = torch.randn(2, 4, 24, 24, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        words = text_encoder(ids)[0]
        return words, unet(latents, 500, encoder_hidden_states=words).sample


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_lora_of_every_layout_is_read_as_diffusers_reads_it(ours, theirs, tmp_path, layout):
    changes = lora_file(ours, layout, tmp_path / "a.safetensors")
    assert len(changes) > 5
    plain = answer(ours.unet, ours.text_encoder, ours.tokenizer)
    with load_lora(ours, tmp_path / "a.safetensors") as lora:
        assert lora.changes().keys() == changes.keys()
        assert all(torch.allclose(lora.changes()[name], change, atol=1e-5) for name, change in changes.items())
        changed = answer(ours.unet, ours.text_encoder, ours.tokenizer)
        lora.merge()
        merged = answer(ours.unet, ours.text_encoder, ours.tokenizer)
    assert all(torch.equal(a, b) for a, b in zip(plain, answer(ours.unet, ours.text_encoder, ours.tokenizer)))
    if layout == "processor without unet.":  # a pipeline takes none of it, and says nothing; its U-Net takes it
        theirs.unet.load_lora_adapter(load_file(tmp_path / "a.safetensors"), prefix=None)
    else:
        theirs.load_lora_weights(tmp_path, weight_name="a.safetensors")
    try:
        layers = {
            name: layer
            for network, prefix in ((theirs.unet, ""), (theirs.text_encoder, TEXT))
            for name, layer in (
                (prefix + name.removeprefix("text_model."), layer) for name, layer in network.named_modules()
            )
            if isinstance(layer, peft.tuners.lora.LoraLayer)
        }
        assert layers.keys() == changes.keys()
        for name, layer in layers.items():
            delta = layer.get_delta_weight(layer.active_adapters[0]).flatten(1)
            assert torch.allclose(delta, changes[name], atol=1e-5), name
        drawn = answer(theirs.unet, theirs.text_encoder, theirs.tokenizer)
    finally:
        theirs.unload_lora_weights()
    for one, other, again, before in zip(changed, drawn, merged, plain):
        assert torch.allclose(one, other, atol=1e-4 * other.abs().max()) and torch.allclose(
            one, again, atol=1e-3 * other.abs().max()
        )
    assert not torch.allclose(changed[1], plain[1], atol=1e-2)


def test_a_lora_in_a_text_encoder_is_weakened_saved_and_kept_out_of_snapshots(ours, theirs, tmp_path):
    lora_file(ours, "kohya", tmp_path / "a.safetensors")
    before, plain = ours.snapshot(), encode_prompts(ours, PROMPTS)
    with load_lora(ours, tmp_path / "a.safetensors") as lora:
        strong, during = encode_prompts(ours, PROMPTS), ours.snapshot()
        assert not torch.allclose(strong, plain, atol=1e-2) and torch.equal(encode_prompts(before, PROMPTS), plain)
        lora.strength = 0
        assert torch.equal(encode_prompts(ours, PROMPTS), plain) and torch.equal(
            encode_prompts(during, PROMPTS), strong
        )
        save_lora(lora, tmp_path / "again")
    assert {
        name.split(".layers")[0]
        for name in load_file(tmp_path / "again" / "pytorch_lora_weights.safetensors")
        if name.startswith(TEXT)
    } == {"text_encoder.text_model.encoder"}, "older diffusers find it under this name alone"
    with load_lora(ours, tmp_path / "again"):
        assert torch.allclose(encode_prompts(ours, PROMPTS), strong, atol=1e-2 * strong.abs().max())
    theirs.load_lora_weights(tmp_path / "again", weight_name="pytorch_lora_weights.safetensors")
    try:
        assert torch.allclose(
            answer(theirs.unet, theirs.text_encoder, theirs.tokenizer)[0], strong, atol=1e-2 * strong.abs().max()
        )
    finally:
        theirs.unload_lora_weights()


def test_every_layer_has_its_own_alpha_and_rank(ours, tmp_path):
    tensors, names = {}, [name for name in own_layers(ours.unet) if name.endswith("attn2.to_k")]
    for k, name in enumerate(names, 1):
        down, up = kohya(name)
        tensors |= {
            down: torch.ones(k, 768),
            up: torch.ones(own_layers(ours.unet)[name].weight.shape[0], k),
            down.replace("lora_down.weight", "alpha"): torch.tensor(2.0 * k, dtype=torch.float16),
        }
    del tensors[kohya(names[0])[0].replace("lora_down.weight", "alpha")]  # without one, alpha is the rank
    save_file(tensors, tmp_path / "a.safetensors")
    with load_lora(ours, tmp_path / "a.safetensors") as lora:
        assert [layer.scale for layer in lora.layers.values()] == [1, *[2] * (len(names) - 1)]
        assert [change.max().item() for change in lora.changes().values()] == [
            1,
            *[2 * k for k in range(2, len(names) + 1)],
        ]


def test_a_lora_in_a_pickle_of_numbers_is_read(ours, tmp_path):
    changes = lora_file(ours, "processor", tmp_path / "a.safetensors")
    torch.save(load_file(tmp_path / "a.safetensors"), tmp_path / "b.bin")
    with load_lora(ours, tmp_path / "b.bin") as lora:
        assert lora.changes().keys() == changes.keys()


# Concepts


VECTORS = torch.linspace(-1, 1, 768 * 2).view(2, 768)
CONCEPTS = {  # file: (what writes it, the token it has)
    "learned_embeds.safetensors": (lambda path: save_file({"<cat>": VECTORS[0].clone()}, path), "<cat>"),
    "learned_embeds.bin": (lambda path: torch.save({"<cat>": VECTORS}, path), "<cat>"),
    "badhand.pt": (
        lambda path: torch.save(
            {
                "string_to_token": {"*": 265},
                "string_to_param": {"*": torch.nn.Parameter(VECTORS)},
                "name": "bad-hand",
                "step": 7,
                "sd_checkpoint": None,
                "sd_checkpoint_name": None,
            },
            path,
        ),
        "bad-hand",
    ),
    "EasyNegative.safetensors": (lambda path: save_file({"emb_params": VECTORS}, path), "EasyNegative"),
    "easy.pt": (lambda path: torch.save({"emb_params": VECTORS}, path), "easy"),
}


@pytest.mark.parametrize("file", CONCEPTS)
def test_a_concept_of_every_layout_is_read_as_diffusers_reads_it(ours, theirs, tmp_path, file):
    write, token = CONCEPTS[file]
    write(tmp_path / file)
    concept = read_concept(tmp_path / file)
    assert concept.token == token and read_concept(tmp_path).token == token
    theirs.load_textual_inversion(
        tmp_path, weight_name=file, **({"token": token} if file.lower().startswith("easy") else {})
    )
    try:
        with loaded(ours, concept) as model:
            for one in (
                model,
                theirs,
            ):  # in diffusers capitals are not found in a prompt, so the rows are asked for by name
                rows = one.tokenizer.convert_tokens_to_ids(concept.tokens)
                assert torch.equal(one.text_encoder.get_input_embeddings().weight[rows], concept.vectors)
            assert set(model.tokenizer.convert_tokens_to_ids(concept.tokens)) < set(
                model.tokenizer(f"a {token} boat").input_ids
            )
        assert torch.equal(concept.vectors, VECTORS[: len(concept.vectors)])
    finally:
        theirs.unload_textual_inversion()


def test_a_file_with_spaces_in_its_name_can_be_given_a_token(tmp_path):
    save_file({"emb_params": VECTORS}, tmp_path / "my cat.safetensors")
    with pytest.raises(ValueError, match="one word without spaces.* Give one, as token="):
        read_concept(tmp_path / "my cat.safetensors")
    assert read_concept(tmp_path / "my cat.safetensors", token="<my-cat>").token == "<my-cat>"


# What is called what it is


def pair(layer, a="lora_A", b="lora_B", width=768, out=8):
    return {f"{layer}.{a}.weight": torch.ones(2, width), f"{layer}.{b}.weight": torch.ones(out, 2)}


UNET = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
KOHYA = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
XL, PLAIN = (
    "was made for Stable Diffusion XL, which has two text encoders: use one",
    "load_lora reads B A alone, so ask for a plain LoRA",
)
WORST = {  # what: (its tensors, or its bytes, what is said)
    "SDXL concept": ({"clip_l": torch.ones(2, 768), "clip_g": torch.ones(2, 1280)}, XL),
    "SDXL LoRA, kohya": (pair("lora_unet_input_blocks_4_1_proj_in", "lora_down", "lora_up"), XL),
    "SDXL LoRA, kohya's text": (pair("lora_te2_text_model_encoder_layers_0_mlp_fc1", "lora_down", "lora_up"), XL),
    "SDXL LoRA, diffusers": (pair(UNET) | pair("text_encoder_2.text_model.encoder.layers.0.mlp.fc1"), XL),
    "SDXL LoRA, U-Net alone": (
        pair(UNET, width=2048),
        r"reads vectors of 2048 numbers \(Stable Diffusion XL\), and the text encoder",
    ),
    "SD 2 LoRA": (
        pair(KOHYA, "lora_down", "lora_up", width=1024),
        r"reads vectors of 1024 numbers \(Stable Diffusion 2\), and",
    ),
    "DoRA, kohya": (
        pair(KOHYA, "lora_down", "lora_up") | {f"{KOHYA}.dora_scale": torch.ones(8, 1)},
        f"is a DoRA, .*{PLAIN}",
    ),
    "DoRA, PEFT": (pair(UNET) | {f"{UNET}.lora_magnitude_vector": torch.ones(8)}, f"is a DoRA, .*{PLAIN}"),
    "LoHa": (
        {f"{KOHYA}.hada_w{k}_{half}": torch.ones(2, 2) for k in (1, 2) for half in "ab"}
        | {f"{KOHYA}.alpha": torch.tensor(1.0)},
        rf"is a LoHa \(LyCORIS\), .*{PLAIN}",
    ),
    "LoKr": (
        {
            f"{KOHYA}.lokr_w1": torch.ones(2, 2),
            f"{KOHYA}.lokr_w2": torch.ones(2, 2),
            f"{KOHYA}.alpha": torch.tensor(1.0),
        },
        rf"is a LoKr \(LyCORIS\), .*{PLAIN}",
    ),
    "LoCon with a core": (
        pair(KOHYA, "lora_down", "lora_up") | {f"{KOHYA}.lora_mid.weight": torch.ones(2, 2, 3, 3)},
        "is a LoCon with",
    ),
    "ControlLoRA": (
        {"lora_controlnet": torch.ones(0), "input_blocks.1.0.emb_layers.1.down": torch.ones(2, 2)},
        "is a ControlLoRA, ",
    ),
    "PEFT's own": (
        pair("base_model.model.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"),
        "is a LoRA as PEFT saves it",
    ),
    "names of its own": (
        pair(KOHYA.replace("unet_", "unet_unet_"), "lora_down", "lora_up"),
        "made for another model, or has names of its own .* no layer lora_unet_unet_",
    ),
    "cloneofsimo's": (
        {"unet:0:up": torch.ones(2, 2), "unet:0:down": torch.ones(2, 2)},
        "the layout of cloneofsimo's lora",
    ),
    "a whole model": (
        {"model.diffusion_model.out.2.bias": torch.ones(4), "first_stage_model.encoder.conv_in.bias": torch.ones(4)},
        "is a whole model in one file, .*from_single_file",
    ),
    "a pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 3819\n",
        "is not the file itself .*run `git lfs pull`",
    ),
    "a page": (b"<!DOCTYPE html><html>", r"is a web page \(HTML\), not the file itself: use the download link"),
    "a lone tensor's table": (
        {"a": torch.ones(2), "b": torch.ones(2)},
        r"no concept, .* and no LoRA, .*2 entries \(a, b\)",
    ),
}


@pytest.mark.parametrize("name", WORST)
def test_each_of_the_worst_files_gets_one_true_sentence(ours, tmp_path, name):
    content, words = WORST[name]
    path = tmp_path / "a.safetensors"
    path.write_bytes(content) if isinstance(content, bytes) else save_file(content, path)
    with pytest.raises(ValueError, match=words) as caught:
        load_lora(ours, path)
    said = str(caught.value)
    assert (
        said.startswith(str(path))
        and "\n" not in said
        and len(said) - len(str(path)) < 320
        and "load_lora_weights" not in said
    )
    found = what_is(path)
    assert found.problem == said or found.width not in (None, 768) or name == "names of its own"
    if found.problem:  # the other loader and the studio say the same
        with pytest.raises(ValueError, match=re.escape(said)) as other:
            read_concept(path)
        assert str(other.value) == said
    assert list(find_concepts(ours, tmp_path)) == ([] if found.width not in (None, 768) else ["a"]), (
        "what is for another model is not offered"
    )
    assert len(own_layers(ours.unet)) and not any("Lora" in type(one).__name__ for one in ours.unet.modules())


def test_a_pickle_with_odd_names_and_values_is_a_sentence(ours, tmp_path):
    for odd in ({3: torch.ones(2)}, {"unet.x.lora_A.weight": "text"}, {f"{UNET}.lora_A.weight": [1, 2]}):
        torch.save(pair(UNET) | odd, tmp_path / "a.bin")
        with pytest.raises(ValueError, match="which is no half of a changed layer"):
            load_lora(ours, tmp_path)


def test_a_file_for_the_other_loader_is_sent_there(ours, tmp_path):
    lora_file(ours, "PEFT", tmp_path / "lora.safetensors")
    save_file({"emb_params": VECTORS}, tmp_path / "concept.safetensors")
    with pytest.raises(ValueError, match="holds a LoRA, .*open it with load_lora"):
        read_concept(tmp_path / "lora.safetensors")
    with pytest.raises(ValueError, match="is a concept, .*open it with read_concept"):
        load_lora(ours, tmp_path / "concept.safetensors")
    with pytest.raises(
        FileNotFoundError, match="holds 2 files that may be meant: name one, such as concept.safetensors"
    ):
        read_concept(tmp_path)


def test_a_concept_for_stable_diffusion_2_is_named(ours, tmp_path):
    save_file({"<cat>": torch.ones(1024)}, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"vectors of 1024 numbers \(Stable Diffusion 2\), .* reads 768"):
        loaded(ours, read_concept(tmp_path)).__enter__()
    assert find_concepts(ours, tmp_path) == {}


def test_the_way_to_a_pipeline_is_shown_where_it_leads_somewhere(ours, theirs, tmp_path):
    settings = {"unet.r": 3, "unet.lora_alpha": 3, "unet.use_rslora": True}
    lora_file(ours, "PEFT", tmp_path / "b.safetensors")
    tensors = {
        name: tensor for name, tensor in load_file(tmp_path / "b.safetensors").items() if name.startswith("unet.")
    }
    targets = sorted({name.removeprefix("unet.").split(".lora_")[0] for name in tensors})
    notes = {"lora_adapter_metadata": json.dumps(settings | {"unet.target_modules": targets})}
    save_file(tensors, tmp_path / "a.safetensors", notes | {"format": "pt"})
    with pytest.raises(ValueError, match="a pipeline's load_lora_weights reads it"):
        load_lora(ours, tmp_path / "a.safetensors")
    theirs.load_lora_weights(tmp_path, weight_name="a.safetensors")
    try:
        assert sum(isinstance(one, peft.tuners.lora.LoraLayer) for one in theirs.unet.modules()) == len(targets)
    finally:
        theirs.unload_lora_weights()


def test_a_model_that_holds_a_pipelines_lora_says_so(ours, tmp_path):
    lora_file(ours, "kohya", tmp_path / "a.safetensors")
    pipe = ours.pipeline()
    pipe.load_lora_weights(tmp_path, weight_name="a.safetensors")
    try:
        for act in (lambda: load_lora(ours, tmp_path), lambda: add_lora(ours.unet)):
            with pytest.raises(ValueError, match="holds the LoRA of a pipeline already .*unload_lora_weights"):
                act()
        pipe.unload_lora_weights()
        load_lora(ours, tmp_path).remove()
    finally:
        pipe.unload_lora_weights()


# The library and the studio


def test_what_a_loader_reads_the_library_offers_and_the_studio_brings_in(ours, tmp_path):
    for k, layout in enumerate(LAYOUTS):
        (tmp_path / f"folder {k}").mkdir()
        lora_file(
            ours,
            layout,
            tmp_path / f"folder {k}" / ("pytorch_lora_weights.safetensors" if k % 2 else "own name.safetensors"),
        )
        lora_file(ours, layout, tmp_path / f"file {k}.safetensors")
    for k, (file, (write, _)) in enumerate(CONCEPTS.items()):
        (tmp_path / f"concept {k}").mkdir()
        write(tmp_path / f"concept {k}" / file)
        write(tmp_path / f"{k}-{file}")
    (tmp_path / "two").mkdir()
    for name in ("one.safetensors", "other.safetensors"):
        lora_file(ours, "kohya", tmp_path / "two" / name)
    (tmp_path / "drawn.png").write_bytes(b"no file of weights")
    library = find_concepts(ours, tmp_path)
    assert len(library) == 2 * len(LAYOUTS) + 2 * len(CONCEPTS) + 2 and {
        "two/one.safetensors",
        "two/other.safetensors",
    } <= set(library)
    for name, source in library.items():
        model, concepts = brought_in(ours, [(source, 0.5)])
        assert is_lora(source) == name.startswith(("folder", "file", "two")) == (not concepts)
        if concepts:
            assert call_of(source) == concepts[0].token
        assert not any(hasattr(one, "strength") for one in (*ours.unet.modules(), *ours.text_encoder.modules()))
        if "kohya" in name or name.startswith(("folder", "file", "two")):
            assert any(hasattr(one, "strength") for one in (*model.unet.modules(), *model.text_encoder.modules()))
