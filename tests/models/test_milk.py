"""MILK against known values, a loop over pairs and environments, and DUIF."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from asking import asked
from differences import check_gradients
from oracle import set_to, three_by_four, wave
from planted import two_camps

from recsys.data.types import Dataset, FeatureTable
from recsys.errors import InputError
from recsys.models import milk
from recsys.models.duif import DUIF
from recsys.models.milk import MILK, dirichlet, environments
from recsys.sampling import Batch, PairStream, Sampler
from recsys.training.loop import Train, fit

TRAIN, _ = two_camps()
THREE = replace(
    TRAIN,
    features={
        **TRAIN.features,
        "audio": FeatureTable(np.cos(np.arange(82.0)).reshape(41, 2), np.arange(41) % 3 > 0),
    },
)


def start(train: Dataset = TRAIN, **changes):
    torch.manual_seed(0)
    return MILK(**{"dim": 5} | changes).build(train)


def batch_of(net, size=9):
    return next(PairStream(TRAIN.pairs, net.sampler, batch_size=size, seed=0).epoch(0))


def known(**changes):
    net = (
        MILK(**{"dim": 4, "alignment": 0.05, "invariance": 50.0, "l2": 1e-4} | changes)
        .build(three_by_four())
        .double()
    )
    set_to({net.user.weight: wave(11, 3, 4)})
    for table, linear, seeds, width in zip(
        net.tables, net.maps, ((3, 5, 6), (4, 7, 8)), (5, 3), strict=True
    ):
        set_to(
            {
                table.values: torch.nn.functional.normalize(wave(seeds[0], 4, width)),
                linear.weight: wave(seeds[1], 4, width),
            }
        )
        set_to({linear.bias: wave(seeds[2], 4)})
    return net


def test_the_known_values(monkeypatch):
    monkeypatch.setattr(
        milk, "dirichlet", lambda alpha, n: torch.tensor([0.8, 0.2], dtype=torch.float64)
    )
    batch = Batch(
        torch.arange(3),
        torch.tensor([0, 1, 2]),
        torch.tensor([1, 2, 3]),
        torch.tensor([[3], [0], [1]]),
        None,
        None,
        0,
        0,
    )
    net = known()
    total = net.loss(batch).total()
    total.backward()
    assert total.item() == pytest.approx(2.49175962, abs=1e-6)
    norms = [
        float(parameter.grad.norm())
        for parameter in (net.user.weight, net.maps[0].weight, net.maps[1].weight)
    ]
    assert norms == pytest.approx([2.16085075, 1.84381309, 0.29499316], abs=1e-6)
    bpr = 0.71972615 + 0.80134957 + 0.65320479
    assert net.loss(batch).pair.mean().item() == pytest.approx(bpr, abs=1e-6)
    assert known(over="mean").loss(batch).pair.mean().item() == pytest.approx(bpr / 3, abs=1e-6)
    for changes, expected in (
        ({"alignment": 1.0}, 0.83887934),
        ({"l2": 1.0}, 2.48890647),
        ({"invariance": 1.0}, 0.0055057250),
    ):
        only = {"alignment": 0.0, "invariance": 0.0, "l2": 0.0} | changes
        assert known(**only).loss(batch).extra.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("mixing", ["cyclic", "independent", "none"])
@pytest.mark.parametrize("pool", ["own", "shared"])
@pytest.mark.parametrize("train", [TRAIN, THREE], ids=["two", "three"])
def test_the_loss_is_its_definition(mixing, pool, train, monkeypatch):
    net = start(
        train,
        mixing=mixing,
        alignment=0.3,
        l2=0.2,
        invariance=2.0,
        sampler=Sampler(negatives=3, pool=pool),
    )
    batch, n = batch_of(net, 30), len(train.features)
    theta = environments(0.5, n, mixing).float()
    monkeypatch.setattr(milk, "environments", lambda *_: theta.double())
    names, told = (
        list(train.features),
        torch.stack([f(t.values) for f, t in zip(net.maps, net.tables, strict=True)], 1).detach(),
    )
    losses, squares = [], 0.0
    for e, weights in enumerate(theta):
        vectors, row = torch.einsum("m,imd->id", weights, told), []
        for b in range(len(batch)):
            user = net.user.weight[batch.user[b]].detach()
            others = batch.neg.tolist() if batch.shared else batch.neg[b].tolist()
            kept = [j for k, j in enumerate(others) if batch.mask is None or batch.mask[b, k]]
            row.append(
                sum(
                    math.log1p(math.exp(float(user @ (vectors[j] - vectors[batch.pos[b]]))))
                    for j in kept
                )
                / len(kept)
            )
            if not e:
                squares += float(
                    user.square().sum()
                    + sum(vectors[j].square().sum() for j in (int(batch.pos[b]), *others))
                )
        losses.append(row)
    terms = net.loss(batch)
    assert terms.pair.tolist() == pytest.approx(np.sum(losses, axis=0), rel=1e-4)
    extra = 0.2 * squares / len(batch)
    extra += 2.0 * float(np.var(np.mean(losses, axis=1), ddof=1)) if len(theta) > 1 else 0
    for one in range(n):
        for other in range(one + 1, n):
            both = [
                i
                for i in set(batch.pos.tolist())
                if train.features[names[one]].present[i] and train.features[names[other]].present[i]
            ]
            assert len(both) < len(set(batch.pos.tolist())), "some lack one"
            extra += 0.3 * float(
                np.mean([float((told[i, one] - told[i, other]).square().mean()) for i in both])
            )
    assert terms.extra.item() == pytest.approx(extra, rel=1e-4)


def test_gradients():
    net = start(THREE, invariance=3.0, alignment=0.5).double()
    check_gradients(net, batch_of(net, 6))


def test_environments():
    torch.manual_seed(0)
    for n in (1, 2, 3, 5):
        theta = environments(0.3, n)
        assert theta.shape == (n + 1, n)
        assert torch.allclose(theta.sum(1), torch.ones(n + 1, dtype=torch.float64))
        assert theta[0].tolist() == [1 / n] * n
        for e in range(1, n):
            assert torch.equal(theta[e + 1], theta[e].roll(1)), "the last weight moves to the front"
    assert sorted(environments(0.3, 3)[1:].argmax(1).tolist()) == [0, 1, 2], (
        "each modality leads once"
    )
    assert not torch.equal(environments(0.3, 3)[1], environments(0.3, 3)[1]), "drawn anew"
    free = environments(0.3, 3, "independent")
    assert free.shape == (4, 3)
    assert not torch.equal(free[2], free[1].roll(1))
    assert environments(0.3, 3, "none").shape == (1, 3)


@pytest.mark.parametrize("alpha", [0.001, 0.3, 5.0])
def test_the_draws_are_of_a_dirichlet_distribution(alpha):
    torch.manual_seed(0)
    drawn = torch.stack([dirichlet(alpha, 3) for _ in range(4000)])
    assert torch.isfinite(drawn).all()
    assert drawn.mean(0).tolist() == pytest.approx([1 / 3] * 3, abs=0.03)
    assert drawn.var(0).tolist() == pytest.approx([2 / 9 / (3 * alpha + 1)] * 3, rel=0.1)


def test_with_one_environment_and_no_alignment_it_is_duif():
    net = start(mixing="none", alignment=0.0, l2=0.3)
    duif = DUIF(dim=5, l2=0.3).build(TRAIN)
    with torch.no_grad():
        duif.user.weight.copy_(net.user.weight)
        duif.map.weight.copy_(torch.cat([linear.weight for linear in net.maps], dim=1) / 2)
        for linear in net.maps:
            linear.bias.zero_()
    batch = batch_of(net)
    ours, theirs = net.loss(batch), duif.loss(batch)
    assert torch.allclose(ours.pair, theirs.pair, atol=1e-6)
    assert ours.extra.item() == pytest.approx(theirs.extra.item(), rel=1e-5)
    users = torch.arange(TRAIN.n_users)
    assert torch.allclose(
        net.scorer().score(asked(users)), duif.scorer().score(asked(users)), atol=1e-5
    )


def test_equal_losses_do_not_vary():
    """One modality alone makes all environments the same."""
    train = replace(TRAIN, features={"text": TRAIN.features["text"]})
    net, plain = (
        start(train, invariance=1e6, alignment=0.0, l2=0.0),
        start(train, mixing="none", alignment=0.0, l2=0.0),
    )
    batch = batch_of(net)
    assert net.loss(batch).extra.item() == pytest.approx(0, abs=1e-3)
    assert torch.allclose(net.loss(batch).pair, 2 * plain.loss(batch).pair, rtol=1e-5)


@pytest.mark.parametrize("recipe", [MILK, DUIF])
@pytest.mark.parametrize("pool", ["all", "warm"])
def test_negatives_are_of_the_pool(recipe, pool):
    net = recipe(dim=5, negatives_from=pool, sampler=Sampler(negatives=40)).build(TRAIN)
    drawn = torch.cat(
        [
            batch.neg.view(-1)
            for batch in PairStream(TRAIN.pairs, net.sampler, batch_size=99, seed=0).epoch(0)
        ]
    )
    counts = torch.bincount(drawn, minlength=41)
    assert (counts[40] > 0) == (pool == "all")
    assert counts[:40].min() > 0.7 * counts[:40].float().mean(), "all alike, not by popularity"


def test_new_items_are_ranked_by_what_they_look_like():
    """The new item, an even one, has an image and no text.

    Even users rank it above most odd items, odd users below most even ones.
    """
    scorer = fit(
        MILK(dim=8), TRAIN, None, Train(epochs=12, batch_size=64, lr=0.03, device="cpu")
    ).scorer
    scores = scorer.score(asked(torch.arange(60)))
    even, odd = scores[::2], scores[1::2]
    assert float((even[:, 40:] > even[:, 1:40:2]).float().mean()) > 0.8
    assert float((odd[:, 40:] < odd[:, 1:40:2]).float().mean()) > 0.8


def test_it_needs_negatives():
    for recipe in (MILK, DUIF):
        with pytest.raises(InputError, match="compares with negatives"):
            recipe(sampler=Sampler(negatives=0))
