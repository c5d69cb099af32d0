"""Batches of users with all their training items."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from recsys.data.types import Dataset, Interactions
from recsys.sampling.batches import UserBatch
from recsys.sampling.streams import place_of, stream_seed
from recsys.sampling.transfer import to_device

__all__ = ["UserStream", "Users"]


@dataclass(frozen=True)
class Users:
    """Train on batches of users, each with all their items (`UserStream`)."""

    of: ClassVar[str] = "whole users"

    def open(
        self, train: Dataset, *, batch_size: int, seed: int, device: torch.device | str = "cpu"
    ) -> UserStream:
        """Return the stream of a training set, see `StreamKind.open`."""
        return UserStream(train.pairs, batch_size=batch_size, seed=seed, device=device)


class UserStream:
    """Batches of users with all their training items. Users without any are left out.

    The order is drawn on the CPU, so that it is the same for every device. There the number of
    items of a batch is known too, and no step waits for the device.

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
        # On the host: from the counts follows how large the tensors of a batch are.
        self._start = torch.tensor(matrix.indptr, dtype=torch.int64)
        self._count = self._start.diff()
        self.user = (self._count > 0).nonzero().view(-1)
        self.indptr = self._start.to(self.device)
        self.item = torch.tensor(matrix.indices, dtype=torch.int64, device=self.device)

    @property
    def size(self) -> int:
        """Users per epoch."""
        return len(self.user)

    @property
    def interactions(self) -> int:
        """Distinct pairs of all users."""
        return len(self.item)

    @property
    def notes(self) -> tuple[str, ...]:
        """Nothing: every user with an item is in an epoch."""
        return ()

    def __len__(self) -> int:
        """Return the number of batches per epoch."""
        return -(-len(self.user) // self.batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[UserBatch]:
        """Yield the batches of one epoch from step `start` on: every user once, shuffled."""
        generator = torch.Generator().manual_seed(stream_seed(self.seed, epoch, "order"))
        users = self.user[torch.randperm(len(self.user), generator=generator)]
        for step in range(start, len(self)):
            first = place_of(step, self.size, len(self))
            end = place_of(step + 1, self.size, len(self))
            yield self.batch(users[first:end], epoch, step)

    def batch(self, user: Tensor, epoch: int = 0, step: int = 0) -> UserBatch:
        """Return the batch of given user rows, int64 [B], on the CPU."""
        total = int(self._count[user].sum())
        user = to_device(user, self.device)
        first, count = self.indptr[user], self.indptr[user + 1] - self.indptr[user]
        owner = torch.repeat_interleave(
            torch.arange(len(user), device=self.device), count, output_size=total
        )
        # Position p of the batch is item p - (number of items of earlier users) of its user.
        position = torch.arange(total, device=self.device)
        position = position + (first - count.cumsum(0) + count)[owner]
        return UserBatch(user, self.item[position], owner, epoch, step)
