"""What a stream yields: tensors on the device, and their position in the stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

__all__ = ["AnyBatch", "Batch", "SequenceBatch", "UserBatch"]


@dataclass(frozen=True, eq=False)
class Batch:
    """Observed pairs with their negatives.

    Args:
        row: identity of each pair: its position in the training interactions, int64 [B].
        user, pos: user and item rows of the pairs, int64 [B].
        neg: item rows, int64 [B, K], or [K] for a pool that the batch shares.
        mask: bool [B, K], False where a candidate is not a negative; None: all are negatives.
        log_q: log proposal probability of `pos` [B] and of `neg` (its shape); None for a uniform
            proposal.
        epoch, step: position in the stream; steps are counted within the epoch.
        on_host: a copy of `user` on the host; None: `user` is there.
    """

    row: Tensor
    user: Tensor
    pos: Tensor
    neg: Tensor
    mask: Tensor | None
    log_q: tuple[Tensor, Tensor] | None
    epoch: int
    step: int
    on_host: Tensor | None = None

    def __len__(self) -> int:
        return int(self.user.shape[0])

    @property
    def user_on_host(self) -> Tensor:
        """User rows on the host, int64 [B]: sizes can follow from them without a wait."""
        return self.user if self.on_host is None else self.on_host

    @property
    def shared(self) -> bool:
        """Whether the batch shares one pool of negatives."""
        return self.neg.dim() == 1


@dataclass(frozen=True, eq=False)
class UserBatch:
    """Users, each with all their training items.

    Args:
        user: user rows, int64 [B].
        item: item rows of all users, one user after the other, int64 [P]; no item twice for a user.
        owner: position in `user` of the owner of each item, ascending, int64 [P].
        epoch, step: position in the stream; steps are counted within the epoch.
    """

    user: Tensor
    item: Tensor
    owner: Tensor
    epoch: int
    step: int

    def __len__(self) -> int:
        return int(self.user.shape[0])


@dataclass(frozen=True, eq=False)
class SequenceBatch:
    """Histories, packed: one after the other without padding, the shortest first.

    A position is an event with the next event of its history as target. With `at` only some
    positions have a target, and it is their own item. T is the number of positions, M that of
    targets, usually equal, and B the number of histories.

    Args:
        owner: user or session of each history, int64 [B].
        item: item row of each position, oldest first within a history, int64 [T].
        target: item row of the next event, or that of the positions `at`, int64 [M].
        groups: lengths in ascending order, each with the number of histories of this length, which
            are neighbours.
        neg: item rows, int64 [M, K], or [K] for a pool that the batch shares; None: no negatives.
        mask: bool [M, K], False where a candidate is not a negative; None: all are negatives.
        log_q: log proposal probability of `target` [M] and of `neg` (its shape); None for a uniform
            proposal.
        epoch, step: position in the stream; steps are counted within the epoch.
        at: the masked positions, int64 [M], ascending. An encoder must not read their items. None:
            no position is masked, and each has the next event as its target.
        time: time of each position, in seconds since 1970, float64 [T]; None: not asked for.
        next_time: time of the next event of each position, float64 [T]; None: as `time`.
    """

    owner: Tensor
    item: Tensor
    target: Tensor
    groups: tuple[tuple[int, int], ...]
    neg: Tensor | None
    mask: Tensor | None
    log_q: tuple[Tensor, Tensor] | None
    epoch: int
    step: int
    at: Tensor | None = None
    time: Tensor | None = None
    next_time: Tensor | None = None

    def __len__(self) -> int:
        """Return the number of targets."""
        return int(self.target.shape[0])


AnyBatch: TypeAlias = Batch | UserBatch | SequenceBatch
