"""A class on one machine: N kernels at once that run lesson 04 without a pause, and one that runs it whole.

    python -m benchmarks.classroom [--kernels 1,2,4,8] [--notebook notebooks/04_unet_sampling.ipynb] [--cells 15]
                                   [--threads 1] [--quick]

A kernel's memory is its proportional share (PSS): what several kernels map together, libraries above all, is
divided among them. It is read twice a second; the most that all kernels held together is kept, which only
Linux tells. --cells: the N kernels run so many code cells from the top, in lesson 04 up to the finished loop;
0: the whole lesson, which takes a quarter of an hour on two cores. --threads: OMP_NUM_THREADS of the kernels,
0: as it is, a thread a core for every kernel. They then wait for each other: two kernels are run so as well,
for comparison. A class that reads and thinks computes far less at once: memory is what limits it.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import numpy as np
from jupyter_client.manager import start_new_kernel

from benchmarks import measure
from helpers.figures import style

MACHINE, SYSTEM = 16e9, 2e9  # bytes of the machine asked about, and of it what system and server keep
CELL_SECONDS = 600


def code_cells(notebook, count):
    cells = [cell.source for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]
    return cells[: count or None]


def student(cells, folder, threads, processes):
    """Run the cells in a kernel of its own; its process is added to `processes` while it lives. Seconds.

    What they save as a reader's own lies in a folder that is gone afterwards.
    """
    with tempfile.TemporaryDirectory() as own:
        env = {**os.environ, "MY_COURSE": own, **({"OMP_NUM_THREADS": str(threads)} if threads else {})}
        return _timed(cells, folder, env, processes)


def _timed(cells, folder, env, processes):
    manager, client = start_new_kernel(
        kernel_name="python3", cwd=str(folder), env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    pid = manager.provisioner.pid
    processes.add(pid)
    try:
        start = time.perf_counter()
        for number, source in enumerate(cells):
            reply = client.execute_interactive(
                source, allow_stdin=False, timeout=CELL_SECONDS, output_hook=lambda message: None
            )["content"]
            if reply["status"] != "ok":
                raise RuntimeError(f"Code cell {number} failed: {reply['ename']}: {reply['evalue']}")
        return time.perf_counter() - start
    finally:
        processes.discard(pid)
        client.stop_channels()
        manager.shutdown_kernel(now=True)


class Scale(threading.Thread):
    """Reads the memory of some processes twice a second: .shares, .alone are the most their sums came to."""

    def __init__(self, processes):
        super().__init__(daemon=True)
        self.processes, self.over = processes, threading.Event()
        self.shares, self.alone = 0, 0

    def run(self):
        while not self.over.wait(0.5):
            try:
                pids = list(self.processes)
                self.shares = max(self.shares, sum(map(measure.proportional, pids)))
                self.alone = max(self.alone, sum(measure.resident("VmRSS", pid) for pid in pids))
            except (OSError, RuntimeError, StopIteration):  # one has just ended; or this is not Linux
                continue


def class_of(count, cells, folder, threads):
    """{"seconds": [...], "shares": bytes, "alone": bytes} of `count` kernels that start together.

    shares: PSS of all; alone: the sum of what each maps (RSS), shared or not. 0: not known here.
    """
    processes = set()
    scale = Scale(processes)
    scale.start()
    try:
        with ThreadPoolExecutor(count) as pool:
            took = list(pool.map(lambda _: student(cells, folder, threads, processes), range(count)))
    finally:
        scale.over.set()
        scale.join()
    return {"seconds": took, "shares": scale.shares, "alone": scale.alone}


def capacity(counts, shares, whole):
    """(bytes that do not grow, bytes of one more student, the same at the lesson's peak, students in MACHINE).

    A line through the sums; where one kernel that ran the whole lesson took more than the line says of one, so
    much more is added for each student.
    """
    slope, offset = np.polyfit(counts, shares, 1)
    peak = slope + max(0, whole - slope - offset)
    return offset, slope, peak, int((MACHINE - SYSTEM - max(offset, 0)) // peak)


def words(found):
    """Time and memory of what `class_of` returned."""
    return f"{measure.in_seconds(statistics.median(found['seconds']))}, {measure.in_bytes(found['shares'] or None)}"


def figure(found, limits, what):
    """Memory and time against N, of `what`, on plain axes: a straight line is what is expected of both."""
    counts = list(found)

    def picture(machine):
        fig = style.new_figure(style.TITLE + 2.2 + 0.45 + style.NOTE)
        if limits:
            offset, slope, _, students = limits
            ax = style.place(fig, 0.75, style.TITLE + 0.08, 3.5, 2.2)
            ax.plot(
                [0, counts[-1]], [offset / 1e9, (offset + slope * counts[-1]) / 1e9], color=style.SIGNAL, linewidth=1
            )
            ax.plot(counts, [one["shares"] / 1e9 for one in found.values()], "o", color=style.SIGNAL)
            ax.text(
                0.97,
                0.2,
                f"+{measure.in_bytes(slope)} a student",
                transform=ax.transAxes,
                ha="right",
                fontsize=8,
                color=style.SIGNAL,
            )
            ax.set(xlim=(0, None), ylim=(0, None))
            style.tidy(ax, "kernels at once", "memory of all at its peak, GB", xticks=counts)
        ax = style.place(fig, 5.25, style.TITLE + 0.08, 3.5, 2.2)
        times = [statistics.median(one["seconds"]) for one in found.values()]
        ax.plot(counts, times, "o-", color=style.GUIDED, linewidth=1)
        ax.set(xlim=(0, None), ylim=(0, None))
        style.tidy(ax, "kernels at once", "seconds for the cells, median", xticks=counts)
        title = (
            f"A machine of {MACHINE / 1e9:.0f} GB holds about {students} students, extrapolated"
            if limits
            else "The more kernels, the longer each takes"
        )
        style.claim(fig, title, f"{what}. {machine}")
        return style.finish(fig, f"Memory and seconds against the number of kernels. {title}", palette=64)

    return picture


def main(arguments=None):
    parser = measure.options(
        __doc__, kernels="1,2,4,8", notebook="notebooks/04_unet_sampling.ipynb", cells=15, threads=1
    )
    options = parser.parse_args(arguments)
    counts = [1, 2] if options.quick else sorted({int(one) for one in options.kernels.split(",")})
    notebook, threads = measure.ROOT / options.notebook, options.threads
    cells = code_cells(notebook, 3 if options.quick else options.cells)
    lesson = code_cells(notebook, 4 if options.quick else 0)
    found = {}
    for count in counts:
        found[count] = class_of(count, cells, notebook.parent, threads)
        print(f"{count} kernels: {words(found[count])}", file=sys.stderr, flush=True)
    crowd = class_of(2, cells, notebook.parent, 0) if threads and 2 in counts else None
    whole = class_of(1, lesson, notebook.parent, threads)

    rows, claims, limits, note = results(found, crowd, whole, notebook.stem, len(cells))
    measure.report(
        "classroom",
        "A class on one machine: kernels that run a lesson at once",
        rows,
        claims,
        figure(found, limits, f"{notebook.stem}, first {len(cells)} code cells"),
        {
            "notebook": Path(options.notebook).name,
            "code cells": len(cells),
            "OMP_NUM_THREADS of the kernels": threads or "as it is",
        },
        note,
        {"kernels": found, "whole": whole, "crowd": crowd},
        None if options.quick else options.results,
    )


def results(found, crowd, whole, lesson, cells):
    """(rows, claims, what `capacity` says or None, note). found: {N: what `class_of` returned}."""
    times = {count: statistics.median(each["seconds"]) for count, each in found.items()}
    most, least = max(found), min(found)

    def row(name, count, each):
        took = statistics.median(each["seconds"])
        return {
            "kernels at once": name,
            "time": measure.in_seconds(took),
            f"against {least}": f"{took / times[least]:.1f}",
            "memory of all": measure.in_bytes(each["shares"] or None),
            "a student (PSS)": measure.in_bytes(each["shares"] / count or None),
            "a student (RSS)": measure.in_bytes(each["alone"] / count or None),
        }

    rows = [row(str(count), count, each) for count, each in found.items()]
    claims = [
        measure.claim(f"{lesson} whole, one kernel alone, measured", words(whole)),
        measure.claim(
            f"{most} kernels at once, first {cells} code cells, measured",
            f"{rows[-1]['memory of all']} in all, {rows[-1][f'against {least}']} times as long as {least}",
        ),
    ]
    if crowd:
        rows.append(row("2, a thread a core each", 2, crowd))
        claims.append(
            measure.claim(
                "2 kernels with a thread a core each",
                f"{statistics.median(crowd['seconds']) / times[2]:.1f} times as long",
            )
        )
    shares = [each["shares"] for each in found.values()]
    if not all(shares) or len(shares) < 2:
        unknown = "What other processes hold in memory is not told on this system."
        return rows, claims, None, "" if all(shares) else unknown
    limits = offset, slope, peak, students = capacity(list(found), shares, whole["shares"])
    claims.append(measure.claim(f"students on a machine of {MACHINE / 1e9:.0f} GB, extrapolated", str(students)))
    return (
        rows,
        claims,
        limits,
        (
            f"Times are medians. One kernel alone took {words(whole)} for the whole lesson. Extrapolated, not measured: "
            f"by the line through these sums one more student costs {measure.in_bytes(slope)}, at the peak of the whole "
            f"lesson {measure.in_bytes(peak)}; {MACHINE / 1e9:.0f} GB, less {SYSTEM / 1e9:.0f} GB for system and "
            f"server, hold {students} at that peak all at once. RSS counts in every kernel what all of them share."
        ),
    )


if __name__ == "__main__":
    main()
