"""BERT4Rec: no leak of masked items, its losses by a loop, a chain, answers, settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from asking import asked
from test_sasrec import chain, data, hits, some_lists

from recsys.data.histories import Histories
from recsys.data.query import Queries
from recsys.errors import InputError
from recsys.models.bert4rec import BERT4Rec
from recsys.sampling import Masking, Sampler, Sequences
from recsys.tensors import load_scorer, save_scorer
from recsys.training.loop import Train, fit

SMALL = {"dim": 8, "length": 5, "dropout": 0.0}
SHARED = Sampler(pool="shared", negatives=9)


def built(**changes: Any) -> tuple[Any, Any]:
    """Return a network with random numbers as biases too, and a batch of all histories."""
    torch.manual_seed(0)
    train = data(some_lists(), 13)
    net = BERT4Rec(**{**SMALL, **changes}).build(train)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    (batch,) = net.stream.open(train, batch_size=1000, seed=0).epoch(0)
    return net, batch


@pytest.mark.parametrize("loss", ["softmax", "sampled", "bce", "gbce"])
@pytest.mark.parametrize("pool", ["shared", "own"])
def test_the_loss_is_that_of_a_loop(loss, pool):
    sampler = Sampler(pool=pool, negatives=4)
    net, batch = built(loss=loss, masked=0.4, sampler=sampler)
    vectors = net.item(batch.item)[:, :-1].detach().clone()
    vectors[batch.at] = net.mask.detach()
    states = net.encoder(vectors, batch.groups).detach().double()
    table = net.item.weight.detach().double()
    expected = []
    for at, (position, target) in enumerate(
        zip(batch.at.tolist(), batch.target.tolist(), strict=True)
    ):
        assert int(batch.item[position]) == target
        scores = (table[:, :-1] @ states[position] + table[:, -1]).numpy()
        own = scores[target]
        if loss == "softmax":
            expected.append(float(np.log(np.exp(scores).sum()) - own))
            continue
        drawn = batch.neg if batch.neg.dim() == 1 else batch.neg[at]
        drawn = drawn if batch.mask is None else drawn[batch.mask[at]]
        others = scores[drawn.numpy()]
        if loss == "sampled":
            expected.append(float(np.log(np.exp(own) + np.exp(others).sum()) - own))
        elif loss == "bce":
            softplus = np.log1p(np.exp(others))
            mean = softplus.mean() if len(others) else 0.0
            expected.append(float(np.log1p(np.exp(-own)) + mean))
        else:
            share = 4 / 12
            beta = share * (0.75 * (1 - 1 / share) + 1 / share)
            total = beta * np.log1p(np.exp(-own)) + np.log1p(np.exp(others)).sum()
            expected.append(float(total / 5))
    terms = net.loss(batch)
    assert terms.pair.tolist() == pytest.approx(expected, abs=5e-5)
    terms.total().backward()
    assert all(param.grad is not None for param in net.parameters())


def test_a_masked_item_is_not_read():
    net, batch = built(masked=0.4)
    before = net.states(net.item(batch.item)[:, :-1], batch)
    other = batch.item.clone()
    other[batch.at] = (other[batch.at] + 5) % 13
    assert torch.equal(net.states(net.item(other)[:, :-1], batch), before)
    seen = torch.ones(len(batch.item), dtype=torch.bool)
    seen[batch.at] = False
    first = int(seen.nonzero()[0])
    other = batch.item.clone()
    other[first] = (other[first] + 5) % 13
    assert not torch.equal(net.states(net.item(other)[:, :-1], batch), before)


def test_a_later_item_is_read():
    """The declared exception to causality: the state at a mask sees both sides."""
    net, _ = built()
    items = net.item.weight[torch.tensor([2, 5, 1, 7])][:, :-1].detach()
    other = items.clone()
    other[3] += 1.0
    one, two = (net.encoder(each, ((4, 1),)) for each in (items, other))
    assert not torch.isclose(one, two).all(1).any()


@pytest.mark.parametrize("length", [5, 20])
def test_a_query_is_answered_at_a_mask_behind_its_last_items(length):
    """As in training with the last position masked; of a long history the newest items count."""
    torch.manual_seed(0)
    net = BERT4Rec(dim=8, length=length, dropout=0.0).build(data(some_lists(), 13)).eval()
    lists = [*some_lists(), list(range(12)) * 3]
    scorer = net.scorer()
    assert scorer.encoder.length == length - 1
    answers = scorer.score(Queries.of_histories(Histories.of_lists(lists)))
    table = net.item.weight
    for history, answer in zip(lists, answers, strict=True):
        items = table[torch.tensor(history[-(length - 1) :])][:, :-1]
        vectors = torch.cat([items, net.mask[None]])
        with torch.no_grad():
            state = net.encoder(vectors, ((len(vectors), 1),))[-1]
        expected = table[:, :-1] @ state + table[:, -1]
        assert torch.allclose(answer, expected, rtol=0, atol=2e-5)


def test_a_chain_is_found():
    """With more steps than a causal encoder needs: few positions of a history are targets."""
    train, following = chain(users=200, items=12, events=9)
    config = Train(epochs=30, batch_size=256, lr=0.01, device="cpu")
    setting = BERT4Rec(dim=16, length=9, blocks=1, heads=1, dropout=0.0, last=1.0)
    scorer = fit(setting, train, None, config).scorer
    repeats = Queries.of_histories(train.log.histories, repeats=True)
    assert hits(scorer, repeats, following) > 0.85


def test_answers_are_kept_on_disk_and_equal_those_to_histories(tmp_path):
    train = data(some_lists(), 13)
    config = Train(epochs=2, batch_size=40, device="cpu")
    scorer = fit(BERT4Rec(**SMALL), train, None, config).scorer
    users = scorer.score(asked(np.arange(20)))
    assert torch.equal(users, scorer.score(Queries.of_histories(train.log.histories)))
    save_scorer(tmp_path / "scorer.safetensors", scorer)
    loaded, _ = load_scorer(tmp_path / "scorer.safetensors")
    assert torch.allclose(loaded.score(asked(np.arange(20))), users, rtol=0, atol=1e-5)


def test_the_bias_is_added_to_the_score():
    net, _ = built()
    before = net.scorer().score(asked(np.arange(20)))
    with torch.no_grad():
        net.item.weight[4, -1] += 2.0
    after = net.scorer().score(asked(np.arange(20)))
    assert torch.allclose(after[:, 4], before[:, 4] + 2, rtol=0, atol=1e-5)


def test_only_touched_rows_move():
    train = data(some_lists(), 13)
    config = Train(epochs=1, batch_size=40, rows="touched", device="cpu")
    setting = BERT4Rec(**SMALL, loss="sampled", sampler=SHARED)
    assert fit(setting, train, None, config).scorer.n_items == 13
    with pytest.raises(InputError, match="every row has a gradient"):
        fit(BERT4Rec(**SMALL), train, None, config)


def test_the_number_of_parameters_is_the_published_one():
    """On Beauty: items and a mask, positions, two blocks, the layer behind them, biases."""
    lists = [[*range(12_101)], [0, 1]]
    net = BERT4Rec().build(data(lists, 12_101))
    count = sum(each.numel() for each in net.parameters())
    assert count == 12_101 * 64 + 64 + 3_200 + 2 * 49_984 + 4_160 + 128 + 12_101


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 3}, "heads = 3 must divide dim = 8"),
        ({"loss": "sampled", "sampler": Sampler(negatives=0)}, "compares with negatives"),
        ({"log_q": "negatives"}, "log_q = 'negatives' has no effect with loss = 'softmax'"),
        ({"t": 0.5}, "t = 0.5 has no effect with loss = 'softmax'"),
        ({"length": 1}, "length"),
        ({"masked": 0.0}, "masked"),
        ({"loss": "sampled", "sampler": Sampler(unit="triplet")}, "'triplet' has no effect"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        BERT4Rec(**{**SMALL, **changes})


def test_what_the_stream_reads_follows_from_the_settings():
    setting = BERT4Rec(windows="all", sessions="user", batch_of="histories", masked=0.4)
    masking = Masking(0.4, 0.1)
    assert setting.stream() == Sequences(50, None, "all", "user", "histories", masking)
    sampled = replace(setting, loss="sampled").stream()
    assert sampled.sampler == Sampler(pool="shared", negatives=2048)
