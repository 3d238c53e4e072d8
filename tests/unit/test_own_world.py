"""A world of one's own: what is said of a file that can not be used, and that the command makes a model of one that can."""

import json
import re
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from fresh import pythons

from helpers import generate, load_components
from helpers.postcards import COLOURS, KEPT_OUT, KINDS, PLACES, captions, own, read_caption, sample_scene
from helpers.postcards.judge import COURSE, EACH_PLACE, Judge, Reader, load_judge
from helpers.postcards.scene import WHOLE
from training import card, own_checks, own_world, unet
from training.judge import begin_from, save_judge
from training.settings import PRESETS

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "docs" / "own-world" / "teapot.py"
GOOD = """
from helpers.postcards.canvas import box
def kite(pen, look, r):
    pen.fill(look.base, box(-0.3, 0, 0.3, 1))
KINDS = [kite]
"""
BROWN = 'COLOURS = {"brown": ((132, 82, 44), (84, 48, 24), (180, 126, 84))}'


def written(folder, text):
    path = folder / "mine.py"
    path.write_text(text)
    return path


def drawing(body, name="kite"):
    return GOOD.replace("pen.fill(look.base, box(-0.3, 0, 0.3, 1))", body).replace("kite", name)


@pytest.mark.parametrize(
    "text, said",
    [
        ("x = 1", "adds nothing"),
        ("def kite(:", "does not run: line 1: SyntaxError"),
        ("a = 1\nb = a / 0", "does not run: line 2: ZeroDivisionError: division by zero"),
        ("from helpers.postcards.subjects import lamp", "take shapes from helpers.postcards.canvas"),
        ("KINDS = 5", "KINDS must be a list of functions"),
        ('COLOURS = ["brown"]', "COLOURS a dict"),
        ('KINDS = ["kite"]', "which is no function"),
        ("def kite(pen): pass\nKINDS = [kite]", "must take three things, def kite(pen, look, r)"),
        (drawing("pass", "boat"), '"boat" is taken'),
        (drawing("pass", "windmill"), '"windmill" is taken'),
        (drawing("pass", "ground"), '"ground" is taken'),
        (drawing("pass", "hills"), '"hills" is taken'),
        (drawing("pass", "tea_pot"), "can not be a word of a caption"),
        (drawing("pass", "Kite"), "can not be a word of a caption"),
        (GOOD + 'COLOURS = {"kite": ((1, 2, 3),) * 3}', '"kite" is there twice'),
        ('COLOURS = {"red": ((1, 2, 3),) * 3}', '"red" is taken'),
        ('COLOURS = {"brown": (1, 2, 3)}', 'COLOURS["brown"] must be three colours'),
        ('COLOURS = {"brown": ((1, 2, 300),) * 3}', 'COLOURS["brown"] must be three colours'),
        ('COLOURS = {"brown": "brown"}', 'COLOURS["brown"] must be three colours'),
        ("COLOURS = {w: ((1, 2, 3),) * 3 for w in ('aa', 'bb', 'cc', 'dd', 'ee')}", "COLOURS holds 5 new words"),
    ],
)
def test_a_file_that_can_not_be_used_is_told_so_in_one_sentence(tmp_path, text, said):
    with pytest.raises(ValueError, match=re.escape(said)) as error:
        own.read(written(tmp_path, text))
    assert "\n" not in str(error.value) and str(error.value).startswith(str(tmp_path / "mine.py"))


def test_a_file_that_is_not_there_is_told_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file .*none.py"):
        own.read(tmp_path / "none.py")


@pytest.mark.parametrize(
    "body, said",
    [
        ("pass", "draws nothing"),
        ("pen.fill(look.base, box(9, 9, 10, 10))", "draws nothing"),
        ("pen.fill(look.gold, box(0, 0, 1, 1))", "stops while it draws, AttributeError"),
        ("pen.fill(look.base, [(0, 0), (1,)])", "stops while it draws, ValueError"),
        ("pen.fill(look.base, box(-0.3, 0, 0.9, 1))", "leaves its box: it reaches from x -0.30 to 0.90"),
        ("pen.fill(look.base, box(-0.3, 0, 0.3, 1.8))", "leaves its box"),
        ("pen.fill(look.base, box(-0.3, -0.5, 0.3, 1))", "leaves its box"),
        ("pen.fill(look.base, box(-0.1, 0, 0.1, 0.3))", "too small to be seen"),
        ("pen.fill(look.wood, box(-0.3, 0, 0.3, 1))", "hardly shows its colour: 0%"),
        (
            "import random; pen.fill(look.base, box(-0.3, 0, 0.2 + random.random() / 10, 1))",
            "drawn differently each time",
        ),
    ],
)
def test_a_drawing_that_can_not_be_used_is_told_so_in_one_sentence(tmp_path, body, said):
    path = written(tmp_path, drawing(body))
    with pytest.raises(ValueError, match=re.escape(said)) as error:
        own_checks.check(own.read(path), path)
    assert "\n" not in str(error.value) and str(path) in str(error.value)


