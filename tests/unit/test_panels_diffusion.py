"""The panels of lesson 01 through their pure functions: no browser, and no drawing when a slider moves."""

import base64
import io
import os
import subprocess
import sys
from pathlib import Path

import ipywidgets as widgets
import numpy as np
import pytest
import torch
from PIL import Image

from helpers import diffusion
from helpers.figures import diffusion as figures
from helpers.panels import Panel, Progress, match, predict
from helpers.panels import diffusion as panels
from helpers.panels.base import STILL, buttons, menu, slider

ABAR = diffusion.make_alphas_cumprod()


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def small_panel(frame=lambda t, word: f"{t}{word}".encode(), ahead=True):
    return Panel(
        {"t": slider("t", [1, 2, 3], 2), "word": menu("word", ["a", "b"], "a")},
        frame,
        lambda t, word: f"t is {t}",
        ahead,
    )


def test_frames_are_ready_and_a_move_only_looks_them_up():
    panel = small_panel()
    panel.frame = None  # from here on drawing would fail
    for t in (1, 2, 3):
        for word in "ab":
            panel.controls["t"].value, panel.controls["word"].value = t, word
            assert panel.picture.value == f"{t}{word}".encode() and panel.line.value == f"t is {t}"


MOVE = """
from helpers import kernel
kernel.prepare_kernel()
from helpers.panels.base import Panel, slider
panel = Panel({"x": slider("x", range(3), 0)}, lambda x: bytes([x]), lambda x: f"<b>{x}</b>")
for name in ("picture", "line"):
    getattr(panel, name).comm.send = lambda data, buffers=None, name=name: print(data["method"], "of", name)
panel.controls["x"].comm.send = lambda data, buffers=None: print(data["method"], "of the control")
panel.controls["x"].set_state({"index": 2})     # as the page's message does
"""


def test_a_move_sends_picture_and_line_and_nothing_else():
    """In a new Python: ipywidgets reads what it is told once, when it is first imported."""
    env = {name: value for name, value in os.environ.items() if name != "JUPYTER_WIDGETS_ECHO"}
    done = subprocess.run(
        [sys.executable, "-c", MOVE], cwd=Path(__file__).parents[2], env=env, capture_output=True, text=True
    )
    assert done.stdout.splitlines() == ["update of picture", "update of line"], done.stderr


def test_a_panel_can_draw_when_asked():
    calls = []
    panel = small_panel(lambda t, word: calls.append(t) or b"png", ahead=False)
    panel.controls["t"].value = 3
    assert calls == [2, 3] and panel.frames == {}


def test_a_frame_that_fails_says_so():
    def frame(t, word):
        if t == 3:
            raise ValueError("no <picture> today")
        return b"png"

    panel = small_panel(frame, ahead=False)
    panel.controls["t"].value = 3
    assert panel.picture.value == b"png"
    assert panel.line.value == "<b>This could not be drawn: no &lt;picture&gt; today</b>"


def test_only_parts_that_work_on_colab_and_lab():
    def parts(widget):
        yield widget
        for child in getattr(widget, "children", ()):
            yield from parts(child)

    allowed = (
        widgets.VBox,
        widgets.HBox,
        widgets.SelectionSlider,
        widgets.Dropdown,
        widgets.ToggleButtons,
        widgets.Image,
        widgets.HTML,
        widgets.IntProgress,
    )
    for panel in (small_panel(), predict("yes", "no"), match(["A", "B"], ["sound", "broken"]), Progress(3)):
        assert all(isinstance(part, allowed) for part in parts(panel)) and repr(panel).startswith(STILL)


def test_predict_remembers_and_judges():
    question = predict("sky", "boat")
    assert question.chosen is None and question.verdict("sky") == "You have not chosen. Measured: sky."
    question.answers.value = "boat"
    assert question.line.value == "Noted. Run the next cell."
    assert question.verdict("sky") == "You said: boat. Measured: sky."
    assert question.verdict("boat") == "You said so too. Measured: boat."
    assert question.verdict(0) == "You said: boat. Measured: sky." and question.verdict(True) == question.verdict(
        "boat"
    )


