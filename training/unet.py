"""The U-Net: `python -m training.unet`. Writes runs/unet/model, a UNet2DConditionModel, and sheets of samples.

Epsilon prediction on the VAE's latents, min-SNR weighting (Hang et al. 2023), one in ten captions empty so that guidance
works. VAE and text encoder stay as they are: a picture's latents are computed once, captions are drawn anew each time.
Words are to be read where they belong: see `grounding`.
"""

import copy
import hashlib
from functools import partial
from random import Random

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor2_0
from transformers import CLIPTextModel, CLIPTokenizer

from helpers.attention import score_maps
from helpers.components import Components
from helpers.files import write_atomic
from helpers.pictures import pixels_of
from helpers.postcards.captions import caption
from helpers.postcards.judge import load_judge
from helpers.postcards.own import WORLD
from helpers.sampling import generate
from training.common import runs, save_sheet, train
from training.data import SIZE, Pictures, fingerprint, save_array
from training.grounding import TrainingAttention, grounding_loss, share_on_things, things_of_tokens
from training.settings import numbers, settings

PROMPTS = [
    "a red boat on the left on a lake below snowy mountains at sunset",
    "a blue house on the right in a snow field at night with a full moon",
    "a yellow balloon over a meadow by day with green hills",
    "a purple tent in the desert in front of red cliffs at dawn",
    "a white lighthouse in the middle in a meadow on a cloudy day in the rain",
    "a green car on the left and a pink tree on the right in a snow field in falling snow",
    "an orange tree on the right in a meadow at sunset with the sun",
    "a black flag and a red house by day in the mist",
]


