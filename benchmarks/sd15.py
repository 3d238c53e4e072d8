"""Stable Diffusion 1.5's size with random weights, and the ways to draw a picture with it that `gpu`
compares."""

import copy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from helpers.runtime import seeded_noise

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from benchmarks.measure import PROMPT
from helpers import denoise, generate
from helpers.attention.record import AttentionRecord, reading_layers
from helpers.components import MODELS, Components

SD15 = {  # as the configuration files of Stable Diffusion 1.5 have it
    "text": {
        "vocab_size": 49408,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
    },
    "vae": {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "sample_size": 512},
    "unet": {
        "sample_size": 64,
        "block_out_channels": (320, 640, 1280, 1280),
        "layers_per_block": 2,
        "attention_head_dim": 8,
        "cross_attention_dim": 768,
    },
}
ORDER = "down", "mid", "up"  # blocks, as the U-Net calls them
TINY = {  # to try the script
    "text": {
        "vocab_size": 49408,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    },
    "vae": {"block_out_channels": (8, 8, 8, 8), "layers_per_block": 1, "sample_size": 64, "norm_num_groups": 4},
    "unet": {
        "sample_size": 8,
        "block_out_channels": (16, 16, 32, 32),
        "layers_per_block": 1,
        "attention_head_dim": 2,
        "cross_attention_dim": 32,
        "norm_num_groups": 8,
    },
}


def build(shape, device, dtype):
    """Components of random weights. shape: SD15 or TINY. The tokenizer is the bundled model's."""
    tokenizer = CLIPTokenizer.from_pretrained(MODELS["postcard"] / "tokenizer", local_files_only=True)
    torch.manual_seed(0)
    parts = networks(shape, device, tokenizer)
    for network in parts.values():
        network.to(dtype, memory_format=torch.channels_last).eval().requires_grad_(False)
    return Components(
        tokenizer=tokenizer,
        **parts,
        name="random weights",
        path=Path("."),
        guidance=7.5,
        trained=False,
        scheduler=DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            steps_offset=1,
            clip_sample=False,
            set_alpha_to_one=False,
        ),
    )


def networks(shape, device, tokenizer):
    """{"text_encoder": ..., "vae": ..., "unet": ...} of a shape, made on a device."""
    blocks = ["CrossAttn{}Block2D"] * 3 + ["{}Block2D"]
    marks = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    with torch.device(device):
        return {
            "text_encoder": CLIPTextModel(CLIPTextConfig(max_position_embeddings=77, **marks, **shape["text"])),
            "vae": AutoencoderKL(
                latent_channels=4,
                down_block_types=("DownEncoderBlock2D",) * 4,
                up_block_types=("UpDecoderBlock2D",) * 4,
                **shape["vae"],
            ),
            "unet": UNet2DConditionModel(
                down_block_types=[one.format("Down") for one in blocks],
                up_block_types=[one.format("Up") for one in reversed(blocks)],
                **shape["unet"],
            ),
        }


def random_record(unet, size, steps, heads):
    """An AttentionRecord of one picture, as if the U-Net had drawn it, with maps at random. size: (h, w) of latents."""
    record, draw = AttentionRecord(heads, guidance=False), torch.Generator().manual_seed(0)
    layers = reading_layers(unet, *size)
    record.layer_count = len(layers)
    for _ in range(steps):
        record.begin_step(unet, (torch.zeros(1, 4, *size), 0, torch.zeros(1, 77, 1)), {})
        for name in sorted(layers, key=lambda name: (ORDER.index(name.split("_")[0]), name)):
            query, key = (torch.randn(1, layers[name][1], n, 2, generator=draw) for n in (layers[name][0], 77))
            record.look(name, query, key, 1.0, None)
    return record


# The ways to draw a picture with it


def ways_of(c, steps):
    """{name: way to draw}: `generate` first, which all others are compared with.

    Components have their weights channels-last, as `load_components` gives them; the pipeline has them as
    from_pretrained does.
    """
    plain = replace(c, unet=contiguous(c.unet), vae=contiguous(c.vae))
    return {
        "generate": Ours(c, steps),
        "generate, not channels-last": Ours(plain, steps),
        "StableDiffusionPipeline": Library(plain, steps),
        "generate, torch.compile": Ours(replace(c, unet=compiled(c.unet)), steps),
        "generate, CUDA graph": Ours(replace(c, unet=Graphed(c.unet)), steps),
        "generate, compiled, in a graph": Ours(replace(c, unet=Graphed(compiled(c.unet))), steps),
    }


class Ours:
    """`generate` with some Components: latents(prompt, seed) on the CPU, picture()."""

    def __init__(self, c, steps):
        self.c, self.settings = c, {"steps": steps}

    def latents(self, prompt=PROMPT, seed=0):
        for step in denoise(self.c, prompt, seed=seed, **self.settings):
            pass
        return step.latents.float().cpu()  # waits for the GPU

    def picture(self):
        return generate(self.c, PROMPT, seed=0, **self.settings)


class Library:
    """StableDiffusionPipeline over the same parts, from the same noise."""

    def __init__(self, c, steps):
        self.c, self.steps, self.pipe = c, steps, c.pipeline()

    def draw(self, output_type, prompt=PROMPT, seed=0):
        noise = seeded_noise((1, *self.c.latent_shape), seed, self.c.device, self.c.dtype)
        return self.pipe(
            prompt,
            num_inference_steps=self.steps,
            guidance_scale=self.c.guidance,
            latents=noise,
            output_type=output_type,
        ).images

    def latents(self, prompt=PROMPT, seed=0):
        return self.draw("latent", prompt, seed).float().cpu()

    def picture(self):
        return self.draw("pil")[0]


def contiguous(network):
    """A copy whose weights do not lie in memory as convolutions on tensor cores read them."""
    return copy.deepcopy(network).to(memory_format=torch.contiguous_format)


def compiled(unet):
    """The same weights behind torch.compile; on the CPU, where only the script is tried, nothing is
    generated."""
    return torch.compile(unet, backend="inductor" if unet.device.type == "cuda" else "eager")


class Graphed:
    """A U-Net whose call is captured at the first one as a CUDA graph, and then replayed: one launch, no
    Python.

    A graph reads its inputs always at the same place, so they are copied there. Source: the CUDA graphs
    chapter of PyTorch's documentation. On the CPU, where only the script is tried, the call is made instead.
    """

    def __init__(self, unet):
        self.unet, self.inputs, self.graph = unet, None, None

    def __getattr__(self, name):
        return getattr(self.unet, name)

    def __call__(self, sample, timestep, encoder_hidden_states):
        given = sample, timestep, encoder_hidden_states
        if self.inputs is None:
            self.inputs = [one.to(self.unet.device, copy=True) for one in given]
            if self.unet.device.type == "cuda":
                self.capture()
        for place, one in zip(self.inputs, given, strict=True):
            place.copy_(one)
        if self.graph is None:
            self.output = self.call()
        else:
            self.graph.replay()
        return SimpleNamespace(sample=self.output.clone())  # the next replay writes there again

    def call(self):
        sample, timestep, encoder_hidden_states = self.inputs
        return self.unet(sample, timestep, encoder_hidden_states=encoder_hidden_states).sample

    def capture(self):
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):  # libraries choose kernels and torch.compile compiles: not to be captured
                self.call()
        torch.cuda.current_stream().wait_stream(aside)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.output = self.call()
