"""Batches of pairs of items with a pool of negatives, for methods of items bought together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from recsys.data.types import Dataset
from recsys.sampling.batches import Batch
from recsys.sampling.streams import place_of, stream_seed
from recsys.sampling.transfer import to_device

__all__ = ["ItemPairStream", "ItemPairs"]


@dataclass(frozen=True, eq=False)
class ItemPairs:
    """Train on batches of ordered pairs of items, which share a pool of negatives.

    Args:
        first, second: item rows, int64 [p] each.
        pool: number of negatives of a batch.
        probability: of each item as a negative, float64 [n_items]; it sums to 1.
    """

    first: np.ndarray
    second: np.ndarray
    pool: int
    probability: np.ndarray

    of: ClassVar[str] = "pairs of items"

    def open(
        self, train: Dataset, *, batch_size: int, seed: int, device: torch.device | str = "cpu"
    ) -> ItemPairStream:
        """Return the stream; the pairs follow from the training set already."""
        return ItemPairStream(self, batch_size=batch_size, seed=seed, device=device)


class ItemPairStream:
    """Batches in which `Batch.user` is the first item of a pair, and `pos` the second.

    Order and negatives are drawn on the CPU, so that they are the same for every device. A negative
    may be an item that goes with the first one, as in word2vec.

    Args:
        pairs: what is drawn.
        batch_size: pairs per batch, at most; the batches of an epoch are even.
        seed: seed of every draw.
        device: device of the batches.
    """

    def __init__(
        self,
        pairs: ItemPairs,
        *,
        batch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self.batch_size, self.seed = batch_size, seed
        self.device = torch.device(device)
        self.pool = pairs.pool
        self.first, self.second = (
            torch.from_numpy(side.astype(np.int64)) for side in (pairs.first, pairs.second)
        )
        cdf = torch.from_numpy(np.cumsum(pairs.probability))
        # Rounded sums may end below 1, and no draw may fall behind the last item that can be drawn.
        self._cdf = torch.where(cdf >= cdf[-1:], 1.0, cdf)

    @property
    def size(self) -> int:
        """Pairs per epoch."""
        return len(self.first)

    @property
    def interactions(self) -> int:
        """Pairs per epoch, each counted once."""
        return len(self.first)

    @property
    def notes(self) -> tuple[str, ...]:
        """Nothing: every pair is in an epoch."""
        return ()

    def __len__(self) -> int:
        """Return the number of batches per epoch."""
        return -(-self.size // self.batch_size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch from step `start` on: every pair once, shuffled."""
        generator = torch.Generator().manual_seed(stream_seed(self.seed, epoch, "order"))
        order = torch.randperm(self.size, generator=generator)
        sides = (order, self.first[order], self.second[order])
        rows, first, second = (to_device(each, self.device) for each in sides)
        for step in range(start, len(self)):
            generator.manual_seed(stream_seed(self.seed, epoch, step))
            span = slice(
                place_of(step, self.size, len(self)), place_of(step + 1, self.size, len(self))
            )
            neg = to_device(self._drawn(generator), self.device)
            yield Batch(rows[span], first[span], second[span], neg, None, None, epoch, step)

    def _drawn(self, generator: torch.Generator) -> Tensor:
        """Return the negatives of a batch, int64 [K]."""
        uniform = torch.rand(self.pool, generator=generator, dtype=torch.float64)
        return torch.searchsorted(self._cdf, uniform, right=True)
