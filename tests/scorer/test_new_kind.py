"""A kind of scorer that recsys does not know is ranked, evaluated and exported without a change.

Each class below is defined here alone and says by its plan and its attributes what it is. Its
results are those of the built-in scorer with the same scores.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from asking import asked, ranks, score_blocks, top_k
from oracle import tie
from torch import Tensor

from recsys.data.query import Queries
from recsys.data.types import Dataset, Interactions, Vocab
from recsys.errors import InputError
from recsys.evaluation import Evaluation
from recsys.evaluation import evaluate as evaluated
from recsys.ranking import masked_scores
from recsys.scorer import (
    Dense,
    Dot,
    Factors,
    Listed,
    MultiFactors,
    NearestOf,
    OneOrder,
    Plan,
    Pointwise,
    Product,
    Scorer,
)
from recsys.serving import Request, export, recommend, similar_items, vectors

USERS, ITEMS, DIM = 30, 400, 4
META = SimpleNamespace(method="dual-embedding")


class Kind:
    """A scorer by its plan, with nothing that the built-in kinds have in common."""

    kind = "dual-embedding"
    device = torch.device("cpu")
    answers = frozenset({"user"})

    def __init__(self, table: Tensor, plan: Plan) -> None:
        self.table, self._plan = table, plan
        self.n_users, self.n_items = table.shape
        self.calls = 0

    def to(self, device: Any) -> Kind:
        return self

    def score(self, queries: Queries) -> Tensor:
        self.calls += 1
        return self.table[torch.as_tensor(queries.user, dtype=torch.int64)]

    def plan(self) -> Plan:
        return self._plan

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {"table": self.table}, {"kind": self.kind}


class VectorKind(Kind):
    """The same, with vectors that can be exported."""

    def __init__(self, like: Any) -> None:
        super().__init__(like.score(asked(torch.arange(USERS))), like.plan())
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
    common = popular.score(asked(every))
    return {
        "dot": (VectorKind(factors), factors),
        "dot with a term": (VectorKind(distance), distance),
        "nearest of several": (VectorKind(several), several),
        "one order": (Kind(common, OneOrder(common[0])), popular),
        "dense": (Kind(product.score(asked(every)), Dense()), product),
        "pointwise": (
            Kind(product.score(asked(every)), Pointwise(each_of(product.score(asked(every))))),
            product,
        ),
    }


def each_of(table: Tensor) -> Callable[[Queries, Tensor], Tensor]:
    """Return a function that scores the item of each query."""

    def score(queries: Queries, item: Tensor) -> Tensor:
        return table[torch.as_tensor(queries.user, dtype=torch.int64), item]

    return score


def lists_of(table: Tensor, *, masks: bool = True) -> Listed:
    """Return a plan whose lists are sorted one by one; without `masks` wrong ones, of any item."""

    def lists(
        queries: Queries, k: int, candidates: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        item = np.full((len(queries), k), -1)
        score = np.full((len(queries), k), -np.inf, dtype=np.float32)
        excluded = queries.exclusion(ITEMS).toarray() > 0
        assert queries.user is not None
        for row, user in enumerate(queries.user):
            pool = np.arange(ITEMS) if candidates is None or not masks else candidates
            free = [each for each in pool.tolist() if not (masks and excluded[row, each])]
            own = table[int(user)].numpy()
            best = sorted(free, key=lambda each: (-own[each], tie(each)))[:k]
            item[row, : len(best)] = best
            score[row, : len(best)] = own[best]
        return item, score

    return Listed(lists)


def listed(*, masks: bool = True) -> tuple[Kind, Any]:
    """Return a kind that makes lists, and the built-in scorer with the same scores."""
    factors = pairs()["dot"][1]
    table = factors.score(asked(torch.arange(USERS)))
    return Kind(table, lists_of(table, masks=masks)), factors


PLANS = {
    "dot": Dot,
    "dot with a term": Dot,
    "nearest of several": NearestOf,
    "one order": OneOrder,
    "dense": Dense,
    "pointwise": Pointwise,
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


@pytest.mark.parametrize("plan", ["dot", "nearest of several", "pointwise"])
def test_the_plan_is_used_in_place_of_the_scores(plan: str) -> None:
    new, _ = pairs()[plan]
    new.calls = 0
    top_k(new, np.arange(USERS), 5)
    assert new.calls == 0


def test_one_order_does_not_ask_for_scores() -> None:
    new, _ = pairs()["one order"]
    top_k(new, np.arange(USERS), 5)
    assert new.calls == 0


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


def test_scores_of_single_items_are_asked_a_few_items_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each item of each query once, also where the last few items are fewer."""
    monkeypatch.setattr(masked_scores, "_PAIRS", 7 * USERS)
    _, twin = pairs()["pointwise"]
    table, asked_for = twin.score(asked(torch.arange(USERS))), []

    def score(queries: Queries, item: Tensor) -> Tensor:
        assert len(queries) == len(item) <= 7 * USERS
        asked_for.append(np.stack([queries.user, item.numpy()]))
        return each_of(table)(queries, item)

    lists, expected = (
        top_k(scorer, np.arange(USERS), 10) for scorer in (Kind(table, Pointwise(score)), twin)
    )
    np.testing.assert_array_equal(lists.item, expected.item)
    cells = np.concatenate(asked_for, axis=1)
    assert len(np.unique(cells, axis=1).T) == cells.shape[1] == USERS * ITEMS


