"""Scores of the own negatives of each row, without an array of all their vectors.

The vectors of T rows with K items each would take T K d numbers, and their gradient as many. Here
they are read in blocks of rows that stay in the cache, and both gradients are weighted sums of rows
of a table, for which torch has a fast kernel.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["own_scores"]

_ELEMENTS = 1 << 18  # numbers of item vectors read at a time


def own_scores(state: Tensor, table: Tensor, item: Tensor) -> Tensor:
    """Return inner products of each row with the vectors of its items, float [T, K].

    Args:
        state: float [T, d].
        table: vectors of all items, float [n, d].
        item: item rows, int64 [T, K].
    """
    with torch.autocast(state.device.type, enabled=False):
        scores: Tensor = _OwnScores.apply(  # type: ignore[no-untyped-call]
            state.to(table.dtype), table, item
        )
    return scores


class _OwnScores(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, state: Tensor, table: Tensor, item: Tensor) -> Tensor:
        ctx.save_for_backward(state, table, item)
        (n, k), dim = item.shape, table.shape[1]
        size = max(1, _ELEMENTS // (k * dim))
        scores, buffer = state.new_empty(n, k), table.new_empty(min(size, n) * k, dim)
        for start in range(0, n, size):
            rows = slice(start, min(start + size, n))
            own = item[rows].reshape(-1)
            vectors = torch.index_select(table, 0, own, out=buffer[: len(own)])
            torch.bmm(vectors.view(-1, k, dim), state[rows, :, None], out=scores[rows, :, None])
        return scores

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        state, table, item = ctx.saved_tensors
        weight = grads[0].contiguous()
        of_state = F.embedding_bag(item, table, mode="sum", per_sample_weights=weight)
        flat = item.reshape(-1)
        ordered, order = flat.sort()
        start = torch.searchsorted(ordered, torch.arange(len(table), device=item.device))
        row = order.div(item.shape[1], rounding_mode="floor")
        of_table = F.embedding_bag(
            row, state, start, mode="sum", per_sample_weights=weight.view(-1)[order]
        )
        return of_state, of_table, None
