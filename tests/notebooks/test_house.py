"""README, environment.yml and constraints.txt agree with what is in the house."""

import datetime
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from versions import environment

from tools import course, glossary, imports, setup_cell, verified

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


PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(
        page
        for folder in ("docs", "training", "benchmarks", "concepts", "helpers/models")
        for page in sorted((ROOT / folder).rglob("*.md"))
    ),
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_a_page_are_alive_and_in_step(page):
    text = page.read_text(encoding="utf-8")
    targets = [t.split("#")[0] for t in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"#|[a-z]+:", t)]
    assert [t for t in targets if not (page.parent / t).exists()] == []
    assert set(setup_cell.ANY_COLAB_LINK.findall(text)) <= {setup_cell.colab_prefix()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_within_a_page_lead_to_a_heading(page):
    text = page.read_text(encoding="utf-8")
    headings = {re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in re.findall(r"(?m)^#+ (.+)$", text)}
    assert set(re.findall(r"\]\(#([^)\s]+)\)", text)) <= headings


def test_the_readme_says_first_what_ci_runs_and_where_it_is_recorded():
    head = (ROOT / "README.md").read_text(encoding="utf-8").split("**For whom.**")[0]
    named = re.findall(r"`make ([a-z-]+)`", head[head.index("CI runs") :])
    parts = shlex.split(re.search(r"for part in ([^;]+);", (ROOT / ".ci/run").read_text())[1])
    assert named == ["test-shapes", "test-gpu"] and set(named) <= {part.split()[0] for part in parts} & set(
        verified.PLATFORMS
    )
    assert "](#where-it-was-last-verified)" in head and "is tested" not in head


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


# The platforms


def commands(text):
    """Targets of make that a piece of text runs: {"test", "test-colab", ...}."""
    return set(re.findall(r"\bmake ([a-z-]+)", text))


def test_every_platform_has_a_target_of_make_and_a_job():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"(?m)^([a-z-]+):", makefile))
    jobs = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())["jobs"].values()
    steps = [step.get("run", "") for job in jobs for step in job["steps"]]
    assert commands("\n".join(steps)) - {"lint", "site"} == set(verified.PLATFORMS) <= targets
    assert set(re.search(r"(?m)^WHAT \?= (.*)$", makefile)[1].split()) == set(verified.PLATFORMS)


def test_make_spreads_the_tests_as_the_course_does():
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(r"(?m)^WORKERS := (.*)$", makefile)[1].split() == course.WORKERS


def test_notebooks_run_on_three_sets_of_versions_before_anything_is_merged():
    parts = shlex.split(re.search(r"for part in ([^;]+);", (ROOT / ".ci/run").read_text())[1])
    assert parts == [
        "lint",
        "site",
        "test",
        "test-shapes",
        "test-gpu ARGS=--cut VERSIONS=colab",
        "test-colab",
        "test-newest",
    ]


def test_github_runs_after_every_push_what_ci_runs_but_for_the_newest_versions():
    parts = shlex.split(re.search(r"for part in ([^;]+);", (ROOT / ".ci/run").read_text())[1])
    jobs = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text(encoding="utf-8"))["jobs"].values()
    pushed = [
        step["run"]
        for job in jobs
        if job["if"] == "github.event_name != 'schedule'"
        for step in job["steps"]
        if "run" in step
    ]
    assert sorted(pushed) == sorted(f"make {part}" for part in parts if part != "test-newest")


def test_ci_tries_the_rivals_of_the_claims_on_colabs_versions():
    assert "test-colab" in (ROOT / ".ci/run").read_text()
    for target, tried in (("test-colab", True), ("test-newest", False)):
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
        assert ("-p tests.claims.claims" in done.stdout) == tried and "--nbval-kernel-name course" in done.stdout


def test_the_newest_versions_come_from_the_lines_of_environment_yml():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    first, *pip = environment.asked("newest")
    assert pip == [conda[-1]["pip"]] and len(first) == len(conda) - 3  # python, pip and the part called pip
    assert set(first) == {re.sub("^pytorch", "torch", line) for line in conda[2:-1]}


