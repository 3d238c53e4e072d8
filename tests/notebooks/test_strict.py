"""The strict executor that is to take nbval's place (docs/architecture.md): both run the same cells, and agree on each."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbval.plugin import get_sanitize_patterns

from tests.notebooks import strict
from tools import execute_notebooks

ROOT = Path(__file__).resolve().parents[2]
SANITIZE = Path(__file__).with_name("sanitize.cfg")
NBVAL = ["--nbval", "--nbval-cell-timeout", "900", "--nbval-current-env", f"--nbval-sanitize-with={SANITIZE}"]
OURS = ["-p", "tests.notebooks.strict"]


def verdicts(executor, *files):
    """({file's name: ["PASSED", "FAILED", ...], a word a code cell}, all that pytest printed)."""
    folder = files[0].parent
    places = {"PYTHONPATH": str(ROOT), "MY_COURSE": str(folder / ("nbval" if executor is NBVAL else "ours"))}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-rA",
            "-n0",
            "--rootdir=.",
            "-p",
            "no:cacheprovider",
            "-p",
            "tests.claims.claims",
            *executor,
            *(file.name for file in files),
        ],
        cwd=folder,
        env=os.environ | places,
        capture_output=True,
        text=True,
    )
    words = re.findall(r"(?m)^([A-Z]+) (\S+)::Cell (\d+)", done.stdout)
    by_number = sorted((int(number), name, word) for word, name, number in words)
    return {file.name: [word for _, name, word in by_number if name == file.name] for file in files}, done.stdout


def written(file, *sources):
    """A notebook of these code cells, run and saved as the lessons are. A source may be (source, tag)."""
    notebook = nbformat.v4.new_notebook()
    for source in sources:
        source, *tags = [source] if isinstance(source, str) else source
        notebook.cells.append(nbformat.v4.new_code_cell(source, metadata={"tags": tags}))
    file.write_text(nbformat.writes(notebook))
    execute_notebooks.execute(file)
    return nbformat.read(file, as_version=4)


# How a saved cell is changed afterwards.


def text(old, new):
    """One printed text becomes another."""

    def change(cell):
        assert old in cell.outputs[0].text
        cell.outputs[0].text = cell.outputs[0].text.replace(old, new)

    return change


def raising(cell):
    cell.source += "\nraise ValueError('no')"


def other_stream(cell):
    cell.outputs[0].name = "stderr"


def no_output(cell):
    cell.outputs = []


def other_picture(cell):
    cell.outputs[0].data["image/png"] = "AAAA"


def other_count(cell):
    cell.execution_count += 100


def unrun(cell):
    cell.outputs, cell.execution_count = [], None


def halves(cell):
    """As some front-ends save a stream: in two."""
    first, second = cell.outputs[0].text.splitlines(True)
    cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=half) for half in (first, second)]


def turned(cell):
    cell.outputs.reverse()


