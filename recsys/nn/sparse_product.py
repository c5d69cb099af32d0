"""Products of sparse matrices and tables: what neighbours say, added up.

On the CPU a sparse matrix times a table is a weighted sum of rows of the table for each row of the matrix, for which torch has kernels written for
the width of a row: two to four times as fast in float32 as its own sparse product, which is what is said beside it and what the tests compare with.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["SparseProduct", "entries", "product"]

_Parts: TypeAlias = tuple[Tensor, Tensor, Tensor]  # start, column and weight of a CSR matrix

_FEW = 8  # fewer rows than one of so many are looked up for themselves


def product(graph: Tensor, table: Tensor) -> Tensor:
    """The product graph @ table, sparse CSR [n, m] by [m, d], no gradient."""
    if table.device.type != "cpu" or table.dtype != torch.float32 or graph.dtype != torch.float32:
        return graph @ table
    # By way of numpy they are no views of a sparse tensor, which torch.compile does not know.
    start, column, weight = (
        torch.from_numpy(part.numpy())
        for part in (graph.crow_indices(), graph.col_indices(), graph.values())
    )
    with torch.no_grad():
        return _sums(start, column, weight, table)


def _sums(start: Tensor, column: Tensor, weight: Tensor, table: Tensor) -> Tensor:
    return F.embedding_bag(
        column, table, start, per_sample_weights=weight, mode="sum", include_last_offset=True
    )


def entries(start: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Where the entries of some rows of a CSR matrix are, one row after the other.

    Args:
        start: where each row begins, and the last ends [n + 1].
        rows: int64 [R].

    Returns:
        places int64 [P], and where among them each row begins, and the last ends, int64 [R + 1].
    """
    first = start[rows].long()
    count = start[rows + 1] - first
    begin = F.pad(count.cumsum(0), (1, 0))
    places = torch.arange(int(begin[-1]), device=rows.device) + torch.repeat_interleave(
        first - begin[:-1], count
    )
    return places, begin


class SparseProduct(nn.Module):
    """A constant sparse matrix as part of a network: its product with a table, with a gradient for the table.

    It is kept beside its transpose, so that backwards as forwards a step is one pass over its entries; the gradient that autograd has for weighted
    sums of rows costs ten times as much.

    Args:
        matrix: CSR [n, m].
    """

    start: Tensor
    column: Tensor
    weight: Tensor
    turned_start: Tensor
    turned_column: Tensor
    turned_weight: Tensor

    def __init__(self, matrix: sp.csr_matrix) -> None:
        super().__init__()
        for name, part in (("", matrix), ("turned_", matrix.T.tocsr())):
            self.register_buffer(
                f"{name}start", torch.from_numpy(part.indptr.astype(np.int32)), persistent=False
            )
            self.register_buffer(
                f"{name}column", torch.from_numpy(part.indices.astype(np.int32)), persistent=False
            )
            self.register_buffer(
                f"{name}weight", torch.from_numpy(part.data.astype(np.float32)), persistent=False
            )

    def forward(self, table: Tensor, rows: Tensor | None = None) -> Tensor:
        """The product, or some rows of it: [m, ...] -> [n, ...], or with distinct rows int64 [R] -> [R, ...].

        Of few rows only their entries are read. Of many all are computed: a pass over all entries in their order is faster than one over half of
        them that are looked up first, and whose gradient is added up in any order.
        """
        flat = table.to(self.weight).flatten(1)  # mixed precision
        if rows is not None and _FEW * len(rows) < self.start.numel() - 1:
            places, begin = entries(self.start, rows)
            some = self.column.index_select(0, places).long()
            out = _sums(begin, some, self.weight.index_select(0, places), flat)
        else:
            there, back = (
                (self.start, self.column, self.weight),
                (self.turned_start, self.turned_column, self.turned_weight),
            )
            out = _Product.apply(flat, there, back)  # type: ignore[no-untyped-call]
            out = out if rows is None else out.index_select(0, rows)
        return out.view(-1, *table.shape[1:])


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, there: _Parts, back: _Parts) -> Tensor:
        ctx.back = back
        return _sums(*there, table)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        back: _Parts = ctx.back
        return _sums(*back, grads[0].contiguous()), None, None
