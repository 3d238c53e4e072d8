"""The handout: no worked solution in sight, all of them still there for the cells below, and in the teacher's key."""

import json
from pathlib import Path

import nbformat
import pytest

from helpers.checks.handout import unsealed
from tools import handout

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_solutions_are_out_of_sight_and_still_run(file):
    notebook = json.loads(file.read_text(encoding="utf-8"))
    before = json.dumps(notebook)
    given, key = handout.handout(notebook)
    assert json.dumps(notebook) == before and len(key) >= 3 and sorted(key) == list(range(1, len(key) + 1))
    nbformat.validate(nbformat.from_dict(given))
    assert all(not cell.get("outputs") for cell in given["cells"])
    text = "\n".join("".join(cell["source"]) for cell in given["cells"])
    for number, source in key.items():
        defined = next(line for line in source.splitlines() if line.startswith(("def ", "class ")))
        assert defined not in text and source.strip() not in text
    pairs = [("".join(new["source"]), "".join(old["source"])) for new, old in zip(given["cells"], notebook["cells"])]
    changed = [(new, old) for new, old in pairs if new != old]
    assert len(changed) == len(key)
    for new, old in changed:
        names, packed = {}, []
        line = new.splitlines().index("run_sealed(globals(),")
        exec("\n".join(new.splitlines()[line:]), {"run_sealed": lambda names, text: packed.append(text)}, names)
        assert unsealed(*packed) == old and all(len(one) <= 88 for one in new.splitlines())


def test_a_sealed_solution_runs_among_the_notebooks_names(capsys):
    given, _ = handout.handout(
        {
            "cells": [
                {
                    "cell_type": "code",
                    "metadata": {},
                    "outputs": [],
                    "execution_count": 3,
                    "source": [
                        "# @title Worked solution of exercise 1\n",
                        "import math\n",
                        "def twice_solution(x):\n",
                        "    return math.prod((2, x)) + more\n",
                        "\n",
                        "print('right')",
                    ],
                }
            ]
        }
    )
    names = {"more": 1}
    exec("".join(given["cells"][0]["source"]), names)
    assert names["twice_solution"](4) == 9 and "math" in names and capsys.readouterr().out == "right\n"


def test_the_key_holds_them_all(tmp_path):
    (tmp_path / "notebooks").mkdir()
    for file in NOTEBOOKS:
        (tmp_path / "notebooks" / file.name).write_bytes(file.read_bytes())
    *files, key = handout.write_handout(tmp_path)
    assert [file.name for file in files] == [file.name for file in NOTEBOOKS]
    assert {file.parent for file in files} == {tmp_path / "handout"}, (
        "as deep as notebooks/: links and the setup cell hold"
    )
    text, solved = key.read_text(encoding="utf-8"), 0
    for file in NOTEBOOKS:
        for number, source in handout.handout(json.loads(file.read_text(encoding="utf-8")))[1].items():
            solved += f"### Exercise {number}\n\n```python\n{source}\n```" in text
    assert solved == text.count("### Exercise") >= 15
