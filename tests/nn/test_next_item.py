"""Losses of the next item: numbers computed by hand, a naive loop, gradients, masks."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from recsys.nn.losses import Loss, pair_loss
from recsys.nn.next_item import gbce
from recsys.nn.pool_softmax import pool_softmax
from recsys.nn.session_losses import bpr_max, top1, top1_max

POS = torch.tensor([0.5], dtype=torch.float64)
NEG = torch.tensor([[0.1, -0.3, 0.7]], dtype=torch.float64)
SCORES = torch.tensor([0.1, -0.3, 0.7, 0.5, 0.2, -0.1], dtype=torch.float64)
Q = torch.tensor([0.4, 0.1, 0.2, 0.2, 0.05, 0.05], dtype=torch.float64)
DRAWN = torch.tensor([2, 4, 1, 2]) - 1


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (lambda: gbce(POS, NEG, None, n_items=10, t=0.75), 0.659744111),
        (lambda: gbce(POS, NEG, None, n_items=10, t=0.0), 0.719003734),
        (lambda: gbce(POS, NEG, None, n_items=10, t=1.0), 0.639990904),
        (lambda: bpr_max(POS, NEG, penalty=1.0), 0.894345334),
        (lambda: bpr_max(POS, NEG), 0.618558969),
        (lambda: top1_max(POS, NEG), 1.028974680),
        (lambda: top1(POS, NEG), 0.968754364),
        (lambda: pair_loss(Loss(kind="bpr"), POS, NEG, n_items=10), 0.560751596),
    ],
)
def test_numbers_by_hand(loss, expected):
    assert float(loss()) == pytest.approx(expected, abs=1e-9)


def sampled(mask: Tensor | None, log_q: tuple[Tensor, Tensor] | None) -> float:
    pos, neg = SCORES[3:4], SCORES[DRAWN][None]
    loss = Loss(kind="softmax")
    pair = float(pair_loss(loss, pos, neg, n_items=6, mask=mask, log_q=log_q))
    # The pool that a batch shares: scores are inner products with one coordinate.
    one = torch.ones(1, 1, dtype=torch.float64)
    own, each = pos, None
    if log_q is not None:
        own, each = pos - log_q[0], log_q[1]
    pool = SCORES[DRAWN][:, None]
    shared = float(pool_softmax(one, own, pool, mask=mask, shift=each))
    assert shared == pytest.approx(pair, abs=1e-12)
    return pair


def test_sampled_softmax_by_hand():
    mask = (DRAWN != 3)[None]
    assert sampled(None, None) == pytest.approx(1.272279273, abs=1e-9)
    assert sampled(mask, None) == pytest.approx(0.943508144, abs=1e-9)
    assert sampled(mask, (Q[3:4].log(), Q[DRAWN].log())) == pytest.approx(1.141823708, abs=1e-9)
    negatives = (torch.zeros(1, dtype=torch.float64), Q[DRAWN].log() + math.log(4))
    assert sampled(mask, negatives) == pytest.approx(1.298990628, abs=1e-9)


def test_every_item_once_as_pool_is_the_full_softmax():
    torch.manual_seed(0)
    state, table = torch.randn(5, 3).double(), torch.randn(7, 3).double()
    target = torch.tensor([0, 3, 6, 2, 2])
    own = (state * table[target]).sum(1)
    mask = torch.arange(7) != target[:, None]
    expected = torch.nn.functional.cross_entropy(state @ table.T, target, reduction="none")
    assert torch.allclose(pool_softmax(state, own, table, mask=mask), expected, rtol=0, atol=1e-12)
    pair = pair_loss(Loss(kind="softmax"), own, state @ table.T, n_items=7, mask=mask)
    assert torch.allclose(pair, expected, rtol=0, atol=1e-12)


def naive(name: str, pos: float, neg: list[float]) -> float:
    """Return a loss by loops over the negatives."""

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    total = sum(math.exp(score) for score in neg)
    weights = [math.exp(score) / total for score in neg]
    if name == "bpr-max":
        gain = sum(w * sigmoid(pos - r) for w, r in zip(weights, neg, strict=True))
        return -math.log(gain) + 0.3 * sum(w * r * r for w, r in zip(weights, neg, strict=True))
    each = [sigmoid(r - pos) + sigmoid(r * r) for r in neg]
    if name == "top1":
        return sum(each) / len(each)
    return sum(w * value for w, value in zip(weights, each, strict=True))


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor | None], Tensor]] = {
    "top1": top1,
    "top1-max": top1_max,
    "bpr-max": lambda pos, neg, mask: bpr_max(pos, neg, mask, penalty=0.3),
    "gbce": lambda pos, neg, mask: gbce(pos, neg, mask, n_items=9, t=0.4),
}


@pytest.mark.parametrize("name", ["top1", "top1-max", "bpr-max"])
def test_a_masked_negative_does_not_count(name):
    torch.manual_seed(1)
    pos, neg = torch.randn(6).double(), 3 * torch.randn(6, 5).double()
    mask = torch.rand(6, 5) < 0.6
    mask[:, 0] = True
    values = LOSSES[name](pos, neg, mask)
    for row in range(6):
        expected = naive(name, float(pos[row]), neg[row][mask[row]].tolist())
        assert float(values[row]) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_differences(name):
    torch.manual_seed(2)
    pos = torch.randn(4).double().requires_grad_()
    neg = torch.randn(4, 5).double().requires_grad_()
    mask = torch.rand(4, 5) < 0.7
    mask[0] = False  # a position without negatives
    assert torch.autograd.gradcheck(lambda p, n: LOSSES[name](p, n, mask), (pos, neg))
    assert bool(LOSSES[name](pos, neg, mask).isfinite().all())


@pytest.mark.parametrize("scale", [1e2, 1e4])
@pytest.mark.parametrize("name", LOSSES)
def test_large_scores_stay_finite(name, scale):
    pos = torch.tensor([-scale, scale, 0.0], requires_grad=True)
    neg = (scale * torch.tensor([[1.0, -1.0], [1.0, 0.5], [-1.0, -1.0]])).requires_grad_()
    value = LOSSES[name](pos, neg, None)
    value.sum().backward()
    assert value.isfinite().all()
    assert pos.grad.isfinite().all()
    assert neg.grad.isfinite().all()


def test_gbce_is_calibrated_bce():
    torch.manual_seed(3)
    pos, neg = torch.randn(4).double(), torch.randn(4, 3).double()
    total = torch.nn.functional.softplus(neg).sum(1)
    bce = (torch.nn.functional.softplus(-pos) + total) / 4
    assert torch.allclose(gbce(pos, neg, None, n_items=50, t=0.0), bce, rtol=0, atol=1e-12)
    # The released form: BCE of a transformed score of the target.
    share, t = 3 / 49, 0.75
    beta = share * (t * (1 - 1 / share) + 1 / share)
    moved = -(torch.sigmoid(pos) ** -beta - 1).log()
    released = (torch.nn.functional.softplus(-moved) + total) / 4
    assert torch.allclose(gbce(pos, neg, None, n_items=50, t=t), released, rtol=0, atol=1e-12)
    # As many negatives as items: the share is at most 1, and beta is then 1.
    assert torch.allclose(gbce(pos, neg, None, n_items=3, t=t), bce, rtol=0, atol=1e-12)
