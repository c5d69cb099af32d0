"""The interface of a stream of batches, its seeds, and the even batches of an epoch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, Protocol

__all__ = ["Stream", "place_of", "stream_seed"]


class Stream(Protocol):
    """Batches of training data: the same batches for the same epoch, from any step on."""

    @property
    def size(self) -> int:
        """Number of pairs, triplets or users of an epoch, the sum of the lengths of its batches."""
        ...

    def __len__(self) -> int: ...

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        """Yield the batches of one epoch.

        Args:
            epoch: number of the epoch.
            start: first step.
        """
        ...


def stream_seed(seed: int, *path: int | str) -> int:
    """Return a seed of 63 bits for one named stream of random numbers.

    Args:
        seed: seed of the run.
        path: name of the stream. The same path gives the same seed, other paths unrelated ones.
    """
    text = "/".join(str(part) for part in (seed, *path))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def place_of(step: int, size: int, steps: int) -> int:
    """Return where a step begins in an epoch.

    Args:
        step: number of the step, from 0; `steps` gives the end of the epoch.
        size: pairs or users of the epoch.
        steps: batches of the epoch. Their lengths differ by at most one.
    """
    return step * size // steps
