"""Pairs of items that were bought together: counts over baskets, filters, and synthetic pairs.

Symbols: T baskets, n_i of them hold item i, c_ij hold both i and j.

    PMI(i, j) = log( (c_ij / T) / ((n_i / T) (n_j / T)) )

Synthetic pairs come from a similarity s in [0, 1] between items, and a factor gamma in (0, 1):

    replace one   c(a', b)  = floor(gamma c_ab s(a, a')), and symmetrically c(a, b')
    replace both  c(a', b') = floor(gamma c_ab (s(a, a') + s(b, b')) / 2)

Source: see `recsys.models.dual`, section "certain". RECONSTRUCTED: a synthetic pair that follows
from several real ones has the sum of their counts, and a pair that was observed keeps its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from recsys.data.histories import Histories
from recsys.data.interactions import Interactions

__all__ = [
    "PairCounts",
    "baskets_of",
    "pair_counts",
    "pmi",
    "synthetic",
    "with_least",
    "without_same",
]


@dataclass(frozen=True, eq=False)
class PairCounts:
    """Ordered pairs of items, both orders of each.

    Args:
        first, second: item rows, int64 [p] each; they differ.
        count: number of baskets with both, float64 [p].
    """

    first: np.ndarray
    second: np.ndarray
    count: np.ndarray

    def __len__(self) -> int:
        return len(self.first)

    def take(self, kept: np.ndarray) -> PairCounts:
        """Return some of the pairs; `kept` is bool [p] or positions."""
        return PairCounts(self.first[kept], self.second[kept], self.count[kept])


def baskets_of(
    log: Interactions, histories: Histories, n_items: int, quantile: float = 1.0
) -> sp.csr_matrix:
    """Return which items each basket holds, CSR float32 [T, n_items], binary.

    Args:
        log: the events, for the users of the baskets.
        histories: the baskets.
        n_items: number of items.
        quantile: baskets with more distinct items than this quantile of all baskets are left out,
            and users with more distinct items than that of all users, with all their baskets.
            1: none.
    """
    every = histories.csr(n_items)
    size = np.diff(every.indptr)
    kept = size > 0
    if quantile < 1 and kept.any():
        kept &= size <= np.quantile(size[kept], quantile)
        if log.session is not None and len(histories) == int(log.session.max(initial=-1)) + 1:
            owner = np.zeros(len(histories), dtype=np.int64)
            owner[log.session] = log.user
            distinct = np.diff(log.csr.indptr)
            limit = np.quantile(distinct[distinct > 0], quantile)
            kept &= (distinct <= limit)[owner]
    return every[kept]


def pair_counts(baskets: sp.csr_matrix) -> PairCounts:
    """Return the pairs of different items that occur in a basket, with their counts.

    Args:
        baskets: binary, CSR [T, n_items].
    """
    together = (baskets.T.astype(np.float64) @ baskets).tocoo()
    kept = together.row != together.col
    order = np.lexsort((together.col[kept], together.row[kept]))
    return PairCounts(
        together.row[kept][order].astype(np.int64),
        together.col[kept][order].astype(np.int64),
        together.data[kept][order],
    )


def pmi(pairs: PairCounts, of_item: np.ndarray, n_baskets: int) -> np.ndarray:
    """Return the pointwise mutual information of each pair, float64 [p].

    Args:
        pairs: p pairs.
        of_item: n_i, number of baskets of each item [n_items].
        n_baskets: T.
    """
    alone = of_item[pairs.first].astype(np.float64) * of_item[pairs.second]
    return np.asarray(np.log(pairs.count * n_baskets / alone))


def with_least(
    pairs: PairCounts, baskets: sp.csr_matrix, *, least: float = 1, min_pmi: float | None = None
) -> PairCounts:
    """Return the pairs with a count and a PMI of at least a threshold.

    Args:
        pairs: p pairs of the baskets.
        baskets: binary, CSR [T, n_items].
        least: smallest count.
        min_pmi: smallest PMI; None: any.
    """
    pairs = pairs.take(pairs.count >= least)
    if min_pmi is None:
        return pairs
    of_item = np.asarray(baskets.sum(axis=0)).ravel()
    # A value that is 0 in exact arithmetic may be rounded below it.
    return pairs.take(pmi(pairs, of_item, baskets.shape[0]) >= min_pmi - 1e-9)


def without_same(
    pairs: PairCounts, category: np.ndarray, baskets: sp.csr_matrix, min_pmi: float | None = None
) -> PairCounts:
    """Return the pairs of different categories, whose categories have a PMI of at least `min_pmi`.

    Args:
        pairs: p pairs.
        category: of each item, int [n_items]; -1: unknown, and such items are not filtered.
        baskets: binary, CSR [T, n_items].
        min_pmi: smallest PMI of two categories over baskets; None: any.
    """
    first, second = category[pairs.first], category[pairs.second]
    known = (first >= 0) & (second >= 0)
    kept = ~known | (first != second)
    if min_pmi is not None and known.any():
        n = int(category.max()) + 1
        rows = np.flatnonzero(category >= 0)
        shape = (len(category), n)
        belongs = sp.csr_matrix((np.ones(len(rows)), (rows, category[rows])), shape=shape)
        of_category = (baskets @ belongs).tocsr()
        of_category.data[:] = 1.0
        together = (of_category.T @ of_category).tocsr()
        alone = np.asarray(of_category.sum(axis=0)).ravel()
        at = np.flatnonzero(known)
        count = np.asarray(together[first[at], second[at]]).ravel()
        with np.errstate(divide="ignore"):
            value = np.log(count * baskets.shape[0] / (alone[first[at]] * alone[second[at]]))
        kept[at] &= value >= min_pmi - 1e-9
    return pairs.take(kept)


def synthetic(pairs: PairCounts, similar: sp.csr_matrix, gamma: float) -> PairCounts:
    """Return the synthetic pairs with a count of at least 1 that are not among the real ones.

    Args:
        pairs: real pairs, both orders of each.
        similar: similarity s of the neighbours of each item, CSR [n_items, n_items], no item its
            own neighbour.
        gamma: the factor.
    """
    n = similar.shape[0]
    one = _replaced(pairs, similar)
    counts = [np.floor(gamma * one.count * one.likeness)]
    cells = [(one.first, pairs.second[one.pair])]
    cells.append((pairs.second[one.pair], one.first))  # the other order of the same pair
    counts.append(counts[0])
    both = _replaced(PairCounts(pairs.second[one.pair], one.first, one.count), similar)
    likeness = (both.likeness + one.likeness[both.pair]) / 2
    cells.append((one.first[both.pair], both.first))
    counts.append(np.floor(gamma * both.count * likeness))
    first, second = (np.concatenate([cell[side] for cell in cells]) for side in (0, 1))
    count = np.concatenate(counts)
    kept = (first != second) & (count >= 1)
    total = sp.coo_matrix((count[kept], (first[kept], second[kept])), shape=(n, n)).tocsr()
    total.sum_duplicates()
    cells_of_pairs = total.tocoo()
    key = cells_of_pairs.row.astype(np.int64) * n + cells_of_pairs.col
    new = ~np.isin(key, pairs.first * n + pairs.second)
    return PairCounts(
        cells_of_pairs.row[new].astype(np.int64),
        cells_of_pairs.col[new].astype(np.int64),
        cells_of_pairs.data[new],
    )


@dataclass(frozen=True, eq=False)
class _Replaced:
    """Pairs whose first item is replaced by each of its neighbours.

    Args:
        pair: the pair of each, int64 [q].
        first: the neighbour, int64 [q].
        likeness: its similarity to the item that it replaces, float64 [q].
        count: of the pair, float64 [q].
    """

    pair: np.ndarray
    first: np.ndarray
    likeness: np.ndarray
    count: np.ndarray


def _replaced(pairs: PairCounts, similar: sp.csr_matrix) -> _Replaced:
    number = np.diff(similar.indptr)[pairs.first]
    pair = np.repeat(np.arange(len(pairs)), number)
    end = np.cumsum(number)
    place = np.arange(int(number.sum())) - np.repeat(end - number, number)
    entry = similar.indptr[pairs.first][pair] + place
    return _Replaced(
        pair, similar.indices[entry].astype(np.int64), similar.data[entry], pairs.count[pair]
    )
