"""CDAE against its formula, with rows of the matrix written out."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from asking import asked
from differences import check_gradients
from planted import two_camps

from recsys.data.types import Dataset, Interactions, Vocab
from recsys.errors import InputError
from recsys.models.cdae import CDAE
from recsys.nn.losses import label_losses, mean_negatives
from recsys.sampling import PairStream, Sampler

TRAIN, _ = two_camps()


def start(train=TRAIN, **changes):
    torch.manual_seed(0)
    net = CDAE(**{"dim": 5} | changes).build(train)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0, 0.5)
    return net


def batch_of(net, size=8):
    return next(PairStream(TRAIN.pairs, net.sampler, batch_size=size, seed=0).epoch(0))


def row(train, user: int, *, normalise: bool) -> torch.Tensor:
    """x of a user."""
    met = train.pairs.csr.toarray()
    x = torch.zeros(train.n_items)
    for item in range(train.n_items):
        if met[user, item]:
            x[item] = (
                1 / math.sqrt(math.sqrt(met[user].sum()) * math.sqrt(met[:, item].sum()))
                if normalise
                else 1.0
            )
    return x


def hidden(net, user: int, x: torch.Tensor) -> torch.Tensor:
    return torch.tanh(
        net.input.weight.detach().T @ x + net.user.weight[user].detach() + net.hidden_bias.detach()
    )


@pytest.mark.parametrize("pool", ["own", "shared"])
@pytest.mark.parametrize("normalise", [True, False])
def test_the_loss_is_its_definition(pool, normalise):
    net = start(dropout=0.0, normalise=normalise, sampler=Sampler(negatives=3, pool=pool))
    batch = batch_of(net)
    expected = []
    for b, user in enumerate(batch.user.tolist()):
        out = (
            net.output.weight.detach() @ hidden(net, user, row(TRAIN, user, normalise=normalise))
            + net.bias.detach()
        )
        others = batch.neg.tolist() if batch.shared else batch.neg[b].tolist()
        parts = [
            float(F.softplus(out[j]))
            for k, j in enumerate(others)
            if batch.mask is None or batch.mask[b, k]
        ]
        expected.append(float(F.softplus(-out[batch.pos[b]])) + sum(parts) / len(parts))
    terms = net.loss(batch)
    assert terms.extra is None
    assert terms.pair.tolist() == pytest.approx(expected, rel=1e-4)
    pos, neg = label_losses(terms.logits)
    assert torch.equal(terms.pair, pos + mean_negatives(terms.logits, neg))


def test_what_is_hidden_is_gone_and_the_rest_counts_more():
    net = start(dropout=0.4)
    users = torch.tensor([4, 4, 7])
    torch.manual_seed(9)
    got = net._hidden(users)
    torch.manual_seed(9)
    factor = (torch.rand(24) < 0.6) / 0.6  # 8 items each
    assert sorted(set(factor.tolist())) == pytest.approx([0.0, 1 / 0.6])
    assert not torch.equal(factor[:8], factor[8:16])
    for b, user in enumerate(users.tolist()):
        x = row(TRAIN, user, normalise=True)
        items = TRAIN.pairs.item[TRAIN.pairs.user == user]
        for place, item in enumerate(items.tolist()):
            x[item] *= factor[8 * b + place]
        assert torch.allclose(got[b], hidden(net, user, x), atol=1e-6)


def test_a_user_has_the_same_hidden_throughout_a_batch():
    net = start(dropout=0.4)
    users, items, nothing = (
        torch.tensor([4, 7, 4]),
        torch.tensor([1, 1, 1]),
        torch.zeros(3, 1, dtype=torch.int64),
    )
    batch = dataclasses.replace(batch_of(net, 3), user=users, pos=items, neg=nothing, mask=None)
    pos, _ = net.logits(batch)
    assert pos[0] == pos[2] != pos[1]
    assert not torch.equal(pos, net.logits(batch)[0])  # the next batch hides something else


def test_gradients():
    net = start(dropout=0.3, sampler=Sampler(negatives=2)).double()
    check_gradients(net, batch_of(net, 5))


@pytest.mark.parametrize("normalise", [True, False])
def test_what_is_ranked_is_the_output_with_nothing_hidden(normalise, monkeypatch):
    monkeypatch.setattr("recsys.models.cdae._BLOCK", 9)
    net = start(normalise=normalise)
    users = [0, 8, 9, 60]  # the last has met nothing
    scores = net.scorer().score(asked(torch.tensor(users)))
    for b, user in enumerate(users):
        out = (
            net.output.weight.detach() @ hidden(net, user, row(TRAIN, user, normalise=normalise))
            + net.bias.detach()
        )
        assert torch.allclose(scores[b], out, atol=1e-5)
    assert net.training


def test_a_pair_given_twice_is_one_item_of_the_history():
    once, twice = (
        Interactions(np.array([0] * len(i)), np.array(i), 2, 3) for i in ([0, 2], [0, 2, 0, 0])
    )
    nets = [start(Dataset(pairs, Vocab.range(2), Vocab.range(3))) for pairs in (once, twice)]
    assert torch.allclose(*(net.scorer().user for net in nets))


def test_the_start():
    torch.manual_seed(0)
    net = CDAE(dim=200).build(TRAIN)
    for table, n in (
        (net.user, TRAIN.n_users),
        (net.input, TRAIN.n_items),
        (net.output, TRAIN.n_items),
    ):
        assert table.weight.std().item() == pytest.approx((2 / (n + 200)) ** 0.5, rel=0.05)
    assert not torch.equal(net.input.weight, net.output.weight)
    assert not net.bias.any()
    assert not net.hidden_bias.any()


def test_it_needs_negatives():
    with pytest.raises(InputError, match="compares with negatives"):
        CDAE(sampler=Sampler(negatives=0))
