"""Make an environment with other versions than the pinned ones: `python tests/versions/environment.py colab FOLDER`.

"colab": what a Google Colab runtime holds (colab.txt): its Python, and of its packages those that the course depends on,
torch too, in Colab's versions. Where this machine has no such Python that starts, or no torch for it, the environment is
made with the Python that runs this file and the pinned torch; a printed line and the file why.txt in the folder say so.
"newest": what environment.yml asks for, in the newest versions it admits: first its conda packages, here from the package
index, then exactly the lines of its `pip:` part, with the pinned torch, which is large. Jupyter finds the environment as
the kernel "course".
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
COLAB = (3, 13)  # Colab's Python
BUILD_TOOLS = {"setuptools", "pip"}  # torch asks for a newer setuptools, venv brings its own pip
CUDA = "nvidia-", "cuda-", "triton"  # what torch brings beside itself, each in the one version that fits it
ROOM = 8e9  # bytes on disk: for Linux the package index has torch with CUDA only, 3 GB to fetch, 4.5 unpacked
PATIENCE = 400  # seconds for torch to come; it took 36 with a fast network


def normal(name):
    """The one spelling of a package's name: "IPython_genutils" -> "ipython-genutils"."""
    return re.sub(r"[-_.]+", "-", name).lower()


def listed():
    """Colab's packages, {name: version}."""
    lines = [line.split("==") for line in (HERE / "colab.txt").read_text().splitlines() if "==" in line]
    return {normal(name): version for name, version in lines}


def installed(python):
    """The packages of an environment, {name: version}."""
    command = [str(python), "-m", "pip", "list", "--format=freeze"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return {normal(name): version for name, version in (line.split("==") for line in lines)}


def asked(which):
    """What is installed, in turn: lists of requirements as pip takes them."""
    if which == "colab":
        return [tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]]
    lines = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    conda = [line for line in lines if isinstance(line, str) and not re.match(r"(python|pip)\b", line)]
    return [
        [re.sub("^pytorch", "torch", line) for line in conda],
        *(line["pip"] for line in lines if isinstance(line, dict)),
    ]


def python_like_colab():
    """The path of a Python of Colab's version that starts: this one, one on PATH or one of pyenv's; or None."""
    if sys.version_info[:2] == COLAB:
        return sys.executable
    name = "python{}.{}".format(*COLAB)
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    folders = [Path(folder) for folder in os.get_exec_path()]
    folders += sorted(pyenv.glob("versions/{}.{}*/bin".format(*COLAB)))
    for python in (folder / name for folder in folders):
        # One of pyenv's shims may stand on PATH: it does not start while another version is chosen.
        if python.is_file() and subprocess.run([python, "-c", "import ensurepip"], capture_output=True).returncode == 0:
            return str(python)
    return None


def pins(which, python):
    """What is held to its version: {name: version}. python: (3, 13) for version 3.13."""
    known = listed()
    pinned = next(line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch=="))
    like = which == "colab" and python == COLAB
    held = {"torch": known["torch"] if like else pinned.removeprefix("torch==")}
    other = {"torch", *BUILD_TOOLS} | ({"tifffile"} if python < (3, 12) else set())  # Colab's tifffile needs 3.12
    if which == "colab":
        held |= {name: known[name] for name in known if name not in other and not name.startswith(CUDA)}
    return held


def uv(python):
    """The command by which uv installs into the environment of a Python."""
    return [sys.executable, "-m", "uv", "pip", "install", "--python", str(python)]


def bring_torch(python, torch, from_index):
    """Install torch ("torch==2.13.0") where the build that fits this machine lies, as `make env` does.

    A wheel on this machine, then the build that fits its driver (without one the CPU build); then, if from_index,
    what the package index has, on Linux with gigabytes of CUDA. Returns why it did not come, "" where it did.
    """
    places = [[str(python), "-m", "pip", "install", "-q", "--no-index", "--no-deps", torch]]
    if sys.platform == "linux":
        if importlib.util.find_spec("uv") is None:
            constraints = str(ROOT / "constraints.txt")
            subprocess.run([sys.executable, "-m", "pip", "install", "-q", "-c", constraints, "uv"], check=True)
        places += [[*uv(python), "-q", "--torch-backend=auto", torch]]
    said = ""
    for place in places + ([[*uv(python), "-q", torch]] if from_index else []):
        try:
            done = subprocess.run(place, capture_output=True, text=True, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            said = f"it did not come within {PATIENCE} seconds"
            continue
        if done.returncode == 0:
            return ""
        said = (done.stderr.strip().splitlines() or ["no reason given"])[-1].strip()
    return said


def base(which, folder):
    """Make a new environment with torch in it: (its Python, why that is not of Colab's version; "" where it is)."""
    python, why = folder / "bin" / "python", ""
    if which == "colab":
        like, free = python_like_colab(), shutil.disk_usage(folder.parent).free
        if like is None:
            why = "no Python of that version starts here"
        elif free < ROOM:
            why = f"torch may take {ROOM / 1e9:.0f} GB, and {free / 1e9:.1f} are free on disk"
        else:
            subprocess.run([like, "-m", "venv", "--clear", str(folder)], check=True)
            why = bring_torch(python, "torch==" + pins(which, COLAB)["torch"], from_index=True)
        if not why:
            return python, ""
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    bring_torch(python, "torch==" + pins(which, sys.version_info[:2])["torch"], from_index=False)
    return python, why


def make(which, folder):
    """Make the environment `which` ("colab" or "newest") anew in a folder. Raises CalledProcessError if pip fails."""
    python, why = base(which, folder)
    version = COLAB if which == "colab" and not why else sys.version_info[:2]
    lines = [f"{name}=={held}" for name, held in pins(which, version).items()]
    (folder / "pins.txt").write_text("\n".join(lines) + "\n")
    (folder / "why.txt").write_text(why)
    pinned = ["-q", "-c", str(folder / "pins.txt")]
    for wanted in asked(which):
        # uv takes a tenth of pip's time; pip may know places that uv does not.
        if subprocess.run([*uv(python), *pinned, *wanted], capture_output=True).returncode:
            subprocess.run([str(python), "-m", "pip", "install", *pinned, *wanted], check=True)
    kernel = ["-m", "ipykernel", "install", "--prefix", str(folder), "--name", "course"]
    subprocess.run([str(python), *kernel], check=True, capture_output=True)
    print(f"{folder}: {len(installed(python))} packages, {which}, on Python {'{}.{}'.format(*version)}")
    if why:
        print("Colab's Python is {}.{}, and this is another: {}.".format(*COLAB, why))


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("colab", "newest"):
        sys.exit("Use: python tests/versions/environment.py colab|newest FOLDER")
    make(sys.argv[1], Path(sys.argv[2]).resolve())
