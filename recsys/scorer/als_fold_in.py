"""Exact row solves of least squares over all pairs, observed or not: one side's best vectors for fixed vectors of the other.

`recsys.models.ials` says what is minimised and how a row is solved cheaply. It stands here because a user who came after training is one more such
row, for whom a saved scorer solves.
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

from recsys.errors import InputError

__all__ = ["RowSolve", "no_fold_in", "solve_rows"]

_BLOCK_BYTES = 16 << 20  # of the gathered factors [B, L, d] of the rows that are solved together


@dataclass(frozen=True)
class RowSolve:
    """The weights with which the vector of a row is solved.

    Args:
        unobserved: weight of a pair that was not observed, a0.
        l2: weight of the squared norm.
        nu: how much more the vectors of long rows are held back.
    """

    unobserved: float
    l2: float
    nu: float


def no_fold_in(kind: str) -> InputError:
    """What to say where a history alone makes no scores."""
    return InputError(
        f"this scorer ('{kind}') has something of each user that training found, and cannot make it of a history",
        remedy="use itemknn, ease, gfcf, ials, contentknn or popular, which can; or train again with these users",
    )


def solve_rows(
    met: sp.csr_matrix, other: Tensor, unobserved: float, l2: float, nu: float
) -> Tensor:
    """The best vectors of one side for fixed vectors of the other.

    Args:
        met: CSR [n, m], its pattern says what was observed.
        other: float32 [m, d], the fixed side.
        unobserved, l2, nu: as in `RowSolve`.

    Returns:
        float32 [n, d]; rows without observations are zero.
    """
    length = np.diff(met.indptr)
    e, basis = torch.linalg.eigh((other.T @ other).double())
    floor = unobserved * e.clamp_(min=0)  # [d]; what rounding makes negative is zero
    turned = F.pad(
        other @ basis.float(), (0, 0, 0, 1)
    )  # the last row, of zeros, fills short rows up
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
