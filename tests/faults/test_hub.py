"""The real client of the Hub against a stand-in that answers wrongly, slowly, by half or not at all."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import huggingface_hub
import pytest
from standin_hub import StandInHub, damaged, drip, half, hang_up, login_page, nothing, stall, status

from helpers import hub as hub_module
from helpers import load_components

SD15 = "stable-diffusion-v1-5/stable-diffusion-v1-5"
UNET = "*unet/diffusion_pytorch_model.safetensors"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def hub(monkeypatch, hub_cache, model_folders):
    """A stand-in that serves the tiny SD-1.5-shaped model as "sd15", among files the course must not take."""
    with StandInHub() as server:
        files = {
            path.relative_to(model_folders["sd15"]).as_posix(): path.read_bytes()
            for path in model_folders["sd15"].rglob("*")
            if path.is_file()
        }
        others = ("v1-5-pruned.ckpt", "unet/diffusion_pytorch_model.bin", "safety_checker/model.safetensors")
        server.add(SD15, files | dict.fromkeys(others, b"not for the course"))
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def load():
    c = load_components("sd15", device="cpu")
    assert (c.name, c.latent_shape, c.text_encoder.config.hidden_size) == ("sd15", (4, 24, 24), 768)
    return c


def assert_sentence(error, kind, words):
    """One line of plain words that ends with the way out, and no chain of tracebacks before it."""
    text = str(error.value)
    assert type(error.value) is kind and re.search(words, text), text
    assert text.endswith('load_components("postcard") needs no network.') and "\n" not in text
    assert len(text) < 500 and error.value.__suppress_context__


def assert_the_next_try_works(hub):
    """Nothing that is half-written stands in the way: the stand-in is well again, and the model loads."""
    hub.is_well()
    load()
    assert not list(Path(huggingface_hub.constants.HF_HUB_CACHE).rglob("*.incomplete"))


# All is well


def test_it_is_downloaded_once_and_then_read_from_the_cache(hub, monkeypatch, capsys):
    load()
    told = capsys.readouterr().out
    assert told.startswith(f"Downloading {SD15} from the Hugging Face Hub, once: 21.1 MB. Its licence, ")
    assert told.count("\n") == 1
    taken = [one.path for one in hub.asked if one.method == "GET" and not one.path.startswith("/api/")]
    assert len(taken) == len(set(taken)) and not re.search("ckpt|bin|safety", " ".join(taken))
    assert {one.token for one in hub.asked} == {None}, "a public model needs no login"
    hub.is_well()
    load()
    assert hub.asked == [] and capsys.readouterr().out == ""


def test_the_cache_serves_offline(hub, monkeypatch, capsys):
    load()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    hub.is_well()
    load()
    assert hub.asked == []


def test_any_repository_of_that_shape_will_do(hub, model_folders, capsys):
    hub.add("someone/some-model", model_folders["postcard"])
    assert load_components("someone/some-model", device="cpu").latent_shape == (4, 16, 16)
    assert "Its licence: https://huggingface.co/someone/some-model" in capsys.readouterr().out


def test_course_model_may_name_it(hub, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_MODEL", "sd15")
    assert load_components("postcard", device="cpu").latent_shape == (4, 24, 24)
    assert 'sd15 takes the place of "postcard"' in capsys.readouterr().out


def test_where_a_path_may_have_been_meant_it_says_that_there_is_no_such_folder(hub, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    for name, there in {"models/mine": True, "someone/some-model": False}.items():
        with pytest.raises(ConnectionError, match="not wholly in the local cache") as error:
            load_components(name, device="cpu")
        said = f"There is no folder {name} here, so it was taken for an id of the Hub. "
        assert str(error.value).startswith(said) == there


# Half a file, a slow drip


def test_a_broken_download_goes_on_where_it_broke(hub):
    hub.goes_wrong(half, "/elsewhere/" + UNET, times=2)
    load()
    starts = [one.start for one in hub.asked if one.method == "GET" and "/unet/diffusion" in one.path]
    assert len(starts) == 3 and 0 == starts[0] < starts[1] < starts[2]


def test_a_slow_drip_arrives(hub):
    hub.goes_wrong(drip(pieces=10, pause=0.03), "/elsewhere/*")
    load()


def test_a_line_that_falls_silent_is_taken_up_again(hub):
    hub.goes_wrong(stall, "/elsewhere/" + UNET, times=1)
    load()
    starts = [one.start for one in hub.asked if one.path.startswith("/elsewhere/") and "/unet/" in one.path]
    assert len(starts) == 2 and starts[0] == 0 < starts[1]


def test_files_that_arrived_whole_are_kept(hub):
    hub.goes_wrong(hang_up, "/elsewhere/" + UNET)
    with pytest.raises(ConnectionError) as error:
        load()
    assert_sentence(error, ConnectionError, r"broke off \(.*disconnected.*that have arrived whole are kept")
    before = {one.path for one in hub.asked if one.method == "GET" and one.path.startswith("/elsewhere/")}
    hub.is_well()
    load()
    again = {one.path for one in hub.asked if one.method == "GET" and one.path.startswith("/elsewhere/")}
    assert len(before) == 3 and len(again) == 1 and "/unet/" in again.pop()


def test_a_broken_download_is_not_taken_for_a_model_offline(hub, monkeypatch):
    hub.goes_wrong(hang_up, "/elsewhere/" + UNET)
    with pytest.raises(ConnectionError):
        load()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConnectionError) as error:
        load()
    assert_sentence(error, ConnectionError, "not wholly in the local cache, and HF_HUB_OFFLINE forbids")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    assert_the_next_try_works(hub)


@pytest.mark.parametrize("file", [UNET, "*text_encoder/model.safetensors"])
def test_half_a_file_that_calls_itself_whole_is_fetched_again(hub, file):
    hub.goes_wrong(damaged, file)
    with pytest.raises((ConnectionError, ValueError), match="broke off|damaged"):
        load()
    assert_the_next_try_works(hub)


def test_a_file_damaged_in_the_cache_is_fetched_again(hub):
    file = load().path / "vae" / "diffusion_pytorch_model.safetensors"
    with open(file, "r+b") as opened:
        opened.truncate(1000)
    hub.is_well()
    load()
    assert [one.path for one in hub.asked if one.method == "GET" and one.start == 0 and "vae" in one.path]
    assert not any("unet" in one.path for one in hub.asked if one.method == "GET")


@pytest.mark.parametrize("file", ["vae/diffusion_pytorch_model.safetensors", "unet/config.json"])
def test_a_file_of_the_right_size_and_other_bytes_is_fetched_again_and_alone(hub, file, capsys):
    """As a power cut leaves it: all zeros."""
    file = load().path / file
    file.write_bytes(bytes(file.stat().st_size))
    hub.is_well(), capsys.readouterr()
    load()
    arrived = [one.path for one in hub.asked if one.method == "GET" and "/api/" not in one.path]
    assert len({path.split("/")[-1] for path in arrived}) == 1 and file.name in arrived[0]
    size = file.stat().st_size
    assert f"once: {size / 1e6:.1f} MB" in (told := capsys.readouterr().out) or f"once: {size / 1e3:.1f} kB" in told


def test_a_download_that_is_killed_leaves_nothing_in_the_way(hub, hub_cache):
    hub.goes_wrong(drip(pieces=1000, pause=0.2), "/elsewhere/" + UNET)
    code = f"from helpers import hub; hub.folder({SD15!r}, hub.model_files, lambda folder: folder)"
    variables = {**os.environ, "HF_HUB_CACHE": str(hub_cache), "HF_HUB_OFFLINE": "0", "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen(
        [sys.executable, "-c", code], env=variables, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    until = time.monotonic() + 60
    while not any(one.path.startswith("/elsewhere/") and "/unet/" in one.path for one in list(hub.asked)):
        assert child.poll() is None and time.monotonic() < until
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()
    hub.is_well()
    load()
    assert any("/unet/" in one.path for one in hub.asked), "the broken file"
    assert not any("/vae/config.json" in one.path for one in hub.asked if one.method == "GET"), "a whole one"


# The wrong answer, or none


@pytest.mark.parametrize(
    "fault, kind, words",
    [
        (status(404, "RepoNotFound"), FileNotFoundError, "is gone from the Hugging Face Hub.*look for it"),
        (status(401, "RepoNotFound"), FileNotFoundError, "is gone from the Hugging Face Hub, or private"),
        (status(401, "GatedRepo"), PermissionError, "is gated: accept its terms"),
        (
            status(401, None, "Invalid credentials in Authorization header"),
            PermissionError,
            r"refused .* \(answer 401\): log in",
        ),
        (status(403), PermissionError, r"refused .* \(answer 403\): log in"),
        (status(429), ConnectionError, "answered 429 .* later, load it again"),
        (status(500), ConnectionError, "answered 500 .* later, load it again"),
        (status(503), ConnectionError, "answered 503 .* later, load it again"),
        (login_page, ConnectionError, "is not the Hugging Face Hub, but perhaps a network"),
        (half, ConnectionError, "unreachable or broke off"),
        (hang_up, ConnectionError, r"unreachable or broke off \(.*disconnected"),
        (nothing, ConnectionError, r"unreachable or broke off \(.*timed out"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_the_hub_answers_is_put_in_words(hub, hub_cache, fault, kind, words):
    hub.goes_wrong(fault)
    with pytest.raises(kind) as error:
        load()
    assert_sentence(error, kind, words)
    assert not hub_cache.exists()


@pytest.mark.parametrize(
    "fault, kind, words",
    [
        (status(500), ConnectionError, "answered 500 .* later, load it again"),
        (status(403), PermissionError, r"refused .* \(answer 403\)"),
        (status(404, "EntryNotFound"), FileNotFoundError, "is gone from the Hugging Face Hub"),
        (hang_up, ConnectionError, "unreachable or broke off"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
@pytest.mark.parametrize("method, paths", [("HEAD", "*/unet/config.json"), ("GET", UNET)])
def test_what_goes_wrong_on_the_way_is_put_in_words(hub, fault, kind, words, method, paths):
    hub.goes_wrong(fault, paths, method)
    with pytest.raises(kind) as error:
        load()
    assert_sentence(error, kind, words)
    assert_the_next_try_works(hub)


@pytest.fixture
def nobody():
    """An address of this machine where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


