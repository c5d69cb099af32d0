"""Markov chains: the worked example, a naive loop, order, and a planted chain."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from clicks import clicks, random_lists
from oracle import tie

from recsys.data.histories import Histories
from recsys.data.query import Queries
from recsys.data.types import Dataset
from recsys.errors import InputError
from recsys.experiment.experiment import from_tree
from recsys.models.markov import Markov, transitions
from recsys.ranking import ranks

# Items 1..6 of the worked example are rows 0..5.
LISTS = [[0, 1, 2], [1, 2, 3], [0, 2], [4, 1], [2, 0, 5, 1], [3, 4]]
QUERY = Histories.of_lists([[0, 2, 1]])


def counted(**settings: Any) -> np.ndarray:
    return transitions(Markov(**settings), clicks(LISTS, 6).log.histories, 6).toarray()


def scores(train: Dataset, asked: Histories, smoothing: float = 0.0, **settings: Any) -> np.ndarray:
    recipe = Markov(smoothing=smoothing, **settings)
    return recipe.build(train).score(Queries.of_histories(asked)).numpy()


def test_neighbours_are_counted():
    want = [
        [0, 1, 1, 0, 0, 1],
        [0, 0, 2, 0, 0, 0],
        [1, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 1, 0],
        [0, 1, 0, 0, 0, 0],
        [0, 1, 0, 0, 0, 0],
    ]
    assert counted().tolist() == want


def test_smoothing_goes_to_popular_items():
    want = [0.0625, 0.083333333, 0.75, 0.041666667, 0.041666667, 0.020833333]
    got = scores(clicks(LISTS, 6), QUERY, smoothing=1.0)[0]
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=0.51e-9)


def test_skip_transitions_are_counted():
    want = [
        [0, 1.5, 1.5, 0, 0, 1],
        [0, 0, 2, 0.5, 0, 0],
        [1, 0.333333333, 0, 1, 0, 0.5],
        [0, 0, 0, 0, 1, 0],
        [0, 1, 0, 0, 0, 0],
        [0, 1, 0, 0, 0, 0],
    ]
    np.testing.assert_allclose(counted(gap=3), want, rtol=0, atol=0.51e-9)


def test_the_last_items_vote():
    want = [0.176470588, 0.152573529, 0.893750000, 0.376470588, 0, 0.150735294]
    got = scores(clicks(LISTS, 6), QUERY, gap=3, last=3, decay=0.5)[0]
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=0.51e-9)


def naive(recipe: Markov, lists: list[list[int]], query: list[int], n_items: int) -> np.ndarray:
    """Scores of a query by loops over pairs of events, float64 [n_items]."""
    weight = {
        "div": lambda g: 1 / g,
        "same": lambda g: 1.0,
        "linear": lambda g: max(0.0, 1 - 0.1 * g),
        "quadratic": lambda g: 1 / g**2,
        "log": lambda g: 1 / math.log10(g + 1.7),
    }[recipe.weighting]
    table, count = np.zeros((n_items, n_items)), np.zeros(n_items)
    for items in lists:
        for i, a in enumerate(items):
            count[a] += 1
            for g in range(1, recipe.gap + 1):
                if i + g < len(items):
                    table[a, items[i + g]] += weight(g)
    result = np.zeros(n_items)
    for r, a in enumerate(reversed(query[-recipe.last :])):
        row, total = table[a].copy(), table[a].sum() + recipe.smoothing
        if recipe.keep is not None:
            order = sorted(range(n_items), key=lambda b: (-row[b], tie(b)))
            row[order[recipe.keep :]] = 0
        if total:
            row = (row + recipe.smoothing * count / count.sum()) / total
        result += recipe.decay**r * row
    return result


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"gap": 4, "weighting": "same", "last": 3, "decay": 0.7},
        {"gap": 10, "weighting": "linear", "last": 2},
        {"gap": 3, "weighting": "quadratic", "smoothing": 2.5, "last": 4, "decay": 1.0},
        {"gap": 50, "weighting": "log", "smoothing": 0.1, "keep": 3},
        {"gap": 2, "weighting": "same", "keep": 2, "last": 5},
    ],
    ids=str,
)
def test_scores_are_those_of_a_loop(settings, seed):
    lists, times = random_lists(seed)
    asked = [[], *random_lists(seed + 1000)[0], [11], [0, 11]]  # item 11 does not occur
    recipe = Markov(**({"smoothing": 0.0} | settings))
    got = scores(clicks(lists, 12, times), Histories.of_lists(asked), **settings)
    want = [naive(recipe, lists, query, 12) for query in asked]
    np.testing.assert_allclose(got, want, rtol=2e-6, atol=1e-9)


def test_transitions_lie_within_sessions_or_users():
    lists, users = [[0, 1], [2, 3]], [0, 0]
    train = clicks(lists, 4, [[10, 11], [20, 21]], users)
    asked = Histories.of_lists([[1]])
    assert scores(train, asked)[0].tolist() == [0, 0, 0, 0]
    assert scores(train, asked, sessions=True)[0].tolist() == [0, 0, 0, 0]
    assert scores(train, asked, sessions=False)[0].tolist() == [0, 0, 1, 0]
    with pytest.raises(InputError, match="sessions = true needs sessions"):
        Markov(sessions=True).build(clicks(lists, 4))


def test_repeats_of_the_log_count():
    """The pairs hold one row per user and item; the log holds every event."""
    pairs = clicks([[0, 1], [0, 2]], 3)
    log = clicks([[0, 1, 0, 1], [0, 2]], 3).pairs
    asked = Histories.of_lists([[0]])
    assert scores(pairs, asked)[0].tolist() == [0, 0.5, 0.5]
    got = scores(pairs.with_pairs(pairs.pairs, log=log), asked)[0]
    np.testing.assert_allclose(got, [0, 2 / 3, 1 / 3], rtol=1e-6)


def test_order_matters():
    """The same pairs at other times are another chain."""
    lists, times = random_lists(3, n=30, longest=6)
    rng = np.random.default_rng(0)
    shuffled = [rng.permutation(each).tolist() for each in lists]
    every = Histories.of_lists([[item] for item in range(12)])
    before, after = (clicks(each, 12, times) for each in (lists, shuffled))
    assert np.array_equal(np.sort(before.pairs.key), np.sort(after.pairs.key))
    assert not np.array_equal(scores(before, every), scores(after, every))


def test_a_planted_chain_is_learned():
    """Item i is followed by i + 1 in nine cases of ten, and otherwise by any item."""
    rng, n_items = np.random.default_rng(0), 50
    lists = []
    for _ in range(400):
        items = [int(rng.integers(n_items))]
        for _ in range(9):
            chained = rng.random() < 0.9
            items.append((items[-1] + 1) % n_items if chained else int(rng.integers(n_items)))
        lists.append(items)
    train, held = clicks(lists[:300], n_items), Histories.of_lists(lists[300:])
    queries = Queries.of_histories(Histories(held.item, held.begin, held.end - 1), repeats=True)
    last = held.item[held.end - 1]
    for settings in ({}, {"gap": 3}, {"gap": 3, "last": 2, "decay": 0.3}, {"smoothing": 0.0}):
        got = ranks(Markov(**settings).build(train), queries, sp.csr_matrix(np.eye(n_items)[last]))
        assert (got.rank == 1).mean() > 0.85, settings


def test_settings_without_effect_are_named():
    assert Markov(smoothing=0.0).idle() == {"weighting", "decay"}
    assert Markov(smoothing=0.0, gap=2, last=2).idle() == set()
    assert Markov().idle() == {"decay"}  # smoothing is added to weights, whose scale then counts
    model = {"name": "markov", "decay": 0.7, "gap": 3}
    assert from_tree({"data": {"path": "x"}, "model": model}).idle == [
        "[model] decay = 0.7 has no effect with the rest of model"
    ]
    with pytest.raises(InputError, match='gap = 11 has no effect beyond 10 with weighting = "lin'):
        Markov(gap=11, weighting="linear")
    Markov(gap=11)
