"""Scores of pairs and negatives against a loop, for negatives of each pair and shared ones."""

from __future__ import annotations

import pytest
import torch

from recsys.nn.scores import negative_scores, pair_scores
from recsys.sampling import Batch


def batch_of(neg: torch.Tensor) -> Batch:
    rows = torch.arange(4)
    return Batch(rows, rows, rows, neg, None, None, 0, 0)


def score(kind: str, u: torch.Tensor, v: torch.Tensor) -> float:
    if kind == "euclidean":
        return -float(((u - v) ** 2).sum())
    return float(u @ v) / (float(u.norm() * v.norm()) if kind == "cosine" else 1)


@pytest.mark.parametrize("kind", ["dot", "cosine", "euclidean"])
@pytest.mark.parametrize("form", ["own", "own, flat", "shared"])
def test_pairs_and_negatives(kind, form):
    torch.manual_seed(0)
    user, item = torch.randn(4, 5), torch.randn(4, 5)
    negatives = torch.randn(3, 5) if form == "shared" else torch.randn(4, 3, 5)
    batch = batch_of(torch.zeros(negatives.shape[:-1], dtype=torch.int64))
    given = negatives.view(12, 5) if form == "own, flat" else negatives
    pos, neg = pair_scores(batch, user, item, given, kind)
    assert pos.tolist() == pytest.approx(
        [score(kind, user[b], item[b]) for b in range(4)], rel=1e-5
    )
    each = negatives.expand(4, 3, 5)
    assert neg.flatten().tolist() == pytest.approx(
        [score(kind, user[b], each[b, k]) for b in range(4) for k in range(3)], rel=1e-4
    )
    assert torch.equal(neg, negative_scores(batch, user, given, kind))


def test_the_default_is_the_inner_product():
    user, item, pool = torch.randn(4, 5), torch.randn(4, 5), torch.randn(3, 5)
    batch = batch_of(torch.zeros(3, dtype=torch.int64))
    for value, dot in zip(
        pair_scores(batch, user, item, pool),
        pair_scores(batch, user, item, pool, "dot"),
        strict=True,
    ):
        assert torch.equal(value, dot)
