"""A claim stands in a lesson only beside a control that fails the same test.

A claim is an `assert` in a lesson's code cell, known by its condition as it is written there. Its rivals are pieces of
code, each with a name, which put the control in the place of what was measured: the untrained network, the shuffled
word, the constant answer. A lesson's are in lesson_NN.py:

    RIVALS = {"share_near < 0.2": {"a network that always answers 0": "share_near = share_of(zero_answer)"}}

A rival runs after the claim's cell, in a copy of its names, and may call whatever the lesson has defined; then the
statement that holds the `assert` runs once more in that copy, and has to fail. A rival therefore binds names anew and
writes on no tensor. A loop that asserts at every turn has failed when one turn does.
"""

import ast
import re
from importlib import import_module
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent
NOTEBOOKS = {file.stem[:2]: file for file in sorted((HERE.parents[1] / "notebooks").glob("*.ipynb"))}
LESSONS = {file.stem[-2:]: import_module(file.stem).RIVALS for file in sorted(HERE.glob("lesson_*.py"))}


def claims_of(source):
    """{condition: the whole statement of the cell that holds it}, both as text. ValueError for one that stands twice."""
    found = {}
    for statement in ast.parse(source).body:
        for node in ast.walk(statement):
            if isinstance(node, ast.Assert):
                condition = " ".join(ast.get_source_segment(source, node.test).split())
                if condition in found:
                    raise ValueError(f"assert {condition!r} stands twice in one cell: nobody knows which is meant")
                found[condition] = ast.get_source_segment(source, statement)
    return found


def code_of(lesson):
    """The sources of a lesson's code cells, in order."""
    notebook = nbformat.read(NOTEBOOKS[lesson], as_version=4)
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def tried(statement, rivals, names):
    """What is wrong with the rivals of one claim: those that pass, and those that stop for another reason."""
    for rival, code in rivals.items():
        world = dict(names)
        try:
            exec(code, world)
        except Exception as problem:
            yield f"{rival}: its own code stopped with {type(problem).__name__}: {problem}"
            continue
        try:
            exec(statement, world)
        except AssertionError:
            continue
        except Exception as problem:
            yield f"{rival}: the claim stopped with {type(problem).__name__}: {problem}"
            continue
        yield f"{rival}: passes, so the claim says nothing"


def run(lesson, rivals, change=lambda source: source):
    """Run a lesson in a kernel and try every rival after its claim's cell. Returns complaints, a line each."""
    notebook, number = nbformat.read(NOTEBOOKS[lesson], as_version=4), 0
    cells = [nbformat.v4.new_code_cell(f"import sys; sys.path.insert(0, {str(HERE)!r}); import claims")]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = change(cell.source)
            cells.append(cell)
            number += 1
            for condition, statement in claims_of(cell.source).items():
                cells.append(nbformat.v4.new_code_cell(
                    f"for line in claims.tried({statement!r}, {rivals[condition]!r}, globals()):\n"
                    f"    print('RIVAL', {f'code cell {number}, assert {condition}'!r} + ':', line)"))
    notebook.cells = cells
    NotebookClient(notebook, timeout=900, kernel_name="python3",
                   resources={"metadata": {"path": str(NOTEBOOKS[lesson].parent)}}).execute()
    printed = "".join(out.get("text", "") for cell in cells for out in cell.get("outputs", []))
    return re.findall(r"(?m)^RIVAL (.*)$", printed)
