"""A browser, a JupyterLab and one open notebook after the other; a folder of screenshots for a person to look at."""

import os
import shutil
from pathlib import Path

import pytest

from tools.browser import found_browser

SCREENSHOTS = Path(__file__).parent / "screenshots"
MISSING = (
    "The browser tests need {}: `make test-browser` installs it, or says how. "
    "Until then no panel has been moved by hand."
)


def give_up(what):
    """Skip, and say why; fail where nobody reads what was skipped."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(MISSING.format(what))


@pytest.fixture(scope="module")
def browser():
    path = found_browser()
    if path is None:
        give_up("Chromium or Chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        give_up("the package playwright")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--disable-dev-shm-usage", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def lab(browser, tmp_path_factory):
    """address(name of a notebook) of a running JupyterLab. It comes after the browser: none, then no Lab either."""
    from tools.browser.lab import running_lab

    with running_lab(tmp_path_factory.mktemp("lab")) as address:
        yield address


@pytest.fixture(scope="module")
def lesson(request, browser, lab):
    """A Lesson, all that its panels need having run. Its parameter is the file."""
    from tools.browser.lesson import Lesson

    lesson = Lesson(browser, request.param, lab(request.param.name))
    lesson.run_what_panels_need()
    yield lesson
    lesson.close()


@pytest.fixture(scope="session")
def screenshots():
    """An empty folder; what is put there stays after the tests."""
    shutil.rmtree(SCREENSHOTS, ignore_errors=True)
    SCREENSHOTS.mkdir()
    return SCREENSHOTS


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """One lesson after the other: left alone, pytest mixes them, and each return to a lesson runs it anew."""
    items.sort(key=lambda item: getattr(item, "callspec", None) and str(item.callspec.params.get("lesson")) or "")


def pytest_terminal_summary(terminalreporter):
    if SCREENSHOTS.exists() and any(SCREENSHOTS.iterdir()):
        count = len(list(SCREENSHOTS.iterdir()))
        terminalreporter.write_line(f"{count} pictures of the panels to look at: {SCREENSHOTS}")
