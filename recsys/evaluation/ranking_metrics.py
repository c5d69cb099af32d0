"""Metrics of the positions of test items, at a cut-off or over the full ranking.

The value of a user is NaN where the metric is not defined for them; means leave such users out.
docs/metrics.md has the formulas and the differences from other libraries.
"""

from __future__ import annotations

import numpy as np

from recsys.evaluation.contexts import DrawContext, ListContext, RankContext
from recsys.statistics.roc import auc_of_rank_sums

__all__ = [
    "auc_of_draw",
    "average_precision",
    "f1",
    "full_auc",
    "full_map",
    "full_mrr",
    "full_ndcg",
    "hit",
    "ideal_dcg",
    "mrr",
    "ndcg",
    "precision",
    "recall",
]


# At a cut-off k, from `hits` bool [U, k]. All return float64 [U].


def precision(context: ListContext) -> np.ndarray:
    """Return hits / k. A list shorter than k (in a small catalogue) still divides by k."""
    return np.where(context.n_relevant > 0, context.hits.sum(1) / context.k, np.nan)


def recall(context: ListContext) -> np.ndarray:
    """Return hits / |test|."""
    n = context.n_relevant
    return np.where(n > 0, context.hits.sum(1) / np.maximum(n, 1), np.nan)


def f1(context: ListContext) -> np.ndarray:
    """Return the harmonic mean of precision and recall per user: 2 hits / (k + |test|)."""
    n = context.n_relevant
    return np.where(n > 0, 2 * context.hits.sum(1) / (context.k + n), np.nan)


def hit(context: ListContext) -> np.ndarray:
    """Return 1 where the list holds at least one test item, else 0."""
    return np.where(context.n_relevant > 0, context.hits.any(1), np.nan)


def ndcg(context: ListContext) -> np.ndarray:
    """Return DCG / ideal DCG with binary gains and discount 1 / log2(p + 1).

    The ideal list has min(k, |test|) hits. Source: Jarvelin & Kekalainen 2002.
    """
    discount = 1 / np.log2(np.arange(2, context.k + 2))
    ideal = np.concatenate([[1.0], np.cumsum(discount)])
    best = ideal[np.minimum(context.n_relevant, context.k)]
    return np.where(context.n_relevant > 0, context.hits @ discount / best, np.nan)


def mrr(context: ListContext) -> np.ndarray:
    """Return 1 / position of the first hit, 0 without a hit."""
    hits = context.hits
    value = np.where(hits.any(1), 1 / (hits.argmax(1) + 1), 0.0)
    return np.where(context.n_relevant > 0, value, np.nan)


def average_precision(context: ListContext) -> np.ndarray:
    """Return the sum of the precision at each hit / min(k, |test|)."""
    hits = context.hits
    precisions = np.cumsum(hits, axis=1) / np.arange(1, context.k + 1)
    most = np.maximum(np.minimum(context.n_relevant, context.k), 1)
    return np.where(context.n_relevant > 0, (precisions * hits).sum(1) / most, np.nan)


# Over the full ranking. All return float64 [U]. Test items that cannot be recommended count as
# missed, except in `full_auc`, which is about candidates only.


def full_auc(context: RankContext) -> np.ndarray:
    """Return the share of pairs (test item, other candidate) in the right order.

    (sum_q (L - r_q + 1) - m (m + 1) / 2) / (m (L - m)) with m test items among L candidates.
    """
    m = context.sizes
    ascending = m * (context.candidates + 1) - context.sums(context.rank)
    return auc_of_rank_sums(ascending, m, context.candidates - m)


def full_map(context: RankContext) -> np.ndarray:
    """Return the sum of q / r_q over the test items / |test|."""
    total = context.sums((context.position + 1) / context.rank)
    n = context.n_relevant
    return np.where(n > 0, total / np.maximum(n, 1), np.nan)


def full_mrr(context: RankContext) -> np.ndarray:
    """Return 1 / r_1, the inverse rank of the best-ranked test item, 0 where none has a rank."""
    out = np.zeros(len(context.sizes))
    reached = context.sizes > 0
    out[reached] = 1 / context.rank[context.indptr[:-1][reached]]
    return np.where(context.n_relevant > 0, out, np.nan)


def full_ndcg(context: RankContext) -> np.ndarray:
    """Return the sum of 1 / log2(r_q + 1), divided by the same sum for the ranks 1..|test|."""
    total = context.sums(1 / np.log2(context.rank + 1))
    n = context.n_relevant
    return np.where(n > 0, total / ideal_dcg(n), np.nan)


def auc_of_draw(context: DrawContext) -> np.ndarray:
    """Return the unbiased estimate of `full_auc` from sampled candidates.

    It is the share of sampled candidates that a test item beats.
    """
    sizes = context.sizes
    beaten = np.bincount(context.owner, context.above_mean, minlength=len(sizes))
    pairs = sizes * context.pool
    share = np.divide(beaten, pairs, out=np.full(len(sizes), np.nan), where=pairs > 0)
    return np.asarray(1 - share)


def ideal_dcg(n: np.ndarray) -> np.ndarray:
    """Return the DCG of n hits at the positions 1..n, float64 [U]; 1 for n = 0.

    Args:
        n: int [U].
    """
    discount = 1 / np.log2(np.arange(2, n.max(initial=0) + 2))
    return np.asarray(np.concatenate([[1.0], np.cumsum(discount)])[n])
