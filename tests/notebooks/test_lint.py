"""Every notebook of the course keeps every rule, and every rule notices when it is broken."""

import copy
import json
import re
from pathlib import Path

import pytest
import rules

from tools.execute_notebooks import METADATA
from tools.setup_cell import badge, setup_cell

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SECOND_EDITION = {"01", "02", "03", "04", "05"}


@pytest.mark.parametrize("rule", rules.RULES + rules.FILE_RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_notebook(file, rule):
    complaints = complaints_of(rule, json.loads(file.read_text(encoding="utf-8")), file)
    assert not complaints, f"{file.name}:\n- " + "\n- ".join(complaints)


@pytest.mark.parametrize("rule", rules.SECOND_EDITION, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("lesson", sorted(SECOND_EDITION))
def test_lesson_of_the_second_edition(lesson, rule):
    (file,) = [file for file in NOTEBOOKS if file.stem[:2] == lesson]
    complaints = complaints_of(rule, json.loads(file.read_text(encoding="utf-8")), file)
    assert not complaints, f"{file.name}:\n- " + "\n- ".join(complaints)


def test_colab_is_asked_for_no_graphics_card_and_no_widgets_are_kept():
    assert not {"accelerator", "widgets"} & set(METADATA) and "gpuType" not in METADATA["colab"]


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_the_first_cell_says_how_to_get_a_card(file):
    first = json.loads(file.read_text(encoding="utf-8"))["cells"][0]
    text = " ".join("".join(first["source"]).split())
    assert "no GPU" in text and "T4 GPU" in text and "sd15" in text


def complaints_of(rule, nb, file):
    return list(rule(nb, file) if rule in rules.FILE_RULES else rule(nb))


def code(text, *outputs, **metadata):
    return {"cell_type": "code", "source": text, "metadata": metadata, "outputs": list(outputs)}


def prose(text):
    return {"cell_type": "markdown", "source": text, "metadata": {}}


def printed(text, name="stdout"):
    return {"output_type": "stream", "name": name, "text": text}


def shown(alt="", **data):
    data = {mime.replace("_", "/"): value for mime, value in data.items()}
    return {"output_type": "display_data", "metadata": {mime: {"alt": alt} for mime in data if alt}, "data": data}


def notebook(*cells):
    """A notebook that keeps all rules, with the cells given put in before its end."""
    cells = [
        prose(f"# A lesson\n\n{badge('99_lesson.ipynb')}"),
        code(setup_cell()),
        code(rules.MODEL_LINE),
        *cells,
        prose("Look at the lake:"),
        code(
            "check.progress()\npictures",
            printed("0 of 0 exercises are right.\n"),
            *[shown("a lake", image_png="")] * rules.PICTURES,
        ),
    ]
    ran = [cell for cell in cells if cell["cell_type"] == "code"]
    for number, cell in enumerate(ran, 1):
        cell["execution_count"] = number
    return {
        "cells": [cell | {"id": f"cell-{i}"} for i, cell in enumerate(cells)],
        "metadata": copy.deepcopy(METADATA),
        "nbformat": 4,
        "nbformat_minor": 5,
    }


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "99_lesson.ipynb"
    file.write_text("{}")
    return file


@pytest.mark.parametrize("rule", rules.RULES + rules.FILE_RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize(
    "cells",
    [
        [],
        [prose("word " * 60 + "\n\n<details>some more words, folded</details>\n\n| a table |"), code("1")],
        [prose("`just = 1` is code, and so is\n```python\nmagic = 1\n```")],
        [code("\n\n".join(["line = 1"] * 12)), code("a = 1; b = 2  # two; comments"), code("self.__class__")],
        [code("1 / 0", {"output_type": "error", "ename": "ZeroDivisionError"}, tags=["raises-exception"])],
        [prose("![a red boat](99_lesson.ipynb), [this page](99_lesson.ipynb#part), [that](https://example.com)")],
    ],
)
def test_good_notebook_passes(rule, cells, file):
    assert complaints_of(rule, notebook(*cells), file) == []


def set_cell(number, **changes):
    return lambda nb: nb["cells"][number].update(changes)


@pytest.mark.parametrize(
    "rule, cells, change",
    [
        (rules.is_executed, [], set_cell(2, execution_count=None)),
        (rules.is_executed, [], set_cell(2, execution_count=7)),
        (rules.has_pictures, [], lambda nb: nb["cells"][-1]["outputs"].pop()),
        (rules.has_clean_outputs, [code("x", printed("warning", name="stderr"))], None),
        (rules.has_clean_outputs, [code("x", {"output_type": "error", "ename": "ValueError"})], None),
        (rules.has_clean_outputs, [code("x", printed("<object at 0x7f10ab34cd>"))], None),
        (rules.has_clean_outputs, [code("x", shown(text_plain="saved to /home/reader/x.png"))], None),
        (rules.has_clean_outputs, [code("x", shown(**{rules.WIDGET: {"model_id": "1"}}))], None),
        (rules.has_short_cells, [code("line = 1\n" * (rules.CODE_LINES + 1))], None),
        (rules.has_short_prose, [prose("word " * 100), prose("word " * 21)], None),
        (rules.has_short_prose, [prose("<details>" + "word " * (rules.ALL_WORDS) + "</details>")], None),
        (rules.has_short_prose, [], set_cell(0, source="word " * (rules.ALL_WORDS + 1))),
        (rules.has_course_metadata, [], lambda nb: nb["metadata"].update(widgets={})),
        (rules.has_course_metadata, [], lambda nb: nb["metadata"].update(accelerator="GPU")),
        (rules.has_course_metadata, [], lambda nb: nb["metadata"]["colab"].update(gpuType="T4")),
        (rules.has_course_metadata, [], set_cell(1, id="cell-0")),
        (rules.has_alt_text, [prose("![](boat.png)")], None),
        (rules.has_alt_text, [prose("<img src='boat.png'>")], None),
        (rules.has_alt_text, [code("x", shown(text_html="<img src='data:'>"))], None),
        (rules.has_alt_text, [code("x", shown(image_png=""))], None),
        (rules.has_plain_code, [code("!pip install x")], None),
        (rules.has_plain_code, [code("x = 1\n%matplotlib inline")], None),
        (rules.has_plain_code, [code("from math import *")], None),
        (rules.has_plain_code, [code("plot();")], None),
        (rules.has_plain_code, [code("c.unet._internal_dict")], None),
        (rules.has_plain_code, [code("hf_hub_download('x')")], None),
        (rules.has_plain_code, [code("with widgets.Output(): pass")], None),
        (rules.has_setup, [], set_cell(1, source="import sys")),
        (rules.has_setup, [], set_cell(1, outputs=[printed("ready")])),
        (rules.has_setup, [], set_cell(2, source='MODEL = "postcard"')),
        (rules.has_setup, [code(rules.MODEL_LINE)], None),
        (rules.has_progress, [], set_cell(-1, source="pictures\ncheck.progress()")),
        (rules.has_progress, [], lambda nb: nb["cells"][-1]["outputs"].pop(0)),
        (rules.has_progress, [code("# @title Worked solution of exercise 1\nx = 1")], None),
        (rules.has_plain_words, [prose("The model clearly wants this.")], None),
        (rules.has_plain_words, [prose("Just\nrun it.")], None),
        (rules.has_live_links, [prose("[next](05_missing.ipynb)")], None),
        (rules.has_live_links, [prose(badge("x.ipynb").replace("/blob/", "/blob/another-"))], None),
        (rules.has_live_links, [], set_cell(0, source="# A lesson")),
        (rules.has_small_file, [], "big"),
    ],
)
def test_broken_rule_is_noticed(rule, cells, change, file):
    nb = notebook(*cells)
    if change == "big":
        file.write_text(" " * (rules.MAX_BYTES + 1))
    elif change:
        change(nb)
    assert complaints_of(rule, nb, file)


FURTHER = prose(rules.FURTHER + "more of it")


@pytest.mark.parametrize(
    "cells",
    [
        [FURTHER, code("more = 1\nmore"), prose("## Core again"), code("more = 2\nmore")],
        [
            code("t = 1"),
            FURTHER,
            code("for k in range(3):\n    print(k, t)"),
            prose("## Core"),
            code("[k for k in range(t)]"),
        ],
        [FURTHER, code("more = 1"), prose("### A smaller heading, further still"), code("more")],
        [FURTHER, code("x = 1"), prose("## Core"), code("def f(x):\n    return x\nf(2)")],
        [FURTHER, code("line = 1\n" * 16)] + [code("line = 1\n" * 16)] * 30,
    ],
)
def test_a_lesson_whose_parts_can_be_skipped_passes(cells):
    nb = notebook(*cells)
    nb["cells"][0]["source"] += "\n\nFurther: more of it."
    nb["cells"][-2]["source"] = "## Last, look at the lake"
    assert [complaint for rule in rules.SECOND_EDITION for complaint in rule(nb)] == []


@pytest.mark.parametrize(
    "rule, cells, words",
    [
        (
            rules.can_skip_further,
            [FURTHER, code("more = 1"), prose("## Core"), code("print(more)")],
            "core, reads 'more'",
        ),
        (
            rules.can_skip_further,
            [code("t = 1"), FURTHER, code("for t in (1, 2):\n    pass"), prose("## Core"), code("t")],
            "reads 't'",
        ),
        (
            rules.can_skip_further,
            [FURTHER, code("more = 1"), prose("## Core"), code("more = more + 1")],
            "reads 'more'",
        ),
        (rules.can_skip_further, [FURTHER, code("more = 1"), prose("## Core"), code("more += 1")], "reads 'more'"),
        (
            rules.can_skip_further,
            [FURTHER, code("import math"), prose("## Core"), code("def f(x):\n    return math.pi")],
            "reads 'math'",
        ),
        (
            rules.can_skip_further,
            [FURTHER, code("def f():\n    pass"), prose("## Core"), code("[f() for k in (1, 2)]")],
            "reads 'f'",
        ),
        (
            rules.can_skip_further,
            [FURTHER, code("own = 1"), prose(rules.FURTHER + "of it"), code("own")],
            "code cell 4, of it, reads 'own'",
        ),
        (
            rules.can_skip_further,
            [prose(rules.FURTHER + "what is not listed")],
            "does not list the part 'what is not listed'",
        ),
        (rules.has_short_core, [code("line = 1\n" * 16)] * 17, "274"),
        (rules.has_narrow_code, [code("x = " + "1" * rules.COLUMNS)], "a line of 92 columns"),
    ],
)
def test_a_broken_rule_of_the_second_edition_is_noticed(rule, cells, words):
    nb = notebook(*cells)
    nb["cells"][0]["source"] += "\n\nFurther: more of it."
    assert any(words in complaint for complaint in rule(nb))


def test_nothing_asks_whether_a_model_is_trained():
    asking = [
        path
        for path in [*NOTEBOOKS, *(ROOT / "helpers").rglob("*.py")]
        if re.search(r"\bc\.trained\b", path.read_text(encoding="utf-8"))
    ]
    assert asking == [], "say what a claim needs: c.world, or a fact of the model's parts"
