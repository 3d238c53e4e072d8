"""The environment that `make test-colab` or `make test-newest` runs the notebooks in is what it says it is."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import environment
import pytest
from environment import BUILD_TOOLS, COLAB, CUDA, installed, listed, pins, python_like_colab
from jupyter_client.kernelspec import KernelSpecManager

WHICH = os.environ.get("COURSE_VERSIONS")
in_turn = pytest.mark.skipif(
    not WHICH, reason="for make test-colab and make test-newest, which make these environments"
)


def kernel():
    """The Python that the notebooks run on, and its version: ("/.../bin/python", (3, 13))."""
    python = KernelSpecManager().get_kernel_spec("course").argv[0]
    ask = "import sys; print(*sys.version_info[:2])"
    done = subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True)
    return python, tuple(map(int, done.stdout.split()))


@in_turn
def test_the_kernel_holds_the_versions_it_should():
    python, version = kernel()
    packages, known = {name: held.split("+")[0] for name, held in installed(python).items()}, listed()
    if WHICH == "newest":
        assert not [name for name in ("diffusers", "transformers", "ipywidgets") if packages[name] == known[name]]
        return
    wanted = pins("colab", version)
    other = {
        name: (packages[name], wanted[name]) for name in packages.keys() & wanted if packages[name] != wanted[name]
    }
    assert not other
    assert packages["ipywidgets"] == "7.7.1" and packages["diffusers"] == "0.39.0"
    # A few that Colab's own packages ask for are not in its list; nothing else may come with the course.
    own = {name for name in packages if name not in known and not name.startswith(CUDA)}
    assert len(own - BUILD_TOOLS) <= 3, own


@in_turn
@pytest.mark.skipif(WHICH != "colab", reason="for make test-colab")
def test_the_kernel_has_colabs_python_or_says_why_not():
    python, version = kernel()
    why = (Path(python).parents[1] / "why.txt").read_text()
    assert (version == COLAB) == (why == "")
    if why:
        warnings.warn(
            f"Colab's Python is {COLAB[0]}.{COLAB[1]}, and the notebooks ran on {version[0]}.{version[1]}: {why}.",
            stacklevel=1,
        )


# How it is chosen


def test_a_python_that_does_not_start_is_passed_over(tmp_path, monkeypatch):
    """pyenv's shims stand on PATH for every version and start only the one chosen."""
    name = "python{}.{}".format(*COLAB)
    for folder, text in [
        ("shims", "#!/bin/sh\nexit 127\n"),
        ("versions/{}.{}.9/bin".format(*COLAB), "#!/bin/sh\nexit 0\n"),
    ]:
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / name).write_text(text)
        (tmp_path / folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "shims"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "nowhere"))
    monkeypatch.setattr(environment.sys, "version_info", (3, 11, 7))
    assert python_like_colab() is None
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert python_like_colab() == str(tmp_path / "versions" / "{}.{}.9".format(*COLAB) / "bin" / name)
    monkeypatch.setattr(environment.sys, "version_info", (*COLAB, 0))
    assert python_like_colab() == sys.executable


@pytest.mark.parametrize(
    "python, like, free, torch, why",
    [
        (COLAB, "/python", 1e12, "", ""),
        ((3, 11), None, 1e12, "", "no Python of that version starts here"),
        ((3, 11), "/python", 1e9, "", "torch may take 8 GB, and 1.0 are free on disk"),
        ((3, 11), "/python", 1e12, "no such host", "no such host"),
    ],
)
def test_the_environment_falls_back_and_says_why(tmp_path, monkeypatch, python, like, free, torch, why):
    started, asked = [], []
    monkeypatch.setattr(environment, "python_like_colab", lambda: like)
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": free}))
    monkeypatch.setattr(environment.subprocess, "run", lambda command, **more: started.append(command[0]))

    def bring_torch(python, torch_wanted, from_index):
        asked.append((torch_wanted, from_index))
        return torch if from_index else ""

    monkeypatch.setattr(environment, "bring_torch", bring_torch)
    assert environment.base("colab", tmp_path / "new")[1] == why
    assert started[-1] == ("/python" if not why else sys.executable)
    pinned = "torch==" + pins("colab", (3, 11))["torch"]
    assert asked[-1] == (("torch==2.11.0", True) if not why else (pinned, False))


def test_torch_comes_in_colabs_version_with_colabs_python_only():
    assert pins("colab", COLAB)["torch"] == listed()["torch"] == "2.11.0"
    assert (
        pins("colab", (3, 11))["torch"]
        == pins("newest", (3, 11))["torch"]
        == pins("newest", COLAB)["torch"]
        != "2.11.0"
    )
    assert "tifffile" in pins("colab", COLAB) and "tifffile" not in pins("colab", (3, 11))
    assert not BUILD_TOOLS & pins("colab", COLAB).keys()
