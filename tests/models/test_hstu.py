"""HSTU as a method: its losses by a loop, a chain, times in training and in queries, settings."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from asking import asked
from test_sasrec import chain, data, hits, some_lists

from recsys.data.histories import Histories
from recsys.data.query import Queries
from recsys.data.types import Dataset
from recsys.errors import InputError
from recsys.models.hstu import HSTU
from recsys.sampling import Sampler
from recsys.tensors import load_scorer, save_scorer
from recsys.training.loop import Train, fit

SMALL = {"dim": 8, "length": 5, "dropout": 0.0}
CONFIG = Train(epochs=2, batch_size=40, device="cpu")


def without_times(train: Dataset) -> Dataset:
    log = train.log
    return replace(train, pairs=replace(log, time=None, order=log.time.astype(np.int32)))


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
@pytest.mark.parametrize("loss", ["softmax", "sampled", "bce", "gbce"])
@pytest.mark.parametrize("pool", ["shared", "own"])
def test_the_loss_is_that_of_a_loop(similarity, loss, pool):
    torch.manual_seed(0)
    train = data(some_lists(), 13)
    sampler = Sampler(pool=pool, negatives=4)
    setting = HSTU(**SMALL, similarity=similarity, loss=loss, sampler=sampler)
    net = setting.build(train)
    assert net.times == "past"
    (batch,) = net.stream.open(train, batch_size=1000, seed=0).epoch(0)
    states = net.encoder(net.item(batch.item), batch.groups, batch.time, batch.time)
    states, table = states.detach().double(), net.item.weight.detach().double()
    expected = []
    for at, target in enumerate(batch.target.tolist()):
        scores = (table @ states[at]).numpy()
        if similarity == "cosine":
            lengths = table.norm(dim=1).numpy() * float(states[at].norm())
            scores = scores / lengths / 0.05
        own = scores[target]
        if loss == "softmax":
            expected.append(float(np.logaddexp.reduce(scores) - own))
            continue
        drawn = batch.neg if batch.neg.dim() == 1 else batch.neg[at]
        drawn = drawn if batch.mask is None else drawn[batch.mask[at]]
        others = scores[drawn.numpy()]
        if loss == "sampled":
            expected.append(float(np.logaddexp.reduce([own, *others]) - own))
        elif loss == "bce":
            expected.append(float(np.logaddexp(0, -own) + np.logaddexp(0, others).mean()))
        else:
            share = 4 / 12
            beta = share * (0.75 * (1 - 1 / share) + 1 / share)
            total = beta * np.logaddexp(0, -own) + np.logaddexp(0, others).sum()
            expected.append(float(total / 5))
    terms = net.loss(batch)
    assert terms.pair.tolist() == pytest.approx(expected, abs=2e-4)
    terms.total().backward()
    assert all(param.grad is not None for param in net.parameters())


@pytest.mark.parametrize("changes", [{}, {"similarity": "dot", "loss": "softmax", "heads": 2}])
def test_a_chain_is_found(changes):
    train, following = chain(users=300, items=20)
    config = Train(epochs=12, batch_size=512, lr=0.01, device="cpu")
    sampler = Sampler(pool="shared", negatives=64)
    scorer = fit(HSTU(dim=16, length=11, sampler=sampler, **changes), train, None, config).scorer
    repeats = Queries.of_histories(train.log.histories, repeats=True)
    assert hits(scorer, repeats, following) > 0.85
    assert hits(scorer, Queries.of_users(np.arange(train.n_users)), following) > 0.85


@pytest.mark.parametrize("times", ["none", "past", "next"])
def test_a_stored_user_is_the_history_given(times, tmp_path):
    """To the bit, and also from a file."""
    train = data(some_lists(), 13)
    scorer = fit(HSTU(**SMALL, times=times), train, None, CONFIG).scorer
    users = scorer.score(asked(np.arange(20)))
    given = Queries.of_histories(train.log.histories)
    assert torch.equal(users, scorer.score(given))
    save_scorer(tmp_path / "scorer.safetensors", scorer)
    loaded, _ = load_scorer(tmp_path / "scorer.safetensors")
    assert torch.equal(loaded.score(given), loaded.score(asked(np.arange(20))))
    assert torch.allclose(loaded.score(given), users, rtol=0, atol=1e-5)
    history = train.log.histories
    slower = replace(history, time=history.time * 1000)
    changed = scorer.score(Queries.of_histories(slower))
    assert torch.equal(changed, users) == (times == "none")
    later = replace(given, now=np.full(20, 10**6))
    assert torch.equal(scorer.score(later), users) == (times != "next")


def test_the_unit_of_times_is_no_input():
    train = data(some_lists(), 13)
    times = train.log.time * 100
    logs = (replace(train.log, time=times), replace(train.log, time=times * 1000, time_unit="ms"))
    one, other = (
        fit(HSTU(**SMALL), replace(train, pairs=log), None, CONFIG).scorer for log in logs
    )
    users = asked(np.arange(20))
    assert torch.equal(one.score(users), other.score(users))
    assert torch.equal(one.score(Queries.of_histories(logs[1].histories)), other.score(users))


def test_times_follow_from_the_data_or_are_asked_for():
    train = data(some_lists(), 13)
    untimed = without_times(train)
    assert HSTU(**SMALL).build(train).times == "past"
    assert HSTU(**SMALL).build(untimed).times == "none"
    for times in ("past", "next"):
        with pytest.raises(InputError, match=f"times = '{times}' needs times"):
            HSTU(**SMALL, times=times).build(untimed)
    scorer = HSTU(**SMALL).build(train).scorer()
    with pytest.raises(InputError, match="the histories have no times") as caught:
        scorer.score(Queries.of_histories(Histories.of_lists(some_lists())))
    assert "times = 'none'" in caught.value.remedy
    untimed_scorer = HSTU(**SMALL).build(untimed).scorer()
    assert untimed_scorer.score(Queries.of_histories(Histories.of_lists([[1, 2]]))).shape == (1, 13)


def test_the_scores_are_cosines():
    torch.manual_seed(0)
    net = HSTU(**SMALL).build(data(some_lists(), 13))
    scores = net.scorer().score(asked(np.arange(20)))
    assert float(scores.abs().max()) <= 1 + 1e-6
    with torch.no_grad():
        net.item.weight[4] *= 3
    other = net.scorer().score(asked(np.arange(20)))
    without = [row for row, each in enumerate(some_lists()) if 4 not in each[-5:]]
    assert torch.allclose(other[without], scores[without], rtol=0, atol=1e-5)
    assert math.isclose(float(net.scorer().encoder.item.norm(dim=1).max()), 1.0, rel_tol=1e-5)


def test_only_touched_rows_move():
    train = data(some_lists(), 13)
    config = replace(CONFIG, rows="touched")
    for sampler in (Sampler(pool="shared", negatives=9), Sampler(negatives=3)):
        assert fit(HSTU(**SMALL, sampler=sampler), train, None, config).scorer.n_items == 13


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 3}, "heads = 3 must divide dim = 8"),
        ({"sampler": Sampler(negatives=0)}, "compares with negatives"),
        ({"loss": "bce", "log_q": "negatives"}, "log_q = 'negatives' has no effect"),
        ({"t": 0.5}, "t = 0.5 has no effect with loss = 'sampled'"),
        ({"similarity": "dot", "temperature": 0.1}, "temperature = 0.1 has no effect"),
        ({"times": "now"}, "times must be"),
        ({"sampler": Sampler(unit="triplet")}, "'triplet' has no effect on histories"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        HSTU(**{**SMALL, **changes})
