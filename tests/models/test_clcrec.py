"""CLCRec against a loop over pairs."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from differences import check_gradients
from planted import two_camps

from recsys.errors import InputError
from recsys.models.clcrec import CLCRec
from recsys.sampling import PairStream, Sampler

TRAIN, _ = two_camps()


def start(**changes):
    torch.manual_seed(0)
    return CLCRec(**{"dim": 5, "hidden": 6, "sampler": Sampler(negatives=4)} | changes).build(TRAIN)


def batch_of(net, size=9):
    return next(PairStream(TRAIN.pairs, net.sampler, batch_size=size, seed=0).epoch(0))


def contrast(scores: list[float]) -> float:
    return math.log(sum(math.exp(score) for score in scores)) - scores[0]


@pytest.mark.parametrize("pool", ["own", "shared"])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_loss_is_its_definition(pool, share):
    net = start(
        share=share,
        temperature=0.5,
        user_temperature=0.7,
        l2=0.4,
        sampler=Sampler(negatives=4, pool=pool),
    )
    batch = batch_of(net, 20)
    own, told = net.item.weight.detach(), net.told(net.features.values).detach()
    torch.manual_seed(5)
    coin = torch.rand(20, 5) < 0.5
    expected, norms = [], 0.0
    for b in range(len(batch)):
        user, item = net.user.weight[batch.user[b]].detach(), int(batch.pos[b])
        others = batch.neg.tolist() if batch.shared else batch.neg[b].tolist()
        kept = [item] + [j for k, j in enumerate(others) if batch.mask is None or batch.mask[b, k]]
        coins = [bool(coin[b, 0])] + [
            bool(coin[b, k + 1]) for k in range(4) if batch.mask is None or batch.mask[b, k]
        ]
        alike = [float(F.cosine_similarity(own[item], told[j], dim=0)) / 0.5 for j in kept]
        liked = [
            float(user @ (told if side else own)[j]) / 0.7
            for j, side in zip(kept, coins, strict=True)
        ]
        expected.append(share * contrast(alike) + (1 - share) * contrast(liked))
        norms += float(user.norm() + own[item].norm())
    torch.manual_seed(5)
    terms = net.loss(batch)
    assert terms.pair.tolist() == pytest.approx(expected, rel=1e-4)
    assert terms.extra.item() == pytest.approx(0.4 / 2 * norms / 20, rel=1e-4)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_gradients(share):
    net = start(share=share, l2=0.4).double()
    if share:
        check_gradients(net, batch_of(net))
    else:
        net.loss(batch_of(net)).total().backward()
        assert all(parameter.grad is not None for parameter in net.parameters())


@pytest.mark.parametrize(("mixed", "by_features"), [(0.0, False), (1.0, True)])
def test_a_coin_with_two_equal_sides(mixed, by_features):
    net = start(share=0.0, mixed=mixed, l2=0.0)
    net.loss(batch_of(net)).total().backward()
    assert bool(net.told[0].weight.grad.any()) == by_features
    assert bool(net.item.weight.grad.any()) != by_features


def test_new_items_are_ranked_by_their_features():
    net = start()
    scorer = net.scorer()
    assert torch.equal(scorer.item[:40], net.item.weight[:40])
    assert torch.allclose(scorer.item[40], net.told(net.features.values[40]), atol=1e-6)


def test_it_needs_negatives():
    with pytest.raises(InputError, match="compares with negatives"):
        CLCRec(sampler=Sampler(negatives=0))
