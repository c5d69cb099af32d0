"""Partial-AUC losses: closed forms against loops over every pair.

Thresholds and saddle points are tested against the closed forms.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from recsys.evaluation.contexts import RankContext
from recsys.evaluation.metrics import parse
from recsys.nn.losses import Loss, pair_loss
from recsys.nn.partial_auc import (
    Saddle,
    cvar,
    instance_wise,
    moved,
    pair_square,
    square,
    threshold,
    top_share,
    weighted,
)

SHARES = (0.05, 0.1, 0.29, 0.3, 0.5, 1.0)


def scores(seed: int, n_pos: int, n_neg: int, tied: bool = False) -> tuple[Tensor, Tensor]:
    """Positives and negatives in [0, 1], double precision; tied: five levels."""
    generator = torch.Generator().manual_seed(seed)
    if tied:
        return tuple(
            torch.randint(0, 5, (n,), generator=generator).double() / 4 for n in (n_pos, n_neg)
        )
    return torch.rand(n_pos, generator=generator, dtype=torch.float64), torch.rand(
        n_neg, generator=generator, dtype=torch.float64
    )


def floor(share: float, n: int) -> int:
    return max(1, int(share * n + 1e-9))


def by_pairs(pos: Tensor, neg: Tensor, pos_share: float, neg_share: float, end: str) -> Tensor:
    """The mean over every kept pair."""
    pos = (
        pos.sort(descending=end == "lower-left").values[: floor(pos_share, len(pos))]
        if pos_share < 1
        else pos
    )
    neg = neg.sort(descending=True).values[: floor(neg_share, len(neg))]
    return torch.stack([(1 - p + n) ** 2 for p in pos for n in neg]).mean()


# --- the closed form


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**31),
    st.integers(1, 12),
    st.integers(1, 25),
    st.booleans(),
    st.sampled_from(SHARES),
    st.sampled_from(SHARES),
    st.sampled_from(["two-way", "lower-left"]),
)
def test_square_equals_the_mean_over_every_kept_pair(
    seed, n_pos, n_neg, tied, pos_share, neg_share, end
):
    pos, neg = scores(seed, n_pos, n_neg, tied)
    got = square(pos, neg, pos_share=pos_share, neg_share=neg_share, end=end)
    torch.testing.assert_close(
        got, by_pairs(pos, neg, pos_share, neg_share, end), rtol=0, atol=1e-12
    )


def test_square_has_the_gradient_of_the_loop():
    for end in ("two-way", "lower-left"):
        found = []
        for function in (square, by_pairs):
            pos, neg = (part.requires_grad_() for part in scores(3, 10, 30))
            value = (
                function(pos, neg, pos_share=0.3, neg_share=0.2, end=end)
                if function is square
                else function(pos, neg, 0.3, 0.2, end)
            )
            found.append(torch.cat(torch.autograd.grad(value, (pos, neg))))
        torch.testing.assert_close(*found, rtol=0, atol=1e-12)
        assert (found[0] != 0).sum() == 3 + 6, "only what is kept has a gradient"
    pos, neg = (part.requires_grad_() for part in scores(3, 6, 8))
    assert torch.autograd.gradcheck(
        lambda p, n: square(p, n, pos_share=0.5, neg_share=0.5), (pos, neg)
    )


def test_square_leaves_out_what_is_masked():
    pos, neg = scores(4, 5, 12)
    mask = torch.arange(12) % 3 != 0
    torch.testing.assert_close(
        square(pos, neg.view(3, 4), neg_share=0.5, mask=mask.view(3, 4)),
        square(pos, neg[mask], neg_share=0.5),
    )
    nothing = pos.clone().requires_grad_()
    assert square(nothing, neg, mask=torch.zeros(12, dtype=torch.bool)) == 0
    square(nothing, neg, mask=torch.zeros(12, dtype=torch.bool)).backward()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.booleans())
def test_fewer_and_harder_pairs_have_a_larger_loss(seed, tied):
    pos, neg = scores(seed, 20, 60, tied)
    hard = [float(square(pos, neg, neg_share=share)) for share in SHARES]
    assert hard == sorted(hard, reverse=True)
    hard = [float(square(pos, neg, pos_share=share, neg_share=0.3)) for share in SHARES]
    assert hard == sorted(hard, reverse=True)
    easy = [
        float(square(pos, neg, pos_share=share, neg_share=0.3, end="lower-left"))
        for share in SHARES
    ]
    assert easy == sorted(easy)


# --- pairs with negatives of their own


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**31),
    st.integers(1, 5),
    st.integers(1, 12),
    st.sampled_from(SHARES),
    st.booleans(),
)
def test_the_top_share_of_pair_squares_is_the_closed_form_of_each_row(seed, size, k, share, masked):
    generator = torch.Generator().manual_seed(seed)
    pos, neg = (
        torch.rand(size, generator=generator).double(),
        torch.rand(size, k, generator=generator).double(),
    )
    mask = torch.rand(size, k, generator=generator) < 0.6 if masked else None
    got = top_share(pair_square(pos, neg), share, mask)
    wanted = [
        square(pos[i], neg[i], neg_share=share, mask=None if mask is None else mask[i])
        for i in range(size)
    ]
    torch.testing.assert_close(
        got, torch.stack([value.reshape(()) for value in wanted]), rtol=0, atol=1e-12
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 12), st.sampled_from(SHARES))
def test_top_share_equals_a_sort(seed, k, share):
    generator = torch.Generator().manual_seed(seed)
    each, mask = torch.randn(6, k, generator=generator), torch.rand(6, k, generator=generator) < 0.5
    wanted = []
    for row, usable in zip(each, mask, strict=True):
        kept = row[usable].sort(descending=True).values
        wanted.append(kept[: floor(share, len(kept))].mean() if len(kept) else torch.tensor(0.0))
    torch.testing.assert_close(top_share(each, share, mask), torch.stack(wanted))
    full = torch.ones_like(mask)
    torch.testing.assert_close(top_share(each, share, full), top_share(each, share))


def test_top_share_of_a_pair_loss_is_what_the_loss_settings_mean():
    generator = torch.Generator().manual_seed(0)
    pos, neg = torch.randn(7, generator=generator), torch.randn(7, 40, generator=generator)
    wanted = pair_loss(Loss(kind="bpr", reduce="top", share=0.1), pos, neg, n_items=100)
    torch.testing.assert_close(
        top_share(torch.nn.functional.softplus(neg - pos[:, None]), 0.1), wanted
    )


# --- thresholds


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0.1, 0.25, 0.5, 1.0]), st.booleans())
def test_the_least_cvar_is_the_mean_of_the_top_share(seed, share, tied):
    generator = torch.Generator().manual_seed(seed)
    each = torch.rand(4, 20, generator=generator).double()
    each = (each * 4).round() / 4 if tied else each
    wanted = top_share(each, share)
    torch.testing.assert_close(
        cvar(each, threshold(each, share), share), wanted, rtol=0, atol=1e-12
    )
    least = torch.stack(
        [
            cvar(each, torch.full((4,), s, dtype=torch.float64), share)
            for s in torch.linspace(-1, 2, 61)
        ]
    ).amin(0)
    assert (least >= wanted - 1e-12).all()
    mask = torch.rand(4, 20, generator=generator) < 0.7
    for row in range(4):
        got = cvar(each[row : row + 1], each.new_tensor([0.3]), share, mask[row : row + 1])
        torch.testing.assert_close(
            got, cvar(each[row : row + 1, mask[row]], each.new_tensor([0.3]), share)
        )
    assert (cvar(each, each.new_ones(4), share, torch.zeros_like(mask)) == 0).all()


def test_thresholds_learn_their_place():
    each = torch.rand(3, 1000, generator=torch.Generator().manual_seed(5)).double()
    found = torch.zeros(3, dtype=torch.float64)
    for t in range(400):
        found = moved(found, each, 0.1, step=0.1 / (1 + t / 10))
    torch.testing.assert_close(cvar(each, found, 0.1), top_share(each, 0.1), rtol=0, atol=1e-3)
    start = torch.full((3,), 0.55, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(cvar(each, start, 0.1).sum(), start)
    torch.testing.assert_close(moved(start, each, 0.1, step=0.1), (start - 0.1 * slope).detach())
    mask = torch.arange(1000).expand(3, 1000) < 500
    torch.testing.assert_close(moved(start, each, 0.1, mask=mask), moved(start, each[:, :500], 0.1))


# --- re-weighting


def weights(t: Tensor, form: str, rate: float) -> Tensor:
    return (t + 1e-6) ** rate if form == "poly" else 1 - torch.exp(-rate * t)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**31),
    st.sampled_from(["poly", "exp"]),
    st.sampled_from([0.01, 0.5, 3.0]),
    st.booleans(),
)
def test_weighted_equals_the_mean_over_every_pair(seed, form, rate, both):
    pos, neg = scores(seed, 6, 9)
    over = weights(neg, form, rate)
    under = weights(1 - pos, form, rate) if both else torch.ones_like(pos)
    wanted = torch.stack(
        [
            under[i] * over[j] * (1 - p + n) ** 2
            for i, p in enumerate(pos)
            for j, n in enumerate(neg)
        ]
    )
    torch.testing.assert_close(
        weighted(pos, neg, form=form, rate=rate, both=both), wanted.mean(), rtol=1e-10, atol=0
    )
    each = pair_square(pos, neg.expand(6, 9), form=form, rate=rate, both=both)
    # 1 - exp(-rate n) of the loop cancels where n is small; the difference is of its last bits.
    torch.testing.assert_close(each, wanted.view(6, 9), rtol=1e-10, atol=1e-15)
    mask = torch.arange(9) < 4
    torch.testing.assert_close(
        weighted(pos, neg, form=form, rate=rate, mask=mask),
        weighted(pos, neg[:4], form=form, rate=rate),
    )


def test_weights_tend_to_one():
    pos, neg = scores(1, 20, 30)
    plain = square(pos, neg)
    torch.testing.assert_close(weighted(pos, neg, form="plain", rate=1.0, both=True), plain)
    far = [
        abs(float(weighted(pos, neg, form="poly", rate=rate, both=True) - plain))
        for rate in (1.0, 0.1, 0.01, 1e-4)
    ]
    assert far == sorted(far, reverse=True)
    assert far[-1] < 1e-3
    far = [
        abs(float(weighted(pos, neg, form="exp", rate=rate, both=True) - plain))
        for rate in (1.0, 10.0, 100.0, 1e5)
    ]
    assert far == sorted(far, reverse=True)
    assert far[-1] < 1e-3
    assert weighted(pos, neg, form="exp", rate=1e-9) < 1e-8


def test_the_gradient_of_the_weights_can_be_stopped():
    pos, neg = (part.requires_grad_() for part in scores(2, 5, 6))
    for form in ("poly", "exp"):
        assert torch.autograd.gradcheck(
            lambda p, n, form=form: weighted(p, n, form=form, rate=0.7, both=True), (pos, neg)
        )
        found = []
        for detach in (True, False):
            value = weighted(pos, neg, form=form, rate=0.7, both=True, detach=detach)
            found.append(torch.autograd.grad(value, neg)[0])
            each = pair_square(
                pos, neg.expand(5, 6), form=form, rate=0.7, both=True, detach=detach
            ).mean()
            torch.testing.assert_close(torch.autograd.grad(each, neg)[0], found[-1])
        under, over = weights(1 - pos, form, 0.7).detach(), weights(neg, form, 0.7).detach()
        held = (under[:, None] * over * (1 - pos[:, None] + neg).square()).mean()
        torch.testing.assert_close(torch.autograd.grad(held, neg)[0], found[0])
        assert not torch.allclose(*found)


# --- the minimax form


def saddle_of(pos: Tensor, neg: Tensor, pos_share: float, neg_share: float) -> Saddle:
    """Where the papers say it is: means, their difference, and thresholds of what is kept."""
    low, high = (
        pos.sort().values[: floor(pos_share, len(pos))],
        neg.sort(descending=True).values[: floor(neg_share, len(neg))],
    )
    a, b = low.mean(), high.mean()
    gamma = b - a
    under = (low - a).square() - 2 * (1 + gamma) * low
    over = (high - b).square() + 2 * (1 + gamma) * high
    return Saddle(a, b, gamma, under.min(), over.min())


REGIONS = [(1.0, 0.1), (1.0, 0.5), (0.5, 0.5), (0.3, 0.2)]


@pytest.mark.parametrize(("pos_share", "neg_share"), REGIONS)
def test_the_minimax_form_is_the_closed_form_at_its_saddle(pos_share, neg_share):
    pos, neg = scores(6, 40, 200)
    at = saddle_of(pos, neg, pos_share, neg_share)
    for free, inside in zip(at, at.bounded(two_way=pos_share < 1), strict=True):
        torch.testing.assert_close(free, inside)
    shares = {"pos_share": pos_share, "neg_share": neg_share}
    best = square(pos, neg, **shares)
    torch.testing.assert_close(instance_wise(pos, neg, at, **shares), best, rtol=0, atol=1e-12)
    for name in ("a", "b", "s_pos", "s_neg"):  # a minimum over each of these
        for step in (-0.05, 0.05):
            assert (
                instance_wise(pos, neg, at._replace(**{name: getattr(at, name) + step}), **shares)
                >= best - 1e-12
            ), name
    # The released optimisers descend gamma too, which ends at its bound of 1 and another value.
    assert (
        abs(float(instance_wise(pos, neg, at._replace(gamma=torch.tensor(1.0)), **shares) - best))
        > 0.02
    )


def solved(
    pos: Tensor, neg: Tensor, pos_share: float, neg_share: float, steps: int = 4000
) -> Tensor:
    """Descend in a, b and the thresholds, ascend in gamma, with falling steps; return the value."""
    two_way = pos_share < 1
    at = Saddle(*(torch.tensor(value, dtype=torch.float64) for value in (1.0, 0.0, 1.0, 0.0, 0.0)))
    shares = {"pos_share": pos_share, "neg_share": neg_share}
    for t in range(steps):
        here = Saddle(*(value.clone().requires_grad_() for value in at))
        slopes = torch.autograd.grad(
            instance_wise(pos, neg, here, **shares), here, allow_unused=True
        )
        rates = [r / (1 + t / 100) for r in (0.2, 0.2, -0.1, 0.5, 0.5)]
        at = Saddle(
            *(
                v - r * (0 if slope is None else slope)
                for v, r, slope in zip(at, rates, slopes, strict=True)
            )
        ).bounded(two_way=two_way)
    return instance_wise(pos, neg, at, **shares)


@pytest.mark.parametrize(("pos_share", "neg_share"), REGIONS)
def test_descent_and_ascent_reach_the_closed_form(pos_share, neg_share):
    pos, neg = scores(7, 40, 200)
    wanted = square(pos, neg, pos_share=pos_share, neg_share=neg_share)
    assert float(solved(pos, neg, pos_share, neg_share)) == pytest.approx(float(wanted), abs=1e-3)


def test_the_smooth_form_tends_to_the_hard_one():
    pos, neg = scores(8, 40, 200)
    at, shares = saddle_of(pos, neg, 0.5, 0.1), {"pos_share": 0.5, "neg_share": 0.1}
    hard = instance_wise(pos, neg, at, **shares)
    gaps = []
    for kappa in (2.0, 8.0, 32.0, 1e4):
        gap = float(instance_wise(pos, neg, at, **shares, kappa=kappa) - hard)
        assert 0 <= gap <= np.log(2) / kappa * (1 / 0.5 + 1 / 0.1) + 1e-12
        gaps.append(gap)
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 1e-3
    assert instance_wise(pos, neg, at, **shares, omega=1.0) == pytest.approx(
        float(hard - at.gamma**2)
    )


# --- what they are for


def camps(seed: int, n_pos: int, n_neg: int) -> tuple[Tensor, Tensor]:
    """Return positives and negatives.

    The first feature separates 19 of 20 negatives from the positives. The second feature is noise
    on those, and separates the twentieth, which looks better than the positives.
    """
    generator = torch.Generator().manual_seed(seed)
    spread = torch.tensor([0.4, 1.0], dtype=torch.float64)
    pos, neg = (
        torch.randn(n, 2, generator=generator, dtype=torch.float64) * spread for n in (n_pos, n_neg)
    )
    hard = torch.arange(n_neg) < n_neg // 20
    return pos + torch.tensor([1.0, 0.0]), neg + torch.where(
        hard[:, None], torch.tensor([1.3, -2.0]), torch.tensor([-0.5, 0.0])
    )


def trained(pos: Tensor, neg: Tensor, share: float) -> Tensor:
    """Weights of a linear model."""
    model = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([model], lr=0.05)
    for _ in range(300):
        loss = square(linear(model, pos), linear(model, neg), neg_share=share)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.detach()


def linear(model: Tensor, x: Tensor) -> Tensor:
    return torch.sigmoid(x @ model)


def measured(name: str, pos: Tensor, neg: Tensor) -> float:
    score = torch.cat([pos, neg])
    above = (score[None, :] > pos[:, None]).sum(1).sort().values + 1.0
    n = len(pos)
    ranks = RankContext(
        above.numpy(), np.array([0, n]), np.array([len(score)]), np.array([n]), np.ones(n, int)
    )
    return float(parse(name).kind.compute(ranks)[0])


def test_training_on_the_hard_negatives_wins_on_them_and_not_on_the_rest():
    partial, full = (trained(*camps(0, 60, 2000), share) for share in (0.05, 1.0))
    pos, neg = camps(1, 300, 4000)
    found = {}
    for name in ("opauc@5%", "auc"):
        found[name] = [
            measured(name, linear(model, pos), linear(model, neg)) for model in (partial, full)
        ]
    assert found["opauc@5%"][0] > found["opauc@5%"][1] + 0.1
    assert found["auc"][0] < found["auc"][1]


def test_the_minimax_form_trains_the_same_linear_model():
    pos, neg = camps(2, 40, 400)
    wanted = trained(pos, neg, 0.1)
    best = float(square(linear(wanted, pos), linear(wanted, neg), neg_share=0.1))
    model = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    at = Saddle(*(torch.tensor(value, dtype=torch.float64) for value in (0.5, 0.5, 0.0, 0.0, 0.0)))
    for t in range(6000):
        here = Saddle(*(value.clone().requires_grad_() for value in at))
        value = instance_wise(linear(model, pos), linear(model, neg), here, neg_share=0.1)
        slopes = torch.autograd.grad(value, (model, *here), allow_unused=True)
        fall = 1 / (1 + t / 500)
        with torch.no_grad():
            model -= 1.0 * fall * slopes[0]
        rates = [r * fall for r in (0.2, 0.2, -0.2, 0.0, 0.2)]
        at = Saddle(
            *(
                v - r * (0 if s is None else s)
                for v, r, s in zip(at, rates, slopes[1:], strict=True)
            )
        ).bounded(two_way=False)
    model.requires_grad_(False)
    got = float(square(linear(model, pos), linear(model, neg), neg_share=0.1))
    assert got == pytest.approx(best, abs=1e-3)
