"""What every test shares: no network beyond this machine, two tiny models, the same torch everywhere."""

import itertools
import os
import socket
import sys
import tempfile
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
_cache = tempfile.TemporaryDirectory(prefix="hub-cache-")
os.environ["HF_HOME"] = _cache.name  # before huggingface_hub reads it: a cache of nobody's own
os.environ.pop("HF_HUB_CACHE", None)
os.environ.update(HF_HUB_ETAG_TIMEOUT="2", HF_HUB_DOWNLOAD_TIMEOUT="2")  # seconds; servers are near
os.environ.pop("COURSE_MODEL", None)
_tests, _made = itertools.count(), tempfile.TemporaryDirectory(prefix="my-course-")
os.environ["MY_COURSE"] = str(Path(_made.name) / "my_course")  # what tests make is nobody's


@pytest.fixture(autouse=True)
def my_course_folder(monkeypatch):
    """A folder of its own, not yet made, for what each test makes as a reader would."""
    folder = Path(_made.name) / str(next(_tests)) / "my_course"
    monkeypatch.setenv("MY_COURSE", str(folder))
    return folder


_connect = socket.socket.connect


def _connect_here_only(self, address):
    on_internet = self.family in (socket.AF_INET, socket.AF_INET6)
    if on_internet and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise OSError(f"a test reached for the network: {address}")
    return _connect(self, address)


socket.socket.connect = _connect_here_only


def pytest_addoption(parser):
    course = parser.getgroup("course")
    course.addoption("--gpu", action="store_true", help="load models onto a graphics card, in float16 (tests/card.py)")
    course.addoption("--float32", action="store_true", help="with --gpu: in float32")
    course.addoption("--cut", action="store_true", help="with --gpu: trainings of a few steps (tests/gpu)")


def pytest_configure(config):
    if config.getoption("--gpu"):
        import card

        card.begin("float32" if config.getoption("--float32") else "float16")


@pytest.fixture(scope="session")
def model_folders(tmp_path_factory):
    """{"postcard": folder, "sd15": folder} of tiny random models, written once a run. Do not change them."""
    from tools.random_models import SHAPES, build_model

    return {shape: build_model(tmp_path_factory.mktemp("models") / shape, shape) for shape in SHAPES}


@pytest.fixture(scope="session")
def stranger_folder(tmp_path_factory):
    """A tiny SD-1.5-shaped model without a course.json, as it would come from the Hub. Do not change it."""
    from tools.random_models import build_model

    return build_model(tmp_path_factory.mktemp("stranger") / "sd15", "sd15", trained=True)


@pytest.fixture(scope="session")
def large(tmp_path_factory):
    """The Components of a model that draws 512 x 512, with 4096 places at its finest level, like Stable Diffusion 1.5;
    its networks are thin. Do not change them."""
    from helpers import load_components
    from tools.random_models import build_model

    return load_components(
        build_model(tmp_path_factory.mktemp("large") / "sd15", "sd15", trained=True, latent=64), device="cpu"
    )


@pytest.fixture(scope="session", params=["postcard", "sd15"])
def tiny(request, model_folders):
    """The Components of both tiny models, one after the other, on the CPU, or the card. Do not change them."""
    from card import place

    from helpers import load_components

    return load_components(model_folders[request.param], device=place())


@pytest.fixture(scope="session")
def tiny_postcard(model_folders):
    """The Components of the tiny postcard-shaped model only, for tests that need not run twice."""
    from card import place

    from helpers import load_components

    return load_components(model_folders["postcard"], device=place())


@pytest.fixture(scope="session")
def fast_folder(tmp_path_factory):
    """A tiny postcard-shaped model with a variant "fast", into which guidance 3 is folded. Do not change it."""
    from tools.random_models import add_variant, build_model

    return add_variant(build_model(tmp_path_factory.mktemp("fast") / "postcard"))


@pytest.fixture(scope="session")
def tiny_fast(fast_folder):
    """The Components of that variant. Do not change them."""
    from card import place

    from helpers import load_components

    return load_components(fast_folder, device=place(), variant="fast")


@pytest.fixture(scope="session")
def browser():
    """Chromium, for the panels and the page alike: a second one beside it would be refused by playwright."""
    from tools.browser import found_browser

    path, give_up = found_browser(), pytest.fail if os.environ.get("CI") else pytest.skip
    missing = (
        "The browser tests need {}: `make test-browser` installs it, or says how. Until then nothing was moved by hand."
    )
    if path is None:
        give_up(missing.format("Chromium or Chrome"))
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        give_up(missing.format("the package playwright"))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--disable-dev-shm-usage", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def hub_cache(monkeypatch, tmp_path):
    """An empty cache of the Hub, and a client that may ask a stand-in (tests/standin_hub.py).

    `make test` keeps it offline otherwise. It does not rest between tries, and resumes a download after any
    64 kB, not 10 MB.
    """
    from huggingface_hub import constants

    sleep = time.sleep
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1 << 16)
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.01)))
    return tmp_path / "hub"
