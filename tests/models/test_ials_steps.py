"""Conjugate gradient steps of iALS, compiled and not, against an exact solve in float64."""

import itertools

import numpy as np
import pytest
import torch
from test_ials import binary, dataset, naive, objective

from recsys.errors import InputError
from recsys.experiment.experiment import from_tree
from recsys.models.ials import IALS
from recsys.scorer import als_fold_in, als_steps
from recsys.scorer.als_fold_in import RowSolve, RowSolver

pytest.importorskip("numba")
WEIGHTS = RowSolve(0.1, 0.05, 1.0)


@pytest.fixture(params=[True, False], ids=["compiled", "torch"])
def kernel(request, monkeypatch):
    if not request.param:
        monkeypatch.setattr(als_fold_in, "compiled", lambda: None)


def vectors(seed, n, dim):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed)) * 0.5


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize(("seed", "dim"), [(0, 1), (1, 5), (2, 24)])
def test_many_steps_give_the_minimum(seed, dim):
    observed, other = binary(seed, 60, 40, 0.6), vectors(seed, 40, dim)
    got = RowSolver(other, WEIGHTS).descend(observed, vectors(seed + 9, 60, dim), 60)
    expected = naive(observed, other, 0.1, 0.05, 1.0)
    lengths = np.diff(observed.indptr)
    assert not got[lengths == 0].any()
    np.testing.assert_allclose(got.numpy(), expected, rtol=2e-3, atol=2e-4)


@pytest.mark.usefixtures("kernel")
def test_histories_have_the_exact_vectors():
    observed, other = binary(4, 200, 90, 0.8), vectors(4, 90, 16)
    got = RowSolver(other, WEIGHTS).of_histories(observed)
    np.testing.assert_allclose(got, naive(observed, other, 0.1, 0.05, 1.0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_compiled_and_other_steps_are_equal_up_to_rounding(steps, monkeypatch):
    solver, observed = RowSolver(vectors(0, 40, 12), WEIGHTS), binary(5, 70, 40, 0.7)
    start = vectors(1, 70, 12)
    compiled = solver.descend(observed, start, steps)
    monkeypatch.setattr(als_fold_in, "compiled", lambda: None)
    torch.testing.assert_close(
        compiled, solver.descend(observed, start, steps), rtol=1e-4, atol=1e-5
    )
    assert not torch.allclose(compiled, solver(observed), rtol=1e-4, atol=1e-5) or steps == 5


def test_compiled_rows_do_not_depend_on_other_rows_threads_or_addresses():
    solver, observed = RowSolver(vectors(0, 40, 8), WEIGHTS), binary(6, 60, 40, 0.7)
    start = vectors(1, 60, 8)
    whole = solver.descend(observed, start, 3)
    # A product rounds otherwise for another number of rows, so rows are compared in the basis.
    turned = start @ solver.basis
    kernel = als_steps.compiled()
    strength = solver._strength(np.diff(observed.indptr), 40)
    floor, kept = solver.floor, []

    def descend(rows):
        return als_steps.descend_compiled(
            kernel, observed[rows], solver.turned, floor, strength[rows], turned[rows], 3
        )

    alone = descend(slice(None))
    torch.testing.assert_close(alone @ solver.basis.T, whole)
    for size in (1, 7, 13):
        kept.append(np.empty(16 * size + 4, np.uint8))  # moves later arrays to other addresses
        parts = [descend(slice(i, i + size)) for i in range(0, 60, size)]
        assert torch.equal(torch.cat(parts), alone)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert torch.equal(descend(slice(None)), alone)
    finally:
        torch.set_num_threads(before)


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("steps", [1, 3])
def test_the_objective_falls_with_every_sweep(steps):
    observed = binary(3, 80, 50, 0.4)
    x = observed.toarray().astype(np.float64)
    values = []
    for sweeps in range(1, 8):
        recipe = IALS(dim=8, sweeps=sweeps, unobserved=0.1, l2=0.01, solver="cg", cg_steps=steps)
        scorer = recipe.build(dataset(observed))
        values.append(
            objective(x, scorer.user.double().numpy(), scorer.item.double().numpy(), recipe)
        )
    assert all(later < earlier for earlier, later in itertools.pairwise(values))
    exact = IALS(dim=8, sweeps=7, unobserved=0.1, l2=0.01).build(dataset(observed))
    best = objective(x, exact.user.double().numpy(), exact.item.double().numpy(), recipe)
    assert values[-1] < (1.02 if steps == 3 else 1.3) * best


def test_spans_hold_every_row_once():
    indptr = np.append(0, np.cumsum(np.random.default_rng(0).integers(0, 90, 100)))
    spans = als_steps._spans(indptr, 7)
    assert [row for span in spans for row in range(*span)] == list(range(100))
    assert als_steps._spans(np.zeros(5, dtype=np.int64), 4)[-1][1] == 4


def test_steps_without_their_solver_have_no_effect():
    assert IALS(cg_steps=5).idle() == {"cg_steps"}
    assert IALS(cg_steps=5, solver="cg").idle() == set()


def test_settings_that_came_later_leave_the_fingerprint_of_earlier_runs():
    def deciding(**settings):
        tree = {"data": {"path": "x"}, "model": {"name": "ials", "dim": 8, **settings}}
        return from_tree(tree).deciding["model"]

    assert not {"solver", "cg_steps"} & set(deciding())
    assert deciding(solver="cg")["solver"] == "cg"


def test_an_unknown_solver_is_refused():
    with pytest.raises((InputError, ValueError), match="exact"):
        from_tree({"data": {"path": "x"}, "model": {"name": "ials", "solver": "lu"}})
