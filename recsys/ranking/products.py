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

from recsys.scorer import BestOfSeveral, Gemm

__all__ = ["TiledProduct"]

_TILE = 512  # items scored at a time on the CPU


class TiledProduct:
    """Scores by a plan of one matrix product, or of several of which the largest counts.

    Args:
        plan: queries of users and keys of items.
        padded: number of columns of the buffer, at least the number of items.
    """

    def __init__(self, plan: Gemm | BestOfSeveral, padded: int) -> None:
        self.query = plan.query
        self.term = plan.term if isinstance(plan, Gemm) else None
        self.several = isinstance(plan, BestOfSeveral)
        key = F.pad(plan.key, (0, 0, 0, padded - len(plan.key)))
        self.host = key.device.type == "cpu"
        tiles = torch.split(key, _TILE) if self.host else (key,)
        self.tiles = [tile.T.contiguous() for tile in tiles]

    def __call__(self, rows: Tensor, out: Tensor) -> Tensor | None:
        """Fill `out` [B, padded] with the scores of user rows [B], less the term.

        Returns:
            The term of each user [B]; None: zero.
        """
        query = self.query.index_select(0, rows)
        if self.several:
            self._best_of_several(query, out)
        else:
            self._single(query, out)
        return None if self.term is None else self.term.index_select(0, rows)

    def _single(self, query: Tensor, out: Tensor) -> None:
        if not self.host:
            torch.mm(query, self.tiles[0], out=out)
            return
        rows, scores = query.numpy(), out.numpy()
        for start, tile in zip(range(0, out.shape[1], _TILE), self.tiles, strict=True):
            np.matmul(rows, tile.numpy(), out=scores[:, start : start + tile.shape[1]])

    def _best_of_several(self, query: Tensor, out: Tensor) -> None:
        size, vectors, dim = query.shape
        if not self.host:
            torch.mm(query[:, 0], self.tiles[0], out=out)
            for index in range(1, vectors):
                torch.maximum(out, query[:, index] @ self.tiles[0], out=out)
            return
        rows, scores = query.view(-1, dim).numpy(), out.numpy()
        for start, tile in zip(range(0, out.shape[1], _TILE), self.tiles, strict=True):
            each = np.matmul(rows, tile.numpy()).reshape(size, vectors, -1)
            np.maximum.reduce(each, axis=1, out=scores[:, start : start + tile.shape[1]])