def test_a_hub_that_is_not_there_is_unreachable(hub_cache, nobody, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", nobody)
    with pytest.raises(ConnectionError) as error:
        load()
    assert_sentence(error, ConnectionError, r"unreachable or broke off \(.*refused\): check the connection")


def test_the_bundled_model_needs_no_hub(hub_cache, nobody, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", nobody)
    assert load_components("postcard", device="cpu").name == "postcard"


def test_with_course_model_the_way_out_is_to_unset_it(hub_cache, nobody, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", nobody)
    monkeypatch.setenv("COURSE_MODEL", "sd15")
    with pytest.raises(ConnectionError, match="Without COURSE_MODEL, load_components"):
        load_components("postcard")


# The disk


def test_a_cache_that_can_not_be_written(hub, hub_cache):
    hub_cache.parent.mkdir(exist_ok=True)
    hub_cache.write_text("a file where the folder should be")
    with pytest.raises(PermissionError) as error:
        load()
    assert_sentence(error, PermissionError, "can not be written: set HF_HOME to a folder of your own")
    hub_cache.unlink()
    assert_the_next_try_works(hub)


def test_a_full_disk(hub, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(hub_module, "hf_hub_download", full)
    with pytest.raises(OSError, match="is full") as error:
        load()
    assert_sentence(error, OSError, "The disk is full: make room in .*, then load it again")


# Other kinds of repository


def test_a_folder_of_any_kind_is_fetched_the_same_way(hub, capsys):
    hub.add(
        "someone/a-word",
        {
            "learned_embeds.safetensors": b"v" * 3072,
            "token_identifier.txt": b"<cat>",
            "concept_images/0.jpeg": b"a picture",
        },
    )

    def wanted(files):
        return {name: size for name, size in files.items() if "/" not in name}

    for _ in range(2):
        folder = hub_module.folder("someone/a-word", wanted, lambda folder: folder, public=True)
    assert {path.name for path in folder.iterdir()} == {"learned_embeds.safetensors", "token_identifier.txt"}
    assert "once: 3.1 kB. Its licence" in (told := capsys.readouterr().out) and told.count("\n") == 1
    instead = "The course's own words need no network."
    with pytest.raises(FileNotFoundError, match=f"someone/none is gone .* {instead}$"):
        hub_module.folder("someone/none", wanted, lambda folder: folder, instead=instead)


def test_a_repository_of_another_kind_is_named(hub):
    hub.add("someone/text", {"README.md": b"words", "pytorch_model.bin": b"a pickle"})
    with pytest.raises(FileNotFoundError, match="someone/text holds nothing of the .* needs no network.$"):
        load_components("someone/text", device="cpu")
