"""VBPR and DUIF against a loop over pairs."""

from __future__ import annotations

import math

import pytest
import torch
from asking import asked
from differences import check_gradients
from planted import two_camps

from recsys.errors import InputError
from recsys.models.duif import DUIF
from recsys.models.mf import MF
from recsys.models.vbpr import VBPR
from recsys.sampling import PairStream, Sampler

TRAIN, _ = two_camps()


def start(recipe=VBPR, **changes):
    torch.manual_seed(0)
    net = recipe(**{"dim": 4} | changes).build(TRAIN)
    with torch.no_grad():
        for parameter in net.parameters():
            if not parameter.any():
                parameter.normal_()  # biases start at zero, where a mistake would not be seen
    return net


def batch_of(net, size=9):
    return next(PairStream(TRAIN.pairs, net.sampler, batch_size=size, seed=0).epoch(0))


def vector(net, item: int) -> torch.Tensor:
    told = net.map(net.features.values[item])
    return (
        torch.cat([net.item.weight[item], told]) if isinstance(net.recipe, VBPR) else told
    ).detach()


def score(net, user: int, item: int) -> float:
    value = float(net.user.weight[user].detach() @ vector(net, item))
    if getattr(net, "item_bias", None) is not None:
        value += float(net.item_bias[item].detach())
    if getattr(net, "content_bias", None) is not None:
        value += float(net.content_bias.detach() @ net.features.values[item])
    return value


CASES = [
    (VBPR, {}),
    (VBPR, {"item_bias": True}),
    (VBPR, {"content_bias": True}),
    (VBPR, {"item_bias": True, "content_bias": True, "norms": "squared"}),
    (DUIF, {}),
]


@pytest.mark.parametrize(("recipe", "changes"), CASES)
@pytest.mark.parametrize("pool", ["own", "shared"])
def test_the_loss_is_its_definition(recipe, changes, pool):
    net = start(recipe, l2=0.3, sampler=Sampler(negatives=3, pool=pool), **changes)
    batch, expected, rows = batch_of(net), [], [[], [], []]
    for b in range(len(batch)):
        user, item = int(batch.user[b]), int(batch.pos[b])
        others = batch.neg.tolist() if batch.shared else batch.neg[b].tolist()
        kept = [j for k, j in enumerate(others) if batch.mask is None or batch.mask[b, k]]
        expected.append(
            sum(math.log1p(math.exp(score(net, user, j) - score(net, user, item))) for j in kept)
            / len(kept)
        )
        rows[0].append(net.user.weight[user].detach())
        rows[1].append(vector(net, item))
        rows[2] += [] if batch.shared and b else [vector(net, j) for j in others]
    terms = net.loss(batch)
    assert terms.pair.tolist() == pytest.approx(expected, rel=1e-4)
    norms = [float(torch.stack(part).norm()) for part in rows]
    if recipe is DUIF:
        extra = sum(norm**2 for norm in norms)
    else:
        extra = (
            sum(norm**2 for norm in norms) / 2 if changes.get("norms") == "squared" else sum(norms)
        )
    assert terms.extra.item() == pytest.approx(0.3 * extra / len(batch), rel=1e-4)
    assert start(recipe, l2=0.0, **changes).loss(batch).extra is None


@pytest.mark.parametrize(("recipe", "changes"), CASES)
def test_gradients(recipe, changes):
    net = start(recipe, l2=0.3, **changes).double()
    check_gradients(net, batch_of(net))


@pytest.mark.parametrize(("recipe", "changes"), CASES)
def test_what_is_ranked_is_what_was_trained(recipe, changes):
    net = start(recipe, **changes)
    scores = net.scorer().score(asked(torch.tensor([0, 60])))
    for place, user in enumerate((0, 60)):
        assert scores[place].tolist() == pytest.approx(
            [score(net, user, item) for item in range(41)], abs=1e-5
        )


def test_without_features_it_is_matrix_factorisation():
    net = start(item_bias=True, l2=0.2, norms="squared")
    mf = MF(dim=4, item_bias=True, l2=0.2).build(TRAIN)
    with torch.no_grad():
        for parameter in net.map.parameters():
            parameter.zero_()
        net.user.weight[:, 4:] = 0
        mf.user.weight.copy_(net.user.weight[:, :4])
        mf.item.weight.copy_(net.item.weight)
        mf.bias.copy_(net.item_bias)
    batch = batch_of(net)
    assert torch.allclose(net.loss(batch).pair, mf.loss(batch).pair, atol=1e-6)
    assert net.loss(batch).extra.item() == pytest.approx(mf.loss(batch).extra.item(), rel=1e-5)


def test_new_items_have_their_content_alone_if_wanted():
    plain, content = start().scorer(), start(new_items="content").scorer()
    assert torch.equal(plain.item[:40], content.item[:40])
    assert torch.equal(plain.item[40, 4:], content.item[40, 4:])
    assert content.item[40, :4].tolist() == [0.0] * 4


def test_it_needs_negatives():
    with pytest.raises(InputError, match="compares with negatives"):
        VBPR(sampler=Sampler(negatives=0))
