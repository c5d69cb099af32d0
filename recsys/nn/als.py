"""Implicit alternating least squares: the factor model of `ials`, which other methods reproduce."""

from __future__ import annotations

from typing import Annotated

import torch

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.scorer import Factors
from recsys.scorer.als_fold_in import RowSolve, solve_rows

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

    def factors(self, train: Dataset) -> Factors:
        """Return the factors after `sweeps` sweeps over users and items, each solved exactly."""
        observed = train.pairs.csr
        by_item = observed.T.tocsr()
        generator = torch.Generator().manual_seed(self.seed)
        scale = self.init_std / self.dim**0.5
        item = torch.randn(train.n_items, self.dim, generator=generator).mul_(scale)
        user = torch.zeros(train.n_users, self.dim)
        for _ in range(self.sweeps):
            user = solve_rows(observed, item, self.unobserved, self.l2, self.nu)
            item = solve_rows(by_item, user, self.unobserved, self.l2, self.nu)
        return Factors(user, item, solve=RowSolve(self.unobserved, self.l2, self.nu))
