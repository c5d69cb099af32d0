"""Implicit alternating least squares: the factor model of `ials`, which other methods reproduce."""

from __future__ import annotations

from typing import Annotated

import scipy.sparse as sp
import torch
from torch import Tensor

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.scorer import Factors
from recsys.scorer.als_fold_in import RowSolve, RowSolver

__all__ = ["ALS"]


@settings
class ALS:
    """Settings of implicit alternating least squares; `recsys.models.ials` has the objective."""

    dim: Annotated[int, Bound(ge=1)] = 64
    """Embedding dimension."""
    unobserved: Annotated[float, Bound(gt=0)] = 0.1
    """Weight a0 of an unobserved pair; an observed one has 1 + a0."""
    l2: Annotated[float, Bound(gt=0)] = 0.003
    """Weight of the squared norms."""
    nu: Annotated[float, Bound(ge=0, le=2)] = 1.0
    """How much more frequent users and items are regularised; 0: all equally."""
    sweeps: Annotated[int, Bound(ge=1)] = 16
    """Number of times that all users and all items are solved."""
    init_std: Annotated[float, Bound(gt=0)] = 0.1
    """Standard deviation of the start values, times sqrt(dim)."""
    seed: int = 0
    """Seed of the start values."""

    def factors(
        self,
        train: Dataset,
        device: torch.device | str = "cpu",
        *,
        steps: int | None = None,
    ) -> Factors:
        """Return the factors after `sweeps` sweeps over users and items.

        Args:
            train: training data.
            device: where rows are solved; the start values are the same on all devices.
            steps: conjugate gradient steps for each row, from its vector of the last sweep; None:
                each row is solved exactly.
        """
        observed = train.pairs.csr
        by_item = observed.T.tocsr()
        weights = RowSolve(self.unobserved, self.l2, self.nu)
        generator = torch.Generator().manual_seed(self.seed)
        scale = self.init_std / self.dim**0.5
        item = torch.randn(train.n_items, self.dim, generator=generator).mul_(scale).to(device)
        user = torch.zeros(train.n_users, self.dim, device=item.device)
        for _ in range(self.sweeps):
            user = _solved(RowSolver(item, weights), observed, user, steps)
            item = _solved(RowSolver(user, weights), by_item, item, steps)
        return Factors(user, item, solve=weights)


def _solved(solver: RowSolver, observed: sp.csr_matrix, start: Tensor, steps: int | None) -> Tensor:
    """Return the solved rows, [n, d]; `start` [n, d] is used by conjugate gradient steps only."""
    return solver(observed) if steps is None else solver.descend(observed, start, steps)