@pytest.mark.parametrize("which", ["colab", "newest"])
def test_an_environment_of_other_versions_takes_torch_first_and_small(which, tmp_path, monkeypatch):
    commands = []

    def run(command, **how):
        commands.append(" ".join(command))
        return subprocess.CompletedProcess(command, returncode="--no-index" in command, stdout="", stderr="")

    monkeypatch.setattr(environment.subprocess, "run", run)
    monkeypatch.setattr(environment.sys, "platform", "linux")
    monkeypatch.setattr(environment, "python_like_colab", lambda: "/colabs/python")
    environment.make(which, tmp_path)
    venv, wheel, cpu, *others = [command for command in commands if not command.endswith("constraints.txt uv")]
    torch, *pins = (tmp_path / "pins.txt").read_text().splitlines()
    assert venv.startswith("/colabs/python" if which == "colab" else sys.executable)
    assert f"--no-index --no-deps {torch}" in wheel and cpu.endswith(f"--torch-backend=auto {torch}")
    assert len(others) == len(environment.asked(which)) + 2  # then the kernel, then what it holds
    assert ("diffusers==0.39.0" in pins) == (which == "colab") and bool(pins) == (which == "colab")


def test_the_readme_promises_a_click_only_where_it_works():
    published = setup_cell.address()[0] != setup_cell.PLACEHOLDER
    right, wrong = setup_cell.BADGES if published else setup_cell.BADGES[::-1]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert right in readme and wrong not in readme
    assert setup_cell.told(readme) == readme and setup_cell.told(setup_cell.DRAW[1]) in readme


def test_every_target_of_make_is_named_right_in_the_texts():
    targets = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text()))
    for page in PAGES:
        named = set(re.findall(r"`(?:[A-Z_]+=\S+ )?make ([a-z-]+)", page.read_text(encoding="utf-8")))
        assert named <= targets, f"{page.name}: {sorted(named - targets)}"


def test_make_links_passes_the_address_on():
    assert would_run("links", "REPO=someone/some-where", "TAG=v2")[1:] == [
        "-m",
        "tools.setup_cell",
        "someone/some-where",
        "v2",
    ]
    assert would_run("links")[1:] == ["-m", "tools.setup_cell"]


@pytest.mark.parametrize("folder", ["hand ins", "Anna's class; 2", "a  b&c", 'an "a"'], ids=range(4))
def test_make_collect_takes_a_folder_of_any_name(folder):
    assert would_run("collect", f"FOLDER={folder}")[1:] == ["-m", "tools.collect", folder]


def test_make_collect_without_a_folder_names_none():
    assert would_run("collect", "FOLDER=")[1:] == ["-m", "tools.collect"]


@pytest.mark.parametrize("command", [["test-colab"], ["test-gpu", "VERSIONS=colab"]], ids=" ".join)
def test_the_course_may_lie_in_a_folder_with_a_blank_in_its_name(tmp_path, command):
    house = tmp_path / "my course"
    for name in (
        "Makefile",
        "pyproject.toml",
        "constraints.txt",
        "tests/versions/environment.py",
        "tests/versions/colab.txt",
    ):
        (house / name).parent.mkdir(parents=True, exist_ok=True)
        (house / name).write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    assert f"JUPYTER_PATH={house}/.venv-colab/share/jupyter" in would_run(*command, house=house)


def would_run(*arguments, house=ROOT):
    """The words of the last command that make would run."""
    done = subprocess.run(
        ["make", "--no-print-directory", "-n", *arguments], cwd=house, capture_output=True, text=True, check=True
    )
    return shlex.split(done.stdout.replace("\\\n", " ").splitlines()[-1])


# When they were verified


def test_readme_says_when_each_platform_was_verified():
    rows = re.findall(r"(?m)^\| `make ([a-z-]+)` \| (.+) \| (\S+) \| (.+) \|$", (ROOT / "README.md").read_text())
    assert [(name, what) for name, what, _, _ in rows] == list(verified.PLATFORMS.items())
    for _, _, date, versions in rows:
        if (date, versions) == ("never", "-"):  # it is new, and the README says so
            continue
        assert datetime.date.fromisoformat(date) <= datetime.date.today() + datetime.timedelta(days=1)
        assert re.fullmatch(r"Python 3\.\S+, torch \S+, diffusers \S+, transformers \S+, ipywidgets [^|]+", versions)


