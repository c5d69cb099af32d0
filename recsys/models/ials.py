"""Implicit alternating least squares with exact row solves.

Papers: Hu, Koren, Volinsky, "Collaborative filtering for implicit feedback datasets", ICDM 2008; the objective is that of Rendle,
Krichene, Zhang, Koren, "Revisiting the performance of iALS on item recommendation benchmarks", RecSys 2022:

    L = sum_{(u,i) observed} (s_ui - 1)^2 + a0 sum_{u,i} s_ui^2
        + l2 [ sum_u (|I_u| + a0 |I|)^nu |w_u|^2 + sum_i (|U_i| + a0 |U|)^nu |h_i|^2 ],      s_ui = w_u . h_i,

|I| and |U| the numbers of items and users, I_u the items of u, U_i the users of i, a0 = `unobserved`. A sweep solves every w_u for
fixed H, then every h_i for fixed W, each exactly, so L never rises. Start: N(0, (init_std / sqrt(dim))^2).

How the row solve is made cheap, without changing its result. The minimiser for a row with items H_u [L, d] is

    w = (H_u^T H_u + a0 H^T H + r I)^-1 H_u^T 1,      r = l2 (L + a0 |I|)^nu.

With H^T H = Q diag(e) Q^T, computed once a half sweep, a0 H^T H + r I is diag(m) in the basis Q for every row at once, m = a0 e + r.
Let F = H_u Q diag(m)^-1/2. Then Q^T w = diag(m)^-1/2 (F^T F + I)^-1 F^T 1 = diag(m)^-1/2 F^T (F F^T + I)^-1 1: a system of size
min(L, d) instead of d, and most rows are short. Rows of similar length are solved together.

Differs from the released code: it solves blocks of coordinates in turn (iALS++) or each row by a full Cholesky factorisation; the
objective is the same and the row solve here is the exact one. Strengths (`weight`) are not used: a pair is observed or not.

Reproduces nothing published. On the LightGCN split of Gowalla `recsys run configs/ials-gowalla.toml` gives recall@20 0.1642, ndcg@20
0.1357; its settings were chosen on a ninth of train that was kept back for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.scorer import Factors

__all__ = ["IALS", "solve_rows"]

_BLOCK_BYTES = 16 << 20  # of the gathered factors [B, L, d] of the rows that are solved together


@settings
class IALS:
    """Implicit alternating least squares, exact row solves (Hu et al., 2008; Rendle et al., 2022)."""

    dim: Annotated[int, Bound(ge=1)] = 128
    """Length of a vector."""
    unobserved: Annotated[float, Bound(gt=0)] = 0.1
    """Weight of a pair that was not observed, a0; an observed one has 1 + a0. Tune it together with `l2`."""
    l2: Annotated[float, Bound(gt=0)] = 0.003
    """Weight of the squared norms."""
    nu: Annotated[float, Bound(ge=0, le=2)] = 1.0
    """How much more the vectors of frequent users and items are held back; 0: all alike."""
    sweeps: Annotated[int, Bound(ge=1)] = 16
    """Times that all users and all items are solved."""
    init_std: Annotated[float, Bound(gt=0)] = 0.1
    """Standard deviation of the start values, times sqrt(dim)."""
    seed: int = 0

    def build(self, train: Dataset) -> Factors:
        met = train.pairs.csr
        met_by = met.T.tocsr()
        generator = torch.Generator().manual_seed(self.seed)
        scale = self.init_std / self.dim**0.5
        item = torch.randn(train.n_items, self.dim, generator=generator).mul_(scale)
        user = torch.zeros(train.n_users, self.dim)
        for _ in range(self.sweeps):
            user = solve_rows(met, item, self.unobserved, self.l2, self.nu)
            item = solve_rows(met_by, user, self.unobserved, self.l2, self.nu)
        return Factors(user, item)


def solve_rows(met: sp.csr_matrix, other: Tensor, unobserved: float, l2: float, nu: float) -> Tensor:
    """The best vectors of one side for fixed vectors of the other.

    Args:
        met: CSR [n, m], its pattern says what was observed.
        other: float32 [m, d], the fixed side.
        unobserved, l2, nu: as in `IALS`.

    Returns:
        float32 [n, d]; rows without observations are zero.
    """
    length = np.diff(met.indptr)
    e, basis = torch.linalg.eigh((other.T @ other).double())
    floor = unobserved * e.clamp_(min=0)  # [d]; what rounding makes negative is zero
    turned = F.pad(other @ basis.float(), (0, 0, 0, 1))  # the last row, of zeros, fills short rows up
    solved = torch.zeros(met.shape[0], other.shape[1])

    def solve(rows: np.ndarray) -> None:
        own = length[rows]
        strength = torch.from_numpy(l2 * (own + unobserved * met.shape[1]) ** nu)
        root = (floor + strength[:, None]).rsqrt_().float()  # m^-1/2 [B, d]
        members = torch.from_numpy(_members(met, rows, own))
        gathered = turned.index_select(0, members.view(-1)).view(*members.shape, -1)
        solved[torch.from_numpy(rows)] = _solve(gathered.mul_(root[:, None, :]), root)

    groups = list(_groups(length, other.shape[1]))
    threads = torch.get_num_threads()
    if threads == 1 or len(groups) < 2:
        for rows in groups:
            solve(rows)
    else:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for _ in pool.map(solve, groups):
                pass
    return solved @ basis.T.float()


def _solve(scaled: Tensor, root: Tensor) -> Tensor:
    """diag(root) F^T (F F^T + I)^-1 1 for F = scaled [B, L, d]; by the smaller of the two systems."""
    size, length, dim = scaled.shape
    if length <= dim:
        system = torch.bmm(scaled, scaled.mT)
        right = scaled.new_ones(size, length, 1)
    else:
        system = torch.bmm(scaled.mT, scaled)
        right = scaled.sum(1)[..., None]
    system.diagonal(dim1=1, dim2=2).add_(1.0)
    answer = torch.cholesky_solve(right, torch.linalg.cholesky(system))
    if length <= dim:
        answer = torch.bmm(scaled.mT, answer)
    return answer[..., 0] * root


def _groups(length: np.ndarray, dim: int) -> Iterator[np.ndarray]:
    """Rows of similar length, longest first: at most a fifth of what is gathered is filling, and a group fits the block."""
    order = np.argsort(-length, kind="stable")
    order = order[length[order] > 0]
    start = 0
    while start < len(order):
        longest = int(length[order[start]])
        stop = start + max(1, _BLOCK_BYTES // (4 * longest * max(dim, min(longest, dim))))
        stop = min(stop, int(np.searchsorted(-length[order], -(longest * 4 // 5), side="right")))
        stop = max(stop, start + 1)
        yield order[start:stop]
        start = stop


def _members(met: sp.csr_matrix, rows: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Columns of the rows, int64 [B, longest]; where a row has ended, the number of columns."""
    place = np.arange(own.max())
    inside = place < own[:, None]
    members = np.full(inside.shape, met.shape[1], dtype=np.int64)
    members[inside] = met.indices[(met.indptr[rows].astype(np.int64)[:, None] + place)[inside]]
    return members
