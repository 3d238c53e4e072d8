"""The teacher's page says what the lessons are: minutes, words, exercises, questions, parts that can be skipped; and the map of ideas."""

import json
import re

import nbformat
import pytest
import rules

from tools import ideas
from tools.setup_cell import ROOT, TEXT, UNPUBLISHED
from tools.slides import core

NOTEBOOKS = {file.name[:2]: file for file in sorted((ROOT / "notebooks").glob("*.ipynb"))}
PAGE = (ROOT / "docs" / "teaching.md").read_text(encoding="utf-8")
NUMBERS = {
    word: number
    for number, word in enumerate(
        ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
    )
}


def plan(lesson):
    """What the page has on a lesson, in one line but for its table: (text, [(from, to, [cells of the row])])."""
    part = re.search(rf"(?ms)^### {lesson} .*?(?=^##)", PAGE)[0]
    rows = [
        (int(row[1]), int(row[2]), row[3].split(" | "))
        for row in re.finditer(r"(?m)^\| (\d+) to (\d+) \| (.*) \|$", part)
    ]
    return " ".join(re.sub(r"(?m)^\|.*$", "", part).split()), rows


def prose(lesson):
    """The core path's markdown, a text for each cell."""
    notebook = nbformat.read(NOTEBOOKS[lesson], as_version=4)
    return [cell.source for cell in core(notebook.cells) if cell.cell_type == "markdown"]


def exercises(lesson, further):
    return {
        int(what.split()[1]): minutes
        for part in ideas.of_the_course()[lesson]
        if part["further"] == further
        for what, minutes in part["asked"]
        if what.startswith("exercise")
    }


@pytest.mark.parametrize("lesson", NOTEBOOKS)
def test_minutes_follow_each_other_and_add_up(lesson):
    text, rows = plan(lesson)
    assert "**Time** 75 minutes for the core path" in prose(lesson)[0] and re.search(
        r"core path(,| takes) 75 minutes", text
    )
    assert rows[0][0] == 0 and [start for start, _, _ in rows[1:]] == [end for _, end, _ in rows[:-1]]
    assert 75 in [end for _, end, _ in rows] and rows[-1][1] in (75, 90)
    intro = re.search(r"75 minutes: (.*?)\. (?=[A-Z])", text)[1]
    assert sum(int(minutes) for minutes in re.findall(r"(?:^|, )(\d+) (?:of|beside)", intro)) == 75, intro
    for start, end, cells in rows:
        if shares := re.fullmatch(r"(\d+), (\d+), (\d+)", cells[1]):
            assert sum(map(int, shares.groups())) == end - start, cells[0]


@pytest.mark.parametrize("lesson", NOTEBOOKS)
def test_words_to_read_are_counted(lesson):
    said = int(re.search(r"\(([\d,]+) words at 200 a minute", plan(lesson)[0])[1].replace(",", ""))
    counted = sum(map(rules.prose_words, prose(lesson)))
    assert abs(said - counted) <= 0.05 * counted, f"{counted} words"


@pytest.mark.parametrize("lesson", NOTEBOOKS)
def test_exercises_and_questions_are_those_of_the_lesson(lesson):
    text, rows = plan(lesson)
    inside = {
        int(number): end - start
        for start, end, cells in rows
        if end <= 75
        for number in re.findall(r"\*\*exercise (\d)\*\*", " ".join(cells))
    }
    wanted = exercises(lesson, further=False)
    assert list(inside) == sorted(wanted) and all(inside[number] >= minutes for number, minutes in wanted.items())
    for start, end, cells in rows:
        here = [wanted[int(number)] for number in re.findall(r"\*\*exercise (\d)\*\*", cells[0]) if end <= 75]
        named = [
            *map(int, re.findall(r"\*\*exercise \d\*\* \((\d+)\)", cells[0])),
            *map(int, re.findall(r"exercise (\d+)", cells[1])),
        ]
        shares = re.fullmatch(r"\d+, \d+, (\d+)", cells[1])
        assert not here or sum(here) <= (int(shares[1]) if shares else end - start), cells[0]
        assert not named or named == here, cells[0]
    said = re.search(r"\((?:[^()]*?)(\w+) exercises", text)
    assert NUMBERS[said[1]] == len(wanted)
    predictions = sum(cell.count("**Predict.") for cell in prose(lesson))
    assert (
        len(re.findall(r"prediction", " ".join(" ".join(cells) for _, end, cells in rows if end <= 75))) == predictions
    )


