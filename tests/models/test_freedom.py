"""FREEDOM against dense matrices; which pairs its graph of an epoch keeps."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from differences import check_gradients
from planted import two_camps

from recsys.data.types import FeatureTable, Interactions
from recsys.errors import InputError
from recsys.models.freedom import FREEDOM, thinned
from recsys.models.lightgcn import LightGCN
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


def start(**changes):
    torch.manual_seed(0)
    net = FREEDOM(**{"dim": 5, "k": 4, "prune": 0.5} | changes).build(TRAIN)
    with torch.no_grad():
        net.nodes.weight.mul_(3)
    return net


def batch_of(net, size=9, epoch=0):
    return next(PairStream(TRAIN.pairs, net.sampler, batch_size=size, seed=0).epoch(epoch))


def adjacency(pairs) -> torch.Tensor:
    """D^-1/2 A D^-1/2, dense."""
    size = TRAIN.n_users + TRAIN.n_items
    whole = torch.zeros(size, size)
    for u, i in zip(pairs.user.tolist(), pairs.item.tolist(), strict=True):
        whole[u, TRAIN.n_users + i] = whole[TRAIN.n_users + i, u] = 1
    scale = whole.sum(1).clamp_min(1) ** -0.5
    return scale[:, None] * whole * scale


def vectors(net, graph: torch.Tensor, shares=(0.5, 0.5)) -> tuple[torch.Tensor, torch.Tensor]:
    layer = total = net.nodes.weight.detach()
    for _ in range(net.recipe.layers):
        layer = graph @ layer
        total = total + layer
    user, item = torch.split(total / (net.recipe.layers + 1), [TRAIN.n_users, TRAIN.n_items])
    alike = torch.zeros(TRAIN.n_items, TRAIN.n_items)
    for share, table in zip(shares, net.told.tables, strict=True):
        unit = torch.nn.functional.normalize(table.values.detach())
        nearest = (unit @ unit.T).topk(net.recipe.k).indices
        alike += share * torch.zeros_like(alike).scatter_(1, nearest, 1.0) / net.recipe.k
    return user, item + alike @ net.nodes.weight.detach()[TRAIN.n_users :]


def kept_pairs(net, epoch: int) -> Interactions:
    dense = net._graph(epoch).to_dense()[: TRAIN.n_users, TRAIN.n_users :]
    user, item = dense.nonzero().T
    return Interactions(user.numpy(), item.numpy(), TRAIN.n_users, TRAIN.n_items)


@pytest.mark.parametrize("pool", ["own", "shared"])
@pytest.mark.parametrize("shares", [(), (0.9, 0.1)])
def test_the_loss_is_its_definition(pool, shares):
    net = start(content=0.3, shares=shares, sampler=Sampler(negatives=3, pool=pool))
    batch = batch_of(net, epoch=2)
    user, item = vectors(net, adjacency(kept_pairs(net, 2)), shares or (0.5, 0.5))
    sets = [(1.0, item)] + [
        (0.3, linear(table.values).detach())
        for table, linear in zip(net.told.tables, net.told.maps, strict=True)
    ]
    expected = []
    for b in range(len(batch)):
        others = batch.neg.tolist() if batch.shared else batch.neg[b].tolist()
        kept = [j for k, j in enumerate(others) if batch.mask is None or batch.mask[b, k]]
        u, i = int(batch.user[b]), int(batch.pos[b])
        expected.append(
            sum(
                w * math.log1p(math.exp(float(user[u] @ (v[j] - v[i])))) / len(kept)
                for w, v in sets
                for j in kept
            )
        )
    assert net.loss(batch).pair.tolist() == pytest.approx(expected, rel=1e-4)


def test_gradients():
    net = start(content=0.5).double()
    check_gradients(net, batch_of(net))


def test_what_is_ranked_is_of_the_whole_graph():
    net = start()
    net.loss(batch_of(net))
    user, item = vectors(net, adjacency(TRAIN.pairs))
    assert torch.allclose(net.scorer().user, user, atol=1e-6)
    assert torch.allclose(net.scorer().item, item, atol=1e-6)


def test_the_graph_of_an_epoch_is_that_of_an_epoch():
    net, again = start(), start()
    first = kept_pairs(net, 0)
    assert len(first) == 240
    assert set(first.key) <= set(TRAIN.pairs.key)
    assert set(kept_pairs(net, 1).key) != set(first.key)
    assert set(kept_pairs(again, 1).key) != set(first.key), "whatever came before"
    assert set(kept_pairs(again, 0).key) == set(first.key)
    assert torch.allclose(net._graph(0).to_dense(), adjacency(first), atol=1e-6), "normalised anew"
    assert start(prune=0.0)._graph(0) is not None
    assert len(kept_pairs(start(prune=0.0), 0)) == 480


def test_pairs_of_frequent_users_and_items_are_left_out_more_often():
    """One pair is kept of three, each in proportion to 1 / sqrt(d_u d_i)."""
    pairs = Interactions(np.array([0, 0, 1]), np.array([0, 1, 2]), 2, 3)
    generator = torch.Generator().manual_seed(0)
    drawn = (
        np.bincount([int(thinned(pairs, 0.6, generator).item[0]) for _ in range(4000)], minlength=3)
        / 4000
    )
    weight = np.array([0.5**0.5, 0.5**0.5, 1.0])
    assert drawn == pytest.approx(weight / weight.sum(), abs=0.03)


def test_without_items_that_look_alike_it_is_lightgcn():
    net = start(content=0.0, prune=0.0)
    net.alike.weight.zero_()
    plain = LightGCN(dim=5, layers=2, l2=0.0).build(TRAIN)
    with torch.no_grad():
        plain.nodes.weight.copy_(net.nodes.weight)
    batch = batch_of(net)
    assert torch.allclose(net.loss(batch).pair, plain.loss(batch).pair, atol=1e-6)
    assert not len(net.told.tables), "no tables and no maps without losses of the modalities"


def test_settings_that_do_not_go_together():
    with pytest.raises(InputError, match="compares with negatives"):
        FREEDOM(sampler=Sampler(negatives=0))
    with pytest.raises(InputError, match="shares has 3 numbers for 2 modalities: text, image"):
        start(shares=(0.1, 0.2, 0.7))
    with pytest.raises(InputError, match="shares are all 0"):
        start(shares=(0.0, 0.0))
