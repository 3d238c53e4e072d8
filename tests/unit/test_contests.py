"""What lesson 05 reads of contests measured beforehand: whole, from the tool's own settings, and kept in order."""

import json

import numpy as np
from PIL import Image

from helpers.figures.lora import pictures_in
from helpers.panels.concepts import contests as read
from tools import contests


def test_the_file_holds_every_contest_of_the_tool():
    kept = read()
    assert [one["name"] for one in kept["loras"]] == [*contests.LORAS]
    assert [(one["rows"], one["steps"]) for one in kept["vectors"]] == contests.VECTORS
    assert kept["turns"] == contests.TURNS and kept["command"] == "python -m tools.contests"
    for one in kept["loras"] + kept["vectors"]:
        assert 0 <= one["windmill"] <= one["of"] == 24
    for one in kept["loras"]:
        assert len(one["whole"]) == len(one["mills"]) == contests.ORDINARY and {0, 1} >= {*one["whole"], *one["mills"]}
    assert not any(kept["loras"][0]["mills"])  # the instrument sees none where no LoRA was


def test_a_lora_sees_as_many_windmills_with_ordinary_cards_as_without():
    trained = [one for one in contests.LORAS.values() if isinstance(one, tuple)]
    assert {steps * (batch - (batch * 3 // 8 if kept else 0)) for steps, batch, kept in trained} == {600}
    assert {steps for _, steps in contests.VECTORS} == {contests.TURNS}


def test_the_sheets_hold_the_pictures_that_the_lesson_takes_from_them():
    kept = read()["forgotten"]
    assert [len(row) for row in pictures_in(contests.FORGOTTEN)] == [contests.ROW] * 2
    assert len(kept["prompts"]) == contests.ORDINARY and isinstance(kept["seed"], int)
    assert [len(row) for row in pictures_in(contests.VECTOR)] == [6] * 4


def test_one_result_takes_the_place_of_an_older_one(tmp_path):
    file = tmp_path / "contests.json"
    for name, hits in (("no ordinary cards", 1), ("no LoRA", 0), ("no ordinary cards", 2)):
        contests.keep("loras", {"name": name, "windmill": hits}, file)
    (rows, steps), *_ = contests.VECTORS
    contests.keep("vectors", {"rows": rows, "steps": steps, "windmill": 0}, file)
    contests.keep("loras", {"name": "the library's", "whole": [1, 0, 1]}, file)
    assert "[1,0,1]" in file.read_text()  # numbers on one line
    kept = json.loads(file.read_text())
    assert kept["loras"].pop()["whole"] == [1, 0, 1]
    assert [(one["name"], one["windmill"]) for one in kept["loras"]] == [("no LoRA", 0), ("no ordinary cards", 2)]
    assert len(kept["vectors"]) == 1


def test_a_sheet_comes_apart_as_it_was_put_together(tmp_path):
    rows = [[Image.new("RGB", (128, 128), (40 * x, 90 * y, 7)) for x in range(3)] for y in range(2)]
    contests.keep_sheet(tmp_path / "sheet.png", rows)
    back = pictures_in(tmp_path / "sheet.png")
    assert [len(row) for row in back] == [3, 3]
    assert all(
        (np.asarray(one) == np.asarray(other)).all() for row, kept in zip(back, rows) for one, other in zip(row, kept)
    )
