"""What thirty students hand in becomes a table and a page; what is no hand-in is one sentence."""

import csv
import io
import json
import os
import zipfile

import pytest

from helpers import my_course
from tools import collect
from tools.setup_cell import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def tried(number=1, right=True, name="double", lesson="04", **more):
    return {
        "lesson": lesson,
        "exercise": number,
        "name": name,
        "right": right,
        "code": "",
        "tries": 2,
        "last_verdict": "right",
        "when": "2026-01-01T00:00:00+00:00",
    } | more


def predicted(chosen, measured=None, answers=("sky", "boat")):
    return {"answers": list(answers), "chosen": chosen, "measured": measured, "when": "2026-01-01T00:00:00+00:00"}


def hand_in(folder, called, *answers, name=""):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / called).write_text(json.dumps({"name": name, "answers": answers}))


def rows(folder):
    return list(csv.DictReader((folder / "collected.csv").open(newline="", encoding="utf-8-sig")))


def test_a_class_becomes_a_table_and_a_page(tmp_path, capsys):
    hand_in(tmp_path, "bob.json", tried(1, False), predicted("boat", "sky"))
    hand_in(tmp_path / "cyd", "hand_in.json", tried(1), tried(2, name="half"), predicted("boat", "sky"))
    hand_in(tmp_path / "x", "hand_in.json", predicted("sky"), name="Ada")
    assert collect.main([str(tmp_path)]) == 0 and "3 students" in capsys.readouterr().out
    assert [(row["student"], row["exercise"], row["right"]) for row in rows(tmp_path)] == [
        ("bob", "1", "False"),
        ("cyd", "1", "True"),
        ("cyd", "2", "True"),
    ]
    page = (tmp_path / "collected.html").read_text()
    assert page.index("<th>Ada</th>") < page.index("<th>bob</th>") < page.index("<th>cyd</th>")
    assert "<tr class='measured'><td>sky</td><td>1</td>" in page and "<tr class=''><td>boat</td><td>2</td>" in page
    assert "<h2>Lesson 04</h2>" in page and "<th>1 double</th><th>2 half</th>" in page and page.count("<td>–</td>") == 3
    assert (
        "<th>solved by</th><td>1 of 3</td><td>1 of 3</td>" in page and "<h2>Questions of another edition</h2>" in page
    )
    assert collect.main([str(tmp_path)]) == 0, "the second time it does not read what it wrote"


