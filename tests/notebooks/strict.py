"""The strict check of a lesson as a plugin of pytest, ready to take nbval's place: docs/architecture.md says when.

    python -m pytest -n0 -p tests.notebooks.strict [-p tests.claims.claims] notebooks/03_clip_conditioning.ipynb

A notebook runs from top to bottom in a kernel of its own, in its folder. Each code cell is a test, numbered from 0. It
fails when it raises (without the tag raises-exception), and when what comes out is not what is saved: `comparable` says
what counts. nbclient runs the cells; it also executes and saves them (tools/execute_notebooks.py).
"""

import configparser
import copy
import difflib
import re
from contextlib import ExitStack
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError

SECONDS = 900  # for one cell
NOT_COMPARED = {"image/png", "image/jpeg", "application/vnd.jupyter.widget-view+json"}
config = configparser.RawConfigParser()
config.read(Path(__file__).with_name("sanitize.cfg"), encoding="utf-8")
PATTERNS = [(config[name]["regex"], config[name]["replace"]) for name in config.sections()]


def sanitized(text):
    """A text without what may differ; what is no text, such as JSON, stays as it is."""
    for regex, replace in PATTERNS if isinstance(text, str) else []:
        text = re.sub(regex, replace, text)
    return text


def comparable(outputs):
    """[(kind, text), ...]: what has to come out again, in this order. A stream's texts are joined where the first of them stands."""
    found, streams = [], {}
    for output in outputs:
        if output.output_type == "stream":
            if output.name not in streams:
                streams[output.name] = [output.name, ""]
                found.append(streams[output.name])
            streams[output.name][1] += output.text
        elif output.output_type == "error":
            found.append(["error", f"{output.ename}: {output.evalue}"])
        else:
            found += [[kind, data] for kind, data in sorted(output.data.items()) if kind not in NOT_COMPARED]
    return [(kind, sanitized(text)) for kind, text in found]


def lines(outputs):
    return [line for kind, text in outputs for line in (f"[{kind}]", *str(text).split("\n"))]


def pytest_addoption(parser):
    parser.addoption(
        "--strict-kernel", default="python3", help="name of the kernel that runs notebooks (default: this Python)"
    )


def pytest_collect_file(file_path, parent):
    return Lesson.from_parent(parent, path=file_path) if file_path.suffix == ".ipynb" else None


class Lesson(pytest.File):
    """A notebook. `kernel` is the nbclient.NotebookClient that runs it; `lost` names the cell that took too long or killed it."""

    kernel = lost = None

    def collect(self):
        self.saved = nbformat.read(self.path, as_version=4)
        self.saved.cells = [cell for cell in self.saved.cells if cell.cell_type == "code"]
        for number, cell in enumerate(self.saved.cells):
            yield Cell.from_parent(self, name=f"Cell {number}", number=number, cell=cell)

    def setup(self):
        fresh = copy.deepcopy(self.saved)
        for cell in fresh.cells:
            cell.outputs = []
        self.kernel = NotebookClient(
            fresh,
            kernel_name=self.config.option.strict_kernel,
            timeout=SECONDS,
            allow_errors=True,
            coalesce_streams=True,
            shutdown_kernel="immediate",
            resources={"metadata": {"path": str(self.path.parent)}},
        )
        self.kernel.reset_execution_trackers()
        stack = ExitStack()
        stack.enter_context(self.kernel.setup_kernel())
        self.addfinalizer(stack.close)


class Cell(pytest.Item):
    """A code cell as it is saved."""

    def __init__(self, *, number, cell, **more):
        super().__init__(**more)
        self.number, self.cell = number, cell

    def reportinfo(self):
        return self.path, None, f"{self.path.name}, {self.name}"

    def fails(self, why, *shown):
        pytest.fail("\n".join([f"{self.name} {why}", "", self.cell.source, "", *shown]), pytrace=False)

    def runtest(self):
        kernel = self.parent.kernel
        if self.parent.lost:
            self.fails(f"was not run: the kernel was lost at {self.parent.lost}")
        try:
            fresh = kernel.execute_cell(kernel.nb.cells[self.number], self.number).outputs
        except (CellTimeoutError, DeadKernelError) as problem:
            self.parent.lost = self.name
            self.fails("lost the kernel", str(problem))
        for output in fresh:
            if output.output_type == "error" and "raises-exception" not in self.cell.metadata.get("tags", []):
                self.fails("raised an exception", *output.traceback)
        was, now = comparable(self.cell.outputs), comparable(fresh)
        if was != now:
            self.fails(
                "does not print what is saved",
                *difflib.unified_diff(lines(was), lines(now), "saved", "now", lineterm=""),
            )
