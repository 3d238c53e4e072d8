"""The studio, driven through its widgets' traits: it draws what `generate` draws, stops, recovers and remembers."""

import dataclasses
import io
import threading
import time

import numpy as np
import pytest
import torch
from PIL import Image
from studios import begin_slowly, draw, flat, same

from helpers import components, diffusion, generate
from helpers.figures.guidance import arrows_at
from helpers.panels import sampling
from helpers.panels.sampling import (
    BLANK,
    FAST,
    KEPT,
    QUICKLY,
    Drawing,
    LiveStudio,
    Studio,
    guidance_panel,
    parameters,
    png,
    solver_panel,
)

PROMPT = "a red boat on a lake"


@pytest.fixture
def studio(tiny_postcard, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    studio = Studio(tiny_postcard, prompt=PROMPT, steps=3, seed=7)
    yield studio
    assert studio.job.wait(60)


def opened(view, tmp_path):
    (tmp_path / "view.png").write_bytes(view.value)
    return Image.open(tmp_path / "view.png")


def test_it_draws_the_picture_of_generate(studio, tiny_postcard, tmp_path):
    draw(studio)
    expected = generate(tiny_postcard, PROMPT, steps=3, seed=7)
    assert same(opened(studio.views["picture"], tmp_path), expected)
    assert studio.line.value == "Done." and studio.cancel.disabled and studio.bar.value == studio.bar.max == 3
    assert opened(studio.views["x_0"], tmp_path).size == (tiny_postcard.image_size,) * 2


@pytest.mark.parametrize("scheduler", ["heun", "pndm"])
def test_the_bar_grows_with_schedulers_that_call_more_often(studio, scheduler):
    studio.controls["scheduler"].value = scheduler
    draw(studio)
    assert studio.line.value == "Done." and studio.bar.value == studio.bar.max > 3


def test_a_fast_models_studio_begins_with_its_steps_and_says_what_it_gave_up(tiny_fast):
    studio = Studio(tiny_fast, prompt=PROMPT)
    assert (studio.controls["steps"].value, studio.controls["guidance"].value) == (2, 1)
    assert draw(studio) == "Done."
    for control, value in (("guidance", 3.0), ("negative_prompt", "night")):
        before, studio.controls[control].value = studio.controls[control].value, value
        assert "cannot draw with" in draw(studio) and len(studio.history) == 1
        studio.controls[control].value = before


def test_cancel_stops_and_the_next_picture_is_the_same(studio, tiny_postcard, tmp_path):
    begun, go_on = begin_slowly(studio)
    assert begun.wait(30) and not studio.cancel.disabled
    studio.cancel.click()
    go_on.set()
    assert studio.job.wait(60)
    assert studio.line.value == "Cancelled after 2 steps. The same settings draw the same picture."
    assert studio.history == [] and studio.views["picture"].value == png(BLANK)
    studio.controls["steps"].value = 3
    draw(studio)
    assert same(studio.history[0][0], generate(tiny_postcard, PROMPT, steps=3, seed=7))


def test_a_second_generate_takes_over(studio, tiny_postcard):
    begun, go_on = begin_slowly(studio)
    assert begun.wait(30)
    studio.controls["steps"].value, studio.controls["seed"].value = 3, 8
    studio.generate.click()
    go_on.set()
    assert studio.job.wait(60)
    ((picture, settings),) = studio.history
    assert settings["seed"] == 8 and same(picture, generate(tiny_postcard, PROMPT, steps=3, seed=8))


class Held:
    """A function that waits at its first call, and at every later one while `then` is True, until it may go on."""

    def __init__(self, function, then=False):
        self.function, self.then, self.calls = function, then, 0
        self.there, self.go_on = threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self, *arguments):
        self.calls += 1
        if self.calls == 1 or self.then:
            self.there.release()
            assert self.go_on.acquire(timeout=30)
        return self.function(*arguments)


