"""A scorer that encodes histories by a network and compares the result with item vectors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from recsys.data.histories import Histories
from recsys.data.query import Queries, QueryKind
from recsys.data.times import TICKS
from recsys.errors import InputError
from recsys.scorer.cloze import Cloze
from recsys.scorer.hstu import HSTU
from recsys.scorer.nested_state import prefixed, under
from recsys.scorer.plan import Dot
from recsys.scorer.recurrent import Recurrent
from recsys.scorer.stored_histories import StoredHistories
from recsys.scorer.transformer import Transformer

__all__ = ["Encoder", "SequenceEncoder"]

_CELLS = 512  # positions that are encoded at a time
_STEPS = 16  # widths and numbers of histories make whole steps of the processor's matrix products


class Encoder(Protocol):
    """A frozen network that turns histories into vectors."""

    @property
    def item(self) -> Tensor:
        """Vectors of the items that are scored, float32 [n_items, d]; a bias is a coordinate."""
        ...

    @property
    def length(self) -> int:
        """Number of items of a history that it reads, the last ones."""
        ...

    @property
    def reads_time(self) -> bool:
        """Whether it is called with times too."""
        ...

    def to(self, device: torch.device | str) -> Encoder: ...

    def __call__(self, item: Tensor, length: Tensor, *times: Tensor) -> Tensor:
        """Return the vectors of histories, float32 [n, d].

        Args:
            item: item rows, int64 [n, w], oldest first.
            length: number of items of each history, int64 [n], from 1 to w.
            times: if it reads times, in seconds: those of the items, float64 [n, w], and the
                moments of the queries, float64 [n].
        """
        ...

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]: ...


@dataclass(frozen=True, eq=False)
class SequenceEncoder:
    """The inner product of an encoded history and the vector of an item.

    A history is encoded among others of about its length, in arrays whose shape depends on its own
    length alone, by one thread. So its vector does not depend on the other histories of a block, to
    the bit on a CPU. An empty history has the vector zero.

    Args:
        encoder: the network.
        stored: the last events of each user, as many as the encoder reads.
    """

    encoder: Encoder
    stored: StoredHistories

    kind: ClassVar[str] = "sequence-encoder"
    answers: ClassVar[frozenset[QueryKind]] = frozenset(("user", "history"))

    @property
    def n_users(self) -> int:
        return self.stored.n_users

    @property
    def n_items(self) -> int:
        return int(self.item.shape[0])

    @property
    def item(self) -> Tensor:
        """Item vectors, float32 [n_items, d]."""
        return self.encoder.item

    @property
    def device(self) -> torch.device:
        return self.item.device

    def to(self, device: torch.device | str) -> SequenceEncoder:
        return replace(self, encoder=self.encoder.to(device))

    def encode(self, queries: Queries) -> Tensor:
        """Return the vectors of queries, float32 [B, d].

        Raises:
            InputError: the encoder reads times, and the histories have none.
        """
        histories = self.stored.answering(queries)
        times = _Times.of(histories, self.stored, queries) if self.encoder.reads_time else None
        vectors = torch.zeros(len(queries), self.item.shape[1], device=self.device)
        with _one_thread():
            for rows, item, length in _blocks(histories, self.encoder.length):
                parts = [item, length]
                if times is not None:
                    parts += times.of_block(rows, item.shape)
                encoded = self.encoder(*(part.to(self.device) for part in parts))
                vectors[rows.to(self.device)] = encoded[: len(rows)]
        return vectors

    def plan(self) -> Dot:
        return Dot(lambda queries: (self.encode(queries), None), self.item)

    def score(self, queries: Queries) -> Tensor:
        return self.encode(queries) @ self.item.T

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, network = self.encoder.state()
        inner, about = self.stored.state()
        meta = {"kind": self.kind, "network": network, "stored": about}
        return prefixed("encoder.", tensors) | prefixed("stored.", inner), meta

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> SequenceEncoder:
        network = meta["network"]
        encoder = _ENCODERS[network["kind"]].restore(under("encoder.", tensors), network)
        stored = StoredHistories.restore(under("stored.", tensors), meta["stored"])
        item = stored.histories.item
        if len(item) and not 0 <= item.min() <= item.max() < len(encoder.item):
            raise ValueError("the stored histories hold other items")
        return cls(encoder, stored)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Limit torch to one thread: several would share the rows of a product unevenly.

    Then the rounding of a row would depend on its place. The ranking uses one thread per block
    already.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True, eq=False)
class _Times:
    """Times of the events of histories, and the moments of their queries, in seconds.

    Args:
        histories: n histories.
        time: of their events, float64 [m].
        now: float64 [n].
    """

    histories: Histories
    time: np.ndarray
    now: np.ndarray

    @classmethod
    def of(cls, histories: Histories, stored: StoredHistories, queries: Queries) -> _Times:
        """Return the times of the histories of queries."""
        if histories.time is None:
            raise InputError(
                "the histories have no times, and this method was trained with times",
                remedy="give the time of each event, or train with times = 'none'",
            )
        now = stored.moments(queries)
        assert now is not None
        return cls(histories, histories.time / TICKS[histories.time_unit], now)

    def of_block(self, rows: Tensor, shape: torch.Size) -> list[Tensor]:
        """Return the times of an array of `_blocks` and its moments, float64 [n, w] and [n]."""
        some, (n, width) = rows.numpy(), shape
        begin, end = self.histories.begin[some], self.histories.end[some]
        cells = begin[:, None] + np.arange(width)
        inside = cells < end[:, None]
        time, now = np.zeros((n, width)), np.zeros(n)
        time[: len(some)][inside] = self.time[cells[inside]]
        now[: len(some)] = self.now[some]
        return [torch.from_numpy(time), torch.from_numpy(now)]


_ENCODERS: Mapping[str, type[Transformer | Recurrent | Cloze | HSTU]] = {
    "transformer": Transformer,
    "recurrent": Recurrent,
    "cloze": Cloze,
    "hstu": HSTU,
}


def _blocks(histories: Histories, longest: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield the histories in arrays whose shape depends on the length of a history alone.

    The last array of a width is filled up with histories of one item.

    Args:
        histories: histories of at most `longest` items. Empty ones are left out.
        longest: number of items that the encoder reads.

    Yields:
        Positions of the histories of an array, int64 [k]; items int64 [n, w], n >= k; and lengths
        int64 [n].
    """
    length = histories.length
    widths = _widths(longest)
    class_of = np.searchsorted(widths, length)
    for number, width in enumerate(widths):
        rows = np.flatnonzero((class_of == number) & (length > 0))
        n = max(1, _CELLS // width // _STEPS) * _STEPS
        for start in range(0, len(rows), n):
            some = rows[start : start + n]
            padded = np.ones(n, dtype=np.int64)
            padded[: len(some)] = length[some]
            cells = histories.begin[some, None] + np.arange(width)
            inside = np.arange(width) < length[some, None]
            item = np.zeros((n, width), dtype=np.int64)
            item[: len(some)][inside] = histories.item[cells[inside]]
            yield torch.from_numpy(some), torch.from_numpy(item), torch.from_numpy(padded)


def _widths(longest: int) -> np.ndarray:
    """Return the widths of arrays, ascending: 4, 8, 12, 16, then by halves of powers of two."""
    widths = [4, 8, 12, 16]
    while widths[-1] < longest:
        widths.append(widths[-2] * 2)
    return np.array(widths)
