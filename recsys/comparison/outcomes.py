"""Intervals of all means and paired tests of all pairs, over users, or over users and seeds.

A user here is any unit: a user, a session or an item, with one query or with several.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recsys.statistics.intervals import bootstrap
from recsys.statistics.paired_tests import Paired, paired
from recsys.statistics.seeds import gap, over_seeds

__all__ = ["Columns", "Key", "Outcomes", "Pair", "over_users", "over_users_and_seeds"]

Key = tuple[str, str]  # method, metric
Columns = Mapping[Key, np.ndarray]  # values per query, float64 [seeds, queries]


@dataclass(frozen=True)
class Pair:
    """Two methods to be tested under a metric."""

    metric: str
    first: str
    second: str

    def values(self, columns: Columns) -> tuple[np.ndarray, np.ndarray]:
        """Return the values of both methods, float64 [seeds, queries] each."""
        return columns[self.first, self.metric], columns[self.second, self.metric]


@dataclass(frozen=True)
class Outcomes:
    """Intervals of all means, and the results of all tests in the order of the pairs.

    Args:
        intervals: lower and upper bound by method and metric.
        results: of the tests.
        p: unadjusted p values.
        seed_shares: share of the squared standard error that is due to seeds.
    """

    intervals: Mapping[Key, tuple[float, float]]
    results: Sequence[Paired]
    p: Sequence[float]
    seed_shares: Sequence[float]


def over_users(columns: Columns, pairs: Sequence[Pair], test: str, unit: np.ndarray) -> Outcomes:
    """Return intervals and paired tests over users, with one report per method.

    One set of resamples serves every mean and every difference.

    Args:
        columns: values by method and metric.
        pairs: what to test.
        test: the test that the p values are of, "t" or "wilcoxon".
        unit: unit of each query, int [n].
    """
    if not columns:
        return Outcomes({}, [], [], [])
    differences = []
    for pair in pairs:
        first, second = pair.values(columns)
        differences.append(first[0] - second[0])
    means = [values[0] for values in columns.values()]
    low, high = bootstrap(np.stack([*means, *differences], axis=1), unit=unit)
    bounds = [(float(a), float(b)) for a, b in zip(low, high, strict=True)]
    results = []
    for pair, interval in zip(pairs, bounds[len(columns) :], strict=True):
        first, second = pair.values(columns)
        results.append(paired(first[0], second[0], interval=interval, unit=unit))
    return Outcomes(
        intervals=dict(zip(columns, bounds, strict=False)),
        results=results,
        p=[result.p_t if test == "t" else result.p_wilcoxon for result in results],
        seed_shares=[0.0] * len(pairs),
    )


def over_users_and_seeds(columns: Columns, pairs: Sequence[Pair], unit: np.ndarray) -> Outcomes:
    """Return intervals and tests over users and seeds, with several reports for some methods.

    A method with one report has an interval over users.

    Args:
        columns: values by method and metric.
        pairs: what to test.
        unit: unit of each query, int [n].
    """
    single = {key: values[0] for key, values in columns.items() if len(values) == 1}
    intervals: dict[Key, tuple[float, float]] = {}
    if single:
        low, high = bootstrap(np.stack(list(single.values()), axis=1), unit=unit)
        intervals = {key: (float(a), float(b)) for key, a, b in zip(single, low, high, strict=True)}
    for key, values in columns.items():
        if key not in intervals:
            mean = over_seeds(values, unit=unit)
            intervals[key] = (mean.low, mean.high)
    gaps = [gap(*pair.values(columns), unit=unit) for pair in pairs]
    results = []
    for pair, difference in zip(pairs, gaps, strict=True):
        first, second = pair.values(columns)
        interval = (difference.low, difference.high)
        results.append(paired(first.mean(0), second.mean(0), interval=interval, unit=unit))
    return Outcomes(
        intervals=intervals,
        results=results,
        p=[each.p for each in gaps],
        seed_shares=[each.seed_share for each in gaps],
    )
