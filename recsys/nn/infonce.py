"""InfoNCE computed in blocks of rows, without an n x n matrix.

A step that contrasts thousands of nodes would write matrices with tens of millions of entries:
the products, their logarithms and the gradients of both. Moving them through memory costs several
times the arithmetic. Here a block of rows that fits the processor's cache passes through all
operations at once, and the gradient is computed together with the value.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["contrast", "info_nce"]

_BLOCK_NUMBERS = 1 << 19  # logits per block; two blocks take 4 MB in float32


def contrast(one: Tensor, other: Tensor, temperature: float, count: Tensor | None = None) -> Tensor:
    """Return the InfoNCE loss between two views of the same nodes, with gradients for both.

    The loss of node v is the cross-entropy of its second view among the second views of all nodes,
    by cosine similarity:

        -log( exp(cos(a_v, b_v) / t) / sum_w c_w exp(cos(a_v, b_w) / t) )

    The result is a scalar, the mean over nodes weighted by c_v. With counts it equals the loss over
    a batch in which node v occurs c_v times: equal rows have equal terms, so one row represents
    all copies.

    Args:
        one, other: the two views, float [n, d], row by row.
        temperature: t; cosines are divided by it.
        count: number of occurrences of each node, [n]; None counts each node once.
    """
    dtype = torch.promote_types(one.dtype, torch.float32)  # mixed precision
    with torch.autocast(one.device.type, enabled=False):
        left = F.normalize(one.to(dtype), dim=-1) / temperature
        right = F.normalize(other.to(dtype), dim=-1)
        value: Tensor = _OwnAmongAll.apply(left, right, None if count is None else count.to(left))  # type: ignore[no-untyped-call]
    return value


def info_nce(one: Tensor, other: Tensor, temperature: float) -> Tensor:
    """Return the InfoNCE loss by its definition, for nodes that occur once.

    This is the reference that the tests compare `contrast` with.

    Args:
        one, other: two views of the same nodes, float [n, d], row by row.
        temperature: cosines are divided by it.
    """
    logits = F.normalize(one, dim=-1) @ F.normalize(other, dim=-1).T / temperature
    return F.cross_entropy(logits, torch.arange(len(one), device=one.device))


class _OwnAmongAll(torch.autograd.Function):
    """Cross-entropy of the logits left @ right.T with the diagonal as targets.

    The gradient by the logits is their softmax p minus the identity, so both gradients are products
    with p and are accumulated block by block in the forward pass.
    """

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, count: Tensor | None) -> Tensor:
        n = len(left)
        weight = left.new_full((n,), 1 / n) if count is None else count / count.sum()
        by_left, by_right = (
            (torch.zeros_like(part) if needs_gradient else None)
            for part, needs_gradient in zip((left, right), ctx.needs_input_grad, strict=False)
        )
        numbers = _BLOCK_NUMBERS if left.device.type == "cpu" else 32 * _BLOCK_NUMBERS
        size = max(1, min(n, numbers // max(1, n)))
        logits, share = left.new_empty(size, n), left.new_empty(size, n)
        nll = left.new_empty(n)
        for start in range(0, n, size):
            rows = slice(start, min(start + size, n))
            own = left[rows]
            s = logits[: rows.stop - start]
            p = share[: rows.stop - start]
            torch.mm(own, right.T, out=s)
            if count is not None:
                s += count.log()
            torch.softmax(s, 1, out=p)
            # log-sum-exp from the largest term: its share is at least 1 / n, so that its
            # logarithm is finite where that of a smaller share may not be.
            nll[rows] = s.amax(1) - p.amax(1).log() - torch.linalg.vecdot(own, right[rows])
            if by_left is not None:
                torch.mm(p, right, out=by_left[rows])
            if by_right is not None:
                by_right.addmm_(p.T, own * weight[rows, None])
        if by_left is not None:
            by_left.sub_(right).mul_(weight[:, None])
        if by_right is not None:
            by_right.addcmul_(left, weight[:, None], value=-1)
        ctx.save_for_backward(by_left, by_right)
        return weight @ nll

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        by_left, by_right = ctx.saved_tensors
        return (
            None if by_left is None else by_left * grads[0],
            None if by_right is None else by_right * grads[0],
            None,
        )
