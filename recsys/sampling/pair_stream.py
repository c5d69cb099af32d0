"""Batches of observed pairs with their negatives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch

from recsys.data.types import Dataset, Interactions
from recsys.sampling.batches import Batch
from recsys.sampling.negatives import Negatives
from recsys.sampling.settings import Sampler
from recsys.sampling.streams import place_of, stream_seed
from recsys.sampling.transfer import to_device

__all__ = ["PairStream", "Pairs"]

# Negatives drawn at a time: those of several steps if batches are small, so that drawing is cheap
# compared with a step.
_DRAWS = 1 << 15


@dataclass(frozen=True)
class Pairs:
    """Train on batches of observed pairs with negatives (`PairStream`).

    Args:
        sampler: how negatives are drawn.
    """

    sampler: Sampler

    of: ClassVar[str] = "pairs"

    def open(
        self, train: Dataset, *, batch_size: int, seed: int, device: torch.device | str = "cpu"
    ) -> PairStream:
        """Return the stream of a training set, see `StreamKind.open`."""
        return PairStream(
            train.pairs, self.sampler, batch_size=batch_size, seed=seed, device=device
        )


class PairStream:
    """Batches of observed pairs, each with its negatives.

    Order and negatives are drawn on the CPU, so that they are the same for every device.

    Args:
        pairs: the training interactions; an epoch is copied to the device at once.
        sampler: how negatives are drawn.
        batch_size: pairs (or triplets, `Sampler.unit`) per batch, at most; the batches of an epoch
            are even.
        seed: seed of every draw.
        device: device of the batches.
        also_observed: more pairs that are not negatives, such as the training interactions if
            `pairs` are validation interactions. Used with pool = "own".
    """

    def __init__(
        self,
        pairs: Interactions,
        sampler: Sampler,
        *,
        batch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
        also_observed: Interactions | None = None,
    ) -> None:
        self.sampler, self.batch_size = sampler, batch_size
        self.seed, self.device = seed, torch.device(device)
        # With triplets a pair occurs once for each of its negatives.
        self._passes = sampler.negatives if sampler.unit == "triplet" else 1
        self.user = torch.tensor(pairs.user, dtype=torch.int64)
        self.item = torch.tensor(pairs.item, dtype=torch.int64)
        self._negatives = Negatives(pairs, sampler, device=self.device, also_observed=also_observed)

    @property
    def size(self) -> int:
        """Pairs, or triplets, per epoch."""
        return len(self.user) * self._passes

    @property
    def interactions(self) -> int:
        """Pairs per epoch, each counted once."""
        return len(self.user)

    @property
    def notes(self) -> tuple[str, ...]:
        """Nothing: every pair is in an epoch."""
        return ()

    def __len__(self) -> int:
        """Return the number of batches per epoch."""
        return -(-self.size // self.batch_size)

    def _place(self, step: int) -> int:
        return place_of(step, self.size, len(self))

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch from step `start` on: every pair once, shuffled."""
        order = torch.randperm(self.size, generator=self._generator(epoch, "order"))
        if self._passes > 1:
            order = order.div_(self._passes, rounding_mode="floor")
        users, items = self.user[order], self.item[order]
        rows, user, item = (to_device(each, self.device) for each in (order, users, items))
        on_host = None if self.device.type == "cpu" else users
        generator = torch.Generator()
        steps = 1
        if self.sampler.pool == "own":
            steps = max(1, _DRAWS // max(1, self.batch_size * self._negatives.per_pair))
        for first in range(start - start % steps, len(self), steps):
            generator.manual_seed(stream_seed(self.seed, epoch, first))
            until = min(first + steps, len(self))
            base, end = self._place(first), self._place(until)
            negatives, mask = self._negatives.draw(users[base:end], items[base:end], generator)
            for step in range(max(first, start), until):
                span = slice(self._place(step), self._place(step + 1))
                own = slice(span.start - base, span.stop - base)
                neg = negatives if negatives.dim() == 1 else negatives[own]
                yield Batch(
                    rows[span],
                    user[span],
                    item[span],
                    neg,
                    None if mask is None else mask[own],
                    self._negatives.log_q(item[span], neg),
                    epoch,
                    step,
                    None if on_host is None else on_host[span],
                )

    def _generator(self, *path: int | str) -> torch.Generator:
        return torch.Generator().manual_seed(stream_seed(self.seed, *path))
