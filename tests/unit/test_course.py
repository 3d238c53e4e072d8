"""Setting up without make: which commands are run, in which order, and what is said where one fails. Nothing is installed."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tools import course

ROOT = course.ROOT


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A copy of what an environment is made of, and every command that would be run: [(words, quiet)]."""
    for name in course.MADE_OF:
        (tmp_path / name).write_text((ROOT / name).read_text())
    ran, fails = [], []

    def run(*command, quiet=False, **options):
        ran.append(" ".join(map(str, command)).replace(str(tmp_path) + os.sep, ""))
        return not any(word in ran[-1] for word in fails)

    def create(folder, clear, with_pip):
        assert clear == (folder / "pyvenv.cfg").is_file() and with_pip
        course.python_in(folder).parent.mkdir(parents=True, exist_ok=True)
        course.python_in(folder).touch()
        ran.append("venv")

    monkeypatch.setattr(course, "ROOT", tmp_path)
    monkeypatch.setattr(course, "run", run)
    monkeypatch.setattr(course, "stay", lambda *command, **options: 0 if run(*command) else 5)
    monkeypatch.setattr(course.venv, "create", create)
    return tmp_path, ran, fails


def test_it_takes_torch_from_the_first_place_that_has_it(house, monkeypatch):
    folder, ran, fails = house
    monkeypatch.setattr(sys, "platform", "linux")
    torch = course.pin("torch")
    assert course.main(["env"]) == 0 and (folder / ".venv" / ".ready").is_file()
    assert (
        ran[0] == "venv"
        and ran[1].endswith(f"--no-index --no-deps {torch}")
        and "-e .[dev]" in ran[2]
        and len(ran) == 4
    )
    assert "--no-deps clip-anytorch" in ran[3]
    (folder / ".venv" / ".ready").unlink()
    ran.clear()
    fails.append("--no-index")
    course.main(["env"])
    assert "install -q -c constraints.txt uv" in ran[2] and "--torch-backend=auto" in ran[3] and "-e .[dev]" in ran[4]
    (folder / ".venv" / ".ready").unlink()
    ran.clear()
    fails.append("--torch-backend")
    course.main(["env"])
    assert ran[4].endswith(f"-c constraints.txt {torch}") and "-e .[dev]" in ran[5]
    (folder / ".venv" / ".ready").unlink()
    ran.clear()
    monkeypatch.setattr(sys, "platform", "win32")
    course.main(["env"])
    assert not any("uv" in one for one in ran) and ran[2].endswith(f"-c constraints.txt {torch}")


def test_it_is_made_once_and_again_when_what_it_is_made_of_changes(house):
    folder, ran, _ = house
    course.main(["env"])
    ran.clear()
    course.main(["env"])
    assert ran == []
    later = time.time() + 10
    os.utime(folder / "constraints.txt", (later, later))
    course.main(["env"])
    assert "venv" not in ran and any("-e .[dev]" in one for one in ran), (
        "the old one is brought up to date, not thrown away"
    )


@pytest.mark.parametrize("fails_at", ["-e .[dev]", "clip-anytorch", "torch=="])
def test_half_an_environment_is_not_called_ready(house, fails_at):
    folder, ran, fails = house
    fails += [fails_at, "--torch-backend"]
    with pytest.raises(SystemExit, match="is not whole"):
        course.main(["env"])
    assert not (folder / ".venv" / ".ready").exists()
    fails.clear()
    assert course.main(["env"]) == 0


def test_lab_and_another_place(house):
    folder, ran, fails = house
    assert course.main(["--venv", "elsewhere", "lab", "--no-browser"]) == 0
    assert (
        ran[-1].endswith("-m tools.lab --no-browser")
        and ran[-1].startswith("elsewhere")
        and (folder / "elsewhere/.ready").is_file()
    )
    fails.append("tools.lab")
    assert course.main(["--venv", "elsewhere", "lab"]) == 5


