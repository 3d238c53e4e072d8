"""The page that draws in a browser: builds it into web/dist and serves it on this machine. `make web` calls this file.

    python -m tools.web build       writes web/dist: the page, the exported model, the runtime; for any web server
    python -m tools.web [PORT]      the same, then serves it on 127.0.0.1, at 8000 where no port is given

What is up to date is left alone. Needs Node.js for npm, and pip install -e ".[web]".
"""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from helpers.components import MODELS
from helpers.files import make_folder
from tools import export_web
from tools.setup_cell import ROOT, save_text

WEB = ROOT / "web"
PAGE = (
    "index.html",
    "style.css",
    "icon.svg",
    "page.mjs",
    "png.mjs",
    "settings.mjs",
    "worker.mjs",
    "model.mjs",
    "lora.mjs",
    "maps.mjs",
    "sampler.mjs",
    "random.mjs",
    "tokenizer.mjs",
)
RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
TYPES = {
    ".mjs": "text/javascript",
    ".js": "text/javascript",
    ".wasm": "application/wasm",
    ".onnx": "application/octet-stream",
}


def newest(files) -> float:
    return max((file.stat().st_mtime for file in files if file.is_file()), default=0.0)


def install_runtime(web: Path = WEB) -> Path:
    """web/node_modules as the lock file has it; returns the folder of onnxruntime-web."""
    package, done = web / "node_modules" / "onnxruntime-web", web / "node_modules" / ".package-lock.json"
    if not done.is_file() or newest([done]) < newest([web / "package-lock.json"]):
        npm = shutil.which("npm")
        if npm is None:
            sys.exit(
                "The page's runtime comes from npm, and there is none here: install Node.js 20 or newer, then run "
                "this again."
            )
        if subprocess.run([npm, "ci", "--no-progress"], cwd=web, stdout=subprocess.DEVNULL).returncode:
            sys.exit(
                "npm could not install the page's runtime (its own words stand above): mend that, then run this again."
            )
    return package


def export_model(folder: Path = export_web.FOLDER) -> Path:
    """web/model, exported anew where the bundle, its concepts or the exporter have changed since."""
    made_of = [*MODELS["postcard"].rglob("*"), *ROOT.glob("concepts/*/*"), Path(export_web.__file__)]
    if newest([folder / "facts.json"]) <= newest(made_of):
        export_web.export(folder=folder)
    return folder


def build(dist: Path = WEB / "dist") -> Path:
    """Write the whole page into an empty folder; returns it."""
    put(found_parts(), dist)
    return dist


def found_parts() -> dict[str, Path]:
    """{name: file} of all that the page is made of, but for its service worker."""
    package, model = install_runtime() / "dist", export_model()
    parts = {name: WEB / name for name in PAGE}
    parts |= {f"runtime/{name}": package / name for name in RUNTIME}
    return parts | {f"model/{file.name}": file for file in sorted(model.iterdir())}


def put(parts: dict[str, Path], dist: Path) -> None:
    """Write the page's files into an empty folder: index.html and the service worker, and the rest below their version.

    A page that stays open, or that a browser has kept, asks for its files when it needs them, and another version may
    have been put on the server meanwhile. With the version in every address it gets a file of its own or none, and says
    so; under one name for all versions it would draw with weights that are not its own, or run half of each.
    """
    mark = version(parts | {"sw.js": WEB / "sw.js"})
    shutil.rmtree(dist, ignore_errors=True)
    for name, file in parts.items():
        goal = dist / name if name == "index.html" else dist / mark / name
        make_folder(goal.parent)
        shutil.copyfile(file, goal)
    front, worker = (file.read_text(encoding="utf-8") for file in (parts["index.html"], WEB / "sw.js"))
    save_text(dist / "index.html", addressed(front, mark))
    shell = ["./", *(f"{mark}/{name}" for name in PAGE if name != "index.html")]
    save_text(dist / "sw.js", written(worker, mark, shell))


def version(parts: dict[str, Path]) -> str:
    """Letters that change with the name and the content of any of these files."""
    marks = [f"{name} {hashlib.sha256(file.read_bytes()).hexdigest()}" for name, file in sorted(parts.items())]
    return hashlib.sha256("\n".join(marks).encode()).hexdigest()[:16]


def addressed(front: str, version: str) -> str:
    """index.html with the files that it names below their version."""
    return re.sub(rf'(href|src)="({"|".join(map(re.escape, PAGE))})"', rf'\1="{version}/\2"', front)


def written(worker: str, version: str, shell: list[str]) -> str:
    """The service worker with its version and the files that it keeps from the start."""
    line = f"const VERSION = {json.dumps(version)}, SHELL = {json.dumps(shell)};"
    text, count = re.subn(r'const VERSION = "unbuilt", SHELL = \[\];', line, worker)
    if count != 1:
        raise ValueError('web/sw.js must have the line: const VERSION = "unbuilt", SHELL = [];')
    return text


class Handler(SimpleHTTPRequestHandler):
    extensions_map = SimpleHTTPRequestHandler.extensions_map | TYPES

    def log_message(self, *arguments):
        pass


def server(folder: Path, port: int = 8000) -> ThreadingHTTPServer:
    """A web server for a folder on this machine alone. port: 0 takes a free one."""
    return ThreadingHTTPServer(("127.0.0.1", port), partial(Handler, directory=folder))


def main(arguments: list[str]) -> int:
    if arguments and not (len(arguments) == 1 and re.fullmatch(r"build|\d{1,18}", arguments[0])):
        print(__doc__.strip(), file=sys.stderr)
        return 2
    port = int(arguments[0]) if arguments and arguments[0] != "build" else 8000
    if port > 65535:
        sys.exit(f"There is no port {port}: give one from 0 to 65535, such as make web ARGS=8123.")
    dist = build()
    size = sum(file.stat().st_size for file in dist.rglob("*") if file.is_file())
    print(f"{dist.relative_to(ROOT)}: {size / 1e6:.1f} MB.", flush=True)
    if arguments == ["build"]:
        return 0
    try:
        running = server(dist, port)
    except OSError as problem:
        sys.exit(
            f"The page cannot be served at this port ({problem.strerror}): give another, such as make web ARGS=8123."
        )
    with running:
        print(f"The page is at http://127.0.0.1:{running.server_port}/ until Ctrl-C.", flush=True)
        try:
            running.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
