"""What every user has met, as part of a network: for methods that make a user of its items."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.data.types import Interactions

__all__ = ["Gathered", "Histories"]


class Histories(nn.Module):
    """The training items of every user, on the device of the network.

    Args:
        pairs: the training interactions; what occurs twice counts once.
        limit: items kept of a user, the last in the order of the interactions; None keeps all.
    """

    first: Tensor
    item: Tensor

    def __init__(self, pairs: Interactions, limit: int | None = None) -> None:
        super().__init__()
        # The last of equal pairs counts, so the order is turned round, where the first does.
        _, last = np.unique(pairs.key[::-1], return_index=True)
        rows = np.sort(len(pairs) - 1 - last)
        rows = rows[np.argsort(pairs.user[rows], kind="stable")]
        count = np.bincount(pairs.user[rows], minlength=pairs.n_users)
        if limit is not None:
            from_end = np.repeat(np.cumsum(count), count) - np.arange(len(rows))
            rows, count = rows[from_end <= limit], np.minimum(count, limit)
        self.register_buffer("first", torch.from_numpy(np.append(0, np.cumsum(count)).astype(np.int64)), persistent=False)
        self.register_buffer("item", torch.from_numpy(pairs.item[rows].astype(np.int64)), persistent=False)

    def of(self, user: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The histories of users [B], one after the other.

        Returns:
            item rows int64 [P], whose they are int64 [P] ascending in 0..B-1, and where each history begins int64 [B].
        """
        first, count = self.first[user], self.first[user + 1] - self.first[user]
        end = count.cumsum(0)
        owner = torch.repeat_interleave(torch.arange(len(user), device=user.device), count)
        place = torch.arange(len(owner), device=user.device) + (first - end + count)[owner]
        return self.item[place], owner, end - count


class Gathered(nn.Module):
    """What users get of their items in one step of the normalised user-item graph, for the users of a batch alone.

    Args:
        pairs: the training interactions.
    """

    scale: Tensor

    def __init__(self, pairs: Interactions) -> None:
        super().__init__()
        self.histories = Histories(pairs)
        degree = torch.from_numpy(pairs.csr.sum(0)).view(-1).float()
        self.register_buffer("scale", degree.clamp_min(1).rsqrt(), persistent=False)

    def forward(self, table: Tensor, users: Tensor) -> Tensor:
        """z_u = sum over items i of u of z_i / sqrt(d_u d_i); zeros for a user without a pair.

        Shapes: z of all items [n_items, ...], users [R] -> [R, ...].
        """
        item, owner, first = self.histories.of(users)
        table = table.to(self.scale)  # mixed precision
        count = torch.bincount(owner, minlength=len(users)).clamp_min(1).to(table)
        weight = self.scale[item] * count.rsqrt()[owner]
        return F.embedding_bag(item, table.flatten(1), first, mode="sum", per_sample_weights=weight).view(-1, *table.shape[1:])
