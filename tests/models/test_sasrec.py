"""SASRec: its losses by a loop, a planted chain, histories, and settings that do not fit."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from asking import asked

from recsys.config import build
from recsys.data.histories import Histories
from recsys.data.query import Queries
from recsys.data.types import Dataset, Interactions, Vocab
from recsys.errors import InputError
from recsys.models import recipe
from recsys.models.ease import EASE
from recsys.models.sasrec import SASRec
from recsys.ranking import top_k
from recsys.sampling import Sampler, Sequences
from recsys.training.loop import Train, fit

SMALL = {"dim": 8, "length": 5, "dropout": 0.0}


def data(lists: list[list[int]], n_items: int, **columns: Any) -> Dataset:
    user = np.repeat(np.arange(len(lists)), [len(each) for each in lists])
    item = np.array([item for each in lists for item in each])
    time = np.array([step for each in lists for step in range(len(each))])
    pairs = Interactions(user, item, len(lists), n_items, time=time, **columns)
    return Dataset(pairs, Vocab.range(len(lists), "user"), Vocab.range(n_items, "item"))


def chain(users: int = 500, items: int = 40, events: int = 12) -> tuple[Dataset, np.ndarray]:
    """Return users who go from item i to i + 1 with chance 0.9, else anywhere; and their next."""
    rng = np.random.default_rng(0)
    walk = np.empty((users, events), dtype=int)
    walk[:, 0] = rng.integers(items, size=users)
    for step in range(1, events):
        follows = rng.random(users) < 0.9
        anywhere = rng.integers(items, size=users)
        walk[:, step] = np.where(follows, (walk[:, step - 1] + 1) % items, anywhere)
    return data(walk[:, :-1].tolist(), items), walk[:, -1]


def some_lists(users: int = 20, items: int = 13) -> list[list[int]]:
    rng = np.random.default_rng(1)
    return [rng.integers(0, items - 1, rng.integers(2, 9)).tolist() for _ in range(users)]


def by_loop(net: Any, batch: Any, setting: SASRec, counts: np.ndarray) -> list[float]:
    """Return the loss of each position, one score at a time, from the states of the network."""
    table = net.item.weight.detach().double()
    states = net.encoder(net.item(batch.item), batch.groups).detach().double()
    n = len(table)
    popular = setting.sampler.proposal == "popularity"
    q = counts**setting.sampler.alpha if popular else np.ones(n)
    log_q = np.log(np.maximum(q / q.sum(), 1e-12))
    losses = []
    for at, target in enumerate(batch.target.tolist()):
        scores = (table @ states[at]).numpy()
        if setting.loss == "softmax":
            losses.append(float(np.log(np.exp(scores).sum()) - scores[target]))
            continue
        pool = batch.neg if batch.neg.dim() == 1 else batch.neg[at]
        kept = torch.ones(len(pool), dtype=torch.bool) if batch.mask is None else batch.mask[at]
        negatives = pool[kept].tolist()
        assert target not in negatives
        if setting.loss == "gbce":
            share = len(pool) / (n - 1)
            beta = share * (setting.t * (1 - 1 / share) + 1 / share)
            own = beta * math.log1p(math.exp(-scores[target]))
            others = float(np.sum(np.log1p(np.exp(scores[negatives]))))
            losses.append((own + others) / (len(pool) + 1))
            continue
        if setting.loss == "bce":
            own = math.log1p(math.exp(-scores[target]))
            losses.append(own + float(np.mean(np.log1p(np.exp(scores[negatives])))))
            continue
        own, others = scores[target], scores[negatives]
        if setting.log_q == "both":
            own, others = own - log_q[target], others - log_q[negatives]
        else:
            others = others - log_q[negatives] - math.log(len(pool))
        losses.append(float(np.log(np.exp(own) + np.exp(others).sum()) - own))
    return losses


@pytest.mark.parametrize(
    "setting",
    [
        SASRec(**SMALL, loss="softmax"),
        SASRec(**SMALL, sampler=Sampler(pool="shared", negatives=9)),
        SASRec(**SMALL, sampler=Sampler(pool="shared", negatives=9, proposal="popularity")),
        SASRec(**SMALL, sampler=Sampler(pool="shared", negatives=9), log_q="negatives"),
        SASRec(
            **SMALL,
            sampler=Sampler(pool="shared", negatives=9, proposal="popularity", alpha=0.5),
            log_q="negatives",
        ),
        SASRec(**SMALL, sampler=Sampler(negatives=3)),
        SASRec(**SMALL, sampler=Sampler(negatives=3, proposal="popularity"), log_q="negatives"),
        SASRec(**SMALL, sampler=Sampler(negatives=1), loss="bce"),
        SASRec(**SMALL, sampler=Sampler(pool="shared", negatives=9), loss="bce"),
        SASRec(**SMALL, sampler=Sampler(negatives=3), loss="gbce", t=0.5),
        SASRec(**SMALL, sampler=Sampler(pool="shared", negatives=9), loss="gbce"),
    ],
)
def test_the_loss_is_that_of_a_loop(setting):
    torch.manual_seed(0)
    train = data(some_lists(), 13)
    net = setting.build(train)
    with torch.no_grad():
        net.item.weight.mul_(3)
    targets = np.concatenate([each[1:][-5:] for each in some_lists()])
    counts = np.bincount(targets, minlength=13)
    (batch,) = net.stream.open(train, batch_size=1000, seed=0).epoch(0)
    terms = net.loss(batch)
    expected = by_loop(net, batch, setting, counts)
    assert terms.pair.tolist() == pytest.approx(expected, abs=2e-5)
    terms.total().backward()
    assert all(param.grad is not None for param in net.parameters())


def hits(scorer: Any, queries: Queries, target: np.ndarray) -> float:
    return float((top_k(scorer, queries, 1).item[:, 0] == target).mean())


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "sampled"},
        {"loss": "softmax"},
        {"variant": "ligr", "width": 2, "positions": "relative"},
        {"loss": "gbce", "dropout": 0.0},
    ],
)
def test_a_chain_is_found(changes):
    """The last item alone decides: a method that reads a set cannot know which is the last."""
    train, following = chain()
    config = Train(epochs=25, batch_size=512, lr=0.01, device="cpu")
    sampler = Sampler(pool="shared", negatives=64)
    if changes.get("loss") == "gbce":  # scores near 0 have small gradients: more steps
        config, sampler = replace(config, epochs=40, lr=0.02), replace(sampler, negatives=16)
    setting = SASRec(dim=16, length=11, sampler=sampler, **changes)
    every = np.arange(train.n_users)
    repeats = Queries.of_histories(train.log.histories, repeats=True)
    sasrec = fit(setting, train, None, config).scorer
    assert hits(sasrec, repeats, following) > 0.85
    assert hits(sasrec, Queries.of_users(every), following) > 0.85
    for other in (EASE(), recipe("popular")()) if changes == {"loss": "sampled"} else ():
        scorer = fit(other, train, None, config).scorer
        assert hits(scorer, Queries.of_users(every), following) < 0.6
        assert hits(scorer, Queries.of_users(every, train.pairs.csr), following) < 0.6


def test_the_order_is_an_input():
    lists = some_lists()
    turned = [each[::-1] for each in lists]
    config = Train(epochs=2, batch_size=40, device="cpu")
    scorers = [
        fit(SASRec(**SMALL), data(each, 13), None, config).scorer for each in (lists, turned)
    ]
    first, second = (scorer.score(asked(np.arange(20))) for scorer in scorers)
    assert not torch.allclose(first, second)


def test_a_stored_user_is_the_history_given():
    """To the bit, and with the events since training the answer changes."""
    train = data(some_lists(), 13)
    scorer = fit(SASRec(**SMALL), train, None, Train(epochs=2, batch_size=40, device="cpu")).scorer
    users = scorer.score(asked(np.arange(20)))
    assert torch.equal(users, scorer.score(Queries.of_histories(train.log.histories)))
    longer = Histories.of_lists([[*each, 3] for each in some_lists()])
    assert not torch.equal(users, scorer.score(Queries.of_histories(longer)))


def test_sessions_are_the_histories_of_training_and_users_keep_their_own():
    lists = [[1, 2, 3, 4], [5, 6, 7]]
    train = data(lists, 9, session=np.array([0, 0, 1, 1, 2, 2, 2]))
    setting = SASRec(**SMALL)
    net = setting.build(train)
    stream = net.stream.open(train, batch_size=99, seed=0)
    (batch,) = stream.epoch(0)
    assert stream.by_session
    assert sorted(zip(batch.item.tolist(), batch.target.tolist(), strict=True)) == [
        *((1, 2), (3, 4)),
        *((5, 6), (6, 7)),
    ]
    assert [each.tolist() for each in net.scorer().stored.histories] == lists
    by_user = replace(setting, sessions="user").build(train)
    assert not by_user.stream.open(train, batch_size=99, seed=0).by_session


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": "touched"},
        {"precision": "bfloat16"},
        {"precision": "bfloat16", "variant": "ligr", "positions": "relative"},
    ],
)
def test_other_ways_to_train(changes):
    train, following = chain(users=200, items=20)
    shape = {name: changes[name] for name in ("variant", "positions") if name in changes}
    how = {name: value for name, value in changes.items() if name not in shape}
    config = Train(epochs=15, batch_size=256, lr=0.02, device="cpu", **how)
    setting = SASRec(dim=16, length=11, sampler=Sampler(pool="shared", negatives=32), **shape)
    scorer = fit(setting, train, None, config).scorer
    assert hits(scorer, Queries.of_users(np.arange(200)), following) > 0.7


def test_the_full_softmax_reads_every_row():
    config = Train(epochs=1, rows="touched", device="cpu")
    with pytest.raises(InputError, match="every row has a gradient"):
        fit(SASRec(**SMALL, loss="softmax"), data(some_lists(), 13), None, config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 3}, "heads = 3 must divide dim = 8"),
        ({"sampler": Sampler(negatives=0)}, "loss = 'sampled' compares with negatives"),
        ({"loss": "bce", "log_q": "negatives"}, "log_q = 'negatives' has no effect"),
        ({"t": 0.5}, "t = 0.5 has no effect with loss = 'sampled'"),
        ({"positions": "absolute"}, "positions must be"),
        ({"sampler": Sampler(unit="triplet")}, "'triplet' has no effect on histories"),
        ({"length": 0}, "length must be at least 1|length"),
        ({"variant": "post-norm"}, "variant must be"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        SASRec(**{**SMALL, **changes})


def test_what_the_stream_reads_follows_from_the_settings():
    setting = build(SASRec, {"windows": "all", "sessions": "user", "batch_of": "histories"})
    sampler = Sampler(pool="shared", negatives=2048)
    assert setting.stream() == Sequences(50, sampler, "all", "user", "histories")
    assert replace(setting, loss="softmax").stream().sampler is None
