"""Graphs between items that resemble each other, found a block of rows at a time: no n x n matrix is ever held.

A graph is two tables of n rows: the neighbours of each item, int64 [n, K], and the weight of each, float [n, K]. A propagation reads K
rows for each item that is asked for, and no others. As a matrix, for whole products, it is the value of `as_matrix`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.scorer.nearest import best_columns

__all__ = ["Weights", "as_matrix", "nearest_items", "normalised", "similarities", "spread"]

Weights = Literal["similarity", "one"]

_BLOCK_NUMBERS = 1 << 24  # similarities that are held at a time


@torch.no_grad()
def nearest_items(values: Tensor, k: int, *, own: bool = True, block: int | None = None) -> Tensor:
    """The k nearest rows of every row by cosine, the lower row among equals, ascending; int64 [n, min(k, n)], or of n - 1 without `own`.

    Args:
        values: float [n, d]. A row of zeros is as near to all.
        k: neighbours of a row.
        own: whether a row is among its own neighbours, as in most released code: its similarity of 1 is as large as any.
        block: rows at a time; None: as many as keep the working memory near 64 MB.
    """
    unit = F.normalize(values, dim=1)
    n = len(unit)
    k = min(k, n if own else n - 1)
    size = block or max(1, _BLOCK_NUMBERS // max(1, n))
    found = [_best(unit, slice(start, start + size), k, own) for start in range(0, n, size)]
    return torch.cat(found) if found else torch.empty(0, 0, dtype=torch.int64)


def _best(unit: Tensor, rows: slice, k: int, own: bool) -> Tensor:
    likeness = unit[rows] @ unit.T
    if not own:
        place = torch.arange(len(likeness), device=unit.device)
        likeness[place, place + rows.start] = -torch.inf
    return best_columns(likeness, k)


def similarities(values: Tensor, neighbours: Tensor) -> Tensor:
    """Cosine of every row [n, d] and its neighbours, [n, K], with a gradient; what is below zero is zero, so that a degree never is."""
    unit = F.normalize(values, dim=1)
    return torch.linalg.vecdot(F.embedding(neighbours, unit), unit[:, None, :]).clamp_min(0)


def normalised(neighbours: Tensor, weight: Tensor) -> Tensor:
    """w_ij / sqrt(d_i d_j) with d_i the sum of the weights of row i, [n, K]; 0 where a degree is 0."""
    degree = weight.sum(1)
    scale = torch.where(degree > 0, degree.clamp_min(1e-12).rsqrt(), 0.0)
    return weight * scale[:, None] * scale[neighbours]


def spread(neighbours: Tensor, weight: Tensor, table: Tensor) -> Tensor:
    """sum_k w_rk table[n_rk]: one propagation at the rows whose neighbours [R, K] and weights [R, K] are given, [R, d]."""
    return F.embedding_bag(neighbours, table, per_sample_weights=weight, mode="sum")


def as_matrix(neighbours: Tensor, weight: Tensor) -> sp.csr_matrix:
    """The graph as CSR [n, n]: in row i the weights of the neighbours of item i, [n, K] each."""
    n, k = neighbours.shape
    column, value = (part.cpu().numpy().ravel() for part in (neighbours, weight))
    return sp.csr_matrix((value, column, np.arange(n + 1) * k), shape=(n, n))
