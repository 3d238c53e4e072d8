"""A file is written whole or not at all."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from helpers.concepts import read_concept
from helpers.files import HOST, filling, make_folder, write_atomic


def test_the_old_file_stays_when_writing_fails(tmp_path):
    path = tmp_path / "weights.bin"
    path.write_bytes(b"old")

    def half(temporary):
        temporary.write_bytes(b"ne")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        write_atomic(path, half)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_the_new_file_takes_its_place(tmp_path):
    path = tmp_path / "weights.bin"
    write_atomic(path, lambda temporary: temporary.write_bytes(b"new"))
    write_atomic(path, lambda temporary: temporary.write_bytes(b"newer"))
    assert path.read_bytes() == b"newer" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_folder_that_may_not_be_written_is_named(tmp_path, monkeypatch, number):
    def refuse(path, **settings):
        raise OSError(number, "no")

    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(PermissionError, match=f"You may not write in {tmp_path}: save a.bin in a folder of your"):
        write_atomic(tmp_path / "a.bin", lambda temporary: pytest.fail("nothing to write to"))


def test_a_folder_that_is_not_there_is_no_question_of_permission(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_atomic(tmp_path / "none" / "a.bin", lambda temporary: temporary.write_bytes(b"new"))


def test_a_folder_is_made_once_or_refused_in_words(tmp_path, monkeypatch):
    assert make_folder(str(tmp_path / "a" / "b")) == make_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert (tmp_path / "a" / "b").is_dir()

    def refuse(path, **settings):
        raise OSError(errno.EACCES, "no")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(PermissionError, match=f"You may not write in {tmp_path}: save c in a folder of your own"):
        make_folder(tmp_path / "c")


# A full disk


def disk_words():
    """What libraries raise where a disk is full: taken from a disk of 64 kB."""
    from safetensors import SafetensorError

    full = OSError(errno.ENOSPC, "No space left on device")
    return {
        "Python": full,
        "a quota": OSError(errno.EDQUOT, "Disk quota exceeded"),
        "safetensors": SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        "safetensors, quota": SafetensorError("I/O error: Disk quota exceeded (os error 122)"),
        "torch, old format": RuntimeError("write(): fd 3 failed with No space left on device"),
    }


@pytest.mark.parametrize("library", disk_words())
def test_a_full_disk_is_said_in_a_sentence_and_leaves_the_old_file(tmp_path, library):
    path = tmp_path / "weights.bin"
    path.write_bytes(b"old")

    def half(temporary):
        temporary.write_bytes(b"ne")
        raise disk_words()[library]

    with pytest.raises(OSError, match="is full") as caught:
        write_atomic(path, half)
    assert str(caught.value) == (
        f"The disk is full, or your quota is used up: weights.bin was not saved, and what was there before is unchanged; make "
        f"room in {tmp_path}, or save in another place."
    )
    assert caught.value.errno == errno.ENOSPC and path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "words",
    [
        "[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534",
        "basic_ios::clear: iostream error",
        "100000 requested and 16352 written",
    ],
)
def test_a_write_that_fell_short_asks_whether_there_is_room(tmp_path, words, monkeypatch):
    def short(temporary):
        raise RuntimeError(words)

    with pytest.raises(RuntimeError, match="inline|iostream|requested"):  # there is room: torch's own words stay
        write_atomic(tmp_path / "a", short)
    monkeypatch.setattr("os.fsync", lambda handle: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with pytest.raises(OSError, match="The disk is full"):
        write_atomic(tmp_path / "a", short)
    assert not list(tmp_path.iterdir())


def test_the_disk_may_be_full_at_every_step(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    for place in ("pathlib.Path.touch", "os.fsync", "os.replace"):
        with monkeypatch.context() as patch:
            patch.setattr(place, full)
            with pytest.raises(OSError, match="The disk is full"):
                write_atomic(tmp_path / "a", lambda temporary: temporary.write_bytes(b"new"))
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.mkdir", full)
        with pytest.raises(OSError, match="The disk is full"):
            make_folder(tmp_path / "folder")
    assert not list(tmp_path.iterdir())


# What killed processes leave


GONE = 2**22 + 1  # no process has such a number


def test_the_next_save_sweeps_what_killed_processes_left(tmp_path):
    left = [
        f".a.bin.{GONE}.tmp",
        f".a.bin.{GONE}.{HOST}.7.tmp",
        f".a.bin.{os.getpid()}.{HOST}.999999.tmp",
        f".a.bin.{os.getpid()}.tmp",
    ]  # of an earlier process of this number, or of a thread that is no more
    others = [
        f".b.bin.{GONE}.tmp",
        f".a.bin.{os.getppid()}.tmp",
        f".a.bin.{os.getppid()}.{HOST}.0.tmp",
        f".a.bin.{GONE}.0badcafe.0.tmp",
        ".a.bin.tmp",
        ".a.bin.x.tmp",
        "a.bin.1.tmp",
        f".aXbin.{GONE}.tmp",
    ]
    for name in left + others:
        (tmp_path / name).write_bytes(b"half")
    write_atomic(tmp_path / "a.bin", lambda temporary: temporary.write_bytes(b"new"))
    assert {path.name for path in tmp_path.iterdir()} == {"a.bin", *others}
    for name in others:
        os.utime(tmp_path / name, times=(0, 0))  # older than a day
    write_atomic(tmp_path / "a.bin", lambda temporary: temporary.write_bytes(b"new"))
    kept = {"a.bin", f".b.bin.{GONE}.tmp", ".a.bin.tmp", ".a.bin.x.tmp", "a.bin.1.tmp", f".aXbin.{GONE}.tmp"}
    assert {path.name for path in tmp_path.iterdir()} == kept


def test_threads_that_save_the_same_file_do_not_meet(tmp_path):
    path, wrong = tmp_path / "a.bin", []

    def save(letter):
        for _ in range(40):
            try:
                write_atomic(path, lambda temporary: temporary.write_bytes(letter * 100_000))
                found = path.read_bytes()
                if found != found[:1] * 100_000:
                    wrong.append(found[:1])
            except Exception as problem:
                wrong.append(problem)

    threads = [threading.Thread(target=save, args=(bytes([65 + i]),)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and list(tmp_path.iterdir()) == [path]


SAVES = {  # what a child process does again and again, until it is killed; what is to be read afterwards
    "a notebook": (
        """