def test_a_run_that_passed_changes_its_own_row_only(tmp_path, monkeypatch):
    page = tmp_path / "README.md"
    page.write_text("# A\n| `make test` | old |\n| `make test-colab` | old |\n\nmore `make test`\n")
    monkeypatch.setattr(verified, "README", page)
    verified.main(["test"])
    head, row, *rest = page.read_text().splitlines()
    assert (head, rest) == ("# A", ["| `make test-colab` | old |", "", "more `make test`"])
    assert re.fullmatch(rf"\| `make test` \| .+ \| {datetime.date.today()} \| Python 3.+, torch 2.+ \|", row)
    with pytest.raises(ValueError, match="0 rows that begin with `make test-browser`"):
        verified.main(["test-browser"])
    monkeypatch.setattr(verified.sys, "prefix", str(tmp_path))
    with pytest.raises(ValueError, match="-colab/bin/python: run `make test-colab` first"):
        verified.main(["test-colab"])
    with pytest.raises(ValueError, match="test-colab, test-newest"):
        verified.main(["test-conda"])


# The order of the rooms


def test_rooms_import_only_from_rooms_that_stand_before_them():
    assert imports.against_the_order(imports.imports()) == []


def test_the_picture_of_the_imports_is_in_step():
    text = imports.PAGE.read_text(encoding="utf-8")
    assert imports.with_picture(text, imports.imports()) == text, "run python -m tools.imports"


def test_an_import_from_a_room_above_is_noticed(tmp_path):
    files = {
        "files.py": "def f():\n    from . import lora",
        "lora/__init__.py": "",
        "lora/train.py": "from ..panels.base import x",
        "panels/__init__.py": "import helpers.files\nfrom helpers import lora",
        "__init__.py": "",
        "new.py": "from .files import y",
    }
    for name, code in files.items():
        (tmp_path / "helpers" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "helpers" / name).write_text(code)
    found = imports.imports(tmp_path / "helpers")
    assert found == {"files": {"lora"}, "lora": {"panels"}, "panels": {"files", "lora"}, "new": {"files"}}
    wrong = [one for one in imports.against_the_order(found) if "no such room" not in one]
    assert wrong == [
        "new has no place in ORDER.",
        "files imports from lora, which does not stand before it.",
        "lora imports from panels, which does not stand before it.",
    ]


def test_the_names_that_the_house_calls_the_fields_are_in_use():
    page = " ".join((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").split())
    theirs, ours = re.search(
        r"- Names are the field's: (.+?); what diffusers calls `guidance_scale` is `(\w+)`\.", page
    ).groups()
    code = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "helpers").rglob("*.py"))
    named = [*re.findall(r"`(\w+)`", theirs), ours]
    assert len(named) == 6 and [name for name in named if not re.search(rf"\b{name}\b", code)] == []
    assert not re.search(r"\bguidance_scale\b", code)


# The glossary


def test_every_word_of_the_glossary_stands_in_bold_where_the_page_says():
    text = glossary.PAGE.read_text(encoding="utf-8")
    assert len(glossary.ROW.findall(text)) >= 60
    assert glossary.with_places(text, glossary.places(sorted((ROOT / "notebooks").glob("*.ipynb")))) == text, (
        "run python -m tools.glossary"
    )


def test_a_word_that_no_lesson_shows_is_noticed():
    with pytest.raises(ValueError, match="No lesson has these in bold: flux capacitor"):
        glossary.with_places(
            "| **flux capacitor** | What makes time travel possible. | |\n", {"score": ("01.ipynb", "What")}
        )
    assert glossary.with_places("| **score** | A direction. | |\n", {"score": ("01.ipynb", "What")}) == (
        "| **score** | A direction. | [01](../notebooks/01.ipynb), What |\n"
    )
