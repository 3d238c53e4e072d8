"""What a class handed in, as a table and a page. `make collect FOLDER=...` calls this file.

    python -m tools.collect FOLDER      reads every hand_in.json (or my_course.zip) under FOLDER, one a student, and writes
                                        FOLDER/collected.csv (a row for each exercise of each student) and
                                        FOLDER/collected.html (who solved what, and which answers were predicted)

A student is called by the name in the file (`my_course.sign`), else by the file or the folder it came in. What a file says
is what the student's own machine found: no code in it is ever run, and nobody is graded by it alone.
"""

import csv
import html
import io
import json
import os
import re
import sys
import zipfile
from collections import Counter
from pathlib import Path

from helpers.files import open_file, write_atomic
from helpers.my_course import KINDS, NAME
from tools.asked import answers as answers_in
from tools.setup_cell import ROOT, save_text

LARGEST = 5_000_000  # bytes of a file that is handed in, and of what a zip holds
FIELDS = ("student", "lesson", "exercise", "name", "right", "tries", "last_verdict", "when")
PREDICTED = {"answers": list, "chosen": str}
TRIED = {"lesson": str, "exercise": int, "name": str, "right": bool, "tries": int, "last_verdict": str, "when": str}
# A sign that makes a formula (the wide ones, too), after what may end a cell: a spreadsheet may part cells at ; and tabs.
FORMULA = re.compile(r'(?<![;\s"])([;\s"]*)([=+\-@\uff1d\uff0b\uff0d\uff20])')
STYLE = """body { font: 16px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 70em; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0 } th, td { padding: .25em .7em; border-bottom: 1px solid #ccc; text-align: left }
th:first-child { white-space: nowrap } .all { background: #eee } h3 + p { max-width: 45em; margin: -.6em 0 0 }
.bar { display: inline-block; height: .8em; background: #8c8c8c; vertical-align: middle } .measured .bar { background: #0072b2 }"""


# Reading


