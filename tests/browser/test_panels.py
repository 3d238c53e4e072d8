"""Every panel of every notebook in a real browser: it is there, each control moves it, nothing goes wrong."""

import json
import time
from pathlib import Path

import pytest

from tools.browser.lesson import panel_cells
from tools.browser.makers import made_in, makers
from tools.browser.needed import rebound_later

TEACHING = Path(__file__).resolve().parents[2] / "docs" / "teaching.md"
NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))
CELLS = [pytest.param(file, i, id=f"{file.stem}-{i}") for file in NOTEBOOKS for i in panel_cells(file)]


def test_no_panel_is_left_out():
    made = [thing for file in NOTEBOOKS for thing in made_in(file)]
    nobody_moved = [name for name, thing in makers().items() if thing not in made]
    offered = ["helpers.panels.my_course.Kept"]  # in a teacher's cell: tests/unit/test_my_course.py presses its buttons
    assert "import Kept; Kept()" in TEACHING.read_text(encoding="utf-8")
    assert nobody_moved == offered, "These panels stand in no notebook, so that nobody has moved them in a browser."


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_panel_works_after_the_whole_notebook_too(file):
    cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    assert list(rebound_later([cell for cell in cells if cell["cell_type"] == "code"])) == []


@pytest.mark.parametrize("lesson, cell", CELLS, indirect=["lesson"], scope="module")
def test_panel(lesson, cell, screenshots, request):
    panel = lesson.panel(cell)

    def keep(moment):
        assert panel.cut_off() == []
        panel.root.screenshot(path=screenshots / f"{request.node.callspec.id}-{moment}.png")

    keep("1-start")
    if "Generate" in panel.buttons():
        draw_and_cancel(panel)
        keep("2-drawn")
    else:
        move_every_control(panel, keep)
    errors, lesson.errors = lesson.errors, []
    assert errors == []


def move_every_control(panel, keep):
    """Each control changes the picture, and some control the text; back where it was, the picture is as it was."""
    start, texts = panel.settled(), set()
    assert not {"", "blank"} & set(start["pictures"])
    part = "pictures" if start["pictures"] else "text"
    for control in panel.controls():
        begun, changed = control.value, None
        for value in control.others():
            before = panel.look()
            control.move(value)
            changed = panel.changed(before, part)
            if changed:
                break
        text = panel.look()["text"]
        assert "could not be drawn" not in text, text
        assert changed, f"{control.name or control.kind} was moved, and the {part} stayed as they were"
        texts.add(changed["text"])
        keep("2-moved")
        control.restore(begun)
        back = until(lambda: panel.look()["pictures"] == start["pictures"])
        assert back, f"{control.name} is back where it was, and the picture is not"
    assert not panel.controls() or texts - {start["text"]}, "the text under the picture never changed"


def draw_and_cancel(panel):
    """A studio: controls take what they are given, Generate draws, Cancel stops, every other button acts."""
    start = panel.settled()
    assert "" not in start["pictures"], "before the first picture there is a broken one"
    for control in panel.controls():
        before = control.value
        control.move(control.others()[0])
        assert control.value != before, f"{control.name} did not move"
        if control.name == "a file of your own":
            panel.button("Generate").click()
            missing = f"There is no concept {control.value}"
            assert until(lambda missing=missing: missing in panel.look()["text"]), panel.look()["text"]
            control.restore(before)
    (steps,) = (control for control in panel.controls() if control.name == "steps")
    steps.restore(6)
    drawn = generate(panel)
    assert not {"", "blank"} & set(drawn["pictures"]) and drawn["text"] != start["text"]
    assert len(drawn["pictures"]) > len(start["pictures"]), "the picture was not kept"

    steps.handle.press("End")
    panel.button("Generate").click()
    assert until(lambda: 0 < float(panel.look()["bars"][0].rstrip("%")) < 100), "the bar does not move"
    panel.button("Cancel").click()
    assert until(panel.button("Cancel").is_disabled)
    stopped = panel.settled()
    assert "Cancelled" in stopped["text"] and len(stopped["pictures"]) == len(drawn["pictures"])

    def state():
        return panel.look(), [control.value for control in panel.controls()]

    for name in set(panel.buttons()) - {"Generate", "Cancel"}:
        before = state()
        panel.button(name).first.click()
        assert until(lambda before=before: state() != before), f"{name} does nothing"
    assert generate(panel)["text"] != stopped["text"]


def generate(panel):
    """Click it, wait until Cancel has been on and is off again; what the panel shows then."""
    panel.button("Generate").click()
    assert until(panel.button("Cancel").is_enabled)
    assert until(panel.button("Cancel").is_disabled)
    return panel.settled()


def until(true, seconds=120):
    """Wait until true() is; whether it came true in time."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
