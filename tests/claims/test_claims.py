"""Every claim of a lesson has a rival, and nbval's run of the lessons tries them: claims.py says how."""

import random

import pytest
import torch
from jupyter_client.manager import start_new_kernel

from tests.claims import claims
from tests.claims.claims import LESSONS, claims_of, code_of, in_kernel
from tests.claims.rivals import tried


@pytest.mark.parametrize("lesson", LESSONS)
def test_every_claim_has_a_rival_and_every_rival_a_claim(lesson):
    found = [condition for source in code_of(lesson) for condition in claims_of(source)]
    assert len(found) == len(set(found)), f"asserted twice: {sorted({one for one in found if found.count(one) > 1})}"
    rivals = LESSONS[lesson]
    assert set(found) - rivals.keys() == set(), "these claims stand without a control"
    assert rivals.keys() - set(found) == set(), "these rivals belong to no claim of the lesson"
    assert [claim for claim, controls in rivals.items() if not controls] == []


# The mechanism itself


def test_a_claim_is_known_by_its_condition_wherever_it_stands():
    cell = "x = 1\nassert x < 2\nfor k in range(3):\n    assert (k <\n            5), 'why'\n"
    assert claims_of(cell) == {
        "x < 2": "assert x < 2",
        "k < 5": "for k in range(3):\n    assert (k <\n            5), 'why'",
    }
    with pytest.raises(ValueError, match="stands twice"):
        claims_of("assert x < 2\nassert x < 2")


RIVALS = {
    "fails": "share = zero()",
    "passes": "share = 0.0",
    "stops": "share = one()",
    "odd": "share = None",
    "asserts": "assert False, 'too early'",
}


def assert_all_but_the_first_are_reported(passes, stops, odd, asserts):
    assert passes == "passes: passes, so the claim says nothing" and stops.startswith(
        "stops: its own code stopped with NameError"
    )
    assert odd.startswith("odd: the claim stopped with TypeError") and asserts.endswith("AssertionError: too early")


def test_rivals_that_pass_or_stop_are_reported_and_the_lessons_names_stay():
    names = {"share": 0.1, "zero": lambda: 0.9}
    assert_all_but_the_first_are_reported(*tried("assert share < 0.5", RIVALS, names))
    assert names.keys() == {"share", "zero"} and names["share"] == 0.1


def test_a_rival_draws_no_numbers_from_the_lesson():
    names = {"draw": torch.Generator().manual_seed(0), "rng": random.Random(0), "torch": torch, "x": 0}
    draws = "x = torch.rand(1, generator=draw) + torch.rand(1) + rng.random()"
    torch.manual_seed(0)
    tried("assert x == 0", {"noise": draws, "more noise": draws}, names)
    after = torch.rand(1, generator=names["draw"]), torch.rand(1), names["rng"].random()
    torch.manual_seed(0)
    assert after == (
        torch.rand(1, generator=torch.Generator().manual_seed(0)),
        torch.rand(1),
        random.Random(0).random(),
    )


def test_rivals_are_tried_in_a_kernel():
    manager, client = start_new_kernel(kernel_name="python3")
    try:
        client.execute_interactive("share, zero = 0.1, lambda: 0.9")
        assert_all_but_the_first_are_reported(*in_kernel(client, "assert share < 0.5", RIVALS))
        assert in_kernel(client, "assert share < 0.5", {"fails": "share = zero()"}) == []
        assert in_kernel(client, "assert share <", {"fails": ""}) != []
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


class Cell:
    """As much of nbval's item as the plugin looks at."""

    path, parent = claims.NOTEBOOKS["01"], None

    def __init__(self, source):
        self.cell, self.parent = type("", (), {"source": source}), type("", (), {"kernel": type("", (), {"kc": None})})


def test_a_cell_fails_with_the_complaints_of_its_claims_and_other_cells_are_left_alone(monkeypatch):
    monkeypatch.setitem(LESSONS, "01", {"x < 2": {"zero": "x = 0"}})
    monkeypatch.setattr(claims, "in_kernel", lambda client, statement, rivals: list(rivals))

    def after(item):
        hook = claims.pytest_runtest_call(item)
        next(hook)
        with pytest.raises(StopIteration):
            hook.send(None)

    after(Cell("x = 1"))
    with pytest.raises(pytest.fail.Exception, match="assert x < 2: zero"):
        after(Cell("x = 1\nassert x < 2"))
    elsewhere = Cell("assert x < 2")
    elsewhere.path = claims.HERE / "test_claims.py"
    after(elsewhere)
