"""The setup cell finds or fetches the course, `make links` keeps one address, execution saves clean files."""

import base64
import copy
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image

from helpers import ready
from tools import execute_notebooks, lab, setup_cell

ROOT = Path(__file__).resolve().parents[2]


# The setup cell

COLAB = "import sys; sys.modules['google.colab'] = sys"
NOBODY = 65534  # a user who may write nowhere; only root can play one


PUBLISHED = setup_cell.TEXT.format(repo="x/y", tag="v1")


def run_setup(folder, text, before="", python=sys.executable, **more):
    """Run a setup cell in a folder, then print the first entry of sys.path; returns the finished process."""
    code = f"{before}\n{text}\nprint(sys.path[0])"
    return subprocess.run([python, "-c", code], cwd=folder, capture_output=True, text=True, **more)


def assert_stops(done, *words):
    """It ended with one sentence, which holds these words, and no traceback."""
    assert done.returncode == 1 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and all(word in done.stderr for word in words), done.stderr


def make_course(folder, needs=("torch>=2",)):
    """As much of a course as the setup cell needs, in an open folder."""
    (folder / "helpers").mkdir(parents=True)
    for name in ("__init__.py", "kernel.py", "ready.py", "components.py"):
        shutil.copy(ROOT / "helpers" / name, folder / "helpers")
    (folder / "pyproject.toml").write_text(f"[project]\ndependencies = {list(needs)}\n")
    (folder / "notebooks").mkdir()
    return folder


def as_text(origin, tag="v1"):
    """The setup cell of a course that lives in a folder of this machine."""
    return setup_cell.TEXT.format(repo="x/y", tag=tag).replace("https://github.com/x/y", origin.as_uri())


@pytest.mark.parametrize("below", [".", "notebooks", "notebooks/copies/mine"])
def test_setup_walks_up_to_the_course(tmp_path, below):
    course = make_course(tmp_path / "a course")
    (course / below).mkdir(parents=True, exist_ok=True)
    done = run_setup(course / below, setup_cell.setup_cell())
    assert (done.stdout.strip(), done.stderr, done.returncode) == (str(course), "", 0)


def test_setup_elsewhere_says_what_to_do_in_one_sentence(tmp_path):
    assert_stops(
        run_setup(tmp_path, PUBLISHED), str(tmp_path), "open a notebook inside it, or git clone https://github.com/x/y"
    )
    assert_stops(run_setup(tmp_path, setup_cell.setup_cell()), str(tmp_path), "open a notebook inside it")


def test_setup_on_colab_fetches_nothing_while_the_address_is_a_placeholder(tmp_path, monkeypatch):
    """Somebody may own what the placeholder names: no program is started, and the sentence says what is missing."""
    monkeypatch.setattr(setup_cell, "address", lambda: (setup_cell.PLACEHOLDER, "main"))
    text = setup_cell.setup_cell()
    assert "subprocess" not in text and "http" not in text and len(text.splitlines()) <= 16
    done = run_setup(tmp_path, text, before=COLAB)
    assert_stops(done, f"{setup_cell.PLACEHOLDER} is a placeholder", "`make links REPO=owner/name` first")
    assert list(tmp_path.iterdir()) == []
    assert run_setup(make_course(tmp_path / "course"), text, before=COLAB).returncode == 0


def test_setup_leaves_no_warning_filter_behind(tmp_path):
    course = make_course(tmp_path / "course")
    for text in (PUBLISHED, setup_cell.UNPUBLISHED.format(repo="x/y")):
        assert max(map(len, text.splitlines())) <= 88
        before = "import warnings; before = list(warnings.filters)"
        assert run_setup(course, text + "\nassert warnings.filters == before", before=before).returncode == 0