def test_generate_right_after_cancel_can_be_cancelled_and_says_nothing_of_it(studio):
    studio.preview = held = Held(flat, then=True)
    studio.generate.click()
    assert held.there.acquire(timeout=30)
    studio.cancel.click()
    studio.generate.click()
    held.go_on.release()
    assert held.there.acquire(timeout=30)  # x_0 of that step
    held.go_on.release()
    assert held.there.acquire(timeout=30)  # the second drawing's first step
    assert not studio.cancel.disabled and studio.line.value == "The words are read ..."
    held.then = False
    held.go_on.release()
    assert studio.job.wait(60) and studio.line.value == "Done." and studio.cancel.disabled


def test_a_picture_that_is_being_decoded_gives_way_to_a_newer_drawing(studio, monkeypatch):
    decode = Held(sampling.decode_latents)
    monkeypatch.setattr(sampling, "decode_latents", decode)
    studio.generate.click()
    assert decode.there.acquire(timeout=30)
    studio.controls["seed"].value, studio.preview = 8, Held(flat)
    studio.generate.click()
    decode.go_on.release()
    assert studio.preview.there.acquire(timeout=30)
    assert not studio.cancel.disabled and studio.history == []
    studio.preview.go_on.release()
    assert studio.job.wait(60) and [settings["seed"] for _, settings in studio.history] == [8]


def test_cancel_reaches_a_picture_that_is_being_decoded(studio, monkeypatch):
    decode = Held(sampling.decode_latents)
    monkeypatch.setattr(sampling, "decode_latents", decode)
    studio.generate.click()
    assert decode.there.acquire(timeout=30)
    studio.cancel.click()
    decode.go_on.release()
    assert studio.job.wait(60) and studio.history == [] and studio.line.value.startswith("Cancelled after 3 steps.")


def test_a_kept_picture_stays_when_another_was_being_drawn(studio):
    draw(studio)
    kept = studio.history[0]
    studio.controls["prompt"].value, studio.preview = "a blue house", Held(flat)
    studio.generate.click()
    assert studio.preview.there.acquire(timeout=30)
    studio.load(0)
    studio.preview.go_on.release()
    assert studio.job.wait(60)
    assert studio.history == [kept] and studio.shown is kept and studio.settings == kept[1]
    assert studio.line.value.startswith("Cancelled after 2 steps.")


def test_the_kept_picture_that_was_asked_for_comes_back_though_a_new_one_moves_it_along(studio, monkeypatch):
    draw(studio)
    kept = studio.history[0]
    monkeypatch.setattr(studio.job, "cancel", lambda: studio.keep(BLANK, kept[1] | {"seed": 9}))  # a last report
    studio.load(0)
    assert studio.shown is kept and studio.settings == kept[1] and len(studio.history) == 2


@pytest.mark.parametrize("negative, guidance, said", [("night", 1, True), ("night", 2, False), ("", 1, False)])
def test_a_negative_prompt_that_is_not_used_is_said_to_be_so(studio, negative, guidance, said):
    studio.controls["negative_prompt"].value, studio.controls["guidance"].value = negative, guidance
    assert draw(studio) == "Done." + " At guidance 1 the negative prompt is not used." * said


def test_an_error_is_shown_in_words_and_the_next_picture_is_the_same(studio, tiny_postcard):
    def broken(latents):
        raise ValueError("no <preview> today")

    studio.preview = broken
    draw(studio)
    assert studio.line.value == "<b>no &lt;preview&gt; today</b>" and studio.cancel.disabled and studio.history == []
    studio.preview = flat
    draw(studio)
    assert same(studio.history[0][0], generate(tiny_postcard, PROMPT, steps=3, seed=7))


def test_a_long_prompt_says_what_was_cut(studio):
    studio.controls["prompt"].value = " ".join(["boat"] * 90)
    draw(studio)
    assert studio.line.value.startswith("Done. The prompt has 90 tokens")


def test_the_strip_brings_settings_back(studio):
    for seed in range(KEPT + 2):
        studio.controls["seed"].value, studio.controls["steps"].value = seed, 1
        draw(studio)
    assert [settings["seed"] for _, settings in studio.history] == list(range(KEPT + 1, 1, -1))
    assert len(studio.strip.children) == KEPT
    studio.controls["prompt"].value, studio.controls["guidance"].value = "", 9
    studio.strip.children[3].children[1].click()
    assert studio.settings == studio.history[3][1] and studio.settings["prompt"] == PROMPT
    assert studio.shown is studio.history[3]


