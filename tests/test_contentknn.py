"""Content neighbours against loops over items and modalities; what a missing modality does; new items."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from planted import two_camps

from recsys.data.split import SplitRule, split
from recsys.data.types import Dataset, FeatureTable, Interactions, Vocab
from recsys.errors import InputError
from recsys.models.contentknn import ContentKNN, similar_items
from recsys.nn.content import warm_items
from recsys.rank import top_k

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
    return Dataset(Interactions(user, item, USERS, ITEMS), Vocab.range(USERS, "user"), Vocab.range(ITEMS, "item"), features)


def naive(train: Dataset, recipe: ContentKNN) -> np.ndarray:
    warm, met = warm_items(train), train.pairs.csr.toarray()
    shares = recipe.shares or (1.0,) * len(train.features)
    tables = []
    for table in train.features.values():
        known = table.present & warm
        tables.append(table.values.astype(np.float64) - (table.values[known].astype(np.float64).mean(0) if recipe.centre else 0))
    scores = np.zeros((USERS, ITEMS))
    for j in range(ITEMS):
        found = []
        for i in np.flatnonzero(warm):
            parts = [
                (share, table[i] @ table[j] / np.sqrt((table[i] @ table[i]) * (table[j] @ table[j])))
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
@pytest.mark.parametrize("recipe", [ContentKNN(k=3), ContentKNN(k=99), ContentKNN(k=4, centre=False), ContentKNN(k=3, shares=(0.2, 0.9))])
def test_scores_are_their_definition(recipe, gaps):
    train = data(gaps=gaps)
    scores = recipe.build(train).score(torch.arange(USERS)).numpy()
    assert np.allclose(scores, naive(train, recipe), atol=1e-5)
    assert scores[:, 10:].any(), "new items are scored"
    if gaps:
        assert not scores[:, 4].any(), "nothing is known of it"


@pytest.mark.parametrize("block", [1, 4, None])
def test_blocks_change_nothing(block):
    rng = np.random.default_rng(3)
    vectors = torch.nn.functional.normalize(torch.from_numpy(rng.normal(size=(ITEMS, 4)).astype(np.float32)))
    found = similar_items(vectors, torch.ones(ITEMS, 1), torch.tensor([0, 2, 3, 7, 12]), 2, block=block)
    whole = similar_items(vectors, torch.ones(ITEMS, 1), torch.tensor([0, 2, 3, 7, 12]), 2, block=99)
    assert isinstance(found, sp.csr_matrix)
    assert np.array_equal(found.indices, whole.indices)
    assert np.allclose(found.data, whole.data, atol=1e-6)
    assert set(found.indices.tolist()) <= {0, 2, 3, 7, 12}
    assert not found.diagonal().any()
    assert np.diff(found.indptr).max() == 2


def test_of_equals_the_lower_row_is_taken():
    vectors = torch.ones(5, 1)
    found = similar_items(vectors, torch.ones(5, 1), torch.arange(4), 2).toarray()
    assert [np.flatnonzero(row).tolist() for row in found] == [[1, 2], [0, 2], [0, 1], [0, 1], [0, 1]]
    assert not similar_items(vectors, torch.ones(5, 1), torch.arange(0), 2).nnz


def test_features_of_new_items_change_no_other_score():
    train = data()
    changed = {name: FeatureTable(table.values.copy(), table.present) for name, table in train.features.items()}
    for table in changed.values():
        table.values[10:] = 50
    one, other = (ContentKNN(k=3).build(part).score(torch.arange(USERS)) for part in (train, replace(train, features=changed)))
    assert torch.equal(one[:, :10], other[:, :10])
    assert not torch.equal(one[:, 10:], other[:, 10:])


def test_what_stands_where_a_modality_is_missing_is_not_read():
    train = data()
    changed = {
        name: FeatureTable(np.where(table.present[:, None], table.values, np.float32(9)), table.present) for name, table in train.features.items()
    }
    one, other = (ContentKNN(k=3).build(part).score(torch.arange(USERS)) for part in (train, replace(train, features=changed)))
    assert torch.equal(one, other)


def test_it_beats_popularity_for_new_items():
    parts = split(two_camps(users=120)[0], SplitRule(by="new-item"))
    new = np.flatnonzero(~warm_items(parts.train))
    lists = top_k(ContentKNN().build(parts.train), np.arange(120), 2, candidates=new).item
    assert (lists % 2 == np.arange(120)[:, None] % 2).mean() > 0.95, "popularity knows nothing of them: about a half"


def test_settings_that_do_not_fit():
    with pytest.raises(InputError, match="shares has 3 numbers, and there are 2 modalities: a, b"):
        ContentKNN(shares=(1.0, 1.0, 1.0)).build(data())
    with pytest.raises(InputError, match="reads item features, and the data have none"):
        ContentKNN().build(replace(data(), features={}))
