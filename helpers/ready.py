"""Is this kernel ready for the course? The setup cell asks before a lesson begins. Standard library only."""

import importlib.metadata
import os
import re
import sys
import warnings
from pathlib import Path

from helpers.kernel import prepare_kernel

COURSE = Path(__file__).resolve().parent.parent


def check_kernel():
    """Silent where all is well. Where Python or a package is missing, stop with one sentence, no traceback.

    Prints a sentence where a package is older than the course asks for (it may still do), and where the
    current folder can not be written (a lesson runs, but answers can not be saved). Then prepares the kernel: what
    that changes stands in helpers/kernel.py.
    """
    if sys.version_info < (3, 11):  # noqa: UP036  what is asked here
        stop(
            f"This kernel runs Python {sys.version.split()[0]}, and the course needs 3.11 or newer: "
            "choose another kernel, such as the course's own (`make lab` opens JupyterLab with it)."
        )
    missing, old = lacking(COURSE / "pyproject.toml")
    if missing:
        stop(without(missing))
    if old:
        print(f"Older in this kernel than the course asks for: {', '.join(old)}; update it if a cell fails.")
    if not os.access(Path.cwd(), os.W_OK):
        print(
            f"You may not write in {Path.cwd()}: the lesson runs, but to keep your answers, copy the "
            "course to a folder of your own and open it there."
        )
    prepare_kernel()


def stop(sentence):
    """End the cell with one sentence. (IPython would write below it how to leave a shell.)"""
    warnings.filterwarnings("ignore", "To exit: use")
    sys.exit(sentence)


def without(packages):
    """One sentence that says which packages this kernel lacks and what to do. packages: their names."""
    names = " ".join(packages)
    return (
        f"This kernel ({sys.executable}) lacks {names}: choose the course's own kernel (`make lab` opens "
        f"JupyterLab with it), or run `{sys.executable} -m pip install {names}` and restart."
    )


def lacking(project):
    """Which requirements of pyproject.toml this kernel does not meet: ([package, ...], ["package 1.0 (2.0)", ...])."""
    import tomllib  # new in Python 3.11

    missing, old = [], []
    for wanted in tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]:
        name, least = re.match(r"([\w.-]+)>=([\d.]+)", wanted).groups()
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
            continue
        if numbers(version) < numbers(least):
            old.append(f"{name} {version} ({least})")
    return missing, old


def numbers(version):
    """The first three numbers of a version, to compare it by: "2.13.0+cpu" -> (2, 13, 0)."""
    return tuple(map(int, [*re.findall(r"\d+", version), 0, 0][:3]))
