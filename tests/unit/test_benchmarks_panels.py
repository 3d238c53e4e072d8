"""The benchmark of panels: it finds them all, makes them as the lessons do, and moves them. No time is
asserted."""

import json

import pytest
from PIL import Image

from benchmarks import browser, panels, timing
from benchmarks.lessons import NOTEBOOKS, Lesson, code_cells, pictured
from helpers.panels import base
from helpers.panels.concepts import ConceptStudio
from helpers.panels.conditioning import explorer_panel, inspector_panel, walk_panel
from helpers.panels.diffusion import noise_panel
from helpers.panels.sampling import Studio
from tools.browser.makers import makers

SHOWN = [{"output_type": "execute_result", "data": {"text/plain": base.STILL}}]


def notebook(folder, *sources):
    """A notebook, 07_try.ipynb, of such code cells; those that show a panel end in one."""
    cells = [
        {"cell_type": "code", "source": source, "outputs": SHOWN * ("panel" in source.splitlines()[-1])}
        for source in sources
    ]
    file = folder / "07_try.ipynb"
    file.write_text(json.dumps({"cells": cells}))
    return file


TRY = (
    "from PIL import Image\nfrom helpers.panels import conditioning as panels",
    "print('said')\nways = {name: [Image.new('RGB', (8, 8), name)] * 3 for name in ('red', 'blue')}",
    "raise RuntimeError('not needed')",
    "panels.walk_panel(ways, [0, 0.5, 1])",
    "import os.path\nunused = os.path.abspath('.')",
    "panels.walk_panel({'green': ways['red']}, [0, 0.5, 1])",
)


# Finding and making them


def test_every_panel_of_the_course_is_measured():
    found = {thing for file in NOTEBOOKS for thing in pictured(code_cells(file)).values()}
    missing = [name for name, thing in makers().items() if thing not in found]
    drawing_none = (
        "helpers.panels.base.",
        "helpers.panels.my_course.",  # questions, bars, what the reader has made
        "helpers.panels.sampling.Drawing",  # what the reader draws
    )
    assert all(name.startswith(drawing_none) for name in missing), missing


def test_only_needed_cells_run_and_in_silence(tmp_path, capsys):
    lesson = Lesson(notebook(tmp_path, *TRY))
    made = list(lesson.panels())
    assert [maker for maker, _, _ in made] == [walk_panel] * 2 and capsys.readouterr().out == ""
    assert [len(panel.frames) for _, panel, _ in made] == [3, 3] and "unused" not in lesson.names


def test_names_are_bound_by_the_statements_they_need_once(tmp_path, capsys):
    lesson = Lesson(notebook(tmp_path, *TRY))
    (unused,) = lesson.bind("unused")
    assert unused == str(tmp_path) and "ways" not in lesson.names
    (ways,) = lesson.bind("ways")
    assert lesson.bind("ways", "unused")[0] is ways and [*ways] == ["red", "blue"]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "maker, kind",
    [
        (noise_panel, timing.AHEAD),
        (explorer_panel, timing.MOVED),
        (inspector_panel, timing.MOVED),
        (Studio, timing.LIVE),
        (ConceptStudio, timing.LIVE),
    ],
)
def test_kinds_are_read_off_the_source(maker, kind):
    assert timing.kind_of(maker) == kind


# Moving them


def test_every_move_changes_one_control_and_is_timed(monkeypatch):
    drawn = []

    def frame(**state):
        drawn.append(state)
        return bytes(len(drawn))

    controls = {
        "a": base.slider("a", range(5), 0),
        "b": base.menu("b", ["x", "y"], "x"),
        "c": base.text("c", ""),
        "alone": base.menu("alone", [1], 1),
    }
    panel = base.Panel(controls, frame, lambda **state: "", ahead=False)
    times, sizes = panels.moved(panel, 40)
    assert len(times) == 40 and sizes == list(range(2, 42))  # the first frame is that of the start
    changes = [[name for name in new if new[name] != old[name]] for old, new in zip(drawn, drawn[1:])]
    assert {name for (name,) in changes} == {"a", "b", "c"}


def test_a_slow_panel_is_moved_a_third_as_often(monkeypatch):
    monkeypatch.setattr(panels, "LONGEST", 0)
    panel = base.Panel({"a": base.slider("a", range(5), 0)}, lambda a: bytes(a), lambda a: "")
    assert len(panels.moved(panel, 30)[0]) == 10


def test_a_frame_that_can_not_be_drawn_is_no_measurement():
    def frame(a):
        if a:
            raise ValueError("no ink")
        return b"png"

    panel = base.Panel({"a": base.slider("a", range(2), 0)}, frame, lambda a: "", ahead=False)
    with pytest.raises(RuntimeError, match="a = 1: .*no ink"):
        panels.moved(panel, 5)


def test_a_studio_is_timed_to_its_first_live_picture_and_cancelled(tiny_postcard):
    studio = Studio(tiny_postcard, prompt="a red boat", steps=50)
    studio.preview = lambda latents: Image.new("RGB", (8, 8), tuple(latents.flatten()[:3].byte().tolist()))
    assert len(panels.live(studio, 3)) == 3
    assert studio.line.value.startswith("Cancelled") and not studio.job.running and not studio.history


# Reporting, and doing without a browser


def test_the_whole_script_keeps_its_results_unless_it_is_a_try(tmp_path, capsys):
    asked = [str(notebook(tmp_path, *TRY)), "--results", str(tmp_path / "kept")]
    panels.main([*asked, "--quick"])
    assert "07 walk" in capsys.readouterr().out and not (tmp_path / "kept").exists()
    panels.main(asked)
    kept = json.loads((tmp_path / "kept" / "panels.json").read_text())
    assert [row["frames"] for row in kept["rows"]] == ["3 ahead", "3 ahead"]
    assert len(kept["claims"]) == 1 and "computed ahead" in kept["claims"][0]["what"]
    assert {path.suffix for path in (tmp_path / "kept").iterdir()} == {".json", ".md", ".png"}


def test_a_course_of_panels_fits_its_picture():
    found = [
        timing.Timing(f"0{1 + i // 6}", "thermostat", kind, [seconds * (1 + k / 9) for k in range(9)], 1.5)
        for i in range(9)
        for kind, seconds in zip(panels.SAID, (0.0004, 0.04, 0.4, 0.25, 0.9), strict=True)
        if i == 0 or kind in (timing.AHEAD, timing.MOVED, timing.LIVE)
    ]  # one studio draws as a reader types
    title = panels.title_of(found, "in a browser")
    assert title.endswith("within 0.76 ms (ahead), 76 ms (when moved), 760 ms (live), in a browser")
    assert len(panels.figure(found, title, "a machine").png) < 80_000
    asked = [panels.claim(found, kind, "in a browser")["asked"] for kind in panels.SAID]
    assert [bool(one) for one in asked] == [
        True,
        False,
        False,
        True,
        False,
    ]  # what waits ready, and a picture as a prompt is typed, were promised


def test_without_a_browser_it_says_so_and_keeps_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(browser, "found_browser", lambda: None)
    panels.main(["--browser", "--results", str(tmp_path / "kept")])
    said = capsys.readouterr().out
    assert "Chromium" in said and len(said.splitlines()) == 1 and not (tmp_path / "kept").exists()
