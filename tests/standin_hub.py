"""A stand-in for the Hugging Face Hub on this machine, for its real client; standard library only.

    with StandInHub() as hub:                       hub.url goes into HF_ENDPOINT
        hub.add("owner/name", folder)               a folder, or {file name: bytes}
        hub.goes_wrong(nothing, "*.safetensors")    every answer to a matching path, from now on
        hub.asked                                   what was asked: Request(method, path, start, token)

    python tests/standin_hub.py owner/name=FOLDER   runs until stopped, and prints how to use it

It speaks the part of the protocol that downloads need: /api/models/ID, with the sizes of its files; their
listing, /api/models/ID/tree/REVISION; HEAD and GET of /ID/resolve/REVISION/FILE, with X-Repo-Commit and ETag;
for large files a redirect with X-Linked-Size and X-Linked-ETag to another host, which answers ranges.
"""

import contextlib
import fnmatch
import hashlib
import json
import re
import sys
import threading
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

COMMIT = "c0ffee" + "0" * 34
LARGE = (".safetensors", ".bin", ".ckpt")  # kept elsewhere by the real Hub
Request = namedtuple("Request", "method path start token")


# What can go wrong: functions of the handler, which send something else, or the answer in another way


def status(code, error=None, message=None):
    """An error answer. error: the Hub's own word for it, such as "RepoNotFound" or "GatedRepo"."""
    headers = {"X-Error-Code": error, "X-Error-Message": message}
    return lambda handler: handler.send(code, b"{}", **{name: text for name, text in headers.items() if text})


def hang_up(handler):
    """Take the question, then close the line."""
    handler.close_connection = True


def nothing(handler):
    """Take the question, and stay silent until the server stops."""
    handler.server.stopped.wait()
    handler.close_connection = True


def login_page(handler):
    """What a network says that wants its users to sign in first."""
    handler.send(200, b"<html>Welcome to our network</html>", **{"Content-Type": "text/html"})


