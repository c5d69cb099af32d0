"""Slices of the test set: which users and which test items count, and which items are ranked.

A slice follows the name of a metric in brackets, as in `ndcg@20[new]`:

    slice             users                    test items               ranked items
    (no brackets)     all                      all                      all
    new               all                      new                      new
    new in all        all                      new                      all
    warm              all                      warm                     warm
    warm in all       all                      warm                     all
    head, mid, tail   all                      of the popularity group  all
    cold users        without an interaction   all                      all
    warm users        with an interaction      all                      all

"New" items have no training interaction, "warm" items have at least one. A user without a test
item of the slice does not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.sparse as sp

__all__ = ["EVERYTHING", "GROUPS", "SLICES", "HeldOut", "Slice", "item_counts", "popularity_group"]

GROUPS = ("head", "mid", "tail")


@dataclass(frozen=True)
class Slice:
    """One slice of the test set.

    Args:
        name: the text in the brackets; empty for the whole test set.
        items: kind of the test items that count.
        users: kind of the users that count.
        own_candidates: whether the test items are ranked among items of their kind only. False
            ranks them in the whole catalogue.
    """

    name: str
    items: Literal["all", "new", "warm", "head", "mid", "tail"] = "all"
    users: Literal["all", "cold", "warm"] = "all"
    own_candidates: bool = False

    @property
    def has_own_lists(self) -> bool:
        """Whether recommendation lists differ from those of the whole test set.

        They differ where other items or other users are ranked. Other test items alone do not
        change a list.
        """
        return self.own_candidates or self.users != "all"

    @property
    def by_novelty(self) -> bool:
        """Whether the slice divides items into new and warm ones."""
        return self.items in ("new", "warm")


EVERYTHING = Slice("")
SLICES: Mapping[str, Slice] = {
    each.name: each
    for each in (
        EVERYTHING,
        Slice("new", items="new", own_candidates=True),
        Slice("new in all", items="new"),
        Slice("warm", items="warm", own_candidates=True),
        Slice("warm in all", items="warm"),
        Slice("head", items="head"),
        Slice("mid", items="mid"),
        Slice("tail", items="tail"),
        Slice("cold users", users="cold"),
        Slice("warm users", users="warm"),
    )
}


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Some test users with some of their test items.

    Args:
        users: user rows, int [U]; each has at least one of the test items.
        index: positions of these users among all test users, int [U].
        relevant: their test items, CSR [U, n_items].
        reachable: the test items that can be recommended, that is, which the user has not
            interacted with before, CSR [U, n_items].
    """

    users: np.ndarray
    index: np.ndarray
    relevant: sp.csr_matrix
    reachable: sp.csr_matrix

    @classmethod
    def of(cls, test: sp.csr_matrix, seen: sp.csr_matrix) -> HeldOut:
        """Return all test users with all their test items.

        Args:
            test: test interactions, CSR [n_users, n_items], binary.
            seen: interactions that cannot be recommended, CSR [n_users, n_items].
        """
        users = np.flatnonzero(np.diff(test.indptr)).astype(np.int32)
        relevant = test[users]
        reachable = sp.csr_matrix(relevant - relevant.multiply(seen[users].astype(bool)))
        reachable.eliminate_zeros()
        reachable.sort_indices()
        return cls(users, np.arange(len(users)), relevant, reachable)

    @property
    def n_relevant(self) -> np.ndarray:
        """Test items per user, int64 [U]."""
        return np.diff(self.relevant.indptr).astype(np.int64)

    def only_items(self, kept: np.ndarray) -> HeldOut:
        """Return the part with the test items of a mask, bool [n_items], and their users."""
        relevant = _columns(self.relevant, kept)
        reachable = _columns(self.reachable, kept)
        some = np.flatnonzero(np.diff(relevant.indptr))
        return HeldOut(self.users[some], self.index[some], relevant[some], reachable[some])

    def only_users(self, kept: np.ndarray) -> HeldOut:
        """Return the part with the users of a mask, bool [n_users], and all their test items."""
        some = np.flatnonzero(kept[self.users])
        return HeldOut(
            self.users[some], self.index[some], self.relevant[some], self.reachable[some]
        )

    def targets(self, n_users: int) -> sp.csr_matrix:
        """Return the reachable test items as a matrix of all users, CSR [n_users, n_items]."""
        rows = self.reachable
        sizes = np.zeros(n_users, dtype=np.int64)
        sizes[self.users] = np.diff(rows.indptr)
        indptr = np.concatenate([[0], np.cumsum(sizes)])
        return sp.csr_matrix((rows.data, rows.indices, indptr), shape=(n_users, rows.shape[1]))


def item_counts(train: sp.csr_matrix) -> np.ndarray:
    """Return the number of distinct training users per item, int64 [n_items].

    Args:
        train: training interactions, CSR [n_users, n_items], binary.
    """
    return np.bincount(train.indices, minlength=train.shape[1])


def popularity_group(count: np.ndarray) -> np.ndarray:
    """Return the popularity group of each item, int8 [n_items], as codes into `GROUPS`.

    Items are ordered by popularity. The head items receive the first third of all training
    interactions, the mid items the second third, and the tail items the rest.

    Args:
        count: training users per item, int [n_items]. Items with equal counts are ordered by
            row. Items with a count of 0 are tail items.
    """
    order = np.argsort(-count, kind="stable")
    before = np.cumsum(count[order]) - count[order]
    group = np.empty(len(count), dtype=np.int8)
    group[order] = np.minimum(3 * before // max(1, count.sum()), 2)
    group[count == 0] = 2
    return group


def _columns(rows: sp.csr_matrix, kept: np.ndarray) -> sp.csr_matrix:
    """Return the entries in the columns of a mask; the shape stays the same."""
    entries = rows.tocoo()
    inside = kept[entries.col]
    return sp.csr_matrix(
        (entries.data[inside], (entries.row[inside], entries.col[inside])), shape=rows.shape
    )
