"""Downloads are PNG files with settings inside, as the course's panels write them; links hold the same settings."""

import io

import numpy as np
import pytest
from PIL import Image

from helpers.panels.sampling import parameters, png

SETTINGS = dict(prompt="a red boat", negative_prompt="", steps=25, guidance=3.0, scheduler="ddim", seed=0)
ALL = [
    SETTINGS,
    SETTINGS | dict(negative_prompt="rain, mist: none", guidance=7.5, seed=4294967295),
    SETTINGS | dict(prompt="caf\u00e9 \N{ROCKET} \u65e5\u672c", negative_prompt="\N{ROCKET}"),
    SETTINGS | dict(prompt=""),
    SETTINGS | dict(prompt="caf\u00e9 \u00bd"),
    SETTINGS | dict(model='of a name, with: "marks"'),
    SETTINGS | dict(model="postcard-fast"),
]


def test_written_as_the_studio_writes_it(javascript):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 9, 4), np.uint8)
    pixels[..., 3] = 255
    page = javascript(
        """
        const { parameters, png } = await import("./png.mjs");
        return Promise.all(given.all.map(async (settings) =>
          [...await png(Uint8Array.from(given.pixels), 9, 6, parameters(settings, 9, 6))]));""",
        {"pixels": pixels.flatten().tolist(), "all": [one | {"guidance": str(one["guidance"])} for one in ALL]},
    )
    picture = Image.fromarray(pixels[..., :3])
    for settings, file in zip(ALL, page, strict=True):
        read, studios = Image.open(io.BytesIO(bytes(file))), Image.open(io.BytesIO(png(picture, settings)))
        assert read.format == "PNG" and np.array_equal(np.asarray(read), pixels[..., :3])
        read.load(), studios.load()
        assert read.info["parameters"] == studios.info["parameters"] == parameters(picture, settings)
        assert type(read.info["parameters"]) is type(studios.info["parameters"])  # tEXt or iTXt


FACTS = """
const facts = { loras: { windmill: {} }, models: { plain: { steps: 25, guidance: 3, distilled_guidance: null },
  fast: { steps: 8, guidance: 1, distilled_guidance: 3 } } };
const { defaults, fromLink, inside, number, toLink, wrong } = await import("./settings.mjs");
"""


def test_a_link_brings_every_setting_back(javascript):
    settings = dict(
        prompt="a red & blue #1 = \N{ROCKET} + 50 %",
        negative_prompt="rain?",
        steps=7,
        guidance=2.5,
        seed=4294967295,
        variant="plain",
        lora="windmill",
        lora_strength=-0.25,
    )
    told = javascript(FACTS + "return fromLink(toLink(given), defaults(facts));", settings)
    assert told == {"settings": settings, "said": ""}


def test_a_page_begins_with_the_fast_model_or_with_that_of_the_link(javascript):
    told = javascript(
        FACTS
        + """return [defaults(facts), defaults(facts, "fast"), defaults(facts, "plain"),
        defaults(facts, "toString"), defaults({ models: { plain: facts.models.plain } })];"""
    )
    begun = [(one["variant"], one["steps"], one["guidance"]) for one in told]
    assert begun == [("fast", 8, 1), ("fast", 8, 1), ("plain", 25, 3), ("fast", 8, 1), ("plain", 25, 3)]


def test_a_link_without_something_leaves_it(javascript):
    told = javascript(
        FACTS
        + """const begun = defaults(facts);
        return [fromLink("", begun), fromLink("seed=3&colour=red", begun), begun];"""
    )
    assert told[0] == {"settings": told[2], "said": ""}
    assert told[1]["settings"] == told[2] | {"seed": 3} and "colour" in told[1]["said"]


@pytest.mark.parametrize(
    "link, named",
    [
        ("steps=0", "Steps"),
        ("steps=51", "Steps"),
        ("steps=2.5", "Steps"),
        ("steps=", "Steps"),
        ("steps=abc", "Steps"),
        ("steps=Infinity", "Steps"),
        ("guidance=-1&variant=plain", "Guidance"),
        ("guidance=nan&variant=plain", "Guidance"),
        ("guidance=1e3&variant=plain", "Guidance"),
        ("seed=-1", "seed"),
        ("seed=4294967296", "seed"),
        ("seed=0x10", "seed"),
        ("variant=toString", "no model"),
        ("negative_prompt=rain", "fast model"),
        ("guidance=3", "fast model"),
    ],
)
def test_bad_settings_are_one_sentence(javascript, link, named):
    said = javascript(FACTS + "return wrong(fromLink(given, defaults(facts)).settings, facts);", link)
    assert named in said and said.endswith(".") and "\n" not in said


def test_good_settings_are_none(javascript):
    links = ["", "steps=1", "seed=4294967295", "variant=plain&guidance=0&negative_prompt=rain&steps=50"]
    assert javascript(
        FACTS + "return given.map((link) => wrong(fromLink(link, defaults(facts)).settings, facts));", links
    ) == ["", "", "", ""]


def test_inside_stands_what_generate_takes(javascript):
    told = javascript(
        FACTS
        + """return [3, 2.5].map((guidance) =>
        inside({ ...defaults(facts), guidance, variant: "plain" }));"""
    )
    assert [one["guidance"] for one in told] == ["3.0", "2.5"]
    assert list(told[0]) == [*SETTINGS, "model"] and told[0]["model"] == "postcard"
