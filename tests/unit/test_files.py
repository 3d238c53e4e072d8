"""A file is written whole or not at all."""
import errno
from pathlib import Path

import pytest
from helpers.files import make_folder, write_atomic


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
    def refuse(path):
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
