"""What lesson 05 reads of contests measured beforehand: whole, from the tool's own settings, and kept in order."""
import json

from tools import contests


def test_the_file_holds_every_contest_of_the_tool():
    kept = json.loads(contests.FILE.read_text(encoding="utf-8"))
    assert [one["name"] for one in kept["loras"]] == [*contests.LORAS]
    assert [(one["rows"], one["steps"]) for one in kept["vectors"]] == contests.VECTORS
    assert kept["turns"] == contests.TURNS and kept["command"] == "python -m tools.contests"
    for one in kept["loras"] + kept["vectors"]:
        assert 0 <= one["windmill"] <= one["of"] == 24


def test_one_result_takes_the_place_of_an_older_one(tmp_path):
    file = tmp_path / "contests.json"
    for name, hits in (("attention alone", 1), ("no LoRA", 0), ("attention alone", 2)):
        contests.keep("loras", {"name": name, "windmill": hits}, file)
    (rows, steps), *_ = contests.VECTORS
    contests.keep("vectors", {"rows": rows, "steps": steps, "windmill": 0}, file)
    kept = json.loads(file.read_text())
    assert [(one["name"], one["windmill"]) for one in kept["loras"]] == [("no LoRA", 0), ("attention alone", 2)]
    assert len(kept["vectors"]) == 1
