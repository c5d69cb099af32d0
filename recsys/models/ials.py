"""Implicit alternating least squares.

Papers: Hu, Koren, Volinsky, "Collaborative filtering for implicit feedback datasets", ICDM 2008;
the objective is that of Rendle, Krichene, Zhang, Koren, "Revisiting the performance of iALS on item
recommendation benchmarks", RecSys 2022:

    L = sum_{(u,i) observed} (s_ui - 1)^2 + a0 sum_{u,i} s_ui^2
        + l2 [ sum_u (|I_u| + a0 |I|)^nu |w_u|^2 + sum_i (|U_i| + a0 |U|)^nu |h_i|^2 ],
    s_ui = w_u . h_i,

where |I| and |U| are the numbers of items and users, I_u the items of u, U_i the users of i, and a0
= `unobserved`. A sweep solves every w_u for fixed H, then every h_i for fixed W, each exactly, so L
never rises. Start: N(0, (init_std / sqrt(dim))^2).

How the row solve is made cheap without changing its result: the minimiser for a row with items H_u
[L, d] is

    w = (H_u^T H_u + a0 H^T H + r I)^-1 H_u^T 1,      r = l2 (L + a0 |I|)^nu.

With H^T H = Q diag(e) Q^T, computed once per half sweep, a0 H^T H + r I is diag(m) in the basis Q
for every row at once, m = a0 e + r. Let F = H_u Q diag(m)^-1/2. Then

    Q^T w = diag(m)^-1/2 (F^T F + I)^-1 F^T 1 = diag(m)^-1/2 F^T (F F^T + I)^-1 1,

a system of size min(L, d) instead of d, and most rows are short. Rows of similar length are solved
together. The code is `recsys.nn.als` and `recsys.scorer.als_fold_in`.

With solver = "cg" a row takes `cg_steps` conjugate gradient steps from its vector of the last sweep
instead (Takacs, Pilaszy, Tikk, RecSys 2011), in the same basis, where the system is I + F^T F
(`recsys.scorer.als_steps`). L still never rises. On Gowalla three steps give the same recall as the
exact solution. They are compiled where numba is installed (`pip install recsys[compiled]`), and
only then faster than it: about four times with dim 128 on Gowalla.

Differs from the released code: it solves blocks of coordinates in turn (iALS++) or each row by a
full Cholesky factorisation; the objective is the same and the row solve here is the exact one.
Strengths (`weight`) are not used: a pair is observed or not.

Reproduces nothing published. On the LightGCN split of Gowalla `recsys run
configs/gowalla/ials.toml` gives recall@20 0.1642, ndcg@20 0.1357; its settings were chosen on a
ninth of train that was held out for it.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.nn.als import ALS
from recsys.scorer import Factors

__all__ = ["IALS"]


@settings
class IALS(ALS):
    """Implicit alternating least squares (Hu et al., 2008; Rendle et al., 2022)."""

    dim: Annotated[int, Bound(ge=1)] = 128
    """Embedding dimension."""
    unobserved: Annotated[float, Bound(gt=0)] = 0.1
    """Weight a0 of an unobserved pair; an observed one has 1 + a0. Tune it together with `l2`."""
    l2: Annotated[float, Bound(gt=0)] = 0.003
    """Weight of the squared norms."""
    nu: Annotated[float, Bound(ge=0, le=2)] = 1.0
    """How much more the vectors of frequent users and items are regularised; 0: all equally."""
    sweeps: Annotated[int, Bound(ge=1)] = 16
    """Number of times that all users and items are solved."""
    init_std: Annotated[float, Bound(gt=0)] = 0.1
    """Standard deviation of the start values, times sqrt(dim)."""
    seed: int = 0
    solver: Literal["exact", "cg"] = "exact"
    """How a row is solved. exact: by a Cholesky factorisation. cg: approximately, by conjugate
    gradient steps from its vector of the last sweep; faster where numba is installed."""
    cg_steps: Annotated[int, Bound(ge=1)] = 3
    """Only for "cg": steps for each row in a sweep."""

    def idle(self) -> set[str]:
        """Return the settings that have no effect given the others."""
        return set() if self.solver == "cg" else {"cg_steps"}

    def build(self, train: Dataset) -> Factors:
        return self.build_on(train, torch.device("cpu"))

    def build_on(self, train: Dataset, device: torch.device) -> Factors:
        return self.factors(train, device, steps=self.cg_steps if self.solver == "cg" else None)
