"""What benchmarks share, and a small try of each: what they do is tested, how long it takes never is."""

import importlib
import json
import os
import re
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import __main__ as bench
from benchmarks import attention, classroom, draw, growth, measure, picture, startup, whole
from helpers.figures import style

LINUX = pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="only Linux tells memory")
MODULES = sorted({words[0] for words in bench.SCRIPTS.values()})


def drawn(machine):
    """A small figure, as scripts hand one to report."""
    return draw.bars("A claim", "Two bars", {"one": 1.0, "two": [0.5, 1.5]}, {"one": "1 s", "two": "2 s"}, machine)


def report(folder, name="try", rows=({"": "one", "time": 0.51234, "memory": None},), figure=drawn, **more):
    measure.report(
        name,
        "A try",
        list(rows),
        [measure.claim("a try", "0.51", "≤ 1")],
        figure,
        {"rounds": 3},
        "A note.",
        keep=folder,
        **more,
    )


# Measuring


def test_actions_take_turns_each_goes_first_and_the_warm_up_is_not_counted():
    order = []
    times = measure.take_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=3)
    assert order == list("ababbaab") and {name: len(runs) for name, runs in times.items()} == {"a": 3, "b": 3}


def test_ratio_is_that_of_the_medians_with_the_range_of_rounds():
    times = {"new": [1.0, 2.0, 9.0], "old": [2.0, 4.0, 6.0]}
    assert measure.ratio(times, "new", to="old") == {"median": 0.5, "low": 0.5, "high": 1.5}


@pytest.mark.parametrize("percent, value", [(50, 50), (95, 95), (100, 100), (1, 1)])
def test_percentile_is_one_of_the_values(percent, value):
    assert measure.percentile(range(100, 0, -1), percent) == value


def test_fit_finds_the_exponent_of_known_growth():
    sizes = [64, 128, 256, 512]
    exponent, factor = measure.fit_power(sizes, [0.003 * size**1.7 for size in sizes])
    assert (exponent, factor) == pytest.approx((1.7, 0.003))
    noisy = [0.003 * size**1.7 * wobble for size, wobble in zip(sizes, (1.05, 0.95, 1.04, 0.97))]
    assert measure.fit_power(sizes, noisy)[0] == pytest.approx(1.7, abs=0.1)


def test_a_new_process_answers_in_json_or_its_error_is_passed_on(monkeypatch, tmp_path):
    monkeypatch.setattr(measure, "ROOT", tmp_path)
    (tmp_path / "answer.py").write_text(
        "import json, os, sys\nprint('noise')\nprint(json.dumps([sys.argv[1], os.environ['ROOM']]))\n"
    )
    assert measure.in_new_process("answer", 7, ROOM="12") == ["7", "12"]
    with pytest.raises(RuntimeError, match="(?s)answer 7 failed: .*ROOM"):
        measure.in_new_process("answer", 7)


@LINUX
def test_memory_at_its_peak_is_seen_though_it_is_free_again():
    before = measure.in_use()
    small, large = (measure.extra_memory(lambda: np.ones(size).sum(), before=before) for size in (2_000_000, 8_000_000))
    assert 12e6 < small < 32e6 and 60e6 < large < 90e6
    assert 0 < measure.proportional() <= measure.resident() <= measure.resident("VmHWM")


def test_machine_is_named_with_versions_and_threads():
    machine = measure.machine()
    words = measure.machine_in_words(machine | {"others": 0.25})
    for part in (
        machine["processor"],
        f"torch {machine['torch']}",
        f"diffusers {machine['diffusers']}",
        f"{machine['threads']} thread",
        "0.2 cores busy",
    ):
        assert part in words
    bare = machine | {"memory_gb": None, "card": "A card", "others": None}
    assert "A card" in measure.machine_in_words(bare, short=True) and "busy" not in measure.machine_in_words(bare)
    assert json.loads(json.dumps(machine)) == machine


# What is printed and kept


def test_table_is_markdown_and_straight():
    text = measure.table([{"": "one", "time": 0.123456, "n": 12}, {"": "the second", "time": None, "n": 3}])
    assert text.splitlines() == [
        "|            |  time |   n |",
        "| ---------- | ----: | --: |",
        "| one        | 0.123 |  12 |",
        "| the second |     - |   3 |",
    ]


@pytest.mark.parametrize(
    "seconds, words", [(0.00123, "1.23 ms"), (0.0456, "45.6 ms"), (0.5, "500 ms"), (1.234, "1.23 s"), (75.4, "75 s")]
)
def test_seconds_in_words(seconds, words):
    assert measure.in_seconds(seconds) == words


