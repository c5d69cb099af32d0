"""GRU4Rec: its losses by a loop, a planted chain, output tables, settings that do not fit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from asking import asked
from test_sasrec import chain, data, hits, some_lists

from recsys.data.histories import Histories
from recsys.data.query import Queries
from recsys.errors import InputError
from recsys.models.gru4rec import GRU4Rec
from recsys.ranking import top_k
from recsys.sampling import Sampler
from recsys.tensors import load_scorer, save_scorer
from recsys.training.loop import Train, fit

SMALL = {"dim": 8, "length": 5, "dropout": 0.0}
LOSSES = ("softmax", "sampled", "bce", "bpr", "top1", "top1-max", "bpr-max")
SHARED = Sampler(pool="shared", negatives=9)
POPULAR = Sampler(pool="shared", negatives=64, proposal="popularity", alpha=0.5)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def loss_of(setting: GRU4Rec, scores: np.ndarray, target: int, neg: np.ndarray) -> float:
    """Return the loss of a position from the scores of all items and the rows of negatives."""
    own, others = scores[target], scores[neg]
    if setting.loss == "softmax":
        return float(np.log(np.exp(scores).sum()) - own)
    weight = np.exp(others) / np.exp(others).sum()
    squashed = sigmoid(others - own) + sigmoid(others**2)
    gain = float((weight * sigmoid(own - others)).sum())
    penalty = setting.score_penalty * float((weight * others**2).sum())
    values = {
        "sampled": np.log(np.exp(own) + np.exp(others).sum()) - own,
        "bce": -np.log(sigmoid(own)) - np.log(sigmoid(-others)).mean(),
        "bpr": -np.log(sigmoid(own - others)).mean(),
        "top1": squashed.mean(),
        "top1-max": (weight * squashed).sum(),
        "bpr-max": penalty - math.log(gain),
    }
    return float(values[setting.loss])


@pytest.mark.parametrize("constrained", [True, False])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_loss_is_that_of_a_loop(loss, constrained):
    torch.manual_seed(0)
    train = data(some_lists(), 13)
    setting = GRU4Rec(**SMALL, loss=loss, constrained=constrained, sampler=SHARED)
    net = setting.build(train)
    with torch.no_grad():
        net.item.weight.mul_(3)
        if net.output is not None:
            net.output.weight.copy_(2 * torch.randn_like(net.output.weight))
    (batch,) = net.stream.open(train, batch_size=1000, seed=0).epoch(0)
    states = net.encoder(net.item(batch.item), batch.groups).detach().double()
    table = (net.item if constrained else net.output).weight.detach().double()
    expected = []
    for at, target in enumerate(batch.target.tolist()):
        scores = (table[:, :8] @ states[at]).numpy()
        if not constrained:
            scores = scores + table[:, 8].numpy()
        kept = np.empty(0, dtype=int) if batch.neg is None else batch.neg[batch.mask[at]].numpy()
        expected.append(
            loss_of(setting, scores, target, kept) if len(kept) or loss == "softmax" else 0.0
        )
    terms = net.loss(batch)
    assert terms.pair.tolist() == pytest.approx(expected, abs=3e-5)
    terms.total().backward()
    assert all(param.grad is not None for param in net.parameters())


@pytest.mark.parametrize(
    "changes",
    [
        {"sampler": Sampler(pool="shared", negatives=64)},
        {"loss": "softmax", "constrained": False, "layers": 2},
        {"loss": "bpr-max", "score_penalty": 0.1, "sampler": POPULAR},
        {"loss": "top1-max", "sampler": Sampler(pool="shared", negatives=64)},
    ],
)
def test_a_chain_is_found(changes):
    train, following = chain()
    config = Train(epochs=15, batch_size=512, lr=0.02, device="cpu")
    scorer = fit(GRU4Rec(dim=16, length=11, **changes), train, None, config).scorer
    repeats = Queries.of_histories(train.log.histories, repeats=True)
    assert hits(scorer, repeats, following) > 0.85
    assert hits(scorer, Queries.of_users(np.arange(train.n_users)), following) > 0.85


@pytest.mark.parametrize("constrained", [True, False])
def test_answers_are_kept_on_disk_and_equal_those_to_histories(constrained, tmp_path):
    train = data(some_lists(), 13)
    setting = GRU4Rec(**SMALL, constrained=constrained)
    config = Train(epochs=3, batch_size=40, lr=0.05, device="cpu")
    scorer = fit(setting, train, None, config).scorer
    users = scorer.score(asked(np.arange(20)))
    assert torch.equal(users, scorer.score(Queries.of_histories(train.log.histories)))
    longer = Histories.of_lists([[*each, 3] for each in some_lists()])
    assert not torch.equal(users, scorer.score(Queries.of_histories(longer)))
    save_scorer(tmp_path / "scorer.safetensors", scorer)
    loaded, _ = load_scorer(tmp_path / "scorer.safetensors")
    again = loaded.score(asked(np.arange(20)))
    assert torch.allclose(again, users, rtol=0, atol=1e-5)
    lists = top_k(loaded, Queries.of_histories(train.log.histories, repeats=True), 13)
    order = np.take_along_axis(again.numpy(), lists.item, 1)
    assert np.allclose(order, lists.score, rtol=0, atol=1e-5)  # the bias is in the lists too


def test_the_bias_is_that_of_the_output_table():
    net = GRU4Rec(**SMALL, constrained=False).build(data(some_lists(), 13))
    before = net.scorer().score(asked(np.arange(20)))
    with torch.no_grad():
        net.output.weight[4, -1] += 2.0
    after = net.scorer().score(asked(np.arange(20)))
    assert torch.allclose(after[:, 4], before[:, 4] + 2, rtol=0, atol=1e-6)
    others = [item for item in range(13) if item != 4]
    assert torch.equal(after[:, others], before[:, others])


def test_only_touched_rows_move():
    train = data(some_lists(), 13)
    for constrained in (True, False):
        setting = GRU4Rec(**SMALL, constrained=constrained, sampler=SHARED)
        config = Train(epochs=1, batch_size=40, rows="touched", device="cpu")
        assert fit(setting, train, None, config).scorer.n_items == 13
    full = GRU4Rec(**SMALL, loss="softmax")
    with pytest.raises(InputError, match="every row has a gradient"):
        fit(full, train, None, Train(epochs=1, rows="touched", device="cpu"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampler": Sampler(negatives=0)}, "loss = 'sampled' compares with negatives"),
        ({"loss": "top1", "log_q": "negatives"}, "log_q = 'negatives' has no effect"),
        ({"score_penalty": 0.5}, "score_penalty = 0.5 has no effect with loss = 'sampled'"),
        ({"sampler": Sampler(unit="triplet")}, "'triplet' has no effect on histories"),
        ({"layers": 0}, "layers must be|layers"),
        ({"loss": "top2"}, "loss must be"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        GRU4Rec(**{**SMALL, **changes})
