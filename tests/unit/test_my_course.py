"""What a reader makes is there again: after a restart, after a kill, beside what was made before."""

import json
import linecache
import os
import signal
import zipfile
import zlib
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from nbclient import NotebookClient

from helpers import my_course, runtime
from helpers.checks.base import Sheet
from helpers.panels import match, predict
from helpers.panels.my_course import Kept

ROOT = Path(__file__).resolve().parents[2]


def right_double(x):
    return 2 * x


def wrong_double(x):
    return 3 * x


def unanswered(x): ...


@pytest.fixture
def sheet():
    """An exercise 1, double; as after each restart of a kernel."""

    def new():
        sheet = Sheet("04")

        @sheet.exercise(1, int)
        def double(answer):
            if answer(2) != 4:
                return "twice 2 is 4"

        return sheet, double

    return new


# Where it lies


def test_it_lies_beside_the_course_in_the_home_folder_or_on_the_drive(monkeypatch, tmp_path):
    monkeypatch.delenv("MY_COURSE")
    monkeypatch.setattr(my_course, "COURSE", tmp_path / "course")
    (tmp_path / "course").mkdir()
    assert my_course.folder() == tmp_path / "course" / "my_course" and my_course.folder().is_dir()
    monkeypatch.setattr(my_course, "DRIVE", tmp_path / "drive")
    (tmp_path / "drive").mkdir()
    assert my_course.folder() == tmp_path / "course" / "my_course", "a Drive is Colab's"
    monkeypatch.setattr(runtime, "place", lambda: "colab")
    assert my_course.folder() == tmp_path / "drive" / "my_course"
    (tmp_path / "drive" / "my_course").rmdir()
    (tmp_path / "drive").rmdir()  # not mounted
    assert my_course.folder() == tmp_path / "course" / "my_course"
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).parts[:-1] != (tmp_path / "course").parts)
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    assert my_course.folder() == tmp_path / "home" / "my_course", "a course for many, which none of them may write in"


def test_a_taken_name_gets_a_number(my_course_folder):
    for expected in ("teal", "teal-2", "teal-3"):
        path = my_course.place("concepts", "teal")
        assert (
            path == my_course_folder / "concepts" / expected
            and my_course.shown(path) == f"my_course/concepts/{expected}"
        )
        path.mkdir()
    (my_course_folder / "concepts" / "teal-2").rmdir()
    assert my_course.place("concepts", "teal").name == "teal-2"
    (my_course_folder / "pictures").mkdir()
    (my_course_folder / "pictures" / "a boat.png").write_bytes(b"")
    assert my_course.place("pictures", "a boat.png").name == "a boat-2.png"


# Answers


def test_answers_are_kept_with_their_code_and_what_was_right_stays(sheet, capsys, my_course_folder):
    _, double = sheet()
    double(unanswered)
    assert my_course.answer("04", 1) is None and not my_course_folder.joinpath("answers").exists()
    double(wrong_double)
    kept = my_course.answer("04", 1)
    assert not kept["right"] and "3 * x" in kept["code"] and kept["last_verdict"] == "not yet: twice 2 is 4"
    double(right_double)
    double(wrong_double)
    kept = my_course.answer("04", 1)
    assert kept["right"] and "2 * x" in kept["code"] and kept["tries"] == 3 and kept["name"] == "double"
    capsys.readouterr()
    restarted, double = sheet()
    double(unanswered)
    assert capsys.readouterr().out == (
        "Exercise 1 (double): not answered yet. What you wrote before is kept: check.yours(1) shows it.\n"
    )
    restarted.yours(1)
    assert capsys.readouterr().out == "def right_double(x):\n    return 2 * x\n\n"
    restarted.yours(2)
    assert capsys.readouterr().out == "Nothing is kept of exercise 2.\n"


def test_the_worked_solution_is_nobodys_answer(sheet):
    _, double = sheet()
    double(right_double, counts=False)
    assert my_course.answer("04", 1) is None


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"right": 1, "code": "", "tries": 1}',
        b"\xff" * 20,
        b"[" * 100_000,
        b" " * 2_000_000,
    ],
)
def test_a_damaged_file_is_no_answer(sheet, damaged, my_course_folder, capsys):
    (my_course_folder / "answers").mkdir(parents=True)
    (my_course_folder / "answers" / "04-exercise-1.json").write_bytes(damaged)
    _, double = sheet()
    double(unanswered)
    assert capsys.readouterr().out == "Exercise 1 (double): not answered yet.\n"
    double(right_double)
    assert my_course.answer("04", 1)["right"]


