"""A file is written whole or not at all."""
import pytest
from helpers.files import write_atomic


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
