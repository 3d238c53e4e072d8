"""README, environment.yml and constraints.txt agree with what is in the house."""

import re
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tools import setup_cell

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def test_readme_lists_the_notebooks_there_are():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    there = {file.name for file in (ROOT / "notebooks").glob("*.ipynb")}
    assert set(re.findall(r"\]\(notebooks/([^)]+\.ipynb)\)", text)) == there
    assert set(setup_cell.ANY_COLAB_LINK.findall(text)) <= {setup_cell.colab_prefix()}
    for name in there:
        assert setup_cell.badge(name) in text, f"{name} has no Colab badge in the README"


def test_readme_links_are_alive():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = [t.split("#")[0] for t in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"[a-z]+:", t)]
    assert [t for t in targets if not (ROOT / t).exists()] == []


def test_conda_asks_for_the_same_versions_as_pip():
    wanted = PROJECT["dependencies"] + EXTRAS["lab"]
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    listed = [line for line in conda if isinstance(line, str)] + conda[-1]["pip"]
    listed = [line.replace("pytorch>", "torch>") for line in listed if not re.match(r"(python=|pip$)", line)]
    assert sorted(listed) == sorted(wanted)


def test_pinned_set_holds_everything_asked_for():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    pinned = {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}
    for wanted in map(Requirement, PROJECT["dependencies"] + EXTRAS["lab"] + EXTRAS["test"]):
        assert wanted.specifier.contains(pinned[canonicalize_name(wanted.name)]), wanted
