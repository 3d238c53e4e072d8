"""The VAE's decoder for longer: `python -m training.decoder`. Writes runs/decoder/model, the VAE that is exported.

The encoder stays as it is, so the latents do too: a U-Net that is trained, or being trained, goes on fitting.
"""
import torch
from diffusers import AutoencoderKL

from .common import images_of_pixels, pixels_of, runs, save_sheet, train
from .data import Pictures
from .settings import settings
from .unet import file_hash
from .vae import Batches, Objective, psnr, reconstruct


def freeze_encoder(vae):
    """Leave only what comes after the latents to be trained."""
    for part in (vae.encoder, vae.quant_conv):
        part.requires_grad_(False)
    return vae


def main(argv=None):
    chosen, options = settings("decoder", argv, fresh=(False, "begin anew"))
    torch.manual_seed(chosen.seed)
    start = runs("vae") / "model"
    objective = Objective(freeze_encoder(AutoencoderKL.from_pretrained(start)), chosen)
    pictures, validation = Pictures("train"), pixels_of(Pictures("validation").take(range(100)))

    def watch(ema, step):
        decoded = reconstruct(ema.vae, validation)
        shown = torch.cat([validation[:8], decoded[:8], validation[8:16], decoded[8:16]])
        save_sheet(runs("decoder") / "reconstructions.png", images_of_pixels(shown), columns=8)
        return dict(psnr=psnr(decoded, validation))

    ema = train("decoder", objective, Batches(pictures, chosen), chosen, plain=("conv_in", "conv_out", "quant_conv"), watch=watch,
                given=dict(vae=file_hash(start / "diffusion_pytorch_model.safetensors")),
                images_of=lambda batch: batch["pixels"][:, 0].numel() / chosen.crop**2, fresh=options.fresh)
    ema.vae.save_pretrained(runs("decoder") / "model")
    print(f"decoder: PSNR {psnr(reconstruct(ema.vae, validation), validation):.2f} dB on whole pictures")


if __name__ == "__main__":
    main()
