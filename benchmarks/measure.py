"""What every benchmark shares: the machine in words, fair turns, peak memory, the fit of growth, tables, files.

A script measures, then calls `save` once, at its end: an interrupted one leaves the results that were there.
"""

import argparse
import contextlib
import ctypes
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from helpers.files import make_folder, write_atomic

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PROMPT = "a red boat on a lake below snowy mountains at sunset"
MOST_BYTES = 80_000  # of a picture, in the repository


# How a script is called


def options(doc, **defaults):
    """An ArgumentParser with what every script takes, and --name for each of `defaults`, of its default's type.

    doc: the script's docstring, shown by --help. --quick: fewer and smaller runs, which are printed and not
    kept. --results: the folder that the results are written to.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="a try in seconds: fewer and smaller runs, printed, not kept"
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=RESULTS,
        metavar="FOLDER",
        help="where the results are kept (default: benchmarks/results)",
    )
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=type(default), default=default, help=f"(default: {default})")
    return parser


# Where


def _spent(*kinds):
    """Seconds that all processors of this machine have spent so since it started: columns of /proc/stat; None outside Linux."""
    try:
        columns = Path("/proc/stat").read_text().split()
        return sum(int(columns[kind]) for kind in kinds) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None


def _busy():
    return _spent(1, 2, 3)  # user, nice, system


def stolen():
    """Seconds of its processors' time that the host of this virtual machine has given to others since it started (Linux).

    The sum over all cores; 0.0 where nobody counts it. While it grows, a machine has fewer cores than it says.
    """
    return _spent(8) or 0.0


def _own():
    """Seconds that this process and those it waited for have worked."""
    return sum(os.times()[:4])


_START = time.perf_counter(), _busy(), _own(), os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def machine():
    """The machine, its versions and how busy it was: {"processor": ..., "cores": 2, ...}; None: not known.

    card: the graphics card that torch sees. load_before: the load average when the script began.
    others: how many processors other programs kept busy since then, on average.
    """
    from helpers.runtime import processor

    import torch

    elapsed, busy, own = time.perf_counter() - _START[0], _busy(), _own() - _START[2]
    others = None if busy is None else round(max(0.0, (busy - _START[1] - own) / elapsed), 2)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = {name: importlib.metadata.version(name) for name in ("torch", "diffusers", "transformers")}
    return {
        "processor": processor(),
        "cores": cores,
        "threads": torch.get_num_threads(),
        "memory_gb": _memory(),
        "card": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **versions,
        "load_before": _START[3] and round(_START[3], 2),
        "others": others,
    }


def machine_in_words(machine, short=False):
    """One line from what `machine` returned. short: only the processor or card, threads and torch."""
    cores, threads = (f"{machine[one]} {one if machine[one] != 1 else one[:-1]}" for one in ("cores", "threads"))
    where = f"{machine['processor']}, {cores}, {threads}"
    if short:
        return f"{machine['card'] or where}; torch {machine['torch']}"
    where += f", {machine['memory_gb']} GB" if machine["memory_gb"] else ""
    parts = [
        where,
        *([machine["card"]] if machine["card"] else []),
        machine["system"],
        f"Python {machine['python']}, torch {machine['torch']}, diffusers {machine['diffusers']}, "
        f"transformers {machine['transformers']}",
    ]
    if machine["others"] is not None:
        parts.append(f"other programs kept {machine['others']:.1f} cores busy meanwhile")
    return "; ".join(parts)


def _memory():
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9)
    except (AttributeError, OSError, ValueError):
        return None


# Time


def seconds(action):
    """How long `action()` takes. On a GPU it must wait for its result: a picture in main memory is finished."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def take_turns(actions, rounds, warm_up=1):
    """{name: [seconds, ...]} of {name: action}: in each of `rounds` every action runs once, one after another.

    So what else the machine does meets all of them alike, and ratios hold. Each round begins with another one:
    what an action leaves behind meets all of them too. warm_up: rounds not counted.
    """
    names, times = list(actions), {name: [] for name in actions}
    for turn in range(-warm_up, rounds):
        first = max(turn, 0) % len(names)
        for name in names[first:] + names[:first]:
            took = seconds(actions[name])
            if turn >= 0:
                times[name].append(took)
    return times


def ratio(times, name, to):
    """{"median": ..., "low": ..., "high": ...}: ratio of the medians; least and most of any one round."""
    each = [one / other for one, other in zip(times[name], times[to])]
    return {
        "median": statistics.median(times[name]) / statistics.median(times[to]),
        "low": min(each),
        "high": max(each),
    }


