"""The interval of a share is Wilson's, and what is no share is refused."""

import pytest

from helpers.figures.intervals import by_chance, counted, in_percent, interval, only_one


@pytest.mark.parametrize("hits, of, low, high", [(0, 20, 0, 0.161), (20, 20, 0.839, 1), (10, 20, 0.299, 0.701)])
def test_interval_is_wilsons(hits, of, low, high):
    assert interval(hits, of) == pytest.approx((low, high), abs=1e-3)


@pytest.mark.parametrize("hits, of", [(3, 2), (-1, 5), (0, 0)])
def test_interval_refuses_what_is_no_share(hits, of):
    with pytest.raises(ValueError, match="is no share"):
        interval(hits, of)


def test_a_count_in_words():
    assert counted(10, 12) == "10 of 12 (95 %: 55 to 95 %)" and counted(0, 4).startswith("0 of 4 (95 %: 0 to")


def test_pairs_that_agree_are_left_out():
    assert only_one([True, True, False, 1], [False, True, False, 0]) == (2, 0) and only_one([False], [True]) == (0, 1)
    with pytest.raises(ValueError, match="shorter"):
        only_one([True], [])


def test_pairs_that_fall_to_one_side_are_rarer_the_more_there_are():
    assert [by_chance(n, 0) for n in (1, 2, 3, 6)] == [1, 0.5, 0.25, 1 / 32]
    assert by_chance(0, 0) == by_chance(5, 5) == 1 and by_chance(2, 9) == by_chance(9, 2) == pytest.approx(134 / 2048)
    with pytest.raises(ValueError, match="at least 0"):
        by_chance(-1, 2)


def test_a_share_is_said_plainly():
    assert [in_percent(share) for share in (1, 0.5, 2 / 128, 2 / 8192, 0)] == [
        "100 %",
        "50 %",
        "1.56 %",
        "under 0.1 %",
        "under 0.1 %",
    ]
