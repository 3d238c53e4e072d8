"""A JupyterLab and one open notebook after the other; a folder of screenshots for a person to look at."""

import shutil
from pathlib import Path

import pytest

SCREENSHOTS = Path(__file__).parent / "screenshots"


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
