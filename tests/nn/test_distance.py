"""Similarities against broadcasting, and the ball."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from recsys.nn.distance import (
    clip_to_ball,
    keep_in,
    project,
    similarity,
    similarity_multi,
    similarity_of_winner,
    similarity_pool,
)

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
    one = similarity(kind, user, own)
    assert one.tolist() == pytest.approx([naive(kind, user[b], own[b]) for b in range(size)])
    each = similarity(kind, user, several)
    assert each.shape == (size, k)
    assert each.flatten().tolist() == pytest.approx(
        [naive(kind, user[b], several[b, j]) for b in range(size) for j in range(k)]
    )
    shared = similarity_pool(kind, user, pool)
    assert shared.shape == (size, k)
    assert shared.flatten().tolist() == pytest.approx(
        [naive(kind, user[b], pool[j]) for b in range(size) for j in range(k)], abs=1e-9
    )


@pytest.mark.parametrize("kind", KINDS)
def test_gradients(kind):
    user, pool, several = (
        normal(3, 4).requires_grad_(),
        normal(5, 4, seed=1).requires_grad_(),
        normal(3, 2, 4, seed=2).requires_grad_(),
    )
    assert torch.autograd.gradcheck(lambda u, v: similarity_pool(kind, u, v), (user, pool))
    assert torch.autograd.gradcheck(lambda u, v: similarity(kind, u, v), (user, several))


@pytest.mark.parametrize("kind", KINDS)
def test_several_vectors_agree_with_one_at_a_time(kind):
    users, items, pool = normal(3, 4, 5), normal(3, 6, 5, seed=1), normal(7, 5, seed=2)
    own, shared = similarity_multi(kind, users, items), similarity_multi(kind, users, pool)
    assert (own.shape, shared.shape) == ((3, 4, 6), (3, 4, 7))
    for c in range(4):
        assert torch.allclose(own[:, c], similarity(kind, users[:, c], items))
        assert torch.allclose(shared[:, c], similarity_pool(kind, users[:, c], pool))
    with torch.no_grad():  # the other way to multiply
        assert torch.allclose(similarity_multi(kind, users, items), own)


@pytest.mark.parametrize("kind", KINDS)
def test_the_chosen_vector_alone_counts_and_alone_moves(kind):
    users, items = normal(3, 4, 5).requires_grad_(), normal(3, 6, 5, seed=1).requires_grad_()
    winner = torch.tensor([[0, 0, 1, 3, 3, 0], [2] * 6, [0, 1, 2, 3, 0, 1]])
    value = similarity_of_winner(kind, users, items, winner)
    assert torch.allclose(
        value, similarity_multi(kind, users, items).gather(1, winner[:, None, :])[:, 0]
    )
    assert torch.autograd.gradcheck(
        lambda u, v: similarity_of_winner(kind, u, v, winner), (users, items)
    )
    value.sum().backward()
    assert not users.grad[1, [0, 1, 3]].any()
    assert users.grad[1, 2].any()


def test_each_space():
    rows = normal(20, 4).float() * torch.linspace(0, 3, 20)[:, None]
    before = rows.clone()
    assert torch.equal(project(rows.clone(), "free"), before)
    assert torch.equal(project(rows.clone(), "ball", 0.7), clip_to_ball(before.clone(), 0.7))
    on = project(rows.clone(), "sphere", 2.0)
    assert torch.allclose(on[1:].norm(dim=1), torch.tensor(2.0))
    assert torch.allclose(
        torch.nn.functional.normalize(on[1:]), torch.nn.functional.normalize(before[1:]), atol=1e-6
    )
    assert torch.equal(on[0], torch.zeros(4)), "a row of zeros has no direction"


@pytest.mark.parametrize("vectors", [1, 3])
def test_a_table_is_kept_in_its_space_where_it_has_moved(vectors):
    def table(sparse: bool) -> torch.nn.Embedding:
        made = torch.nn.Embedding(6, 4 * vectors, sparse=sparse)
        with torch.no_grad():
            made.weight.copy_(normal(6, 4 * vectors).float() * 3)
        return made

    def norms(t: torch.nn.Embedding) -> Tensor:
        return t.weight.detach().view(6, vectors, 4).norm(dim=2)

    dense, sparse, free = table(False), table(True), table(False)
    before = norms(dense)
    for t in (dense, sparse):
        t(torch.tensor([1, 4, 1])).sum().backward()
        keep_in(t, "sphere", 0.5, vectors=vectors)
    assert torch.allclose(norms(dense), torch.tensor(0.5))
    assert torch.allclose(norms(sparse)[[1, 4]], torch.tensor(0.5))
    assert torch.equal(norms(sparse)[[0, 2, 3, 5]], before[[0, 2, 3, 5]])
    keep_in(free, "ball", rows=torch.tensor([2, 2]), vectors=vectors)
    assert torch.allclose(norms(free)[2], before[2].clamp(max=1))
    assert torch.equal(norms(free)[3], before[3])


def test_a_zero_vector_has_a_cosine_of_zero_and_a_finite_gradient():
    user, item = torch.zeros(1, 3, requires_grad=True), torch.ones(1, 3, requires_grad=True)
    value = similarity("cosine", user, item)
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
    assert torch.allclose(
        torch.nn.functional.normalize(rows[~inside]),
        torch.nn.functional.normalize(before[~inside]),
        atol=1e-6,
    )


def test_clip_to_ball_leaves_zero_rows_zero():
    rows = torch.zeros(3, 4)
    assert torch.equal(clip_to_ball(rows), torch.zeros(3, 4))
    assert clip_to_ball(torch.empty(0, 4)).shape == (0, 4)
