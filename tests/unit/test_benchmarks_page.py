"""The benchmark of the page that draws in a browser: what it counts and says. No browser, and no time is asserted."""

import json
import threading
import urllib.request

import pytest

from benchmarks import measure, page


def visit(ready=2.0, first=3.0, further=(0.8, 1.0), until_first=26_000_000, whole=26_100_000, steps=8):
    return dict(ready=ready, first=first, further=list(further), until_first=until_first, whole=whole, steps=steps)


FOUND = {
    "fast": [visit(), visit(first=4.0, further=(0.9, 1.3)), visit(first=3.5)],
    "plain": [visit(first=9.0, further=(5.0, 6.0), whole=35_000_000, steps=25)] * 3,
}


@pytest.fixture
def found(monkeypatch):
    """Nothing is measured; returns the list of what was asked for."""
    asked = []
    monkeypatch.setattr(page, "missing", lambda: "")
    monkeypatch.setattr(page, "visits", lambda rounds, further: asked.append((rounds, further)) or FOUND)
    return asked


def test_every_byte_that_is_sent_is_counted(tmp_path):
    (tmp_path / "a.wasm").write_bytes(bytes(300_000))
    (tmp_path / "b.mjs").write_bytes(bytes(200_000))
    with page.serving(tmp_path) as server:
        threads = [
            threading.Thread(
                target=lambda name=name: urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/{name}").read()
            )
            for name in ("a.wasm", "b.mjs") * 2
        ]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    assert 1_000_000 < server.sent < 1_002_000  # and headers


def test_medians_stand_beside_what_was_asked():
    told = {one["what"]: (one["measured"], one["asked"]) for one in page.claims(FOUND)}
    assert {what.removeprefix("page in a browser, "): said for what, said in told.items()} == {
        "fast model: first picture, from a bare page load": ("3.50 s (rounds: 3.00 s to 4.00 s)", "≤ 5 s"),
        "fast model: each further picture": ("950 ms (rounds: 800 ms to 1.30 s)", "≤ 1.5 s"),
        "fast model: downloaded until the first picture": ("26.0 MB", "≤ 32 MB"),
        "plain model, 25 steps: first picture, from a bare page load": ("9.00 s (rounds: 9.00 s to 9.00 s)", ""),
        "plain model, 25 steps: each further picture": ("5.50 s (rounds: 5.00 s to 6.00 s)", ""),
        "plain model, 25 steps: downloaded in all": ("35.0 MB", ""),
    }
    assert page.row(FOUND, "fast", "each further picture") == {
        "": "fast: each further picture",
        "median": "950 ms",
        "least": "800 ms",
        "most": "1.30 s",
        "figures": 6,
    }


def test_results_are_kept_and_say_one_thread_unless_it_is_a_try(found, tmp_path, capsys):
    page.main(["--quick", "--results", str(tmp_path / "kept")])
    assert found == [(1, 1)] and "plain: downloaded in all" in capsys.readouterr().out
    assert not (tmp_path / "kept").exists()
    page.main(["--rounds", "3", "--further", "2", "--results", str(tmp_path / "kept")])
    kept = json.loads((tmp_path / "kept" / "page.json").read_text(encoding="utf-8"))
    assert found[1:] == [(3, 2)] and kept["settings"]["steps, plain"] == 25 and "one thread" in kept["note"]
    assert kept["data"]["visits"] == FOUND and len(kept["rows"]) == 2 * len(page.MEASURED)
    assert {file.suffix for file in (tmp_path / "kept").iterdir()} == {".json", ".md", ".png"}


def test_its_picture_is_small_and_says_what_it_shows():
    picture = page.figure(FOUND)("a machine")
    assert len(picture.png) < measure.MOST_BYTES
    assert "fast: first picture: 3.50 s; fast: each further one: 950 ms" in picture.alt


def test_a_wrong_count_is_one_sentence(found):
    for name in ("rounds", "further"):
        with pytest.raises(SystemExit, match=f"--{name} must be at least 1, not 0"):
            page.main([f"--{name}", "0"])
    assert found == []


def test_what_is_missing_is_named_and_nothing_is_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(page, "found_browser", lambda: None)
    monkeypatch.setattr(page.shutil, "which", lambda name: None)
    page.main(["--results", str(tmp_path / "kept")])
    said = capsys.readouterr().out
    assert "Chromium or Chrome and Node.js" in said and len(said.splitlines()) == 1 and not (tmp_path / "kept").exists()
