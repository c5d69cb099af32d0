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

from recsys.data.query import Queries

__all__ = ["EVERYTHING", "GROUPS", "SLICES", "Slice", "TestPart", "item_counts", "popularity_group"]

GROUPS = ("head", "mid", "tail")
_BLOCK = 1 << 17  # queries whose answers are compared with what they exclude at a time


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
class TestPart:
    """Some test queries with some of their answers.

    Args:
        queries: n queries, each with at least one of the answers; items that cannot be recommended
            are excluded.
        index: positions of these queries among all test queries, int [n].
        relevant: the answers, CSR [n, n_items].
        reachable: the answers that can be recommended, CSR [n, n_items].
    """

    __test__ = False  # pytest takes a class of this name for tests

    queries: Queries
    index: np.ndarray
    relevant: sp.csr_matrix
    reachable: sp.csr_matrix

    @classmethod
    def of(cls, queries: Queries, answers: sp.csr_matrix) -> TestPart:
        """Return all queries with all their answers.

        Args:
            queries: n queries with what they exclude.
            answers: CSR [n, n_items], binary.
        """
        parts = [sp.csr_matrix((0, answers.shape[1]), dtype=answers.dtype)]
        for start in range(0, len(queries), _BLOCK):
            span = slice(start, start + _BLOCK)
            own = answers[span]
            excluded = queries.take(span).exclusion(answers.shape[1]).astype(bool)
            part = sp.csr_matrix(own - own.multiply(excluded))
            part.eliminate_zeros()
            part.sort_indices()
            parts.append(part)
        reachable = parts[1] if len(parts) == 2 else sp.vstack(parts, format="csr")
        return cls(queries, np.arange(len(queries)), answers, reachable)

    @property
    def n_relevant(self) -> np.ndarray:
        """Answers per query, int64 [n]."""
        return np.diff(self.relevant.indptr).astype(np.int64)

    def only_items(self, kept: np.ndarray) -> TestPart:
        """Return the part with the answers of a mask, bool [n_items], and their queries."""
        relevant = _columns(self.relevant, kept)
        reachable = _columns(self.reachable, kept)
        some = np.flatnonzero(np.diff(relevant.indptr))
        queries = self.queries.take(some)
        return TestPart(queries, self.index[some], relevant[some], reachable[some])

    def only(self, kept: np.ndarray) -> TestPart:
        """Return the part with the queries of a mask, bool [n], and all their answers."""
        some = np.flatnonzero(kept)
        return TestPart(
            self.queries.take(some), self.index[some], self.relevant[some], self.reachable[some]
        )


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