def test_setup_on_colab_clones_once(tmp_path):
    course = make_course(tmp_path / "origin")
    git = ["git", "-C", str(course), "-c", "user.name=t", "-c", "user.email=t@example.com"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"], ["tag", "v1"]):
        subprocess.run(git + words, check=True, capture_output=True)
    content = tmp_path / "content"
    content.mkdir()
    for _ in range(2):  # the second time it is there already, and the origin may be gone
        done = run_setup(content, as_text(course), before=COLAB)
        assert (done.stdout.strip(), done.stderr) == (str(content / "course"), "")
        (course / ".git").rename(course / ".git-gone") if (course / ".git").exists() else None


def test_setup_on_colab_without_network_says_so(tmp_path):
    done = run_setup(tmp_path, as_text(tmp_path / "nowhere"), before=COLAB)
    assert_stops(done, "nowhere' does not", "check network and folder, then run this cell again")
    assert not (tmp_path / "course").exists()


def test_setup_in_a_kernel_shows_its_sentence_and_nothing_below_it(tmp_path):
    cells = [nbformat.v4.new_code_cell(text) for text in (setup_cell.setup_cell(), "print('went on')")]
    client = NotebookClient(
        nbformat.v4.new_notebook(cells=cells), kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    with pytest.raises(CellExecutionError):
        client.execute()
    (shown,), went_on = (cell.outputs for cell in cells)
    assert (shown.ename, went_on) == ("SystemExit", []) and shown.evalue.startswith(f"No course in {tmp_path}")


@pytest.fixture
def locked():
    """A course in a folder that may be read, not written, and how to run Python there (root: as another)."""
    how = {}
    if os.getuid() == 0:
        how = {"python": shutil.which("python3", path="/usr/bin"), "user": NOBODY, "group": NOBODY, "extra_groups": []}
        if not how["python"] or subprocess.run([how["python"], "-c", "import tomllib"]).returncode:
            pytest.skip("needs a Python 3.11 that every user of this machine may run")
    with tempfile.TemporaryDirectory() as folder:
        course = make_course(Path(folder) / "course", needs=())
        folders = [course / "notebooks", course / "helpers", course, Path(folder)]
        for path in folders:
            path.chmod(0o555)
        yield course, how
        for path in folders:
            path.chmod(0o755)


def test_setup_in_a_folder_that_may_not_be_written_says_what_is_lost(locked):
    course, how = locked
    done = run_setup(course / "notebooks", setup_cell.setup_cell(), **how)
    told, path = done.stdout.splitlines()
    assert (path, done.stderr, done.returncode) == (str(course), "", 0)
    assert told.startswith(f"You may not write in {course / 'notebooks'}: the lesson runs, but to keep your ")


def test_setup_on_colab_where_nothing_may_be_written(locked):
    course, how = locked
    (course / "helpers" / "components.py").unlink()
    done = run_setup(course / "notebooks", as_text(course), before=COLAB, **how)
    assert_stops(done, "Permission denied", "check network and folder")


def test_a_kernel_without_the_packages_is_named_with_what_to_do(tmp_path):
    course = make_course(tmp_path / "course", needs=("torch>=2", "no-such-thing>=1", "nor.this>=2.5,<3"))
    done = run_setup(course, setup_cell.setup_cell())
    assert_stops(
        done,
        f"This kernel ({sys.executable}) lacks no-such-thing nor.this: choose the course's",
        "-m pip install no-such-thing nor.this",
    )


def test_a_kernel_with_older_packages_is_told_and_goes_on(tmp_path):
    course = make_course(tmp_path / "course", needs=("torch>=99.5", "numpy>=2.1"))
    done = run_setup(course, setup_cell.setup_cell())
    assert done.returncode == 0 and done.stderr == ""
    assert re.match(r"Older in this kernel than the course asks for: torch 2\S+ \(99.5\);", done.stdout)


def test_a_python_that_is_too_old_is_told(tmp_path):
    course = make_course(tmp_path / "course")
    done = run_setup(course, setup_cell.setup_cell(), before="import sys; sys.version_info = (3, 9, 1)")
    assert_stops(done, "the course needs 3.11 or newer: choose another kernel")


def test_the_course_asks_for_nothing_that_this_environment_lacks():
    assert ready.lacking(ROOT / "pyproject.toml") == ([], [])


def test_versions_compare_as_numbers():
    assert ready.numbers("0.9") < ready.numbers("0.39.0") == ready.numbers("0.39") < ready.numbers("1.0.0rc1")


def test_the_first_import_without_packages_says_what_to_do(tmp_path):
    """Outside a notebook: `from helpers import load_components` where there is no torch."""
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "try:\n    from helpers import load_components\nexcept ImportError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "lacks torch: choose the course's own kernel" in done.stdout and done.stdout.count("\n") == 1


# Make links


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A copy of what `make links` touches, with one notebook that is out of step."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    sentence = setup_cell.BADGES[setup_cell.address()[0] == setup_cell.PLACEHOLDER]
    page = setup_cell.told(setup_cell.DRAW[1])
    (tmp_path / "README.md").write_text(f"{sentence}\n{page}\n{setup_cell.badge('01_x.ipynb')}")
    badge = setup_cell.badge("01_x.ipynb")
    cells = [
        {"cell_type": "markdown", "id": "a", "metadata": {}, "source": [badge + "\n", "é"]},
        {
            "cell_type": "code",
            "id": "b",
            "metadata": {},
            "outputs": [],
            "execution_count": 1,
            "source": [setup_cell.TEXT.splitlines()[0] + "\n", "import old"],
        },
    ]
    notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "notebooks" / "01_x.ipynb").write_text(json.dumps(notebook))
    monkeypatch.setattr(setup_cell, "ROOT", tmp_path)
    return tmp_path


def test_links_change_the_address_everywhere(house):
    assert setup_cell.main(["someone/some-where", "v2"]) == 0
    assert setup_cell.address() == ("someone/some-where", "v2")
    link = f"{setup_cell.COLAB}/someone/some-where/blob/v2/notebooks/01_x.ipynb"
    assert link in (house / "README.md").read_text()
    saved = json.loads((house / "notebooks" / "01_x.ipynb").read_text())
    assert link in "".join(saved["cells"][0]["source"])
    assert "".join(saved["cells"][1]["source"]) == setup_cell.setup_cell()
    assert "https://github.com/someone/some-where" in setup_cell.setup_cell()
    assert setup_cell.BADGES[0] in (house / "README.md").read_text()
    assert "](https://someone.github.io/some-where/draw/)" in (house / "README.md").read_text()
    assert setup_cell.main(["Other/name"]) == 0
    assert "](https://other.github.io/name/draw/)" in (house / "README.md").read_text()
    assert setup_cell.main([setup_cell.PLACEHOLDER, "main"]) == 0
    assert (house / "README.md").read_text().splitlines()[:2] == [setup_cell.BADGES[1], setup_cell.DRAW[1]]
    assert "git clone" not in setup_cell.setup_cell()


def test_links_write_what_nbformat_writes(house):
    setup_cell.main([])
    file = house / "notebooks" / "01_x.ipynb"
    assert file.read_text() == nbformat.writes(nbformat.read(file, as_version=4)) + "\n"


@pytest.mark.parametrize("address", [["nonsense"], ["a/b/c"], ["a/b", "no tag"], ['a/b"']])
def test_links_refuse_what_is_no_address(house, address):
    before = (house / "pyproject.toml").read_text()
    with pytest.raises(ValueError, match="must"):
        setup_cell.main(address)
    assert (house / "pyproject.toml").read_text() == before


def test_links_name_the_notebook_without_setup_cell(house, capsys):
    (house / "notebooks" / "02_y.ipynb").write_text('{"cells": []}')
    assert setup_cell.main([]) == 1
    assert "02_y.ipynb: holds 0 setup cells" in capsys.readouterr().err


# Make notebooks


def png(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))


