"""The training items of every user as part of a network, for encoders that read histories."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from recsys.data.types import Interactions
from recsys.nn.sparse_product import entries
from recsys.sampling import to_device

__all__ = ["Histories"]


class Histories(nn.Module):
    """Hold the training items of every user on the device of the network.

    Args:
        pairs: the training interactions. A repeated pair counts once, at its last position.
        limit: maximum number of items per user; the most recent are kept. None keeps all.
    """

    first: Tensor
    item: Tensor

    def __init__(self, pairs: Interactions, limit: int | None = None) -> None:
        super().__init__()
        # np.unique keeps the first of equal keys, so reverse the order to keep the last.
        _, last = np.unique(pairs.key[::-1], return_index=True)
        rows = np.sort(len(pairs) - 1 - last)
        rows = rows[np.argsort(pairs.user[rows], kind="stable")]
        count = np.bincount(pairs.user[rows], minlength=pairs.n_users)
        if limit is not None:
            from_end = np.repeat(np.cumsum(count), count) - np.arange(len(rows))
            rows, count = rows[from_end <= limit], np.minimum(count, limit)
        # Stays on the host: from it follows how many items some histories have together.
        self.count = torch.from_numpy(count.astype(np.int64))
        self.register_buffer(
            "first",
            torch.from_numpy(np.append(0, np.cumsum(count)).astype(np.int64)),
            persistent=False,
        )
        self.register_buffer(
            "item", torch.from_numpy(pairs.item[rows].astype(np.int64)), persistent=False
        )

    def of(self, user: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the histories of a batch of users, concatenated.

        Args:
            user: user indices, int64 [B], on the CPU.

        Returns:
            item: item indices, int64 [P].
            owner: position in the batch of the user of each item, int64 [P], ascending.
            begin: start of each history in `item`, int64 [B].
        """
        total = int(self.count[user].sum())
        user = to_device(user, self.first.device)
        positions, begin = entries(self.first, user, total)
        owner = torch.repeat_interleave(
            torch.arange(len(user), device=user.device), begin.diff(), output_size=total
        )
        return self.item[positions], owner, begin[:-1]