def read_hand_in(path: Path) -> dict:
    """What a student handed in: {"name": str, "tried": [...], "predicted": [...]}. ValueError or OSError, in a sentence,
    for a file that is none. Entries that are damaged are left out."""
    with open_file(path, LARGEST) as file:
        content = file.read()
    if path.suffix.lower() == ".zip":
        content = _in_zip(path, content)
    try:
        found = writable(json.loads(content.decode("utf-8")))
        name, entries = found["name"], found["answers"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(f"{path} is no hand_in.json of this course: ask for the file again.") from None
    if not isinstance(name, str) or not isinstance(entries, list):
        raise ValueError(f"{path} is no hand_in.json of this course: ask for the file again.")
    entries = [one for one in entries if isinstance(one, dict)]
    predicted = [
        one for one in entries if _has(one, PREDICTED) and all(isinstance(answer, str) for answer in one["answers"])
    ]
    return {
        "name": name.strip() or _called(path),
        "tried": [one for one in entries if _has(one, TRIED)],
        "predicted": [one for one in predicted if one["chosen"] in one["answers"]],
    }


def _in_zip(path: Path, content: bytes) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            about = archive.getinfo("my_course/hand_in.json")
            if about.file_size <= LARGEST:
                return archive.read(about)
    except KeyError:
        raise ValueError(f"{path} holds no my_course/hand_in.json: ask for the file again.") from None
    except Exception:  # zlib.error, LZMAError, EOFError: zipfile lets through whatever its readers stumble over
        raise ValueError(f"{path} is damaged, locked or no zip: ask for the file again.") from None
    raise ValueError(f"{path} holds a hand_in.json of {about.file_size / 1e6:,.0f} MB: it is not opened.")


def writable(value):
    """A value from JSON, or the name of a file, with what UTF-8 cannot hold written as its number: half a surrogate pair,
    a byte of a name that is not UTF-8."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, list):
        return [writable(one) for one in value]
    return {writable(key): writable(one) for key, one in value.items()} if isinstance(value, dict) else value


def _has(entry: dict, types: dict) -> bool:
    return all(type(entry.get(key)) is kind for key, kind in types.items())


def _called(path: Path) -> str:
    """The name of a file, or of the folder it came in where the file's own says nothing, as my_course/hand_in.json does."""
    if path.stem not in ("hand_in", NAME):
        return writable(path.stem)
    folders = (folder.name for folder in Path(os.path.abspath(path)).parents)
    return writable(next(name for name in folders if name != NAME))


def find(folder: Path) -> list[Path]:
    """The files that were handed in under a folder: every zip, and every .json. Not what lies hidden (a Mac's and JupyterLab's
    own copies), and of a my_course that was unpacked only its hand_in.json, which holds all that its folders do."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in (".json", ".zip") and path.is_file())
    return sorted(path for path in found if not _beside_the_point(path, folder))


def _beside_the_point(path: Path, folder: Path) -> bool:
    within = path.relative_to(folder)
    if any(part.startswith(".") or part == "__MACOSX" for part in within.parts):
        return True
    return any(one.name in KINDS and (folder / one.parent / "hand_in.json").is_file() for one in within.parents)


def questions(notebooks: list[Path]) -> dict[tuple, tuple[str, str, str]]:
    """{the answers of a prediction: ("03", "The causal mask", the question)} of every `predict` in the notebooks, in their order."""
    found = {}
    for file in notebooks:
        heading = question = ""
        for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]:
            source = "".join(cell["source"])
            if cell["cell_type"] == "markdown":
                heading = ([heading] + re.findall(r"(?m)^##+ (.*)$", source))[-1]
                question = ([question] + re.findall(r"(?m)^\*\*Predict\.\*\* *(.*)$", source))[-1]
            elif "predict(" in source:
                found |= {
                    offered: (file.stem[:2], heading, re.sub(r"[*`$]|\\(?=\w)", "", question))
                    for offered in answers_in(source)
                }
    return found


# Writing


def table(students: list[dict]) -> bytes:
    """CSV, a row for each exercise that each student tried: UTF-8 with the mark by which Excel knows it."""
    buffer = io.StringIO()
    rows = csv.writer(buffer, quoting=csv.QUOTE_ALL)
    rows.writerow(FIELDS)
    for student in students:
        for one in sorted(student["tried"], key=lambda one: (one["lesson"], one["exercise"])):
            rows.writerow([_harmless(value) for value in (student["name"], *(one[field] for field in FIELDS[1:]))])
    return buffer.getvalue().encode("utf-8-sig")


def _harmless(value):
    """A value that no spreadsheet takes for a formula, wherever it parts the cells: students write these."""

    def quoted(match):
        ends = match.start() == 0 or re.search(r"[;\t\r\n]", match[1])
        return f"{match[1]}'{match[2]}" if ends else match[0]

    return FORMULA.sub(quoted, value) if isinstance(value, str) else value


def page(students: list[dict], asked: dict[tuple, tuple[str, str, str]]) -> str:
    """HTML: for each lesson, who solved what, and what was predicted."""
    predictions = {}
    for student in students:
        for one in student["predicted"]:
            said = predictions.setdefault(tuple(one["answers"]), {"chosen": Counter(), "measured": Counter()})
            said["chosen"][one["chosen"]] += 1
            if isinstance(one.get("measured"), str):  # else nothing was measured yet
                said["measured"][one["measured"]] += 1
    known = [answers for answers in asked if answers in predictions]
    tried = {one["lesson"] for student in students for one in student["tried"]}
    parts = []
    for lesson in sorted(tried | {asked[answers][0] for answers in known}):
        parts.append(f"<h2>Lesson {html.escape(lesson)}</h2>")
        parts += [_solved(students, lesson)] if lesson in tried else []
        parts += [
            _prediction(*asked[answers][1:], answers, predictions[answers])
            for answers in known
            if asked[answers][0] == lesson
        ]
    if others := [answers for answers in predictions if answers not in asked]:
        parts.append("<h2>Questions of another edition</h2>")
        parts += [_prediction("", "", answers, predictions[answers]) for answers in others]
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>What the class handed in</title><style>{STYLE}</style>"
        f"<h1>What the class handed in</h1><p>{len(students)} students. A tick with the number of tries; a dash: not tried. "
        "Of what was predicted, the blue bar is what was then measured. The files say so; no code of theirs was run.</p>"
        f"{''.join(parts)}</html>\n"
    )


def _solved(students: list[dict], lesson: str) -> str:
    """The table of one lesson: first how many solved each exercise, then each student."""
    exercises = sorted(
        {(one["exercise"], one["name"]) for student in students for one in student["tried"] if one["lesson"] == lesson}
    )
    by_student = [
        {(one["exercise"], one["name"]): one for one in student["tried"] if one["lesson"] == lesson}
        for student in students
    ]
    solved = [sum(tried[one]["right"] for tried in by_student if one in tried) for one in exercises]
    head = "".join(f"<th>{html.escape(f'{number} {name}')}</th>" for number, name in exercises)
    rows = [
        f"<tr><th>{html.escape(student['name'])}</th>{''.join(_mark(tried.get(one)) for one in exercises)}</tr>"
        for student, tried in zip(students, by_student, strict=True)
    ]
    return (
        f"<table><tr><th>exercise</th>{head}</tr><tr class=all><th>solved by</th>"
        f"{''.join(f'<td>{count} of {len(students)}</td>' for count in solved)}</tr>{''.join(rows)}</table>"
    )


def _mark(tried: dict | None) -> str:
    if tried is None:
        return "<td>–</td>"
    return f"<td title='{html.escape(tried['last_verdict'])}'>{'✓' if tried['right'] else '✗'} {tried['tries']}</td>"


def _prediction(where: str, question: str, answers: tuple, said: dict) -> str:
    measured, total = next((answer for answer, _ in said["measured"].most_common(1)), None), said["chosen"].total()
    rows = [
        f"<tr class='{'measured' if answer == measured else ''}'><td>{html.escape(answer)}</td><td>{said['chosen'][answer]}"
        f"</td><td><span class=bar style='width:{said['chosen'][answer] / total * 15:.1f}em'></span></td></tr>"
        for answer in answers
    ]
    return f"<h3>{html.escape(where)}</h3><p>{html.escape(question)}</p><table>{''.join(rows)}</table>"


def collect(folder: Path, root: Path = ROOT) -> tuple[list[dict], list[str]]:
    """Read what lies under a folder and write table and page into it. (students, sentences about files that are none).

    Who hands in the same twice, as hand_in.json and inside my_course.zip, is one student.
    """
    students, wrong = [], []
    for path in find(folder):
        try:
            student = read_hand_in(path)
            if student not in students or not student["tried"] + student["predicted"]:
                students.append(student)
        except (OSError, ValueError) as problem:
            wrong.append(writable(str(problem)))
    students.sort(key=lambda student: student["name"].casefold())
    write_atomic(folder / "collected.csv", lambda draft: draft.write_bytes(table(students)))
    save_text(folder / "collected.html", page(students, questions(sorted(root.glob("notebooks/*.ipynb")))))
    return students, wrong


def main(arguments: list[str]) -> int:
    # make hands on ~ as it was typed
    folder = Path(os.path.expanduser(arguments[0])) if len(arguments) == 1 else None
    if folder is None or not folder.is_dir():
        print("Name the folder that holds what was handed in: make collect FOLDER=path/to/it", file=sys.stderr)
        return 2
    students, wrong = collect(folder)
    for problem in wrong:
        print(problem, file=sys.stderr)
    written = f"{folder / 'collected.csv'} and {folder / 'collected.html'}"
    print(f"{len(students)} students: {writable(written)} are written.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
