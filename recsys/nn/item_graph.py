"""Graphs between similar items, computed in blocks of rows without an n x n matrix.

A graph is two tables of n rows: the neighbours of each item, int64 [n, K], and the weight of each
edge, float [n, K]. A propagation reads K rows for each requested item and no others. `as_matrix`
gives the same graph as a sparse matrix, for products over all items.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.scorer.feature_neighbours import best_columns

__all__ = ["Weights", "as_matrix", "nearest_items", "normalised", "similarities", "spread"]

Weights = Literal["similarity", "one"]

_BLOCK_NUMBERS = 1 << 24  # similarities per block


@torch.no_grad()
def nearest_items(
    values: Tensor, k: int, *, known: Tensor | None = None, block: int | None = None
) -> Tensor:
    """Return for every row the row itself and its k - 1 nearest others by cosine.

    Ties are broken by a fixed pseudo-random order that differs between rows. Breaking them by row
    number would give all items with equal features the same few neighbours, those with the lowest
    numbers.

    Args:
        values: item vectors, float [n, d]. A row of zeros is equally similar to all others.
        k: neighbours per row, the row itself included, as in most released code; its similarity of
            1 is the maximum.
        known: bool [n], rows whose values describe their item; None: all. An unknown row, such as
            one filled with the mean, is never a neighbour of another row. All its own neighbours
            are itself, and so are the surplus places of a row when there are fewer than k known
            rows.
        block: rows per block; None chooses blocks of about 64 MB.

    Returns:
        Row numbers in ascending order, int64 [n, min(k, n)].
    """
    unit = F.normalize(values, dim=1)
    n = len(unit)
    among = (
        torch.ones(n, dtype=torch.bool, device=unit.device)
        if known is None
        else known.to(unit.device)
    )
    k = min(k, n)
    draw = torch.randperm(n, generator=torch.Generator().manual_seed(0)).int().to(unit.device)
    size = block or max(1, _BLOCK_NUMBERS // max(1, n))
    blocks = [
        _best(unit, torch.arange(start, min(start + size, n), device=unit.device), k, among, draw)
        for start in range(0, n, size)
    ]
    return torch.cat(blocks) if blocks else torch.empty(0, 0, dtype=torch.int64)


def _best(unit: Tensor, rows: Tensor, k: int, among: Tensor, draw: Tensor) -> Tensor:
    likeness = unit[rows] @ unit.T
    likeness.masked_fill_(~among, -torch.inf)
    likeness[torch.arange(len(rows), device=rows.device), rows] = torch.inf
    # One permutation of all rows, rotated by one position per row: the row that wins ties differs
    # from row to row. `rotations` is a view; its row r is the permutation from position r on.
    rotations = torch.cat([draw, draw]).unfold(0, len(draw), 1)
    best = best_columns(likeness, k, first=lambda tied: rotations[len(draw) - 1 - rows[tied]])
    return torch.where(among[rows, None] & among[best], best, rows[:, None]).sort(1).values


def similarities(values: Tensor, neighbours: Tensor) -> Tensor:
    """Return the cosine of every row and its neighbours, [n, K], with a gradient.

    Negative values become zero, so that no degree is negative. The similarity of a row to itself is
    1, also for a row of zeros.

    Args:
        values: item vectors, float [n, d].
        neighbours: int64 [n, K].
    """
    unit = F.normalize(values, dim=1)
    cosine = torch.linalg.vecdot(F.embedding(neighbours, unit), unit[:, None, :]).clamp_min(0)
    return torch.where(
        neighbours == torch.arange(len(values), device=values.device)[:, None], 1.0, cosine
    )


def normalised(neighbours: Tensor, weight: Tensor) -> Tensor:
    """Return w_ij / sqrt(d_i d_j), [n, K], where d_i is the sum of the weights of row i.

    A weight whose row or neighbour has degree 0 becomes 0.
    """
    degree = weight.sum(1)
    scale = torch.where(degree > 0, degree.clamp_min(1e-12).rsqrt(), 0.0)
    return weight * scale[:, None] * scale[neighbours]


def spread(neighbours: Tensor, weight: Tensor, table: Tensor) -> Tensor:
    """Return one propagation, sum_k w_rk table[n_rk], [R, d].

    Args:
        neighbours, weight: neighbours and weights of the requested rows, [R, K].
        table: vectors of all items, float [n, d].
    """
    return F.embedding_bag(neighbours, table, per_sample_weights=weight, mode="sum")


def as_matrix(neighbours: Tensor, weight: Tensor) -> sp.csr_matrix:
    """Return the graph as CSR [n, n]: row i holds the weights of the neighbours of item i."""
    n, k = neighbours.shape
    column, value = (part.cpu().numpy().ravel() for part in (neighbours, weight))
    return sp.csr_matrix((value, column, np.arange(n + 1) * k), shape=(n, n))
