"""Every code cell of every lesson on a graphics card, a pretend one where there is none: `make test-gpu`.

With --cut the live trainings of helpers/ end after STEPS steps, so that the pretend card, four times slower than the
CPU and with no speed to show, is done in minutes. What a lesson asserts of a finished training is then not asserted:
NOT_ASSERTED (tests/cut.py) names each of them. All else is, and every cell has to run to its end.

With VERSIONS=colab the lessons run with Colab's packages: float16 is drawn and rounded otherwise by other versions of torch.
"""

import os
import re
from pathlib import Path

import nbformat
import pytest
from cut import NOT_ASSERTED, leave_out
from nbclient import NotebookClient

STEPS = 3
KERNEL = "course" if os.environ.get("COURSE_VERSIONS") else "python3"  # tests/versions/environment.py
TESTS = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((TESTS.parent / "notebooks").glob("*.ipynb"))


@pytest.fixture
def options(request):
    if not request.config.getoption("--gpu"):
        pytest.skip("for make test-gpu, which starts the card")
    return request.config.getoption("--float32"), request.config.getoption("--cut")


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_every_cell_runs_on_the_card(file, options):
    float32, cut = options
    failed = run(file, "float32" if float32 else "float16", cut)
    assert not failed, "\n\n".join(failed)


def run(file, dtype, cut, change=""):
    """Run a lesson on the card and return what its failed cells say. change: code to run before it."""
    lesson = nbformat.read(file, as_version=4)
    if cut:
        leave_out(lesson, NOT_ASSERTED.get(file.stem[:2], []))
    begin = [
        f"import sys; sys.path[:0] = [{str(TESTS)!r}, {str(TESTS.parent)!r}]",
        "import card",
        f"_card_begun = card.begin({dtype!r})",
        f"card.cut_trainings({STEPS})" * cut,
        change,
    ]
    end = ["import torch", f"assert c.device == _card_begun and c.dtype == torch.{dtype}, c"]
    lesson.cells.insert(0, nbformat.v4.new_code_cell("\n".join(begin)))
    lesson.cells.append(nbformat.v4.new_code_cell("\n".join(end)))
    NotebookClient(
        lesson, timeout=3600, kernel_name=KERNEL, allow_errors=True, resources={"metadata": {"path": str(file.parent)}}
    ).execute()
    return [
        f"cell {i - 1}: {plain(output)}"
        for i, cell in enumerate(lesson.cells)
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "error"
    ]


def plain(error):
    """An error of a kernel without colours, its last lines only."""
    return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error.traceback)[-1500:])
