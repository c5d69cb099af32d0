"""Exact row solves of alternating least squares over all pairs, observed or not.

One side's best vectors are solved for fixed vectors of the other side. `recsys.models.ials` gives
the objective and says how a row is solved cheaply. The solve is part of the scorer, because a user
who comes after training is one more such row.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["RowSolve", "solve_rows"]

_BLOCK_BYTES = 16 << 20  # of the gathered factors [B, L, d] of the rows that are solved together


@dataclass(frozen=True)
class RowSolve:
    """The weights of the least squares problem of one row.

    Args:
        unobserved: weight of a pair without an interaction, a0.
        l2: weight of the squared norm.
        nu: exponent by which the squared norm of a row counts more, the longer the row is.
    """

    unobserved: float
    l2: float
    nu: float


def solve_rows(
    observed: sp.csr_matrix, other: Tensor, unobserved: float, l2: float, nu: float
) -> Tensor:
    """Return the best vectors of one side for fixed vectors of the other.

    Args:
        observed: CSR [n, m]; its pattern holds the interactions.
        other: vectors of the fixed side, float32 [m, d].
        unobserved, l2, nu: as in `RowSolve`.

    Returns:
        float32 [n, d]; rows without interactions are zero.
    """
    length = np.diff(observed.indptr)
    e, basis = torch.linalg.eigh((other.T @ other).double())
    floor = unobserved * e.clamp_(min=0)  # [d]; rounding may give a negative eigenvalue
    # The last row, of zeros, pads short rows.
    turned = F.pad(other @ basis.float(), (0, 0, 0, 1))
    solved = torch.zeros(observed.shape[0], other.shape[1])

    def solve(rows: np.ndarray) -> None:
        own = length[rows]
        strength = torch.from_numpy(l2 * (own + unobserved * observed.shape[1]) ** nu)
        root = (floor + strength[:, None]).rsqrt_().float()  # m^-1/2 [B, d]
        members = torch.from_numpy(_members(observed, rows, own))
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
    """Return diag(root) F^T (F F^T + I)^-1 1 for F = scaled [B, L, d], by the smaller system."""
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
    """Yield rows of similar length, longest first.

    At most a fifth of the gathered vectors is padding, and the vectors of a group fit the block.
    """
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


def _members(observed: sp.csr_matrix, rows: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Return the columns of the rows, int64 [B, longest]; padded with the number of columns."""
    position = np.arange(own.max())
    inside = position < own[:, None]
    members = np.full(inside.shape, observed.shape[1], dtype=np.int64)
    start = observed.indptr[rows].astype(np.int64)[:, None]
    members[inside] = observed.indices[(start + position)[inside]]
    return members