def many_colours():
    return np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(many_colours()),
        Image.fromarray(many_colours() // 128 * 255).convert("RGBA"),  # 8 colours, alpha hides nothing
        Image.fromarray(np.concatenate([many_colours(), many_colours()[..., :1]], -1)),  # alpha that matters
    ],
    ids=["colours", "palette", "alpha"],
)
def test_pictures_shrink_without_loss(image):
    before = png(image)
    after = execute_notebooks.smaller_png(before)
    assert (pixels(after) == pixels(before)).all() and len(after) <= len(before)
    assert image.mode == "RGB" or len(after) < len(before) or image.getextrema()[3][0] < 255


def test_pictures_lose_colours_only_while_the_notebook_is_too_big():
    def with_pictures():
        data = base64.b64encode(png(Image.fromarray(many_colours()))).decode()
        out = nbformat.v4.new_output("display_data", {"image/png": data})
        cell = nbformat.v4.new_code_cell("x", outputs=[out, copy.deepcopy(out)])
        return nbformat.v4.new_notebook(cells=[cell])

    def colours(notebook):
        return [
            len(np.unique(pixels(base64.b64decode(o["data"]["image/png"])).reshape(-1, 4), axis=0))
            for o in notebook.cells[0].outputs
        ]

    roomy, tight, tighter, tightest = (with_pictures() for _ in range(4))
    execute_notebooks.shrink_pictures(roomy)
    size = len(execute_notebooks.as_text(roomy))
    execute_notebooks.shrink_pictures(tight, max_bytes=size - 1000)
    assert min(colours(roomy)) > 256 and sum(one < whole for one, whole in zip(colours(tight), colours(roomy))) == 1
    assert min(colours(tight)) > 256  # in 32 tones, which nobody sees
    both = 2 * (size - len(execute_notebooks.as_text(tight)))  # what is saved where both are in tones
    execute_notebooks.shrink_pictures(tighter, max_bytes=size - both - 1000)
    assert sorted(n > 256 for n in colours(tighter)) == [False, True]
    execute_notebooks.shrink_pictures(tightest, max_bytes=1)  # it goes as far as it may
    assert max(colours(tightest)) <= 128


