"""M2F and MGMF against a loop."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from asking import asked
from planted import two_camps

from recsys.models.m2f import M2F
from recsys.nn.diversity import Diversity, diversity
from recsys.nn.losses import Loss
from recsys.sampling import PairStream, Sampler

TRAIN, _ = two_camps()


@pytest.mark.parametrize("weights", [False, True], ids=["m2f", "mgmf"])
@pytest.mark.parametrize("pool", ["own", "shared"])
def test_the_loss_is_its_definition(weights, pool):
    recipe = M2F(
        dim=5,
        vectors=3,
        weights=weights,
        loss=Loss(kind="bce" if weights else "square"),
        sampler=Sampler(negatives=4, pool=pool),
        l2=0.3,
    )
    torch.manual_seed(0)
    net: Any = recipe.build(TRAIN)
    scale = torch.linspace(0.5, 2, 5) if weights else torch.ones(5)
    if weights:
        with torch.no_grad():
            net.weight.copy_(scale)
    batch = next(PairStream(TRAIN.pairs, recipe.sampler, batch_size=20, seed=0).epoch(0))
    users, items = net.user.weight.detach().view(-1, 3, 5), net.item.weight.detach()

    def score(user: int, item: int) -> float:
        return max(float((users[user, c] * scale * items[item]).sum()) for c in range(3))

    expected, squares = [], 0.0
    for b in range(20):
        user = int(batch.user[b])
        negatives = [int(k) for k in (batch.neg if pool == "shared" else batch.neg[b])]
        s = score(user, int(batch.pos[b]))
        others = [
            score(user, k)
            for place, k in enumerate(negatives)
            if batch.mask is None or batch.mask[b, place]
        ]
        if weights:
            expected.append(
                math.log1p(math.exp(-s))
                + sum(math.log1p(math.exp(x)) for x in others) / len(others)
            )
        else:
            expected.append((1 - s) ** 2 + sum(x * x for x in others) / len(others))
        squares += float(
            users[user].square().sum()
            + items[int(batch.pos[b])].square().sum()
            + sum(items[k].square().sum() for k in negatives)
        )
    terms = net.loss(batch)
    assert terms.pair.tolist() == pytest.approx(expected, rel=1e-4)
    assert float(terms.extra.detach()) == pytest.approx(0.3 / 20 * squares / 2, rel=1e-4)
    scores = net.scorer().score(asked(torch.arange(TRAIN.n_users)))
    assert float(scores[7, 11]) == pytest.approx(score(7, 11), abs=1e-5)


def test_diversity_is_added():
    recipe = M2F(dim=5, vectors=3, l2=0.0, diversity=Diversity(weight=4.0, low=0.5, high=0.6))
    torch.manual_seed(0)
    net: Any = recipe.build(TRAIN)
    batch = next(PairStream(TRAIN.pairs, recipe.sampler, batch_size=20, seed=0).epoch(0))
    each = diversity(recipe.diversity, net.user.weight.detach().view(-1, 3, 5)[batch.user])
    assert float(net.loss(batch).extra.detach()) == pytest.approx(
        4 * float(each.mean()) / 20, rel=1e-5
    )
