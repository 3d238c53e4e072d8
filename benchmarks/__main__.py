"""Run the benchmarks, all or the named ones, and write what they found: all of it into benchmarks/README.md, five figures
into the course's.

    python -m benchmarks [picture growth ...]       `make bench`, `make bench ARGS="picture growth"`
    python -m benchmarks --readme                   only the two pages, from the results that are there

Each script runs in a Python of its own and keeps its results when it ends: one that fails or is interrupted
leaves those that were there, and the others still run.
"""

import argparse
import json
import subprocess
import sys

from benchmarks import measure
from helpers.files import write_atomic
from helpers.kernel import prepare_kernel

SCRIPTS = {  # in the order in which they run and are told of; name -> what python -m benchmarks. is given
    "picture": ["picture"],
    "attention": ["attention"],
    "panels": ["panels"],
    "panels_browser": ["panels", "--browser"],
    "learning": ["learning"],
    "startup": ["startup"],
    "clone": ["startup", "--clone"],
    "whole": ["whole"],
    "classroom": ["classroom"],
    "growth": ["growth"],
    "page": ["page"],
    "gpu": ["gpu"],
}
ONLY_IF_NAMED = {"clone"}  # installs gigabytes
PAGE, README = measure.ROOT / "benchmarks" / "README.md", measure.ROOT / "README.md"
FRONT = (
    "one picture, 25 steps with guidance",
    "`generate` against StableDiffusionPipeline.from_pretrained, time",
    "recording attention against not, time",
    "git clone, make env, first picture, with a warm package cache",
    "students on a machine of 16 GB, extrapolated",
)  # what the README tells
BEGIN, END = "<!-- make bench writes from here -->\n", "<!-- make bench wrote to here -->"


def section(results, claims=None, folder="results"):
    """The lines on all results: a table for every machine, newest figures of each script.

    claims: those to tell, by what they measure; None: all. folder: where the results are, from the page.
    """
    text, machines = "", {}
    for result in results:
        where = {key: value for key, value in result["machine"].items() if key not in ("load_before", "others")}
        machines.setdefault(json.dumps(where), []).append(result)
    for group in machines.values():
        group = [result for result in group if any(claims is None or one["what"] in claims for one in result["claims"])]
        if not group:
            continue
        rows = [
            {
                "measured": one["what"],
                "result": one["measured"],
                "asked": one["asked"],
                "more": f"[{result['name']}]({folder}/{result['name']}.md)",
            }
            for result in group
            for one in result["claims"]
            if claims is None or one["what"] in claims
        ]
        days = sorted({result["measured"] for result in group})
        machine = measure.machine_in_words(group[0]["machine"] | {"others": None})
        text += f"{measure.table(rows)}\n\nMeasured {' and '.join(days)} on: {machine}.\n\n"
    return text.strip() or "Nothing has been measured yet: `make bench`."


def write_section(readme, text):
    """Put `text` between the two markers of a file; nothing else in it changes. ValueError without markers."""
    before, begin, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{readme.name} lacks the two lines between which results are written: {BEGIN}{END}")
    page = f"{before}{begin}\n{text}\n\n{end}{after}"
    write_atomic(readme, lambda file: file.write_text(page, encoding="utf-8", newline="\n"))


def kept(folder):
    """What the scripts have kept in a folder, in the order of SCRIPTS."""
    files = [folder / f"{name}.json" for name in SCRIPTS]
    return [json.loads(file.read_text(encoding="utf-8")) for file in files if file.is_file()]


def run(names):
    """Run these scripts, one after another; the names of those that failed."""
    failed = []
    prepare_kernel(fresh=False)  # its environment reaches the scripts, which then run as a lesson does
    for name in names:
        print(f"\n{'=' * 20} {name} {'=' * 20}", flush=True)
        if subprocess.run(
            [sys.executable, "-m", f"benchmarks.{SCRIPTS[name][0]}", *SCRIPTS[name][1:]], cwd=measure.ROOT
        ).returncode:
            failed.append(name)
    return failed


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="name", help=f"of: {', '.join(SCRIPTS)}")
    parser.add_argument("--readme", action="store_true", help="measure nothing, only write the two pages")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in SCRIPTS]
    if unknown:
        parser.error(f"there is no benchmark {', '.join(unknown)}; there are {', '.join(SCRIPTS)}")
    names = options.names or [name for name in SCRIPTS if name not in ONLY_IF_NAMED]
    failed = [] if options.readme else run(names)
    results = kept(measure.RESULTS)
    write_section(PAGE, section(results))
    write_section(README, section(results, FRONT, "benchmarks/results"))
    if failed:
        print(f"\nFailed, with the results of before kept: {', '.join(failed)}.", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("Interrupted: the scripts that had ended have kept their results; --readme writes them up.")