def test_a_small_thing_keeps_its_colour_in_few_and_tones_are_next_to_the_right_ones():
    sky = np.random.default_rng(0).normal((120, 160, 220), 12, (256, 256, 3)).clip(0, 255).astype(np.uint8)
    sky[:8, :8], sky[8:16, :8] = (200, 53, 43), (224, 138, 44)  # a red tent and an orange one
    whole = Image.fromarray(sky)
    for colours in (256, 128):
        few = np.asarray(execute_notebooks.in_fewer(whole, colours).convert("RGB")).astype(int)
        assert np.abs(few[:16, :8] - sky[:16, :8]).max() <= 16
    tones = np.asarray(execute_notebooks.in_fewer(whole, execute_notebooks.TONES)).astype(int)
    assert 0 < np.abs(tones - sky).max() <= 5
    slow = np.linspace(0, 255, 256, dtype=np.uint8)  # a sky without noise shows what it loses
    smooth = Image.fromarray(np.stack([*np.meshgrid(slow, slow), np.full((256, 256), 90, np.uint8)], 2))
    assert execute_notebooks.harm(png(smooth), 64) > execute_notebooks.harm(png(whole), 64)
    assert execute_notebooks.harm(png(Image.new("RGB", (64, 64), "red")), 256) == 0


@pytest.fixture
def lesson(tmp_path):
    """Writes a notebook of code cells without ids and outputs; returns its path."""

    def write(*sources):
        cells = [
            {
                "cell_type": "code",
                "metadata": {"execution": {"t": 1}, "tags": ["a"]},
                "outputs": [],
                "execution_count": None,
                "source": text,
            }
            for text in sources
        ]
        file = tmp_path / "lesson.ipynb"
        notebook = {"cells": cells, "metadata": {"widgets": {}}, "nbformat": 4, "nbformat_minor": 5}
        file.write_text(json.dumps(notebook))
        return file

    return write


