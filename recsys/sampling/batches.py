"""What a stream yields: tensors on the device, and their position in the stream."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["Batch", "UserBatch"]


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
    """

    row: Tensor
    user: Tensor
    pos: Tensor
    neg: Tensor
    mask: Tensor | None
    log_q: tuple[Tensor, Tensor] | None
    epoch: int
    step: int

    def __len__(self) -> int:
        return int(self.user.shape[0])

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
