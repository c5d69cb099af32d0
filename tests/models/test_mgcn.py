"""MGCN against its formulas, node by node."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from differences import check_gradients
from planted import two_camps

from recsys.data.types import FeatureTable
from recsys.errors import InputError
from recsys.models.mgcn import MGCN
from recsys.nn.graph import mean_layers
from recsys.sampling import PairStream, Sampler

PLANTED, _ = two_camps()
# Without gaps: what becomes of items that lack a modality is told in test_item_graph.
TRAIN = replace(
    PLANTED,
    features={
        name: FeatureTable(table.values, np.ones(41, dtype=bool))
        for name, table in PLANTED.features.items()
    },
)
USERS, ITEMS = TRAIN.n_users, TRAIN.n_items


def start(**changes):
    torch.manual_seed(0)
    net = MGCN(**{"dim": 5, "k": 4} | changes).build(TRAIN)
    with torch.no_grad():
        net.nodes.weight.mul_(3)
    return net


def batch_of(net, size=9):
    return next(PairStream(TRAIN.pairs, net.sampler, batch_size=size, seed=0).epoch(0))


@torch.no_grad()
def nodes(net) -> tuple[torch.Tensor, torch.Tensor]:
    """Behaviour and side of every node, users first."""
    behaviour = mean_layers(net.adjacency, net.nodes.weight, net.recipe.layers)
    item, content = net.nodes.weight[USERS:], []
    for place, table in enumerate(net.told.tables):
        q = item * torch.sigmoid(net.gates[place](net.told.maps[place](table.values)))
        unit = F.normalize(table.values)
        best = (unit @ unit.T).clamp_min(0).topk(net.recipe.k)
        s = torch.zeros(ITEMS, ITEMS).scatter_(1, best.indices, best.values)
        s = s * s.sum(1)[:, None] ** -0.5 * s.sum(1) ** -0.5
        z_item = s @ q
        z_user = net.adjacency.to_dense()[:USERS, USERS:] @ z_item
        content.append(torch.cat([z_user, z_item]))
    side = []
    for node, b in enumerate(behaviour):
        z = [part[node] for part in content]
        logits = [float(net.answer(torch.tanh(net.ask(own)))) for own in z]
        share = [math.exp(x) / sum(math.exp(y) for y in logits) for x in logits]
        common = share[0] * z[0] + share[1] * z[1]
        own = [(z[m] - common) * torch.sigmoid(net.own_gates[m](b)) for m in range(2)]
        side.append((common + own[0] + own[1]) / 3)
    return behaviour, torch.stack(side)


def contrast(one: torch.Tensor, other: torch.Tensor, temperature: float) -> float:
    logits = (
        torch.stack([torch.stack([F.cosine_similarity(a, b, dim=0) for b in other]) for a in one])
        / temperature
    )
    return float((logits.exp().sum(1).log() - logits.diagonal()).mean())


@pytest.mark.parametrize("pool", ["own", "shared"])
@pytest.mark.parametrize("distinct", [False, True])
def test_the_loss_is_its_definition(pool, distinct):
    net = start(
        l2=0.2, contrast=0.3, distinct_nodes=distinct, sampler=Sampler(negatives=3, pool=pool)
    )
    batch, expected, squares = batch_of(net, 20), [], 0.0
    behaviour, side = nodes(net)
    user, item = torch.split(behaviour + side, [USERS, ITEMS])
    for b in range(len(batch)):
        others = batch.neg.tolist() if batch.shared else batch.neg[b].tolist()
        kept = [j for k, j in enumerate(others) if batch.mask is None or batch.mask[b, k]]
        u, i = int(batch.user[b]), int(batch.pos[b])
        expected.append(
            sum(
                math.log1p(math.exp(float(user[u] @ (item[j] - item[i])))) / len(kept) for j in kept
            )
        )
        rows = [user[u], item[i]] + ([] if batch.shared and b else [item[j] for j in others])
        squares += sum(float(row.square().sum()) for row in rows)
    terms = net.loss(batch)
    assert terms.pair.tolist() == pytest.approx(expected, rel=1e-4)
    extra = 0.2 / 2 * squares / len(batch)
    for rows in (batch.user, batch.pos + USERS):
        assert len(rows.unique()) < len(rows)
        at = rows.unique() if distinct else rows
        extra += 0.3 * contrast(side[at], behaviour[at], 0.2)
    assert terms.extra.item() == pytest.approx(extra, rel=1e-4)


def test_gradients():
    net = start(contrast=0.3).double()
    check_gradients(net, batch_of(net))


def test_what_is_ranked_is_what_was_trained(monkeypatch):
    monkeypatch.setattr("recsys.models.mgcn._BLOCK", 7)
    net = start()
    behaviour, side = nodes(net)
    scorer = net.scorer()
    assert torch.allclose(torch.cat([scorer.user, scorer.item]), behaviour + side, atol=1e-5)


def test_terms_may_be_left_out():
    net = start(l2=0.0, contrast=0.0, train_features=False)
    assert net.loss(batch_of(net)).extra.item() == 0
    assert not any("tables" in name for name, _ in net.named_parameters())


def test_it_needs_negatives():
    with pytest.raises(InputError, match="compares with negatives"):
        MGCN(sampler=Sampler(negatives=0))
