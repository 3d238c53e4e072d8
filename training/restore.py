"""Go on from the released weights: `python -m training.restore` puts the bundle's parts where training looks for them.

With `--carried` the parts that were trained on since, in training/carried, take the place of the bundle's: its VAE goes to
runs/decoder/model, its U-Net to runs/unet/model, its fast U-Net to runs/fast/model. Without the checkpoints of the run that made them (they are not in the
repository) the optimisers begin anew; the weights come from float16.
"""

import argparse
import json
import shutil
from pathlib import Path

from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPModel

from helpers.postcards.judge import load_judge
from training.carry import CARRIED, KINDS
from training.common import runs
from training.decoder import check_latents
from training.export import BUNDLE
from training.judge import save_judge


def restore(bundle, stages=("vae", "clip", "judge", "unet")):
    """Write runs/<stage>/model of each stage from a bundle folder, with the U-Net its fast one. FileExistsError if one of them has a run already."""
    # a decoder of another VAE would be exported in the place of this one
    held = (*stages, "decoder") if "vae" in stages else stages
    taken = [stage for stage in held if (runs(stage) / "model").exists() or (runs(stage) / "last.pt").exists()]
    if taken:
        raise FileExistsError(
            f"{runs()} already holds a run of {', '.join(taken)}: choose another $POSTCARD_RUNS, or remove it first"
        )
    bundle = Path(bundle)
    variants = json.loads((bundle / "course.json").read_text()).get("variants", {})
    if "unet" in stages and "fast" in variants and not (runs() / "fast").exists():
        put_fast(UNet2DConditionModel.from_pretrained(bundle / "unet", variant="fast"), variants["fast"])
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


def put_fast(unet, own):
    """A fast U-Net, and what course.json says of it, as `training.fast` leaves them."""
    folder = runs("fast") / "model"
    unet.float().save_pretrained(folder)
    (folder / "course.json").write_text(json.dumps(own) + "\n")


def restore_carried(bundle, carried):
    """As `restore`, then the parts in the folder `carried` (some of "vae", "unet", "fast") in place of the bundle's.

    Returns the names of these parts. FileNotFoundError if there are none; ValueError if the VAE writes other latents than the
    bundle's, which the U-Net was trained on.
    """
    parts = {
        part: kind.from_pretrained(Path(carried) / part).float()
        for part, kind in KINDS.items()
        if (Path(carried) / part).is_dir()
    }
    if not parts:
        raise FileNotFoundError(
            f"{carried} holds no vae, unet or fast: run `python -m training.restore` without --carried"
        )
    if "vae" in parts:
        released = AutoencoderKL.from_pretrained(Path(bundle) / "vae").float()
        check_latents(parts["vae"], released, (Path(carried) / "vae", Path(bundle) / "vae"))
    own = json.loads((Path(carried) / "fast" / "course.json").read_text()) if "fast" in parts else None
    restore(bundle)
    for part, network in parts.items():
        if part == "fast":
            put_fast(network, own)
            continue
        network.save_pretrained(runs("decoder" if part == "vae" else part) / "model")
    return list(parts)


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m training.restore")
    parser.add_argument("--carried", action="store_true", help="with the parts in training/carried")
    parts = restore_carried(BUNDLE, CARRIED) if parser.parse_args(argv).carried else restore(BUNDLE) or []
    print(
        f"restore: {BUNDLE} is now in {runs()}, "
        + (f"with {' and '.join(parts)} of {CARRIED}" if parts else "nothing else")
    )
    print(
        f"restore: `python -m training.unet --start {runs('unet')}/model` trains its U-Net on, `python -m training.decoder"
        + (f" --start {runs('decoder')}/model" if "vae" in parts else "")
        + "` its decoder"
    )


if __name__ == "__main__":
    main()
