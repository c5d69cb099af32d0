"""FPMC: hand-computed scores and gradients, a loop, a planted chain, users and histories."""

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
from recsys.models.fpmc import FPMC, trailing_mean
from recsys.nn.losses import Loss
from recsys.ranking import top_k
from recsys.sampling import Sampler, SequenceBatch
from recsys.scorer import ChainFactors, StoredHistories, from_state
from recsys.tensors import load_scorer, save_scorer
from recsys.training.loop import Train, fit

N, DIM = 6, 3


def tables() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return VUI of one user, VLI and [VIU, VIL] of items 1 to 6, by formula."""
    j = torch.arange(DIM, dtype=torch.float64)
    i = torch.arange(1, N + 1, dtype=torch.float64)[:, None]
    taste, after = torch.sin(i + 2 * j) / 2, torch.cos(i + 2 * j) / 2
    return torch.sin(1 + j)[None] / 2, torch.sin(2 * i + j) / 2, torch.cat([taste, after], 1)


def net_of_the_oracle() -> Any:
    train = data([[1, 4, 3]], N)
    net = FPMC(dim=DIM, last=2, l2=0.0).build(train).double()
    with torch.no_grad():
        for table, values in zip((net.user, net.previous, net.item), tables(), strict=True):
            table.weight.copy_(values)
    return net


def test_scores_loss_and_gradients_by_hand():
    """The basket holds items 2 and 5, the target is 4, the negative is 6."""
    net = net_of_the_oracle()
    item, target = torch.tensor([1, 4]), torch.tensor([4, 3])
    neg = torch.tensor([[0], [5]])
    batch = SequenceBatch(torch.tensor([0]), item, target, ((2, 1),), neg, None, None, 0, 0)
    loss = net.loss(batch).pair[1]
    assert float(loss.detach()) == pytest.approx(0.921314423, abs=1e-9)
    loss.backward()
    expected = {
        ("user", 0): (0.143694545, 0.381903712, -0.461550589),
        ("previous", 1): (0.242880783, -0.166404610, -0.104383279),
    }
    for (name, row), values in expected.items():
        grad = getattr(net, name).weight.grad[row]
        assert grad.tolist() == pytest.approx(values, abs=1e-9)
    after = net.item.weight.grad[3, DIM:]
    assert after.tolist() == pytest.approx((0.195775396, 0.294818803, 0.122807162), abs=1e-9)


def test_the_scorer_by_hand():
    user, previous, item = tables()
    stored = StoredHistories(Histories.of_lists([[1, 4]]), 2)
    scorer = ChainFactors(user, previous, item, stored)
    scores = scorer.score(asked([0]))[0]
    assert float(scores[3]) == pytest.approx(-0.301806483, abs=1e-9)
    assert float(scores[5]) == pytest.approx(0.112017477, abs=1e-9)


def test_means_of_the_last_items():
    torch.manual_seed(0)
    groups = ((1, 2), (3, 1), (5, 2))
    x = torch.randn(15, 4).double()
    lengths = [length for length, count in groups for _ in range(count)]
    for last in (1, 2, 3, 9):
        rows = [
            part[max(0, at + 1 - last) : at + 1].mean(0)
            for part in torch.split(x, lengths)
            for at in range(len(part))
        ]
        assert torch.allclose(trailing_mean(x, groups, last), torch.stack(rows), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "sampler",
    [Sampler(negatives=3), Sampler(pool="shared", negatives=7), Sampler(negatives=1)],
)
@pytest.mark.parametrize("last", [1, 3])
def test_the_loss_is_that_of_a_loop(sampler, last):
    train = data(some_lists(), 13)
    torch.manual_seed(0)
    net = FPMC(dim=4, last=last, sampler=sampler, init_std=1.0, l2=0.0).build(train)
    (batch,) = net.stream.open(train, batch_size=1000, seed=0).epoch(0)
    user, previous, item = (
        table.weight.detach().double().numpy() for table in (net.user, net.previous, net.item)
    )
    lengths = [length for length, count in batch.groups for _ in range(count)]
    expected, at = [], 0
    for owner, length in zip(batch.owner.tolist(), lengths, strict=True):
        events = batch.item[at : at + length].tolist()
        for place in range(length):
            basket = events[max(0, place + 1 - last) : place + 1]
            query = np.concatenate([user[owner], previous[basket].mean(0)])
            row = at + place
            drawn = batch.neg if batch.neg.dim() == 1 else batch.neg[row]
            kept = drawn if batch.mask is None else drawn[batch.mask[row]]
            gap = query @ item[int(batch.target[row])] - item[kept.numpy()] @ query
            expected.append(float(np.log1p(np.exp(-gap)).mean()) if len(kept) else 0.0)
        at += length
    terms = net.loss(batch)
    assert terms.pair.tolist() == pytest.approx(expected, abs=2e-5)
    terms.total().backward()
    assert all(param.grad is not None for param in net.parameters())


@pytest.mark.parametrize("rows", ["dense", "touched"])
def test_a_chain_is_found(rows):
    train, following = chain()
    config = Train(epochs=12, batch_size=512, lr=0.02, rows=rows, device="cpu")
    sampler = Sampler(pool="shared", negatives=64)
    setting = FPMC(dim=16, loss=Loss(kind="softmax"), sampler=sampler)
    scorer = fit(setting, train, None, config).scorer
    every, histories = np.arange(train.n_users), train.log.histories
    assert hits(scorer, Queries.of_users(every), following) > 0.85
    assert hits(scorer, Queries.of_histories(histories, repeats=True), following) > 0.85
    bpr = FPMC(dim=16, sampler=Sampler(pool="shared", negatives=16), l2=0.01)
    scorer = fit(bpr, train, None, replace(config, epochs=25)).scorer
    assert hits(scorer, Queries.of_users(every), following) > 0.85


def scorer_of_some(last: int = 2) -> ChainFactors:
    train = data(some_lists(), 13)
    config = Train(epochs=3, batch_size=40, lr=0.05, device="cpu")
    return fit(FPMC(dim=8, last=last), train, None, config).scorer


def test_a_query_is_read_by_its_user_and_its_history():
    scorer, lists = scorer_of_some(), some_lists()
    every, histories = np.arange(20), Histories.of_lists(lists)
    users = scorer.score(asked(every))
    both = Queries(user=every, history=histories)
    assert torch.equal(scorer.score(both), users)
    # Without the user the first term is zero.
    alone = scorer.score(Queries.of_histories(histories))
    taste = scorer.user @ scorer.item[:, :8].T
    assert torch.allclose(users - alone, taste, rtol=0, atol=1e-5)
    assert not torch.allclose(users, alone, rtol=0, atol=1e-3)
    # Events since training count, and only the last ones do.
    longer = Histories.of_lists([[*each, 3] for each in lists])
    assert not torch.equal(scorer.score(Queries(user=every, history=longer)), users)
    cut = Histories.of_lists([each[-2:] for each in lists])
    assert torch.equal(scorer.score(Queries(user=every, history=cut)), users)
    empty = scorer.score(Queries.of_histories(Histories.of_lists([[]])))
    assert not empty.any()


def test_it_is_saved(tmp_path):
    scorer = scorer_of_some()
    save_scorer(tmp_path / "scorer.safetensors", scorer)
    loaded, _ = load_scorer(tmp_path / "scorer.safetensors")
    assert isinstance(loaded, ChainFactors)
    both = Queries(user=np.arange(20), history=Histories.of_lists(some_lists()))
    for queries in (asked(np.arange(20)), both, Queries.of_histories(both.history)):
        assert torch.allclose(loaded.score(queries), scorer.score(queries), rtol=0, atol=1e-6)
        lists = [top_k(each, queries, 5) for each in (loaded, scorer)]
        np.testing.assert_array_equal(lists[0].item, lists[1].item)


def test_a_damaged_state_is_refused():
    tensors, meta = scorer_of_some().state()
    for changed in (
        {"stored.item": tensors["stored.item"] + 13},
        {"user": tensors["user"][1:]},
    ):
        with pytest.raises(InputError, match="parts do not fit"):
            from_state({**tensors, **changed}, meta)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"last": 0}, "last"),
        ({"sampler": Sampler(negatives=0)}, "compares with negatives"),
        ({"sampler": Sampler(unit="triplet")}, "'triplet' has no effect on histories"),
        ({"windows": "first"}, "windows must be"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        FPMC(**changes)
