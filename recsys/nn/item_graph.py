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

from recsys.scorer.feature_neighbours import best_columns

__all__ = ["Weights", "as_matrix", "nearest_items", "normalised", "similarities", "spread"]

Weights = Literal["similarity", "one"]

_BLOCK_NUMBERS = 1 << 24  # similarities that are held at a time


@torch.no_grad()
def nearest_items(
    values: Tensor, k: int, *, known: Tensor | None = None, block: int | None = None
) -> Tensor:
    """Every row itself and the k - 1 others nearest by cosine, ascending; int64 [n, min(k, n)].

    Of others that are equally near some are drawn, for each row its own, the same whenever this is called. Were it the lower rows, all items of a
    price would have the same few neighbours, those whose ids come first.

    Args:
        values: float [n, d]. A row of zeros is as near to all others.
        k: neighbours of a row, itself among them, as in most released code, where its similarity of 1 is as large as any.
        known: bool [n], rows that say something of their items; None: all. One that does not, such as the mean that stands in a gap, is nobody
            else's neighbour. It has itself in all its places, as others have in places that no known row is left for.
        block: rows at a time; None: as many as keep the working memory near 64 MB.
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
    found = [
        _best(unit, torch.arange(start, min(start + size, n), device=unit.device), k, among, draw)
        for start in range(0, n, size)
    ]
    return torch.cat(found) if found else torch.empty(0, 0, dtype=torch.int64)


def _best(unit: Tensor, rows: Tensor, k: int, among: Tensor, draw: Tensor) -> Tensor:
    likeness = unit[rows] @ unit.T
    likeness.masked_fill_(~among, -torch.inf)
    likeness[torch.arange(len(rows), device=rows.device), rows] = torch.inf
    # One permutation of all rows, turned on by a place from row to row: who goes first differs from row to row, and nobody does so often.
    turned = torch.cat([draw, draw]).unfold(
        0, len(draw), 1
    )  # a view: row r is the permutation from place r on
    found = best_columns(likeness, k, first=lambda tied: turned[len(draw) - 1 - rows[tied]])
    return torch.where(among[rows, None] & among[found], found, rows[:, None]).sort(1).values


def similarities(values: Tensor, neighbours: Tensor) -> Tensor:
    """Cosine of every row [n, d] and its neighbours, [n, K], with a gradient; what is below zero is zero, so that a degree never is.

    Of a row and itself it is 1, also where the row is zeros.
    """
    unit = F.normalize(values, dim=1)
    cosine = torch.linalg.vecdot(F.embedding(neighbours, unit), unit[:, None, :]).clamp_min(0)
    return torch.where(
        neighbours == torch.arange(len(values), device=values.device)[:, None], 1.0, cosine
    )


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
