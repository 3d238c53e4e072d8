"""The concept studio through its widgets' traits: with and without, one or two, vectors and LoRAs; and it leaves no trace."""

import io
from pathlib import Path

import pytest
import torch
from PIL import Image
from standin_hub import StandInHub
from studios import begin_slowly, draw, flat, same, state_of

from helpers import generate, load_components
from helpers.concepts import Concept, loaded, save_concept
from helpers.library import brought_in
from helpers.lora import add_lora, save_lora
from helpers.panels import concepts as panels
from helpers.panels.concepts import HUB_WIDTH, ConceptStudio

PROMPT = "a <teal> boat on a lake"


def concept_of(c, token, count=1, seed=0):
    table = c.text_encoder.get_input_embeddings().weight
    return Concept(
        token,
        table[:count].cpu() * 2 + torch.randn(count, table.shape[1], generator=torch.Generator().manual_seed(seed)),
    )


@pytest.fixture(scope="module")
def sd15(model_folders):
    return load_components(model_folders["sd15"], device="cpu")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory, tiny_postcard):
    """A library: a vector, two vectors, a LoRA; and what is beside them but no concept."""
    folder = tmp_path_factory.mktemp("concepts")
    save_concept(concept_of(tiny_postcard, "<teal>"), folder / "teal")
    save_concept(concept_of(tiny_postcard, "<dusk>", 2, seed=1), folder / "dusk", kind="style")
    lora = add_lora(tiny_postcard.unet, rank=2)
    for k, layer in enumerate(lora.layers.values()):
        torch.nn.init.normal_(layer.B.data, std=0.5, generator=torch.Generator().manual_seed(k))
    save_lora(lora, folder / "windmill")
    lora.remove()
    (folder / "windmill" / "token_identifier.txt").write_text("windmill\n")
    (folder / "empty").mkdir()
    (folder / "README.md").write_text("a shelf")
    return folder


