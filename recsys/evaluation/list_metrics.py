"""Metrics of the recommended lists themselves, whatever the test items: how popular, how wide, how unlike one another.

`items` is int [U, k], a list per user, -1 as padding; `count[i]` the number of training users who met item i. docs/metrics.md has the formulas.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

__all__ = [
    "coverage",
    "diversity",
    "diversity_of",
    "gini",
    "lift",
    "maxdiv",
    "novelty",
    "popularity",
]


def novelty(items: np.ndarray, count: np.ndarray, n_users: int) -> np.ndarray:
    """Mean self-information -log2(count / n_users) in bits (Zhou et al. 2010); an item nobody met counts as met by one."""
    return _list_mean(-np.log2(np.maximum(count, 1) / max(n_users, 1)), items)


def popularity(items: np.ndarray, count: np.ndarray, n_users: int) -> np.ndarray:
    """Mean share of training users who met the recommended items (average recommendation popularity, Yin et al. 2012)."""
    return _list_mean(count / max(n_users, 1), items)


def lift(items: np.ndarray, count: np.ndarray, history: sp.csr_matrix) -> np.ndarray:
    """Mean popularity of the list over that of the user's own history, minus 1; 0 is calibrated (Abdollahpouri et al. 2019, per user).

    Args:
        history: CSR [U, n_items], the training items of the same users; NaN where a user has none.
    """
    met = np.diff(history.indptr)
    own = np.divide(
        history.astype(bool).astype(np.float64) @ count,
        met,
        out=np.full(len(met), np.nan),
        where=met > 0,
    )
    return np.asarray(_list_mean(count.astype(np.float64), items) / own - 1)


def coverage(items: np.ndarray, n_items: int) -> float:
    """Share of the catalogue that is in at least one list."""
    return len(np.unique(items[items >= 0])) / n_items


def gini(items: np.ndarray, n_items: int) -> float:
    """Gini index of how often each item of the catalogue is recommended: 0 all equally often, near 1 all lists the same."""
    times = np.sort(np.bincount(items[items >= 0], minlength=n_items)).astype(np.float64)
    total = times.sum()
    return (
        float(((2 * np.arange(1, n_items + 1) - n_items - 1) * times).sum() / (n_items * total))
        if total
        else float("nan")
    )


def diversity(items: np.ndarray, train: sp.csr_matrix) -> np.ndarray:
    """Intra-list: 1 - mean cosine over the pairs of a list; an item's vector is its training column, so cosine is co-occurrence / sqrt(c_i c_j).

    Memory is bounded by taking lists and similarity rows in blocks. Items without training users are similar to none.
    NaN where the list has fewer than two items.

    Args:
        train: CSR [n_users, n_items], binary.
    """
    count = np.maximum(np.asarray(train.sum(0)).ravel(), 1)
    unit = (train @ sp.diags_array(1 / np.sqrt(count))).tocsc()
    out = np.full(len(items), np.nan)
    width = items.shape[1]
    first, second = np.triu_indices(width, 1)
    step = max(1, (4 << 20) // max(1, len(first)))
    for start in range(0, len(items), step):
        block = items[start : start + step]
        a, b = (
            np.minimum(block[:, first], block[:, second]).ravel(),
            np.maximum(block[:, first], block[:, second]).ravel(),
        )
        owner = np.repeat(np.arange(len(block)), len(first))
        usable = a >= 0
        a, b, owner = a[usable], b[usable], owner[usable]
        similarity = _pair_cosines(unit, a, b)
        pairs = np.bincount(owner, minlength=len(block))
        total = np.bincount(owner, similarity, minlength=len(block))
        np.divide(total, pairs, out=out[start : start + step], where=pairs > 0)
    return 1 - out


def diversity_of(items: np.ndarray, vectors: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Intra-list: 1 - mean cosine of the items' feature vectors; items without features are left out, NaN below two items.

    The mean over pairs follows from the norm of the sum of unit vectors, so no pair is formed.

    Args:
        vectors: float [n_items, d].
        present: bool [n_items].
    """
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, norm, out=np.zeros(vectors.shape), where=norm > 0)
    known = present & (norm[:, 0] > 0)
    unit[~known] = 0
    out = np.full(len(items), np.nan)
    step = max(1, (32 << 20) // (8 * max(1, items.shape[1] * vectors.shape[1])))
    for start in range(0, len(items), step):
        block = items[start : start + step]
        counted = (block >= 0) & known[block]
        total = (unit[block] * counted[:, :, None]).sum(1)
        n = counted.sum(1)
        np.divide((total**2).sum(1) - n, n * (n - 1), out=out[start : start + step], where=n > 1)
    return 1 - out


def maxdiv(items: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """Sum of |v_j - v_k|^2 over the ordered pairs of a list, twice the sum over its pairs: MaxDiv (Bao et al., NeurIPS 2022).

    As sum_jk |v_j - v_k|^2 = 2 n sum_j |v_j|^2 - 2 |sum_j v_j|^2, no pair is formed; the mean of the list is taken away first, so that nothing
    cancels where vectors are long and near one another. A list of fewer than two items has 0.

    Args:
        vectors: float [n_items, d], the item vectors the scorer ranks with.
    """
    out = np.zeros(len(items))
    step = max(1, (32 << 20) // (8 * max(1, items.shape[1] * vectors.shape[1])))
    for start in range(0, len(items), step):
        block = items[start : start + step]
        filled = (block >= 0)[:, :, None]
        n = filled.sum(1)
        rows = np.where(filled, vectors[block], 0.0).astype(np.float64)
        rows = np.where(filled, rows - rows.sum(1, keepdims=True) / np.maximum(n, 1)[:, None], 0.0)
        out[start : start + step] = (2 * n[:, 0] * (rows**2).sum((1, 2))) - 2 * (
            rows.sum(1) ** 2
        ).sum(1)
    return np.maximum(out, 0.0)


def _list_mean(value: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Mean of an item property over each list; NaN for an empty list."""
    filled = items >= 0
    n = filled.sum(1)
    return np.asarray(
        np.divide((value[items] * filled).sum(1), n, out=np.full(len(items), np.nan), where=n > 0)
    )


def _pair_cosines(unit: sp.csc_matrix, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Inner products of columns a[j] and b[j] of `unit`, a block of similarity rows at a time (about 64 MiB each)."""
    out = np.empty(len(a))
    order = np.argsort(a, kind="stable")
    rows, starts = np.unique(a[order], return_index=True)
    starts = np.append(starts, len(order))
    step = max(1, (64 << 20) // (8 * unit.shape[1]))
    for lo in range(0, len(rows), step):
        span = order[starts[lo] : starts[min(lo + step, len(rows))]]
        columns, place = np.unique(b[span], return_inverse=True)
        gram = (unit[:, rows[lo : lo + step]].T @ unit[:, columns]).toarray()
        out[span] = gram[np.searchsorted(rows[lo : lo + step], a[span]), place]
    return out
