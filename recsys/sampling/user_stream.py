"""Batches of users with all their training items."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from recsys.data.types import Interactions
from recsys.sampling.batches import UserBatch
from recsys.sampling.streams import place_of, stream_seed

__all__ = ["UserStream"]


class UserStream:
    """Batches of users with all their training items. Users without any are left out.

    Args:
        pairs: the training interactions; duplicate pairs count once.
        batch_size: users per batch, at most; the batches of an epoch are even.
        seed: seed of the order.
        device: device of the batches.
    """

    def __init__(
        self, pairs: Interactions, *, batch_size: int, seed: int, device: torch.device | str = "cpu"
    ) -> None:
        self.batch_size, self.seed = batch_size, seed
        self.device = torch.device(device)
        matrix = pairs.csr
        self.indptr = torch.tensor(matrix.indptr, dtype=torch.int64, device=self.device)
        self.item = torch.tensor(matrix.indices, dtype=torch.int64, device=self.device)
        self.user = (self.indptr.diff() > 0).nonzero().view(-1)

    @property
    def size(self) -> int:
        """Users per epoch."""
        return len(self.user)

    def __len__(self) -> int:
        """Return the number of batches per epoch."""
        return -(-len(self.user) // self.batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[UserBatch]:
        """Yield the batches of one epoch from step `start` on: every user once, shuffled."""
        generator = torch.Generator(device=self.device).manual_seed(
            stream_seed(self.seed, epoch, "order")
        )
        users = self.user[torch.randperm(len(self.user), generator=generator, device=self.device)]
        for step in range(start, len(self)):
            first = place_of(step, self.size, len(self))
            end = place_of(step + 1, self.size, len(self))
            yield self.batch(users[first:end], epoch, step)

    def batch(self, user: Tensor, epoch: int = 0, step: int = 0) -> UserBatch:
        """Return the batch of given user rows [B]."""
        first, count = self.indptr[user], self.indptr[user + 1] - self.indptr[user]
        owner = torch.repeat_interleave(torch.arange(len(user), device=self.device), count)
        # Position p of the batch is item p - (number of items of earlier users) of its user.
        position = torch.arange(len(owner), device=self.device)
        position = position + (first - count.cumsum(0) + count)[owner]
        return UserBatch(user, self.item[position], owner, epoch, step)
