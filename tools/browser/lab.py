"""A JupyterLab of its own: nothing of the user's is read, nothing in the checkout is written, loopback only."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PRIVATE = {
    "JUPYTER_CONFIG_DIR": "config",
    "JUPYTER_DATA_DIR": "data",
    "JUPYTER_RUNTIME_DIR": "runtime",
    "JUPYTERLAB_SETTINGS_DIR": "settings",
    "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
    "IPYTHONDIR": "ipython",
}
NO_NEWS = "@jupyterlab/apputils-extension/notification.jupyterlab-settings"  # else a question lies over the page
START_SECONDS = 120


@contextmanager
def running_lab(folder):
    """Serve a copy of the notebooks from `folder` (Path, empty). Yields address(name) -> the page of a notebook."""
    course, port, token = copied_course(folder / "course"), free_port(), secrets.token_hex(16)
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.open_browser": False,
        "ServerApp.root_dir": course,
        "IdentityProvider.token": token,
        "LabApp.expose_app_in_browser": True,
        "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
        "LabApp.extension_manager": "readonly",
    }
    (folder / "settings" / NO_NEWS).parent.mkdir(parents=True)
    (folder / "settings" / NO_NEWS).write_text('{"fetchNews": "false"}')
    said = (folder / "server.log").open("w+")
    server = subprocess.Popen(
        [sys.executable, "-m", "tools.lab", *(f"--{k}={v}" for k, v in options.items())],
        cwd=course,
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=said,
        stderr=said,
    )
    try:
        wait_until_up(f"http://127.0.0.1:{port}/api/status?token={token}", server, said.name)
        yield lambda name: f"http://127.0.0.1:{port}/lab/tree/notebooks/{name}?token={token}&reset"
    finally:
        server.terminate()  # it ends its kernels first
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
        said.close()


def copied_course(folder):
    """A folder like the checkout: links to all that is in it, but notebooks that may be written to."""
    folder.mkdir(parents=True)
    for entry in ROOT.iterdir():
        if entry.name != "notebooks" and not entry.name.startswith("."):
            (folder / entry.name).symlink_to(entry)
    shutil.copytree(ROOT / "notebooks", folder / "notebooks", ignore=shutil.ignore_patterns(".*"))
    return folder


def environment(folder):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("COURSE_", "JUPYTER"))}
    private = {name: str(folder / sub) for name, sub in PRIVATE.items()}
    return kept | private | {"HF_HUB_OFFLINE": "1"}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_up(url, server, log):
    for _ in range(START_SECONDS * 4):
        if server.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.25)
    raise RuntimeError(f"JupyterLab did not start:\n{Path(log).read_text()[-2000:]}")
