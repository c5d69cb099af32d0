"""The interface of streams of batches, their seeds, and the even batches of an epoch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any, Protocol

import torch

from recsys.data.types import Dataset

__all__ = ["Stream", "StreamKind", "place_of", "stream_seed"]


class Stream(Protocol):
    """Batches of training data: the same batches for the same epoch, from any step on."""

    @property
    def size(self) -> int:
        """Sum of the lengths of an epoch's batches: pairs, triplets, users or positions."""
        ...

    @property
    def interactions(self) -> int:
        """Number of training interactions that an epoch predicts, for the speed of training."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader of a result must know, such as interactions that no batch holds."""
        ...

    def __len__(self) -> int: ...

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]:
        """Yield the batches of one epoch.

        Args:
            epoch: number of the epoch.
            start: first step.
        """
        ...


class StreamKind(Protocol):
    """What a network trains on, as a value: `Pairs`, `Users` or `Sequences`."""

    @property
    def of(self) -> str:
        """What a batch holds, in words: "pairs", "whole users", "histories"."""
        ...

    def open(
        self, train: Dataset, *, batch_size: int, seed: int, device: torch.device | str = "cpu"
    ) -> Stream:
        """Return the stream of a training set.

        Args:
            train: the training set.
            batch_size: `train.batch_size`.
            seed: seed of every draw.
            device: device of the batches.

        Raises:
            InputError: the training set lacks what the stream needs.
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
