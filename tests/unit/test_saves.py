"""Every place that saves: the studio, training, the tools; what is damaged, and a disk that is really full."""

import json
import os
import subprocess
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import nbformat
import pytest
import torch
from PIL import Image

from helpers.concepts import Concept, read_concept, save_concept
from helpers.files import write_atomic
from helpers.lora import add_lora, save_lora
from helpers.panels.sampling import Studio, png
from tools import execute_notebooks
from training import common, curves, export

STATE = {name: {} for name in common.STATE} | {"step": 5}


# Training


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("POSTCARD_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.mark.parametrize(
    "content",
    [
        [1, 2],
        [],
        {},
        "text",
        None,
        5,
        torch.ones(3),
        {"step": 5},
        *[{name: STATE[name] for name in STATE if name != missing} for missing in STATE],
    ],
)
def test_what_is_no_checkpoint_is_one_sentence(tmp_path, content):
    torch.save(content, tmp_path / "last.pt")
    with pytest.raises(
        ValueError, match="last.pt is no checkpoint .* is missing.: remove it, or run with --fresh"
    ) as caught:
        common.read_checkpoint(tmp_path / "last.pt")
    assert "\n" not in str(caught.value)
    torch.save(STATE, tmp_path / "last.pt")
    assert common.read_checkpoint(tmp_path / "last.pt")["step"] == 5


@pytest.mark.parametrize("content", [b"", b"text", b"\x80\x02cposix\nsystem\nX\x04\0\0\0true\x85R."])
def test_a_damaged_checkpoint_is_one_sentence(tmp_path, content):
    (tmp_path / "last.pt").write_bytes(content)
    with pytest.raises(ValueError, match="last.pt is damaged .*: remove it, or run with --fresh") as caught:
        common.read_checkpoint(tmp_path / "last.pt")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "line",
    ["{broken}", "[1]", "7", "{}", '{"step": "x"}', '{"step": 1', "", '{"step": null}', "[" * 100_000 + "]" * 100_000],
)
def test_a_broken_line_of_the_metrics_is_named_and_the_file_stays(runs, line):
    path = common.runs("vae") / "metrics.jsonl"
    good = '{"step": 1, "rate": 1.0}\n'
    path.write_text(good + line + "\n" + good)
    for read in (lambda: common.Metrics(path, 5), lambda: curves.rows_of("vae")):
        with pytest.raises(
            ValueError, match="line 2 of .*metrics.jsonl is damaged: remove that line, or run with --fresh"
        ):
            read()
    assert path.read_text() == good + line + "\n" + good


def test_the_line_that_a_kill_cut_off_is_left_out(runs):
    path = common.runs("vae") / "metrics.jsonl"
    path.write_text('{"step": 1, "rate": 1.0}\n{"step": 2, "rate": 1.0}\n{"step": 3, "ra')
    assert [row["step"] for row in curves.rows_of("vae")[0]] == [1, 2]
    common.Metrics(path, 1).add(step=2, rate=0.5)
    assert path.read_text() == '{"step": 1, "rate": 1.0}\n{"step": 2, "rate": 0.5}\n'


def test_metrics_that_are_no_text_are_one_sentence(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="metrics.jsonl is damaged .* run with --fresh"):
        common.Metrics(tmp_path / "metrics.jsonl", 1)


def test_a_folder_for_runs_that_may_not_be_made_is_said_in_a_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("POSTCARD_RUNS", str(tmp_path / "file"))
    with pytest.raises(OSError, match="A file is where the folder of"):
        common.runs("vae")


def test_a_bundle_that_could_not_be_moved_into_place_leaves_the_old_one(tmp_path, monkeypatch):
    target, replace = tmp_path / "bundle", os.replace
    target.mkdir()
    (target / "old").write_bytes(b"old")
    monkeypatch.setattr(export, "write_bundle", lambda folder, guidance: (folder / "new").write_bytes(b"new"))

    def refuse(source, goal):
        if source.name == ".bundle.new":
            raise OSError("no")
        replace(source, goal)

    monkeypatch.setattr("os.replace", refuse)
    with pytest.raises(OSError, match="^no$"):
        export.export(target, 3.0)
    assert [path.name for path in tmp_path.rglob("*")] == ["bundle", "old"]
    monkeypatch.setattr("os.replace", replace)
    export.export(target, 3.0)
    assert [path.name for path in tmp_path.rglob("*")] == ["bundle", "new"]


# Tools


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"cells": 7}', '{"cells": [7]}', '{"cells": [{}]}', "[" * 100_000]
)
def test_what_is_no_notebook_is_said_and_left_as_it_was(tmp_path, capsys, content):
    (tmp_path / "a.ipynb").write_text(content)
    assert execute_notebooks.main([str(tmp_path / "a.ipynb")]) == 1
    assert "a.ipynb: not saved." in capsys.readouterr().err
    assert (tmp_path / "a.ipynb").read_text() == content and len(list(tmp_path.iterdir())) == 1


