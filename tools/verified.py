"""When each platform was last verified: a table in the README, written from what the tests ran on.

    python -m tools.verified test test-colab        these passed today, in the environments made for them

`make verify` runs the tests and calls this file after each one that passed.
"""

import datetime
import json
import subprocess
import sys
from pathlib import Path

from tools.browser import found_browser
from tools.setup_cell import save_text

README = Path(__file__).resolve().parent.parent / "README.md"
PLATFORMS = {
    "test": "the pinned versions, `constraints.txt`",
    "test-shapes": "the lessons on a random model of Stable Diffusion 1.5's shape",
    "test-gpu": "the lessons in float16 on a graphics card, or on the tests' pretend one",
    "test-colab": "Python and versions of a Google Colab runtime",
    "test-newest": "the newest versions that `environment.yml` admits",
    "test-hard": "the pinned versions, every trial at its full count",
    "test-browser": "in a real browser: every panel moved in JupyterLab, the page that draws, the site to read",
}
SHOWN = "torch", "diffusers", "transformers", "ipywidgets"
ASK = (
    "import importlib.metadata, json, platform, sys; print(json.dumps([platform.python_version(), "
    "*map(importlib.metadata.version, sys.argv[1:])]))"
)


def python_of(name: str) -> str:
    """The Python that a test runs notebooks with: this one, or that of an environment beside this one."""
    if name in ("test", "test-shapes", "test-gpu", "test-hard", "test-browser"):
        return sys.executable
    own = Path(sys.prefix + name.removeprefix("test")) / "bin" / "python"
    if not own.exists():
        raise ValueError(f"There is no {own}: run `make {name}` first.")
    return str(own)


def held(name: str) -> str:
    """What a test runs notebooks with, in words: "Python 3.12.1, torch 2.13.0, ..."."""
    done = subprocess.run([python_of(name), "-c", ASK, *SHOWN], check=True, capture_output=True, text=True)
    words = [" ".join(pair) for pair in zip(("Python", *SHOWN), json.loads(done.stdout), strict=True)]
    if name == "test-gpu":
        words.append(card())
    if name == "test-browser" and (browser := found_browser()):
        said = subprocess.run([browser, "--version"], capture_output=True, text=True).stdout
        words.append(said.split(" built")[0].strip())
    return ", ".join(words)


def card() -> str:
    """The graphics card of this machine, by name; without one the tests run on a pretend one."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "a pretend card"


def with_row(text: str, name: str, date: str, versions: str) -> str:
    """The README's text with one row of the table brought up to date. Raises ValueError without that row."""
    lines = text.splitlines(keepends=True)
    rows = [i for i, line in enumerate(lines) if line.startswith(f"| `make {name}` |")]
    if len(rows) != 1:
        raise ValueError(f"The README holds {len(rows)} rows that begin with `make {name}`, not one.")
    lines[rows[0]] = f"| `make {name}` | {PLATFORMS[name]} | {date} | {versions} |\n"
    return "".join(lines)


def main(names: list[str]) -> None:
    unknown = [name for name in names if name not in PLATFORMS]
    if unknown or not names:
        raise ValueError(f"Name what passed: {', '.join(PLATFORMS)}.")
    for name in names:
        text = README.read_text(encoding="utf-8")
        save_text(README, with_row(text, name, datetime.date.today().isoformat(), held(name)))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except ValueError as problem:
        sys.exit(str(problem))
