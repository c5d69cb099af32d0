"""The distinct rows of a batch, so that each is read and transformed once.

How many they are depends on the data. The CPU counts them. An accelerator would have to be waited
for, so there the number of rows depends on the size of the batch only: rows that are left over
repeat the first value. No index refers to them, so they get no gradient, and `counted` gives them
the count 0. A sum over all rows, instead of over indices, must weight them with it.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["counted", "distinct", "once"]


def distinct(*rows: Tensor, n: int) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return the distinct values of several tensors, and the index of each value among them.

    Args:
        rows: int64 of any shape.
        n: all rows are below it.

    Returns:
        Distinct values, ascending, int64 [R], and a tensor of indices for each argument, of its
        shape. On an accelerator values are followed by repetitions of one of them; R is the
        smaller of n and the number of rows.
    """
    every = torch.cat([part.reshape(-1) for part in rows])
    values, index = _marked(every, n) if every.device.type == "cpu" else _filled_up(every, n)
    split = torch.split(index, [part.numel() for part in rows])
    return values, tuple(own.view(part.shape) for own, part in zip(split, rows, strict=True))


def _marked(every: Tensor, n: int) -> tuple[Tensor, Tensor]:
    mark = torch.zeros(n, dtype=torch.bool).index_fill_(0, every, True)
    values = mark.nonzero()[:, 0]
    position = torch.empty(n, dtype=torch.int64)
    position.index_copy_(0, values, torch.arange(len(values)))
    return values, position.index_select(0, every)


def _filled_up(every: Tensor, n: int) -> tuple[Tensor, Tensor]:
    if not len(every):
        return every, every
    mark = every.new_zeros(n).index_fill_(0, every, 1)
    index = mark.cumsum(0).sub_(1).index_select(0, every)
    values = every[:1].repeat(min(n, len(every))).scatter_(0, index, every)
    return values, index


def counted(rows: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Return the distinct values of rows [m] below n, ascending, and their counts.

    Returns:
        int64 [R] each; on an accelerator with repetitions, as in `distinct`, of count 0.
    """
    if rows.device.type == "cpu":
        count = torch.bincount(rows, minlength=n)
        values = count.nonzero()[:, 0]
        return values, count.index_select(0, values)
    values, (index,) = distinct(rows, n=n)
    return values, torch.zeros_like(values).index_add_(0, index, torch.ones_like(index))


def once(count: Tensor) -> Tensor | None:
    """Return the weights 1 of counted rows, 0 of repetitions; None on the CPU: all are 1."""
    return None if count.device.type == "cpu" else count.clamp(max=1)
