"""Similarities of users and items, and the spaces of their vectors.

A similarity is an inner product, a cosine, or a negated squared Euclidean distance, so that higher
is closer. A space is all of R^d, a ball, or its sphere.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.scorer import Similarity

__all__ = [
    "Space",
    "clip_to_ball",
    "keep_in",
    "project",
    "similarity",
    "similarity_multi",
    "similarity_of_winner",
    "similarity_pool",
]

Space = Literal["free", "ball", "sphere"]


def similarity(kind: Similarity, user: Tensor, item: Tensor) -> Tensor:
    """Return the similarity of each user with the items of that user.

    Args:
        kind: dot, cosine, or euclidean (the negated squared distance); higher is closer.
        user: float [B, d].
        item: one item per user, float [B, d], or K of them, [B, K, d].

    Returns:
        float [B], or [B, K].
    """
    if kind == "cosine":
        user, item = F.normalize(user, dim=-1), F.normalize(item, dim=-1)
    if item.dim() == 3:
        if kind == "euclidean":
            return -(user[:, None, :] - item).square().sum(-1)
        # Not bmm: thousands of products of a row with a few rows run far below the speed of one
        # pass over memory.
        return torch.linalg.vecdot(item, user[:, None, :])
    return -(user - item).square().sum(-1) if kind == "euclidean" else (user * item).sum(-1)


def similarity_pool(kind: Similarity, user: Tensor, item: Tensor) -> Tensor:
    """Return the similarity of each user with every item of one pool, by one matrix product.

    Shapes: user [B, d], item [K, d] -> [B, K].
    """
    if kind == "cosine":
        user, item = F.normalize(user, dim=-1), F.normalize(item, dim=-1)
    dot = user @ item.T
    if kind != "euclidean":
        return dot
    return 2 * dot - user.square().sum(-1, keepdim=True) - item.square().sum(-1)


def similarity_multi(kind: Similarity, users: Tensor, items: Tensor) -> Tensor:
    """Return the similarity of each vector of a user with each item of that user or of a pool.

    Shapes: users [B, C, d]; items [B, K, d], or [K, d] for a pool -> [B, C, K].
    """
    if kind == "cosine":
        users, items = F.normalize(users, dim=-1), F.normalize(items, dim=-1)
    if items.dim() == 2:
        dot = (users.reshape(-1, users.shape[2]) @ items.T).view(*users.shape[:2], -1)
    elif users.device.type == "cpu" and not torch.is_grad_enabled():
        dot = torch.from_numpy(
            np.matmul(users.numpy(), items.transpose(1, 2).numpy())
        )  # small products: three times as fast as torch's
    else:
        dot = users @ items.transpose(1, 2)
    if kind != "euclidean":
        return dot
    return 2 * dot - users.square().sum(-1, keepdim=True) - items.square().sum(-1).unsqueeze(-2)


def similarity_of_winner(kind: Similarity, users: Tensor, items: Tensor, winner: Tensor) -> Tensor:
    """Return the similarity of items with one chosen vector of their user, [B, K].

    Args:
        kind: dot, cosine, or euclidean.
        users: float [B, C, d].
        items: float [B, K, d].
        winner: index of the user's vector that an item is compared with, int64 [B, K].
    """
    if kind == "cosine":
        users, items = F.normalize(users, dim=-1), F.normalize(items, dim=-1)
    value: Tensor = _Winner.apply(users, items, winner, kind == "euclidean")  # type: ignore[no-untyped-call]
    return value


class _Winner(torch.autograd.Function):
    """One product and one sum by row in the gradient; autograd would keep copies of [B, K, d]."""

    @staticmethod
    def forward(ctx: Any, users: Tensor, items: Tensor, winner: Tensor, euclidean: bool) -> Tensor:
        size, vectors, dim = users.shape
        flat = (torch.arange(size, device=users.device)[:, None] * vectors + winner).view(-1)
        chosen = users.reshape(-1, dim).index_select(0, flat).view(items.shape)
        ctx.shape, ctx.euclidean = users.shape, euclidean
        if euclidean:
            apart = chosen.sub_(items)
            ctx.save_for_backward(flat, apart)
            return torch.linalg.vecdot(apart, apart).neg_()
        ctx.save_for_backward(flat, chosen, items)
        return torch.linalg.vecdot(chosen, items)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None]:
        if ctx.euclidean:
            flat, apart = ctx.saved_tensors
            by_item = apart * (2 * grads[0])[:, :, None]
            by_user, sign = by_item, -1.0
        else:
            flat, chosen, items = ctx.saved_tensors
            by_item, by_user = chosen * grads[0][:, :, None], items * grads[0][:, :, None]
            sign = 1.0
        total = by_item.new_zeros(ctx.shape[0] * ctx.shape[1], ctx.shape[2])
        total.index_add_(0, flat, by_user.view(-1, ctx.shape[2]), alpha=sign)
        return total.view(ctx.shape), by_item, None, None


def project(rows: Tensor, space: Space, radius: float = 1.0) -> Tensor:
    """Project each row onto its space, in place.

    A row of zeros has no direction and is unchanged, even on the sphere.
    """
    if space == "free":
        return rows
    if space == "ball":
        return clip_to_ball(rows, radius)
    return rows.mul_(radius / rows.norm(dim=-1, keepdim=True).clamp_min(1e-12))


def clip_to_ball(rows: Tensor, radius: float = 1.0) -> Tensor:
    """Scale each row that is longer to norm `radius`, in place; shorter rows are unchanged."""
    norm = rows.norm(dim=-1, keepdim=True)
    return rows.mul_(radius / norm.clamp_min(radius))


@torch.no_grad()
def keep_in(
    table: nn.Embedding,
    space: Space,
    radius: float = 1.0,
    *,
    rows: Tensor | None = None,
    vectors: int = 1,
) -> None:
    """Project rows back onto their space: the given ones, or those that the last step has moved.

    Args:
        table: n rows of `vectors` vectors each.
        space, radius: space of a vector.
        rows: rows to project; None: those with a gradient, which are few if it is sparse.
        vectors: number of vectors per row.
    """
    if space == "free":
        return
    weight = table.weight
    if rows is None and weight.grad is not None and weight.grad.is_sparse:
        rows = weight.grad._indices()[0]
    if rows is None:
        project(weight.view(len(weight) * vectors, -1), space, radius)
        return
    moved = weight.index_select(0, rows)
    project(moved.view(len(rows) * vectors, -1), space, radius)
    weight.index_copy_(
        0, rows, moved
    )  # a row that is named twice is written twice, with the same values
