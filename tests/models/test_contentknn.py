"""Content neighbours against loops over items and modalities; missing modalities; new items."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
import torch
from asking import asked, asked_by, top_k
from planted import two_camps

from recsys.data.splitting.splits import SplitRule, split
from recsys.data.types import Dataset, FeatureTable, Interactions, Vocab
from recsys.errors import InputError
from recsys.models.contentknn import ContentKNN
from recsys.nn.feature_layers import warm_items
from recsys.scorer import Product, from_state
from recsys.scorer.feature_neighbours import Aspect, nearest_among
from recsys.serving.cold_start import add_items
from recsys.tensors import load_scorer, save_scorer

USERS, ITEMS = 8, 13


def data(seed: int = 0, gaps: bool = True) -> Dataset:
    """The last three items are new; `b` is often missing, and item 4 has no features at all."""
    rng = np.random.default_rng(seed)
    met = rng.random((USERS, ITEMS)) < 0.4
    met[:, 10:] = False
    user, item = np.nonzero(met)
    there = rng.random(ITEMS) < 0.6 if gaps else np.ones(ITEMS, dtype=bool)
    all_there = np.ones(ITEMS, dtype=bool)
    if gaps:
        there[4] = all_there[4] = False
    features = {
        "a": FeatureTable(rng.normal(1, 1, (ITEMS, 4)).astype(np.float32), all_there),
        "b": FeatureTable(rng.random((ITEMS, 3)).astype(np.float32), there),
    }
    return Dataset(
        Interactions(user, item, USERS, ITEMS),
        Vocab.range(USERS, "user"),
        Vocab.range(ITEMS, "item"),
        features,
    )


def naive(train: Dataset, recipe: ContentKNN) -> np.ndarray:
    warm, met = warm_items(train), train.pairs.csr.toarray()
    shares = recipe.shares or (1.0,) * len(train.features)
    tables = []
    for table in train.features.values():
        known = table.present & warm
        tables.append(
            table.values.astype(np.float64)
            - (table.values[known].astype(np.float64).mean(0) if recipe.centre else 0)
        )
    scores = np.zeros((USERS, ITEMS))
    for j in range(ITEMS):
        found = []
        for i in np.flatnonzero(warm):
            parts = [
                (
                    share,
                    table[i] @ table[j] / np.sqrt((table[i] @ table[i]) * (table[j] @ table[j])),
                )
                for share, table, own in zip(shares, tables, train.features.values(), strict=True)
                if own.present[i] and own.present[j]
            ]
            if parts and i != j:
                found.append((sum(w * c for w, c in parts) / sum(w for w, _ in parts), i))
        for similarity, i in sorted(found, key=lambda pair: (-pair[0], pair[1]))[: recipe.k]:
            if similarity > 0:
                scores[:, j] += similarity * met[:, i]
    return scores


@pytest.mark.parametrize("gaps", [True, False])
@pytest.mark.parametrize(
    "recipe",
    [
        ContentKNN(k=3),
        ContentKNN(k=99),
        ContentKNN(k=4, centre=False),
        ContentKNN(k=3, shares=(0.2, 0.9)),
    ],
)
def test_scores_are_their_definition(recipe, gaps):
    train = data(gaps=gaps)
    scores = recipe.build(train).score(asked(torch.arange(USERS))).numpy()
    assert np.allclose(scores, naive(train, recipe), atol=1e-5)
    assert scores[:, 10:].any(), "new items are scored"
    if gaps:
        assert not scores[:, 4].any(), "nothing is known of it"


@pytest.mark.parametrize("block", [1, 4, None])
def test_blocks_change_nothing(block):
    rng = np.random.default_rng(3)
    vectors = torch.nn.functional.normalize(
        torch.from_numpy(rng.normal(size=(ITEMS, 4)).astype(np.float32))
    )
    among, place = torch.tensor([0, 2, 3, 7, 12]), torch.full((ITEMS,), -1)
    place[among] = torch.arange(5)
    found, whole = (
        nearest_among(
            vectors, torch.ones(ITEMS, 1), vectors[among], torch.ones(5, 1), place, 2, block=size
        )
        for size in (block, 99)
    )
    assert isinstance(found, sp.csr_matrix)
    assert found.shape == (ITEMS, 5)
    assert np.array_equal(found.indices, whole.indices)
    assert np.allclose(found.data, whole.data, atol=1e-6)
    assert not found[among.numpy()].diagonal().any()
    assert np.diff(found.indptr).max() == 2


def test_of_equals_the_lower_row_is_taken():
    vectors, place = torch.ones(5, 1), torch.tensor([0, 1, 2, 3, -1])
    found = nearest_among(
        vectors, torch.ones(5, 1), vectors[:4], torch.ones(4, 1), place, 2
    ).toarray()
    assert [np.flatnonzero(row).tolist() for row in found] == [
        [1, 2],
        [0, 2],
        [0, 1],
        [0, 1],
        [0, 1],
    ]
    assert nearest_among(
        vectors, torch.ones(5, 1), vectors[:0], torch.ones(0, 1), torch.full((5,), -1), 2
    ).shape == (5, 0)
    assert nearest_among(
        vectors[:0],
        torch.ones(0, 1),
        vectors,
        torch.ones(5, 1),
        torch.empty(0, dtype=torch.int64),
        2,
    ).shape == (0, 5)


def test_features_of_new_items_change_no_other_score():
    train = data()
    changed = {
        name: FeatureTable(table.values.copy(), table.present)
        for name, table in train.features.items()
    }
    for table in changed.values():
        table.values[10:] = 50
    one, other = (
        ContentKNN(k=3).build(part).score(asked(torch.arange(USERS)))
        for part in (train, replace(train, features=changed))
    )
    assert torch.equal(one[:, :10], other[:, :10])
    assert not torch.equal(one[:, 10:], other[:, 10:])


def test_what_stands_where_a_modality_is_missing_is_not_read():
    train = data()
    changed = {
        name: FeatureTable(
            np.where(table.present[:, None], table.values, np.float32(9)), table.present
        )
        for name, table in train.features.items()
    }
    one, other = (
        ContentKNN(k=3).build(part).score(asked(torch.arange(USERS)))
        for part in (train, replace(train, features=changed))
    )
    assert torch.equal(one, other)


def test_it_beats_popularity_for_new_items():
    parts = split(two_camps(users=120)[0], SplitRule(by="new-item"))
    new = np.flatnonzero(~warm_items(parts.train))
    lists = top_k(ContentKNN().build(parts.train), np.arange(120), 2, candidates=new).item
    assert (lists % 2 == np.arange(120)[:, None] % 2).mean() > 0.95, (
        "popularity knows nothing of them: about a half"
    )


def test_settings_that_do_not_fit():
    with pytest.raises(InputError, match="shares has 3 numbers for 2 modalities: a, b"):
        ContentKNN(shares=(1.0, 1.0, 1.0)).build(data())
    with pytest.raises(InputError, match="shares are all 0, so no modality counts"):
        ContentKNN(shares=(0.0, 0.0)).build(data())
    with pytest.raises(InputError, match="needs item features, but the data have none"):
        ContentKNN().build(replace(data(), features={}))


# Items that come after training.


def before(train: Dataset) -> Dataset:
    """The same data when the last three items did not exist."""
    features = {
        name: FeatureTable(table.values[:10], table.present[:10])
        for name, table in train.features.items()
    }
    return replace(
        train,
        pairs=replace(train.pairs, n_items=10),
        items=Vocab.range(10, "item"),
        features=features,
    )


def later(train: Dataset) -> tuple[pl.Series, dict[str, FeatureTable]]:
    """Return the ids of the last three items and the features of their known modalities."""
    tables = {
        name: FeatureTable(
            np.where(table.present[:, None], table.values, np.nan)[10:], table.present[10:]
        )
        for name, table in train.features.items()
    }
    return train.items.ids[10:], tables


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "recipe",
    [
        ContentKNN(k=3),
        ContentKNN(k=99),
        ContentKNN(k=4, centre=False),
        ContentKNN(k=3, shares=(0.2, 0.9)),
    ],
)
def test_an_item_that_comes_later_is_scored_by_the_definition(recipe, seed, tmp_path):
    """Score items that the saved scorer has never seen.

    The scores are those of the loop, and those of the item in the table without an interaction.
    """
    train = data(seed)
    save_scorer(tmp_path / "scorer.safetensors", recipe.build(before(train)))
    grown = add_items(load_scorer(tmp_path / "scorer.safetensors")[0], before(train), *later(train))
    scores = grown.scorer.score(asked(torch.arange(USERS))).numpy()
    assert scores.shape == (USERS, ITEMS)
    assert scores[:, 10:].any()
    assert np.allclose(scores, naive(train, recipe), atol=1e-5)
    assert np.allclose(scores, recipe.build(train).score(asked(torch.arange(USERS))), atol=1e-6)


def test_items_in_two_deliveries_and_users_who_met_them():
    train = data()
    ids, tables = later(train)
    first = add_items(ContentKNN(k=3).build(before(train)), before(train), ids, tables)
    again = add_items(first.scorer, first.train, ids + 3, tables)
    scores = again.scorer.score(asked(torch.arange(USERS)))
    assert scores.shape == (USERS, 16)
    assert torch.equal(scores[:, 13:], scores[:, 10:13])
    met = sp.csr_matrix(
        np.eye(16, dtype=np.float32)[[2, 11]] + np.eye(16, dtype=np.float32)[[5, 15]]
    )
    served = again.scorer.score(asked_by(met))
    matrix = again.scorer.matrices[1].toarray()
    assert np.allclose(served, [matrix[2] + matrix[5], np.zeros(16)]), (
        "what a new item resembles is not known of old ones"
    )
    assert served[0, 10:].any()


def test_a_scorer_of_an_earlier_version_and_a_damaged_one():
    train = data()
    made = ContentKNN(k=3).build(before(train))
    tensors, meta = made.state()
    old = from_state(
        {name: tensor for name, tensor in tensors.items() if not name.startswith("content")},
        {k: v for k, v in meta.items() if k != "content"},
    )
    assert torch.equal(
        old.score(asked(torch.arange(USERS))), made.score(asked(torch.arange(USERS)))
    )
    with pytest.raises(InputError, match="cannot rank new items: this 'product' scorer"):
        add_items(old, before(train), *later(train))
    faults = {
        "content.rows": tensors["content.rows"] + 1000,
        "content.vectors": tensors["content.vectors"][:, :2],
        "content.present": tensors["content.present"][:1],
    }
    for name, tensor in faults.items():
        with pytest.raises(InputError, match="parts do not fit"):
            from_state(tensors | {name: tensor}, meta)
    with pytest.raises(InputError, match="parts do not fit"):
        from_state(tensors | {"content.rows": tensors["content.rows"].flip(0)}, meta)
    with pytest.raises(InputError, match="without its part"):
        from_state(
            {name: tensor for name, tensor in tensors.items() if name != "content.mean.1"}, meta
        )
    with pytest.raises(ValueError, match="needs a product of histories"):
        Product(made.matrices, "users", made.content)


def test_an_aspect_of_what_is_not_there_is_nothing():
    table = FeatureTable(
        np.array([[3.0, 5.0], [np.nan, 7.0]], dtype=np.float32), np.array([True, False])
    )
    assert Aspect("a", torch.tensor([0.0, 1.0]), 0.25).read(table).tolist() == [
        [pytest.approx(0.3), pytest.approx(0.4)],
        [0.0, 0.0],
    ]
