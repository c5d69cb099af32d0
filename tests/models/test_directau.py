"""DirectAU against double loops."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from asking import asked
from differences import check_gradients
from planted import two_camps

from recsys.models.directau import DirectAU, uniformity
from recsys.models.lightgcn import LightGCN
from recsys.sampling import PairStream

TRAIN, _ = two_camps()
N = TRAIN.n_users


def start(**changes):
    torch.manual_seed(0)
    return DirectAU(**{"dim": 5} | changes).build(TRAIN)


def batch_of(net, size=12):
    return next(PairStream(TRAIN.pairs, net.sampler, batch_size=size, seed=0).epoch(0))


def spread(vectors) -> float:
    terms = [
        math.exp(-2 * float((vectors[v] - vectors[w]).square().sum()))
        for v in range(len(vectors))
        for w in range(v)
    ]
    return math.log(sum(terms) / len(terms))


@pytest.mark.parametrize("n", [2, 3, 9])
def test_uniformity_is_a_double_loop(n):
    vectors = F.normalize(torch.randn(n, 4), dim=-1)
    vectors[-1] = vectors[0]  # one twice
    assert uniformity(vectors).item() == pytest.approx(spread(vectors), rel=1e-5, abs=1e-6)


def test_uniformity_by_torch():
    free = torch.randn(
        40, 6, dtype=torch.float64, requires_grad=True
    )  # the formula holds on the sphere, so the gradient is that through it
    vectors = F.normalize(free, dim=-1)
    expected = torch.pdist(vectors).pow(2).mul(-2).exp().mean().log()
    assert uniformity(vectors).item() == pytest.approx(expected.item(), rel=1e-12)
    both = [
        torch.autograd.grad(value, free, retain_graph=True)[0]
        for value in (uniformity(vectors), expected)
    ]
    assert torch.allclose(*both, atol=1e-12)


def test_uniformity_of_what_cannot_be_nearer_or_further():
    one = F.normalize(torch.ones(1, 3), dim=-1)
    assert uniformity(one.repeat(5, 1)).item() == pytest.approx(0.0, abs=1e-5)
    assert uniformity(torch.cat([one, -one])).item() == pytest.approx(-8.0)
    alone = one.clone().requires_grad_()
    uniformity(alone).backward()
    assert uniformity(alone).item() == 0
    assert not alone.grad.any()


def test_uniformity_keeps_its_precision_under_autocast():
    vectors = F.normalize(torch.randn(30, 8), dim=-1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = uniformity(vectors)
    assert mixed.dtype == torch.float32
    assert mixed.item() == uniformity(vectors).item()


@pytest.mark.parametrize("layers", [0, 2])
@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_the_loss_is_its_definition(layers, l2):
    net = start(layers=layers, l2=l2, gamma=1.7)
    with torch.no_grad():
        for table in (net.user, net.item):
            table.weight.mul_(3)
    batch = batch_of(net)
    assert len(set(batch.user.tolist())) < len(batch)
    first = torch.cat([net.user.weight, net.item.weight]).detach()
    vectors = first.clone()
    if layers:
        matrix = net.adjacency.to_dense()
        vectors = (first + matrix @ first + matrix @ matrix @ first) / 3
    users, items = (
        [F.normalize(vectors[node], dim=0) for node in nodes.tolist()]
        for nodes in (batch.user, N + batch.pos)
    )
    terms = net.loss(batch)
    assert terms.pair.tolist() == pytest.approx(
        [float((u - i).square().sum()) for u, i in zip(users, items, strict=True)], rel=1e-4
    )
    expected = 1.7 / 2 * (spread(users) + spread(items)) + l2 / 2 * sum(
        x * x for x in first.flatten().tolist()
    )
    assert terms.extra.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("layers", [0, 2])
def test_gradients(layers):
    net = start(layers=layers, l2=0.2).double()
    check_gradients(net, batch_of(net, 7))


def test_what_is_ranked_is_the_product_of_the_vectors_as_they_are():
    net = start()
    assert torch.allclose(
        net.scorer().score(asked(torch.arange(3))),
        net.user.weight[:3].detach() @ net.item.weight.detach().T,
        atol=1e-6,
    )
    graph, light = start(layers=2), LightGCN(dim=5, layers=2).build(TRAIN)
    with torch.no_grad():
        light.nodes.weight.copy_(torch.cat([graph.user.weight, graph.item.weight]))
    assert torch.equal(
        graph.scorer().score(asked(torch.arange(N))), light.scorer().score(asked(torch.arange(N)))
    )


def test_rows_are_touched_singly_where_nothing_else_moves_them():
    assert len(start(l2=0.0).rows) == 2
    assert start().rows == start(layers=1, l2=0.0).rows == ()


def test_the_start():
    net = start(dim=200)
    for table, n in ((net.user, N), (net.item, TRAIN.n_items)):
        assert table.weight.std().item() == pytest.approx((2 / (n + 200)) ** 0.5, rel=0.05)
