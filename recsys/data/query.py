"""Queries: what a scorer is asked. A query comes from a known user, a history, or both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import polars as pl
import scipy.sparse as sp

from recsys.data.histories import Histories
from recsys.notebook import Shown

__all__ = ["Queries", "QueryKind"]

QueryKind: TypeAlias = Literal["user", "history"]


@dataclass(frozen=True, eq=False, repr=False)
class Queries(Shown):
    """Questions to a scorer: which items come next for this user, or after this history?

    A scorer that answers histories reads the history where there is one; any other scorer reads the
    user. So one set of queries serves both, and a user who has done more since training is asked
    about with the history of today.

    Args:
        user: rows of known users, int32 [n]; None: unknown.
        history: the interactions of each query so far, n histories; None: those that the scorer has
            stored.
        now: moment of each query, int64 [n], in the unit of `history.time_unit`; None: unknown.
        exclude: items that must not be in the list, CSR [n, n_items]; None: no items.
        excludes_history: whether the items of `history` must not be in the list.
        ids: outside names of the queries, for the output; None: their positions.

    Raises:
        ValueError: neither users nor histories, or parts of different lengths.
    """

    user: np.ndarray | None = None
    history: Histories | None = None
    now: np.ndarray | None = None
    exclude: sp.csr_matrix | None = None
    excludes_history: bool = False
    ids: pl.Series | None = None

    def __post_init__(self) -> None:
        for name, dtype in (("user", np.int32), ("now", np.int64)):
            if getattr(self, name) is not None:
                values = np.ascontiguousarray(getattr(self, name), dtype=dtype)
                object.__setattr__(self, name, values)
        if self.user is None and self.history is None:
            raise ValueError("queries need users or histories")
        for name in ("user", "history", "now", "ids"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self):
                raise ValueError(f"{len(values)} values of {name} for {len(self)} queries")
        if self.exclude is not None and self.exclude.shape[0] != len(self):
            raise ValueError(f"exclude has {self.exclude.shape[0]} rows for {len(self)} queries")
        if self.excludes_history and self.history is None:
            raise ValueError("excludes_history needs histories")

    @classmethod
    def of_users(cls, users: Any, exclude: sp.csr_matrix | None = None) -> Queries:
        """Return a query for each user.

        Args:
            users: user rows, integers [n].
            exclude: what to leave out for each query, CSR [n, n_items].
        """
        return cls(user=np.asarray(users), exclude=exclude)

    @classmethod
    def of_histories(cls, histories: Histories, *, repeats: bool = False) -> Queries:
        """Return a query for each history.

        Args:
            histories: n histories.
            repeats: whether items of the history may be in the list.
        """
        return cls(history=histories, excludes_history=not repeats)

    @classmethod
    def of_items(cls, items: Any) -> Queries:
        """Return a query for each item: what goes with it? The item itself is left out.

        Args:
            items: item rows, integers [n].
        """
        rows = np.asarray(items)
        begin = np.arange(len(rows))
        return cls.of_histories(Histories(rows, begin, begin + 1))

    def __len__(self) -> int:
        return len(self.user) if self.user is not None else len(self.history or ())

    def _facts(self) -> Iterator[tuple[str, object]]:
        yield "", f"{len(self):,} queries"
        yield "by", " and ".join(sorted(self.kinds))

    @property
    def kinds(self) -> frozenset[QueryKind]:
        """What a scorer can read: "user", "history", or both."""
        kinds: list[QueryKind] = []
        if self.user is not None:
            kinds.append("user")
        if self.history is not None:
            kinds.append("history")
        return frozenset(kinds)

    def take(self, rows: np.ndarray | slice) -> Queries:
        """Return some of the queries.

        Args:
            rows: positions [k], a boolean mask [n], or a slice.
        """
        return replace(
            self,
            user=None if self.user is None else self.user[rows],
            history=None if self.history is None else self.history.take(rows),
            now=None if self.now is None else self.now[rows],
            exclude=None if self.exclude is None else self.exclude[rows],
            ids=None if self.ids is None else self.ids[rows],
        )

    def excluded(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the cells that must not be in the lists: query int64 [c], item int [c].

        A cell may occur twice.
        """
        rows: list[np.ndarray] = [np.empty(0, dtype=np.int64)]
        items: list[np.ndarray] = [np.empty(0, dtype=np.int32)]
        if self.exclude is not None:
            rows.append(np.repeat(np.arange(len(self)), np.diff(self.exclude.indptr)))
            items.append(self.exclude.indices)
        if self.excludes_history and self.history is not None:
            rows.append(self.history.owner())
            items.append(self.history.item[self.history.cells()])
        return np.concatenate(rows), np.concatenate(items)

    def exclusion(self, n_items: int) -> sp.csr_matrix:
        """Return the cells of `excluded` as a matrix, float32 [n, n_items], binary, sorted."""
        if self.exclude is not None and not self.excludes_history:
            return self.exclude
        rows, items = self.excluded()
        shape = (len(self), n_items)
        matrix = sp.csr_matrix((np.ones(len(rows), dtype=np.float32), (rows, items)), shape=shape)
        matrix.sum_duplicates()
        matrix.data[:] = 1.0
        return matrix
