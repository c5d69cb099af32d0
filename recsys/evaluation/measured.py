"""The values of metrics while an evaluation collects them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from recsys.errors import InputError
from recsys.evaluation.metrics import Metric
from recsys.evaluation.slices import TestPart

__all__ = ["Measured"]


@dataclass(eq=False)
class Measured:
    """The values of metrics, collected while they are computed.

    Args:
        n_queries: number U of test queries.
        per_query: values per metric, float64 [U].
        whole: metrics with one number for all queries.
        notes: what a reader should know about the numbers.
    """

    n_queries: int
    per_query: dict[str, np.ndarray] = field(default_factory=dict)
    whole: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, metric: Metric, value: np.ndarray | float, part: TestPart, least: int) -> None:
        """Store the value of a metric on some of the test queries.

        Args:
            metric: the metric.
            value: one number, or values per query of the part, [U'].
            part: the queries with their answers.
            least: fewest answers that a query must have to count.

        Raises:
            InputError: the function of the metric returned something else.
        """
        if metric.whole and np.ndim(value) == 0:
            self.whole[metric.name] = float(value)
            return
        if metric.whole or np.shape(value) != (len(part.queries),):
            expected = "one number" if metric.whole else f"a value for each of {len(part.queries)}"
            raise InputError(
                f"metric '{metric.word}' must return {expected}{'' if metric.whole else ' users'}, "
                f"got an array of shape {np.shape(value)}",
                remedy="correct its function",
            )
        column = np.full(self.n_queries, np.nan)
        column[part.index] = np.where(part.n_relevant < least, np.nan, value)
        self.per_query[metric.name] = column