def make_scheduler():
    """Stable Diffusion's noise schedule: 1000 steps, `scaled_linear` from 0.00085 to 0.012."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        prediction_type="epsilon",
    )


def make_unet(channels, layers, heads, groups, text_width):
    """A UNet2DConditionModel for 16x16 latents that reads the text at its first two sizes and begins by predicting 0."""
    crosses = [level < 2 for level in range(len(channels))]
    unet = UNet2DConditionModel(
        sample_size=SIZE // 8,
        block_out_channels=channels,
        layers_per_block=layers,
        cross_attention_dim=text_width,
        attention_head_dim=heads,
        norm_num_groups=groups,
        down_block_types=tuple("CrossAttnDownBlock2D" if cross else "DownBlock2D" for cross in crosses),
        up_block_types=tuple("CrossAttnUpBlock2D" if cross else "UpBlock2D" for cross in reversed(crosses)),
    )
    torch.nn.init.zeros_(unet.conv_out.weight)
    return unet


class Objective(torch.nn.Module):
    """The loss of the noise predicted for latents (n, 4, 16, 16) under captions ids (n, 77), and of where words are read.

    `attention`, the processor of all layers of the U-Net, keeps their maps during a training step.
    """

    def __init__(self, unet, text_encoder, min_snr, grounding):
        super().__init__()
        self.unet, self.min_snr, self.grounding = unet.to(memory_format=torch.channels_last), min_snr, grounding
        self.attention = TrainingAttention()
        unet.set_attn_processor(self.attention)
        self.frozen = [text_encoder.eval().requires_grad_(False)]  # in a list: neither trained nor saved with the rest
        alphas_cumprod = make_scheduler().alphas_cumprod
        self.register_buffer("alphas_cumprod", alphas_cumprod, persistent=False)
        self.register_buffer("snr", alphas_cumprod / (1 - alphas_cumprod), persistent=False)

    def forward(self, latents, ids, read, things, cells):
        """read (n, 77) bool: which tokens may be read. things (n, 77) and cells (n, 6, 16, 16): see `grounding`."""
        n, device = len(latents), latents.device
        with torch.no_grad():
            prompt_embeds = self.frozen[0].to(device)(ids).last_hidden_state  # (n, 77, width)
        # One timestep from each n-th part of the schedule: every batch sees all noise levels.
        timesteps = ((torch.randperm(n, device=device) + torch.rand(n, device=device)) / n * len(self.snr)).long()
        noise = torch.randn_like(latents)
        a = self.alphas_cumprod[timesteps].view(n, 1, 1, 1)
        noisy = (a.sqrt() * latents + (1 - a).sqrt() * noise).contiguous(memory_format=torch.channels_last)
        self.attention.maps = []
        noise_pred = self.unet(
            noisy, timesteps, encoder_hidden_states=prompt_embeds, encoder_attention_mask=read
        ).sample
        shares, self.attention.maps = share_on_things(self.attention.maps, things, cells), None
        error = (noise_pred.float() - noise).square().mean((1, 2, 3))
        weight = self.snr[timesteps].clamp(max=self.min_snr) / self.snr[timesteps]
        loss = (weight * error).mean() + self.grounding * grounding_loss(shares)
        return dict(loss=loss, error=error.mean()) | ({"on_things": shares.mean()} if len(shares) else {})


def stands_on():
    """What a U-Net is trained on, a hash each of VAE and text encoder."""
    return dict(
        vae=file_hash(runs("vae") / "model" / "diffusion_pytorch_model.safetensors"),
        text_encoder=file_hash(runs("clip") / "model" / "model.safetensors"),
    )


@torch.no_grad()
def cached_latents(pictures, vae, name, chunk=500):
    """The posterior's mean of all pictures, scaled, float32 (n, 4, 16, 16): computed once, kept in files of `chunk`.

    name: of the VAE's weights. The world as it is now is in the folder's name, too: the pictures of another have other latents.
    """
    folder, parts = runs("unet") / f"latents-{name}-{fingerprint()}", []
    folder.mkdir(exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    vae = vae.to(device, memory_format=torch.channels_last).eval()
    for start in range(0, len(pictures), chunk):
        indices = range(start, min(start + chunk, len(pictures)))
        path = folder / f"{start:06d}-{len(indices)}.npy"
        if not path.exists():
            pixels = pixels_of(pictures.take(indices)).to(device)
            pixels = pixels.contiguous(memory_format=torch.channels_last)
            latents = torch.cat([vae.encode(x).latent_dist.mean for x in pixels.split(250 if device == "cuda" else 20)])
            array = (latents * vae.config.scaling_factor).half().cpu().numpy()
            write_atomic(path, partial(save_array, array))
            if start // chunk % 10 == 0:
                print(f"unet: latents of {indices[-1] + 1} of {len(pictures)} pictures", flush=True)
        parts.append(np.load(path))
    return torch.from_numpy(np.concatenate(parts)).float()


class Batches:
    """Latents, for each a fresh caption's token ids, which of them may be read, and what they speak of.

    Captions that name weather are drawn `weather` times as often as others, those with two subjects `two` times, those with a
    kind or colour of one's own `own` times, with several of these their product. It is the caption that is weighed, not the picture: what a caption leaves open, and what the empty ones
    stand for, keeps the world's own frequencies. The empty ones stay `empty` of all.
    """

    def __init__(self, latents, pictures, tokenizer, settings):
        self.latents, self.scenes, self.cells, self.tokenizer = latents, pictures.scenes, pictures.cells, tokenizer
        self.batch, self.empty, self.words_only = settings.batch, settings.empty, settings.words_only
        self.weather, self.two, self.own = settings.weather, settings.two, settings.own

    def weight(self, scene, text):
        """How often this caption of this scene is drawn, beside one that names one subject and no weather."""
        weather = scene.weather != "none" and f" {scene.weather} " in f"{text} "
        two, own = len(scene.subjects) == 2, WORLD.in_scene(scene)
        return (self.weather if weather else 1.0) * (self.two if two else 1.0) * (self.own if own else 1.0)

    def draw(self, rng):
        """(number of a picture, a caption of it): drawn evenly, then kept with a chance in proportion to its weight."""
        empty, most = rng.random() < self.empty, max(1.0, self.weather) * max(1.0, self.two) * max(1.0, self.own)
        while True:
            i = rng.randrange(len(self.scenes))
            text = "" if empty else caption(self.scenes[i], rng)
            if empty or rng.random() * most < self.weight(self.scenes[i], text):
                return i, text

    def __call__(self, rng, step, steps):
        indices, texts = zip(*(self.draw(rng) for _ in range(self.batch)))
        indices = list(indices)
        tokens = self.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
        words = tokens.attention_mask.cumsum(1) < tokens.attention_mask.sum(
            1, keepdim=True
        )  # not the end, not the padding
        free = torch.tensor([text == "" or rng.random() >= self.words_only for text in texts])
        things = [things_of_tokens(self.tokenizer, text, self.scenes[i]) for text, i in zip(texts, indices)]
        return dict(
            latents=self.latents[indices],
            ids=tokens.input_ids,
            read=words | free[:, None],
            things=torch.tensor(things),
            cells=torch.from_numpy(self.cells[indices]) / 255,
        )


def file_hash(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def shipped_hash(network):
    """A name for a network's weights as they are shipped, in float16: the same for the folder of a run and the bundle's."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode() + tensor.half().contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()[:12]


