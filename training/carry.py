"""Keep what a run has reached, where git sees it: `python -m training.carry --vae <runs>/decoder/model --unet <runs>/unet/latest`.

Writes training/carried/vae, training/carried/unet and training/carried/fast in float16, only what is named. `python -m training.restore --carried`
goes on from them on another machine. They are no release: helpers/models/postcard stays as it is.
"""

import argparse
import shutil
from pathlib import Path

from diffusers import AutoencoderKL, UNet2DConditionModel

from training.export import tidy

CARRIED = Path(__file__).parent / "carried"
KINDS = {"vae": AutoencoderKL, "unet": UNet2DConditionModel, "fast": UNet2DConditionModel}


def carry(folders, target=CARRIED):
    """Write the networks of `folders`, {"vae", "unet" or "fast": folder}, into target/<part>. Returns the size of each in MB."""
    sizes = {}
    for part, folder in folders.items():
        network, place = KINDS[part].from_pretrained(folder), Path(target) / part
        own = (
            (Path(folder) / "course.json").read_bytes() if part == "fast" else None
        )  # what it was made from, and its use
        shutil.rmtree(place, ignore_errors=True)
        network.half().save_pretrained(place)
        tidy(place)
        if own is not None:
            (place / "course.json").write_bytes(own)
        sizes[part] = sum(file.stat().st_size for file in place.iterdir()) / 1e6
    return sizes


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m training.carry")
    for part in KINDS:
        parser.add_argument(f"--{part}", help=f"folder of the {part} to keep")
    folders = {part: folder for part, folder in vars(parser.parse_args(argv)).items() if folder}
    if not folders:
        parser.error("name at least one of --vae, --unet and --fast")
    for part, size in carry(folders).items():
        print(f"carry: {CARRIED / part}, {size:.1f} MB")


if __name__ == "__main__":
    main()