def test_execution_is_repeatable_and_leaves_nothing_behind(lesson):
    file = lesson(
        "from pathlib import Path\nimport ipywidgets\nPath('lesson.ipynb').exists()",
        "print(1)",
        "print(1)",
        "ipywidgets.VBox([ipywidgets.IntSlider()])",
    )
    assert execute_notebooks.main([str(file)]) == 0
    first = file.read_text()
    assert execute_notebooks.main([str(file)]) == 0
    assert file.read_text() == first
    notebook = nbformat.read(file, as_version=4)
    assert notebook.metadata == execute_notebooks.METADATA
    assert [cell.execution_count for cell in notebook.cells] == [1, 2, 3, 4]
    assert len({cell.id for cell in notebook.cells}) == 4 and notebook.cells[0].metadata == {"tags": ["a"]}
    assert notebook.cells[0].outputs[0].data["text/plain"] == "True", "must run in the notebook's folder"
    assert notebook.cells[3].outputs[0].data == {"text/plain": execute_notebooks.PANEL}
    assert [p.name for p in file.parent.iterdir()] == ["lesson.ipynb"]


def test_a_panel_is_kept_as_its_still(lesson):
    file = lesson(
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from helpers.panels import Panel, predict\nfrom helpers.panels.base import menu\n"
        "import io; from PIL import Image; buffer = io.BytesIO(); Image.new('RGB', (9, 9)).save(buffer, 'PNG')\n"
        "Panel({'n': menu('n', [1], 1)}, lambda n: buffer.getvalue(), lambda n: 'black')",
        "predict('a', 'b')",
    )
    assert execute_notebooks.main([str(file)]) == 0
    panel, question = (cell.outputs[0] for cell in nbformat.read(file, as_version=4).cells)
    assert set(panel.data) == {"text/plain", "image/png"} and panel.metadata["image/png"]["alt"].startswith(
        "A still of a panel. black"
    )
    assert panel.data["text/plain"] == f"{execute_notebooks.PANEL} Controls: n."
    assert question.data == {"text/plain": f"{execute_notebooks.PANEL} The answers to choose from: a; b."}


def test_execution_that_fails_leaves_the_notebook_alone(lesson, capsys):
    file = lesson("1 / 0")
    before = file.read_text()
    assert execute_notebooks.main([str(file)]) == 1
    assert file.read_text() == before
    assert "not saved" in capsys.readouterr().err


# JupyterLab


def test_lab_opens_with_the_course_and_what_is_given_wins(monkeypatch):
    given = []
    monkeypatch.setattr(lab.LabApp, "launch_instance", given.extend)
    lab.main(["--no-browser", "--LabApp.default_url=/lab"])
    assert given[-2:] == ["--no-browser", "--LabApp.default_url=/lab"]
    assert given[0] == "--ServerApp.kernel_websocket_connection_class=tools.lab.PromptConnection"
    assert sum(one.startswith("--LabApp.default_url") for one in given) == 1
    opened = re.compile(
        r"allow_origin|allow_remote|disable_check_xsrf|token|password|\bip="
    )  # who else may come in is Jupyter's own choice
    assert not [one for one in given if opened.search(one)]


def test_labs_messages_leave_at_once(monkeypatch):
    said = []
    monkeypatch.setattr(lab.ZMQChannelsWebsocketConnection, "connect", lambda self: said.append("connected"))
    handler = type("Handler", (), {"set_nodelay": lambda self, value: said.append(value)})()
    connection = lab.PromptConnection.__new__(lab.PromptConnection)
    monkeypatch.setattr(lab.PromptConnection, "websocket_handler", handler)
    connection.connect()
    assert said == [True, "connected"]
