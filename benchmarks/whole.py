"""Every lesson whole, in a kernel of its own: seconds by the clock, and the memory of the kernel.

    python -m benchmarks.whole [--rounds 3] [--lessons 1,2,3,4,5] [--threads 0] [--quick]

In each round every lesson is run once, from its first cell to its last, as *Restart Kernel and Run All Cells* does it; the
start of the kernel is not counted, and nobody moves a panel meanwhile. --threads: OMP_NUM_THREADS of the kernel, 0: as it
is, a thread a core. A kernel's memory is its RSS, read twice a second (Linux); it counts what others share.

A reading is disturbed where the host of a virtual machine took more than MOST_STOLEN of the cores' time (Linux counts it):
then these were not the cores that are asked about. It is told, and repeated, at most as often as it was to be read.
"""

import os
import sys
import time

from benchmarks import draw, measure
from benchmarks.classroom import class_of, code_cells
from benchmarks.lessons import NOTEBOOKS

SECONDS = {"01": 90, "02": 90, "03": 90, "04": 150, "05": 240}  # asked of two cores
BYTES = {"04": 700e6}
MOST_STOLEN = 0.02  # of the cores' time


def main(arguments=None):
    parser = measure.options(__doc__, rounds=3, lessons="1,2,3,4,5", threads=0)
    options = parser.parse_args(arguments)
    rounds, count = (1, 2) if options.quick else (options.rounds, 0)
    wanted = {f"{int(number):02}" for number in options.lessons.split(",")}
    files = {file.name[:2]: file for file in NOTEBOOKS if file.name[:2] in wanted}
    if set(files) != wanted:
        raise SystemExit(
            f"There is no lesson {', '.join(sorted(wanted - set(files)))}: --lessons 1,3 runs the first and third."
        )
    found = {number: [] for number in files}
    for turn in range(2 * rounds):
        for number, file in files.items():
            if len(undisturbed(found[number])) >= rounds:
                continue
            one = reading(code_cells(file, count), file.parent, options.threads)
            found[number].append(one)
            print(
                f"round {turn + 1}, lesson {number}: {measure.in_seconds(one['seconds'][0])}, "
                f"{measure.in_bytes(one['alone'] or None)}; the host took {one['stolen']:.1%}",
                file=sys.stderr,
                flush=True,
            )
    rows, claims, longest = results(found)
    title = "Every lesson whole, in a kernel of its own"
    measure.report(
        "whole",
        title,
        rows,
        claims,
        figure(title, longest),
        {"rounds": rounds, "OMP_NUM_THREADS of the kernel": options.threads or "as it is"},
        "Seconds by the clock, from the first cell's start to the last one's end; memory: RSS. disturbed: readings during which "
        f"the host of the machine took more than {MOST_STOLEN:.0%} of the cores' time.",
        {"lessons": found},
        None if options.quick else options.results,
    )


def reading(cells, folder, threads):
    """What `class_of` returns of one kernel, and "stolen": the share of the cores' time that the host took meanwhile."""
    before, start = measure.stolen(), time.perf_counter()
    one = class_of(1, cells, folder, threads)
    return one | {"stolen": (measure.stolen() - before) / (time.perf_counter() - start) / (os.cpu_count() or 1)}


def undisturbed(each):
    """The readings of one lesson during which the machine was its own."""
    return [one for one in each if one["stolen"] <= MOST_STOLEN]


def results(found):
    """(rows, claims, {lesson: most seconds}) of {number: [what `reading` returned, ...]}.

    A claim tells the most of all undisturbed readings, or of all where there is none: a floor is met if none of them is
    above it. Memory is told of all.
    """
    rows, claims, longest = [], [], {}
    for number, each in found.items():
        times = sorted(one["seconds"][0] for one in undisturbed(each) or each)
        others = ", ".join(f"{one['seconds'][0]:.0f} s" for one in each if one["stolen"] > MOST_STOLEN)
        memory = max(one["alone"] for one in each) or None
        asked = f"≤ {SECONDS[number]} s" + (f", ≤ {measure.in_bytes(BYTES[number])}" if number in BYTES else "")
        rows.append(
            {
                "lesson": number,
                "least": f"{times[0]:.0f} s",
                "most": f"{times[-1]:.0f} s",
                "undisturbed": len(undisturbed(each)),
                "disturbed": others or "none",
                "memory at most": measure.in_bytes(memory),
                "asked": asked,
            }
        )
        longest[f"lesson {number}"] = times[-1]
        what = f"lesson {number} whole, the slowest of {len(times)}"
        claims.append(measure.claim(what, f"{times[-1]:.0f} s, {measure.in_bytes(memory)}", asked))
    return rows, claims, longest


def figure(title, longest):
    words = {name: f"{value:.0f} s" for name, value in longest.items()}
    return lambda machine: draw.bars(title, "Bars of seconds", longest, words, f"The slowest round. {machine}")


if __name__ == "__main__":
    main()
