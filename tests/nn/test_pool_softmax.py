"""Softmax over a pool: hand-computed values, torch's cross-entropy, gradients, and its limits."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from oracle import wave
from torch import Tensor

from recsys.nn import own_scores as module
from recsys.nn.own_scores import own_scores
from recsys.nn.pool_softmax import pool_softmax

SCORES = torch.tensor([0.1, -0.3, 0.7, 0.5, 0.2, -0.1], dtype=torch.float64)  # of items 1..6
Q = torch.tensor([0.4, 0.1, 0.2, 0.2, 0.05, 0.05], dtype=torch.float64)
TARGET, POOL = 3, torch.tensor([1, 3, 0, 1])  # item 4, and the draws 2, 4, 1, 2


def one_row(
    mask: Tensor | None, own: Tensor = SCORES[TARGET], shift: Tensor | None = None
) -> float:
    """Return the loss of the target among the pool, for vectors of one dimension."""
    state = torch.ones(1, 1, dtype=torch.float64)
    pool = SCORES[POOL][:, None]
    return float(pool_softmax(state, own[None], pool, mask=mask, shift=shift))


def test_the_values_of_the_oracle():
    masked = (POOL != TARGET)[None]
    log_q = Q.log()
    assert one_row(None) == pytest.approx(1.272279273, abs=1e-9)
    assert one_row(masked) == pytest.approx(0.943508144, abs=1e-9)
    both = one_row(masked, SCORES[TARGET] - log_q[TARGET], log_q[POOL])
    assert both == pytest.approx(1.141823708, abs=1e-9)
    negatives = one_row(masked, shift=log_q[POOL] + math.log(len(POOL)))
    assert negatives == pytest.approx(1.298990628, abs=1e-9)


def problem(rows: int = 7, items: int = 11, dim: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Return states, the table of items and the targets, with gradients."""
    state = (3 * wave(1, rows, dim)).requires_grad_()
    table = (4 * wave(2, items, dim)).requires_grad_()
    return state, table, (torch.arange(rows) * 4) % items


@pytest.mark.parametrize("rows", [1, 3, 7])
@pytest.mark.parametrize("weighted", [False, True])
def test_over_all_items_it_is_the_cross_entropy(rows, weighted):
    """In blocks of one, three and all rows, as a mean and with a weight of its own for each row."""
    state, table, target = problem()
    weight = torch.linspace(0.5, 2.0, len(state)).double() if weighted else torch.tensor(1 / 7)
    expected = F.cross_entropy(state @ table.T, target, reduction="none")
    gradients = torch.autograd.grad((weight * expected).sum(), (state, table))
    own = (state * table[target]).sum(1)
    loss = pool_softmax(state, own, table, target=target, cells=rows * len(table))
    assert torch.allclose(loss, expected, rtol=0, atol=1e-12)
    for result, reference in zip(
        torch.autograd.grad((weight * loss).sum(), (state, table)), gradients, strict=True
    ):
        assert torch.allclose(result, reference, rtol=0, atol=1e-12)


def test_in_single_precision_it_is_the_cross_entropy():
    state, table, target = (each.detach().float() for each in problem(40, 900, 16))
    target = target.long()
    own = (state * table[target]).sum(1)
    expected = F.cross_entropy(state @ table.T, target, reduction="none")
    loss = pool_softmax(state, own, table, target=target, cells=3 * 900)
    assert torch.allclose(loss, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cells", [4, 12, 1000])
def test_its_gradients_are_those_of_differences(cells):
    state, table, _ = problem(6, 4, 3)
    own = (state.detach() * wave(3, 6, 3)).sum(1).requires_grad_()
    mask = torch.ones(6, 4, dtype=torch.bool)
    mask[[0, 2, 5], [1, 3, 0]] = False
    shift = wave(5, 4)
    weight = wave(7, 6)

    def weighted(state: Tensor, own: Tensor, table: Tensor) -> Tensor:
        loss = pool_softmax(state, own, table, mask=mask, shift=shift, cells=cells)
        return (weight * loss).sum()

    assert torch.autograd.gradcheck(weighted, (state, own, table))

    def mean(state: Tensor, own: Tensor, table: Tensor) -> Tensor:
        return pool_softmax(state, own, table, mask=mask, shift=shift, cells=cells).mean()

    assert torch.autograd.gradcheck(mean, (state, own, table))


@pytest.mark.parametrize("rows", [1, 3, 300])
def test_scores_of_own_items_have_the_gradients_of_a_look_up(rows, monkeypatch):
    monkeypatch.setattr(module, "_ELEMENTS", 64)  # blocks of three rows
    torch.manual_seed(0)
    state = torch.randn(rows, 5, dtype=torch.float64, requires_grad=True)
    table = torch.randn(11, 5, dtype=torch.float64, requires_grad=True)
    item = torch.randint(10, (rows, 4))  # the last item occurs nowhere
    item[0] = item[0, 0]
    weight = torch.randn(rows, 4, dtype=torch.float64)
    expected = torch.einsum("td,tkd->tk", state, table[item])
    scores = own_scores(state, table, item)
    assert torch.allclose(scores, expected, rtol=0, atol=1e-12)
    results, references = (
        torch.autograd.grad((weight * each).sum(), (state, table)) for each in (scores, expected)
    )
    for result, reference in zip(results, references, strict=True):
        assert torch.allclose(result, reference, rtol=0, atol=1e-12)


def test_a_row_whose_pool_is_masked_has_no_loss():
    state, table, _ = problem(2, 3, 4)
    mask = torch.tensor([[False, False, False], [True, False, True]])
    own = (state * wave(9, 2, 4)).sum(1)
    loss = pool_softmax(state, own, table, mask=mask)
    first, second = loss.tolist()
    assert first == 0
    assert second > 0
    loss.mean().backward()
    assert torch.isfinite(state.grad).all()
    assert not state.grad[0].any()


def test_large_scores_do_not_overflow():
    state, table, target = problem()
    state = (1e3 * state).float()
    own = (state * table.float()[target]).sum(1)
    loss = pool_softmax(state, own, table.float(), target=target)
    assert torch.isfinite(loss).all()
    loss.mean().backward()


def sampled(drawn: Tensor) -> float:
    """Return the loss by draws from a uniform proposal, log(K q) on the negatives only."""
    shift = torch.full((len(drawn),), math.log(len(drawn) / len(SCORES)), dtype=torch.float64)
    state, mask = torch.ones(1, 1, dtype=torch.float64), (drawn != TARGET)[None]
    pool = SCORES[drawn][:, None]
    return float(pool_softmax(state, SCORES[TARGET][None], pool, mask=mask, shift=shift))


def test_with_many_uniform_draws_it_tends_to_the_full_cross_entropy():
    full = float(F.cross_entropy(SCORES[None], torch.tensor([TARGET])))
    n = len(SCORES)
    assert sampled(torch.arange(n)) == pytest.approx(full, abs=1e-12)
    assert sampled(torch.arange(n).repeat(100)) == pytest.approx(full, abs=1e-12)
    generator = torch.Generator().manual_seed(0)
    few, many = (torch.randint(n, (k * n,), generator=generator) for k in (1, 10_000))
    assert abs(sampled(many) - full) < 0.01 < abs(sampled(few) - full)
