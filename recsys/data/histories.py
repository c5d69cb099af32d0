"""Histories: items in the order of their interactions, many histories in one array."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from recsys.data.times import Unit
from recsys.notebook import Shown, counted

__all__ = ["Histories"]


@dataclass(frozen=True, eq=False, repr=False)
class Histories(Shown):
    """Histories as spans of one array of items. The arrays are read-only.

    Spans may overlap, so all prefixes of a session cost two numbers each and no copy.

    Args:
        item: item rows, oldest first within a history, int32 [m].
        begin, end: history i is item[begin[i]:end[i]], int64 [n] each.
        time: times of the items, int64 [m], in `time_unit`; None if they are not known.
        time_unit: "s", "ms", "us" or "ns".

    Raises:
        ValueError: arrays of different lengths, or a span outside the items.
    """

    item: np.ndarray
    begin: np.ndarray
    end: np.ndarray
    time: np.ndarray | None = None
    time_unit: Unit = "s"

    def __post_init__(self) -> None:
        types = {"item": np.int32, "begin": np.int64, "end": np.int64, "time": np.int64}
        for name, dtype in types.items():
            values = getattr(self, name)
            if values is None:
                continue
            values = np.ascontiguousarray(values, dtype=dtype)
            if values.flags.writeable:
                values = values.view()
                values.flags.writeable = False
            object.__setattr__(self, name, values)
        if self.begin.shape != self.end.shape or self.begin.ndim != 1:
            raise ValueError(f"begin has shape {self.begin.shape}, end has {self.end.shape}")
        if self.time is not None and self.time.shape != self.item.shape:
            raise ValueError(f"time has shape {self.time.shape}, item has {self.item.shape}")
        if len(self.begin) and (
            self.begin.min() < 0
            or self.end.max() > len(self.item)
            or bool((self.end < self.begin).any())
        ):
            raise ValueError(f"a history lies outside the {len(self.item)} items")

    @classmethod
    def of_lists(cls, lists: Sequence[Sequence[int]]) -> Histories:
        """Return the histories of lists of item rows, oldest first."""
        length = np.array([len(each) for each in lists], dtype=np.int64)
        end = np.cumsum(length)
        rows = [item for each in lists for item in each]
        return cls(np.array(rows, dtype=np.int32), end - length, end)

    @classmethod
    def of_rows(cls, matrix: sp.csr_matrix) -> Histories:
        """Return the columns of each row of a matrix, in the order in which they are stored."""
        return cls(matrix.indices, matrix.indptr[:-1], matrix.indptr[1:])

    def __len__(self) -> int:
        return len(self.begin)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield the items of each history, int32."""
        for begin, end in zip(self.begin.tolist(), self.end.tolist(), strict=True):
            yield self.item[begin:end]

    def _facts(self) -> Iterator[tuple[str, object]]:
        yield "", f"{len(self):,} histories"
        yield "", counted(int(self.length.sum()), "event")

    @property
    def length(self) -> np.ndarray:
        """Number of items of each history, int64 [n]."""
        return np.asarray(self.end - self.begin)

    def take(self, rows: np.ndarray | slice) -> Histories:
        """Return some of the histories; the items are shared, not copied.

        Args:
            rows: positions [k], a boolean mask [n], or a slice.
        """
        return replace(self, begin=self.begin[rows], end=self.end[rows])

    def last(self, n: int) -> Histories:
        """Return the histories cut to their last `n` items."""
        return replace(self, begin=np.maximum(self.begin, self.end - n))

    def within(self, n_items: int) -> Histories:
        """Return the histories without items of row `n_items` and above."""
        kept = self.item < n_items
        if kept.all():
            return self
        before = np.concatenate([[0], np.cumsum(kept)])
        time = None if self.time is None else self.time[kept]
        begin, end = before[self.begin], before[self.end]
        return replace(self, item=self.item[kept], begin=begin, end=end, time=time)

    def cells(self) -> np.ndarray:
        """Return the positions in `item` of all events, history by history, int64 [total]."""
        length = self.length
        end = np.cumsum(length)
        return np.arange(int(length.sum())) + np.repeat(self.begin - (end - length), length)

    def owner(self) -> np.ndarray:
        """Return the history of each event of `cells`, int64 [total]."""
        return np.repeat(np.arange(len(self)), self.length)

    def packed(self) -> Histories:
        """Return the histories without items outside a span, one after the other."""
        cells, length = self.cells(), self.length
        end = np.cumsum(length)
        time = None if self.time is None else self.time[cells]
        return replace(self, item=self.item[cells], begin=end - length, end=end, time=time)

    def csr(self, n_items: int) -> sp.csr_matrix:
        """Return the distinct items of each history, float32 [n, n_items], binary, sorted."""
        items = self.item[self.cells()]
        indptr = np.concatenate([[0], np.cumsum(self.length)])
        matrix = sp.csr_matrix(
            (np.ones(len(items), dtype=np.float32), items, indptr), shape=(len(self), n_items)
        )
        matrix.sum_duplicates()
        matrix.data[:] = 1.0
        return matrix
