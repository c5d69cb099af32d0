"""What a scorer can do is a type: abilities of each kind, and the error of those without."""

from __future__ import annotations

import ast
import graphlib
import importlib
import pkgutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from asking import asked

import recsys.scorer
from recsys.data.histories import Histories
from recsys.data.query import Queries
from recsys.errors import InputError
from recsys.scorer import (
    KINDS,
    Blend,
    ChainFactors,
    Deep,
    Dense,
    Dot,
    Factors,
    Fallback,
    ItemVectors,
    MultiFactors,
    NearestOf,
    OneOrder,
    PastSessions,
    Product,
    Relational,
    Scorer,
    SequenceEncoder,
    SessionNeighbours,
    SessionSimilarity,
    StoredHistories,
    Sum,
    TakesItems,
    Transitions,
    VectorScorer,
    answered_by,
    require,
)
from recsys.scorer.item_vectors import AskedItems
from recsys.scorer.transformer import Blocks, Transformer

USERS, ITEMS = 5, 7
ABILITIES = (ItemVectors, VectorScorer, TakesItems)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def examples() -> dict[str, Any]:
    factors = Factors(normal(USERS, 3), normal(ITEMS, 3, seed=1), "euclidean", normal(ITEMS))
    history = sp.csr_matrix(np.eye(USERS, ITEMS, dtype=np.float32))
    product = Product((history, normal(ITEMS, ITEMS)), "history")
    user, item = normal(USERS, 4), normal(ITEMS, 4, seed=2)
    return {
        "factors": factors,
        "multi-factors": MultiFactors(normal(USERS, 2, 3), normal(ITEMS, 3), "cosine"),
        "asked-items": AskedItems(normal(ITEMS, 3), normal(ITEMS, 3, seed=1), stored()),
        "product": product,
        "relational": Relational(user, item, normal(4, 2), normal(2, 4)),
        "deep": Deep(user, item, user, item, (), normal(4), torch.zeros(())),
        "sequence-encoder": sequence_encoder(),
        "chain-factors": ChainFactors(user, normal(ITEMS, 4), normal(ITEMS, 8), stored()),
        "transitions": transitions(),
        "session-neighbours": session_neighbours(),
        "sum": Sum((factors, product), (1.0, 0.5)),
        "blend": Blend((factors, product), (1.0, 0.5)),
        "fallback": Fallback(product, factors, torch.ones(ITEMS, dtype=torch.bool)),
    }


def sequence_encoder() -> SequenceEncoder:
    """Return an encoder whose one block has random matrices."""
    shapes = {"read": (9, 3), "write": (3, 3), "inner": (3, 3), "outer": (3, 3)}
    weights = {f"0.{name}.weight": normal(*shape) for name, shape in shapes.items()}
    weights |= {f"0.{name}.bias": normal(shape[0]) for name, shape in shapes.items()}
    for norm in ("0.norm1", "0.norm2", "norm"):
        weights |= {f"{norm}.weight": torch.ones(3), f"{norm}.bias": normal(3)}
    network = Transformer(normal(ITEMS, 3), normal(4, 3), weights, Blocks(1, 1, "pre-norm"))
    return SequenceEncoder(network, stored())


def stored() -> StoredHistories:
    return StoredHistories(Histories.of_lists([[1, 2], [3], [4, 5, 6], [0, 0], []]), 3)


def transitions() -> Transitions:
    chance = sp.csr_matrix(np.eye(ITEMS, k=1, dtype=np.float32))
    part = np.full(ITEMS, 0.5, dtype=np.float32)
    return Transitions(chance, part, part, stored(), 0.5)


def session_neighbours() -> SessionNeighbours:
    sessions = PastSessions.of(Histories.of_lists([[1, 2, 3], [3, 4], [0, 5]]), ITEMS)
    return SessionNeighbours(sessions, stored(), SessionSimilarity(), 2, 3)


HAVE: dict[str, set[Any]] = {
    "factors": {ItemVectors, VectorScorer, TakesItems},
    "multi-factors": {ItemVectors, VectorScorer},
    "asked-items": set(),
    "product": {TakesItems},
    "relational": {ItemVectors},
    "deep": {ItemVectors},
    "sequence-encoder": {ItemVectors},
    "chain-factors": {ItemVectors},
    "transitions": set(),
    "session-neighbours": set(),
    "sum": {TakesItems},
    "blend": {TakesItems},
    "fallback": {TakesItems},
}


