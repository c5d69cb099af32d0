"""The contexts that metrics are computed from. A metric is a function of one context.

ListContext   recommendation lists, for metrics at a cut-off and for metrics of the lists
RankContext   ranks of the test items in the full ranking
DrawContext   ranks of the test items among sampled candidates, for estimates
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from recsys.data.query import Queries
from recsys.data.types import FeatureTable, Interactions

__all__ = ["DrawContext", "ListContext", "RankContext"]


@dataclass(frozen=True, eq=False)
class ListContext:
    """The recommendation lists of some queries, and what metrics may know about users and items.

    Args:
        queries: the queries [U]. In the common case each is a user of training.
        items: recommended item rows, best first, int [U, k]; -1 pads a short list.
        hits: whether the item at each position is a test item of the user, bool [U, k].
        n_relevant: test items per user, int64 [U]; those that cannot be recommended count too.
        train: training interactions.
        item_counts: distinct training users per item, int64 [n_items].
        features: item features, or None.
        item_vectors: item embeddings that the scorer ranks with, float [n_items, d], or None.
        pool: item rows that could be recommended, int [n]; None for the whole catalogue.
    """

    queries: Queries
    items: np.ndarray
    hits: np.ndarray
    n_relevant: np.ndarray
    train: Interactions
    item_counts: np.ndarray
    features: FeatureTable | None = None
    item_vectors: np.ndarray | None = None
    pool: np.ndarray | None = None

    @property
    def users(self) -> np.ndarray:
        """Rows of the users who ask, int [U]; -1 for queries without a user of training."""
        users = self.queries.user
        return np.full(len(self.queries), -1) if users is None else users

    @property
    def history(self) -> sp.csr_matrix:
        """Distinct items of each query's history, CSR [U, n_items].

        They are the training items of the user, unless the query has a history of its own.
        """
        if self.queries.history is not None:
            return self.queries.history.csr(self.train.n_items)
        return self.train.csr[self.queries.user]

    @property
    def k(self) -> int:
        """Length of the lists, padding included."""
        return int(self.items.shape[1])

    @property
    def n_candidates(self) -> int:
        """Number of items that could be recommended."""
        return self.train.n_items if self.pool is None else len(self.pool)

    @property
    def n_active_users(self) -> int:
        """Number of users with at least one training interaction."""
        return int(np.count_nonzero(np.diff(self.train.csr.indptr)))


@dataclass(frozen=True, eq=False)
class RankContext:
    """The ranks of the test items of some users in the full ranking.

    Only test items that can be recommended have a rank. The test items of user u are the entries
    `indptr[u]:indptr[u + 1]`, best rank first.

    Args:
        rank: ranks from 1, float64 [P]; items with equal scores share their mean rank.
        indptr: int64 [U + 1].
        candidates: number of ranked items per user, int64 [U].
        n_relevant: test items per user, int64 [U]; those that cannot be recommended count too.
        tied: number of candidates with the score of each test item, itself included, int64 [P].
    """

    rank: np.ndarray
    indptr: np.ndarray
    candidates: np.ndarray
    n_relevant: np.ndarray
    tied: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """Number of ranked test items per user, int64 [U]."""
        return np.diff(self.indptr)

    @property
    def owner(self) -> np.ndarray:
        """User of each test item, as a position in 0..U-1, int64 [P]."""
        return np.repeat(np.arange(len(self.indptr) - 1), self.sizes)

    @property
    def position(self) -> np.ndarray:
        """Position of each test item among those of its user, from 0, int64 [P]."""
        return np.arange(len(self.rank)) - np.repeat(self.indptr[:-1], self.sizes)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Return the sum per user of values of the test items, float64 [U]; 0 without any."""
        return np.bincount(self.owner, values, minlength=len(self.indptr) - 1)


@dataclass(frozen=True, eq=False)
class DrawContext:
    """The places of test items among sampled candidates of their user.

    The test items of user u are the entries `indptr[u]:indptr[u + 1]`, best first. Each count
    exists in the two versions in which a full ranking treats equal scores: recommendation lists
    order them by `recsys.data.hashing.tie_order`, full ranks take their mean.

    Args:
        indptr: int64 [U + 1].
        beaten_by: number of sampled candidates above each test item, int64 [P]; equal scores in
            the order of `tie_order`.
        beaten_by_mean: the same with an equal score counted as one half, float64 [P].
        above: unbiased estimate of how many of all candidates that are not test items rank above
            each test item, float64 [P]; equal scores in the order of `tie_order`.
        above_mean: the same with an equal score counted as one half, float64 [P].
        peers_mean: number of the user's other test items above each test item, float64 [P]; an
            equal score counts as one half.
        pool: number N of candidates of each user that are not test items, int64 [U].
        m: candidates sampled per user without replacement, shared by the user's test items; a
            user with N <= m has all N of them.
    """

    indptr: np.ndarray
    beaten_by: np.ndarray
    beaten_by_mean: np.ndarray
    above: np.ndarray
    above_mean: np.ndarray
    peers_mean: np.ndarray
    pool: np.ndarray
    m: int

    @property
    def complete(self) -> np.ndarray:
        """Whether all candidates of a user are sampled, bool [U].

        The sample is then the full ranking.
        """
        return np.asarray(self.pool <= self.m)

    @property
    def sizes(self) -> np.ndarray:
        """Number of test items per user, int64 [U]."""
        return np.diff(self.indptr)

    @property
    def owner(self) -> np.ndarray:
        """User of each test item, as a position in 0..U-1, int64 [P]."""
        return np.repeat(np.arange(len(self.indptr) - 1), self.sizes)

    @property
    def position(self) -> np.ndarray:
        """Position of each test item among those of its user, from 0, int64 [P]."""
        return np.arange(len(self.beaten_by)) - np.repeat(self.indptr[:-1], self.sizes)
