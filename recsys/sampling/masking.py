"""Masked positions of histories: which items a bidirectional encoder has to predict.

Every draw is a function of seed, epoch and the position of an event in the training data, so it
does not depend on the batch that holds the event.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

__all__ = ["Masking", "uniform"]


@dataclass(frozen=True)
class Masking:
    """How the positions of a window of a history are masked.

    Each window occurs once an epoch with a share of its positions masked, drawn without
    replacement. Some windows occur once more with their last position masked alone, as in the
    question that a query asks.

    Args:
        share: masked share of the positions of a window; the number is rounded, and at least 1.
        last: windows that occur once more, as a share of all windows.
    """

    share: float
    last: float = 0.0

    def counts(self, length: Tensor) -> Tensor:
        """Return the number of masked positions of windows of some lengths, int64."""
        return (length * self.share).round().clamp(min=1).to(torch.int64)

    def extra(self, windows: int) -> int:
        """Return how many of the windows occur once more in an epoch."""
        return round(self.last * windows)

    def positions(self, length: Tensor, alone: Tensor, draw: np.ndarray) -> Tensor:
        """Return the masked positions of packed windows, int64 [M], ascending.

        Args:
            length: number of positions of each window, int64 [B].
            alone: bool [B], True where the last position is masked alone.
            draw: a number in [0, 1) for each position, float64 [T]; the smallest of a window are
                masked.
        """
        place = torch.arange(len(draw))
        window = torch.repeat_interleave(torch.arange(len(length)), length, output_size=len(draw))
        order = torch.from_numpy(np.lexsort((draw, window.numpy())))
        end = length.cumsum(0)[window]
        rank = torch.empty_like(place)
        rank[order] = place - (end - length[window])
        masked = torch.where(alone[window], place == end - 1, rank < self.counts(length)[window])
        return masked.nonzero()[:, 0]


def uniform(seed: int, index: np.ndarray) -> np.ndarray:
    """Return a random number in [0, 1) for each index, float64: a function of both alone.

    Source: the generator SplitMix64 of Steele, Lea, Flood, "Fast splittable pseudorandom number
    generators", OOPSLA 2014, at counter `index`.

    Args:
        seed: below 2^64.
        index: non-negative integers.
    """
    x = (index.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    x = x + np.uint64(seed)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x = x ^ (x >> np.uint64(31))
    return np.asarray((x >> np.uint64(11)).astype(np.float64) * 2.0**-53)
