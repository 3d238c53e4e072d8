"""`python -m tools.lab`: who can reach the server that it starts. Only this machine, and only who has its token."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """(port, token) of JupyterLab as `make lab` starts it, by the file that it writes for other programs of its user."""
    own = tmp_path_factory.mktemp("jupyter")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "COV_"))}
    env |= {f"JUPYTER_{kind}_DIR": str(own / kind.lower()) for kind in ("CONFIG", "RUNTIME", "DATA")}
    started = subprocess.Popen(
        [sys.executable, "-m", "tools.lab", "--no-browser", "--port=0", f"--notebook-dir={ROOT}"],
        cwd=ROOT,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 120
        while not (told := list((own / "runtime").glob("jpserver-*.json"))):
            assert started.poll() is None and time.monotonic() < end, "JupyterLab has not started"
            time.sleep(0.1)
        said = json.loads(told[0].read_text())
        yield said["port"], said["token"]
    finally:
        started.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            started.wait(20)
        started.kill()


def answer(server, path, method="GET", **headers):
    """(status, where it sends the asker) of the server's answer to one request."""
    connection = http.client.HTTPConnection("127.0.0.1", server[0], timeout=30)
    connection.request(method, path, headers=headers)
    reply = connection.getresponse()
    reply.read()
    connection.close()
    return reply.status, reply.getheader("Location", "")


def test_the_token_is_long_and_opens_the_server(server):
    assert re.fullmatch(r"[0-9a-f]{48}", server[1])
    assert answer(server, "/api/contents", Authorization=f"token {server[1]}")[0] == 200, (
        "the control: this server answers"
    )


@pytest.mark.parametrize(
    "method, path",
    [("GET", "/api/contents"), ("GET", "/api/kernels"), ("POST", "/api/kernels"), ("POST", "/api/contents")],
)
def test_without_the_token_nothing_is_told_and_nothing_done(server, method, path):
    assert answer(server, path, method)[0] == 403
    assert answer(server, path, method, Authorization="token " + "0" * 48)[0] == 403


def test_the_page_itself_sends_to_the_login(server):
    status, to = answer(server, "/lab")
    assert status == 302 and to.startswith("/login")


def test_a_page_of_another_name_is_turned_away(server):
    """A stranger's web page whose name was made to mean 127.0.0.1 (DNS rebinding), though it had the token."""
    assert answer(server, "/api/contents", Host="evil.example", Authorization=f"token {server[1]}")[0] == 403


def reached(address, port):
    """Whether another Python can connect to the server there; in this one tests may not reach beyond 127.0.0.1."""
    code = f"import socket; socket.create_connection(({address!r}, {port}), timeout=2).close()"
    return subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_it_listens_on_this_machine_only(server):
    """A server on all addresses would answer on 127.0.0.2, too."""
    own = {found[4][0] for found in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {"127.0.0.1"}
    assert reached("127.0.0.1", server[0])
    assert not [address for address in {"127.0.0.2", *own} if reached(address, server[0])]
