"""Heater against a loop over pairs; what its coin and its experts do; new items."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from asking import asked
from differences import check_gradients
from planted import two_camps

from recsys.data.splitting.splits import SplitRule, split
from recsys.errors import InputError
from recsys.models.heater import Experts, Heater
from recsys.models.ials import IALS
from recsys.nn.feature_layers import warm_items
from recsys.sampling import PairStream, Sampler
from recsys.training.loop import Train, fit

TRAIN, _ = two_camps()
TEACHER = IALS(dim=4, sweeps=3)


def start(train=TRAIN, **changes):
    torch.manual_seed(0)
    return Heater(
        **{"dim": 5, "hidden": (7, 6), "experts": 3, "preference": TEACHER, "mixed": 0.0} | changes
    ).build(train)


def batch_of(net, size=9):
    return next(PairStream(TRAIN.pairs, net.sampler, batch_size=size, seed=0).epoch(0))


@torch.no_grad()
@pytest.mark.parametrize("gate", ["tanh", "softmax"])
def test_experts_are_added_up(gate):
    torch.manual_seed(0)
    net, row = Experts(3, 2, 4, gate), torch.randn(5, 3)
    for x, got in zip(row, net(row), strict=True):
        logits = [float(net.gate.weight[e] @ x + net.gate.bias[e]) for e in range(4)]
        weights = (
            [math.tanh(z) for z in logits]
            if gate == "tanh"
            else [math.exp(z) / sum(map(math.exp, logits)) for z in logits]
        )
        for place in range(2):
            rows = [2 * e + place for e in range(4)]
            said = [math.tanh(float(net.maps.weight[r] @ x + net.maps.bias[r])) for r in rows]
            assert float(got[place]) == pytest.approx(
                sum(w * s for w, s in zip(weights, said, strict=True)), rel=1e-5
            )


@pytest.mark.parametrize("pool", ["own", "shared"])
@pytest.mark.parametrize("mixed", [0.0, 1.0])
def test_the_loss_is_its_definition(pool, mixed):
    net = start(mixed=mixed, likeness=0.3, sampler=Sampler(negatives=3, pool=pool))
    batch = batch_of(net)
    rows = torch.cat([batch.pos, batch.neg.reshape(-1)])
    with torch.no_grad():
        told = net.experts(net.features.values)
        given = told if mixed else net.teacher_item
        user, made = (
            net.user(net.teacher_user[batch.user]),
            net.item(given[rows]),
        )  # moments are of the whole batch
    expected = []
    for b in range(len(batch)):
        places = [b] + [
            len(batch) + (k if batch.shared else 3 * b + k)
            for k in range(3)
            if batch.mask is None or batch.mask[b, k]
        ]
        errors = [
            float(user[b] @ made[p] - net.teacher_user[batch.user[b]] @ net.teacher_item[rows[p]])
            ** 2
            for p in places
        ]
        expected.append(sum(errors) / len(errors))
    terms = net.loss(batch)
    assert terms.pair.tolist() == pytest.approx(expected, rel=1e-4)
    items = sorted(set(rows.tolist()))
    apart = [float((told[i] - net.teacher_item[i]).square().sum()) for i in items]
    assert terms.extra.item() == pytest.approx(0.3 * sum(apart) / len(items), rel=1e-4)
    assert start(likeness=0.0).loss(batch).extra is None


def test_gradients():
    net = start(mixed=0.5, likeness=0.5).double()
    check_gradients(net, batch_of(net), rel=1e-4)


def test_a_coin_says_how_an_item_enters():
    net, seen = start(mixed=0.3, sampler=Sampler(negatives=20)), []
    net.item.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    batch = batch_of(net, 50)
    told, own = net.experts(net.features.values).detach(), net.teacher_item
    by_features = []
    for _ in range(30):
        seen.clear()
        net.loss(batch)
        for item, row in zip(
            torch.cat([batch.pos, batch.neg.reshape(-1)]).tolist(), seen[0], strict=True
        ):
            if item == batch.pos[0]:
                assert torch.allclose(row, told[item], atol=1e-5) != torch.allclose(
                    row, own[item], atol=1e-5
                )
                by_features.append(torch.allclose(row, told[item], atol=1e-5))
    assert 0.1 < np.mean(by_features) < 0.5


def test_an_item_without_a_pair_enters_by_its_features_and_has_no_vector_to_be_like():
    net, seen = start(negatives_from="all", likeness=0.3), []
    net.item.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    batch = batch_of(net, 3)
    batch.neg[:] = 40
    extra = net.loss(batch).extra
    told = net.experts(net.features.values).detach()
    assert torch.allclose(seen[0][3:], told[40].expand(3, -1), atol=1e-6)
    distinct = sorted(set(batch.pos.tolist()))
    apart = [float((told[i] - net.teacher_item[i]).square().sum()) for i in distinct]
    assert extra.item() == pytest.approx(0.3 * sum(apart) / len(distinct), rel=1e-4)


def test_what_is_ranked():
    """Known items by their vectors, the new one by its features; moments and mode as at rest."""
    net = start(mixed=0.5)
    for _ in range(5):
        net.loss(batch_of(net))
    scorer = net.scorer()
    assert net.training
    net.eval()
    with torch.no_grad():
        rows = net.teacher_item.clone()
        assert torch.equal(rows[:40], TEACHER.build(TRAIN).item[:40])
        rows[40] = net.experts(net.features.values[40:])[0]
        assert torch.allclose(scorer.item, net.item(rows), atol=1e-6)
        assert torch.allclose(scorer.user, net.user(net.teacher_user), atol=1e-6)
    assert not any(name.startswith("taught") for name in net.state_dict())


def test_users_like_the_new_items_of_their_camp():
    train = split(two_camps(users=120)[0], SplitRule(by="new-item")).train
    new = np.flatnonzero(~warm_items(train))
    scorer = fit(
        Heater(dim=8, preference=IALS(dim=8)),
        train,
        None,
        Train(epochs=6, batch_size=64, lr=0.03, device="cpu"),
    ).scorer
    scores, even, odd = (
        scorer.score(asked(torch.arange(120))).numpy(),
        new[new % 2 == 0],
        new[new % 2 == 1],
    )
    right = (
        scores[::2][:, even].mean(1) > scores[::2][:, odd].mean(1),
        scores[1::2][:, odd].mean(1) > scores[1::2][:, even].mean(1),
    )
    assert np.mean(right) > 0.95, "popularity knows nothing of them: a half"


def test_features_of_new_items_are_not_seen_in_training():
    changed = two_camps()[0]
    for table in changed.features.values():
        table.values[40] += 7
    config = Train(epochs=2, batch_size=64, device="cpu")
    one, other = (
        fit(Heater(dim=5, preference=TEACHER), train, None, config).scorer
        for train in (TRAIN, changed)
    )
    assert torch.equal(one.user, other.user)
    assert torch.equal(one.item[:40], other.item[:40])
    assert not torch.equal(one.item[40], other.item[40])


def test_mixed_precision():
    done = fit(
        Heater(dim=5, preference=TEACHER),
        TRAIN,
        None,
        Train(epochs=1, batch_size=64, device="cpu", precision="bfloat16"),
    )
    assert torch.isfinite(done.scorer.item).all()


def test_it_needs_negatives():
    with pytest.raises(InputError, match="compares with negatives"):
        Heater(sampler=Sampler(negatives=0))
