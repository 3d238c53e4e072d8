"""A claim stands in a lesson only beside a control that fails the same test.

A claim is an `assert` in a lesson's code cell, known by its condition as it is written there. Its rivals are pieces of
code, each with a name, which put the control in the place of what was measured: the untrained network, the shuffled
word, the constant answer. A lesson's are in lesson_NN.py:

    RIVALS = {"share_near < 0.2": {"a network that always answers 0": "share_near = share_of(zero_answer)"}}

A rival runs after the claim's cell, in a copy of its names, and may call whatever the lesson has defined; then the
statement that holds the `assert` runs once more in that copy, and has to fail. A rival therefore binds names anew and
writes on no tensor; a function of the lesson goes on seeing the lesson's names. A loop that asserts at every turn has
failed when one turn does.

This file is also a plugin of pytest: with `-p tests.claims.claims`, wherever nbval (or tests/notebooks/strict.py) has run a
cell that claims something, its rivals are tried in the same kernel. So the lessons run once for both. `make test-colab` does that, on the
versions with which the course is read; `make test` only holds claims and rivals together.
"""

import ast
import json
from importlib import import_module
from pathlib import Path

import pytest
from jupyter_core.utils import ensure_async, run_sync

HERE = Path(__file__).resolve().parent
NOTEBOOKS = {file.stem[:2]: file for file in sorted((HERE.parents[1] / "notebooks").glob("*.ipynb"))}
LESSONS = {
    file.stem[-2:]: import_module(f"tests.claims.{file.stem}").RIVALS for file in sorted(HERE.glob("lesson_*.py"))
}
SECONDS = 300  # for the rivals of one claim


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
    cells = json.loads(NOTEBOOKS[lesson].read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Try the rivals of a cell that nbval, or tests/notebooks/strict.py, has run and found right."""
    result = yield
    lesson = LESSONS.get(item.path.stem[:2]) if item.path.suffix == ".ipynb" else None
    if lesson:
        claims = claims_of(item.cell.source)
        complaints = [
            f"assert {condition}: {line}"
            for condition, statement in claims.items()
            for line in in_kernel(item.parent.kernel.kc, statement, lesson.get(condition, {}))
        ]
        if complaints:
            pytest.fail("\n".join(complaints), pytrace=False)
    return result


def in_kernel(client, statement, rivals):
    """`rivals.tried`, in the kernel behind a client of jupyter_client, one that waits (nbval's) or one that is awaited (nbclient's)."""
    source = (HERE / "rivals.py").read_text(encoding="utf-8")
    code = (
        f"_trial = {{}}\nexec({source!r}, _trial)\n_complaints = _trial['tried']({statement!r}, {rivals!r}, globals())"
    )
    asked = client.execute_interactive(
        code,
        silent=True,
        allow_stdin=False,
        timeout=SECONDS,
        output_hook=lambda _: None,
        user_expressions={"complaints": "_complaints"},
    )
    reply = run_sync(ensure_async)(asked)["content"]
    if reply["status"] != "ok":
        return [f"the rivals could not be tried: {reply.get('ename')}: {reply.get('evalue')}"]
    return ast.literal_eval(reply["user_expressions"]["complaints"]["data"]["text/plain"])
