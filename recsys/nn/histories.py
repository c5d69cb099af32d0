"""What every user has met, as part of a network: for methods that make a user of its items."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from recsys.data.types import Interactions
from recsys.nn.sparse_product import entries

__all__ = ["Histories"]


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
        self.register_buffer(
            "first",
            torch.from_numpy(np.append(0, np.cumsum(count)).astype(np.int64)),
            persistent=False,
        )
        self.register_buffer(
            "item", torch.from_numpy(pairs.item[rows].astype(np.int64)), persistent=False
        )

    def of(self, user: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The histories of users [B], one after the other.

        Returns:
            item rows int64 [P], whose they are int64 [P] ascending in 0..B-1, and where each history begins int64 [B].
        """
        places, begin = entries(self.first, user)
        return (
            self.item[places],
            torch.repeat_interleave(torch.arange(len(user), device=user.device), begin.diff()),
            begin[:-1],
        )
