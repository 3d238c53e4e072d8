"""Files appear whole or not at all."""
import os
from pathlib import Path


def write_atomic(path, write):
    """`write(temporary path)`, then move it into place: a reader sees the old file or the new one, never half.

    Whatever `write` raises is passed on, and leaves the old file and nothing beside it.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
