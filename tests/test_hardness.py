"""Rules of hardness against loops, and against the chances they are to have."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.nn.hardness import fitting, mixed, mixture_log_q, one_of_top, resampled, soft_weights
from recsys.nn.losses import Loss, pair_loss

B, K = 6, 9


def scores(seed: int = 0, dtype=torch.float64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(B, K, generator=generator) < 0.6
    mask[0], mask[1] = False, torch.arange(K) == 4  # a pair without any, a pair with one
    return torch.randn(B, generator=generator, dtype=dtype), torch.randn(B, K, generator=generator, dtype=dtype), mask


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("top", [1, 3, 50])
def test_one_of_top_is_each_of_the_hardest_as_often(masked, top):
    _, neg, mask = scores()
    torch.manual_seed(0)
    places = torch.cat([one_of_top(neg, top, mask if masked else None) for _ in range(2000)], dim=1)
    for b in range(B):
        usable = [k for k in range(K) if not masked or mask[b, k]]
        best = sorted(usable, key=lambda k: -float(neg[b, k]))[:top]
        found = np.bincount(places[b].numpy(), minlength=K)
        if not best:
            continue  # a place all the same, that the mask takes out
        assert set(np.flatnonzero(found)) == set(best)
        assert found[best] == pytest.approx(2000 / len(best), abs=5 * math.sqrt(2000 / len(best)))


def test_one_of_the_top_one_is_the_hardest():
    pos, neg, mask = scores()
    place = one_of_top(neg, 1, mask)
    kept = pair_loss(Loss(), pos, neg.gather(1, place), n_items=99, mask=mask.gather(1, place))
    assert torch.allclose(kept, pair_loss(Loss(reduce="hardest"), pos, neg, n_items=99, mask=mask))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 999), st.sampled_from([0.1, 1.0]), st.sampled_from([0.1, 0.4]), st.sampled_from([-2.0, -1.0, 0.0]), st.booleans())
def test_fitting_is_a_loop(seed, alpha, beta, power, masked):
    pos, neg, mask = scores(seed)
    pos = pos.abs()
    place = fitting(pos, neg, alpha=alpha, beta=beta, power=power, mask=mask if masked else None)
    assert place.shape == (B, 1)
    for b in range(B):
        usable = [k for k in range(K) if not masked or mask[b, k]]
        apart = {k: abs(float(neg[b, k]) - beta * (float(pos[b]) + alpha) ** (power + 1)) for k in usable}
        if apart:
            assert int(place[b, 0]) in apart
            assert apart[int(place[b, 0])] == pytest.approx(min(apart.values()), abs=1e-12)


def test_a_nearer_positive_is_given_an_easier_negative():
    neg = torch.linspace(0, 3, 31).expand(2, -1)
    place = fitting(torch.tensor([0.1, 2.0]), neg, alpha=0.1, beta=0.4)
    assert neg[0, place[0, 0]] == pytest.approx(2.0)
    assert neg[1, place[1, 0]] == pytest.approx(0.2)
    assert fitting(torch.tensor([-5.0, -0.1]), neg, alpha=0.1, beta=0.4).tolist() == [[30], [30]]  # below alpha: as hard as there is


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("proposal", [False, True])
def test_resampled_is_a_draw_from_the_softmax(masked, proposal):
    _, neg, mask = scores()
    log_q = torch.randn(K, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) if proposal else None
    torch.manual_seed(0)
    place = resampled(neg, 20_000, log_q=log_q, temperature=0.7, mask=mask if masked else None)
    assert place.shape == (B, 20_000)
    for b in range(B):
        weight = [math.exp(float(neg[b, k]) / 0.7 - (float(log_q[k]) if proposal else 0.0)) if not masked or mask[b, k] else 0.0 for k in range(K)]
        if sum(weight):
            expected = np.array(weight) / sum(weight)
            found = np.bincount(place[b].numpy(), minlength=K) / 20_000
            assert np.abs(found - expected).max() < 5 * 0.5 / math.sqrt(20_000)
            assert not found[expected == 0].any()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 999), st.sampled_from([0.0, 0.1, 2.0]), st.booleans(), st.booleans())
def test_soft_weights_are_a_loop(seed, rho, masked, proposal):
    pos, neg, mask = scores(seed)
    each = F.softplus(neg - pos[:, None])
    log_q = torch.randn(B, K, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) if proposal else None
    got = soft_weights(each, rho, log_q=log_q, mask=mask if masked else None)
    for b in range(B):
        usable = [k for k in range(K) if not masked or mask[b, k]]
        losses = [float(each[b, k]) for k in usable]
        variance = np.var(losses, ddof=1) if len(losses) > 1 else 0.0
        tau = math.sqrt(variance / (2 * rho)) if rho and variance else math.inf
        raised = {k: math.exp(float(each[b, k]) / tau - (float(log_q[b, k]) if proposal else 0.0)) for k in usable}
        expected = [raised.get(k, 0.0) / sum(raised.values()) if raised else 0.0 for k in range(K)]
        assert got[b].tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_soft_weights_go_from_the_mean_to_the_hardest():
    pos, neg, _ = scores()
    each = F.softplus(neg - pos[:, None]).requires_grad_()
    assert torch.allclose(soft_weights(each, 0.0), torch.full((B, K), 1 / K, dtype=torch.float64))
    hardest = soft_weights(each, 1e6)
    assert torch.equal(hardest.argmax(1), each.argmax(1))
    assert (hardest.max(1).values > 0.999).all()
    values = [(soft_weights(each, rho) * each).sum() for rho in (0.0, 0.1, 1.0, 10.0)]
    assert values == sorted(values)
    assert not hardest.requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_losses_and_single_candidates_are_weighted_by_the_proposal(dtype):
    log_q = torch.tensor([0.1, 0.3], dtype=dtype).log()
    assert soft_weights(torch.full((1, 2), 0.7, dtype=dtype), 5.0, log_q=log_q)[0].tolist() == pytest.approx([0.75, 0.25], rel=1e-5)
    assert soft_weights(torch.full((2, 1), 0.7, dtype=dtype), 5.0).tolist() == [[1.0], [1.0]]
    assert torch.isfinite(soft_weights(torch.tensor([[1e-30, 2e-30, 0.0]], dtype=dtype), 5.0)).all()


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_mixed_is_a_loop(pooled, masked):
    generator = torch.Generator().manual_seed(0)
    user, pos, neg = (torch.randn(B, *shape, 4, generator=generator) for shape in ((1 if pooled else 3,), (3,), (K, 3)))
    mask = scores()[2]
    torch.manual_seed(4)
    got = mixed(user, pos, neg, mask=mask if masked else None)
    torch.manual_seed(4)
    share = torch.rand(B, 3)
    assert torch.equal(got, mixed(user, pos, neg, share, mask if masked else None))
    assert got.shape == (B, 3, 4)
    for b in range(B):
        for layer in range(3):
            usable = [k for k in range(K) if not masked or mask[b, k]]
            mixes = [share[b, layer] * pos[b, layer] + (1 - share[b, layer]) * neg[b, k, layer] for k in usable]
            if mixes:
                best = max(mixes, key=lambda mix: float(user[b, 0 if pooled else layer] @ mix))
                assert torch.allclose(got[b, layer], best, atol=1e-6)


def test_the_gradient_of_a_mix_is_that_of_its_two_parts():
    generator = torch.Generator().manual_seed(0)
    user, pos, neg = (torch.randn(2, *shape, 3, generator=generator).double().requires_grad_() for shape in ((2,), (2,), (4, 2)))
    share = torch.rand(2, 2, generator=generator).double()
    assert torch.autograd.gradcheck(lambda p, n: mixed(user, p, n, share), (pos, neg))
    mixed(user, pos, neg, share).sum().backward()
    assert user.grad is None
    assert torch.allclose(pos.grad, share[:, :, None].expand_as(pos))
    assert torch.allclose(neg.grad.sum(1), (1 - share)[:, :, None].expand_as(pos))
    assert ((neg.grad != 0).any(-1).sum(1) == 1).all()


def test_the_proposal_of_a_joined_pool():
    count = torch.tensor([6, 0, 3, 1])
    expected = [(20 * c / 10 + 30 / 4) / 50 for c in (6, 0, 3, 1)]
    assert mixture_log_q(count, 20, 30).exp().tolist() == pytest.approx(expected, rel=1e-6)
    assert mixture_log_q(count, 20, 30).exp().sum().item() == pytest.approx(1.0)
    assert mixture_log_q(count, 0, 5).exp().tolist() == pytest.approx([0.25] * 4)
    assert torch.isfinite(mixture_log_q(count, 5, 0)).all()
