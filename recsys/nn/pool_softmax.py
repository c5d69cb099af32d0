"""The cross-entropy of a target among a pool of items that all rows share, in blocks of rows.

With the scores s of a row's target and s_j of the items j of the pool,

    loss = -s + log(exp(s) + sum_j exp(s_j)),

where the sum leaves out the items that are masked. If the pool is the whole catalogue and the
target is masked in it, this is the full cross-entropy.

The scores of a block of rows are computed, turned into gradients in place and forgotten, so that
memory does not grow with rows times pool, and nothing is computed twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["pool_softmax"]

_CELLS = 1 << 20  # scores computed at a time


def pool_softmax(
    state: Tensor,
    own: Tensor,
    pool: Tensor,
    *,
    mask: Tensor | None = None,
    target: Tensor | None = None,
    shift: Tensor | None = None,
    cells: int = _CELLS,
) -> Tensor:
    """Return the loss of each row, [T].

    Args:
        state: float [T, d]; the score of an item of the pool is the inner product with its vector.
        own: score of the target of each row, float [T].
        pool: vectors of the items of the pool, float [K, d].
        mask: bool [T, K], False where an item is left out; None: all count.
        target: position in the pool of an item that is left out, int64 [T]; None: none is.
        shift: subtracted from the scores of the items of the pool, [K]; None: zero.
        cells: number of scores computed at a time, at least K.
    """
    with torch.autocast(state.device.type, enabled=False):
        parts = (state.to(pool.dtype), own.to(pool.dtype), pool)
        loss: Tensor = _PoolSoftmax.apply(  # type: ignore[no-untyped-call]
            *parts, _Left(mask, target, shift), cells
        )
    return loss


@dataclass(frozen=True, eq=False)
class _Left:
    """What is left out of the scores of the pool; arguments as of `pool_softmax`."""

    mask: Tensor | None
    target: Tensor | None
    shift: Tensor | None

    def apply(self, scores: Tensor, rows: slice) -> None:
        """Change the scores [B, K] of some rows in place."""
        if self.shift is not None:
            scores.sub_(self.shift)
        if self.mask is not None:
            scores.masked_fill_(~self.mask[rows], -torch.inf)
        if self.target is not None:
            scores.scatter_(1, self.target[rows, None], -torch.inf)


@dataclass(frozen=True, eq=False)
class _Block:
    """A block of rows: its exponentials divided by exp(top), those of the target, and their sum."""

    rows: slice
    shares: Tensor
    rest: Tensor
    total: Tensor
    top: Tensor


def _blocks(state: Tensor, own: Tensor, pool: Tensor, left: _Left, cells: int) -> Iterator[_Block]:
    """Yield blocks of rows; the next one overwrites `shares`."""
    size = max(1, cells // len(pool))
    buffer = state.new_empty(min(size, len(state)), len(pool))
    for start in range(0, len(state), size):
        rows = slice(start, min(start + size, len(state)))
        scores = torch.mm(state[rows], pool.T, out=buffer[: rows.stop - start])
        left.apply(scores, rows)
        top = torch.maximum(scores.amax(1), own[rows])
        shares = scores.sub_(top[:, None]).exp_()
        rest = (own[rows] - top).exp_()
        yield _Block(rows, shares, rest, shares.sum(1).add_(rest), top)


class _PoolSoftmax(torch.autograd.Function):
    """The gradient is that of equal weights of all rows, as of a mean; others compute it again.

    Whether weights are equal is known on the CPU only; elsewhere the step would wait. There the
    gradient of the pool is computed once, in the backward pass.
    """

    @staticmethod
    def forward(
        ctx: Any, state: Tensor, own: Tensor, pool: Tensor, left: _Left, cells: int
    ) -> Tensor:
        loss = torch.empty_like(own)
        has_gradient = any(ctx.needs_input_grad)
        of_state, of_own = torch.empty_like(state), torch.empty_like(own)
        of_pool = torch.zeros_like(pool) if state.device.type == "cpu" else None
        for block in _blocks(state, own, pool, left, cells):
            rows = block.rows
            torch.log(block.total, out=loss[rows]).add_(block.top).sub_(own[rows])
            if has_gradient:
                inverse = block.total.reciprocal()
                torch.mm(block.shares, pool, out=of_state[rows])
                of_state[rows].mul_(inverse[:, None])
                of_own[rows] = (block.rest * inverse).sub_(1)
                if of_pool is not None:
                    of_pool.addmm_(block.shares.T, state[rows] * inverse[:, None])
        ctx.save_for_backward(state, own, pool, of_state, of_own, of_pool)
        ctx.left, ctx.cells = left, cells
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        state, own, pool, of_state, of_own, of_pool = ctx.saved_tensors
        weight = grads[0]
        if of_pool is not None and bool((weight == weight[:1]).all()):
            of_pool = of_pool * weight[:1]
        else:
            of_pool = torch.zeros_like(pool)
            for block in _blocks(state, own, pool, ctx.left, ctx.cells):
                scale = weight[block.rows] / block.total
                of_pool.addmm_(block.shares.T, state[block.rows] * scale[:, None])
        return of_state * weight[:, None], of_own * weight, of_pool, None, None
