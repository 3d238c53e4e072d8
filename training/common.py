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
from helpers.inputs import first_line
from training.optimizers import make_optimizers

SAVE_SECONDS = 60
STATE = {
    "step",
    "steps",
    "minutes",
    "seconds",
    "decay",
    "given",
    "settings",
    "model",
    "ema",
    "optimizers",
}  # what a checkpoint holds


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
        raise ValueError(
            f"{path} is damaged ({error.reason} at byte {error.start}): remove it, or run with --fresh"
        ) from None
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


class Run:
    """One run of a stage: the objective in training, its averages and optimizers, where it stands, and its files.

    step of steps are done; seconds: worked so far, time before a resume counted in. ema: the objective with averaged weights.
    """

    def __init__(self, stage, objective, settings, plain, given, fresh):
        bfloat16 = fast_bfloat16()
        self.accelerator = Accelerator(mixed_precision="bf16" if bfloat16 else "no")
        self.stage, self.objective, self.settings, self.given = stage, objective, settings, given
        self.main, self.folder = self.accelerator.is_main_process, runs(stage)
        self.last, self.before_decay = self.folder / "last.pt", self.folder / "before_decay.pt"
        if fresh and self.main:
            for file in (self.last, self.before_decay, self.folder / "metrics.jsonl"):
                file.unlink(missing_ok=True)
        self.accelerator.wait_for_everyone()

        self.ema = copy.deepcopy(objective).to(self.accelerator.device).requires_grad_(False).eval()
        self.optimizers = make_optimizers(objective, settings, plain, torch.bfloat16 if bfloat16 else torch.float32)
        self.model = self.accelerator.prepare(objective)
        averages = dict(self.ema.named_parameters())
        self.trained = [(p, averages[name]) for name, p in objective.named_parameters() if p.requires_grad]
        self.step, self.seconds, self.steps = 0, 0.0, settings.steps
        self.resume()
        self.metrics = Metrics(self.folder / "metrics.jsonl", self.step) if self.main else None
        self.started = time.perf_counter() - self.seconds
        precision = "fp32" if self.accelerator.mixed_precision == "no" else self.accelerator.mixed_precision
        self.say(
            f"{sum(p.numel() for p, _ in self.trained) / 1e6:.2f} M parameters on {self.accelerator.device}, "
            f"{precision}, {torch.get_num_threads()} threads"
        )

    def say(self, text):
        if self.main:
            print(f"{self.stage}: {text}", flush=True)

    @property
    def ended(self):
        return self.step >= self.steps

    @property
    def falls_next(self):
        """Whether the learning rate begins to fall at this step."""
        return self.step == decay_start(self.steps, self.settings.decay)

    def resume(self):
        """Go on from a checkpoint: the last one, or for a longer run the one from before the decay."""
        settings, state = self.settings, read_checkpoint(self.last, self.given)
        falling = state and state["step"] > decay_start(state["steps"], state["decay"])
        if falling and longer(state, settings) and self.before_decay.exists():
            state = read_checkpoint(self.before_decay, self.given) or state
            self.say(f"a longer run: going on from step {state['step']}, before the learning rate fell")
        if not state:
            return
        self.step, self.seconds = state["step"], state["seconds"]
        load_state(self.stage, self.objective, self.ema, self.optimizers, state)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["base_lr"] = settings.lr  # the one asked for now
        if settings.minutes:  # a first guess only, until the rate begins to fall
            guesses = (settings.steps, state["steps"], stretch(self.step, settings.decay))
            self.steps = state["steps"] if settings.minutes == state["minutes"] else max(guesses)
        elif self.step > self.steps:
            self.take_as_it_is(state)
        self.say(f"resumed at step {self.step} of {self.steps}")

    def take_as_it_is(self, state):
        """A run that is further than it is asked to come is done if it came to its own end; ValueError if it was stopped before."""
        if self.step < state["steps"]:
            raise ValueError(
                f"{self.last} stands at step {self.step} of {state['steps']}, and {self.steps} are asked for: give --steps "
                f"{state['steps']} to go on, or --fresh to begin anew"
            )
        self.say(f"{self.steps} steps are asked for, and a run of {self.step} is done: it stays as it is")
        self.steps = self.step

    def save(self, path):
        if self.main:
            state = dict(
                step=self.step,
                steps=self.steps,
                minutes=self.settings.minutes,
                seconds=self.seconds,
                decay=self.settings.decay,
                given=self.given or {},
                settings=asdict(self.settings),
                model=self.objective.state_dict(),
                ema=self.ema.state_dict(),
                optimizers=[o.state_dict() for o in self.optimizers],
            )
            write_atomic(path, lambda file: torch.save(state, file))

    def batches(self, batch_of):
        """An iterator over the batches from this step on."""
        settings = self.settings
        dataset = Steps(batch_of, settings.seed, self.accelerator.process_index, self.step, self.steps)
        return iter(
            DataLoader(
                dataset, batch_size=None, num_workers=settings.workers, prefetch_factor=4 if settings.workers else None
            )
        )

    def advance(self, batch):
        """One step of the optimizers, and of the averages. Returns the losses, and the gradient's length with them."""
        settings, device = self.settings, self.accelerator.device
        batch = {k: v.to(device) if torch.is_tensor(v) else v for k, v in batch.items()}
        torch.manual_seed(step_seed(settings.seed + 1, self.step, self.accelerator.process_index))
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * self.rate
        losses = self.model(**batch)
        self.accelerator.backward(losses["loss"])
        losses["gradient"] = torch.nn.utils.clip_grad_norm_([p for p, _ in self.trained], settings.clip_norm)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        keep = min(settings.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for weight, average in self.trained:
                average.lerp_(weight, 1 - keep)
        self.seconds = time.perf_counter() - self.started
        return {k: v.detach() for k, v in losses.items()}

    @property
    def rate(self):
        """The learning rate of the next step, in parts of the full one."""
        return rate(self.step, self.steps, self.settings.warmup, self.settings.decay)

    def report(self, used, tally):
        """Write and say what the steps of `tally` brought. used: the last one's rate.

        With a length in minutes the number of steps is set anew, from the speed, as long as nothing depends on it.
        FloatingPointError where the loss is no number.
        """
        settings, means = self.settings, tally.means()
        if settings.minutes and self.step < decay_start(self.steps, settings.decay):
            more = round((settings.minutes * 60 - self.seconds) / tally.pace)
            self.steps = max(self.step + more, stretch(self.step, settings.decay))
        if self.main:
            self.metrics.add(step=self.step, seconds=self.seconds, rate=used, images_per_second=tally.speed, **means)
            print(
                f"{self.stage} {self.step}/{self.steps}  {in_words(means)}  {tally.speed:.1f}/s  "
                f"{clock((self.steps - self.step) * tally.pace)} left",
                flush=True,
            )
        if not math.isfinite(means["loss"]):
            raise FloatingPointError(
                f"{self.stage}: the loss is {means['loss']} at step {self.step}: lower --lr (it is {settings.lr})"
            )

    def look(self, watch):
        """Have the averaged objective measured, and write and say what was found."""
        seen = watch(self.ema, self.step)
        self.metrics.add(step=self.step, seconds=self.seconds, **seen)
        print(f"{self.stage} {self.step}: {in_words(seen)}", flush=True)


class Tally:
    """What some steps in a row brought, and how long they took."""

    def __init__(self):
        self.losses, self.images, self.since = [], 0, time.perf_counter()

    def add(self, losses, images):
        self.losses.append(losses)
        self.images += images

    def means(self):
        keys = {key: None for losses in self.losses for key in losses}
        return {
            k: torch.stack([losses[k].float() for losses in self.losses if k in losses]).mean().item() for k in keys
        }

    @property
    def pace(self):
        """Seconds a step."""
        return (time.perf_counter() - self.since) / len(self.losses)

    @property
    def speed(self):
        """Pictures a second."""
        return self.images / (time.perf_counter() - self.since)


def in_words(figures):
    return "  ".join(f"{name} {value:.4g}" for name, value in figures.items())


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
    run = Run(stage, objective, settings, plain, given, fresh)
    stop = Stop()
    try:
        saved = watched = time.perf_counter()
        tally, batches = Tally(), run.batches(batch_of)
        run.model.train()
        while not run.ended:
            if run.falls_next:
                run.save(run.before_decay)
                batches = run.batches(batch_of)  # from here on the number of steps is certain
            batch, used = next(batches), run.rate
            tally.add(run.advance(batch), images_of(batch) if images_of else settings.batch)
            if run.step % settings.log_every == 0 or run.ended:
                run.report(used, tally)
                tally = Tally()
            if watch and run.main and (time.perf_counter() - watched > settings.watch_minutes * 60 or run.ended):
                run.look(watch)
                watched, tally = time.perf_counter(), Tally()
            if stop.signal or run.ended or time.perf_counter() - saved > SAVE_SECONDS:
                run.save(run.last)
                saved = time.perf_counter()
            if stop.signal:
                run.say(f"stopped at step {run.step}; the same command goes on from there")
                sys.exit(128 + stop.signal)
    finally:
        stop.restore()
    run.say(f"{run.steps} steps in {clock(run.seconds)}")
    run.accelerator.wait_for_everyone()
    return run.ema


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
        raise ValueError(f"{path} is damaged ({first_line(error)}): remove it, or run with --fresh") from error
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


def save_sheet(path, images, columns):
    """Save uint8 (n, H, W, 3) as one PNG, `columns` pictures a row."""
    from PIL import Image

    images = np.asarray(images)
    rows = [np.concatenate(list(images[i : i + columns]), axis=1) for i in range(0, len(images) - columns + 1, columns)]
    write_atomic(path, lambda file: Image.fromarray(np.concatenate(rows)).save(file, format="PNG"))