def half(handler):
    """The right headers, half of the bytes, and the line is closed."""
    handler.answer(lambda body: [body[: len(body) // 2]])


def stall(handler):
    """The right headers, half of the bytes, then silence until the server stops."""

    def cut(body):
        yield body[: len(body) // 2]
        handler.server.stopped.wait()

    handler.answer(cut)


def drip(pieces, pause):
    """All of the bytes, but in pieces, with a pause of so many seconds before each."""

    def slowly(handler):
        def cut(body):
            step = -(-len(body) // pieces) or 1
            for start in range(0, len(body), step):
                handler.server.stopped.wait(pause)
                yield body[start : start + step]

        handler.answer(cut)

    return slowly


def damaged(handler):
    """Half of the bytes, and headers that call this the whole file: nothing to notice on the way."""
    handler.answer(lambda body: [body], shorten=True)


class StandInHub(ThreadingHTTPServer):
    """The server; see the module's text. It listens on a free port of this machine while in its `with`."""

    daemon_threads = True

    def __init__(self, port=0):
        super().__init__(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.elsewhere = f"http://localhost:{self.server_port}/elsewhere"  # another host name: "elsewhere"
        self.repos, self.blobs, self.asked, self.faults = {}, {}, [], []
        self.stopped = threading.Event()

    def add(self, repo_id, files):
        """Serve a folder, or {file name: bytes}, as the main branch of a repository."""
        if not isinstance(files, dict):
            files = {
                path.relative_to(files).as_posix(): path.read_bytes()
                for path in sorted(Path(files).rglob("*"))
                if path.is_file()
            }
        self.repos[repo_id] = files
        self.blobs |= {digest(content): content for content in files.values()}

    def goes_wrong(self, fault, paths="*", method="*", times=None):
        """From now on, let requests of that path and method go wrong: all of them, or `times` of them."""
        self.faults.append([fault, paths, method, times])

    def is_well(self):
        """Nothing goes wrong any more, and nothing was asked so far."""
        self.faults, self.asked = [], []

    def fault_for(self, method, path):
        for entry in self.faults:
            fault, paths, methods, left = entry
            if left != 0 and fnmatch.fnmatch(path, paths) and fnmatch.fnmatch(method, methods):
                entry[3] = left and left - 1
                return fault
        return None

    def __enter__(self):
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        """Clients that hang up are part of the game."""


class Handler(BaseHTTPRequestHandler):
    """One question, and its answer."""

    def do_GET(self):
        self.path = unquote(self.path.split("?")[0])
        ranges = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        self.start = int(ranges[1]) if ranges else 0
        token = self.headers.get("Authorization")
        self.server.asked.append(Request(self.command, self.path, self.start, token))
        fault = self.server.fault_for(self.command, self.path)
        fault(self) if fault else self.answer()

    do_HEAD = do_GET

    def answer(self, cut=None, shorten=False):
        """The right answer. cut: bytes -> pieces to send. shorten: half a file, called a whole one."""
        api = re.fullmatch(r"/api/models/([^/]+/[^/]+)(/tree/[^/]+|/revision/[^/]+)?", self.path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", self.path)
        repo_id = (api or file or [None, None])[1]
        if self.path.startswith("/elsewhere/"):
            self._content(self.server.blobs[self.path.split("/")[2]], cut, shorten)
        elif repo_id not in self.server.repos:
            status(404, "RepoNotFound", "Repository not found")(self)
        elif api:
            about = self._about(repo_id, tree=(api[2] or "").startswith("/tree/"))
            self.send(200, json.dumps(about).encode(), cut)
        else:
            self._file(self.server.repos[repo_id], file[2], cut, shorten)

    def _about(self, repo_id, tree):
        """The answer about a repository, or the listing of its files."""
        files = self.server.repos[repo_id].items()
        if tree:
            return [
                {"type": "file", "path": name, "size": len(content), "oid": git_name(content)}
                for name, content in files
            ]
        siblings = [
            {"rfilename": name, "size": len(content), "blobId": git_name(content)}
            | (
                {"lfs": {"size": len(content), "sha256": digest(content), "pointerSize": 134}}
                if name.endswith(LARGE)
                else {}
            )
            for name, content in files
        ]
        return {"id": repo_id, "modelId": repo_id, "sha": COMMIT, "private": False, "siblings": siblings}

    def _file(self, files, name, cut, shorten):
        """A small file itself, or where a large one lies."""
        if name not in files:
            return self.send(404, b"{}", **{"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        if not name.endswith(LARGE):
            return self._content(files[name], cut, shorten, **{"X-Repo-Commit": COMMIT})
        name_there, size = digest(files[name]), len(files[name]) // (2 if shorten else 1)
        self.send(
            302,
            b"",
            **{
                "Location": f"{self.server.elsewhere}/{name_there}/{name}",
                "X-Repo-Commit": COMMIT,
                "X-Linked-Size": str(size),
                "X-Linked-ETag": f'"{name_there}"',
            },
        )

    def _content(self, content, cut, shorten, **headers):
        """Bytes of a file, from where the client asked to begin."""
        content = content[: len(content) // 2] if shorten else content
        if self.start and self.start >= len(content):
            return self.send(416, b"", **{"Content-Range": f"bytes */{len(content)}"})
        headers["ETag"] = f'"{digest(content)[:40]}"'
        if self.start:
            headers["Content-Range"] = f"bytes {self.start}-{len(content) - 1}/{len(content)}"
        self.send(206 if self.start else 200, content[self.start :], cut, **headers)

    def send(self, code, body, cut=None, **headers):
        """Send an answer; its length is announced in full, whatever pieces of it `cut` lets through."""
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        for piece in (cut(body) if cut else [body]) if self.command == "GET" else []:
            self.wfile.write(piece)
        self.close_connection = True

    def log_message(self, *_):
        """Say nothing."""


def digest(content):
    return hashlib.sha256(content).hexdigest()


def git_name(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


if __name__ == "__main__":
    with StandInHub() as hub:
        for argument in sys.argv[1:]:
            hub.add(*argument.split("=", 1))
        print(f"Serving {', '.join(hub.repos)}. Use it with HF_ENDPOINT={hub.url}, stop it with Ctrl-C.")
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()
