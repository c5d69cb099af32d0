"""EASE: a linear model from all items to each item, in closed form.

Paper: Steck, "Embarrassingly shallow autoencoders for sparse data", WWW 2019.

    min_B |X - X B|_F^2 + l2 |B|_F^2   subject to   B_ii = 0,
    P = (X^T X + l2 I)^-1,    B_ij = -P_ij / P_jj  (i != j),    scores X B,

where X is the binary users x items matrix and B is [items, items].

Differs from the paper: the matrix is scaled to a unit diagonal before it is inverted, which removes
most of the rounding error of float32 and leaves P the same after scaling back. The inverse is
computed in place, block by block. So the whole needs little more than one n x n float32 matrix, and
no LAPACK call sees more than one block: 32-bit LAPACK fails beyond n = 32,767. `keep` makes B
sparse afterwards by dropping the smallest entries of each column; the paper's own sparse
approximation is a different one.

Reproduces: the formula in float64 (`pytest tests/models/test_ease.py`). Published for the LightGCN
split of Gowalla with l2 80: recall@20 0.1765, ndcg@20 0.1467; not repeated yet, it takes 7.4 GB.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.errors import InputError
from recsys.scorer import Product
from recsys.scorer.placed import csr_on, dense_on

__all__ = ["EASE", "available_bytes", "invert_lower"]

_BLOCK = 1024


@settings
class EASE:
    """Linear autoencoder without self-loops, in closed form (Steck, 2019)."""

    l2: Annotated[float, Bound(gt=0)] = 200.0
    """Weight of the squared weights."""
    keep: Annotated[int, Bound(ge=1)] | None = None
    """Number of entries per column of B that are kept, those of largest absolute value; none: all,
    a dense B."""
    memory_gb: Annotated[float, Bound(gt=0)] | None = None
    """Limit on the memory to use, in GB; none: the free memory of the machine."""

    def build(self, train: Dataset) -> Product:
        return self.build_on(train, torch.device("cpu"))

    def build_on(self, train: Dataset, device: torch.device) -> Product:
        n = train.n_items
        self._check_memory(n, device)
        observed = train.pairs.csr
        diagonal = np.bincount(observed.indices, minlength=n) + self.l2
        scale = 1 / np.sqrt(diagonal)
        on_cpu = device.type == "cpu"
        matrix = (
            _gram(observed, scale, self.l2)
            if on_cpu
            else _gram_on(observed, scale, self.l2, device)
        )
        invert_lower(matrix)
        _to_weights(matrix, torch.from_numpy(scale.astype(np.float32)).to(device))
        weights = matrix if self.keep is None else _largest(matrix, self.keep)
        return Product((observed, weights), "history", on=device)

    def _check_memory(self, n: int, device: torch.device) -> None:
        gigabyte = 1e9
        # The matrix, and four panels of it during the inversion.
        needed = (4 * n * n + 4 * 4 * n * _BLOCK) / gigabyte
        if self.keep is not None:
            needed += 2 * 12 * n * min(self.keep, n) / gigabyte
        there = available_bytes() if device.type != "cuda" else torch.cuda.mem_get_info(device)[0]
        free = there / gigabyte
        limit = free if self.memory_gb is None else min(self.memory_gb, free)
        if needed > limit:
            why = (
                f"memory_gb = {self.memory_gb:g}"
                if self.memory_gb is not None and self.memory_gb <= free
                else f"{free:.1f} GB are available"
            )
            raise InputError(
                f"EASE needs {needed:.1f} GB for {n:,} items, and {why}",
                place="[model] ease",
                remedy="keep fewer items with item_core in [data], or use another method: "
                "itemknn, gfcf and ials need no item x item matrix",
            )


def available_bytes() -> int:
    """Return the bytes that this process may still allocate.

    It is the free memory of the machine, or the rest of the control group's limit if that is less.
    """
    limits = []
    try:
        free = (
            Path("/proc/meminfo").read_text(encoding="ascii").split("MemAvailable:")[1].split()[0]
        )
        limits.append(int(free) * 1024)
    except (OSError, ValueError, IndexError):  # not Linux
        pages = "SC_AVPHYS_PAGES" if "SC_AVPHYS_PAGES" in os.sysconf_names else "SC_PHYS_PAGES"
        limits.append(os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE"))
    try:
        group = Path("/sys/fs/cgroup")
        share = int((group / "memory.max").read_text(encoding="ascii"))
        limits.append(max(0, share - int((group / "memory.current").read_text(encoding="ascii"))))
    except (OSError, ValueError):  # the group does not exist or has no limit ("max")
        pass
    return min(limits)


def _gram(observed: sp.csr_matrix, scale: np.ndarray, l2: float) -> Tensor:
    """Return diag(scale) (X^T X + l2 I) diag(scale), dense float32 [n, n], by blocks of rows."""
    scaled = (observed @ sp.diags(scale)).tocsr().astype(np.float32)
    transposed = scaled.T.tocsr()
    n = len(scale)
    matrix = torch.empty(n, n)
    for a in range(0, n, _BLOCK):
        matrix[a : a + _BLOCK] = torch.from_numpy((transposed[a : a + _BLOCK] @ scaled).toarray())
    matrix.diagonal().add_(torch.from_numpy((l2 * scale**2).astype(np.float32)))
    return matrix


def _gram_on(observed: sp.csr_matrix, scale: np.ndarray, l2: float, device: torch.device) -> Tensor:
    """Return the same on a device, by blocks of columns."""
    turned = (observed @ sp.diags(scale)).T.tocsr()
    rows, n = csr_on(turned, device), len(scale)
    matrix = torch.empty(n, n, device=device)
    for a in range(0, n, _BLOCK):
        matrix[:, a : a + _BLOCK] = rows @ dense_on(turned[a : a + _BLOCK], device).T
    matrix.diagonal().add_(torch.from_numpy((l2 * scale**2).astype(np.float32)).to(device))
    return matrix


def invert_lower(matrix: Tensor, block: int = _BLOCK) -> None:
    """Invert a symmetric positive definite matrix in place, by its lower triangle.

    The symmetric sweep: for each diagonal block P with its block column C, the rest becomes A - C
    P^-1 C^T, the column C P^-1 and the block -P^-1; after the last block, A is minus its inverse.
    This takes n^3 operations, nearly all in products of large blocks; the blocks P are inverted in
    float64. In addition to the matrix it needs three panels [n, block].

    Args:
        matrix: float32 [n, n], contiguous; only the lower triangle is read. Afterwards its lower
            triangle holds that of the inverse; values above the diagonal blocks are undefined.
        block: width of a panel.

    Raises:
        InputError: the matrix is not positive definite in the precision of float32.
    """
    n = len(matrix)
    for a in range(0, n, block):
        b = min(a + block, n)
        pivot = matrix[a:b, a:b].double().tril()
        pivot += pivot.tril(-1).T
        factor, failed = torch.linalg.cholesky_ex(pivot)
        if failed:
            raise InputError(
                "the matrix of EASE is not positive definite in float32",
                place="[model] l2",
                remedy="use a larger l2",
            )
        inverse = torch.cholesky_inverse(factor)
        column = torch.cat([matrix[a:b, :a].T, pivot.float(), matrix[b:, a:b]])
        swept = column @ inverse.float()
        for c in range(0, n, block):
            d = min(c + block, n)
            if c != a:
                matrix[c:, c:d].addmm_(swept[c:], column[c:d].T, alpha=-1)
        matrix[a:b, :a] = swept[:a].T
        matrix[b:, a:b] = swept[b:]
        matrix[a:b, a:b] = -inverse.float()
    for a in range(0, n, block):
        matrix[a : a + block, : a + block].neg_()


def _to_weights(matrix: Tensor, scale: Tensor) -> None:
    """Turn the lower triangle of the scaled inverse Q into the full B, in place.

    P = diag(scale) Q diag(scale), so B_ij = -Q_ij scale_i / (Q_jj scale_j).
    """
    n = len(matrix)
    row, column = scale.neg(), 1 / (matrix.diagonal() * scale)
    for a in range(0, n, _BLOCK):
        i = slice(a, min(a + _BLOCK, n))
        for c in range(0, a, _BLOCK):
            j = slice(c, c + _BLOCK)
            below = matrix[i, j]
            matrix[j, i] = below.T * row[j, None] * column[i]
            below.mul_(row[i, None]).mul_(column[j])
        own = matrix[i, i].tril()
        own += own.tril(-1).T.clone()
        matrix[i, i] = own * row[i, None] * column[i]
    matrix.diagonal().zero_()


def _largest(matrix: Tensor, keep: int) -> sp.csr_matrix:
    """Return the `keep` entries of largest absolute value per column, CSR float32 [n, n]."""
    n = len(matrix)
    keep = min(keep, n - 1)
    if keep < 1:
        return sp.csr_matrix((n, n), dtype=np.float32)
    rows: list[np.ndarray] = []
    values: list[np.ndarray] = []
    for c in range(0, n, _BLOCK):
        panel = matrix[:, c : c + _BLOCK].T.contiguous()
        largest = panel.abs().topk(keep, dim=1).indices.sort(dim=1).values
        rows.append(largest.int().cpu().numpy())
        values.append(panel.gather(1, largest).cpu().numpy())
    indptr = np.arange(0, n * keep + 1, keep)
    return sp.csc_matrix(
        (np.concatenate(values).ravel(), np.concatenate(rows).ravel(), indptr), shape=(n, n)
    ).tocsr()
