"""LATTICE against dense matrices; when its graph is learned."""

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
from recsys.models.lattice import LATTICE, looped
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
    net = LATTICE(**{"dim": 5, "k": 4, "keep": 0.7} | changes).build(TRAIN)
    with torch.no_grad():
        net.nodes.weight.mul_(3)
        net.mix.copy_(torch.tensor([0.4, -0.3]))
    return net


def batch_of(net, size=9, step=0):
    batch = next(PairStream(TRAIN.pairs, net.sampler, batch_size=size, seed=0).epoch(0))
    return replace(batch, step=step)


def graph(values: torch.Tensor, k: int) -> torch.Tensor:
    unit = F.normalize(values.detach())
    likeness = (unit @ unit.T).clamp_min(0)
    return torch.zeros_like(likeness).scatter_(1, likeness.topk(k).indices, likeness.topk(k).values)


def scaled(matrix: torch.Tensor) -> torch.Tensor:
    scale = matrix.sum(1) ** -0.5
    return scale[:, None] * matrix * scale


def item_graph(net) -> torch.Tensor:
    share, recipe, parts = net.mix.detach().softmax(0), net.recipe, []
    for values in (
        [t.values for t in net.told.tables],
        [f(t.values) for f, t in zip(net.told.maps, net.told.tables, strict=True)],
    ):
        graphs = [graph(v, recipe.k) for v in values]
        if recipe.normalise == "each":
            parts.append(sum(a * scaled(g) for a, g in zip(share, graphs, strict=True)))
        else:
            parts.append(scaled(sum(a * g for a, g in zip(share, graphs, strict=True))))
    return recipe.keep * parts[0] + (1 - recipe.keep) * parts[1]


def vectors(net, alike: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    size = TRAIN.n_users + TRAIN.n_items
    whole = torch.eye(size)
    for u, i in zip(TRAIN.pairs.user.tolist(), TRAIN.pairs.item.tolist(), strict=True):
        whole[u, TRAIN.n_users + i] = whole[TRAIN.n_users + i, u] = 1
    walk, layer = whole / whole.sum(1, keepdim=True), net.nodes.weight.detach()
    total = layer
    for _ in range(net.recipe.layers):
        layer = walk @ layer
        total = total + layer
    user, item = torch.split(total / (net.recipe.layers + 1), [TRAIN.n_users, TRAIN.n_items])
    return user, item + F.normalize(alike @ net.nodes.weight.detach()[TRAIN.n_users :])


@pytest.mark.parametrize("pool", ["own", "shared"])
@pytest.mark.parametrize("normalise", ["each", "mixed"])
def test_the_loss_is_its_definition(pool, normalise):
    net = start(normalise=normalise, l2=0.2, sampler=Sampler(negatives=3, pool=pool))
    batch, squares = batch_of(net), 0.0
    user, item = vectors(net, item_graph(net))
    expected = []
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
    assert terms.extra.item() == pytest.approx(0.2 / 2 * squares / len(batch), rel=1e-4)
    assert torch.allclose(net.scorer().user, user, atol=1e-5)
    assert torch.allclose(net.scorer().item, item, atol=1e-5)


@pytest.mark.parametrize("normalise", ["each", "mixed"])
def test_gradients(normalise):
    net = start(normalise=normalise, l2=0.2).double()
    check_gradients(net, batch_of(net))


def test_the_graph_is_learned_at_the_first_step_of_an_epoch():
    net = start()
    net.loss(batch_of(net)).total().backward()
    assert all(
        parameter.grad is not None and parameter.grad.any() for parameter in net.parameters()
    )
    before = net.weight.clone()
    with torch.no_grad():
        for linear in net.told.maps:
            linear.weight.normal_()
    net.zero_grad()
    net.loss(batch_of(net, step=1)).total().backward()
    assert torch.equal(net.weight, before), "it stands still"
    assert [name for name, parameter in net.named_parameters() if parameter.grad is not None] == [
        "nodes.weight"
    ]
    net.loss(batch_of(net))
    assert not torch.equal(net.weight, before)


@pytest.mark.parametrize("few", [1, 10**6])
def test_while_it_stands_still_the_loss_is_that_of_the_first_step(few, monkeypatch):
    """By another way: a product with constant weights."""
    monkeypatch.setattr("recsys.nn.sparse_product._FEW", few)
    net = start().double()
    batch, found = batch_of(net, step=1), []
    first = replace(batch, step=0)
    for each in (first, batch):
        net.zero_grad()
        net.loss(each).total().backward()
        found.append((net.loss(each).pair.detach(), net.nodes.weight.grad.clone()))
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, rtol=1e-6, atol=1e-9)


def test_a_graph_that_is_loaded_is_the_one_that_counts():
    one, other = start(), start()
    with torch.no_grad():
        for linear in other.told.maps:
            linear.weight.normal_()
    other.loss(batch_of(other))
    batch = batch_of(one, step=1)
    expected, before = other.loss(batch).pair, one.loss(batch).pair
    one.load_state_dict(other.state_dict())
    assert torch.equal(one.loss(batch).pair, expected)
    assert not torch.equal(before, expected)


def test_a_checkpoint_has_the_graph():
    """A run that goes on in the middle of an epoch reads the graph of its first step."""
    assert {"weight", "learned_neighbours"} <= set(start().state_dict())


def test_the_graph_with_loops():
    matrix, root = looped(TRAIN.pairs)
    dense = matrix.to_dense()
    assert torch.allclose(dense, dense.T)
    walk = dense / root * root.T
    assert torch.allclose(walk.sum(1), torch.ones(len(walk)), atol=1e-6)
    assert float(dense[TRAIN.n_users - 1, TRAIN.n_users - 1]) == 1, (
        "who has met nothing stays where it is"
    )


def test_it_needs_negatives():
    with pytest.raises(InputError, match="compares with negatives"):
        LATTICE(sampler=Sampler(negatives=0))
