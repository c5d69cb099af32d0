"""The k nearest rows of a sparse matrix, exactly, in blocks of rows.

All similarities of n rows would be an n x n matrix, dense or nearly so. Instead a span of rows is
multiplied at a time, its k best are kept, and the rest is dropped before the next span begins.

The search is part of the scorers, because the nearest users of a history that comes after training
are found by the same rule as those of a user of training.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import scipy.sparse as sp

__all__ = ["EntryWeights", "Over", "Weighting", "nearest", "weigh"]

Weighting: TypeAlias = Literal["cosine", "tfidf", "bm25"]
Over: TypeAlias = Literal["product", "union"]

_BLOCK_BYTES = 128 << 20
_ENTRY_BYTES = 32  # per similarity during selection: value, column and temporaries


@dataclass(frozen=True, eq=False)
class EntryWeights:
    """Weights of the entries of binary rows, with statistics of the rows of training.

    An entry (i, u) gets d_u^(-power / 2), d_u the number of entries of column u, times

        cosine   1
        tfidf    idf_u = log(1 + n / (1 + d_u))
        bm25     idf_u (k1 + 1) / (1 + k1 (1 - b + b l_i / mean l)), l_i the entries of row i

    Source: Robertson, Zaragoza, "The probabilistic relevance framework", 2009, with term frequency
    1.

    Args:
        column: the part of a weight that depends on the column, float64 [m].
        mean_length: mean number of entries of the rows of training, at least 1; None: a weight does
            not depend on the length of its row.
        k1, b: used by "bm25" only.
    """

    column: np.ndarray
    mean_length: float | None
    k1: float
    b: float

    @classmethod
    def of(
        cls, rows: sp.csr_matrix, weighting: Weighting, power: float, k1: float, b: float
    ) -> EntryWeights:
        """Return the weights that the rows of training, CSR [n, m], give."""
        degree = np.bincount(rows.indices, minlength=rows.shape[1]).astype(np.float64)
        column = np.maximum(degree, 1) ** (-power / 2)
        if weighting != "cosine":
            column *= np.log1p(rows.shape[0] / (1 + degree))
        mean_length = None
        if weighting == "bm25":
            mean_length = max(float(np.diff(rows.indptr).mean()), 1.0)
        return cls(column, mean_length, k1, b)

    def __call__(self, rows: sp.csr_matrix) -> sp.csr_matrix:
        """Return the weighted rows, CSR float32 [n, m], column indices sorted."""
        value = self.column[rows.indices]
        if self.mean_length is not None:
            lengths = np.diff(rows.indptr)
            share = 1 - self.b + self.b * lengths / self.mean_length
            value *= np.repeat((self.k1 + 1) / (1 + self.k1 * share), lengths)
        out = sp.csr_matrix((value.astype(np.float32), rows.indices, rows.indptr), shape=rows.shape)
        out.sort_indices()
        return out


def weigh(
    rows: sp.csr_matrix, weighting: Weighting, power: float = 0.0, k1: float = 1.2, b: float = 0.75
) -> sp.csr_matrix:
    """Weight the entries of a binary matrix before its rows are compared; see `EntryWeights`.

    Args:
        rows: CSR [n, m], ones.
        weighting, power, k1, b: as in `EntryWeights`.

    Returns:
        CSR float32 [n, m], column indices sorted.
    """
    return EntryWeights.of(rows, weighting, power, k1, b)(rows)


def nearest(
    rows: sp.csr_matrix,
    k: int,
    *,
    left: np.ndarray,
    right: np.ndarray,
    shrink: float = 0.0,
    over: Over = "product",
    among: sp.csr_matrix | None = None,
    block_bytes: int = _BLOCK_BYTES,
) -> sp.csr_matrix:
    """Return the k most similar rows of every row.

    The similarity is s(i, j) = x_i . x_j / (left_i * right_j + shrink). Ties go to the lower row
    number. Rows with a similarity of zero or below are not neighbours, so a row may have fewer than
    k.

    Args:
        rows: the rows to compare, CSR float32 [n, m], column indices sorted.
        k: neighbours per row; N or more keeps all.
        left: scale of the row whose neighbours are sought, [n].
        right: scale of the neighbour, [N].
        shrink: added to the divisor; pulls similarities with little evidence towards zero.
        over: "product", as above; "union": x_i . x_j / (left_i + right_j - x_i . x_j + shrink),
            which is the Jaccard index of sets of these sizes.
        among: the rows to search, as columns, CSR float32 [m, N]; None: the n rows themselves, of
            which none is its own neighbour.
        block_bytes: working memory in addition to the result. At least one row is processed, so the
            bound is the larger of this and 32 N bytes.

    Returns:
        CSR float32 [n, N] with at most k entries a row, column indices sorted: row i holds the
        neighbours of row i.
    """
    turned = rows.T.tocsr() if among is None else among
    spans = []
    for span in _spans(rows, turned, block_bytes):
        itself = span.start if among is None else None
        spans.append(_best(rows[span] @ turned, itself, k, left[span], right, shrink, over))
    if not spans:
        return sp.csr_matrix((rows.shape[0], turned.shape[1]), dtype=np.float32)
    return sp.vstack(spans, format="csr", dtype=np.float32)


def _spans(rows: sp.csr_matrix, turned: sp.csr_matrix, block_bytes: int) -> Iterator[slice]:
    """Yield spans of rows whose product fits the working memory.

    A row of the product has at most as many entries as products are summed for it.
    """
    n = rows.shape[0]
    products = np.append(0, np.cumsum(np.diff(turned.indptr)[rows.indices], dtype=np.int64))[
        rows.indptr
    ]
    ends = np.cumsum(np.minimum(np.diff(products), turned.shape[1]))
    room = max(1, block_bytes // _ENTRY_BYTES)
    start = 0
    while start < n:
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + room, side="right")))
        yield slice(start, stop)
        start = stop


def _best(
    product: sp.csr_matrix,
    itself: int | None,
    k: int,
    left: np.ndarray,
    right: np.ndarray,
    shrink: float,
    over: Over,
) -> sp.csr_matrix:
    """Return the k best of each row of inner products [B, N].

    Args:
        product: the inner products.
        itself: column of the first row itself, which is left out, and so on for the next rows;
            None: the rows are not among the columns.
        k, shrink, over: as in `nearest`.
        left: scales of the rows, [B].
        right: scales of the columns, [N].
    """
    size, n = product.shape
    row = np.repeat(np.arange(size, dtype=np.int32), np.diff(product.indptr))
    column, value = product.indices, product.data
    one, other = left.astype(np.float32)[row], right.astype(np.float32)[column]
    scale = one * other if over == "product" else one + other - value
    scale += np.float32(shrink)
    value = np.divide(value, scale, out=np.zeros_like(value), where=scale > 0)
    value[~(value > 0)] = -np.inf
    if itself is not None:
        value[column == row + itself] = -np.inf
    least = np.full(size, np.finfo(np.float32).tiny, dtype=np.float32)
    for local in np.flatnonzero(np.diff(product.indptr) > k):
        own = value[product.indptr[local] : product.indptr[local + 1]]
        least[local] = max(np.partition(own, len(own) - k)[len(own) - k], least[local])
    kept = value >= least[row]
    chosen = sp.csr_matrix(
        (
            value[kept],
            column[kept],
            np.append(0, np.cumsum(np.bincount(row[kept], minlength=size))),
        ),
        shape=(size, n),
    )
    chosen.sort_indices()
    return _without_surplus(chosen, k, least)


def _without_surplus(chosen: sp.csr_matrix, k: int, least: np.ndarray) -> sp.csr_matrix:
    """Drop the entries beyond k of each row: the last of those equal to its smallest."""
    counts = np.diff(chosen.indptr)
    if not len(counts) or counts.max() <= k:
        return chosen
    row = np.repeat(np.arange(len(counts)), counts)
    equal = chosen.data == least[row]
    # Rank among the equal entries of the row, starting with 1.
    rank = np.cumsum(equal) - np.append(0, np.cumsum(equal))[chosen.indptr[:-1]][row]
    room = k - (counts - np.bincount(row[equal], minlength=len(counts)))
    kept = ~equal | (rank <= room[row])
    indptr = np.append(0, np.cumsum(np.bincount(row[kept], minlength=len(counts))))
    return sp.csr_matrix((chosen.data[kept], chosen.indices[kept], indptr), shape=chosen.shape)
