"""Render the world's pictures once, for all stages: `python -m training.data --n 30000`.

Picture i is the scene drawn from seed i, so any of them can be made again anywhere. Files appear whole, shard by
shard, under runs/data/<fingerprint>: when the world changes its fingerprint does, and old pictures never mix with new.
"""

import hashlib
import json
import os
import signal
import sys
import time
from contextlib import nullcontext
from dataclasses import asdict
from functools import cached_property, partial
from multiprocessing import get_context
from random import Random

import numpy as np

from helpers.files import write_atomic
from helpers.postcards.render import render
from helpers.postcards.scene import Scene, Subject, sample_scene
from training.common import clock, runs
from training.settings import settings

SIZE = 128
PLACES = SIZE // 8  # a latent's places a side
THINGS = ("sky", "light", "ground", "backdrop", "first subject", "second subject")  # whose masks are kept
FIRST = {
    "train": 0,
    "validation": 10**9,
    "fresh": 2 * 10**9,
    "heldout": 3 * 10**9,
}  # each set's first seed: they never overlap


def scene_rng(seed):
    """The generator of scene number `seed`: neighbouring numbers give unrelated streams."""
    return Random(seed * 0x9E3779B97F4A7C15 % 2**64)


def fingerprint(scenes=48):
    """A name for the world as it draws now: the hash of some scenes and their pixels."""
    digest = hashlib.sha256()
    for i in range(scenes):
        scene = sample_scene(scene_rng(FIRST["fresh"] + i))
        digest.update(json.dumps(asdict(scene)).encode() + render(scene, 64).image.tobytes())
    return digest.hexdigest()[:12]


def boxes_of(scene, masks):
    """The rectangle around each subject's visible pixels: [[x0, y0, x1, y1], ...], ends exclusive."""
    boxes = []
    for subject in scene.subjects:
        rows, columns = np.nonzero(masks.get(subject.kind, np.zeros((1, 1), bool)))
        if len(rows):
            boxes.append([int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1])
    return boxes


def cells_of(scene, masks):
    """How much of each of a latent's places every one of THINGS fills: uint8 (6, 16, 16), 0 none, 255 all."""
    names = ("sky", "light", "ground", "backdrop", *(subject.kind for subject in scene.subjects))
    cells = np.zeros((len(THINGS), PLACES, PLACES), np.uint8)
    for cell, name in zip(cells, names):
        if name in masks:
            cell[:] = masks[name].reshape(PLACES, 8, PLACES, 8).mean((1, 3)) * 255  # (128, 128) -> (16, 16)
    return cells


def cells_path(path):
    """Where the cells of a shard of pictures lie."""
    return path.with_name(f"cells-{path.name}")


def make_shard(job):
    """Render one shard: pictures as .npy uint8 (n, 128, 128, 3); scenes and boxes as JSON lines and the things' cells,
    uint8 (n, 6, 16, 16), are written first. job: (path, first seed, how many, which pairs, see `sample_scene`)."""
    path, first, count, pairs = job
    images, lines = np.empty((count, SIZE, SIZE, 3), np.uint8), []
    cells = np.empty((count, len(THINGS), PLACES, PLACES), np.uint8)
    for i in range(count):
        scene = sample_scene(scene_rng(first + i), pairs)
        postcard = render(scene, SIZE)
        images[i], cells[i] = np.asarray(postcard.image), cells_of(scene, postcard.masks)
        lines.append(json.dumps({**asdict(scene), "boxes": boxes_of(scene, postcard.masks)}))
    write_atomic(path.with_suffix(".jsonl"), lambda file: file.write_text("\n".join(lines) + "\n"))
    write_atomic(cells_path(path), partial(save_array, cells))
    write_atomic(path, partial(save_array, images))
    return count


def save_array(array, path):
    with open(path, "wb") as file:
        np.save(file, array)