@pytest.mark.parametrize(
    "size, words", [(None, "unknown"), (0, "0.0 MB"), (1.5e6, "1.5 MB"), (4.1e8, "410 MB"), (2.04e9, "2.0 GB")]
)
def test_bytes_in_words(size, words):
    assert measure.in_bytes(size) == words


def test_report_keeps_page_picture_and_numbers(tmp_path, capsys):
    report(tmp_path, data={"runs": [1, 2]})
    assert sorted(file.name for file in tmp_path.iterdir()) == ["try.json", "try.md", "try.png"]
    kept = json.loads((tmp_path / "try.json").read_text())
    assert kept["data"] == {"runs": [1, 2]} and kept["rows"][0]["time"] == 0.51234 and kept["machine"]["threads"]
    page = (tmp_path / "try.md").read_text()
    assert (
        "0.512" in page
        and "![Two bars. one: 1 s; two: 2 s](try.png)" in page
        and kept["measured"] in page
        and "rounds 3" in page
    )
    said = capsys.readouterr().out
    assert "a try: 0.51 (asked: ≤ 1)" in said and "A note." in said and kept["machine"]["processor"] in said


def test_report_without_a_folder_only_prints(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    report(None, figure=lambda machine: pytest.fail("no picture is drawn"))
    assert "0.512" in capsys.readouterr().out and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("end", [KeyboardInterrupt, RuntimeError])
def test_old_results_stay_when_a_script_ends_early(tmp_path, end):
    report(tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def ends(machine):
        raise end

    with pytest.raises(end):
        report(tmp_path, rows=[{"": "other"}], figure=ends)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_a_picture_too_large_for_the_repository_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds 90000 bytes, more than 80000"):
        report(tmp_path, figure=lambda machine: style.Picture(bytes(90_000), "large"))
    assert list(tmp_path.iterdir()) == []


def test_figures_are_small_and_say_what_they_show():
    sizes = [1, 2, 4, 8]
    curves = draw.growth(
        "Growth",
        "Two curves",
        [("batch", "seconds", sizes, [1, 2, 4, 8]), ("batch", "memory, MB", sizes, [5, 5.1, 900, 8000])],
        "note",
    )
    for figure in (drawn("a machine"), curves):
        assert len(figure.png) < measure.MOST_BYTES and figure.alt
        assert len(figure.image().getcolors(256)) > 3


def test_round_numbers_lie_inside_and_are_few():
    assert draw.round_numbers(0.3, 7) == [0.5, 1, 2, 5] and draw.round_numbers(3, 4000) == [10, 100, 1000]


# make bench


def result(name="picture", what="a picture", day="2026-01-02", **machine):
    known = {
        "processor": "A processor",
        "cores": 2,
        "threads": 2,
        "memory_gb": 8,
        "card": None,
        "system": "Linux",
        "python": "3.11",
        "torch": "2",
        "diffusers": "1",
        "transformers": "5",
        "load_before": 0.1,
        "others": 0.0,
    }
    return {"name": name, "measured": day, "machine": known | machine, "claims": [measure.claim(what, "0.9", "≤ 1.00")]}


def test_section_has_a_table_for_every_machine():
    text = bench.section(
        [result(), result("attention", "recording", "2026-01-03", others=1.5), result("gpu", "a step", card="A card")]
    )
    assert text.count("| measured") == 2 and text.count("Measured 2026") == 2
    assert "Measured 2026-01-02 and 2026-01-03 on: A processor, 2 cores" in text and "A card" in text
    assert "[attention](results/attention.md)" in text and "≤ 1.00" in text and "busy" not in text
    assert bench.section([]) == "Nothing has been measured yet: `make bench`."


def test_the_front_page_tells_the_claims_it_names_and_no_others():
    both = [result(), result("attention", "recording", "2026-01-03"), result("gpu", "a step", card="A card")]
    text = bench.section(both, ("recording",), "benchmarks/results")
    assert text.count("| measured") == 1 and "recording" in text and "a picture" not in text and "A card" not in text
    assert "[attention](benchmarks/results/attention.md)" in text
    known = [one["what"] for kept in bench.kept(measure.RESULTS) for one in kept["claims"]]
    assert len(bench.FRONT) == 5 and set(bench.FRONT) <= set(known)


def test_readme_changes_between_its_markers_only(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n\n{bench.BEGIN}old\n{bench.END}\n\nafter é\n", encoding="utf-8")
    for _ in range(2):  # the second time changes nothing
        bench.write_section(readme, "| new |")
        text = readme.read_text(encoding="utf-8")
        assert text == f"before\n\n{bench.BEGIN}\n| new |\n\n{bench.END}\n\nafter é\n"


@pytest.mark.parametrize("text", ["no markers", bench.BEGIN + "no end", bench.END + "no beginning"])
def test_readme_without_markers_stays_as_it_is(tmp_path, text):
    (tmp_path / "README.md").write_text(text)
    with pytest.raises(ValueError, match="README.md lacks the two lines"):
        bench.write_section(tmp_path / "README.md", "new")
    assert (tmp_path / "README.md").read_text() == text


def test_readme_says_what_the_results_say():
    results = bench.kept(measure.RESULTS)
    for page, told in (
        (bench.PAGE, bench.section(results)),
        (bench.README, bench.section(results, bench.FRONT, "benchmarks/results")),
    ):
        written = page.read_text(encoding="utf-8").partition(bench.BEGIN)[2].partition(bench.END)[0].strip()
        assert written == told, "run `python -m benchmarks --readme`"


UNITS = {"ms": 0.001, "s": 1, "MB": 1, None: 1}  # what a unit is of the one that bounds are in


def test_what_was_measured_last_reaches_what_was_asked():
    """No time is asserted of this machine: the numbers are those that are kept, and written into the README."""
    bounded = {
        one["what"]: one
        for kept in bench.kept(measure.RESULTS)
        for one in kept["claims"]
        if one["asked"].startswith("≤")
    }
    assert {
        "`generate` against StableDiffusionPipeline.from_pretrained, time",
        "recording attention against not, time",
        "`import helpers`",
    } <= set(bounded)
    for what, one in bounded.items():
        found, bound = (
            float(number) * UNITS[unit]
            for number, unit in (
                re.match(r"([\d.]+)(?: (ms|s|MB))?", one[part].removeprefix("≤ ")).groups()
                for part in ("measured", "asked")
            )
        )
        assert found <= bound, f"{what}: {one['measured']}, and asked was {one['asked']}"


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """Two pages of its own, and scripts that are not run: returns the list of the names asked to run."""
    for page, name in (("PAGE", "all.md"), ("README", "README.md")):
        (tmp_path / name).write_text(bench.BEGIN + bench.END)
        monkeypatch.setattr(bench, page, tmp_path / name)
    monkeypatch.setattr(measure, "RESULTS", tmp_path)
    asked = []

    def pretend(command, cwd):
        asked.append(command[2:])
        if command[2] == "benchmarks.growth":
            return subprocess.CompletedProcess(command, 1)
        (tmp_path / "picture.json").write_text(json.dumps(result()))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(bench.subprocess, "run", pretend)
    return asked


def test_named_scripts_run_and_one_that_fails_does_not_stop_the_others(stage, capsys):
    assert bench.main(["growth", "picture"]) == 1
    assert stage == [["benchmarks.growth"], ["benchmarks.picture"]]
    assert (
        "a picture" in bench.PAGE.read_text()
        and "Failed, with the results of before kept: growth" in capsys.readouterr().err
    )


def test_all_scripts_run_but_the_one_that_installs(stage):
    bench.main([])
    assert ["benchmarks.panels", "--browser"] in stage and len(stage) == len(bench.SCRIPTS) - 1
    assert ["benchmarks.startup", "--clone"] not in stage


def test_readme_alone_runs_nothing(stage):
    assert bench.main(["--readme"]) == 0 and stage == []
    assert "Nothing has been measured yet" in bench.README.read_text()


def test_unknown_script_is_named_with_those_there_are(stage, capsys):
    with pytest.raises(SystemExit):
        bench.main(["pictures"])
    assert "there is no benchmark pictures; there are picture, attention" in capsys.readouterr().err and stage == []


@pytest.mark.parametrize("module", MODULES)
def test_every_script_says_what_it_does(module, capsys):
    main = importlib.import_module(f"benchmarks.{module}").main
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    said = capsys.readouterr().out
    assert ended.value.code == 0 and f"python -m benchmarks.{module}" in said and "--quick" in said


# The scripts, on a tiny model


def test_picture_compares_the_same_picture_and_divides_it(model_folders, capsys):
    picture.main(["--model", str(model_folders["postcard"]), "--quick"])
    said = capsys.readouterr().out
    assert "U-Net, 4 calls" in said and "against StableDiffusionPipeline.from_pretrained, time: " in said


@pytest.mark.parametrize("shape", ["postcard", "sd15"])
def test_all_ways_draw_the_same_picture(model_folders, shape):
    from helpers import load_components

    c = load_components(model_folders[shape], device="cpu")
    ours, *others = (np.asarray(action(), int) for action in picture.drawers(c, picture.pipelines(c), steps=3).values())
    assert len(others) == 2 and all(abs(ours - other).max() <= 2 for other in others)


def test_clocks_leave_the_networks_as_they_were(tiny_postcard):
    c, hooks = tiny_postcard, len(tiny_postcard.unet._forward_hooks)
    with pytest.raises(KeyboardInterrupt), picture.clocks(c.text_encoder, c.unet, c.vae.decoder):
        raise KeyboardInterrupt
    assert len(c.unet._forward_hooks) == hooks and not c.text_encoder._forward_pre_hooks


def test_recorders_do_not_move_the_latents(tiny):
    plain, recorded, looped = (attention.latents(tiny, one, 2) for one in attention.RECORDERS)
    assert (recorded - plain).abs().max() < 1e-5 and (looped - plain).abs().max() < 1e-3 * plain.abs().max()


def test_attention_and_growth_say_what_each_costs(model_folders, monkeypatch, capsys):
    monkeypatch.setattr(
        measure, "in_new_process", lambda module, *words: [1e6, 3e6] if module == "benchmarks.growth" else 2_500_000
    )
    attention.main(["--model", str(model_folders["postcard"]), "--quick"])
    growth.main(["--model", str(model_folders["postcard"]), "--quick"])
    said = capsys.readouterr().out
    assert "DAAM-style" in said and "+2.5 MB" in said
    assert "width 128" in said and "memory ∝ batch to the power of: 1.58" in said


def test_growth_says_so_where_memory_is_not_known(model_folders, monkeypatch, capsys):
    monkeypatch.setattr(measure, "in_new_process", lambda *words: [None, None])
    growth.main(["--model", str(model_folders["postcard"]), "--quick"])
    said = capsys.readouterr().out
    assert "unknown" in said and "memory ∝" not in said


@LINUX
def test_greater_drawings_take_more_memory(tiny_postcard):
    small, large = growth.memory(tiny_postcard, "batch", (1, 32))
    assert 0 <= small < large and large > 10e6


def test_startup_times_each_stage_in_a_new_python(monkeypatch):
    monkeypatch.setattr(
        startup,
        "STAGES",
        {
            "import helpers": "import helpers, sys; assert 'torch' not in sys.modules and 'numpy' not in sys.modules",
            "model": "name = {model!r}",
            "steps": "assert (name, {steps}) == ('postcard', 25) and {prompt!r}",
        },
    )
    took = startup.fresh("postcard", 25)
    assert list(took) == ["import helpers", "model", "steps"] and min(took.values()) >= 0


def test_a_class_of_two_is_weighed_and_timed(tmp_path):
    cells = [
        "block = b'x' * 60_000_000",
        "import time; time.sleep(1.2)",
        "import os, pathlib; assert not any(pathlib.Path(os.environ['MY_COURSE']).iterdir())",
    ]
    found = classroom.class_of(2, cells, tmp_path, threads=1)
    assert len(found["seconds"]) == 2 and min(found["seconds"]) > 1.2
    if os.path.exists("/proc/self/smaps_rollup"):
        assert 120e6 < found["shares"] < found["alone"]


def test_a_cell_that_fails_is_named_and_its_kernel_ended(tmp_path):
    processes = set()
    with pytest.raises(RuntimeError, match="Code cell 1 failed: ZeroDivisionError"):
        classroom.student(["1", "1 / 0"], tmp_path, 0, processes)
    assert processes == set()


def test_students_on_a_machine_follow_the_line():
    offset, slope, peak, students = classroom.capacity([1, 2, 4], [0.6e9, 1.0e9, 1.8e9], whole=0.6e9)
    assert (offset, slope, peak) == pytest.approx((0.2e9, 0.4e9, 0.4e9)) and students == 34
    assert classroom.capacity([1, 2, 4], [0.6e9, 1.0e9, 1.8e9], whole=0.9e9)[2:] == (pytest.approx(0.7e9), 19)


def pretend_rounds(monkeypatch, took, stolen):
    """Readings of `benchmarks.whole` that take so many seconds, while the host takes such shares. Returns (calls, told)."""
    calls, told, clock = [], {}, [0.0, 0.0]
    took, stolen = iter(took), iter(stolen)

    def pretend(count, cells, folder, threads):
        calls.append((count, len(cells), folder.name, threads))
        seconds = next(took)
        clock[0] += seconds
        clock[1] += next(stolen) * seconds * os.cpu_count()
        return {"seconds": [seconds], "shares": 4e8, "alone": 6.9e8}

    monkeypatch.setattr(whole, "class_of", pretend)
    monkeypatch.setattr(whole, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    monkeypatch.setattr(measure, "stolen", lambda: clock[1])
    monkeypatch.setattr(measure, "report", lambda *said: told.update(rows=said[2], claims=said[3], data=said[7]))
    return calls, told


def test_a_lesson_whole_is_told_by_its_slowest_round(monkeypatch):
    calls, told = pretend_rounds(monkeypatch, [81.2, 139.0, 70.0, 151.4], [0, 0.01, 0.019, 0])
    whole.main(["--rounds", "2", "--lessons", "3,4"])
    assert [one[0] for one in calls] == [1] * 4 and {one[2:] for one in calls} == {("notebooks", 0)}
    assert calls[0][1] > 20 and calls[0][1] == calls[2][1] != calls[1][1]
    assert [one["measured"] for one in told["claims"]] == ["81 s, 690 MB", "151 s, 690 MB"]
    assert [one["asked"] for one in told["claims"]] == ["≤ 90 s", "≤ 150 s, ≤ 700 MB"]
    row = told["rows"][0]
    assert (row["least"], row["most"], row["undisturbed"], row["disturbed"]) == ("70 s", "81 s", 2, "none")
    with pytest.raises(SystemExit, match="no lesson 07"):
        whole.main(["--lessons", "7"])


def test_a_reading_that_the_host_disturbed_is_told_and_repeated(monkeypatch):
    calls, told = pretend_rounds(monkeypatch, [81, 99, 83], [0, 0.05, 0])
    whole.main(["--rounds", "2", "--lessons", "3"])
    row = told["rows"][0]
    assert len(calls) == 3 and told["claims"][0]["measured"] == "83 s, 690 MB"
    assert (row["least"], row["most"], row["undisturbed"], row["disturbed"]) == ("81 s", "83 s", 2, "99 s")


def test_where_every_reading_was_disturbed_the_slowest_is_told(monkeypatch):
    calls, told = pretend_rounds(monkeypatch, [81, 99, 83, 95], [0.05] * 4)
    whole.main(["--rounds", "2", "--lessons", "3"])
    row = told["rows"][0]
    assert len(calls) == 4 and told["claims"][0]["measured"] == "99 s, 690 MB"
    assert row["undisturbed"] == 0 and row["disturbed"] == "81 s, 99 s, 83 s, 95 s"


def test_what_a_host_took_is_counted_or_0():
    first = measure.stolen()
    assert 0 <= first <= measure.stolen()


@pytest.mark.parametrize("known", [True, False])
def test_a_class_is_told_with_measured_and_extrapolated_apart(monkeypatch, capsys, known):
    asked = []

    def pretend(count, cells, folder, threads):
        asked.append((count, len(cells), threads))
        return {"seconds": [3.0 * count * (2 - threads)] * count, "shares": known * 4.1e8 * count, "alone": 5e8 * count}

    monkeypatch.setattr(classroom, "class_of", pretend)
    classroom.main(["--quick"])
    said = capsys.readouterr().out
    assert asked == [(1, 3, 1), (2, 3, 1), (2, 3, 0), (1, 4, 1)]
    assert "2 kernels with a thread a core each: 2.0 times as long" in said
    assert ("students on a machine of 16 GB, extrapolated: 34" in said) == known
    assert ("is not told on this system" in said) != known


def test_lesson_cells_are_its_code():
    cells = classroom.code_cells(measure.ROOT / "notebooks" / "04_unet_sampling.ipynb", 3)
    assert len(cells) == 3 and "load_components" in cells[2]
    figure = classroom.figure(
        {1: {"seconds": [3.0], "shares": 6e8}, 4: {"seconds": [9.0] * 4, "shares": 2e9}},
        (2e8, 4e8, 5e8, 34),
        "Three cells",
    )("a machine")
    assert "34 students" in figure.alt and len(figure.png) < measure.MOST_BYTES