def test_match_remembers_and_counts():
    panel, right = match(["A", "B", "C"], ["sound", "broken"]), {"A": "sound", "B": "broken", "C": "broken"}
    assert panel.chosen == dict.fromkeys("ABC") and panel.verdict(right) == "You have not named any of them."
    panel.controls["A"].value = panel.controls["B"].value = "sound"
    assert panel.line.value == "1 to go." and panel.chosen == {"A": "sound", "B": "sound", "C": None}
    assert panel.verdict(right) == "You named 1 of 3 rightly; look again at B."
    panel.controls["B"].value = panel.controls["C"].value = "broken"
    assert panel.line.value == "Noted. Run the next cell." and panel.verdict(right) == "You named 3 of 3 rightly."
    assert match(["A", "B", "C"], ["sound", "broken"]).chosen == right, "as after a restart"
    assert match(["A"], ["sound", "cracked"]).chosen == {"A": None}, "of another question"
    with pytest.raises(ValueError, match="a name for each of A, B, C"):
        panel.verdict({"A": "sound"})


@pytest.mark.parametrize(
    "things, names", [([], ["a", "b"]), (["A", "A"], ["a", "b"]), (["A"], ["a"]), (["A"], ["a", "choose"])]
)
def test_match_takes_things_and_names(things, names):
    with pytest.raises(ValueError, match="match takes things and at least two names"):
        match(things, names)


def test_progress_shows_the_end():
    progress = Progress(10)
    progress.update(1, "loss <1>")
    progress.update(2)  # too soon after the first: not shown
    assert progress.bar.value == 1 and "loss &lt;1&gt;" in progress.line.value
    progress.update(10)
    assert progress.bar.value == 10 and progress.line.value.startswith("10 of 10, took")


def test_buttons_hold_what_they_are_given():
    assert buttons("page", range(1, 4), 1).options == (1, 2, 3)


def is_png(data):
    return Image.open(io.BytesIO(data)).format == "PNG"


@pytest.fixture(scope="module")
def noise_panel():
    panels_t, panels.EVERY_T = panels.EVERY_T, [0, 354, 999]
    try:
        return panels.noise_panel(draw(3, 16, 16).clamp(-1, 1), draw(3, 16, 16, seed=1))
    finally:
        panels.EVERY_T = panels_t


def test_noise_panel(noise_panel):
    assert len(noise_panel.frames) == 9 and all(map(is_png, noise_panel.frames.values()))
    assert len(set(noise_panel.frames.values())) == 9  # every state its own picture
    assert noise_panel.frame(t=354, schedule="cosine") == noise_panel.frames[354, "cosine"]  # always the same
    noise_panel.frame, noise_panel.controls["t"].value = None, 999
    assert noise_panel.picture.value == noise_panel.frames[999, "scaled_linear"]
    assert "-23.3 dB" in noise_panel.line.value and "x<sub>999</sub> = 0.07" in noise_panel.line.value


def test_a_mark_off_the_scale_stays_at_its_edge():
    tide = figures.Tide(draw(3, 16, 16).clamp(-1, 1), draw(3, 16, 16, seed=1))
    assert diffusion.snr_db(diffusion.make_alphas_cumprod("cosine")[999]) < -50  # the scale ends at -48
    tide.frame(999, "cosine")
    mark = tide.stages["cosine"][0].moving[-1]
    assert mark.get_ydata()[0] == mark.axes.get_ylim()[0]


def test_slider_reaches_both_ends_and_the_halfway_step():
    assert {0, 354, 999} <= set(panels.EVERY_T) and len(panels.EVERY_T) < 45


