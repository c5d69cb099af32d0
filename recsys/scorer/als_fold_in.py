"""Row solves of alternating least squares over all pairs, observed or not.

One side's best vectors are solved for fixed vectors of the other side. `recsys.models.ials` gives
the objective and says how a row is solved cheaply. The solve is part of the scorer, because a user
who comes after training is one more such row. `recsys.scorer.als_steps` has approximate solves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.scorer.als_steps import CONVERGED, compiled, descend_compiled, descend_together

__all__ = ["RowSolve", "RowSolver", "solve_rows"]

_BLOCK_BYTES = 16 << 20  # of the gathered factors [B, L, d] of the rows that are solved together
_DEVICE_BYTES = 512 << 20  # the same on a GPU, where more rows at a time keep it busy


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


class RowSolver:
    """Best vectors of one side for fixed vectors of the other, on the device of these.

    Args:
        other: vectors of the fixed side, float32 [m, d].
        weights: of the least squares problem.
    """

    def __init__(self, other: Tensor, weights: RowSolve) -> None:
        self.weights, self.dim = weights, other.shape[1]
        e, basis = torch.linalg.eigh((other.T @ other).double())
        # [d]; rounding may give a negative eigenvalue
        self.floor = weights.unobserved * e.clamp_(min=0)
        self.basis = basis.float()
        # The last row, of zeros, pads short rows.
        self.turned = F.pad(other @ self.basis, (0, 0, 0, 1))
        self.device = other.device

    def __call__(self, observed: sp.csr_matrix) -> Tensor:
        """Return the vectors, float32 [n, d]; those of rows without interactions are zero.

        A row is solved together with rows of similar length, so its last bits depend on them.

        Args:
            observed: CSR [n, m]; its pattern holds the interactions.
        """

        def solve(rows: Tensor, scaled: Tensor, root: Tensor) -> Tensor:
            return _solve(scaled, root)

        return self._by_groups(observed, solve) @ self.basis.T

    def of_histories(self, observed: sp.csr_matrix) -> Tensor:
        """Return the same vectors, by compiled steps until they converge where numba is installed.

        For histories this is several times as fast; the two differ by rounding. Without numba, and
        on a GPU, it is the call itself.

        Args:
            observed: CSR [n, m]; its pattern holds the interactions.
        """
        kernel = compiled() if self.device.type == "cpu" else None
        if kernel is None:
            return self(observed)
        start = torch.zeros(observed.shape[0], self.dim)
        return self._compiled(kernel, observed, start, 2 * self.dim + 10, CONVERGED)

    def descend(self, observed: sp.csr_matrix, start: Tensor, steps: int) -> Tensor:
        """Return the vectors after some conjugate gradient steps, float32 [n, d].

        Args:
            observed: CSR [n, m]; its pattern holds the interactions.
            start: the vectors before the first step, float32 [n, d].
            steps: number of steps, at least 1.
        """
        kernel = compiled() if self.device.type == "cpu" else None
        turned = start @ self.basis
        if kernel is not None:
            return self._compiled(kernel, observed, turned, steps)

        def solve(rows: Tensor, scaled: Tensor, root: Tensor) -> Tensor:
            return descend_together(scaled, turned.index_select(0, rows) / root, steps) * root

        return self._by_groups(observed, solve) @ self.basis.T

    def _strength(self, length: np.ndarray, n_columns: int) -> np.ndarray:
        """Return the weight of the squared norm of rows of some lengths, float64."""
        weights = self.weights
        return np.asarray(weights.l2 * (length + weights.unobserved * n_columns) ** weights.nu)

    def _compiled(
        self,
        kernel: Callable[..., None],
        observed: sp.csr_matrix,
        start: Tensor,
        steps: int,
        tolerance: float = 0.0,
    ) -> Tensor:
        strength = self._strength(np.diff(observed.indptr), observed.shape[1])
        solved = descend_compiled(
            kernel, observed, self.turned, self.floor, strength, start, steps, tolerance
        )
        return solved @ self.basis.T

    def _by_groups(
        self, observed: sp.csr_matrix, solve: Callable[[Tensor, Tensor, Tensor], Tensor]
    ) -> Tensor:
        """Return the vectors of all rows in the basis, some rows of similar length at a time.

        Args:
            observed: CSR [n, m].
            solve: returns the vectors of some rows [B, d] for the rows, int64 [B], their scaled
                factors F [B, L, d] and m^-1/2 [B, d].
        """
        length = np.diff(observed.indptr)
        solved = torch.zeros(observed.shape[0], self.dim, device=self.device)
        on_cpu = self.device.type == "cpu"
        place = _Members(observed, self.device)

        def fill(group: np.ndarray) -> None:
            own = length[group]
            rows = torch.from_numpy(group).to(self.device)
            strength = torch.from_numpy(self._strength(own, observed.shape[1])).to(self.device)
            root = (self.floor + strength[:, None]).rsqrt_().float()  # m^-1/2 [B, d]
            members = place(rows, int(own.max()))
            gathered = self.turned.index_select(0, members.view(-1)).view(*members.shape, -1)
            solved[rows] = solve(rows, gathered.mul_(root[:, None, :]), root)

        groups = list(_groups(length, self.dim, _BLOCK_BYTES if on_cpu else _DEVICE_BYTES))
        threads = torch.get_num_threads() if on_cpu else 1
        if threads == 1 or len(groups) < 2:
            for group in groups:
                fill(group)
            return solved
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for _ in pool.map(fill, groups):
                pass
        return solved


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
    return RowSolver(other, RowSolve(unobserved, l2, nu))(observed)


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


def _groups(length: np.ndarray, dim: int, block_bytes: int | None = None) -> Iterator[np.ndarray]:
    """Yield rows of similar length, longest first.

    At most a fifth of the gathered vectors is padding, and the vectors of a group fit the block.
    """
    block_bytes = _BLOCK_BYTES if block_bytes is None else block_bytes
    order = np.argsort(-length, kind="stable")
    order = order[length[order] > 0]
    start = 0
    while start < len(order):
        longest = int(length[order[start]])
        stop = start + max(1, block_bytes // (4 * longest * max(dim, min(longest, dim))))
        stop = min(stop, int(np.searchsorted(-length[order], -(longest * 4 // 5), side="right")))
        stop = max(stop, start + 1)
        yield order[start:stop]
        start = stop


class _Members:
    """Columns of the rows of a matrix, on a device.

    Args:
        observed: CSR [n, m].
        device: of the columns.
    """

    def __init__(self, observed: sp.csr_matrix, device: torch.device) -> None:
        self.absent = observed.shape[1]
        self.indptr = torch.from_numpy(observed.indptr.astype(np.int64)).to(device)
        self.column = torch.from_numpy(observed.indices.astype(np.int64)).to(device)

    def __call__(self, rows: Tensor, longest: int) -> Tensor:
        """Return the columns of some rows, int64 [B, longest]; m where a row has ended."""
        index = torch.arange(longest, device=rows.device) + self.indptr[rows][:, None]
        inside = index < self.indptr[rows + 1][:, None]
        members = self.column[index.clamp_(max=len(self.column) - 1)]
        return members.masked_fill_(~inside, self.absent)