def main(argv=None):
    chosen, options = settings(
        "unet",
        argv,
        fresh=(False, "begin anew"),
        start=("", "folder of a U-Net whose weights to begin with, of the shape set here"),
    )
    torch.manual_seed(chosen.seed)
    vae = AutoencoderKL.from_pretrained(runs("vae") / "model")
    text_encoder = CLIPTextModel.from_pretrained(runs("clip") / "model")
    tokenizer = CLIPTokenizer.from_pretrained(runs("clip") / "tokenizer")
    given = stands_on()
    pictures, validation = Pictures("train", chosen.pictures), Pictures("validation")
    latents = cached_latents(pictures, vae, given["vae"])
    print(f"unet: {len(latents)} latents, mean {latents.mean():.3f}, standard deviation {latents.std():.3f}")
    unet = make_unet(
        numbers(chosen.channels), chosen.layers, chosen.heads, chosen.groups, text_encoder.config.hidden_size
    )
    if options.start:
        unet.load_state_dict(UNet2DConditionModel.from_pretrained(options.start).state_dict())
    objective = Objective(unet, text_encoder, chosen.min_snr, chosen.grounding)

    judge_folder, rng = runs("judge") / "model", Random(0)
    prompts = PROMPTS + [caption(scene, rng) for scene in validation.scenes[: chosen.watch_captions]]

    def watch(ema, step):
        """Sheet of PROMPTS; how well the judge finds some more captions shown."""
        device = next(ema.unet.parameters()).device
        ema.unet.save_pretrained(runs("unet") / "latest")
        drawing = copy.deepcopy(ema.unet)
        drawing.set_attn_processor(AttnProcessor2_0())  # the library's, whose maps can be recorded
        c = Components(
            tokenizer=tokenizer,
            text_encoder=text_encoder.to(device),
            vae=vae.to(device),
            unet=drawing,
            scheduler=make_scheduler(),
            name="training",
            path=runs("unet"),
            guidance=chosen.guidance,
        )
        images = generate(c, prompts, steps=chosen.watch_steps, seed=0)
        save_sheet(runs("unet") / "samples.png", np.stack(images[: len(PROMPTS)]), columns=4)
        save_sheet(runs("unet") / f"samples-{step:06d}.png", np.stack(images[: len(PROMPTS)]), columns=4)
        if not (judge_folder / "config.json").exists():
            return {}
        scores = load_judge(judge_folder).agreement(images, prompts)
        pointing = score_maps(c, validation.scenes[: chosen.watch_captions])["default"].pointing
        return {key: score.right for key, score in scores.items() if score.n} | {"pointing": pointing}

    ema = train(
        "unet",
        objective,
        Batches(latents, pictures, tokenizer, chosen),
        chosen,
        plain=("conv_in", "conv_out"),
        watch=watch,
        given=given,
        fresh=options.fresh,
    )
    ema.unet.save_pretrained(runs("unet") / "model")


if __name__ == "__main__":
    main()
