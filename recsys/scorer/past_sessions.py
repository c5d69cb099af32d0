"""Training sessions, newest first, and an index from items to the sessions that hold them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from recsys.data.histories import Histories
from recsys.data.times import TICKS

__all__ = ["PastSessions", "Postings", "last_places"]


def last_places(histories: Histories) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the distinct items of each history, in the order of their last places.

    Returns:
        Number of the history, int64 [e], item row, int32 [e], and last place of the item, int64
        [e]; the first event of a history has place 1.
    """
    owner, length = histories.owner(), histories.length
    item = histories.item[histories.cells()]
    place = np.arange(1, len(item) + 1) - np.repeat(np.cumsum(length) - length, length)
    key = owner * (int(item.max(initial=0)) + 1) + item
    order = np.argsort(key, kind="stable")
    is_last = np.ones(len(key), dtype=bool)
    is_last[order[:-1]] = key[order[1:]] != key[order[:-1]]
    return owner[is_last], item[is_last], place[is_last]


@dataclass(frozen=True, eq=False)
class Postings:
    """The newest sessions of each item.

    Args:
        begin, length: the sessions of item i are session[begin[i]:begin[i] + length[i]], int64
            [n_items] each.
        session: session rows, the newest first, int32 [p].
        place: last place of the item in the session, int32 [p].
    """

    begin: np.ndarray
    length: np.ndarray
    session: np.ndarray
    place: np.ndarray


@dataclass(frozen=True, eq=False)
class PastSessions:
    """The distinct items of each training session, sessions in the order of their end.

    Row 0 is the session that ended last, so an ascending row number is a descending time.

    Args:
        places: last place of each item in each session, from 1, CSR float64 [S, n_items], column
            indices sorted.
        end: time of the last event of each session, seconds since 1970, float64 [S]; None if times
            are not known.
    """

    places: sp.csr_matrix
    end: np.ndarray | None = None

    @classmethod
    def of(cls, histories: Histories, n_items: int) -> PastSessions:
        """Return the sessions of a log.

        Sessions that end at the same time, or all if no time is known, are ordered by their number,
        the highest first. Empty sessions are left out.

        Args:
            histories: the events of each session.
            n_items: number of items.
        """
        number = np.flatnonzero(histories.length)[::-1]
        end = None
        if histories.time is not None:
            last = histories.time[histories.end[number] - 1]
            newest = np.argsort(-last, kind="stable")
            number, end = number[newest], last[newest] / TICKS[histories.time_unit]
        owner, item, place = last_places(histories.take(number))
        indptr = np.append(0, np.cumsum(np.bincount(owner, minlength=len(number))))
        places = sp.csr_matrix(
            (place.astype(np.float64), item, indptr), shape=(len(number), n_items)
        )
        places.sort_indices()
        return cls(places, end)

    def __len__(self) -> int:
        return int(self.places.shape[0])

    @cached_property
    def size(self) -> np.ndarray:
        """Number of distinct items of each session, int64 [S]."""
        return np.diff(self.places.indptr).astype(np.int64)

    @cached_property
    def place(self) -> np.ndarray:
        """The data of `places`, int32 [nnz]."""
        return self.places.data.astype(np.int32)

    @cached_property
    def binary(self) -> sp.csr_matrix:
        """1 for each item of a session, CSR float64 [S, n_items]."""
        places = self.places
        ones = np.ones(places.nnz)
        return sp.csr_matrix((ones, places.indices, places.indptr), shape=places.shape)

    def postings(self, m: int) -> Postings:
        """Return the sessions of each item, only the m newest.

        The m newest of several items' sessions are among the m newest of each item.
        """
        by_item = self.places.tocsc()
        length = np.diff(by_item.indptr)
        kept = np.arange(by_item.nnz) - np.repeat(by_item.indptr[:-1], length) < m
        length = np.minimum(length, m).astype(np.int64)
        return Postings(
            np.cumsum(length) - length,
            length,
            by_item.indices[kept].astype(np.int32),
            by_item.data[kept].astype(np.int32),
        )

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return tensors and JSON metadata, from which `restore` builds equal sessions."""
        places = self.places
        tensors = {
            "indptr": torch.from_numpy(places.indptr.astype(np.int64)),
            "item": torch.from_numpy(places.indices.astype(np.int32)),
            "place": torch.from_numpy(places.data.astype(np.int32)),
        }
        if self.end is not None:
            tensors["end"] = torch.from_numpy(self.end.copy())
        return tensors, {"n_items": int(places.shape[1])}

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> PastSessions:
        """Return the sessions that `state` described."""
        arrays = tuple(tensors[name].numpy() for name in ("place", "item", "indptr"))
        shape = (len(arrays[2]) - 1, int(meta["n_items"]))
        places = sp.csr_matrix(arrays, shape=shape, dtype=np.float64)
        places.check_format(full_check=True)  # an index out of bounds would read other memory
        if places.nnz and places.data.min() < 1:
            raise ValueError("places in sessions must be at least 1")
        end = tensors["end"].numpy() if "end" in tensors else None
        if end is not None and len(end) != shape[0]:
            raise ValueError(f"{len(end)} times for {shape[0]} sessions")
        return cls(places, end)