from tools.setup_cell import save_text
save = lambda: save_text(Path(folder) / "a.ipynb", "[" + "1, " * 700_000 + "1]")
""",
        lambda folder: json.loads((folder / "a.ipynb").read_text()) == [1] * 700_001,
    ),
    "a concept": (
        """
import torch
from helpers.concepts import Concept, save_concept
save = lambda: save_concept(Concept("<cat>", torch.ones(75, 8000)), folder, card="# A cat")
""",
        lambda folder: read_concept(folder).vectors.shape == (75, 8000),
    ),
    "a LoRA": (
        """
import torch
from helpers.lora import add_lora, save_lora
unet = torch.nn.ModuleDict({"to_k": torch.nn.Linear(4000, 4000), "to_q": torch.nn.Linear(4000, 4000)})
lora = add_lora(unet, rank=64, targets=("to_k", "to_q"))
save = lambda: save_lora(lora, folder)
""",
        lambda folder: load_file(folder / "pytorch_lora_weights.safetensors"),
    ),
}


def kill_while_saving(folder, kind, tries):
    """Kill a process that saves, again and again; then let one save and end. Returns how many kills left something."""
    script, whole = SAVES[kind]
    head = "import os, sys\nfrom pathlib import Path\nfolder = sys.argv[1]\n" + script
    ever = (
        head
        + (
            "for line in sys.stdin:\n"  # for each, a child of this process, which has the libraries, saves until it is killed
            "    child = os.fork()\n"
            "    if not child:\n"
            "        print(os.getpid(), flush=True)\n"
            "        while True:\n"
            "            save()\n"
            "    print(os.WTERMSIG(os.waitpid(child, 0)[1]), flush=True)\n"
        )
    )
    draw, dirty, folder = random.Random(0), 0, folder / "saved"
    folder.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", ever, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        for _ in range(tries):
            print(file=parent.stdin, flush=True)
            child = int(parent.stdout.readline())
            time.sleep(draw.uniform(0, 0.2))
            os.kill(child, signal.SIGKILL)
            assert int(parent.stdout.readline()) == signal.SIGKILL, "it ended by itself"
            dirty += any(path.suffix == ".tmp" for path in folder.rglob("*"))
            if any(path.suffix in (".ipynb", ".safetensors") for path in folder.iterdir()):
                assert whole(folder)
    subprocess.run([sys.executable, "-c", head + "save()", folder], check=True)
    assert not [path for path in folder.rglob("*") if path.suffix == ".tmp"] and whole(folder)
    return dirty


def test_a_killed_save_is_whole_or_absent_and_swept_by_the_next(tmp_path):
    kill_while_saving(tmp_path, "a notebook", 6)


@pytest.mark.hard
@pytest.mark.parametrize("kind, tries", [("a notebook", 40), ("a concept", 60), ("a LoRA", 60)])
def test_many_killed_saves_are_whole_or_absent_and_swept_by_the_next(tmp_path, kind, tries):
    assert kill_while_saving(tmp_path, kind, tries) > tries // 10, (
        "hardly a kill met a save: the test would see nothing"
    )


# Folders


def test_a_folder_that_could_not_be_filled_is_removed_and_an_old_one_kept(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "a").write_bytes(b"old")
    for folder in (tmp_path / "old", tmp_path / "new" / "deep", tmp_path / "old" / "new"):
        with pytest.raises(KeyboardInterrupt), filling(folder) as inside:
            (inside / "b").write_bytes(b"new")
            raise KeyboardInterrupt
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")} == {"old", "old/a", "old/b"}


def test_what_others_put_beside_a_failed_folder_stays(tmp_path):
    with pytest.raises(KeyboardInterrupt), filling(tmp_path / "library" / "mine"):
        (tmp_path / "library" / "theirs").mkdir()
        raise KeyboardInterrupt
    assert [path.name for path in (tmp_path / "library").iterdir()] == ["theirs"]


@pytest.mark.parametrize(
    "name, words",
    [
        ("file/x", "A file is where the folder of .* should be|There is no folder"),
        ("x" * 300, "is too long for this disk"),
        ("folder", "is a folder, so no file of that name can be saved"),
    ],
)
def test_names_that_cannot_be_saved_get_a_sentence(tmp_path, name, words):
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=words) as caught:
        write_atomic(tmp_path / name, lambda temporary: temporary.write_bytes(b"new"))
    assert "\n" not in str(caught.value) and not str(caught.value).startswith("[Errno")
    with pytest.raises(OSError, match="A file is where the folder of"):
        make_folder(tmp_path / "file")
