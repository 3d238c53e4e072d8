"""tools/web.py builds a folder that is the whole page, and serves it."""

import json
import re
import threading
import urllib.request

import pytest

from helpers import load_components
from tools import export_web, web
from tools.web import PAGE, WEB

SHIPPED = [WEB / name for name in (*PAGE, "sw.js")]


def test_every_module_that_is_imported_is_shipped():
    shipped = {*PAGE, "sw.js", "runtime/", *(f"runtime/{name}" for name in web.RUNTIME)}
    for file in SHIPPED:
        wanted = re.findall(r"""(?:from |new URL\(|register\(|href=|src=)["']([\w./-]+)["']""", file.read_text("utf-8"))
        assert {name.removeprefix("./") for name in wanted} <= shipped, file.name


def test_no_address_of_another_host_is_in_the_page():
    for file in SHIPPED:
        text = file.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")  # a name, not an address
        assert not re.search(r"https?:|//[a-z0-9-]+\.[a-z]", text), file.name


def test_the_service_worker_knows_its_version_and_the_shell(tmp_path):
    source = (WEB / "sw.js").read_text("utf-8")
    (tmp_path / "one").write_text("1")
    first, renamed = (web.version({name: tmp_path / "one"}) for name in ("one", "other"))
    (tmp_path / "one").write_text("2")
    assert len({first, renamed, web.version({"one": tmp_path / "one"})}) == 3
    assert f'VERSION = "{first}", SHELL = ["./"]' in web.written(source, first, ["./"])
    with pytest.raises(ValueError, match="sw.js must have the line"):
        web.written("", first, [])


def files_of(dist):
    return {file.relative_to(dist).as_posix(): file for file in dist.rglob("*") if file.is_file()}


def test_the_whole_page_is_built_and_at_most_32_mb_are_needed_for_a_picture(exported, tmp_path):
    files = files_of(web.build(tmp_path / "dist"))
    names = {name.partition("/")[2] or name: file.stat().st_size for name, file in files.items()}
    runtime = {f"runtime/{name}" for name in web.RUNTIME}
    assert {*PAGE, "sw.js", "model/facts.json", "model/unet.onnx", "model/unet-fast.onnx", *runtime} <= set(names)
    assert sum(size for name, size in names.items() if name != "model/unet.onnx") <= 32e6


def test_two_versions_share_no_address_but_the_fronts_and_the_workers(tmp_path):
    """Whatever of the page changes; so no page can be given a file that is not its own."""
    parts = {name: WEB / name for name in PAGE} | {"model/unet.onnx": tmp_path / "unet.onnx"}
    shown, kept = [], []
    for content in ("1", "2"):
        parts["model/unet.onnx"].write_text(content)
        web.put(parts, tmp_path / content)
        files = files_of(tmp_path / content)
        named = re.findall(r'(?:href|src)="([^"]+)"', files["index.html"].read_text("utf-8"))
        shell = json.loads(re.search(r"SHELL = (.*);", files["sw.js"].read_text("utf-8"))[1])
        assert len(named) == 3 and {*named, *shell[1:]} <= set(files) and shell[0] == "./"
        shown.append(set(files)), kept.append(files["sw.js"].read_text("utf-8"))
        assert {name.partition("/")[2] or name for name in files} == {*parts, "sw.js"}
    assert shown[0] & shown[1] == {"index.html", "sw.js"} and kept[0] != kept[1]


def test_files_are_served_as_what_they_are(tmp_path):
    for name in ("page.mjs", "sw.js", "a.wasm", "unet.onnx", "index.html"):
        (tmp_path / name).write_text("x")
    with web.server(tmp_path, 0) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        kinds = []
        for name in ("page.mjs", "sw.js", "a.wasm", "unet.onnx", ""):
            with urllib.request.urlopen(f"http://127.0.0.1:{running.server_port}/{name}") as answer:
                kinds.append(answer.headers["Content-Type"])
        running.shutdown()
    assert kinds == ["text/javascript", "text/javascript", "application/wasm", "application/octet-stream", "text/html"]


def test_bad_arguments_are_told_what_there_is(capsys):
    for arguments in (["there"], ["build", "8000"], ["-1"]):
        assert web.main(arguments) == 2 and "python -m tools.web build" in capsys.readouterr().err


@pytest.mark.parametrize("port", ["65536", "70000", "123456789"])
def test_a_port_that_no_machine_has_is_one_sentence(monkeypatch, port):
    monkeypatch.setattr(web, "build", lambda: pytest.fail("it was built first"))
    with pytest.raises(SystemExit, match=f"There is no port {port}: give one from 0 to 65535, such as make web ARGS="):
        web.main([port])


def test_without_onnx_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(export_web, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"needs the package onnx.*\.\[web\]"):
        export_web.export(folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_scheduler_that_the_page_does_not_compute_is_refused():
    c = load_components("postcard", device="cpu")
    c.scheduler.register_to_config(prediction_type="v_prediction")
    with pytest.raises(ValueError, match="v_prediction.*sampler.mjs"):
        export_web.facts(c, None, [], {})
