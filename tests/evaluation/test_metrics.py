"""Metrics against naive loops, ranx and sklearn."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, ndcg_score, roc_auc_score

from recsys.errors import InputError
from recsys.evaluation import list_metrics as of_lists
from recsys.evaluation import metrics as m
from recsys.evaluation.metrics import hit_matrix, parse


@st.composite
def worlds(draw: st.DrawFn) -> tuple[np.ndarray, sp.csr_matrix, int]:
    """Lists [U, k] with padding, test items, catalogue size; users without test items and k beyond the catalogue are common."""
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
            got = parse(f"{kind}@{k}").function(hits[:, :k], n_relevant)
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
                    got = parse(f"{ours}@{cut}").function(hits[:, :cut], n_relevant)
                    np.testing.assert_allclose(got, wanted[f"{theirs}@{cut}"], atol=1e-9)


@given(st.integers(0, 2**32 - 1), st.integers(2, 25), st.integers(1, 30))
def test_ndcg_and_full_map_equal_sklearn(seed, n_items, k):
    generator = np.random.default_rng(seed)
    score = generator.permuted(np.tile(np.arange(n_items, dtype=float), (4, 1)), axis=1)
    test = generator.random((4, n_items)) < 0.3
    items = np.full((4, k), -1)
    items[:, : min(k, n_items)] = np.argsort(-score, axis=1)[:, :k]
    relevant = sp.csr_matrix(test.astype(np.float32))
    got = m.ndcg(hit_matrix(items, relevant), np.diff(relevant.indptr))
    precisions = m.full_map(*ranked(score, test))
    for user in np.flatnonzero(test.any(1)):
        assert got[user] == pytest.approx(ndcg_score([test[user]], [score[user]], k=k))
        assert precisions[user] == pytest.approx(average_precision_score(test[user], score[user]))
    assert np.isnan(got[~test.any(1)]).all()


def ranked(
    score: np.ndarray, test: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Mean ranks of the test items as `rank.ranks` gives them, one row per user."""
    ranks, indptr = [], [0]
    for row, mask in zip(score, test, strict=True):
        mine = row[mask]
        rank = [(row > value).sum() + ((row == value).sum() + 1) / 2 for value in mine]
        ranks += sorted(rank)
        indptr.append(len(ranks))
    n = np.full(len(score), score.shape[1])
    return np.array(ranks, dtype=np.float64), np.array(indptr), n, np.diff(indptr)


@given(st.integers(0, 2**32 - 1), st.integers(2, 30), st.booleans())
def test_auc_equals_sklearn_with_ties(seed, n_items, tied):
    generator = np.random.default_rng(seed)
    score = (
        generator.integers(0, 4, size=(5, n_items)).astype(float)
        if tied
        else generator.random((5, n_items))
    )
    test = generator.random((5, n_items)) < 0.4
    got = m.full_auc(*ranked(score, test))
    for user in range(5):
        if 0 < test[user].sum() < n_items:
            assert got[user] == pytest.approx(roc_auc_score(test[user], score[user]))
        else:
            assert np.isnan(got[user])


