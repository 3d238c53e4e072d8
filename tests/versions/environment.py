"""Make an environment with other versions than the pinned ones: `python tests/versions/environment.py colab FOLDER`.

"colab": what a Google Colab runtime holds (colab.txt), as far as this Python and the pinned torch allow: nothing but what
the course depends on, every package in Colab's version. "newest": what environment.yml asks for, in the newest versions
it admits: first its conda packages, here from the package index, then exactly the lines of its `pip:` part. Both keep
the pinned torch, which is large. Jupyter finds the environment as the kernel "course".
"""
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# Packages of Colab's list that cannot be had here. torch comes from the pins; it asks for a newer setuptools.
OTHERWISE = {"torch", "setuptools", "pip"} | ({"tifffile"} if sys.version_info < (3, 12) else set())  # needs Python 3.12


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
    return [[re.sub("^pytorch", "torch", line) for line in conda], *(line["pip"] for line in lines if isinstance(line, dict))]


def make(which, folder):
    """Make the environment `which` ("colab" or "newest") anew in a folder. Raises CalledProcessError if pip fails."""
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    python = folder / "bin" / "python"
    torch = next(line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch=="))
    pins = [torch]
    if which == "colab":
        pins += [f"{name}=={version}" for name, version in listed().items() if name not in OTHERWISE]
    (folder / "pins.txt").write_text("\n".join(pins) + "\n")
    pip = [str(python), "-m", "pip", "install", "-q", "-c", str(folder / "pins.txt")]
    # torch first, as `make env` does: on Linux the package index has it with gigabytes of CUDA.
    places = [[*pip, "--no-index", "--no-deps", torch]]
    if sys.platform == "linux":
        uv = [sys.executable, "-m", "uv", "pip", "install", "-q", "--python", str(python)]
        places += [[*uv, "--torch-backend=auto", torch]]
    for place in places:
        if subprocess.run(place, capture_output=True).returncode == 0:
            break
    for lines in asked(which):
        subprocess.run([*pip, *lines], check=True)
    kernel = ["-m", "ipykernel", "install", "--prefix", str(folder), "--name", "course"]
    subprocess.run([str(python), *kernel], check=True, capture_output=True)
    print(f"{folder}: {len(installed(python))} packages, {which}")


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("colab", "newest"):
        sys.exit("Use: python tests/versions/environment.py colab|newest FOLDER")
    make(sys.argv[1], Path(sys.argv[2]).resolve())
