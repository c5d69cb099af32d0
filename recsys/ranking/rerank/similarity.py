"""Similarities of the items of a pool."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

__all__ = ["cosines", "unit_rows"]


def unit_rows(rows: np.ndarray | sp.csr_matrix) -> np.ndarray | sp.csr_matrix:
    """Return rows of length 1, float64; rows of zeros stay.

    Args:
        rows: [n, d], dense or sparse.
    """
    if isinstance(rows, np.ndarray):
        dense = rows.astype(np.float64)
        length = np.sqrt((dense**2).sum(1, keepdims=True))
        return np.asarray(dense / np.where(length > 0, length, 1.0))
    sparse = sp.csr_matrix(rows, dtype=np.float64, copy=True)
    length = np.sqrt(np.asarray(sparse.multiply(sparse).sum(1)).ravel())
    sparse.data /= np.repeat(np.where(length > 0, length, 1.0), np.diff(sparse.indptr))
    return sparse


def cosines(rows: np.ndarray | sp.csr_matrix, items: np.ndarray) -> np.ndarray:
    """Return the cosines of the items of each pool, float64 [B, K, K].

    An item has 1 with itself. An item whose row is zero has 0 with all others.

    Args:
        rows: rows of length 1 or 0 of all items, [n_items, d].
        items: item rows of B pools, int [B, K].
    """
    if isinstance(rows, np.ndarray):
        vectors = rows[items]
        similarity = vectors @ vectors.transpose(0, 2, 1)
    else:
        similarity = np.empty((len(items), items.shape[1], items.shape[1]))
        for number, some in enumerate(items):
            own = rows[some]
            similarity[number] = (own @ own.T).toarray()
    diagonal = np.arange(items.shape[1])
    similarity[:, diagonal, diagonal] = 1.0
    return np.asarray(similarity)
