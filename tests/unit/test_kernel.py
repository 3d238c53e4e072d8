"""helpers.kernel: what the course changes for a whole kernel is what that file lists, and nothing where COURSE_PLAIN is set."""

import ast
import contextlib
import copy
import functools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient

from helpers import kernel
from tools import setup_cell

ROOT = Path(__file__).resolve().parents[2]
OURS = {*kernel.ENVIRONMENT, *kernel.VERBOSITY}
HANDED_ON = {
    name: value
    for name, value in os.environ.items()  # to every new Python, whatever tests have set since
    if name not in OURS | {"COURSE_PLAIN", "PYTEST_CURRENT_TEST"}
}
# What a Python knows of itself, said as JSON. Libraries are asked only where they were imported.
SAY = """
def state():
    import gc, logging, os, sys, warnings
    told = {"environment": dict(os.environ), "frozen": gc.get_freeze_count(), "collects": gc.isenabled(),
            "thresholds": gc.get_threshold(), "filters": [str(one) for one in warnings.filters],
            "bars": {}, "levels": {}, "echo": None}
    for name in ("transformers", "diffusers"):
        if name in sys.modules:
            log = sys.modules[name].utils.logging
            told["bars"][name], told["levels"][name] = log.is_progress_bar_enabled(), log.get_verbosity()
    if "ipywidgets" in sys.modules:
        told["echo"] = sys.modules["ipywidgets"].widgets.widget.JUPYTER_WIDGETS_ECHO
    return told
"""
EVERYTHING = (
    "import helpers, helpers.attention, helpers.checks, helpers.components, helpers.concepts, helpers.figures, "
    "helpers.lora, helpers.panels.conditioning, helpers.postcards, helpers.ready, helpers.sampling"
)
LIBRARIES = "import torch, transformers, diffusers, ipywidgets"
PREPARE = "from helpers.kernel import prepare_kernel; prepare_kernel()"
HEAVY = "import helpers.components, helpers.panels.base"  # those that import the libraries


def told(*statements, **environment):
    """[state before the statements, state after] of a new Python whose environment holds nothing of ours but this."""
    before, [after], _ = forks(statements, ((),), **environment)
    return before, after


@functools.cache
def forks(statements, further, **environment):
    """The same, but after the statements the Python parts into children, one for each of `further`, which go on with
    statements of their own: (state before, [state after, one a child], what was printed). So the libraries are imported once for all."""
    fork = (
        "import json, os, sys; print(json.dumps(before), flush=True)\n"
        f"for one in {list(further)!r}:\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        exec('\\n'.join(one)); print(json.dumps(state()), flush=True); os._exit(0)\n"
        "    assert os.waitpid(child, 0)[1] == 0, one"
    )
    code = "\n".join([SAY, "before = state()", *statements, fork])
    env = HANDED_ON | environment
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    states = [line for line in done.stdout.splitlines() if line.startswith('{"environment": ')]
    before, *after = map(json.loads, states)
    return before, after, "\n".join([*(line for line in done.stdout.splitlines() if line not in states), done.stderr])


def changed(before, after):
    """The variables that are new or have another value: {name: value}."""
    return {name: value for name, value in after["environment"].items() if before["environment"].get(name) != value}


def test_importing_helpers_is_silent_and_changes_log_levels_and_nothing_else():
    libraries, (before, [_, after], said) = alone(), after_helpers()
    assert not said.strip(), "what is imported is silent"
    assert set(changed(before, after)) - set(changed(before, libraries)) <= set(kernel.VERBOSITY)
    assert all(after["environment"][name] == "error" for name in kernel.VERBOSITY)
    assert after["levels"] == {"transformers": 40, "diffusers": 40}
    for same in ("frozen", "collects", "thresholds", "bars", "echo"):
        assert after[same] == libraries[same], same


def test_import_helpers_alone_changes_nothing_at_all():
    before, after = told("import helpers, helpers.ready, helpers.kernel")
    assert before == after


def test_preparing_changes_what_the_list_says():
    before, after = told(PREPARE, HEAVY)
    added = changed(before, after)
    assert {name: added[name] for name in OURS} == kernel.ENVIRONMENT | kernel.VERBOSITY
    assert after["bars"] == {"transformers": False, "diffusers": False} and after["echo"] is False
    assert after["frozen"] == 0, "no first cell of a notebook, and nobody said that nothing of the reader's is there"


def test_what_the_reader_has_set_stays():
    own = dict.fromkeys(OURS, "7") | {"TRANSFORMERS_VERBOSITY": "info", "DIFFUSERS_VERBOSITY": "info"}
    before, after = told(PREPARE, HEAVY, **own)
    assert {name: after["environment"][name] for name in OURS} == own
    assert after["levels"] == {"transformers": 20, "diffusers": 20}


