"""DropoutNet against a loop over pairs; what it does without an item's vector."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from asking import asked
from differences import check_gradients
from planted import two_camps

from recsys.errors import InputError
from recsys.models.dropoutnet import DropoutNet
from recsys.models.ials import IALS
from recsys.nn.towers import Tower
from recsys.sampling import PairStream, Sampler
from recsys.training.loop import Train, fit

TRAIN, _ = two_camps()


def start(**changes):
    torch.manual_seed(0)
    return DropoutNet(
        **{"dim": 5, "hidden": (7, 6), "preference": IALS(dim=4, sweeps=3), "dropout": 0.0}
        | changes
    ).build(TRAIN)


def batch_of(net, size=9):
    return next(PairStream(TRAIN.pairs, net.sampler, batch_size=size, seed=0).epoch(0))


def inputs(net, items: torch.Tensor) -> torch.Tensor:
    return torch.cat([net.teacher_item, net.features.values], dim=1)[items]


@pytest.mark.parametrize("pool", ["own", "shared"])
def test_the_loss_is_its_definition(pool):
    net = start(sampler=Sampler(negatives=3, pool=pool))
    batch = batch_of(net)
    rows = torch.cat([batch.pos, batch.neg.reshape(-1)])
    with torch.no_grad():
        user, made = (
            net.user(net.teacher_user[batch.user]),
            net.item(inputs(net, rows)),
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
    assert net.loss(batch).pair.tolist() == pytest.approx(expected, rel=1e-4)


def test_gradients():
    net = start(dropout=0.5).double()
    check_gradients(net, batch_of(net), rel=1e-4)


def test_what_is_left_out_is_the_vector_of_the_input():
    net, seen = start(dropout=0.5, sampler=Sampler(negatives=20)), []
    net.item.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    batch = batch_of(net, 50)
    net.loss(batch)
    rows = torch.cat([batch.pos, batch.neg.reshape(-1)])
    whole = inputs(net, rows)
    assert torch.equal(seen[0][:, 4:], whole[:, 4:]), "features stay"
    gone = (seen[0][:, :4] == 0).all(1)
    assert 0.4 < float(gone.float().mean()) < 0.6
    assert torch.equal(seen[0][~gone], whole[~gone])


def test_what_is_reproduced_is_ials():
    net = start()
    taught = IALS(dim=4, sweeps=3).build(TRAIN)
    assert torch.equal(net.teacher_user, taught.user)
    assert torch.equal(net.teacher_item[:40], taught.item[:40])
    assert not net.teacher_item[40].any()
    assert not any(name.startswith("taught") for name in net.state_dict())


def test_ranking_uses_the_running_moments_and_leaves_the_mode():
    net = start(dropout=0.5)
    for _ in range(5):
        net.loss(batch_of(net))
    scorer = net.scorer()
    assert net.training
    net.eval()
    with torch.no_grad():
        assert torch.allclose(scorer.item, net.item(inputs(net, torch.arange(41))), atol=1e-6)
        assert torch.allclose(scorer.user, net.user(net.teacher_user), atol=1e-6)
    net.scorer()
    assert not net.training


def test_a_single_row_has_no_variance():
    tower = Tower(3, (4,), 2)
    row = torch.randn(1, 3)
    before = tower.norms[0].running_mean.clone()
    inside = tower(row)
    assert torch.equal(tower.norms[0].running_mean, before)
    tower.eval()
    assert torch.equal(inside, tower(row))


def test_new_items_are_ranked_by_what_they_look_like():
    """The new item, an even one, has an image and no text."""
    scorer = fit(
        DropoutNet(dim=8), TRAIN, None, Train(epochs=20, batch_size=64, lr=0.01, device="cpu")
    ).scorer
    scores = scorer.score(asked(torch.arange(60))).numpy()
    even, odd = scores[::2], scores[1::2]
    assert np.mean(even[:, 40:] > even[:, 1:40:2]) > 0.8
    assert np.mean(odd[:, 40:] < odd[:, 1:40:2]) > 0.8


def test_it_needs_negatives():
    with pytest.raises(InputError, match="compares with negatives"):
        DropoutNet(sampler=Sampler(negatives=0))
