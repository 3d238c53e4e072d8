"""From nothing to a picture: importing, loading and drawing, each by itself; and the way there from a clone.

    python -m benchmarks.startup [--model postcard] [--rounds 5] [--quick]
    python -m benchmarks.startup --clone            git clone, make env and the first picture, timed

Every round is a new Python, so that nothing is warm but the disk's cache. --clone works in a temporary folder,
takes as long as pip takes to install torch from its cache (minutes), and keeps its results apart, as `clone`.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import draw, measure

STAGES = {  # what is timed -> the statement
    "import helpers": "import helpers",
    "import torch, diffusers, transformers": "from helpers import generate, load_components",
    "load the model": "c = load_components({model!r})",
    "first picture": "generate(c, {prompt!r}, steps={steps}, seed=0)",
    "second picture": "generate(c, {prompt!r}, steps={steps}, seed=0)",
}


def fresh(model, steps):
    """{stage: seconds} in a new Python, which knows nothing but what it starts with."""
    code = ["import time", "took = {}"]
    for stage, statement in STAGES.items():
        code += [
            "start = time.perf_counter()",
            statement.format(model=model, prompt=measure.PROMPT, steps=steps),
            f"took[{stage!r}] = time.perf_counter() - start",
        ]
    code += ["import json", "print(json.dumps(took))"]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(code)], cwd=measure.ROOT, check=True, text=True, stdout=subprocess.PIPE
    )
    return json.loads(done.stdout.splitlines()[-1])


def clone(steps):
    """{what: seconds} of git clone, make env and the first picture, in a temporary folder."""
    picture = (
        f"from helpers import generate, load_components; "
        f"generate(load_components('postcard'), {measure.PROMPT!r}, steps={steps}, seed=0)"
    )
    with tempfile.TemporaryDirectory() as folder:
        course = Path(folder) / "course"
        python = getattr(sys, "_base_executable", sys.executable)  # not the one of this environment
        commands = {
            "git clone": (["git", "clone", "-q", str(measure.ROOT), str(course)], folder),
            "make env": (["make", "env", f"PYTHON={python}"], course),
            "import, load, first picture": ([course / ".venv" / "bin" / "python", "-c", picture], course),
        }
        took, env = {}, {name: os.environ[name] for name in os.environ if name not in ("PYTHONPATH", "MAKEFLAGS")}
        for what, (command, where) in commands.items():
            print(f"{what} ...", flush=True)
            start = time.perf_counter()
            done = subprocess.run(command, cwd=where, env=env, capture_output=True, text=True)
            took[what] = time.perf_counter() - start
            if done.returncode:
                raise RuntimeError(f"{what} failed: {done.stderr.strip()[-500:]}")
    return took


def bars(title, took):
    words = {stage: measure.in_seconds(value) for stage, value in took.items()}
    return lambda machine: draw.bars(title, "Bars of seconds", took, words, machine)


def main(arguments=None):
    parser = measure.options(__doc__, model="postcard", steps=25, rounds=5)
    parser.add_argument("--clone", action="store_true", help="time the way from a clone instead; minutes")
    options = parser.parse_args(arguments)
    if options.quick:
        options.steps, options.rounds = 2, 1
    settings = {"model": options.model, "steps": options.steps}
    keep = None if options.quick else options.results

    if options.clone:
        took = clone(options.steps)
        total = measure.in_seconds(sum(took.values()))
        measure.report(
            "clone",
            "From a clone to the first picture",
            [{"": what, "time": measure.in_seconds(took[what])} for what in took],
            [measure.claim("git clone, make env, first picture, with a warm package cache", total)],
            bars(f"From a clone to the first picture: {total}", took),
            settings,
            "Packages came from pip's cache, or where pip is set to look, on this machine if they lie there; one run.",
            {"seconds": took},
            keep,
        )
        return

    rounds = [fresh(options.model, options.steps) for _ in range(options.rounds)]
    took = {stage: statistics.median(one[stage] for one in rounds) for stage in STAGES}
    whole = statistics.median(sum(list(one.values())[:4]) for one in rounds)
    rows = [
        {
            "": stage,
            "median": measure.in_seconds(took[stage]),
            "least": measure.in_seconds(min(one[stage] for one in rounds)),
            "most": measure.in_seconds(max(one[stage] for one in rounds)),
        }
        for stage in STAGES
    ]
    measure.report(
        "startup",
        "From a new Python to a picture",
        rows,
        [
            measure.claim("`import helpers`", measure.in_seconds(took["import helpers"]), "≤ 0.3 s"),
            measure.claim("from a new Python to the first picture", measure.in_seconds(whole)),
        ],
        bars(f"A new Python draws its first picture after {measure.in_seconds(whole)}", took),
        settings | {"rounds": options.rounds},
        "Each round is a new Python; the disk's cache is warm.",
        {"seconds": rounds},
        keep,
    )


if __name__ == "__main__":
    main()
