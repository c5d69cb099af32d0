"""Sampled candidates: the sample, and corrected estimates near the full ranking."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from asking import asked, draw

from recsys.data.hashing import tie_order
from recsys.data.types import Interactions
from recsys.evaluation import sampled
from recsys.evaluation.estimators import estimate
from recsys.evaluation.evaluator import Evaluation, evaluate
from recsys.evaluation.metrics import parse
from recsys.evaluation.sampled import worthwhile
from recsys.scorer import Factors, Product

NAMES = ("recall@10", "recall@50", "precision@50", "ndcg@50", "hit@50", "map@50", "auc")


def planted(
    n_users: int = 1500, n_items: int = 3000, n_test: int = 3, noise: float = 1.0, seed: int = 0
) -> tuple[Factors, Interactions, Interactions]:
    """A scorer that knows the users' tastes up to noise, and interactions from those tastes."""
    generator = np.random.default_rng(seed)
    user, item = generator.normal(size=(n_users, 8)), generator.normal(size=(n_items, 8))
    liking = user @ item.T + generator.gumbel(size=(n_users, n_items))
    top = generator.permuted(np.argpartition(-liking, 12, axis=1)[:, : 9 + n_test], axis=1)

    def pairs(rows: np.ndarray) -> Interactions:
        return Interactions(
            np.repeat(np.arange(n_users), rows.shape[1]), rows.ravel(), n_users, n_items
        )

    seen = user + noise * generator.normal(size=user.shape)
    scorer = Factors(
        torch.tensor(seen, dtype=torch.float32), torch.tensor(item, dtype=torch.float32)
    )
    return scorer, pairs(top[:, :9]), pairs(top[:, 9:])


@pytest.fixture(scope="module")
def world():
    scorer, train, test = planted()
    full = evaluate(scorer, train, test, Evaluation(metrics=NAMES))
    return scorer, train, test, full


def sample(scorer, train, test, m=60, seed=0, counts=None):
    users = np.flatnonzero(np.diff(test.csr.indptr))
    return draw(scorer, users, test.csr[users], train.csr, m, counts=counts, seed=seed), np.diff(
        test.csr[users].indptr
    )


def means(drawn, n_relevant, estimator):
    columns = estimate(drawn, [parse(name) for name in NAMES], n_relevant, estimator)
    return {name: float(np.nanmean(columns[name])) for name in NAMES}


@pytest.mark.parametrize("estimator", ["mle", "bv_mle", "entropy"])
def test_corrected_estimates_are_far_nearer_than_uncorrected_ones(world, estimator):
    scorer, train, test, full = world
    drawn, n_relevant = sample(scorer, train, test)
    raw, corrected = means(drawn, n_relevant, "none"), means(drawn, n_relevant, estimator)
    for name in NAMES[:-1]:
        assert abs(corrected[name] - full[name]) < 0.2 * abs(raw[name] - full[name]), name
    for name in ("recall@50", "precision@50"):  # N / m is 50
        assert corrected[name] == pytest.approx(full[name], rel=0.15)
    assert corrected["auc"] == pytest.approx(full["auc"], abs=0.005)


@pytest.mark.parametrize("estimator", ["bv", "rank"])
def test_the_simpler_estimators_are_nearer_too(world, estimator):
    scorer, train, test, full = world
    drawn, n_relevant = sample(scorer, train, test)
    raw, corrected = means(drawn, n_relevant, "none"), means(drawn, n_relevant, estimator)
    for name in ("recall@50", "hit@50"):
        assert abs(corrected[name] - full[name]) < 0.5 * abs(raw[name] - full[name]), name


def test_one_test_item_per_user():
    scorer, train, test = planted(n_users=3000, n_test=1, seed=3)
    full = evaluate(scorer, train, test, Evaluation(metrics=NAMES))
    drawn, n_relevant = sample(scorer, train, test)
    raw = means(drawn, n_relevant, "none")
    for estimator in ("mle", "entropy", "bv_mle"):
        corrected = means(drawn, n_relevant, estimator)
        for name in NAMES[:-1]:
            assert abs(corrected[name] - full[name]) < 0.2 * abs(raw[name] - full[name]), (
                estimator,
                name,
            )


@pytest.mark.parametrize("noise", [0.2, 1.0, 6.0])
def test_popularity_draws_are_weighed_back(noise):
    scorer, train, test = planted(noise=noise, seed=5)
    full = evaluate(scorer, train, test, Evaluation(metrics=NAMES))
    counts = np.bincount(train.item, minlength=train.n_items)
    drawn, n_relevant = sample(scorer, train, test, counts=counts)
    assert means(drawn, n_relevant, "rank")["auc"] == pytest.approx(full["auc"], abs=0.01)


