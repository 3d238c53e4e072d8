"""The rule that says which cells a panel needs."""

import pytest

from helpers.panels.base import STILL
from tools.browser.needed import names_of, needed_cells, rebound_later


def cells(*sources):
    """Code cells; one that starts with "panel" shows a panel, one that ends with "# shown" a figure."""

    def shown(source):
        text = STILL if source.startswith("panel") else "[figure]" if source.endswith("# shown") else None
        return [{"output_type": "execute_result", "data": {"text/plain": text}}] if text else []

    return [{"cell_type": "code", "source": source, "outputs": shown(source)} for source in sources]


@pytest.mark.parametrize(
    "sources, needed",
    [
        (["setup", "a = 1", "b = 2", "panel(a)"], [0, 1, 3]),  # what it reads, and the first cell
        (["setup", "a = 1", "a = 2", "panel(a)"], [0, 2, 3]),  # bound anew: the older one is not
        (["setup", "a = []", "a.append(1)", "panel(a)"], [0, 1, 2, 3]),  # changed by a call for its effect
        (["setup", "a = []", "train(a)", "panel(a)"], [0, 1, 2, 3]),  # changed by being given to one
        (["setup", "b = 1", "a = c", "save(b, a / 'file')", "panel(a)"], [0, 1, 2, 3, 4]),  # a folder, by a file in it
        (["setup", "a = 1", "print(a)", "display(a)", "panel(a)"], [0, 1, 4]),  # not by being looked at
        (["setup", "a = {}", "for k in range(3):\n    a[k] = k", "panel(a)"], [0, 1, 2, 3]),
        (["setup", "a = {}", "a.draw()  # shown", "panel(a)"], [0, 1, 3]),  # not for its effect
        (["setup", "b = 1", "def a():\n    return b", "panel(a)"], [0, 1, 2, 3]),  # read inside a function
        (["setup", "b = 1", "def a(b):\n    return b", "panel(a)"], [0, 2, 3]),  # a parameter is not
        (["setup", "b = 1", "a = [b for b in range(3)]", "panel(a)"], [0, 2, 3]),
        (["setup", "import a", "from b import a", "panel(a)"], [0, 2, 3]),
        (["setup", "import a", "a.check(1)", "panel(a)"], [0, 1, 3]),  # a module is never changed
        (["setup", "t = 1", "for t in range(3):\n    a = t", "panel(a)"], [0, 2, 3]),  # bound by the loop itself
        (["setup", "c = 1", "with c as d:\n    a = d", "panel(a)"], [0, 1, 2, 3]),
        (["setup", "a = 1", "panel(a)", "a = 2", "b = a"], [0, 1, 2]),  # nothing below the last panel
        (["setup", "a = 1", "b = a"], [0]),
    ],
)
def test_needed_cells(sources, needed):
    assert needed_cells(cells(*sources)) == needed


def test_a_name_is_read_from_above_only_before_it_is_bound():
    names = names_of("a = b\nb = c(a)\nx.y[0].z = 1")
    assert (names.reads, names.binds, names.changes) == ({"b", "c", "x"}, {"a", "b"}, {"x"})


def test_what_a_training_displays_is_not_moved_and_reads_nothing_later():
    some = cells("noise = [1]", "panel(lambda i: noise)", "noise = 2")
    assert len(list(rebound_later(some))) == 1
    some[1]["outputs"][0]["output_type"] = "display_data"
    assert list(rebound_later(some)) == []


@pytest.mark.parametrize(
    "sources, complaints",
    [
        (["words = [1]", "def f(i):\n    return words[i]", "panel(lambda i: f(i))", "words = 2"], 1),
        (["words = [1]", "def f(i):\n    return words[i]", "panel(f)", "words = 2"], 1),
        (["words = [1]", "def f(words):\n    return words", "panel(f)", "words = 2"], 0),
        (["words = [1]", "panel(words)", "words = 2"], 0),
        (["words = [1]", "words = 2", "panel(lambda i: words)"], 0),
    ],
)
def test_what_a_panel_reads_stays(sources, complaints):
    assert len(list(rebound_later(cells(*sources)))) == complaints
