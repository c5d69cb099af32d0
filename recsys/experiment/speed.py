"""Speed of ranking, as studies and benchmarks report it."""

from __future__ import annotations

import time

import numpy as np

from recsys.data.query import Queries
from recsys.data.types import HeldOut, Interactions
from recsys.ranking import top_k
from recsys.scorer import Scorer

__all__ = ["seconds_per_user"]

_QUERIES = 1000  # ranked at most
_PASSES = 3
_LENGTH = 20  # items in a list


def seconds_per_user(scorer: Scorer, train: Interactions, valid: HeldOut | None) -> float:
    """Measure the time to rank all items for one validation query: the median of a few passes.

    Args:
        scorer: the model to measure.
        train: training interactions, which are masked where a query is a user.
        valid: the validation part, of which at most 1,000 queries are ranked; None or empty: the
            users of train.

    Returns:
        Seconds per query.
    """
    queries = _queries(train, valid)
    times = []
    for _ in range(_PASSES):
        started = time.perf_counter()
        top_k(scorer, queries, _LENGTH)
        times.append(time.perf_counter() - started)
    return float(np.median(times)) / len(queries)


def _queries(train: Interactions, valid: HeldOut | None) -> Queries:
    """Return the first of the queries."""
    if valid is not None and len(valid) and not valid.by_user:
        return valid.queries.take(slice(_QUERIES))
    users = train.user if valid is None or not len(valid) else valid.pairs.user
    some = np.unique(users)[:_QUERIES].astype(np.int32)
    return Queries.of_users(some, train.csr[some])
