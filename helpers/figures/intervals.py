"""Uncertainty of counts: the interval of a share, and the sign test for paired yes-or-no readings."""

from math import comb


def interval(hits, of):
    """The 95 % interval, (low, high) in 0..1, of the share of `hits` among `of` yes-or-no readings (Wilson 1927).

    Raises ValueError where hits are not between 0 and `of`, or where there are no readings.
    """
    if not 0 <= hits <= of or of == 0:
        raise ValueError(f"{hits} of {of} is no share: give how many were right, and of how many.")
    share, z = hits / of, 1.96
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z / (1 + z * z / of) * (share * (1 - share) / of + z * z / (4 * of * of)) ** 0.5
    return max(0.0, middle - half), min(1.0, middle + half)


def counted(hits, of):
    """A count in words, "10 of 12 (95 %: 55 to 95 %)", from `hits` among `of` readings; see `interval`."""
    low, high = interval(hits, of)
    return f"{hits:.0f} of {of} (95 %: {100 * low:.0f} to {100 * high:.0f} %)"


def only_one(some, others):
    """Of pairs of yes-or-no readings: in how many only the first is a yes, and in how many only the second."""
    pairs = [(bool(one), bool(other)) for one, other in zip(some, others, strict=True)]
    return pairs.count((True, False)), pairs.count((False, True))


def by_chance(one, other):
    """How often a fair coin, thrown one + other times, falls at least as unevenly as that (the sign test, both sides): 0..1.

    one, other: as `only_one` counts them; pairs that agree say nothing. Raises ValueError for counts below 0.
    """
    if min(one, other) < 0:
        raise ValueError(f"{one} and {other} pairs: counts are at least 0.")
    thrown = one + other
    return min(1.0, 2 * sum(comb(thrown, k) for k in range(min(one, other) + 1)) / 2**thrown)


def in_percent(share):
    """A share 0..1 as it is said: "50 %", "1.56 %", "under 0.1 %"."""
    return f"{100 * share:.3g} %" if share >= 0.001 else "under 0.1 %"
