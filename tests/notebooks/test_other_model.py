"""Every notebook runs unchanged on a model of other sizes: four U-Net levels, another text width, other latents.

The model is SD-1.5-shaped, tiny and random. What a lesson claims of the trained model it must not claim of this one.
"""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from rules import MODEL_LINE

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_it_runs_on_an_sd15_shaped_model(file, model_folders):
    notebook = nbformat.read(file, as_version=4)
    cells = [cell for cell in notebook.cells if cell.source == MODEL_LINE]
    assert len(cells) == 1
    cells[0].source = f"MODEL = {str(model_folders['sd15'])!r}"
    NotebookClient(notebook, timeout=600, kernel_name="python3",
                   resources={"metadata": {"path": str(file.parent)}}).execute()