def percentile(values, percent):
    """The value that `percent` in a hundred of `values` do not exceed: one of them, the nearest rank."""
    ranked = sorted(values)
    return ranked[max(0, -(-len(ranked) * percent // 100) - 1)]


def in_new_process(module, *arguments, **environment):
    """What `python -m module arguments` prints in its last line, which is JSON. RuntimeError if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT,
        text=True,
        capture_output=True,
        env={**os.environ, **environment},
    )
    if done.returncode:
        raise RuntimeError(f"{module} {' '.join(map(str, arguments))} failed: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])


# Memory


def in_use(device="cpu"):
    """Bytes in use now: of a cuda device by torch, else of this process; None where that is not known."""
    import torch

    if torch.device(device).type == "cuda":
        return torch.cuda.memory_allocated(device)
    if not Path("/proc/self/clear_refs").exists():
        return None
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)  # what is free goes back to the system: it would hide what comes next
    return resident()


def extra_memory(action, device="cpu", before=None):
    """By how many bytes `action()` raises the memory in use at its peak; None where that is not known.

    On a cuda device its memory, else this process's (Linux). before: what `in_use` was when counting starts;
    None: just now. Best asked once a process, or for greater and greater actions: not all memory that is free
    again is given back to the system, and what is kept hides what needs less.
    """
    import torch

    now = in_use(device)
    before = now if before is None else before
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        action()
        return torch.cuda.max_memory_allocated(device) - before
    if now is not None:
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here, `man 5 proc`
    action()
    return None if now is None else resident("VmHWM") - before


def resident(name="VmRSS", process="self"):
    """A figure of a process's memory in bytes (Linux): VmRSS is in use now, VmHWM was at most."""
    return _figure(f"/proc/{process}/status", name)


def proportional(process="self"):
    """Bytes of memory that are a process's own, and its share of what it has in common with others (PSS)."""
    return _figure(f"/proc/{process}/smaps_rollup", "Pss")


def _figure(file, name):
    lines = Path(file).read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.split(":")[0] == name)


# Growth


def fit_power(sizes, costs):
    """(exponent, factor) of cost = factor * size ** exponent, by least squares on the logarithms."""
    import numpy as np

    exponent, offset = np.polyfit(np.log(sizes), np.log(costs), 1)
    return float(exponent), float(np.exp(offset))


# What is printed and kept


def in_seconds(value):
    """0.0123 -> "12.3 ms", 0.123 -> "123 ms", 1.234 -> "1.23 s", 75 -> "75 s"."""
    if value < 1:
        return f"{1000 * value:.3g} ms" if value < 0.1 else f"{1000 * value:.0f} ms"
    return f"{value:.2f} s" if value < 10 else f"{value:.0f} s"


def in_bytes(value):
    """1.5e6 -> "1.5 MB", 410e6 -> "410 MB", 2e9 -> "2.0 GB"; None -> "unknown"."""
    if value is None:
        return "unknown"
    if value >= 1e9:
        return f"{value / 1e9:.1f} GB"
    return f"{value / 1e6:.0f} MB" if value >= 1e8 else f"{value / 1e6:.1f} MB"


def table(rows):
    """Rows, dicts with the same keys, as text: Markdown whose columns are also straight in a terminal.

    Floats are written with three digits, None as a dash. Numbers stand on the right.
    """

    def text(value):
        return "-" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)

    names = list(rows[0])
    cells = [names, *([text(row[name]) for name in names] for row in rows)]
    width = [max(3, *(len(line[i]) for line in cells)) for i in range(len(names))]
    lines = [
        "| "
        + " | ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, width)))
        + " |"
        for line in cells
    ]
    rule = ["-" * width[0], *("-" * (w - 1) + ":" for w in width[1:])]
    return "\n".join([lines[0], "| " + " | ".join(rule) + " |", *lines[1:]])


def claim(what, measured, asked=""):
    """One line of the README's table: what was measured, the figure in words, what was asked of it."""
    return {"what": what, "measured": measured, "asked": asked}


def report(name, title, rows, claims, figure, settings, note="", data=None, keep=RESULTS):
    """Print what a script found, and keep it as <name>.json, <name>.md and <name>.png.

    title: one sentence. rows: of the table, dicts with the same keys. claims: a list of `claim`.
    figure: a function of the machine in few words, for its small print, that returns a Picture of
    helpers.figures.style. settings: {name: value} of this run. note: sentences below the table.
    data: everything measured, for the JSON file. keep: the folder to write to, or None: only print.
    """
    where = machine()
    words = f"{title}\n\n{table(rows)}\n"
    print(
        words,
        *[f"{one['what']}: {one['measured']}" + f" (asked: {one['asked']})" * bool(one["asked"]) for one in claims],
        f"\n{note}\n" * bool(note),
        machine_in_words(where),
        sep="\n",
    )
    if keep is None:
        return
    result = {
        "name": name,
        "title": title,
        "measured": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": where,
        "settings": settings,
        "claims": claims,
        "rows": rows,
        "note": note,
        "data": data or {},
    }
    picture = figure(machine_in_words(where, short=True))
    if len(picture.png) > MOST_BYTES:
        raise ValueError(f"The picture of {name} holds {len(picture.png)} bytes, more than {MOST_BYTES}.")
    chosen = ", ".join(f"{key} {value}" for key, value in settings.items())
    page = (
        f"# {title}\n\n![{picture.alt}]({name}.png)\n\n{table(rows)}\n\n"
        + f"{note}\n\n" * bool(note)
        + f"Measured on {result['measured']} ({chosen}). {machine_in_words(where)}.\n"
    )
    folder = make_folder(keep)
    write_atomic(folder / f"{name}.png", lambda file: file.write_bytes(picture.png))
    write_atomic(folder / f"{name}.md", lambda file: file.write_text(page, encoding="utf-8"))
    text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
    write_atomic(folder / f"{name}.json", lambda file: file.write_text(text, encoding="utf-8"))
