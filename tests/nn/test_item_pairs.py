"""Pairs of items: counts, filters and synthetic pairs, by hand and against plain loops."""

from __future__ import annotations

import math
from collections import Counter
from itertools import permutations

import numpy as np
import scipy.sparse as sp
from clicks import clicks, random_lists

from recsys.data.histories import Histories
from recsys.data.types import Interactions
from recsys.nn.item_pairs import (
    PairCounts,
    baskets_of,
    pair_counts,
    pmi,
    synthetic,
    with_least,
    without_same,
)

# Ten baskets of four items; the counts below were taken by hand.
BASKETS = [[0, 1], [0, 1], [0, 1], [0, 2], [1, 2], [2, 3], [2, 3], [0], [3], [0, 1, 2]]


def baskets(lists: list[list[int]], n: int) -> sp.csr_matrix:
    log = clicks(lists, n).log
    return baskets_of(log, log.histories, n)


def as_dict(pairs: PairCounts) -> dict[tuple[int, int], float]:
    cells = zip(pairs.first.tolist(), pairs.second.tolist(), pairs.count.tolist(), strict=True)
    return {(first, second): count for first, second, count in cells}


def test_counts_by_hand() -> None:
    counts = as_dict(pair_counts(baskets(BASKETS, 4)))
    half = {(0, 1): 4, (0, 2): 2, (1, 2): 2, (2, 3): 2}
    assert counts == half | {(b, a): count for (a, b), count in half.items()}


def test_filters_by_hand() -> None:
    held = baskets(BASKETS, 4)
    pairs = pair_counts(held)
    # n = 6, 5, 5, 3 of T = 10; PMI(0, 1) = log(4 * 10 / 30), PMI(0, 2) = log(2 * 10 / 30) < 0.
    values = dict(zip(as_dict(pairs), pmi(pairs, np.array([6, 5, 5, 3]), 10), strict=True))
    assert math.isclose(values[0, 1], math.log(40 / 30))
    assert math.isclose(values[0, 2], math.log(20 / 30))
    assert math.isclose(values[2, 3], math.log(20 / 15))
    assert set(as_dict(with_least(pairs, held, least=3))) == {(0, 1), (1, 0)}
    positive = with_least(pairs, held, min_pmi=0.0)
    assert set(as_dict(positive)) == {(0, 1), (1, 0), (2, 3), (3, 2)}


def test_a_pmi_of_zero_is_kept() -> None:
    held = baskets([[0, 1, 2]] * 3, 3)
    assert len(with_least(pair_counts(held), held, min_pmi=0.0)) == 6


def test_counts_and_pmi_against_a_loop() -> None:
    lists = random_lists(3, 40, 9)[0]
    held = baskets(lists, 9)
    counts = Counter(pair for each in lists for pair in permutations(set(each), 2))
    assert as_dict(pair_counts(held)) == counts


def test_pairs_of_one_category_are_left_out() -> None:
    held = baskets(BASKETS, 4)
    category = np.array([0, 0, 1, 2])
    kept = as_dict(without_same(pair_counts(held), category, held))
    assert (0, 1) not in kept
    assert (0, 2) in kept
    # Category 0 is in 7 baskets, 1 in 5, both in 3: PMI log(3 * 10 / 35) < 0. 1 and 2 are above.
    above = as_dict(without_same(pair_counts(held), category, held, 0.0))
    assert set(above) == {(2, 3), (3, 2)}
    unknown = np.full(4, -1)
    assert len(without_same(pair_counts(held), unknown, held, 0.0)) == len(pair_counts(held))


def test_synthetic_counts_are_floored_and_zeros_vanish() -> None:
    pairs = PairCounts(np.array([0, 1]), np.array([1, 0]), np.array([5.0, 5.0]))
    similar = np.zeros((5, 5))
    similar[0, 2], similar[1, 3], similar[0, 4] = 0.9, 0.8, 0.3
    made = as_dict(synthetic(pairs, sp.csr_matrix(similar), 0.5))
    expected = {
        (2, 1): math.floor(0.5 * 5 * 0.9),
        (0, 3): math.floor(0.5 * 5 * 0.8),
        (2, 3): math.floor(0.5 * 5 * (0.9 + 0.8) / 2),
        (4, 3): math.floor(0.5 * 5 * (0.3 + 0.8) / 2),
    }
    assert math.floor(0.5 * 5 * 0.3) == 0  # (4, 1) vanishes
    assert made == expected | {(b, a): count for (a, b), count in expected.items()}


def test_synthetic_pairs_against_a_loop() -> None:
    rng = np.random.default_rng(5)
    held = baskets(random_lists(3, 60, 8)[0], 8)
    pairs = pair_counts(held)
    similar = np.where(rng.random((8, 8)) < 0.3, rng.random((8, 8)), 0.0)
    np.fill_diagonal(similar, 0.0)
    real = as_dict(pairs)
    expected: Counter[tuple[int, int]] = Counter()
    for (a, b), count in real.items():
        for x in np.flatnonzero(similar[a]):
            one = math.floor(0.7 * count * similar[a, x])
            expected[x, b] += one
            expected[b, x] += one
            for y in np.flatnonzero(similar[b]):
                both = 0.7 * count * (similar[a, x] + similar[b, y]) / 2
                expected[x, y] += math.floor(both)
    kept = {
        (int(a), int(b)): count
        for (a, b), count in expected.items()
        if a != b and count and (a, b) not in real
    }
    assert as_dict(synthetic(pairs, sp.csr_matrix(similar), 0.7)) == kept


def test_the_largest_baskets_and_users_are_left_out() -> None:
    lists = [[0, 1]] * 8 + [[0, 1, 2, 3, 4, 5]]
    log = clicks(lists, 6).log
    assert baskets_of(log, log.histories, 6, 0.9).shape[0] == 8
    assert baskets_of(log, log.histories, 6).shape[0] == 9
    # User 8 has many items in small baskets.
    user = np.repeat([*range(8), 8, 8, 8], 2)
    item = np.array([0, 1] * 8 + [0, 1, 2, 3, 4, 5])
    session = np.repeat(np.arange(11), 2)
    events = Interactions(user, item, 9, 6, session=session)
    assert baskets_of(events, events.visits, 6, 0.9).shape[0] == 8


def test_an_empty_history_is_no_basket() -> None:
    held = Histories.of_lists([[0, 1], [], [1]])
    log = clicks([[0, 1], [1]], 2).log
    assert baskets_of(log, held, 2).shape == (2, 2)
