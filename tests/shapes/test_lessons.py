"""Every notebook runs unchanged on a model of other sizes, put in the bundled one's place by COURSE_MODEL.

The model is SD-1.5-shaped, tiny and random: four U-Net levels, another text width, other latents. Like Stable
Diffusion 1.5 it has no course.json, so the course takes it for a trained one of no world that it knows: what a lesson
claims of postcards it must not claim of this one, and no instrument made for postcards may be held to its pictures.
Once is enough: nothing in notebooks or helpers asks whether a model is trained (tests/notebooks/test_lint.py). The two
trainings of helpers/ end after STEPS steps: a random network learns nothing in more of them. `make test-shapes`.
"""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
STEPS = 3
CUT = f"import sys; sys.path.append({str(ROOT / 'tests')!r}); import card; card.cut_trainings({STEPS})"
INSTRUMENTS_LOCKED = """
from helpers.attention import score
from helpers.postcards import judge, measures

def locked(*arguments, **options):
    raise AssertionError("an instrument of the postcard world was held to another model's pictures")

judge.Judge.read = judge.Judge.agreement = measures.Measures.teal = measures.Measures.cyanotype = locked
score._look = locked
"""
LEAVES_OUT = {"01": 0, "02": 0, "03": 5, "04": 5, "05": 5}  # how many sentences say so, at least


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_it_runs_on_an_sd15_shaped_model(file, stranger_folder, monkeypatch):
    monkeypatch.setenv("COURSE_MODEL", str(stranger_folder))
    notebook = nbformat.read(file, as_version=4)
    notebook.cells.insert(2, nbformat.v4.new_code_cell(CUT + INSTRUMENTS_LOCKED))
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(file.parent)}}
    ).execute()
    printed = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    line = f'COURSE_MODEL is set: {stranger_folder} takes the place of "postcard".\n'
    assert line in printed, "the lesson did not run on that model"
    assert len(re.findall("(?m)^Left out with this model: ", printed)) >= LEAVES_OUT[file.name[:2]]
