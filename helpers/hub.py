"""A folder from the Hugging Face Hub: fetched once, then cached; every failure put in words.

The client is huggingface_hub, so its environment variables hold: HF_ENDPOINT (another address of the Hub),
HF_HOME (where the cache lies), HF_HUB_OFFLINE, HF_HUB_ETAG_TIMEOUT and HF_HUB_DOWNLOAD_TIMEOUT (seconds to
wait for an answer, and for the next bytes of a file).
"""

import errno
import hashlib
import os
import re
from pathlib import Path

from huggingface_hub import HfApi, constants, errors, hf_hub_download, snapshot_download

from helpers import inputs

ID = re.compile(r"\w[\w.-]*/[\w.-]+")  # "owner/name"
AGAIN = "load it again; the files that have arrived whole are kept."
NOT_WRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST}
FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}  # Windows knows no quota
FOLDERS = ("tokenizer", "scheduler", "text_encoder", "vae", "unet")


def folder(repo_id, wanted, whole, public=False, licence=None, instead=""):
    """The local folder of a repository of the Hub: from the cache if it is whole there, else fetched. A Path.

    repo_id: "owner/name". wanted: a function from {file: bytes} of the whole repository to those to fetch.
    whole: a function that returns the folder it is given, or raises FileNotFoundError or ValueError where a
        file is missing or damaged. public: needs no login, so none is looked for.
    licence: a sentence, printed before a download. instead: a sentence about what works without one, the
        end of every failure's message.
    Raises FileNotFoundError (no such repository), PermissionError (it wants a login, or the cache can not be
    written), ConnectionError (offline, not reached, broken off), OSError (disk full) or what `whole` raises.
    """
    cached = cached_folder(repo_id)
    try:
        if cached:
            return whole(cached)
    except (FileNotFoundError, ValueError):
        pass  # an earlier download broke off, or a file was damaged since: go on with it
    fetched = _fetch(repo_id, wanted, cached, public, licence, instead)
    if fetched is None:
        raise FileNotFoundError(f"{repo_id} holds nothing of the kind that was asked for. {instead}".strip())
    return whole(fetched)


def cached_folder(repo_id):
    """The folder of an earlier download, perhaps not a whole one, or None. Touches no network."""
    try:
        return Path(snapshot_download(repo_id, local_files_only=True, allow_patterns=[]))
    except errors.LocalEntryNotFoundError:
        return None
    except errors.HFValidationError:
        raise ValueError(
            f"{inputs.shown(repo_id)} is no id that the Hugging Face Hub takes: use one such as "
            '"owner/name", of plain letters, digits and single - _ . up to 96 in all.'
        ) from None


def model_files(sizes):
    """From {file: bytes} of a whole repository, the files of one model: settings, vocabulary, one weight file a network."""
    wanted = {name: size for name, size in sizes.items() if name in ("model_index.json", "course.json")}
    for part in FOLDERS:
        inside = {name.removeprefix(f"{part}/"): size for name, size in sizes.items() if name.startswith(f"{part}/")}
        weights = weights_file(inside)
        wanted |= {
            f"{part}/{name}": size
            for name, size in inside.items()
            if name == weights or name.endswith((".json", ".txt"))
        }
    return wanted


def weights_file(names):
    """Which of the files of one part holds its weights: half precision before full, and only safetensors.

    The older .bin files are pickles, which can run code when they are opened. None where no name will do.
    """
    wanted = (
        stem + suffix
        for suffix in (".fp16.safetensors", ".safetensors")
        for stem in ("model", "diffusion_pytorch_model")
    )
    return next((name for name in wanted if name in names), None)


def _fetch(repo_id, wanted, cached, public, licence, instead):
    """Download the wanted files that the cache lacks; the folder, or None where none is wanted.

    Prints one line: how much, which licence. File by file, so that the kernel's stop button stops it; a file
    that breaks off is asked for again from where it broke, and gets its name only once it is whole.
    """
    endpoint, token = os.environ.get("HF_ENDPOINT"), False if public else None
    try:
        info = HfApi(endpoint=endpoint, token=token).model_info(
            repo_id, files_metadata=True, timeout=constants.HF_HUB_ETAG_TIMEOUT
        )
        files = {file.rfilename: file for file in info.siblings}
        sizes = wanted({name: file.size or 0 for name, file in files.items()})
        if not sizes:
            return None
        kept = {name for name in sizes if cached and _kept(cached / name, files[name])}
        print(
            f"Downloading {repo_id} from the Hugging Face Hub, once: {_amount(sum(sizes[name] for name in sizes.keys() - kept))}. "
            f"{licence or f'Its licence: https://huggingface.co/{repo_id}'}"
        )
        for name in sizes:
            hf_hub_download(repo_id, name, endpoint=endpoint, token=token)
    except Exception as error:  # the network errors under the library change class by version
        raise _in_words(repo_id, error, instead) from None
    return cached_folder(repo_id)