def test_an_answer_that_cannot_be_written_is_still_checked(sheet, my_course_folder, capsys):
    my_course_folder.parent.mkdir(parents=True, exist_ok=True)
    my_course_folder.write_text("a file is in the way")
    checked, double = sheet()
    double(right_double)
    assert capsys.readouterr().out.startswith(
        "Exercise 1 (double): right. It could not be written down: A file is where"
    )
    assert checked.right == {1: True}


def test_half_a_letter_in_the_code_is_no_obstacle():
    exec("def double(x):\n    '\\ud800'\n    return 2 * x", {})
    my_course.note_answer("04", 7, "double \ud800", "right", right_double)
    assert my_course.answer("04", 7)["name"] == "double \ud800"


LAYER = """class Layer:
    def __init__(self):
        self.scale = 2

    def forward(self, x):
        return self.scale * x
"""


def typed(cell, name):
    """What a name stands for after a cell of a notebook has run, whose lines IPython keeps as it does here."""
    file = f"ipykernel_7/{zlib.crc32(cell.encode())}.py"
    linecache.cache[file] = len(cell), None, cell.splitlines(keepends=True), file
    names = {"__name__": "__main__"}
    exec(compile(cell, file, "exec"), names)
    return names[name]


@pytest.mark.parametrize(
    "before, own, after, name",
    [
        ("import math\n\n", "def double(x):\n    return 2 * x\n", "\nprint(double)\n", "double"),
        ("import torch\n\n", LAYER, "\nLayer()\n", "Layer"),
        ("", "double = lambda x: 2 * x\n", "", "double"),
        (
            "import functools\n\n",
            "def double(x):\n    return 2 * x\n",
            "\npart = functools.partial(double, 2)\n",
            "part",
        ),
        ("", LAYER, "\nlayer = Layer()\n", "layer"),
    ],
)
def test_of_a_cell_what_the_answer_is_made_of_is_kept(before, own, after, name):
    my_course.note_answer("05", 3, name, "right", typed(before + own + after, name))
    assert my_course.answer("05", 3)["code"] == own


@pytest.mark.parametrize(
    "beside, own, name",
    [
        ("def twice(x):\n    return 2 * x\n", "def double(x):\n    return twice(x)\n", "double"),
        ("TWO = 2\n", "def double(x):\n    return TWO * x\n", "double"),
        ("import math as m\n", LAYER.replace("self.scale * x", "m.exp(x)"), "Layer"),
        ("def still(f):\n    return f\n", "@still\ndef double(x):\n    return 2 * x\n", "double"),
        (LAYER, "class Wider(Layer):\n    scale = 3\n", "Wider"),
    ],
)
def test_what_a_cell_makes_beside_the_answer_and_for_it_is_kept_too(beside, own, name):
    my_course.note_answer("05", 3, name, "right", typed(f"{beside}\n{own}", name))
    assert my_course.answer("05", 3)["code"] == f"{beside}\n{own}"


def test_a_class_answered_in_a_kernel_is_handed_in(my_course_folder):
    layer = LAYER.replace("class Layer", "class Layer(torch.nn.Module)").replace("self.scale = 2", "super().__init__()")
    cells = [
        "import torch\nfrom helpers import my_course",
        f"{layer}\nmy_course.note_answer('05', 3, 'l', 'right', Layer)",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, kernel_name="python3").execute(env={**os.environ, "PYTHONPATH": str(ROOT)})
    (answer,) = json.loads((my_course_folder / "hand_in.json").read_text())["answers"]
    assert answer["code"] == layer


def test_an_answer_of_which_no_code_can_be_had_is_not_said_to_be_kept(sheet, capsys):
    restarted, double = sheet()
    names = {}
    exec("def double(x):\n    return 2 * x", names)
    double(names["double"])
    double(unanswered)
    restarted.yours(1)
    assert capsys.readouterr().out.splitlines() == [
        "Exercise 1 (double): right.",
        "Exercise 1 (double): not answered yet.",
        "You have tried exercise 1, but of that answer Python kept no code that could be shown.",
    ]


# Predictions


def test_a_prediction_is_there_after_a_restart():
    question = predict("sky", "boat")
    assert (
        question.verdict("sky") == "You have not chosen. Measured: sky."
        and my_course.prediction(("sky", "boat")) is None
    )
    question.answers.value = "boat"
    assert my_course.prediction(("sky", "boat")) == "boat"
    assert predict("sky", "boat").verdict("sky") == "You said: boat. Measured: sky."
    question.verdict("sky")
    written = json.loads(next((my_course.folder() / "answers").glob("prediction-*.json")).read_text())
    assert (written["answers"], written["chosen"], written["measured"]) == (["sky", "boat"], "boat", "sky")
    assert predict("sky", "tree").verdict("sky") == "You have not chosen. Measured: sky.", "of another question"


