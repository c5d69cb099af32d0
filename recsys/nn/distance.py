"""How near a user is to an item: inner product, cosine, squared Euclidean distance (negated, so that more is nearer)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.scorer import Similarity

__all__ = ["clip_to_ball", "near", "near_pool"]


def near(kind: Similarity, user: Tensor, item: Tensor) -> Tensor:
    """Similarity of each user with its own items.

    Shapes: user [B, d]; item [B, d] -> [B], or item [B, K, d] -> [B, K].
    """
    if kind == "cosine":
        user, item = F.normalize(user, dim=-1), F.normalize(item, dim=-1)
    if item.dim() == 3:
        if kind == "euclidean":
            return -(user[:, None, :] - item).square().sum(-1)
        # Not bmm: thousands of products of a row with a few rows run far below the speed of one pass over memory.
        return torch.linalg.vecdot(item, user[:, None, :])
    return -(user - item).square().sum(-1) if kind == "euclidean" else (user * item).sum(-1)


def near_pool(kind: Similarity, user: Tensor, item: Tensor) -> Tensor:
    """Similarity of each user with every item of one pool, by one matrix product.

    Shapes: user [B, d], item [K, d] -> [B, K].
    """
    if kind == "cosine":
        user, item = F.normalize(user, dim=-1), F.normalize(item, dim=-1)
    dot = user @ item.T
    if kind != "euclidean":
        return dot
    return 2 * dot - user.square().sum(-1, keepdim=True) - item.square().sum(-1)


def clip_to_ball(rows: Tensor, radius: float = 1.0) -> Tensor:
    """Each row scaled back to norm `radius` where it is longer, in place; shorter rows stay as they are."""
    norm = rows.norm(dim=-1, keepdim=True)
    return rows.mul_(radius / norm.clamp_min(radius))
