"""The course's own concepts: every folder is whole, fits the bundled model, and has its measured card."""

import re
from random import Random

import pytest
from PIL import Image

from helpers import load_components
from helpers.concepts import loaded, read_concept
from helpers.lora import load_lora
from tools.make_concepts import LIBRARY, RECIPES, main

LORA = "pytorch_lora_weights.safetensors"


@pytest.fixture(scope="module")
def postcard():
    return load_components("postcard", device="cpu")


def test_the_library_is_the_recipes_and_small():
    assert {path.name for path in LIBRARY.iterdir() if path.is_dir()} == set(RECIPES) and len(RECIPES) >= 6
    assert sum(path.stat().st_size for path in LIBRARY.rglob("*") if path.is_file()) < 5e6


@pytest.mark.parametrize("name", RECIPES)
def test_every_folder_has_the_layout_of_the_library_and_a_card(name):
    folder, recipe = LIBRARY / name, RECIPES[name]()
    assert (folder / "token_identifier.txt").read_text() == recipe.token
    assert (folder / "type_of_concept.txt").read_text() == recipe.kind
    pictures = [*(folder / "concept_images").iterdir()]
    assert pictures and all(Image.open(path).size == (128, 128) for path in pictures)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert len(re.findall(r"\d+ of \d+ \(\d+%\)", card)) == 4 and len(re.findall(r"\d+\.\d %", card)) == 2
    assert (folder / "drawn.png").is_file() and "(drawn.png)" in card


@pytest.mark.parametrize("name", RECIPES)
def test_every_concept_fits_the_bundled_model(name, postcard):
    folder = LIBRARY / name
    if (folder / LORA).is_file():
        with load_lora(postcard, folder) as lora:
            assert lora.layers
        return
    concept = read_concept(folder)
    with loaded(postcard, concept) as model:
        ids = model.tokenizer(RECIPES[name]().token).input_ids[1:-1]
    assert ids == [len(postcard.tokenizer) + i for i in range(len(concept.vectors))]


@pytest.mark.parametrize("name", RECIPES)
def test_a_concept_is_examined_on_what_it_was_not_taught_with(name):
    recipe, rng = RECIPES[name](), Random(0)
    assert not set(recipe.lessons) & set(recipe.trials) and len(set(recipe.trials)) > 20
    for scene in (*recipe.lessons, *recipe.trials):
        assert recipe.token in recipe.write(scene, rng)
    if name == "teal":
        taught, asked = ({(s.subjects[0].kind, s.ground) for s in scenes} for scenes in (recipe.lessons, recipe.trials))
        assert not {kind for kind, _ in taught} & {kind for kind, _ in asked}
        assert not {ground for _, ground in taught} & {ground for _, ground in asked}


def test_only_known_names_are_made(capsys):
    with pytest.raises(SystemExit):
        main(["teel"])
    assert "there is no recipe for teel: choose among teal, " in capsys.readouterr().err
