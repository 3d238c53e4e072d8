"""Writing files whole or not at all, and opening files from strangers with care."""

import errno
import itertools
import os
import platform
import re
import shutil
import stat
import time
import zlib
from contextlib import contextmanager, suppress
from pathlib import Path

FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}  # Windows knows no quota
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
# How libraries say that a write fell short, where they keep the system's number to themselves.
FULL_WORDS = re.compile(r"os error (28|122)\b|No space left on device|[Dd]isk quota exceeded")
SHORT_WORDS = re.compile(r"unexpected pos \d+|iostream error|requested and \d+ written|file write failed")
DAY = 86_400  # seconds: a file that is being written is not so old
HOST = f"{zlib.crc32(platform.node().encode()):08x}"  # a process's number means something on its own machine only
_numbers, _writing = itertools.count(), set()  # what this process is writing at the moment


# Writing


def write_atomic(path, write):
    """`write(temporary path)`, then move it into place: a reader sees the old file or the new one, never half.

    Whatever `write` raises is passed on, and leaves the old file and nothing beside it; where the disk, or
    a quota, was full, OSError says so in a sentence. Temporary files of this file that killed processes have left
    are removed. PermissionError, FileNotFoundError or IsADirectoryError, before `write` is called, where
    the file cannot be written.
    """
    path = Path(path)
    if os.path.isdir(path):  # Path.is_dir raises for a name that is too long
        raise IsADirectoryError(f"{path} is a folder, so no file of that name can be saved: choose another name.")
    _sweep(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{HOST}.{next(_numbers)}.tmp")
    _writing.add(temporary.name)
    try:
        try:
            temporary.touch(exist_ok=False)
        except OSError as error:
            raise _in_words(error, path) from None
        try:
            write(temporary)
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except Exception as error:
            if _is_full(error, temporary):
                raise _no_room(path) from None
            raise
    finally:
        with suppress(OSError):  # where it could not be made, there is none; any other is swept by the next save
            temporary.unlink()
        _writing.discard(temporary.name)


def make_folder(path):
    """Make the folder `path`, and those above it, where it is missing; returns it as a Path. OSError in a sentence:
    PermissionError where it may not be made, FileExistsError or NotADirectoryError where a file is in its place."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _in_words(error, path) from None
    return path


@contextmanager
def filling(path):
    """`with filling(path) as folder:` a folder to write several files into, made where it is missing, as a Path.

    Where the block raises, a folder that was not there before is removed again, with those above it that were made.
    """
    path = Path(path)
    missing = [one for one in (path, *path.parents) if not one.exists()]
    try:
        yield make_folder(path)
    except BaseException:
        if missing:
            shutil.rmtree(path, ignore_errors=True)
        for parent in missing[1:]:
            with suppress(OSError):
                parent.rmdir()  # unless somebody has put something there
        raise


def save_picture(image, file, format, **options):
    """`image.save(file, format, **options)`, of a copy: Pillow keeps the options of a save on the image itself, and a
    second thread that saves the same image at the same time would lose them."""
    image.copy().save(file, format, **options)


def _in_words(error, path):
    """The error to raise where `path` could not be made."""
    if error.errno in FORBIDDEN:
        return PermissionError(
            f"You may not write in {path.parent.absolute()}: save {path.name} in a folder of your own."
        )
    if error.errno in FULL:
        return _no_room(path)
    if error.errno == errno.ENOENT:
        return FileNotFoundError(f"There is no folder {path.parent.absolute()} to save {path.name} in: make it first.")
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        return type(error)(f"A file is where the folder of {path} should be: choose another name.")
    if error.errno == errno.ENAMETOOLONG:
        return OSError(f"The name {path.name[:60]}... is too long for this disk: choose a shorter one.")
    return error


def _no_room(path):
    error = OSError(
        f"The disk is full, or your quota is used up: {path.name} was not saved, and what was there before is "
        f"unchanged; make room in {path.parent.absolute()}, or save in another place."
    )
    error.errno = errno.ENOSPC
    return error


def _is_full(error, temporary):
    """Whether a write failed because the disk was full, however the library worded it."""
    causes = [error]
    while causes[-1] is not None and len(causes) < 20:
        causes.append(causes[-1].__cause__ or causes[-1].__context__)
    causes = [cause for cause in causes if cause is not None]
    if any(isinstance(cause, OSError) and cause.errno in FULL or FULL_WORDS.search(str(cause)) for cause in causes):
        return True
    if not any(SHORT_WORDS.search(str(cause)) for cause in causes):
        return False
    try:  # it fell short, and does not say why: is there room for a little more?
        with open(temporary, "ab") as file:
            file.write(bytes(1 << 20))
            file.flush()
            os.fsync(file.fileno())
    except OSError as again:
        return again.errno in FULL
    return False


def _sweep(path):
    """Remove the temporary files of `path` whose process is gone, and those that are older than a day."""
    left = re.compile(rf"\.{re.escape(path.name)}\.(\d+)(?:\.([0-9a-f]{{8}})\.\d+)?\.tmp")
    try:
        names = os.listdir(path.parent)
    except OSError:
        return  # what is wrong with the folder is said where the file is made
    for name in names:
        match = left.fullmatch(name)
        if match and name not in _writing and _is_left(path.with_name(name), int(match[1]), match[2] or HOST):
            with suppress(OSError):  # somebody else's, or swept by another save a moment ago
                path.with_name(name).unlink()


def _is_left(file, process, host):
    try:
        old = time.time() - file.lstat().st_mtime > DAY
    except OSError:
        return False
    return old or host == HOST and (process == os.getpid() or not _alive(process))


def _alive(process):
    """Whether a process runs on this machine. Windows cannot be asked without ending it: there, only age counts."""
    if os.name == "nt":
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True  # another user's
    return True


# Reading what strangers give


def open_file(path, largest, noun=""):
    """A file opened to be read in bytes. Only a regular one: a device, a pipe or a socket may never end.

    largest: bytes it may have. noun: what it is to be, such as "picture".
    FileNotFoundError where there is none; PermissionError; ValueError for what is no file, or too large.
    """
    kind = f"{noun} file".strip()
    try:
        # Opening a pipe waits for its other end, unless it is told not to.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"There is no {kind} {path}: check the path.") from None
    except PermissionError:
        if os.path.isdir(path):  # Windows opens no folder
            raise FileNotFoundError(f"There is no {kind} {path}, it is a folder: check the path.") from None
        raise PermissionError(f"You may not read {path}: ask its owner, or use a copy.") from None
    except (OSError, ValueError) as error:  # a socket, a loop of links, a zero in the name
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"{path} cannot be opened ({reason}): use a plain file.") from None
    about = os.fstat(handle)
    if stat.S_ISREG(about.st_mode) and about.st_size <= largest:
        return os.fdopen(handle, "rb")
    os.close(handle)
    if stat.S_ISDIR(about.st_mode):
        raise FileNotFoundError(f"There is no {kind} {path}, it is a folder: check the path.")
    if not stat.S_ISREG(about.st_mode):
        raise ValueError(f"{path} is {_kind(about.st_mode)}, which may never end: use a plain file.")
    raise ValueError(
        f"{path} has {about.st_size / 1e6:,.0f} MB, and a {kind} may have at most "
        f"{largest / 1e6:,.0f} MB: it is not opened."
    )


def _kind(mode):
    kinds = {stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket", stat.S_ISCHR: "a device", stat.S_ISBLK: "a device"}
    return next((name for test, name in kinds.items() if test(mode)), "no file")


def what_came_instead(path):
    """A sentence if a file is not what was meant to be downloaded but something sent in its place, else "".

    That is a pointer of Git LFS (what `git clone` leaves without git-lfs) or a page of a website.
    """
    try:
        with open_file(path, float("inf")) as file:
            start = file.read(1024)
    except (OSError, ValueError):
        return ""
    if start.startswith(b"version https://git-lfs.github.com/spec/"):
        return (
            f"{path} is not the file itself but a pointer of Git LFS, a few lines of text: run `git lfs pull` in its "
            "repository, or download the file from its web page."
        )
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return (
            f"{path} is a web page (HTML), not the file itself: use the download link, not the address of the page "
            "that shows the file."
        )
    return ""