@pytest.mark.parametrize("lesson", NOTEBOOKS)
def test_what_can_be_skipped_is_counted_and_timed_alike(lesson):
    text = plan(lesson)[0]
    parts = [part["heading"].removeprefix(ideas.SKIPPED) for part in ideas.of_the_course()[lesson] if part["further"]]
    if said := re.search(r"\*\*Further\*\* \((\w+) of them", text):
        assert NUMBERS[said[1]] == len(parts)
    for number in exercises(lesson, further=True):
        assert re.search(rf"exercises? ({number}|\d and {number})\b", text + str(plan(lesson)[1])), number
    first = prose(lesson)[0]
    timed = re.findall(r"([\w' ]+?) \((\d+)\)", first.partition("**Further**")[2]) or re.findall(
        r"\|([^|\d]+)\|(\d+)", first
    )
    assert (lesson in ("02", "04")) == bool(timed)
    for part, minutes in timed:
        assert re.search(rf"{re.escape(part.strip().split(',')[0])}[^()]*\({minutes}\b", text), part


def test_how_long_cells_run_is_what_each_lesson_says():
    for lesson, file in NOTEBOOKS.items():
        first = "".join(json.loads(file.read_text(encoding="utf-8"))["cells"][0]["source"]).partition(
            "Stable Diffusion 1.5**"
        )[0]
        if said := re.search(r"(?:cells|notebook) runs? in about (\w+)", first):
            rows = re.findall(r"(?m)^\| (\d\d)(?: to (\d\d))? \| CPU; the cells run in about (\w+)", PAGE)
            assert [words for one, last, words in rows if one <= lesson <= (last or one)] == [said[1]], lesson


def test_the_words_of_errors_are_those_that_are_seen():
    quoted = re.findall(r'(?m)^\| "([^"]+)"', PAGE)
    ours = [words for words in quoted if "Colab" not in words and "Google" not in words and "GPU backend" not in words]
    assert ours and len(quoted) - len(ours) == 2
    for words in ours:
        assert all(piece.strip() in TEXT and piece.strip() in UNPUBLISHED for piece in words.split("...")), words
    assert "is a placeholder" in UNPUBLISHED and "the address is a placeholder" in PAGE


def test_each_lesson_says_what_must_be_known_before_it():
    assert re.findall(
        r"(?m)^\| (\d\d) \| \w.* \| .* \| .*\|$",
        PAGE.partition("What students must bring")[2].partition("Nobody needs")[0],
    ) == list(NOTEBOOKS)


# The map of ideas


def test_every_section_of_a_core_path_has_its_idea_and_its_cells():
    text = ideas.PAGE.read_text(encoding="utf-8")
    assert ideas.in_step(text, ideas.of_the_course()) == text, "run python -m tools.ideas"
    assert len(re.findall(r"(?m)^\| \*\*", text)) >= 35 and text.count("exercise") == sum(
        len(exercises(one, False)) for one in NOTEBOOKS
    )


def test_an_idea_without_a_section_and_a_section_without_an_idea_are_noticed():
    lesson = {
        "01": [
            {
                "heading": "One",
                "further": False,
                "cells": [3, 4, 5],
                "asked": [("exercise 1", 8), ("prediction", None)],
            },
            {"heading": "Further: more", "further": True, "cells": [6], "asked": []},
            {"heading": "What you measured", "further": False, "cells": [], "asked": []},
        ]
    }
    page = "## [01 Noise](x)\n\n| **One** | It is one. | | |\n\nFurther: \n"
    assert ideas.in_step(page, lesson) == (
        "## [01 Noise](x)\n\n| **One** | It is one. | [3] to [5] | exercise 1 (8 min); prediction |\n\n"
        "Further: more [6]\n"
    )
    with pytest.raises(ValueError, match="no section 'Two'"):
        ideas.in_step(page.replace("**One**", "**Two**"), lesson)
    with pytest.raises(ValueError, match=r"stand at \[\]; its sections are \['One'\]"):
        ideas.in_step("## [01 Noise](x)\n", lesson)
