"""Scores of factor models by matrix products into a buffer.

On the CPU the product is computed through numpy, a few hundred items at a time. Such a tile of
scores is still in the cache when the best of a user's vectors is taken, and the BLAS behind numpy
is faster on it than on the whole row.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.data.query import Queries
from recsys.scorer import Dot, NearestOf

__all__ = ["TILE", "TiledProduct", "encoded", "score_tile"]

TILE = 512  # items scored at a time on the CPU


def encoded(plan: Dot | NearestOf, queries: Queries) -> tuple[Tensor, Tensor | None]:
    """Return the vectors of queries, [B, d] or [B, C, d], and their terms, [B] or None."""
    if isinstance(plan, NearestOf):
        return plan.encode(queries), None
    return plan.encode(queries)


class TiledProduct:
    """Scores by a plan of one matrix product, or of several of which the largest counts.

    Args:
        plan: what encodes queries, and the keys of items.
        padded: number of columns of the buffer, at least the number of items.
    """

    def __init__(self, plan: Dot | NearestOf, padded: int) -> None:
        self.plan = plan
        key = F.pad(plan.key, (0, 0, 0, padded - len(plan.key)))
        self.host = key.device.type == "cpu"
        tiles = torch.split(key, TILE) if self.host else (key,)
        self.tiles = [tile.T.contiguous() for tile in tiles]

    def __call__(self, queries: Queries, out: Tensor) -> Tensor | None:
        """Fill `out` [B, padded] with the scores of B queries, less the term.

        Returns:
            The term of each query [B]; None: zero.
        """
        query, term = encoded(self.plan, queries)
        self._fill(query, out)
        return term

    def _fill(self, query: Tensor, out: Tensor) -> None:
        if not self.host:
            _on_a_device(query, self.tiles[0], out)
            return
        for start, tile in zip(range(0, out.shape[1], TILE), self.tiles, strict=True):
            score_tile(query, tile, out[:, start : start + tile.shape[1]])


def score_tile(query: Tensor, tile: Tensor, out: Tensor) -> None:
    """Fill `out` [B, w] with the scores of w items, on the CPU.

    Args:
        query: [B, d], or [B, C, d] for the largest of C products.
        tile: the keys of the items, [d, w].
        out: [B, w]; its rows may be those of a wider buffer.
    """
    rows, scores = query.numpy(), out.numpy()
    keys = tile.numpy()
    if query.ndim == 2:
        np.matmul(rows, keys, out=scores)
        return
    size, vectors, dim = rows.shape
    each = np.matmul(rows.reshape(-1, dim), keys).reshape(size, vectors, -1)
    np.maximum.reduce(each, axis=1, out=scores)


def _on_a_device(query: Tensor, key: Tensor, out: Tensor) -> None:
    if query.ndim == 2:
        torch.mm(query, key, out=out)
        return
    torch.mm(query[:, 0], key, out=out)
    for index in range(1, query.shape[1]):
        torch.maximum(out, query[:, index] @ key, out=out)