def test_plain_leaves_everything_as_the_libraries_have_it():
    """Progress bars, echo and levels are those of the libraries, and nothing is set aside."""
    prepare = "from helpers.kernel import prepare_kernel; prepare_kernel(fresh=True)"
    ours, theirs = told(prepare, HEAVY, LIBRARIES, COURSE_PLAIN="1")[1], alone()
    theirs["environment"]["COURSE_PLAIN"] = "1"  # which no library knows
    del ours["filters"], theirs["filters"]  # scipy, which helpers import, sets some
    assert ours == theirs


ORDERS = [(HEAVY, PREPARE), (PREPARE, HEAVY)]  # after the libraries


def after_the_libraries():
    """States of a Python with the libraries imported: nothing more, then each of ORDERS."""
    return forks((LIBRARIES,), ((), *ORDERS))[1]


def after_helpers():
    """The state of a Python at first, and those of one with helpers imported: prepared, then the libraries; all of helpers used."""
    return forks((HEAVY,), ((PREPARE, LIBRARIES), (EVERYTHING, "helpers.load_components('postcard')")))


def alone():
    return copy.deepcopy(after_the_libraries()[0])


@pytest.mark.parametrize("order", [*ORDERS, (HEAVY, PREPARE, LIBRARIES)])
def test_the_order_of_imports_does_not_matter(order):
    """Helpers before or after the libraries, prepared between or after; prepared first: the test above."""
    after = after_the_libraries()[1 + ORDERS.index(order)] if order in ORDERS else after_helpers()[1][0]
    assert after["levels"] == {"transformers": 40, "diffusers": 40} and after["echo"] is False
    assert after["bars"] == {"transformers": False, "diffusers": False} and after["frozen"] == 0
    assert {name: after["environment"][name] for name in OURS} == kernel.ENVIRONMENT | kernel.VERBOSITY


def test_the_environment_is_set_before_torch_is_there():
    """GNU OpenMP reads its variable once, when torch is imported: the setup cell comes before."""
    code = (
        "import os, sys; from helpers import ready; import helpers.kernel as kernel; kernel.settle = lambda: print("
        "'torch' in sys.modules, os.environ['GOMP_SPINCOUNT'])\nready.check_kernel()"
    )
    env = HANDED_ON
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.stdout.split() == ["False", "3000"], done.stderr


def test_a_setup_cell_that_stops_sets_its_filter_and_nothing_else_also_where_the_kernel_is_plain():
    """As docs/kernel.md says: by the cell's own line, which runs before there are any helpers, and by helpers.ready."""
    line = next(line for line in setup_cell.TEXT.splitlines() if line.startswith("found or "))
    assert line in setup_cell.UNPUBLISHED and "COURSE_PLAIN" not in line
    for stop in (
        f"import sys, warnings; found, why = [], 'none'; {line}",
        "from helpers import ready; ready.stop('none')",
    ):
        stops = f"try:\n    {stop}\nexcept SystemExit:\n    pass"
        before, after = told(stops, COURSE_PLAIN="1")
        added = [one for one in after.pop("filters") if one not in before["filters"]]
        del before["filters"]
        assert before == after and len(added) == 1 and "To exit: use" in added[0]
    page = " ".join((ROOT / "docs" / "kernel.md").read_text(encoding="utf-8").split())
    assert "turns all of it off but the last row**" in page
    assert page.rindex("| a warning filter, ") > page.rindex("| a handler ")


