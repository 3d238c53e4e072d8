"""What a reader makes is kept in one folder, `my_course`, and is there again after a restart.

    my_course/concepts/NAME/    a concept or a LoRA of the reader's own, as the course's library holds its own
    my_course/pictures/         what a studio's Save has written, settings inside
    my_course/answers/          one small JSON file for each exercise that was tried and each prediction that was made
    my_course/hand_in.json      all of these in one, for a teacher (`make collect` reads thirty of them)

Where it lies: see `folder`. Everything in it is written as it comes, whole or not at all, and never in place of
something else that the reader made: a name that is taken gets a number.
"""

import ast
import functools
import inspect
import itertools
import json
import linecache
import os
import re
import zipfile
import zlib
from datetime import datetime
from pathlib import Path

from helpers import inputs, runtime
from helpers.files import make_folder, open_file, write_atomic

NAME = "my_course"
KINDS = ("concepts", "pictures", "answers")  # its folders
COURSE = Path(__file__).resolve().parent.parent
DRIVE = Path("/content/drive/MyDrive")  # where Colab puts Google Drive, once it is mounted
LARGEST = 1_000_000  # bytes of an answer


def folder():
    """The folder, a Path, made where it is missing.

    It is the one that the environment variable MY_COURSE names; else, on Colab with Google Drive mounted, my_course in
    the Drive; else my_course beside the course, or in the home folder where the course's own may not be written.
    PermissionError or OSError, in a sentence, where none of them can be made.
    """
    if named := os.environ.get("MY_COURSE"):
        return make_folder(Path(named).expanduser())
    if runtime.place() == "colab" and DRIVE.is_dir():
        return make_folder(DRIVE / NAME)
    beside = COURSE / NAME
    return make_folder(beside if os.access(beside if beside.exists() else COURSE, os.W_OK) else Path.home() / NAME)


def place(kind, name):
    """A Path in `folder() / kind` that nothing is at yet: `name`, or where that is taken name-2, name-3, ...

    kind: "concepts" or "pictures". name: letters, digits, spaces and . _ - ; the end of a file's name, such as ".png",
    stays behind the number. Nothing is made but the folder it lies in.
    """
    inputs.one_of(kind, "kind", ("concepts", "pictures"))
    if not re.fullmatch(r"\w[\w .-]*", inputs.text(name, "name")) or name != name.strip(" ."):
        raise ValueError(
            f"{inputs.shown(name)} cannot be the name of a file here: use letters, digits, spaces and . _ - in it."
        )
    within, stem, suffix = make_folder(folder() / kind), Path(name).stem, Path(name).suffix
    numbered = (f"{stem}-{number}{suffix}" for number in itertools.count(2))
    return next(path for path in map(within.joinpath, itertools.chain([name], numbered)) if not os.path.lexists(path))


def shown(path):
    """A path in the folder as a reader is told it: "my_course/concepts/teal", wherever the folder lies."""
    return (Path(NAME) / Path(path).relative_to(folder())).as_posix()


# Answers and predictions


def note_answer(lesson, number, name, verdict, function):
    """Write down a try at an exercise. What was right once stays, with its code, whatever is tried later.

    lesson: "05". number: of the exercise. name: what the function is called. verdict: what its check says.
    """
    before, right = answer(lesson, number), verdict == "right"
    kept = before if before and before["right"] and not right else {"right": right, "code": _source(function)}
    _write(
        f"{lesson}-exercise-{number}",
        {
            "lesson": lesson,
            "exercise": number,
            "name": name,
            "right": kept["right"],
            "code": kept["code"],
            "tries": (before["tries"] if before else 0) + 1,
            "last_verdict": verdict,
            "when": _now(),
        },
    )


def answer(lesson, number):
    """What is written down of an exercise, {"right": bool, "code": str, "tries": int, ...}, or None."""
    return _read(f"{lesson}-exercise-{number}", {"right": bool, "code": str, "tries": int})


def note_prediction(answers, chosen, measured=None, again=False):
    """Write down what a reader predicts: which of the answers, a str each; and what was then measured, once it is known.

    What was chosen before it was measured stays, whatever is chosen afterwards; again: unless one may look again.
    """
    before = _read(_prediction(answers), {"chosen": str, "measured": str})
    if before and before["chosen"] in answers:
        chosen, measured = chosen if again else before["chosen"], measured or before["measured"]
    _write(_prediction(answers), {"answers": list(answers), "chosen": chosen, "measured": measured, "when": _now()})


def prediction(answers):
    """The answer that was chosen of these, in this session or an earlier one, or None."""
    said = _read(_prediction(answers), {"chosen": str})
    return said["chosen"] if said and said["chosen"] in answers else None


def _prediction(answers):
    return f"prediction-{zlib.crc32(json.dumps(list(answers)).encode()):08x}"