def test_the_page_that_draws_brings_what_it_is_built_with_once(house):
    folder, ran, fails = house
    fails.append(".[web]")
    with pytest.raises(SystemExit, match="could not be installed"):
        course.main(["web"])
    fails.clear()
    assert course.main(["web", "8123"]) == 0 and ".[web]" in ran[-2] and ran[-1].endswith("-m tools.web 8123")
    ran.clear()
    assert course.main(["web"]) == 0 and len(ran) == 1
    fails.append("tools.web")
    assert course.main(["web"]) == 5


ASKS = """import signal
def asked(*_):
    print("sure?", flush=True)
    raise SystemExit(7 if input() == "yes" else 8)
signal.signal(signal.SIGINT, asked)
print("there", flush=True)
while True:
    signal.pause()
"""


@pytest.mark.skipif(os.name == "nt", reason="a Ctrl-C for a group of processes")
@pytest.mark.parametrize("command, module", [("lab", "tools/lab.py"), ("web", "tools/web.py"), ("test", "pytest.py")])
def test_ctrl_c_is_for_what_was_started_and_what_it_returns_is_returned(tmp_path, command, module):
    for name, text in ((module, ASKS), (".venv/.ready", ""), (".venv/.web", "")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    code = (
        "import pathlib, sys\nfrom tools import course\n"
        f"course.ROOT, course.make_env = pathlib.Path({str(tmp_path)!r}), print\n"
        f"course.python_in = lambda folder: sys.executable\nsys.exit(course.main([{command!r}]))"
    )
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, text=True, start_new_session=True, **pipes
    ) as started:
        assert "there\n" in iter(started.stdout.readline, "")
        os.killpg(started.pid, signal.SIGINT)  # as a terminal sends it: to all that it holds
        assert "sure?\n" in iter(started.stdout.readline, "")
        out, err = started.communicate("yes\n", timeout=60)
    assert (started.returncode, err) == (7, "")


def test_the_tests_are_all_lessons_and_all_folders(monkeypatch):
    monkeypatch.setenv("COURSE_MODEL", "sd15")
    command, environment = course.test_command(["-n0"])
    assert {one for one in command if one.startswith("notebooks/")} == {
        f"notebooks/{file.name}" for file in (ROOT / "notebooks").glob("*.ipynb")
    }
    assert command[-1] == "-n0" and "COURSE_MODEL" not in environment and environment["OMP_NUM_THREADS"] == "1"
    assert all((ROOT / one).exists() for one in command if one.startswith(("tests/", "notebooks/")))
    own = {
        "gpu",
        "versions",
        "browser",
        "shapes",
        "web",
    }  # commands of their own: test-gpu, test-colab, test-browser (both), test-shapes
    there = {
        f"tests/{path.name}"
        for path in (ROOT / "tests").iterdir()
        if path.name not in own and any(path.glob("test_*.py"))
    }
    assert there == set(course.OTHERS)


def test_what_it_does_not_know_it_answers_with_its_page(capsys):
    assert course.main([]) == course.main(["tset"]) == 2 and "tools.course lab" in capsys.readouterr().err


def test_an_old_python_is_told_so(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 9, 1))
    with pytest.raises(SystemExit, match="needs Python 3.11 or newer"):
        course.main(["env"])


def test_it_imports_nothing_that_is_not_there_from_the_start():
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(ROOT / "tools" / "course.py")], capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stderr.startswith("Set the course up")


def test_a_folder_that_is_no_environment_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(course.venv, "create", lambda *arguments, **options: pytest.fail("it would be emptied"))
    for name in ("notes.txt", "course"):
        (tmp_path / name).write_text("mine") if "." in name else (tmp_path / name).mkdir()
    for folder in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(SystemExit, match="is there already and is no environment of Python"):
            course.make_env(folder)
    assert (tmp_path / "notes.txt").read_text() == "mine"
