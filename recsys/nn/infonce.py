"""InfoNCE a block of rows at a time: no n x n matrix is held, and the gradient is made beside the value.

A step that contrasts thousands of nodes writes matrices of tens of millions of numbers: the products, their logarithms and the gradients of both.
Moving them through memory costs several times what is computed. Here a block of rows that fits a processor's cache goes through all of it at once.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["contrast", "info_nce"]

_BLOCK_NUMBERS = 1 << 19  # logits that are held at a time; two such blocks, 4 MB in float32


def contrast(one: Tensor, other: Tensor, temperature: float, count: Tensor | None = None) -> Tensor:
    """Mean over nodes of the cross-entropy of a node's other view among the other views of all nodes, by cosine; a scalar, with a gradient for both.

    -log( exp(cos(a_v, b_v) / t) / sum_w c_w exp(cos(a_v, b_w) / t) ), mean over nodes v with weights c_v. With counts this is what comes of
    contrasting every node c_v times, each occurrence a negative of the others: equal rows have equal terms, so one row stands for all of them.

    Args:
        one, other: two views of the same nodes [n, d], row by row.
        temperature: t, cosines are divided by it.
        count: how often each node occurs, [n]; None: once.
    """
    dtype = torch.promote_types(one.dtype, torch.float32)  # mixed precision
    with torch.autocast(one.device.type, enabled=False):
        left, right = (
            F.normalize(one.to(dtype), dim=-1) / temperature,
            F.normalize(other.to(dtype), dim=-1),
        )
        value: Tensor = _OwnAmongAll.apply(left, right, None if count is None else count.to(left))  # type: ignore[no-untyped-call]
    return value


def info_nce(one: Tensor, other: Tensor, temperature: float) -> Tensor:
    """`contrast` written down, over nodes that occur once: what the tests hold it against.

    Args:
        one, other: two views of the same nodes [n, d], row by row.
        temperature: cosines are divided by it.
    """
    logits = F.normalize(one, dim=-1) @ F.normalize(other, dim=-1).T / temperature
    return F.cross_entropy(logits, torch.arange(len(one), device=one.device))


class _OwnAmongAll(torch.autograd.Function):
    """Cross-entropy of logits left @ right.T whose right answers are on the diagonal; p, their softmax, is the gradient but for the diagonal."""

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor, count: Tensor | None) -> Tensor:
        n = len(left)
        weight = left.new_full((n,), 1 / n) if count is None else count / count.sum()
        by_left, by_right = (
            (torch.zeros_like(part) if wanted else None)
            for part, wanted in zip((left, right), ctx.needs_input_grad, strict=False)
        )
        numbers = _BLOCK_NUMBERS if left.device.type == "cpu" else 32 * _BLOCK_NUMBERS
        size = max(1, min(n, numbers // max(1, n)))
        logits, share = left.new_empty(size, n), left.new_empty(size, n)
        nll = left.new_empty(n)
        for start in range(0, n, size):
            rows = slice(start, min(start + size, n))
            own, s, p = left[rows], logits[: rows.stop - start], share[: rows.stop - start]
            torch.mm(own, right.T, out=s)
            if count is not None:
                s += count.log()
            torch.softmax(s, 1, out=p)
            # log-sum-exp by the largest term: its share is at least 1 / n, so that its logarithm is safe where that of another is not.
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
