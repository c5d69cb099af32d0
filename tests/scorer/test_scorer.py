"""Scorers against dense matrices, and as values that come back."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from asking import asked
from torch import Tensor

from recsys.errors import InputError
from recsys.scorer import KINDS, Factors, MultiFactors, Product, Scorer, Sum, from_state

USERS, ITEMS, DIM = 6, 8, 3


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def sparse(rows: int, columns: int, seed: int) -> sp.csr_matrix:
    return sp.csr_matrix(sp.random(rows, columns, 0.4, "csr", dtype=np.float32, random_state=seed))


def factors(similarity: str = "dot", bias: bool = False, seed: int = 0) -> Factors:
    return Factors(
        normal(USERS, DIM, seed=seed),
        normal(ITEMS, DIM, seed=seed + 1),
        similarity,
        normal(ITEMS, seed=seed + 2) if bias else None,
    )


def examples() -> dict[str, Scorer]:
    history, similar = sparse(USERS, 5, 0), sparse(5, ITEMS, 1)
    made: dict[str, Scorer] = {
        f"{kind} {bias}": factors(kind, bias)
        for kind in ("dot", "cosine", "euclidean")
        for bias in (False, True)
    }
    made |= {
        "sparse x sparse": Product((history, similar)),
        "sparse x dense": Product((history, normal(5, ITEMS, seed=1))),
        "dense x sparse": Product((normal(USERS, 5, seed=1), similar)),
        "three": Product((history, normal(5, 4, seed=2), normal(4, ITEMS, seed=3))),
    }
    for kind in ("dot", "cosine", "euclidean"):
        made[f"several {kind}"] = MultiFactors(
            normal(USERS, 4, DIM, seed=5), normal(ITEMS, DIM, seed=6), kind
        )
        made[f"some {kind}"] = MultiFactors(
            normal(USERS, 4, DIM, seed=5),
            normal(ITEMS, DIM, seed=6),
            kind,
            torch.tensor([1, 4, 2, 3, 1, 4]),
        )
    made["sum"] = Sum((made["dot False"], made["sparse x sparse"]), (0.5, -2.0))
    made["sum of many"] = Sum(
        tuple(factors(seed=i) for i in range(12)), tuple(float(i) for i in range(12))
    )
    made["sum of sums"] = Sum((made["sum"], made["euclidean True"]), (1.0, 1.0))
    return made


def naive(scorer: Scorer) -> np.ndarray:
    if isinstance(scorer, Sum):
        return sum(
            weight * naive(part) for part, weight in zip(scorer.parts, scorer.weights, strict=True)
        )
    if isinstance(scorer, Product):
        dense = [m.numpy() if isinstance(m, Tensor) else m.toarray() for m in scorer.matrices]
        result = dense[0]
        for matrix in dense[1:]:
            result = result @ matrix
        return result
    if isinstance(scorer, MultiFactors):
        count = (
            scorer.count if scorer.count is not None else torch.full((USERS,), scorer.user.shape[1])
        )
        each = [
            naive(Factors(scorer.user[:, c], scorer.item, scorer.similarity))
            for c in range(scorer.user.shape[1])
        ]
        return np.stack(
            [np.max([each[c][u] for c in range(int(count[u]))], axis=0) for u in range(USERS)]
        )
    scores = np.zeros((USERS, ITEMS))
    for u in range(USERS):
        for i in range(ITEMS):
            p, q = scorer.user[u].double().numpy(), scorer.item[i].double().numpy()
            value = {
                "dot": p @ q,
                "cosine": p @ q / np.sqrt((p @ p) * (q @ q)),
                "euclidean": -((p - q) @ (p - q)),
            }[scorer.similarity]
            scores[u, i] = value + (0 if scorer.item_bias is None else float(scorer.item_bias[i]))
    return scores


@pytest.mark.parametrize("name", list(examples()))
def test_scores_are_their_definition(name):
    scorer = examples()[name]
    expected = naive(scorer)
    assert (scorer.n_users, scorer.n_items) == (USERS, ITEMS)
    users = torch.tensor([5, 0, 0, 3])
    got = scorer.score(asked(users))
    assert got.shape == (4, ITEMS)
    assert got.dtype == torch.float32
    assert np.allclose(got, expected[users.numpy()], atol=1e-5)
    assert scorer.score(asked(torch.tensor([], dtype=torch.int64))).shape == (0, ITEMS)


@pytest.mark.parametrize("name", list(examples()))
def test_a_scorer_comes_back_from_its_state(name):
    scorer = examples()[name]
    tensors, meta = scorer.state()
    again = from_state({key: tensor.clone() for key, tensor in tensors.items()}, meta)
    users = torch.arange(USERS)
    assert type(again) is type(scorer)
    assert torch.equal(again.score(asked(users)), scorer.score(asked(users)))
    assert torch.equal(scorer.to("cpu").score(asked(users)), scorer.score(asked(users)))


@pytest.mark.parametrize("similarity", ["dot", "cosine", "euclidean"])
@pytest.mark.parametrize("bias", [False, True])
def test_as_dot_is_the_same_ranking(similarity, bias):
    scorer = factors(similarity, bias)
    query, key, term = scorer.as_dot()
    scores = query @ key.T
    assert (term is None) == (similarity != "euclidean")
    assert np.allclose(scores if term is None else scores + term[:, None], naive(scorer), atol=1e-5)


def test_scoring_twice_gives_the_same_and_changes_nothing():
    for scorer in examples().values():
        before = {name: tensor.clone() for name, tensor in scorer.state()[0].items()}
        users = torch.arange(USERS)
        assert torch.equal(scorer.score(asked(users)), scorer.score(asked(users)))
        assert all(torch.equal(before[name], tensor) for name, tensor in scorer.state()[0].items())


def test_a_zero_vector_has_a_cosine_of_zero():
    scorer = Factors(torch.zeros(1, 2), torch.eye(2), "cosine")
    assert scorer.score(asked(torch.tensor([0]))).tolist() == [[0.0, 0.0]]


def test_scorers_are_frozen():
    for scorer in examples().values():
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(scorer, dataclasses.fields(scorer)[0].name, None)


def test_every_kind_is_known_by_its_name():
    assert {"factors", "multi-factors", "product", "sum"} <= set(KINDS)
    assert all(KINDS[scorer.state()[1]["kind"]] is type(scorer) for scorer in examples().values())


def test_a_state_of_an_unknown_kind():
    with pytest.raises(InputError, match="unknown kind 'robot'"):
        from_state({}, {"kind": "robot"})
    with pytest.raises(InputError, match="without its part 'item'"):
        from_state({"user": torch.ones(1, 1)}, {"kind": "factors", "similarity": "dot"})