def test_follow_panel():
    world = diffusion.make_shape("spiral")
    exact = lambda x, t: world.noise_pred(x, ABAR[t].item())  # noqa: E731
    walk = figures.Walk(world, exact, diffusion.ddim_path, draw(200, 2), ABAR, steps=4)
    assert walk.timesteps == [999, 749, 500, 250] and walk.path.shape == (5, 200, 2)
    assert torch.allclose(walk.estimates[-1], walk.path[-1], atol=1e-5)  # the last stop is an estimate
    (first, shape), (last, _) = walk.spread(999), walk.spread(250)
    assert first < 0.1 * shape and 0.6 * shape < last < shape  # from pure noise: all in the middle
    assert shape == pytest.approx(world.sample(20_000).var(0).sum().sqrt().item(), rel=0.02)
    assert walk.frame(500, 1) == walk.frame(500, 1) != walk.frame(500, 2)
    panel = panels.follow_panel(walk)
    panel.controls["t"].value = 999
    assert panel.line.value == (
        f"The estimates lie {first:.2f} from their middle (root mean square), the points of the shape {shape:.2f}."
    )
    assert len(set(panel.frames.values())) == 12 and all(map(is_png, panel.frames.values()))


def test_steps_panel():
    line = diffusion.Mixture(torch.tensor([[-1.0], [1.0]]), 0.15)
    steps = figures.Steps(line, draw(400, 1), ABAR)
    panel = panels.steps_panel(steps)
    assert all(map(is_png, panel.frames.values())) and len(set(panel.frames.values())) == len(panels.STEPS)
    assert steps.frame(20) == panel.frames[20,]  # nothing of the frames drawn since is left in it
    kept = dict(steps.walked)
    panel.controls["n"].value = 1
    assert kept.keys() == set(panels.STEPS) and all(
        steps.walked[n] is found for n, found in kept.items()
    )  # walked once
    assert "100.0% of the ends lie in the gap." in panel.line.value and "bunch" not in panel.line.value
    panel.controls["n"].value = 200
    assert "0.0% of the ends" in panel.line.value and "the peak 0.150" in panel.line.value
    assert steps.ends(20)[1] < 0.8 * 0.15 < steps.ends(500)[1]  # a long last jump ends on a mean


def test_memory_panel():
    data = draw(12, 3, 8, 8)
    table = figures.MemoryTable(data, draw(3, 8, 8, seed=1), draw(3, 8, 8, seed=2), ABAR)
    panel = panels.memory_panel(table)
    assert all(map(is_png, panel.frames.values())) and "of 12 training pictures" in panel.line.value
    panel.controls["t"].value = 999
    assert panel.picture.value == table.frame(999)


# On a page without a kernel


def png_of(size):
    buffer = io.BytesIO()
    Image.new("RGB", size, "#336699").save(buffer, "PNG")
    return buffer.getvalue()


def test_a_panel_is_a_picture_with_a_sentence_on_paper():
    panel = Panel(
        {"noise level": slider("noise level", [0, 500], 0), "seed": menu("seed", [1, 2], 1)},
        lambda **state: png_of((900, 300)),
        lambda **state: "at <b>t = 0</b> &middot; nothing drowns",
    )
    data, about = panel._repr_mimebundle_()
    assert data["text/plain"] == repr(panel) == f"{STILL} Controls: noise level, seed."
    assert (
        about["image/png"]["alt"]
        == "A still of a panel. at t = 0 \N{MIDDLE DOT} nothing drowns. Controls: noise level, seed."
    )
    picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).convert("RGB")
    assert picture.size == (720, 262) and about["image/png"]["width"] == 720
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == panel.model_id
    lowest = np.asarray(picture)[240:]
    assert lowest.min() < 150 and (np.asarray(picture)[:238] > 0).any(), "the caption is written below the picture"


def test_a_question_says_its_answers_on_paper():
    data = predict("sky", "boat")._repr_mimebundle_()
    assert data["text/plain"] == f"{STILL} The answers to choose from: sky; boat." and "image/png" not in data


def test_the_front_end_is_given_the_widget_first_of_all():
    """What IPython makes of a panel, by whichever version of ipywidgets: one bundle with the view in it."""
    from IPython.core.formatters import DisplayFormatter

    assert not callable(Panel._ipython_display_)
    data, _ = DisplayFormatter().format(predict("sky", "boat"))
    assert {"text/plain", "application/vnd.jupyter.widget-view+json"} <= set(data)
