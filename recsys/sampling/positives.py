"""The set of observed pairs, for fast look-up."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["PositivePairs"]

# Multiplier of Knuth's multiplicative hashing for 64 bits, as a signed integer.
_HASH = -7046029254386353131


class PositivePairs:
    """The keys of observed (user, item) pairs: exact, and fast when most keys are not observed.

    A hashed bitmap answers "certainly not observed" for most keys with one read; the few others are
    looked up in the sorted keys.

    Args:
        keys: user * n_items + item of the pairs, int64 [n].
    """

    def __init__(self, keys: Tensor) -> None:
        self.sorted = torch.unique(keys)
        bits = max(10, min(26, (16 * max(1, len(keys)) - 1).bit_length()))
        self.shift, self.low = 64 - bits, (1 << bits) - 1
        self.bitmap = torch.zeros(1 << bits, dtype=torch.bool, device=keys.device)
        self.bitmap[self._slot(self.sorted)] = True

    def contains(self, keys: Tensor) -> Tensor:
        """Return which keys are observed, bool of the shape of `keys`."""
        if not len(self.sorted):
            return torch.zeros_like(keys, dtype=torch.bool)
        position = torch.searchsorted(self.sorted, keys).clamp_(max=len(self.sorted) - 1)
        return self.sorted[position] == keys

    def find(self, keys: Tensor) -> Tensor:
        """Return the positions of the observed keys among `keys` [n], ascending."""
        maybe = torch.take(self.bitmap, self._slot(keys)).nonzero().view(-1)
        return maybe[self.contains(keys[maybe])] if len(maybe) else maybe

    def _slot(self, keys: Tensor) -> Tensor:
        return (keys * _HASH).bitwise_right_shift_(self.shift).bitwise_and_(self.low)