def test_a_colour_that_looks_like_another_is_told_so(tmp_path):
    path = written(tmp_path, 'COLOURS = {"crimson": ((216, 40, 50), (150, 20, 32), (244, 96, 88))}')
    with pytest.raises(ValueError, match='"crimson" looks like red, 6 of 255'):
        own_checks.check(own.read(path), path)
    own_checks.check(own.read(written(tmp_path, GOOD + BROWN)), path)


def test_the_example_is_as_it_should_be_in_its_box():
    world = own.read(EXAMPLE)
    own_checks.check(world, EXAMPLE)
    assert list(world.kinds) == ["teapot"]
    left, foot, right, top = own_checks.reach(own_checks.drawn(EXAMPLE, "teapot", world.kinds["teapot"], "red")[1])
    assert (
        own_checks.BOX[0] <= left < -0.5
        and own_checks.BOX[1] <= foot < 0.03
        and 0.5 < right <= own_checks.BOX[2]
        and 0.7 < top < 1
    )


def test_every_word_of_the_captions_and_every_key_of_the_masks_is_taken():
    rng, words = Random(0), {"backdrop", "island", "sky", "ground", "light", "weather", "place", "style"}
    for _ in range(3000):
        scene = sample_scene(rng)
        for style in ("flat", *KEPT_OUT["style"]):
            words |= set(captions.caption(replace(scene, style=style), rng).split())
    for some in (*WHOLE.values(), PLACES, KINDS, COLOURS, *KEPT_OUT.values()):
        words |= {word for value in some for word in value.split()}
    assert words == own.TAKEN


def test_without_a_file_the_world_is_the_courses():
    assert own.WORLD.words == () and EACH_PLACE == COURSE
    assert read_caption("a brown kite")["subjects"] == []
    assert read_caption("a brown kite on the left", ["kite"], ["brown"])["subjects"] == [("brown", "kite", "left")]


def test_a_judge_begins_with_what_another_knows(tmp_path):
    torch.manual_seed(0)
    words = {"kind": ("kite", *EACH_PLACE["kind"]), "colour": EACH_PLACE["colour"]}
    old, new = Reader((8, 16, 16, 16)), Reader((8, 16, 16, 16), words)
    begin_from(new, Judge(old))
    pixels = torch.randn(2, 3, 128, 128)
    a, b = old.eval()(pixels), new.eval()(pixels)
    assert (
        torch.allclose(a["kind"], b["kind"][..., 1:])
        and torch.allclose(a["colour"], b["colour"])
        and torch.allclose(a["sky"], b["sky"])
    )
    with pytest.raises(ValueError, match="give its --widths"):
        begin_from(Reader((8, 16, 16, 24), words), Judge(old))
    with pytest.raises(ValueError, match="knows kite, and this world does not"):
        begin_from(old, Judge(new))
    save_judge(new, tmp_path)
    assert load_judge(tmp_path).each_place == words


def test_captions_with_something_new_are_drawn_more_often(monkeypatch):
    monkeypatch.setattr(unet, "WORLD", own.World({"boat": None}))
    rng = Random(0)
    scenes = [sample_scene(rng) for _ in range(400)]

    class Pictures:
        cells = np.zeros((400, 6, 16, 16), np.uint8)

    Pictures.scenes = scenes
    shares = {}
    for w in (1.0, 4.0):
        chosen = replace(PRESETS["cpu"]["unet"], weather=1.0, two=1.0, empty=0.0, own=w)
        batches, rng = unet.Batches(torch.zeros(400, 4, 16, 16), Pictures, None, chosen), Random(1)
        shares[w] = np.mean(["boat" in batches.draw(rng)[1] for _ in range(3000)])
    expected = 4 * shares[1.0] / (4 * shares[1.0] + 1 - shares[1.0])
    assert abs(shares[4.0] - expected) < 0.04


TINY = [
    "--pictures",
    "8",
    "--captions",
    "2",
    "--card-steps",
    "4",
    "--data=--validation 8 --heldout 4 --shard 24 --processes 1",
    "--judge=--minutes 0 --steps 8 --batch 4 --log-every 1",
    "--clip=--minutes 0 --steps 2 --batch 4 --log-every 1",
    "--decoder=--minutes 0 --steps 2 --batch 4 --log-every 1",
    "--unet=--minutes 0 --steps 3 --batch 2 --log-every 1 --watch-captions 2 --watch-steps 2",
]


