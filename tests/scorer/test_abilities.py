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

import recsys.scorer
from recsys.errors import InputError
from recsys.scorer import (
    KINDS,
    BestOfSeveral,
    Blend,
    Blocks,
    Deep,
    Factors,
    Fallback,
    FoldsIn,
    Gemm,
    ItemVectors,
    MultiFactors,
    OneOrder,
    Product,
    Relational,
    Scorer,
    Sum,
    TakesItems,
    VectorScorer,
    require,
)

USERS, ITEMS = 5, 7
ABILITIES = (ItemVectors, VectorScorer, FoldsIn, TakesItems)


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
        "product": product,
        "relational": Relational(user, item, normal(4, 2), normal(2, 4)),
        "deep": Deep(user, item, user, item, (), normal(4), torch.zeros(())),
        "sum": Sum((factors, product), (1.0, 0.5)),
        "blend": Blend((factors, product), (1.0, 0.5)),
        "fallback": Fallback(product, factors, torch.ones(ITEMS, dtype=torch.bool)),
    }


HAVE: dict[str, set[Any]] = {
    "factors": {ItemVectors, VectorScorer, FoldsIn, TakesItems},
    "multi-factors": {ItemVectors, VectorScorer},
    "product": {FoldsIn, TakesItems},
    "relational": {ItemVectors},
    "deep": {ItemVectors},
    "sum": {FoldsIn, TakesItems},
    "blend": {FoldsIn, TakesItems},
    "fallback": {FoldsIn, TakesItems},
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
    for ability in (FoldsIn, TakesItems):
        with pytest.raises(InputError) as caught:
            require(examples()["deep"], ability, "do this")
        words = (caught.value.remedy or "").replace(",", " ").split()
        listed = [word for word in words if word in methods]
        assert len(listed) >= 6, listed


def test_an_ability_that_depends_on_values_has_the_same_error() -> None:
    """The class of the scorer has the methods, but this value lacks an encoder or weights."""
    scorer = examples()["factors"]
    for call, purpose in (
        (scorer.reads, "rank new items"),
        (lambda: scorer.with_items({}), "rank new items"),
        (lambda: scorer.fold_in(sp.csr_matrix((1, ITEMS))), "serve new users"),
    ):
        with pytest.raises(InputError, match=f"^cannot {purpose}: this 'factors' scorer "):
            call()


@pytest.mark.parametrize("kind", HAVE)
def test_the_plan_gives_the_scores(kind: str) -> None:
    scorer = examples()[kind]
    plan, scores = scorer.plan(), scorer.score(torch.arange(USERS))
    if isinstance(plan, Gemm):
        expected = plan.query @ plan.key.T
        expected = expected if plan.term is None else expected + plan.term[:, None]
    elif isinstance(plan, BestOfSeveral):
        expected = torch.einsum("ucd,id->uci", plan.query, plan.key).amax(1)
    else:
        assert isinstance(plan, Blocks)
        expected = scores
    torch.testing.assert_close(scores, expected)
    expected_plan = {"factors": Gemm, "multi-factors": BestOfSeveral}.get(kind, Blocks)
    assert type(plan) is expected_plan


def test_the_plan_of_equal_users_is_one_order() -> None:
    popular = Product((torch.ones(USERS, 1), normal(1, ITEMS)), "ones")
    assert popular.plan() == OneOrder()
    scores = popular.score(torch.arange(USERS))
    assert torch.equal(scores, scores[:1].expand(USERS, ITEMS))


def test_a_sum_folds_in_its_parts() -> None:
    scorer = examples()["product"]
    total = Sum((scorer, scorer), (1.0, 2.0))
    histories = sp.csr_matrix(np.eye(2, ITEMS, k=1, dtype=np.float32))
    rows = torch.arange(2)
    torch.testing.assert_close(
        total.fold_in(histories).score(rows), 3 * scorer.fold_in(histories).score(rows)
    )


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
