"""Dual embeddings: planted complements, the optimum of the loss, direction, and borrowed lists."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from clicks import clicks

from recsys.data.query import Queries
from recsys.data.types import Dataset, FeatureTable
from recsys.errors import InputError
from recsys.models.copurchase import CoPurchase
from recsys.models.dual import Dual, alike, borrowed, categories, training_pairs
from recsys.nn.item_pairs import baskets_of, pair_counts
from recsys.scorer.item_vectors import AskedItems
from recsys.training.loop import Train, fit

PLAIN: dict[str, Any] = {"least": 1, "min_pmi": None, "largest": 1.0, "subsample": 1.0}
# Items 0 and 1 are substitutes with the complements 2 and 3; 4 and 5 with 6 and 7; 8 is new.
PLANTED = [[0, 2], [0, 3], [1, 2], [1, 3], [4, 6], [4, 7], [5, 6], [5, 7]] * 12


def trained(data: Dataset, epochs: int = 60, lr: float = 0.05, **settings: Any) -> AskedItems:
    recipe = Dual(**(PLAIN | {"dim": 8, "negatives": 5} | settings))
    config = Train(epochs=epochs, lr=lr, batch_size=8, device="cpu")
    scorer = fit(recipe, data, None, config).scorer
    assert isinstance(scorer, AskedItems)
    return scorer


def scores(scorer: Any, items: list[int]) -> np.ndarray:
    return scorer.score(Queries.of_items(np.array(items))).numpy()


def with_text(data: Dataset, values: np.ndarray) -> Dataset:
    table = FeatureTable(values.astype(np.float32), np.ones(len(values), dtype=bool))
    return replace(data, features={"text": table})


def test_in_out_ranks_complements_and_in_in_substitutes() -> None:
    data = clicks(PLANTED, 8)
    both = scores(trained(data), list(range(8)))
    alone = scores(trained(data, rank="in-in"), list(range(8)))
    for first in (0, 4):
        for item in (first, first + 1):
            assert set(np.argsort(-both[item])[:2]) == {first + 2, first + 3}
            other = 2 * first + 1 - item
            assert np.argsort(-alone[item])[:2].tolist() == [item, other]
    counts = scores(CoPurchase().build(data), [0])
    assert set(np.argsort(-counts[0])[:2]) == {2, 3}


def test_the_optimum_is_pmi_less_log_k() -> None:
    """Of baskets of two, P(c) = n_c / sum n is the share of the contexts: Levy, Goldberg 2014."""
    lists = [[0, 1]] * 6 + [[0, 2]] * 3 + [[1, 2]] * 4 + [[2, 3]] * 5 + [[0, 3]] * 2
    data = clicks(lists, 4)
    k = 5
    recipe = Dual(**PLAIN, dim=6, negatives=k, exponent=1.0, init_std=0.5)
    torch.manual_seed(0)
    network = recipe.build(data)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    for epoch in range(1500):
        if epoch == 900:
            optimizer.param_groups[0]["lr"] = 0.002
        for batch in network.stream.open(data, batch_size=100, seed=0).epoch(epoch):
            optimizer.zero_grad()
            network.loss(batch).total().backward()
            optimizer.step()
    first, second = (table.weight.detach().numpy() for table in (network.first, network.second))  # type: ignore[union-attr]
    pairs = pair_counts(baskets_of(data.log, data.log.histories, 4))
    total = pairs.count.sum()
    of = np.bincount(pairs.first, pairs.count, minlength=4)
    for a, b, count in zip(pairs.first, pairs.second, pairs.count, strict=True):
        expected = math.log(count * total / (of[a] * of[b])) - math.log(k)
        assert abs(float(first[a] @ second[b]) - expected) < 0.15


def test_direction_matters() -> None:
    rng = np.random.default_rng(0)
    lists = [rng.permutation(12)[: rng.integers(2, 5)].tolist() for _ in range(80)]
    data = clicks(lists, 12)
    forward, backward = (
        scores(trained(data, epochs=5, rank=rank), list(range(12))) for rank in ("in-out", "out-in")
    )
    assert np.allclose(forward, backward.T, atol=1e-5)  # the same table of inner products
    assert not np.array_equal(forward.argsort(1), backward.argsort(1))


def test_an_item_without_a_pair_borrows_the_list_of_the_most_similar() -> None:
    values = np.eye(9)
    values[8] = 0.9 * values[0] + 0.1 * values[5]
    data = with_text(clicks(PLANTED, 9), values)
    plain = trained(data)
    asked = trained(data, augment="ask", similarity="text")
    assert not scores(plain, [8]).any()
    assert not plain.places.items
    assert asked.places.items
    lists = scores(asked, [0, 8])
    assert np.array_equal(lists[0], lists[1])
    assert np.array_equal(scores(plain, [0, 4]), scores(asked, [0, 4]))
    assert not asked.answer[8].any()  # it lends no answer
    far = with_text(clicks(PLANTED, 9), np.eye(9))
    assert not scores(trained(far, augment="ask", similarity="text"), [8]).any()
    assert borrowed(data.features["text"], np.arange(9) < 8, 0.5)[8] == 0
    assert borrowed(data.features["text"], np.arange(9) < 8, 0.999)[8] == 8


def test_synthetic_pairs_reach_an_item_that_was_never_bought() -> None:
    values = np.eye(9)
    values[8] = values[0]
    data = with_text(clicks(PLANTED, 9), values)
    recipe = Dual(**PLAIN, augment="train", similarity="text", gamma=0.5)
    held = baskets_of(data.log, data.log.histories, 9)
    pairs = training_pairs(recipe, data, held)
    made = {
        (int(a), int(b)): count
        for a, b, count in zip(pairs.first, pairs.second, pairs.count, strict=True)
        if 8 in (a, b)
    }
    assert made == {(8, 2): 6, (2, 8): 6, (8, 3): 6, (3, 8): 6}
    lists = scores(trained(data, augment="train", similarity="text"), [2, 8])
    lists[[0, 1], [2, 8]] = -np.inf  # a query is not in its own list
    assert set(np.argsort(-lists[1])[:2]) == {2, 3}
    assert 8 in np.argsort(-lists[0])[:3]


def test_a_taxonomy_removes_pairs_of_one_category() -> None:
    values = np.array([0, 1, 2, 0, 4, 5, 6, 7])[:, None]  # items 0 and 3 are one category
    data = with_text(clicks(PLANTED, 8), values)
    recipe = Dual(**PLAIN, taxonomy="text")
    pairs = training_pairs(recipe, data, baskets_of(data.log, data.log.histories, 8))
    assert (0, 3) not in set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    assert len(pairs) == 14
    assert categories(data.features["text"]).tolist() == [0, 1, 2, 0, 3, 4, 5, 6]


def test_alike_is_the_cosine_of_the_nearest() -> None:
    values = np.random.default_rng(1).normal(size=(12, 3))
    table = FeatureTable(values.astype(np.float32), np.arange(12) != 4)
    similar = alike(table, 2, 0.3).toarray()
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    unit[4] = 0
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -1)
    for row in range(12):
        best = [item for item in np.argsort(-cosine[row])[:2] if cosine[row, item] >= 0.3]
        assert set(np.flatnonzero(similar[row])) == set(best)
        assert np.allclose(similar[row, best], cosine[row, best], atol=1e-6)
    assert not similar[4].any()


def test_co_purchases_against_a_loop() -> None:
    lists = [[0, 1, 2], [0, 1], [2, 1], [0]]
    data = clicks(lists, 3)
    count = np.zeros((3, 3))
    for basket in lists:
        for a in basket:
            for b in basket:
                count[a, b] += a != b
    assert np.allclose(scores(CoPurchase(weighting="count").build(data), [0, 1, 2]), count)
    share = count / np.array([3, 3, 2])[:, None]
    assert np.allclose(scores(CoPurchase().build(data), [0, 1, 2]), share)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"category_pmi": 0.0}, "category_pmi has no effect without taxonomy"),
        ({"augment": "ask"}, "augment and similarity need each other"),
        ({"similarity": "text"}, "augment and similarity need each other"),
    ],
)
def test_settings_that_do_not_fit(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Dual(**settings)


def test_data_that_do_not_fit() -> None:
    with pytest.raises(InputError, match="no pair of items is left"):
        Dual().build(clicks([[0], [1]], 2))
    with pytest.raises(InputError, match="no feature table 'text'"):
        Dual(**PLAIN, augment="ask", similarity="text").build(clicks(PLANTED, 8))
