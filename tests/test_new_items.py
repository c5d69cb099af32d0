"""Methods for items without a training pair: such items are ranked, and nothing of them is seen in training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from planted import two_camps

from recsys.data.split import SplitRule, split
from recsys.data.types import Dataset, FeatureTable
from recsys.models.bm3 import BM3
from recsys.models.clcrec import CLCRec
from recsys.models.dropoutnet import DropoutNet
from recsys.models.duif import DUIF
from recsys.models.freedom import FREEDOM
from recsys.models.ials import IALS
from recsys.models.lattice import LATTICE
from recsys.models.mgcn import MGCN
from recsys.models.milk import MILK
from recsys.models.vbpr import VBPR
from recsys.nn.content import warm_items
from recsys.sample import Sampler
from recsys.train import Train, fit

SPLIT = split(two_camps(users=120)[0], SplitRule(by="new-item"))
TRAIN = SPLIT.train
NEW = np.flatnonzero(~warm_items(TRAIN))
CONFIG = Train(epochs=6, batch_size=64, lr=0.03, device="cpu")
BY_CONTENT: dict[str, Any] = {
    "milk": MILK(dim=8),
    "duif": DUIF(dim=8),
    "dropoutnet": DropoutNet(dim=8, preference=IALS(dim=8)),
    "clcrec": CLCRec(dim=8, sampler=Sampler(negatives=8)),
    "vbpr": VBPR(dim=8, new_items="content"),
}
WARM: dict[str, Any] = BY_CONTENT | {"bm3": BM3(dim=8, train_features=False)}


def changed() -> Dataset:
    """The training data, but for the features of items without a training pair."""
    rng, features = np.random.default_rng(9), {}
    for name, table in TRAIN.features.items():
        values = table.values.copy()
        values[NEW] = rng.normal(5, 3, (len(NEW), values.shape[1]))
        features[name] = FeatureTable(values, table.present)
    return replace(TRAIN, features=features)


def learned(recipe: Any, train: Dataset) -> Any:
    return fit(recipe, train, None, CONFIG).scorer


def test_there_are_new_items():
    assert len(NEW) == 9  # a fifth of 40, and the one that nobody has met
    assert SPLIT.valid is not None
    assert set(SPLIT.valid.item.tolist()) <= set(NEW.tolist())


@pytest.mark.parametrize("name", list(BY_CONTENT))
def test_users_like_the_new_items_of_their_camp(name):
    scores = learned(BY_CONTENT[name], TRAIN).score(torch.arange(120)).numpy()
    even, odd = NEW[NEW % 2 == 0], NEW[NEW % 2 == 1]
    assert len(even) > 1
    assert len(odd) > 1
    right = scores[::2][:, even].mean(1) > scores[::2][:, odd].mean(1), scores[1::2][:, odd].mean(1) > scores[1::2][:, even].mean(1)
    assert np.mean(right) > 0.95


@pytest.mark.parametrize("name", list(WARM))
def test_features_of_new_items_are_not_seen_in_training(name):
    """Warm negatives: whatever new items look like, users and warm items are the same to the bit."""
    first, second = learned(WARM[name], TRAIN), learned(WARM[name], changed())
    warm = warm_items(TRAIN)
    assert torch.equal(first.user, second.user)
    assert torch.equal(first.item[warm], second.item[warm])


@pytest.mark.parametrize("recipe", [replace(BY_CONTENT["milk"], negatives_from="all"), replace(BY_CONTENT["duif"], negatives_from="all")])
def test_with_negatives_from_all_items_they_are(recipe):
    assert not torch.equal(learned(recipe, TRAIN).user, learned(recipe, changed()).user)


@pytest.mark.parametrize("recipe", [FREEDOM(dim=8), LATTICE(dim=8), MGCN(dim=8)])
def test_graphs_of_items_are_of_the_whole_catalogue(recipe):
    """These see the features of all items from the start, new ones too, as their papers have it."""
    assert not torch.equal(learned(recipe, TRAIN).item, learned(recipe, changed()).item)
