"""UltraGCN against its formula and a dense item graph."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from asking import asked
from differences import check_gradients
from planted import two_camps

from recsys.data.types import Dataset, Interactions, Vocab
from recsys.errors import InputError
from recsys.models.ultragcn import UltraGCN, item_graph
from recsys.sampling import PairStream, Sampler

TRAIN, _ = two_camps()


def start(train=TRAIN, **changes):
    torch.manual_seed(0)
    return UltraGCN(
        **{"dim": 5, "init_std": 0.6, "negative_weight": 3.0, "item_weight": 0.7, "neighbours": 4}
        | changes
    ).build(train)


def batch_of(net, size=9):
    return next(PairStream(TRAIN.pairs, net.sampler, batch_size=size, seed=0).epoch(0))


def random_pairs(n: int = 70, seed: int = 0) -> Interactions:
    """Some pairs are twice; the last user and item have none; an item may have one user."""
    rng = np.random.default_rng(seed)
    return Interactions(
        np.append(rng.integers(0, 9, n), 9), np.append(rng.integers(0, 13, n), 13), 11, 15
    )


def omegas(pairs: Interactions, *, itself: bool) -> np.ndarray:
    """omega of all items, dense, by its definition."""
    met = pairs.csr.toarray().astype(np.float64)
    shared = met.T @ met
    if not itself:
        np.fill_diagonal(shared, 0)
    sums = shared.sum(1)
    return np.array(
        [
            [
                shared[i, k] / sums[i] * math.sqrt((sums[i] + 1) / (sums[k] + 1))
                if shared[i, k]
                else 0.0
                for k in range(15)
            ]
            for i in range(15)
        ]
    )


@pytest.mark.parametrize("itself", [True, False])
@pytest.mark.parametrize("k", [1, 3, 10, 40])
@pytest.mark.parametrize("seed", range(4))
def test_the_item_graph_is_the_dense_one(itself, k, seed):
    pairs = random_pairs(30 + 20 * seed, seed)
    dense = omegas(pairs, itself=itself)
    neighbour, omega = item_graph(pairs.csr, k, itself=itself)
    assert neighbour.shape == omega.shape == (15, k)
    for i in range(15):
        best = sorted(dense[i], reverse=True)[:k]
        assert omega[i].tolist() == pytest.approx(best + [0.0] * (k - len(best)), rel=1e-6)
        kept = omega[i] > 0
        assert dense[i, neighbour[i, kept]].tolist() == pytest.approx(
            omega[i, kept].tolist(), rel=1e-6
        )
        assert len(set(neighbour[i, kept].tolist())) == kept.sum()
        assert itself or i not in neighbour[i, kept]


def test_an_item_is_its_own_nearest_as_in_the_released_code():
    neighbour, _ = item_graph(random_pairs().csr, 3, itself=True)
    assert (neighbour[:14, 0] == np.arange(14)).mean() > 0.9


def beta(user: int, item: int) -> float:
    d_u, d_i = int((TRAIN.pairs.user == user).sum()), int((TRAIN.pairs.item == item).sum())
    return 1 / d_u * math.sqrt((d_u + 1) / (d_i + 1))


@pytest.mark.parametrize(
    "sampler",
    [
        Sampler(negatives=3),
        Sampler(negatives=3, pool="shared", reject=False),
        Sampler(negatives=3, pool="in-batch"),
    ],
)
@pytest.mark.parametrize("weights", [(0.3, 0.7, 0.2, 0.9), (0.5, 0.0, 0.4, 0.0)])
@pytest.mark.parametrize("itself", [True, False])
def test_the_loss_is_its_definition(sampler, weights, itself):
    net = start(sampler=sampler, weights=weights, itself=itself, l2=0.1)
    batch = batch_of(net)
    w1, w2, w3, w4 = weights
    neighbour, omega = item_graph(TRAIN.pairs.csr, 4, itself=itself)

    def lost(user: int, item: int, sign: int) -> float:
        return math.log1p(
            math.exp(-sign * float(net.user.weight[user].detach() @ net.item.weight[item].detach()))
        )

    expected = []
    for b, (user, item) in enumerate(zip(batch.user.tolist(), batch.pos.tolist(), strict=True)):
        others = batch.neg.tolist() if batch.shared else batch.neg[b].tolist()
        parts = [
            (w3 + w4 * beta(user, j)) * lost(user, j, -1)
            for k, j in enumerate(others)
            if batch.mask is None or batch.mask[b, k]
        ]
        alike = sum(
            o * lost(user, k, 1)
            for k, o in zip(neighbour[item].tolist(), omega[item].tolist(), strict=True)
        )
        expected.append(
            (w1 + w2 * beta(user, item)) * lost(user, item, 1)
            + 3 * sum(parts) / len(parts)
            + 0.7 * alike
        )
    terms = net.loss(batch)
    assert terms.pair.tolist() == pytest.approx(expected, rel=1e-4)
    squares = sum(
        float(table.weight.detach().double().square().sum()) for table in (net.user, net.item)
    )
    assert terms.extra.item() == pytest.approx(0.1 / 2 / len(batch) * squares, rel=1e-5)


def test_the_mean_is_the_sum_of_the_authors_divided_by_the_batch():
    net = start(l2=0.1)
    batch = batch_of(net)
    terms = net.loss(batch)
    squares = sum(
        float(table.weight.detach().double().square().sum()) for table in (net.user, net.item)
    )
    assert terms.total().item() * len(batch) == pytest.approx(
        terms.pair.sum().item() + 0.1 / 2 * squares, rel=1e-5
    )


def test_gradients():
    net = start(l2=0.1, sampler=Sampler(negatives=2)).double()
    check_gradients(net, batch_of(net, 4))


def test_without_neighbours_none_are_looked_for():
    net = start(item_weight=0.0, l2=0.0)
    assert not hasattr(net, "omega")
    assert len(net.rows) == 2
    assert net.loss(batch_of(net)).extra is None
    assert start().rows == ()


def test_a_neighbour_that_nobody_met_has_no_part():
    """An item with fewer neighbours than asked for: what stands in their place has weight 0."""
    train = Dataset(
        Interactions(np.array([0, 1]), np.array([0, 1]), 2, 3), Vocab.range(2), Vocab.range(3)
    )
    net = start(train, itself=False)
    assert not net.omega.any()
    assert start(train).omega.sum(1).tolist() == pytest.approx([1.0, 1.0, 0.0])


def test_what_is_ranked_is_the_inner_product():
    net = start()
    assert torch.allclose(
        net.scorer().score(asked(torch.arange(4))),
        (net.user.weight[:4] @ net.item.weight.T).detach(),
        atol=1e-6,
    )


def test_it_needs_negatives():
    with pytest.raises(InputError, match="compares with negatives"):
        UltraGCN(sampler=Sampler(negatives=0))
