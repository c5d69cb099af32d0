"""The k largest scores of each row, exactly, equal scores in the order of `tie_order`.

The maximum of every 64 neighbouring items is taken. The best k + 1 of these maxima name the only
blocks of items that can hold the best k + 1 items, and the search goes on inside them. That reads
the scores once; `torch.topk` over the whole row takes about three times as long.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.data.hashing import tie_order

__all__ = ["WIDTH", "Ties", "best_of_rows"]

WIDTH = 64  # neighbouring items that are represented by their maximum


class Ties(NamedTuple):
    """The order of columns with equal scores.

    Args:
        position: position of each column among equals, int64 [n].
        at: its inverse, the column at each position, int64 [n].
    """

    position: Tensor
    at: Tensor

    @classmethod
    def by(cls, position: Tensor) -> Ties:
        """Return the order in which the columns of distinct positions [n] stand."""
        at = position.argsort()
        rank = torch.empty_like(at)
        rank[at] = torch.arange(len(at), device=at.device)
        return cls(rank, at)


@functools.lru_cache(maxsize=8)
def _all_items(n_items: int, device: torch.device) -> Ties:
    """Return the order of ties of rows that hold all items."""
    return Ties.by(torch.from_numpy(tie_order(n_items).copy()).to(device))


def best_of_rows(scores: Tensor, k: int, ties: Ties | None = None) -> tuple[Tensor, Tensor]:
    """Return values and columns of the k largest scores of each row, best first, [B, k] each.

    Args:
        scores: [B, n].
        k: at most n.
        ties: order of equal scores; None: that of `tie_order`, one item per column.
    """
    ties = ties or _all_items(scores.shape[1], scores.device)
    value, column = _largest(scores, min(k + 1, scores.shape[1]))
    if value.shape[1] > k:
        # If the value after the last equals it, the order of ties decides which of them are taken.
        tied = (value[:, k] == value[:, k - 1]) & (value[:, k - 1] > -torch.inf)
        rows = tied.nonzero().view(-1)
        last, column = value[:, k - 1 : k], column[:, :k]
        if len(rows):
            column = column.clone()
            column[rows] = _first_of_equals(scores[rows], last[rows], k, ties)
    column = _in_tie_order(column, ties)
    value, order = scores.gather(1, column).sort(dim=1, descending=True, stable=True)
    return value, column.gather(1, order)


def _in_tie_order(column: Tensor, ties: Ties) -> Tensor:
    """Return the columns of each row [B, k] in the order of ties."""
    return ties.at[ties.position[column].sort(dim=1).values]


def _first_of_equals(scores: Tensor, last: Tensor, k: int, ties: Ties) -> Tensor:
    """Return columns [R, k]: all above `last` [R, 1], then the first equal to it."""
    _, column = _largest(scores, min(4 * k + 64, scores.shape[1]))
    column = _in_tie_order(column, ties)
    value = scores.gather(1, column)
    result = column[_choose(value, last, k)].view(len(scores), k)
    # If even the lowest of these equals `last`, there may be more equals: search the whole row.
    open_end = (value.min(1).values == last[:, 0]).nonzero().view(-1)
    if len(open_end) and value.shape[1] < scores.shape[1]:
        chosen = _choose(scores[open_end][:, ties.at], last[open_end], k)
        result[open_end] = ties.at[chosen.nonzero()[:, 1]].view(len(open_end), k)
    return result


def _choose(scores: Tensor, last: Tensor, k: int) -> Tensor:
    """Return a mask of k columns per row: all above `last`, then the first equal to it."""
    above, equal = scores > last, scores == last
    room = k - above.sum(1, keepdim=True)
    return above | (equal & (equal.cumsum(1) <= room))


def _largest(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return values and columns [B, k] of the k largest of each row, equals in any order."""
    size, n = values.shape
    width = WIDTH if n > 4096 else 8
    if 2 * k * width > n:
        value, column = values.topk(k, dim=1)
        return value, column
    if n % width:
        values = F.pad(values, (0, width - n % width), value=-torch.inf)
    blocks = values.shape[1] // width
    # A block can hold one of the k largest only if its maximum is among the k largest maxima.
    _, winner = _largest(values.view(size, blocks, width).amax(2), k)
    start = torch.arange(size, device=values.device)[:, None] * blocks
    rows = values.reshape(size * blocks, width).index_select(0, (start + winner).view(-1))
    value, index = _largest(rows.view(size, k * width), k)
    return value, winner.gather(1, index // width) * width + index % width
