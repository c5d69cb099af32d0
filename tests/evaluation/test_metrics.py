"""Metrics against naive loops, ranx and sklearn."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from asking import asked
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, ndcg_score, roc_auc_score

from recsys.data.types import FeatureTable, Interactions
from recsys.errors import InputError
from recsys.evaluation import list_metrics as of_lists
from recsys.evaluation import metrics
from recsys.evaluation import ranking_metrics as m
from recsys.evaluation.contexts import ListContext, RankContext
from recsys.evaluation.metrics import hit_matrix, parse
from recsys.evaluation.slices import GROUPS, SLICES, TestPart, popularity_group


@st.composite
def worlds(draw: st.DrawFn) -> tuple[np.ndarray, sp.csr_matrix, int]:
    """Draw lists [U, k] with padding, test items, and the catalogue size.

    Users without test items, and k beyond the catalogue, are common.
    """
    n_users, n_items, k = (
        draw(st.integers(1, 6)),
        draw(st.integers(1, 12)),
        draw(st.integers(1, 15)),
    )
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    items = np.full((n_users, k), -1, dtype=np.int32)
    for user in range(n_users):
        length = generator.integers(0, min(k, n_items) + 1)
        items[user, :length] = generator.permutation(n_items)[:length]
    relevant = sp.csr_matrix(
        (generator.random((n_users, n_items)) < draw(st.sampled_from([0.1, 0.4, 1.0]))).astype(
            np.float32
        )
    )
    return items, relevant, n_items


def lists_of(
    items: np.ndarray, hits: np.ndarray, n_relevant: np.ndarray, train: sp.csr_matrix | None = None
) -> ListContext:
    """Lists with their hits; the training interactions are empty unless given."""
    n_users, n_items = (len(items), int(items.max(initial=0)) + 1) if train is None else train.shape
    rows = sp.coo_matrix((n_users, n_items) if train is None else train)
    known = Interactions(rows.row, rows.col, n_users, n_items)
    count = np.bincount(rows.col, minlength=n_items)
    return ListContext(asked(np.arange(len(items))), items, hits, n_relevant, known, count)


def of_hits(hits: np.ndarray, n_relevant: np.ndarray) -> ListContext:
    """Lists of which only the hits matter."""
    return lists_of(np.zeros(hits.shape, dtype=int), hits, n_relevant)


def compute(name: str, context: ListContext | RankContext) -> np.ndarray | float:
    """The function of a metric alone."""
    return parse(name).kind.compute(context)


def naive(kind: str, items: list[int], test: set[int], k: int) -> float:
    if not test:
        return float("nan")
    hits = [item in test for item in items[:k]]
    found = sum(hits)
    if kind == "precision":
        return found / k
    if kind == "recall":
        return found / len(test)
    if kind == "f1":
        precision, recall = found / k, found / len(test)
        return 2 * precision * recall / (precision + recall) if found else 0.0
    if kind == "hit":
        return float(found > 0)
    if kind == "mrr":
        return next((1 / (p + 1) for p, h in enumerate(hits) if h), 0.0)
    if kind == "map":
        return sum(sum(hits[: p + 1]) / (p + 1) for p, h in enumerate(hits) if h) / min(
            k, len(test)
        )
    ideal = sum(1 / np.log2(p + 2) for p in range(min(k, len(test))))
    return sum(1 / np.log2(p + 2) for p, h in enumerate(hits) if h) / ideal


AT_CUTOFF = ("precision", "recall", "f1", "hit", "mrr", "map", "ndcg")


@given(worlds())
def test_every_metric_at_a_cutoff_equals_a_plain_loop(world):
    items, relevant, _ = world
    hits, n_relevant = hit_matrix(items, relevant), np.diff(relevant.indptr)
    tests = [
        set(relevant.indices[a:b].tolist())
        for a, b in zip(relevant.indptr[:-1], relevant.indptr[1:], strict=True)
    ]
    for kind in AT_CUTOFF:
        for k in {1, items.shape[1]}:
            got = compute(f"{kind}@{k}", of_hits(hits[:, :k], n_relevant))
            assert got.dtype == np.float64
            wanted = [
                naive(kind, row.tolist(), test, k) for row, test in zip(items, tests, strict=True)
            ]
            np.testing.assert_allclose(got, wanted, atol=1e-12)
            assert np.all((got[~np.isnan(got)] >= 0) & (got[~np.isnan(got)] <= 1 + 1e-12))


@given(worlds())
def test_hit_matrix_equals_a_lookup(world):
    items, relevant, _ = world
    dense = relevant.toarray() > 0
    wanted = [[item >= 0 and dense[u, item] for item in row] for u, row in enumerate(items)]
    np.testing.assert_array_equal(hit_matrix(items, relevant), wanted)


@pytest.mark.slow  # ranx compiles for a minute when it is first used
def test_equal_to_ranx():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ranx = pytest.importorskip("ranx")
        names = {kind: kind for kind in ("precision", "recall", "f1", "mrr", "ndcg")} | {
            "hit": "hit_rate"
        }
        for seed, share in enumerate((0.01, 0.05, 0.3)):
            generator = np.random.default_rng(seed)
            n_users, n_items, k = 60, 200, 20
            relevant = sp.csr_matrix(
                (generator.random((n_users, n_items)) < share).astype(np.float32)
            )
            relevant = relevant[np.diff(relevant.indptr) > 0]
            n_relevant = np.diff(relevant.indptr)
            users = [f"{u:04d}" for u in range(len(n_relevant))]  # ranx sorts queries as text
            items = np.stack([generator.permutation(n_items)[:k] for _ in users])
            tests = np.split(relevant.indices, relevant.indptr[1:-1])
            qrels = ranx.Qrels(
                {user: {str(i): 1 for i in test} for user, test in zip(users, tests, strict=True)}
            )
            run = ranx.Run(
                {
                    user: {str(i): float(k - p) for p, i in enumerate(row)}
                    for user, row in zip(users, items, strict=True)
                }
            )
            hits = hit_matrix(items, relevant)
            for cut in (1, 5, 20):
                wanted = ranx.evaluate(
                    qrels, run, [f"{theirs}@{cut}" for theirs in names.values()], return_mean=False
                )
                for ours, theirs in names.items():
                    got = compute(f"{ours}@{cut}", of_hits(hits[:, :cut], n_relevant))
                    np.testing.assert_allclose(got, wanted[f"{theirs}@{cut}"], atol=1e-9)


@given(st.integers(0, 2**32 - 1), st.integers(2, 25), st.integers(1, 30))
def test_ndcg_and_full_map_equal_sklearn(seed, n_items, k):
    generator = np.random.default_rng(seed)
    score = generator.permuted(np.tile(np.arange(n_items, dtype=float), (4, 1)), axis=1)
    test = generator.random((4, n_items)) < 0.3
    items = np.full((4, k), -1)
    items[:, : min(k, n_items)] = np.argsort(-score, axis=1)[:, :k]
    relevant = sp.csr_matrix(test.astype(np.float32))
    got = m.ndcg(of_hits(hit_matrix(items, relevant), np.diff(relevant.indptr)))
    precisions = m.full_map(ranked(score, test))
    for user in np.flatnonzero(test.any(1)):
        assert got[user] == pytest.approx(ndcg_score([test[user]], [score[user]], k=k))
        assert precisions[user] == pytest.approx(average_precision_score(test[user], score[user]))
    assert np.isnan(got[~test.any(1)]).all()


def ranked(score: np.ndarray, test: np.ndarray) -> RankContext:
    """Mean ranks of the test items as `ranking.ranks` gives them, and their ties, by loops."""
    ranks, tied, indptr = [], [], [0]
    for row, mask in zip(score, test, strict=True):
        for value in sorted(row[mask])[::-1]:
            tied.append(np.count_nonzero(row == value))
            ranks.append((row > value).sum() + (tied[-1] + 1) / 2)
        indptr.append(len(ranks))
    n = np.full(len(score), score.shape[1])
    return standing(ranks, indptr, n, np.diff(indptr), tied)


def standing(rank, indptr, candidates, n_relevant, tied=None) -> RankContext:
    """Ranks of test items; without `tied`, no scores are equal."""
    rank = np.asarray(rank, dtype=np.float64)
    tied = np.ones(len(rank), dtype=int) if tied is None else np.asarray(tied, dtype=int)
    return RankContext(
        rank, np.asarray(indptr), np.asarray(candidates), np.asarray(n_relevant), tied
    )


@given(st.integers(0, 2**32 - 1), st.integers(2, 30), st.booleans())
def test_auc_equals_sklearn_with_ties(seed, n_items, tied):
    generator = np.random.default_rng(seed)
    score = (
        generator.integers(0, 4, size=(5, n_items)).astype(float)
        if tied
        else generator.random((5, n_items))
    )
    test = generator.random((5, n_items)) < 0.4
    got = m.full_auc(ranked(score, test))
    for user in range(5):
        if 0 < test[user].sum() < n_items:
            assert got[user] == pytest.approx(roc_auc_score(test[user], score[user]))
        else:
            assert np.isnan(got[user])


def kept_parts(
    score: np.ndarray, test: np.ndarray, kind: str, a: float, b: float
) -> tuple[np.ndarray, np.ndarray]:
    """The scores of the test items and of the others that a partial AUC keeps."""
    pos, neg = np.sort(score[test]), np.sort(score[~test])[::-1]
    n_pos, n_neg = int(a * len(pos) + 1e-9), int(b * len(neg) + 1e-9)
    return (pos if kind == "opauc" else pos[:n_pos] if kind == "tpauc" else pos[::-1][:n_pos]), neg[
        :n_neg
    ]


@given(
    st.integers(0, 2**32 - 1),
    st.integers(2, 40),
    st.integers(1, 6),
    st.sampled_from([0.05, 0.3, 0.5, 1.0]),
    st.sampled_from([0.05, 0.29, 0.5, 1.0]),
)
def test_partial_auc_equals_every_pair_and_sklearn(seed, n_items, levels, a, b):
    generator = np.random.default_rng(seed)
    score = (
        generator.integers(0, levels, size=(5, n_items)).astype(float)
        if levels < 6
        else generator.random((5, n_items))
    )
    test = generator.random((5, n_items)) < 0.4
    for kind in ("opauc", "tpauc", "llpauc"):
        metric = parse(f"opauc@{b:.0%}" if kind == "opauc" else f"{kind}@{a:.0%}x{b:.0%}")
        got = metric.kind.compute(ranked(score, test))
        for user in range(5):
            pos, neg = kept_parts(score[user], test[user], kind, a, b)
            if not len(pos) or not len(neg):
                assert np.isnan(got[user])
                continue
            assert got[user] == pytest.approx(
                np.mean([(p > n) + (p == n) / 2 for p in pos for n in neg]), abs=1e-12
            )
            assert got[user] == pytest.approx(
                roc_auc_score([1] * len(pos) + [0] * len(neg), [*pos, *neg])
            )


@given(st.integers(0, 2**32 - 1), st.integers(2, 30), st.integers(1, 6))
def test_the_whole_of_a_partial_auc_is_auc(seed, n_items, levels):
    generator = np.random.default_rng(seed)
    score, test = (
        generator.integers(0, levels, size=(5, n_items)).astype(float),
        generator.random((5, n_items)) < 0.4,
    )
    whole = m.full_auc(ranked(score, test))
    for name in ("opauc@100%", "tpauc@100%x100%", "llpauc@100%x100%"):
        np.testing.assert_array_equal(compute(name, ranked(score, test)), whole)


def test_partial_auc_by_hand():
    # Test items at ranks 1, 5 and 10 of 10 candidates; the others hold 2-4 and 6-9.
    ranks = standing([1, 5, 10], [0, 3], [10], [3])
    for name, wanted in (
        ("opauc@15%", 1 / 3),  # one other: only the first test item is above it
        ("opauc@60%", (4 + 1 + 0) / 12),
        ("tpauc@70%x60%", (1 + 0) / 8),  # the two worst-ranked test items
        ("llpauc@70%x60%", (4 + 1) / 8),  # the two best-ranked
        ("llpauc@34%x15%", 1.0),
        ("tpauc@34%x15%", 0.0),
        ("opauc@14%", np.nan),  # floor(0.98) others
        ("tpauc@33%x100%", np.nan),  # floor(0.99) test items
    ):
        np.testing.assert_allclose(compute(name, ranks), [wanted], err_msg=name)


def test_equal_ranks_need_the_number_of_ties():
    # Rank 2 of 4: below one other, or equal to two. Against the best-ranked other that is no win,
    # or half a win.
    ranks = standing([2, 2], [0, 1, 2], [4, 4], [1, 1], [1, 3])
    np.testing.assert_allclose(compute("opauc@34%", ranks), [0, 0.5])
    np.testing.assert_allclose(compute("auc", ranks), [2 / 3, 2 / 3])


def test_fractions_are_exact():
    # In floating point, 0.29 * 100 is 28.999999999999996.
    ranks = standing([30], [0, 1], [101], [1])
    assert compute("opauc@29%", ranks) == 0
    assert compute("opauc@30%", ranks) == pytest.approx(1 / 30)


def test_a_user_without_reachable_test_items_has_no_partial_auc():
    assert np.isnan(compute("opauc@50%", standing([], [0, 0], [5], [1]))).all()


@given(st.integers(0, 2**32 - 1), st.integers(2, 30))
def test_full_ranking_equals_the_cutoff_at_the_end_of_the_list(seed, n_items):
    generator = np.random.default_rng(seed)
    score = generator.permuted(np.tile(np.arange(n_items, dtype=float), (4, 1)), axis=1)
    test = generator.random((4, n_items)) < 0.3
    ranks = ranked(score, test)
    hits = np.take_along_axis(test, np.argsort(-score, axis=1), axis=1)
    for full, at in ((m.full_map, m.average_precision), (m.full_mrr, m.mrr), (m.full_ndcg, m.ndcg)):
        np.testing.assert_allclose(full(ranks), at(of_hits(hits, ranks.n_relevant)), atol=1e-12)


def test_a_perfect_ranking_is_one_everywhere():
    ranks = standing([1, 2, 3, 1], [0, 3, 4], [9, 9], [3, 1])
    for full in (m.full_auc, m.full_map, m.full_mrr, m.full_ndcg):
        np.testing.assert_allclose(full(ranks), 1)
    hits = np.array([[True, True, True, False], [True, False, False, False]])
    for at in (m.recall, m.ndcg, m.mrr, m.average_precision, m.hit):
        np.testing.assert_allclose(at(of_hits(hits, ranks.n_relevant)), 1)


def test_full_ranking_by_hand():
    # Test items at ranks 2 and 5 of 10 candidates; AUC = (9 + 6 - 3) / (2 * 8).
    ranks = standing([2, 5], [0, 2], [10], [2])
    assert m.full_auc(ranks)[0] == pytest.approx(12 / 16)
    assert m.full_map(ranks)[0] == pytest.approx((1 / 2 + 2 / 5) / 2)
    assert m.full_mrr(ranks)[0] == pytest.approx(1 / 2)
    assert m.full_ndcg(ranks)[0] == pytest.approx(
        (1 / np.log2(3) + 1 / np.log2(6)) / (1 + 1 / np.log2(3))
    )


def test_unreachable_test_items_are_missed_but_not_by_auc():
    ranks = standing([1], [0, 1, 1], [5, 5], [2, 1])
    np.testing.assert_allclose(m.full_map(ranks), [0.5, 0])
    np.testing.assert_allclose(m.full_mrr(ranks), [1, 0])
    np.testing.assert_allclose(m.full_auc(ranks), [1, np.nan])


@given(worlds())
def test_beyond_accuracy_equals_plain_loops(world):
    items, _, n_items = world
    generator = np.random.default_rng(1)
    train = sp.csr_matrix((generator.random((8, n_items)) < 0.4).astype(np.float32))
    count = np.bincount(train.indices, minlength=n_items)
    active = max(int((train.toarray() > 0).any(1).sum()), 1)
    lists = [[int(i) for i in row if i >= 0] for row in items]
    context = lists_of(items, items >= 0, np.ones(len(items), dtype=int), train)
    assert of_lists.coverage(context) == pytest.approx(
        len({i for row in lists for i in row}) / n_items
    )
    times = np.array([sum(i in row for row in lists) for i in range(n_items)], dtype=float)
    if times.sum():
        wanted = np.abs(times[:, None] - times[None, :]).sum() / (2 * n_items * times.sum())
        assert of_lists.gini(context) == pytest.approx(wanted, abs=1e-12)
    else:
        assert np.isnan(of_lists.gini(context))
    nan = float("nan")
    np.testing.assert_allclose(
        of_lists.novelty(context),
        [
            np.mean([-np.log2(max(count[i], 1) / active) for i in row]) if row else nan
            for row in lists
        ],
    )
    np.testing.assert_allclose(
        of_lists.popularity(context),
        [np.mean([count[i] / active for i in row]) if row else nan for row in lists],
    )
    dense = train.toarray()

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        size = np.linalg.norm(a) * np.linalg.norm(b)
        return float(a @ b / size) if size else 0.0

    def spread(row: list[int], vectors: np.ndarray) -> float:
        pairs = [cosine(vectors[i], vectors[j]) for x, i in enumerate(row) for j in row[x + 1 :]]
        return 1 - float(np.mean(pairs)) if pairs else nan

    np.testing.assert_allclose(
        of_lists.diversity(context), [spread(row, dense.T) for row in lists], atol=1e-6
    )
    vectors, present = generator.normal(size=(n_items, 3)), generator.random(n_items) < 0.7
    wanted = [spread([i for i in row if present[i]], vectors) for row in lists]
    with_features = replace(context, features=FeatureTable(vectors, present))
    np.testing.assert_allclose(of_lists.diversity(with_features), wanted, atol=1e-9)

    norms = vectors * 1e3 + 1e6  # far from the origin, where the squares alone would cancel
    for table in (vectors, norms):
        wanted = [
            sum(float(((table[i] - table[j]) ** 2).sum()) for i in row for j in row)
            for row in lists
        ]
        got = of_lists.maxdiv(replace(context, item_vectors=table))
        np.testing.assert_allclose(got, wanted, rtol=1e-7, atol=1e-9)
    assert np.isnan(of_lists.maxdiv(context)).all()


@given(worlds(), st.integers(0, 99))
def test_lists_from_a_pool_are_measured_against_the_pool(world, seed):
    """Coverage and Gini as if the catalogue held the items of the pool alone."""
    items, _, n_items = world
    pool = np.flatnonzero(np.random.default_rng(seed).random(n_items + 3) < 0.5)
    pool = np.union1d(pool, items[items >= 0]) if len(items) else pool
    if not len(pool):
        return
    context = lists_of(
        items, items >= 0, np.ones(len(items), dtype=int), sp.csr_matrix((2, n_items + 3))
    )
    renumbered = np.where(items < 0, -1, np.searchsorted(pool, items))
    alone = lists_of(
        renumbered, items >= 0, np.ones(len(items), dtype=int), sp.csr_matrix((2, len(pool)))
    )
    for name in ("coverage", "gini"):
        metric = getattr(of_lists, name)
        np.testing.assert_array_equal(metric(replace(context, pool=pool)), metric(alone))


def test_without_lists_the_numbers_of_all_lists_are_not_defined():
    empty = lists_of(np.empty((0, 3), dtype=int), np.empty((0, 3), dtype=bool), np.empty(0))
    assert np.isnan([of_lists.coverage(empty), of_lists.gini(empty)]).all()


def test_lift_compares_with_the_users_own_history():
    history = sp.csr_matrix(np.array([[0, 1, 1], [0, 0, 0]], dtype=np.float32))
    items = np.array([[0, 1], [0, 1]])
    context = lists_of(items, items >= 0, np.ones(2, dtype=int), history)
    lifted = of_lists.lift(replace(context, item_counts=np.array([8, 4, 2])))
    assert lifted[0] == pytest.approx(6 / 3 - 1)
    assert np.isnan(lifted[1])


def test_recall_of_popularity_groups_adds_up():
    generator = np.random.default_rng(3)
    relevant = sp.csr_matrix((generator.random((20, 40)) < 0.2).astype(np.float32))
    items = np.stack([generator.permutation(40)[:10] for _ in range(20)])
    group = popularity_group(generator.integers(0, 50, size=40))
    every = TestPart.of(asked(np.arange(20)), relevant)
    for k in (5, 10):
        total = np.zeros(20)
        for code in range(len(GROUPS)):
            part = every.only_items(group == code)
            hits = hit_matrix(items[part.index], part.relevant)
            total[part.index] += m.recall(of_hits(hits[:, :k], part.n_relevant)) * part.n_relevant
        whole = m.recall(of_hits(hit_matrix(items, relevant)[:, :k], every.n_relevant))
        np.testing.assert_allclose(total / every.n_relevant, whole)


def test_popularity_groups_are_thirds_of_the_interactions():
    np.testing.assert_array_equal(
        popularity_group(np.array([1, 10, 4, 5, 10, 0])), [2, 0, 2, 2, 1, 2]
    )
    np.testing.assert_array_equal(popularity_group(np.zeros(3, dtype=int)), [2, 2, 2])


@pytest.mark.parametrize(
    ("name", "word", "k"),
    [
        ("ndcg@20", "ndcg", 20),
        ("recall@50", "recall", 50),
        ("auc", "auc", None),
        ("map", "map", None),
        ("mrr@1", "mrr", 1),
    ],
)
def test_names_become_metrics(name, word, k):
    metric = parse(name)
    assert (metric.name, metric.word, metric.k) == (name, word, k)
    assert isinstance(metric.kind, metrics.RankMetric if k is None else metrics.ListMetric)
    assert metric.about == "test items"
    assert not metric.whole
    assert metric.higher


@pytest.mark.parametrize(
    ("name", "plain", "kept"),
    [
        ("opauc@5%", "opauc@5%", (1, 0.05)),
        ("opauc@5.0%", "opauc@5%", (1, 0.05)),
        ("opauc@0.05%", "opauc@0.05%", (1, 0.0005)),
        ("opauc@100%", "opauc@100%", (1, 1)),
        ("llpauc@30%x5%", "llpauc@30%x5%", (0.3, 0.05)),
        ("tpauc@12.50%x30%", "tpauc@12.5%x30%", (0.125, 0.3)),
    ],
)
def test_names_become_partial_aucs(name, plain, kept):
    metric = parse(name)
    assert (metric.name, metric.k, metric.higher, metric.whole) == (plain, None, True, False)
    assert isinstance(metric.kind, metrics.RankMetric)
    assert tuple(map(float, metric.kept)) == pytest.approx(kept)
    assert parse(metric.name) == metric


@pytest.mark.parametrize(
    ("name", "said", "remedy"),
    [
        ("opauc", "needs the fraction of other candidates", "write opauc@5%"),
        (
            "tpauc",
            "needs the fractions of test items and of other candidates",
            "write tpauc@30%x30%",
        ),
        ("opauc@5", "'5' is not a percentage", "write opauc@5%"),
        ("opauc@0.05", "'0.05' is not a percentage", "write opauc@5%"),
        ("opauc@0%", "'0%' is not a percentage above 0%", "write opauc@5%"),
        ("opauc@0.00%", "'0.00%' is not a percentage above 0%", "write opauc@5%"),
        ("opauc@101%", "up to 100%", "write opauc@5%"),
        ("opauc@-5%", "'-5%' is not a percentage", "write opauc@5%"),
        ("opauc@1e1%", "'1e1%' is not a percentage", "write opauc@5%"),
        ("opauc@05%", "'05%' is not a percentage", "write opauc@5%"),
        ("opauc@\N{ARABIC-INDIC DIGIT FIVE}%", "is not a percentage", "write opauc@5%"),
        ("opauc@30%x5%", "expected the fraction", "write opauc@5%"),
        ("tpauc@30%", "expected the fractions", "write tpauc@30%x30%"),
        ("llpauc@30%x", "'' is not a percentage", "write llpauc@30%x30%"),
        ("llpauc@30%x5%x5%", "expected the fractions", "write llpauc@30%x30%"),
        ("auc@5%", "takes no cut-off", "or opauc@5%"),
        ("pauc@5%", "unknown metric", "did you mean 'opauc@5%'"),
        ("OPAUC@10%", "unknown metric", "did you mean 'opauc@5%'"),
        ("opacu@5%", "unknown metric", "did you mean 'opauc@5%'"),
        ("maxdiv", "needs a cut-off", "write maxdiv@20"),
    ],
)
def test_a_wrong_fraction_is_answered_with_a_right_one(name, said, remedy):
    with pytest.raises(InputError) as caught:
        parse(name)
    assert said in str(caught.value)
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("hitrate@10", "hit@10"),
        ("hr@10", "hit@10"),
        ("HR@5", "hit@5"),
        ("nDCG@20", "ndcg@20"),
        ("recal@20", "recall@20"),
        ("Recall@20", "recall@20"),
        ("p@3", "precision@3"),
        ("hr", "hit@20"),
        ("gauc", "auc"),
        ("recall", "recall@20"),
        ("auc@10", "auc"),
        ("ndcg@0", "ndcg@20"),
        ("ndcg@-1", "ndcg@20"),
        ("ndcg@ten", "ndcg@20"),
        ("ndcg@", "ndcg@20"),
        ("ndcg@5@5", "ndcg@20"),
    ],
)
def test_a_wrong_name_is_answered_with_the_right_one(name, meant):
    with pytest.raises(InputError) as caught:
        parse(name)
    assert meant in str(caught.value).split("known:")[0]


def test_nonsense_is_answered_with_the_list():
    for name in ("", "@", "xyzzy", "@20"):
        with pytest.raises(InputError, match="known"):
            parse(name)


def test_coverage_and_gini_are_of_the_whole_system():
    assert parse("coverage@10").whole
    assert parse("gini@10").whole
    assert parse("gini@10").higher is False
    assert parse("novelty@10").higher is None
    assert parse("maxdiv@10").higher is None


@pytest.mark.parametrize("part", [part for part in SLICES.values() if part.name])
def test_a_slice_is_part_of_the_name(part):
    metric = parse(f" ndcg@5[{part.name}] ")
    assert (metric.name, metric.slice) == (f"ndcg@5[{part.name}]", part)
    assert metric.kind is parse("ndcg@5").kind
    assert parse(f"auc[{part.name}]").slice == part
    if part.has_own_lists:
        assert parse(f"coverage@5[{part.name}]").slice == part
    else:  # the lists are those of all test items
        with pytest.raises(InputError, match="depends on whole lists") as caught:
            parse(f"coverage@5[{part.name}]")
        assert "write coverage@5" in caught.value.remedy


@pytest.mark.parametrize(
    ("name", "meant"),
    [("ndcg@5[tial]", "ndcg@5[tail]"), ("auc[New]", "auc[new]"), ("auc[cold]", "auc[cold users]")],
)
def test_an_unknown_slice_is_answered_with_a_known_one(name, meant):
    with pytest.raises(InputError, match="unknown slice") as caught:
        parse(name)
    assert f"did you mean '{meant}'" in caught.value.remedy


@pytest.mark.parametrize("name", ["ndcg@5[", "ndcg@5[]", "ndcg@5[new", "ndcg@5[new]]"])
def test_brackets_hold_a_whole_slice(name):
    with pytest.raises(InputError, match="unknown slice"):
        parse(name)


RELEVANT = np.array([0, 1, 2, 5])


@pytest.mark.parametrize("k", [None, 1, 3])
@pytest.mark.parametrize("word", ["precision", "recall", "f1", "hit", "mrr", "map", "ndcg"])
def test_a_sum_over_test_items_is_the_metric(word, k):
    """What estimates add up, for the true ranks, is the metric itself."""
    if k is None and word not in metrics.FULL_RANKING:
        return
    generator = np.random.default_rng(4)
    ranks = [np.sort(generator.permutation(9)[:n]) + 1 for n in RELEVANT]
    flat, owner = np.concatenate(ranks), np.repeat(np.arange(4), RELEVANT)
    q = np.concatenate([np.arange(n) for n in RELEVANT])
    metric = parse(word if k is None else f"{word}@{k}")
    term = metric.kind.per_item
    total = np.bincount(owner, term.within(k, flat, q), minlength=4)
    got = total / term.divisor(RELEVANT, k)
    if k is None:
        indptr = np.concatenate([[0], np.cumsum(RELEVANT)])
        wanted = metric.kind.compute(standing(flat, indptr, [9] * 4, RELEVANT))
    else:
        hits = np.array([[p in row for p in range(1, k + 1)] for row in ranks])
        wanted = metric.kind.compute(of_hits(hits, RELEVANT))
    np.testing.assert_allclose(got[1:], wanted[1:], atol=1e-12)