def test_what_a_students_own_notebook_wrote_is_read(tmp_path, my_course_folder):
    my_course.note_answer("05", 2, "merge", "right", None)
    my_course.note_answer("05", 2, "merge", "not yet: another \ud800", None)
    my_course.note_prediction(["a", "b"], "b", "a")
    my_course.sign("Grace  Hopper")
    my_course.pack()
    for path in (my_course_folder / "hand_in.json", my_course_folder.parent / "my_course.zip"):
        found = collect.read_hand_in(path)
        assert found["name"] == "Grace Hopper" and found["predicted"][0]["chosen"] == "b"
        assert [(one["exercise"], one["right"], one["tries"]) for one in found["tried"]] == [(2, True, 2)]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"name": 1, "answers": []}',
        b'{"name": "", "answers": 5}',
        b"\xff",
        b"[" * 100_000,
        b"0" * 6_000_000,
    ],
    ids=range(9),
)
@pytest.mark.parametrize("called", ["bob.json", "bob.zip"])
def test_what_is_no_hand_in_is_one_sentence_and_the_others_are_read(tmp_path, capsys, content, called):
    hand_in(tmp_path, "ada.json", tried())
    (tmp_path / called).write_bytes(content)
    assert collect.main([str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and called in said.err and "1 students" in said.out and len(rows(tmp_path)) == 1


def test_a_zip_that_swells_is_not_opened(tmp_path):
    with zipfile.ZipFile(tmp_path / "bob.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("my_course/hand_in.json", b" " * 50_000_000)
    with pytest.raises(ValueError, match="holds a hand_in.json of 50 MB"):
        collect.read_hand_in(tmp_path / "bob.zip")


def test_what_utf8_cannot_hold_is_written_as_its_number(tmp_path, capsys):
    hand_in(tmp_path, "ada.json", tried())
    hand_in(tmp_path, "bob.json", tried(name="\ud800", last_verdict="no: \udfff"), name="\ud83d Bob")
    hand_in(tmp_path, "cyd.json", predicted("\ud800", "\ud800", ("\ud800", "sky")))
    assert collect.main([str(tmp_path)]) == 0 and "3 students" in capsys.readouterr().out
    assert ("\\ud83d Bob", "\\ud800", "no: \\udfff") in [
        (row["student"], row["name"], row["last_verdict"]) for row in rows(tmp_path)
    ]
    assert "<tr class='measured'><td>\\ud800</td><td>1</td>" in (tmp_path / "collected.html").read_text(
        encoding="utf-8"
    )


@pytest.mark.parametrize("within", [False, True], ids=["file", "folder"])
def test_a_name_that_is_not_utf8_is_collected(tmp_path, capsys, within):
    """As a zip from an old Windows leaves them; the teacher's own folder may be called so, too."""
    folder = tmp_path / os.fsdecode(b"K\xfcche")
    try:
        hand_in(folder, "ada.json", tried())
    except (OSError, UnicodeError):
        pytest.skip("this disk takes no such name")
    name = os.fsdecode(b"M\xfcller")
    hand_in(*(folder / name, "hand_in.json") if within else (folder, f"{name}.json"), tried())
    (folder / f"{name}.zip").write_bytes(b"no zip")
    assert collect.main([str(folder)]) == 1
    said = capsys.readouterr()
    assert "2 students" in said.out and "K\\udcfcche" in said.out
    assert said.err.count("\n") == 1 and "M\\udcfcller.zip is damaged" in said.err
    assert {row["student"] for row in rows(folder)} == {"ada", "M\\udcfcller"}


def damaged(method, where, put):
    """A zip with a hand_in.json of which the bytes from `where` on, after the compressed data begin, are `put`."""
    buffer, name = io.BytesIO(), "my_course/hand_in.json"
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr(name, json.dumps({"name": "Zed", "answers": [tried(n) for n in range(300)]}))
    content, start = bytearray(buffer.getvalue()), 30 + len(name) + where
    content[start : start + len(put)] = put
    return bytes(content)


def with_flag(content, flag):
    """The zip with a flag set in the entry and in its directory: 1, locked."""
    content, entry = bytearray(content), content.index(b"PK\x01\x02")
    content[6:8] = content[entry + 8 : entry + 10] = flag.to_bytes(2, "little")
    return bytes(content)


def cut_short(content):
    """The zip with a directory that promises more bytes than there are."""
    content, entry = bytearray(content), content.index(b"PK\x01\x02")
    content[entry + 20 : entry + 28] = (4_000_000).to_bytes(4, "little") * 2
    return bytes(content)


@pytest.mark.parametrize(
    "content",
    [
        damaged(zipfile.ZIP_DEFLATED, 0, b"\xff" * 9),  # zlib.error
        damaged(zipfile.ZIP_LZMA, 4, b"\xff" * 9),  # LZMAError
        damaged(zipfile.ZIP_BZIP2, 0, b"\xff" * 9),  # OSError, with words of its own
        damaged(zipfile.ZIP_STORED, 0, b"\xff" * 9),  # BadZipFile
        cut_short(damaged(zipfile.ZIP_STORED, 0, b"{")),  # EOFError, or BadZipFile
        with_flag(damaged(zipfile.ZIP_STORED, 0, b"{"), 1),  # RuntimeError
        damaged(zipfile.ZIP_STORED, 0, b"{").replace(b"my_course/hand", b"my_course/\xff\xff\xff\xff"),  # KeyError
        with_flag(damaged(0, 0, b"{").replace(b"my_course/hand", b"my_course/\xff\xff\xff\xff"), 0x800),  # UnicodeError
    ],
    ids=["deflated", "lzma", "bzip2", "stored", "short", "locked", "other", "misnamed"],
)
def test_a_damaged_zip_is_one_sentence_and_the_others_are_read(tmp_path, capsys, content):
    hand_in(tmp_path, "ada.json", tried())
    (tmp_path / "zed.zip").write_bytes(content)
    assert collect.main([str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert said.err.startswith(str(tmp_path / "zed.zip")) and said.err.endswith(": ask for the file again.\n")
    assert said.err.count("\n") == 1 and "1 students" in said.out and len(rows(tmp_path)) == 1


def test_damaged_entries_are_left_out(tmp_path):
    hand_in(
        tmp_path,
        "bob.json",
        tried(),
        tried(2, right="yes"),
        tried("3"),
        {},
        5,
        predicted("tree"),
        predicted("sky", answers=("sky", 5)),
    )
    found = collect.read_hand_in(tmp_path / "bob.json")
    assert len(found["tried"]) == 1 and found["predicted"] == []


def test_students_write_neither_formulas_nor_markup(tmp_path):
    hand_in(tmp_path, "bob.json", tried(name="=HYPERLINK(1)", last_verdict="<script>'"), name="<b>Bob</b>")
    collect.main([str(tmp_path)])
    page = (tmp_path / "collected.html").read_text()
    assert "<script>" not in page and "<b>Bob" not in page and "title='&lt;script&gt;&#x27;'" in page
    assert rows(tmp_path)[0]["name"] == "'=HYPERLINK(1)"


@pytest.mark.parametrize(
    "name, shown",
    [
        ("Eve;=cmd|'/C calc'!A0", "Eve;'=cmd|'/C calc'!A0"),
        ("Eve\t+1", "Eve\t'+1"),
        ('Eve;"=1"', 'Eve;"\'=1"'),
        ("Eve\r\n @A1", "Eve\r\n '@A1"),
        ('";\t=1', "\";\t'=1"),
        ("\uff1d1", "'\uff1d1"),
        ("-1", "'-1"),
        ("Ann-Marie; born = 1, -2", "Ann-Marie; born = 1, -2"),
    ],
    ids=range(8),
)
def test_no_formula_begins_a_cell_wherever_a_spreadsheet_parts_them(tmp_path, name, shown):
    hand_in(tmp_path, "bob.json", tried(last_verdict=name))
    collect.main([str(tmp_path)])
    assert rows(tmp_path)[0]["last_verdict"] == shown
    text = (tmp_path / "collected.csv").read_text(encoding="utf-8-sig")
    for mark in ",;\t":
        cells = [cell for row in csv.reader(io.StringIO(text), delimiter=mark) for cell in row]
        assert not [cell for cell in cells if cell.strip(' "').startswith(("=", "+", "-", "@", "\uff1d"))]


def test_a_name_of_blanks_and_marks_takes_no_time():
    assert collect._harmless(";\t" * 1_000_000) == ";\t" * 1_000_000


def test_the_table_is_what_excel_reads_and_the_same_on_windows(tmp_path, monkeypatch):
    """Windows writes every line's end of a text as two bytes: the table is written as bytes, which it leaves alone."""
    hand_in(tmp_path, "bob.json", tried(), name="Zo\u00eb")
    monkeypatch.setattr(
        collect, "save_text", lambda file, text: file.write_text(text, encoding="utf-8", newline="\r\n")
    )
    collect.main([str(tmp_path)])
    assert (tmp_path / "collected.csv").read_bytes() == (
        b'\xef\xbb\xbf"student","lesson","exercise","name","right","tries","last_verdict","when"\r\n'
        b'"Zo\xc3\xab","04","1","double","True","2","right","2026-01-01T00:00:00+00:00"\r\n'
    )


def test_predictions_are_named_by_where_the_lessons_ask_them(tmp_path):
    asked = collect.questions(NOTEBOOKS)
    assert [lesson for lesson, _, _ in asked.values()] == sorted(lesson for lesson, _, _ in asked.values())
    assert {lesson for lesson, _, _ in asked.values()} == {"01", "02", "03", "04", "05"} and all(
        all(one) for one in asked.values()
    )
    calls = sum(
        cell["cell_type"] == "code" and "predict(" in "".join(cell["source"])
        for file in NOTEBOOKS
        for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]
    )
    assert len(asked) == calls, "also where the answers are held in a name first"
    for student, answers in enumerate(asked):
        hand_in(tmp_path, f"{student}.json", predicted(answers[0], answers[-1], answers))
    collect.main([str(tmp_path)])
    page = (tmp_path / "collected.html").read_text()
    assert page.count("class='measured'") == len(asked) and "another edition" not in page
    assert page.index("<h2>Lesson 01</h2>") < page.index("What drowns first?") < page.index("<h2>Lesson 02</h2>")


def test_what_was_unpacked_is_one_hand_in_a_student_called_as_its_folder(tmp_path, capsys, monkeypatch):
    for student in ("Ada", "Bob"):
        hand_in(tmp_path / student / "my_course", "hand_in.json", tried())
        for folder in ("answers", "concepts/teal"):
            hand_in(tmp_path / student / "my_course" / folder, "one.json")
            (tmp_path / student / "my_course" / folder / "two.json").write_text("{}")
    hand_in(tmp_path / "Cyd" / "my_course" / "my_course", "hand_in.json", tried())
    hand_in(tmp_path / "answers", "dan.JSON", tried())
    hand_in(tmp_path, "eve.json", tried(), name="Eve")
    monkeypatch.chdir(tmp_path / "Ada")
    for folder, students in ((tmp_path, ["Ada", "Bob", "Cyd", "dan", "Eve"]), (".", ["Ada"]), ("my_course", ["Ada"])):
        assert collect.main([str(folder)]) == 0 and capsys.readouterr().err == ""
        assert [row["student"] for row in rows(tmp_path / "Ada" / folder)] == students


def test_copies_that_a_mac_and_jupyterlab_make_are_no_hand_ins(tmp_path):
    hand_in(tmp_path, "ada.json", tried())
    (tmp_path / "._ada.json").write_bytes(b"\0")
    hand_in(tmp_path / ".ipynb_checkpoints", "ada-checkpoint.json", tried())
    hand_in(tmp_path / "__MACOSX", "ada.json")
    assert collect.main([str(tmp_path)]) == 0 and len(rows(tmp_path)) == 1


def test_answers_without_the_hand_in_they_belong_to_are_named(tmp_path, capsys):
    hand_in(tmp_path, "hand_in.json", tried(), name="Ada")
    (tmp_path / "bob" / "answers").mkdir(parents=True)
    (tmp_path / "bob" / "answers" / "04-exercise-1.json").write_text(json.dumps(tried()))
    assert collect.main([str(tmp_path)]) == 1 and "04-exercise-1.json is no hand_in.json" in capsys.readouterr().err


@pytest.mark.parametrize("measured", [[None, None, None, "sky", "sky"], [None, 5, {}]], ids=["some", "nobody"])
def test_who_has_not_measured_yet_does_not_hide_what_others_measured(tmp_path, measured):
    for student, found in enumerate(measured):
        hand_in(tmp_path, f"{student}.json", predicted("boat", found))
    assert collect.main([str(tmp_path)]) == 0
    page = (tmp_path / "collected.html").read_text(encoding="utf-8")
    assert page.count("<tr class='measured'><td>sky</td><td>0</td>") == ("sky" in measured)
    assert page.count("<tr class='measured'>") == ("sky" in measured)


def test_a_folder_at_home_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr("os.path.expanduser", lambda path: path.replace("~", str(tmp_path)))
    hand_in(tmp_path / "hand ins", "ada.json", tried())
    assert collect.main(["~/hand ins"]) == 0 and len(rows(tmp_path / "hand ins")) == 1


def test_without_a_folder_it_says_how_to_name_one(tmp_path, capsys):
    assert collect.main([]) == collect.main([str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.count("make collect FOLDER=") == 2


def test_who_hands_in_the_same_twice_is_one_student(tmp_path, capsys):
    """hand_in.json, and my_course.zip with the same inside."""
    hand_in(tmp_path / "ada", "hand_in.json", tried(1), predicted("sky"), name="Ada")
    with zipfile.ZipFile(tmp_path / "ada" / "my_course.zip", "w") as archive:
        archive.write(tmp_path / "ada" / "hand_in.json", "my_course/hand_in.json")
    hand_in(tmp_path / "eve", "hand_in.json", tried(1), predicted("sky"), name="Eve")
    assert collect.main([str(tmp_path)]) == 0 and "2 students" in capsys.readouterr().out
    assert [row["student"] for row in rows(tmp_path)] == ["Ada", "Eve"]
