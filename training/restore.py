"""Go on from the released weights: `python -m training.restore` puts the bundle's parts where training looks for them.

Without the checkpoints of the run that made them (they are not in the repository) the optimisers begin anew; the
weights come from float16.
"""
import shutil
from pathlib import Path

from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPModel

from helpers.postcards.judge import load_judge

from .common import runs
from .export import BUNDLE
from .judge import save_judge


def restore(bundle, stages=("vae", "clip", "judge", "unet")):
    """Write runs/<stage>/model of each stage from a bundle folder. FileExistsError if one of them has a run already."""
    taken = [stage for stage in stages if (runs(stage) / "model").exists() or (runs(stage) / "last.pt").exists()]
    if taken:
        raise FileExistsError(f"{runs()} already holds a run of {', '.join(taken)}: choose another $POSTCARD_RUNS, "
                              "or remove it first")
    bundle = Path(bundle)
    for stage in stages:
        folder = runs(stage) / "model"
        if stage == "vae":
            AutoencoderKL.from_pretrained(bundle / "vae").float().save_pretrained(folder)
        elif stage == "unet":
            UNet2DConditionModel.from_pretrained(bundle / "unet").float().save_pretrained(folder)
        elif stage == "clip":
            CLIPModel.from_pretrained(bundle / "clip").float().save_pretrained(folder)
            shutil.copytree(bundle / "tokenizer", runs(stage) / "tokenizer")
        else:
            save_judge(load_judge(bundle / "judge").reader, folder)


def main():
    restore(BUNDLE)
    print(f"restore: {BUNDLE} is now in {runs()}; `python -m training.unet --start {runs('unet')}/model` trains on")


if __name__ == "__main__":
    main()
