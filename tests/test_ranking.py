"""Ranking against a stable sort: ties, masks, blocks, threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from asking import asked, ranks, score_blocks, top_k
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import tie

from recsys.data.query import Queries
from recsys.errors import InputError
from recsys.ranking import TopK
from recsys.scorer import Dense, Factors, MultiFactors, Product, Sum


class Table:
    """Scores that are simply given."""

    kind = "table"
    device = torch.device("cpu")

    def __init__(self, scores: np.ndarray) -> None:
        self.scores = torch.from_numpy(np.ascontiguousarray(scores, dtype=np.float32))
        self.n_users, self.n_items = self.scores.shape

    answers = frozenset({"user"})

    def score(self, queries: Queries) -> torch.Tensor:
        assert queries.user is not None
        return self.scores[queries.user]

    def plan(self) -> Dense:
        return Dense()


@contextmanager
def threads(n: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def allowed(
    shape: tuple[int, int], seen: sp.csr_matrix | None, candidates: np.ndarray | None
) -> np.ndarray:
    free = np.ones(shape, dtype=bool)
    if candidates is not None:
        free[:] = False
        free[:, candidates] = True
    if seen is not None:
        free &= seen.toarray() == 0
    return free


def naive_top(
    scores: np.ndarray, users: np.ndarray, k: int, free: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    items, values = (
        np.full((len(users), k), -1),
        np.full((len(users), k), -np.inf, dtype=np.float32),
    )
    for row, user in enumerate(users):
        item = np.flatnonzero(free[user])
        ties = np.array([tie(each) for each in item], dtype=np.uint64)
        best = item[np.lexsort((ties, -scores[user, item]))][:k]
        items[row, : len(best)], values[row, : len(best)] = best, scores[user, best]
    return items, values


def naive_ranks(
    scores: np.ndarray, users: np.ndarray, targets: sp.csr_matrix, free: np.ndarray
) -> list[float]:
    found = []
    for user in users:
        value = np.where(free[user], scores[user], -np.inf)
        own = [
            np.sum(value > value[item]) + (np.sum(value == value[item]) + 1) / 2
            for item in targets[user].indices
        ]
        found += sorted(own)
    return found


def equal(got: TopK, items: np.ndarray, values: np.ndarray) -> bool:
    return np.array_equal(got.item, items) and np.array_equal(got.score, values)


@st.composite
def cases(draw):
    n_users, n_items = (
        draw(st.integers(1, 6)),
        draw(st.sampled_from([1, 2, 7, 63, 64, 65, 130, 700, 5000])),
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(
        st.sampled_from(
            ["normal", "ties", "constant", "integers", "zeros of both signs", "descending"]
        )
    )
    scores = {
        "normal": lambda: rng.normal(size=(n_users, n_items)),
        "ties": lambda: rng.integers(0, 3, (n_users, n_items)),
        "constant": lambda: np.full((n_users, n_items), 2.5),
        "integers": lambda: rng.integers(-50, 50, (n_users, n_items)),
        "zeros of both signs": lambda: np.copysign(0.0, rng.normal(size=(n_users, n_items))),
        "descending": lambda: np.tile(-np.arange(n_items), (n_users, 1)),
    }[kind]()
    seen = (
        sp.csr_matrix(rng.random((n_users, n_items)) < draw(st.sampled_from([0.1, 0.6, 1.0])))
        if draw(st.booleans())
        else None
    )
    candidates = (
        rng.choice(n_items, rng.integers(0, n_items + 1), replace=False)
        if draw(st.booleans())
        else None
    )
    users = rng.integers(0, n_users, draw(st.integers(1, 8)))
    return scores.astype(np.float32), users, seen, candidates, draw(st.integers(0, 4)), rng


@settings(max_examples=150, deadline=None)
@given(cases(), st.integers(1, 90))
def test_top_k_is_a_stable_sort(case, k):
    scores, users, seen, candidates, block, _ = case
    expected = naive_top(scores, users, k, allowed(scores.shape, seen, candidates))
    got = top_k(Table(scores), users, k, seen=seen, candidates=candidates, block=block)
    assert equal(got, *expected)
    assert (got.item.dtype, got.score.dtype) == (np.int32, np.float32)


@settings(max_examples=100, deadline=None)
@given(cases(), st.integers(1, 90))
def test_one_order_for_everybody_is_a_stable_sort(case, k):
    scores, users, seen, candidates, _, _ = case
    scorer = Product((torch.ones(len(scores), 1), torch.from_numpy(scores[:1])), "ones")
    expected = naive_top(
        np.tile(scores[0], (len(scores), 1)), users, k, allowed(scores.shape, seen, candidates)
    )
    assert equal(top_k(scorer, users, k, seen=seen, candidates=candidates), *expected)


@pytest.mark.parametrize("candidates", [None, np.arange(0, 300, 3)], ids=["all", "some"])
def test_one_order_for_many_is_what_each_would_get(candidates):
    """To the byte, for more users than fit a block, some of whom have seen all items.

    An item with the score minus infinity is in no list.
    """
    rng = np.random.default_rng(0)
    score = rng.integers(0, 9, (1, 300)).astype(np.float32)
    score[0, :30] = [np.inf, -np.inf, -0.0] * 10
    seen = sp.csr_matrix(rng.random((700, 300)) < rng.choice([0, 0.02, 0.5, 1], (700, 1)))
    made = [
        Product((torch.ones(700, 1), torch.from_numpy(score)), first) for first in ("ones", "users")
    ]
    users = rng.permutation(700)
    for k in (1, 20, 300):
        one, each = (top_k(scorer, users, k, seen=seen, candidates=candidates) for scorer in made)
        assert one.item.tobytes() == each.item.tobytes()
        assert one.score.tobytes() == each.score.tobytes()
        assert (one.item.dtype, one.score.dtype) == (each.item.dtype, each.score.dtype)


def test_one_order_of_no_numbers_is_an_error():
    scorer = Product((torch.ones(3, 1), torch.tensor([[1.0, float("nan"), 2.0]])), "ones")
    with pytest.raises(InputError, match="not numbers"):
        top_k(scorer, np.arange(3), 1)
    assert top_k(scorer, np.arange(3), 1, candidates=np.array([0, 2])).item.tolist() == [[2]] * 3
    assert top_k(scorer, np.arange(0), 2).item.shape == (0, 2)


@settings(max_examples=80, deadline=None)
@given(cases())
def test_ranks_are_counted_and_ties_share_their_mean(case):
    scores, users, seen, candidates, block, rng = case
    users = np.unique(users)
    targets = sp.csr_matrix(rng.random(scores.shape) < min(0.3, 20 / scores.shape[1]))
    free = allowed(scores.shape, seen, candidates)
    got = ranks(Table(scores), users, targets, seen=seen, candidates=candidates, block=block)
    assert got.rank.tolist() == naive_ranks(scores, users, targets, free)
    assert got.candidates.tolist() == free[users].sum(1).tolist()
    assert got.indptr.tolist() == [0, *np.cumsum(np.diff(targets[users].indptr))]
    assert (got.rank >= 1).all()
    assert (got.rank <= scores.shape[1]).all()


@pytest.mark.parametrize("n_items", [50, 300, 6000])
def test_blocks_and_threads_change_nothing(n_items):
    """Whole numbers, so that no order of summation can matter, and many ties."""
    rng = np.random.default_rng(0)
    scorer = Factors(
        *(torch.from_numpy(rng.integers(-2, 3, (n, 4)).astype(np.float32)) for n in (23, n_items))
    )
    seen, targets = (
        sp.csr_matrix(rng.random((23, n_items)) < 0.1),
        sp.csr_matrix(rng.random((23, n_items)) < 5 / n_items),
    )
    users = rng.permutation(23)
    first, first_ranks = (
        top_k(scorer, users, 20, seen=seen),
        ranks(scorer, users, targets, seen=seen),
    )
    whole = scorer.score(asked(torch.arange(23))).numpy()
    assert equal(first, *naive_top(whole, users, 20, allowed(whole.shape, seen, None)))
    for count in (1, 3):
        for block in (0, 1, 2, 7, 23, 100):
            with threads(count):
                other = top_k(scorer, users, 20, seen=seen, block=block)
                other_ranks = ranks(scorer, users, targets, seen=seen, block=block)
                assert torch.get_num_threads() == count
            assert first.item.tobytes() == other.item.tobytes()
            assert first.score.tobytes() == other.score.tobytes()
            assert first_ranks.rank.tobytes() == other_ranks.rank.tobytes()


def scorers() -> dict[str, object]:
    generator = torch.Generator().manual_seed(0)
    user, item, bias = (
        torch.randn(*shape, generator=generator) for shape in ((9, 6), (150, 6), (150,))
    )
    history, similar = (
        sp.random(9, 40, 0.3, "csr", dtype=np.float32, random_state=0),
        sp.random(40, 150, 0.3, "csr", dtype=np.float32, random_state=1),
    )
    made: dict[str, object] = {
        f"{kind}{' with bias' if b is not None else ''}": Factors(user, item, kind, b)
        for kind in ("dot", "cosine", "euclidean")
        for b in (None, bias)
    }
    made["product"] = Product((history, similar))
    made["sum"] = Sum((made["dot"], made["product"]), (1.0, -0.5))
    return made


@pytest.mark.parametrize("name", list(scorers()))
def test_what_is_ranked_is_what_the_scorer_says(name):
    scorer = scorers()[name]
    users = np.array([8, 0, 3, 3])
    whole = scorer.score(asked(torch.from_numpy(users))).numpy()
    got = top_k(scorer, users, 12, block=3)
    assert np.allclose(
        got.score, np.take_along_axis(whole, got.item.astype(np.int64), axis=1), atol=1e-5
    )
    assert np.allclose(got.score, -np.sort(-whole, axis=1)[:, :12], atol=1e-5)
    seen = sp.csr_matrix(np.arange(9 * 150).reshape(9, 150) % 3 == 0)
    masked = np.where(seen[users].toarray(), -np.inf, whole)
    blocks = [
        (rows.copy(), scores.clone().numpy())
        for rows, scores in score_blocks(scorer, users, seen=seen, block=3)
    ]
    assert np.array_equal(np.concatenate([rows for rows, _ in blocks]), users)
    assert np.allclose(np.concatenate([scores for _, scores in blocks]), masked, atol=1e-5)


def test_a_user_with_everything_masked_gets_nothing():
    scores = np.random.default_rng(0).normal(size=(2, 70))
    seen = sp.csr_matrix(np.array([[1.0] * 70, [0.0] * 70]))
    got = top_k(Table(scores), np.arange(2), 5, seen=seen)
    assert (got.item[0] == -1).all()
    assert np.isneginf(got.score[0]).all()
    assert (got.item[1] >= 0).all()
    none = top_k(Table(scores), np.arange(2), 5, candidates=np.array([], dtype=int))
    assert (none.item == -1).all()


def test_nobody_asked():
    got = top_k(Table(np.zeros((2, 5))), np.array([], dtype=np.int32), 3)
    assert got.item.shape == got.score.shape == (0, 3)
    empty = ranks(Table(np.zeros((2, 5))), np.array([], dtype=np.int32), sp.csr_matrix((2, 5)))
    assert empty.rank.shape == (0,)
    assert empty.indptr.tolist() == [0]


@pytest.mark.parametrize("place", [0, 40, 99])
@pytest.mark.parametrize("n_items", [100, 6000])
def test_a_score_that_is_no_number_is_an_error(place, n_items):
    scores = np.random.default_rng(0).normal(size=(3, n_items))
    scores[1, place] = np.nan
    with pytest.raises(InputError, match="not numbers"):
        top_k(Table(scores), np.arange(3), 4)
    # A NaN is above nothing: uncaught, it would have the best rank.
    with pytest.raises(InputError, match="not numbers"):
        ranks(Table(scores), np.arange(3), sp.csr_matrix(np.ones((3, n_items))))
    hidden = sp.csr_matrix(np.isnan(scores).astype(np.float32))
    assert (top_k(Table(scores), np.arange(3), 4, seen=hidden).item >= 0).all()


def test_factors_that_are_no_numbers_are_an_error():
    scorer = Factors(torch.full((2, 3), torch.nan), torch.ones(5, 3))
    with pytest.raises(InputError, match="not numbers"):
        top_k(scorer, np.arange(2), 1)


def test_infinite_scores_are_ranked():
    scores = np.array([[1.0, np.inf, 0.0, -np.inf, np.inf]])
    got = top_k(Table(scores), np.array([0]), 5)
    equals = sorted((1, 4), key=tie)
    assert got.item.tolist() == [[*equals, 0, 2, -1]]  # -inf is what a mask leaves


@pytest.mark.parametrize("k", [0, -1])
def test_a_list_holds_something(k):
    with pytest.raises(InputError, match="k must be at least 1"):
        top_k(Table(np.zeros((1, 3))), np.array([0]), k)


def test_the_callers_arrays_are_left_alone():
    scores = np.random.default_rng(0).normal(size=(4, 30)).astype(np.float32)
    scorer = Factors(torch.from_numpy(scores), torch.eye(30))
    seen = sp.csr_matrix(np.eye(4, 30, dtype=np.float32))
    before = (scorer.user.clone(), scorer.item.clone(), seen.copy())
    top_k(scorer, np.arange(4), 3, seen=seen)
    ranks(scorer, np.arange(4), seen, seen=seen)
    assert torch.equal(before[0], scorer.user)
    assert torch.equal(before[1], scorer.item)
    assert (before[2] != seen).nnz == 0


@pytest.mark.parametrize("similarity", ["dot", "cosine", "euclidean"])
@pytest.mark.parametrize("n_items", [70, 1300])
@pytest.mark.parametrize("counted", [False, True])
def test_the_best_of_several_vectors_is_ranked(similarity, n_items, counted):
    generator = torch.Generator().manual_seed(1)
    count = torch.randint(1, 4, (23,), generator=generator) if counted else None
    scorer = MultiFactors(
        torch.randn(23, 3, 5, generator=generator),
        torch.randn(n_items, 5, generator=generator),
        similarity,
        count,
    )
    seen = sp.csr_matrix(sp.random(23, n_items, 0.2, "csr", random_state=0))
    users = np.arange(23)
    scores = scorer.score(asked(torch.from_numpy(users))).numpy()
    wanted, _ = naive_top(np.round(scores, 5), users, 10, allowed(scores.shape, seen, None))
    for block in (0, 7):
        found = top_k(scorer, users, 10, seen=seen, block=block)
        assert np.allclose(
            found.score, np.take_along_axis(scores, found.item.astype(np.int64), 1), atol=1e-5
        )
        assert (found.item == wanted).mean() > 0.99, (
            "items may change places only where their scores agree to five digits"
        )
    for rows, block_scores in score_blocks(scorer, users, seen=seen):
        assert np.allclose(
            np.where(np.isinf(block_scores.numpy()), scores[rows], block_scores.numpy()),
            scores[rows],
            atol=1e-5,
        )
