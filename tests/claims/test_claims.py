"""Every claim of a lesson has a rival, and every rival fails the claim's own test. How: claims.py."""

import pytest
from claims import LESSONS, claims_of, code_of, run, tried


def claims_in(lesson):
    found = [condition for source in code_of(lesson) for condition in claims_of(source)]
    assert len(found) == len(set(found)), f"asserted twice: {sorted({one for one in found if found.count(one) > 1})}"
    return set(found)


@pytest.mark.parametrize("lesson", LESSONS)
def test_every_claim_has_a_rival_and_every_rival_a_claim(lesson):
    claims, rivals = claims_in(lesson), LESSONS[lesson]
    assert claims - rivals.keys() == set(), "these claims stand without a control"
    assert rivals.keys() - claims == set(), "these rivals belong to no claim of the lesson"
    assert [claim for claim, controls in rivals.items() if not controls] == []


@pytest.mark.parametrize("lesson", LESSONS)
def test_every_rival_fails_where_the_lesson_passes(lesson):
    complaints = run(lesson, LESSONS[lesson])
    assert not complaints, "\n".join(complaints)


# The mechanism itself

def test_a_claim_is_known_by_its_condition_wherever_it_stands():
    cell = "x = 1\nassert x < 2\nfor k in range(3):\n    assert (k <\n            5), 'why'\n"
    assert claims_of(cell) == {"x < 2": "assert x < 2",
                               "k < 5": "for k in range(3):\n    assert (k <\n            5), 'why'"}
    with pytest.raises(ValueError, match="stands twice"):
        claims_of("assert x < 2\nassert x < 2")


def test_rivals_that_pass_or_stop_are_reported_and_the_lessons_names_stay():
    names = {"share": 0.1, "zero": lambda: 0.9}
    rivals = {"fails": "share = zero()", "passes": "share = 0.0", "stops": "share = one()", "odd": "share = None"}
    passes, stops, odd = tried("assert share < 0.5", rivals, names)
    assert passes == "passes: passes, so the claim says nothing" and stops.startswith("stops: its own code stopped with NameError")
    assert odd.startswith("odd: the claim stopped with TypeError") and names["share"] == 0.1
