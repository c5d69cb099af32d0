"""Sparse matrices of the host on a device."""

from __future__ import annotations

import warnings

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

__all__ = ["csr_on", "dense_on"]


def csr_on(matrix: sp.csr_matrix, device: torch.device) -> Tensor:
    """Return a matrix as a sparse CSR tensor, float32 [n, m], on a device."""
    start, column, value = (
        torch.from_numpy(part.astype(kind)).to(device)
        for part, kind in (
            (matrix.indptr, np.int64),
            (matrix.indices, np.int64),
            (matrix.data, np.float32),
        )
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse .* tensor support is in beta", UserWarning)
        return torch.sparse_csr_tensor(
            start, column, value, size=matrix.shape, check_invariants=False
        )


def dense_on(rows: sp.csr_matrix, device: torch.device) -> Tensor:
    """Return a sparse matrix without duplicates as a dense one, float32 [n, m], on a device.

    Only the entries are copied to the device.
    """
    n, m = rows.shape
    owner = np.repeat(np.arange(n, dtype=np.int64), np.diff(rows.indptr))
    cells = torch.from_numpy(owner * m + rows.indices).to(device)
    values = torch.from_numpy(rows.data.astype(np.float32)).to(device)
    return torch.zeros(n * m, device=device).index_put_((cells,), values).view(n, m)
