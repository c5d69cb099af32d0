"""Conjugate gradient steps for the rows of alternating least squares.

Paper: Takacs, Pilaszy, Tikk, "Applications of the conjugate gradient method for implicit feedback
collaborative filtering", RecSys 2011. A few steps from the row's vector of the last sweep take the
place of its exact solution.

Differs from the paper: the steps are taken in the basis of `recsys.scorer.als_fold_in`, where the
part of the system that all rows share is diagonal. Scaled by it the system is I + F^T F, so a step
costs 4 L d operations for a row of L items instead of 4 L d + 2 d^2, and needs no other
preconditioner. Every step lowers the objective of the row.

Where numba is installed, rows on the CPU are computed by `recsys.scorer.als_kernel`. Elsewhere, and
on a GPU, `descend_together` takes the same steps for rows of similar length at a time. Both differ
by rounding.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

__all__ = ["CONVERGED", "compiled", "descend_compiled", "descend_together"]

CONVERGED = 1e-13  # squared residual, as a share of the first, at which float32 gains no more

_SPANS = 8  # of rows per thread, so that all threads end together


@functools.cache
def compiled() -> Callable[..., None] | None:
    """Return the compiled steps, or None without numba. The first call imports numba."""
    if importlib.util.find_spec("numba") is None:
        return None
    from recsys.scorer.als_kernel import descend

    return descend


def descend_compiled(
    kernel: Callable[..., None],
    observed: sp.csr_matrix,
    turned: Tensor,
    floor: Tensor,
    strength: np.ndarray,
    start: Tensor,
    steps: int,
    tolerance: float = 0.0,
) -> Tensor:
    """Return the vectors after some steps, computed on the threads of torch.

    Args:
        kernel: what `compiled` returns.
        observed: CSR [n, m]; its pattern holds the interactions.
        turned: vectors of the fixed side in the basis, float32 [m or more, d].
        floor: a0 e, float64 [d].
        strength: weight of the squared norm of each row, float64 [n].
        start: where the steps begin, float32 [n, d] in the basis.
        steps: largest number of steps of a row.
        tolerance: a row ends when its squared residual is at most this share of the first one.

    Returns:
        float32 [n, d] in the basis; rows without interactions are zero.
    """
    n = observed.shape[0]
    # Of torch, whose memory is aligned: a product of other tensors may round otherwise.
    solved = torch.zeros(n, turned.shape[1])
    indptr = np.require(observed.indptr, np.int64, ("C", "W"))
    arrays: tuple[Any, ...] = (
        indptr,
        np.require(observed.indices, np.int32, ("C", "W")),
        turned.numpy(),
        floor.numpy().astype(np.float32),
        strength.astype(np.float32),
        start.contiguous().numpy(),
        solved.numpy(),
    )

    def descend(span: tuple[int, int]) -> None:
        kernel(*arrays, *span, steps, np.float32(tolerance))

    threads = torch.get_num_threads()
    if threads == 1:
        descend((0, n))
    else:
        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(descend, _spans(indptr, _SPANS * threads)):
                pass
    return solved


def _spans(indptr: np.ndarray, parts: int) -> list[tuple[int, int]]:
    """Return at most `parts` spans of rows that hold about as many interactions each."""
    aims = np.linspace(0, indptr[-1], parts + 1)
    bounds = np.searchsorted(indptr, aims)
    bounds[0], bounds[-1] = 0, len(indptr) - 1
    pairs = zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
    return [(first, last) for first, last in pairs if first < last]


def descend_together(scaled: Tensor, start: Tensor, steps: int) -> Tensor:
    """Return x after some steps for (I + F^T F) x = F^T 1, for several rows at a time.

    Args:
        scaled: F, float32 [B, L, d]; rows of zeros pad it.
        start: where the steps begin, float32 [B, d].
        steps: number of steps.

    Returns:
        float32 [B, d].
    """
    x = start
    score = torch.bmm(scaled, x[..., None])
    residual = torch.bmm(scaled.mT, 1 - score)[..., 0] - x
    direction = residual
    square = residual.square().sum(1, keepdim=True)
    for step in range(steps):
        score = torch.bmm(scaled, direction[..., None])
        curvature = score.square().sum(1) + direction.square().sum(1, keepdim=True)
        rate = torch.where(curvature > 0, square / curvature, 0.0)
        x = x + rate * direction
        if step == steps - 1:
            break
        residual = residual - rate * (torch.bmm(scaled.mT, score)[..., 0] + direction)
        later = residual.square().sum(1, keepdim=True)
        direction = residual + torch.where(square > 0, later / square, 0.0) * direction
        square = later
    return x
