"""What tools/export_web.py writes computes what torch computes, in onnxruntime-web under node: wasm, one thread."""

import json

from helpers.runtime import seeded_noise

import numpy as np
import pytest
import torch

from helpers.conditioning import encode_prompts
from helpers.latents import preview_of
from tools.export_web import facts, fast_variant, library, lora_parts, loras

PROMPTS = ["", "a red boat on the left on a lake at sunset", "a <teal> tent in the desert by night"]
MODEL = """
const ort = await import("onnxruntime-web");
const fs = await import("node:fs");
const { Model } = await import("./model.mjs");
ort.env.wasm.numThreads = 1;
const model = new Model(ort, async (name) => new Uint8Array(fs.readFileSync(`model/${name}`)));
await model.load();
"""
NEAR = 1e-4


def test_text_encoder(javascript, exported, c):
    page = javascript(MODEL + "return [...await model.encode(given)];", PROMPTS)
    torchs = encode_prompts(c, PROMPTS).numpy()
    assert np.abs(np.array(page, np.float32).reshape(torchs.shape) - torchs).max() < NEAR


@pytest.mark.parametrize("name", ["unet", "unet-fast"])
def test_unet_for_the_rows_that_it_is_asked_for(javascript, exported, c, fast, name):
    model = {"unet": c, "unet-fast": fast}[name]
    latents, embeds = seeded_noise((2, *c.latent_shape), [0, 1]), encode_prompts(c, PROMPTS[:2])
    several = (1, 2) if model.distilled_guidance is None else (1,)
    asked = [(timestep, rows) for timestep in (1, 500, 961) for rows in several]
    page = javascript(
        MODEL
        + """
        const answers = [];
        const first = (numbers, rows) => Float32Array.from(numbers).subarray(0, numbers.length / 2 * rows);
        for (const [timestep, rows] of given.asked) {
          answers.push([...(await model.run(given.name, {
            latents: ["float32", first(given.latents, rows), [rows, 4, 16, 16]],
            timestep: ["float32", Float32Array.of(timestep), [1]],
            prompt_embeds: ["float32", first(given.embeds, rows), [rows, 77, 128]] }))[0]]);
        }
        return answers;""",
        {"latents": latents.flatten().tolist(), "embeds": embeds.flatten().tolist(), "asked": asked, "name": name},
    )
    for (timestep, rows), answer in zip(asked, page, strict=True):
        with torch.inference_mode():
            torchs = model.unet(latents[:rows], timestep, encoder_hidden_states=embeds[:rows]).sample.numpy()
        assert np.abs(np.array(answer, np.float32).reshape(torchs.shape) - torchs).max() < NEAR, (timestep, rows)


def test_decoder(javascript, exported, c):
    latents = seeded_noise((1, *c.latent_shape), 0)
    page = javascript(
        MODEL
        + """
        return [...await model.run("decoder", { latents: ["float32", Float32Array.from(given), [1, 4, 16, 16]] })];""",
        latents.flatten().tolist(),
    )
    with torch.inference_mode():
        torchs = c.vae.decode(latents).sample.numpy()
    assert np.abs(np.array(page, np.float32).reshape(torchs.shape) - torchs).max() < NEAR


def test_preview(javascript, exported, c):
    latents = seeded_noise((1, *c.latent_shape), 3)
    page = javascript(MODEL + "return [...model.preview(Float32Array.from(given))];", latents.flatten().tolist())
    colours = (preview_of(c).rgb(latents)[0].clamp(-1, 1) + 1) * 127.5
    assert np.abs(np.array(page).reshape(16, 16, 4)[..., :3] - colours.permute(1, 2, 0).numpy()).max() < 1


def test_weights_are_stored_in_half(exported, c, fast):
    """Two bytes a number, and a tenth for what an ONNX file says besides."""
    for name, network in (("unet", c.unet), ("unet-fast", fast.unet), ("decoder", c.vae.decoder)):
        numbers = sum(weight.numel() for weight in network.parameters())
        assert (exported / f"{name}.onnx").stat().st_size < 1.1 * 2 * numbers


def test_the_facts_are_this_model(exported, c):
    """An export that is older than the weights would draw another picture."""
    written = json.loads((exported / "facts.json").read_text(encoding="utf-8"))
    unet = (exported / "unet.onnx").read_bytes()
    parts = {name: lora_parts(c, folder, unet) for name, folder in loras(c).items()}
    now = json.loads(
        json.dumps(facts(c, fast_variant(c), library(c), {name: layers for name, (_, layers) in parts.items()}))
    )
    assert written.pop("sizes") == {
        file.name: file.stat().st_size for file in exported.iterdir() if file.suffix != ".json"
    }
    assert {name: (exported / f"lora-{name}.bin").read_bytes() for name in parts} == {
        name: one for name, (one, _) in parts.items()
    }
    assert np.allclose(written.pop("preview")["weight"], now.pop("preview")["weight"], atol=1e-4)
    assert written == now


def test_a_lora_is_added_to_the_weights_as_numpy_adds_it(javascript):
    draw = np.random.default_rng(0)
    rows, columns, rank, strength = 40, 24, 3, 0.75
    W = (draw.standard_normal((rows, columns)) * 10 ** draw.uniform(-8, 3, (rows, columns))).astype(np.float16)
    A, B = (draw.standard_normal(shape).astype(np.float16) / 8 for shape in ((rank, columns), (rows, rank)))
    layers = [dict(at=2, rows=rows, columns=columns, rank=rank, turned=turned) for turned in (False, True)]
    page = javascript(
        """
        const { withLora } = await import("./lora.mjs");
        return given.files.map((file, i) => [...withLora(Uint8Array.from(file), [given.layers[i]],
          Uint8Array.from(given.factors), given.strength)]);""",
        {
            "files": [[7, 7, *laid.tobytes(), 9] for laid in (W, W.T)],
            "layers": layers,
            "strength": strength,
            "factors": [*A.tobytes(), *B.tobytes()],
        },
    )
    wanted = (W.astype(float) + strength * (B.astype(float) @ A.astype(float))).astype(np.float16)
    for file, laid in zip(page, (wanted, wanted.T), strict=True):
        assert bytes(file) == b"\x07\x07" + laid.tobytes() + b"\x09"
