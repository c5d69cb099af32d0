"""Lists found from part of the scores equal those from all scores, to the byte."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.query import Queries
from recsys.errors import InputError
from recsys.ranking import TopK, lists, pruning, top_k
from recsys.scorer import Factors, MultiFactors, Scorer

N_USERS, N_ITEMS = 70, 2500


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Search wherever a search is possible, whether or not it saves time."""
    monkeypatch.setattr(lists, "_MANY_SCORES", 0)
    monkeypatch.setattr(lists, "_WORTH", 2.0)


def from_all_scores(
    monkeypatch: pytest.MonkeyPatch, scorer: Scorer, queries: Queries, k: int, **options: object
) -> TopK:
    with monkeypatch.context() as patch:
        patch.setattr(lists, "_MANY_SCORES", 1 << 62)
        return top_k(scorer, queries, k, **options)


def assert_same(first: TopK, second: TopK) -> None:
    assert first.item.tobytes() == second.item.tobytes()
    assert first.score.tobytes() == second.score.tobytes()
    assert (first.flat is None) == (second.flat is None)
    if first.flat is not None and second.flat is not None:
        assert first.flat.tolist() == second.flat.tolist()


def whole(rng: np.random.Generator, *shape: int, largest: int = 4) -> torch.Tensor:
    """Return whole numbers, so that sums are exact in any order and many scores are equal."""
    return torch.from_numpy(rng.integers(-largest, largest + 1, shape).astype(np.float32))


def of_different_norms(rng: np.random.Generator, dim: int) -> torch.Tensor:
    scale = rng.integers(0, 9, (N_ITEMS, 1)) * (rng.random((N_ITEMS, 1)) < 0.05)
    return whole(rng, N_ITEMS, dim, largest=2) * torch.from_numpy(1 + scale).float()


def scorers(seed: int, dim: int) -> dict[str, Scorer]:
    rng = np.random.default_rng(seed)
    item, bias = of_different_norms(rng, dim), whole(rng, N_ITEMS, largest=50)
    user = whole(rng, N_USERS, dim)
    several = whole(rng, N_USERS, 3, dim)
    count = torch.from_numpy(rng.integers(1, 4, N_USERS))
    return {
        "dot": Factors(user, item),
        "bias": Factors(user, item, item_bias=bias),
        "distance": Factors(user, item, similarity="euclidean"),
        "nearest of several": MultiFactors(several, item, "euclidean"),
        "best of several": MultiFactors(several, item, count=count),
    }


def asked(seed: int, n: int = N_USERS) -> Queries:
    rng = np.random.default_rng(seed)
    users = rng.integers(0, N_USERS, n)
    return Queries.of_users(users, sp.csr_matrix(rng.random((n, N_ITEMS)) < 0.02))


@pytest.mark.parametrize("name", list(scorers(0, 4)))
@pytest.mark.usefixtures("always")
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 1 << 20), dim=st.integers(2, 9), k=st.integers(1, 60))
def test_lists_are_those_from_all_scores(name: str, seed: int, dim: int, k: int) -> None:
    scorer, queries = scorers(seed, dim)[name], asked(seed)
    for candidates in (None, np.random.default_rng(seed).integers(0, N_ITEMS, 1500)):
        options = {"candidates": candidates, "flat": True}
        expected = from_all_scores(pytest.MonkeyPatch(), scorer, queries, k, **options)
        for block in (0, 13):
            assert_same(top_k(scorer, queries, k, block=block, **options), expected)


@pytest.mark.parametrize("similarity", ["dot", "cosine", "euclidean"])
@pytest.mark.usefixtures("always")
def test_lists_of_real_numbers(similarity: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    user, item = (
        torch.from_numpy(rng.normal(size=(n, 32)).astype(np.float32)) for n in (N_USERS, N_ITEMS)
    )
    item = item * torch.from_numpy(rng.exponential(size=(N_ITEMS, 1)) ** 2).float()
    scorer, queries = Factors(user, item, similarity=similarity), asked(0)
    expected = from_all_scores(monkeypatch, scorer, queries, 20, flat=True)
    got = top_k(scorer, queries, 20, flat=True)
    assert got.item.tolist() == expected.item.tolist()
    np.testing.assert_allclose(got.score, expected.score, rtol=1e-5)
    assert got.flat is not None
    assert not got.flat.any()


@pytest.mark.usefixtures("always")
def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "_AT_A_TIME", 16)
    scorer, queries, before = scorers(3, 6)["bias"], asked(3), torch.get_num_threads()
    results = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        results.append(top_k(scorer, queries, 20))
    torch.set_num_threads(before)
    assert_same(*results)


