"""A model folder from the Hugging Face Hub: fetched once, then cached; every failure put in words."""

import os
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

FOLDERS = ("tokenizer", "scheduler", "text_encoder", "vae", "unet")
LICENCE = ("Its licence, CreativeML OpenRAIL-M, forbids uses that harm, deceive, harass or discriminate: "
           "https://huggingface.co/spaces/CompVis/stable-diffusion-license")
BUNDLED = 'load_components("postcard") needs no network.'


def weights_file(names):
    """Which of the files of one part holds its weights: half precision before full, and only safetensors.

    The older .bin files are pickles, which can run code when they are opened. None where no name will do.
    """
    wanted = (stem + suffix for suffix in (".fp16.safetensors", ".safetensors")
              for stem in ("model", "diffusion_pytorch_model"))
    return next((name for name in wanted if name in names), None)


def cached_folder(model_id):
    """The folder of an earlier download, perhaps not a whole one, or None. Touches no network."""
    index = try_to_load_from_cache(model_id, "model_index.json")
    return Path(index).parent if isinstance(index, str) else None


def fetch(model_id, public=False):
    """Download the parts of a model that the course uses and return their folder, a Path.

    model_id: "owner/name". public: needs no login, so none is looked for. Prints one line: how much, which
        licence.
    Raises FileNotFoundError (no such model), PermissionError (a login or accepted terms are needed) or
    ConnectionError (offline, not reached, or broken off), each one a sentence.
    """
    endpoint, token = os.environ.get("HF_ENDPOINT"), False if public else None
    try:
        info = HfApi(endpoint=endpoint, token=token).model_info(model_id, files_metadata=True, timeout=20)
        sizes = _wanted({file.rfilename: file.size or 0 for file in info.siblings})
        gigabytes = sum(sizes.values()) / 1e9
        licence = LICENCE if public else f"Its licence: https://huggingface.co/{model_id}"
        print(f"Downloading {model_id} from the Hugging Face Hub, once: {gigabytes:.1f} GB. {licence}")
        return Path(snapshot_download(model_id, allow_patterns=list(sizes), endpoint=endpoint, token=token))
    except Exception as error:  # the network errors under the library change class by version
        raise _in_words(model_id, error) from None


def _wanted(sizes):
    """Of {file: bytes} of a whole repository, those of one model: settings, words, one weight file a part."""
    wanted = {name: size for name, size in sizes.items() if name in ("model_index.json", "course.json")}
    for folder in FOLDERS:
        inside = {name.removeprefix(f"{folder}/"): size for name, size in sizes.items()
                  if name.startswith(f"{folder}/")}
        weights = weights_file(inside)
        wanted |= {f"{folder}/{name}": size for name, size in inside.items()
                   if name == weights or name.endswith((".json", ".txt"))}
    return wanted


def _in_words(model_id, error):
    """The exception to raise for what the Hub, or the way to it, answered."""
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if isinstance(error, GatedRepoError):
        return PermissionError(f"{model_id} is gated: accept its terms on https://huggingface.co/{model_id} "
                               f"and log in with `hf auth login`. {BUNDLED}")
    if isinstance(error, RepositoryNotFoundError) or status == 404:
        return FileNotFoundError(f"{model_id} is gone from the Hugging Face Hub, or private, or its name is "
                                 f"misspelt. {BUNDLED}")
    if status in (401, 403):
        return PermissionError(f"The Hugging Face Hub refused {model_id} (answer {status}): log in with "
                               f"`hf auth login`, or log out if the login is an old one. {BUNDLED}")
    if status is not None:
        return ConnectionError(f"The Hugging Face Hub answered {status} for {model_id}: load it again later; "
                               f"what has arrived is kept. {BUNDLED}")
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    return ConnectionError(f"{model_id} is not wholly in the local cache, and the Hugging Face Hub is "
                           f"unreachable or broke off ({reason}): check connection, disk and HF_HUB_OFFLINE, "
                           f"then load it again; what has arrived is kept. {BUNDLED}")
