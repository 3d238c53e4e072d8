"""What tests of the page need: node, the runtime from npm, the exported model, a browser; what is missing is named."""

import json
import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from helpers import load_components
from helpers.concepts.loading import with_concepts
from tools import export_web, web
from tools.web import server

WEB = Path(__file__).resolve().parents[2] / "web"
READ = """import { text } from "node:stream/consumers";
const given = JSON.parse(await text(process.stdin));
const answer = await (async () => { %s })();
process.stdout.write(JSON.stringify(answer));"""


def give_up(what, how):
    """Skip, and say why; fail where nobody reads what was skipped."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(f"This test of the page needs {what}: {how}.")


@pytest.fixture(scope="session")
def javascript():
    """javascript(code, given): what code returns, run by node in web/; `given` is there under this name."""
    node = shutil.which("node")
    if node is None:
        give_up("node 20 or newer", "install Node.js")

    def run(code, given=None):
        done = subprocess.run(
            [node, "--input-type=module", "--eval", READ % code],
            cwd=WEB,
            input=json.dumps(given),
            timeout=300,
            capture_output=True,
            text=True,
            encoding="utf-8",
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout)

    return run


@pytest.fixture(scope="session")
def c():
    """The bundled model with the concepts that the page offers."""
    c = load_components("postcard", device="cpu")
    return with_concepts(c, *export_web.library(c))


@pytest.fixture(scope="session")
def fast():
    """Its variant that the page begins with, with the same concepts."""
    fast = load_components("postcard-fast", device="cpu")
    return with_concepts(fast, *export_web.library(fast))


@pytest.fixture(scope="session")
def exported():
    """web/model, written by `make web`, and the runtime from npm in web/node_modules."""
    if not (WEB / "node_modules" / "onnxruntime-web").is_dir() or not (WEB / "model" / "facts.json").is_file():
        give_up("the exported model and onnxruntime-web", "make web and make test-browser get them")
    return WEB / "model"


@pytest.fixture(scope="session")
def address(browser, exported):
    """Where the page is served, built anew from what is in web/."""
    with server(web.build(), 0) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()
