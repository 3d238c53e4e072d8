"""Every notebook runs unchanged on a model of other sizes, put in the bundled one's place by COURSE_MODEL.

The model is SD-1.5-shaped, tiny and random: four U-Net levels, another text width, other latents. What a
lesson claims of the trained model it must not claim of this one.
"""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_it_runs_on_an_sd15_shaped_model(file, model_folders, monkeypatch):
    monkeypatch.setenv("COURSE_MODEL", str(model_folders["sd15"]))
    notebook = nbformat.read(file, as_version=4)
    NotebookClient(notebook, timeout=600, kernel_name="python3",
                   resources={"metadata": {"path": str(file.parent)}}).execute()
    printed = [output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", [])]
    line = f'COURSE_MODEL is set: {model_folders["sd15"]} takes the place of "postcard".\n'
    assert any(line in text for text in printed), "the lesson did not run on that model"