def test_every_kind_is_here() -> None:
    assert set(examples()) == set(HAVE) == set(KINDS)
    assert all(scorer.kind == kind for kind, scorer in examples().items())
    assert all(isinstance(scorer, Scorer) for scorer in examples().values())


@pytest.mark.parametrize("kind", HAVE)
def test_abilities_of_each_kind(kind: str) -> None:
    scorer = examples()[kind]
    assert {ability for ability in ABILITIES if isinstance(scorer, ability)} == HAVE[kind]
    for ability in ABILITIES:
        if ability in HAVE[kind]:
            assert require(scorer, ability, "do this") is scorer
            continue
        with pytest.raises(InputError, match=f"^cannot do this: this '{kind}' scorer ") as caught:
            require(scorer, ability, "do this")
        assert caught.value.remedy is not None
        assert caught.value.remedy.startswith("use ")


def test_the_remedy_names_methods_that_exist() -> None:
    methods = {
        module.name
        for module in pkgutil.iter_modules(importlib.import_module("recsys.models").__path__)
    }
    deep = examples()["deep"]
    for ask in (
        lambda: require(deep, TakesItems, "do this"),
        lambda: answered_by(deep, Queries.of_items([0]), "do this"),
    ):
        with pytest.raises(InputError) as caught:
            ask()
        words = (caught.value.remedy or "").replace(",", " ").split()
        listed = [word for word in words if word in methods]
        assert len(listed) >= 6, listed


def test_an_ability_that_depends_on_values_has_the_same_error() -> None:
    """The class of the scorer has the methods, but this value lacks an encoder or weights."""
    scorer = examples()["factors"]
    for call, purpose in (
        (scorer.reads, "rank new items"),
        (lambda: scorer.with_items({}), "rank new items"),
        (lambda: scorer.score(Queries.of_items([0])), "answer a history"),
    ):
        with pytest.raises(InputError, match=f"^cannot {purpose}: this 'factors' scorer "):
            call()


@pytest.mark.parametrize("kind", HAVE)
def test_the_plan_gives_the_scores(kind: str) -> None:
    scorer = examples()[kind]
    plan, scores = scorer.plan(), scorer.score(asked(torch.arange(USERS)))
    if isinstance(plan, Dot):
        query, term = plan.encode(asked(torch.arange(USERS)))
        expected = query @ plan.key.T
        expected = expected if term is None else expected + term[:, None]
    elif isinstance(plan, NearestOf):
        query = plan.encode(asked(torch.arange(USERS)))
        expected = torch.einsum("ucd,id->uci", query, plan.key).amax(1)
    else:
        assert isinstance(plan, Dense)
        expected = scores
    torch.testing.assert_close(scores, expected)
    plans = {"factors": Dot, "multi-factors": NearestOf, "sequence-encoder": Dot}
    plans |= {"chain-factors": Dot, "asked-items": Dot}
    expected_plan = plans.get(kind, Dense)
    assert type(plan) is expected_plan


def test_the_plan_of_equal_users_is_one_order() -> None:
    popular = Product((torch.ones(USERS, 1), normal(1, ITEMS)), "ones")
    plan, scores = popular.plan(), popular.score(asked(torch.arange(USERS)))
    assert isinstance(plan, OneOrder)
    assert torch.equal(plan.scores, scores[0])
    assert torch.equal(scores, scores[:1].expand(USERS, ITEMS))


def test_a_sum_answers_a_history_by_its_parts() -> None:
    scorer = examples()["product"]
    total = Sum((scorer, scorer), (1.0, 2.0))
    queries = Queries.of_items([1, 2])
    torch.testing.assert_close(total.score(queries), 3 * scorer.score(queries))


def test_the_modules_of_scorers_import_each_other_in_one_direction() -> None:
    """No circle, and none hidden by an import inside a function or for type checkers alone."""
    imports: dict[str, set[str]] = {}
    for path in Path(recsys.scorer.__file__).parent.glob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        names = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
        imports[path.stem] = {
            name.removeprefix("recsys.scorer").lstrip(".") or "__init__"
            for name in names
            if name.startswith("recsys.scorer")
        }
    order = list(graphlib.TopologicalSorter(imports).static_order())  # raises on a circle
    assert order.index("base") < order.index("blend") < order.index("registry")
    assert order[-1] == "__init__"
