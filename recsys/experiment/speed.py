"""Speed of ranking, as studies and benchmarks report it."""

from __future__ import annotations

import time

import numpy as np
import scipy.sparse as sp

from recsys.ranking import top_k
from recsys.scorer import Scorer

__all__ = ["seconds_per_user"]

_USERS = 1000  # ranked at most
_PASSES = 3
_LENGTH = 20  # items in a list


def seconds_per_user(scorer: Scorer, users: np.ndarray, *, seen: sp.csr_matrix) -> float:
    """Measure the time to rank all items for one user: the median of a few passes.

    Args:
        scorer: the model to measure.
        users: rows of users [n]; duplicates are ignored, and at most 1,000 users are ranked.
        seen: interactions to mask, users x items.

    Returns:
        Seconds per user.
    """
    some = np.unique(users)[:_USERS].astype(np.int32)
    times = []
    for _ in range(_PASSES):
        started = time.perf_counter()
        top_k(scorer, some, _LENGTH, seen=seen)
        times.append(time.perf_counter() - started)
    return float(np.median(times)) / len(some)
