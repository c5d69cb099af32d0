"""Histories: answered as if their user had been in training, or refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
import torch
from asking import asked, asked_by
from planted import two_camps

from recsys.data.histories import Histories
from recsys.data.query import Queries
from recsys.data.types import Dataset, Interactions, Vocab
from recsys.errors import InputError
from recsys.models.contentknn import ContentKNN
from recsys.models.ease import EASE
from recsys.models.gfcf import GFCF
from recsys.models.ials import IALS
from recsys.models.itemknn import ItemKNN
from recsys.models.popular import Popular
from recsys.models.userknn import UserKNN
from recsys.scorer import (
    Blend,
    Deep,
    Factors,
    Fallback,
    MultiFactors,
    Product,
    Relational,
    Sum,
)
from recsys.serving import Request, recommend
from recsys.tensors import load_scorer, save_scorer

TRAIN = two_camps(users=60)[0]
EXACT: dict[str, Any] = {
    "itemknn": ItemKNN(k=10),
    "ease": EASE(l2=5.0),
    "ease, sparse": EASE(l2=5.0, keep=6),
    "gfcf": GFCF(rank=4),
    "gfcf, linear": GFCF(low_pass=0.0),
    "contentknn": ContentKNN(k=5),
    "popular": Popular(),
}


def scores(scorer: Any) -> torch.Tensor:
    return scorer.score(asked(torch.arange(scorer.n_users)))


def saved(scorer: Any, folder: Path) -> Any:
    save_scorer(folder / "scorer.safetensors", scorer)
    return load_scorer(folder / "scorer.safetensors")[0]


@pytest.mark.parametrize("name", list(EXACT))
def test_a_training_user_is_served_as_in_training(name: str, tmp_path: Path) -> None:
    """Their history, in another order and among others, gives their scores to the bit."""
    scorer = saved(EXACT[name].build(TRAIN), tmp_path)
    rows = np.array([7, 0, 60, 33])  # 60 has met nothing
    by_history = scorer.score(asked_by(TRAIN.pairs.csr[rows]))
    assert torch.equal(by_history, scores(scorer)[rows])
    alone = [scorer.score(asked_by(TRAIN.pairs.csr[[row]])) for row in rows]
    # A product of dense matrices rounds otherwise for one row than for several.
    torch.testing.assert_close(torch.cat(alone), by_history, rtol=1e-6, atol=1e-6)


def test_a_blend_of_methods_that_can() -> None:
    blend = Blend((ItemKNN(k=10).build(TRAIN), EASE(l2=5.0).build(TRAIN)), (1.0, 0.5))
    assert torch.equal(blend.score(asked_by(TRAIN.pairs.csr[[4, 9]])), scores(blend)[[4, 9]])


def test_a_joined_scorer_says_which_part_cannot() -> None:
    able, unable = (
        ItemKNN(k=10).build(TRAIN),
        Factors(torch.ones(TRAIN.n_users, 2), torch.ones(TRAIN.n_items, 2)),
    )
    queries = asked_by(TRAIN.pairs.csr[:3])
    for scorer, part in (
        (Blend((able, unable), (1.0, 0.5)), "second part of this blend"),
        (Sum((unable, able), (1.0, 0.5)), "first part of this sum"),
        (Fallback.of(able, unable, TRAIN.pairs), "second part of this fallback"),
        (
            Blend((able, Blend((able, able, unable), (1.0, 1.0, 1.0))), (1.0, 1.0)),
            "second part of this blend",
        ),
    ):
        with pytest.raises(
            InputError, match=rf"the {part}: cannot answer a history: this '\w+' scorer has"
        ):
            scorer.score(queries)


def test_how_often_a_pair_is_there_does_not_count() -> None:
    scorer = ItemKNN(k=10).build(TRAIN)
    mine = TRAIN.pairs.csr[5].indices.tolist()
    twice = Queries.of_histories(Histories.of_lists([mine[::-1] + mine]))
    assert torch.equal(scorer.score(twice), scores(scorer)[5:6])


def test_a_history_that_nobody_has_is_a_sum_of_its_items() -> None:
    """Item neighbours are linear: the items one at a time, added up."""
    scorer = ItemKNN(k=10).build(TRAIN)
    one_each = scorer.score(Queries.of_items([1, 4, 6]))
    together = scorer.score(Queries.of_histories(Histories.of_lists([[6, 1, 4]])))
    torch.testing.assert_close(together, one_each.sum(0, keepdim=True))


def test_ials_solves_the_row_that_training_solves(tmp_path: Path) -> None:
    """At convergence both are the same; before, the solved row is the best for the given items."""
    recipe = IALS(dim=4, sweeps=300, l2=0.01, unobserved=0.2)
    scorer = saved(recipe.build(TRAIN), tmp_path)
    queries = asked_by(TRAIN.pairs.csr[:10])
    torch.testing.assert_close(scorer.score(queries), scores(scorer)[:10], rtol=1e-3, atol=1e-3)
    # One row by the normal equations: (H_u'H_u + a0 H'H + r I) w = H_u'1.
    item, mine = scorer.item.double(), TRAIN.pairs.csr[3].indices
    own = item[mine]
    ridge = 0.01 * (len(mine) + 0.2 * TRAIN.n_items)
    system = own.T @ own + 0.2 * item.T @ item + ridge * torch.eye(4, dtype=torch.float64)
    solved, _ = scorer.plan().encode(queries)
    torch.testing.assert_close(
        solved[3].double(), torch.linalg.solve(system, own.sum(0)), rtol=1e-4, atol=1e-5
    )
    assert not solved[3].eq(0).all()


def test_a_solved_row_does_not_depend_on_the_others() -> None:
    """In any block and any order, although rows are solved several at a time."""
    generator = np.random.default_rng(0)
    dense = generator.random((80, TRAIN.n_items)) < generator.random((80, 1))
    encode = IALS(dim=16, sweeps=2).build(TRAIN).plan().encode
    whole = encode(asked_by(dense))[0]
    order = generator.permutation(80)
    torch.testing.assert_close(encode(asked_by(dense[order]))[0], whole[order])
    for size in (1, 7):
        parts = [encode(asked_by(dense[i : i + size]))[0] for i in range(0, 80, size)]
        torch.testing.assert_close(torch.cat(parts), whole)


def by_user_neighbours(train: Dataset, history: list[int], recipe: UserKNN) -> np.ndarray:
    """Return the scores of a history, compared with one user of training after the other."""
    x = train.pairs.csr.toarray().astype(np.float64)
    n, count, length = len(x), x.sum(0), x.sum(1)

    def weight(item: int, entries: float) -> float:
        value = max(count[item], 1) ** (-recipe.item_power / 2)
        if recipe.weighting != "cosine":
            value *= np.log(1 + n / (1 + count[item]))
        if recipe.weighting == "bm25":
            share = 1 - recipe.b + recipe.b * entries / length.mean()
            value *= (recipe.k1 + 1) / (1 + recipe.k1 * share)
        return float(value)

    similar = []
    for user in range(n):
        dot = sum(weight(i, len(history)) * weight(i, length[user]) for i in history if x[user, i])
        scale = (
            max(len(history), 1) ** recipe.own_power
            * max(length[user], 1) ** recipe.neighbour_power
        )
        similar.append(dot / (scale + recipe.shrink))
    scores = np.zeros(train.n_items)
    for user in np.argsort(similar)[::-1][: recipe.k]:
        scores += similar[user] * x[user]
    return np.asarray(scores * np.maximum(count, 1) ** -recipe.target_power)


@pytest.mark.parametrize(
    "recipe",
    [
        UserKNN(k=7),
        UserKNN(k=1000),
        UserKNN(k=5, weighting="tfidf", item_power=0.8, own_power=0.4, shrink=0.5),
        UserKNN(k=5, weighting="bm25", b=0.6, neighbour_power=0.7, target_power=0.3),
    ],
    ids=["cosine", "all", "tfidf", "bm25"],
)
def test_user_neighbours_of_a_history_are_those_of_a_loop(recipe: UserKNN, tmp_path: Path) -> None:
    """One that no user has, one of a user of training, and one of an item without users."""
    rng = np.random.default_rng(3)
    user, item = np.nonzero(rng.random((40, 300)) < rng.uniform(0.05, 0.3, (40, 1)))
    train = Dataset(
        Interactions(user, item, 40, 301), Vocab.range(40, "user"), Vocab.range(301, "item")
    )
    scorer = saved(recipe.build(train), tmp_path)
    drawn = rng.permutation(300)[:17].tolist()
    lists = [drawn, train.pairs.csr[6].indices.tolist(), [300], [], [4]]
    scores = scorer.score(Queries.of_histories(Histories.of_lists(lists))).numpy()
    for own, row in zip(lists, scores, strict=True):
        expected = by_user_neighbours(train, own, recipe)
        np.testing.assert_allclose(row, expected, rtol=1e-5, atol=1e-6)
    assert not scores[2:4].any()
    assert scores[0].any()


def refused() -> dict[str, Any]:
    user, item = torch.ones(2, 3), torch.ones(4, 3)
    return {
        "factors": Factors(user, item),
        "multi-factors": MultiFactors(torch.ones(2, 2, 3), item),
        "relational": Relational(user, item, torch.ones(3, 5), torch.ones(5, 3)),
        "deep": Deep(user, item, user, item, (), torch.ones(3), torch.zeros(())),
        "product": Product((torch.ones(2, 2), torch.ones(2, 4))),
    }


@pytest.mark.parametrize("kind", list(refused()))
def test_what_learned_its_users_says_so(kind: str) -> None:
    scorer = refused()[kind]
    assert scorer.answers == {"user"}
    with pytest.raises(
        InputError, match=rf"cannot answer a history: this '{kind}' scorer has a learned"
    ) as caught:
        scorer.score(Queries.of_items([0]))
    assert "use itemknn, ease, gfcf, ials" in str(caught.value)


def test_with_both_at_hand_the_history_is_read_where_it_can_be() -> None:
    knn, factors = ItemKNN(k=10).build(TRAIN), Factors(torch.ones(61, 2), torch.ones(41, 2))
    both = Queries(user=np.array([5, 6]), history=Histories.of_lists([[1], [2, 3]]))
    assert torch.equal(knn.score(both), knn.score(Queries(history=both.history)))
    assert torch.equal(factors.score(both), factors.score(Queries.of_users([5, 6])))
    assert torch.isfinite(Sum((knn, factors), (1.0, 1.0)).score(both)).all()


def test_a_product_says_what_its_first_matrix_is() -> None:
    """The same matrices, but without first = "history": it is not guessed from their shapes."""
    square = sp.csr_matrix(np.eye(4, dtype=np.float32))
    with pytest.raises(InputError, match="cannot answer a history"):
        Product((square, square)).score(asked_by(square))
    assert Product((square, square), "history").score(asked_by(square[:2])).shape == (2, 4)


def test_user_neighbours_need_the_histories_of_users() -> None:
    similar = UserKNN().build(TRAIN).similar
    square = sp.csr_matrix(np.eye(4, dtype=np.float32))
    for matrices, first in (
        ((square, square), "history"),
        ((square, square, square), "users"),
        ((square, torch.eye(4)), "users"),
    ):
        with pytest.raises(ValueError, match="similar needs"):
            Product(matrices, first, similar=similar)


def test_new_users_with_outside_ids(tmp_path: Path) -> None:
    train = Dataset(
        TRAIN.pairs,
        Vocab.range(61, "user"),
        Vocab(pl.Series([f"i{i:02d}" for i in range(41)]), "item"),
    )
    scorer = ItemKNN(k=10).build(train)
    mine = TRAIN.pairs.csr[5].indices
    log = pl.DataFrame(
        {"user": ["zoe"] * len(mine) + ["5"], "item": [f"i{i:02d}" for i in mine] + ["i00"]}
    )
    log.write_csv(tmp_path / "log.csv")
    for source in (tmp_path / "log.csv", log):
        frame = recommend(scorer, train, Request(k=5, histories=source))
        zoe = frame.filter(pl.col("user") == "zoe")
        assert (
            zoe["item"].to_list() == recommend(scorer, train, Request([5], k=5))["item"].to_list()
        )
        assert not set(zoe["item"]) & {f"i{i:02d}" for i in mine}
        assert set(frame["user"]) == {"zoe", "5"}  # known before, but served by this log alone
        assert "i00" not in frame.filter(pl.col("user") == "5")["item"].to_list()
        assert set(frame["source"]) == {"model"}
    strange = pl.DataFrame({"user": ["zoe", "zoe"], "item": ["i98", "i99"]})
    with pytest.raises(InputError, match="history 'zoe' holds no known item"):
        recommend(scorer, train, Request(histories=strange, unknown="error"))
    with pytest.raises(InputError, match=r"nothing\.csv: no such file"):
        recommend(scorer, train, Request(histories=tmp_path / "nothing.csv"))
