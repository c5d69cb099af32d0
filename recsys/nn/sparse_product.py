"""Products of sparse matrices and dense tables.

On the CPU, a sparse matrix times a table is a weighted sum of table rows for each row of the
matrix. torch has kernels for that which depend on the width of a row; in float32 they are two to
four times as fast as its sparse product, which is the fallback and the reference in the tests.
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

_FEW = 8  # look rows up one by one if fewer than 1 in so many are requested


def product(graph: Tensor, table: Tensor) -> Tensor:
    """Return graph @ table, sparse CSR [n, m] by [m, d], without a gradient."""
    if table.device.type != "cpu" or table.dtype != torch.float32 or graph.dtype != torch.float32:
        return graph @ table
    # Through numpy: torch.compile does not support views of sparse tensors.
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


def entries(start: Tensor, rows: Tensor, total: int | None = None) -> tuple[Tensor, Tensor]:
    """Return the positions of the entries of some rows of a CSR matrix, row after row.

    Args:
        start: start of each row, and the end of the last, [n + 1].
        rows: the requested rows, int64 [R].
        total: number of their entries; None reads it, which waits for an accelerator.

    Returns:
        positions: int64 [P].
        begin: start of each requested row in `positions`, and the end of the last, int64 [R + 1].
    """
    first = start[rows].long()
    count = start[rows + 1] - first
    begin = F.pad(count.cumsum(0), (1, 0))
    total = int(begin[-1]) if total is None else total
    positions = torch.arange(total, device=rows.device) + torch.repeat_interleave(
        first - begin[:-1], count, output_size=total
    )
    return positions, begin


class SparseProduct(nn.Module):
    """Multiply a constant sparse matrix with a table, with a gradient for the table.

    The matrix is stored together with its transpose, so that the backward pass too is one pass over
    its entries. Autograd's own gradient for weighted sums of rows costs ten times as much.

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

    @classmethod
    def of_neighbours(cls, neighbours: Tensor, weight: Tensor) -> SparseProduct:
        """Return the product with a graph of K neighbours per node, on their device.

        Args:
            neighbours: int64 [n, K].
            weight: of the neighbours of each node, float [n, K].
        """
        n, k = neighbours.shape
        if weight.device.type == "cpu":  # scipy transposes by counting
            column, value = (part.numpy().ravel() for part in (neighbours, weight))
            return cls(sp.csr_matrix((value, column, np.arange(n + 1) * k), shape=(n, n))).to(
                weight
            )
        graph = cls(sp.csr_matrix((n, n)))  # its buffers are replaced
        ordered, order = neighbours.reshape(-1).sort(stable=True)
        every = torch.arange(n + 1, device=weight.device)
        graph.start, graph.turned_start = every * k, torch.searchsorted(ordered, every)
        graph.column = neighbours.reshape(-1)
        graph.turned_column = order.div(k, rounding_mode="floor")
        graph.weight = weight.reshape(-1)
        graph.turned_weight = graph.weight.index_select(0, order)
        return graph

    def forward(self, table: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return the product or some rows of it: [m, ...] -> [n, ...], or -> [R, ...].

        If few rows are requested, only their entries are read. Otherwise all rows are computed: a
        pass over all entries in order is faster than a lookup of half of them, whose gradient would
        also be added up in an undefined order. An accelerator always computes all rows: how many
        entries some of them have it could only tell by a wait.

        Args:
            table: dense table, float [m, ...].
            rows: distinct rows, int64 [R]; None: all.
        """
        flat = table.to(self.weight).flatten(1)  # mixed precision
        few = rows is not None and _FEW * len(rows) < self.start.numel() - 1
        if rows is not None and few and rows.device.type == "cpu":
            positions, begin = entries(self.start, rows)
            some = self.column.index_select(0, positions).long()
            out = _sums(begin, some, self.weight.index_select(0, positions), flat)
        else:
            matrix = (self.start, self.column, self.weight)
            transpose = (self.turned_start, self.turned_column, self.turned_weight)
            out = _Product.apply(flat, matrix, transpose)  # type: ignore[no-untyped-call]
            out = out if rows is None else out.index_select(0, rows)
        return out.view(-1, *table.shape[1:])


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, matrix: _Parts, transpose: _Parts) -> Tensor:
        ctx.transpose = transpose
        return _sums(*matrix, table)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        transpose: _Parts = ctx.transpose
        return _sums(*transpose, grads[0].contiguous()), None, None
