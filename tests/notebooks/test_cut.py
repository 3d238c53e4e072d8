"""The assertions that a cut run leaves out are assertions of the lessons: found here in a second, not after the run."""

from pathlib import Path

import nbformat
import pytest
from cut import NOT_ASSERTED, leave_out

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


def test_what_is_not_asserted_is_what_a_lesson_asserts():
    for number, asserted in NOT_ASSERTED.items():
        (file,) = NOTEBOOKS.glob(f"{number}_*.ipynb")
        leave_out(nbformat.read(file, as_version=4), asserted)
    lesson = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("if True:\n    assert 1 == 2\nx = 3")])
    leave_out(lesson, ["    assert 1 == 2"])
    assert lesson.cells[0].source == "if True:\n    pass\nx = 3"
    with pytest.raises(ValueError, match="out of date"):
        leave_out(lesson, ["assert 1 == 2"])