def test_a_wrong_score_of_single_items_is_noticed() -> None:
    _, twin = pairs()["pointwise"]
    table = twin.score(asked(torch.arange(USERS)))
    wrong = Kind(table, Pointwise(lambda queries, item: -each_of(table)(queries, item)))
    lists = [top_k(scorer, np.arange(USERS), 10) for scorer in (wrong, twin)]
    assert not np.array_equal(lists[0].item, lists[1].item)


@pytest.mark.parametrize("candidates", [None, np.arange(0, ITEMS, 3), np.arange(5)])
def test_lists_of_a_scorer_are_taken_as_they_are(candidates: np.ndarray | None) -> None:
    """They end with -1 where there are fewer candidates."""
    new, twin = listed()
    masks: dict[str, Any] = {"seen": train().pairs.csr, "candidates": candidates, "block": 7}
    lists = [top_k(scorer, np.arange(USERS), 10, **masks) for scorer in (new, twin)]
    np.testing.assert_array_equal(lists[0].item, lists[1].item)
    np.testing.assert_array_equal(lists[0].score, lists[1].score)
    unmasked = top_k(listed(masks=False)[0], np.arange(USERS), 10, **masks)
    assert not np.array_equal(unmasked.item, lists[1].item)


def test_lists_of_a_scorer_are_evaluated_and_served() -> None:
    data = train()
    user, item = np.nonzero(data.pairs.csr.toarray()[:, ::-1])
    test = Interactions(user, item, USERS, ITEMS)
    settings = Evaluation(metrics=("ndcg@10", "recall@20", "coverage@5"), groups=True)
    new, twin = (evaluated(scorer, data.pairs, test, settings) for scorer in listed())
    assert new.per_user.equals(twin.per_user)
    assert new.whole == twin.whole
    served = [recommend(scorer, data, Request(k=4)) for scorer in listed()]
    assert served[0].equals(served[1])
    wrong = listed(masks=False)[0]
    assert not evaluated(wrong, data.pairs, test, settings).per_user.equals(twin.per_user)
    assert not recommend(wrong, data, Request(k=4)).equals(served[1])


def test_what_needs_all_scores_is_refused_by_name_for_a_scorer_of_lists() -> None:
    new, twin = listed()
    known = train().pairs
    user, item = np.nonzero(known.csr.toarray()[:, ::-1])
    test = Interactions(user, item, USERS, ITEMS)
    settings = Evaluation(metrics=("ndcg@10", "auc", "mrr"))
    with pytest.raises(InputError, match="auc, mrr: this 'dual-embedding' scorer makes lists"):
        evaluated(new, known, test, settings)
    evaluated(twin, known, test, settings)
    sampled = Evaluation(metrics=("ndcg@10",), candidates="sampled", sampled=5, estimator="none")
    with pytest.raises(InputError, match="makes lists, and has no score for every item") as caught:
        evaluated(new, known, test, sampled)
    assert "candidates = 'all'" in str(caught.value)
    for ask in (ranks, lambda *_: list(score_blocks(new, np.arange(USERS)))):
        with pytest.raises(InputError, match="makes lists"):
            ask(new, np.arange(USERS), known.csr)


def test_a_list_with_a_score_that_is_not_a_number_is_refused() -> None:
    new, _ = listed()
    new.table[3] = torch.nan
    with pytest.raises(InputError, match="not numbers"):
        top_k(new, np.arange(USERS), 5)


@pytest.mark.parametrize("plan", PLANS)
def test_a_new_kind_is_served_as_its_twin(plan: str) -> None:
    data = train()
    new, twin = (recommend(scorer, data, Request(k=4)) for scorer in pairs()[plan])
    assert new.equals(twin)


@pytest.mark.parametrize("plan", ["dot", "dot with a term", "nearest of several"])
def test_a_new_kind_with_vectors_is_exported_as_its_twin(plan: str, tmp_path: Path) -> None:
    data = train()
    folders = []
    for name, scorer in zip(("new", "twin"), pairs()[plan], strict=True):
        run = SimpleNamespace(
            scorer=scorer, train=data, folder=tmp_path, name="run", fingerprint="ab", meta=META
        )
        folders.append(export(run, tmp_path / name, "flat" if plan == "dot" else None).folder)
    files = [{path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders]
    assert files[0] == files[1]
    assert len(files[0]) >= 3
    new, twin = (similar_items(scorer, data, ["i1", "i2"], 3) for scorer in pairs()[plan])
    assert new.equals(twin)


@pytest.mark.parametrize("plan", ["one order", "dense", "pointwise"])
def test_a_new_kind_without_vectors_says_so(plan: str) -> None:
    new, _ = pairs()[plan]
    with pytest.raises(InputError, match="cannot export vectors: this 'dual-embedding' scorer"):
        vectors(new)
    with pytest.raises(InputError, match="cannot find similar items: this 'dual-embedding' scorer"):
        similar_items(new, train(), ["i1"])