def test_save_writes_the_settings_inside_and_never_over_a_file(studio, my_course_folder):
    assert studio.save.disabled
    draw(studio)
    studio.save.click()
    studio.save.click()
    pictures, name = my_course_folder / "pictures", "a red boat on a lake seed 7"
    assert sorted(file.name for file in pictures.iterdir()) == [f"{name}-2.png", f"{name}.png"]
    saved = Image.open(pictures / f"{name}.png")
    assert same(saved, studio.history[0][0])
    assert saved.text["parameters"].splitlines() == [
        PROMPT,
        f"Steps: 3, CFG scale: {studio.c.guidance}, Sampler: ddim, Seed: 7, Size: 128x128",
    ]
    assert studio.line.value == f"Saved as my_course/pictures/{name}-2.png, settings inside."


def test_what_stands_in_a_picture_can_be_taken_apart():
    settings = {"prompt": "a, b: c", "negative_prompt": "night", "concept": "a, b", "seed": 3}
    assert parameters(BLANK, settings).splitlines() == [
        "a, b: c",
        "Negative prompt: night",
        'Concept: "a, b", Seed: 3, Size: 8x8',
    ]


def test_a_picture_that_cannot_be_saved_is_one_sentence(studio, my_course_folder):
    draw(studio)
    my_course_folder.parent.mkdir(parents=True, exist_ok=True)
    my_course_folder.write_text("a file is in the way")
    studio.save.click()
    assert studio.line.value.startswith("<b>A file is where the folder of") and not studio.save.disabled
    studio.cancel.disabled, studio.bar.value = False, 1  # as while another one is drawn
    studio.save.click()
    assert not studio.cancel.disabled and studio.bar.value == 1


# While the reader types


@pytest.fixture
def live(tiny_postcard, monkeypatch):
    monkeypatch.setattr(sampling, "PAUSE", 0.02)
    studio = LiveStudio(tiny_postcard, prompt=PROMPT, seed=7)
    yield studio
    studio.live.value = False
    assert studio.job.wait(60)


def until(true, seconds=30):
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_nothing_is_drawn_while_it_is_off(live):
    live.controls["prompt"].value = "a boat"
    time.sleep(0.2)
    assert not live.job.runs and not live.controls["prompt"].continuous_update


def test_a_pause_draws_a_picture_in_few_calls(live, tiny_postcard):
    live.live.value = True
    assert live.controls["prompt"].continuous_update
    live.controls["prompt"].value = "a blue boat"
    until(lambda: live.history)
    picture, settings = live.history[0]
    expected = {"prompt": "a blue boat", "negative_prompt": "", "seed": 7} | QUICKLY
    assert settings == expected and same(picture, generate(tiny_postcard, **expected))


def test_a_negative_prompt_is_used_while_the_reader_types(live, tiny_postcard):
    live.controls["negative_prompt"].value, live.controls["guidance"].value = "night", 4
    live.live.value = True
    until(lambda: live.history)
    picture, settings = live.history[0]
    assert settings == live.settings | {"steps": QUICKLY["steps"], "scheduler": QUICKLY["scheduler"]}
    assert settings["guidance"] == 4 and same(picture, generate(tiny_postcard, **settings))


def test_a_wish_that_comes_too_late_draws_nothing(live):
    """Its pause was over when a kept picture was brought back."""
    live.keep(BLANK, live.settings)
    live.live.value = True
    live.timer.cancel()
    late = threading.Timer(0, live.start_due)
    live.timer = late
    live.load(0)
    late.run()
    assert live.timer is None and not live.job.runs


def test_the_latest_of_many_wishes_is_the_one_drawn(live, monkeypatch):
    monkeypatch.setattr(sampling, "PAUSE", 0.3)
    live.live.value = True
    for end in range(1, len("a red boat on a lake") + 1):
        live.controls["prompt"].value = "a red boat on a lake"[:end]
    until(lambda: live.history)
    assert live.job.wait(60) and [settings["prompt"] for _, settings in live.history] == ["a red boat on a lake"]


