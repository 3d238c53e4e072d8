"""Put the trained parts together: `python -m training.export` writes helpers/models/postcard, which the course loads.

The layout is that of diffusers' StableDiffusionPipeline, the weights are in float16. Beside its parts lie clip/ (both
towers, a CLIPModel), judge/ and course.json. The fast U-Net, where there is one that was made from the U-Net shipped, lies
beside it as the variant "fast".
"""

import json
import os
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer

from helpers.postcards.judge import load_judge
from training.common import read_checkpoint, runs
from training.decoder import check_latents
from training.judge import save_judge
from training.settings import settings
from training.unet import make_scheduler, shipped_hash, stands_on

BUNDLE = Path(__file__).resolve().parents[1] / "helpers" / "models" / "postcard"
MOST_MB = 60  # the released one has 28, the preset `gpu` makes one of 48


def tidy(folder):
    """Take this machine's folders out of the configurations, and let the weights load as float32 where nobody asks."""
    for path in folder.rglob("*.json"):
        if path.name in ("config.json", "model_index.json", "scheduler_config.json"):
            config = json.loads(path.read_text())
            for part in (config, config.get("text_config") or {}, config.get("vision_config") or {}):
                part.pop("_name_or_path", None)
                for key in ("dtype", "torch_dtype"):
                    if key in part:
                        part[key] = "float32"
            path.write_text(json.dumps(config, indent=2) + "\n")


def final_vae():
    """The folder of the VAE to ship: with the decoder that was trained for longer, if that has been done."""
    longer = runs("decoder") / "model"
    return longer if (longer / "config.json").is_file() else runs("vae") / "model"


def add_fast(folder, unet):
    """Put the fast U-Net of runs/fast into the bundle as a variant; what course.json is to say of its variants, a dict.

    {}, and a printed line, where it was made from other weights than those of `unet`, which the bundle holds.
    """
    source = runs() / "fast" / "model"
    if not (source / "course.json").is_file():
        return {}
    own = json.loads((source / "course.json").read_text())
    if own["of"] != shipped_hash(unet):
        print(
            f"export: without a fast U-Net: {source} was made from another U-Net than the one exported. "
            "Run `python -m training.fast`, then export again"
        )
        return {}
    UNet2DConditionModel.from_pretrained(source).half().save_pretrained(folder / "unet", variant="fast")
    return {"variants": {"fast": own}}


def write_bundle(folder, guidance):
    """Write the whole bundle into an empty folder. ValueError where the parts were not trained on each other."""
    vae, trained_with = (AutoencoderKL.from_pretrained(folder) for folder in (final_vae(), runs("vae") / "model"))
    check_latents(vae, trained_with, (final_vae(), runs("vae") / "model"))
    read_checkpoint(runs("unet") / "last.pt", stands_on())
    unet = UNet2DConditionModel.from_pretrained(runs("unet") / "model")
    text_encoder = CLIPTextModel.from_pretrained(runs("clip") / "model")
    tokenizer = CLIPTokenizer.from_pretrained(runs("clip") / "tokenizer")
    if not len(tokenizer) == text_encoder.config.vocab_size == text_encoder.get_input_embeddings().weight.shape[0]:
        raise ValueError(
            f"{len(tokenizer)} tokens for a text encoder of {text_encoder.config.vocab_size}: train clip again"
        )
    pipeline = StableDiffusionPipeline(
        vae=vae.half(),
        unet=unet.half(),
        text_encoder=text_encoder.half(),
        tokenizer=tokenizer,
        scheduler=make_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)
    shutil.rmtree(folder / "tokenizer")
    shutil.copytree(runs("clip") / "tokenizer", folder / "tokenizer")  # vocab.json, merges.txt: all versions read these
    CLIPModel.from_pretrained(runs("clip") / "model").half().save_pretrained(folder / "clip")
    save_judge(load_judge(runs("judge") / "model").reader, folder / "judge", torch.float16)
    scheduler = folder / "scheduler" / "scheduler_config.json"
    scheduler.write_text(
        json.dumps(json.loads(scheduler.read_text()) | {"skip_prk_steps": True})
    )  # for PNDM, as in SD 1.5
    course = {"guidance": guidance, "trained": True, "world": "postcards"} | add_fast(folder, unet)
    (folder / "course.json").write_text(json.dumps(course) + "\n")
    tidy(folder)


def export(target, guidance):
    """Build the bundle beside its place, then swap it in. Returns its size in MB; ValueError if above MOST_MB."""
    new, old = target.with_name(f".{target.name}.new"), target.with_name(f".{target.name}.old")
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        write_bundle(new, guidance)
        size = sum(file.stat().st_size for file in new.rglob("*") if file.is_file()) / 1e6
        if size > MOST_MB:
            raise ValueError(f"the bundle would be {size:.1f} MB, more than {MOST_MB}: choose smaller models")
        if target.exists():
            os.replace(target, old)
        try:
            os.replace(new, target)
        except BaseException:
            if old.exists():
                os.replace(old, target)
            raise
    finally:
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return size


def main(argv=None):
    chosen, options = settings("unet", argv, out=(str(BUNDLE), "where to write the bundle"))
    size = export(Path(options.out), chosen.guidance)
    print(f"export: {options.out}, {size:.1f} MB")


if __name__ == "__main__":
    main()
