"""Metrics of the recommendation lists: popularity, coverage, diversity. Test items play no part.

Each is a function of a `ListContext`. docs/metrics.md has the formulas.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from recsys.evaluation.contexts import ListContext

__all__ = ["coverage", "diversity", "gini", "lift", "maxdiv", "novelty", "popularity"]

_PAIRS = 4 << 20  # pairs of list positions processed at a time
_BLOCK_BYTES = 32 << 20  # of item vectors gathered at a time
_GRAM_BYTES = 64 << 20  # of similarities computed at a time


def novelty(context: ListContext) -> np.ndarray:
    """Return the mean self-information -log2(count / n_users) in bits, float64 [U].

    An item without a training user counts as an item with one. Source: Zhou et al. 2010.
    """
    share = np.maximum(context.item_counts, 1) / max(context.n_active_users, 1)
    return _list_mean(-np.log2(share), context.items)


def popularity(context: ListContext) -> np.ndarray:
    """Return the mean share of training users who interacted with the items, float64 [U].

    Source: average recommendation popularity, Yin et al. 2012.
    """
    return _list_mean(context.item_counts / max(context.n_active_users, 1), context.items)


def lift(context: ListContext) -> np.ndarray:
    """Return the mean popularity of the list over that of the user's history, minus 1.

    0 is calibrated. NaN for a user without training interactions. Source: Abdollahpouri et al.
    2019, per user.
    """
    history = context.history
    size = np.diff(history.indptr)
    own = np.divide(
        history.astype(bool).astype(np.float64) @ context.item_counts,
        size,
        out=np.full(len(size), np.nan),
        where=size > 0,
    )
    return np.asarray(_list_mean(context.item_counts.astype(np.float64), context.items) / own - 1)


def coverage(context: ListContext) -> float:
    """Return the share of the candidates that occur in at least one list; NaN without lists."""
    if not len(context.items):
        return float("nan")
    return len(np.unique(context.items[context.items >= 0])) / context.n_candidates


def gini(context: ListContext) -> float:
    """Return the Gini index of how often each candidate is recommended.

    0 where all are recommended equally often, near 1 where all lists are the same; NaN without
    lists or with empty lists only.
    """
    items = context.items
    times = np.bincount(items[items >= 0], minlength=context.train.n_items)
    if context.pool is not None:
        times = times[context.pool]
    n = len(times)
    ordered = np.sort(times).astype(np.float64)
    total = ordered.sum()
    if not total:
        return float("nan")
    return float(((2 * np.arange(1, n + 1) - n - 1) * ordered).sum() / (n * total))


def diversity(context: ListContext) -> np.ndarray:
    """Return the intra-list diversity: 1 - mean cosine over the pairs of a list, float64 [U].

    The vector of an item is its row of the feature table. Without features it is the item's
    column of the training matrix. NaN with fewer than two items.
    """
    if context.features is None:
        return _diversity_of_users(context.items, context.train.csr)
    return _diversity_of_features(context.items, context.features.values, context.features.present)


def maxdiv(context: ListContext) -> np.ndarray:
    """Return the sum of |v_j - v_k|^2 over the ordered pairs of a list, float64 [U].

    v are the item vectors of the scorer; NaN for a scorer without item vectors. A list with fewer
    than two items has 0. Source: MaxDiv, Bao et al., NeurIPS 2022.

    As sum_jk |v_j - v_k|^2 = 2 n sum_j |v_j|^2 - 2 |sum_j v_j|^2, no pair is formed. The mean of
    the list is subtracted first: otherwise long vectors near each other would cancel.
    """
    items = context.items
    vectors = context.item_vectors
    if vectors is None:
        return np.full(len(items), np.nan)
    out = np.zeros(len(items))
    for span in _spans(len(items), 8 * items.shape[1] * vectors.shape[1]):
        block = items[span]
        filled = (block >= 0)[:, :, None]
        n = filled.sum(1)
        rows = np.where(filled, vectors[block], 0.0).astype(np.float64)
        rows = np.where(filled, rows - rows.sum(1, keepdims=True) / np.maximum(n, 1)[:, None], 0.0)
        squares = (rows**2).sum((1, 2))
        out[span] = 2 * n[:, 0] * squares - 2 * (rows.sum(1) ** 2).sum(1)
    return np.maximum(out, 0.0)


def _diversity_of_features(
    items: np.ndarray, vectors: np.ndarray, present: np.ndarray
) -> np.ndarray:
    """Return 1 - mean cosine of feature vectors, float64 [U].

    The mean over pairs follows from the norm of the sum of unit vectors, so no pair is formed.
    Items without features are left out.

    Args:
        items: int [U, k], -1 as padding.
        vectors: float [n_items, d].
        present: bool [n_items].
    """
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, norm, out=np.zeros(vectors.shape), where=norm > 0)
    known = present & (norm[:, 0] > 0)
    unit[~known] = 0
    out = np.full(len(items), np.nan)
    for span in _spans(len(items), 8 * items.shape[1] * vectors.shape[1]):
        block = items[span]
        counted = (block >= 0) & known[block]
        total = (unit[block] * counted[:, :, None]).sum(1)
        n = counted.sum(1)
        np.divide((total**2).sum(1) - n, n * (n - 1), out=out[span], where=n > 1)
    return 1 - out


def _diversity_of_users(items: np.ndarray, train: sp.csr_matrix) -> np.ndarray:
    """Return 1 - mean cosine of training columns, co-occurrence / sqrt(c_i c_j), float64 [U].

    Lists and similarities are processed in blocks of bounded memory. An item without training
    users is similar to no other.

    Args:
        items: int [U, k], -1 as padding.
        train: CSR [n_users, n_items], binary.
    """
    count = np.maximum(np.asarray(train.sum(0)).ravel(), 1)
    unit = (train @ sp.diags_array(1 / np.sqrt(count))).tocsc()
    out = np.full(len(items), np.nan)
    first, second = np.triu_indices(items.shape[1], 1)
    step = max(1, _PAIRS // max(1, len(first)))
    for start in range(0, len(items), step):
        block = items[start : start + step]
        lower = np.minimum(block[:, first], block[:, second]).ravel()
        upper = np.maximum(block[:, first], block[:, second]).ravel()
        owner = np.repeat(np.arange(len(block)), len(first))
        filled = lower >= 0
        owner = owner[filled]
        similarity = _pair_cosines(unit, lower[filled], upper[filled])
        pairs = np.bincount(owner, minlength=len(block))
        total = np.bincount(owner, similarity, minlength=len(block))
        np.divide(total, pairs, out=out[start : start + step], where=pairs > 0)
    return 1 - out


def _pair_cosines(unit: sp.csc_matrix, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the inner products of columns `first[j]` and `second[j]`, float64 [n pairs].

    Args:
        unit: matrix with columns of unit length, CSC [n_users, n_items].
        first, second: item rows, int [n pairs].
    """
    out = np.empty(len(first))
    order = np.argsort(first, kind="stable")
    rows, starts = np.unique(first[order], return_index=True)
    starts = np.append(starts, len(order))
    step = max(1, _GRAM_BYTES // (8 * unit.shape[1]))
    for low in range(0, len(rows), step):
        span = order[starts[low] : starts[min(low + step, len(rows))]]
        columns, column = np.unique(second[span], return_inverse=True)
        gram = (unit[:, rows[low : low + step]].T @ unit[:, columns]).toarray()
        out[span] = gram[np.searchsorted(rows[low : low + step], first[span]), column]
    return out


def _list_mean(value: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Return the mean of an item property over each list, float64 [U]; NaN for an empty list."""
    filled = items >= 0
    n = filled.sum(1)
    total = (value[items] * filled).sum(1)
    return np.asarray(np.divide(total, n, out=np.full(len(items), np.nan), where=n > 0))


def _spans(n: int, row_bytes: int) -> list[slice]:
    """Return slices of 0..n-1 such that each block holds at most about `_BLOCK_BYTES`."""
    step = max(1, _BLOCK_BYTES // max(1, row_bytes))
    return [slice(start, start + step) for start in range(0, n, step)]
