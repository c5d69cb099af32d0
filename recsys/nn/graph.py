"""Graph propagation on the user-item graph: one sparse product per layer, forward and backward.

Nodes are numbered users first, then items: item i is node n_users + i.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from recsys.data.types import Interactions
from recsys.nn.sparse_product import product

__all__ = [
    "mean_layers",
    "mean_layers_rows",
    "normalised_adjacency",
    "normalised_pairs",
    "symmetric",
]


def normalised_pairs(pairs: Interactions) -> sp.csr_matrix:
    """Return D_u^-1/2 R D_i^-1/2, CSR float64 [n_users, n_items].

    An entry is 1 / sqrt(d_u d_i) where user u has a training interaction with item i.
    """
    matrix = pairs.csr.astype(np.float64)
    degrees = matrix @ np.ones(matrix.shape[1]), matrix.T @ np.ones(matrix.shape[0])
    user_scale, item_scale = (
        np.divide(1.0, np.sqrt(degree), out=np.zeros_like(degree), where=degree > 0)
        for degree in degrees
    )
    return (sp.diags(user_scale) @ matrix @ sp.diags(item_scale)).tocsr()


def normalised_adjacency(pairs: Interactions) -> Tensor:
    """Return D^-1/2 A D^-1/2 of the bipartite graph, A = [[0, R], [R^T, 0]], without self loops.

    Returns:
        Sparse CSR float32 [n_users + n_items, n_users + n_items] with int32 indices, which need
        half
        the memory traffic of int64. It is symmetric and so its own transpose: the backward pass
        needs
        no other matrix.
    """
    scaled = normalised_pairs(pairs)
    return symmetric(sp.bmat([[None, scaled], [scaled.T, None]], format="csr"))


def symmetric(graph: sp.csr_matrix) -> Tensor:
    """Return a symmetric matrix [N, N] as a torch sparse CSR tensor, float32, int32 indices."""
    graph.sort_indices()
    start, column = (
        torch.from_numpy(part.astype(np.int32)) for part in (graph.indptr, graph.indices)
    )
    value = torch.from_numpy(graph.data.astype(np.float32))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            start, column, value, size=graph.shape, check_invariants=False
        )


def mean_layers(adjacency: Tensor, start: Tensor, layers: int) -> Tensor:
    """Return the mean of `start` [N, d] and its propagations, [N, d], without a gradient."""
    with torch.no_grad():
        if not layers:
            return start.clone()
        current = product(adjacency, start)
        total = start + current
        for _ in range(layers - 1):
            current = product(adjacency, current)
            total += current
        return total.div_(layers + 1)


def mean_layers_rows(
    adjacency: Tensor, start: Tensor, rows: Tensor, layers: int
) -> tuple[Tensor, Tensor]:
    """Return `mean_layers` at some rows only, with a gradient for `start`.

    A loss uses the rows of its batch and no others, so neither the mean over layers nor its
    gradient is
    formed for the whole graph: a step costs 2 x `layers` sparse products and a few passes over R
    rows.

    Args:
        adjacency: symmetric sparse CSR [N, N].
        start: layer 0, [N, d].
        rows: distinct nodes, int64 [R]. Because they are distinct, adding at rows has one summand a
        row
            and a reproducible result.
        layers: number of propagations.

    Returns:
        The mean at `rows` and layer 0 at `rows` (for regularisation), each [R, d].
    """
    mean, zeroth = _MeanLayersRows.apply(adjacency, start, rows, layers)  # type: ignore[no-untyped-call]
    return mean, zeroth


class _MeanLayersRows(torch.autograd.Function):
    """mean = 1/(L+1) sum_l (A^l E)[rows].

    As A is symmetric, the adjoint is the Horner scheme G + A(G + A(G + ...)).
    """

    @staticmethod
    def forward(
        ctx: Any, adjacency: Tensor, start: Tensor, rows: Tensor, layers: int
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(rows)
        ctx.adjacency = adjacency
        ctx.layers = layers
        ctx.shape = start.shape
        zeroth = start.index_select(0, rows)
        mean, current = zeroth.clone(), start
        # torch has no sparse product in bfloat16.
        with torch.autocast(start.device.type, enabled=False):
            for _ in range(layers):
                current = product(adjacency, current)
                mean += current.index_select(0, rows)
        return mean.div_(layers + 1), zeroth

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, None, None]:
        (rows,) = ctx.saved_tensors
        share = grads[0] / (ctx.layers + 1)
        total = share.new_zeros(ctx.shape).index_add_(0, rows, share)
        for _ in range(ctx.layers):
            total = product(ctx.adjacency, total).index_add_(0, rows, share)
        return None, total.index_add_(0, rows, grads[1]), None, None
