"""Similarities against broadcasting, and the ball."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from recsys.nn.distance import clip_to_ball, near, near_pool

KINDS = ["dot", "cosine", "euclidean"]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def naive(kind: str, u: Tensor, v: Tensor) -> float:
    dot = sum(float(a) * float(b) for a, b in zip(u, v, strict=True))
    if kind == "dot":
        return dot
    if kind == "cosine":
        return dot / (float(u.norm()) * float(v.norm()))
    return -sum((float(a) - float(b)) ** 2 for a, b in zip(u, v, strict=True))


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 6), st.integers(0, 99))
def test_all_forms_agree_with_the_definition(kind, size, k, dim, seed):
    user, own, several, pool = (
        normal(size, dim, seed=seed),
        normal(size, dim, seed=seed + 1),
        normal(size, k, dim, seed=seed + 2),
        normal(k, dim, seed=seed + 3),
    )
    one = near(kind, user, own)
    assert one.tolist() == pytest.approx([naive(kind, user[b], own[b]) for b in range(size)])
    each = near(kind, user, several)
    assert each.shape == (size, k)
    assert each.flatten().tolist() == pytest.approx([naive(kind, user[b], several[b, j]) for b in range(size) for j in range(k)])
    shared = near_pool(kind, user, pool)
    assert shared.shape == (size, k)
    assert shared.flatten().tolist() == pytest.approx([naive(kind, user[b], pool[j]) for b in range(size) for j in range(k)], abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients(kind):
    user, pool, several = normal(3, 4).requires_grad_(), normal(5, 4, seed=1).requires_grad_(), normal(3, 2, 4, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(lambda u, v: near_pool(kind, u, v), (user, pool))
    assert torch.autograd.gradcheck(lambda u, v: near(kind, u, v), (user, several))


def test_a_zero_vector_has_a_cosine_of_zero_and_a_finite_gradient():
    user, item = torch.zeros(1, 3, requires_grad=True), torch.ones(1, 3, requires_grad=True)
    value = near("cosine", user, item)
    value.sum().backward()
    assert value.item() == 0
    assert torch.isfinite(user.grad).all()
    assert torch.isfinite(item.grad).all()


@pytest.mark.parametrize("radius", [0.5, 1.0, 3.0])
def test_clip_to_ball_moves_only_what_is_outside(radius):
    rows = normal(50, 4).float() * torch.linspace(0, 3, 50)[:, None]
    before = rows.clone()
    inside = before.norm(dim=1) <= radius
    assert inside.any()
    assert not inside.all()
    result = clip_to_ball(rows, radius)
    assert result is rows
    assert torch.equal(rows[inside], before[inside])  # to the last bit
    assert torch.allclose(rows[~inside].norm(dim=1), torch.tensor(radius))
    assert torch.allclose(torch.nn.functional.normalize(rows[~inside]), torch.nn.functional.normalize(before[~inside]), atol=1e-6)


def test_clip_to_ball_leaves_zero_rows_zero():
    rows = torch.zeros(3, 4)
    assert torch.equal(clip_to_ball(rows), torch.zeros(3, 4))
    assert clip_to_ball(torch.empty(0, 4)).shape == (0, 4)
