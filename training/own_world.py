"""A world of one's own: `python -m training.own_world docs/own-world/teapot.py` goes on from the released model to one that
also draws what a reader's file adds. docs/own-world.md says how to write the file, and what came out of one.

The file is checked, then the stages run one after the other in a folder of runs of their own: pictures, judge, text tower,
decoder, U-Net, each begun with the released weights; encoder and tokenizer stay. Ctrl-C saves and leaves, the same command goes on. In the end
<runs>/bundle is a model as helpers/models/postcard is one, with its card.
"""

import argparse
import os
import shlex
import shutil
import sys
import time
from pathlib import Path

from helpers.files import write_atomic

VARIABLE = "POSTCARD_WORLD"  # as in helpers/postcards/own.py, which is imported only when it is set
BUNDLE = Path(__file__).resolve().parents[1] / "helpers" / "models" / "postcard"


def options_of(argv=None):
    """The command line. `data`, `judge`, `clip`, `decoder` and `unet` hold further settings of these stages, which count last."""
    parser = argparse.ArgumentParser(
        prog="python -m training.own_world", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("file", help="a Python file with KINDS, COLOURS or both, such as docs/own-world/teapot.py")
    parser.add_argument(
        "--minutes",
        type=float,
        default=60.0,
        help="of the U-Net's training; more of them later make a finished run longer",
    )
    parser.add_argument("--judge-minutes", type=float, default=6.0, help="of the judge's")
    parser.add_argument("--text-minutes", type=float, default=6.0, help="of the text tower's")
    parser.add_argument("--decoder-minutes", type=float, default=10.0, help="of the VAE's decoder's")
    parser.add_argument("--pictures", type=int, default=6000, help="to train on")
    parser.add_argument("--captions", type=int, default=100, help="how many prompts of each sort the card stands on")
    parser.add_argument(
        "--card-steps", type=int, default=0, help="in how many steps their pictures are drawn; 0: as the model draws"
    )
    parser.add_argument("--runs", default="", help="folder of the runs; runs/<name of the file> if left out")
    parser.add_argument("--only-check", action="store_true", help="check the file, draw <runs>/world.png, and stop")
    for stage in ("data", "judge", "clip", "decoder", "unet"):
        parser.add_argument(
            f"--{stage}", default="", metavar="SETTINGS", help=f'more settings, as in --{stage}="--seed 1"'
        )
    return parser.parse_args(argv)


def plan(options):
    """What runs in which order: [(name of a stage's module, what it is called, its command line), ...]."""
    n, start = (
        options.pictures,
        {part: f"--start {shlex.quote(str(BUNDLE / part))}" for part in ("judge", "clip", "unet")},
    )
    return [
        ("data", "pictures of the new world", f"--n {n} --validation 300 --heldout 500 --shard 250 {options.data}"),
        (
            "judge",
            f"the judge, {options.judge_minutes:g} minutes",
            f"{start['judge']} --minutes {options.judge_minutes} --lr 1e-3 --batch 48 {options.judge}",
        ),
        (
            "clip",
            f"the text tower, {options.text_minutes:g} minutes",
            f"{start['clip']} --minutes {options.text_minutes} --lr 5e-4 --batch 48 --warmup 20 --readers 0 --keep 10 {options.clip}",
        ),
        (
            "decoder",
            f"the decoder, {options.decoder_minutes:g} minutes",
            f"--minutes {options.decoder_minutes} --lr 5e-4 --critic 0 --own 0.4 --subject-share 0.7 --log-every 25 {options.decoder}",
        ),
        (
            "unet",
            f"the U-Net, {options.minutes:g} minutes, latents first",
            f"{start['unet']} --minutes {options.minutes} --pictures {n} --lr 1e-3 --batch 24 --warmup 50 --decay 0.5 --own 4 {options.unet}",
        ),
    ]


def stand_on(file, folder):
    """Keep a copy of the file with its runs, which go on only with the same one: ValueError, in a sentence, for another."""
    kept, text = folder / "world.py", Path(file).read_bytes()
    if kept.is_file() and kept.read_bytes() != text:
        raise ValueError(
            f"{folder} was begun with another file than {file} is now, {kept}: choose another --runs, or remove that folder"
        )
    write_atomic(kept, lambda copy: copy.write_bytes(text))


def run(options):
    """All stages, export and card. Needs $POSTCARD_WORLD and $POSTCARD_RUNS, and that the file was checked."""
    from training import clip, data, decoder, export, judge, own_card, unet
    from training.common import clock, runs
    from training.restore import restore

    if not (runs("vae") / "model" / "config.json").is_file():
        restore(BUNDLE, ("vae",))
    stages, started = plan(options), time.perf_counter()
    total = len(stages) + 1
    modules = dict(data=data, judge=judge, clip=clip, decoder=decoder, unet=unet)
    for number, (stage, called, words) in enumerate(stages, 1):
        print(f"own_world: {number} of {total}: {called} ({clock(time.perf_counter() - started)} so far)", flush=True)
        modules[stage].main(shlex.split(words))
    bundle = runs() / "bundle"
    export.export(bundle, own_card.guidance())
    write_atomic(bundle / "world.py", lambda copy: shutil.copyfile(runs() / "world.py", copy))
    print(f"own_world: {total} of {total}: the card ({clock(time.perf_counter() - started)} so far)", flush=True)
    own_card.main(bundle, options.captions, options.card_steps)
    print(
        f"own_world: done in {clock(time.perf_counter() - started)}: {bundle} is the model, {bundle}/README.md its card, "
        f"{bundle}/drawn.png its first pictures",
        flush=True,
    )


def main(argv=None):
    """One sentence and the exit code 1 where the file can not be used; SystemExit of a stage that was stopped goes through."""
    options = options_of(argv)
    if "helpers.postcards" in sys.modules:
        raise SystemExit(
            "own_world: the world is made when Python starts: run this as a command of its own, python -m training.own_world"
        )
    os.environ[VARIABLE] = os.path.abspath(options.file)
    folder = Path(os.path.abspath(options.runs or Path("runs") / Path(options.file).stem))
    os.environ["POSTCARD_RUNS"] = str(folder)
    try:
        from helpers.postcards import own
        from training import own_checks

        own_checks.check(own.WORLD, options.file)
        own_checks.sheet(own.WORLD, folder / "world.png")
        if not options.only_check:
            stand_on(options.file, folder)
    except (ValueError, FileNotFoundError, IsADirectoryError) as error:
        raise SystemExit(f"own_world: {error}") from None
    print(
        f"own_world: {' and '.join(own.WORLD.words)}: the file is as it should be; {folder / 'world.png'} shows what is new",
        flush=True,
    )
    if not options.only_check:
        run(options)


if __name__ == "__main__":
    main()