@pytest.mark.usefixtures("always")
def test_users_with_one_score_for_all_items_are_flat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Queries that seem flat, and those with few candidates left, are ranked by all scores."""
    rng = np.random.default_rng(0)
    user, item = whole(rng, N_USERS, 4), of_different_norms(rng, 4)
    user[::3] = 0
    queries = Queries.of_users(np.arange(N_USERS))
    scorer = Factors(user, item)
    got = top_k(scorer, queries, 10, flat=True)
    assert got.flat is not None
    assert got.flat[::3].all()
    assert_same(got, from_all_scores(monkeypatch, scorer, queries, 10, flat=True))


@pytest.mark.usefixtures("always")
def test_a_vector_that_is_not_a_number_is_an_error() -> None:
    for which in (0, 1):
        vectors = [torch.ones(N_USERS, 4), torch.rand(N_ITEMS, 4)]
        vectors[which][7] = float("nan")
        with pytest.raises(InputError, match="not numbers"):
            top_k(Factors(*vectors), Queries.of_users(np.arange(N_USERS)), 5)


@pytest.mark.usefixtures("always")
def test_a_query_unlike_the_sample_is_ranked_by_all_scores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first coordinate is equal in all queries of the sample, and in no other."""
    monkeypatch.setattr(lists, "_SAMPLE", 2)
    rng = np.random.default_rng(0)
    user, item = whole(rng, N_USERS, 4), of_different_norms(rng, 4)
    user[[0, N_USERS // 2], 0] = 5.0
    scorer, queries = Factors(user, item), Queries.of_users(np.arange(N_USERS))
    expected = from_all_scores(monkeypatch, scorer, queries, 10)
    assert_same(top_k(scorer, queries, 10), expected)


def scored(monkeypatch: pytest.MonkeyPatch, scorer: Scorer, queries: Queries) -> float:
    """Return the share of the scores that a search of ten items computes."""
    count = [0]
    plain = pruning.score_tile

    def counting(query: torch.Tensor, tile: torch.Tensor, out: torch.Tensor) -> None:
        count[0] += out.numel()
        plain(query, tile, out)

    order = pruning.SearchOrder(scorer.plan(), None, queries)
    search = pruning.PrunedProduct(order)
    monkeypatch.setattr(pruning, "TILE", 64)
    monkeypatch.setattr(pruning, "score_tile", counting)
    assert search(queries, 10) is not None
    return count[0] / (len(queries) * scorer.n_items)


@pytest.mark.parametrize("similarity", ["dot", "euclidean"])
def test_items_that_cannot_enter_are_left_out(
    similarity: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One in a hundred items has a long vector, or lies near the users instead of far away."""
    rng = np.random.default_rng(0)
    n = 8000
    few = rng.random((n, 1)) < 0.01
    scale = np.where(few, 1.0, 0.01 if similarity == "dot" else 50.0)
    user = torch.from_numpy(rng.normal(size=(N_USERS, 16)).astype(np.float32))
    item = torch.from_numpy((rng.normal(size=(n, 16)) * scale).astype(np.float32))
    scorer, queries = Factors(user, item, similarity=similarity), Queries.of_users(range(N_USERS))
    assert pruning.SearchOrder(scorer.plan(), None, queries).share(10) < 0.2
    assert scored(monkeypatch, scorer, queries) < 0.3


def test_all_scores_are_computed_where_a_search_saves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lists, "_MANY_SCORES", 0)
    monkeypatch.setattr(pruning, "_FIRST", 128)
    unused = "the search is not used"

    def refuse(*_: object) -> None:
        raise AssertionError(unused)

    monkeypatch.setattr(lists, "PrunedProduct", refuse)
    rng = np.random.default_rng(0)
    item = torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=(N_ITEMS, 8)))).float()
    user = torch.from_numpy(rng.normal(size=(N_USERS, 8)).astype(np.float32))
    assert (top_k(Factors(user, item), asked(0), 5).item >= 0).all()
    long = item * torch.from_numpy(np.where(rng.random((N_ITEMS, 1)) < 0.02, 100, 1)).float()
    with pytest.raises(AssertionError, match=unused):
        top_k(Factors(user, long), asked(0), 5)
