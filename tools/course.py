"""Set the course up, open it, test it, with nothing but Python: what `make env`, `make lab`, `make test` and `make web` do, also on Windows.

    python -m tools.course env                  makes the environment, .venv, where it is missing or out of date
    python -m tools.course lab [options]        the same, then JupyterLab; --no-browser on a server
    python -m tools.course test [options]       the same, then all tests, as pytest takes its options
    python -m tools.course web [port]           the same, then the page that draws in a browser, served on 127.0.0.1; needs Node.js

`--venv FOLDER` before the command puts the environment elsewhere. Only the standard library is imported here.
"""

from __future__ import annotations  # an old Python is to get as far as the sentence that it is too old

import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST = (3, 11)
MADE_OF = ("pyproject.toml", "constraints.txt")  # an environment older than these is brought up to date
# One process a core, each with one thread and whole files, the longest first: models this small gain little from a second
# thread, and processes of several threads each get in each other's way. -n0 in the options: one after the other.
LESSONS = [
    f"notebooks/{name}.ipynb"
    for name in ("05_concepts", "04_unet_sampling", "02_vae_latents", "01_diffusion_process", "03_clip_conditioning")
]
OTHERS = ["tests/claims", "tests/notebooks", "tests/faults", "tests/unit"]
WORKERS = ["-n", "logical", "--maxprocesses", "4", "--dist", "loadfile", "--no-loadscope-reorder"]
STRICT = [
    "--nbval",
    "--nbval-cell-timeout",
    "900",
    "--nbval-sanitize-with",
    "tests/notebooks/sanitize.cfg",
    "--nbval-current-env",
]


def python_in(folder: Path) -> Path:
    """The Python of an environment."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def pin(package: str) -> str:
    """A package's line in constraints.txt, such as "torch==2.13.0". LookupError without one."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.startswith(f"{package}=="))


def run(*command, quiet: bool = False) -> bool:
    """Run a command in the course's folder; returns whether it went well. quiet: its complaints are not shown."""
    hide = subprocess.DEVNULL if quiet else None
    return subprocess.run([*map(str, command)], cwd=ROOT, stderr=hide).returncode == 0


def stay(*command, **options) -> int:
    """Run a command in the course's folder until it ends by itself; returns what it returned. Ctrl-C reaches it as it does this
    process, and is its own to answer: JupyterLab asks whether to stop, pytest says what it has seen. (subprocess.run would kill it.)"""
    child = subprocess.Popen([*map(str, command)], cwd=ROOT, **options)
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:
            pass


def up_to_date(folder: Path) -> bool:
    """Whether the environment is whole and not older than what it is made of."""
    ready = folder / ".ready"
    return ready.is_file() and all(ready.stat().st_mtime >= (ROOT / name).stat().st_mtime for name in MADE_OF)


def make_env(folder: Path) -> None:
    """Make the environment, or bring it up to date. SystemExit with a sentence where something cannot be installed."""
    if up_to_date(folder):
        return
    if not python_in(folder).is_file() or not run(python_in(folder), "-c", "", quiet=True):
        ours = (folder / "pyvenv.cfg").is_file()  # an environment, broken or of a Python that is gone: made anew
        if not ours and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            sys.exit(f"{folder} is there already and is no environment of Python: name a folder that is not there.")
        venv.create(folder, clear=ours, with_pip=True)
    print(f"Installing into {folder}: some minutes the first time.", flush=True)
    python = python_in(folder)
    pip = [python, "-m", "pip", "install", "-q", "-c", "constraints.txt"]
    # Tests read OpenAI's vocabulary out of clip-anytorch; what it asks for is another torch, and is not needed.
    whole = _install_torch(python, pip) and run(*pip, "-e", ".[dev]") and run(*pip, "--no-deps", "clip-anytorch")
    if not whole:
        sys.exit(
            "The environment is not whole (pip's own words stand above): mend that, then run the same command again; "
            "what was installed is kept."
        )
    (folder / ".ready").touch()


def _install_torch(python: Path, pip: list) -> bool:
    """torch comes first, from the first place that has it: a wheel on this machine; on Linux the build that fits the driver
    (without one the CPU build: the default one carries gigabytes of CUDA); the default."""
    torch = pin("torch")
    if run(python, "-m", "pip", "install", "-q", "--no-index", "--no-deps", torch, quiet=True):
        return True
    if sys.platform == "linux" and run(*pip, "uv"):
        if run(
            python, "-m", "uv", "pip", "install", "-q", "--python", python, "--torch-backend=auto", torch, quiet=True
        ):
            return True
    return run(*pip, torch)


def test_command(options: list[str]) -> tuple[list[str], dict[str, str]]:
    """(pytest and its arguments, the environment it runs in)."""
    environment = {name: value for name, value in os.environ.items() if name != "COURSE_MODEL"}
    environment |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return ["-m", "pytest", *WORKERS, *STRICT, *LESSONS, *OTHERS, *options], environment


def main(arguments: list[str]) -> int:
    folder = ROOT / ".venv"
    if arguments[:1] == ["--venv"] and len(arguments) > 1:
        folder, arguments = ROOT / arguments[1], arguments[2:]
    if not arguments or arguments[0] not in ("env", "lab", "test", "web"):
        print(__doc__.strip(), file=sys.stderr)
        return 2
    if sys.version_info < OLDEST:
        sys.exit(
            f"The course needs Python {OLDEST[0]}.{OLDEST[1]} or newer, and {sys.executable} is {sys.version.split()[0]}: run "
            "this file with another one, such as python3.12 -m tools.course lab (with make: PYTHON=python3.12 make lab)."
        )
    command, *options = arguments
    make_env(folder)
    if command == "lab":
        return stay(python_in(folder), "-m", "tools.lab", *options)
    if command == "web":
        marker = folder / ".web"  # of what `make web` puts beside the environment
        if not marker.is_file() or marker.stat().st_mtime < (folder / ".ready").stat().st_mtime:
            if not run(python_in(folder), "-m", "pip", "install", "-q", "-c", "constraints.txt", "-e", ".[web]"):
                sys.exit("What the page is built with could not be installed (pip's own words stand above).")
            marker.touch()
        return stay(python_in(folder), "-m", "tools.web", *options)
    if command == "test":
        tests, environment = test_command(options)
        return stay(python_in(folder), *tests, env=environment)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