def test_nobody_else_touches_environment_and_collector():
    """Every other file of helpers leaves environment, garbage collector and warning filters alone."""
    touching = {
        "setdefault",
        "putenv",
        "update",
        "freeze",
        "disable",
        "set_threshold",
        "filterwarnings",
        "simplefilter",
    }
    for file in sorted((ROOT / "helpers").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            call = node.func if isinstance(node, ast.Call) else None
            if not isinstance(call, ast.Attribute) or call.attr not in touching:
                continue
            owner = ast.unparse(call.value)
            if owner in ("os", "os.environ", "gc", "warnings"):
                where = (file.relative_to(ROOT / "helpers").as_posix(), call.attr)
                assert where in {
                    ("kernel.py", "setdefault"),
                    ("kernel.py", "freeze"),
                    ("runtime.py", "setdefault"),
                    ("ready.py", "filterwarnings"),
                    ("formats.py", "simplefilter"),
                }, where  # the last: while a file is read


HASHES = """
import hashlib
from helpers import generate, load_components
def hashes(c):
    return [hashlib.sha256(generate(c, "a red boat", steps=4, seed=seed).tobytes()).hexdigest() for seed in range(3)]
"""


def test_two_pythons_that_draw_at_once_draw_the_same_bits():
    """Another, and this one for as long as that one draws: they share the model's files and nothing else."""
    exec(HASHES, own := {})
    c = own["load_components"]("postcard", device="cpu")
    draw = HASHES + "c = load_components('postcard', device='cpu')\nprint('begun', flush=True); print(*hashes(c))"
    other = subprocess.Popen([sys.executable, "-c", draw], cwd=ROOT, env=HANDED_ON, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "begun\n"
        drawn = own["hashes"](c)
        theirs = other.communicate(timeout=120)[0].split()
    finally:
        other.kill()
    assert len(set(drawn)) == 3 and theirs == drawn


# In a real kernel

MADE = """
import gc, weakref
class Mine: pass
mine = Mine(); mine.me = mine       # a ring, which only the collector can free
watch = weakref.ref(mine)
"""
SETUP = "import sys; sys.path.insert(0, {root!r})\nfrom helpers import ready; ready.check_kernel()"
ASK = "import gc; print(gc.get_freeze_count() > 100_000, 'torch' in __import__('sys').modules)"
DROP = "del mine; gc.collect(); print(watch() is None, gc.get_freeze_count())"


def run(*cells, **environment):
    """What each cell printed in a new kernel, as lists of words."""
    cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    env = HANDED_ON | environment
    NotebookClient(nbformat.v4.new_notebook(cells=cells), kernel_name="python3").execute(env=env)
    return ["".join(output.get("text", "") for output in cell.outputs).split() for cell in cells]


def test_the_setup_cell_as_the_first_one_sets_the_libraries_aside():
    assert run(SETUP.format(root=str(ROOT)), ASK) == [[], ["True", "True"]]


def test_what_the_reader_made_before_is_still_collected():
    assert run(MADE, SETUP.format(root=str(ROOT)), ASK, DROP)[2:] == [["False", "False"], ["True", "0"]]


def test_a_plain_kernel_sets_nothing_aside():
    assert run(SETUP.format(root=str(ROOT)), ASK, COURSE_PLAIN="1")[1] == ["False", "False"]


# What draws in a kernel does not hold it up

DRAWS = """
import time
from PIL import Image
from helpers import generate, load_components
from helpers.panels.concepts import ConceptStudio
c = load_components("postcard", device="cpu")
alone = generate(c, "a red boat", steps=2).tobytes()
studio = ConceptStudio(c, concept={concept!r}, prompt="a red boat by day", steps=50)
studio.preview = lambda latents: (time.sleep(0.3), Image.new("RGB", (16, 16)))[1]
studio.generate.click()
time.sleep(1)
print(studio.job.running)
"""
AFTER = """
studio.cancel.click()
print(studio.job.wait(30), generate(c, "a red boat", steps=2).tobytes() == alone)
"""


@contextlib.contextmanager
def kernel_that_draws(concept):
    """(its manager, its client, run(code): what it prints), a new kernel in which a studio draws."""
    manager, client = start_new_kernel(kernel_name="python3", env=HANDED_ON, startup_timeout=120)

    def run(code):
        said = []
        client.execute_interactive(
            code, timeout=120, output_hook=lambda message: said.append(message["content"].get("text", ""))
        )
        return "".join(said).split()

    try:
        assert run(SETUP.format(root=str(ROOT)) + DRAWS.format(concept=concept)) == ["True"]
        yield manager, client, run
    finally:
        client.stop_channels()
        if manager.has_kernel:
            manager.shutdown_kernel(now=True)


@pytest.mark.hard
@pytest.mark.parametrize(
    "end, concept",
    [
        ("shutdown", "none"),
        ("shutdown", "windmill"),
        ("shutdown now", "none"),
        ("exit", "none"),
        ("interrupt", "none"),
        ("restart", "none"),
    ],
)
def test_a_kernel_ends_or_goes_on_at_once_while_a_studio_draws(end, concept):
    with kernel_that_draws(concept) as (manager, client, run):
        begun = time.monotonic()
        if end == "interrupt":
            manager.interrupt_kernel()
            assert run(AFTER) == ["True", "True"]
        elif end == "restart":
            manager.restart_kernel(now=False)
            client.wait_for_ready(timeout=60)
            assert run("print('studio' in dir())") == ["False"]
        elif end == "exit":
            client.execute("exit()")
            while manager.is_alive() and time.monotonic() - begun < 30:
                time.sleep(0.05)
            assert not manager.is_alive()
        else:
            manager.shutdown_kernel(now=end == "shutdown now")
            assert not manager.has_kernel
        assert time.monotonic() - begun < 15


@pytest.mark.hard
def test_a_python_that_ends_while_a_studio_draws_ends_at_once():
    begun = "import time; end = time.monotonic(); import atexit; atexit.register(lambda: print(time.monotonic() - end < 10))\n"
    done = subprocess.run(
        [sys.executable, "-c", DRAWS.format(concept="none") + begun],
        cwd=ROOT,
        env=HANDED_ON,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0 and done.stdout.split() == ["True", "True"], done.stderr