@pytest.fixture
def studio(tiny_postcard, shelf, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = state_of(tiny_postcard)
    studio = ConceptStudio(
        tiny_postcard, panels.find_concepts(tiny_postcard, shelf), prompt=PROMPT, steps=3, seed=7, concept="teal"
    )
    studio.preview = flat
    yield studio
    assert studio.job.wait(60)
    assert state_of(tiny_postcard) == before, "something stayed behind in the model"


def test_the_line_names_the_concepts_that_are_chosen_now(studio):
    said = studio.line.value
    assert said.startswith("In the prompt: ")
    studio.controls["concept"].value = "none"
    assert studio.line.value == ""
    studio.controls["concept"].value = "teal"
    assert studio.line.value == said
    studio.line.value = "Done."
    studio.controls["concept"].value = "none"
    assert studio.line.value == "Done."


def test_a_concept_may_be_called_as_a_control_is(tiny_postcard, shelf):
    concept = Concept("<own>", torch.ones(1, tiny_postcard.text_encoder.config.hidden_size))
    studio = ConceptStudio(tiny_postcard, {"own": concept}, concept="own", own="elsewhere")
    assert [where for where, _ in studio.chosen(studio.settings)] == [concept, Path("elsewhere")]


def test_a_page_shows_the_controls_as_they_stand(studio):
    png, said = studio.still()
    assert Image.open(io.BytesIO(png)).width == 864 and said == f"The concepts chosen: teal; the prompt: {PROMPT}"
    studio.keep(Image.new("RGB", (2 * studio.c.image_size, studio.c.image_size), "red"), studio.settings)
    assert Image.open(io.BytesIO(studio.still()[0])).height > Image.open(io.BytesIO(png)).height  # with the picture
    assert "image/png" in studio._repr_mimebundle_()[0]


def test_a_studio_begins_with_pictures_that_were_drawn_before(tiny_postcard):
    pair = [Image.new("RGB", (tiny_postcard.image_size,) * 2, colour) for colour in ("red", "blue")]
    studio = ConceptStudio(tiny_postcard, {}, drawn=pair, seed=7)
    picture, settings = studio.shown
    assert picture.getpixel((0, 0)) == (255, 0, 0) and picture.getpixel((picture.width - 1, 0)) == (0, 0, 255)
    assert (
        settings["seed"] == 7
        and not studio.save_both.disabled
        and studio.still()[1].endswith("with the concepts and without")
    )
    with pytest.raises(TypeError, match="drawn"):
        ConceptStudio(tiny_postcard, {}, drawn=["red"])


def test_rows_stand_side_by_side_where_the_measures_know_the_world(tiny_postcard, monkeypatch, capsys):
    shown, drawn = [], {name: [Image.new("RGB", (128, 128), "teal")] * 8 for name in ("one", "two")}
    monkeypatch.setattr(panels, "display", shown.append)
    prompts = ["a teal boat on a lake"] * 8
    found = panels.side_by_side(tiny_postcard, drawn, prompts, "teal", "A claim")
    known = tiny_postcard.world == "postcards"
    assert len(shown) == 1 and list(found) == (["one", "two"] if known else [])
    assert ("Left out with this model" in capsys.readouterr().out) != known
    for row in found.values():
        assert list(row) == ["teal", "the thing"] and all(of == 8 for _, of in row.values())
    few = panels.side_by_side(
        tiny_postcard,
        drawn | {"few": dict(zip((0, 3, 6, 7), drawn["one"]))},
        prompts,
        "teal",
        "A claim",
        3,
        "All teal.",
    )
    assert not known or {of for _, of in few["few"].values()} == {4} and few["one"] == found["one"]
    assert "A claim. All teal. " in shown[1].alt


def test_the_life_of_a_word_is_drawn_from_one_noise(tiny_postcard):
    c = tiny_postcard
    rows = c.text_encoder.get_input_embeddings().weight.detach()[5:7]
    panel = panels.watch(
        c, [(0, rows, 2.0), (1, rows, float("nan")), (2, rows, 1.0)], "a {} boat", "blue", "A claim", steps=2
    )
    assert list(panel.frames) == [(0,), (2,)] and panel.state == {"step": 2}  # where the loss was measured


def halves(studio, i=0):
    """The two pictures of a pair in the strip: with, without."""
    sheet, size = studio.history[i][0], studio.c.image_size
    assert sheet.height == size and sheet.width == 2 * size + size // 32
    return sheet.crop((0, 0, size, size)), sheet.crop((sheet.width - size, 0, sheet.width, size))


def expected(c, shelf, *names, prompt=PROMPT):
    model, _ = panels.brought_in(c, [(shelf / name, 1.0) for name in names])
    return generate(model, prompt, steps=3, seed=7)


def test_it_draws_with_and_without(studio, tiny_postcard, shelf):
    assert studio.line.value == "In the prompt: &lt;teal&gt;."
    assert draw(studio) == "Done." and studio.bar.value == studio.bar.max == 6 and studio.cancel.disabled
    with_it, without_it = halves(studio)
    with loaded(tiny_postcard, concept_of(tiny_postcard, "<teal>")) as model:
        assert same(with_it, generate(model, PROMPT, steps=3, seed=7))
    assert same(without_it, generate(tiny_postcard, "a boat on a lake", steps=3, seed=7)) and not same(
        with_it, without_it
    )


def test_with_none_it_is_the_plain_studio(studio, tiny_postcard):
    studio.controls["concept"].value, studio.controls["prompt"].value = "none", "a boat on a lake"
    assert draw(studio) == "Done." and studio.bar.max == 3
    assert same(studio.history[0][0], generate(tiny_postcard, "a boat on a lake", steps=3, seed=7))
    assert studio.views["picture"].layout.width == "192px"


def test_two_concepts_and_a_lora_with_its_strength(studio, tiny_postcard, shelf):
    prompt = "a <teal> windmill, <dusk>"
    studio.controls["prompt"].value, studio.controls["second"].value = prompt, "dusk"
    assert studio.line.value == "In the prompt: &lt;teal&gt; and &lt;dusk&gt;."
    draw(studio)
    assert same(halves(studio)[0], expected(tiny_postcard, shelf, "teal", "dusk", prompt=prompt))
    studio.controls["second"].value = "windmill"
    draw(studio)
    both, plain = halves(studio)
    assert same(both, expected(tiny_postcard, shelf, "teal", "windmill", prompt=prompt)) and not same(
        both, halves(studio, 1)[0]
    )
    assert same(plain, generate(tiny_postcard, "a windmill, <dusk>", steps=3, seed=7))
    studio.controls["second_strength"].value, studio.controls["concept"].value = 0.0, "none"
    draw(studio)
    assert same(*halves(studio)), "a LoRA of strength 0 is none"


def test_the_same_concept_twice_is_one(studio):
    studio.controls["second"].value = "teal"
    assert draw(studio) == "Done. teal is chosen twice: it is used once, with the first strength."
    assert len(studio.chosen(studio.settings)) == 1


@pytest.mark.parametrize("at", [1, 51])
def test_cancel_stops_within_one_step_and_leaves_no_trace(studio, tiny_postcard, shelf, at):
    before = state_of(tiny_postcard)
    begun, go_on = begin_slowly(studio, 2 * at)  # in the first picture, in the second
    assert begun.wait(60) and not studio.cancel.disabled
    studio.cancel.click()
    go_on.set()
    assert studio.job.wait(60)
    assert studio.line.value == f"Cancelled after {at + 1} steps. The same settings draw the same picture."
    assert studio.history == [] and state_of(tiny_postcard) == before
    studio.controls["steps"].value = 3
    draw(studio)
    assert same(halves(studio)[0], expected(tiny_postcard, shelf, "teal"))


def test_a_second_generate_takes_over(studio, tiny_postcard, shelf):
    begun, go_on = begin_slowly(studio, 2)
    assert begun.wait(60)
    studio.controls["steps"].value, studio.controls["concept"].value = 3, "windmill"
    studio.generate.click()
    go_on.set()
    assert studio.job.wait(60)
    assert len(studio.history) == 1 and same(halves(studio)[0], expected(tiny_postcard, shelf, "windmill"))


@pytest.mark.parametrize("concept", ["teal", "windmill"])
def test_an_error_on_the_way_is_one_sentence_and_leaves_no_trace(studio, tiny_postcard, shelf, concept):
    def broken(latents):
        raise ValueError("no <preview> today")

    before, studio.preview, studio.controls["concept"].value = state_of(tiny_postcard), broken, concept
    assert draw(studio) == "<b>no &lt;preview&gt; today</b>" and studio.history == []
    assert state_of(tiny_postcard) == before and studio.cancel.disabled
    studio.preview = flat
    draw(studio)
    assert same(halves(studio)[0], expected(tiny_postcard, shelf, concept))


def test_a_concept_that_does_not_fit_is_one_sentence(studio, tiny_postcard, shelf):
    studio.library["wide"] = Concept("<wide>", torch.ones(1, 5))
    for name in ("concept", "second"):
        studio.controls[name].options = ["none", *studio.library]
    studio.controls["concept"].value, studio.controls["second"].value = "windmill", "wide"
    line = draw(studio)
    assert line.startswith("<b>") and "5" in line and line.count(". ") <= 1 and studio.history == []
    studio.controls["second"].value = "none"
    draw(studio)
    assert same(halves(studio)[0], expected(tiny_postcard, shelf, "windmill"))


def test_a_damaged_folder_is_one_sentence(studio, tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "learned_embeds.safetensors").write_bytes(b"")
    studio.library["teal"] = tmp_path / "bad"
    line = draw(studio)
    assert line.startswith("<b>") and "learned_embeds.safetensors" in line and studio.history == []


@pytest.mark.parametrize(
    "prompt, said",
    [
        ("a boat", "&lt;teal&gt; is not in the prompt: write it where you want it."),
        (
            "a <teal> boat at <dusk>",
            "&lt;dusk&gt; is the placeholder of no concept chosen here, and is read letter by letter.",
        ),
        (PROMPT + " boat" * 90, "The prompt has 96 tokens"),
    ],
)
def test_it_says_what_the_prompt_will_not_do(studio, prompt, said):
    studio.controls["prompt"].value = prompt
    assert said in draw(studio)


@pytest.mark.parametrize(
    "prompt, missing",
    [("a <teal> Wind\nMILL", []), ("a <teal> mill", ["wind mill"]), ("a <TEAL> wind mill", [])],
)
def test_a_call_is_found_as_the_tokenizer_reads_it(tiny_postcard, shelf, prompt, missing):
    """In capitals too, also what is a token of its own."""
    model, _ = brought_in(tiny_postcard, [(shelf / "teal", 1.0)])
    said = panels.remarks(model, {"prompt": prompt, "negative_prompt": ""}, ["wind mill", "<teal>"])
    assert [one.split(" is not in the prompt")[0] for one in said if "is not in" in one] == missing


@pytest.mark.parametrize("concept", ["none", "teal"])
def test_it_says_that_a_negative_prompt_is_not_used_at_guidance_1(studio, concept):
    studio.controls["concept"].value, studio.controls["steps"].value = concept, 1
    for guidance, said in ((1, True), (3, False)):
        studio.controls["negative_prompt"].value, studio.controls["guidance"].value = "night", guidance
        assert ("At guidance 1 the negative prompt is not used." in draw(studio)) == said


def test_unused_concepts_change_nothing(studio):
    studio.controls["prompt"].value = "a boat on a lake"
    draw(studio)
    assert same(*halves(studio))


@pytest.mark.parametrize(
    "prompt, left",
    [
        ("a <teal> boat, <teal>", "a boat,"),
        ("<teal>", ""),
        ("a <teal>_1 boat", "a boat"),
        ("a boat", "a boat"),
        ("a boat in <teal>.", "a boat in."),
    ],
)
def test_without(prompt, left):
    assert panels.without(prompt, [Concept("<teal>", torch.ones(1, 4))]) == left


def test_the_strip_brings_concepts_back_and_save_writes_them(studio, my_course_folder):
    draw(studio)
    studio.controls["concept"].value, studio.controls["seed"].value = "none", 8
    draw(studio)
    studio.strip.children[1].children[1].click()
    assert studio.settings == studio.history[1][1] and studio.settings["concept"] == "teal"
    assert not studio.save_both.disabled
    studio.save.click()
    assert studio.line.value == "Saved as my_course/pictures/a teal boat on a lake seed 7.png, settings inside."
    studio.save_both.click()
    saved, pair = (
        Image.open(my_course_folder / "pictures" / f"a teal boat on a lake seed 7{n}.png") for n in ("", "-2")
    )
    assert same(saved, halves(studio, 1)[0]) and same(pair, studio.history[1][0])
    assert saved.text["parameters"].splitlines() == [
        PROMPT,
        "Concept: teal, Strength: 1.0, Second: none, Second strength: 1.0, Own strength: 1.0, Steps: 3, "
        f"CFG scale: {studio.c.guidance}, Sampler: ddim, Seed: 7, Size: 128x128",
    ]
    studio.strip.children[0].children[1].click()
    assert studio.save_both.disabled, "without a concept there is no pair"


def test_each_lora_has_its_own_strength(studio, tiny_postcard, shelf, tmp_path):
    lora = add_lora(tiny_postcard.unet, rank=2)
    for k, layer in enumerate(lora.layers.values()):
        torch.nn.init.normal_(layer.B.data, std=0.5, generator=torch.Generator().manual_seed(100 + k))
    save_lora(lora, tmp_path / "other")
    lora.remove()
    studio.library["other"] = tmp_path / "other"
    for name in ("concept", "second"):
        studio.controls[name].options = ["none", *studio.library]
    for name, value in {"concept": "windmill", "second": "other", "strength": 0.5, "second_strength": -0.25}.items():
        studio.controls[name].value = value
    draw(studio)
    model, _ = panels.brought_in(tiny_postcard, [(shelf / "windmill", 0.5), (tmp_path / "other", -0.25)])
    assert same(halves(studio)[0], generate(model, PROMPT, steps=3, seed=7))
    model, _ = panels.brought_in(tiny_postcard, [(shelf / "windmill", -0.25), (tmp_path / "other", 0.5)])
    assert not same(halves(studio)[0], generate(model, PROMPT, steps=3, seed=7))


def test_a_file_of_ones_own_a_negative_prompt_and_a_scheduler(studio, tiny_postcard, shelf, tmp_path):
    for name, value in {
        "concept": "none",
        "own": str(shelf / "dusk" / "learned_embeds.safetensors"),
        "prompt": "a boat, <dusk>",
        "negative_prompt": "night, <dusk>",
        "scheduler": "euler",
    }.items():
        studio.controls[name].value = value
    assert draw(studio) == "Done."
    usual = dict(scheduler="euler", steps=3, seed=7)
    model, _ = panels.brought_in(tiny_postcard, [(shelf / "dusk", 1.0)])
    with_it, without_it = halves(studio)
    assert same(with_it, generate(model, "a boat, <dusk>", negative_prompt="night, <dusk>", **usual))
    assert same(without_it, generate(tiny_postcard, "a boat,", negative_prompt="night,", **usual))
    studio.controls["own"].value = str(tmp_path / "nothing")
    assert "There is no concept" in draw(studio) and len(studio.history) == 1


def test_what_the_reader_made_stands_in_the_menu(tiny_postcard, my_course_folder):
    save_concept(concept_of(tiny_postcard, "<mine>"), my_course_folder / "concepts" / "mine")
    save_concept(concept_of(tiny_postcard, "<teal>"), my_course_folder / "concepts" / "teal")
    course, all_of_them = panels.find_concepts(tiny_postcard), panels.all_concepts(tiny_postcard)
    assert all_of_them.keys() - course.keys() == {"mine", "teal (yours)" if "teal" in course else "teal"}
    assert "mine" in ConceptStudio(tiny_postcard).controls["concept"].options


def test_the_library_is_what_fits_on_the_shelf(tiny_postcard, sd15, shelf, tmp_path):
    assert list(panels.find_concepts(tiny_postcard, shelf)) == ["dusk", "teal", "windmill"]
    assert panels.find_concepts(sd15, shelf) == {}
    assert panels.find_concepts(tiny_postcard, tmp_path / "nothing") == {}
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "learned_embeds.safetensors").write_bytes(b"?")
    assert list(panels.find_concepts(tiny_postcard, tmp_path)) == ["damaged"], "it says what is wrong when it is used"
    assert panels.call_of(shelf / "windmill") == "windmill" and panels.call_of(concept_of_width(4)) == "<four>"


