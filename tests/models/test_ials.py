import itertools

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.types import Dataset, Interactions, Vocab
from recsys.models.ials import IALS
from recsys.scorer import als_fold_in as solve
from recsys.scorer.als_fold_in import solve_rows


def binary(seed, n, m, density):
    rng = np.random.default_rng(seed)
    return sp.csr_matrix((rng.random((n, m)) < rng.random(n)[:, None] * density).astype(np.float32))


def naive(met, other, unobserved, l2, nu):
    """One row after the other, in float64."""
    h = other.numpy().astype(np.float64)
    out = np.zeros((met.shape[0], h.shape[1]))
    for row in range(met.shape[0]):
        own = h[met.indices[met.indptr[row] : met.indptr[row + 1]]]
        strength = l2 * (len(own) + unobserved * met.shape[1]) ** nu
        out[row] = np.linalg.solve(
            own.T @ own + unobserved * h.T @ h + strength * np.eye(h.shape[1]), own.sum(0)
        )
    return out


def objective(x, user, item, recipe):
    score = user @ item.T
    value = ((score - 1) ** 2 * x).sum() + recipe.unobserved * (score**2).sum()
    by_user = (x.sum(1) + recipe.unobserved * x.shape[1]) ** recipe.nu
    by_item = (x.sum(0) + recipe.unobserved * x.shape[0]) ** recipe.nu
    return value + recipe.l2 * (
        (by_user[:, None] * user**2).sum() + (by_item[:, None] * item**2).sum()
    )


def dataset(matrix):
    coo = matrix.tocoo()
    return Dataset(
        Interactions(coo.row, coo.col, *matrix.shape),
        Vocab.range(matrix.shape[0], "user"),
        Vocab.range(matrix.shape[1], "item"),
    )


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000),
    st.integers(1, 40),
    st.integers(1, 60),
    st.sampled_from([0.05, 0.5, 1.5]),
    st.integers(1, 24),
    st.sampled_from([0.01, 0.5]),
    st.sampled_from([0.0, 1.0]),
    st.sampled_from([1, 1000, 1 << 20]),
)
def test_a_solved_row_is_the_minimum(seed, n, m, density, dim, unobserved, nu, block_bytes):
    met = binary(seed, n, m, density)
    other = torch.randn(m, dim, generator=torch.Generator().manual_seed(seed)) * 0.5
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solve, "_BLOCK_BYTES", block_bytes)
        got = solve_rows(met, other, unobserved, 0.05, nu)
    np.testing.assert_allclose(
        got.numpy(), naive(met, other, unobserved, 0.05, nu), rtol=2e-3, atol=2e-4
    )


def test_rows_without_observations_are_zero():
    met = sp.csr_matrix(np.array([[0, 0], [1, 0]], dtype=np.float32))
    got = solve_rows(met, torch.ones(2, 3), 0.1, 0.1, 1.0)
    assert not got[0].any()
    assert got[1].any()


def test_the_objective_falls_with_every_sweep():
    met = binary(3, 80, 50, 0.4)
    x = met.toarray().astype(np.float64)
    values = []
    for sweeps in range(1, 8):
        recipe = IALS(dim=8, sweeps=sweeps, unobserved=0.1, l2=0.01)
        scorer = recipe.build(dataset(met))
        values.append(
            objective(x, scorer.user.double().numpy(), scorer.item.double().numpy(), recipe)
        )
    assert all(later < earlier for earlier, later in itertools.pairwise(values))
    assert values[-1] < 0.9 * x.sum()  # that of all vectors zero


def test_the_end_is_a_stationary_point():
    met = binary(4, 40, 30, 0.5)
    recipe = IALS(dim=4, sweeps=200, unobserved=0.3, l2=0.3, nu=0.5)
    scorer = recipe.build(dataset(met))
    x = torch.from_numpy(met.toarray()).double()
    user, item = scorer.user.double().requires_grad_(), scorer.item.double().requires_grad_()
    score = user @ item.T
    value = ((score - 1) ** 2 * x).sum() + recipe.unobserved * score.square().sum()
    value = (
        value
        + recipe.l2 * (((x.sum(1) + recipe.unobserved * 30) ** recipe.nu)[:, None] * user**2).sum()
    )
    value = (
        value
        + recipe.l2 * (((x.sum(0) + recipe.unobserved * 40) ** recipe.nu)[:, None] * item**2).sum()
    )
    value.backward()
    assert value.item() == pytest.approx(
        objective(x.numpy(), user.detach().numpy(), item.detach().numpy(), recipe)
    )
    assert max(user.grad.abs().max(), item.grad.abs().max()) < 2e-3


def test_the_seed_and_nothing_else_decides():
    train = dataset(binary(5, 60, 40, 0.5))
    recipe = IALS(dim=6, sweeps=2)
    first, again, other = (
        recipe.build(train),
        recipe.build(train),
        IALS(dim=6, sweeps=2, seed=1).build(train),
    )
    assert torch.equal(first.user, again.user)
    assert torch.equal(first.item, again.item)
    assert not torch.equal(first.user, other.user)


def test_the_number_of_threads_changes_no_more_than_rounding(monkeypatch):
    monkeypatch.setattr(solve, "_BLOCK_BYTES", 2000)
    met, other = (
        binary(6, 60, 40, 0.5),
        torch.randn(40, 6, generator=torch.Generator().manual_seed(0)),
    )
    alone = solve_rows(met, other, 0.1, 0.01, 1.0)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        torch.testing.assert_close(
            solve_rows(met, other, 0.1, 0.01, 1.0), alone, rtol=1e-4, atol=1e-5
        )
    finally:
        torch.set_num_threads(before)


def test_groups_hold_every_row_once_and_fit():
    length = np.random.default_rng(0).integers(0, 500, 1000)
    groups = list(solve._groups(length, 32))
    np.testing.assert_array_equal(np.sort(np.concatenate(groups)), np.flatnonzero(length))
    for rows in groups:
        longest, shortest = length[rows].max(), length[rows].min()
        assert len(rows) == 1 or (
            4 * len(rows) * longest * 32 <= solve._BLOCK_BYTES and shortest >= longest * 4 // 5
        )
