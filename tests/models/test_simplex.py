"""SimpleX against its formula, user by user."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from asking import asked
from differences import check_gradients
from planted import two_camps

from recsys.data.histories import Histories
from recsys.data.query import Queries
from recsys.data.types import Dataset, Interactions, Vocab
from recsys.errors import InputError
from recsys.models.mf import MF
from recsys.models.simplex import SimpleX
from recsys.nn.losses import Loss
from recsys.sampling import PairStream, Sampler

TRAIN, _ = two_camps()
LOSS = Loss(kind="ccl", margin=0.2, weight=7.0)


def start(train: Dataset = TRAIN, **changes):
    torch.manual_seed(0)
    return SimpleX(
        **{"dim": 5, "dropout": 0.0, "init_std": 0.5, "loss": LOSS, "sampler": Sampler(negatives=4)}
        | changes
    ).build(train)


def batch_of(net, size=9):
    return next(PairStream(TRAIN.pairs, net.sampler, batch_size=size, seed=0).epoch(0))


def vector(net, user: int, history: list[int]) -> torch.Tensor:
    """z of a user by its definition."""
    recipe, own = net.recipe, net.user.weight[user].detach()
    if recipe.own == 1:
        return own
    items = [net.item.weight[i].detach() for i in history]
    if recipe.aggregate == "mean":
        shares = [1 / len(items)] * len(items)
    else:
        asks = own if recipe.aggregate == "user" else net.query.detach()
        logits = [
            float(torch.tanh(net.key.weight.detach() @ q + net.key.bias.detach()) @ asks)
            for q in items
        ]
        shares = [math.exp(x) / sum(math.exp(y) for y in logits) for x in logits]
    mixed = sum(
        (share * q for share, q in zip(shares, items, strict=True)), start=torch.zeros(len(own))
    )
    return recipe.own * own + (1 - recipe.own) * (net.value.weight.detach() @ mixed)


def history_of(user: int, limit: int = 500) -> list[int]:
    return TRAIN.pairs.item[TRAIN.pairs.user == user].tolist()[-limit:]


@pytest.mark.parametrize("aggregate", ["mean", "user", "self"])
@pytest.mark.parametrize("pool", ["own", "shared"])
@pytest.mark.parametrize("own", [0.3, 1.0])
def test_the_loss_is_its_definition(aggregate, pool, own):
    net = start(
        aggregate=aggregate, own=own, history=6, l2=0.1, sampler=Sampler(negatives=4, pool=pool)
    )
    batch = batch_of(net)
    expected = []
    for b in range(len(batch)):
        z = vector(net, int(batch.user[b]), history_of(int(batch.user[b]), 6))
        others = batch.neg.tolist() if batch.shared else batch.neg[b].tolist()
        cosine = [
            float(F.cosine_similarity(z, net.item.weight[i].detach(), dim=0))
            for i in (int(batch.pos[b]), *others)
        ]
        kept = [
            max(0.0, s - 0.2)
            for k, s in enumerate(cosine[1:])
            if batch.mask is None or batch.mask[b, k]
        ]
        expected.append(max(0.0, 1 - cosine[0]) + 7 * sum(kept) / len(kept))
    terms = net.loss(batch)
    assert terms.pair.tolist() == pytest.approx(expected, rel=1e-4)
    squares = sum(
        float(table.weight.detach().double().square().sum()) for table in (net.user, net.item)
    )
    assert terms.extra.item() == pytest.approx(0.1 / 2 * squares, rel=1e-5)


@pytest.mark.parametrize("aggregate", ["mean", "user", "self"])
def test_gradients(aggregate):
    net = start(aggregate=aggregate, l2=0.1, dropout=0.3, loss=Loss(kind="bpr")).double()
    check_gradients(net, batch_of(net, 5))


@pytest.mark.parametrize("aggregate", ["mean", "user", "self"])
def test_what_is_ranked_is_what_was_trained(aggregate, monkeypatch):
    monkeypatch.setattr("recsys.models.simplex._BLOCK", 7)
    net = start(aggregate=aggregate, history=4, dropout=0.5)
    scorer = net.scorer()
    assert scorer.similarity == "cosine"
    for user in (0, 6, 7, 59):
        assert torch.allclose(scorer.user[user], vector(net, user, history_of(user, 4)), atol=1e-6)
    assert torch.allclose(
        scorer.user[60], 0.5 * net.user.weight[60]
    )  # who has met nothing is half of what it was


def test_dropout_is_of_the_scaled_user():
    """A coordinate is dropped or doubled after the scaling, so the result is not a cosine."""
    net = start(
        dropout=0.5, own=1.0, sampler=Sampler(negatives=1), loss=Loss(kind="ccl", margin=5.0)
    )
    batch = batch_of(net, 40)
    torch.manual_seed(3)
    kept = F.dropout(torch.ones(40, 5), 0.5)
    user, item = (
        F.normalize(table.weight[at].detach(), dim=1)
        for table, at in ((net.user, batch.user), (net.item, batch.pos))
    )
    torch.manual_seed(3)
    assert torch.allclose(net.loss(batch).pair, F.relu(1 - (kept * user * item).sum(1)), atol=1e-5)
    net.eval()
    assert torch.allclose(net.loss(batch).pair, 1 - (user * item).sum(1), atol=1e-5)


def test_with_nothing_of_the_history_it_is_matrix_factorisation():
    simplex = start(own=1.0, l2=0.0)
    mf = MF(dim=5, similarity="cosine", loss=LOSS, l2=0.0, sampler=Sampler(negatives=4)).build(
        TRAIN
    )
    with torch.no_grad():
        mf.user.weight.copy_(simplex.user.weight)
        mf.item.weight.copy_(simplex.item.weight)
    batch = batch_of(simplex)
    assert torch.allclose(simplex.loss(batch).pair, mf.loss(batch).pair, atol=1e-5)
    assert torch.equal(
        simplex.scorer().score(asked(torch.arange(9))), mf.scorer().score(asked(torch.arange(9)))
    )
    assert len(simplex.rows) == 2
    assert len(list(simplex.parameters())) == 2


@pytest.mark.parametrize("aggregate", ["mean", "user", "self"])
def test_users_without_any_history(aggregate):
    train = Dataset(
        Interactions(np.array([3]), np.array([1]), 5, 4), Vocab.range(5), Vocab.range(4)
    )
    net = start(train, aggregate=aggregate)
    assert torch.isfinite(net._vectors(torch.tensor([0, 1]))).all()
    assert torch.isfinite(net._vectors(torch.tensor([2, 3, 4]))).all()


def test_it_needs_negatives():
    with pytest.raises(InputError, match="compares with negatives"):
        SimpleX(sampler=Sampler(negatives=0))


@pytest.mark.parametrize("aggregate", ["mean", "self"])
def test_without_user_vectors_a_history_is_ranked_by_the_formula(aggregate):
    net = start(aggregate=aggregate, own=0.0, history=4)
    scorer = net.scorer()
    assert scorer.answers == {"user", "history"}
    lists = [[3, 1, 40], [9, 8, 7, 2, 5], [6]]
    scores = scorer.score(Queries.of_histories(Histories.of_lists(lists)))
    for row, items in zip(scores, lists, strict=True):
        z = vector(net, 0, items[-4:])
        expected = F.cosine_similarity(z[None], net.item.weight.detach())
        assert torch.allclose(row, expected, atol=1e-5)
    pairs = TRAIN.pairs
    users = [history_of(user) for user in range(TRAIN.n_users)]
    by_history = scorer.score(Queries.of_histories(Histories.of_lists(users)))
    by_user = scorer.score(asked(torch.arange(pairs.n_users)))
    assert torch.allclose(by_history, by_user, atol=1e-5)


@pytest.mark.parametrize(("aggregate", "own"), [("user", 0.0), ("mean", 0.1), ("self", 1.0)])
def test_with_user_vectors_a_history_is_refused(aggregate, own):
    scorer = start(aggregate=aggregate, own=own).scorer()
    assert scorer.answers == {"user"}
    with pytest.raises(InputError, match="cannot answer a history"):
        scorer.score(Queries.of_items([1]))
