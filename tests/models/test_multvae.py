"""Mult-VAE against its formula with full rows of the matrix, and torch's distributions."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from asking import asked
from differences import check_gradients
from planted import two_camps

from recsys.data.histories import Histories
from recsys.data.query import Queries
from recsys.models.multvae import MultVAE
from recsys.sampling import UserStream
from recsys.training.loop import Train, fit
from recsys.training.progress import StepDone

TRAIN, _ = two_camps()


def start(**changes):
    torch.manual_seed(0)
    net = MultVAE(**{"dim": 3, "hidden": 4} | changes).build(TRAIN)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0, 0.5)
    return net


def batch_of(size=6):
    return next(UserStream(TRAIN.pairs, batch_size=size, seed=0).epoch(0))


def row(user: int) -> torch.Tensor:
    x = torch.zeros(TRAIN.n_items)
    x[TRAIN.pairs.item[TRAIN.pairs.user == user].astype(int)] = 1.0
    return x


def encode(net, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    hidden = torch.tanh(net.input.weight.detach().T @ x + net.input_bias.detach())
    both = net.to_z.weight.detach() @ hidden + net.to_z.bias.detach()
    return both[: net.recipe.dim], both[net.recipe.dim :]


def decode(net, z: torch.Tensor) -> torch.Tensor:
    hidden = torch.tanh(net.from_z.weight.detach() @ z + net.from_z.bias.detach())
    return net.output.weight.detach() @ hidden + net.output.bias.detach()


def test_the_loss_is_its_definition():
    net = start(dropout=0.3, kl=0.7, anneal=0)
    batch = batch_of()
    torch.manual_seed(5)
    terms = net.loss(batch)
    torch.manual_seed(5)
    factor = F.dropout(torch.ones(len(batch.item)), 0.3)
    noise = torch.randn(6, 3)
    expected = []
    for b, user in enumerate(batch.user.tolist()):
        x = row(user)
        seen = x / math.sqrt(float(x.sum()))
        for place in (batch.owner == b).nonzero().view(-1).tolist():
            seen[batch.item[place]] *= factor[place]
        mean, log_variance = encode(net, seen)
        chance = torch.softmax(decode(net, mean + noise[b] * torch.exp(log_variance / 2)), 0)
        divergence = torch.distributions.kl_divergence(
            torch.distributions.Normal(mean, torch.exp(log_variance / 2)),
            torch.distributions.Normal(torch.zeros(3), torch.ones(3)),
        ).sum()
        likelihood = sum(math.log(float(chance[item])) for item in range(TRAIN.n_items) if x[item])
        expected.append(0.7 * float(divergence) - likelihood)
    assert terms.extra is None
    assert terms.pair.tolist() == pytest.approx(expected, rel=1e-4)


def test_gradients():
    net = start(dropout=0.3, anneal=0).double()
    check_gradients(net, batch_of(5))


def test_the_weight_of_the_divergence_rises_with_the_steps_and_stops():
    net = start(kl=0.2, anneal=20)
    batch, seen = batch_of(), []
    for _ in range(8):
        seen.append(net.beta.item())
        net.constrain(batch)
    assert seen == pytest.approx([0.0, 0.05, 0.1, 0.15, 0.2, 0.2, 0.2, 0.2])
    assert start(kl=0.3, anneal=0).beta.item() == pytest.approx(0.3)
    assert MultVAE().anneal * MultVAE().kl == pytest.approx(40_000)


def test_the_count_of_steps_outlives_an_interruption(tmp_path):
    recipe = MultVAE(dim=3, hidden=4, anneal=30)
    config = Train(epochs=3, batch_size=8, lr=0.03, device="cpu", checkpoint_seconds=0.0)
    whole = fit(recipe, TRAIN, None, config)

    def watch(event):
        if isinstance(event, StepDone) and (event.epoch, event.step) == (1, 3):
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fit(recipe, TRAIN, None, config, folder=tmp_path, watch=watch)
    again = fit(recipe, TRAIN, None, config, folder=tmp_path, resume=True)
    assert torch.equal(whole.scorer.user, again.scorer.user)
    other = fit(dataclasses.replace(recipe, anneal=31), TRAIN, None, config)
    assert not torch.equal(whole.scorer.user, other.scorer.user)  # the weight has a part in it


def test_what_is_ranked_has_nothing_hidden_and_no_noise(monkeypatch):
    monkeypatch.setattr("recsys.models.multvae._BLOCK", 9)
    net = start()
    users = [0, 8, 9, 60]  # the last has met nothing
    scores = net.scorer().score(asked(torch.tensor(users)))
    for b, user in enumerate(users):
        x = row(user)
        mean, _ = encode(net, x / max(1.0, math.sqrt(float(x.sum()))))
        assert torch.allclose(scores[b], decode(net, mean), atol=1e-5)
    assert net.training


def test_a_history_that_no_user_has_is_encoded_by_the_formula():
    net = start()
    lists = [[3, 1, 40], [], [7]]
    scores = net.scorer().score(Queries.of_histories(Histories.of_lists(lists)))
    for own, items in zip(scores, lists, strict=True):
        x = torch.zeros(TRAIN.n_items)
        x[items] = 1.0
        mean, _ = encode(net, x / max(1.0, math.sqrt(len(items))))
        assert torch.allclose(own, decode(net, mean), atol=1e-5)


def test_the_start():
    torch.manual_seed(0)
    net = MultVAE().build(TRAIN)
    assert net.sampler is None
    for weight in (net.input.weight, net.to_z.weight, net.from_z.weight, net.output.weight):
        bound = math.sqrt(6 / sum(weight.shape))
        assert 0.98 * bound < weight.abs().max().item() <= bound
    assert not any(
        bias.any() for bias in (net.input_bias, net.to_z.bias, net.from_z.bias, net.output.bias)
    )