def test_what_is_predicted_after_the_measurement_changes_nothing():
    """Neither the choice that was made before it, nor what was measured."""

    def written():
        about = json.loads(next((my_course.folder() / "answers").glob("prediction-*.json")).read_text())
        return about["chosen"], about["measured"]

    question = predict("sky", "boat")
    question.answers.value = "boat"
    assert written() == ("boat", None)
    assert predict("sky", "boat").verdict("sky") == "You said: boat. Measured: sky." and written() == ("boat", "sky")
    question.answers.value = "sky"
    assert question.line.value == "Your first answer stays: boat." and written() == ("boat", "sky")
    assert question.verdict(np.int64(0)) == "You said: boat. Measured: sky." and written() == ("boat", "sky")
    assert question.verdict(torch.tensor(1)) == "You said so too. Measured: boat." and written() == ("boat", "boat")
    for wrong in ("bot", 2, 0.5):
        with pytest.raises((ValueError, TypeError), match="The (place of the )?right answer must"):
            question.verdict(wrong)


def test_what_a_match_has_measured_stays_when_another_name_is_given():
    names = match(["A", "B"], ["sound", "broken"])
    for thing in "AB":
        names.controls[thing].value = "sound"
    names.verdict({"A": "sound", "B": "broken"})
    names.controls["B"].value = "broken"
    kept = [json.loads(path.read_text()) for path in (my_course.folder() / "answers").glob("prediction-*.json")]
    assert {(one["chosen"], one["measured"]) for one in kept} == {("A: sound", "A: sound"), ("B: broken", "B: broken")}


def test_a_kernel_killed_in_the_middle_leaves_all_that_was_made():
    from helpers.concepts import Concept, read_concept, save_concept

    child = os.fork()
    if not child:  # it never comes out of here
        try:
            save_concept(Concept("<mine>", torch.ones(2, 8)), my_course.place("concepts", "mine"))
            my_course.note_prediction(["a", "b"], "b")
            my_course.note_answer("05", 1, "f", "right", None)
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL

    assert read_concept(my_course.folder() / "concepts" / "mine").vectors.shape == (2, 8)
    assert my_course.prediction(["a", "b"]) == "b" and my_course.answer("05", 1)["right"]
    assert my_course.contents() == {"concepts": 1, "pictures": 0, "answers": 2}


# Taking it along


def test_everything_goes_into_one_file(my_course_folder):
    (my_course.place("pictures", "a boat.png")).write_bytes(b"picture")
    my_course.note_prediction(["a", "b"], "b")
    (my_course_folder / "pictures" / ".half.1.tmp").write_bytes(b"half")
    kept = Kept()
    assert kept.line.value == f"Kept in {my_course_folder}: 0 concepts, 1 picture, 1 answer." and "panel" in repr(kept)
    kept.download.click()
    assert 'download="my_course.zip"' in kept.line.value
    with zipfile.ZipFile(my_course_folder.parent / "my_course.zip") as archive:
        names = archive.namelist()
        assert archive.read("my_course/pictures/a boat.png") == b"picture"
    assert len(names) == 3 and all(name.startswith("my_course/") for name in names)


def test_what_is_too_much_for_a_link_is_told_where_it_lies(my_course_folder, monkeypatch):
    monkeypatch.setattr("helpers.panels.my_course.LARGEST", 10)
    kept = Kept()
    kept.download.click()
    assert kept.line.value == f"Everything lies in {my_course_folder}.zip: take it from there."


@pytest.mark.parametrize("written, name", [("Ren\u00e9".encode("cp1252"), "Ren\ufffd"), (b"x" * 5000, ""), (None, "")])
def test_a_damaged_name_takes_no_answer_away(sheet, written, name):
    """As another program saves it; too long; a folder."""
    path = my_course.folder() / "name.txt"
    path.mkdir() if written is None else path.write_bytes(written)
    _, double = sheet()
    double(right_double)
    handed = json.loads((my_course.folder() / "hand_in.json").read_text(encoding="utf-8"))
    assert handed["name"] == name and [one["right"] for one in handed["answers"]] == [True]


def test_what_goes_wrong_with_the_download_is_said_and_an_old_file_is_packed(monkeypatch):
    old = my_course.place("pictures", "old.png")
    old.write_bytes(b"old")
    os.utime(old, (0, 0))  # 1970: a zip counts from 1980
    kept = Kept()
    kept.hand_over()
    assert "Save my_course.zip" in kept.line.value
    monkeypatch.setattr(my_course, "pack", lambda: 1 / 0)
    kept.hand_over()
    assert kept.line.value == "<b>division by zero</b>"
