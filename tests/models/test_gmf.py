"""GMF against its formula, pair by pair."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from asking import asked
from differences import check_gradients
from planted import two_camps

from recsys.errors import InputError
from recsys.models.gmf import GMF
from recsys.models.mf import MF
from recsys.nn.losses import Loss, label_losses, mean_negatives
from recsys.sampling import PairStream, Sampler

TRAIN, _ = two_camps()


def start(**changes):
    torch.manual_seed(0)
    net = GMF(**{"dim": 5, "init_std": 0.7} | changes).build(TRAIN)
    with torch.no_grad():
        net.bias.fill_(0.3)
    return net


def batch_of(net, size=6):
    return next(PairStream(TRAIN.pairs, net.sampler, batch_size=size, seed=0).epoch(0))


def logit(net, user, item) -> float:
    p, q, a = net.user.weight[user].tolist(), net.item.weight[item].tolist(), net.output.tolist()
    return sum(x * y * z for x, y, z in zip(a, p, q, strict=True)) + net.bias.item()


@pytest.mark.parametrize("pool", ["own", "shared"])
@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_the_loss_is_its_definition(pool, l2):
    net = start(sampler=Sampler(negatives=3, pool=pool), l2=l2)
    batch = batch_of(net)
    if (
        batch.mask is None and pool == "own"
    ):  # a candidate that is none counts neither here nor there
        mask = torch.ones(6, 3, dtype=torch.bool)
        mask[1, 2] = False
        batch = dataclasses.replace(batch, mask=mask)
    expected, squares = [], 0.0
    for b in range(6):
        user, item = int(batch.user[b]), int(batch.pos[b])
        others = batch.neg.tolist() if batch.shared else batch.neg[b].tolist()
        kept = [j for k, j in enumerate(others) if batch.mask is None or batch.mask[b, k]]
        parts = [-math.log(1 - 1 / (1 + math.exp(-logit(net, user, j)))) for j in kept]
        expected.append(
            -math.log(1 / (1 + math.exp(-logit(net, user, item)))) + sum(parts) / len(parts)
        )
        users, items = net.user.weight.detach(), net.item.weight.detach()
        rows = [users[user], items[item]] + (
            [] if batch.shared and b else [items[j] for j in others]
        )
        squares += sum(float(row.square().sum()) for row in rows)
    terms = net.loss(batch)
    assert terms.pair.tolist() == pytest.approx(expected, rel=1e-4)
    assert (terms.extra is None) == (l2 == 0)
    assert l2 == 0 or terms.extra.item() == pytest.approx(l2 * squares / 2 / 6, rel=1e-5)


def test_gradients():
    net = start(l2=0.1, sampler=Sampler(negatives=2)).double()
    check_gradients(net, batch_of(net, 4))


def test_a_score_is_the_logit():
    net = start()
    scores = net.scorer().score(asked(torch.tensor([3, 0])))
    assert scores[0].tolist() == pytest.approx(
        [logit(net, 3, item) for item in range(TRAIN.n_items)], abs=1e-5
    )


def test_with_equal_weights_it_is_matrix_factorisation():
    gmf, mf = start(l2=0.2), MF(dim=5, loss=Loss(kind="bce"), l2=0.2).build(TRAIN)
    with torch.no_grad():
        gmf.output.fill_(1)
        gmf.bias.zero_()
        mf.user.weight.copy_(gmf.user.weight)
        mf.item.weight.copy_(gmf.item.weight)
    batch = batch_of(gmf, 9)
    assert torch.allclose(gmf.loss(batch).pair, mf.loss(batch).pair)
    assert torch.allclose(gmf.loss(batch).extra, mf.loss(batch).extra)
    assert torch.allclose(
        gmf.scorer().score(asked(torch.arange(4))),
        mf.scorer().score(asked(torch.arange(4))),
        atol=1e-6,
    )


def test_the_start():
    torch.manual_seed(0)
    net = GMF(dim=300).build(TRAIN)
    assert net.user.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert 0.095 < net.output.abs().max().item() <= 0.1
    assert net.bias.item() == 0


def test_it_needs_negatives():
    with pytest.raises(InputError, match="compares with negatives"):
        GMF(sampler=Sampler(negatives=0))


@pytest.mark.parametrize("pool", ["own", "shared"])
def test_a_denoiser_finds_the_logits(pool):
    """Of the loss by labels: `pair` can be made of them again, and they are the scores."""
    net = start(sampler=Sampler(negatives=3, pool=pool))
    batch = batch_of(net)
    terms = net.loss(batch)
    pos, neg = label_losses(terms.logits)
    assert torch.equal(terms.pair, pos + mean_negatives(terms.logits, neg))
    scores = net.scorer().score(asked(batch.user))
    assert torch.allclose(terms.logits.pos, scores.gather(1, batch.pos[:, None])[:, 0], atol=1e-5)
    assert torch.allclose(
        terms.logits.neg, scores.gather(1, batch.neg.expand(len(batch), -1)), atol=1e-5
    )
