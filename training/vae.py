"""The autoencoder: `python -m training.vae`. Writes runs/vae/model, a diffusers AutoencoderKL.

Loss: L1 and squared error on pixels, L1 on their differences (edges) and on their 4x4 means, a tiny KL. The log-variance
starts at -6: from 0 the noise drowns the latents before the decoder can read them, and the posterior collapses.
"""

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

from helpers import latents as codec
from helpers.pictures import images_of_pixels, pixels_of
from helpers.postcards.own import WORLD
from training.common import runs, save_sheet, train
from training.data import SIZE, Pictures
from training.settings import numbers, settings
from training.sharpness import differences


def make_vae(channels, layers, groups):
    """An AutoencoderKL, f = 8, 4 latent channels, without its usual start at log-variance 0."""
    vae = AutoencoderKL(
        block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        layers_per_block=layers,
        latent_channels=4,
        norm_num_groups=groups,
        sample_size=SIZE,
    )
    with torch.no_grad():
        vae.quant_conv.weight[4:] = 0
        vae.quant_conv.bias[4:] = -6
    return vae


class Objective(torch.nn.Module):
    def __init__(self, vae, settings):
        super().__init__()
        self.vae, self.settings = vae.to(memory_format=torch.channels_last), settings

    def forward(self, pixels, halfsize):
        s = self.settings
        x = pixels.contiguous(memory_format=torch.channels_last)
        posterior = self.vae.encode(x).latent_dist
        y = self.vae.decode(posterior.sample()).sample.float()
        l1 = (y - x).abs().mean()
        edges = sum((a - b).abs().mean() for a, b in zip(differences(y), differences(x)))
        low = (F.avg_pool2d(y, 4) - F.avg_pool2d(x, 4)).abs().mean()
        kl = posterior.kl().mean() / posterior.mean[0, 0].numel()
        squared = (y - x).square().mean()
        loss = l1 + s.squared * squared + s.edges * edges + s.lowpass * low + s.kl * kl
        losses = dict(l1=l1, squared=squared, edges=edges, kl=kl)
        if halfsize and s.halfsize:  # Skorokhodov et al. 2025
            small = self.vae.decode(F.avg_pool2d(posterior.mean, 2)).sample.float()
            losses["half"] = (small - F.avg_pool2d(x, 2)).abs().mean()
            loss = loss + s.halfsize * losses["half"]
        return dict(loss=loss, **losses)


def cut(rng, pictures, crop, subject_share, among=None):
    """One random crop, uint8 (crop, crop, 3), of any picture, or of those whose numbers are `among`: on a subject with chance `subject_share`."""
    i, room = rng.choice(among) if among else rng.randrange(len(pictures)), SIZE - crop
    if rng.random() < subject_share:
        x0, y0, x1, y1 = pictures.boxes[i][rng.randrange(2)]
        left, top = rng.uniform(x0, x1) - crop / 2, rng.uniform(y0, y1) - crop / 2
    else:
        left, top = rng.uniform(0, room), rng.uniform(0, room)
    left, top = (int(min(max(round(v), 0), room)) for v in (left, top))
    return pictures.one(i)[top : top + crop, left : left + crop]


class Batches:
    """Crops, then towards the end of the run whole pictures, as many pixels a batch."""

    def __init__(self, pictures, settings):
        self.pictures, self.settings = pictures, settings
        self.own = [i for i, scene in enumerate(pictures.scenes) if WORLD.in_scene(scene)] if settings.own else []

    def __call__(self, rng, step, steps):
        s = self.settings
        crop = SIZE if step >= s.full_from * steps else s.crop
        count = max(1, s.batch * s.crop**2 // crop**2)
        images = np.stack(
            [
                cut(rng, self.pictures, crop, s.subject_share, self.own if self.own and rng.random() < s.own else None)
                for _ in range(count)
            ]
        )
        return dict(pixels=pixels_of(images), halfsize=step % 4 == 0)


def psnr(a, b):
    """Mean over pictures of the peak signal-to-noise ratio in dB; tensors (n, 3, H, W) in -1..1."""
    return codec.psnr(a, b).mean().item()


@torch.no_grad()
def reconstruct(vae, pixels, batch=25):
    """Encode to the mean and decode, (n, 3, H, W) -> the same, clamped."""
    device = next(vae.parameters()).device
    decoded = [vae.decode(vae.encode(x.to(device)).latent_dist.mean).sample for x in pixels.split(batch)]
    return torch.cat(decoded).float().clamp(-1, 1).cpu()


@torch.no_grad()
def centre(vae, pixels, batch=100):
    """Shift the latents to mean 0 in each channel, decoding as before; set `scaling_factor` to 1 / standard deviation.

    The shift is folded into the 1x1 convolutions around the latents: z - m = W h + (b - m), post(z) = post'(z - m).
    """
    device = next(vae.parameters()).device
    latents = torch.cat([vae.encode(x.to(device)).latent_dist.mean for x in pixels.split(batch)])  # (n, 4, h, w)
    mean = latents.mean((0, 2, 3))
    vae.quant_conv.bias[:4] -= mean
    vae.post_quant_conv.bias += vae.post_quant_conv.weight[:, :, 0, 0] @ mean
    vae.register_to_config(scaling_factor=round(1 / (latents - mean.view(1, 4, 1, 1)).std().item(), 5))
    return vae


def main(argv=None):
    chosen, options = settings("vae", argv, fresh=(False, "begin anew"))
    torch.manual_seed(chosen.seed)
    objective = Objective(make_vae(numbers(chosen.channels), chosen.layers, chosen.groups), chosen)
    pictures, validation = Pictures("train"), Pictures("validation")
    validation = pixels_of(validation.take(range(min(100, len(validation)))))

    def watch(ema, step):
        decoded = reconstruct(ema.vae, validation)
        shown = torch.cat([validation[:8], decoded[:8], validation[8:16], decoded[8:16]])
        save_sheet(runs("vae") / "reconstructions.png", images_of_pixels(shown), columns=8)
        ema.vae.save_pretrained(runs("vae") / "latest")
        return dict(psnr=psnr(decoded, validation))

    batches = Batches(pictures, chosen)
    ema = train(
        "vae",
        objective,
        batches,
        chosen,
        plain=("conv_in", "conv_out", "quant_conv"),
        watch=watch,
        images_of=lambda batch: batch["pixels"][:, 0].numel() / chosen.crop**2,
        fresh=options.fresh,
    )
    vae = centre(ema.vae, pixels_of(pictures.take(range(min(1000, len(pictures))))))
    vae.save_pretrained(runs("vae") / "model")
    quality = psnr(reconstruct(vae, validation), validation)
    print(f"vae: PSNR {quality:.2f} dB on whole pictures, scaling factor {vae.config.scaling_factor}")


if __name__ == "__main__":
    main()
