"""Notebooks for a class: without outputs, worked solutions out of sight. `make handout` calls this file.

    python -m tools.handout         writes handout/*.ipynb, and handout_key.md, the solutions, for the teacher

Stubs, checks and predictions stay. A handout runs where a notebook does: beside notebooks/, in the course's folder.
"""

import copy
import json
import re
import sys
from pathlib import Path

from helpers.checks.handout import sealed
from helpers.files import make_folder
from tools.setup_cell import ROOT, save_notebook, save_text

WORKED = re.compile(r"# @title Worked solution of exercise (\d+)\n")
KEY = """# The key to the handout

Worked solutions of all exercises, as the notebooks have them. Not for students.
"""


def handout(notebook: dict) -> tuple[dict, dict[int, str]]:
    """(the notebook as parsed JSON without outputs and solutions, {exercise: its worked solution}). The first is a copy."""
    notebook, key = copy.deepcopy(notebook), {}
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        cell["outputs"], cell["execution_count"] = [], None
        source = "".join(cell["source"])
        if worked := WORKED.match(source):
            number = int(worked[1])
            key[number] = source[worked.end() :]
            cell["source"] = sealed(number, source).splitlines(keepends=True)
    return notebook, key


def write_handout(root: Path = ROOT) -> list[Path]:
    """Write the handout of every notebook of the course and the key to them; returns the files, the key last."""
    files, pages = [], [KEY]
    for file in sorted(root.glob("notebooks/*.ipynb")):
        notebook, key = handout(json.loads(file.read_text(encoding="utf-8")))
        files.append(make_folder(root / "handout") / file.name)
        save_notebook(files[-1], notebook)
        pages.append(f"## {file.stem}\n")
        pages += [f"### Exercise {number}\n\n```python\n{source}\n```\n" for number, source in sorted(key.items())]
    files.append(root / "handout_key.md")
    save_text(files[-1], "\n".join(pages))
    return files


def main() -> int:
    *notebooks, key = write_handout()
    print(f"{len(notebooks)} notebooks without solutions are in {notebooks[0].parent}; the solutions are in {key}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