def test_generate_still_draws_with_all_steps(live):
    live.live.value = True
    until(lambda: live.history)
    live.controls["steps"].value = 3
    live.live.value = False
    draw(live)
    assert live.history[0][1] == live.settings and live.settings["steps"] == 3


def test_a_kept_picture_comes_back_and_nothing_is_drawn_for_it(live):
    live.live.value = True
    until(lambda: live.history)
    assert live.job.wait(60)
    drawn = len(live.history)
    live.load(0)
    time.sleep(0.2)
    assert len(live.history) == drawn and live.settings == live.history[0][1]


@pytest.mark.parametrize("press", ["generate", "cancel"])
def test_a_live_picture_that_was_due_gives_way_to_a_button(live, press):
    """Moved a moment before the click: the timer has run out, and its thread comes later."""
    live.live.value = True
    live.forget()
    late = threading.Timer(0, live.start_due)
    live.timer = late
    getattr(live, press).click()
    late.run()
    assert live.job.wait(60) and [settings["steps"] for _, settings in live.history] == (
        [live.settings["steps"]] if press == "generate" else []
    )


def test_a_picture_of_another_model_says_so(live, tiny_fast):
    """In the strip, inside the file, and when it is brought back."""
    live.begin(tiny_fast, live.settings | {"steps": 2, "guidance": 1.0})
    assert live.job.wait(60)
    picture, settings = live.history[0]
    assert settings["model"] == tiny_fast.name and f"Model: {tiny_fast.name}" in parameters(picture, settings)
    live.load(0)
    assert f"{tiny_fast.name} drew this one: Generate draws with {live.c.name}" in live.line.value
    live.begin(live.c, live.settings)
    assert live.job.wait(60) and "model" not in live.history[0][1]


def test_what_goes_wrong_while_typing_is_said(live):
    live.live.value = True
    live.begin = lambda *arguments: 1 / 0
    live.controls["prompt"].value = "a boat"
    until(lambda: "division by zero" in live.line.value)


def test_the_fast_variant_is_taken_by_name_once_it_is_there(live, tiny_postcard, monkeypatch):
    assert live.quick_model() == (tiny_postcard, QUICKLY)
    fast, loaded = dataclasses.replace(tiny_postcard, steps=2), []
    live.c, live.fast = dataclasses.replace(tiny_postcard, name="postcard"), None
    monkeypatch.setitem(components.MODELS, FAST, "a folder")
    monkeypatch.setattr(components, "load_components", lambda *given, sharing: loaded.append((*given, sharing)) or fast)
    for _ in range(2):
        assert live.quick_model() == (fast, {"steps": 2, "scheduler": "ddim", "guidance": 1.0})
    assert loaded == [(FAST, tiny_postcard.device, tiny_postcard.dtype, live.c)]
    live.controls["negative_prompt"].value = "red cliffs"
    assert live.quick_model() == (live.c, {"steps": 4, "scheduler": "dpm++_2m"})


def test_a_fast_variant_without_weights_is_done_without(live, tiny_postcard, monkeypatch):
    def missing(*given, **options):
        raise ValueError('The model has no variant called "fast": it has none.')

    live.c, live.fast = dataclasses.replace(tiny_postcard, name="postcard"), None
    monkeypatch.setattr(components, "load_components", missing)
    assert live.quick_model() == (live.c, QUICKLY)


# A drawing


def test_a_drawing_grows_by_what_is_added_and_shrinks_again():
    drawing = Drawing(64)
    begun = np.asarray(drawing.image)
    assert begun.shape == (64, 64, 3) and len({*map(tuple, begun.reshape(-1, 3))}) >= 3
    drawing.controls["across"].value = 20
    assert np.array_equal(np.asarray(drawing.image), begun)  # an outline is not yet drawn
    drawing.controls["shape"].value = "triangle"
    assert "4 shapes; the outline of the dark green triangle is not drawn yet" in drawing.line.value
    shown = drawing.view.value
    drawing.add.click()
    added = np.asarray(drawing.image)
    assert (added != begun).any() and drawing.view.value != shown
    drawing.undo.click()
    assert np.array_equal(np.asarray(drawing.image), begun)
    drawing.clear.click()
    assert drawing.undo.disabled and (np.asarray(drawing.image) == 255).all()


