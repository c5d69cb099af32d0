"""Area under the ROC curve (AUC) from ranks."""

from __future__ import annotations

import numpy as np
import scipy  # scipy.stats takes 0.6 s to import, and scipy imports it on first use

__all__ = ["auc", "auc_of_rank_sums"]


def auc_of_rank_sums(
    rank_sum: np.ndarray | float, positives: np.ndarray | int, negatives: np.ndarray | int
) -> np.ndarray:
    """Return the AUC of several problems from the ranks of their positives, float64 [n].

    (R - m (m + 1) / 2) / (m n), where R is the sum of the ranks of the m positives among all
    m + n values (Mann & Whitney 1947). Equal values share their mean rank and count one half.

    Args:
        rank_sum: R, float [n]; rank 1 is the lowest value.
        positives: m, int [n].
        negatives: n, int [n].

    Returns:
        NaN without positives or without negatives.
    """
    pairs = np.asarray(positives * negatives)
    area = rank_sum - positives * (positives + 1) / 2
    return np.asarray(np.divide(area, pairs, out=np.full(pairs.shape, np.nan), where=pairs > 0))


def auc(score: np.ndarray, positive: np.ndarray) -> float:
    """Return the probability that a positive scores above a negative; an equal score is half.

    Args:
        score: float [n].
        positive: bool [n].

    Returns:
        NaN without positives or without negatives.
    """
    ranks = scipy.stats.rankdata(score)
    m = int(positive.sum())
    return float(auc_of_rank_sums(ranks[positive].sum(), m, len(ranks) - m))
