"""Candidates sampled without replacement, against enumeration of all samples.

With all candidates sampled, the numbers are those of the full ranking.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from asking import asked, draw

from recsys.data.hashing import tie_order
from recsys.data.types import Interactions
from recsys.errors import InputError
from recsys.evaluation import draws
from recsys.evaluation.draws import draw_items
from recsys.evaluation.estimators import estimate
from recsys.evaluation.evaluator import Evaluation, evaluate
from recsys.evaluation.metrics import parse
from recsys.evaluation.rank_distribution import decoder, rank_cells, rank_likelihood
from recsys.scorer import Factors, Product

ESTIMATORS = ("none", "rank", "bv", "mle", "bv_mle", "entropy")
NAMES = (
    *("recall@5", "precision@5", "f1@5", "hit@3", "ndcg@5", "mrr@5", "map@7"),
    *("ndcg", "map", "mrr", "auc"),
)
EXACT = 1e-12


@pytest.fixture(params=["stream", "cut", "keys"])
def way(request, monkeypatch):
    """Sample from a stream as long as possible, from one that is cut early, or by all keys."""
    monkeypatch.setattr(draws, "DEAR", {"stream": 2, "cut": 5, "keys": 10**9}[request.param])
    if request.param == "cut":
        monkeypatch.setattr(draws, "_length", lambda m, weight: m + 1)
    return request.param


def nothing(rows: int, n: int) -> sp.csr_matrix:
    return sp.csr_matrix((rows, n), dtype=np.float32)


def successive(weight: np.ndarray, m: int) -> dict[frozenset[int], float]:
    """Probability of every set of m items, sampled one by one by their weight, by enumeration."""
    chance: dict[frozenset[int], float] = Counter()
    for order in itertools.permutations(np.flatnonzero(weight), m):
        left, p = weight.sum(), 1.0
        for item in order:
            p *= weight[item] / left
            left -= weight[item]
        chance[frozenset(map(int, order))] += p
    return chance


@pytest.mark.parametrize("weight", [None, [1.0, 9.0, 2.0, 5.0, 1.0, 40.0]])
@pytest.mark.parametrize("m", [1, 2, 3])
def test_every_set_is_drawn_as_often_as_enumeration_has_it(way, weight, m):
    rows, n = 20_000, 40
    weight = None if weight is None else np.resize(weight, n)
    barred = nothing(rows, n).tolil()
    barred[:, 1] = 1
    barred[:, 6:] = 1  # five are left, so that the sets can be counted
    drawn = draw_items(np.arange(rows), barred.tocsr(), m, weight=weight, seed=3).items
    assert drawn.shape == (rows, m)
    free = np.where(np.arange(n) < 6, 1.0 if weight is None else weight, 0.0)
    free[1] = 0
    seen = Counter(frozenset(row) for row in drawn.tolist())
    expected = successive(free, m)
    assert set(seen) <= set(expected)
    for each, p in expected.items():
        assert abs(seen[each] / rows - p) < 5 * math.sqrt(p * (1 - p) / rows), each


@pytest.mark.parametrize("popular", [False, True])
@pytest.mark.parametrize("m", [2, 20, 90, 150, 199, 200, 1000])
def test_none_is_drawn_twice_none_that_is_barred_and_as_many_as_there_are(way, popular, m):
    generator = np.random.default_rng(0)
    barred = sp.csr_matrix(generator.random((50, 200)) < np.linspace(0, 1, 50)[:, None])
    weight = generator.pareto(0.7, 200) + 0.01 if popular else None
    sample = draw_items(np.arange(50), barred, m, weight=weight)
    for user in range(50):
        allowed = np.setdiff1d(np.arange(200), barred[[user]].indices)
        items = sample.items[user][sample.items[user] >= 0]
        assert len(set(items)) == len(items) == min(m, len(allowed))
        assert set(items) <= set(allowed)
        if m >= len(allowed):
            assert (sample.chance[user] == 1).all()
        elif weight is None:
            assert (sample.chance[user] == m / len(allowed)).all()
        else:
            assert sample.chance[user].min() < 1


@pytest.mark.parametrize("m", [2, 5, 10, 11])
@pytest.mark.parametrize("popular", [False, True])
def test_a_sum_over_all_items_is_estimated_without_bias(way, m, popular):
    rows, n = 20_000, 60
    generator = np.random.default_rng(m)
    weight = generator.integers(1, 60, n).astype(float) if popular else None
    value = generator.random(n)
    sample = draw_items(np.arange(rows), nothing(rows, n), m, weight=weight, seed=1)
    sums = (value[sample.items] / sample.chance).sum(1)
    assert abs(sums.mean() - value.sum()) < 5 * sums.std() / math.sqrt(rows)


def test_a_rare_item_counts_as_much_as_a_popular_one(way):
    """The mean of 1 / chance is 1 for every item, also where popular items fill a stream."""
    weight = np.concatenate([[500.0, 200.0], np.ones(78)])
    rows = 20_000
    sample = draw_items(np.arange(rows), nothing(rows, 80), 4, weight=weight)
    for item in (0, 1, 7):
        part = ((sample.items == item) / sample.chance).sum(1)
        assert abs(part.mean() - 1) < 5 * part.std() / math.sqrt(rows)
    order = successive(np.array([500.0, 200.0, *np.ones(8)]), 2)
    few = draw_items(np.arange(rows), nothing(rows, 80)[:, :10], 2, weight=weight[:10])
    both = np.mean([set(row) == {0, 1} for row in few.items.tolist()])
    p = order[frozenset({0, 1})]
    assert abs(both - p) < 5 * math.sqrt(p * (1 - p) / rows)


@pytest.mark.parametrize("popular", [False, True])
@pytest.mark.parametrize("m", [3, 30, 120])
def test_a_user_has_the_same_candidates_whoever_else_is_there(way, popular, m):
    generator = np.random.default_rng(4)
    barred = sp.csr_matrix(generator.random((40, 150)) < 0.3)
    weight = generator.pareto(1.0, 150) + 0.1 if popular else None
    rows = generator.permutation(1000)[:40]
    whole = draw_items(rows, barred, m, weight=weight)
    order = generator.permutation(40)
    other = draw_items(rows[order], barred[order], m, weight=weight)
    for place, user in enumerate(order):
        alone = draw_items(rows[[user]], barred[[user]], m, weight=weight)
        sets = [
            {pair for pair in zip(s.items[r], s.chance[r].round(9), strict=True) if pair[0] >= 0}
            for s, r in ((whole, user), (other, place), (alone, 0))
        ]
        assert sets[0] == sets[1] == sets[2]
    again = draw_items(rows, barred, m, weight=weight, seed=1)
    assert (again.items != whole.items).any()


def world(seed: int = 0, n_users: int = 40, n_items: int = 70, levels: int = 0):
    """A scorer with train and test pairs, and with `levels` distinct scores, so with ties."""
    generator = np.random.default_rng(seed)
    score = generator.normal(size=(n_users, n_items))
    if levels:
        score = np.floor(levels * generator.random((n_users, n_items)))
    pairs = np.stack([generator.permutation(n_items)[:12] for _ in range(n_users)])
    user = np.repeat(np.arange(n_users), 6)
    train = Interactions(user, pairs[:, :6].ravel(), n_users, n_items)
    test = Interactions(user, pairs[:, 6:].ravel(), n_users, n_items)
    first = sp.identity(n_users, dtype=np.float32, format="csr")
    return Product((first, torch.tensor(score, dtype=torch.float32))), train, test


def settings(**words) -> Evaluation:
    return Evaluation(metrics=NAMES, monitor="ndcg@5", candidates="sampled", **words)


ENDS = [("uniform", each) for each in ESTIMATORS] + [("popularity", "none"), ("popularity", "rank")]


@pytest.mark.parametrize(("by", "estimator"), ENDS)
@pytest.mark.parametrize("levels", [0, 4])
def test_as_many_as_there_are_give_the_numbers_of_the_full_ranking(by, estimator, levels):
    scorer, train, test = world(levels=levels)
    full = evaluate(scorer, train, test, Evaluation(metrics=NAMES, monitor="ndcg@5"))
    for m in (58, 59, 70, 5000):  # 70 items, 6 met, 6 to be found
        report = evaluate(
            scorer, train, test, settings(sampled=m, sampled_by=by, estimator=estimator)
        )
        assert report.per_user.equals(full.per_user)
        assert report.notes == (
            f"sampled = {m}, and no user has more than 58 candidates: "
            "ranked in full, these numbers are exact",
        )
        assert report.protocol == full.protocol


@pytest.mark.parametrize(("by", "estimator"), ENDS)
@pytest.mark.parametrize("levels", [0, 4])
def test_so_does_the_draw_itself(by, estimator, levels):
    scorer, train, test = world(levels=levels)
    full = evaluate(scorer, train, test, Evaluation(metrics=NAMES, monitor="ndcg@5"))
    counts = np.bincount(train.item, minlength=70) if by == "popularity" else None
    metrics = [parse(name) for name in NAMES]
    for m in (58, 200):
        places = draw(scorer, np.arange(40), test.csr, train.csr, m, counts=counts)
        columns = estimate(places, metrics, np.full(40, 6), estimator)
        for name in NAMES:
            np.testing.assert_allclose(columns[name], full.values(name), atol=EXACT, err_msg=name)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_user_with_no_more_candidates_than_are_drawn_is_ranked_in_full(estimator):
    scorer, _, test = world(seed=2, levels=9)
    generator = np.random.default_rng(0)
    free = 1 - test.csr.toarray()
    met = free * (generator.random((40, 70)) < np.linspace(0, 0.9, 40)[:, None])
    user, item = np.nonzero(met)
    train = Interactions(user, item, 40, 70)
    full = evaluate(scorer, train, test, Evaluation(metrics=NAMES, monitor="ndcg@5"))
    pool = 64 - met.sum(1)
    places = draw(scorer, np.arange(40), test.csr, train.csr, 30)
    columns = estimate(places, [parse(name) for name in NAMES], np.full(40, 6), estimator)
    few = pool <= 30
    assert 5 < few.sum() < 35
    np.testing.assert_array_equal(places.complete, few)
    for name in NAMES:
        np.testing.assert_allclose(columns[name][few], full.values(name)[few], atol=EXACT)
        moved = np.abs(columns[name][~few] - full.values(name)[~few]).max()
        assert moved > 0.01 or name == "hit@3", name
    note = f"{few.sum()} of 40 users have no more than 30 candidates, which are all ranked"
    report = evaluate(scorer, train, test, settings(sampled=30, estimator="none"))
    assert note in report.notes


@pytest.mark.parametrize("popular", [False, True])
def test_uncorrected_ranks_are_those_of_a_loop_over_the_drawn(popular):
    scorer, train, test = world(seed=5, levels=6)
    counts = np.bincount(train.item, minlength=70)
    weight = counts + 1.0 if popular else None
    score = scorer.score(asked(torch.arange(40))).numpy()
    barred = sp.csr_matrix(train.csr + test.csr)
    barred.sort_indices()
    sample = draw_items(np.arange(40), barred, 15, weight=weight, seed=7)
    places = draw(
        scorer, np.arange(40), test.csr, train.csr, 15, counts=counts if popular else None, seed=7
    )
    columns = estimate(places, [parse("recall@5"), parse("ndcg@5")], np.full(40, 6), "none")
    tie = tie_order(70)
    for user in range(40):
        mine = set(test.csr[[user]].indices.tolist())
        order = sorted(
            [*mine, *sample.items[user].tolist()], key=lambda item: (-score[user, item], tie[item])
        )
        hits = [place for place, item in enumerate(order[:5], 1) if item in mine]
        ideal = sum(1 / math.log2(place + 1) for place in range(1, 6))
        assert columns["recall@5"][user] == pytest.approx(len(hits) / 6)
        gain = sum(1 / math.log2(place + 1) for place in hits)
        assert columns["ndcg@5"][user] == pytest.approx(gain / ideal)


@pytest.mark.parametrize("by", ["uniform", "popularity"])
def test_uncorrected_numbers_fall_to_the_full_ranking_and_never_below(by):
    scorer, train, test = world(seed=1)
    full = evaluate(scorer, train, test, Evaluation(metrics=NAMES, monitor="ndcg@5"))
    names = [name for name in NAMES if name != "auc"]
    reports = [
        evaluate(scorer, train, test, settings(sampled=m, sampled_by=by, estimator="none"))
        for m in (1, 10, 30, 50, 57, 58)
    ]
    for report in reports:
        for name in names:  # of a user's candidates, fewer stand above
            assert (report.values(name) >= full.values(name) - EXACT).all()
    means = [report["recall@5"] for report in reports]
    assert means == sorted(means, reverse=True)
    assert means[0] > means[-1] + 0.2


def test_what_a_rank_tells_is_what_all_subsets_tell():
    """P(x | rank), "mle", "bv" and the unbiased rank, by enumeration of all samples of 4 of 9."""
    n, m = 9, 4
    table = np.zeros((n + 1, m + 1))
    for subset in itertools.combinations(range(n), m):
        for above in range(n + 1):  # the candidates 0 .. above - 1 are above
            table[above, sum(item < above for item in subset)] += 1 / math.comb(n, m)
    grid, width = rank_cells(n, n, m, 64)
    np.testing.assert_array_equal(grid, np.arange(1, n + 2))
    np.testing.assert_allclose(rank_likelihood(grid, n, m), table, atol=1e-12)
    np.testing.assert_allclose(table @ np.arange(m + 1) * n / m, np.arange(n + 1))

    prior = np.random.default_rng(0).dirichlet(np.ones(n + 1))
    gain = 1 / np.log2(np.arange(2, n + 3))
    joint = table * prior[:, None]
    learnt = decoder(table, prior, "mle") @ gain
    np.testing.assert_allclose(learnt, (joint * gain[:, None]).sum(0) / joint.sum(0))
    assert prior @ table @ learnt == pytest.approx(prior @ gain)

    flat = width / width.sum()
    values = decoder(table, flat, "bv") @ gain
    spread = np.diag(flat @ table)
    system = 0.99 * table.T @ np.diag(flat) @ table + 0.01 * spread
    np.testing.assert_allclose(values, np.linalg.solve(system, table.T @ (flat * gain)))


def test_wide_cells_hold_the_mean_of_their_ranks():
    grid, width = rank_cells(4000, 4000, 50, 20)
    assert (np.bincount(np.floor(grid).astype(int)) <= 1).all()
    assert width.sum() == 4001
    table = rank_likelihood(grid, 4000, 50)
    np.testing.assert_allclose(table.sum(1), 1, atol=1e-9)
    np.testing.assert_allclose(table @ np.arange(51), 50 * (grid - 1) / 4000, atol=1e-6)
    small = rank_likelihood(grid, 900, 50)  # a user with fewer candidates
    np.testing.assert_allclose(small[grid > 902].sum(), 0, atol=1e-9)


@pytest.mark.parametrize("m", [75, 150, 240, 285])
@pytest.mark.parametrize("estimator", ["mle", "entropy", "bv_mle", "bv"])
def test_estimates_are_near_the_full_ranking_however_much_is_drawn(m, estimator):
    generator = np.random.default_rng(3)
    user, item = generator.normal(size=(1500, 6)), generator.normal(size=(300, 6))
    liking = user @ item.T + generator.gumbel(size=(1500, 300))
    top = generator.permuted(np.argpartition(-liking, 8, axis=1)[:, :8], axis=1)
    rows = np.repeat(np.arange(1500), 4)
    train = Interactions(rows, top[:, :4].ravel(), 1500, 300)
    test = Interactions(rows, top[:, 4:].ravel(), 1500, 300)
    seen = user + generator.normal(size=user.shape)
    scorer = Factors(
        torch.tensor(seen, dtype=torch.float32), torch.tensor(item, dtype=torch.float32)
    )
    names = ("recall@10", "ndcg@10", "map@20", "ndcg")
    full = evaluate(scorer, train, test, Evaluation(metrics=names, monitor="ndcg@10"))
    error = []
    for seed in range(3):
        places = draw(scorer, np.arange(1500), test.csr, train.csr, m, seed=seed)
        columns = estimate(places, [parse(name) for name in names], np.full(1500, 4), estimator)
        error.append([columns[name].mean() / full[name] - 1 for name in names])
    assert np.abs(np.mean(error, axis=0)).max() < 0.04


def test_a_metric_that_is_not_a_number_is_refused():
    scorer = Factors(torch.full((3, 2), float("nan")), torch.ones(20, 2))
    pairs = Interactions(np.arange(3), np.arange(3), 3, 20)
    with pytest.raises(InputError, match="scores that are not numbers"):
        draw(scorer, np.arange(3), pairs.csr, nothing(3, 20), 5)


def test_renamed_users_have_the_same_numbers():
    """A user row decides what is drawn, not its place among those who are asked for."""
    scorer, train, test = world(seed=6)
    order = np.random.default_rng(1).permutation(40)
    metrics = [parse(name) for name in NAMES]
    for counts in (None, np.bincount(train.item, minlength=70)):
        one = draw(scorer, np.arange(40), test.csr, train.csr, 12, counts=counts)
        two = draw(scorer, order, test.csr[order], train.csr, 12, counts=counts)
        for name, values in estimate(one, metrics, np.full(40, 6), "rank").items():
            other = estimate(two, metrics, np.full(40, 6), "rank")[name]
            np.testing.assert_allclose(values[order], other, atol=EXACT)