@pytest.fixture(scope="module")
def command():
    """command(file, *words, until=None): `python -m training.own_world`, what it said and its exit code (fresh.pythons)."""
    imports = """if True:
        import training.common, helpers.components, helpers.sampling, skimage.metrics
        from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
        from transformers import CLIPModel, CLIPTextModel, CLIPTokenizer, CLIPVisionModel"""
    with pythons(imports, HF_HUB_OFFLINE="1", POSTCARD_WORLD="") as run:
        yield partial(run, 'import runpy; runpy.run_module("training.own_world", run_name="__main__", alter_sys=True)')


@pytest.fixture(scope="module")
def tiny_run(command, tmp_path_factory):
    """(folder of the runs, what a run said that was stopped while the judge learnt, what the same command said then)."""
    folder = tmp_path_factory.mktemp("own") / "runs"
    said, code = command(str(EXAMPLE), "--runs", str(folder), *TINY, until="judge 1/8")
    assert code == 128 + signal.SIGTERM, said
    rest, code = command(str(EXAMPLE), "--runs", str(folder), *TINY)
    assert code == 0, rest
    return folder, said, rest


def test_a_stopped_run_goes_on_with_the_same_command(tiny_run):
    folder, said, rest = tiny_run
    assert (
        re.search(r"judge: stopped at step [1-7]; the same command goes on from there", said)
        and "own_world: 3" not in said
    )
    assert re.search(r"judge: resumed at step [1-7] of 8", rest) and "data: train: 1 of 1" in rest
    steps = [json.loads(line)["step"] for line in (folder / "judge" / "metrics.jsonl").read_text().splitlines()]
    assert sorted(set(steps)) == list(range(1, 9))
    assert [int(n) for n in re.findall(r"own_world: (\d) of 6", rest)] == [1, 2, 3, 4, 5, 6]


def test_the_run_ends_in_a_model_whose_judge_knows_the_new_kind(tiny_run):
    folder = tiny_run[0] / "bundle"
    c, judge = load_components(folder, device="cpu"), load_judge(folder / "judge")
    assert c.world == "postcards" and judge.each_place["kind"] == (*COURSE["kind"][:-1], "teapot", "none")
    images = generate(c, ["a red teapot on the left in a meadow"], steps=2, seed=0)
    scores = judge.agreement(images, ["a red teapot on the left in a meadow"])
    assert [scores[key].n for key in ("kind", "colour", "place", "ground")] == [1, 1, 1, 1]
    assert "teapot" not in Judge(Reader()).each_place["kind"]
    assert (folder / "world.py").read_text() == EXAMPLE.read_text()
    released, tokens = load_components("postcard", device="cpu"), "a red teapot"
    assert c.tokenizer(tokens).input_ids == released.tokenizer(tokens).input_ids
    for part in ("encoder", "quant_conv"):
        pairs = zip(getattr(c.vae, part).state_dict().values(), getattr(released.vae, part).state_dict().values())
        assert all(torch.equal(a, b) for a, b in pairs)
    assert not any(
        torch.equal(a, b)
        for a, b in zip(c.vae.decoder.conv_out.parameters(), released.vae.decoder.conv_out.parameters())
    )


def test_the_card_says_what_was_measured(tiny_run):
    folder = tiny_run[0] / "bundle"
    text, figures = (folder / "README.md").read_text(), json.loads((folder / "metrics.json").read_text())
    assert card.write_own(figures) == text and "# The postcard model with teapot" in text
    assert [figures["stages"][stage]["steps"] for stage in ("judge", "clip", "decoder", "unet")] == [8, 2, 2, 3]
    for name in ("all", "own", "before"):
        assert figures["drawn"][name]["each"]["n"] >= 1
    assert "not measured" not in card.write_own(figures).split("<!-- figures -->")[1].split("<!-- end")[0]
    bare = card.write_own(
        {key: value for key, value in figures.items() if key not in ("drawn", "vae", "text", "judge")}
    )
    assert bare.count("not measured") > 20


def test_the_command_says_what_is_wrong_with_the_file_and_nothing_else(command, tmp_path):
    said, code = command(str(written(tmp_path, drawing("pass"))), "--runs", str(tmp_path / "runs"))
    assert (
        code == 1
        and said.splitlines()[-1].startswith("own_world: ")
        and "draws nothing" in said
        and "Traceback" not in said
    )
    assert not (tmp_path / "runs").exists()


def test_runs_that_were_begun_with_another_file_stay_as_they_are(tmp_path):
    own_world.stand_on(EXAMPLE, tmp_path)
    own_world.stand_on(EXAMPLE, tmp_path)
    with pytest.raises(ValueError, match="was begun with another file than .*mine.py is now"):
        own_world.stand_on(written(tmp_path, GOOD), tmp_path)
    assert (tmp_path / "world.py").read_text() == EXAMPLE.read_text()
