"""The one training loop of all stages: resumable at any moment, the same on a CPU and on many GPUs.

Randomness is never carried along: every step draws its own from (seed, process, step). So a run goes on after a kill
as if there had been none, to the last bit, and batches can be prepared ahead by other processes.
"""
import copy
import json
import math
import os
import random
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

from helpers.files import make_folder, write_atomic

from .optimizers import make_optimizers

SAVE_SECONDS = 60
STATE = {"step", "steps", "minutes", "seconds", "decay", "given", "settings", "model", "ema", "optimizers"}  # what a checkpoint holds


def runs(stage=""):
    """Where runs live: $POSTCARD_RUNS, or `runs/` in the current folder; made if missing."""
    return make_folder(Path(os.environ.get("POSTCARD_RUNS", "runs")) / stage)


def fast_bfloat16():
    """True where bfloat16 autocast is worth it: Ampere cards and later, CPUs with AMX or AVX512-BF16 units."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_capability() >= (8, 0)
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "amx_bf16" in flags or "avx512_bf16" in flags


def step_seed(seed, step, process=0):
    """A seed of its own for each step of each process (int below 2^63)."""
    return int(np.random.SeedSequence([seed, process, step]).generate_state(1, np.uint64)[0] >> 1)


def rate(step, steps, warmup, decay):
    """The learning rate's factor, 0..1: linear warm-up, constant, then 1 - sqrt over the last part `decay` of the run.

    The constant middle lets a run be extended, from the checkpoint kept where the decay begins (Haegele et al. 2024).
    """
    start = decay_start(steps, decay)
    if step < warmup:
        return (step + 1) / warmup
    return 1.0 if step < start else max(0.0, 1 - math.sqrt((step - start) / max(1, steps - start)))


def decay_start(steps, decay):
    return round(steps * (1 - decay))


def stretch(step, decay):
    """The shortest run whose rate has not begun to fall at this step."""
    return math.ceil((step + 2) / (1 - decay))


class Stop:
    """Set by SIGINT or SIGTERM: the loop finishes its step, saves and leaves."""

    def __init__(self):
        self.signal = 0
        self.before = {s: signal.signal(s, self.catch) for s in (signal.SIGINT, signal.SIGTERM)}

    def catch(self, number, frame):
        self.signal = number

    def restore(self):
        for number, handler in self.before.items():
            signal.signal(number, handler)


class Steps(torch.utils.data.Dataset):
    """batch_of(rng, step, steps) as a dataset of whole batches, so that worker processes can prepare them in order."""

    def __init__(self, batch_of, seed, process, first, steps):
        self.batch_of, self.seed, self.process, self.first, self.steps = batch_of, seed, process, first, steps

    def __len__(self):
        return 10**9  # the loop decides when to stop

    def __getitem__(self, i):
        step = self.first + i
        return self.batch_of(random.Random(step_seed(self.seed, step, self.process)), step, self.steps)


class Metrics:
    """runs/<stage>/metrics.jsonl: one line for each report. What lies past the resumed step is cut off."""

    def __init__(self, path, step):
        self.path = Path(path)
        if self.path.exists():
            kept = [json.dumps(row) + "\n" for row in read_metrics(self.path) if row["step"] <= step]
            write_atomic(self.path, lambda file: file.write_text("".join(kept)))

    def add(self, **row):
        with open(self.path, "a") as file:
            file.write(json.dumps({k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()}) + "\n")


def read_metrics(path):
    """The rows of a metrics.jsonl, dicts with a "step". The last line of a run that was killed may be cut, and is left out.

    ValueError that names any other line that is no row.
    """
    rows = []
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is damaged ({error.reason} at byte {error.start}): remove it, or run with --fresh") from None
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            step = row["step"]
        except (ValueError, TypeError, KeyError, IndexError, RecursionError):
            row, step = None, None
        if isinstance(row, dict) and isinstance(step, int):
            rows.append(row)
        elif number < len(lines) or line.endswith("\n"):
            raise ValueError(f"line {number} of {path} is damaged: remove that line, or run with --fresh")
    return rows


def train(stage, objective, batch_of, settings, *, plain=(), watch=None, given=None, images_of=None, fresh=False):
    """Train a stage to its end, from where it was left.

    objective: nn.Module; objective(**batch) returns a dict of scalar tensors, "loss" the one to make small; its
    parameters with requires_grad are trained. batch_of(rng, step, steps): a dict of CPU tensors,
    one process's share, drawn from the `random.Random` alone.
    plain: parts of parameter names that Muon leaves to AdamW. watch(ema_objective, step): a dict of numbers, called
    now and then.
    given: dict of what the run stands on (its VAE's hash ...); a run can not go on when it changed.
    images_of(batch) -> how many pictures it holds (for the speed shown); settings.batch without.
    Returns the objective with averaged (EMA) weights. After a signal all is saved and SystemExit raised (128 + it).
    """
    accelerator = Accelerator(mixed_precision="bf16" if fast_bfloat16() else "no")
    main, folder = accelerator.is_main_process, runs(stage)
    say = print if main else (lambda *words, **how: None)
    last, before_decay = folder / "last.pt", folder / "before_decay.pt"
    if fresh and main:
        for file in (last, before_decay, folder / "metrics.jsonl"):
            file.unlink(missing_ok=True)
    accelerator.wait_for_everyone()

    ema = copy.deepcopy(objective).to(accelerator.device).requires_grad_(False).eval()
    trained = [name for name, p in objective.named_parameters() if p.requires_grad]
    optimizers = make_optimizers(objective, settings, plain, torch.bfloat16 if fast_bfloat16() else torch.float32)
    model = accelerator.prepare(objective)
    weights, averages = dict(objective.named_parameters()), dict(ema.named_parameters())

    # Go on from a checkpoint: the last one, or for a longer run the one from before the decay.
    step, seconds, steps, minutes = 0, 0.0, settings.steps, 0.0
    state = read_checkpoint(last, given)
    falling = state and state["step"] > decay_start(state["steps"], state["decay"])
    if falling and longer(state, settings) and before_decay.exists():
        state = read_checkpoint(before_decay, given) or state
        say(f"{stage}: a longer run: going on from step {state['step']}, before the learning rate fell")
    if state:
        step, seconds, minutes = state["step"], state["seconds"], state["minutes"]
        load_state(stage, objective, ema, optimizers, state)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["base_lr"] = settings.lr  # the one asked for now
        if settings.minutes:  # a first guess only, until the rate begins to fall
            guesses = (steps, state["steps"], stretch(step, settings.decay))
            steps = state["steps"] if settings.minutes == minutes else max(guesses)
        say(f"{stage}: resumed at step {step} of {steps}")
    metrics = Metrics(folder / "metrics.jsonl", step) if main else None
    precision = "fp32" if accelerator.mixed_precision == "no" else accelerator.mixed_precision
    say(f"{stage}: {sum(weights[n].numel() for n in trained) / 1e6:.2f} M parameters on {accelerator.device}, "
        f"{precision}, {torch.get_num_threads()} threads", flush=True)

    def save(path):
        if main:
            write_atomic(path, lambda file: torch.save(dict(
                step=step, steps=steps, minutes=settings.minutes, seconds=seconds, decay=settings.decay,
                given=given or {}, settings=asdict(settings), model=objective.state_dict(), ema=ema.state_dict(),
                optimizers=[o.state_dict() for o in optimizers]), file))

    def batches_from(step):
        dataset = Steps(batch_of, settings.seed, accelerator.process_index, step, steps)
        return iter(DataLoader(dataset, batch_size=None, num_workers=settings.workers,
                               prefetch_factor=4 if settings.workers else None))

    stop = Stop()
    try:
        started, saved, watched = time.perf_counter() - seconds, time.perf_counter(), time.perf_counter()
        tally, speed_mark = [], (time.perf_counter(), 0)
        batches = batches_from(step)
        model.train()
        while step < steps:
            if step == decay_start(steps, settings.decay):
                save(before_decay)
                batches = batches_from(step)  # from here on the number of steps is certain
            batch = {k: v.to(accelerator.device) if torch.is_tensor(v) else v for k, v in next(batches).items()}
            torch.manual_seed(step_seed(settings.seed + 1, step, accelerator.process_index))
            factor = rate(step, steps, settings.warmup, settings.decay)
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = group["base_lr"] * factor
            losses = model(**batch)
            accelerator.backward(losses["loss"])
            losses["gradient"] = torch.nn.utils.clip_grad_norm_([weights[n] for n in trained], settings.clip_norm)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            step += 1
            keep = min(settings.ema, (1 + step) / (10 + step))
            with torch.no_grad():
                for name in trained:
                    averages[name].lerp_(weights[name], 1 - keep)
            tally.append({k: v.detach() for k, v in losses.items()})
            speed_mark = (speed_mark[0], speed_mark[1] + (images_of(batch) if images_of else settings.batch))
            seconds = time.perf_counter() - started

            if step % settings.log_every == 0 or step == steps:
                keys = {k: None for losses in tally for k in losses}
                means = {k: torch.stack([t[k].float() for t in tally if k in t]).mean().item() for k in keys}
                pace = (time.perf_counter() - speed_mark[0]) / len(tally)
                images = speed_mark[1] / (time.perf_counter() - speed_mark[0])
                tally, speed_mark = [], (time.perf_counter(), 0)
                if settings.minutes and step < decay_start(steps, settings.decay):  # nothing depends on `steps` yet
                    steps = max(step + round((settings.minutes * 60 - seconds) / pace), stretch(step, settings.decay))
                if main:
                    metrics.add(step=step, seconds=seconds, rate=factor, images_per_second=images, **means)
                say(f"{stage} {step}/{steps}  " + "  ".join(f"{k} {v:.4g}" for k, v in means.items())
                    + f"  {images:.1f}/s  {clock((steps - step) * pace)} left", flush=True)
                if not math.isfinite(means["loss"]):
                    raise FloatingPointError(f"{stage}: the loss is {means['loss']} at step {step}: lower --lr "
                                             f"(it is {settings.lr})")
            if watch and main and (time.perf_counter() - watched > settings.watch_minutes * 60 or step == steps):
                seen = watch(ema, step)
                metrics.add(step=step, seconds=seconds, **seen)
                say(f"{stage} {step}: " + "  ".join(f"{k} {v:.4g}" for k, v in seen.items()), flush=True)
                watched = time.perf_counter()
                speed_mark, tally = (time.perf_counter(), 0), []
            if stop.signal or step == steps or time.perf_counter() - saved > SAVE_SECONDS:
                save(last)
                saved = time.perf_counter()
            if stop.signal:
                say(f"{stage}: stopped at step {step}; the same command goes on from there", flush=True)
                sys.exit(128 + stop.signal)
    finally:
        stop.restore()
    say(f"{stage}: {steps} steps in {clock(seconds)}", flush=True)
    accelerator.wait_for_everyone()
    return ema


def longer(state, settings):
    """True if these settings ask for a longer run than the checkpoint's."""
    return settings.minutes > state["minutes"] if settings.minutes else settings.steps > state["steps"]


def read_checkpoint(path, given=None):
    """The checkpoint at `path` (dict), None if there is none. ValueError if it is damaged or stands on other parts."""
    if not Path(path).exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
        raise ValueError(f"{path} is damaged ({reason}): remove it, or run with --fresh") from error
    missing = sorted(STATE - state.keys()) if isinstance(state, dict) else ["everything"]
    if missing:
        raise ValueError(f"{path} is no checkpoint ({missing[0]} is missing): remove it, or run with --fresh")
    if given is not None and state["given"] != given:
        changed = ", ".join(k for k in given if state["given"].get(k) != given[k])
        raise ValueError(f"{path} was trained on other parts ({changed} changed since): begin anew with --fresh")
    return state


def load_state(stage, objective, ema, optimizers, state):
    try:
        objective.load_state_dict(state["model"])
        ema.load_state_dict(state["ema"])
    except RuntimeError as error:
        raise ValueError(f"{stage}/last.pt holds a model of another shape: give its settings, or --fresh") from error
    if len(optimizers) != len(state["optimizers"]):
        raise ValueError(f"{stage}/last.pt was trained with another optimizer: give the one it had, or --fresh")
    for optimizer, saved in zip(optimizers, state["optimizers"]):
        optimizer.load_state_dict(saved)


def clock(seconds):
    seconds = max(0, round(seconds))
    hours, minutes, seconds = seconds // 3600, seconds // 60 % 60, seconds % 60
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def pixels_of(images):
    """uint8 (n, H, W, 3) array -> float tensor (n, 3, H, W) in -1..1."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float().div(127.5).sub(1)


def images_of_pixels(pixels):
    """float tensor (n, 3, H, W) in -1..1 -> uint8 (n, H, W, 3) array."""
    return pixels.detach().float().clamp(-1, 1).add(1).mul(127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def save_sheet(path, images, columns):
    """Save uint8 (n, H, W, 3) as one PNG, `columns` pictures a row."""
    from PIL import Image
    images = np.asarray(images)
    rows = [np.concatenate(list(images[i:i + columns]), axis=1) for i in range(0, len(images) - columns + 1, columns)]
    write_atomic(path, lambda file: Image.fromarray(np.concatenate(rows)).save(file, format="PNG"))
