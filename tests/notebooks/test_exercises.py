"""The exercises of every notebook, as they stand: stubs run untouched, solutions are right, all count."""

import json
import re
from pathlib import Path

import pytest
import torch
from rules import code_cells, source

WORKED = "# @title Worked solution of exercise "
NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda file: file.stem)
def lesson(request):
    """The code cells of one notebook, as text."""
    return [source(cell) for cell in code_cells(json.loads(request.param.read_text(encoding="utf-8")))]


def test_stubs_run_untouched_and_worked_solutions_are_right(lesson, monkeypatch, capsys):
    solutions = [text for text in lesson if text.startswith(WORKED)]
    stubs = [lesson[lesson.index(text) - 1] for text in solutions]
    # What follows a check uses the answer on what the lesson has made by then.
    solutions = [re.match(r"(?s).*?, counts=False\)", text)[0] for text in solutions]
    names = {"torch": torch}
    exec(next(line for text in lesson for line in text.splitlines() if line.endswith(" as check")), names)
    sheet = names["check"].progress.__self__
    monkeypatch.setattr(sheet, "right", dict.fromkeys(sheet.right, False))

    def lines_of(cells):
        for text in cells:
            exec(text, names)
        sheet.progress()
        return capsys.readouterr().out.splitlines()

    numbers = [int(text.removeprefix(WORKED).split()[0]) for text in solutions]

    def assert_lines(cells, line, right):
        """Every cell prints that line, with its number, and then so many are right."""
        *verdicts, progress = lines_of(cells)
        for number, verdict in zip(numbers, verdicts, strict=True):
            assert re.fullmatch(line.format(number), verdict)
        assert progress.startswith(f"{right} of {len(numbers)} exercises are right.")

    assert sorted(sheet.right) == sorted(numbers)
    assert_lines(stubs, r"Exercise {} \(\w+\): not answered yet\.", 0)
    assert_lines(solutions, r"Worked solution of exercise {} \(\w+\): right\.", 0)
    own = [text.replace(", counts=False", "") for text in solutions]
    assert_lines(own, r"Exercise {} \(\w+\): right\.", len(numbers))
