"""A kind of scorer that recsys does not know is ranked, evaluated and exported without a change.

Each class below is defined here alone and says by its plan and its attributes what it is. Its
results are those of the built-in scorer with the same scores.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

from recsys.data.types import Dataset, Interactions, Vocab
from recsys.errors import InputError
from recsys.evaluation import Evaluation
from recsys.evaluation import evaluate as evaluated
from recsys.ranking import ranks, score_blocks, top_k
from recsys.scorer import (
    BestOfSeveral,
    Blocks,
    Factors,
    Gemm,
    MultiFactors,
    OneOrder,
    Plan,
    Product,
    Scorer,
)
from recsys.serving import Request, export, recommend, similar_items, vectors

USERS, ITEMS, DIM = 30, 400, 4


class Kind:
    """A scorer by its plan, with nothing that the built-in kinds have in common."""

    kind = "dual-embedding"
    device = torch.device("cpu")

    def __init__(self, table: Tensor, plan: Plan) -> None:
        self.table, self._plan = table, plan
        self.n_users, self.n_items = table.shape
        self.calls = 0

    def to(self, device: Any) -> Kind:
        return self

    def score(self, users: Tensor) -> Tensor:
        self.calls += 1
        return self.table[users]

    def plan(self) -> Plan:
        return self._plan

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {"table": self.table}, {"kind": self.kind}


class VectorKind(Kind):
    """The same, with vectors that can be exported."""

    def __init__(self, like: Any) -> None:
        super().__init__(like.score(torch.arange(USERS)), like.plan())
        self.user, self.item, self.similarity = like.user, like.item, like.similarity
        self.item_bias, self.count = like.item_bias, like.count


def whole(*shape: int, seed: int) -> Tensor:
    """Integers, so that sums are exact and scores are tied."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-2, 3, shape, generator=generator).float()


def train() -> Dataset:
    user, item = np.nonzero(np.random.default_rng(0).random((USERS, ITEMS)) < 0.05)
    pairs = Interactions(user, item, USERS, ITEMS)
    ids = pl.Series("user", [f"u{row}" for row in range(USERS)])
    return Dataset(pairs, Vocab(ids), Vocab(pl.Series("item", [f"i{row}" for row in range(ITEMS)])))


def pairs() -> dict[str, tuple[Any, Any]]:
    """A new kind and the built-in scorer with the same scores, by plan."""
    factors = Factors(
        whole(USERS, DIM, seed=1), whole(ITEMS, DIM, seed=2), "dot", whole(ITEMS, seed=3)
    )
    distance = Factors(whole(USERS, DIM, seed=1), whole(ITEMS, DIM, seed=2), "euclidean")
    several = MultiFactors(whole(USERS, 3, DIM, seed=4), whole(ITEMS, DIM, seed=5))
    popular = Product((torch.ones(USERS, 1), whole(1, ITEMS, seed=6)), "ones")
    product = Product((whole(USERS, 2, seed=7), whole(2, ITEMS, seed=8)))
    every = torch.arange(USERS)
    return {
        "gemm": (VectorKind(factors), factors),
        "gemm with a term": (VectorKind(distance), distance),
        "best of several": (VectorKind(several), several),
        "one order": (Kind(popular.score(every), OneOrder()), popular),
        "blocks": (Kind(product.score(every), Blocks()), product),
    }


PLANS = {
    "gemm": Gemm,
    "gemm with a term": Gemm,
    "best of several": BestOfSeveral,
    "one order": OneOrder,
    "blocks": Blocks,
}


@pytest.mark.parametrize("plan", PLANS)
def test_a_new_kind_is_ranked_as_its_twin(plan: str) -> None:
    new, twin = pairs()[plan]
    assert isinstance(new, Scorer)
    assert type(new.plan()) is PLANS[plan]
    users, seen = np.arange(USERS), train().pairs.csr
    for candidates in (None, np.arange(0, ITEMS, 3)):
        masks: dict[str, Any] = {"seen": seen, "candidates": candidates, "block": 7}
        lists = [top_k(scorer, users, 10, **masks) for scorer in (new, twin)]
        np.testing.assert_array_equal(lists[0].item, lists[1].item)
        np.testing.assert_array_equal(lists[0].score, lists[1].score)
        standing = [ranks(scorer, users, seen[:, ::-1].tocsr(), **masks) for scorer in (new, twin)]
        np.testing.assert_array_equal(standing[0].rank, standing[1].rank)
        blocks = [
            torch.cat([scores.clone() for _, scores in score_blocks(scorer, users, **masks)])
            for scorer in (new, twin)
        ]
        assert torch.equal(*blocks)


@pytest.mark.parametrize("plan", ["gemm", "best of several"])
def test_the_plan_is_used_in_place_of_the_scores(plan: str) -> None:
    new, _ = pairs()[plan]
    new.calls = 0
    top_k(new, np.arange(USERS), 5)
    assert new.calls == 0


def test_one_order_asks_for_the_scores_once() -> None:
    new, _ = pairs()["one order"]
    top_k(new, np.arange(USERS), 5)
    assert new.calls == 1


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize(
    "settings",
    [
        Evaluation(metrics=("ndcg@10", "auc", "coverage@5")),
        Evaluation(metrics=("ndcg@10",), candidates="sampled", sampled=5),
    ],
    ids=["full", "sampled"],
)
def test_a_new_kind_is_evaluated_as_its_twin(plan: str, settings: Evaluation) -> None:
    known = train().pairs
    user, item = np.nonzero(known.csr.toarray()[:, ::-1])
    test = Interactions(user, item, USERS, ITEMS)
    new, twin = (evaluated(scorer, known, test, settings) for scorer in pairs()[plan])
    assert new.per_user.equals(twin.per_user)
    assert new.whole == twin.whole
    assert new.notes == twin.notes


@pytest.mark.parametrize("plan", PLANS)
def test_a_new_kind_is_served_as_its_twin(plan: str) -> None:
    data = train()
    new, twin = (recommend(scorer, data, Request(k=4)) for scorer in pairs()[plan])
    assert new.equals(twin)


@pytest.mark.parametrize("plan", ["gemm", "gemm with a term", "best of several"])
def test_a_new_kind_with_vectors_is_exported_as_its_twin(plan: str, tmp_path: Path) -> None:
    data = train()
    folders = []
    for name, scorer in zip(("new", "twin"), pairs()[plan], strict=True):
        run = SimpleNamespace(
            scorer=scorer, train=data, folder=tmp_path, name="run", fingerprint="ab", meta={}
        )
        folders.append(export(run, tmp_path / name, "flat" if plan == "gemm" else None).folder)
    files = [{path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders]
    assert files[0] == files[1]
    assert len(files[0]) >= 3
    new, twin = (similar_items(scorer, data, ["i1", "i2"], 3) for scorer in pairs()[plan])
    assert new.equals(twin)


@pytest.mark.parametrize("plan", ["one order", "blocks"])
def test_a_new_kind_without_vectors_says_so(plan: str) -> None:
    new, _ = pairs()[plan]
    with pytest.raises(InputError, match="cannot export vectors: this 'dual-embedding' scorer"):
        vectors(new)
    with pytest.raises(InputError, match="cannot find similar items: this 'dual-embedding' scorer"):
        similar_items(new, train(), ["i1"])