def concept_of_width(width):
    return Concept("<four>", torch.ones(1, width))


def test_a_name_that_is_not_there_is_refused(tiny_postcard, shelf):
    with pytest.raises(ValueError, match="no concept 'taupe': use one of none, dusk, teal, windmill"):
        ConceptStudio(tiny_postcard, panels.find_concepts(tiny_postcard, shelf), concept="taupe")


def test_the_line_for_the_hub_is_there_where_its_vectors_fit(tiny):
    assert ("hub" in ConceptStudio(tiny, {}).controls) == (tiny.text_encoder.config.hidden_size == HUB_WIDTH)


def test_a_concept_is_fetched_from_the_hub(sd15, hub_cache, tmp_path, monkeypatch):
    save_concept(concept_of(sd15, "<hat>"), tmp_path / "cat-hat")
    studio = ConceptStudio(sd15, {}, prompt="a <hat> boat", steps=2)
    studio.preview = flat
    with StandInHub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.add("sd-concepts-library/cat-hat", tmp_path / "cat-hat")
        for typed in ("cat-hat", "sd-concepts-library/cat-hat"):
            studio.controls["hub"].value = typed
            assert draw(studio) == "Done."
        studio.controls["hub"].value = "dog-hat"
        assert draw(studio).startswith("<b>") and "dog-hat" in studio.line.value
    assert same(halves(studio)[0], halves(studio, 1)[0]) and not same(*halves(studio))
    assert same(halves(studio)[1], generate(sd15, "a boat", steps=2, seed=0))


def test_a_hub_that_is_not_reached_is_one_sentence(sd15, hub_cache, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    before, studio = state_of(sd15), ConceptStudio(sd15, {}, prompt="a <hat> boat", steps=2)
    studio.controls["hub"].value = "cat-hat"
    line = draw(studio)
    assert line.startswith("<b>") and "cat-hat" in line and studio.history == [] and state_of(sd15) == before