def make(split, n, shard, processes=0):
    """Render what is missing of a split of `n` pictures. Returns its folder."""
    folder = runs("data") / fingerprint()
    folder.mkdir(exist_ok=True)
    pairs = "heldout" if split == "heldout" else "train"  # which pairs of colour and kind, see sample_scene
    jobs = [(folder / f"{split}-{k:05d}.npy", FIRST[split] + k * shard, shard, pairs) for k in range(-(-n // shard))]
    for file in sorted(folder.glob(f"{split}-*.npy")):
        if (held := len(np.load(file, mmap_mode="r"))) != shard:
            raise SystemExit(
                f"data: {file} holds {held} pictures, and files of {shard} are asked for: give --shard {held}, or remove the "
                f"{split} files of {folder}"
            )
    missing = [job for job in jobs if not (job[0].exists() and cells_path(job[0]).exists())]
    print(f"data: {split}: {len(jobs) - len(missing)} of {len(jobs)} files of {shard} pictures are there", flush=True)
    if not missing:
        return folder
    started, done, processes = time.perf_counter(), 0, min(processes or os.cpu_count(), len(missing))
    before = signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # the processes made now take it over: this one answers Ctrl-C
    try:
        pool = get_context("spawn").Pool(processes) if processes > 1 else nullcontext()
    finally:
        signal.signal(signal.SIGINT, before)
    with pool as pool:
        for count in pool.imap_unordered(make_shard, missing) if pool else map(make_shard, missing):
            done += count
            pace = (time.perf_counter() - started) / done
            left = len(missing) * shard - done
            print(f"data: {split}: {done} of {done + left}, {clock(pace * left)} left", flush=True)
    return folder


class Pictures:
    """A rendered split, read from disk as it is needed. `n`: how many of its pictures (all if 0).

    scenes: list of Scene; boxes: int array (n, 2, 4), a single subject's box twice.
    Raises FileNotFoundError if there are too few.
    """

    def __init__(self, split, n=0):
        folder = runs("data") / fingerprint()
        files = sorted(file for file in folder.glob(f"{split}-*.npy") if cells_path(file).exists())
        self.files, self.shards = files, [np.load(file, mmap_mode="r") for file in files]
        self.size = len(self.shards[0]) if files else 0
        if not files or n > self.size * len(files):
            raise FileNotFoundError(
                f"{folder} holds {self.size * len(files)} {split} pictures of the world as it is "
                f"now, {n or 'some'} are needed: run `python -m training.data` first"
            )
        rows = [json.loads(line) for file in files for line in file.with_suffix(".jsonl").read_text().splitlines()]
        rows = rows[:n] if n else rows
        boxes = [row.pop("boxes") or [[0, 0, SIZE, SIZE]] for row in rows]
        self.boxes = np.array([(b * 2)[:2] for b in boxes])
        self.scenes = [Scene(**row | {"subjects": tuple(Subject(**s) for s in row["subjects"])}) for row in rows]

    def __len__(self):
        return len(self.scenes)

    @cached_property
    def cells(self):
        """uint8 (n, 6, 16, 16), see `cells_of`; read when first asked for: one stage alone needs them."""
        return np.concatenate([np.load(cells_path(file)) for file in self.files])[: len(self)]

    def one(self, i):
        """Picture i, uint8 (128, 128, 3), not yet read from disk."""
        return self.shards[i // self.size][i % self.size]

    def take(self, indices):
        """uint8 (n, 128, 128, 3)"""
        return np.stack([self.one(i) for i in indices])


def main(argv=None):
    chosen, _ = settings("data", argv)
    try:
        make_all(chosen)
    except KeyboardInterrupt:
        print("data: stopped; the same command goes on from the files that are there")
        sys.exit(130)


def make_all(chosen):
    """Render what is missing of all splits, by the settings of this stage."""
    make("validation", chosen.validation, min(chosen.shard, chosen.validation), chosen.processes)
    make("heldout", chosen.heldout, min(chosen.shard, chosen.heldout), chosen.processes)
    make("train", chosen.n, chosen.shard, chosen.processes)


if __name__ == "__main__":
    main()
