import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.scorer import row_neighbours as neighbours
from recsys.scorer.row_neighbours import EntryWeights, nearest, weigh


def naive(rows, k, left, right, shrink, among=None):
    """Every pair in a loop, sorted by value and then by number."""
    dense = rows.toarray().astype(np.float64)
    others = dense if among is None else among.toarray().astype(np.float64)
    out = np.zeros((len(dense), len(others)))
    for i in range(len(dense)):
        found = []
        for j in range(len(others)):
            dot, scale = dense[i] @ others[j], left[i] * right[j] + shrink
            if (among is not None or i != j) and dot > 0:
                found.append((-dot / scale, j))
        for value, j in sorted(found)[:k]:
            out[i, j] = -value
    return out


def binary(seed, n, m, density):
    rng = np.random.default_rng(seed)
    return sp.csr_matrix((rng.random((n, m)) < density).astype(np.float32))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(1, 25),
    st.integers(1, 12),
    st.sampled_from([0.05, 0.3, 0.9]),
    st.integers(1, 30),
    st.sampled_from([0.0, 2.5]),
    st.integers(1, 5000),
)
def test_every_pair_compared_in_a_loop_gives_the_same(seed, n, m, density, k, shrink, block_bytes):
    # Powers of two as scales: quotients that are equal in exact arithmetic are equal in float32
    # too, and ties are many.
    rows = binary(seed, n, m, density)
    rng = np.random.default_rng(seed + 1)
    left, right = 2.0 ** rng.integers(0, 3, n), 2.0 ** rng.integers(0, 2, n)
    got = nearest(rows, k, left=left, right=right, shrink=shrink, block_bytes=block_bytes)
    assert got.shape == (n, n)
    assert got.has_sorted_indices
    assert got.dtype == np.float32
    np.testing.assert_allclose(got.toarray(), naive(rows, k, left, right, shrink), rtol=1e-6)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(0, 9),
    st.integers(1, 20),
    st.sampled_from([0.1, 0.6]),
    st.integers(1, 25),
    st.integers(1, 5000),
)
def test_rows_among_other_rows(seed, n, others, density, k, block_bytes):
    """Every one of the others can be a neighbour, also one that is equal to the row."""
    rows, among = binary(seed, n, 7, density), binary(seed + 1, others, 7, density)
    rng = np.random.default_rng(seed + 2)
    left, right = 2.0 ** rng.integers(0, 3, n), 2.0 ** rng.integers(0, 2, others)
    got = nearest(rows, k, left=left, right=right, among=among.T.tocsr(), block_bytes=block_bytes)
    assert got.shape == (n, others)
    np.testing.assert_allclose(got.toarray(), naive(rows, k, left, right, 0.0, among), rtol=1e-6)


def test_the_size_of_a_block_changes_nothing_and_is_kept(monkeypatch):
    rows, scale = binary(3, 400, 60, 0.1), np.ones(400)
    seen = []
    best = neighbours._best

    def watched(product, *rest):
        seen.append(product.nnz)
        return best(product, *rest)

    monkeypatch.setattr(neighbours, "_best", watched)
    whole = nearest(rows, 7, left=scale, right=scale)
    assert len(seen) == 1
    total = seen.pop()
    parts = nearest(rows, 7, left=scale, right=scale, block_bytes=32 * 1000)
    assert (whole != parts).nnz == 0
    assert sum(seen) == total
    assert len(seen) > 5
    assert max(seen) <= 1000


def test_nobody_is_near_where_nothing_is_shared():
    assert (
        nearest(
            sp.identity(5, format="csr", dtype=np.float32), 3, left=np.ones(5), right=np.ones(5)
        ).nnz
        == 0
    )
    assert nearest(
        sp.csr_matrix((0, 4), dtype=np.float32), 3, left=np.ones(0), right=np.ones(0)
    ).shape == (0, 0)
    assert (
        nearest(sp.csr_matrix((3, 4), dtype=np.float32), 3, left=np.zeros(3), right=np.zeros(3)).nnz
        == 0
    )


def test_a_scale_of_zero_makes_no_neighbour():
    rows = sp.csr_matrix(np.ones((3, 2), dtype=np.float32))
    got = nearest(rows, 3, left=np.ones(3), right=np.array([1.0, 0.0, 1.0]))
    assert got[:, 1].nnz == 0
    assert np.isfinite(got.data).all()


@pytest.mark.parametrize("weighting", ["cosine", "tfidf", "bm25"])
@pytest.mark.parametrize("power", [0.0, 1.0])
def test_weights_are_those_of_the_formula(weighting, power):
    rows = binary(5, 9, 6, 0.4)
    dense, k1, b = rows.toarray(), 1.5, 0.6
    want = np.zeros_like(dense, dtype=np.float64)
    lengths = dense.sum(1)
    for i, u in zip(*np.nonzero(dense), strict=True):
        spread = dense[:, u].sum()
        want[i, u] = spread ** (-power / 2)
        if weighting in ("tfidf", "bm25"):
            want[i, u] *= np.log(1 + 9 / (1 + spread))
        if weighting == "bm25":
            want[i, u] *= (k1 + 1) / (1 + k1 * (1 - b + b * lengths[i] / lengths.mean()))
    np.testing.assert_allclose(weigh(rows, weighting, power, k1, b).toarray(), want, rtol=1e-6)


@pytest.mark.parametrize("weighting", ["cosine", "tfidf", "bm25"])
def test_other_rows_are_weighted_by_the_statistics_of_training(weighting):
    rows = binary(5, 9, 6, 0.4)
    weights = EntryWeights.of(rows, weighting, 0.5, 1.5, 0.6)
    for some in (rows[[3]], rows[[8, 1, 1]]):
        np.testing.assert_array_equal(
            weights(some).toarray(),
            weights(rows).toarray()[[3] if some.shape[0] == 1 else [8, 1, 1]],
        )
