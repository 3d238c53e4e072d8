"""The lessons' own code, run by a script: what is measured is what a reader meets, and no recipe is written twice.

for maker, panel, seconds in Lesson(file).panels(): ...
lesson = Lesson(file)
(world,) = lesson.bind("world")                         # runs the statements that this name needs
lesson.train("windmill = learn(", progress=Stopwatch)   # and those that this one needs, and this one
"""

import ast
import contextlib
import io
import json
import time

from benchmarks.measure import ROOT
from helpers.panels.base import STILL
from tools.browser.makers import called, imported
from tools.browser.needed import needed_cells, shows_panel

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SHOWS_PANEL = [{"output_type": "execute_result", "data": {"text/plain": STILL}}]


class Lesson:
    """A committed notebook (a Path) whose code runs in `names`, a namespace of its own, without output.

    number: of the lesson, "01". code: its code cells, as nbformat has them.
    """

    def __init__(self, file):
        self.code = code_cells(file)
        self.number, self.folder, self.done = file.name[:2], file.parent, set()
        self.names = {"__name__": "__main__", "display": lambda *shown: None}
        statements = (one for cell in self.code for one in ast.parse(source(cell)).body)
        self.lines = [{"source": ast.unparse(one), "outputs": []} for one in statements]

    def panels(self):
        """One after the other (what made it, the panel, seconds that the making took): see `pictured`."""
        makers = pictured(self.code)
        for i in needed_cells(self.code):
            *body, last = ast.parse(source(self.code[i])).body
            self.run(body)
            start = time.perf_counter()
            value = self.run([last])
            if i in makers:
                yield makers[i], value, time.perf_counter() - start

    def bind(self, *names):
        """Run the statements that these names need, wherever in the notebook; returns the values."""
        for i in needed_cells([*self.lines, {"source": ", ".join(names), "outputs": SHOWS_PANEL}])[:-1]:
            self.run_line(i, {})
        return tuple(self.names[name] for name in names)

    def train(self, text, progress):
        """Run the first statement that holds `text`, and those above that it needs.

        progress: called in the place of helpers.panels.Progress. ValueError where there is no such statement.
        """
        found = [i for i, line in enumerate(self.lines) if text in line["source"]]
        if not found:
            raise ValueError(f"Lesson {self.number} has no statement with {text!r}.")
        last = {**self.lines[found[0]], "outputs": SHOWS_PANEL}
        for i in needed_cells([*self.lines[: found[0]], last]):
            self.run_line(i, {"Progress": progress})

    def run_line(self, i, instead):
        """Run statement i unless it has been. instead: names that mean something else than the lesson says."""
        if i not in self.done:
            self.done.add(i)
            self.names |= instead
            self.run(ast.parse(self.lines[i]["source"]).body)
            self.names |= instead  # also where it was imported just now

    def run(self, body):
        """Run statements in silence; the value of the last one, if it has one."""
        body, value = list(body), None
        last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
        with contextlib.chdir(self.folder), contextlib.redirect_stdout(io.StringIO()):
            exec(compile(ast.Module(body, []), "<lesson>", "exec"), self.names)
            if last is not None:
                value = eval(compile(ast.Expression(last.value), "<lesson>", "eval"), self.names)
        return value


def code_cells(file):
    """The code cells of a notebook."""
    cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def source(cell):
    return "".join(cell["source"])


def pictured(cells):
    """{i: what made it} of the code cells that show a panel: functions and classes of helpers.panels.

    Questions and progress bars, which have no picture, are left out: no call makes them in a cell's last line.
    """
    known, found = {}, {}
    for i, cell in enumerate(cells):
        tree = ast.parse(source(cell))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("helpers.panels"):
                known |= {one.asname or one.name: imported(node.module, one.name) for one in node.names}
        last = tree.body[-1] if tree.body else None
        shown = getattr(last, "value", None) if isinstance(last, ast.Expr) else None
        shown = (
            shown.body if isinstance(shown, ast.IfExp) else shown
        )  # a panel for postcards, something else for others
        if shows_panel(cell) and isinstance(shown, ast.Call):
            for thing in called(shown.func, known):
                found[i] = thing
    return found
