"""Files appear whole or not at all."""
import errno
import os
from pathlib import Path


def write_atomic(path, write):
    """`write(temporary path)`, then move it into place: a reader sees the old file or the new one, never half.

    Whatever `write` raises is passed on, and leaves the old file and nothing beside it. PermissionError,
    before `write` is called, where the folder can not be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.touch()
    except OSError as error:
        raise _in_words(error, path) from None
    try:
        write(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def make_folder(path):
    """Make the folder `path`, and those above it, where it is missing; returns it as a Path. PermissionError as above."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _in_words(error, path) from None
    return path


def _in_words(error, path):
    """The error to raise where `path` could not be made."""
    if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
        return error
    return PermissionError(f"You may not write in {path.parent.absolute()}: save {path.name} in a folder of your own.")