def test_a_folder_and_a_full_disk_are_said_and_the_next_notebook_is_still_done(tmp_path, capsys, monkeypatch):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")])
    nbformat.write(notebook, tmp_path / "a.ipynb")
    before = (tmp_path / "a.ipynb").read_text()
    monkeypatch.setattr("nbclient.NotebookClient.execute", lambda self, **options: None)
    monkeypatch.setattr("os.fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    assert execute_notebooks.main([str(tmp_path), str(tmp_path / "a.ipynb")]) == 1
    said = capsys.readouterr().err
    assert said.count("not saved.") == 2 and "The disk is full" in said
    assert (tmp_path / "a.ipynb").read_text() == before and len(list(tmp_path.iterdir())) == 1


# A disk that is really full


@contextmanager
def small_disk(folder, size="64k"):
    """A disk of 64 kB; the test is skipped, with the reason, where this system lets nobody mount one."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"a disk of {size} can only be mounted by root: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)  # a writer that failed may hold its file a moment


def writers():
    """{who: save(path)}: more than 64 kB each, by every way in which the course writes files."""
    lots = torch.randn(100_000)
    return {
        "save_concept": lambda path: save_concept(Concept("<cat>", torch.randn(75, 4000)), path),
        "save_concept, pictures": lambda path: save_concept(
            Concept("<cat>", torch.ones(4)), path, images=[Image.effect_noise((300, 300), 90)]
        ),
        "save_lora": lambda path: save_lora(wide_lora(), path),
        "text": lambda path: write_atomic(path, lambda file: file.write_text("x" * 100_000)),
        "torch.save": lambda path: write_atomic(path, lambda file: torch.save({"a": lots}, file)),
        "torch.save, old": lambda path: write_atomic(
            path, lambda file: torch.save({"a": lots}, file, _use_new_zipfile_serialization=False)
        ),
        "numpy": lambda path: write_atomic(path, lambda file: save_array(file, lots)),
        "a picture": lambda path: write_atomic(
            path, lambda file: file.write_bytes(png(Image.effect_noise((300, 300), 90)))
        ),
        "Pillow": lambda path: write_atomic(path, lambda file: Image.effect_noise((300, 300), 90).save(file, "PNG")),
    }


def save_array(file, array):
    from training.data import save_array

    save_array(array.numpy(), file)


def wide_lora():
    return add_lora(torch.nn.ModuleDict({"to_k": torch.nn.Linear(4000, 8)}), rank=8, targets="to_k")


@pytest.mark.parametrize("who", writers())
def test_a_disk_that_is_really_full_is_said_and_the_old_file_stays(tmp_path, who):
    save = writers()[who]
    with small_disk(tmp_path / "disk") as disk:
        (disk / "mine").write_bytes(b"old" * 100)
        with pytest.raises(OSError, match="The disk is full, or your quota is used up: .* make room in") as caught:
            save(disk / "new")
        assert "\n" not in str(caught.value) and [path.name for path in disk.rglob("*")] == ["mine"]
        assert (disk / "mine").read_bytes() == b"old" * 100
        if "save" not in who or "torch" in who:
            with pytest.raises(OSError, match="The disk is full"):
                save(disk / "mine")
            assert (disk / "mine").read_bytes() == b"old" * 100 and len(list(disk.iterdir())) == 1


@pytest.mark.parametrize("who", writers())
def test_where_nothing_may_be_written_it_is_said_and_the_old_file_stays(tmp_path, who):
    """A disk that may only be read, or, for those who mount none, a folder whose rights say so."""
    save = writers()[who]
    with small_disk(tmp_path / "disk") if os.geteuid() == 0 else nullcontext(tmp_path) as folder:
        (folder / "mine").write_bytes(b"old")
        if os.geteuid() == 0:
            subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        else:
            folder.chmod(0o555)
        try:
            with pytest.raises(PermissionError, match=f"You may not write in {folder}") as caught:
                save(folder / "new")
            assert "\n" not in str(caught.value) and [path.name for path in folder.rglob("*")] == ["mine"]
            assert (folder / "mine").read_bytes() == b"old"
        finally:
            tmp_path.chmod(0o755)


def test_a_concept_that_does_not_fit_leaves_the_old_one(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        folder = save_concept(Concept("<cat>", torch.ones(32)), disk / "cat")
        with pytest.raises(OSError, match="The disk is full"):
            save_concept(Concept("<cat>", torch.randn(75, 4000)), folder)
        assert torch.equal(read_concept(folder).vectors, torch.ones(1, 32))


def test_the_studio_says_that_the_disk_is_full(my_course_folder, monkeypatch):
    pictures = my_course_folder / "pictures"
    studio = SimpleNamespace(
        shown=(Image.new("RGB", (8, 8)), {"prompt": "a boat", "seed": 3}),
        line=SimpleNamespace(value=""),
        save_as=lambda *shown: Studio.save_as(studio, *shown),
    )
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        Studio.save_shown(studio)
    assert "The disk is full" in studio.line.value and not list(pictures.glob("*"))
    Studio.save_shown(studio)
    with Image.open(pictures / "a boat seed 3.png") as saved:
        assert studio.line.value == "Saved as my_course/pictures/a boat seed 3.png, settings inside."
        assert saved.text == {"parameters": "a boat\nSeed: 3, Size: 8x8"}


def test_settings_of_runs_are_read_as_json(tmp_path):
    common.Metrics(tmp_path / "metrics.jsonl", 0).add(step=1, loss=0.25)
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"step": 1, "loss": 0.25}
