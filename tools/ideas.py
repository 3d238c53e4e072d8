"""The map of ideas: in which cells of a lesson an idea stands, and what is asked there. Writes the columns of docs/ideas.md.

    python -m tools.ideas

The ideas are written by hand, each beside the heading of its section; cells, questions and the parts that can be skipped are
read off the notebooks.
"""

import json
import re
import sys

from tools.setup_cell import FURTHER, ROOT, keep_in_step

PAGE = ROOT / "docs" / "ideas.md"
ROW = re.compile(r"^\| \*\*(.+?)\*\* \| (.+?) \|.*$")
LESSON = re.compile(r"^## \[(\d\d) ")
SKIPPED = "Further: "  # how the line begins that lists the parts that can be skipped
ENDS = (
    "What you measured",
    "What you have seen",
    "Where you stand",
    "All exercises",
)  # sections that hold no idea of their own
ASKED = re.compile(
    r"(?:> )?\*\*(Exercise \d|Open task|Predict|Check|Task|Your turn|Your task|Your \w+ line|Yours|On paper|Find|Explain|"
    r"Try it|Move [a-z ]+|Believe or test)\b"
)


def asked(text: str) -> list[tuple[str, int | None]]:
    """[("exercise 1", 8), ("prediction", None)]: what a piece of prose asks of the reader, with its minutes where it names them."""
    found = []
    for line in text.splitlines():
        if one := ASKED.match(line):
            minutes = re.search(r"\((\d+) min\b", line)
            found.append(({"Predict": "prediction"}.get(one[1], one[1].lower()), int(minutes[1]) if minutes else None))
    return found


def sections(notebook: dict) -> list[dict]:
    """[{"heading": str, "further": bool, "cells": [numbers], "asked": [...]}] of a lesson, in order. The first code cell is 1."""
    found, number = [], 0
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code":
            number += 1
            if found:
                found[-1]["cells"].append(number)
            continue
        for piece in re.split(r"(?m)^(?=## )", source):
            if title := re.match(r"## (.*)", piece):
                found.append(
                    {"heading": title[1].strip(), "further": piece.startswith(FURTHER), "cells": [], "asked": []}
                )
            if found:
                found[-1]["asked"] += asked(piece)
    return found


def where(cells: list[int]) -> str:
    if not cells:
        return "text"
    return f"[{cells[0]}]" if len(cells) == 1 else f"[{cells[0]}] to [{cells[-1]}]"


def in_step(text: str, lessons: dict[str, list[dict]]) -> str:
    """The page's text with what is read off the lessons, {"01": sections}. ValueError for a section without an idea, or an idea without."""
    lines, lesson, named = [], "", {number: [] for number in lessons}
    for line in text.splitlines():
        if heading := LESSON.match(line):
            lesson = heading[1]
        core = {one["heading"]: one for one in lessons.get(lesson, []) if not one["further"]}
        if (row := ROW.match(line)) and lesson:
            if row[1] not in core:
                raise ValueError(f"Lesson {lesson} has no section {row[1]!r} in its core path.")
            named[lesson].append(row[1])
            said = "; ".join(f"{what} ({minutes} min)" if minutes else what for what, minutes in core[row[1]]["asked"])
            line = f"| **{row[1]}** | {row[2]} | {where(core[row[1]]['cells'])} | {said} |"
        elif line.startswith(SKIPPED):
            parts = [
                f"{one['heading'].removeprefix(SKIPPED)} {where(one['cells'])}"
                for one in lessons[lesson]
                if one["further"]
            ]
            line = SKIPPED + " · ".join(parts)
        lines.append(line)
    for lesson, parts in lessons.items():
        core = [one["heading"] for one in parts if not one["further"] and one["heading"] not in ENDS]
        if named[lesson] != core:
            raise ValueError(f"The ideas of lesson {lesson} stand at {named[lesson]}; its sections are {core}.")
    return "\n".join(lines) + "\n"


def of_the_course() -> dict[str, list[dict]]:
    return {
        file.name[:2]: sections(json.loads(file.read_text(encoding="utf-8")))
        for file in sorted(ROOT.glob("notebooks/*.ipynb"))
    }


def main() -> int:
    return keep_in_step(PAGE, lambda text: in_step(text, of_the_course()))


if __name__ == "__main__":
    sys.exit(main())