def ties(score: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Candidates of the score of each test item, itself included, in the order of `ranked`."""
    return np.array(
        [
            np.count_nonzero(row == value)
            for row, mask in zip(score, test, strict=True)
            for value in sorted(row[mask])[::-1]
        ],
        dtype=int,
    )


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
        got = metric.function(*ranked(score, test), ties(score, test))
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
    whole = m.full_auc(*ranked(score, test))
    for name in ("opauc@100%", "tpauc@100%x100%", "llpauc@100%x100%"):
        np.testing.assert_array_equal(
            parse(name).function(*ranked(score, test), ties(score, test)), whole
        )


def test_partial_auc_by_hand():
    # Test items at ranks 1, 5 and 10 of 10 candidates; the others hold 2-4 and 6-9.
    standing = (
        np.array([1.0, 5, 10]),
        np.array([0, 3]),
        np.array([10]),
        np.array([3]),
        np.array([1, 1, 1]),
    )
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
        np.testing.assert_allclose(parse(name).function(*standing), [wanted], err_msg=name)


def test_equal_ranks_need_the_number_of_ties():
    # Rank 2 of 4: below one other, or level with two. Against the best-ranked other that is no win or half of one.
    standing = np.array([2.0, 2.0]), np.array([0, 1, 2]), np.array([4, 4]), np.array([1, 1])
    np.testing.assert_allclose(parse("opauc@34%").function(*standing, np.array([1, 3])), [0, 0.5])
    np.testing.assert_allclose(parse("auc").function(*standing), [2 / 3, 2 / 3])


def test_fractions_are_exact():
    # In floating point, 0.29 * 100 is 28.999999999999996.
    rank, candidates = np.array([30.0]), np.array([101])
    got = parse("opauc@29%").function(
        rank, np.array([0, 1]), candidates, np.array([1]), np.array([1])
    )
    assert got == 0
    assert parse("opauc@30%").function(
        rank, np.array([0, 1]), candidates, np.array([1]), np.array([1])
    ) == pytest.approx(1 / 30)


def test_a_user_without_reachable_test_items_has_no_partial_auc():
    got = parse("opauc@50%").function(
        np.empty(0), np.array([0, 0]), np.array([5]), np.array([1]), np.empty(0, dtype=int)
    )
    assert np.isnan(got).all()


@given(st.integers(0, 2**32 - 1), st.integers(2, 30))
def test_full_ranking_equals_the_cutoff_at_the_end_of_the_list(seed, n_items):
    generator = np.random.default_rng(seed)
    score = generator.permuted(np.tile(np.arange(n_items, dtype=float), (4, 1)), axis=1)
    test = generator.random((4, n_items)) < 0.3
    rank, indptr, candidates, n_relevant = ranked(score, test)
    hits = np.take_along_axis(test, np.argsort(-score, axis=1), axis=1)
    for full, at in ((m.full_map, m.average_precision), (m.full_mrr, m.mrr), (m.full_ndcg, m.ndcg)):
        np.testing.assert_allclose(
            full(rank, indptr, candidates, n_relevant), at(hits, n_relevant), atol=1e-12
        )


def test_a_perfect_ranking_is_one_everywhere():
    rank, indptr, candidates, n_relevant = (
        np.array([1.0, 2, 3, 1]),
        np.array([0, 3, 4]),
        np.array([9, 9]),
        np.array([3, 1]),
    )
    for full in (m.full_auc, m.full_map, m.full_mrr, m.full_ndcg):
        np.testing.assert_allclose(full(rank, indptr, candidates, n_relevant), 1)
    hits = np.array([[True, True, True, False], [True, False, False, False]])
    for at in (m.recall, m.ndcg, m.mrr, m.average_precision, m.hit):
        np.testing.assert_allclose(at(hits, n_relevant), 1)


def test_full_ranking_by_hand():
    # Test items at ranks 2 and 5 of 10 candidates; AUC = (9 + 6 - 3) / (2 * 8).
    rank, indptr, candidates, n_relevant = (
        np.array([2.0, 5]),
        np.array([0, 2]),
        np.array([10]),
        np.array([2]),
    )
    assert m.full_auc(rank, indptr, candidates, n_relevant)[0] == pytest.approx(12 / 16)
    assert m.full_map(rank, indptr, candidates, n_relevant)[0] == pytest.approx((1 / 2 + 2 / 5) / 2)
    assert m.full_mrr(rank, indptr, candidates, n_relevant)[0] == pytest.approx(1 / 2)
    assert m.full_ndcg(rank, indptr, candidates, n_relevant)[0] == pytest.approx(
        (1 / np.log2(3) + 1 / np.log2(6)) / (1 + 1 / np.log2(3))
    )


def test_unreachable_test_items_are_missed_but_not_by_auc():
    rank, indptr, candidates, n_relevant = (
        np.array([1.0]),
        np.array([0, 1, 1]),
        np.array([5, 5]),
        np.array([2, 1]),
    )
    np.testing.assert_allclose(m.full_map(rank, indptr, candidates, n_relevant), [0.5, 0])
    np.testing.assert_allclose(m.full_mrr(rank, indptr, candidates, n_relevant), [1, 0])
    np.testing.assert_allclose(m.full_auc(rank, indptr, candidates, n_relevant), [1, np.nan])


@given(worlds())
def test_beyond_accuracy_equals_plain_loops(world):
    items, _, n_items = world
    generator = np.random.default_rng(1)
    train = sp.csr_matrix((generator.random((8, n_items)) < 0.4).astype(np.float32))
    count = np.bincount(train.indices, minlength=n_items)
    lists = [[int(i) for i in row if i >= 0] for row in items]
    assert of_lists.coverage(items, n_items) == pytest.approx(
        len({i for row in lists for i in row}) / n_items
    )
    times = np.array([sum(i in row for row in lists) for i in range(n_items)], dtype=float)
    if times.sum():
        wanted = np.abs(times[:, None] - times[None, :]).sum() / (2 * n_items * times.sum())
        assert of_lists.gini(items, n_items) == pytest.approx(wanted, abs=1e-12)
    else:
        assert np.isnan(of_lists.gini(items, n_items))
    nan = float("nan")
    np.testing.assert_allclose(
        of_lists.novelty(items, count, 8),
        [np.mean([-np.log2(max(count[i], 1) / 8) for i in row]) if row else nan for row in lists],
    )
    np.testing.assert_allclose(
        of_lists.popularity(items, count, 8),
        [np.mean([count[i] / 8 for i in row]) if row else nan for row in lists],
    )
    dense = train.toarray()

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        size = np.linalg.norm(a) * np.linalg.norm(b)
        return float(a @ b / size) if size else 0.0

    def spread(row: list[int], vectors: np.ndarray) -> float:
        pairs = [cosine(vectors[i], vectors[j]) for x, i in enumerate(row) for j in row[x + 1 :]]
        return 1 - float(np.mean(pairs)) if pairs else nan

    np.testing.assert_allclose(
        of_lists.diversity(items, train), [spread(row, dense.T) for row in lists], atol=1e-6
    )
    vectors, present = generator.normal(size=(n_items, 3)), generator.random(n_items) < 0.7
    wanted = [spread([i for i in row if present[i]], vectors) for row in lists]
    np.testing.assert_allclose(of_lists.diversity_of(items, vectors, present), wanted, atol=1e-9)

    norms = vectors * 1e3 + 1e6  # far from the origin, where the squares alone would cancel
    for table in (vectors, norms):
        wanted = [
            sum(float(((table[i] - table[j]) ** 2).sum()) for i in row for j in row)
            for row in lists
        ]
        np.testing.assert_allclose(of_lists.maxdiv(items, table), wanted, rtol=1e-7, atol=1e-9)


def test_lift_compares_with_the_users_own_history():
    count = np.array([8, 4, 2])
    history = sp.csr_matrix(np.array([[0, 1, 1], [0, 0, 0]], dtype=np.float32))
    lifted = of_lists.lift(np.array([[0, 1], [0, 1]]), count, history)
    assert lifted[0] == pytest.approx(6 / 3 - 1)
    assert np.isnan(lifted[1])


def test_recall_by_popularity_adds_up():
    generator = np.random.default_rng(3)
    relevant = sp.csr_matrix((generator.random((20, 40)) < 0.2).astype(np.float32))
    items = np.stack([generator.permutation(40)[:10] for _ in range(20)])
    hits, n_relevant = hit_matrix(items, relevant), np.diff(relevant.indptr)
    group = m.popularity_group(generator.integers(0, 50, size=40))
    parts = m.recall_by_popularity(items, hits, relevant, group, [5, 10])
    for k in (5, 10):
        total = np.zeros(20)
        for code, name in enumerate(m.GROUPS):
            mine = (relevant.toarray() * (group == code)).sum(1)
            total += np.nan_to_num(parts[f"recall@{k}[{name}]"]) * mine
        np.testing.assert_allclose(total / n_relevant, m.recall(hits[:, :k], n_relevant))


def test_popularity_groups_are_thirds_of_the_interactions():
    np.testing.assert_array_equal(
        m.popularity_group(np.array([1, 10, 4, 5, 10, 0])), [2, 0, 2, 2, 1, 2]
    )
    np.testing.assert_array_equal(m.popularity_group(np.zeros(3, dtype=int)), [2, 2, 2])


@pytest.mark.parametrize(
    ("name", "kind", "k"),
    [
        ("ndcg@20", "ndcg", 20),
        ("recall@50", "recall", 50),
        ("auc", "auc", None),
        ("map", "map", None),
        ("mrr@1", "mrr", 1),
    ],
)
def test_names_become_metrics(name, kind, k):
    metric = parse(name)
    assert (metric.name, metric.kind, metric.k) == (name, kind, k)
    assert metric.source == ("ranks" if k is None else "hits")
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
    assert (metric.name, metric.k, metric.source, metric.higher, metric.whole) == (
        plain,
        None,
        "ranks",
        True,
        False,
    )
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
        ("opauc@30%x5%", "instead of the fraction", "write opauc@5%"),
        ("tpauc@30%", "instead of the fractions", "write tpauc@30%x30%"),
        ("llpauc@30%x", "'' is not a percentage", "write llpauc@30%x30%"),
        ("llpauc@30%x5%x5%", "instead of the fractions", "write llpauc@30%x30%"),
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
