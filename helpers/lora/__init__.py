"""Low-rank adaptation (LoRA) of a U-Net: a small change of some layers; trained, saved and taken out again.

    lora = add_lora(c.unet, rank=8)                          # changes nothing yet: B is zero
    for progress in train_lora(c, lora, images, prompts):    # asking no more cancels
        progress.loss
    lora.strength = 0.5
    save_lora(lora, folder)                                  # as diffusers and PEFT write it
    lora.remove()

Sources: Hu et al. 2021 (LoRA), Ruiz et al. 2023 (keeping what the model knew), the file format of diffusers
and PEFT.
"""

from helpers.lora.files import load_lora, save_lora
from helpers.lora.layers import ATTENTION, EVERYWHERE, Lora, LoraLinear, add_lora
from helpers.lora.train import Progress, train_lora

__all__ = [
    "ATTENTION",
    "EVERYWHERE",
    "Lora",
    "LoraLinear",
    "Progress",
    "add_lora",
    "load_lora",
    "save_lora",
    "train_lora",
]