def _kept(file, told):
    """Whether a cached file is what the Hub tells of it, a RepoSibling. One that is not is removed, and the blob that its link
    points to: the right size does not do, as a power cut may leave all of a file's bytes 0."""
    if not file.is_file():
        return False
    size = file.stat().st_size
    large = told.lfs and told.lfs.sha256  # other files are known by git's name for them
    begun = hashlib.sha256() if large else hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with open(file, "rb") as content:
        digest = hashlib.file_digest(content, lambda: begun).hexdigest()
    if told.size in (None, size) and (large or told.blob_id) in (None, digest):
        return True
    file.resolve().unlink()
    file.unlink(missing_ok=True)
    return False


def _amount(size):
    """A number of bytes for readers: "2.1 GB", "3.4 kB"."""
    unit, name = (1e9, "GB") if size >= 1e9 else (1e6, "MB") if size >= 1e6 else (1e3, "kB")
    return f"{size / unit:.1f} {name}"


def _in_words(repo_id, error, instead):
    """The exception to raise: what went wrong with the Hub, the way to it or the disk, and what to do."""
    causes = [error]
    while causes[-1].__cause__:
        causes.append(causes[-1].__cause__)
    answer = next((one for one in causes if isinstance(one, errors.HfHubHTTPError)), None)
    kind, words = _refused(repo_id, answer) if answer else _not_reached(repo_id, causes)
    if os.path.isdir(repo_id.partition("/")[0]):  # so a path may have been meant
        words = f"There is no folder {repo_id} here, so it was taken for an id of the Hub. {words}"
    return kind(f"{words} {instead}".strip())


def _refused(repo_id, answer):
    """(class, sentence) for an answer of the Hub that is no file."""
    status = answer.response.status_code
    if isinstance(answer, errors.GatedRepoError):
        return PermissionError, (
            f"{repo_id} is gated: accept its terms on https://huggingface.co/{repo_id} and log in with `hf auth login`."
        )
    if isinstance(answer, errors.RepositoryNotFoundError) or status == 404:
        return FileNotFoundError, (
            f"{repo_id} is gone from the Hugging Face Hub, or private, or its name is "
            "misspelt: look for it on https://huggingface.co."
        )
    if status in (401, 403):
        return PermissionError, (
            f"The Hugging Face Hub refused {repo_id} (answer {status}): log in with "
            "`hf auth login`, or log out if the login is an old one."
        )
    return ConnectionError, f"The Hugging Face Hub answered {status} for {repo_id}: later, {AGAIN}"


def _not_reached(repo_id, causes):
    """(class, sentence) where no Hub answered, or the disk took no more. causes: errors, the deepest last."""
    number = getattr(causes[0], "errno", None)
    if any(isinstance(one, errors.OfflineModeIsEnabled) for one in causes):
        return ConnectionError, (
            f"{repo_id} is not wholly in the local cache, and HF_HUB_OFFLINE forbids to "
            "fetch it: unset that variable, restart the kernel, and load it again."
        )
    if number in NOT_WRITABLE:
        return PermissionError, (
            f"The cache {constants.HF_HUB_CACHE} can not be written: set HF_HOME to a "
            f"folder of your own, restart the kernel, and load {repo_id} again."
        )
    if number in FULL:
        return OSError, f"The disk is full: make room in {constants.HF_HUB_CACHE}, then {AGAIN}"
    if isinstance(causes[0], ValueError):
        return ConnectionError, (
            f"What answered for {repo_id} is not the Hugging Face Hub, but perhaps a "
            "network that wants you to sign in, or a wrong HF_ENDPOINT: see to it, "
            f"then {AGAIN}"
        )
    reason = inputs.first_line(causes[-1], 160)
    return ConnectionError, (
        f"{repo_id} is not wholly in the local cache, and the Hugging Face Hub is "
        f"unreachable or broke off ({reason}): check the connection, then {AGAIN}"
    )