def _source(answer):
    """The code of a function or a class as the reader wrote it, or "" where nothing keeps its lines.

    Of a notebook's cell it is the whole where the answer uses something else that the cell makes.
    """
    try:
        code = next((one for one in _codes_of(answer) if _is_cell(one.co_filename)), None)
        if code is None:
            return inspect.getsource(answer)
    except (OSError, TypeError, ValueError):  # typed at a prompt that keeps no lines, or nothing of Python's
        return ""
    cell = "".join(linecache.getlines(code.co_filename))
    try:
        statements = ast.parse(cell).body
    except (SyntaxError, ValueError):
        return cell
    own = [one for one in statements if _first_line(one) <= code.co_firstlineno <= one.end_lineno]
    if len(own) != 1 or isinstance(answer, type) and getattr(own[0], "name", None) != answer.__name__:
        return cell
    used = {one.id for one in ast.walk(own[0]) if isinstance(one, ast.Name)}
    if any(used & _names_made(one) for one in statements if one is not own[0]):
        return cell
    return "".join(cell.splitlines(keepends=True)[_first_line(own[0]) - 1 : own[0].end_lineno])


def _codes_of(answer):
    """The code objects of a function, or of the methods of a class or of an object's class."""
    while isinstance(answer, functools.partial):
        answer = answer.func
    code = getattr(inspect.unwrap(answer), "__code__", None)  # of a method, too
    if code is not None:
        return [code]
    kinds = (answer if isinstance(answer, type) else type(answer)).__mro__
    methods = [getattr(one, "__func__", one) for kind in kinds for one in vars(kind).values()]
    return [one.__code__ for one in map(inspect.unwrap, filter(inspect.isroutine, methods)) if hasattr(one, "__code__")]


def _is_cell(file):
    """Whether these are lines that were typed, which linecache keeps without the time of a file."""
    return bool(linecache.getlines(file)) and linecache.cache.get(file, (0, 0.0))[1] is None


def _first_line(statement):
    return min([statement.lineno, *(one.lineno for one in getattr(statement, "decorator_list", ()))])


def _names_made(statement):
    """The names that a statement of a cell makes: of a function, a class, something imported, a variable."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return {statement.name}
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return {(one.asname or one.name).split(".")[0] for one in statement.names}
    return {one.id for one in ast.walk(statement) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}


def _now():
    return datetime.now().astimezone().isoformat(timespec="seconds")


def _write(name, about):
    text = json.dumps(about, indent=1, ensure_ascii=False) + "\n"
    # A letter that no file can hold (half a surrogate pair, in a reader's string) is written as its number.
    write_atomic(
        make_folder(folder() / "answers") / f"{name}.json",
        lambda file: file.write_text(text, encoding="utf-8", errors="backslashreplace"),
    )
    _write_hand_in()


def sign(name):
    """Put a name on what is handed in: hand_in.json says whose it is."""
    name = " ".join(inputs.text(name, "name").split())
    if not name or len(name) > 100 or not name.isprintable():
        raise ValueError("name must be a name of 1 to 100 letters that can be printed.")
    write_atomic(folder() / "name.txt", lambda file: file.write_text(name, encoding="utf-8"))
    _write_hand_in()


def _write_hand_in():
    """Bring hand_in.json into step with the answers. What is damaged is left out."""
    try:
        with open_file(folder() / "name.txt", 1000) as file:
            name = file.read().decode("utf-8", errors="replace").strip()
    except (OSError, ValueError):  # nobody has signed, or it is no file of a name
        name = ""
    found = (_read(path.stem, {"when": str}) for path in sorted((folder() / "answers").glob("*.json")))
    about = {
        "name": name,
        "answers": [one for one in found if one],
    }
    text = json.dumps(about, indent=1) + "\n"
    write_atomic(folder() / "hand_in.json", lambda file: file.write_text(text, encoding="utf-8"))


def _read(name, types):
    """The JSON object of an answer, or None where there is none that has these entries."""
    try:
        with open_file(folder() / "answers" / f"{name}.json", LARGEST) as file:
            about = json.loads(file.read().decode("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return (
        about
        if isinstance(about, dict) and all(isinstance(about.get(key), kind) for key, kind in types.items())
        else None
    )


# Taking it along


def contents():
    """{"concepts": n, "pictures": n, "answers": n}: how much of each is there."""
    counted = {kind: [one for one in (folder() / kind).glob("*") if not one.name.startswith(".")] for kind in KINDS}
    return {kind: len(found) for kind, found in counted.items()}


def pack():
    """Write everything into my_course.zip, beside the folder's own, and return its Path."""
    within = folder()
    path = within.with_name(f"{within.name}.zip")
    files = sorted(one for one in within.rglob("*") if one.is_file() and not one.name.endswith(".tmp"))

    def write(draft):
        with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
            for one in files:
                archive.write(one, Path(NAME) / one.relative_to(within))

    write_atomic(path, write)
    return path
