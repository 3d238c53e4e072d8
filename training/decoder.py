"""A sharper decoder for the same latents: `python -m training.decoder`. Writes runs/decoder/model, the VAE that is exported.

The encoder stays as it is, so the latents do too: a U-Net that is trained, or being trained, goes on fitting. Loss:
squared error in RGB (what PSNR counts), L1 and L1 on differences in Oklab, means of 4x4, the strength of edges in
windows of 8x8, and on whole pictures what the course's own image tower sees. Late in the run a small critic of patches joins in,
whose gradient at the last layer is held to a fraction of all the others'. Each has its weight in the settings; 0 leaves it out.
"""

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from transformers import CLIPVisionModel

from helpers.pictures import images_of_pixels, pixels_of
from training.common import runs, save_sheet, train
from training.data import SIZE, Pictures
from training.settings import settings
from training.sharpness import Critic, differences, edge_energy, energy_gap, feature_gap, held, oklab
from training.unet import file_hash
from training.vae import Batches as Crops
from training.vae import psnr, reconstruct


def freeze_encoder(vae):
    """Leave only what comes after the latents to be trained."""
    for part in (vae.encoder, vae.quant_conv):
        part.requires_grad_(False)
    return vae


@torch.no_grad()
def deepen(vae, layers):
    """The same autoencoder with `layers` resnets a block; the new ones, last in each block, add zero at first.

    AutoencoderKL has one shape for both halves, so the encoder gets them too: frozen, they stay the identity, and its
    latents stay the same bits. ValueError for fewer layers than it has.
    """
    if layers < vae.config.layers_per_block:
        raise ValueError(f"layers={layers}: this autoencoder has {vae.config.layers_per_block} a block already")
    deeper = AutoencoderKL.from_config({**vae.config, "layers_per_block": layers})
    missing = deeper.load_state_dict(vae.state_dict(), strict=False).missing_keys
    for name in missing:
        if ".conv2." in name or name.startswith("encoder."):  # the encoder's are never trained: zeros throughout
            deeper.get_parameter(name).zero_()
    return deeper


class Objective(torch.nn.Module):
    """The loss of pictures decoded from frozen latents; with settings.critic > 0 also the critic's own, in the same step.

    tower: the image tower whose features are compared (a CLIPVisionModel), or None.
    """

    def __init__(self, vae, settings, tower=None):
        super().__init__()
        self.vae, self.settings = freeze_encoder(vae).to(memory_format=torch.channels_last), settings
        self.critic = Critic(settings.critic_width) if settings.critic else None
        self.frozen = [tower.eval().requires_grad_(False) if tower else None]  # in a list: neither trained nor saved

    def forward(self, pixels, critic):
        """pixels (n, 3, H, W) in -1..1; critic: how much of its share the critic has by now, 0..1, None before it begins."""
        s, x = self.settings, pixels.contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            latents = self.vae.encode(x).latent_dist.sample()  # (n, 4, H/8, W/8)
        y = self.vae.decode(latents).sample.float()
        seen, wanted = oklab(y), oklab(x)
        terms = dict(
            squared=(y - x).square().mean(),
            l1=(seen - wanted).abs().mean(),
            edges=sum((a - b).abs().mean() for a, b in zip(differences(seen), differences(wanted))),
            lowpass=(F.avg_pool2d(y, 4) - F.avg_pool2d(x, 4)).abs().mean(),
            energy=energy_gap(y, x),
        )
        if s.features and x.shape[-1] == SIZE:
            terms["features"] = feature_gap(self.frozen[0].to(x.device), y, x)
        loss = sum(getattr(s, name) * term for name, term in terms.items())
        terms["kept"] = (edge_energy(y).sum() / edge_energy(x).sum()).detach()
        if self.critic is not None:
            loss = loss + 0 * sum(
                p.sum() for p in self.critic.parameters()
            )  # several GPUs want a gradient for each at every step
            if critic is not None:
                likes = self.critic.likes(y)
                factor = held(likes, loss, self.vae.decoder.conv_out.weight, s.critic * critic)
                terms["critic"] = self.critic.learns(y, x)
                loss = loss + factor * likes + terms["critic"]
        return dict(loss=loss, **terms)


class Batches(Crops):
    """Crops, then whole pictures, and how far the critic has come in: it begins to learn at `critic_from` of the run,
    and its share rises from nothing over the next twentieth."""

    def __call__(self, rng, step, steps):
        done = step / steps - self.settings.critic_from
        return dict(
            pixels=super().__call__(rng, step, steps)["pixels"], critic=min(1.0, 20 * done) if done >= 0 else None
        )


@torch.no_grad()
def latents_gap(vae, other, seed=0):
    """How far the scaled latents of two autoencoders are apart, at most, on pictures of noise, flat and of stripes."""
    noise = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    flat = torch.linspace(-1, 1, 3).view(1, 3, 1, 1).expand(1, 3, SIZE, SIZE)
    stripes = torch.arange(SIZE).remainder(8).div(3.5).sub(1).expand(1, 3, SIZE, SIZE)
    pixels = torch.cat([noise, flat, stripes])
    a, b = (net.encode(pixels).latent_dist.mean * net.config.scaling_factor for net in (vae, other))
    return (a - b).abs().max().item()


def check_latents(vae, other, names):
    """ValueError unless two autoencoders write the same latents; names: what the two are, for the message."""
    gap = latents_gap(vae, other)
    if not gap < 1e-4:
        raise ValueError(
            f"{names[0]} writes other latents than {names[1]} ({gap:.2g} apart): a decoder goes on only "
            "from one with the same encoder"
        )


def main(argv=None):
    chosen, options = settings(
        "decoder",
        argv,
        fresh=(False, "begin anew"),
        start=("", "folder of a VAE with the same encoder whose decoder to begin with"),
    )
    torch.manual_seed(chosen.seed)
    encoder = runs("vae") / "model"
    vae = deepen(AutoencoderKL.from_pretrained(options.start or encoder), chosen.layers)
    check_latents(vae, AutoencoderKL.from_pretrained(encoder), (options.start or "the decoder", encoder))
    tower = CLIPVisionModel.from_pretrained(runs("clip") / "model") if chosen.features else None
    objective = Objective(vae, chosen, tower)
    pictures, validation = Pictures("train"), Pictures("validation")
    validation = pixels_of(validation.take(range(min(100, len(validation)))))

    def watch(ema, step):
        decoded = reconstruct(ema.vae, validation)
        shown = torch.cat([validation[:8], decoded[:8], validation[8:16], decoded[8:16]])
        save_sheet(runs("decoder") / "reconstructions.png", images_of_pixels(shown), columns=8)
        ema.vae.save_pretrained(runs("decoder") / "latest")
        return dict(
            psnr=psnr(decoded, validation), kept=(edge_energy(decoded).sum() / edge_energy(validation).sum()).item()
        )

    ema = train(
        "decoder",
        objective,
        Batches(pictures, chosen),
        chosen,
        plain=("conv_in", "conv_out", "quant_conv"),
        watch=watch,
        given=dict(vae=file_hash(encoder / "diffusion_pytorch_model.safetensors")),
        images_of=lambda batch: batch["pixels"][:, 0].numel() / chosen.crop**2,
        fresh=options.fresh,
    )
    ema.vae.save_pretrained(runs("decoder") / "model")
    decoded = reconstruct(ema.vae, validation)
    print(
        f"decoder: PSNR {psnr(decoded, validation):.2f} dB, {edge_energy(decoded).sum() / edge_energy(validation).sum():.1%} "
        "of the renders' edges, on whole pictures"
    )


if __name__ == "__main__":
    main()