def test_the_estimated_rank_is_unbiased():
    scorer, train, test = planted(n_users=40, n_items=200)
    users = np.flatnonzero(np.diff(test.csr.indptr))
    score = scorer.score(asked(torch.arange(40))).numpy()
    exact = []
    for row, user in enumerate(users):
        mine = test.csr[users].indices[
            test.csr[users].indptr[row] : test.csr[users].indptr[row + 1]
        ]
        pool = np.setdiff1d(np.arange(200), np.concatenate([mine, train.csr[user].indices]))
        exact += sorted((score[user, pool] > score[user, item]).sum() for item in mine)
    counts = np.bincount(train.item, minlength=200)
    for weights in (None, counts):
        drawn = [sample(scorer, train, test, 20, seed, weights)[0].above for seed in range(300)]
        error = np.mean(drawn, axis=0) - exact
        assert np.abs(error).max() < 6 * np.std(drawn, axis=0).max() / np.sqrt(300)
        assert abs(error.mean()) < 1


def test_with_every_candidate_drawn_the_sample_is_the_full_ranking():
    scorer, train, test = planted(n_users=30, n_items=60)
    full = evaluate(scorer, train, test, Evaluation(metrics=NAMES))
    drawn, n_relevant = sample(scorer, train, test, m=20_000)
    for name, value in means(drawn, n_relevant, "rank").items():
        assert value == pytest.approx(full[name], abs=1e-12), name


def test_gathered_vectors_and_full_scores_give_the_same_draw(monkeypatch):
    scorer, train, test = planted(n_users=50, n_items=3000)
    gathered = sample(scorer, train, test, 20)[0]
    monkeypatch.setattr(sampled, "GATHER", 10**9)
    dense = sample(scorer, train, test, 20)[0]
    np.testing.assert_array_equal(gathered.pool, dense.pool)
    np.testing.assert_allclose(
        gathered.beaten_by, dense.beaten_by, atol=1
    )  # sums are rounded differently
    assert np.mean(gathered.beaten_by != dense.beaten_by) < 0.01


def test_equal_scores_are_in_the_order_of_ties_and_count_half_in_a_mean():
    scorer = Product((sp.csr_matrix(np.ones((1, 1), dtype=np.float32)), torch.ones(1, 101)))
    for item in (3, 50, 77):
        test = sp.csr_matrix((np.ones(1, dtype=np.float32), ([0], [item])), shape=(1, 101))
        seen = sp.csr_matrix((1, 101), dtype=np.float32)
        drawn = draw(scorer, np.array([0]), test, seen, 60)
        assert drawn.above_mean[0] == pytest.approx(50)
        assert drawn.beaten_by_mean[0] == 30
        whole = draw(scorer, np.array([0]), test, seen, 100)
        assert whole.beaten_by[0] == whole.above[0] == tie_order(101)[item]


def test_a_user_with_nothing_to_draw_from():
    scorer = Product((sp.csr_matrix(np.ones((1, 1), dtype=np.float32)), torch.arange(3.0)[None]))
    test = sp.csr_matrix(np.array([[0, 1, 1]], dtype=np.float32))
    seen = sp.csr_matrix(np.array([[1, 0, 0]], dtype=np.float32))
    for counts in (None, np.ones(3)):
        drawn = draw(scorer, np.array([0]), test, seen, 5, counts=counts)
        assert drawn.beaten_by.tolist() == [0, 0]
        for estimator in ("none", "rank", "bv", "mle", "bv_mle", "entropy"):
            columns = estimate(
                drawn,
                [parse(name) for name in ("recall@1", "ndcg", "auc")],
                np.array([2]),
                estimator,
            )
            assert columns["ndcg"][0] == pytest.approx(1, abs=1e-6)
            assert columns["recall@1"][0] == pytest.approx(0.5, abs=1e-6)
            assert np.isnan(columns["auc"][0])


def test_evaluate_draws_only_where_it_pays(world):
    scorer, train, test, full = world
    small = evaluate(
        scorer, train, test, Evaluation(metrics=NAMES, candidates="sampled", sampled=20)
    )
    assert small.notes == ("estimated from 20 uniform candidates per user (mle)",)
    assert "20 uniform candidates" in small.protocol
    large = evaluate(
        scorer, train, test, Evaluation(metrics=NAMES, candidates="sampled", sampled=500)
    )
    assert "costs more" in large.notes[0]
    assert large.per_user.equals(full.per_user)
    assert large.protocol == full.protocol
    raw = evaluate(
        scorer,
        train,
        test,
        Evaluation(metrics=NAMES, candidates="sampled", sampled=500, estimator="none"),
    )
    assert "uncorrected" in raw.notes[0]
    assert raw["recall@10"] > full["recall@10"]
    assert worthwhile(20, test.csr)
    assert not worthwhile(500, test.csr)


def test_a_seed_fixes_the_draw(world):
    scorer, train, test, _ = world
    one, same, other = (sample(scorer, train, test, 20, seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.beaten_by, same.beaten_by)
    assert (one.beaten_by != other.beaten_by).any()