@pytest.mark.parametrize("shape", Drawing.SHAPES)
def test_a_shape_lies_where_its_sliders_say(shape):
    drawing = Drawing(100)
    drawing.clear.click()
    for name, value in {"shape": shape, "colour": "red", "across": 25, "down": 75, "wide": 20, "high": 20}.items():
        drawing.controls[name].value = value
    drawing.add.click()
    rows, columns = np.nonzero((np.asarray(drawing.image) != 255).any(2))
    assert (rows.min(), rows.max()) == (65, 85) and (columns.min(), columns.max()) == (15, 35)


def test_a_page_shows_what_is_drawn():
    drawing = Drawing(64)
    png, said = drawing.still()
    on_paper = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    assert np.array_equal(on_paper[::2, ::2], np.asarray(drawing.image))  # the outline of what is not added is left out
    assert said == "A flat drawing: light blue rectangle, green rectangle, yellow ellipse, red triangle."


def test_the_guidance_panel_says_what_its_arrows_show():
    both, right = diffusion.Mixture(torch.tensor([[-1.0], [1.0]]), 0.15), diffusion.Mixture(torch.tensor([[1.0]]), 0.15)
    panel, abar = guidance_panel(both, right, 0.66), 0.66
    seen = set()
    for scale in (0, 1, 7.5):
        panel.controls["scale"].value = scale
        arrows = arrows_at(both, right, -0.35, abar, scale)
        assert panel.line.value.endswith(f" &asymp; {arrows['guided'][1]:.2f}")
        start, change = (
            float(part.split()[at]) for part, at in zip(panel.line.value.split(f" + {scale:g} &middot; "), (-1, 0))
        )
        assert abs(start + scale * change - float(panel.line.value.split()[-1])) < 0.01, "what is read adds up"
        seen.add(panel.picture.value)
    assert len(seen) == 3
    changes = []
    for x_t in panel.controls["x_t"].options:
        arrows = arrows_at(both, right, x_t, abar, 1)
        changes.append(arrows["prompt"][1] - arrows["empty"][1])
    assert changes == sorted(changes, reverse=True) and changes[0] > 5 * changes[-1]  # what the lesson's answer says


def test_the_solver_panel_says_by_how_much_its_steps_miss():
    def euler(slope, z, sigmas):
        return z + (sigmas[1] - sigmas[0]) * slope(z, sigmas[0])

    def heun(slope, z, sigmas):
        first = slope(z, sigmas[0])
        return z + (sigmas[1] - sigmas[0]) / 2 * (first + slope(z + (sigmas[1] - sigmas[0]) * first, sigmas[1]))

    alone = solver_panel(lambda z, sigma: z, {"Euler": (euler, 1)}, 1.0, 2.0, 1.0)
    assert (
        list(alone.controls) == ["calls"] and alone.line.value == "Euler, 1 call: the end is 0.368 away from the curve"
    )
    both = solver_panel(lambda z, sigma: z, {"Euler": (euler, 1), "Heun": (heun, 2)}, 1.0, 2.0, 1.0)
    assert both.controls["calls"].options[0] == 2, "one step of Heun's takes two calls"
    before = both.picture.value
    both.controls["calls"].value = 8
    by = [abs((1 - 1 / 8) ** 8 - np.exp(-1)), abs((1 - 1 / 4 + 1 / 32) ** 4 - np.exp(-1))]
    assert both.line.value == "Euler, 8 calls: the end is {:.3f} away from the curve; Heun: {:.3f} away".format(*by)
    assert both.picture.value != before and list(both.controls) == ["calls"], (
        "both at once: nobody has to remember the other"
    )


def test_a_drawing_has_a_size():
    with pytest.raises((TypeError, ValueError), match="size"):
        Drawing("large")