PICTURE = "from PIL import Image; from IPython.display import display; picture = Image.new('RGB', (9, 9)); "
CELLS = [  # what it is, the cell, how what is saved of it is changed, what both have to say
    ("as saved", "import time, ipywidgets\nprint('off by 17 of 20')", None, "PASSED"),
    ("a measured time", "print(time.perf_counter_ns() % 1000, 'ms')", None, "PASSED"),
    ("a reading", "print(f'≈{time.perf_counter_ns()}')", None, "PASSED"),
    ("a panel", "ipywidgets.VBox([ipywidgets.Image(value=str(time.time_ns()).encode())])", None, "PASSED"),
    ("another picture", PICTURE + "picture", other_picture, "PASSED"),
    ("another execution count", "print(1)", other_count, "PASSED"),
    ("a stream in two", "print('a'); print('b')", halves, "PASSED"),
    ("a stream around a picture", PICTURE + "print('a'); display(picture); print('b')", None, "PASSED"),
    ("raises as its tag says", ("1 / 0", "raises-exception"), None, "PASSED"),
    ("a claim with a control", "y = 1\nassert y < 2", None, "PASSED"),
    ("never the same number", "print(time.perf_counter_ns())", None, "FAILED"),
    ("one printed number changed", "print('off by 17 of 20')", text("17", "18"), "FAILED"),
    ("a line was not saved", "print('a\\nb\\nc')", text("b\n", ""), "FAILED"),
    ("a line is missing", "print('a\\nb\\nc')", text("c", "c\nd"), "FAILED"),
    ("only the end of the line is missing", "print('a', end='')", text("a", "a\n"), "FAILED"),
    ("two lines changed places", "print('a\\nb')", text("a\nb", "b\na"), "FAILED"),
    ("another stream", "print('a')", other_stream, "FAILED"),
    ("a result was not saved", "5", no_output, "FAILED"),
    ("raises", "print('a')", raising, "FAILED"),
    ("a claim whose control passes too", "x = 1\nassert x < 2", None, "FAILED"),
    ("as saved, after all that", "print(x, y)", None, "PASSED"),
    ("a line after its picture", PICTURE + "print('a'); display(picture)", turned, "PASSED"),
    ("not run when it was saved", "print('a')", unrun, "PASSED"),
]
OURS_ALONE_FAILS = dict.fromkeys(("a line after its picture", "not run when it was saved"), "FAILED")
CONFTEST = """
from tests.claims.claims import LESSONS

LESSONS["ma"] = {"y < 2": {"five": "y = 5"}, "x < 2": {"zero": "x = 0"}}   # the claims of made_up.ipynb and their rivals

def pytest_runtest_call(item):
    if item.path.stem == "slow":
        item.parent.kernel.timeout = 1
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "conftest.py").write_text(CONFTEST)
    return tmp_path


def test_nbval_and_ours_agree_on_every_cell(folder):
    file = folder / "made_up.ipynb"
    saved = written(file, *(source for _, source, _, _ in CELLS))
    for cell, (_, _, change, _) in zip(saved.cells, CELLS, strict=True):
        if change:
            change(cell)
    nbformat.write(saved, file)
    expected = {name: word for name, _, _, word in CELLS}
    for executor, but in ((NBVAL, {}), (OURS, OURS_ALONE_FAILS)):
        found, printed = verdicts(executor, file)
        assert dict(zip(expected, found[file.name], strict=True)) == expected | but, printed
        assert "zero: passes, so the claim says nothing" in printed and "'no'" in printed


def test_a_lost_kernel_fails_its_cell_and_all_after_it(folder):
    slow, gone = (folder / f"{name}.ipynb" for name in ("slow", "gone"))
    for file, source in ((slow, "import time; time.sleep(600)"), (gone, "import os; os._exit(1)")):
        cells = [nbformat.v4.new_code_cell(one) for one in ("print('a')", source, "print('b')")]
        cells[0].outputs = [nbformat.v4.new_output("stream", name="stdout", text="a\n")]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), file)
    found, printed = verdicts(OURS, slow, gone)
    assert found == {file.name: ["PASSED", "FAILED", "FAILED"] for file in (slow, gone)}, printed
    assert len(re.findall("(?m)^Cell 2 was not run: the kernel was lost at Cell 1$", printed)) == 2


def test_ours_reads_the_patterns_as_nbval_does():
    assert get_sanitize_patterns(SANITIZE.read_text(encoding="utf-8")) == strict.PATTERNS != []


@pytest.mark.hard
def test_nbval_and_ours_agree_on_lesson_03(folder):
    """Three cells of a copy are changed, far from each other; both find these three, the rivals of its claims tried after each."""
    (folder / "course").symlink_to(ROOT)
    (lesson,) = (ROOT / "notebooks").glob("03_*.ipynb")
    saved = nbformat.read(lesson, as_version=4)
    code = [cell for cell in saved.cells if cell.cell_type == "code"]
    printing = [
        number
        for number, cell in enumerate(code)
        if cell.outputs
        and cell.outputs[0].output_type == "stream"
        and re.match(r"(?s)[^\d≈]*\d.*\n.", cell.outputs[0].text)
    ]
    number, line, error = printing[0], printing[len(printing) // 2], printing[-1]
    before = [strict.comparable(cell.outputs) for cell in code]
    first = re.search(r"\d", code[number].outputs[0].text)[0]
    code[number].outputs[0].text = code[number].outputs[0].text.replace(first, str((int(first) + 1) % 10), 1)
    code[line].outputs[0].text = "".join(code[line].outputs[0].text.splitlines(True)[:-1])
    raising(code[error])
    assert [k for k, cell in enumerate(code) if strict.comparable(cell.outputs) != before[k]] == [number, line]
    nbformat.write(saved, folder / lesson.name)
    expected = ["FAILED" if k in (number, line, error) else "PASSED" for k in range(len(code))]
    for executor in (NBVAL, OURS):
        found, printed = verdicts(executor, folder / lesson.name)
        assert found[lesson.name] == expected, printed
